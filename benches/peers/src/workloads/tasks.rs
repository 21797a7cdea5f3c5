//! Spawning, switching, waking and what a task weighs.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::in_task;
use crate::contestant::{Args, Micro, Tasks};
use crate::report::{Meter, Report};

pub fn all<R: Tasks>() -> Vec<Micro> {
    vec![
        ("spawn-task", spawn_task::<R>),
        ("spawn-root", spawn_root::<R>),
        ("switch", switch::<R>),
        ("yield", yield_now::<R>),
        ("ping-pong", ping_pong::<R>),
        ("live-task", live_task::<R>),
    ]
}

async fn spawn_join<R: Tasks>(n: u64) {
    for _ in 0..n {
        R::spawn(async {}).await;
    }
}

/// Spawn an empty task and await its handle, from within a task.
fn spawn_task<R: Tasks>(a: &Args) -> Report {
    let (n, warm) = (a.n, a.warm);
    in_task::<R, _>(async move {
        spawn_join::<R>(warm).await;
        let meter = Meter::new();
        spawn_join::<R>(n).await;
        meter.done(n)
    })
}

/// The same from the root future of `block_on`.
fn spawn_root<R: Tasks>(a: &Args) -> Report {
    R::block_on(async {
        spawn_join::<R>(a.warm).await;
        let meter = Meter::new();
        spawn_join::<R>(a.n).await;
        meter.done(a.n)
    })
}

/// Wakes itself by reference and is pending once.
#[derive(Default)]
pub struct Switch(bool);

impl Future for Switch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// `k` tasks that take turns; one operation is one turn of one task.
fn turns<R: Tasks, F: Future + 'static>(a: &Args, turn: fn() -> F) -> Report {
    let (k, n) = (a.k.max(1), a.n);
    R::block_on(async move {
        let rounds = n.div_ceil(k);
        let mut joins = Vec::with_capacity(k as usize);
        for _ in 0..k {
            joins.push(R::spawn(async move {
                for _ in 0..rounds {
                    turn().await;
                }
            }));
        }
        let meter = Meter::new();
        for join in joins {
            join.await;
        }
        meter.done(rounds * k)
    })
}

fn switch<R: Tasks>(a: &Args) -> Report {
    turns::<R, _>(a, Switch::default)
}

fn yield_now<R: Tasks>(a: &Args) -> Report {
    turns::<R, _>(a, R::yield_now)
}

#[derive(Default)]
struct Ball {
    side: Cell<usize>,
    wakers: [RefCell<Option<Waker>>; 2],
}

async fn play(ball: Rc<Ball>, me: usize, n: u64) {
    for _ in 0..n {
        poll_fn(|cx| {
            if ball.side.get() == me {
                return Poll::Ready(());
            }
            match &mut *ball.wakers[me].borrow_mut() {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await;
        ball.side.set(1 - me);
        if let Some(waker) = &*ball.wakers[1 - me].borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Two tasks that wake each other in turn; one operation is one hand-over.
fn ping_pong<R: Tasks>(a: &Args) -> Report {
    R::block_on(async {
        let ball = Rc::new(Ball::default());
        let half = a.n / 2;
        let other = R::spawn(play(ball.clone(), 1, half));
        let one = R::spawn(play(ball, 0, half));
        let meter = Meter::new();
        one.await;
        other.await;
        meter.done(half * 2)
    })
}

/// A future of 64 bytes that never ends.
struct Held([u8; 64]);

impl Future for Held {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        std::hint::black_box(&self.0);
        Poll::Pending
    }
}

/// `n` tasks that stay, each holding 64 bytes: read `live` and `allocs` of `peers-alloc`.
fn live_task<R: Tasks>(a: &Args) -> Report {
    R::block_on(async {
        let mut joins = Vec::with_capacity(a.n as usize);
        let meter = Meter::new();
        for _ in 0..a.n {
            joins.push(R::spawn(Held([1; 64])));
        }
        Switch::default().await;
        let report = meter.done(a.n);
        std::mem::forget(joins);
        report
    })
}
