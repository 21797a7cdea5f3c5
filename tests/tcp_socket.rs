//! TCP sockets: creation, conversion, readiness, halves, and the traits of futures-io.

mod support;

use reveille::net::{OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream};
use reveille::{spawn, yield_now};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use support::{Refusing, on_every_backend, pair, poll_once, std_pair, wait};

#[test]
fn sockets_and_their_futures_are_send() {
    fn check<T: Send + Sync + Unpin>() {}
    check::<TcpStream>();
    check::<TcpListener>();
    check::<OwnedReadHalf>();
    check::<OwnedWriteHalf>();
    fn send<T: Send>(_: T) {}
    send(TcpStream::connect("127.0.0.1:1"));
    send(TcpListener::bind("127.0.0.1:0"));
    #[allow(dead_code, reason = "compiling it is the test")]
    fn futures(stream: &TcpStream, listener: &TcpListener) {
        send(stream.read(&mut []));
        send(stream.read_exact(&mut []));
        send(stream.write_all(b""));
        send(stream.readable());
        send(listener.accept());
    }
}

#[test]
fn connect_reports_a_refused_connection() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let nobody = Refusing::tcp();
            let error = TcpStream::connect(nobody.addr).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        });
    });
}

#[test]
fn connect_and_bind_try_every_address() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
            let listener = TcpListener::bind(&[foreign, any][..]).await.unwrap();
            let addr = listener.local_addr().unwrap();
            let nobody = Refusing::tcp();
            let stream = TcpStream::connect(&[nobody.addr, nobody.addr, addr][..])
                .await
                .unwrap();
            assert_eq!(stream.peer_addr().unwrap(), addr);
            // connect(2) refuses this address without sending anything.
            let broadcast: SocketAddr = "255.255.255.255:1".parse().unwrap();
            let last = TcpStream::connect(&[broadcast, nobody.addr][..]).await;
            assert_eq!(last.unwrap_err().kind(), ErrorKind::ConnectionRefused);
            let none: &[SocketAddr] = &[];
            let error = TcpStream::connect(none).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let error = TcpListener::bind(none).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn ipv6_works_if_the_host_has_it() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let Ok(listener) = TcpListener::bind("[::1]:0").await else {
                return println!("skipped: no IPv6 here");
            };
            let addr = listener.local_addr().unwrap();
            let client = TcpStream::connect(addr).await.unwrap();
            let (_server, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert!(peer.is_ipv6());
        });
    });
}

#[test]
fn bind_and_connect_fail_without_a_runtime() {
    let nobody = Refusing::tcp();
    let texts = [
        wait(TcpListener::bind("127.0.0.1:0")).unwrap_err(),
        wait(TcpStream::connect(nobody.addr)).unwrap_err(),
    ]
    .map(|error| error.to_string());
    for text in texts {
        assert!(text.contains("no reveille runtime"), "{text}");
    }
}

#[test]
fn from_std_refuses_a_blocking_socket() {
    reveille::block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let errors = [
            TcpStream::from_std(stream).unwrap_err(),
            TcpListener::from_std(listener).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("set_nonblocking(true)"));
        }
    });
}

#[test]
fn from_std_and_into_std_convert_sockets() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let std_client = client.into_std().unwrap();
            // The same descriptor is registered again.
            let client = TcpStream::from_std(std_client).unwrap();
            client.write_all(b"hello").await.unwrap();
            let mut server = server.into_std().unwrap();
            server.set_nonblocking(false).unwrap();
            let mut buf = [0; 5];
            server.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"hello");

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listener = TcpListener::from_std(listener.into_std().unwrap()).unwrap();
            let addr = listener.local_addr().unwrap();
            let waiting = spawn(async move { listener.accept().await.unwrap().1 });
            yield_now().await;
            let client = TcpStream::connect(addr).await.unwrap();
            assert_eq!(waiting.await.unwrap(), client.local_addr().unwrap());
        });
    });
}

#[test]
fn from_std_of_a_socket_that_is_not_tcp_reads_to_the_end() {
    // A std::net::TcpStream may contain any socket. A read of this one ends at each packet.
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut fds = [0; 2];
            // SAFETY: the array has room for two descriptors, and no other code owns them.
            let [here, there] = unsafe {
                let pair =
                    libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, fds.as_mut_ptr());
                assert_eq!(pair, 0);
                use std::os::fd::{FromRawFd, OwnedFd};
                fds.map(|fd| std::net::TcpStream::from(OwnedFd::from_raw_fd(fd)))
            };
            here.set_nonblocking(true).unwrap();
            let here = TcpStream::from_std(here).unwrap();
            (&there).write_all(b"first").unwrap();
            (&there).write_all(b"second").unwrap();
            let mut buf = [0; 64];
            assert_eq!(here.read(&mut buf).await.unwrap(), 5);
            assert_eq!(here.read(&mut buf).await.unwrap(), 6);
        });
    });
}

#[test]
fn from_std_of_a_datagram_socket_reads_one_by_one() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let socket = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let (here, there) = (socket(), socket());
            here.connect(there.local_addr().unwrap()).unwrap();
            there.connect(here.local_addr().unwrap()).unwrap();
            here.set_nonblocking(true).unwrap();
            // It has an internet address, but is not TCP.
            let here = TcpStream::from_std(std::os::fd::OwnedFd::from(here).into()).unwrap();
            there.send(b"first").unwrap();
            there.send(b"second").unwrap();
            let mut buf = [0; 64];
            assert_eq!(here.read(&mut buf).await.unwrap(), 5);
            assert_eq!(here.read(&mut buf).await.unwrap(), 6);
        });
    });
}

#[test]
fn readable_returns_only_if_a_read_succeeds() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let mut buf = [0; 4];
            for _ in 0..3 {
                assert_eq!(
                    server.try_read(&mut buf).unwrap_err().kind(),
                    ErrorKind::WouldBlock
                );
                client.write_all(b"four").await.unwrap();
                // The data fills the buffer, so the read does not prove that nothing is left.
                server.read_exact(&mut buf).await.unwrap();
                let mut readable = pin!(server.readable());
                assert!(poll_once(&mut readable).await.is_pending());
                let mut polled = pin!(poll_fn(|cx| server.poll_read_ready(cx)));
                assert!(poll_once(&mut polled).await.is_pending());
                client.write_all(b"more").await.unwrap();
                readable.await.unwrap();
                polled.await.unwrap();
                assert_eq!(server.try_read(&mut buf).unwrap(), 4);
            }
        });
    });
}

#[test]
fn writable_returns_only_if_a_write_succeeds() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = std_pair().await;
            server.writable().await.unwrap();
            let fd = server.as_raw_fd();
            {
                let mut writable = pin!(server.writable());
                loop {
                    // A write through the stream would update the cached readiness.
                    let full = loop {
                        if let Err(error) = send_behind(fd) {
                            break error;
                        }
                    };
                    assert_eq!(full.kind(), ErrorKind::WouldBlock);
                    if poll_once(&mut writable).await.is_pending() {
                        break;
                    }
                    // Bytes that were on their way have made room.
                    send_behind(fd).expect("it is writable when it says so");
                    writable.set(server.writable());
                }
                let reader = thread::spawn(move || {
                    let mut client = client;
                    let mut buf = vec![0; 1 << 20];
                    while client.read(&mut buf).unwrap() != 0 {}
                });
                writable.await.unwrap();
                assert!(server.try_write(b"x").is_ok());
                server.shutdown(Shutdown::Write).unwrap();
                reader.join().unwrap();
            }
        });
    });
}

/// Sends without the stream's knowledge.
fn send_behind(fd: RawFd) -> io::Result<()> {
    let bytes = [0_u8; 4096];
    // SAFETY: the pointer and the length are those of `bytes`.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[test]
fn ready_returns_the_readiness_and_refuses_an_empty_interest() {
    use reveille::io::Interest;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let both = Interest::READABLE | Interest::WRITABLE;
            let ready = server.ready(both).await.unwrap();
            assert!(ready.is_writable() && !ready.is_readable());
            client.shutdown(Shutdown::Write).unwrap();
            server.readable().await.unwrap();
            let ready = server.ready(both).await.unwrap();
            assert!(ready.is_writable() && ready.is_readable());
            assert!(!ready.is_write_closed());
            let error = server.ready(Interest::EMPTY).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn async_io_waits_like_the_methods_of_the_stream() {
    use reveille::io::Interest;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let both = Interest::READABLE | Interest::WRITABLE;
            let mut buf = [0; 8];
            let refused: io::Result<()> = server.try_io(both, || Err(ErrorKind::WouldBlock.into()));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::WouldBlock);
            let calls = std::cell::Cell::new(0);
            let mut read = pin!(server.async_io(Interest::READABLE, || {
                calls.set(calls.get() + 1);
                server.try_read(&mut buf)
            }));
            assert!(poll_once(&mut read).await.is_pending());
            client.write_all(b"data").await.unwrap();
            assert_eq!(read.await.unwrap(), 4);
            assert_eq!(calls.get(), 1);
        });
    });
}

#[test]
fn write_half_shuts_down_on_drop_unless_forgotten() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let (read, write) = client.into_split();
            write.write_all(b"bye").await.unwrap();
            drop(write);
            let mut buf = [0; 8];
            assert_eq!(server.read(&mut buf).await.unwrap(), 3);
            assert_eq!(server.read(&mut buf).await.unwrap(), 0);
            server.write_all(b"still").await.unwrap();
            assert_eq!(read.read(&mut buf).await.unwrap(), 5);

            let (client, server) = pair().await;
            let (read, write) = client.into_split();
            write.forget();
            let mut eof = pin!(server.read(&mut buf));
            assert!(poll_once(&mut eof).await.is_pending());
            drop(read);
            assert_eq!(eof.await.unwrap(), 0);
        });
    });
}

#[test]
fn reunite_refuses_halves_of_other_streams() {
    reveille::block_on(async {
        let (client, server) = pair().await;
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        let error = client_read.reunite(server_write).unwrap_err();
        assert!(error.to_string().contains("different streams"));
        let (client_read, server_write) = (error.0, error.1);
        let client = client_write.reunite(client_read).unwrap();
        let server = server_read.reunite(server_write).unwrap();
        // Neither side was shut down.
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read(&mut [0; 4]).await.unwrap(), 1);
    });
}

#[test]
fn accept_in_two_tasks_serves_both_and_takes_nothing_if_dropped() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let addr = listener.local_addr().unwrap();
            let error = listener.try_accept().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            {
                let mut dropped = pin!(listener.accept());
                assert!(poll_once(&mut dropped).await.is_pending());
            }
            let acceptors: Vec<_> = (0..2)
                .map(|_| {
                    let listener = listener.clone();
                    spawn(async move { poll_fn(|cx| listener.poll_accept(cx)).await.unwrap().1 })
                })
                .collect();
            yield_now().await;
            let mut expected = Vec::new();
            let mut clients = Vec::new();
            for _ in 0..2 {
                let client = TcpStream::connect(addr).await.unwrap();
                expected.push(client.local_addr().unwrap());
                clients.push(client);
            }
            let mut seen = Vec::new();
            for acceptor in acceptors {
                seen.push(acceptor.await.unwrap());
            }
            seen.sort();
            expected.sort();
            assert_eq!(seen, expected);
        });
    });
}

#[test]
fn accept_skips_a_connection_that_ended_before() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let client = TcpStream::connect(addr).await.unwrap();
            client.set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            // Linux accepts the closed connection, other systems skip it.
            let late = TcpStream::connect(addr).await.unwrap();
            loop {
                let (_stream, peer) = listener.accept().await.unwrap();
                if peer == late.local_addr().unwrap() {
                    break;
                }
            }
        });
    });
}

#[test]
fn debug_shows_both_addresses() {
    reveille::block_on(async {
        let (client, _server) = pair().await;
        let text = format!("{client:?}");
        assert!(
            text.contains(&client.local_addr().unwrap().to_string()),
            "{text}"
        );
    });
}

// ---- the traits of futures-io ----

#[cfg(feature = "futures-io")]
mod futures_traits {
    use super::*;
    use futures_io::{AsyncRead, AsyncWrite};
    use std::pin::Pin;

    async fn ping(mut read: impl AsyncRead + Unpin, mut write: impl AsyncWrite + Unpin) {
        let (mut read, mut write) = (Pin::new(&mut read), Pin::new(&mut write));
        let n = poll_fn(|cx| write.as_mut().poll_write(cx, b"ping")).await;
        assert_eq!(n.unwrap(), 4);
        // More empty buffers in front than one call takes.
        let mut parts = vec![io::IoSlice::new(b""); 1024];
        parts.extend([io::IoSlice::new(b"po"), io::IoSlice::new(b"ng")]);
        let n = poll_fn(|cx| write.as_mut().poll_write_vectored(cx, &parts)).await;
        assert_eq!(n.unwrap(), 4);
        poll_fn(|cx| write.as_mut().poll_flush(cx)).await.unwrap();
        for _ in 0..2 {
            poll_fn(|cx| write.as_mut().poll_close(cx)).await.unwrap();
        }
        let mut all = Vec::new();
        let mut buf = [0; 5];
        loop {
            let n = poll_fn(|cx| read.as_mut().poll_read(cx, &mut buf)).await;
            match n.unwrap() {
                0 => break,
                n => all.extend_from_slice(&buf[..n]),
            }
        }
        assert_eq!(all, b"pingpong");
    }

    async fn echo(server: TcpStream) {
        let mut buf = [0; 64];
        loop {
            match server.read(&mut buf).await.unwrap() {
                0 => return,
                n => server.write_all(&buf[..n]).await.unwrap(),
            }
        }
    }

    #[test]
    fn futures_io_traits_work_for_streams_references_and_halves() {
        on_every_backend(|runtime| {
            runtime.block_on(async {
                let (client, server) = pair().await;
                spawn(echo(server));
                ping(&client, &client).await;

                let (client, server) = pair().await;
                spawn(echo(server));
                let (read, write) = client.into_split();
                ping(read, write).await;

                fn owned<T: AsyncRead + AsyncWrite>(_: &T) {}
                owned(&pair().await.0);
            });
        });
    }
}
