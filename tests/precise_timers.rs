//! `Builder::precise_timers`: a timer fd ends the waits, on every backend, beside sockets and with
//! little room for events.

mod support;

use reveille::backend::BackendKind;
use reveille::net::TcpStream;
use reveille::time::{Duration, Instant, sleep, sleep_until};
use reveille::{Builder, Runtime, spawn};
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use support::{Random, guarded, pair};

/// Runs a test on every backend, with room for one event and for many.
fn each(test: impl Fn(&Runtime)) {
    for kind in BackendKind::ALL {
        for capacity in [1, 64] {
            let builder = Builder::new().precise_timers(true);
            match builder.backend(kind).event_capacity(capacity).build() {
                Ok(runtime) => guarded(kind.name(), || test(&runtime)),
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => panic!("{kind}: {error}"),
            }
        }
    }
}

/// No other event would end the wait.
#[test]
fn timer_fd_ends_every_wait() {
    each(|runtime| {
        for micros in [1, 10, 100, 1000, 3000] {
            let start = Instant::now();
            runtime.block_on(sleep(Duration::from_micros(micros)));
            assert!(start.elapsed() >= Duration::from_micros(micros));
        }
    });
}

#[test]
fn precise_timers_are_not_lost_or_early_among_sockets() {
    each(|runtime| {
        runtime.block_on(async {
            let mut random = Random(0x5eed);
            let is_over = Rc::new(Cell::new(false));
            let mut echoes = Vec::new();
            for _ in 0..8 {
                // Made here, because a thread that is held up would send after the last timer.
                let (client, server) = pair().await;
                echoes.push(spawn(echo(client, server, is_over.clone())));
            }
            let sleepers: Vec<_> = (0..60)
                .map(|_| {
                    let (first, second) = (random.next() % 20_000, random.next() % 20_000);
                    spawn(async move {
                        let start = Instant::now();
                        let mut deadline = start + Duration::from_micros(first);
                        let mut timer = std::pin::pin!(sleep_until(deadline));
                        // Arm it, and then move it to an earlier or later time.
                        let _ = support::poll_once(&mut timer).await;
                        deadline = start + Duration::from_micros(second);
                        timer.as_mut().reset(deadline);
                        timer.await;
                        assert!(Instant::now() >= deadline);
                    })
                })
                .collect();
            for sleeper in sleepers {
                sleeper.await.unwrap();
            }
            is_over.set(true);
            for echo in echoes {
                echo.await.unwrap();
            }
        });
    });
}

/// Sends a byte back and forth until `is_over`, at least once.
async fn echo(client: TcpStream, server: TcpStream, is_over: Rc<Cell<bool>>) {
    let server = spawn(async move {
        let mut byte = [0];
        while server.read(&mut byte).await.unwrap() == 1 {
            server.write_all(&byte).await.unwrap();
        }
    });
    for round in 1.. {
        client.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        if is_over.get() {
            break;
        }
        if round % 16 == 0 {
            sleep(Duration::from_micros(300)).await;
        }
    }
    drop(client);
    server.await.unwrap();
}
