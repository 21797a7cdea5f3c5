//! Event loops in the child of a fork: `after_fork` makes a loop the child's own. Without it the
//! loop is refused, and takes nothing from the parent.
//!
//! One test in a binary of its own, because a child has only the thread that forked: a lock of the
//! test harness that another thread held stays locked in it.

mod support;

use reveille::backend::{Interest, Ready, Trigger};
use reveille::event_loop::{Cause, EventLoop, Key};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use support::loops::{MS, assert_quiet, drain, pair, ready_pair, run_until, turn};
use support::{Loops, on_every_loop, on_every_trigger};

#[test]
fn event_loops_work_in_the_children_of_forks() {
    after_fork_gives_the_child_events_of_its_own();
    after_fork_gives_the_child_timers_of_its_own();
    messages_stay_in_the_process_that_sent_them();
    child_without_after_fork_takes_nothing_from_the_parent();
    after_fork_in_a_handler_of_the_parent_changes_the_child_alone();
    after_fork_in_a_handler_drops_the_rest_of_the_messages();
    after_fork_keeps_files_ready();
    after_fork_does_not_arm_a_one_shot();
    runtime_in_a_child_takes_nothing_from_the_parent();
}

/// Runs `f` in a child of this process and returns its result, which comes back over a pipe. The
/// child has only this thread, and is killed if it hangs.
fn in_child(f: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let mut fds = [0; 2];
    // SAFETY: there is room for the two numbers.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    // SAFETY: the call has just made both, and no other code knows them.
    let [receive, send] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: the child runs on this thread and ends by `_exit` and never returns from this block.
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
fn count(event_loop: &mut EventLoop<usize>, key: Key<UnixStream>, cause: Cause) {
    assert!(cause.is_readable());
    drain(event_loop.get(key).unwrap());
    *event_loop.data_mut() += 1;
}

fn attach(event_loop: &mut EventLoop<usize>, trigger: Trigger) -> (Key<UnixStream>, UnixStream) {
    let (here, there) = pair();
    let key = event_loop.attach(here, Interest::READABLE, trigger, count);
    (key.unwrap(), there)
}

/// Whether `after_fork` works with this mechanism.
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

/// The child gets events of fds that were attached before and after the fork. It closes all of
/// them, and the parent still gets its own.
fn after_fork_gives_the_child_events_of_its_own() {
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
            // An fd that was attached before the fork reports in the child, too.
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

/// Timers from before and after the fork, timeouts, deferred functions and hooks.
fn after_fork_gives_the_child_timers_of_its_own() {
    on_every_loop(|loops| {
        if !can_fork(loops) {
            return;
        }
        let mut event_loop = loops.make((0, 0));
        event_loop.set_timer(2 * MS, |event_loop, _| event_loop.data_mut().0 += 1);
        let (here, _there) = pair();
        let key = event_loop
            .attach(
                here,
                Interest::READABLE,
                Trigger::Level,
                |event_loop, _, cause| {
                    event_loop.data_mut().0 += usize::from(cause.is_timeout());
                },
            )
            .unwrap();
        event_loop.set_timeout(key, 2 * MS).unwrap();
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

/// The parent gets the messages that were sent before the fork. The child gets those that it sends,
/// and they wake only the child.
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
            if let Ok(fd) = event_loop.host_fd() {
                assert!(is_readable(fd), "the loop was not notified");
            }
            event_loop.turn(None).unwrap();
            assert_eq!(*event_loop.data(), ["child"]);
            event_loop.handle().stop();
            event_loop.run().unwrap();
            Ok(())
        })
        .unwrap();
        in_child(|| {
            event_loop.after_fork().map_err(|error| error.to_string())?;
            // A send before the first turn notifies as well.
            sender.send("child").unwrap();
            if let Ok(fd) = event_loop.host_fd() {
                assert!(is_readable(fd), "the loop was not notified");
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

/// Without `after_fork` every use is refused with a reason, and neither closing nor dropping takes
/// anything from the parent.
fn child_without_after_fork_takes_nothing_from_the_parent() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let (one, _one_there) = attach(&mut event_loop, trigger);
        let (two, mut two_there) = attach(&mut event_loop, trigger);
        let (three, mut three_there) = attach(&mut event_loop, trigger);
        turn(&mut event_loop);
        let in_parent = &mut event_loop;
        let result = in_child(move || {
            let refused = in_parent.turn(Some(Duration::ZERO)).unwrap_err();
            assert!(refused.to_string().contains("after_fork"), "{refused}");
            assert!(in_parent.run().is_err() && in_parent.host_fd().is_err());
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

/// The process forks in a handler, in the middle of a batch and of a queue. The parent goes on with
/// both.
fn after_fork_in_a_handler_of_the_parent_changes_the_child_alone() {
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
fn after_fork_in_a_handler_drops_the_rest_of_the_messages() {
    on_every_loop(|loops| {
        if !can_fork(loops) {
            return;
        }
        in_child(|| {
            // `after_fork` without a fork: the loop sees no difference.
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

/// No kernel object knows of files that are always ready, so the child gets their events as well,
/// wherever in a batch the process forked.
fn after_fork_keeps_files_ready() {
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
                        |event_loop, key, cause| {
                            assert_eq!(cause, Cause::Ready(Ready::READABLE));
                            *event_loop.data_mut() += 1;
                            if *event_loop.data() == 1 {
                                event_loop.after_fork().unwrap();
                            }
                            event_loop.close(key);
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
fn after_fork_does_not_arm_a_one_shot() {
    on_every_trigger(|loops, trigger| {
        if trigger != Trigger::Oneshot || !can_fork(loops) {
            return;
        }
        let mut event_loop = loops.make(0);
        let (here, _there) = ready_pair();
        let key = event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, _, _| {
                *event_loop.data_mut() += 1;
            })
            .unwrap();
        run_until(&mut event_loop, |count| *count == 1);
        in_child(|| {
            event_loop.after_fork().map_err(|error| error.to_string())?;
            assert_quiet(&mut event_loop);
            event_loop.modify(key, Interest::READABLE).unwrap();
            run_until(&mut event_loop, |count| *count == 2);
            Ok(())
        })
        .unwrap();
    });
}

/// A turn of a runtime in the child is an error, and dropping it there takes nothing from the
/// parent.
fn runtime_in_a_child_takes_nothing_from_the_parent() {
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
            // SAFETY: the child never returns to the owner of the runtime, so this copy is dropped
            // once.
            drop(unsafe { in_parent.read() });
            // The child makes one of its own.
            let runtime = Runtime::new().map_err(|error| error.to_string())?;
            runtime.block_on(reveille::time::sleep(MS));
            Ok(())
        })
        .unwrap();
        there.write_all(b"x").unwrap();
        assert_eq!(runtime.block_on(waiting).unwrap(), b"x");
    });
}
