use super::support::{arrived, on_every_backend};
use super::{bound, pair};
use reveille::io::Interest;
use reveille::net::UdpSocket;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The loopback addresses that this host has.
async fn loopbacks() -> Vec<SocketAddr> {
    let both = ["127.0.0.1:0", "[::1]:0"].map(|addr| addr.parse().unwrap());
    let mut found = Vec::new();
    for addr in both {
        match UdpSocket::bind(addr).await {
            Ok(_) => found.push(addr),
            Err(error) => println!("skipped {addr}: {error}"),
        }
    }
    found
}

#[test]
fn datagrams_are_echoed_on_both_families() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for any in loopbacks().await {
                let server = UdpSocket::bind(any).await.unwrap();
                let addr = server.local_addr().unwrap();
                let echo = reveille::spawn(async move {
                    let mut buf = [0; 64];
                    for _ in 0..3 {
                        let (n, peer) = server.recv_from(&mut buf).await?;
                        assert_eq!(server.send_to(&buf[..n], peer).await?, n);
                    }
                    std::io::Result::Ok(())
                });
                let client = UdpSocket::bind(any).await.unwrap();
                let mut buf = [0; 64];
                assert_eq!(client.send_to(b"one", addr).await.unwrap(), 3);
                assert_eq!(client.recv_from(&mut buf).await.unwrap(), (3, addr));
                assert_eq!(client.send_to(b"two two", &[addr][..]).await.unwrap(), 7);
                assert_eq!(client.recv(&mut buf).await.unwrap(), 7);
                assert_eq!(&buf[..7], b"two two");
                client.connect(addr).await.unwrap();
                assert_eq!(client.peer_addr().unwrap(), addr);
                assert_eq!(client.send(b"three").await.unwrap(), 5);
                assert_eq!(client.recv(&mut buf).await.unwrap(), 5);
                assert_eq!(&buf[..5], b"three");
                echo.await.unwrap().unwrap();
            }
        });
    });
}

/// The data is there before the first receive is polled.
#[test]
fn datagram_that_came_before_the_first_receive_is_received() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (socket, addr) = bound().await;
            socket.try_send_to(b"hello", addr).unwrap();
            arrived(&socket);
            let mut buf = [0; 8];
            assert_eq!(socket.recv_from(&mut buf).await.unwrap(), (5, addr));
        });
    });
}

#[test]
fn empty_datagram_is_not_an_end() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            for data in [&b""[..], b"", b"data", b""] {
                assert_eq!(here.send(data).await.unwrap(), data.len());
                assert_eq!(there.recv(&mut [0; 8]).await.unwrap(), data.len());
            }
            here.send(b"").await.unwrap();
            here.send(b"").await.unwrap();
            let (mut buf, addr) = (b"old".to_vec(), here.local_addr().unwrap());
            assert_eq!(there.recv_buf_from(&mut buf).await.unwrap(), (0, addr));
            assert_eq!(there.recv_buf(&mut buf).await.unwrap(), 0);
            assert_eq!(buf, b"old");
        });
    });
}

#[test]
fn buffer_that_is_too_short_loses_the_rest() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            for data in [&b"too long"[..], b"lost", b"next"] {
                here.send(data).await.unwrap();
            }
            let mut buf = [0; 3];
            assert_eq!(there.recv(&mut buf).await.unwrap(), 3);
            assert_eq!(&buf, b"too");
            assert_eq!(there.recv(&mut []).await.unwrap(), 0);
            let mut buf = [0; 8];
            assert_eq!(there.recv(&mut buf).await.unwrap(), 4);
            assert_eq!(&buf[..4], b"next");
        });
    });
}

#[test]
fn recv_buf_appends_to_the_spare_capacity() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let long = vec![7; 60_000];
            for data in [&b"abc"[..], b"defgh", &long] {
                here.send(data).await.unwrap();
            }
            let mut buf = Vec::with_capacity(6);
            assert_eq!(there.recv_buf(&mut buf).await.unwrap(), 3);
            let room = buf.capacity() - buf.len();
            let addr = here.local_addr().unwrap();
            let (n, from) = there.recv_buf_from(&mut buf).await.unwrap();
            assert_eq!((n, from), (room.min(5), addr));
            assert_eq!(buf, b"abcdefgh"[..3 + n]);
            // Without any room, the whole datagram is received.
            buf.shrink_to_fit();
            let before = buf.len();
            if buf.capacity() == before {
                assert_eq!(there.recv_buf(&mut buf).await.unwrap(), long.len());
                assert_eq!(buf[before..], long);
            }
            let nothing = there.try_recv_buf(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
            let nothing = there.try_recv_buf_from(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        });
    });
}

#[test]
fn uninitialized_buffers_are_filled_from_the_begin() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            here.send(b"one").await.unwrap();
            here.send(b"four").await.unwrap();
            let mut buf = [MaybeUninit::new(1); 4];
            let n = poll_fn(|cx| there.poll_recv_uninit(cx, &mut buf)).await;
            assert_eq!(n.unwrap(), 3);
            // SAFETY: all of it was initialized.
            assert_eq!(buf.map(|byte| unsafe { byte.assume_init() }), *b"one\x01");
            let from = poll_fn(|cx| there.poll_recv_from_uninit(cx, &mut buf)).await;
            assert_eq!(from.unwrap(), (4, here.local_addr().unwrap()));
            // SAFETY: as above.
            assert_eq!(buf.map(|byte| unsafe { byte.assume_init() }), *b"four");
        });
    });
}

#[test]
fn peek_leaves_the_datagram() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let addr = here.local_addr().unwrap();
            let nothing = there.try_peek(&mut [0; 8]).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
            here.send(b"one").await.unwrap();
            let mut buf = [0; 8];
            for _ in 0..2 {
                assert_eq!(there.peek(&mut buf).await.unwrap(), 3);
                assert_eq!(there.peek_from(&mut buf[..2]).await.unwrap(), (2, addr));
                assert_eq!(there.peek_sender().await.unwrap(), addr);
                assert_eq!(there.try_peek(&mut buf).unwrap(), 3);
                assert_eq!(there.try_peek_from(&mut buf).unwrap(), (3, addr));
                assert_eq!(there.try_peek_sender().unwrap(), addr);
            }
            assert_eq!(there.try_recv(&mut buf).unwrap(), 3);
            assert!(there.try_recv(&mut buf).is_err());
        });
    });
}

#[test]
fn connected_socket_receives_from_its_peer_only() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, addr) = bound().await;
            let ((peer, peer_addr), (stranger, stranger_addr)) = (bound().await, bound().await);
            let error = here.peer_addr().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            here.connect(peer_addr).await.unwrap();
            stranger.send_to(b"stranger", addr).await.unwrap();
            peer.send_to(b"peer", addr).await.unwrap();
            let mut buf = [0; 16];
            assert_eq!(here.recv_from(&mut buf).await.unwrap(), (4, peer_addr));
            here.connect(stranger_addr).await.unwrap();
            assert_eq!(here.peer_addr().unwrap(), stranger_addr);
            stranger.send_to(b"now", addr).await.unwrap();
            assert_eq!(here.recv_from(&mut buf).await.unwrap(), (3, stranger_addr));
        });
    });
}

#[test]
fn sockets_are_converted_from_and_to_std() {
    on_every_backend(|runtime| {
        let blocking = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let outside = blocking.try_clone().unwrap();
        runtime.block_on(async {
            let error = UdpSocket::from_std(blocking).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
        outside.set_nonblocking(true).unwrap();
        let again = outside.try_clone().unwrap();
        let error = UdpSocket::from_std(outside).unwrap_err();
        assert!(error.to_string().contains("no reveille runtime"), "{error}");
        let addr = again.local_addr().unwrap();
        let again = runtime.block_on(async {
            let socket = UdpSocket::from_std(again).unwrap();
            let text = format!("{socket:?}");
            assert!(text.contains(&addr.to_string()), "{text}");
            socket.send_to(b"hello", addr).await.unwrap();
            assert_eq!(socket.recv(&mut [0; 8]).await.unwrap(), 5);
            socket.into_std().unwrap()
        });
        assert_eq!(again.local_addr().unwrap(), addr);
        // It is no longer registered, and can be registered with the same runtime again.
        runtime.block_on(async { UdpSocket::from_std(again).map(drop).unwrap() });
    });
}

#[test]
fn readiness_is_confirmed() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            there.writable().await.unwrap();
            for _ in 0..3 {
                here.send(b"x").await.unwrap();
                there.readable().await.unwrap();
                assert_eq!(there.try_recv(&mut [0; 8]).unwrap(), 1);
                let either = Interest::READABLE | Interest::WRITABLE;
                let ready = there.ready(either).await.unwrap();
                assert!(ready.is_writable() && !ready.is_readable(), "{ready:?}");
            }
        });
    });
}

#[test]
fn options_read_back_what_was_set() {
    reveille::block_on(async {
        let (socket, _) = bound().await;
        socket.set_broadcast(true).unwrap();
        assert!(socket.broadcast().unwrap());
        socket.set_ttl(42).unwrap();
        assert_eq!(socket.ttl().unwrap(), 42);
        assert!(socket.set_ttl(u32::MAX).is_err());
        socket.set_tos_v4(0x28).unwrap();
        assert_eq!(socket.tos_v4().unwrap(), 0x28);
        socket.set_multicast_ttl_v4(7).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 7);
        socket.set_multicast_loop_v4(false).unwrap();
        assert!(!socket.multicast_loop_v4().unwrap());
        socket.set_multicast_if_v4(Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!(socket.multicast_if_v4().unwrap(), Ipv4Addr::LOCALHOST);
        for size in [4_000, 64_000] {
            socket.set_recv_buffer_size(size).unwrap();
            socket.set_send_buffer_size(size).unwrap();
            let sizes = [socket.recv_buffer_size(), socket.send_buffer_size()];
            for found in sizes.map(Result::unwrap) {
                assert!((size..=4 * size).contains(&found), "{found} for {size}");
            }
        }
        assert!(socket.only_v6().is_err());
        assert!(socket.take_error().unwrap().is_none());
        let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await else {
            return println!("skipped: no IPv6");
        };
        socket.only_v6().unwrap();
        socket.set_tclass_v6(0x28).unwrap();
        assert_eq!(socket.tclass_v6().unwrap(), 0x28);
        socket.set_multicast_loop_v6(false).unwrap();
        assert!(!socket.multicast_loop_v6().unwrap());
        socket.set_multicast_if_v6(0).unwrap();
        assert_eq!(socket.multicast_if_v6().unwrap(), 0);
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x123);
        match socket.join_multicast_v6(&group, 0) {
            Ok(()) => socket.leave_multicast_v6(&group, 0).unwrap(),
            Err(error) => println!("skipped: {error}"),
        }
    });
}

/// Over the loopback interface, so nothing leaves the host.
#[test]
fn multicast_reaches_every_member_of_the_group() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let one = UdpSocket::bind("0.0.0.0:0").await.unwrap();
            let addr = one.local_addr().unwrap();
            // A group of this test alone: Linux delivers to every socket of the port, if any socket
            // of the host has joined.
            let [high, low] = addr.port().to_be_bytes();
            let group = Ipv4Addr::new(239, 255, high, low);
            let (sender, _) = bound().await;
            one.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
            sender.set_multicast_if_v4(Ipv4Addr::LOCALHOST).unwrap();
            sender.send_to(b"all", (group, addr.port())).await.unwrap();
            let mut buf = [0; 8];
            let from = sender.local_addr().unwrap();
            assert_eq!(one.recv_from(&mut buf).await.unwrap(), (3, from));
            one.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
            let error = one.leave_multicast_v4(group, Ipv4Addr::LOCALHOST);
            assert_eq!(error.unwrap_err().kind(), ErrorKind::AddrNotAvailable);
            sender.send_to(b"none", (group, addr.port())).await.unwrap();
            sender
                .send_to(b"it", (Ipv4Addr::LOCALHOST, addr.port()))
                .await
                .unwrap();
            assert_eq!(one.recv_from(&mut buf).await.unwrap(), (2, from));
        });
    });
}
