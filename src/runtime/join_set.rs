//! The functions of [`JoinSet`] that spawn, on the current runtime or on that of a [`Handle`].

use super::Handle;
use super::functions::{spawn, spawn_blocking};
use crate::task::{AbortHandle, JoinSet};
use std::future::Future;

impl<T: 'static> JoinSet<T> {
    /// Spawns a future on the current runtime of this thread, as [`spawn`](crate::spawn()) does,
    /// and adds the task to the set.
    ///
    /// The future need not be `Send`.
    ///
    /// # Panics
    ///
    /// If this thread is not inside a runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     let endless = set.spawn(std::future::pending::<()>());
    ///     endless.abort();
    ///     assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
    /// });
    /// ```
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        boxed_if_large!(F, future => self.insert(spawn(future)))
    }

    /// Spawns a future on another runtime, from any thread, and adds the task to the set.
    ///
    /// If that runtime was dropped or is being [shut down](crate::Runtime::shutdown), this drops
    /// the future, and [`join_next`](JoinSet::join_next) returns an error for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = reveille::Runtime::new()?;
    /// let handle = runtime.handle();
    /// let worker = std::thread::spawn(move || {
    ///     let mut set = JoinSet::new();
    ///     set.spawn_on(async { 7 }, &handle);
    ///     let output = reveille::block_on(set.join_next());
    ///     handle.stop();
    ///     output.unwrap().unwrap()
    /// });
    /// runtime.run()?;
    /// assert_eq!(worker.join().unwrap(), 7);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_on<F>(&mut self, future: F, handle: &Handle) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        boxed_if_large!(F, future => self.insert(handle.spawn(future)))
    }

    /// Runs a closure on a thread that may block, as [`spawn_blocking`](crate::spawn_blocking)
    /// does, and adds it to the set.
    ///
    /// # Panics
    ///
    /// As [`spawn_blocking`](crate::spawn_blocking).
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::task::JoinSet;
    ///
    /// reveille::block_on(async {
    ///     let mut set = JoinSet::new();
    ///     set.spawn_blocking(|| "from a thread");
    ///     set.spawn(async { "from a task" });
    ///     assert_eq!(set.join_all().await.len(), 2);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_blocking<F>(&mut self, f: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        self.insert(spawn_blocking(f))
    }

    /// Runs a closure on a thread of another runtime that may block, as
    /// [`Handle::spawn_blocking`] does, and adds it to the set.
    ///
    /// # Panics
    ///
    /// As [`Handle::spawn_blocking`].
    #[track_caller]
    pub fn spawn_blocking_on<F>(&mut self, f: F, handle: &Handle) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        self.insert(handle.spawn_blocking(f))
    }
}

/// Spawns the futures on the current runtime of this thread, as [`JoinSet::spawn`] does.
///
/// # Panics
///
/// If there is a future and this thread is not inside a runtime.
impl<T, F> FromIterator<F> for JoinSet<T>
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> JoinSet<T> {
        let mut set = JoinSet::new();
        set.extend(futures);
        set
    }
}

/// Spawns the futures on the current runtime of this thread, as [`JoinSet::spawn`] does, and adds
/// the tasks to the set. If the iterator panics, the tasks of the futures that it has returned are
/// in the set.
///
/// # Panics
///
/// If there is a future and this thread is not inside a runtime.
///
/// # Examples
///
/// ```
/// use reveille::task::JoinSet;
///
/// reveille::block_on(async {
///     let square = |n: u32| async move { n * n };
///     let mut set: JoinSet<u32> = (0..5).map(square).collect();
///     set.extend((5..10).map(square));
///     assert_eq!(set.join_all().await.iter().sum::<u32>(), 285);
/// });
/// ```
impl<T, F> Extend<F> for JoinSet<T>
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    #[track_caller]
    fn extend<I: IntoIterator<Item = F>>(&mut self, futures: I) {
        // A loop, so that the tasks are spawned at the place that calls this.
        for future in futures {
            self.spawn(future);
        }
    }
}
