//! [`LocalKey`]: values that belong to a task, declared by `task_local!`.
//!
//! A value is kept in its [`TaskLocalFuture`] and swapped into a thread-local for the length of
//! each poll. So the runtime knows nothing of it, and it works with every executor.

use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomPinned;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

/// Declares values that belong to a task, as [`std::thread_local!`] does for threads.
///
/// Each `static` becomes a [`LocalKey`](crate::task::LocalKey). It has no value until
/// [`scope`](crate::task::LocalKey::scope) gives it one for a future.
///
/// # Examples
///
/// ```
/// reveille::task_local! {
///     /// The number of the request that this task serves.
///     static REQUEST: u32;
///     pub static USER: String;
/// }
///
/// async fn log(text: &str) -> String {
///     format!("request {}: {text}", REQUEST.get())
/// }
///
/// reveille::block_on(async {
///     let tasks = [1, 2].map(|n| {
///         reveille::spawn(REQUEST.scope(n, async {
///             reveille::yield_now().await;
///             log("done").await
///         }))
///     });
///     for (n, task) in (1..).zip(tasks) {
///         assert_eq!(task.await.unwrap(), format!("request {n}: done"));
///     }
/// });
/// ```
#[macro_export]
macro_rules! task_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty; $($rest:tt)*) => {
        $crate::task_local! { @key $(#[$attr])* $vis $name $t }
        $crate::task_local! { $($rest)* }
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty) => {
        $crate::task_local! { @key $(#[$attr])* $vis $name $t }
    };
    (@key $(#[$attr:meta])* $vis:vis $name:ident $t:ty) => {
        $(#[$attr])*
        $vis static $name: $crate::task::LocalKey<$t> = {
            ::std::thread_local! {
                static VALUE: ::std::cell::RefCell<::std::option::Option<$t>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }
            $crate::task::LocalKey::__new(&VALUE)
        };
    };
}

/// A key of values that belong to tasks; declared by [`task_local!`](crate::task_local!).
///
/// A value belongs to a *scope*: to a future that [`scope`](LocalKey::scope) has made, or to a
/// function that [`sync_scope`](LocalKey::sync_scope) calls. Scopes may be nested, and the
/// innermost one counts. A task that is spawned inside of a scope is not part of it: wrap its
/// future in a scope of its own. The children of a [`task::scope`](fn@crate::task::scope) are part
/// of the scopes around it, because they belong to the task that awaits them.
///
/// # Examples
///
/// ```
/// reveille::task_local! {
///     static DEPTH: u32;
/// }
///
/// reveille::block_on(DEPTH.scope(1, async {
///     assert_eq!(DEPTH.get(), 1);
///     DEPTH.scope(2, async { assert_eq!(DEPTH.get(), 2) }).await;
///     assert_eq!(DEPTH.get(), 1);
///
///     let task = reveille::spawn(async { DEPTH.try_get().is_err() });
///     assert!(task.await.unwrap(), "a task of its own");
/// }));
/// ```
pub struct LocalKey<T: 'static> {
    value: &'static thread::LocalKey<RefCell<Option<T>>>,
}

/// Why a scope cannot be entered.
enum ScopeError {
    /// A function of `with` is running.
    Borrowed,
    /// The thread is ending.
    Destroyed,
}

impl ScopeError {
    #[track_caller]
    fn panic(self) -> ! {
        match self {
            ScopeError::Borrowed => panic!(
                "the scope of a task-local was entered inside of `with` of the same key: leave `with` first"
            ),
            ScopeError::Destroyed => panic!(
                "the scope of a task-local was entered while its thread ends: enter it earlier"
            ),
        }
    }
}

impl<T: 'static> LocalKey<T> {
    /// For `task_local!` only.
    #[doc(hidden)]
    pub const fn __new(value: &'static thread::LocalKey<RefCell<Option<T>>>) -> LocalKey<T> {
        LocalKey { value }
    }

    /// Returns a future that polls `future` with a value of this key.
    ///
    /// The key has the value during each poll, and while `future` is dropped. The value is dropped
    /// after `future`, together with the future that this returns.
    ///
    /// # Panics
    ///
    /// A poll panics inside of [`with`](LocalKey::with) of the same key, and while the
    /// thread-locals of a thread are being dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// reveille::task_local! {
    ///     static NUMBER: u32;
    /// }
    ///
    /// let sum = reveille::block_on(NUMBER.scope(3, async { NUMBER.get() + 4 }));
    /// assert_eq!(sum, 7);
    /// ```
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> TaskLocalFuture<T, F> {
        TaskLocalFuture {
            key: self,
            value: Some(value),
            future: Some(future),
            pinned: PhantomPinned,
        }
    }

    /// Calls a function with a value of this key.
    ///
    /// # Panics
    ///
    /// Inside of [`with`](LocalKey::with) of the same key, and while the thread-locals of a thread
    /// are being dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// reveille::task_local! {
    ///     static NUMBER: u32;
    /// }
    ///
    /// assert_eq!(NUMBER.sync_scope(3, || NUMBER.get() + 4), 7);
    /// assert!(NUMBER.try_get().is_err());
    /// ```
    #[track_caller]
    pub fn sync_scope<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        match self.enter(&mut Some(value), f) {
            Ok(result) => result,
            Err(error) => error.panic(),
        }
    }

    /// Calls `f` while the value is in the thread-local. Then takes the value back, even if `f`
    /// panics.
    fn enter<R>(
        &'static self,
        value: &mut Option<T>,
        f: impl FnOnce() -> R,
    ) -> Result<R, ScopeError> {
        struct Leave<'a, T: 'static> {
            key: &'static LocalKey<T>,
            value: &'a mut Option<T>,
        }
        impl<T> Drop for Leave<'_, T> {
            fn drop(&mut self) {
                // It was there when the scope was entered, and a borrow ends before the function of
                // `with` has returned.
                self.key.value.with_borrow_mut(|v| mem::swap(v, self.value));
            }
        }
        let swapped = self.value.try_with(|cell| match cell.try_borrow_mut() {
            Ok(mut current) => {
                mem::swap(&mut *current, value);
                Ok(())
            }
            Err(_) => Err(ScopeError::Borrowed),
        });
        swapped.unwrap_or(Err(ScopeError::Destroyed))?;
        let _leave = Leave { key: self, value };
        Ok(f())
    }

    /// Calls `f` with the value.
    ///
    /// # Panics
    ///
    /// Outside of a scope of this key.
    ///
    /// # Examples
    ///
    /// ```
    /// reveille::task_local! {
    ///     static NAME: String;
    /// }
    ///
    /// reveille::block_on(NAME.scope("reader".to_owned(), async {
    ///     assert_eq!(NAME.with(|name| name.len()), 6);
    /// }));
    /// ```
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// Calls `f` with the value, or returns an error outside of a scope of this key.
    ///
    /// # Errors
    ///
    /// The code that calls this is not inside of a scope of this key.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let result = self.value.try_with(|value| value.borrow().as_ref().map(f));
        result.ok().flatten().ok_or(AccessError)
    }
}

impl<T: Clone + 'static> LocalKey<T> {
    /// Returns a clone of the value.
    ///
    /// # Panics
    ///
    /// Outside of a scope of this key.
    #[track_caller]
    pub fn get(&'static self) -> T {
        self.with(T::clone)
    }

    /// Returns a clone of the value, or an error outside of a scope of this key.
    ///
    /// # Errors
    ///
    /// The code that calls this is not inside of a scope of this key.
    pub fn try_get(&'static self) -> Result<T, AccessError> {
        self.try_with(T::clone)
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

pin_project! {
    /// A future with a value of a task-local; returned by [`LocalKey::scope`].
    ///
    /// # Panics
    ///
    /// If it is polled after it has returned the output; also see [`LocalKey::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct TaskLocalFuture<T: 'static, F> {
        key: &'static LocalKey<T>,
        value: Option<T>,
        #[pin]
        future: Option<F>,
        #[pin]
        pinned: PhantomPinned,
    }

    impl<T: 'static, F> PinnedDrop for TaskLocalFuture<T, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let mut future = this.future;
            if mem::needs_drop::<F>() && future.is_some() {
                // If the scope cannot be entered, the field is dropped without the value.
                let _ = this.key.enter(this.value, || future.set(None));
            }
        }
    }
}

impl<T: 'static, F> TaskLocalFuture<T, F> {
    /// Takes the value out of the future: after the future has ended, or before it was polled.
    ///
    /// Returns `None` if the value was taken before. A future without a value is still polled, and
    /// in it the key has no value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    ///
    /// reveille::task_local! {
    ///     static NUMBERS: std::cell::RefCell<Vec<u32>>;
    /// }
    ///
    /// reveille::block_on(async {
    ///     let fill = async { NUMBERS.with(|numbers| numbers.borrow_mut().push(7)) };
    ///     let mut scope = pin!(NUMBERS.scope(Default::default(), fill));
    ///     scope.as_mut().await;
    ///     assert_eq!(scope.take_value().unwrap().into_inner(), [7]);
    /// });
    /// ```
    pub fn take_value(self: Pin<&mut Self>) -> Option<T> {
        self.project().value.take()
    }
}

impl<T: 'static, F: Future> Future for TaskLocalFuture<T, F> {
    type Output = F::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut slot = this.future;
        let polled = this.key.enter(this.value, || {
            let poll = slot.as_mut().as_pin_mut().map(|future| future.poll(cx));
            if poll.as_ref().is_some_and(Poll::is_ready) {
                slot.set(None); // inside of the scope
            }
            poll
        });
        match polled {
            Ok(Some(poll)) => poll,
            Ok(None) => panic!(
                "`TaskLocalFuture` polled after it returned its output: do not poll it after `Ready`"
            ),
            Err(error) => error.panic(),
        }
    }
}

impl<T: fmt::Debug + 'static, F> fmt::Debug for TaskLocalFuture<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLocalFuture")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// The error of [`LocalKey::try_with`] outside of a scope of the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task-local has no value outside of its scope: use it inside of `scope`")
    }
}

impl Error for AccessError {}
