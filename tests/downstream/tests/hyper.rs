//! hyper's servers and clients on streams: HTTP/1 and HTTP/2.

#[path = "../../support/mod.rs"]
mod support;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use reveille::interop::{HyperExecutor, HyperTimer};
use reveille::net::TcpStream;
use reveille::time::{Duration, now};
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use support::{Random, on_every_backend, pair};

/// The paths of all requests. Shared by an `Rc`, so the service is not `Send`.
type Paths = Rc<RefCell<Vec<String>>>;

/// Sends the body back.
async fn echo(request: Request<Incoming>, paths: Paths) -> Result<Response<Incoming>, Infallible> {
    reveille::yield_now().await;
    paths.borrow_mut().push(request.uri().path().to_owned());
    Ok(Response::new(request.into_body()))
}

fn post(path: &str, body: &[u8]) -> Request<Full<Bytes>> {
    let body = Full::new(Bytes::copy_from_slice(body));
    Request::post(path).body(body).unwrap()
}

async fn body_of(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn serve_http1(stream: impl Read + Write + Unpin, paths: Paths) -> hyper::Result<()> {
    let service = service_fn(move |request| echo(request, paths.clone()));
    server::conn::http1::Builder::new()
        .timer(HyperTimer::new())
        .serve_connection(stream, service)
        .await
}

async fn serve_http2(stream: TcpStream, paths: Paths) -> hyper::Result<()> {
    let service = service_fn(move |request| echo(request, paths.clone()));
    server::conn::http2::Builder::new(HyperExecutor::new())
        .timer(HyperTimer::new())
        .keep_alive_interval(Duration::from_secs(10))
        .serve_connection(stream, service)
        .await
}

/// Sends requests over one connection of HTTP/1, one after the other.
async fn request_by_http1(stream: impl Read + Write + Unpin + 'static) {
    let (mut sender, connection) = client::conn::http1::handshake(stream).await.unwrap();
    let connection = reveille::spawn(connection);
    for len in [0, 1, 1000, 100_000, 3_000_000] {
        let body = Random(len as u64 + 1).bytes(len);
        let response = sender.send_request(post(&format!("/{len}"), &body)).await;
        assert!(body_of(response.unwrap()).await == body, "{len}");
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}

#[test]
fn http1_echoes_bodies_of_all_sizes() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let paths = Paths::default();
            let server = reveille::spawn(serve_http1(server, paths.clone()));
            request_by_http1(client).await;
            server.await.unwrap().unwrap();
            assert_eq!(
                *paths.borrow(),
                ["/0", "/1", "/1000", "/100000", "/3000000"]
            );
        });
    });
}

#[test]
fn http1_runs_on_a_borrowed_stream() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let requests = reveille::spawn(request_by_http1(client));
            serve_http1(&server, Paths::default()).await.unwrap();
            requests.await.unwrap();
        });
    });
}

#[test]
fn http1_closes_a_connection_that_sends_no_request_in_time() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let begin = now();
            let patience = Duration::from_millis(20);
            client.write_all(b"GET / HT").await.unwrap();
            let service = service_fn(|request| echo(request, Paths::default()));
            let error = server::conn::http1::Builder::new()
                .timer(HyperTimer::new())
                .header_read_timeout(patience)
                .serve_connection(server, service)
                .await
                .unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            assert!(begin.elapsed() >= patience);
        });
    });
}

#[test]
fn http2_echoes_the_bodies_of_many_streams_at_once() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let paths = Paths::default();
            let server = reveille::spawn(serve_http2(server, paths.clone()));
            let executor = HyperExecutor::new();
            let handshake = client::conn::http2::Builder::new(executor)
                .timer(HyperTimer::new())
                .handshake(client);
            let (sender, connection) = handshake.await.unwrap();
            let connection = reveille::spawn(connection);
            let requests: Vec<_> = (0..100)
                .map(|number| {
                    let mut sender = sender.clone();
                    reveille::spawn(async move {
                        let body = Random(number + 1).bytes(1000 * number as usize);
                        let request = post(&format!("/{number}"), &body);
                        let response = sender.send_request(request).await.unwrap();
                        assert!(body_of(response).await == body, "{number}");
                    })
                })
                .collect();
            for request in requests {
                request.await.unwrap();
            }
            drop(sender);
            connection.await.unwrap().unwrap();
            server.await.unwrap().unwrap();
            assert_eq!(paths.borrow().len(), 100);
        });
    });
}
