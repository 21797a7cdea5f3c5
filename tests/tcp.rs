//! Reading and writing TCP streams: all bytes arrive, in order, in both directions.

mod support;

use reveille::io::Interest;
use reveille::net::TcpStream;
use reveille::{spawn, yield_now};
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use support::{Random, on_every_backend, pair, poll_once, read_to_end, std_pair};

/// Echoes until the peer closes its side.
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
fn echo_returns_every_size_byte_for_byte() {
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
fn read_of_a_full_and_of_a_partial_buffer_alternate() {
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
fn streams_by_the_thousand_are_served_by_one_loop() {
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
fn streams_of_clients_in_threads_are_served_by_one_loop() {
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
fn write_waits_for_a_slow_reader() {
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
fn stream_is_read_and_written_by_two_tasks() {
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
fn read_in_two_tasks_serves_both() {
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
fn peek_takes_no_bytes_and_clears_no_readiness() {
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
fn vectored_calls_fill_and_send_buffers_in_order() {
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
fn vectored_calls_skip_any_number_of_empty_buffers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            for empty in [15, 16, 1023, 1024, 5000] {
                let mut parts = vec![IoSlice::new(b""); empty];
                parts.push(IoSlice::new(b"data"));
                assert_eq!(client.write_vectored(&parts).await.unwrap(), 4);
                assert_eq!(client.try_write_vectored(&parts).unwrap(), 4);
                let (mut none, mut room) = (vec![[0_u8; 0]; empty], [0; 4]);
                let mut bufs: Vec<_> = none.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
                bufs.push(IoSliceMut::new(&mut room));
                assert_eq!(server.read_vectored(&mut bufs).await.unwrap(), 4);
                server.readable().await.unwrap();
                assert_eq!(server.try_read_vectored(&mut bufs).unwrap(), 4);
                assert_eq!(&room, b"data");
            }
        });
    });
}

#[test]
fn stream_with_a_clone_set_to_blocking_does_not_block() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let clone = server.as_fd().try_clone_to_owned().unwrap();
            // O_NONBLOCK belongs to the open file, which the clone shares.
            let clone = std::net::TcpStream::from(clone);
            clone.set_nonblocking(false).unwrap();
            let server = Rc::new(server);
            let mut buf = [0; 4096];
            let blocked = |result: io::Result<usize>| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
            };
            blocked(server.try_read(&mut buf));
            blocked(server.try_peek(&mut buf));
            blocked(server.try_read_vectored(&mut [IoSliceMut::new(&mut buf)]));
            let reader = server.clone();
            let read = spawn(async move { reader.read(&mut [0; 8]).await });
            yield_now().await;
            // A task writes one of them.
            let mut unread = 1;
            while let Ok(written) = server.try_write(&buf) {
                unread += written;
            }
            blocked(server.try_write_vectored(&[IoSlice::new(&buf)]));
            let writer = server.clone();
            let write = spawn(async move { writer.write(&[0; 1]).await });
            yield_now().await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(read.await.unwrap().unwrap(), 1);
            while unread > 0 {
                unread -= client.read(&mut buf).await.unwrap();
            }
            assert_eq!(write.await.unwrap().unwrap(), 1);
        });
    });
}

#[test]
fn empty_buffers_are_ready_at_once() {
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
fn read_exact_reports_the_end_of_the_stream() {
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
    // SAFETY: the call reads one byte of a live array.
    let sent = unsafe { libc::send(stream.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
}

#[test]
fn read_loses_no_bytes_after_the_urgent_mark() {
    // A read stops at the mark, with bytes left, and no event follows.
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
fn read_is_repeated_at_the_urgent_mark() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            client.write_all(b"ab").await.unwrap();
            send_urgent(&client);
            client.write_all(b"cd").await.unwrap();
            server
                .ready(Interest::PRIORITY | Interest::ERROR)
                .await
                .ok();
            let mut buf = [0; 8];
            assert_eq!(server.read(&mut buf).await.unwrap(), 2);
            // recv(2) of Linux fails with this at the mark while a signal is pending, even if there
            // are bytes after the mark.
            let untrue = || io::Result::<usize>::Err(ErrorKind::WouldBlock.into());
            for _ in 0..3 {
                server.try_io(Interest::READABLE, untrue).unwrap_err();
                server.readable().await.unwrap();
            }
            let mut first = true;
            let read = server.async_io(Interest::READABLE, || match std::mem::take(&mut first) {
                true => untrue(),
                false => server.try_read(&mut buf),
            });
            assert_eq!(read.await.unwrap(), 2);
            assert_eq!(&buf[..2], b"cd");
        });
    });
}

/// Sends a byte without a copy, and waits for the entry in the error queue that releases its
/// buffer. Returns false if the kernel cannot do that.
#[cfg(target_os = "linux")]
fn leave_error(stream: &TcpStream) -> bool {
    let (fd, on): (_, libc::c_int) = (stream.as_raw_fd(), 1);
    let (to, len) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
    // SAFETY: the pointer and the length are those of an int.
    if unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY, to, len) } != 0 {
        return false;
    }
    // It is not written to again.
    static BYTE: u8 = 0;
    // SAFETY: the byte lives as long as the program.
    let sent = unsafe { libc::send(fd, (&raw const BYTE).cast(), 1, libc::MSG_ZEROCOPY) };
    assert_eq!(sent, 1);
    let mut entry = libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    };
    // SAFETY: one entry that outlives the call.
    let found = unsafe { libc::poll(&mut entry, 1, -1) };
    assert_eq!((found, entry.revents), (1, libc::POLLERR));
    true
}

/// Removes an entry from the error queue.
#[cfg(target_os = "linux")]
fn take_error_entry(stream: &TcpStream) {
    let mut control = [0_u64; 32];
    // SAFETY: all zeroes is a valid empty header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header contains only the control buffer, and both outlive the call.
    let taken = unsafe { libc::recvmsg(stream.as_raw_fd(), &mut message, libc::MSG_ERRQUEUE) };
    assert_eq!(taken, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn readable_reports_a_lasting_error_once() {
    use reveille::time::timeout;
    const MOMENT: std::time::Duration = std::time::Duration::from_millis(5);
    on_every_backend(|runtime| {
        let reports_errors = !runtime.backend_name().contains("select");
        runtime.block_on(async {
            let (there, here) = pair().await;
            let waits = async || {
                let waited = timeout(MOMENT, here.readable()).await;
                waited.is_err()
            };
            let mut buf = [0; 4096];
            for _ in 0..2 {
                if !leave_error(&here) {
                    return println!("skipped: no zero copy");
                }
                if reports_errors {
                    here.ready(Interest::ERROR).await.unwrap();
                }
                // The runtime may or may not have received the event of this error.
                if !waits().await {
                    assert!(here.try_read(&mut buf).is_err());
                }
                assert!(waits().await);
                // The event of the error also reports that there is room to write.
                let mut unread = 1;
                while let Ok(written) = here.try_write(&[0; 4096]) {
                    unread += written;
                }
                while unread > 0 {
                    unread -= there.read(&mut buf).await.unwrap();
                }
                here.writable().await.unwrap();
                assert!(waits().await);
                there.write_all(b"x").await.unwrap();
                here.readable().await.unwrap();
                assert_eq!(here.try_read(&mut buf).unwrap(), 1);
                assert!(waits().await);
                take_error_entry(&here);
                assert!(waits().await);
                let error = timeout(MOMENT, here.ready(Interest::ERROR)).await;
                assert!(error.is_err(), "{error:?}");
            }
        });
    });
}

#[test]
fn async_io_takes_the_urgent_byte_and_reads_stop_at_its_mark() {
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
                // SAFETY: the call writes one byte of a live array.
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
            // No longer ready, so the next wait is pending.
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
fn short_read_hint_switched_off_loses_no_bytes() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (mut client, server) = std_pair().await;
            server.set_short_read_hint(false);
            for _ in 0..3 {
                client.write_all(b"abc").unwrap();
                assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 3);
            }
            let server = thread::spawn(move || {
                server.set_short_read_hint(true);
                server
            });
            let server = server.join().unwrap();
            client.write_all(b"abc").unwrap();
            assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 3);
        });
    });
}
