//! Options of TCP sockets, set and read back: on both ends of a connection, and on a socket before
//! it connects or listens.

mod support;

use reveille::net::{Keepalive, TcpSocket, TcpStream};
use std::io::ErrorKind;
use std::time::Duration;
use support::{on_every_backend, pair};

/// The size of a buffer, of which Linux doubles the number.
const SIZE: u32 = 20_000;

/// Sets and reads back what a `TcpStream` and a `TcpSocket` both have.
macro_rules! check_common_options {
    ($socket:expr) => {
        let socket = $socket;
        for on in [true, false, true] {
            socket.set_nodelay(on).unwrap();
            assert_eq!(socket.nodelay().unwrap(), on);
        }
        socket.set_ttl(9).unwrap();
        assert_eq!(socket.ttl().unwrap(), 9);
        socket.set_tos_v4(0x28).unwrap();
        assert_eq!(socket.tos_v4().unwrap(), 0x28);

        socket.set_recv_buffer_size(SIZE).unwrap();
        socket.set_send_buffer_size(SIZE + 2000).unwrap();
        let sizes = [socket.recv_buffer_size(), socket.send_buffer_size()].map(Result::unwrap);
        assert!(sizes[0] >= SIZE && sizes[1] >= SIZE + 2000, "{sizes:?}");
        if cfg!(target_os = "linux") {
            assert_eq!(sizes, [SIZE, SIZE + 2000].map(|size| 2 * size));
        }

        // Rounded up to seconds. The end of the test must not wait for it.
        assert_eq!(socket.linger().unwrap(), None);
        for (set, read) in [(1500, 2000), (3000, 3000), (0, 0)] {
            let set = Some(Duration::from_millis(set));
            socket.set_linger(set).unwrap();
            let read = Some(Duration::from_millis(read));
            assert_eq!(socket.linger().unwrap(), read);
        }
        socket.set_linger(None).unwrap();
        assert_eq!(socket.linger().unwrap(), None);

        #[cfg(target_os = "linux")]
        {
            // Rounded up to milliseconds.
            assert_eq!(socket.user_timeout().unwrap(), None);
            let limit = |micros| Some(Duration::from_micros(micros));
            socket.set_user_timeout(limit(20_000_001)).unwrap();
            assert_eq!(socket.user_timeout().unwrap(), limit(20_001_000));
            socket.set_user_timeout(None).unwrap();
            assert_eq!(socket.user_timeout().unwrap(), None);
        }
    };
}

/// As above, for the checks of an idle connection.
macro_rules! check_keepalive {
    ($socket:expr) => {
        let socket = $socket;
        assert_eq!(socket.keepalive().unwrap(), None);
        let all = Keepalive {
            idle: Some(Duration::from_secs(70)),
            interval: Some(Duration::from_secs(30)),
            count: Some(4),
        };
        socket.set_keepalive(Some(all)).unwrap();
        assert_eq!(socket.keepalive().unwrap(), Some(all));
        // A time that is not given stays as it is. One that is given is rounded up to seconds.
        let idle = Keepalive {
            idle: Some(Duration::from_millis(79_001)),
            ..Keepalive::default()
        };
        socket.set_keepalive(Some(idle)).unwrap();
        let expected = Keepalive {
            idle: Some(Duration::from_secs(80)),
            ..all
        };
        assert_eq!(socket.keepalive().unwrap(), Some(expected));
        socket.set_keepalive(None).unwrap();
        assert_eq!(socket.keepalive().unwrap(), None);
        // The times outlast that.
        socket.set_keepalive(Some(Keepalive::default())).unwrap();
        assert_eq!(socket.keepalive().unwrap(), Some(expected));
    };
}

async fn exchange(client: &TcpStream, server: &TcpStream) {
    for (from, to) in [(client, server), (server, client)] {
        from.write_all(b"works").await.unwrap();
        let mut buf = [0; 5];
        to.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"works");
    }
}

#[test]
fn options_of_connected_and_accepted_streams_are_read_back() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            for stream in [&client, &server] {
                check_common_options!(stream);
                check_keepalive!(stream);
                #[cfg(target_os = "linux")]
                for on in [true, false, true] {
                    stream.set_quickack(on).unwrap();
                    assert_eq!(stream.quickack().unwrap(), on);
                }
            }
            exchange(&client, &server).await;
        });
    });
}

#[test]
fn options_of_sockets_are_read_back_and_go_on_in_their_streams() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let [one, two] = [(); 2].map(|()| TcpSocket::new_v4().unwrap());
            for socket in [&one, &two] {
                check_common_options!(socket);
                check_keepalive!(socket);
            }
            one.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = one.listen(8).unwrap();
            let client = two.connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            exchange(&client, &server).await;
            assert_eq!((client.ttl().unwrap(), client.tos_v4().unwrap()), (9, 0x28));
            assert!(client.nodelay().unwrap());
            assert!(client.recv_buffer_size().unwrap() >= SIZE);
            assert!(client.send_buffer_size().unwrap() >= SIZE + 2000);
            let mut streams = vec![client];
            if cfg!(target_os = "linux") {
                streams.push(server);
            }
            for stream in streams {
                let times = stream.keepalive().unwrap().unwrap();
                assert_eq!(times.idle, Some(Duration::from_secs(80)));
                assert_eq!(times.count, Some(4));
            }
        });
    });
}

#[test]
fn zero_linger_resets_the_connection_from_either_end() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for swap in [false, true] {
                let (mut near, mut far) = pair().await;
                if swap {
                    std::mem::swap(&mut near, &mut far);
                }
                near.set_zero_linger().unwrap();
                assert_eq!(near.linger().unwrap(), Some(Duration::ZERO));
                drop(near);
                let error = far.read(&mut [0; 4]).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            }
        });
    });
}
