//! Runs a program on tokio.

mod api {
    pub(super) use tokio::spawn;
    pub(super) use tokio::task::{JoinHandle, yield_now};
    pub(super) use tokio::time::*;

    pub(super) fn now() -> Instant {
        Instant::now()
    }

    pub(super) fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    }
}
#[path = "play.rs"]
mod play;
pub(crate) use play::play;
