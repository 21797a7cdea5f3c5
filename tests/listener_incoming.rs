//! `Listener::incoming` and `into_incoming`, for TCP and Unix listeners.

mod support;

use futures_core::Stream;
use reveille::net::kind::Duplex;
use reveille::net::{ByteStream, Listener, TcpListener, UnixListener};
use reveille::spawn;
use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::{Pin, pin};
use support::{Directory, on_every_backend, poll_once};

/// The next connection.
async fn next<K: Duplex>(
    stream: &mut (impl Stream<Item = io::Result<ByteStream<K>>> + Unpin),
) -> ByteStream<K> {
    let accepted = poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await;
    accepted.expect("it never ends").unwrap()
}

/// Sends a byte and ends the connection.
async fn answer<K: Duplex>(stream: ByteStream<K>) {
    stream.write_all(b"x").await.unwrap();
}

fn is_answered(mut client: impl Read) {
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

async fn incoming<K: Duplex, C: Read>(listener: Listener<K>, connect: impl Fn() -> C) {
    {
        let mut dropped = listener.incoming();
        let mut waits = pin!(next(&mut dropped));
        assert!(poll_once(&mut waits).await.is_pending());
    }
    let mut incoming = listener.incoming();
    let client = {
        let mut waits = pin!(next(&mut incoming));
        assert!(poll_once(&mut waits).await.is_pending());
        let client = connect();
        answer(waits.await).await;
        client
    };
    is_answered(client);
    // One stream of them returns all, and leaves what it has not returned.
    let clients = [connect(), connect(), connect()];
    answer(next(&mut incoming).await).await;
    answer(next(&mut incoming).await).await;
    drop(incoming);
    answer(listener.accept().await.unwrap().0).await;
    clients.into_iter().for_each(is_answered);
}

async fn into_incoming<K: Duplex, C: Read>(listener: Listener<K>, connect: impl Fn() -> C) {
    let mut incoming = listener.into_incoming();
    assert!(incoming.listener().try_accept().is_err());
    let served = spawn(async move {
        for _ in 0..3 {
            answer(next(&mut incoming).await).await;
        }
        incoming
    });
    let clients: Vec<C> = (0..4).map(|_| connect()).collect();
    let listener = served.await.unwrap().into_listener();
    // The fourth was not lost.
    answer(listener.accept().await.unwrap().0).await;
    clients.into_iter().for_each(is_answered);

    let mut incoming = listener.into_incoming();
    let client = connect();
    answer(next(&mut incoming).await).await;
    is_answered(client);
}

#[test]
fn incoming_returns_the_connections_of_a_tcp_listener() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for owned in [false, true] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let addr = listener.local_addr().unwrap();
                let connect = || std::net::TcpStream::connect(addr).unwrap();
                if owned {
                    into_incoming(listener, connect).await;
                } else {
                    incoming(listener, connect).await;
                }
            }
        });
    });
}

#[test]
fn incoming_returns_the_connections_of_a_unix_listener() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for owned in [false, true] {
                let directory = Directory::new();
                let path = directory.socket();
                let listener = UnixListener::bind(&path).unwrap();
                let connect = || std::os::unix::net::UnixStream::connect(&path).unwrap();
                if owned {
                    into_incoming(listener, connect).await;
                } else {
                    incoming(listener, connect).await;
                }
            }
        });
    });
}
