//! Loom models of the types that threads share: `Remote` and `Reply`.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --lib loom` runs them. Each has two threads and at most two
//! preemptions, so that it ends. Loom runs both threads on one system thread, where they share
//! thread-locals such as `CURRENT`, so the models spawn by `spawn_message`. They do not use the
//! process-wide registry, because a static cannot contain loom's types.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering as StdOrdering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::sync::atomic::{AtomicUsize as LoomUsize, Ordering};
use loom::thread;

use super::key::Key;
use super::remote::{Batch, Message};
use super::reply::{Reply, ReplyTo, Sink};
use super::{
    CURRENT, Description, Id, JoinError, JoinHandle, Outcome, Remote, Runner, Tasks, vtable,
};
use crate::budget::Polling;
use crate::sync::Arc;
use crate::token::RuntimeId;

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_duration = Some(Duration::from_secs(60));
    builder.check(f);
}

/// An unparker whose counter is one of loom's.
struct Unpark(LoomUsize);

impl Unpark {
    fn new() -> std::sync::Arc<Unpark> {
        std::sync::Arc::new(Unpark(LoomUsize::new(0)))
    }

    fn take(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) > 0
    }
}

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waker that counts its wakes, without loom.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, StdOrdering::SeqCst);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(StdOrdering::SeqCst)
    }
}

const ID: RuntimeId = RuntimeId::new(1, 0);

fn remote() -> (Arc<Remote>, std::sync::Arc<Unpark>) {
    let unpark = Unpark::new();
    (Arc::new(Remote::new(ID, unpark.clone().into())), unpark)
}

fn tasks() -> (Tasks, std::sync::Arc<Unpark>) {
    let unpark = Unpark::new();
    (
        Tasks::unregistered(
            ID,
            unpark.clone().into(),
            Polling::new(vtable()),
            128,
            false,
        ),
        unpark,
    )
}

/// Takes the content of the inbox as an owner does. Returns the number of wakes.
fn drain(remote: &Remote, batch: &mut Batch) -> usize {
    if !remote.has_work() {
        return 0;
    }
    remote.take(batch);
    batch.messages.clear();
    batch.woken.drain(..).count()
}

#[test]
fn loom_wake_against_drain_loses_nothing() {
    model(|| {
        let (remote, unpark) = remote();
        let data = Arc::new(LoomUsize::new(0));
        let (there, written) = (remote.clone(), data.clone());
        let thread = thread::spawn(move || {
            for n in 1..=2 {
                written.store(n, Ordering::Relaxed);
                there.wake(3);
            }
        });
        let mut batch = Batch::default();
        // The value when the last wake was taken. The lock must have made the store before that
        // wake visible.
        let mut seen = 0;
        for _ in 0..2 {
            if drain(&remote, &mut batch) > 0 {
                seen = data.load(Ordering::Relaxed);
            }
        }
        thread.join().unwrap();
        if drain(&remote, &mut batch) > 0 {
            seen = data.load(Ordering::Relaxed);
        }
        assert_eq!(seen, 2, "the wake after the last store was lost");
        assert!(unpark.take() && !remote.has_work());
    });
}

#[test]
fn loom_park_does_not_sleep_over_a_wake() {
    model(|| {
        let (remote, unpark) = remote();
        let sleeping = Arc::new(LoomUsize::new(0));
        let there = remote.clone();
        let thread = thread::spawn(move || there.wake(0));
        // The owner publishes that it sleeps, checks again, and only then sleeps. In this model
        // `unpark` is always called.
        sleeping.store(1, Ordering::SeqCst);
        let found = remote.has_work();
        thread.join().unwrap();
        assert!(found || unpark.take(), "asleep with work in the inbox");
    });
}

#[test]
fn loom_close_against_push_answers_every_reply() {
    model(|| {
        let (remote, _unpark) = remote();
        let reply = Reply::<u32>::new(Id::remote(0), None);
        let (there, to) = (remote.clone(), ReplyTo::new(reply.clone()));
        let thread = thread::spawn(move || {
            let key = Key {
                index: 0,
                generation: 0,
            };
            drop(there.push(Message::Attach(key, to)));
            there.wake(0);
        });
        let mut batch = Batch::default();
        remote.close(&mut batch);
        batch.messages.clear();
        thread.join().unwrap();
        assert!(!remote.has_work(), "something came in after the close");
        assert!(reply.is_finished());
        match reply.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => assert!(error.is_runtime_gone()),
            _ => panic!("no answer"),
        }
    });
}

#[test]
fn loom_answer_against_poll_wakes_the_last_waker() {
    model(|| {
        let reply = Reply::<u32>::new(Id::remote(0), None);
        let there = reply.clone();
        let thread = thread::spawn(move || assert!(there.settle(Ok(7)).is_none()));
        let listener = std::sync::Arc::new(Count::default());
        let waker = Waker::from(listener.clone());
        let mut cx = Context::from_waker(&waker);
        let first = reply.poll(&mut cx);
        thread.join().unwrap();
        match first {
            Poll::Ready(result) => assert_eq!(result.unwrap(), 7),
            Poll::Pending => {
                assert_eq!(listener.get(), 1, "pending and not woken");
                assert!(matches!(reply.poll(&mut cx), Poll::Ready(Ok(7))));
            }
        }
    });
}

#[test]
fn loom_answer_against_close_drops_the_output_once() {
    struct Output(std::sync::Arc<Count>);
    impl Drop for Output {
        fn drop(&mut self) {
            self.0.0.fetch_add(1, StdOrdering::SeqCst);
        }
    }
    model(|| {
        let drops = std::sync::Arc::new(Count::default());
        let reply = Reply::<Output>::new(Id::remote(0), None);
        let (there, output) = (reply.clone(), Output(drops.clone()));
        let thread = thread::spawn(move || assert!(there.settle(Ok(output)).is_none()));
        drop(reply.close());
        thread.join().unwrap();
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn loom_abort_while_the_key_is_stored_is_not_lost() {
    model(|| {
        let reply = Reply::<u32>::new(Id::remote(0), None);
        let there = reply.clone();
        let key = Key {
            index: 4,
            generation: 2,
        };
        let thread = thread::spawn(move || there.abort() == Some(key));
        let was_aborted = reply.set_key(key);
        let by_abort = thread.join().unwrap();
        assert!(
            was_aborted != by_abort,
            "by_abort {by_abort}, was_aborted {was_aborted}"
        );
    });
}

#[test]
fn loom_remote_spawn_is_run_and_answered() {
    model(|| {
        let (tasks, unpark) = tasks();
        let there = tasks.remote().clone();
        let thread =
            thread::spawn(move || there.spawn_message(async { 7_u32 }, Description::default()));
        CURRENT.enter(&tasks, || {
            // Once while the other thread spawns, and once after that.
            run(&tasks);
            let mut handle: JoinHandle<u32> = thread.join().unwrap();
            run(&tasks);
            let poll = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(poll, Poll::Ready(Ok(7))));
            assert!(unpark.take());
        });
        assert_eq!(tasks.live(), 0);
    });
}

#[test]
fn loom_remote_spawn_against_shutdown_is_answered() {
    model(|| {
        let (tasks, _unpark) = tasks();
        let there = tasks.remote().clone();
        let thread =
            thread::spawn(move || there.spawn_message(async { 7_u32 }, Description::default()));
        CURRENT.enter(&tasks, || tasks.shutdown());
        let mut handle = thread.join().unwrap();
        let poll = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
        let error: JoinError = match poll {
            Poll::Ready(Err(error)) => error,
            _ => panic!("no answer"),
        };
        assert!(error.is_runtime_gone());
    });
}

fn run(tasks: &Tasks) {
    tasks.handle_messages();
    let runner = Runner::new(tasks);
    while runner.run(&mut 1) != Outcome::Idle {}
}
