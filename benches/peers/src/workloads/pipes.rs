//! Blocks of 64 KiB through a pipe from one task to another.

use super::in_task;
use crate::contestant::{Args, Micro, Pipes};
use crate::report::{Meter, Report};

pub fn all<R: Pipes>() -> Vec<Micro> {
    vec![("pipe", pipe::<R>)]
}

pub const BLOCK: usize = 64 << 10;

/// One operation is one block, written by one task and read by another.
fn pipe<R: Pipes>(a: &Args) -> Report {
    let (n, warm) = (a.n, a.warm);
    in_task::<R, _>(async move {
        let (sender, receiver) = R::pipe().await;
        let writer = R::spawn(async move {
            let (mut sender, mut block) = (sender, vec![7; BLOCK]);
            for _ in 0..warm + n {
                block = R::write_all(&mut sender, block).await;
            }
        });
        let (mut receiver, mut buf) = (receiver, vec![0; BLOCK]);
        let (mut got, mut meter) = (0, None);
        while got < (warm + n) as usize * BLOCK {
            if meter.is_none() && got >= warm as usize * BLOCK {
                meter = Some(Meter::new());
            }
            let len;
            (len, buf) = R::read(&mut receiver, buf).await;
            assert!(len > 0 && buf[len - 1] == 7, "the pipe changed the data");
            got += len;
        }
        let report = meter.expect("n is not 0").done(n);
        writer.await;
        report
    })
}
