//! Runs the programs on tokio.

use crate::log::{Log, Program, Trace};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

mod api {
    use std::future::Future;
    pub(super) use tokio::task::coop::{consume_budget, unconstrained};
    pub(super) use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet, yield_now};
    pub(super) use tokio::task::{id, spawn_local as spawn, try_id};
    pub(super) use tokio::task_local;
    pub(super) use tokio::time::*;

    pub(super) fn now() -> Instant {
        Instant::now()
    }

    pub(super) fn spawn_in<F>(set: &mut JoinSet<F::Output>, future: F) -> AbortHandle
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        set.spawn_local(future)
    }
}
#[path = "programs.rs"]
mod programs;

fn run((name, program): Program) -> Trace {
    let log = Log::default();
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, program(log.clone()));
    log.note("the end of the runtime");
    drop((tasks, runtime));
    (name, log.lines())
}

pub(crate) fn run_all() -> Vec<Trace> {
    programs::ALL.iter().copied().map(run).collect()
}
