//! Loom models of the list of woken children, which wakers of other threads share.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::ready::{ChildWaker, Place, ReadyList};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_duration = Some(Duration::from_secs(60));
    builder.check(f);
}

/// The waker of the task, which counts its wakes.
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls the children that were woken, as the scope does. Returns how many polls it made.
fn poll(ready: &ReadyList, child: &ChildWaker, task: &Arc<Task>, f: impl Fn()) -> usize {
    drop(ready.begin_poll());
    let mut polls = 0;
    loop {
        while let Some(place) = ready.pop() {
            assert_eq!(place, child.place());
            child.begin_poll();
            f();
            polls += 1;
        }
        if ready.end_poll(Waker::from(task.clone())).is_ok() {
            return polls;
        }
    }
}

fn new_child() -> (Arc<ReadyList>, Arc<ChildWaker>, Arc<Task>) {
    let ready = ReadyList::new();
    let place = Place {
        index: 0,
        serial: 1,
    };
    let child = ChildWaker::new(place, ready.clone());
    (ready, child, Arc::new(Task(AtomicUsize::new(0))))
}

/// Neither the wake, nor what the thread has written before it.
#[test]
fn loom_wake_of_a_child_is_never_lost() {
    model(|| {
        let (ready, child, task) = new_child();
        let flag = Arc::new(AtomicBool::new(false));
        child.add();
        let other = {
            let (child, flag) = (child.clone(), flag.clone());
            thread::spawn(move || {
                flag.store(true, Ordering::Relaxed);
                Waker::from(child).wake();
            })
        };
        let seen = std::cell::Cell::new(false);
        let look = || seen.set(flag.load(Ordering::Relaxed));
        poll(&ready, &child, &task, look);
        other.join().unwrap();
        let wakes = task.0.load(Ordering::SeqCst);
        assert!(wakes <= 1, "{wakes} wakes of the task for one of the child");
        // If the poll came too early, the task was woken.
        if wakes == 1 {
            assert_eq!(poll(&ready, &child, &task, look), 1);
        }
        assert!(seen.get(), "the child was polled after the wake");
    });
}

#[test]
fn loom_two_wakes_wake_the_task_once() {
    model(|| {
        let (ready, child, task) = new_child();
        assert_eq!(poll(&ready, &child, &task, || ()), 0);
        let threads = [(); 2].map(|()| {
            let child = child.clone();
            thread::spawn(move || child.add())
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&ready, &child, &task, || ()), 1);
    });
}

#[test]
fn loom_wake_during_the_end_does_nothing_to_the_task() {
    model(|| {
        let (ready, child, task) = new_child();
        assert_eq!(poll(&ready, &child, &task, || ()), 0);
        let other = {
            let child = child.clone();
            thread::spawn(move || child.add())
        };
        let left = ready.close();
        other.join().unwrap();
        let wakes = task.0.load(Ordering::SeqCst);
        assert_eq!(wakes, usize::from(left.is_none()));
        assert_eq!(ready.pop(), None);
    });
}
