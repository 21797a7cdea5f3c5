//! Bytes through TCP: all of them, in order, from either side.

mod support;

use reveille::net::TcpStream;
use reveille::{spawn, yield_now};
use std::cell::Cell;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use support::{Random, on_every_backend, pair, poll_once, read_to_end, std_pair};

/// Sends back what comes, until the peer ends its side.
async fn echo(stream: TcpStream, buf_len: usize) {
    let mut buf = vec![0; buf_len];
    loop {
        match stream.read(&mut buf).await.unwrap() {
            0 => return,
            n => stream.write_all(&buf[..n]).await.unwrap(),
        }
    }
}

#[test]
fn echo_gives_back_every_size_byte_for_byte() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut random = Random(1);
            let odd = [
                0,
                1,
                2,
                63,
                64,
                65,
                1023,
                4096,
                65_535,
                65_536,
                65_537,
                1 << 20,
            ];
            for len in odd {
                for buf_len in [64, 4096, 1 << 17] {
                    if buf_len == 64 && len > 100_000 {
                        continue;
                    }
                    let (client, server) = pair().await;
                    spawn(echo(server, buf_len));
                    let client = Rc::new(client);
                    let sent = random.bytes(len);
                    let (writer, bytes) = (client.clone(), sent.clone());
                    let write = spawn(async move {
                        writer.write_all(&bytes).await.unwrap();
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    let got = read_to_end(&client, 8192).await;
                    write.await.unwrap();
                    assert!(got == sent, "{len} bytes came back as {}", got.len());
                }
            }
        });
    });
}

#[test]
fn requests_of_exactly_the_buffers_size_and_less_alternate() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            spawn(echo(server, 64));
            let mut random = Random(2);
            for _ in 0..2000 {
                let sent = random.bytes(1 + (random.0 % 128) as usize);
                client.write_all(&sent).await.unwrap();
                let mut got = vec![0; sent.len()];
                assert_eq!(client.read_exact(&mut got).await.unwrap(), sent.len());
                assert_eq!(got, sent);
            }
        });
    });
}

#[test]
fn a_thousand_connections_at_once_in_one_loop() {
    support::raise_descriptor_limit();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = reveille::net::TcpListener::bind("127.0.0.1:0")
                .await
                .unwrap();
            let addr = listener.local_addr().unwrap();
            spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    spawn(echo(stream, 4096));
                }
            });
            let open = Rc::new(Cell::new(0));
            let clients: Vec<_> = (1..=1000)
                .map(|seed| {
                    let open = open.clone();
                    spawn(async move {
                        let mut random = Random(seed * 7919);
                        let stream = TcpStream::connect(addr).await.unwrap();
                        open.set(open.get() + 1);
                        while open.get() < 1000 {
                            yield_now().await;
                        }
                        for _ in 0..4 {
                            let len = 1 + (random.next() % 10_000) as usize;
                            let sent = random.bytes(len);
                            stream.write_all(&sent).await.unwrap();
                            let mut got = vec![0; len];
                            stream.read_exact(&mut got).await.unwrap();
                            assert!(got == sent);
                        }
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
        });
    });
}

#[test]
fn clients_in_threads_are_served_by_one_loop() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = reveille::net::TcpListener::bind("127.0.0.1:0")
                .await
                .unwrap();
            let addr = listener.local_addr().unwrap();
            let clients: Vec<_> = (1..=8)
                .map(|seed| {
                    thread::spawn(move || {
                        let mut random = Random(seed);
                        let mut stream = std::net::TcpStream::connect(addr).unwrap();
                        stream.set_nodelay(true).unwrap();
                        for _ in 0..200 {
                            let len = 1 + (random.next() % 3000) as usize;
                            let sent = random.bytes(len);
                            stream.write_all(&sent).unwrap();
                            let mut got = vec![0; len];
                            stream.read_exact(&mut got).unwrap();
                            assert!(got == sent);
                        }
                    })
                })
                .collect();
            let mut servers = Vec::new();
            for _ in 0..clients.len() {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                servers.push(spawn(echo(stream, 1000)));
            }
            for server in servers {
                server.await.unwrap();
            }
            for client in clients {
                client.join().unwrap();
            }
        });
    });
}

#[test]
fn a_slow_reader_holds_the_writer_back() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            const CHUNK: usize = 64 << 10;
            let (client, server) = pair().await;
            let (written, stalled) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let (count, stall) = (written.clone(), stalled.clone());
            let mut random = Random(3);
            let bytes = Rc::new(random.bytes(32 << 20));
            let source = bytes.clone();
            let writer = spawn(async move {
                for chunk in source.chunks(CHUNK) {
                    let mut write = pin!(client.write_all(chunk));
                    if poll_once(&mut write).await.is_pending() {
                        stall.set(true);
                        write.await.unwrap();
                    }
                    count.set(count.get() + chunk.len());
                }
            });
            while !stalled.get() {
                yield_now().await;
            }
            assert!(written.get() < bytes.len());
            let got = read_to_end(&server, 100_000).await;
            writer.await.unwrap();
            assert!(got == *bytes);
        });
    });
}

#[test]
fn two_tasks_share_one_stream_without_a_split() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            spawn(echo(server, 1000));
            let client = Rc::new(client);
            let sent = Random(5).bytes(3 << 20);
            let (writer, bytes) = (client.clone(), sent.clone());
            let write = spawn(async move { writer.write_all(&bytes).await });
            let mut got = vec![0; sent.len()];
            client.read_exact(&mut got).await.unwrap();
            write.await.unwrap().unwrap();
            assert!(got == sent);
        });
    });
}

#[test]
fn two_readers_wait_at_once_and_both_are_served() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let server = Rc::new(server);
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let server = server.clone();
                    spawn(async move { server.read(&mut [0; 1]).await.unwrap() })
                })
                .collect();
            yield_now().await;
            client.write_all(b"ab").await.unwrap();
            for reader in readers {
                assert_eq!(reader.await.unwrap(), 1);
            }
        });
    });
}

#[test]
fn peeking_takes_nothing_and_proves_nothing() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            client.write_all(b"hello").await.unwrap();
            let mut buf = [0; 64];
            for _ in 0..3 {
                assert_eq!(server.peek(&mut buf).await.unwrap(), 5);
            }
            assert_eq!(server.try_peek(&mut buf).unwrap(), 5);
            assert_eq!(server.read(&mut buf).await.unwrap(), 5);
            assert_eq!(
                server.try_peek(&mut buf).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
        });
    });
}

#[test]
fn several_buffers_are_filled_and_sent_in_order() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
            assert_eq!(client.write_vectored(&parts).await.unwrap(), 5);
            let (mut first, mut second) = ([0; 3], [0; 10]);
            let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            assert_eq!(server.read_vectored(&mut bufs).await.unwrap(), 5);
            assert_eq!((&first, &second[..2]), (b"abc", &b"de"[..]));
            assert_eq!(client.try_write_vectored(&parts).unwrap(), 5);
            server.readable().await.unwrap();
            let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            assert_eq!(server.try_read_vectored(&mut bufs).unwrap(), 5);
        });
    });
}

#[test]
fn empty_buffers_are_done_at_once() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, _server) = pair().await;
            assert_eq!(client.read(&mut []).await.unwrap(), 0);
            assert_eq!(client.write(&[]).await.unwrap(), 0);
            assert_eq!(client.peek(&mut []).await.unwrap(), 0);
            assert_eq!(client.read_exact(&mut []).await.unwrap(), 0);
            assert_eq!(client.read_vectored(&mut []).await.unwrap(), 0);
            assert_eq!(
                client.write_vectored(&[IoSlice::new(b"")]).await.unwrap(),
                0
            );
            client.write_all(&[]).await.unwrap();
        });
    });
}

#[test]
fn read_exact_says_when_the_stream_is_too_short() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            client.write_all(b"abc").await.unwrap();
            drop(client);
            let error = server.read_exact(&mut [0; 4]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        });
    });
}

fn send_urgent(stream: &impl AsRawFd) {
    // SAFETY: one byte, which is read.
    let sent = unsafe { libc::send(stream.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
}

#[test]
fn bytes_behind_the_urgent_mark_are_not_lost() {
    // A read stops at the mark, with bytes left and no further event.
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for warm in [false, true] {
                let (mut client, server) = std_pair().await;
                let mut buf = [0; 64];
                if warm {
                    client.write_all(b"warm").unwrap();
                    assert_eq!(server.read(&mut buf).await.unwrap(), 4);
                }
                client.write_all(b"before").unwrap();
                send_urgent(&client);
                client.write_all(b"after").unwrap();
                assert_eq!(server.read(&mut buf).await.unwrap(), 6);
                assert_eq!(server.read(&mut buf).await.unwrap(), 5);
                assert_eq!(&buf[..5], b"after");
            }
        });
    });
}

#[test]
fn the_urgent_byte_is_taken_by_its_own_waiter_and_the_mark_still_holds() {
    use reveille::io::Interest;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (mut client, server) = std_pair().await;
            client.write_all(b"before").unwrap();
            send_urgent(&client);
            client.write_all(b"after").unwrap();
            let ready = server.ready(Interest::PRIORITY).await.unwrap();
            assert!(ready.is_priority() && !ready.is_error());
            let mut urgent = [0_u8; 1];
            let take = || {
                // SAFETY: one byte, which is ours to write.
                match unsafe {
                    libc::recv(
                        server.as_raw_fd(),
                        urgent.as_mut_ptr().cast(),
                        1,
                        libc::MSG_OOB,
                    )
                } {
                    1 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            server.async_io(Interest::PRIORITY, take).await.unwrap();
            assert_eq!(&urgent, b"!");
            // Not ready any more: the next wait waits.
            let mut next = pin!(server.ready(Interest::PRIORITY));
            assert!(poll_once(&mut next).await.is_pending());
            let mut buf = [0; 64];
            assert_eq!(server.read(&mut buf).await.unwrap(), 6);
            assert_eq!(server.read(&mut buf).await.unwrap(), 5);
            assert_eq!(&buf[..5], b"after");
        });
    });
}

#[test]
fn a_distrustful_stream_reads_to_the_end_all_the_same() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (mut client, server) = std_pair().await;
            server.distrust_short_reads().unwrap();
            for _ in 0..3 {
                client.write_all(b"abc").unwrap();
                assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 3);
            }
            let server = thread::spawn(move || {
                assert!(server.distrust_short_reads().is_err());
                server
            });
            drop(server.join().unwrap());
        });
    });
}
