//! The memory of a registered fd.

use crate::contestant::{Args, Fds, Micro};
use crate::report::{Meter, Report};

pub fn all<R: Fds>() -> Vec<Micro> {
    vec![("live-fd", live_fd::<R>)]
}

/// `n` UDP sockets registered and kept: read `live` of `peers-alloc`. Not awaited by anyone.
fn live_fd<R: Fds>(a: &Args) -> Report {
    R::block_on(async {
        let mut fds = Vec::with_capacity(a.n as usize);
        let meter = Meter::new();
        for _ in 0..a.n {
            fds.push(R::udp().await);
        }
        let report = meter.done(a.n);
        drop(fds);
        report
    })
}
