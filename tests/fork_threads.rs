//! A process forks while its other threads make and drop runtimes, wake, spawn and send. What one
//! of them has locked at that moment is locked in the child too, where that thread does not exist:
//! the child must not wait for it.
//!
//! One test in a binary of its own, because a child has only the thread that forked: a lock of the
//! test harness that another thread held stays locked in it.

use reveille::event_loop::{EventLoop, Sender};
use reveille::task::AbortHandle;
use reveille::time::sleep;
use reveille::{Handle, Runtime};
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// Each lock is met in its locked state many times: of a hundred children of a process that does
/// not care about forks, more than one hang.
const FORKS: usize = 300;

/// The same under a sanitizer, where each fork copies much more memory. `.ci/tools/san.sh` sets the
/// variable for all of them.
const SANITIZED_FORKS: usize = 60;

/// How many messages of a kind may be queued.
const QUEUED: usize = 200;

/// What the threads of the parent use, and the child of a fork.
struct Remote {
    root: Waker,
    task: Waker,
    abort: AbortHandle,
    handle: Handle,
    sender: Sender<u32>,
    event_loop: reveille::event_loop::Handle,
}

impl Remote {
    fn new(runtime: &Runtime, event_loop: &mut EventLoop<u32>) -> Remote {
        let waker = || poll_fn(|cx| Poll::Ready(cx.waker().clone()));
        let (send, receive) = std::sync::mpsc::channel();
        let task = runtime.spawn(poll_fn(move |cx| {
            let _ = send.send(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let root = runtime.block_on(async move {
            reveille::task::yield_now().await;
            waker().await
        });
        Remote {
            root,
            task: receive.recv().unwrap(),
            abort: task.abort_handle(),
            handle: runtime.handle().clone(),
            sender: event_loop.on_message(|event_loop: &mut EventLoop<u32>, number: u32| {
                *event_loop.data_mut() += number;
            }),
            event_loop: event_loop.handle(),
        }
    }
}

/// What each thread of the parent does again and again, until the end of the test.
const BUSY: [fn(&Remote, &AtomicUsize); 5] = [
    |remote, _| remote.root.wake_by_ref(),
    |remote, _| remote.task.wake_by_ref(),
    |_, _| drop(Runtime::new().unwrap()),
    |remote, queued| {
        if queued.fetch_add(1, Ordering::Relaxed) < QUEUED {
            drop(remote.handle.spawn(async {}));
            let _ = remote.abort.is_finished();
        }
    },
    |remote, queued| {
        if queued.fetch_add(1, Ordering::Relaxed) < QUEUED {
            remote.sender.send(0).unwrap();
        }
        remote.event_loop.wake();
    },
];

/// What a child does: it uses what it inherited, and makes loops of its own.
fn play_child(remote: &Remote, inherited: Runtime, event_loop: &mut EventLoop<u32>) {
    remote.root.wake_by_ref();
    remote.task.wake_by_ref();
    remote.event_loop.wake();
    drop(remote.handle.spawn(async {}));
    remote.abort.abort();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let task = reveille::spawn(sleep(Duration::from_micros(50)));
        remote.task.wake_by_ref();
        task.await.unwrap();
    });
    drop(inherited);
    match event_loop.after_fork() {
        Ok(()) => {
            remote.sender.send(1).unwrap();
            event_loop.turn(None).unwrap();
            assert_eq!(*event_loop.data(), 1);
        }
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
    }
}

/// Runs `f` in a child and returns how it ended. A child that hangs is ended by SIGALRM.
fn status_of_child(f: impl FnOnce()) -> libc::c_int {
    // SAFETY: the child goes on with this thread alone and ends by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the call takes no pointer.
        unsafe { libc::alarm(60) };
        let done = catch_unwind(AssertUnwindSafe(f)).is_ok();
        // SAFETY: the call takes no pointer.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    let mut status = 0;
    // SAFETY: the status outlives the call; the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

#[test]
fn forks_of_a_process_with_busy_threads_do_not_hang() {
    let is_sanitized = std::env::var_os("ASAN_OPTIONS").is_some();
    let forks = if is_sanitized { SANITIZED_FORKS } else { FORKS };
    let mut runtime = Some(Runtime::new().unwrap());
    let mut event_loop = EventLoop::new(0).unwrap();
    let remote = Remote::new(runtime.as_ref().unwrap(), &mut event_loop);
    let (over, queued) = (AtomicBool::new(false), AtomicUsize::new(0));
    let result = thread::scope(|scope| {
        for busy in BUSY {
            let (remote, over, queued) = (&remote, &over, &queued);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    busy(remote, queued);
                }
            });
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            for fork in 0..forks {
                let status = status_of_child(|| {
                    play_child(&remote, runtime.take().unwrap(), &mut event_loop);
                });
                assert_eq!(status, 0, "the child of fork {fork} failed or hung");
                runtime
                    .as_ref()
                    .unwrap()
                    .turn(Some(Duration::ZERO))
                    .unwrap();
                event_loop.turn(Some(Duration::ZERO)).unwrap();
                queued.store(0, Ordering::Relaxed);
            }
        }));
        over.store(true, Ordering::Relaxed);
        result
    });
    result.unwrap();
}
