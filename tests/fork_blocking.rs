//! A process forks while its pool has a thread at work and a closure in the queue: in the child,
//! all that would need the threads of the parent fails with a text, and a new runtime has threads
//! of its own. The parent is not affected.
//!
//! One test in a binary of its own, because a child has only the thread that forked: a lock of the
//! test harness that another thread held stays locked in it.

mod support;

use reveille::io::Unblock;
use reveille::net::lookup_host;
use reveille::runtime::Pool;
use reveille::{Builder, Runtime, spawn_blocking};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc::channel;
use std::time::Duration;
use support::panics::message_of;
use support::{guarded, is_thread_sanitizer, poll_once};

/// Runs `f` in a child of this process, which has to end without a panic.
fn in_child(f: impl FnOnce()) {
    // SAFETY: the child goes on with this thread alone, and never returns from this block.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the call takes no pointer. A child that hangs is ended by it.
        unsafe { libc::alarm(120) };
        let is_done = catch_unwind(AssertUnwindSafe(f)).is_ok();
        // SAFETY: the call takes no pointer.
        unsafe { libc::_exit(i32::from(!is_done)) };
    }
    let mut status = 0;
    // SAFETY: the status outlives the call; the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child has failed or hung");
}

#[track_caller]
fn assert_refused(text: &str) {
    assert!(text.contains("the parent of this process"), "{text}");
}

/// Ends the child before LeakSanitizer looks for leaks: it takes the memory of the threads that the
/// child does not have for lost.
extern "C" fn end() {
    // SAFETY: the call takes no pointer.
    unsafe { libc::_exit(0) }
}

/// In the child there is no loop that takes an answer, and no other thread. So the thread ends, and
/// the process with it, although threads that wait for a job end much later.
fn closure_that_forks_and_returns_ends_the_child() {
    if is_thread_sanitizer() {
        return println!("skipped: ThreadSanitizer lets no thread end in a child");
    }
    let hour = Duration::from_secs(3600);
    let runtime = Builder::new().blocking_keep_alive(hour).build().unwrap();
    let job = runtime.handle().spawn_blocking(|| {
        // SAFETY: the child goes on with this thread alone.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "{}", io::Error::last_os_error());
        if child == 0 {
            // SAFETY: the handler only ends the process. A child that hangs is ended by the alarm.
            unsafe {
                libc::alarm(60);
                libc::atexit(end);
            }
        }
        child
    });
    let child = runtime.block_on(job).unwrap();
    assert!(child > 0, "the child has answered");
    let mut status = 0;
    // SAFETY: the status outlives the call; the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child has failed or hung");
}

#[test]
fn child_refuses_blocking_code_and_a_new_runtime_runs_it() {
    guarded("default", || {
        closure_that_forks_and_returns_ends_the_child();
        let pool = Pool::new(1, Duration::from_secs(10));
        let runtime = Builder::new().blocking_pool(&pool).build().unwrap();
        let handle = runtime.handle();
        let (gate, wait) = channel::<()>();
        let (begin, begun) = channel();
        let running = handle.spawn_blocking(move || {
            begin.send(()).unwrap();
            wait.recv().unwrap_err();
            7
        });
        begun.recv().unwrap();
        let waiting = [(); 3].map(|()| handle.spawn_blocking(|| 8));
        let mut idle = Unblock::new(&b"abc"[..]);
        let mut busy = Unblock::new(&b"abc"[..]);
        let mut byte = [0];
        let read = runtime.block_on(async { poll_once(&mut pin!(busy.read(&mut byte))).await });
        assert!(read.is_pending());
        let (mut runtime, mut jobs) = (Some(runtime), Some((running, waiting)));
        in_child(|| {
            // The value is in the queue of the parent. One that is nowhere can be used.
            let read = runtime.as_ref().unwrap().block_on(idle.read(&mut byte));
            assert_refused(&read.unwrap_err().to_string());
            let read = support::wait(busy.read(&mut byte)).unwrap_err();
            assert_refused(&read.to_string());
            assert_refused(
                &support::wait(busy.get_mut())
                    .map(drop)
                    .unwrap_err()
                    .to_string(),
            );
            assert_eq!(support::wait(idle.get_mut()).unwrap(), b"abc");
            let (runtime, (running, waiting)) = (runtime.take(), jobs.take().unwrap());
            assert_eq!((pool.threads(), pool.queued()), (0, 0));
            assert_refused(&message_of(|| drop(handle.spawn_blocking(|| 9))));
            let error = handle.try_spawn_blocking(|| 9).unwrap_err();
            assert_refused(&error.to_string());
            assert_eq!(error.into_inner()(), 9);
            let [first, second, third] = waiting;
            first.abort();
            assert!(!first.is_finished());
            assert_refused(&message_of(|| drop(second.wait())));
            assert_refused(&message_of(|| handle.block_on(async {})));
            drop(third);
            drop(runtime);
            assert_refused(&message_of(|| drop(running.wait())));

            // ThreadSanitizer ends a child that starts a thread.
            if !is_thread_sanitizer() {
                let own = Runtime::new().unwrap();
                own.block_on(async {
                    assert_eq!(spawn_blocking(|| 10).await.unwrap(), 10);
                    lookup_host("localhost:80").await.map(drop).unwrap();
                    assert_eq!(idle.read(&mut byte).await.unwrap(), 1);
                    assert_refused(&busy.read(&mut byte).await.unwrap_err().to_string());
                });
            }
            // The pool stays that of the parent.
            let shared = Builder::new().blocking_pool(&pool).build().unwrap();
            assert_refused(&message_of(|| drop(shared.handle().spawn_blocking(|| 11))));
            let error = shared.block_on(lookup_host("localhost:80")).map(drop);
            assert_refused(&error.unwrap_err().to_string());
        });
        assert_eq!((pool.threads(), pool.queued()), (1, 4));
        drop(gate);
        let (running, waiting) = jobs.expect("the child took its copy");
        // Kept until the end, because its drop drops the closures that wait.
        let runtime = runtime.expect("the child took its copy");
        assert_eq!(runtime.block_on(running).unwrap(), 7);
        let bytes = [&mut idle, &mut busy].map(|reader| {
            let read = runtime.block_on(reader.read(&mut byte));
            read.map(|n| (n, byte))
        });
        assert_eq!(bytes.map(Result::unwrap), [(1, *b"a"); 2]);
        assert_eq!(waiting.map(|job| job.wait().unwrap()), [8; 3]);
    });
}
