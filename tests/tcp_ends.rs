//! Ends of TCP connections: half-close, close, reset, a peer that is gone, and the bytes that are
//! read before the end.

mod support;

use reveille::time::sleep;
use reveille::{spawn, yield_now};
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::{Random, on_every_backend, pair, read_to_end, std_pair, wait};

#[test]
fn shutdown_ends_each_side_separately() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            client.write_all(b"last words").await.unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&server, 4).await, b"last words");
            // The other direction stays open.
            for _ in 0..3 {
                server.write_all(b"answer").await.unwrap();
                let mut buf = [0; 6];
                client.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"answer");
            }
            assert_eq!(
                client.write(b"x").await.unwrap_err().kind(),
                ErrorKind::BrokenPipe
            );
            server.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&client, 4).await, b"");
            assert_eq!(read_to_end(&client, 4).await, b"");
        });
    });
}

#[test]
fn shutdown_of_the_peer_wakes_a_waiting_reader() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let reader = spawn(async move { server.read(&mut [0; 8]).await.unwrap() });
            yield_now().await;
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reader.await.unwrap(), 0);
        });
    });
}

/// A backend of hints (real-time signals) gets no signal for what the process does to its own
/// socket.
#[test]
fn shutdown_wakes_a_waiting_reader() {
    for how in [Shutdown::Read, Shutdown::Both] {
        on_every_backend(|runtime| {
            runtime.block_on(async {
                let (_client, server) = pair().await;
                let server = Rc::new(server);
                let reader = server.clone();
                let reader = spawn(async move { reader.read(&mut [0; 8]).await.unwrap() });
                // Now the loop has waited for this socket.
                sleep(Duration::from_millis(1)).await;
                server.shutdown(how).unwrap();
                assert_eq!(reader.await.unwrap(), 0);
            });
        });
    }
}

#[test]
fn shutdown_on_another_thread_wakes_a_waiting_reader_and_writer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (_client, server) = pair().await;
            while server.try_write(&[0; 1 << 16]).is_ok() {}
            let server = Arc::new(server);
            let (reader, writer) = (server.clone(), server.clone());
            let reader = spawn(async move { reader.read(&mut [0; 8]).await.unwrap() });
            // Repeated, because bytes that were on their way make room.
            let writer = spawn(async move {
                loop {
                    if let Err(error) = writer.write(&[0; 1 << 16]).await {
                        return error;
                    }
                }
            });
            sleep(Duration::from_millis(1)).await;
            let foreign = thread::spawn(move || server.shutdown(Shutdown::Both).unwrap());
            assert_eq!(reader.await.unwrap(), 0);
            assert_eq!(writer.await.unwrap().kind(), ErrorKind::BrokenPipe);
            foreign.join().unwrap();
        });
    });
}

/// The wait and the shutdown are both on a thread that does not own the loop. The loop runs
/// meanwhile.
#[test]
fn shutdown_on_another_thread_wakes_a_reader_there() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (_client, server) = pair().await;
            let server = Arc::new(server);
            let (reader, done) = (server.clone(), Rc::new(Cell::new(false)));
            let reader = thread::spawn(move || wait(reader.read(&mut [0; 8])).unwrap());
            let is_done = done.clone();
            let loop_runs = spawn(async move {
                while !is_done.get() {
                    sleep(Duration::from_millis(1)).await;
                }
            });
            sleep(Duration::from_millis(5)).await;
            let closer = thread::spawn(move || server.shutdown(Shutdown::Read).unwrap());
            while !(reader.is_finished() && closer.is_finished()) {
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(reader.join().unwrap(), 0);
            done.set(true);
            loop_runs.await.unwrap();
        });
    });
}

#[test]
fn reset_wakes_reader_and_writer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let server = Rc::new(server);
            while server.try_write(&[0; 1 << 16]).is_ok() {}
            let (reader, writer) = (server.clone(), server.clone());
            let reader = spawn(async move { reader.read(&mut [0; 8]).await });
            let writer = spawn(async move { writer.write_all(&vec![0; 64 << 20]).await });
            for _ in 0..3 {
                yield_now().await;
            }
            client.set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            let ends = (reader.await.unwrap(), writer.await.unwrap());
            // The first task receives the reset. The second one finds the connection closed, which
            // is the end for a reader.
            assert!(ends.1.is_err() && !matches!(ends.0, Ok(1..)), "{ends:?}");
            let resets = [ends.0.err(), ends.1.err()];
            let is_reset = |e: &io::Error| e.kind() == ErrorKind::ConnectionReset;
            assert!(resets.iter().flatten().any(is_reset), "{resets:?}");
        });
    });
}

#[test]
fn read_returns_all_bytes_before_the_end() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut random = Random(4);
            for len in [1, 16, 64, 100, 4096, 65_536] {
                // Some of these buffers are filled exactly.
                for buf_len in [1, 16, 50, 65_536, 70_000] {
                    let (mut client, server) = std_pair().await;
                    let sent = random.bytes(len);
                    client.write_all(&sent).unwrap();
                    drop(client);
                    assert!(read_to_end(&server, buf_len).await == sent);
                }
            }
        });
    });
}

#[test]
fn read_returns_data_that_arrived_before_the_end() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (mut client, server) = std_pair().await;
            let mut buf = [0; 16];
            client.write_all(b"one").unwrap();
            assert_eq!(server.read(&mut buf).await.unwrap(), 3);
            // A short read has cleared the cached bit. The data and the end arrive as one event.
            client.write_all(b"two").unwrap();
            drop(client);
            assert_eq!(read_to_end(&server, 16).await, b"two");
        });
    });
}

#[test]
fn read_fails_if_the_peer_vanishes_with_unread_data() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = std_pair().await;
            server.write_all(b"never read").await.unwrap();
            let reader = spawn(async move { server.read(&mut [0; 8]).await });
            yield_now().await;
            // Bytes that arrive after the close would be reset, and the reader would read the end
            // before that.
            let gone = thread::spawn(move || {
                client.peek(&mut [0]).unwrap();
                drop(client);
            });
            let error = reader.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            gone.join().unwrap();
        });
    });
}

#[test]
fn write_to_a_closed_peer_fails_without_a_signal() {
    // SAFETY: restores the default action, which ends the process. Rust's startup code ignores the
    // signal.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for vectored in [false, true] {
                let (client, server) = pair().await;
                drop(client);
                let error = loop {
                    let written = if vectored {
                        server.write_vectored(&[IoSlice::new(b"x")]).await
                    } else {
                        server.write_all(b"x").await.map(|()| 1)
                    };
                    match written {
                        Ok(_) => yield_now().await,
                        Err(error) => break error,
                    }
                };
                let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                assert!(gone.contains(&error.kind()), "{error}");
                // The second write fails too.
                assert_eq!(
                    server.write(b"x").await.unwrap_err().kind(),
                    ErrorKind::BrokenPipe
                );
            }
        });
    });
}
