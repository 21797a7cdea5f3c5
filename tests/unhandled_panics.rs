//! A panic that no handle reports goes to the policy `UnhandledPanic`, in the same call of the loop
//! that finds it.

mod support;

use reveille::backend::{
    Backend, BackendKind, Capabilities, Events, Interest, Notifier, Notify, Token, Trigger,
};
use reveille::io::AsyncFd;
use reveille::runtime::UnhandledPanic;
use reveille::task::{JoinSet, scope};
use reveille::time::{Duration, now};
use reveille::{Builder, JoinHandle, Runtime, spawn, task, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use support::on_every_backend;

type Texts = Rc<RefCell<Vec<&'static str>>>;

/// Returns a runtime on the same mechanism whose policy records each panic and wakes `waker`.
fn noting(like: &Runtime, waker: Option<Rc<RefCell<Option<Waker>>>>) -> (Runtime, Texts) {
    let texts = Texts::default();
    let into = texts.clone();
    let policy = UnhandledPanic::Call(Box::new(move |report| {
        into.borrow_mut()
            .push(*report.into_payload().downcast::<&'static str>().unwrap());
        if let Some(waker) = waker.as_ref().and_then(|waker| waker.take()) {
            waker.wake();
        }
    }));
    (build(like, policy), texts)
}

fn build(like: &Runtime, policy: UnhandledPanic) -> Runtime {
    let kind: BackendKind = like.backend_name().parse().unwrap();
    Builder::new()
        .backend(kind)
        .unhandled_panic(policy)
        .build()
        .unwrap()
}

/// A panic without a message on standard error.
fn quiet(text: &'static str) -> ! {
    resume_unwind(Box::new(text))
}

/// A task that has panicked and its handle.
async fn panicked(text: &'static str) -> JoinHandle<()> {
    let task = spawn(async move { quiet(text) });
    while !task.is_finished() {
        yield_now().await;
    }
    task
}

fn text_of(out: thread::Result<()>) -> &'static str {
    *out.unwrap_err().downcast::<&'static str>().unwrap()
}

#[test]
fn panic_is_reported_when_another_thread_drops_the_handle() {
    on_every_backend(|like| {
        let waker = Rc::new(RefCell::new(None));
        let (runtime, texts) = noting(like, Some(waker.clone()));
        runtime.block_on(async {
            let task = panicked("elsewhere").await;
            // Sent while the loop is busy, so that it handles the message just before it would
            // sleep.
            thread::spawn(move || drop(task)).join().unwrap();
            // Sleeps forever unless the call of the policy wakes it.
            poll_fn(|cx| {
                *waker.borrow_mut() = Some(cx.waker().clone());
                if texts.borrow().is_empty() {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
        });
        assert_eq!(*texts.borrow(), ["elsewhere"]);
    });
}

#[test]
fn panic_is_reported_when_a_hook_drops_the_handle() {
    on_every_backend(|like| {
        let kind: BackendKind = like.backend_name().parse().unwrap();
        let held: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
        let (drops, wakes) = (held.clone(), waker.clone());
        let policy = UnhandledPanic::Call(Box::new(move |_| {
            wakes.take().into_iter().for_each(Waker::wake);
        }));
        let runtime = Builder::new()
            .backend(kind)
            .on_park(move || drop(drops.take()))
            .unhandled_panic(policy)
            .build()
            .unwrap();
        runtime.block_on(async {
            *held.borrow_mut() = Some(panicked("by a hook").await);
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                *waker.borrow_mut() = Some(cx.waker().clone());
                if polls == 1 {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
        });
    });
}

#[test]
fn turn_reports_the_panics_that_it_finds() {
    on_every_backend(|like| {
        let (runtime, texts) = noting(like, None);
        let task = runtime.spawn(async { quiet("hosted") });
        runtime.turn(Some(Duration::ZERO)).unwrap();
        thread::spawn(move || drop(task)).join().unwrap();
        assert!(runtime.next_deadline().is_some_and(|at| at <= now()));
        runtime.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(*texts.borrow(), ["hosted"]);
        assert_eq!(runtime.next_deadline(), None);

        // A task drops the handle in the last batch of a turn.
        let task = runtime.spawn(async { quiet("by a task") });
        runtime.turn(Some(Duration::ZERO)).unwrap();
        drop(runtime.spawn(async move {
            yield_now().await;
            drop(task);
        }));
        runtime.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(*texts.borrow(), ["hosted", "by a task"]);
        assert_eq!(runtime.next_deadline(), None);

        // Inside the runtime but outside of its loop, so the next turn is due at once.
        let task = runtime.spawn(async { quiet("in enter") });
        runtime.turn(Some(Duration::ZERO)).unwrap();
        runtime.enter(|| drop(task));
        assert!(runtime.next_deadline().is_some_and(|at| at <= now()));
        runtime.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(*texts.borrow(), ["hosted", "by a task", "in enter"]);
        assert_eq!(runtime.next_deadline(), None);
    });
}

#[test]
fn run_reports_a_panic_before_it_returns() {
    on_every_backend(|like| {
        let (runtime, texts) = noting(like, None);
        let handle = runtime.handle();
        drop(runtime.spawn(async move {
            let task = panicked("before the stop").await;
            thread::spawn(move || drop(task)).join().unwrap();
            handle.stop();
        }));
        runtime.run().unwrap();
        assert_eq!(*texts.borrow(), ["before the stop"]);
    });
}

#[test]
fn propagate_panics_in_the_call_in_which_the_handle_is_dropped() {
    on_every_backend(|like| {
        let runtime = build(like, UnhandledPanic::Propagate);
        let call = |dropped: &Cell<bool>, elsewhere: bool| {
            catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async {
                    let task = panicked("the right one").await;
                    dropped.set(true);
                    if elsewhere {
                        thread::spawn(move || drop(task)).join().unwrap();
                        pending::<()>().await;
                    }
                    // Otherwise the handle is dropped in the last poll.
                });
            }))
        };
        for elsewhere in [false, true] {
            let dropped = Cell::new(false);
            assert_eq!(text_of(call(&dropped, elsewhere)), "the right one");
            assert!(dropped.get());
            assert_eq!(runtime.block_on(async { 5 }), 5, "a call without a panic");
        }
    });
}

#[test]
fn propagate_leaves_no_second_panic_for_a_later_call() {
    on_every_backend(|like| {
        let runtime = build(like, UnhandledPanic::Propagate);
        let out = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let (one, two) = (panicked("first").await, panicked("second").await);
                drop((one, two));
            });
        }));
        assert_eq!(text_of(out), "first");
        assert_eq!(runtime.block_on(async { 5 }), 5, "a call without a panic");

        // The same if the root panics too.
        let out = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                drop(panicked("of a task").await);
                quiet("of the root");
            });
        }));
        assert_eq!(text_of(out), "of the root");
        assert_eq!(runtime.block_on(async { 5 }), 5, "a call without a panic");
    });
}

#[test]
fn call_handler_receives_a_panic_beside_that_of_the_root() {
    on_every_backend(|like| {
        let (runtime, texts) = noting(like, None);
        let out = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                drop(panicked("of a task").await);
                quiet("of the root");
            });
        }));
        assert_eq!(text_of(out), "of the root");
        assert_eq!(*texts.borrow(), ["of a task"]);
    });
}

/// A mechanism that watches nothing, and whose notifier panics.
#[derive(Debug)]
struct Unnotified;

impl Notify for Unnotified {
    fn notify(&self) -> io::Result<()> {
        quiet("notify")
    }
}

impl Backend for Unnotified {
    fn name(&self) -> &str {
        "unnotified"
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::none();
        (can.edge, can.rearm) = (true, true);
        can
    }

    fn add(&mut self, _: BorrowedFd<'_>, _: Token, _: Interest, _: Trigger) -> io::Result<()> {
        Ok(())
    }

    fn modify(&mut self, _: RawFd, _: Token, _: Interest, _: Trigger) -> io::Result<()> {
        Ok(())
    }

    fn rearm(&mut self, _: RawFd, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, _: RawFd, _: Token) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, _: Option<Duration>) -> io::Result<()> {
        events.clear();
        Ok(())
    }

    fn notifier(&self) -> Notifier {
        Notifier::new(Arc::new(Unnotified))
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Returns a runtime whose notifier panics, and the waker of a task in it.
fn unnotified() -> (Runtime, Waker) {
    let runtime = Builder::new().with_backend(Unnotified).build().unwrap();
    let waker = Rc::new(RefCell::new(None));
    let into = waker.clone();
    let task = poll_fn(move |cx| {
        into.replace(Some(cx.waker().clone()));
        Poll::<()>::Pending
    });
    // Inside, where the drop of the handle sends no message.
    runtime.enter(|| drop(spawn(task)));
    runtime.turn(Some(Duration::ZERO)).unwrap();
    let waker = waker.take().unwrap();
    (runtime, waker)
}

/// The loop wakes tasks of another runtime, whose notifier panics. No event of the turn is lost.
#[test]
fn panic_of_the_notifier_of_another_runtime_is_reported() {
    on_every_backend(|like| {
        let (runtime, texts) = noting(like, None);
        let others = [(); 9].map(|()| unnotified());
        let (by_join, by_event) = others.split_first().unwrap();
        let mut peers = Vec::new();
        let mut tasks = Vec::new();
        for (_, waker) in by_event {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            peers.push(theirs);
            let fd = Rc::new(runtime.enter(|| AsyncFd::new(ours).unwrap()));
            let cx = &mut Context::from_waker(waker);
            runtime.enter(|| assert!(fd.poll_read_ready(cx).is_pending()));
            tasks.push(runtime.spawn(async move {
                drop(fd.readable().await.unwrap());
            }));
        }
        runtime.turn(Some(Duration::ZERO)).unwrap();
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        while !tasks.iter().all(JoinHandle::is_finished) {
            runtime.turn(None).unwrap();
        }
        assert_eq!(texts.take(), ["notify"; 8]);

        let mut task = Box::pin(runtime.spawn(yield_now()));
        let cx = &mut Context::from_waker(&by_join.1);
        runtime.enter(|| assert!(task.as_mut().poll(cx).is_pending()));
        while !task.is_finished() {
            runtime.turn(None).unwrap();
        }
        assert_eq!(texts.take(), ["notify"]);
    });
}

/// Where foreign code of the table below panics.
#[derive(Clone, Copy, Debug)]
enum Source {
    Poll,
    DropOfAFuture,
    DropOfAnOutput,
    WakerOfAHandle,
    Hook,
    Closure,
    Shutdown,
    TaskOfADroppedSet,
    TaskOfASetThatShutsDown,
    DetachedTaskOfASet,
    WakerOfASet,
    ChildOfAScope,
    DropOfAnOutputInAScope,
    #[cfg(feature = "signal")]
    WakerOfASignal,
}

/// What becomes of a panic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// The policy, which names the task.
    OfTask,
    /// The policy, which names no task.
    OfNone,
    /// Out of the call of the loop, whatever the policy is.
    OutOfTheCall,
}

/// Each source, what becomes of its panic, and whether the runtime is being dropped then, so that
/// nothing may unwind.
const SOURCES: &[(Source, Fate, bool)] = &[
    (Source::Poll, Fate::OfTask, false),
    (Source::DropOfAFuture, Fate::OfTask, false),
    (Source::DropOfAnOutput, Fate::OfTask, false),
    (Source::WakerOfAHandle, Fate::OfNone, false),
    (Source::Hook, Fate::OutOfTheCall, false),
    (Source::Closure, Fate::OfTask, false),
    (Source::Shutdown, Fate::OfTask, true),
    (Source::TaskOfADroppedSet, Fate::OfTask, false),
    (Source::TaskOfASetThatShutsDown, Fate::OfTask, false),
    (Source::DetachedTaskOfASet, Fate::OfTask, false),
    (Source::WakerOfASet, Fate::OfNone, false),
    // It is a panic of the parent.
    (Source::ChildOfAScope, Fate::OfTask, false),
    (Source::DropOfAnOutputInAScope, Fate::OfNone, false),
    #[cfg(feature = "signal")]
    (Source::WakerOfASignal, Fate::OfNone, false),
];

/// Panics when it is dropped.
struct PanicsInDrop(&'static str);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        quiet(self.0)
    }
}

struct PanicsInWake;

impl Wake for PanicsInWake {
    fn wake(self: Arc<Self>) {
        quiet("planned")
    }
}

/// A task with the name "x" whose handle is dropped.
fn detach<T: 'static>(runtime: &Runtime, future: impl Future<Output = T> + 'static) {
    let builder = task::Builder::new().name("x");
    runtime.enter(|| drop(builder.spawn(future)));
}

/// Makes foreign code panic, and makes turns until the panic is known. May unwind.
fn provoke(runtime: Runtime, source: Source, armed: &Cell<bool>) {
    match source {
        Source::Poll => detach(&runtime, async { quiet("planned") }),
        Source::DropOfAFuture => {
            let guard = PanicsInDrop("planned");
            let builder = task::Builder::new().name("x");
            runtime.enter(|| {
                let task = builder.spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                task.abort();
            });
        }
        Source::DropOfAnOutput => detach(&runtime, async { PanicsInDrop("planned") }),
        Source::WakerOfAHandle => {
            let waker = Waker::from(Arc::new(PanicsInWake));
            let mut task = Box::pin(runtime.spawn(async {}));
            let cx = &mut Context::from_waker(&waker);
            runtime.enter(|| assert!(task.as_mut().poll(cx).is_pending()));
            runtime.turn(Some(Duration::ZERO)).unwrap();
        }
        Source::Hook => armed.set(true),
        Source::Closure => {
            let builder = task::Builder::new().name("x");
            let closure = builder.spawn_blocking_on(|| quiet("planned"), &runtime.handle());
            while !closure.is_finished() {
                thread::yield_now();
            }
            runtime.enter(|| drop(closure));
        }
        Source::Shutdown => {
            let guard = PanicsInDrop("planned");
            detach(&runtime, async move {
                let _guard = guard;
                pending::<()>().await;
            });
            return drop(runtime);
        }
        Source::ChildOfAScope => detach(
            &runtime,
            scope(async |s| {
                s.spawn(async { quiet("planned") });
                pending::<()>().await;
            }),
        ),
        Source::DropOfAnOutputInAScope => detach(
            &runtime,
            scope(async |s| drop(s.spawn(async { PanicsInDrop("planned") }))),
        ),
        #[cfg(feature = "signal")]
        Source::WakerOfASignal => provoke_by_a_signal(&runtime),
        _ => provoke_in_a_set(&runtime, source),
    }
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(runtime.block_on(async { 5 }), 5, "the runtime works");
}

/// Makes a task of a set panic, or the waker of what waits for the set.
fn provoke_in_a_set(runtime: &Runtime, source: Source) {
    let mut set = JoinSet::new();
    if let Source::WakerOfASet = source {
        runtime.enter(|| set.spawn(async {}));
        let waker = Waker::from(Arc::new(PanicsInWake));
        let cx = &mut Context::from_waker(&waker);
        runtime.enter(|| assert!(set.poll_join_next(cx).is_pending()));
        return runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    let builder = task::Builder::new().name("x");
    runtime.enter(|| set.insert(builder.spawn(async { quiet("planned") })));
    if let Source::DetachedTaskOfASet = source {
        return set.detach_all();
    }
    // The set keeps the panic.
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(set.len(), 1);
    match source {
        Source::TaskOfADroppedSet => runtime.enter(|| drop(set)),
        _ => runtime.block_on(set.shutdown()),
    }
}

/// Makes the waker of what waits for a signal panic. No other test of this program has signals, and
/// one that a thread sends to itself interrupts no other thread.
#[cfg(feature = "signal")]
fn provoke_by_a_signal(runtime: &Runtime) {
    let usr1 = reveille::signal::SignalKind::user_defined1();
    let mut signal = runtime.enter(|| reveille::signal::signal(usr1)).unwrap();
    let waker = Waker::from(Arc::new(PanicsInWake));
    let cx = &mut Context::from_waker(&waker);
    runtime.enter(|| assert!(signal.poll_recv(cx).is_pending()));
    // SAFETY: the call takes no pointer, and the signal has a handler.
    assert_eq!(unsafe { libc::raise(usr1.as_raw_value()) }, 0);
    // The waker is called by the turn that finds the signal, which has arrived.
    runtime.turn(Some(Duration::ZERO)).unwrap();
}

/// Each place of foreign code, on each policy.
#[test]
fn panics_follow_the_policy_and_name_their_task() {
    on_every_backend(|like| {
        for &(source, fate, is_drop) in SOURCES {
            for policy in ["call", "propagate", "isolate"] {
                let reports: Rc<RefCell<Vec<String>>> = Rc::default();
                let into = reports.clone();
                let unhandled = match policy {
                    "call" => UnhandledPanic::Call(Box::new(move |report| {
                        assert_eq!(report.message(), Some("planned"));
                        let is_known = report.task_name() == Some("x");
                        assert_eq!(report.task_id().is_some(), is_known);
                        let file = report.spawned_at().map(|place| place.file());
                        assert_eq!(file, is_known.then_some(file!()));
                        into.borrow_mut().push(report.to_string());
                    })),
                    "propagate" => UnhandledPanic::Propagate,
                    _ => UnhandledPanic::Isolate,
                };
                let armed = Rc::new(Cell::new(false));
                let hook = armed.clone();
                let runtime = Builder::new()
                    .backend(like.backend_name().parse().unwrap())
                    .track_spawn_locations(true)
                    .on_park(move || {
                        if hook.take() {
                            quiet("planned");
                        }
                    })
                    .unhandled_panic(unhandled)
                    .build()
                    .unwrap();
                let out = catch_unwind(AssertUnwindSafe(|| provoke(runtime, source, &armed)));
                let unwinds = match fate {
                    Fate::OutOfTheCall => true,
                    _ => policy == "propagate" && !is_drop,
                };
                assert_eq!(out.is_err(), unwinds, "{source:?}, {policy}");
                if unwinds {
                    assert_eq!(text_of(out), "planned", "{source:?}, {policy}");
                }
                let reports = reports.take();
                let is_reported = policy == "call" && fate != Fate::OutOfTheCall;
                assert_eq!(reports.len(), usize::from(is_reported), "{source:?}");
                let names_a_task = reports.iter().any(|text| text.contains("in task \"x\""));
                assert_eq!(
                    names_a_task,
                    is_reported && fate == Fate::OfTask,
                    "{source:?}"
                );
            }
        }
    });
}

/// The slot of a task is free when its output is dropped.
#[test]
fn report_describes_the_task_whose_slot_is_used_again() {
    on_every_backend(|like| {
        /// Spawns a task with another name into the free slot, then panics.
        struct Spawns;
        impl Drop for Spawns {
            fn drop(&mut self) {
                drop(task::Builder::new().name("later").spawn(async {}));
                quiet("planned");
            }
        }
        let names: Rc<RefCell<Vec<Option<String>>>> = Rc::default();
        let into = names.clone();
        let policy = UnhandledPanic::Call(Box::new(move |report| {
            into.borrow_mut()
                .push(report.task_name().map(str::to_owned));
        }));
        let runtime = build(like, policy);
        detach(&runtime, async { Spawns });
        runtime.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(names.take(), [Some("x".to_owned())]);
    });
}
