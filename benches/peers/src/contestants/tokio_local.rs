//! tokio's `LocalRuntime` with `spawn_local`: where it differs from `current_thread`, the tasks.

use std::future::Future;

use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::task::JoinHandle;

use super::tokio::serve;
use crate::contestant::{Contestant, Tasks};
use crate::workloads;

pub struct TokioLocal;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<TokioLocal>();
    micro.extend(workloads::cross::all::<TokioLocal>());
    Contestant {
        name: "tokio-local",
        serve: Some(serve::<TokioLocal>),
        servers: vec![],
        micro,
        missing: vec![("timers", "are those of tokio")],
    }
}

impl Tasks for TokioLocal {
    type Join = JoinHandle<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        let rt: std::io::Result<LocalRuntime> = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        rt.expect("runtime").block_on(f)
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        tokio::task::spawn_local(f)
    }

    fn yield_now() -> impl Future + 'static {
        tokio::task::yield_now()
    }
}
