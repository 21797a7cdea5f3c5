//! Sockets on a thread that does not run their runtime: while the runtime runs, between two runs,
//! and after its end.

mod support;

use reveille::backend::BackendKind;
use reveille::io::Interest;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::sleep;
use reveille::{Builder, Runtime, yield_now};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use support::{arrived, guarded, on_every_backend, pair, std_pair, wait};

#[test]
fn stream_is_used_and_dropped_on_another_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for _ in 0..20 {
                let (client, server) = pair().await;
                let foreign = thread::spawn(move || {
                    wait(async {
                        let mut buf = [0; 5];
                        server.readable().await.unwrap();
                        server.read_exact(&mut buf).await.unwrap();
                        assert_eq!(&buf, b"hello");
                        server.write_all(&vec![7; 4 << 20]).await.unwrap();
                        server.read_exact(&mut buf).await.unwrap();
                    });
                    drop(server);
                });
                yield_now().await;
                client.write_all(b"hello").await.unwrap();
                let mut all = vec![0; 4 << 20];
                client.read_exact(&mut all).await.unwrap();
                assert!(all.iter().all(|byte| *byte == 7));
                client.write_all(b"again").await.unwrap();
                // Closed by the drop on the other thread.
                assert_eq!(client.read(&mut all).await.unwrap(), 0);
                foreign.join().unwrap();
            }
        });
    });
}

#[test]
fn accept_on_another_thread_registers_with_its_runtime() {
    guarded("the default", || {
        reveille::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let foreign = thread::spawn(move || {
                // Without a runtime there, the connection stays in the queue.
                let error = wait(listener.accept()).unwrap_err();
                assert!(error.to_string().contains("no reveille runtime"), "{error}");
                reveille::block_on(async {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.write_all(b"hello").await.unwrap();
                });
            });
            let client = TcpStream::connect(addr).await.unwrap();
            let mut buf = [0; 5];
            client.read_exact(&mut buf).await.unwrap();
            foreign.join().unwrap();
        });
    });
}

#[test]
fn stream_used_between_two_runs_waits_for_the_next_run() {
    on_every_backend(|runtime| {
        let (client, server) = runtime.block_on(pair());
        let (done, result) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut buf = [0; 5];
            let n = wait(server.read(&mut buf));
            done.send(n.unwrap()).unwrap();
        });
        // The loop does not run, and a write does not wait.
        wait(client.write_all(b"hello")).unwrap();
        runtime.block_on(async {
            loop {
                match result.try_recv() {
                    Ok(n) => break assert_eq!(n, 5),
                    Err(_) => yield_now().await,
                }
            }
        });
        reader.join().unwrap();
    });
}

#[test]
fn stream_of_another_runtime_that_never_waits_lets_other_tasks_run() {
    guarded("the default", || {
        const BYTES: usize = 10_000;
        let owner = Runtime::new().unwrap();
        let (mut client, server) = owner.block_on(std_pair());
        client.write_all(&[7; BYTES]).unwrap();
        arrived(&server);
        reveille::block_on(async {
            let reads = Rc::new(Cell::new(0));
            let count = reads.clone();
            let reader = reveille::spawn(async move {
                while count.get() < BYTES {
                    count.set(count.get() + server.read(&mut [0; 1]).await.unwrap());
                }
            });
            while reads.get() == 0 {
                yield_now().await;
            }
            assert!(reads.get() < BYTES, "one poll made all the reads");
            while reads.get() < BYTES {
                owner.turn(Some(Duration::ZERO)).unwrap();
                yield_now().await;
            }
            reader.await.unwrap();
        });
    });
}

#[test]
fn stream_of_a_runtime_that_is_gone_fails_only_to_wait() {
    guarded("the default", || {
        let runtime = Runtime::new().unwrap();
        let (mut client, server) = runtime.block_on(std_pair());
        let (waiter_client, waiter) = runtime.block_on(std_pair());
        let waiting = thread::spawn(move || wait(waiter.read(&mut [0; 4])));
        runtime.block_on(yield_now());
        drop(runtime);
        let error = waiting.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
        drop(waiter_client);

        client.write_all(b"hello").unwrap();
        arrived(&server);
        let mut buf = [0; 8];
        assert_eq!(wait(server.read(&mut buf)).unwrap(), 5);
        wait(server.write_all(b"answer")).unwrap();
        let error = wait(server.read(&mut buf)).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
        assert!(wait(server.readable()).is_err());
        assert_eq!(
            server.try_read(&mut buf).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        drop(server);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"answer");
    });
}

#[test]
fn async_io_on_another_thread_yields_if_poll_disagrees_with_the_call() {
    guarded("the default", || {
        let runtime = Runtime::new().unwrap();
        let (mut peer, stream) = runtime.block_on(std_pair());
        peer.write_all(b"x").unwrap();
        runtime.block_on(stream.readable()).unwrap();
        // On this thread no readiness is cached, and poll(2) reports the stream as ready each time.
        let calls = Cell::new(0);
        let call = || {
            calls.set(calls.get() + 1);
            Err::<(), _>(ErrorKind::WouldBlock.into())
        };
        let mut io = pin!(stream.async_io(Interest::READABLE, call));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(io.as_mut().poll(&mut cx).is_pending());
        }
        assert!((1..=3).contains(&calls.get()), "{calls:?} in 3 polls");
    });
}

/// A task sends requests, and a thread answers them. In between the loop sleeps, or it spins first
/// for a short or a very long time. Timers and a socket are in use too.
#[test]
fn stream_served_by_a_thread_wakes_a_sleeping_and_a_spinning_loop() {
    let spins = [0, 20, 3_600_000_000].map(Duration::from_micros);
    for kind in BackendKind::ALL {
        for spin in spins {
            let builder = Builder::new().backend(kind).spin_before_park(spin);
            let runtime = match builder.build() {
                Ok(runtime) => runtime,
                Err(error) if error.kind() == ErrorKind::Unsupported => continue,
                Err(error) => panic!("{kind}: {error}"),
            };
            guarded(kind.name(), || runtime.block_on(ask_and_answer()));
        }
    }
}

async fn ask_and_answer() {
    let (asking, asked) = mpsc::channel::<Waker>();
    let answers = Arc::new(AtomicUsize::new(0));
    let thread = thread::spawn({
        let answers = answers.clone();
        move || {
            for waker in asked {
                answers.fetch_add(1, Ordering::Release);
                waker.wake();
            }
        }
    });
    let (client, server) = pair().await;
    for question in 1..=300 {
        let mut is_asked = false;
        poll_fn(|cx| {
            if !std::mem::replace(&mut is_asked, true) {
                asking.send(cx.waker().clone()).unwrap();
            }
            match answers.load(Ordering::Acquire) == question {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        if question % 100 == 0 {
            sleep(Duration::from_millis(1)).await;
            client.write_all(b"?").await.unwrap();
            // A spinning loop does not poll its sockets.
            arrived(&server);
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 1);
        }
    }
    drop(asking);
    thread.join().unwrap();
}
