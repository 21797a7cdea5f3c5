//! Tests of the fake kqueue: the promises that the backend's tests rely on.

use super::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

type Kernel = Fake<true, true>;

fn entry(fd: RawFd, filter: Filter, flags: u32) -> Entry {
    Entry {
        ident: fd as usize,
        filter,
        flags,
        fflags: 0,
        data: 0,
    }
}

/// Two sockets: what is written to the first can be read from the second.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// Makes one call that does not wait, with room for many.
fn call(kernel: &Kernel, changes: &[Entry]) -> Vec<Entry> {
    let mut events = Vec::new();
    let wait = Some(Duration::ZERO);
    kernel.kevent(changes, &mut events, 16, wait).unwrap();
    events
}

#[test]
fn failed_change_returns_an_entry_and_the_others_are_made() {
    let kernel = Kernel::open().unwrap();
    let (_ours, theirs) = pair();
    let fd = theirs.as_raw_fd();
    let changes = [
        entry(fd, Filter::Write, EV_DELETE),
        entry(fd, Filter::Read, EV_ADD),
    ];
    let answers = call(&kernel, &changes);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].data, i64::from(libc::ENOENT));
    assert_ne!(answers[0].flags & EV_ERROR, 0);
    assert_eq!(kernel.filters(fd), [(Filter::Read, true)]);
}

#[test]
fn failed_change_without_room_ends_the_call() {
    let kernel = Kernel::open().unwrap();
    let (_ours, theirs) = pair();
    let fd = theirs.as_raw_fd();
    let changes = [
        entry(fd, Filter::Read, EV_ADD),
        entry(fd, Filter::Except, EV_DELETE),
        entry(fd, Filter::Write, EV_ADD),
    ];
    let failed = kernel.kevent(&changes, &mut Vec::new(), 0, None);
    assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::ENOENT));
    assert_eq!(kernel.filters(fd), [(Filter::Read, true)]);
}

#[test]
fn add_again_checks_the_file_but_keeps_trigger_and_state() {
    let kernel = Kernel::open().unwrap();
    let (mut ours, theirs) = pair();
    let fd = theirs.as_raw_fd();
    ours.write_all(b"x").unwrap();
    assert_eq!(
        call(&kernel, &[entry(fd, Filter::Read, EV_ADD | EV_CLEAR)]).len(),
        1
    );
    assert!(call(&kernel, &[]).is_empty());
    // The file is checked again, and still reported once, though the flag is missing.
    assert_eq!(call(&kernel, &[entry(fd, Filter::Read, EV_ADD)]).len(), 1);
    assert!(call(&kernel, &[]).is_empty());
    assert!(call(&kernel, &[entry(fd, Filter::Read, EV_DISABLE)]).is_empty());
    assert!(call(&kernel, &[entry(fd, Filter::Read, EV_ADD)]).is_empty());
    // What was found while it was disabled comes when it is enabled.
    assert_eq!(
        call(&kernel, &[entry(fd, Filter::Read, EV_ENABLE)]).len(),
        1
    );
    // Enabling alone does not check the file.
    assert!(call(&kernel, &[entry(fd, Filter::Read, EV_ENABLE)]).is_empty());
}

#[test]
fn new_data_wakes_an_edge_though_older_data_is_unread() {
    let kernel = Kernel::open().unwrap();
    let (mut ours, mut theirs) = pair();
    let read = entry(theirs.as_raw_fd(), Filter::Read, EV_ADD | EV_CLEAR);
    assert!(call(&kernel, &[read]).is_empty());
    for _ in 0..3 {
        ours.write_all(b"x").unwrap();
        assert_eq!(call(&kernel, &[]).len(), 1);
        assert!(call(&kernel, &[]).is_empty());
    }
    // As many bytes as before, but new ones.
    theirs.read_exact(&mut [0; 3]).unwrap();
    ours.write_all(b"xxx").unwrap();
    assert_eq!(call(&kernel, &[])[0].data, 3);
}

#[test]
fn only_oneshot_reports_what_is_no_longer_true() {
    let kernel = Kernel::open().unwrap();
    for (flags, count) in [(0, 0), (EV_CLEAR, 0), (EV_DISPATCH, 0), (EV_ONESHOT, 1)] {
        let (mut ours, mut theirs) = pair();
        let fd = theirs.as_raw_fd();
        ours.write_all(b"x").unwrap();
        let add = entry(fd, Filter::Read, EV_ADD | flags);
        kernel.kevent(&[add], &mut Vec::new(), 0, None).unwrap();
        theirs.read_exact(&mut [0]).unwrap();
        assert_eq!(call(&kernel, &[]).len(), count, "{flags:#x}");
        assert_eq!(kernel.filters(fd).len(), 1 - count, "{flags:#x}");
    }
}

#[test]
fn close_of_the_number_removes_its_filters() {
    let kernel = Kernel::open().unwrap();
    let (mut ours, theirs) = pair();
    let duplicate = theirs.try_clone().unwrap();
    for socket in [&theirs, &duplicate] {
        call(&kernel, &[entry(socket.as_raw_fd(), Filter::Read, EV_ADD)]);
    }
    let closed = theirs.as_raw_fd();
    drop(theirs);
    ours.write_all(b"x").unwrap();
    let events = call(&kernel, &[]);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].ident, duplicate.as_raw_fd() as usize);
    assert!(kernel.filters(closed).is_empty());
}

#[test]
fn filter_that_is_still_true_goes_to_the_end() {
    let kernel = Kernel::open().unwrap();
    let pairs: Vec<_> = (0..3).map(|_| pair()).collect();
    for (ours, theirs) in &pairs {
        (&mut &*ours).write_all(b"x").unwrap();
        let add = entry(theirs.as_raw_fd(), Filter::Read, EV_ADD);
        kernel.kevent(&[add], &mut Vec::new(), 0, None).unwrap();
    }
    let next = || {
        let mut events = Vec::new();
        let wait = Some(Duration::ZERO);
        kernel.kevent(&[], &mut events, 1, wait).unwrap();
        events[0].ident
    };
    let order: Vec<_> = (0..6).map(|_| next()).collect();
    assert_eq!(order[..3], order[3..]);
    assert!(order[0] != order[1] && order[1] != order[2] && order[0] != order[2]);
}

#[test]
fn wrong_calls_are_refused() {
    let kernel = Fake::<false, false>::open().unwrap();
    let (_ours, theirs) = pair();
    let fd = theirs.as_raw_fd();
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let refused = |change: Entry| {
        let refused = kernel.kevent(&[change], &mut Vec::new(), 0, None);
        refused.unwrap_err().raw_os_error().unwrap()
    };
    assert_eq!(refused(entry(fd, Filter::User, EV_ADD)), libc::EINVAL);
    assert_eq!(refused(entry(fd, Filter::Except, EV_ADD)), libc::EINVAL);
    assert_eq!(refused(entry(fd, Filter::Read, EV_ENABLE)), libc::ENOENT);
    let nowhere = libc::c_int::MAX - 1;
    assert_eq!(refused(entry(nowhere, Filter::Read, EV_ADD)), libc::EBADF);
    let room = entry(file.as_raw_fd(), Filter::Write, EV_ADD);
    assert_eq!(refused(room), libc::EINVAL);
    let long = Some(LONGEST + Duration::from_secs(1));
    let waited = kernel.kevent(&[], &mut Vec::new(), 1, long);
    assert_eq!(waited.unwrap_err().raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn child_has_no_queue() {
    let kernel = Kernel::open().unwrap();
    let result = crate::sys::fork::in_child(|| {
        let waited = kernel.kevent(&[], &mut Vec::new(), 1, Some(Duration::ZERO));
        match waited.map_err(|error| error.raw_os_error()) {
            Err(Some(libc::EBADF)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(result.unwrap(), Ok(()));
}
