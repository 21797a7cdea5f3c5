//! The adapters of `reveille::interop`, and `Sleep` as hyper's.

use crate::contract::{End, reader_keeps_the_contract, writer_keeps_the_contract};
use crate::family::{ByFutures, ByHyper, ByTokio, Reader};
use crate::script::{Answer, Script};
use crate::support::panics::{hushed, text_of};
use crate::support::{on_every_backend, std_pair};
use hyper::rt::{Executor, Sleep, Timer};
use reveille::interop::{HyperExecutor, HyperIo, HyperTimer, HyperTokioIo};
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn timer_of_hyper_is_reset_in_place_and_never_early() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let timer = HyperTimer::new();
            let mut sleep = timer.sleep(HOUR);
            let place = address(&sleep);
            for ms in [3, 1, 2] {
                let deadline = timer.now() + Duration::from_millis(ms);
                timer.reset(&mut sleep, deadline);
                assert_eq!(address(&sleep), place, "the same memory");
                sleep.as_mut().await;
                assert!(timer.now() >= deadline);
            }
        });
    });
}

/// Where a sleep lies.
fn address(sleep: &Pin<Box<dyn Sleep>>) -> *const () {
    (&raw const **sleep).cast()
}

/// A timer of another crate, which never ends.
struct Foreign;

impl Future for Foreign {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Sleep for Foreign {}

#[test]
fn timer_of_hyper_replaces_the_sleep_of_another_crate() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let timer = HyperTimer::new();
            let mut sleep: Pin<Box<dyn Sleep>> = Box::pin(Foreign);
            timer.reset(&mut sleep, timer.now() + Duration::from_millis(1));
            sleep.await;
        });
    });
}

#[test]
fn timer_of_hyper_tells_the_time_of_the_runtime() {
    let before = Instant::now();
    let now = HyperTimer::new().now();
    assert!(before <= now && now <= Instant::now());
}

/// An hour of a paused clock takes no time.
#[cfg(feature = "test-util")]
#[test]
fn timer_of_hyper_obeys_a_paused_clock() {
    use reveille::time::now;
    let runtime = reveille::Builder::new().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (timer, begin) = (HyperTimer::new(), now());
        let mut sleep = timer.sleep(HOUR);
        sleep.as_mut().await;
        assert!(timer.now() >= begin + HOUR);
        timer.reset(&mut sleep, timer.now() + 2 * HOUR);
        sleep.await;
        assert!(timer.now() >= begin + 3 * HOUR);
        assert!(
            timer.now() < begin + 4 * HOUR,
            "only the paused clock moves"
        );
        assert_eq!(timer.now(), now());
    });
}

#[test]
fn executor_of_hyper_spawns_futures_that_are_not_send() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let polls = Rc::new(Cell::new(0));
            for _ in 0..3 {
                let polls = polls.clone();
                HyperExecutor::new().execute(async move {
                    reveille::yield_now().await;
                    polls.set(polls.get() + 1);
                });
            }
            while polls.get() < 3 {
                reveille::yield_now().await;
            }
        });
    });
}

#[test]
fn executor_of_hyper_names_its_tasks() {
    on_every_backend(|runtime| {
        let executors = [
            HyperExecutor::new(),
            HyperExecutor::default(),
            HyperExecutor::named("server"),
            HyperExecutor::named(format!("connection {}", 7)).clone(),
        ];
        for executor in executors {
            runtime.enter(|| executor.execute(std::future::pending::<()>()));
        }
        let tasks = runtime.tasks();
        let names: Vec<_> = tasks.iter().map(|task| task.name().unwrap()).collect();
        assert_eq!(names, ["hyper", "hyper", "server", "connection 7"]);
    });
}

/// Polls a reader so many times: a row for each poll.
fn read_all(mut reader: impl Reader, len: usize, polls: usize) -> Vec<String> {
    let mut cx = Context::from_waker(Waker::noop());
    let read = |_| match reader.poll_read(&mut cx, len) {
        Poll::Ready(Ok(got)) => String::from_utf8(got.bytes).expect("bytes of a test"),
        Poll::Ready(Err(error)) => format!("{:?}", error.kind()),
        Poll::Pending => "pending".to_owned(),
    };
    (0..polls).map(read).collect()
}

const ANSWERS: &[Answer] = &[
    Answer::Bytes(b"one"),
    Answer::Pending,
    Answer::Bytes(b"four"),
    Answer::Error(io::ErrorKind::TimedOut),
];

const ROWS: [&str; 5] = ["one", "pending", "four", "TimedOut", ""];

#[test]
fn hyper_io_fills_what_the_stream_returns() {
    // The second length is more than it lends at once.
    for len in [4, 1 << 20] {
        let script = || Script::new(ANSWERS);
        assert_eq!(read_all(ByFutures(script()), len, 5), ROWS);
        assert_eq!(read_all(ByHyper(HyperIo::new(script())), len, 5), ROWS);
    }
}

#[test]
fn adapters_of_hyper_streams_keep_the_contract_of_readers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = std_pair().await;
            let reader = ByFutures(HyperIo::new(stream));
            reader_keeps_the_contract(reader, peer, false).await;
            let (peer, stream) = std_pair().await;
            let reader = ByTokio(HyperTokioIo::new(stream));
            reader_keeps_the_contract(reader, peer, false).await;
        });
    });
}

#[test]
fn adapters_of_hyper_streams_keep_the_contract_of_writers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = std_pair().await;
            let writer = ByFutures(HyperIo::new(stream));
            writer_keeps_the_contract(writer, peer, End::Close).await;
            let (peer, stream) = std_pair().await;
            let writer = ByTokio(HyperTokioIo::new(stream));
            writer_keeps_the_contract(writer, peer, End::Close).await;
        });
    });
}

#[test]
fn hyper_io_panics_if_the_stream_returns_too_much() {
    for len in [0, 4, 1 << 20] {
        let liar = ByHyper(HyperIo::new(Script::new(&[Answer::TooMany])));
        let payload = hushed(|| read_all(liar, len, 1)).unwrap_err();
        let text = text_of(&*payload);
        assert!(
            text.contains("its `Read` or `AsyncRead` is wrong"),
            "{text}"
        );
    }
}

#[test]
fn hyper_tokio_io_fills_what_the_stream_returns() {
    for len in [4, 1 << 20] {
        let script = || Script::new(ANSWERS);
        assert_eq!(read_all(ByTokio(script()), len, 5), ROWS);
        assert_eq!(read_all(ByHyper(HyperTokioIo::new(script())), len, 5), ROWS);
    }
}

#[test]
fn hyper_tokio_io_panics_if_the_stream_exchanges_the_buffer() {
    for len in [0, 4, 1 << 20] {
        let liar = ByHyper(HyperTokioIo::new(Script::new(&[Answer::TooMany])));
        let payload = hushed(|| read_all(liar, len, 1)).unwrap_err();
        let text = text_of(&*payload);
        assert!(text.contains("AsyncRead` is wrong"), "{text}");
    }
}
