//! [`UnhandledPanic`]: the policy for panics that no handle reports. [`PanicReport`]: the
//! description of such a panic.

use crate::panics;
use crate::task::{Id, Unobserved};
use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::panic::{Location, resume_unwind};

/// Receives a panic that no handle reports.
type PanicHandler = Box<dyn Fn(PanicReport)>;

/// The policy for panics that no [`JoinHandle`](crate::task::JoinHandle) reports; see
/// [`Builder::unhandled_panic`](crate::Builder::unhandled_panic).
///
/// A panic of a task always goes to its handle if there is one. The policy applies to:
///
/// - the panic of a task whose handle was dropped;
/// - a panic in the drop of an output that no handle has taken, of a panic's payload, or of another
///   executor's waker;
/// - a panic of another executor's waker when the runtime wakes it;
/// - a panic of a custom mechanism in [`remove`](crate::backend::Backend::remove).
///
/// Dropping a handle, a socket, a timer or the runtime itself therefore never panics. One
/// exception: on another thread a drop sends a message, and
/// [`notify`](crate::backend::Notify::notify) of a custom mechanism may panic.
///
/// # Examples
///
/// ```
/// use reveille::Builder;
/// use reveille::runtime::{PanicReport, UnhandledPanic};
///
/// # fn main() -> std::io::Result<()> {
/// let log = |report: PanicReport| {
///     // For example: no such user, in task "login" (id 3)
///     eprintln!("{report}");
/// };
/// let runtime = Builder::new().unhandled_panic(UnhandledPanic::Call(Box::new(log))).build()?;
/// # drop(runtime);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[non_exhaustive]
pub enum UnhandledPanic {
    /// Writes a line to standard error. The other tasks continue to run.
    #[default]
    Isolate,
    /// Resumes the panic on the runtime's thread: it unwinds out of `block_on`, `run` or `turn`.
    /// The runtime stays usable.
    ///
    /// If the thread is already unwinding, or the runtime is being dropped, the panic is handled as
    /// by [`Isolate`](UnhandledPanic::Isolate), because a second panic would abort the process. The
    /// same applies to all but the first of several panics that are found at once.
    Propagate,
    /// Calls this function with a report of the panic, on the runtime's thread. If the function
    /// panics, its panic is handled as by [`Propagate`](UnhandledPanic::Propagate).
    Call(PanicHandler),
}

impl UnhandledPanic {
    /// Applies the policy to one panic. `may_unwind`: this call may panic.
    pub(super) fn handle(&self, report: PanicReport, runtime: Option<&str>, may_unwind: bool) {
        let may_unwind = may_unwind && !std::thread::panicking();
        match self {
            UnhandledPanic::Isolate => isolate(report, runtime),
            UnhandledPanic::Propagate if may_unwind => resume_unwind(report.into_payload()),
            UnhandledPanic::Propagate => isolate(report, runtime),
            UnhandledPanic::Call(handler) if may_unwind => handler(report),
            UnhandledPanic::Call(handler) => {
                if let Err(payload) = panics::catch(|| handler(report)) {
                    isolate(Unobserved::from(payload).into(), runtime);
                }
            }
        }
    }
}

/// Reports a panic on standard error and drops the payload, whose drop may panic in turn.
fn isolate(report: PanicReport, runtime: Option<&str>) {
    let runtime = runtime.unwrap_or("reveille");
    let line = format!(
        "{runtime}: unhandled panic: {report} (no task handle reports it; the other tasks continue)\n"
    );
    // `eprintln!` panics when standard error is closed, which would stop the other tasks.
    let _ = io::stderr().write_all(line.as_bytes());
    panics::drop_caught(report);
}

impl fmt::Debug for UnhandledPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnhandledPanic::Isolate => "Isolate",
            UnhandledPanic::Propagate => "Propagate",
            UnhandledPanic::Call(_) => "Call",
        })
    }
}

/// A panic that no [`JoinHandle`](crate::task::JoinHandle) reports; passed to the function of
/// [`UnhandledPanic::Call`].
///
/// It contains the payload, and the id, the name and the spawn location of the task if they are
/// known. Its `Display` text is the message of the panic with these three.
///
/// # Examples
///
/// ```
/// use reveille::runtime::{PanicReport, UnhandledPanic};
/// use reveille::{Builder, task, yield_now};
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// # fn main() -> std::io::Result<()> {
/// let names = Rc::new(RefCell::new(Vec::new()));
/// let log = names.clone();
/// let policy = UnhandledPanic::Call(Box::new(move |report: PanicReport| {
///     log.borrow_mut().push(report.task_name().map(str::to_owned));
/// }));
/// let runtime = Builder::new().unhandled_panic(policy).build()?;
/// runtime.block_on(async {
///     drop(task::Builder::new().name("login").spawn(async { panic!("no such user") }));
///     yield_now().await;
/// });
/// assert_eq!(*names.borrow(), [Some("login".to_owned())]);
/// # Ok(())
/// # }
/// ```
pub struct PanicReport(Unobserved);

impl PanicReport {
    /// Returns the id of the task or closure that has panicked: while it ran, in its drop, or in
    /// the drop of its output.
    ///
    /// Returns `None` if the code belongs to no task, such as a waker of another executor or the
    /// drop of a payload.
    #[must_use]
    pub fn task_id(&self) -> Option<Id> {
        self.0.id
    }

    /// Returns the name of the task or closure, if
    /// [`task::Builder::name`](crate::task::Builder::name) has set one.
    #[must_use]
    pub fn task_name(&self) -> Option<&str> {
        self.0.description.name.as_deref()
    }

    /// Returns where in the source the task or closure was spawned, if
    /// [`Builder::track_spawn_locations`](crate::Builder::track_spawn_locations) was on.
    #[must_use]
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.0.description.origin
    }

    /// Returns the text of the panic, if its payload is a string.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        let payload = &self.0.payload;
        let text = payload.downcast_ref::<&'static str>().copied();
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }

    /// Returns the payload of the panic.
    #[must_use]
    pub fn payload(&self) -> &(dyn Any + Send + 'static) {
        &*self.0.payload
    }

    /// Returns the payload of the panic, for example to resume it.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send + 'static> {
        self.0.payload
    }
}

impl From<Unobserved> for PanicReport {
    fn from(panic: Unobserved) -> PanicReport {
        PanicReport(panic)
    }
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message().unwrap_or("no message"))?;
        match (self.task_id(), self.task_name()) {
            (Some(id), Some(name)) => write!(f, ", in task {name:?} (id {id})")?,
            (Some(id), None) => write!(f, ", in task {id}")?,
            (None, _) => {}
        }
        match self.spawned_at() {
            Some(place) => write!(f, ", spawned at {place}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanicReport")
            .field("task_id", &self.task_id())
            .field("task_name", &self.task_name())
            .field("spawned_at", &self.spawned_at())
            .field("message", &self.message())
            .finish_non_exhaustive()
    }
}
