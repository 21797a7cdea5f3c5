//! The client of `hyper-util` with a pool of connections, over the file of the example `proxy` that
//! is made to be copied.

#[path = "../../../../examples/proxy/src/reveille_connector.rs"]
mod reveille_connector;
#[path = "../../../support/mod.rs"]
mod support;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::server::conn::auto;
use reveille::interop::{HyperExecutor, HyperTimer};
use reveille::net::TcpListener;
use reveille::task::JoinHandle;
use reveille::time::Duration;
use reveille_connector::Connector;
use socket2::{Domain, Socket, Type};
use std::convert::Infallible;
use std::net::SocketAddr;
use support::{Random, on_every_backend};

/// A server that sends bodies back. Its task never ends, and the receiver gets the task of each
/// connection.
async fn server() -> (SocketAddr, async_channel::Receiver<JoinHandle<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, connections) = async_channel::unbounded();
    reveille::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = reveille::spawn(async move {
                let echo = service_fn(|request: Request<Incoming>| async {
                    Ok::<_, Infallible>(Response::new(request.into_body()))
                });
                let server = auto::Builder::new(HyperExecutor::new());
                // The client may go away at any time.
                let _ = server.serve_connection(stream, echo).await;
            });
            let _ = sender.send(connection).await;
        }
    });
    (addr, connections)
}

fn builder() -> Builder {
    let mut builder = Client::builder(HyperExecutor::new());
    builder.timer(HyperTimer::new());
    builder.pool_timer(HyperTimer::new());
    builder
}

async fn exchange(client: &Client<Connector, Full<Bytes>>, addr: SocketAddr, seed: u64) {
    let body = Bytes::from(Random(seed + 1).bytes(1000 * seed as usize));
    let request = Request::post(format!("http://{addr}/"));
    let request = request.body(Full::new(body.clone())).unwrap();
    let response = client.request(request).await.unwrap();
    let got = response.into_body().collect().await.unwrap().to_bytes();
    assert!(got == body, "request {seed}");
}

async fn exchange_at_once(client: &Client<Connector, Full<Bytes>>, addr: SocketAddr, count: u64) {
    let requests: Vec<_> = (0..count)
        .map(|seed| {
            let client = client.clone();
            reveille::spawn(async move { exchange(&client, addr, seed).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
}

#[test]
fn pool_uses_connections_again() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, connections) = server().await;
            let client = builder().build(Connector);
            for seed in 0..100 {
                exchange(&client, addr, seed).await;
            }
            assert!(connections.len() < 50, "{} connections", connections.len());
        });
    });
}

#[test]
fn pool_serves_many_requests_at_once() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, connections) = server().await;
            let client = builder().build(Connector);
            exchange_at_once(&client, addr, 50).await;
            assert!(connections.len() > 1);
        });
    });
}

#[test]
fn pool_uses_one_connection_of_http2_for_all() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, connections) = server().await;
            let client = builder().http2_only(true).build(Connector);
            exchange_at_once(&client, addr, 100).await;
            assert_eq!(connections.len(), 1);
        });
    });
}

#[test]
fn pool_closes_an_idle_connection_in_time() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, connections) = server().await;
            let client = builder()
                .pool_idle_timeout(Duration::from_millis(10))
                .build(Connector);
            exchange(&client, addr, 1).await;
            // The client still lives, so only its timer ends the connection.
            connections.recv().await.unwrap().await.unwrap();
            drop(client);
        });
    });
}

#[test]
fn pool_reports_that_it_cannot_connect() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let client = builder().build::<_, Full<Bytes>>(Connector);
            // It holds a port, and nothing listens there.
            let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            holder.bind(&any.into()).unwrap();
            let addr = holder.local_addr().unwrap().as_socket().unwrap();
            for uri in [format!("http://{addr}/"), format!("https://{addr}/")] {
                let error = client.get(uri.parse().unwrap()).await.unwrap_err();
                assert!(error.is_connect(), "{error:?}");
            }
        });
    });
}
