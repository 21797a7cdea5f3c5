//! Panics during a shutdown: of tasks, hooks, wakers, values, closures and the handler itself,
//! under each policy.

use super::support::panics::{hushed, text_of};
use super::{LONG, Make, OnDrop, SHORT, assert_clean, on_every_mechanism, spawn_sending};
use reveille::runtime::UnhandledPanic;
use reveille::task::scope;
use reveille::time::{Duration, sleep};
use reveille::{JoinHandle, Runtime, spawn, yield_now};
use std::cell::RefCell;
use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Wake, Waker};

type Texts = Rc<RefCell<Vec<String>>>;

/// A panic without a message on standard error.
fn quiet(text: &'static str) -> ! {
    resume_unwind(Box::new(text))
}

/// A runtime whose policy keeps the text of each panic.
fn noting(make: Make) -> (Runtime, Texts) {
    let texts = Texts::default();
    let into = texts.clone();
    let policy = UnhandledPanic::Call(Box::new(move |report| {
        into.borrow_mut()
            .push(report.message().unwrap_or_default().to_owned());
    }));
    (
        make.builder().unhandled_panic(policy).build().unwrap(),
        texts,
    )
}

/// A value that panics when it is dropped.
struct Panics(&'static str);

impl Drop for Panics {
    fn drop(&mut self) {
        quiet(self.0);
    }
}

async fn never(value: impl Sized) {
    let _value = value;
    pending::<()>().await;
}

#[test]
fn panic_of_a_task_goes_to_its_handle() {
    on_every_mechanism(|make| {
        let (runtime, texts) = noting(make);
        let task = runtime.spawn(async {
            if true {
                quiet("task")
            }
        });
        let error = spawn_sending(&runtime, async { task.await.unwrap_err() });
        let rest = spawn_sending(&runtime, sleep(Duration::from_millis(2)));
        assert_clean(&runtime.shutdown(LONG));
        assert_eq!(text_of(&*error.recv().unwrap().into_panic()), "task");
        rest.recv().unwrap();
        assert!(texts.borrow().is_empty());
    });
}

/// A task, a scope with a child, a refused future, and an output: each reported once, and the other
/// tasks end as usual.
#[test]
fn panics_without_a_handle_go_to_the_handler() {
    on_every_mechanism(|make| {
        let (runtime, texts) = noting(make);
        drop(runtime.spawn(async { quiet("task") }));
        drop(runtime.spawn(async {
            scope(async |s| drop(s.spawn(async { quiet("child") }))).await;
        }));
        drop(runtime.spawn(async { drop(spawn(never(Panics("refused")))) }));
        drop(runtime.spawn(async { Panics("output") }));
        let rest = spawn_sending(&runtime, sleep(Duration::from_millis(2)));
        assert_clean(&runtime.shutdown(LONG));
        rest.recv().unwrap();
        let mut texts = texts.take();
        texts.sort_unstable();
        assert_eq!(texts, ["child", "output", "refused", "task"]);
    });
}

#[test]
fn panics_of_values_that_are_dropped_at_the_deadline_go_to_the_handler() {
    on_every_mechanism(|make| {
        let (runtime, texts) = noting(make);
        let (send, dropped) = channel();
        drop(runtime.spawn(never(Panics("first"))));
        drop(runtime.spawn(never(OnDrop("between", send))));
        let kept = runtime.spawn(never(Panics("second")));
        let report = runtime.shutdown(SHORT);
        assert_eq!(report.tasks().len(), 3);
        assert_eq!(dropped.try_recv(), Ok("between"));
        assert!(kept.wait().unwrap_err().is_runtime_gone());
        assert_eq!(*texts.borrow(), ["first", "second"]);
    });
}

/// Isolate and Propagate write these to standard error and go on. Nothing unwinds.
#[test]
fn panics_at_the_deadline_unwind_under_no_policy() {
    on_every_mechanism(|make| {
        let throws = UnhandledPanic::Call(Box::new(|_| quiet("handler")));
        for policy in [UnhandledPanic::Isolate, UnhandledPanic::Propagate, throws] {
            let runtime = make.builder().unhandled_panic(policy).build().unwrap();
            let (send, dropped) = channel();
            drop(runtime.spawn(never(Panics("at the deadline"))));
            drop(runtime.spawn(never(OnDrop("other", send))));
            assert_eq!(runtime.shutdown(Duration::ZERO).tasks().len(), 2);
            assert_eq!(dropped.try_recv(), Ok("other"));
        }
    });
}

#[test]
fn isolated_panic_does_not_end_the_shutdown() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        drop(runtime.spawn(async { quiet("written to standard error") }));
        let rest = spawn_sending(&runtime, sleep(Duration::from_millis(2)));
        assert_clean(&runtime.shutdown(LONG));
        rest.recv().unwrap();
    });
}

/// What is left when a panic unwinds out of a shutdown.
struct Left {
    runtime: Runtime,
    task: JoinHandle<()>,
    dropped: Receiver<&'static str>,
}

impl Left {
    fn new(runtime: Runtime) -> Left {
        let (send, dropped) = channel();
        let task = runtime.spawn(never(OnDrop("left", send)));
        Left {
            runtime,
            task,
            dropped,
        }
    }

    /// The panic unwinds with this text, and the runtime is gone, with all that was in it.
    #[track_caller]
    fn unwinds_with(self, text: &str) {
        let handle = self.runtime.handle();
        let job = handle.spawn_blocking(|| 7);
        let runtime = self.runtime;
        let panic = hushed(move || runtime.shutdown(LONG)).unwrap_err();
        assert_eq!(text_of(&*panic), text);
        assert_eq!(self.dropped.try_recv(), Ok("left"));
        assert!(self.task.wait().unwrap_err().is_runtime_gone());
        // It may not have begun.
        assert!(job.wait().is_ok_and(|n| n == 7) || handle.spawn(async {}).is_finished());
        assert!(handle.spawn(async {}).wait().unwrap_err().is_runtime_gone());
        // The thread may run another loop.
        assert_eq!(Runtime::new().unwrap().block_on(async { 7 }), 7);
    }
}

#[test]
fn propagated_panic_unwinds_and_drops_the_runtime() {
    on_every_mechanism(|make| {
        let builder = make.builder().unhandled_panic(UnhandledPanic::Propagate);
        let left = Left::new(builder.build().unwrap());
        drop(left.runtime.spawn(async {
            yield_now().await;
            quiet("propagated")
        }));
        left.unwinds_with("propagated");
    });
}

#[test]
fn panic_of_the_handler_unwinds_and_drops_the_runtime() {
    on_every_mechanism(|make| {
        let policy = UnhandledPanic::Call(Box::new(|_| quiet("handler")));
        let left = Left::new(make.builder().unhandled_panic(policy).build().unwrap());
        drop(left.runtime.spawn(async { quiet("task") }));
        left.unwinds_with("handler");
    });
}

#[test]
fn panic_of_a_hook_unwinds_and_drops_the_runtime() {
    on_every_mechanism(|make| {
        let runtime = make.builder().on_park(|| quiet("on_park")).build().unwrap();
        Left::new(runtime).unwinds_with("on_park");
        let runtime = make
            .builder()
            .on_unpark(|| quiet("on_unpark"))
            .build()
            .unwrap();
        let left = Left::new(runtime);
        drop(left.runtime.spawn(sleep(Duration::from_millis(1))));
        left.unwinds_with("on_unpark");
    });
}

#[derive(Default)]
struct WakePanics {
    wakes: AtomicUsize,
}

impl Wake for WakePanics {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        quiet("waker");
    }
}

/// A waker of another executor that waits for a task, and one that waits for a timer.
#[test]
fn panic_of_a_waker_goes_to_the_handler() {
    on_every_mechanism(|make| {
        let (runtime, texts) = noting(make);
        let panics = Arc::new(WakePanics::default());
        let by_timer = panics.clone();
        let mut brief = runtime.spawn(async move {
            while by_timer.wakes.load(Ordering::SeqCst) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        });
        let _timer = runtime.enter(|| {
            let waker = Waker::from(panics);
            let mut cx = Context::from_waker(&waker);
            assert!(Pin::new(&mut brief).poll(&mut cx).is_pending());
            loop {
                let mut timer = Box::pin(sleep(Duration::from_millis(1)));
                // Otherwise its time was over before the poll.
                if timer.as_mut().poll(&mut cx).is_pending() {
                    return timer;
                }
            }
        });
        let report = runtime.shutdown(LONG);
        assert!(report.tasks().is_empty() && !report.is_late());
        assert_eq!(*texts.borrow(), ["waker", "waker"]);
    });
}

#[test]
fn panic_of_a_closure_goes_to_its_handle_or_to_the_handler() {
    on_every_mechanism(|make| {
        let (runtime, texts) = noting(make);
        let handle = runtime.handle();
        let (gate, wait) = channel::<()>();
        let kept = handle.spawn_blocking(move || {
            wait.recv().unwrap_err();
            quiet("kept")
        });
        let (gate_of_other, wait) = channel::<()>();
        drop(handle.spawn_blocking(move || {
            wait.recv().unwrap_err();
            quiet("detached")
        }));
        drop(runtime.spawn(async move { drop((gate, gate_of_other)) }));
        assert_clean(&runtime.shutdown(LONG));
        assert_eq!(text_of(&*kept.wait().unwrap_err().into_panic()), "kept");
        assert_eq!(*texts.borrow(), ["detached"]);
    });
}
