//! C29: regular files, directories and /dev/null are always ready, on every mechanism and with every trigger.

use super::*;
use std::fs::File;
use std::sync::Arc;

type Log = Vec<Cause>;

fn note<T>(event_loop: &mut EventLoop<Log>, _: Source<T>, cause: Cause) {
    event_loop.data_mut().push(cause);
}

/// One of each kind.
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
fn a_file_is_ready_as_often_as_its_trigger_says() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        let name = event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        // None of these turns waits.
        for _ in 0..3 {
            if trigger == Trigger::Level || event_loop.data().is_empty() {
                event_loop.run_once(None).unwrap();
            }
        }
        let expected = if trigger == Trigger::Level { 3 } else { 1 };
        assert_eq!(event_loop.data().len(), expected);
        for cause in event_loop.data() {
            assert!(cause.is_readable() && !cause.is_writable(), "{cause:?}");
        }
        if trigger == Trigger::Level {
            assert!(event_loop.next_deadline().is_some() || event_loop.as_fd().is_ok());
            assert_eq!(turn(&mut event_loop), 1);
        } else {
            assert_quiet(&mut event_loop);
        }
        event_loop.data_mut().clear();
        event_loop.modify(name, Interest::WRITABLE).unwrap();
        event_loop.run_once(None).unwrap();
        assert_eq!(event_loop.data().len(), 1);
        let cause = event_loop.data()[0];
        assert!(cause.is_writable() && !cause.is_readable(), "{cause:?}");
        event_loop.close(name);
        assert_quiet(&mut event_loop);
    });
}

/// Whoever arms a one-shot twice before it has fired is called once.
#[test]
fn a_file_that_is_armed_twice_is_told_once() {
    on_every_file(|loops, trigger, file| {
        if trigger == Trigger::Level {
            return;
        }
        let mut event_loop = loops.make(Log::new());
        let name = event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        event_loop.modify(name, Interest::READABLE).unwrap();
        event_loop.pause(name).unwrap();
        event_loop.resume(name).unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        assert_quiet(&mut event_loop);
        assert_eq!(event_loop.data().len(), 1);
    });
}

#[test]
fn a_paused_file_is_silent_and_its_loop_sleeps() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        let name = event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        event_loop.pause(name).unwrap();
        sleeps(&mut event_loop);
        event_loop.resume(name).unwrap();
        assert_eq!(event_loop.run_once(None).unwrap(), 1);
        event_loop.modify(name, Interest::NONE).unwrap();
        sleeps(&mut event_loop);
    });
}

/// Whoever asks a file for what it never has is not called, and the loop does not spin over it.
#[test]
fn a_file_without_priority_lets_the_loop_sleep() {
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
        assert_eq!(event_loop.run_once(Some(5 * MS)).unwrap(), 0);
    }
    assert!(before.elapsed() >= 15 * MS, "a turn did not wait");
}

#[test]
fn another_trigger_makes_a_file_behave_by_that() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        let name = event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        for other in [Trigger::Level, Trigger::Oneshot, Trigger::Edge] {
            if event_loop.set_trigger(name, other).is_err() {
                continue;
            }
            assert_eq!(turn(&mut event_loop), 1, "{other:?}");
            let again = usize::from(other == Trigger::Level);
            assert_eq!(turn(&mut event_loop), again, "{other:?}");
        }
    });
}

#[test]
fn a_file_is_attached_once_and_given_back() {
    on_every_file(|loops, trigger, file| {
        let mut event_loop = loops.make(Log::new());
        let file = Arc::new(file);
        let name = event_loop
            .attach(file.clone(), Interest::READABLE, trigger, note)
            .unwrap();
        let again = event_loop
            .attach(file.clone(), Interest::READABLE, trigger, note)
            .unwrap_err();
        assert_eq!(again.error().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(event_loop.len(), 1);
        let back = event_loop.detach(name).unwrap();
        assert!(Arc::ptr_eq(&back, &file));
        assert_quiet(&mut event_loop);
        event_loop
            .attach(file, Interest::READABLE, trigger, note)
            .unwrap();
        assert_eq!(turn(&mut event_loop), 1);
    });
}

/// A handler closes another file whose turn comes later in the same batch.
#[test]
fn a_file_closed_in_the_batch_is_not_called() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make((Vec::new(), 0));
        for (_, file) in files() {
            let name = event_loop.attach(
                file,
                Interest::READABLE,
                trigger,
                |event_loop: &mut EventLoop<(Vec<Source<File>>, usize)>, name, _| {
                    event_loop.data_mut().1 += 1;
                    for other in std::mem::take(&mut event_loop.data_mut().0) {
                        assert!(other == name || event_loop.close(other));
                    }
                },
            );
            event_loop.data_mut().0.push(name.unwrap());
        }
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!((event_loop.len(), event_loop.data().1), (1, 1));
    });
}

/// Files that are always ready do not keep sockets from being served.
#[test]
fn a_socket_is_served_beside_files() {
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
