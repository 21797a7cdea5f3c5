//! Large bodies of hyper that are not `Send`, and upgraded connections.

#[path = "../../support/mod.rs"]
mod support;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1 as http1_client, http2 as http2_client};
use hyper::header::{CONNECTION, UPGRADE};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use reveille::interop::{HyperExecutor, HyperIo, HyperTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use support::{on_every_backend, pair};

const PIECE: usize = 30_000;
const LEN: u64 = 8_000_000;

/// A body of `left` bytes that counts what it has given away in an `Rc`.
struct Pieces {
    left: u64,
    given: Rc<Cell<u64>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static DATA: [u8; PIECE] = [b'x'; PIECE];
        let piece = self.left.min(PIECE as u64);
        if piece == 0 {
            return Poll::Ready(None);
        }
        self.left -= piece;
        self.given.set(self.given.get() + piece);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            &DATA[..piece as usize],
        )))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn pieces(given: &Rc<Cell<u64>>) -> Pieces {
    let given = given.clone();
    Pieces { left: LEN, given }
}

/// The number of bytes of a body.
async fn count(mut body: Incoming) -> u64 {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.iter().all(|byte| *byte == b'x'));
        count += data.len() as u64;
    }
    count
}

/// Reads the whole body of the request, and answers by a body that is as long.
async fn swap(
    request: Request<Incoming>,
    given: Rc<Cell<u64>>,
) -> Result<Response<Pieces>, Infallible> {
    assert_eq!(count(request.into_body()).await, LEN);
    Ok(Response::new(pieces(&given)))
}

#[test]
fn http1_moves_large_bodies_that_are_not_send() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let (sent, answered) = (Rc::default(), Rc::<Cell<u64>>::default());
            let given = answered.clone();
            let service = service_fn(move |request| swap(request, given.clone()));
            let server = http1::Builder::new().serve_connection(server, service);
            let server = reveille::spawn(server);
            let (mut sender, connection) = http1_client::handshake(client).await.unwrap();
            let connection = reveille::spawn(connection);
            for _ in 0..2 {
                let request = Request::post("/").body(pieces(&sent)).unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(count(response.into_body()).await, LEN);
            }
            assert_eq!((sent.get(), answered.get()), (2 * LEN, 2 * LEN));
            drop(sender);
            connection.await.unwrap().unwrap();
            server.await.unwrap().unwrap();
        });
    });
}

#[test]
fn http2_moves_large_bodies_that_are_not_send() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let (sent, answered) = (Rc::default(), Rc::<Cell<u64>>::default());
            let given = answered.clone();
            let service = service_fn(move |request| swap(request, given.clone()));
            let mut builder = http2::Builder::new(HyperExecutor::new());
            builder.timer(HyperTimer::new());
            let server = reveille::spawn(builder.serve_connection(server, service));
            let handshake = http2_client::handshake(HyperExecutor::new(), client);
            let (sender, connection) = handshake.await.unwrap();
            let connection = reveille::spawn(connection);
            let requests: Vec<_> = (0..3)
                .map(|_| {
                    let (mut sender, body) = (sender.clone(), pieces(&sent));
                    reveille::spawn(async move {
                        let request = Request::post("/").body(body).unwrap();
                        let response = sender.send_request(request).await.unwrap();
                        assert_eq!(count(response.into_body()).await, LEN);
                    })
                })
                .collect();
            for request in requests {
                request.await.unwrap();
            }
            assert_eq!((sent.get(), answered.get()), (3 * LEN, 3 * LEN));
            drop(sender);
            connection.await.unwrap().unwrap();
            server.await.unwrap().unwrap();
        });
    });
}

/// Answers by an upgrade, and then sends everything back in upper case.
async fn upgrade(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    assert_eq!(request.headers()[UPGRADE], "shout");
    reveille::spawn(async move {
        let mut stream = HyperIo::new(hyper::upgrade::on(request).await.unwrap());
        let mut buf = [0; 1000];
        loop {
            let n = stream.read(&mut buf).await.unwrap();
            if n == 0 {
                return stream.close().await.unwrap();
            }
            buf[..n].make_ascii_uppercase();
            stream.write_all(&buf[..n]).await.unwrap();
        }
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "shout");
    Ok(response.body(Empty::new()).unwrap())
}

#[test]
fn http1_upgrades_a_connection_on_both_sides() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let server = http1::Builder::new().serve_connection(server, service_fn(upgrade));
            let server = reveille::spawn(server.with_upgrades());
            let (mut sender, connection) = http1_client::handshake(client).await.unwrap();
            let connection = reveille::spawn(connection.with_upgrades());
            let request = Request::get("/")
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, "shout")
                .body(Empty::<Bytes>::new())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
            let upgraded = hyper::upgrade::on(response).await.unwrap();
            let (mut read, mut write) = HyperIo::new(upgraded).split();
            let writer = reveille::spawn(async move {
                write.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
                write.close().await.unwrap();
            });
            let mut got = Vec::new();
            read.read_to_end(&mut got).await.unwrap();
            assert!(got == vec![b'X'; 1_000_000]);
            writer.await.unwrap();
            connection.await.unwrap().unwrap();
            server.await.unwrap().unwrap();
        });
    });
}
