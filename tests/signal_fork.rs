//! Signals in the child of a fork: a callback loop reports those of the child after `after_fork`,
//! and without it takes nothing from the parent.
//!
//! One test in a binary of its own, for the reason that `fork_event_loop.rs` gives.

mod support;

use reveille::event_loop::EventLoop;
use reveille::signal::{SignalKind, signal};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use support::loops::{assert_quiet, run_until};
use support::{Loops, on_every_backend, on_every_loop};

const USR1: SignalKind = SignalKind::user_defined1();
const USR2: SignalKind = SignalKind::user_defined2();

#[test]
fn signals_stay_in_the_process_that_they_were_sent_to() {
    child_hears_its_own_signals_after_a_fork();
    child_without_after_fork_takes_no_signal_from_the_parent();
    runtime_in_a_child_takes_no_signal_from_the_parent();
}

/// Sends a signal to this thread, and returns when its handler has run.
fn raise(kind: SignalKind) {
    // SAFETY: the call takes no pointer.
    assert_eq!(unsafe { libc::raise(kind.as_raw_value()) }, 0);
}

/// Runs `f` in a child of this process and returns its result, which comes back over a pipe. The
/// child has only this thread, and is killed if it hangs.
fn in_child(f: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let mut fds = [0; 2];
    // SAFETY: there is room for the two numbers.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    // SAFETY: the call has just made both, and no other code knows them.
    let [receive, send] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: the child runs on this thread, ends by `_exit` and never returns from this block.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the call takes no pointer; the signal ends the child.
        unsafe { libc::alarm(120) };
        let text = match catch_unwind(AssertUnwindSafe(f)) {
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

/// Makes a loop that adds up the counts of USR1, and 1000 times those of USR2.
fn counting(loops: Loops) -> EventLoop<u32> {
    let mut event_loop = loops.make(0);
    for (kind, factor) in [(USR1, 1), (USR2, 1000)] {
        let add = move |event_loop: &mut EventLoop<u32>, _, count| {
            *event_loop.data_mut() += count * factor;
        };
        event_loop.on_signal(kind, add).unwrap();
    }
    event_loop
}

/// What arrived in the parent is reported there alone. What arrives in the child is reported there
/// alone, also what came before `after_fork`.
fn child_hears_its_own_signals_after_a_fork() {
    on_every_loop(|loops| {
        let mut event_loop = counting(loops);
        raise(USR1);
        run_until(&mut event_loop, |count| *count == 1);
        raise(USR1);
        raise(USR1);
        let result = in_child(|| {
            raise(USR2);
            if let Err(error) = event_loop.after_fork() {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                return Err("skipped".to_owned());
            }
            run_until(&mut event_loop, |count| *count != 1);
            assert_eq!(*event_loop.data(), 1001, "a signal of the parent");
            assert_quiet(&mut event_loop);
            raise(USR1);
            run_until(&mut event_loop, |count| *count == 1002);
            assert_quiet(&mut event_loop);
            drop(std::mem::replace(&mut event_loop, counting(loops)));
            raise(USR2);
            run_until(&mut event_loop, |count| *count == 1000);
            Ok(())
        });
        match result {
            Err(text) if text == "skipped" => println!("skipped: no `after_fork`"),
            result => result.unwrap(),
        }
        run_until(&mut event_loop, |count| *count == 3);
        assert_quiet(&mut event_loop);
        assert_eq!(*event_loop.data(), 3);
    });
}

/// Without `after_fork` the handlers of the child count, and neither wake nor take anything.
fn child_without_after_fork_takes_no_signal_from_the_parent() {
    on_every_loop(|loops| {
        let mut event_loop = counting(loops);
        raise(USR1);
        let in_parent = &mut event_loop;
        let result = in_child(move || {
            raise(USR2);
            assert!(in_parent.turn(Some(Duration::ZERO)).is_err());
            let other = std::mem::replace(in_parent, loops.make(0));
            drop(other);
            // The handler stays, and finds nothing to do.
            raise(USR2);
            Ok(())
        });
        result.unwrap();
        run_until(&mut event_loop, |count| *count == 1);
        assert_quiet(&mut event_loop);
        raise(USR2);
        run_until(&mut event_loop, |count| *count == 1001);
    });
}

fn runtime_in_a_child_takes_no_signal_from_the_parent() {
    on_every_backend(|runtime| {
        let mut listener = runtime.enter(|| signal(USR1)).unwrap();
        let waits = runtime.spawn(async move { listener.recv().await });
        runtime.turn(Some(Duration::ZERO)).unwrap();
        raise(USR1);
        let in_parent = std::ptr::from_ref(runtime);
        let result = in_child(move || {
            raise(USR1);
            assert!(runtime.turn(Some(Duration::ZERO)).is_err());
            // SAFETY: the child never returns to the owner of the runtime, so this copy is dropped
            // once.
            drop(unsafe { in_parent.read() });
            // The child makes one of its own.
            let runtime = reveille::Runtime::new().map_err(|error| error.to_string())?;
            let mut listener = runtime.enter(|| signal(USR1)).unwrap();
            raise(USR1);
            assert_eq!(runtime.block_on(listener.recv()), Some(()));
            Ok(())
        });
        result.unwrap();
        assert_eq!(runtime.block_on(waits).unwrap(), Some(()));
    });
}
