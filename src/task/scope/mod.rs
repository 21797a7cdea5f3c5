//! [`scope`](fn@scope) and [`try_scope`]: children that borrow from their parent, and that all end
//! before it continues.
//!
//! A scope is one future. It owns its *body*, which is the future that the caller passes, and its
//! *children*, which the body spawns. It polls them inside of its own poll, and it is ready when
//! all of them have ended.
//!
//! # Why children never enter the runtime's queue
//!
//! A child may borrow what lives outside of its scope, such as a variable of the function that
//! awaits the scope. A task of the runtime may not. The runtime owns its tasks, so a task may live
//! longer than the future that has spawned it. A scope of threads does not return before all of its
//! threads have ended. The drop of a future cannot wait, because the loop that it would wait for is
//! the caller of the drop; and a future that is leaked is never dropped. So tasks that borrow need
//! unsafe code, and are unsound as soon as a future is leaked.
//!
//! Children that belong to the future of the scope have none of these problems, and need no unsafe
//! code. If the future is dropped, so are they. If it is leaked, so are they, and what they have
//! borrowed stays borrowed. The costs are:
//!
//! - All children of a scope are a part of one task. An operation of theirs stores a waker of the
//!   scope, which is larger and slower than that of a task.
//! - The scope must be polled for its children to run. A child does not run while the task that
//!   awaits the scope is busy with something else, as in a branch of a `select!`.
//!
//! # Which child is polled when
//!
//! Each child has a waker of its own. A wake puts the child at the end of a list, and wakes the
//! task if the list was empty (`ReadyList`). The cost does not depend on the number of children. A
//! poll of the scope takes children from the front of the list:
//!
//! - It polls each child at most once, however often it is woken.
//! - It polls at most 32. The others come first in the next poll, for which the scope wakes the
//!   task. A scope inside of a child takes its polls from the same 32, but may always make one.
//! - Each child has the budget of operations that the poll of a task has
//!   ([`Builder::poll_budget`](crate::Builder::poll_budget)).
//!
//! The body is treated as a child.
//!
//! # How a scope ends
//!
//! | event | what is dropped | then the scope |
//! |---|---|---|
//! | the body and all children have ended | nothing is left | returns the output of the body |
//! | a child or the body of [`try_scope`] returns an `Err` | all others, at once | returns the `Err` |
//! | a child or the body panics, also in its drop | all others, at once | resumes the panic |
//! | the future of the scope is dropped | all | |
//!
//! The drops happen in the poll, or in the drop of the scope, in no particular order. A panic in
//! one of them does not keep the others from being dropped. The first panic is resumed after all
//! drops. If the scope is dropped during unwinding, a panic in it goes to
//! [`UnhandledPanic`](crate::runtime::UnhandledPanic), because a second panic would end the
//! process.
//!
//! # Files, lowest first
//!
//! | file | what is in it |
//! |---|---|
//! | `ready` | the list, and the wakers that fill it from any thread |
//! | `handle` | `ScopedJoinHandle`, and the `Promise` that answers it |
//! | `spawned` | what a child consists of |
//! | `children` | the table of children, which handles of the scope share |
//! | `polls` | the limits of a poll |
//! | `running` | the future of a scope |

mod children;
mod handle;
#[cfg(all(test, loom))]
mod loom_tests;
mod polls;
mod ready;
mod running;
mod spawned;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use children::Children;
pub use handle::ScopedJoinHandle;
use running::{Running, make_body};
use spawned::{Body, Spawned, TrySpawned};

/// Runs a future that spawns children, and waits until all of them have ended.
///
/// `body` is called at once. The future that it returns is the body of the scope. It spawns
/// children with [`Scope::spawn`]. A child may borrow everything that lives longer than the scope,
/// so it needs no `Rc` and no `'static`. It cannot borrow variables of the body. With an async
/// closure (`async |s| { .. }`) the body borrows as a plain closure does. `|s| async move { .. }`
/// moves what it uses into the body, where children cannot borrow it.
///
/// The scope is ready with the output of the body when the body and all children have ended,
/// whether the handles are awaited or not.
///
/// # Children are not tasks
///
/// The children belong to the future of the scope, which polls them in turns inside of the task
/// that awaits it. They never enter the queue of the runtime, because a task there may live longer
/// than the future that has spawned it, and so it must not borrow. Dropping or leaking the scope
/// drops or leaks its children, so no unsafe code is needed. Therefore:
///
/// - [`task::id`](fn@super::id) returns the id of the task that awaits the scope.
/// - The children run only while the scope is being awaited.
/// - One poll of the scope polls up to 32 children that were woken, each at most once and with a
///   full [budget](crate::Builder::poll_budget) of operations. Then other tasks run, and the
///   remaining children come first in the next poll. Children of scopes inside of children count.
/// - A wake causes a poll of one child only, and costs the same however many children there are.
/// - A scope is not `Send`. It works in every executor.
///
/// # Panics
///
/// If the body or a child panics. All others are dropped first; then the panic is resumed.
///
/// # Cancel safety
///
/// If the future of the scope is dropped, the body and all children are dropped with it, before the
/// drop returns. So a scope is cancel safe if its body and its children are.
///
/// # Examples
///
/// Children that borrow, and whose outputs are collected:
///
/// ```
/// use reveille::task::scope;
///
/// let lines = vec!["good morning".to_owned(), "good night".to_owned()];
/// let mut words = 0;
/// let lens = reveille::block_on(scope(async |s| {
///     s.spawn(async { words = lines.iter().flat_map(|line| line.split(' ')).count() });
///     let handles: Vec<_> = lines
///         .iter()
///         .map(|line| s.spawn(async move { line.len() }))
///         .collect();
///     let mut lens = Vec::new();
///     for handle in handles {
///         lens.push(handle.await.unwrap());
///     }
///     lens
/// }));
/// assert_eq!((lens, words), (vec![12, 10], 4));
/// ```
///
/// A `timeout` around the scope is a deadline for all children. The values that they have stored
/// outside of the scope stay:
///
/// ```
/// use reveille::task::scope;
/// use reveille::time::{Duration, sleep, timeout};
/// use std::cell::RefCell;
///
/// reveille::block_on(async {
///     let done = RefCell::new(Vec::new());
///     let all = scope(async |s| {
///         for seconds in [0, 3600] {
///             let done = &done;
///             s.spawn(async move {
///                 sleep(Duration::from_secs(seconds)).await;
///                 done.borrow_mut().push(seconds);
///             });
///         }
///     });
///     assert!(timeout(Duration::from_millis(20), all).await.is_err());
///     assert_eq!(done.into_inner(), [0]);
/// });
/// ```
///
/// The first child that is ready aborts the others:
///
/// ```
/// use reveille::task::scope;
/// use reveille::time::{Duration, sleep};
/// use std::cell::Cell;
///
/// let first = Cell::new(None);
/// reveille::block_on(scope(async |s| {
///     for seconds in [3600, 0, 7200] {
///         let (first, others) = (&first, s.clone());
///         s.spawn(async move {
///             sleep(Duration::from_secs(seconds)).await;
///             first.set(Some(seconds));
///             others.abort_all();
///         });
///     }
/// }));
/// assert_eq!(first.get(), Some(0));
/// ```
///
/// A child cannot borrow a variable of the body, because the scope may drop the body first:
///
/// ```compile_fail,E0597
/// reveille::block_on(reveille::task::scope(async |s| {
///     let local = String::new();
///     s.spawn(async { local.len() });
/// }));
/// ```
pub fn scope<'env, F, B>(body: F) -> ScopeFuture<'env, B>
where
    F: FnOnce(Scope<'env>) -> B,
    B: Future,
{
    let children = Children::new();
    let handle = Scope {
        children: children.clone(),
    };
    let body = make_body(&children, || body(handle));
    let running = Running::new(Body::new(body), children);
    ScopeFuture { running }
}

/// Runs a future that spawns children, and waits until all of them have ended or one has failed.
///
/// Like [`scope`](fn@scope), with children that return a [`Result`]. The first `Err`, of a child or
/// of the body, drops the body and all other children at once. The scope returns it.
///
/// # Errors
///
/// The first error of a child or of the body.
///
/// # Panics
///
/// As [`scope`](fn@scope).
///
/// # Cancel safety
///
/// As [`scope`](fn@scope).
///
/// # Examples
///
/// ```
/// use reveille::task::try_scope;
///
/// let texts = ["1", "2", "many"];
/// let sum = |texts: &[&str]| {
///     let parsed = reveille::block_on(try_scope(async |s| {
///         let parse = |text: &&str| {
///             let text = text.to_string();
///             s.spawn(async move { text.parse::<u32>() })
///         };
///         let handles: Vec<_> = texts.iter().map(parse).collect();
///         let mut sum = 0;
///         for handle in handles {
///             sum += handle.await.unwrap();
///         }
///         Ok(sum)
///     }));
///     parsed
/// };
/// assert_eq!(sum(&texts[..2]), Ok(3));
/// assert!(sum(&texts).is_err());
/// ```
pub fn try_scope<'env, F, B, T, E>(body: F) -> TryScopeFuture<'env, B, T, E>
where
    F: FnOnce(TryScope<'env, E>) -> B,
    B: Future<Output = Result<T, E>>,
    E: 'env,
{
    let children = Children::new();
    let handle = TryScope {
        children: children.clone(),
    };
    let body = make_body(&children, || body(handle));
    let running = Running::new(body, children);
    TryScopeFuture { running }
}

pin_project! {
    /// A scope and its children. Returned by [`scope`](fn@scope).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ScopeFuture<'env, B: Future> {
        #[pin]
        running: Running<'env, Body<B>, B::Output, Infallible>,
    }
}

impl<B: Future> Future for ScopeFuture<'_, B> {
    type Output = B::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B::Output> {
        self.project().running.poll(cx).map(|result| match result {
            Ok(output) => output,
            Err(never) => match never {},
        })
    }
}

pin_project! {
    /// A scope and its children, which may fail. Returned by [`try_scope`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct TryScopeFuture<'env, B, T, E>
    where
        E: 'env,
    {
        #[pin]
        running: Running<'env, B, T, E>,
    }
}

impl<'env, B, T, E> Future for TryScopeFuture<'env, B, T, E>
where
    B: Future<Output = Result<T, E>>,
    E: 'env,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().running.poll(cx)
    }
}

/// Spawns children into a scope; passed to the body of [`scope`](fn@scope).
///
/// `'env` is what the children may borrow from: everything that lives longer than the scope. A
/// clone stands for the same scope. A child that owns a clone may spawn further children:
///
/// ```
/// use reveille::task::{Scope, scope};
/// use std::cell::Cell;
///
/// fn spawn_tree<'env>(s: &Scope<'env>, leaves: &'env Cell<u32>, depth: u32) {
///     let s2 = s.clone();
///     s.spawn(async move {
///         match depth {
///             0 => leaves.set(leaves.get() + 1),
///             _ => (0..2).for_each(|_| spawn_tree(&s2, leaves, depth - 1)),
///         }
///     });
/// }
///
/// let leaves = Cell::new(0);
/// reveille::block_on(scope(async |s| spawn_tree(&s, &leaves, 3)));
/// assert_eq!(leaves.get(), 8);
/// ```
pub struct Scope<'env> {
    children: Rc<Children<'env, Infallible>>,
}

impl<'env> Scope<'env> {
    /// Spawns a child, which the scope polls from its next poll on.
    ///
    /// If the scope has ended, which a clone may outlive, the future is dropped at once and the
    /// handle returns an error.
    pub fn spawn<F>(&self, future: F) -> ScopedJoinHandle<F::Output>
    where
        F: Future + 'env,
    {
        self.children.spawn(|promise| Spawned::new(future, promise))
    }

    /// Requests that the scope drop all children that were spawned before this call.
    ///
    /// Their handles then return an error. The scope drops the futures after the poll of the child
    /// that calls this, or in its next poll. The body continues, and may spawn again.
    pub fn abort_all(&self) {
        self.children.abort_all();
    }
}

/// Spawns children into a scope that ends when one of them fails; passed to the body of
/// [`try_scope`].
///
/// `'env` and clones mean the same as for [`Scope`].
pub struct TryScope<'env, E> {
    children: Rc<Children<'env, E>>,
}

impl<'env, E: 'env> TryScope<'env, E> {
    /// Spawns a child, which the scope polls from its next poll on. An `Err` of the child ends the
    /// scope; the handle returns what is in the `Ok`.
    ///
    /// If the scope has ended, which a clone may outlive, the future is dropped at once and the
    /// handle returns an error.
    pub fn spawn<F, T>(&self, future: F) -> ScopedJoinHandle<T>
    where
        F: Future<Output = Result<T, E>> + 'env,
        T: 'env,
    {
        self.children
            .spawn(|promise| TrySpawned::new(future, promise))
    }

    /// Requests that the scope drop all children that were spawned before this call, as
    /// [`Scope::abort_all`] does. The scope does not fail.
    pub fn abort_all(&self) {
        self.children.abort_all();
    }
}

impl Clone for Scope<'_> {
    fn clone(&self) -> Self {
        let children = self.children.clone();
        Scope { children }
    }
}

impl<E> Clone for TryScope<'_, E> {
    fn clone(&self) -> Self {
        let children = self.children.clone();
        TryScope { children }
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "Scope", &self.children)
    }
}

impl<'env, E: 'env> fmt::Debug for TryScope<'env, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "TryScope", &self.children)
    }
}

impl<B: Future> fmt::Debug for ScopeFuture<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "ScopeFuture", self.running.children())
    }
}

impl<'env, B, T, E: 'env> fmt::Debug for TryScopeFuture<'env, B, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "TryScopeFuture", self.running.children())
    }
}

fn debug<'a, E: 'a>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    children: &Children<'a, E>,
) -> fmt::Result {
    f.debug_struct(name)
        .field("children", &children.len())
        .finish_non_exhaustive()
}

impl UnwindSafe for Scope<'_> {}
impl RefUnwindSafe for Scope<'_> {}
impl<E> UnwindSafe for TryScope<'_, E> {}
impl<E> RefUnwindSafe for TryScope<'_, E> {}
