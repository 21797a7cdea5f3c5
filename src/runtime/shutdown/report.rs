//! [`ShutdownReport`]: what was left at the end of a shutdown.

#![forbid(unsafe_code)]

use crate::blocking::JobState;
use crate::place::Place;
use crate::reactor::clock::Moment;
use crate::reactor::driver::Driver;
use crate::runtime::local::Local;
use crate::runtime::origins::{Origin, Registrant};
use crate::task::{Id, TaskInfo};
use crate::timer::TimerKey;
use crate::token::Token;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::panic::Location;
use std::time::{Duration, Instant};

/// What was left when [`Runtime::shutdown`](crate::Runtime::shutdown) had run the loop for the last
/// time: the tasks that it has dropped, and the jobs, descriptors and timers that existed then. A
/// *job* is a closure of [`spawn_blocking`](crate::spawn_blocking) or a look-up of a host name.
///
/// The `Display` text has one line for each of them, for at most 20 of a kind. The lists have all,
/// and so has the `Debug` text. With spawn locations, the `Display` text looks like this:
///
/// ```text
/// the time was over: 1 task, 1 descriptor, 1 timer were left
///   task 3 "server", spawned at src/main.rs:8:13
///   descriptor 7, created at src/main.rs:9:36, registered by task 3, spawned at src/main.rs:8:13
///   timer due in 1.5s, created at src/main.rs:10:17, awaited by task 3
/// ```
///
/// | | what is known of each |
/// |---|---|
/// | task, job | id, and name if [`task::Builder`](crate::task::Builder) has set one |
/// | descriptor | its number, the tasks that waited for it, whether it outlives the tasks |
/// | timer | its deadline, the task that waited for it, whether it outlives the tasks |
///
/// [`Builder::track_spawn_locations`](crate::Builder::track_spawn_locations) adds where each task
/// and job was spawned, where each descriptor and timer was created, and which task has registered
/// each descriptor.
///
/// A descriptor or timer *outlives the tasks* if its value does not belong to a task: it is in a
/// variable of the program, on another thread, or was forgotten. If all tasks have ended,
/// everything that is left outlives them.
///
/// # Examples
///
/// ```
/// use reveille::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = reveille::Builder::new().track_spawn_locations(true).build()?;
/// runtime.spawn(async {
///     let listener = reveille::net::TcpListener::bind("127.0.0.1:0").await?;
///     listener.accept().await
/// });
/// # runtime.turn(Some(Duration::ZERO))?; // So that it is polled before the time is over.
/// let report = runtime.shutdown(Duration::from_millis(20));
/// let (task, listener) = (&report.tasks()[0], &report.descriptors()[0]);
/// assert_eq!(task.spawned_at().map(|place| place.file()), Some(file!()));
/// assert_eq!(listener.created_at().map(|place| place.file()), Some(file!()));
/// assert_eq!(listener.task_id(), Some(task.id()));
/// assert_eq!(listener.waiting_tasks(), [task.id()]);
/// assert!(!listener.outlives_tasks());
/// # Ok(())
/// # }
/// ```
pub struct ShutdownReport {
    tasks: Vec<TaskInfo>,
    jobs: Vec<JobInfo>,
    descriptors: Vec<DescriptorInfo>,
    timers: Vec<TimerInfo>,
    is_late: bool,
    error: Option<io::Error>,
}

impl ShutdownReport {
    /// Lists what is left of a runtime. `jobs`: those that are left; `is_late`: the time was over.
    pub(super) fn of(
        local: &Local,
        jobs: Vec<JobState>,
        is_late: bool,
        error: Option<io::Error>,
    ) -> ShutdownReport {
        let tasks = local.tasks.inspect().into_iter();
        let origins = local.origins.as_ref().map(|origins| origins.borrow());
        let descriptors = local.driver.registered_fds().into_iter().map(|registered| {
            let waiting = registered.waiting.iter();
            let mut waiting: Vec<Id> = waiting.filter_map(|key| local.tasks.id_of(*key)).collect();
            waiting.sort_unstable();
            waiting.dedup();
            DescriptorInfo {
                token: registered.token,
                fd: registered.fd,
                origin: origins
                    .as_ref()
                    .and_then(|origins| origins.get(registered.token).cloned()),
                waiting,
                outlives_tasks: false,
            }
        });
        let now = local.shared.clock.now();
        let timers = local
            .driver
            .armed_timers()
            .into_iter()
            .map(|timer| TimerInfo {
                key: timer.key,
                deadline: timer.deadline,
                left: timer.deadline.since(now),
                waiting: timer.waiting.and_then(|key| local.tasks.id_of(key)),
                place: timer.place,
                outlives_tasks: false,
            });
        ShutdownReport {
            tasks: tasks.filter(|task| !task.is_finished()).collect(),
            jobs: jobs.into_iter().map(JobInfo).collect(),
            descriptors: descriptors.collect(),
            timers: timers.collect(),
            is_late,
            error,
        }
    }

    /// Marks the descriptors and timers that are left after the tasks were dropped.
    pub(super) fn note_what_outlives_tasks(&mut self, driver: &Driver) {
        let (fds, timers) = (driver.registered_fds(), driver.armed_timers());
        let mut by_token: HashMap<Token, &mut DescriptorInfo> = self
            .descriptors
            .iter_mut()
            .map(|info| (info.token, info))
            .collect();
        for fd in fds {
            if let Some(info) = by_token.get_mut(&fd.token) {
                info.outlives_tasks = true;
            }
        }
        let mut by_key: HashMap<TimerKey, &mut TimerInfo> = self
            .timers
            .iter_mut()
            .map(|info| (info.key, info))
            .collect();
        for timer in timers {
            if let Some(info) = by_key.get_mut(&timer.key) {
                info.outlives_tasks = true;
            }
        }
    }

    /// Returns whether nothing was left: no task, no job, no descriptor and no timer, and no
    /// error occurred.
    ///
    /// A descriptor or timer in a variable of the program counts as well: drop it before the
    /// shutdown.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.count() == 0 && self.error.is_none()
    }

    /// Returns whether the time was over before all tasks and jobs had ended.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.is_late
    }

    /// Returns the error because of which the loop did not run to its end: the mechanism has failed
    /// permanently, or this is the child of a fork.
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Returns the tasks that had not ended and were dropped, in no particular order.
    #[must_use]
    pub fn tasks(&self) -> &[TaskInfo] {
        &self.tasks
    }

    /// Returns the jobs that had not ended. Those that had not begun were dropped, the others run
    /// on.
    #[must_use]
    pub fn blocking_jobs(&self) -> &[JobInfo] {
        &self.jobs
    }

    /// Returns the descriptors that were registered with the loop, in no particular order.
    ///
    /// These are every socket, pipe and [`AsyncFd`](crate::io::AsyncFd), one descriptor for all
    /// listeners of signals, and the pidfd of each child process that was not reaped, also if its
    /// `Child` was dropped (feature `process`). Descriptors of the loop itself are not listed.
    #[must_use]
    pub fn descriptors(&self) -> &[DescriptorInfo] {
        &self.descriptors
    }

    /// Returns the timers that had not fired, in no particular order.
    #[must_use]
    pub fn timers(&self) -> &[TimerInfo] {
        &self.timers
    }

    fn count(&self) -> usize {
        self.tasks.len() + self.jobs.len() + self.descriptors.len() + self.timers.len()
    }
}

/// A job that had not ended at the end of a shutdown: a closure of
/// [`spawn_blocking`](crate::spawn_blocking), or a look-up of a host name.
#[derive(Clone)]
pub struct JobInfo(JobState);

impl JobInfo {
    /// Returns the id of the job, which no task of the runtime has.
    #[must_use]
    pub fn id(&self) -> Id {
        self.0.label.id
    }

    /// Returns the name of the job, if [`task::Builder::name`](crate::task::Builder::name) has
    /// set one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.label.description.name.as_deref()
    }

    /// Returns where in the source the job was spawned, if
    /// [`Builder::track_spawn_locations`](crate::Builder::track_spawn_locations) was on. `None` for
    /// a look-up.
    #[must_use]
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.0.label.description.origin
    }

    /// Returns whether it was running. Otherwise it was waiting for a thread, and was dropped.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.has_begun
    }

    /// Returns whether it is a look-up of a host name.
    #[must_use]
    pub fn is_look_up(&self) -> bool {
        self.0.is_look_up
    }
}

/// A descriptor that was registered with the loop at the end of a shutdown.
#[derive(Clone)]
pub struct DescriptorInfo {
    token: Token,
    fd: RawFd,
    origin: Option<Origin>,
    waiting: Vec<Id>,
    outlives_tasks: bool,
}

impl DescriptorInfo {
    /// Returns the number of the descriptor. By now the descriptor may be closed, and the number
    /// may name another one.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Returns the tasks that waited for it.
    #[must_use]
    pub fn waiting_tasks(&self) -> &[Id] {
        &self.waiting
    }

    /// Returns whether it was still registered after the tasks were dropped.
    #[must_use]
    pub fn outlives_tasks(&self) -> bool {
        self.outlives_tasks
    }

    /// Returns where in the source it was created: the call of `connect`, `accept`, `bind`,
    /// `from_std`, [`AsyncFd::new`](crate::io::AsyncFd::new) and so on. For an item of
    /// [`incoming`](crate::net::TcpListener::incoming) that is the call of `incoming`, and for the
    /// pidfd and the pipes of a child the call that has started it.
    ///
    /// `None` if [`Builder::track_spawn_locations`](crate::Builder::track_spawn_locations) was off,
    /// and for the descriptor that all listeners of signals share.
    #[must_use]
    pub fn created_at(&self) -> Option<&'static Location<'static>> {
        self.origin.as_ref()?.place.location()
    }

    /// Returns the id of the task that has registered it, which may have ended.
    ///
    /// `None` if that was code outside of tasks, or if
    /// [`Builder::track_spawn_locations`](crate::Builder::track_spawn_locations) was off.
    #[must_use]
    pub fn task_id(&self) -> Option<Id> {
        Some(self.registrant()?.id)
    }

    /// Returns the name of the task that has registered it, if that has a name.
    #[must_use]
    pub fn task_name(&self) -> Option<&str> {
        self.registrant()?.description.name.as_deref()
    }

    /// Returns where in the source the task that has registered it was spawned.
    #[must_use]
    pub fn task_spawned_at(&self) -> Option<&'static Location<'static>> {
        self.registrant()?.description.origin
    }

    fn registrant(&self) -> Option<&Registrant> {
        self.origin.as_ref()?.registrant.as_ref()
    }
}

/// A timer that had not fired at the end of a shutdown.
#[derive(Clone)]
pub struct TimerInfo {
    key: TimerKey,
    deadline: Moment,
    /// The time from the report to the deadline.
    left: Duration,
    waiting: Option<Id>,
    place: Place,
    outlives_tasks: bool,
}

impl TimerInfo {
    /// Returns when it would have fired, on the clock of the runtime: an instant of
    /// [`time::now`](crate::time::now). It may differ from the deadline of a `Sleep` by one
    /// [`timer_tick`](crate::Builder::timer_tick). `None`: never.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        (self.deadline != Moment::NEVER).then(|| self.deadline.instant())
    }

    /// Returns where in the source it was created: the call of [`sleep`](crate::time::sleep()),
    /// [`timeout`](crate::time::timeout()), [`interval`](crate::time::interval()) and so on. A timer
    /// within another operation has the place of that operation, such as `connect` between two
    /// attempts and `accept` in a pause. A timer that hyper has made by a `HyperTimer` has a line
    /// of this crate.
    ///
    /// `None` if [`Builder::track_spawn_locations`](crate::Builder::track_spawn_locations) was off,
    /// or if the timer was created while no runtime existed that had it on. `None` as well for a
    /// timer of this crate that belongs to no call.
    #[must_use]
    pub fn created_at(&self) -> Option<&'static Location<'static>> {
        self.place.location()
    }

    /// Returns the task that waited for it. `None` if that was no task of the runtime.
    #[must_use]
    pub fn waiting_task(&self) -> Option<Id> {
        self.waiting
    }

    /// Returns whether it was still armed after the tasks were dropped.
    #[must_use]
    pub fn outlives_tasks(&self) -> bool {
        self.outlives_tasks
    }
}

// --- text ----------------------------------------------------------------------------------------

/// How many items of each kind the text lists.
const LISTED: usize = 20;

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => write!(f, "the loop did not run to its end ({error}): ")?,
            None if self.is_late => f.write_str("the time was over: ")?,
            None => {}
        }
        if self.count() == 0 {
            return f.write_str("nothing was left");
        }
        let counts = [
            (self.tasks.len(), "task"),
            (self.jobs.len(), "job"),
            (self.descriptors.len(), "descriptor"),
            (self.timers.len(), "timer"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count != 0);
        for (n, (count, noun)) in counts.enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let plural = if count == 1 { "" } else { "s" };
            write!(f, "{comma}{count} {noun}{plural}")?;
        }
        f.write_str(if self.count() == 1 {
            " was left"
        } else {
            " were left"
        })?;
        list(f, &self.tasks, "tasks", |task, f| {
            f.write_str("task ")?;
            named(f, task.id(), task.name(), task.spawned_at())
        })?;
        list(f, &self.jobs, "jobs", |job, f| {
            f.write_str(if job.is_look_up() { "look-up " } else { "job " })?;
            named(f, job.id(), job.name(), job.spawned_at())?;
            let ends = if job.has_begun() {
                ", still running"
            } else {
                ", not begun"
            };
            f.write_str(ends)
        })?;
        list(f, &self.descriptors, "descriptors", |descriptor, f| {
            write!(f, "descriptor {}", descriptor.fd)?;
            created(f, descriptor.created_at())?;
            if let Some(Registrant { id, description }) = descriptor.registrant() {
                f.write_str(", registered by task ")?;
                named(f, *id, description.name.as_deref(), description.origin)?;
            }
            awaited(f, &descriptor.waiting, descriptor.outlives_tasks)
        })?;
        list(f, &self.timers, "timers", |timer, f| {
            match timer.deadline {
                Moment::NEVER => f.write_str("timer that never fires")?,
                _ => write!(f, "timer due in {:?}", timer.left)?,
            }
            created(f, timer.created_at())?;
            awaited(f, timer.waiting.as_slice(), timer.outlives_tasks)
        })
    }
}

/// Writes a line for each of the first items, and one for all others.
fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    noun: &str,
    line: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for item in items.iter().take(LISTED) {
        f.write_str("\n  ")?;
        line(item, f)?;
    }
    match items.len().checked_sub(LISTED) {
        None | Some(0) => Ok(()),
        Some(more) => write!(f, "\n  and {more} more {noun}"),
    }
}

/// Writes the id of a task or job, its name and where it was spawned.
fn named(
    f: &mut fmt::Formatter<'_>,
    id: Id,
    name: Option<&str>,
    place: Option<&Location<'_>>,
) -> fmt::Result {
    write!(f, "{id}")?;
    if let Some(name) = name {
        write!(f, " {name:?}")?;
    }
    match place {
        Some(place) => write!(f, ", spawned at {place}"),
        None => Ok(()),
    }
}

/// Writes where a descriptor or timer was created.
fn created(f: &mut fmt::Formatter<'_>, place: Option<&Location<'_>>) -> fmt::Result {
    match place {
        Some(place) => write!(f, ", created at {place}"),
        None => Ok(()),
    }
}

/// Writes which tasks waited for a descriptor or timer, and whether it outlives them.
fn awaited(f: &mut fmt::Formatter<'_>, tasks: &[Id], outlives_tasks: bool) -> fmt::Result {
    for (n, task) in tasks.iter().enumerate() {
        f.write_str(if n == 0 { ", awaited by task " } else { ", " })?;
        write!(f, "{task}")?;
    }
    f.write_str(if outlives_tasks {
        ", outlives the tasks"
    } else {
        ""
    })
}

impl fmt::Debug for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownReport")
            .field("is_late", &self.is_late)
            .field("error", &self.error)
            .field("tasks", &self.tasks)
            .field("blocking_jobs", &self.jobs)
            .field("descriptors", &self.descriptors)
            .field("timers", &self.timers)
            .finish()
    }
}

impl fmt::Debug for JobInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobInfo")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("spawned_at", &self.spawned_at())
            .field("has_begun", &self.has_begun())
            .field("is_look_up", &self.is_look_up())
            .finish()
    }
}

impl fmt::Debug for DescriptorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DescriptorInfo")
            .field("fd", &self.fd)
            .field("waiting_tasks", &self.waiting)
            .field("outlives_tasks", &self.outlives_tasks)
            .field("created_at", &self.created_at())
            .field("task_id", &self.task_id())
            .field("task_name", &self.task_name())
            .field("task_spawned_at", &self.task_spawned_at())
            .finish()
    }
}

impl fmt::Debug for TimerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerInfo")
            .field("deadline", &self.deadline())
            .field("created_at", &self.created_at())
            .field("waiting_task", &self.waiting)
            .field("outlives_tasks", &self.outlives_tasks)
            .finish()
    }
}
