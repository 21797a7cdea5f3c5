//! [`Unblock`]: a value whose calls block, used from tasks through the pool of threads.
//!
//! At most one call of the value is under way. It is a job of the pool ([`Running`]) and has the
//! value, with its buffers ([`Content`]), while it runs:
//!
//! ```text
//!  the task                                      a thread of the pool
//!  Unblock::begin ── spawns a job ─────────────► locks the content, makes the call,
//!                                                stores the result in the content
//!  Unblock::poll_idle ◄── JoinHandle is ready ── releases the content
//!  takes the result
//! ```
//!
//! The job drops its reference to the content before its handle is ready, also if it has panicked
//! or was never called. So without a job the `Unblock` has the only reference.

mod content;
mod read;
mod seek;
mod write;

use super::error;
use crate::reactor::registration::no_runtime;
use crate::runtime::Handle;
use crate::sync::Mutex;
use crate::sys::fork;
use crate::task::JoinHandle;
use content::Content;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, SeekFrom};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The most bytes that one call reads or writes by default.
const CAPACITY: usize = 64 << 10;

/// Reads and writes a value whose calls block, such as a file or standard input, without blocking
/// the loop.
///
/// Each read, write, flush or seek is one call on a thread of the runtime's
/// [`Pool`](crate::runtime::Pool), as with [`spawn_blocking`](crate::spawn_blocking). The next one
/// begins when the last has ended. The value may be of any type that is `Send`; its flags, such as
/// `O_NONBLOCK`, are not changed.
///
/// With the features `futures-io`, `tokio` and `hyper` it has the traits of these crates that match
/// the traits of std that the value has: `AsyncRead`, `AsyncBufRead`, `AsyncWrite`, `AsyncSeek`.
///
/// # Reads
///
/// A [`read`](Unblock::read) makes one call, for as many bytes as its buffer has room for, and at
/// most [the capacity](Unblock::with_capacity). If its future is dropped, the call goes on, and the
/// next read returns what it finds: bytes, the end, or the error. So nothing is lost. But the
/// position of a file is then after these bytes: before the next write, call
/// [`seek`](Unblock::seek) with a relative offset of 0. It goes back to the first byte that no read
/// has returned.
///
/// # Writes
///
/// A [`write`](Unblock::write) copies its bytes, starts a call that writes all of them, and returns
/// at once. If the call fails, the next write, [`flush`](Unblock::flush) or
/// [`into_inner`](Unblock::into_inner) returns the error. **Flush before you drop it**, to learn
/// whether all was written.
///
/// | dropped | what happens |
/// |---|---|
/// | during a read or a seek | It is taken out of the queue, or goes on without effect on anything else. A read of standard input keeps its thread until there is input; it does not keep the process alive. |
/// | during a write, flush or [`with_mut`](Unblock::with_mut) | It runs to its end. Its error is lost; a panic goes to [`UnhandledPanic`](crate::runtime::UnhandledPanic). A call that waits for a thread is dropped with its runtime, and then its bytes are lost. |
/// | at another time | The value is dropped here, on this thread. |
///
/// # One task at a time
///
/// At most one call is under way, and only the task that polled last is woken when it ends. So an
/// `Unblock` is for one task: if two tasks use the halves that the `split` of `futures` or tokio
/// makes of it, one of them may wait forever. To read and write at the same time, make two of them,
/// from [`try_clone`](std::fs::File::try_clone) for example.
///
/// # Errors
///
/// In addition to the errors of the value:
///
/// | kind | reason |
/// |---|---|
/// | [`Other`](io::ErrorKind::Other) | no runtime runs on this thread, or it was dropped before the call began. The value is kept: inside another runtime it works again |
/// | [`Other`](io::ErrorKind::Other) | the system could not create a thread, and the pool has none. The value is kept |
/// | [`Unsupported`](io::ErrorKind::Unsupported) | the process is the child of a fork, and the runtime, or the thread that makes the last call, is one of its parent |
///
/// `Interrupted` is not returned: the call is made again. If the value returns `WouldBlock`,
/// because another process has set `O_NONBLOCK` for a shared description, the thread sleeps for
/// some milliseconds and makes the call again.
///
/// # Panics
///
/// A panic of the value's `Read`, `Write` or `Seek` is resumed in the call that waits for its end.
/// If the future of that call was dropped, it is resumed in the next one. The value stays usable.
///
/// # Examples
///
/// ```
/// use reveille::io::Unblock;
/// use std::io::{self, SeekFrom};
///
/// fn main() -> io::Result<()> {
///     let path = std::env::temp_dir().join(format!("reveille-{}", std::process::id()));
///     let result = reveille::block_on(async {
///         let to_open = path.clone();
///         let open = move || std::fs::File::create_new(to_open);
///         let mut file = Unblock::new(reveille::spawn_blocking(open).await??);
///         file.write_all(b"good morning").await?;
///         file.flush().await?;
///         assert_eq!(file.seek(SeekFrom::Current(-7)).await?, 5);
///         io::Result::Ok(())
///     });
///     std::fs::remove_file(path)?;
///     result
/// }
/// ```
///
/// Standard input, copied to standard output:
///
/// ```no_run
/// use reveille::io::Unblock;
///
/// # async fn copy() -> std::io::Result<()> {
/// let mut input = Unblock::new(std::io::stdin());
/// let mut output = Unblock::new(std::io::stdout());
/// let mut buf = [0; 4096];
/// loop {
///     match input.read(&mut buf).await? {
///         0 => break,
///         n => output.write_all(&buf[..n]).await?,
///     }
///     output.flush().await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Unblock<T> {
    /// Without a `running` job this is the only reference.
    content: Arc<Mutex<Content<T>>>,
    running: Option<Running>,
    capacity: usize,
    /// There was a write after the last flush.
    unflushed: bool,
    /// The seek whose result a poll may take.
    seeking: Option<Seeking>,
}

/// The call that is under way.
struct Running {
    job: JoinHandle<()>,
    call: Call,
    /// The process that began it: [`fork::process`].
    process: u32,
}

/// The kinds of calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Read,
    Write,
    Flush,
    Seek,
    /// A closure of the user.
    With,
}

/// A seek.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seeking {
    /// The next poll begins it.
    #[cfg(feature = "tokio")]
    Wanted(SeekFrom),
    /// The last call, ended or not.
    Begun(SeekFrom),
}

/// The drop of a call that nothing depends on.
impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.call, Call::Read | Call::Seek) {
            self.job.abort();
        }
    }
}

impl<T> Unblock<T> {
    /// Wraps a value, whose calls read or write at most 64 KiB each.
    ///
    /// This needs no runtime. Each later call uses the runtime that is current then.
    pub fn new(value: T) -> Unblock<T> {
        Unblock::with_capacity(CAPACITY, value)
    }

    /// Wraps a value, whose calls read or write at most `capacity` bytes each.
    ///
    /// Memory for them is allocated when it is needed: as much as the largest buffer that was
    /// passed to a read, and the same for writes.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut bytes = Unblock::with_capacity(4, &b"good morning"[..]);
    ///     assert_eq!(bytes.read(&mut [0; 16]).await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn with_capacity(capacity: usize, value: T) -> Unblock<T> {
        assert!(capacity > 0, "an `Unblock` needs a capacity of at least 1");
        Unblock {
            content: Arc::new(Mutex::new(Content::new(value))),
            running: None,
            capacity,
            unflushed: false,
            seeking: None,
        }
    }

    /// Waits for the end of the call that is under way, and returns a reference to the value.
    ///
    /// Bytes that were read and not returned yet stay in the `Unblock`.
    ///
    /// # Errors
    ///
    /// `Unsupported` in the child of a fork, if a thread of the parent has the value.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut sink = Unblock::new(Vec::new());
    ///     sink.write_all(b"good").await?;
    ///     assert_eq!(sink.get_mut().await?, b"good");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn get_mut(&mut self) -> io::Result<&mut T> {
        self.idle().await?;
        self.seeking = None;
        Ok(&mut self.content().value)
    }

    /// Waits for the end of the call that is under way, and returns the value.
    ///
    /// Bytes that were read and not returned yet are dropped.
    ///
    /// # Errors
    ///
    /// The error of a write that no other call has returned; the value is dropped then. Call
    /// [`flush`](Unblock::flush) before, to keep it. `Unsupported` as for
    /// [`get_mut`](Unblock::get_mut).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, so is the `Unblock`.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut sink = Unblock::new(Vec::new());
    ///     sink.write_all(b"good").await?;
    ///     assert_eq!(sink.into_inner().await?, b"good");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn into_inner(mut self) -> io::Result<T> {
        self.idle().await?;
        self.take_write_error()?;
        let content = Arc::try_unwrap(self.content).ok().expect(ONLY_REFERENCE);
        Ok(content.into_inner().value)
    }

    /// Waits for the end of the call that is under way. Returns an error if that end never comes.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(Ok(()));
        };
        if running.process != fork::process() {
            return Poll::Ready(Err(error::value_of_parent()));
        }
        let ended = ready!(Pin::new(&mut running.job).poll(cx));
        let call = running.call;
        self.running = None;
        match ended {
            Ok(()) if call == Call::Flush => {
                self.unflushed = self.content().write_error.is_some();
            }
            Ok(()) => {}
            Err(error) => match error.try_into_panic() {
                Ok(payload) => resume_unwind(payload),
                Err(error) => self.content().note_gone(call, error.into()),
            },
        }
        Poll::Ready(Ok(()))
    }

    fn idle(&mut self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|cx| self.poll_idle(cx))
    }

    /// Returns the content. There must be no job.
    fn content(&mut self) -> &mut Content<T> {
        debug_assert!(self.running.is_none());
        let content = Arc::get_mut(&mut self.content).expect(ONLY_REFERENCE);
        content.get_mut()
    }

    /// Returns the error of a write that no call has returned. There must be no job.
    fn take_write_error(&mut self) -> io::Result<()> {
        self.content().write_error.take().map_or(Ok(()), Err)
    }
}

impl<T: Send + 'static> Unblock<T> {
    /// Runs a closure on the value, on a thread of the pool, and returns its output.
    ///
    /// For calls that block and have no method here, such as
    /// [`sync_all`](std::fs::File::sync_all). It begins when the call that is under way has ended.
    ///
    /// # Errors
    ///
    /// Those of every call: see [`Unblock`](Unblock#errors).
    ///
    /// # Cancel safety
    ///
    /// Once the call is in the queue, the closure runs although the future was dropped, and its
    /// output is dropped. The next call waits for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use reveille::io::Unblock;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let mut file = Unblock::new(std::fs::File::open("Cargo.toml")?);
    ///     let len = file.with_mut(|file| file.metadata().map(|data| data.len())).await??;
    ///     assert!(len > 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn with_mut<R, F>(&mut self, f: F) -> io::Result<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut T) -> R + Send + 'static,
    {
        self.idle().await?;
        self.seeking = None;
        let output = Arc::new(Mutex::new(None));
        let place = output.clone();
        self.begin(Call::With, move |content| {
            let output = f(&mut content.value);
            *place.lock() = Some(output);
        })?;
        self.idle().await?;
        let output = output.lock().take();
        output.ok_or_else(error::gone)
    }

    /// Starts a call. There must be no other.
    fn begin(
        &mut self,
        call: Call,
        f: impl FnOnce(&mut Content<T>) + Send + 'static,
    ) -> io::Result<()> {
        debug_assert!(self.running.is_none());
        let handle = Handle::try_current().ok_or_else(no_runtime)?;
        let content = self.content.clone();
        let job = handle.spawn_or_fail(move || f(&mut content.lock()), None)?;
        self.running = Some(Running {
            job,
            call,
            process: fork::process(),
        });
        Ok(())
    }
}

const ONLY_REFERENCE: &str = "a job drops its reference before it ends";

impl<T> fmt::Debug for Unblock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unblock")
            .field("call", &self.running.as_ref().map(|running| running.call))
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
