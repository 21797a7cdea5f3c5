//! [`Fixture`]: a runtime for one cell of the table, and foreign code that performs one action when
//! it is first called.

use super::support::panics::{hushed, text_of};
use reveille::backend::BackendKind;
use reveille::runtime::UnhandledPanic;
use reveille::task::AbortHandle;
use reveille::time::{Duration, sleep};
use reveille::{Builder, Handle, JoinHandle, Runtime, spawn};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

/// How many operations one poll may complete.
pub(crate) const BUDGET: usize = 4;
/// The number of operations that are tried where no budget applies.
pub(crate) const UNBOUND: usize = 40;

/// The action of the foreign code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Panic,
    Spawn,
    Wake,
    Abort,
    DropHandle,
    BlockOn,
    Turn,
}

impl Action {
    pub(crate) const ALL: [Action; 7] = [
        Action::Panic,
        Action::Spawn,
        Action::Wake,
        Action::Abort,
        Action::DropHandle,
        Action::BlockOn,
        Action::Turn,
    ];
}

/// The payload of the panic of `Action::Panic`.
pub(crate) struct Planned;

/// The state in which the foreign code was called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// The runtime is the current one.
    pub(crate) is_current: bool,
    /// `task::try_id` returns an id.
    pub(crate) is_named: bool,
    /// How many operations it could complete.
    pub(crate) operations: usize,
}

thread_local! {
    static RUNTIME: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
}

/// Returns the runtime of this thread's fixture.
pub(crate) fn runtime() -> Rc<Runtime> {
    RUNTIME.with_borrow(Clone::clone).expect("it is there")
}

/// Drops the runtime of this thread's fixture. Returns true unless the drop panicked.
pub(crate) fn end() -> bool {
    let runtime = RUNTIME.take();
    catch_unwind(AssertUnwindSafe(|| drop(runtime))).is_ok()
}

/// Shuts the runtime of this thread's fixture down.
pub(crate) fn shut_down(limit: Duration) {
    let runtime = RUNTIME.take().and_then(Rc::into_inner);
    let runtime = runtime.expect("the test holds no other reference");
    drop(runtime.shutdown(limit));
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An output that counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

pub(crate) struct Fixture {
    action: Action,
    handle: Handle,
    /// The thread of the runtime.
    owner: ThreadId,
    calls: AtomicUsize,
    seen: Mutex<Option<Seen>>,
    /// The text with which `block_on` or `turn` panicked, or nothing.
    panic_text: Mutex<String>,
    /// How many panics the policy received.
    pub(crate) unhandled: Arc<AtomicUsize>,
    /// Whether the report to the policy contained the id of a task.
    pub(crate) is_named: Arc<AtomicBool>,
    /// The waker of a task that waits, and how often it was polled.
    sleeper: Mutex<Option<Waker>>,
    polls: Arc<AtomicUsize>,
    /// The handle of a task to abort, and whether its future was dropped.
    victim: Mutex<Option<AbortHandle>>,
    aborted: Arc<AtomicUsize>,
    /// The handle of a task that has ended, and how often its output was dropped.
    ended: Mutex<Option<JoinHandle<Counted>>>,
    dropped: Arc<AtomicUsize>,
    /// How many tasks of `Action::Spawn` have run.
    spawned: Arc<AtomicUsize>,
}

impl Fixture {
    /// Creates a runtime on this thread, with a task for each action that needs one.
    pub(crate) fn new(
        kind: BackendKind,
        action: Action,
        set: impl FnOnce(Builder) -> Builder,
    ) -> Arc<Fixture> {
        let unhandled = Arc::new(AtomicUsize::new(0));
        let count = unhandled.clone();
        let is_named = Arc::new(AtomicBool::new(false));
        let names = is_named.clone();
        let builder = Builder::new()
            .backend(kind)
            .poll_budget(BUDGET as u32)
            .max_blocking_threads(1)
            .unhandled_panic(UnhandledPanic::Call(Box::new(move |report| {
                let is_planned = report.payload().is::<Planned>();
                assert!(is_planned, "a panic that was not planned");
                names.store(report.task_id().is_some(), SeqCst);
                count.fetch_add(1, SeqCst);
            })));
        let runtime = Rc::new(set(builder).build().expect("it was available a moment ago"));
        let fixture = Arc::new(Fixture {
            action,
            handle: runtime.handle(),
            owner: thread::current().id(),
            calls: AtomicUsize::new(0),
            seen: Mutex::default(),
            panic_text: Mutex::default(),
            unhandled,
            is_named,
            sleeper: Mutex::default(),
            polls: Arc::default(),
            victim: Mutex::default(),
            aborted: Arc::default(),
            ended: Mutex::default(),
            dropped: Arc::default(),
            spawned: Arc::default(),
        });
        fixture.clone().prepare(&runtime);
        RUNTIME.set(Some(runtime));
        fixture
    }

    fn prepare(self: Arc<Fixture>, runtime: &Runtime) {
        let (fixture, polls) = (self.clone(), self.polls.clone());
        drop(runtime.spawn(poll_fn(move |cx| {
            polls.fetch_add(1, SeqCst);
            *lock(&fixture.sleeper) = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        let guard = Counted(self.aborted.clone());
        let victim = runtime.spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        *lock(&self.victim) = Some(victim.abort_handle());
        drop(victim);
        let output = Counted(self.dropped.clone());
        *lock(&self.ended) = Some(runtime.spawn(async move { output }));
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }

    /// The foreign code: performs the action when it is first called.
    pub(crate) fn run_action(&self) {
        if self.calls.fetch_add(1, SeqCst) != 0 {
            return;
        }
        *lock(&self.seen) = Some(Seen {
            is_current: Handle::try_current().is_some(),
            is_named: reveille::task::try_id().is_some(),
            operations: operations(),
        });
        match self.action {
            Action::Panic => resume_unwind(Box::new(Planned)),
            Action::Spawn => {
                let spawned = self.spawned.clone();
                let future = async move {
                    spawned.fetch_add(1, SeqCst);
                };
                // A thread of the pool may be inside the runtime, and cannot use `spawn`.
                match Handle::try_current().filter(|_| self.owner == thread::current().id()) {
                    Some(_) => drop(spawn(future)),
                    None => drop(self.handle.spawn(future)),
                }
            }
            Action::Wake => lock(&self.sleeper).take().expect("it sleeps").wake(),
            Action::Abort => lock(&self.victim).take().expect("it is there").abort(),
            Action::DropHandle => drop(lock(&self.ended).take().expect("it is there")),
            Action::BlockOn => self.try_loop(|runtime| runtime.block_on(async {})),
            Action::Turn => self.try_loop(|runtime| runtime.turn(Some(Duration::ZERO)).unwrap()),
        }
    }

    fn try_loop(&self, run: impl FnOnce(&Runtime)) {
        let Some(runtime) = RUNTIME.with_borrow(Clone::clone) else {
            return;
        };
        if let Err(payload) = hushed(|| run(&runtime)) {
            *lock(&self.panic_text) = text_of(&*payload);
        }
    }

    /// Returns the state in which the foreign code was called.
    #[track_caller]
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).expect("it was called")
    }

    pub(crate) fn was_called(&self) -> bool {
        lock(&self.seen).is_some()
    }

    pub(crate) fn panic_text(&self) -> String {
        lock(&self.panic_text).clone()
    }

    /// Makes turns until the effects of the action are there.
    pub(crate) fn settle(&self) {
        for _ in 0..4 {
            runtime().turn(Some(Duration::ZERO)).unwrap();
        }
    }

    /// Checks that the action has had its effect, once.
    pub(crate) fn check_effect(&self, is_alive: bool) {
        let counts = [&self.polls, &self.aborted, &self.dropped, &self.spawned];
        let [polls, aborted, dropped, spawned] = counts.map(|count| count.load(SeqCst));
        match self.action {
            Action::Spawn if is_alive => assert_eq!(spawned, 1, "it was spawned and has run"),
            Action::Wake if is_alive => assert_eq!(polls, 2, "it was woken"),
            Action::Abort => assert_eq!(aborted, 1, "it was aborted"),
            Action::DropHandle => assert_eq!(dropped, 1, "its output was dropped"),
            _ if is_alive => assert_eq!((polls, aborted, dropped, spawned), (1, 0, 0, 0)),
            _ => {}
        }
    }
}

/// Completes operations until no budget is left, `UNBOUND` at most. Returns their number.
pub(crate) fn operations() -> usize {
    operate(UNBOUND)
}

fn operate(most: usize) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    (0..most)
        .take_while(|_| {
            Pin::new(&mut sleep(Duration::ZERO))
                .poll(&mut cx)
                .is_ready()
        })
        .count()
}

/// Runs `f` in a poll that may complete one more operation.
pub(crate) fn within_poll<R>(f: impl FnOnce() -> R) -> R {
    runtime().block_on(async {
        operate(BUDGET - 1);
        f()
    })
}

/// A future that uses up its budget, so that code that takes from the same budget finds nothing.
pub(crate) fn spender() -> impl Future<Output = ()> {
    poll_fn(|_| {
        operations();
        Poll::Ready(())
    })
}

/// A value whose drop is the foreign code.
pub(crate) struct Drops(pub(crate) Arc<Fixture>);

impl Drop for Drops {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.0.run_action();
        }
    }
}

/// Which function of a foreign waker is the foreign code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    Clone,
    Wake,
    Drop,
}

struct Wakes(Arc<Fixture>);

impl Wake for Wakes {
    fn wake(self: Arc<Wakes>) {
        self.0.run_action();
    }

    fn wake_by_ref(self: &Arc<Wakes>) {
        self.0.run_action();
    }
}

/// Returns a foreign waker with one function that runs the foreign code.
pub(crate) fn waker(fixture: &Arc<Fixture>, function: Function) -> Waker {
    match function {
        Function::Wake => Waker::from(Arc::new(Wakes(fixture.clone()))),
        Function::Clone => super::waker::clones(fixture.clone()),
        Function::Drop => super::waker::drops(fixture.clone()),
    }
}

/// Returns whether the runtime of this thread's fixture exists.
pub(crate) fn is_alive() -> bool {
    RUNTIME.with_borrow(Option::is_some)
}

/// Forgets the runtime of a cell that has failed.
pub(crate) fn forget() {
    std::mem::forget(RUNTIME.take());
}
