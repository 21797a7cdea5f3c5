//! When a shutdown ends, and that it waits as any other loop does.

use super::support::panics::message_of;
use super::support::{pair, std_pair};
use super::{LONG, OnDrop, SHORT, assert_clean, on_every_mechanism, spawn_sending};
use reveille::net::UnixStream;
use reveille::time::{Duration, now, sleep};
use reveille::{Runtime, yield_now};
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::mpsc::{TryRecvError, channel};
use std::task::{Poll, Waker};
use std::thread;

const MS: Duration = Duration::from_millis(1);

#[test]
fn tasks_end_by_timers_sockets_and_each_other() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let (client, server) = runtime.block_on(pair());
        let slow = runtime.spawn(sleep(5 * MS));
        let joins = spawn_sending(&runtime, async move {
            slow.await.unwrap();
            7
        });
        let echo = spawn_sending(&runtime, async move {
            let mut byte = [0];
            server.read_exact(&mut byte).await.unwrap();
            server.write_all(&byte).await.unwrap();
        });
        let asks = spawn_sending(&runtime, async move {
            sleep(3 * MS).await;
            client.write_all(b"x").await.unwrap();
            let mut all = Vec::new();
            while client.read_buf(&mut all).await.unwrap() != 0 {}
            all
        });
        assert_clean(&runtime.shutdown(LONG));
        assert_eq!(joins.recv().unwrap(), 7);
        echo.recv().unwrap();
        assert_eq!(asks.recv().unwrap(), b"x");
    });
}

#[test]
fn runtime_without_tasks_ends_at_once() {
    on_every_mechanism(|make| {
        let (runtime, waits) = make.announcing();
        assert_clean(&runtime.shutdown(Duration::MAX));
        assert_eq!(waits.try_recv(), Err(TryRecvError::Disconnected));
    });
}

/// The peer is another thread, which writes only when the loop waits.
#[test]
fn loop_serves_a_peer_while_it_waits() {
    on_every_mechanism(|make| {
        let (runtime, waits) = make.announcing();
        let (mut peer, stream) = runtime.block_on(std_pair());
        while waits.try_recv().is_ok() {}
        let served = spawn_sending(&runtime, async move {
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        let peer = thread::spawn(move || {
            waits.recv().unwrap();
            peer.write_all(b"word").unwrap();
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            answer
        });
        assert_clean(&runtime.shutdown(LONG));
        served.recv().unwrap();
        assert_eq!(peer.join().unwrap(), b"word");
    });
}

/// Without a limit, and woken by another thread.
#[test]
fn wake_from_another_thread_ends_the_wait() {
    on_every_mechanism(|make| {
        let (runtime, waits) = make.announcing();
        let (send, wakers) = channel::<Waker>();
        let mut polls = 0;
        let task = spawn_sending(
            &runtime,
            poll_fn(move |cx| {
                polls += 1;
                send.send(cx.waker().clone()).ok();
                if polls == 1 {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            }),
        );
        let other = thread::spawn(move || {
            waits.recv().unwrap();
            wakers.recv().unwrap().wake();
        });
        assert_clean(&runtime.shutdown(Duration::MAX));
        task.recv().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn task_that_never_ends_is_dropped_when_the_time_is_over() {
    on_every_mechanism(|make| {
        for precise in [false, true] {
            let runtime = make.builder().precise_timers(precise).build().unwrap();
            let (send, dropped) = channel();
            let value = OnDrop("endless", send);
            let task = runtime.spawn(async move {
                let _value = value;
                pending::<()>().await;
            });
            let begin = now();
            let report = runtime.shutdown(SHORT);
            assert!(now() - begin >= SHORT);
            assert!(report.is_late() && !report.is_clean());
            assert_eq!(report.tasks().len(), 1);
            assert_eq!(dropped.try_recv(), Ok("endless"));
            assert!(task.wait().unwrap_err().is_runtime_gone());
        }
    });
}

#[test]
fn loop_sleeps_until_the_time_is_over() {
    on_every_mechanism(|make| {
        let (runtime, waits) = make.announcing();
        drop(runtime.spawn(pending::<()>()));
        assert!(runtime.shutdown(3 * SHORT).is_late());
        let waits = waits.iter().count();
        // None if the time was over before the first one could begin.
        assert!(waits < 40, "{waits} waits");
    });
}

#[test]
fn task_that_wakes_itself_forever_does_not_hold_up_the_end() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        drop(runtime.spawn(async {
            loop {
                yield_now().await;
            }
        }));
        let report = runtime.shutdown(SHORT);
        assert!(report.is_late());
        assert_eq!(report.tasks().len(), 1);
        assert!(report.tasks()[0].is_queued());
    });
}

#[test]
fn last_task_that_ends_in_a_long_poll_is_no_remainder() {
    on_every_mechanism(|make| {
        let mut limit = SHORT;
        loop {
            let runtime = make.runtime();
            let begun = Rc::new(Cell::new(false));
            let begin = begun.clone();
            let task = spawn_sending(&runtime, async move {
                begin.set(true);
                let start = now();
                while now() < start + 2 * limit {
                    thread::sleep(MS);
                }
            });
            let report = runtime.shutdown(limit);
            if begun.get() {
                assert_clean(&report);
                return task.recv().unwrap();
            }
            // The time was over before the poll.
            limit *= 2;
        }
    });
}

#[test]
fn zero_polls_nothing() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let polled = Rc::new(Cell::new(false));
        let (poll, (send, dropped)) = (polled.clone(), channel());
        let value = OnDrop("not polled", send);
        let task = runtime.spawn(async move {
            let _value = value;
            poll.set(true);
        });
        let report = runtime.shutdown(Duration::ZERO);
        assert!(!polled.get());
        assert_eq!((report.tasks().len(), report.is_late()), (1, true));
        assert_eq!(dropped.try_recv(), Ok("not polled"));
        assert!(task.wait().unwrap_err().is_runtime_gone());
    });
}

/// The outputs of these tasks are in the slots until the end, where handles on other threads may
/// still ask for them.
#[test]
fn ended_tasks_that_were_not_joined_are_no_remainder() {
    on_every_mechanism(|make| {
        let (send, dropped) = channel();
        let runtime = make.runtime();
        let value = OnDrop("output", send);
        let task = runtime.spawn(async move { value });
        runtime.block_on(async {
            while !task.is_finished() {
                yield_now().await
            }
        });
        let report = runtime.shutdown(LONG);
        assert_clean(&report);
        assert_eq!(dropped.try_recv(), Ok("output"));
        assert!(task.wait().is_err_and(|error| error.is_runtime_gone()));
    });
}

#[test]
fn shutdown_inside_a_runtime_panics_and_drops_its_own() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let (send, dropped) = channel();
        let value = OnDrop("task", send);
        drop(runtime.spawn(async move {
            let _value = value;
            pending::<()>().await;
        }));
        let outer = Runtime::new().unwrap();
        let text = message_of(|| {
            outer.block_on(async move { drop(runtime.shutdown(LONG)) });
        });
        assert!(
            text.contains("`Runtime::shutdown` was called inside a running runtime"),
            "{text}"
        );
        assert_eq!(dropped.try_recv(), Ok("task"));
        assert_eq!(outer.block_on(async { 7 }), 7);
    });
}

#[test]
fn handles_of_all_kinds_find_no_runtime_afterwards() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let handle = runtime.handle();
        let (here, there) = runtime.enter(|| UnixStream::pair().unwrap());
        let report = runtime.shutdown(SHORT);
        assert!(!report.is_late(), "no task held it up");
        assert_eq!(report.descriptors().len(), 2);
        assert!(report.descriptors().iter().all(|fd| fd.outlives_tasks()));
        assert!(handle.spawn(async {}).wait().unwrap_err().is_runtime_gone());
        assert!(
            handle
                .spawn_blocking(|| ())
                .wait()
                .unwrap_err()
                .is_runtime_gone()
        );
        handle.stop();
        let other = Runtime::new().unwrap();
        assert!(other.block_on(async { here.readable().await.is_err() }));
        drop(there);
    });
}
