//! The programs. Compiled once for each runtime, whose items are in `api`.

use super::api::{
    AbortHandle, Instant, JoinError, JoinHandle, JoinSet, MissedTickBehavior, consume_budget, id,
    interval, interval_at, now, sleep, sleep_until, spawn, spawn_in, task_local, timeout,
    timeout_at, try_id, unconstrained, yield_now,
};
use crate::log::{Log, Program};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, SinkExt, StreamExt};
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::future::{pending, poll_fn};
use std::panic::resume_unwind;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot, watch};

const MS: Duration = Duration::from_millis(1);

macro_rules! list {
    ($($name:ident),* $(,)?) => {
        pub(super) const ALL: &[Program] = &[$((stringify!($name), |log| Box::pin($name(log)))),*];
    };
}

list![
    spawn_runs_after_the_caller_waits,
    join_in_order,
    join_in_reverse,
    join_nested,
    detached_task_goes_on,
    abort_before_the_first_poll,
    abort_while_waiting,
    abort_after_the_end,
    abort_of_itself,
    abort_by_a_sibling,
    panic_goes_to_the_handle,
    panic_after_a_wait,
    finished_or_not,
    ids,
    yields_of_tasks,
    yields_of_root_and_task,
    wake_of_a_kept_waker,
    spawn_in_a_drop,
    set_in_order_of_ends,
    set_drop_aborts,
    set_shutdown,
    set_detach,
    set_panics,
    set_try_join_next,
    set_abort_all,
    set_join_all,
    set_with_a_timeout,
    select_first_wins,
    select_in_a_loop,
    select_of_handle_and_sleep,
    join_of_futures,
    timeout_elapses,
    timeout_in_time,
    timeout_of_zero,
    timeouts_nested,
    sleeps_in_order,
    sleep_reset,
    sleep_until_the_past,
    interval_ticks,
    interval_burst,
    interval_delay,
    interval_skip,
    interval_reset,
    channel_with_back_pressure,
    channel_of_futures,
    oneshot_and_drop,
    broadcast_lags,
    watch_coalesces,
    notify_in_order,
    semaphore_in_order,
    futures_unordered,
    task_local_scopes,
    task_local_in_drops,
    budget_lets_others_run,
    no_budget_keeps_others_waiting,
    tasks_left_at_the_end,
];

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Notes a line with the time since the first line of the program.
fn at(log: &Log, text: impl Debug) {
    let start = START.get().unwrap_or_else(now);
    START.set(Some(start));
    log.note(format!("{:>3} ms {text:?}", (now() - start).as_millis()));
}

/// Begins a program.
fn begin(log: &Log) {
    START.set(None);
    at(log, "begin");
}

fn text<T: Debug>(result: Result<T, JoinError>) -> String {
    match result {
        Ok(output) => format!("{output:?}"),
        Err(error) if error.is_cancelled() => "cancelled".to_owned(),
        Err(error) => format!("panic: {:?}", error.into_panic().downcast_ref::<&str>()),
    }
}

/// Waits, and notes when it has begun and ended.
async fn nap(log: Log, name: &'static str, millis: u32) -> &'static str {
    at(&log, (name, "begins"));
    sleep(millis * MS).await;
    at(&log, (name, "ends"));
    name
}

/// Never ends, and notes its first poll and its drop.
async fn endless(log: Log, name: &'static str) {
    let _guard = log.on_drop(name);
    at(&log, (name, "begins"));
    pending().await
}

async fn spawn_runs_after_the_caller_waits(log: Log) {
    begin(&log);
    let task = spawn(nap(log.clone(), "task", 1));
    at(&log, "spawned");
    at(&log, text(task.await));
}

async fn join_in_order(log: Log) {
    begin(&log);
    let tasks = [("a", 1), ("b", 2), ("c", 3)].map(|(name, n)| spawn(nap(log.clone(), name, n)));
    for task in tasks {
        at(&log, text(task.await));
    }
}

async fn join_in_reverse(log: Log) {
    begin(&log);
    let tasks = [("a", 1), ("b", 2), ("c", 3)].map(|(name, n)| spawn(nap(log.clone(), name, n)));
    for task in tasks.into_iter().rev() {
        at(&log, text(task.await));
    }
}

async fn join_nested(log: Log) {
    begin(&log);
    let inner = log.clone();
    let outer = spawn(async move {
        let task: JoinHandle<_> = spawn(nap(inner.clone(), "inner", 2));
        at(&inner, "outer waits");
        text(task.await)
    });
    at(&log, text(outer.await));
}

async fn detached_task_goes_on(log: Log) {
    begin(&log);
    drop(spawn(nap(log.clone(), "detached", 2)));
    sleep(3 * MS).await;
    at(&log, "root ends");
}

async fn abort_before_the_first_poll(log: Log) {
    begin(&log);
    let guard = log.on_drop("future");
    let notes = log.clone();
    let task = spawn(async move {
        let _guard = guard;
        at(&notes, "polled");
    });
    task.abort();
    at(&log, "aborted");
    at(&log, text(task.await));
}

async fn abort_while_waiting(log: Log) {
    begin(&log);
    let task = spawn(endless(log.clone(), "task"));
    sleep(MS).await;
    task.abort();
    task.abort();
    at(&log, "aborted twice");
    at(&log, text(task.await));
}

async fn abort_after_the_end(log: Log) {
    begin(&log);
    let task = spawn(async { 7 });
    sleep(MS).await;
    task.abort();
    at(&log, text(task.await));
}

async fn abort_of_itself(log: Log) {
    begin(&log);
    let place = Rc::new(RefCell::new(None::<AbortHandle>));
    let (own, notes) = (place.clone(), log.clone());
    let task = spawn(async move {
        let _guard = notes.on_drop("task");
        own.take().unwrap().abort();
        at(&notes, "goes on until it waits");
        yield_now().await;
        at(&notes, "is not reached");
    });
    *place.borrow_mut() = Some(task.abort_handle());
    at(&log, text(task.await));
}

async fn abort_by_a_sibling(log: Log) {
    begin(&log);
    let task = spawn(endless(log.clone(), "task"));
    let (abort, notes) = (task.abort_handle(), log.clone());
    let sibling = spawn(async move {
        sleep(2 * MS).await;
        abort.abort();
        at(&notes, "sibling has aborted it");
    });
    at(&log, text(task.await));
    at(&log, text(sibling.await));
}

async fn panic_goes_to_the_handle(log: Log) {
    begin(&log);
    let task = spawn(async { resume_unwind(Box::new("planned")) });
    at(&log, text::<()>(task.await));
    at(&log, text(spawn(async { "other tasks go on" }).await));
}

async fn panic_after_a_wait(log: Log) {
    begin(&log);
    let notes = log.clone();
    let task = spawn(async move {
        let _guard = notes.on_drop("local variable");
        sleep(MS).await;
        at(&notes, "panics");
        resume_unwind(Box::new("planned"));
    });
    at(&log, text::<()>(task.await));
}

async fn finished_or_not(log: Log) {
    begin(&log);
    let task = spawn(sleep(2 * MS));
    let abort = task.abort_handle();
    for _ in 0..3 {
        at(&log, (task.is_finished(), abort.is_finished()));
        sleep(2 * MS).await;
    }
    at(&log, text(task.await));
    at(&log, abort.is_finished());
}

async fn ids(log: Log) {
    begin(&log);
    at(&log, try_id().is_some());
    let task = spawn(async { id() });
    let name = task.id();
    let other = spawn(async { try_id() });
    at(&log, other.id() == name);
    at(&log, task.await.unwrap() == name);
    at(&log, other.await.unwrap().is_some());
}

async fn yields_of_tasks(log: Log) {
    begin(&log);
    let tasks = ["a", "b", "c"].map(|name| {
        let log = log.clone();
        spawn(async move {
            for n in 0..3 {
                at(&log, (name, n));
                yield_now().await;
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    at(&log, "end");
}

async fn yields_of_root_and_task(log: Log) {
    begin(&log);
    let notes = log.clone();
    let task = spawn(async move {
        for n in 0..3 {
            at(&notes, ("task", n));
            yield_now().await;
        }
    });
    for n in 0..3 {
        at(&log, ("root", n));
        yield_now().await;
    }
    task.await.unwrap();
}

async fn wake_of_a_kept_waker(log: Log) {
    begin(&log);
    let place = Rc::new(RefCell::new((0, None::<Waker>)));
    let (kept, notes) = (place.clone(), log.clone());
    let task = spawn(poll_fn(move |cx| {
        let mut kept = kept.borrow_mut();
        kept.0 += 1;
        kept.1 = Some(cx.waker().clone());
        at(&notes, ("poll", kept.0));
        match kept.0 {
            3 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }));
    for _ in 0..2 {
        sleep(MS).await;
        let waker = place.borrow().1.clone().unwrap();
        // Two wakes before one poll.
        waker.wake_by_ref();
        waker.wake();
    }
    at(&log, text(task.await));
    let late = place.borrow().1.clone().unwrap();
    late.wake();
    sleep(MS).await;
    at(&log, "not polled after its end");
}

async fn spawn_in_a_drop(log: Log) {
    struct Spawns(Log);
    impl Drop for Spawns {
        fn drop(&mut self) {
            at(&self.0, "dropped");
            drop(spawn(nap(self.0.clone(), "spawned by a drop", 1)));
        }
    }
    begin(&log);
    let spawns = Spawns(log.clone());
    let task = spawn(async move {
        let _spawns = spawns;
        pending::<()>().await;
    });
    sleep(MS).await;
    task.abort();
    at(&log, text(task.await));
    sleep(5 * MS).await;
    at(&log, "end");
}

/// Makes a set of naps of that many milliseconds.
fn naps<const N: usize>(log: &Log, tasks: [(&'static str, u32); N]) -> JoinSet<&'static str> {
    let mut set = JoinSet::new();
    for (name, millis) in tasks {
        spawn_in(&mut set, nap(log.clone(), name, millis));
    }
    set
}

async fn set_in_order_of_ends(log: Log) {
    begin(&log);
    let mut set = naps(&log, [("c", 3), ("a", 1), ("b", 2)]);
    while let Some(result) = set.join_next().await {
        at(&log, (text(result), set.len()));
    }
    at(&log, set.is_empty());
}

async fn set_drop_aborts(log: Log) {
    begin(&log);
    let mut set = JoinSet::new();
    for name in ["a", "b", "c"] {
        spawn_in(&mut set, endless(log.clone(), name));
    }
    sleep(MS).await;
    drop(set);
    at(&log, "set dropped");
    sleep(MS).await;
    at(&log, "end");
}

async fn set_shutdown(log: Log) {
    begin(&log);
    let mut set = JoinSet::new();
    for name in ["a", "b", "c"] {
        spawn_in(&mut set, endless(log.clone(), name));
    }
    sleep(MS).await;
    set.shutdown().await;
    at(&log, ("shut down", set.len()));
}

async fn set_detach(log: Log) {
    begin(&log);
    let mut set = naps(&log, [("a", 1), ("b", 2)]);
    set.detach_all();
    at(&log, set.len());
    at(&log, set.join_next().await.is_none());
    drop(set);
    sleep(3 * MS).await;
    at(&log, "end");
}

async fn set_panics(log: Log) {
    begin(&log);
    let mut set = naps(&log, [("a", 1), ("c", 3)]);
    spawn_in(&mut set, async {
        sleep(2 * MS).await;
        resume_unwind(Box::new("planned"))
    });
    while let Some(result) = set.join_next().await {
        at(&log, text(result));
    }
}

async fn set_try_join_next(log: Log) {
    begin(&log);
    let mut set = naps(&log, [("a", 1), ("b", 3), ("c", 5)]);
    for _ in 0..4 {
        while let Some(result) = set.try_join_next() {
            at(&log, text(result));
        }
        at(&log, set.len());
        sleep(2 * MS).await;
    }
}

async fn set_abort_all(log: Log) {
    begin(&log);
    let mut set = naps(&log, [("a", 1), ("b", 3), ("c", 5)]);
    sleep(2 * MS).await;
    set.abort_all();
    at(&log, set.len());
    while let Some(result) = set.join_next().await {
        at(&log, text(result));
    }
}

async fn set_join_all(log: Log) {
    begin(&log);
    let set = naps(&log, [("b", 2), ("a", 1)]);
    at(&log, set.join_all().await);
}

async fn set_with_a_timeout(log: Log) {
    begin(&log);
    let mut set = naps(&log, [("b", 4), ("a", 1)]);
    for _ in 0..4 {
        match timeout(2 * MS, set.join_next()).await {
            Ok(ended) => at(&log, ended.map(text)),
            Err(_) => at(&log, "nothing has ended"),
        }
    }
}

async fn select_first_wins(log: Log) {
    begin(&log);
    let winner = tokio::select! {
        biased;
        name = nap(log.clone(), "slow", 5) => name,
        name = nap(log.clone(), "quick", 2) => name,
    };
    at(&log, winner);
}

async fn select_in_a_loop(log: Log) {
    begin(&log);
    let mut ticks = interval(2 * MS);
    let mut end = pin!(sleep(7 * MS));
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            _ = ticks.tick() => at(&log, "tick"),
        }
    }
    at(&log, "end");
}

async fn select_of_handle_and_sleep(log: Log) {
    begin(&log);
    let mut task = spawn(nap(log.clone(), "task", 3));
    for _ in 0..2 {
        tokio::select! {
            biased;
            ended = &mut task => at(&log, text(ended)),
            () = sleep(2 * MS) => at(&log, "sleep"),
        }
    }
}

async fn join_of_futures(log: Log) {
    begin(&log);
    let (a, b) = futures::join!(nap(log.clone(), "a", 2), nap(log.clone(), "b", 1));
    at(&log, (a, b));
    let failed = tokio::try_join!(
        async {
            sleep(MS).await;
            Err::<(), _>("failed")
        },
        endless(log.clone(), "other").map(Ok),
    );
    at(&log, failed);
}

async fn timeout_elapses(log: Log) {
    begin(&log);
    let result = timeout(2 * MS, endless(log.clone(), "future")).await;
    at(&log, result.is_err());
}

async fn timeout_in_time(log: Log) {
    begin(&log);
    at(&log, timeout(2 * MS, nap(log.clone(), "nap", 1)).await.ok());
    let deadline = now() + 2 * MS;
    let result = timeout_at(deadline, nap(log.clone(), "long", 3)).await;
    at(&log, result.ok());
}

async fn timeout_of_zero(log: Log) {
    begin(&log);
    at(&log, timeout(Duration::ZERO, async { "ready" }).await.ok());
    at(&log, timeout(Duration::ZERO, pending::<()>()).await.ok());
    at(&log, timeout(Duration::MAX, async { "ready" }).await.ok());
}

async fn timeouts_nested(log: Log) {
    begin(&log);
    for limit in [1, 3] {
        let inner = timeout(2 * MS, endless(log.clone(), "future"));
        let result = timeout(limit * MS, inner).await;
        at(&log, result.map(|inner| inner.is_err()).is_err());
    }
}

async fn sleeps_in_order(log: Log) {
    begin(&log);
    let naps = [("c", 30), ("a", 10), ("b", 20), ("d", 70_000)];
    let tasks = naps.map(|(name, n)| spawn(nap(log.clone(), name, n)));
    for task in tasks {
        task.await.unwrap();
    }
    at(&log, "end");
}

async fn sleep_reset(log: Log) {
    begin(&log);
    let mut pause = pin!(sleep(2 * MS));
    at(&log, futures::poll!(pause.as_mut()).is_ready());
    pause.as_mut().reset(now() + 5 * MS);
    pause.as_mut().await;
    at(&log, pause.is_elapsed());
    pause.as_mut().reset(now() + MS);
    at(&log, pause.is_elapsed());
    pause.await;
    at(&log, "end");
}

async fn sleep_until_the_past(log: Log) {
    begin(&log);
    let start = now();
    sleep(5 * MS).await;
    sleep_until(start + MS).await;
    at(&log, "at once");
    sleep(Duration::ZERO).await;
    at(&log, "at once");
}

async fn interval_ticks(log: Log) {
    begin(&log);
    let start = now();
    let mut ticks = interval_at(start + 2 * MS, 3 * MS);
    for _ in 0..3 {
        let due = ticks.tick().await;
        at(&log, due - start);
    }
}

async fn late_ticks(log: Log, behavior: MissedTickBehavior) {
    begin(&log);
    let start = now();
    let mut ticks = interval(10 * MS);
    ticks.set_missed_tick_behavior(behavior);
    for pause in [0, 25, 0, 0, 0, 13, 0] {
        at(&log, ticks.tick().await - start);
        sleep(pause * MS).await;
    }
}

async fn interval_burst(log: Log) {
    late_ticks(log, MissedTickBehavior::Burst).await;
}

async fn interval_delay(log: Log) {
    late_ticks(log, MissedTickBehavior::Delay).await;
}

async fn interval_skip(log: Log) {
    late_ticks(log, MissedTickBehavior::Skip).await;
}

async fn interval_reset(log: Log) {
    begin(&log);
    let mut ticks = interval(10 * MS);
    ticks.tick().await;
    sleep(4 * MS).await;
    ticks.reset();
    ticks.tick().await;
    at(&log, "after a period");
    ticks.reset_immediately();
    ticks.tick().await;
    at(&log, "at once");
    ticks.reset_after(2 * MS);
    ticks.tick().await;
    at(&log, "after 2 ms");
    ticks.reset_at(now() + 3 * MS);
    ticks.tick().await;
    at(&log, "after 3 ms");
}

async fn channel_with_back_pressure(log: Log) {
    begin(&log);
    let (send, mut receive) = mpsc::channel(2);
    let notes = log.clone();
    let sender = spawn(async move {
        for n in 0..6 {
            send.send(n).await.unwrap();
            at(&notes, ("sent", n));
        }
    });
    sleep(MS).await;
    while let Some(n) = receive.recv().await {
        at(&log, ("received", n));
        sleep(MS).await;
    }
    at(&log, text(sender.await));
}

async fn channel_of_futures(log: Log) {
    begin(&log);
    let (mut send, mut receive) = futures::channel::mpsc::channel(1);
    let sender = spawn(async move {
        for n in 0..4 {
            send.send(n).await.unwrap();
            sleep(MS).await;
        }
    });
    while let Some(n) = receive.next().await {
        at(&log, ("received", n));
    }
    at(&log, text(sender.await));
}

async fn oneshot_and_drop(log: Log) {
    begin(&log);
    let (send, receive) = oneshot::channel();
    drop(spawn(async move { send.send("hello") }));
    at(&log, receive.await);
    let (send, receive) = oneshot::channel::<()>();
    let task = spawn(async move {
        let _send = send;
        pending::<()>().await;
    });
    sleep(MS).await;
    task.abort();
    at(&log, receive.await.is_err());
}

async fn broadcast_lags(log: Log) {
    begin(&log);
    let (send, mut receive) = broadcast::channel(2);
    let notes = log.clone();
    let reader = spawn(async move {
        sleep(MS).await;
        loop {
            match receive.recv().await {
                Ok(n) => at(&notes, n),
                Err(error) => at(&notes, error.to_string()),
            }
            if receive.is_closed() && receive.is_empty() {
                return;
            }
        }
    });
    for n in 0..5 {
        send.send(n).unwrap();
    }
    drop(send);
    at(&log, text(reader.await));
}

async fn watch_coalesces(log: Log) {
    begin(&log);
    let (send, mut receive) = watch::channel(0);
    let notes = log.clone();
    let reader = spawn(async move {
        while receive.changed().await.is_ok() {
            at(&notes, *receive.borrow_and_update());
        }
    });
    for n in 1..7 {
        send.send(n).unwrap();
        if n % 3 == 0 {
            sleep(MS).await;
        }
    }
    drop(send);
    at(&log, text(reader.await));
}

async fn notify_in_order(log: Log) {
    begin(&log);
    let notify = Rc::new(Notify::new());
    let tasks = ["a", "b", "c"].map(|name| {
        let (notify, log) = (notify.clone(), log.clone());
        spawn(async move {
            notify.notified().await;
            at(&log, name);
        })
    });
    sleep(MS).await;
    notify.notify_one();
    sleep(MS).await;
    notify.notify_waiters();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn semaphore_in_order(log: Log) {
    begin(&log);
    let limit = Rc::new(Semaphore::new(2));
    let mut set = JoinSet::new();
    for name in ["a", "b", "c", "d", "e"] {
        let (limit, log) = (limit.clone(), log.clone());
        spawn_in(&mut set, async move {
            let _permit = limit.acquire().await.unwrap();
            nap(log, name, 2).await
        });
        sleep(MS).await;
    }
    while let Some(result) = set.join_next().await {
        at(&log, text(result));
    }
}

async fn futures_unordered(log: Log) {
    begin(&log);
    let naps = [("c", 3), ("a", 1), ("b", 2)].map(|(name, n)| nap(log.clone(), name, n));
    let mut naps = FuturesUnordered::from_iter(naps);
    while let Some(name) = naps.next().await {
        at(&log, name);
    }
}

task_local! {
    static NUMBER: u32;
}

async fn task_local_scopes(log: Log) {
    begin(&log);
    let number = || NUMBER.try_with(|n| *n).ok();
    let tasks = [1, 2].map(|n| {
        let log = log.clone();
        let count = async move {
            at(&log, number());
            sleep(n * MS).await;
            at(&log, NUMBER.sync_scope(n + 10, number));
            let inner = NUMBER.scope(n + 20, async { number() });
            at(
                &log,
                (inner.await, spawn(async move { number() }).await.ok()),
            );
            number()
        };
        spawn(NUMBER.scope(n, count))
    });
    for task in tasks {
        at(&log, text(task.await));
    }
    at(&log, number());
}

async fn task_local_in_drops(log: Log) {
    struct Sees(Log);
    impl Drop for Sees {
        fn drop(&mut self) {
            at(&self.0, NUMBER.try_with(|n| *n).ok());
        }
    }
    begin(&log);
    let sees = Sees(log.clone());
    let task = spawn(NUMBER.scope(1, async move {
        let _sees = sees;
        pending::<()>().await;
    }));
    sleep(MS).await;
    task.abort();
    at(&log, text(task.await));
    let sees = Sees(log.clone());
    drop(NUMBER.scope(2, async move { drop(sees) }));
    let sees = Sees(log.clone());
    let mut scope = Box::pin(NUMBER.scope(3, async move { sees }));
    drop(scope.as_mut().await);
    at(&log, scope.as_mut().take_value());
}

/// Counts in steps that are always ready, beside a task that notes how far it has come.
async fn count(log: Log, with_budget: bool) {
    begin(&log);
    let done = Rc::new(Cell::new(0));
    let (counted, notes) = (done.clone(), log.clone());
    let counter = async move {
        for _ in 0..300 {
            consume_budget().await;
            counted.set(counted.get() + 1);
        }
    };
    let counter = match with_budget {
        true => spawn(counter),
        false => spawn(unconstrained(counter)),
    };
    let observer = spawn(async move {
        for _ in 0..3 {
            at(&notes, done.get());
            yield_now().await;
        }
    });
    counter.await.unwrap();
    observer.await.unwrap();
    at(&log, "end");
}

async fn budget_lets_others_run(log: Log) {
    count(log, true).await;
}

async fn no_budget_keeps_others_waiting(log: Log) {
    count(log, false).await;
}

async fn tasks_left_at_the_end(log: Log) {
    begin(&log);
    for name in ["a", "b", "c"] {
        drop(spawn(endless(log.clone(), name)));
    }
    sleep(MS).await;
    at(&log, "root ends");
}
