//! A host that waits for the loop's descriptor makes a turn for each event, and then sleeps.

use super::*;
use reveille::backend::{Interest, Trigger};
use reveille::event_loop::EventLoop;
use std::os::unix::net::UnixStream;

/// Whether the loop's descriptor is readable.
pub(super) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the entry is alive during the call.
    let ready = unsafe { libc::poll(&mut entry, 1, 0) };
    assert!(ready >= 0, "{}", std::io::Error::last_os_error());
    ready == 1
}

/// Makes turns while the descriptor is readable, and returns how many.
fn turns(runtime: &Runtime, fd: BorrowedFd<'_>) -> usize {
    let mut turns = 0;
    while is_readable(fd) {
        runtime.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
        assert!(turns <= 2 * PACKETS, "the host spins");
    }
    turns
}

/// Nothing is registered any more. A duplicate, which the runtime may or may not know of, keeps the
/// file open, and its peer goes on sending.
#[test]
fn host_does_not_spin_over_a_closed_file() {
    on_every_mechanism(|runtime, record| {
        for is_known in [false, true] {
            let Ok(fd) = runtime.host_fd() else { return };
            let (mut peer, stream) = runtime.block_on(fresh(record));
            let kept = match is_known {
                true => stream.as_fd().try_clone_to_owned().unwrap(),
                false => duplicate(number_of(&stream)),
            };
            runtime.enter(|| drop(stream));
            turns(runtime, fd);
            send(&mut peer, &kept);
            let turns = turns(runtime, fd);
            let most = if is_known { 0 } else { 1 };
            assert!(turns <= most, "{turns} turns for what was closed");
            drop(peer);
            support::arrived(&std::net::TcpStream::from(kept));
        }
    });
}

/// The file is closed before a turn has fetched its event.
#[test]
fn host_does_not_spin_over_an_event_of_a_closed_file() {
    on_every_mechanism(|runtime, record| {
        let Ok(fd) = runtime.host_fd() else { return };
        let (mut peer, stream) = runtime.block_on(fresh(record));
        let kept = duplicate(number_of(&stream));
        send(&mut peer, &kept);
        runtime.enter(|| drop(stream));
        let turns = turns(runtime, fd);
        assert!(turns <= 2, "{turns} turns for one event");
    });
}

/// A callback loop removes every fd that it closes or detaches, so no registration lives on.
#[test]
fn host_of_an_event_loop_is_not_woken_by_a_closed_file() {
    let _alone = alone();
    for kind in BackendKind::ALL {
        let builder = reveille::event_loop::Builder::new().backend(kind);
        let Ok(mut event_loop): Result<EventLoop<()>, _> = builder.build(()) else {
            continue;
        };
        for trigger in [Trigger::Level, Trigger::Edge, Trigger::Oneshot] {
            for detaches in [false, true] {
                let (mut ours, theirs) = UnixStream::pair().unwrap();
                let kept = duplicate(theirs.as_raw_fd());
                let attached = event_loop.attach(theirs, Interest::READABLE, trigger, |_, _, _| {
                    panic!("it was closed")
                });
                let Ok(key) = attached else { continue };
                ours.write_all(b"x").unwrap();
                let detached = match detaches {
                    true => Some(event_loop.detach(key).unwrap()),
                    false => {
                        assert!(event_loop.close(key));
                        None
                    }
                };
                ours.write_all(b"x").unwrap();
                assert_eq!(event_loop.turn(Some(Duration::ZERO)).unwrap(), 0);
                if let Ok(fd) = event_loop.host_fd() {
                    assert!(!is_readable(fd), "{kind} {trigger:?}");
                }
                drop((kept, detached));
            }
        }
    }
}
