//! A `Router` of axum, served by hyper-util's server for HTTP/1 and HTTP/2.

#[path = "../../support/mod.rs"]
mod support;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, client};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use reveille::interop::HyperExecutor;
use reveille::net::TcpStream;
use reveille::time::{Duration, sleep};
use support::{on_every_backend, pair};

fn router() -> Router {
    Router::new()
        .route("/hello/{name}", get(hello))
        .route("/", post(|body: String| async move { body.to_uppercase() }))
}

async fn hello(Path(name): Path<String>) -> String {
    // A handler must be `Send`, and the timers are.
    sleep(Duration::from_millis(1)).await;
    format!("hello, {name}")
}

async fn serve(stream: TcpStream) {
    let service = TowerToHyperService::new(router());
    let server = auto::Builder::new(HyperExecutor::new());
    server.serve_connection(stream, service).await.unwrap();
}

async fn text_of(response: Response<Incoming>) -> (StatusCode, Bytes) {
    let status = response.status();
    (
        status,
        response.into_body().collect().await.unwrap().to_bytes(),
    )
}

fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// What the test asks, and the answers.
const EXCHANGES: [(&str, &str, &str, StatusCode, &str); 3] = [
    ("GET", "/hello/world", "", StatusCode::OK, "hello, world"),
    ("POST", "/", "loud", StatusCode::OK, "LOUD"),
    ("GET", "/nothing", "", StatusCode::NOT_FOUND, ""),
];

#[test]
fn router_answers_by_http1() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (stream, server) = pair().await;
            let server = reveille::spawn(serve(server));
            let (mut sender, connection) = client::conn::http1::handshake(stream).await.unwrap();
            let connection = reveille::spawn(connection);
            for (method, path, body, status, answer) in EXCHANGES {
                let response = sender.send_request(request(method, path, body)).await;
                assert_eq!(text_of(response.unwrap()).await, (status, answer.into()));
            }
            drop(sender);
            connection.await.unwrap().unwrap();
            server.await.unwrap();
        });
    });
}

#[test]
fn router_answers_by_http2() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (stream, server) = pair().await;
            let server = reveille::spawn(serve(server));
            let handshake = client::conn::http2::handshake(HyperExecutor::new(), stream).await;
            let (mut sender, connection) = handshake.unwrap();
            let connection = reveille::spawn(connection);
            for (method, path, body, status, answer) in EXCHANGES {
                let response = sender.send_request(request(method, path, body)).await;
                assert_eq!(text_of(response.unwrap()).await, (status, answer.into()));
            }
            drop(sender);
            connection.await.unwrap().unwrap();
            server.await.unwrap();
        });
    });
}
