//! The memory of things that are kept: read `live`.

use crate::count::{Counts, Meter};
use crate::tasks::in_task;
use crate::timers::in_poll;
use reveille::io::AsyncFd;
use reveille::time;
use std::future::Future;
use std::hint::black_box;
use std::net::UdpSocket;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A future of 64 bytes that never ends.
struct Held([u8; 64]);

impl Future for Held {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        black_box(&self.0);
        Poll::Pending
    }
}

/// `n` tasks, each polled once and holding 64 bytes.
pub fn task(n: u64) -> Counts {
    reveille::block_on(async move {
        let mut joins = Vec::with_capacity(n as usize);
        let meter = Meter::start();
        for _ in 0..n {
            joins.push(reveille::spawn(Held([1; 64])));
        }
        reveille::yield_now().await;
        meter.stop()
    })
}

/// `n` boxed sleeps, each polled once, 10 to 20 s from now.
pub fn timer(n: u64) -> Counts {
    in_task(in_poll(move |cx| {
        let mut sleeps = Vec::with_capacity(n as usize);
        let meter = Meter::start();
        for i in 0..n {
            let us = 10_000_000 + i * 10_000_000 / n;
            let mut sleep = Box::pin(time::sleep(Duration::from_micros(us)));
            assert!(sleep.as_mut().poll(cx).is_pending());
            sleeps.push(sleep);
        }
        meter.stop()
    }))
}

/// `n` UDP sockets, registered and not awaited.
pub fn fd(n: u64) -> Counts {
    reveille::block_on(async move {
        let mut fds = Vec::with_capacity(n as usize);
        let meter = Meter::start();
        for _ in 0..n {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            fds.push(AsyncFd::new(socket).expect("registered"));
        }
        meter.stop()
    })
}
