//! Values that are replaced through `get_mut`: the registered number is closed without the loop's
//! knowledge and given to another file. This mistake of the caller must not affect the other file.

use super::*;
use reveille::backend::{Interest, Trigger};
use reveille::event_loop::EventLoop;
use reveille::io::AsyncFd;
use std::os::unix::net::UnixStream;

fn unix_pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

#[test]
fn async_fd_with_an_exchanged_value_disturbs_no_other_file() {
    on_every_mechanism(|runtime, _record| {
        runtime.block_on(async {
            let (other_ours, other) = unix_pair();
            let (_third_ours, third) = unix_pair();
            let (mut ours, theirs) = unix_pair();
            let kept = duplicate(theirs.as_raw_fd());
            let mut fd = AsyncFd::new(theirs).unwrap();
            let number = fd.as_raw_fd();
            *fd.get_mut() = third;
            let other = put_under(number, other.as_fd());
            ours.write_all(b"x").unwrap();
            wait_a_while().await;
            let fresh = AsyncFd::new(UnixStream::from(other)).unwrap();
            // The new value's number is not registered, and the old number now names another file.
            drop(fd);
            let mut byte = [0];
            (&other_ours).write_all(&[9]).unwrap();
            let count = fresh.async_io(reveille::io::Interest::READABLE, |mut file| {
                file.read(&mut byte)
            });
            assert_eq!((count.await.unwrap(), byte), (1, [9]));
            drop(kept);
        });
    });
}

#[test]
fn source_with_an_exchanged_value_disturbs_no_other_file() {
    let _alone = alone();
    for kind in BackendKind::ALL {
        for trigger in [Trigger::Level, Trigger::Edge, Trigger::Oneshot] {
            for lives_on in [false, true] {
                let builder = reveille::event_loop::Builder::new().backend(kind);
                let Ok(mut event_loop): Result<EventLoop<usize>, _> = builder.build(0) else {
                    continue;
                };
                guarded(kind.name(), || exchange(&mut event_loop, trigger, lives_on));
            }
        }
    }
}

fn exchange(event_loop: &mut EventLoop<usize>, trigger: Trigger, lives_on: bool) {
    let (mut other_ours, other) = unix_pair();
    let (_third_ours, third) = unix_pair();
    let (mut ours, theirs) = unix_pair();
    let number = theirs.as_raw_fd();
    let kept = lives_on.then(|| duplicate(number));
    let old = event_loop.attach(theirs, Interest::READABLE, trigger, |_, _, _| {});
    let Ok(old) = old else { return };
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    *event_loop.get_mut(old).unwrap() = third;
    let other = put_under(number, other.as_fd());
    let _ = ours.write_all(b"x");
    let attached = event_loop.attach(other, Interest::READABLE, trigger, |event_loop, key, _| {
        *event_loop.data_mut() += 1;
        let file = event_loop.get_mut(key).unwrap();
        let mut reader = UnixStream::from(file.try_clone().unwrap());
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
    });
    let fresh = attached.unwrap();
    // Each call with the key would use the number of the other file.
    let _ = event_loop.modify(old, Interest::READABLE | Interest::WRITABLE);
    let _ = event_loop.pause(old);
    let _ = event_loop.resume(old);
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    event_loop.close(old);
    other_ours.write_all(b"x").unwrap();
    // With a duplicate the old file may be reported before it.
    for _ in 0..3 {
        event_loop.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(*event_loop.data(), 1, "{trigger:?}");
    assert!(event_loop.close(fresh));
    drop(kept);
}

/// After a hang-up an fd without READABLE is not watched. So the next `modify` registers the
/// value that is attached then, under its own number, and removes it by that number in the end.
#[test]
fn source_exchanged_while_not_watched_is_removed_by_its_number() {
    let _alone = alone();
    for kind in BackendKind::ALL {
        let builder = reveille::event_loop::Builder::new().backend(kind);
        let Ok(mut event_loop): Result<EventLoop<usize>, _> = builder.build(0) else {
            continue;
        };
        guarded(kind.name(), || {
            let (mut third_ours, third) = unix_pair();
            let (ours, theirs) = unix_pair();
            let kept = duplicate(third.as_raw_fd());
            let count = |event_loop: &mut EventLoop<usize>, _, _| *event_loop.data_mut() += 1;
            let key = event_loop
                .attach(theirs, Interest::WRITABLE, Trigger::Level, count)
                .unwrap();
            drop(ours);
            // Reports the hang-up, and then nothing more where a hang-up can be told from room.
            while event_loop.turn(Some(Duration::ZERO)).unwrap() > 0 && *event_loop.data() < 20 {}
            *event_loop.get_mut(key).unwrap() = third;
            if event_loop.modify(key, Interest::READABLE).is_err() {
                // It was watched all the time, and its number is closed now.
                return;
            }
            third_ours.write_all(b"x").unwrap();
            let before = *event_loop.data();
            event_loop.turn(Some(Duration::ZERO)).unwrap();
            assert_eq!(*event_loop.data(), before + 1, "{kind}");
            event_loop.close(key);
            assert_eq!(event_loop.turn(Some(Duration::ZERO)).unwrap(), 0);
            if let Ok(fd) = event_loop.host_fd() {
                assert!(!hosts::is_readable(fd), "{kind}");
            }
            drop(kept);
        });
    }
}
