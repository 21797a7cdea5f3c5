//! A paused clock does what tokio's does: random programs of sleeps, resets, timeouts and intervals
//! run on both, and each step ends at the same time. Also hyper's timers, which obey it.
//!
//! tokio's timers count milliseconds and this crate's nanoseconds. So programs of whole
//! milliseconds must agree exactly. In other programs each timer of tokio ends up to a millisecond
//! later.
//!
//! The order of steps that end at the same time is not compared: neither runtime promises one.

#![allow(
    clippy::duplicate_mod,
    reason = "`play.rs` is compiled once for each runtime"
)]

mod on_reveille;
mod on_tokio;
mod program;

use program::{Event, Program, Random, Unit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Runs a program on both runtimes. Returns the events of each task in order.
fn play_on_both(program: &Program) -> (Vec<Vec<Event>>, Vec<Vec<Event>>) {
    (on_reveille::play(program), on_tokio::play(program))
}

#[test]
fn programs_of_milliseconds_do_the_same_as_on_tokio() {
    let mut compared = 0;
    for seed in 0..3000 {
        let program = Program::random(&mut Random::new(seed), Unit::Millis);
        let (ours, theirs) = play_on_both(&program);
        assert_eq!(ours.len(), theirs.len());
        for (task, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours, theirs, "task {task} of seed {seed}: {program:#?}");
            compared += ours.len();
        }
    }
    assert!(compared > 50_000, "{compared} events were compared");
}

/// Only sleeps, because then the exact ends are known.
#[test]
fn sleeps_of_microseconds_end_less_than_a_millisecond_before_tokios() {
    for seed in 0..1000 {
        let program = Program::sleeps(&mut Random::new(seed), Unit::Micros);
        let (ours, theirs) = play_on_both(&program);
        // Without the root, which comes last.
        for task in 0..program.tasks.len() {
            let (ours, theirs) = (&ours[task], &theirs[task]);
            let exact = program.ends_of_sleeps(task);
            assert_eq!(ours.len(), exact.len());
            assert_eq!(theirs.len(), exact.len());
            for (step, exact) in exact.into_iter().enumerate() {
                assert_eq!(ours[step].at, exact, "step {step} of {task}, seed {seed}");
                let (late, steps) = (theirs[step].at - exact, step as u32 + 1);
                let limit = steps * Duration::from_millis(1);
                assert!(late < limit, "{late:?} at {step} of {task}, seed {seed}");
            }
        }
    }
}

/// The calls that both refuse.
#[test]
fn misuse_panics_as_on_tokio() {
    fn panics(f: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(f)).is_err()
    }
    let (ms, tokio) = (Duration::from_millis(1), || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    });
    let reveille = || reveille::Runtime::new().unwrap();
    assert!(panics(reveille::time::pause) && panics(tokio::time::pause));
    assert!(panics(reveille::time::resume) && panics(tokio::time::resume));
    assert!(panics(
        || reveille().block_on(async { reveille::time::resume() })
    ));
    assert!(panics(|| tokio().block_on(async { tokio::time::resume() })));
    assert!(panics(|| reveille().block_on(reveille::time::advance(ms))));
    assert!(panics(|| tokio().block_on(tokio::time::advance(ms))));
    let twice = || {
        reveille::time::pause();
        reveille::time::pause();
    };
    assert!(panics(|| reveille().block_on(async { twice() })));
    let twice = || {
        tokio::time::pause();
        tokio::time::pause();
    };
    assert!(panics(|| tokio().block_on(async { twice() })));
}

/// A client that begins a request and does not go on, and a server that closes the connection.
#[test]
fn timers_of_hyper_obey_the_clock() {
    use reveille::interop::HyperTimer;
    use reveille::net::{TcpListener, TcpStream};
    use reveille::time::now;

    let builder = reveille::Builder::new().start_paused(true);
    builder.build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (client, limit) = (client.unwrap(), Duration::from_secs(30));
        let (stream, _) = listener.accept().await.unwrap();
        let start = now();
        let server = reveille::spawn(async move {
            let service = hyper::service::service_fn(async |_| {
                Ok::<_, std::convert::Infallible>(hyper::Response::new(String::new()))
            });
            hyper::server::conn::http1::Builder::new()
                .timer(HyperTimer::new())
                .header_read_timeout(limit)
                .serve_connection(stream, service)
                .await
        });
        client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        let error = server.await.unwrap().expect_err("it timed out");
        assert!(error.is_timeout(), "{error}");
        assert_eq!(now() - start, limit);
    });
}
