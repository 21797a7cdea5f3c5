//! What can be changed about an attached fd: its interest, its trigger, whether it is watched, and the fd itself.

use super::*;
use std::os::fd::AsRawFd;

/// What a handler has read, and under which name it was called.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    names: Vec<Source<UnixStream>>,
}

fn handler(event_loop: &mut EventLoop<Log>, name: Source<UnixStream>, _: Cause) {
    let bytes = drain(event_loop.get(name).unwrap());
    event_loop.data_mut().bytes.extend(bytes);
    event_loop.data_mut().names.push(name);
}

fn attach(event_loop: &mut EventLoop<Log>, trigger: Trigger) -> (Source<UnixStream>, UnixStream) {
    let (here, there) = pair();
    let name = event_loop.attach(here, Interest::READABLE, trigger, handler);
    (name.unwrap(), there)
}

/// C09 and C10 as a handler sees them: what was not read is told as often as the trigger says.
#[test]
fn what_is_not_read_is_told_as_often_as_the_trigger_says() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let (here, _there) = ready_pair();
        let name = event_loop
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
            // More are allowed, none is not.
            Trigger::Edge => assert!(*event_loop.data() >= 1),
        }
        let before = *event_loop.data();
        event_loop.modify(name, Interest::READABLE).unwrap();
        run_until(&mut event_loop, |calls| *calls > before);
    });
}

/// Another interest is in force from the next wait on, and tells what is ready by then.
#[test]
fn another_interest_is_told_what_is_ready_already() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Vec::new());
        let (here, mut there) = pair();
        let name = event_loop
            .attach(here, Interest::NONE, trigger, |event_loop, _, cause| {
                event_loop.data_mut().push(cause);
            })
            .unwrap();
        there.write_all(b"x").unwrap();
        assert_quiet(&mut event_loop);
        event_loop.modify(name, Interest::READABLE).unwrap();
        run_until(&mut event_loop, |causes| !causes.is_empty());
        event_loop.modify(name, Interest::WRITABLE).unwrap();
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

/// From each trigger to each other one.
#[test]
fn another_trigger_is_in_force_at_once() {
    on_every_trigger(|loops, from| {
        for to in [Trigger::Level, Trigger::Oneshot, Trigger::Edge] {
            let mut event_loop = loops.make(0);
            let (here, _there) = ready_pair();
            let name = event_loop
                .attach(here, Interest::READABLE, from, |event_loop, _, _| {
                    *event_loop.data_mut() += 1;
                })
                .unwrap();
            turn(&mut event_loop);
            let changed = event_loop.set_trigger(name, to);
            if let Err(error) = changed {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                continue;
            }
            *event_loop.data_mut() = 0;
            // It is armed afresh: what is ready is told.
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
fn detach_gives_back_what_was_attached() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (here, mut there) = pair();
        let number = here.as_raw_fd();
        let name = event_loop
            .attach(here, Interest::READABLE, trigger, handler)
            .unwrap();
        assert_eq!(event_loop.len(), 1);
        assert_eq!(event_loop.get(name).map(AsRawFd::as_raw_fd), Some(number));
        let mut here = event_loop.detach(name).unwrap();
        assert_eq!(here.as_raw_fd(), number);
        assert!(event_loop.is_empty());
        there.write_all(b"x").unwrap();
        assert_quiet(&mut event_loop);
        assert_eq!(here.read(&mut [0]).unwrap(), 1, "it is open still");
        // It can be attached again, and has a name of its own.
        let again = event_loop.attach(here, Interest::READABLE, trigger, handler);
        assert_ne!(again.unwrap(), name);
    });
}

#[test]
fn what_is_paused_is_silent_until_it_is_resumed() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (name, mut there) = attach(&mut event_loop, trigger);
        assert!(!event_loop.is_paused(name));
        event_loop.pause(name).unwrap();
        event_loop.pause(name).unwrap();
        assert!(event_loop.is_paused(name));
        there.write_all(b"ab").unwrap();
        assert_quiet(&mut event_loop);
        // Asked for while it is paused, and told when it is resumed.
        event_loop.modify(name, Interest::NONE).unwrap();
        event_loop.modify(name, Interest::READABLE).unwrap();
        assert_quiet(&mut event_loop);
        event_loop.set_trigger(name, trigger).unwrap();
        assert_quiet(&mut event_loop);
        event_loop.resume(name).unwrap();
        assert!(!event_loop.is_paused(name));
        run_until(&mut event_loop, |log| log.bytes == b"ab");
    });
}

#[test]
fn a_pause_for_a_while_ends_by_itself() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (name, mut there) = attach(&mut event_loop, trigger);
        there.write_all(b"x").unwrap();
        let start = Instant::now();
        event_loop.pause_for(name, 10 * MS).unwrap();
        assert!(event_loop.is_paused(name));
        run_until(&mut event_loop, |log| !log.bytes.is_empty());
        assert!(start.elapsed() >= 10 * MS);
        assert!(!event_loop.is_paused(name));
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// Whoever speaks last decides: a longer pause, one without end, and an end before its time.
#[test]
fn of_two_pauses_the_last_one_counts() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Log::default());
        let (name, _there) = attach(&mut event_loop, Trigger::Level);
        event_loop.pause_for(name, MS).unwrap();
        event_loop.pause_for(name, HOUR).unwrap();
        pass(Instant::now() + 2 * MS);
        assert_quiet(&mut event_loop);
        assert!(event_loop.is_paused(name), "the first ended the second");
        event_loop.pause_for(name, MS).unwrap();
        event_loop.pause(name).unwrap();
        pass(Instant::now() + 2 * MS);
        assert_quiet(&mut event_loop);
        assert!(event_loop.is_paused(name), "it was to last until resumed");
        event_loop.pause_for(name, MS).unwrap();
        event_loop.resume(name).unwrap();
        assert!(!event_loop.is_paused(name));
        assert_eq!(event_loop.next_deadline(), None);
        event_loop.pause_for(name, MS).unwrap();
        event_loop.close(name);
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// A listener that is replaced while it rests would else rest for ever.
#[test]
fn a_pause_for_a_while_goes_with_the_handler_to_a_new_fd() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (name, _there) = attach(&mut event_loop, trigger);
        let start = Instant::now();
        event_loop.pause_for(name, 5 * MS).unwrap();
        let (here, mut there) = pair();
        let (new, _old) = event_loop.replace_fd(name, here).unwrap();
        assert!(event_loop.is_paused(new));
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |log| log.bytes == b"x");
        assert!(start.elapsed() >= 5 * MS && !event_loop.is_paused(new));
    });
}

#[test]
fn a_replaced_fd_goes_on_with_the_handler() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(Log::default());
        let (name, mut old_there) = attach(&mut event_loop, trigger);
        let (here, mut there) = pair();
        let number = here.as_raw_fd();
        let (new, old) = event_loop.replace_fd(name, here).unwrap();
        assert!(event_loop.is_attached(new) && !event_loop.is_attached(name));
        assert_eq!(event_loop.get(new).unwrap().as_raw_fd(), number);
        assert_ne!(old.as_raw_fd(), number);
        assert_eq!(event_loop.len(), 1);
        old_there.write_all(b"old").unwrap();
        assert_quiet(&mut event_loop);
        there.write_all(b"new").unwrap();
        run_until(&mut event_loop, |log| log.bytes == b"new");
        assert!(event_loop.data().names.iter().all(|called| *called == new));
    });
}

/// A refusal leaves the old one in its place, and gives the new one back.
#[test]
fn a_replacement_that_is_refused_changes_nothing() {
    on_every_trigger(|loops, trigger| {
        use std::sync::Arc;
        let mut event_loop = loops.make(0);
        let mut peers = Vec::new();
        let names = [(); 2].map(|()| {
            let (here, there) = pair();
            peers.push(there);
            event_loop
                .attach(
                    Arc::new(here),
                    Interest::READABLE,
                    trigger,
                    |event_loop, name, _| {
                        drain(event_loop.get(name).unwrap());
                        *event_loop.data_mut() += 1;
                    },
                )
                .unwrap()
        });
        event_loop.set_timeout(names[0], HOUR).unwrap();
        let taken = event_loop.get(names[1]).unwrap().clone();
        let refused = event_loop.replace_fd(names[0], taken.clone()).unwrap_err();
        assert_eq!(refused.error().kind(), io::ErrorKind::AlreadyExists);
        assert!(Arc::ptr_eq(&refused.into_parts().1, &taken));
        assert_eq!(event_loop.len(), 2);
        assert!(event_loop.clear_timeout(names[0]));
        for (at, peer) in peers.iter_mut().enumerate() {
            peer.write_all(b"x").unwrap();
            run_until(&mut event_loop, |calls| *calls > at);
        }
    });
}

/// From inside its own handler, twice, while the event that it is called for is the old one's.
#[test]
fn a_handler_may_replace_its_own_fd() {
    on_every_trigger(|loops, trigger| {
        #[derive(Default)]
        struct World {
            names: Vec<Source<UnixStream>>,
            peers: Vec<UnixStream>,
        }
        let mut event_loop = loops.make(World::default());
        let (here, there) = ready_pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, name, _| {
                drain(event_loop.get(name).unwrap());
                event_loop.data_mut().names.push(name);
                let mut at = name;
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
            run_until(&mut event_loop, |world| world.names.len() == round + 1);
        }
        let names = &event_loop.data().names;
        assert!((1..names.len()).all(|at| names[at] != names[at - 1]));
        drop(there);
    });
}

/// Whoever is called first replaces the other, whose old event is in the batch still; the new fd has nothing to tell.
#[test]
fn what_was_fetched_for_a_replaced_fd_is_not_delivered() {
    on_every_trigger(|loops, trigger| {
        #[derive(Default)]
        struct World {
            names: Vec<Source<UnixStream>>,
            called: usize,
            new: Option<UnixStream>,
        }
        let mut event_loop = loops.make(World::default());
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (here, there) = ready_pair();
            let handler = |event_loop: &mut EventLoop<World>, name, _: Cause| {
                drain(event_loop.get(name).unwrap());
                event_loop.data_mut().called += 1;
                for other in std::mem::take(&mut event_loop.data_mut().names) {
                    if other != name {
                        let (here, there) = pair();
                        event_loop.replace_fd(other, here).unwrap();
                        event_loop.data_mut().new = Some(there);
                    }
                }
            };
            let name = event_loop.attach(here, Interest::READABLE, trigger, handler);
            event_loop.data_mut().names.push(name.unwrap());
            peers.push(there);
        }
        assert_eq!(turn(&mut event_loop), 1);
        assert_quiet(&mut event_loop);
        let mut there = event_loop.data_mut().new.take().unwrap();
        there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |world| world.called == 2);
    });
}

/// Replaced by itself, and then closed: the handler goes, and nothing of it comes back.
#[test]
fn a_handler_may_replace_its_fd_and_close_it() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let (here, there) = ready_pair();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, name, _| {
                    *event_loop.data_mut() += 1;
                    let new = there.try_clone().unwrap();
                    let (new, _old) = event_loop.replace_fd(name, new).unwrap();
                    assert!(event_loop.close(new));
                },
            )
            .unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        assert!(event_loop.is_empty());
        assert_quiet(&mut event_loop);
    });
}

/// A one-shot that has been used up is armed by `modify` and by nothing that happens to it on the way.
#[test]
fn a_pause_by_water_marks_does_not_arm_a_one_shot() {
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
        let Ok(name) = attached else {
            return println!("skipped: no one-shot");
        };
        let marks = WaterMarks { low: 1, high: 2 };
        event_loop.set_water_marks(name, Some(marks)).unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        let (other, _peer) = pair();
        let other = event_loop
            .attach(other, Interest::READABLE, Trigger::Level, |_, _, _| {})
            .unwrap();
        assert!(event_loop.is_paused(name));
        event_loop.close(other);
        assert!(!event_loop.is_paused(name));
        assert_quiet(&mut event_loop);
        event_loop.modify(name, Interest::READABLE).unwrap();
        assert_eq!(turn(&mut event_loop), 1);
    });
}
