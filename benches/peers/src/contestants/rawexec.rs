//! A hand-written executor alone: one allocation per task, plain counts, a queue of pointers.
//!
//! **Single-threaded by contract**: its wakers must stay on the thread that made them, which the
//! workloads given to it keep. That is what makes it the lower bound, and why it is no library.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::contestant::{Contestant, Tasks};
use crate::workloads;

pub struct RawExec;

pub fn contestant() -> Contestant {
    Contestant {
        name: "rawexec",
        serve: None,
        servers: vec![],
        micro: workloads::tasks::all::<RawExec>(),
        missing: vec![
            ("echo", "has no I/O"),
            ("timers", "has none"),
            ("cross", "wakers stay home"),
        ],
    }
}

impl Tasks for RawExec {
    type Join = Join<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        block_on(f, || panic!("nothing left to run"))
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Join<()> {
        spawn(f)
    }
}

struct Head {
    /// The queue, the join handle and each waker own one.
    refs: Cell<u32>,
    queued: Cell<bool>,
    done: Cell<bool>,
    vtable: &'static VTable,
    joiner: Cell<Option<Waker>>,
}

struct VTable {
    poll: unsafe fn(NonNull<Head>, &mut Context<'_>) -> bool,
    take: unsafe fn(NonNull<Head>, *mut ()),
    free: unsafe fn(NonNull<Head>),
}

enum Stage<F: Future> {
    Running(F),
    Done(F::Output),
    Taken,
}

#[repr(C)]
struct Task<F: Future> {
    head: Head,
    stage: UnsafeCell<Stage<F>>,
}

type Queue = ManuallyDrop<UnsafeCell<VecDeque<NonNull<Head>>>>;

thread_local! {
    static QUEUE: Queue = const { ManuallyDrop::new(UnsafeCell::new(VecDeque::new())) };
    static ROOT: Cell<bool> = const { Cell::new(false) };
}

fn push(task: NonNull<Head>) {
    // SAFETY: the queue is borrowed for this one call only, on its own thread.
    QUEUE.with(|q| unsafe { (*q.get()).push_back(task) });
}

fn pop() -> Option<NonNull<Head>> {
    // SAFETY: as in `push`.
    QUEUE.with(|q| unsafe { (*q.get()).pop_front() })
}

pub fn spawn<F: Future + 'static>(f: F) -> Join<F::Output> {
    let task = Box::new(Task {
        head: Head {
            refs: Cell::new(2),
            queued: Cell::new(true),
            done: Cell::new(false),
            vtable: &VTable {
                poll: poll::<F>,
                take: take::<F>,
                free: free::<F>,
            },
            joiner: Cell::new(None),
        },
        stage: UnsafeCell::new(Stage::Running(f)),
    });
    // A pointer to the whole task; `Head` is its first field.
    let head = NonNull::from(Box::leak(task)).cast::<Head>();
    push(head);
    Join {
        head,
        output: PhantomData,
    }
}

unsafe fn poll<F: Future>(task: NonNull<Head>, cx: &mut Context<'_>) -> bool {
    // SAFETY: `task` was made by `spawn::<F>`, is live, pinned in its box, and polled by one
    // caller.
    unsafe {
        let stage = (*task.cast::<Task<F>>().as_ptr()).stage.get();
        let Stage::Running(f) = &mut *stage else {
            unreachable!("polled after the end")
        };
        let Poll::Ready(v) = Pin::new_unchecked(f).poll(cx) else {
            return false;
        };
        *stage = Stage::Done(v);
        true
    }
}

unsafe fn take<F: Future>(task: NonNull<Head>, out: *mut ()) {
    // SAFETY: as in `poll`; `out` points to a `Poll<F::Output>` of the join handle.
    unsafe {
        let stage = (*task.cast::<Task<F>>().as_ptr()).stage.get();
        let Stage::Done(v) = std::mem::replace(&mut *stage, Stage::Taken) else {
            unreachable!("joined twice")
        };
        *out.cast::<Poll<F::Output>>() = Poll::Ready(v);
    }
}

unsafe fn free<F: Future>(task: NonNull<Head>) {
    // SAFETY: the last reference is gone; the box came from `spawn::<F>`.
    drop(unsafe { Box::from_raw(task.cast::<Task<F>>().as_ptr()) });
}

fn release(task: NonNull<Head>) {
    // SAFETY: the caller gives back a reference that it owns.
    unsafe {
        let head = task.as_ref();
        let refs = head.refs.get() - 1;
        head.refs.set(refs);
        if refs == 0 {
            (head.vtable.free)(task);
        }
    }
}

fn run(task: NonNull<Head>) {
    // SAFETY: the queue's reference keeps `task` alive until `release`.
    unsafe {
        let head = task.as_ref();
        head.queued.set(false);
        let waker = ManuallyDrop::new(Waker::new(task.as_ptr().cast(), &WAKER));
        if (head.vtable.poll)(task, &mut Context::from_waker(&waker)) {
            head.done.set(true);
            if let Some(joiner) = head.joiner.take() {
                joiner.wake();
            }
        }
        release(task);
    }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(clone_waker, wake, wake_by_ref, drop_waker);

fn head(data: *const ()) -> NonNull<Head> {
    // SAFETY: task wakers are only made with a task's pointer.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone_waker(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned keeps the task alive.
    let refs = unsafe { &head(data).as_ref().refs };
    refs.set(refs.get() + 1);
    RawWaker::new(data, &WAKER)
}

unsafe fn wake_by_ref(data: *const ()) {
    let task = head(data);
    // SAFETY: the waker keeps the task alive.
    let h = unsafe { task.as_ref() };
    if !h.queued.get() && !h.done.get() {
        h.queued.set(true);
        h.refs.set(h.refs.get() + 1);
        push(task);
    }
}

unsafe fn wake(data: *const ()) {
    // SAFETY: consumes this waker's reference after using it.
    unsafe { wake_by_ref(data) };
    release(head(data));
}

unsafe fn drop_waker(data: *const ()) {
    release(head(data));
}

static ROOT_WAKER: RawWakerVTable = RawWakerVTable::new(
    |_| RawWaker::new(std::ptr::null(), &ROOT_WAKER),
    wake_root,
    wake_root,
    |_| (),
);

fn wake_root(_: *const ()) {
    ROOT.set(true);
}

pub struct Join<T> {
    head: NonNull<Head>,
    output: PhantomData<T>,
}

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // SAFETY: this handle owns a reference.
        let head = unsafe { self.head.as_ref() };
        let mut out = Poll::Pending;
        if head.done.get() {
            // SAFETY: the task is done and `out` is a `Poll` of its output.
            unsafe { (head.vtable.take)(self.head, (&raw mut out).cast()) };
        } else {
            head.joiner.set(Some(cx.waker().clone()));
        }
        out
    }
}

impl<T> Drop for Join<T> {
    fn drop(&mut self) {
        release(self.head);
    }
}

/// Runs `f` and all tasks; `park` is called when nothing can run.
pub fn block_on<F: Future>(f: F, mut park: impl FnMut()) -> F::Output {
    let mut f = pin!(f);
    // SAFETY: the root waker's functions use no data.
    let waker = unsafe { Waker::new(std::ptr::null(), &ROOT_WAKER) };
    let mut cx = Context::from_waker(&waker);
    ROOT.set(true);
    loop {
        if ROOT.replace(false)
            && let Poll::Ready(v) = f.as_mut().poll(&mut cx)
        {
            return v;
        }
        while let Some(task) = pop() {
            run(task);
        }
        if !ROOT.get() {
            park();
        }
    }
}
