use super::support::{Refusing, arrived, on_every_backend};
use super::{bound, pair};
use reveille::net::{RecvBatch, UdpSocket};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// A socket with a pending `ConnectionRefused`: its peer refused a datagram.
async fn refused(dead: SocketAddr) -> UdpSocket {
    let (socket, _) = bound().await;
    socket.connect(dead).await.unwrap();
    socket.send(b"to nobody").await.unwrap();
    // An error counts as readiness.
    arrived(&socket);
    socket
}

fn is_refused<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

fn would_block<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn refused_datagram_is_reported_once_by_whatever_comes_first() {
    on_every_backend(|runtime| {
        let dead = Refusing::udp();
        runtime.block_on(async {
            let mut buf = [0; 8];
            let mut batch = RecvBatch::new(4, 8);

            let socket = refused(dead.addr).await;
            is_refused(socket.recv(&mut buf).await);
            would_block(socket.try_recv(&mut buf));
            assert!(socket.take_error().unwrap().is_none());

            let socket = refused(dead.addr).await;
            is_refused(socket.recv_from(&mut buf).await);
            would_block(socket.try_recv(&mut buf));

            let socket = refused(dead.addr).await;
            is_refused(socket.peek(&mut buf).await);
            would_block(socket.try_recv(&mut buf));

            let socket = refused(dead.addr).await;
            is_refused(socket.recv_many(&mut batch).await);
            would_block(socket.try_recv_many(&mut batch));

            let socket = refused(dead.addr).await;
            is_refused(socket.try_recv_buf(&mut Vec::new()));
            would_block(socket.try_recv(&mut buf));

            let socket = refused(dead.addr).await;
            is_refused(socket.send(b"again").await);
            socket.send(b"and again").await.unwrap();

            let socket = refused(dead.addr).await;
            is_refused(socket.send_many([&b"again"[..]]).await);
            socket.send(b"and again").await.unwrap();

            let socket = refused(dead.addr).await;
            is_refused(
                socket
                    .take_error()
                    .map(|error| Err::<(), _>(error.unwrap()))
                    .unwrap(),
            );
            would_block(socket.try_recv(&mut buf));
        });
    });
}

/// Readiness for an error, then the error, then waits that datagrams end.
#[test]
fn socket_works_after_a_refused_datagram() {
    on_every_backend(|runtime| {
        let dead = Refusing::udp();
        runtime.block_on(async {
            let socket = refused(dead.addr).await;
            socket.readable().await.unwrap();
            is_refused(socket.try_recv(&mut [0; 8]));
            let (peer, peer_addr) = bound().await;
            socket.connect(peer_addr).await.unwrap();
            let addr = socket.local_addr().unwrap();
            let socket = std::rc::Rc::new(socket);
            for _ in 0..3 {
                let waiting = socket.clone();
                let receive = reveille::spawn(async move { waiting.recv(&mut [0; 8]).await });
                reveille::yield_now().await;
                peer.send_to(b"news", addr).await.unwrap();
                assert_eq!(receive.await.unwrap().unwrap(), 4);
                socket.send(b"answer").await.unwrap();
                assert_eq!(peer.recv(&mut [0; 8]).await.unwrap(), 6);
            }
        });
    });
}

#[test]
fn refused_datagram_ends_a_wait() {
    on_every_backend(|runtime| {
        let dead = Refusing::udp();
        runtime.block_on(async {
            let (socket, _) = bound().await;
            socket.connect(dead.addr).await.unwrap();
            let socket = std::rc::Rc::new(socket);
            for _ in 0..3 {
                let waiting = socket.clone();
                let receive = reveille::spawn(async move { waiting.recv(&mut [0; 8]).await });
                reveille::yield_now().await;
                socket.send(b"to nobody").await.unwrap();
                is_refused(receive.await.unwrap());
            }
        });
    });
}

#[test]
fn socket_that_is_not_connected_reports_no_refused_datagram() {
    on_every_backend(|runtime| {
        let dead = Refusing::udp();
        runtime.block_on(async {
            let ((here, addr), (there, there_addr)) = (bound().await, bound().await);
            for _ in 0..3 {
                here.send_to(b"to nobody", dead.addr).await.unwrap();
            }
            there.send_to(b"hello", addr).await.unwrap();
            let mut buf = [0; 8];
            assert_eq!(here.recv_from(&mut buf).await.unwrap(), (5, there_addr));
            assert!(here.take_error().unwrap().is_none());
        });
    });
}

#[test]
fn peer_that_turns_away_refuses_datagrams() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            there.send(b"last words").await.unwrap();
            // Its own peer from now on. The number of a socket that is closed might be given to
            // that of another test, which refuses nothing.
            there.connect(there.local_addr().unwrap()).await.unwrap();
            let mut buf = [0; 16];
            assert_eq!(here.recv(&mut buf).await.unwrap(), 10);
            here.send(b"hello?").await.unwrap();
            is_refused(here.recv(&mut buf).await);
        });
    });
}

#[test]
fn datagram_that_is_too_long_is_an_error() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            // An IPv4 packet has at most 65,535 bytes, and 28 of them are headers.
            let data = vec![7; 65_508];
            let error = here.send(&data).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            let addr = there.local_addr().unwrap();
            let (other, _) = bound().await;
            let error = other.send_to(&data, addr).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            assert_eq!(here.send(&data[1..]).await.unwrap(), 65_507);
            let mut buf = Vec::new();
            assert_eq!(there.recv_buf(&mut buf).await.unwrap(), 65_507);
            assert_eq!(buf, data[1..]);
        });
    });
}

/// A datagram that grows in parts (`UDP_CORK`) beyond the send buffer.
#[cfg(target_os = "linux")]
#[test]
fn lack_of_buffers_is_returned() {
    use std::os::fd::AsRawFd;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            here.set_send_buffer_size(1).unwrap();
            let on: libc::c_int = 1;
            let len = size_of_val(&on) as libc::socklen_t;
            // SAFETY: the pointer and the length are those of `on`.
            let set = unsafe {
                let (fd, on) = (here.as_raw_fd(), (&raw const on).cast());
                libc::setsockopt(fd, libc::IPPROTO_UDP, libc::UDP_CORK, on, len)
            };
            assert_eq!(set, 0);
            let part = vec![7; 4_000];
            let error = loop {
                if let Err(error) = here.send(&part).await {
                    break error;
                }
            };
            let expected = [libc::ENOBUFS, libc::EMSGSIZE];
            assert!(expected.contains(&error.raw_os_error().unwrap()), "{error}");
            drop(there);
        });
    });
}

#[test]
fn failed_calls_return_the_errors_of_the_kernel() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (socket, addr) = bound().await;
            let error = socket.send(b"x").await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EDESTADDRREQ));
            let error = UdpSocket::bind(addr).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            // The next address of the list is tried.
            let any = "127.0.0.1:0".parse().unwrap();
            let second = UdpSocket::bind(&[addr, any][..]).await.unwrap();
            assert_ne!(second.local_addr().unwrap(), addr);
            for error in [
                UdpSocket::bind(&[][..]).await.map(drop),
                socket.connect(&[][..]).await,
                socket.send_to(b"x", &[][..]).await.map(drop),
                socket.send_to(b"x", "no port").await.map(drop),
            ] {
                assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
            }
            // Without SO_BROADCAST.
            let error = socket.send_to(b"x", "255.255.255.255:9").await.unwrap_err();
            println!("broadcast: {error}");
        });
    });
}
