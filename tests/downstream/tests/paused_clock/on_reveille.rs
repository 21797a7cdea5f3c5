//! Runs a program on this crate.

mod api {
    pub(super) use reveille::time::*;
    pub(super) use reveille::{JoinHandle, spawn, yield_now};

    pub(super) fn runtime() -> reveille::Runtime {
        let builder = reveille::Builder::new().start_paused(true);
        builder.build().unwrap()
    }
}
#[path = "play.rs"]
mod play;
pub(crate) use play::play;
