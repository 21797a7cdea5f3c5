//! Runs a program on the runtime whose items are in `api`. Compiled once for each runtime.

use super::api::{
    self, Instant, JoinHandle, MissedTickBehavior, advance, interval, now, sleep, sleep_until,
    spawn, timeout, timeout_at, yield_now,
};
use crate::program::{Event, Missed, Move, Program, Step};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// After each movement of the clock the root lets the tasks do all that they can at that time.
const YIELDS: usize = 64;

/// Returns what happened in each task, and last in the root.
pub(crate) fn play(program: &Program) -> Vec<Vec<Event>> {
    api::runtime().block_on(async {
        let start = now();
        let tasks = program.tasks.iter().cloned();
        let tasks: Vec<JoinHandle<Vec<Event>>> =
            tasks.map(|steps| spawn(run(steps, start))).collect();
        let mut root = Vec::new();
        for step in &program.moves {
            settle().await;
            match *step {
                Move::Advance(duration) => advance(duration).await,
                Move::Sleep(duration) => sleep(duration).await,
            }
            root.push(event(start, Duration::ZERO));
        }
        let mut events = Vec::new();
        for task in tasks {
            events.push(task.await.unwrap());
        }
        root.push(event(start, Duration::ZERO));
        events.push(root);
        events
    })
}

async fn settle() {
    for _ in 0..YIELDS {
        yield_now().await;
    }
}

fn event(start: Instant, found: Duration) -> Event {
    Event {
        at: now() - start,
        found,
    }
}

async fn run(steps: Vec<Step>, start: Instant) -> Vec<Event> {
    let mut events = Vec::new();
    for step in steps {
        let found = match step {
            Step::Interval {
                period,
                missed,
                pauses,
                reset,
            } => {
                let mut ticks = interval(period);
                ticks.set_missed_tick_behavior(match missed {
                    Missed::Burst => MissedTickBehavior::Burst,
                    Missed::Delay => MissedTickBehavior::Delay,
                    Missed::Skip => MissedTickBehavior::Skip,
                });
                for (nth, pause) in pauses.into_iter().enumerate() {
                    let due = ticks.tick().await;
                    events.push(event(start, due - start));
                    sleep(pause).await;
                    if reset == Some(nth) {
                        ticks.reset();
                    }
                }
                Duration::ZERO
            }
            step => run_one(step, start).await,
        };
        events.push(event(start, found));
    }
    events
}

/// Runs a step other than an interval.
async fn run_one(step: Step, start: Instant) -> Duration {
    match step {
        Step::Sleep(duration) => sleep(duration).await,
        Step::SleepUntil(after) => sleep_until(start + after).await,
        Step::Timeout(limit, length) => return limited(timeout(limit, sleep(length)).await),
        Step::TimeoutAt(after, length) => {
            return limited(timeout_at(start + after, sleep(length)).await);
        }
        Step::Reset(first, then) => {
            let mut asleep = Box::pin(sleep(first));
            poll_once(asleep.as_mut()).await;
            asleep.as_mut().reset(now() + then);
            asleep.await;
        }
        Step::ResetLater(first, between, then) => {
            let mut asleep = Box::pin(sleep(first));
            poll_once(asleep.as_mut()).await;
            sleep(between).await;
            asleep.as_mut().reset(now() + then);
            asleep.await;
        }
        Step::Drop(duration) => {
            let mut asleep = Box::pin(sleep(duration));
            poll_once(asleep.as_mut()).await;
        }
        Step::Yield => yield_now().await,
        Step::Interval { .. } => unreachable!("the caller runs it"),
    }
    Duration::ZERO
}

/// Returns zero for a future that was in time.
fn limited<E>(result: Result<(), E>) -> Duration {
    match result {
        Ok(()) => Duration::ZERO,
        Err(_) => Duration::MAX,
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}
