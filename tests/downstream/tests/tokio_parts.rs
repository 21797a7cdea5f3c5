//! The parts of tokio that need no runtime of tokio: its macros, and its channels and locks.

#[path = "../../support/mod.rs"]
mod support;

use reveille::task::{JoinSet, yield_now};
use reveille::time::{Duration, interval, sleep, timeout};
use reveille::{JoinHandle, spawn};
use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use support::{on_every_backend, pair};
use tokio::sync::{
    Barrier, Mutex, Notify, OnceCell, RwLock, Semaphore, broadcast, mpsc, oneshot, watch,
};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn tokio_select_takes_futures_of_this_crate() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let mut task: JoinHandle<()> = spawn(pending());
            let mut set = JoinSet::new();
            let mut buf = [0; 4];
            let mut order = Vec::new();
            let (mut pause, mut ticks) = (std::pin::pin!(sleep(HOUR)), interval(HOUR));
            while order.len() < 5 {
                tokio::select! {
                    biased;
                    _ = ticks.tick() => {
                        order.push("tick");
                        client.write_all(b"ping").await.unwrap();
                    }
                    n = server.read(&mut buf) => {
                        assert_eq!(n.unwrap(), 4);
                        order.push("read");
                        set.spawn(async { 7 });
                    }
                    Some(output) = set.join_next() => {
                        assert_eq!(output.unwrap(), 7);
                        order.push("set");
                        task.abort();
                    }
                    ended = &mut task, if !order.contains(&"task") => {
                        assert!(ended.unwrap_err().is_cancelled());
                        order.push("task");
                        pause.reset(reveille::time::now());
                    }
                    _ = &mut pause => order.push("sleep"),
                }
            }
            assert_eq!(order, ["tick", "read", "set", "task", "sleep"]);
        });
    });
}

#[test]
fn tokio_join_takes_futures_of_this_crate() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let task = spawn(async { 1 });
            let (one, (), two) = tokio::join!(task, sleep(MS), async {
                yield_now().await;
                2
            });
            assert_eq!((one.unwrap(), two), (1, 2));
            let failed = tokio::try_join!(async { Ok::<_, &str>(1) }, async {
                sleep(MS).await;
                Err::<(), _>("no")
            });
            assert_eq!(failed, Err("no"));
        });
    });
}

/// The macros of futures, which the guide names first.
#[test]
fn futures_macros_take_futures_of_this_crate() {
    use futures::{FutureExt, StreamExt, join, pin_mut, select};
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (one, two) = join!(async { 1 }, sleep(MS).map(|()| 2));
            assert_eq!((one, two), (1, 2));
            // An interval and a join handle are fused already.
            let mut ticks = reveille::time::interval(MS);
            let mut task = spawn(sleep(5 * MS));
            let pause = sleep(HOUR).fuse();
            pin_mut!(pause);
            let mut ticked = 0;
            loop {
                select! {
                    _ = ticks.select_next_some() => ticked += 1,
                    ended = task => break ended.unwrap(),
                    () = pause => unreachable!("an hour has not passed"),
                }
            }
            assert!(ticked > 0, "the first tick is due at once");
            let dues: Vec<_> = interval(MS).take(3).collect().await;
            assert!(dues.is_sorted() && dues.len() == 3);
        });
    });
}

#[test]
fn tokio_channels_work_between_tasks() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (send, mut receive) = mpsc::channel(2);
            let sender = spawn(async move {
                for n in 0..1000 {
                    send.send(n).await.unwrap();
                }
            });
            for n in 0..1000 {
                assert_eq!(receive.recv().await, Some(n));
            }
            assert_eq!(receive.recv().await, None);
            sender.await.unwrap();

            let (send, receive) = oneshot::channel();
            spawn(async move { send.send(7) });
            assert_eq!(receive.await, Ok(7));

            let (send, mut first) = broadcast::channel(16);
            let mut second = send.subscribe();
            let both = spawn(async move {
                let mut sum = 0;
                while let (Ok(a), Ok(b)) = tokio::join!(first.recv(), second.recv()) {
                    sum += a + b;
                }
                sum
            });
            for n in 0..10 {
                send.send(n).unwrap();
                yield_now().await;
            }
            drop(send);
            assert_eq!(both.await.unwrap(), 90);

            let (send, mut watched) = watch::channel(0);
            let watcher = spawn(async move { *watched.wait_for(|n| *n == 3).await.unwrap() });
            for n in 1..4 {
                send.send(n).unwrap();
                yield_now().await;
            }
            assert_eq!(watcher.await.unwrap(), 3);
        });
    });
}

#[test]
fn tokio_locks_work_between_tasks() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let count = Arc::new(Mutex::new(0));
            let read = Arc::new(RwLock::new(0));
            let limit = Arc::new(Semaphore::new(3));
            let (inside, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let once = Arc::new(OnceCell::new());
            let barrier = Arc::new(Barrier::new(20));
            let mut set = JoinSet::new();
            for n in 0..20 {
                let (count, read, limit) = (count.clone(), read.clone(), limit.clone());
                let (inside, most) = (inside.clone(), most.clone());
                let (once, barrier) = (once.clone(), barrier.clone());
                set.spawn(async move {
                    let permit = limit.acquire().await.unwrap();
                    inside.set(inside.get() + 1);
                    most.set(most.get().max(inside.get()));
                    yield_now().await;
                    inside.set(inside.get() - 1);
                    drop(permit);
                    let mut guard = count.lock().await;
                    yield_now().await;
                    *guard += 1;
                    drop(guard);
                    *read.write().await += n;
                    once.get_or_init(|| async { n }).await;
                    barrier.wait().await.is_leader()
                });
            }
            let leaders = set.join_all().await.into_iter().filter(|leads| *leads);
            assert_eq!(leaders.count(), 1);
            assert_eq!((*count.lock().await, *read.read().await), (20, 190));
            assert_eq!(most.get(), 3);
            assert!(once.initialized());

            let notify = Arc::new(Notify::new());
            let notified = notify.clone();
            let waits = spawn(async move { notified.notified().await });
            assert!(timeout(MS, notify.clone().notified_owned()).await.is_err());
            notify.notify_waiters();
            waits.await.unwrap();
        });
    });
}

#[test]
fn tokio_channels_work_between_threads() {
    on_every_backend(|runtime| {
        let (send, mut receive) = mpsc::channel(1);
        let (answer, answers) = oneshot::channel();
        let thread = thread::spawn(move || {
            for n in 0..1000 {
                send.blocking_send(n).unwrap();
            }
            drop(send);
            answers.blocking_recv().unwrap()
        });
        let sum = runtime.block_on(async {
            let mut sum = 0;
            while let Some(n) = receive.recv().await {
                sum += n;
            }
            answer.send("thanks").unwrap();
            sum
        });
        assert_eq!(sum, 999 * 500);
        assert_eq!(thread.join().unwrap(), "thanks");
    });
}
