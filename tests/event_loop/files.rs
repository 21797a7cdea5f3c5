//! Regular files, directories and /dev/null, which no kernel watches: they are always ready, on
//! every mechanism and with every trigger.

use super::*;
use std::fs::File;
use std::sync::Arc;

type Log = Vec<Cause>;

fn note<T>(event_loop: &mut EventLoop<Log>, _: Key<T>, cause: Cause) {
    event_loop.data_mut().push(cause);
}

/// Opens a file of each kind.
fn files() -> [(&'static str, File); 3] {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let null = File::options().read(true).write(true).open("/dev/null");
    [
        ("file", File::open(manifest).unwrap()),
        ("directory", File::open(env!("CARGO_MANIFEST_DIR")).unwrap()),
        ("/dev/null", null.unwrap()),
    ]
}

/// Runs a test for each kind of file.
fn on_every_file(test: impl Fn(Loops, Trigger, File)) {
    on_every_trigger(|loops, trigger| {
        for (kind, file) in files() {
            println!("    {kind}");
            test(loops, trigger, file);
        }
    });
}

#[test]
fn file_is_ready_as_often_as_its_trigger_requires() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        let key = event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        // None of these turns waits, although they may.
        for _ in 0..3 {
            if trigger == Trigger::Level || event_loop.data().is_empty() {
                event_loop.turn(None).unwrap();
            }
        }
        let expected = if trigger == Trigger::Level { 3 } else { 1 };
        assert_eq!(event_loop.data().len(), expected);
        for cause in event_loop.data() {
            assert!(cause.is_readable() && !cause.is_writable(), "{cause:?}");
        }
        if trigger == Trigger::Level {
            assert!(event_loop.next_deadline().is_some() || event_loop.host_fd().is_ok());
            assert_eq!(turn(&mut event_loop), 1);
        } else {
            assert_quiet(&mut event_loop);
        }
        event_loop.data_mut().clear();
        event_loop.modify(key, Interest::WRITABLE).unwrap();
        event_loop.turn(None).unwrap();
        assert_eq!(event_loop.data().len(), 1);
        let cause = event_loop.data()[0];
        assert!(cause.is_writable() && !cause.is_readable(), "{cause:?}");
        event_loop.close(key);
        assert_quiet(&mut event_loop);
    });
}

/// A one-shot or edge that is armed twice before the next turn is reported once.
#[test]
fn file_armed_twice_is_reported_once() {
    on_every_file(|loops, trigger, file| {
        if trigger == Trigger::Level {
            return;
        }
        let mut event_loop = loops.make(Log::new());
        let key = event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        event_loop.modify(key, Interest::READABLE).unwrap();
        event_loop.pause(key).unwrap();
        event_loop.resume(key).unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        assert_quiet(&mut event_loop);
        assert_eq!(event_loop.data().len(), 1);
    });
}

#[test]
fn paused_file_is_silent_and_the_loop_sleeps() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        let key = event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        event_loop.pause(key).unwrap();
        sleeps(&mut event_loop);
        event_loop.resume(key).unwrap();
        assert_eq!(event_loop.turn(None).unwrap(), 1);
        event_loop.modify(key, Interest::EMPTY).unwrap();
        sleeps(&mut event_loop);
    });
}

/// A file never has priority data, so its handler is not called and the loop does not spin.
#[test]
fn file_without_priority_lets_the_loop_sleep() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        event_loop
            .attach(file, Interest::PRIORITY, trigger, note)
            .unwrap();
        sleeps(&mut event_loop);
    });
}

/// Asserts that turns wait.
#[track_caller]
fn sleeps(event_loop: &mut EventLoop<Log>) {
    let before = Instant::now();
    for _ in 0..3 {
        assert_eq!(event_loop.turn(Some(5 * MS)).unwrap(), 0);
    }
    assert!(before.elapsed() >= 15 * MS, "a turn did not wait");
}

#[test]
fn set_trigger_applies_to_a_file() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        let key = event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        for other in [Trigger::Level, Trigger::Oneshot, Trigger::Edge] {
            if event_loop.set_trigger(key, other).is_err() {
                continue;
            }
            assert_eq!(turn(&mut event_loop), 1, "{other:?}");
            let again = usize::from(other == Trigger::Level);
            assert_eq!(turn(&mut event_loop), again, "{other:?}");
        }
    });
}

#[test]
fn file_can_be_attached_only_once() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        let file = Arc::new(file);
        let key = event_loop
            .attach(file.clone(), Interest::READABLE, trigger, note)
            .unwrap();
        let again = event_loop
            .attach(file.clone(), Interest::READABLE, trigger, note)
            .unwrap_err();
        assert_eq!(again.error().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(event_loop.len(), 1);
        let back = event_loop.detach(key).unwrap();
        assert!(Arc::ptr_eq(&back, &file));
        assert_quiet(&mut event_loop);
        event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        assert_eq!(turn(&mut event_loop), 1);
    });
}

/// A handler closes the other files of the same batch.
#[test]
fn file_closed_in_the_batch_is_not_called() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make((Vec::new(), 0));
        for (_, file) in files() {
            let key = event_loop.attach(
                file,
                Interest::READABLE,
                trigger,
                |event_loop: &mut EventLoop<(Vec<Key<File>>, usize)>, key, _| {
                    event_loop.data_mut().1 += 1;
                    for other in std::mem::take(&mut event_loop.data_mut().0) {
                        assert!(other == key || event_loop.close(other));
                    }
                },
            );
            event_loop.data_mut().0.push(key.unwrap());
        }
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!((event_loop.len(), event_loop.data().1), (1, 1));
    });
}

/// Files that are always ready do not starve sockets.
#[test]
fn socket_is_served_beside_files() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        event_loop
            .attach(file, Interest::READABLE, Trigger::Level, |_, _, _| {})
            .unwrap();
        let (here, mut there) = pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, note)
            .unwrap();
        turn(&mut event_loop);
        assert!(event_loop.data().is_empty());
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |log| !log.is_empty());
    });
}
