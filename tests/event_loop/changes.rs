//! Changes of an attached fd: its interest, its trigger, pauses, and the fd itself.

use super::*;
use std::os::fd::AsRawFd;

/// The bytes that a handler has read, and the keys it was called with.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    keys: Vec<Key<UnixStream>>,
}

fn handler(event_loop: &mut EventLoop<Log>, key: Key<UnixStream>, _: Cause) {
    let bytes = drain(event_loop.get(key).unwrap());
    event_loop.data_mut().bytes.extend(bytes);
    event_loop.data_mut().keys.push(key);
}

fn attach(event_loop: &mut EventLoop<Log>, trigger: Trigger) -> (Key<UnixStream>, UnixStream) {
    let (here, there) = pair();
    let key = event_loop.attach(here, Interest::READABLE, trigger, handler);
    (key.unwrap(), there)
}

/// C09 and C10. In every turn with a level trigger, once with a one-shot, at least once at an edge.
#[test]
fn unread_data_is_reported_as_often_as_the_trigger_requires() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let (here, _there) = ready_pair();
        let key = event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, _, cause| {
                assert!(cause.is_readable() && !cause.is_writable());
                *event_loop.data_mut() += 1;
            })
            .unwrap();
        for _ in 0..3 {
            turn(&mut event_loop);
        }
        match trigger {
            Trigger::Level => assert_eq!(*event_loop.data(), 3),
            Trigger::Oneshot => assert_eq!(*event_loop.data(), 1),
            // A mechanism may report an edge more than once.
            Trigger::Edge => assert!(*event_loop.data() >= 1),
        }
        let before = *event_loop.data();
        event_loop.modify(key, Interest::READABLE).unwrap();
        run_until(&mut event_loop, |calls| *calls > before);
    });
}

/// A new interest applies from the next wait on.
#[test]
fn modify_reports_what_is_already_ready() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let (here, mut there) = pair();
        let key = event_loop
            .attach(here, Interest::EMPTY, trigger, |event_loop, _, cause| {
                event_loop.data_mut().push(cause);
            })
            .unwrap();
        there.write_all(b"x").unwrap();
        assert_quiet(&mut event_loop);
        event_loop.modify(key, Interest::READABLE).unwrap();
        run_until(&mut event_loop, |causes| !causes.is_empty());
        event_loop.modify(key, Interest::WRITABLE).unwrap();
        event_loop.data_mut().clear();
        run_until(&mut event_loop, |causes: &Vec<Cause>| !causes.is_empty());
        let causes = event_loop.data();
        assert!(
            causes
                .iter()
                .all(|cause| cause.is_writable() && !cause.is_readable())
        );
    });
}

/// From each trigger to each other trigger.
#[test]
fn set_trigger_takes_effect_at_once() {
    on_every_trigger(|loops, from| {
        for to in [Trigger::Level, Trigger::Oneshot, Trigger::Edge] {
            let mut event_loop = loops.make(0);
            let (here, _there) = ready_pair();
            let key = event_loop
                .attach(here, Interest::READABLE, from, |event_loop, _, _| {
                    *event_loop.data_mut() += 1;
                })
                .unwrap();
            turn(&mut event_loop);
            let changed = event_loop.set_trigger(key, to);
            if let Err(error) = changed {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                continue;
            }
            *event_loop.data_mut() = 0;
            // This arms the fd, so its readiness is reported.
            run_until(&mut event_loop, |calls| *calls > 0);
            let before = *event_loop.data();
            turn(&mut event_loop);
            match to {
                Trigger::Level => assert_eq!(*event_loop.data(), before + 1),
                Trigger::Oneshot => assert_eq!(*event_loop.data(), before),
                Trigger::Edge => {}
            }
        }
    });
}

#[test]
fn detach_returns_the_attached_value() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (here, mut there) = pair();
        let number = here.as_raw_fd();
        let key = event_loop
            .attach(here, Interest::READABLE, trigger, handler)
            .unwrap();
        assert_eq!(event_loop.len(), 1);
        assert_eq!(event_loop.get(key).map(AsRawFd::as_raw_fd), Some(number));
        let mut here = event_loop.detach(key).unwrap();
        assert_eq!(here.as_raw_fd(), number);
        assert!(event_loop.is_empty());
        there.write_all(b"x").unwrap();
        assert_quiet(&mut event_loop);
        assert_eq!(here.read(&mut [0]).unwrap(), 1, "it is still open");
        // It can be attached again, under a new key.
        let again = event_loop.attach(here, Interest::READABLE, trigger, handler);
        assert_ne!(again.unwrap(), key);
    });
}

#[test]
fn paused_fd_is_silent_until_resume() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (key, mut there) = attach(&mut event_loop, trigger);
        assert!(!event_loop.is_paused(key));
        event_loop.pause(key).unwrap();
        event_loop.pause(key).unwrap();
        assert!(event_loop.is_paused(key));
        there.write_all(b"ab").unwrap();
        assert_quiet(&mut event_loop);
        // The interest is changed during the pause and applies after it.
        event_loop.modify(key, Interest::EMPTY).unwrap();
        event_loop.modify(key, Interest::READABLE).unwrap();
        assert_quiet(&mut event_loop);
        event_loop.set_trigger(key, trigger).unwrap();
        assert_quiet(&mut event_loop);
        event_loop.resume(key).unwrap();
        assert!(!event_loop.is_paused(key));
        run_until(&mut event_loop, |log| log.bytes == b"ab");
    });
}

#[test]
fn pause_for_ends_by_itself() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (key, mut there) = attach(&mut event_loop, trigger);
        there.write_all(b"x").unwrap();
        let start = Instant::now();
        event_loop.pause_for(key, 10 * MS).unwrap();
        assert!(event_loop.is_paused(key));
        run_until(&mut event_loop, |log| !log.bytes.is_empty());
        assert!(start.elapsed() >= 10 * MS);
        assert!(!event_loop.is_paused(key));
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// The last call counts: a longer pause, a pause without end, and an early `resume`.
#[test]
fn pause_replaces_an_earlier_pause() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Log::default());
        let (key, _there) = attach(&mut event_loop, Trigger::Level);
        event_loop.pause_for(key, MS).unwrap();
        event_loop.pause_for(key, HOUR).unwrap();
        pass(Instant::now() + 2 * MS);
        assert_quiet(&mut event_loop);
        assert!(event_loop.is_paused(key), "the first ended the second");
        event_loop.pause_for(key, MS).unwrap();
        event_loop.pause(key).unwrap();
        pass(Instant::now() + 2 * MS);
        assert_quiet(&mut event_loop);
        assert!(event_loop.is_paused(key), "a pause without end has ended");
        event_loop.pause_for(key, MS).unwrap();
        event_loop.resume(key).unwrap();
        assert!(!event_loop.is_paused(key));
        assert_eq!(event_loop.next_deadline(), None);
        event_loop.pause_for(key, MS).unwrap();
        event_loop.close(key);
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// If the end were lost, a listener that is replaced during a pause would never resume.
#[test]
fn replace_fd_keeps_a_pause_with_an_end() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (key, _there) = attach(&mut event_loop, trigger);
        let start = Instant::now();
        event_loop.pause_for(key, 5 * MS).unwrap();
        let (here, mut there) = pair();
        let (new, _old) = event_loop.replace_fd(key, here).unwrap();
        assert!(event_loop.is_paused(new));
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |log| log.bytes == b"x");
        assert!(start.elapsed() >= 5 * MS && !event_loop.is_paused(new));
    });
}

#[test]
fn replace_fd_keeps_the_handler() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (key, mut old_there) = attach(&mut event_loop, trigger);
        let (here, mut there) = pair();
        let number = here.as_raw_fd();
        let (new, old) = event_loop.replace_fd(key, here).unwrap();
        assert!(event_loop.is_attached(new) && !event_loop.is_attached(key));
        assert_eq!(event_loop.get(new).unwrap().as_raw_fd(), number);
        assert_ne!(old.as_raw_fd(), number);
        assert_eq!(event_loop.len(), 1);
        old_there.write_all(b"old").unwrap();
        assert_quiet(&mut event_loop);
        there.write_all(b"new").unwrap();
        run_until(&mut event_loop, |log| log.bytes == b"new");
        assert!(event_loop.data().keys.iter().all(|called| *called == new));
    });
}

/// On failure the old fd stays attached, and the error contains the new one.
#[test]
fn replace_fd_changes_nothing_on_failure() {
    on_every_trigger(|loops, trigger| {
        use std::sync::Arc;
        let mut event_loop = loops.make(0);
        let mut peers = Vec::new();
        let keys = [(); 2].map(|()| {
            let (here, there) = pair();
            peers.push(there);
            event_loop
                .attach(
                    Arc::new(here),
                    Interest::READABLE,
                    trigger,
                    |event_loop, key, _| {
                        drain(event_loop.get(key).unwrap());
                        *event_loop.data_mut() += 1;
                    },
                )
                .unwrap()
        });
        event_loop.set_timeout(keys[0], HOUR).unwrap();
        let taken = event_loop.get(keys[1]).unwrap().clone();
        let refused = event_loop.replace_fd(keys[0], taken.clone()).unwrap_err();
        assert_eq!(refused.error().kind(), io::ErrorKind::AlreadyExists);
        assert!(Arc::ptr_eq(&refused.into_parts().0, &taken));
        assert_eq!(event_loop.len(), 2);
        assert!(event_loop.clear_timeout(keys[0]));
        for (at, peer) in peers.iter_mut().enumerate() {
            peer.write_all(b"x").unwrap();
            run_until(&mut event_loop, |calls| *calls > at);
        }
    });
}

/// In the handler of the old fd, twice.
#[test]
fn replace_fd_may_be_called_by_the_own_handler() {
    on_every_trigger(|loops, trigger| {
        #[derive(Default)]
        struct World {
            keys: Vec<Key<UnixStream>>,
            peers: Vec<UnixStream>,
        }
        let mut event_loop = loops.make(World::default());
        let (here, there) = ready_pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, key, _| {
                drain(event_loop.get(key).unwrap());
                event_loop.data_mut().keys.push(key);
                let mut at = key;
                for _ in 0..2 {
                    let (here, there) = pair();
                    let (new, _) = event_loop.replace_fd(at, here).unwrap();
                    event_loop.data_mut().peers.push(there);
                    at = new;
                }
            })
            .unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        assert_quiet(&mut event_loop);
        for round in 1..4 {
            assert_eq!(event_loop.len(), 1);
            let mut there = event_loop.data_mut().peers.pop().unwrap();
            there.write_all(b"x").unwrap();
            run_until(&mut event_loop, |world| world.keys.len() == round + 1);
        }
        let keys = &event_loop.data().keys;
        assert!((1..keys.len()).all(|at| keys[at] != keys[at - 1]));
        drop(there);
    });
}

/// The first handler replaces the other fd, whose event is still in the batch. The new fd is not
/// ready.
#[test]
fn replace_fd_drops_events_of_the_old_fd() {
    on_every_trigger(|loops, trigger| {
        #[derive(Default)]
        struct World {
            keys: Vec<Key<UnixStream>>,
            called: usize,
            new: Option<UnixStream>,
        }
        let mut event_loop = loops.make(World::default());
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (here, there) = ready_pair();
            let handler = |event_loop: &mut EventLoop<World>, key, _: Cause| {
                drain(event_loop.get(key).unwrap());
                event_loop.data_mut().called += 1;
                for other in std::mem::take(&mut event_loop.data_mut().keys) {
                    if other != key {
                        let (here, there) = pair();
                        event_loop.replace_fd(other, here).unwrap();
                        event_loop.data_mut().new = Some(there);
                    }
                }
            };
            let key = event_loop.attach(here, Interest::READABLE, trigger, handler);
            event_loop.data_mut().keys.push(key.unwrap());
            peers.push(there);
        }
        assert_eq!(turn(&mut event_loop), 1);
        assert_quiet(&mut event_loop);
        let mut there = event_loop.data_mut().new.take().unwrap();
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |world| world.called == 2);
    });
}

/// A handler replaces its fd and closes the new one.
#[test]
fn replace_fd_and_close_may_be_called_by_the_own_handler() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let (here, there) = ready_pair();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, key, _| {
                    *event_loop.data_mut() += 1;
                    let new = there.try_clone().unwrap();
                    let (new, _old) = event_loop.replace_fd(key, new).unwrap();
                    assert!(event_loop.close(new));
                },
            )
            .unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        assert!(event_loop.is_empty());
        assert_quiet(&mut event_loop);
    });
}

/// After its event a one-shot is armed by `modify`, and not by the end of a pause by water marks.
#[test]
fn water_marks_do_not_arm_a_one_shot() {
    use reveille::event_loop::WaterMarks;
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        let (here, _there) = ready_pair();
        let attached = event_loop.attach(
            here,
            Interest::READABLE,
            Trigger::Oneshot,
            |event_loop, _, _| *event_loop.data_mut() += 1,
        );
        let Ok(key) = attached else {
            return println!("skipped: no one-shot");
        };
        let marks = WaterMarks { low: 1, high: 2 };
        event_loop.set_water_marks(key, Some(marks)).unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        let (other, _peer) = pair();
        let other = event_loop
            .attach(other, Interest::READABLE, Trigger::Level, |_, _, _| {})
            .unwrap();
        assert!(event_loop.is_paused(key));
        event_loop.close(other);
        assert!(!event_loop.is_paused(key));
        assert_quiet(&mut event_loop);
        event_loop.modify(key, Interest::READABLE).unwrap();
        assert_eq!(turn(&mut event_loop), 1);
    });
}
