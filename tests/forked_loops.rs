//! Loops in the children of forks: with `after_fork` one's own, without it of no use and of no harm.
//!
//! One test in a binary of its own: a child has this thread alone, and what others held stays locked in it.

mod support;

use reveille::backend::{Interest, Readiness, Trigger};
use reveille::event_loop::{Cause, EventLoop, Source};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use support::loops::{MS, assert_quiet, drain, pair, ready_pair, run_until, turn};
use support::{Loops, on_every_loop, on_every_trigger};

#[test]
fn loops_go_on_in_the_children_of_forks() {
    a_child_has_events_of_its_own_and_the_parent_keeps_its();
    a_child_has_timers_of_its_own();
    messages_stay_in_the_process_that_sent_them();
    a_child_that_does_not_say_so_harms_nobody();
    a_fork_inside_a_handler_leaves_each_with_its_own();
    a_child_made_in_a_handler_drops_the_rest_of_the_parents_messages();
    files_stay_ready_in_a_child();
    a_fork_does_not_arm_a_one_shot();
    a_runtime_in_a_child_is_refused_and_harms_nobody();
}

/// Runs `f` in a child of this process; what it returns comes back over a pipe. The child is this thread alone,
/// and is killed if it hangs.
fn in_child(f: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let mut fds = [0; 2];
    // SAFETY: there is room for the two numbers.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    // SAFETY: the call has just made both, and nobody else knows them.
    let [receive, send] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: the child runs on this thread and ends by `_exit`: it comes back to nobody.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the call takes no pointer; the signal ends the child.
        unsafe { libc::alarm(120) };
        let result = catch_unwind(AssertUnwindSafe(f));
        let text = match result {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(text)) => text,
            Err(payload) => match payload.downcast_ref::<String>() {
                Some(text) => text.clone(),
                None => format!("{:?}", payload.downcast_ref::<&str>()),
            },
        };
        let written = File::from(send).write_all(text.as_bytes());
        // SAFETY: the call takes no pointer.
        unsafe { libc::_exit(i32::from(written.is_err())) };
    }
    drop(send);
    let mut text = String::new();
    File::from(receive).read_to_string(&mut text).unwrap();
    // SAFETY: a null status is allowed; the child is ours.
    let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert_eq!(waited, child);
    match text.as_str() {
        "ok" => Ok(()),
        "" => Err("the child ended without a word, or hung".to_owned()),
        _ => Err(text),
    }
}

/// Whether a loop's fd is readable now.
fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the entry is alive during the call.
    let ready = unsafe { libc::poll(&mut entry, 1, 0) };
    assert!(ready >= 0, "{}", io::Error::last_os_error());
    ready > 0
}

/// Counts its calls, and reads what there is.
fn count(event_loop: &mut EventLoop<usize>, name: Source<UnixStream>, cause: Cause) {
    assert!(cause.is_readable());
    drain(event_loop.get(name).unwrap());
    *event_loop.data_mut() += 1;
}

fn attach(event_loop: &mut EventLoop<usize>, trigger: Trigger) -> (Source<UnixStream>, UnixStream) {
    let (here, there) = pair();
    let name = event_loop.attach(here, Interest::READABLE, trigger, count);
    (name.unwrap(), there)
}

/// Whether the mechanism can be taken over by a child: asked as a user would.
fn can_fork(loops: Loops) -> bool {
    let result = in_child(|| {
        let mut event_loop = loops.make(());
        event_loop
            .after_fork()
            .map_err(|error| error.kind().to_string())
    });
    match result {
        Ok(()) => true,
        Err(text) => {
            assert_eq!(text, io::ErrorKind::Unsupported.to_string());
            println!("skipped: {text}");
            false
        }
    }
}

/// Events of fds attached before and after the fork, and none of the parent's is taken away: the child closes
/// everything.
fn a_child_has_events_of_its_own_and_the_parent_keeps_its() {
    on_every_trigger(|loops, trigger| {
        if !can_fork(loops) {
            return;
        }
        let mut event_loop = loops.make(0);
        let (old, mut there) = attach(&mut event_loop, trigger);
        turn(&mut event_loop);
        let peer = there.try_clone().unwrap();
        in_child(|| {
            event_loop.after_fork().map_err(|error| error.to_string())?;
            let mut there = peer;
            // What was attached before reports here too.
            there.write_all(b"x").unwrap();
            run_until(&mut event_loop, |count| *count == 1);
            let (new, mut there) = attach(&mut event_loop, trigger);
            there.write_all(b"x").unwrap();
            run_until(&mut event_loop, |count| *count == 2);
            event_loop.pause(old).unwrap();
            assert!(event_loop.close(old) && event_loop.close(new));
            drop(event_loop.detach(old).unwrap_err());
            Ok(())
        })
        .unwrap();
        if trigger == Trigger::Oneshot {
            event_loop.modify(old, Interest::READABLE).unwrap();
        }
        assert!(event_loop.is_attached(old));
        there.write_all(b"y").unwrap();
        run_until(&mut event_loop, |count| *count == 1);
        assert_quiet(&mut event_loop);
    });
}

/// Timers of before the fork and of after it, timeouts, what was deferred, and hooks.
fn a_child_has_timers_of_its_own() {
    on_every_loop(|loops| {
        if !can_fork(loops) {
            return;
        }
        let mut event_loop = loops.make((0, 0));
        event_loop.set_timer(2 * MS, |event_loop, _| event_loop.data_mut().0 += 1);
        let (here, _there) = pair();
        let name = event_loop
            .attach(
                here,
                Interest::READABLE,
                Trigger::Level,
                |event_loop, _, cause| {
                    event_loop.data_mut().0 += usize::from(cause.is_timeout());
                },
            )
            .unwrap();
        event_loop.set_timeout(name, 2 * MS).unwrap();
        event_loop.defer(|event_loop| event_loop.data_mut().0 += 1);
        event_loop.after_turn(|event_loop| event_loop.data_mut().1 += 1);
        in_child(|| {
            event_loop.after_fork().map_err(|error| error.to_string())?;
            event_loop.set_timer(3 * MS, |event_loop, _| event_loop.data_mut().0 += 1);
            run_until(&mut event_loop, |(done, _)| *done == 4);
            assert!(event_loop.data().1 > 0);
            Ok(())
        })
        .unwrap();
        run_until(&mut event_loop, |(done, _)| *done == 3);
    });
}

/// What was sent before the fork is the parent's; what the child sends is the child's, and wakes it and not the parent.
fn messages_stay_in_the_process_that_sent_them() {
    on_every_loop(|loops| {
        if !can_fork(loops) {
            return;
        }
        let mut event_loop = loops.make(Vec::new());
        let sender =
            event_loop.on_message(|event_loop, text: &str| event_loop.data_mut().push(text));
        sender.send("before").unwrap();
        in_child(|| {
            event_loop.after_fork().map_err(|error| error.to_string())?;
            assert_quiet(&mut event_loop);
            assert!(event_loop.data().is_empty(), "the parent's message");
            assert_eq!(event_loop.next_deadline(), None);
            sender.send("child").unwrap();
            assert!(event_loop.next_deadline().is_some());
            if let Ok(fd) = event_loop.as_fd() {
                assert!(is_readable(fd), "nobody was notified");
            }
            event_loop.run_once(None).unwrap();
            assert_eq!(*event_loop.data(), ["child"]);
            event_loop.handle().stop();
            event_loop.run().unwrap();
            Ok(())
        })
        .unwrap();
        in_child(|| {
            event_loop.after_fork().map_err(|error| error.to_string())?;
            // Before the first turn too, who sends notifies.
            sender.send("child").unwrap();
            if let Ok(fd) = event_loop.as_fd() {
                assert!(is_readable(fd), "nobody was notified");
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!(*event_loop.data(), ["before"]);
        assert_eq!(event_loop.next_deadline(), None);
        assert_quiet(&mut event_loop);
    });
}

/// Without `after_fork` every use is refused with a reason, and neither closing nor dropping takes anything from the parent.
fn a_child_that_does_not_say_so_harms_nobody() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let (one, _one_there) = attach(&mut event_loop, trigger);
        let (two, mut two_there) = attach(&mut event_loop, trigger);
        let (three, mut three_there) = attach(&mut event_loop, trigger);
        turn(&mut event_loop);
        let in_parent = &mut event_loop;
        let result = in_child(move || {
            let refused = in_parent.run_once(Some(Duration::ZERO)).unwrap_err();
            assert!(refused.to_string().contains("after_fork"), "{refused}");
            assert!(in_parent.run().is_err());
            assert!(in_parent.modify(one, Interest::WRITABLE).is_err());
            assert!(in_parent.pause(one).is_err() && !in_parent.is_paused(one));
            let (here, _there) = pair();
            let refused = in_parent.attach(here, Interest::READABLE, trigger, count);
            assert!(refused.is_err());
            assert!(in_parent.close(two));
            let other = std::mem::replace(in_parent, loops.make(0));
            drop(other);
            Ok(())
        });
        result.unwrap();
        assert!(event_loop.is_attached(two) && event_loop.is_attached(three));
        two_there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |count| *count == 1);
        three_there.write_all(b"x").unwrap();
        run_until(&mut event_loop, |count| *count == 2);
    });
}

/// The fork is made in a handler, in the middle of a batch and of a queue: the child goes on with what is its own.
fn a_fork_inside_a_handler_leaves_each_with_its_own() {
    on_every_loop(|loops| {
        if !can_fork(loops) {
            return;
        }
        let mut event_loop = loops.make(Vec::new());
        let sender = event_loop.on_message(|event_loop: &mut EventLoop<Vec<u32>>, number| {
            event_loop.data_mut().push(number);
            if number != 1 {
                return;
            }
            let result = in_child(|| event_loop.after_fork().map_err(|error| error.to_string()));
            result.unwrap();
        });
        let child = event_loop.on_message(|event_loop: &mut EventLoop<Vec<u32>>, ()| {
            event_loop.data_mut().push(100);
        });
        for number in 0..4 {
            sender.send(number).unwrap();
        }
        child.send(()).unwrap();
        assert_eq!(turn(&mut event_loop), 5);
        assert_eq!(*event_loop.data(), [0, 1, 2, 3, 100]);
    });
}

/// The same, seen from the child, which goes on with the loop when the handler has returned.
fn a_child_made_in_a_handler_drops_the_rest_of_the_parents_messages() {
    on_every_loop(|loops| {
        if !can_fork(loops) {
            return;
        }
        in_child(|| {
            // A fork within the fork would be the same to the loop.
            let mut event_loop = loops.make(Vec::new());
            let sender = event_loop.on_message(|event_loop: &mut EventLoop<Vec<u32>>, number| {
                event_loop.data_mut().push(number);
                if number == 1 {
                    event_loop.after_fork().unwrap();
                }
            });
            let other = event_loop.on_message(|event_loop: &mut EventLoop<Vec<u32>>, number| {
                event_loop.data_mut().push(number);
            });
            for number in 0..4 {
                sender.send(number).unwrap();
            }
            other.send(50).unwrap();
            turn(&mut event_loop);
            turn(&mut event_loop);
            assert_eq!(*event_loop.data(), [0, 1]);
            sender.send(7).unwrap();
            other.send(8).unwrap();
            turn(&mut event_loop);
            assert_eq!(*event_loop.data(), [0, 1, 7, 8]);
            Ok(())
        })
        .unwrap();
    });
}

/// What is always ready is known to no kernel, so it is the child's too, wherever in its batch the fork was made.
fn files_stay_ready_in_a_child() {
    on_every_trigger(|loops, trigger| {
        if !can_fork(loops) {
            return;
        }
        in_child(|| {
            let mut event_loop = loops.make(0);
            for _ in 0..3 {
                let file = File::open("/dev/null").unwrap();
                event_loop
                    .attach(
                        file,
                        Interest::READABLE,
                        trigger,
                        |event_loop, name, cause| {
                            assert_eq!(cause, Cause::Ready(Readiness::READABLE));
                            *event_loop.data_mut() += 1;
                            if *event_loop.data() == 1 {
                                event_loop.after_fork().unwrap();
                            }
                            event_loop.close(name);
                        },
                    )
                    .unwrap();
            }
            run_until(&mut event_loop, |calls| *calls == 3);
            Ok(())
        })
        .unwrap();
    });
}

/// A one-shot that was used up before the fork is not armed by it.
fn a_fork_does_not_arm_a_one_shot() {
    on_every_trigger(|loops, trigger| {
        if trigger != Trigger::Oneshot || !can_fork(loops) {
            return;
        }
        let mut event_loop = loops.make(0);
        let (here, _there) = ready_pair();
        let name = event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, _, _| {
                *event_loop.data_mut() += 1;
            })
            .unwrap();
        run_until(&mut event_loop, |count| *count == 1);
        in_child(|| {
            event_loop.after_fork().map_err(|error| error.to_string())?;
            assert_quiet(&mut event_loop);
            event_loop.modify(name, Interest::READABLE).unwrap();
            run_until(&mut event_loop, |count| *count == 2);
            Ok(())
        })
        .unwrap();
    });
}

/// The async side: a turn in the child is refused, and dropping the runtime there takes nothing from the parent.
fn a_runtime_in_a_child_is_refused_and_harms_nobody() {
    use reveille::Runtime;
    use reveille::io::AsyncFd;
    support::on_every_backend(|runtime| {
        let (here, mut there) = pair();
        let fd = runtime.block_on(async { AsyncFd::new(here).unwrap() });
        let waiting = runtime.spawn(async move {
            let mut guard = fd.readable().await.unwrap();
            guard.clear_ready();
            drain(fd.get_ref())
        });
        runtime.turn(Some(Duration::ZERO)).unwrap();
        let in_parent = std::ptr::from_ref(runtime);
        in_child(move || {
            let refused = runtime.turn(Some(Duration::ZERO)).unwrap_err();
            assert!(refused.to_string().contains("fork"), "{refused}");
            // SAFETY: the child never comes back to who owns the runtime, so this copy is dropped once.
            drop(unsafe { in_parent.read() });
            // Another one is the child's own.
            let runtime = Runtime::new().map_err(|error| error.to_string())?;
            runtime.block_on(reveille::time::sleep(MS));
            Ok(())
        })
        .unwrap();
        there.write_all(b"x").unwrap();
        assert_eq!(runtime.block_on(waiting).unwrap(), b"x");
    });
}
