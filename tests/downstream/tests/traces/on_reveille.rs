//! Runs the programs on this crate.

use crate::log::{Log, Program, Trace};
use reveille::Builder;
use reveille::backend::BackendKind;

mod api {
    pub(super) use reveille::task::*;
    pub(super) use reveille::time::*;
    pub(super) use reveille::{spawn, task_local};
    use std::future::Future;

    pub(super) fn spawn_in<F>(set: &mut JoinSet<F::Output>, future: F) -> AbortHandle
    where
        F: Future + 'static,
    {
        set.spawn(future)
    }
}
#[path = "programs.rs"]
mod programs;

fn run(kind: BackendKind, (name, program): Program) -> Trace {
    let log = Log::default();
    let builder = Builder::new().backend(kind).start_paused(true);
    let runtime = builder.build().unwrap();
    runtime.block_on(program(log.clone()));
    log.note("the end of the runtime");
    drop(runtime);
    (name, log.lines())
}

pub(crate) fn run_all(kind: BackendKind) -> Vec<Trace> {
    let programs = programs::ALL.iter();
    programs.map(|program| run(kind, *program)).collect()
}
