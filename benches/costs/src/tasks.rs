//! Spawning, switching, waking.

use crate::count::{Counts, Meter};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Runs `f` inside a spawned task, not as the root future of `block_on`.
pub fn in_task<T: 'static>(f: impl Future<Output = T> + 'static) -> T {
    reveille::block_on(async { reveille::spawn(f).await.expect("the task ends") })
}

async fn spawn_join(n: u64) -> Counts {
    let meter = Meter::start();
    for _ in 0..n {
        reveille::spawn(async {}).await.expect("the task ends");
    }
    meter.stop()
}

/// Spawn an empty task and await its handle, from within a task.
pub fn spawn_task(n: u64) -> Counts {
    in_task(spawn_join(n))
}

/// The same from the root future of `block_on`.
pub fn spawn_root(n: u64) -> Counts {
    reveille::block_on(spawn_join(n))
}

/// Spawn 1,000 empty tasks, then await their handles in turn.
pub fn spawn_batch(n: u64) -> Counts {
    assert_eq!(n % 1000, 0, "a multiple of 1000");
    in_task(async move {
        let mut joins = Vec::with_capacity(1000);
        let meter = Meter::start();
        for _ in 0..n / 1000 {
            joins.extend((0..1000).map(|_| reveille::spawn(async {})));
            for join in joins.drain(..) {
                join.await.expect("the task ends");
            }
        }
        meter.stop()
    })
}

/// Wakes itself by reference and is pending once.
#[derive(Default)]
struct Switch(bool);

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
fn turns<F: Future + 'static>(n: u64, k: u64, turn: fn() -> F) -> Counts {
    assert_eq!(n % k, 0, "a multiple of {k}");
    reveille::block_on(async move {
        let mut joins = Vec::with_capacity(k as usize);
        for _ in 0..k {
            joins.push(reveille::spawn(async move {
                for _ in 0..n / k {
                    turn().await;
                }
            }));
        }
        let meter = Meter::start();
        for join in joins {
            join.await.expect("the task ends");
        }
        meter.stop()
    })
}

pub fn switch(n: u64, k: u64) -> Counts {
    turns(n, k, Switch::default)
}

pub fn yields(n: u64, k: u64) -> Counts {
    turns(n, k, reveille::yield_now)
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
pub fn ping_pong(n: u64) -> Counts {
    assert_eq!(n % 2, 0, "an even number");
    reveille::block_on(async move {
        let ball = Rc::new(Ball::default());
        let other = reveille::spawn(play(ball.clone(), 1, n / 2));
        let one = reveille::spawn(play(ball, 0, n / 2));
        let meter = Meter::start();
        one.await.expect("the task ends");
        other.await.expect("the task ends");
        meter.stop()
    })
}
