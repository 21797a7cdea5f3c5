//! [`Handle`]: what other threads use of a runtime.

use super::context;
use super::shared::Shared;
use crate::reactor::registration::NO_RUNTIME;
use crate::sync::Arc;
use crate::task::JoinHandle;
use std::fmt;
use std::future::Future;
use std::panic::Location;

/// A reference to a runtime for any thread: spawns `Send` futures on it and tells it to stop.
///
/// It keeps nothing alive: when the runtime has been dropped, spawning gives a [`JoinHandle`] that fails at once.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = reveille::Runtime::new()?;
/// let handle = runtime.handle();
/// let worker = std::thread::spawn(move || {
///     handle.spawn(async { println!("on the runtime's thread") });
///     handle.stop();
/// });
/// runtime.run()?;
/// # worker.join().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// The handle of the runtime that this thread is in.
    ///
    /// # Panics
    ///
    /// When it is in none.
    #[track_caller]
    pub fn current() -> Handle {
        // A closure would put its own line into the message.
        match Handle::try_current() {
            Some(handle) => handle,
            None => panic!("{NO_RUNTIME}"),
        }
    }

    /// The handle of the runtime that this thread is in, if it is in one.
    pub fn try_current() -> Option<Handle> {
        context::CURRENT.with(|local| {
            local.map(|local| Handle {
                shared: local.shared.clone(),
            })
        })
    }

    /// Spawns a future on the runtime, from any thread. It is polled and dropped on the runtime's thread.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.tasks.spawn(future, Some(Location::caller()))
    }

    /// Makes [`Runtime::run`](super::Runtime::run) return, the running one or else the next. It cannot end a
    /// `block_on`, which owes an output.
    ///
    /// The tasks stay as they are and go on with the next `block_on` or `run`; dropping the runtime drops them, and with
    /// them their sockets. So a server ends gracefully in three steps: it stops, accepts no more, and gives the
    /// connections some time.
    ///
    /// ```
    /// use reveille::net::TcpListener;
    /// use reveille::time::{Duration, now, sleep, timeout_at};
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    ///
    /// fn main() -> std::io::Result<()> {
    ///     let runtime = reveille::Runtime::new()?;
    ///     let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    ///     let addr = listener.local_addr()?;
    ///     let connections = Rc::new(RefCell::new(Vec::new()));
    ///     let all = connections.clone();
    ///     let acceptor = runtime.spawn(async move {
    ///         while let Ok((stream, _peer)) = listener.accept().await {
    ///             let connection = reveille::spawn(async move {
    ///                 stream.write_all(b"good ").await?;
    ///                 sleep(Duration::from_millis(1)).await;
    ///                 stream.write_all(b"night").await
    ///             });
    ///             all.borrow_mut().retain(|other: &reveille::JoinHandle<_>| !other.is_finished());
    ///             all.borrow_mut().push(connection);
    ///         }
    ///     });
    ///
    ///     let handle = runtime.handle();
    ///     let client = std::thread::spawn(move || {
    ///         use std::io::Read;
    ///         let (mut stream, mut text) = (std::net::TcpStream::connect(addr)?, [0; 10]);
    ///         stream.read_exact(&mut text[..5])?;
    ///         handle.stop();
    ///         stream.read_exact(&mut text[5..]).map(|()| text)
    ///     });
    ///
    ///     runtime.run()?; // until `stop`
    ///     acceptor.abort(); // the listener goes with its task
    ///     runtime.block_on(async {
    ///         let deadline = now() + Duration::from_secs(5);
    ///         for connection in connections.take() {
    ///             // Who is not done by then ends with the runtime.
    ///             timeout_at(deadline, connection).await.ok();
    ///         }
    ///     });
    ///     drop(runtime);
    ///     assert_eq!(&client.join().unwrap()?, b"good night");
    ///     Ok(())
    /// }
    /// ```
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// The runtime's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.shared.name.as_deref()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("runtime", &self.shared.id)
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
