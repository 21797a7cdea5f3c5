//! [`Job`]: a closure that runs on another thread, and whose output goes to a `JoinHandle`.
//!
//! A job has no slot and is not a task of its runtime: it has only a [`Reply`]. So its output may
//! outlive the runtime. The queue of jobs is above this module, which knows it as a [`JobQueue`].

use std::sync::Arc;

use super::error::JoinError;
use super::id::{Id, as_task};
use super::inspect::Description;
use super::join::JoinHandle;
use super::remote::Remote;
use super::reply::{JobPlace, Reply, Sink};
use super::unobserved::Unobserved;
use super::unobserved_panics::report;
use crate::panics::catch;
use crate::token::RuntimeId;

/// Where jobs wait, for an abort.
pub(crate) trait JobQueue: Send + Sync {
    /// Takes out the job of this number. `None` if it has begun, ended or been taken out.
    fn take_out(&self, number: u64) -> Option<Job>;
}

/// The names of a job, for the list of those that run.
#[derive(Clone, Debug)]
pub(crate) struct JobLabel {
    pub(crate) runtime: RuntimeId,
    /// Unique among the tasks and jobs of the runtime.
    pub(crate) id: Id,
    pub(crate) description: Description,
}

/// A closure on its way to a thread, with the reply that its handle holds. If it is dropped, the
/// handle returns the error "runtime is gone".
pub(crate) struct Job {
    work: Box<dyn Work>,
    /// Dropped after the answer was sent.
    #[cfg(feature = "test-util")]
    guard: Option<Box<dyn Send>>,
}

impl Job {
    /// Creates a job of a runtime, and its handle. `place`: where the job will wait.
    pub(crate) fn new<F, R>(
        remote: &Remote,
        f: F,
        description: Description,
        place: Option<(Arc<dyn JobQueue>, u64)>,
    ) -> (Job, JoinHandle<R>)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let place = place.map(|(queue, number)| Box::new(Place { queue, number }) as _);
        let (runtime, id) = (remote.id(), remote.next_id());
        let reply = Reply::of_job(id, place, description);
        let handle = JoinHandle::replied(runtime, reply.clone());
        let work = Box::new(Closure {
            f: Some(f),
            output: None,
            reply: Some(reply),
            id,
            runtime,
        });
        let job = Job {
            work,
            #[cfg(feature = "test-util")]
            guard: None,
        };
        (job, handle)
    }

    /// Keeps `guard` until the job has sent its answer.
    #[cfg(feature = "test-util")]
    pub(crate) fn hold(&mut self, guard: impl Send + 'static) {
        self.guard = Some(Box::new(guard));
    }

    /// Returns the names of the job.
    pub(crate) fn label(&self) -> JobLabel {
        self.work.label()
    }

    /// Runs the closure. If its handle was dropped, drops the output as well.
    pub(crate) fn call(&mut self) {
        self.work.call();
    }

    /// Sends the output of [`call`](Job::call) to the handle.
    pub(crate) fn answer(mut self) {
        self.work.answer();
    }

    /// Drops the closure without running it. The handle returns `error`, or the panic of the drop.
    pub(crate) fn cancel(mut self, error: JoinError) {
        self.work.cancel(error);
    }
}

/// The number of a job in its queue, for its reply.
struct Place {
    queue: Arc<dyn JobQueue>,
    number: u64,
}

impl JobPlace for Place {
    fn abort(&self) {
        if let Some(job) = self.queue.take_out(self.number) {
            job.cancel(JoinError::cancelled());
        }
    }
}

/// The operations of a job, without the types of its closure and output.
trait Work: Send {
    fn label(&self) -> JobLabel;
    fn call(&mut self);
    fn answer(&mut self);
    fn cancel(&mut self, error: JoinError);
}

struct Closure<F, R> {
    f: Option<F>,
    output: Option<Result<R, JoinError>>,
    /// Until there is an answer.
    reply: Option<Arc<Reply<R>>>,
    id: Id,
    runtime: RuntimeId,
}

impl<F, R> Closure<F, R> {
    fn report(&self, panic: Option<Unobserved>) {
        panic
            .into_iter()
            .for_each(|panic| report(self.runtime, panic));
    }

    fn settle(&mut self, result: Result<R, JoinError>) {
        let panic = self.reply.take().and_then(|reply| reply.settle(result));
        self.report(panic);
    }

    /// Drops the closure, if it has not run. Returns `error`, or the panic of the drop.
    fn drop_closure(&mut self, error: JoinError) -> JoinError {
        let f = self.f.take();
        match as_task(self.id, || catch(|| drop(f))) {
            Ok(()) => error,
            Err(payload) => JoinError::panic(payload),
        }
    }
}

impl<F: FnOnce() -> R + Send, R: Send> Work for Closure<F, R> {
    fn label(&self) -> JobLabel {
        JobLabel {
            runtime: self.runtime,
            id: self.id,
            description: self
                .reply
                .as_ref()
                .map_or_else(Description::default, |reply| reply.description()),
        }
    }

    fn call(&mut self) {
        let Some(f) = self.f.take() else {
            return;
        };
        let output = as_task(self.id, || catch(f)).map_err(JoinError::panic);
        match self.reply.take_if(|reply| reply.is_closed()) {
            Some(reply) => self.report(reply.discard(output)),
            None => self.output = Some(output),
        }
    }

    fn answer(&mut self) {
        if let Some(output) = self.output.take() {
            self.settle(output);
        }
    }

    fn cancel(&mut self, error: JoinError) {
        let error = self.drop_closure(error);
        self.settle(Err(error));
    }
}

impl<F, R> Drop for Closure<F, R> {
    fn drop(&mut self) {
        if self.reply.is_some() {
            let error = self.drop_closure(JoinError::gone());
            self.settle(Err(error));
        }
    }
}
