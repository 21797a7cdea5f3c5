//! [`JoinSet`]: spawned tasks, and their outputs in the order in which the tasks end.
//!
//! The set keeps a [`JoinHandle`] per task, and gives each of them its own waker: an [`Entry`],
//! which contains the index of the handle. When a task ends, its entry adds that index to the list
//! in [`Ended`] and wakes the task that waits for the set. So the set polls only handles of tasks
//! that have ended, and one completion takes the same time however many tasks there are.
//!
//! Entries are kept and used again for the next handle at the same index. A wake that comes late
//! then makes the set poll a handle without need.
//!
//! The functions that spawn need a runtime and are in `runtime/join_set.rs`.

use futures_core::FusedFuture;
use slab::Slab;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use super::abort::AbortHandle;
use super::error::JoinError;
use super::id::Id;
use super::join::JoinHandle;
use super::unobserved_panics::{report, report_panic};
use crate::budget;
use crate::panics::catch;
use crate::sync::ForkLock;

/// A set of spawned tasks, which returns their outputs in the order in which they end.
///
/// All outputs have the same type `T`. The tasks need not be `Send`. Outputs that have not been
/// returned yet stay in their tasks. One completion takes the same time however many tasks are in
/// the set.
///
/// Names and meanings are those of tokio's `JoinSet`, with these differences:
///
/// - The functions that return an id return it beside the result, so the id of a task that has
///   failed is known as well.
/// - [`shutdown`](JoinSet::shutdown) and the drop pass the panic of a task to
///   [`UnhandledPanic`](crate::runtime::UnhandledPanic).
///
/// # Dropping
///
/// Dropping the set aborts all of its tasks and drops their outputs. The futures are dropped later,
/// by the runtime's loop: a task that drops the set that it is part of runs until its poll ends. To
/// let the tasks continue, call [`detach_all`](JoinSet::detach_all) first.
///
/// # Threads
///
/// If `T` is `Send`, the set may be moved to another thread and awaited there. Its tasks stay on
/// the threads of their runtimes, and [`spawn`](JoinSet::spawn) uses the current runtime of the
/// thread that calls it.
///
/// # Examples
///
/// ```
/// use reveille::task::JoinSet;
///
/// reveille::block_on(async {
///     let mut set = JoinSet::new();
///     for n in 0..10 {
///         set.spawn(async move { n * n });
///     }
///     let mut sum = 0;
///     while let Some(square) = set.join_next().await {
///         sum += square.unwrap();
///     }
///     assert_eq!(sum, 285);
/// });
/// ```
///
/// A server that waits for its connections before it ends:
///
/// ```
/// use reveille::net::{TcpListener, TcpStream};
/// use reveille::task::JoinSet;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let mut connections = JoinSet::new();
///     for _ in 0..3 {
///         let client = TcpStream::connect(listener.local_addr()?).await?;
///         let (stream, _peer) = listener.accept().await?;
///         connections.spawn(async move { stream.write_all(b"hello").await });
///         // Removes the connections that have ended, so that the set does not grow.
///         while let Some(ended) = connections.try_join_next() {
///             ended??;
///         }
///         drop(client);
///     }
///     while let Some(ended) = connections.join_next().await {
///         ended??;
///     }
///     Ok(())
/// })
/// # }
/// ```
pub struct JoinSet<T> {
    handles: Slab<JoinHandle<T>>,
    /// The waker of each index that `handles` has ever used: an `Entry`.
    wakers: Vec<Waker>,
    ended: Arc<Ended>,
    /// How often a handle was polled.
    #[cfg(all(test, not(loom)))]
    pub(super) polls: usize,
}

/// Which tasks have ended. Wakers change it from any thread, so no foreign code runs while its lock
/// is held.
struct Ended(ForkLock<EndedList>);

struct EndedList {
    /// The indices of handles to poll, in the order in which their tasks ended.
    indices: VecDeque<usize>,
    /// Waits for the next index.
    waiter: Option<Waker>,
    /// The indices are not known: all handles have to be polled.
    lost: bool,
}

/// What the child of a fork finds if another thread was changing the list at the time of the fork.
impl Default for EndedList {
    fn default() -> EndedList {
        EndedList {
            indices: VecDeque::new(),
            waiter: None,
            lost: true,
        }
    }
}

/// A handle that has returned its result.
type Ending<T> = (JoinHandle<T>, Result<T, JoinError>);

/// The target of the waker that a handle is polled with.
struct Entry {
    index: usize,
    ended: Arc<Ended>,
}

impl Wake for Entry {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiter = {
            let mut list = self.ended.0.lock();
            list.indices.push_back(self.index);
            list.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl EndedList {
    /// Removes and returns the first index. If the indices are not known, all are added before.
    fn pop<T>(&mut self, handles: &Slab<JoinHandle<T>>) -> Option<usize> {
        if mem::take(&mut self.lost) {
            self.indices = handles.iter().map(|(index, _)| index).collect();
        }
        self.indices.pop_front()
    }
}

impl<T> UnwindSafe for JoinSet<T> {}
impl<T> RefUnwindSafe for JoinSet<T> {}

impl<T> JoinSet<T> {
    /// Creates an empty set. It allocates memory when the first task is spawned.
    #[must_use]
    pub fn new() -> JoinSet<T> {
        JoinSet {
            handles: Slab::new(),
            wakers: Vec::new(),
            ended: Arc::new(Ended(ForkLock::new(EndedList {
                lost: false,
                ..EndedList::default()
            }))),
            #[cfg(all(test, not(loom)))]
            polls: 0,
        }
    }

    /// Returns the number of tasks in the set, including those that have ended and whose output was
    /// not returned yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Returns whether there is no task in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Adds a task that has been spawned already: one with a name, one on another runtime, or one
    /// that has ended. Nothing else is woken any more when the task ends, even if the handle was
    /// polled elsewhere before.
    ///
    /// # Panics
    ///
    /// If the handle has returned the output of its task.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::{Builder, JoinSet};
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     set.insert(Builder::new().name("login").spawn(async { 7 }));
    ///     assert_eq!(set.join_next().await.unwrap().unwrap(), 7);
    /// });
    /// ```
    #[track_caller]
    pub fn insert(&mut self, handle: JoinHandle<T>) -> AbortHandle {
        assert!(
            !handle.is_terminated(),
            "this handle has returned the output of its task already"
        );
        let abort = handle.abort_handle();
        let index = self.handles.insert(handle);
        if index == self.wakers.len() {
            let ended = self.ended.clone();
            self.wakers.push(Arc::new(Entry { index, ended }).into());
        }
        // If the task has ended already, this wakes the waiter, which is foreign code.
        catch(|| self.handles[index].wake_at_end(&self.wakers[index])).unwrap_or_else(report_panic);
        abort
    }

    /// Waits until one of the tasks has ended, removes it, and returns its output. Returns `None`
    /// if the set is empty.
    ///
    /// # Errors
    ///
    /// The task panicked, was aborted, or its runtime was dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. If the future is dropped, no task has been removed.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     set.spawn(async { 7 });
    ///     assert_eq!(set.join_next().await.unwrap().unwrap(), 7);
    ///     set.spawn(async { panic!("no") });
    ///     assert!(set.join_next().await.unwrap().unwrap_err().is_panic());
    ///     assert!(set.join_next().await.is_none());
    /// });
    /// ```
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// Waits as [`join_next`](JoinSet::join_next) does, and returns the id of the task together
    /// with its output.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. If the future is dropped, no task has been removed.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     let task = set.spawn(async { panic!("no") });
    ///     let (id, result) = set.join_next_with_id().await.unwrap();
    ///     assert!(result.is_err() && id == task.id());
    /// });
    /// ```
    pub async fn join_next_with_id(&mut self) -> Option<(Id, Result<T, JoinError>)> {
        poll_fn(|cx| self.poll_join_next_with_id(cx)).await
    }

    /// Removes a task that has ended and returns its output. Returns `None` if there is none.
    ///
    /// It takes nothing from the budget of the task that calls it. Outside of the runtime of its
    /// tasks, for example between two calls of `block_on`, `None` may be out of date: the output is
    /// requested from the runtime, and a later call returns it.
    ///
    /// # Errors
    ///
    /// The task panicked, was aborted, or its runtime was dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     set.spawn(async { 7 });
    ///     assert!(set.try_join_next().is_none());
    ///     reveille::yield_now().await;
    ///     assert_eq!(set.try_join_next().unwrap().unwrap(), 7);
    /// });
    /// ```
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.try_join_next_with_id().map(|(_, result)| result)
    }

    /// Removes a task as [`try_join_next`](JoinSet::try_join_next) does, and returns its id
    /// together with its output.
    pub fn try_join_next_with_id(&mut self) -> Option<(Id, Result<T, JoinError>)> {
        let _unbound = budget::unbound();
        loop {
            let index = self.ended.0.lock().pop(&self.handles)?;
            if let Some((handle, result)) = self.take(index) {
                return Some((handle.id(), result));
            }
        }
    }

    /// Polls for the output of a task that has ended, and removes the task.
    ///
    /// Returns `Ready(None)` if the set is empty. Takes one operation from the budget of the task
    /// for each output.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    /// use std::future::poll_fn;
    ///
    /// reveille::block_on(async {
    ///     let mut set: JoinSet<i32> = (0..3).map(|n| async move { n }).collect();
    ///     let first = poll_fn(|cx| set.poll_join_next(cx)).await;
    ///     assert_eq!(first.unwrap().unwrap(), 0);
    /// });
    /// ```
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        let ended = ready!(self.poll_join_next_with_id(cx));
        Poll::Ready(ended.map(|(_, result)| result))
    }

    /// Polls as [`poll_join_next`](JoinSet::poll_join_next) does, and returns the id of the task
    /// together with its output.
    pub fn poll_join_next_with_id(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Id, Result<T, JoinError>)>> {
        let ended = ready!(self.poll_ended(cx));
        Poll::Ready(ended.map(|(handle, result)| (handle.id(), result)))
    }

    /// Polls for a task that has ended, and removes its handle. The handle has returned the result
    /// and is good for its id only.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ending<T>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        ready!(budget::check(cx));
        while let Some(index) = self.pop_or_wait(cx.waker()) {
            if let Some(ending) = self.take(index) {
                return Poll::Ready(Some(ending));
            }
        }
        Poll::Pending
    }

    /// Removes and returns the index of a handle to poll, or stores the waker.
    fn pop_or_wait(&self, waker: &Waker) -> Option<usize> {
        {
            let mut list = self.ended.0.lock();
            let index = list.pop(&self.handles);
            let is_known = list.waiter.as_ref().is_some_and(|w| w.will_wake(waker));
            if index.is_some() || is_known {
                return index;
            }
        }
        // Clones and drops of wakers are foreign code, which may end tasks and panic. So no index
        // is removed before that.
        let unbound = budget::unbound();
        let mut waiter = Some(waker.clone());
        let stored = {
            let mut list = self.ended.0.lock();
            let stored = list.indices.is_empty();
            if stored {
                mem::swap(&mut list.waiter, &mut waiter);
            }
            stored
        };
        drop(waiter);
        drop(unbound);
        match stored {
            true => None,
            false => self.ended.0.lock().pop(&self.handles),
        }
    }

    /// Polls a handle. If its task has ended, removes it.
    fn take(&mut self, index: usize) -> Option<Ending<T>> {
        let handle = self.handles.get_mut(index)?;
        #[cfg(all(test, not(loom)))]
        {
            self.polls += 1;
        }
        let cx = &mut Context::from_waker(&self.wakers[index]);
        match Pin::new(handle).poll(cx) {
            Poll::Ready(result) => Some((self.handles.remove(index), result)),
            Poll::Pending => None,
        }
    }

    /// Forgets which tasks have ended, as the fork of a process may.
    #[cfg(all(test, not(loom)))]
    pub(super) fn lose_ended(&self) {
        *self.ended.0.lock() = EndedList::default();
    }

    /// Waits until all tasks have ended and returns their outputs, in the order in which the tasks
    /// ended.
    ///
    /// # Panics
    ///
    /// If a task panicked, with its payload. If a task was aborted or its runtime was dropped. The
    /// other tasks are aborted then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe. If the future is dropped, all tasks are aborted and the outputs are lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    /// use reveille::time::{Duration, sleep};
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     set.spawn(async {
    ///         sleep(Duration::from_millis(1)).await;
    ///         "late"
    ///     });
    ///     set.spawn(async { "early" });
    ///     assert_eq!(set.join_all().await, ["early", "late"]);
    /// });
    /// ```
    pub async fn join_all(mut self) -> Vec<T> {
        let mut outputs = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            match result.map_err(JoinError::try_into_panic) {
                Ok(output) => outputs.push(output),
                Err(Ok(payload)) => resume_unwind(payload),
                Err(Err(error)) => panic!("a task of `join_all` has no output: {error}"),
            }
        }
        outputs
    }

    /// Aborts all tasks and waits until their futures are dropped. Then the set is empty.
    ///
    /// The outputs of tasks that have ended are dropped. A panic of a task goes to
    /// [`UnhandledPanic`](crate::runtime::UnhandledPanic), as if its handle had been dropped.
    /// Closures of [`spawn_blocking`](crate::spawn_blocking) that have begun run to their end, and
    /// `shutdown` waits for them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. If the future is dropped, all tasks are aborted, and those that have not ended
    /// are still in the set.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    /// use std::rc::Rc;
    ///
    /// reveille::block_on(async {
    ///     let shared = Rc::new(());
    ///     let mut set = JoinSet::new();
    ///     let held = shared.clone();
    ///     set.spawn(async move {
    ///         std::future::pending::<()>().await;
    ///         drop(held);
    ///     });
    ///     set.shutdown().await;
    ///     assert!(set.is_empty() && Rc::strong_count(&shared) == 1);
    /// });
    /// ```
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while let Some((handle, result)) = poll_fn(|cx| self.poll_ended(cx)).await {
            if let Err(Ok(payload)) = result.map_err(JoinError::try_into_panic) {
                report(handle.runtime(), handle.unobserved(payload));
            }
        }
    }

    /// Aborts all tasks: requests that the runtime drop their futures.
    ///
    /// The tasks stay in the set: [`join_next`](JoinSet::join_next) returns an error for each that
    /// had not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     set.spawn(std::future::pending::<()>());
    ///     set.abort_all();
    ///     assert_eq!(set.len(), 1);
    ///     assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn abort_all(&mut self) {
        for (_, handle) in &self.handles {
            handle.abort();
        }
    }

    /// Removes all tasks without aborting them.
    ///
    /// They continue to run in the background, as after the drop of a [`JoinHandle`].
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     let task = set.spawn(async {});
    ///     set.detach_all();
    ///     assert!(set.is_empty());
    ///     drop(set);
    ///     assert!(!task.is_finished());
    ///     reveille::yield_now().await;
    ///     assert!(task.is_finished());
    /// });
    /// ```
    pub fn detach_all(&mut self) {
        self.handles.clear();
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        // All of them before the handles are dropped, because drops of outputs are foreign code.
        self.abort_all();
        // Nothing waits any more. The waker is foreign code.
        let waiter = self.ended.0.lock().waiter.take();
        let _unbound = budget::unbound();
        catch(|| drop(waiter)).unwrap_or_else(report_panic);
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
