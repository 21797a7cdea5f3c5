//! `UnixSocket`: bound before it connects, listens or sends datagrams.

use super::Directory;
use super::support::on_every_backend;
use reveille::net::UnixSocket;
use std::io::ErrorKind;

#[test]
fn socket_connects_from_its_own_address_and_listens_with_its_own_queue() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let folder = Directory::new();
            let socket = UnixSocket::new_stream().unwrap();
            socket.bind(folder.path().join("server")).unwrap();
            let listener = socket.listen(1).unwrap();
            let socket = UnixSocket::new_stream().unwrap();
            assert!(socket.local_addr().unwrap().is_unnamed());
            socket.bind(folder.path().join("client")).unwrap();
            socket.set_send_buffer_size(50_000).unwrap();
            let client = socket.connect(folder.path().join("server")).await.unwrap();
            let (server, addr) = listener.accept().await.unwrap();
            assert_eq!(
                addr.as_pathname(),
                Some(folder.path().join("client").as_path())
            );
            client.write_all(b"hello").await.unwrap();
            server.read_exact(&mut [0; 5]).await.unwrap();
        });
    });
}

#[test]
fn socket_of_the_other_kind_is_refused() {
    reveille::block_on(async {
        let folder = Directory::new();
        let kinds = |error: std::io::Error| (error.kind(), error.to_string());
        let datagram = || UnixSocket::new_datagram().unwrap();
        for (kind, text) in [
            kinds(datagram().listen(1).unwrap_err()),
            kinds(
                datagram()
                    .connect(folder.path().join("x"))
                    .await
                    .unwrap_err(),
            ),
            kinds(UnixSocket::new_stream().unwrap().datagram().unwrap_err()),
        ] {
            assert_eq!(kind, ErrorKind::InvalidInput);
            assert!(text.contains("UnixSocket::new_"), "{text}");
        }
    });
}

#[test]
fn bound_datagram_socket_receives() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let folder = Directory::new();
            let socket = UnixSocket::new_datagram().unwrap();
            socket.bind(folder.path().join("here")).unwrap();
            let here = socket.datagram().unwrap();
            let there = UnixSocket::new_datagram().unwrap().datagram().unwrap();
            there
                .send_to(b"hi", folder.path().join("here"))
                .await
                .unwrap();
            let mut buf = [0; 8];
            assert_eq!(here.recv(&mut buf).await.unwrap(), 2);
        });
    });
}
