//! A `Router` of axum, served by hyper-util's server for HTTP/1 and HTTP/2; and the code of the
//! example `axum`.

#[path = "../../../examples/axum/src/routes.rs"]
mod routes;
#[path = "../../../examples/axum/src/serving.rs"]
mod serving;
#[path = "../../support/mod.rs"]
mod support;
#[path = "../../../examples/axum/src/websocket.rs"]
mod websocket;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use futures::channel::oneshot;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode, client};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use reveille::JoinHandle;
use reveille::interop::HyperExecutor;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, pause, resume, sleep, timeout};
use serving::{Stop, accept_until};
use std::net::SocketAddr;
use support::{on_every_backend, pair};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

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

// --- the example ---------------------------------------------------------------------------------

/// The server of the example. The clock is paused: it jumps to the next deadline when the server
/// and its clients have nothing left to do.
struct Example {
    addr: SocketAddr,
    stop: Stop,
    signal: oneshot::Sender<()>,
    accepting: JoinHandle<Result<(), oneshot::Canceled>>,
}

impl Example {
    async fn start() -> Example {
        pause();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (signal, end) = oneshot::channel();
        let stop = Stop::new();
        let (router, stopping) = (routes::router(&stop), stop.clone());
        let accepting = async move { accept_until(end, listener, router, &stopping).await };
        Example {
            addr,
            stop,
            signal,
            accepting: reveille::spawn(accepting),
        }
    }

    /// Ends the server. Fails if something does not end. (That nothing listens any more is not
    /// tried: a socket that connects to a free port may get that port itself.)
    async fn end(self) {
        self.signal.send(()).unwrap();
        self.accepting.await.unwrap().unwrap();
        timeout(Duration::from_secs(60), self.stop.stop())
            .await
            .expect("all connections end");
        resume();
    }
}

/// A client for HTTP/1, or for HTTP/2.
enum Client {
    One(client::conn::http1::SendRequest<Full<Bytes>>),
    Two(client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn connect(addr: SocketAddr, is_http2: bool) -> Client {
        let stream = TcpStream::connect(addr).await.unwrap();
        if is_http2 {
            let executor = HyperExecutor::new();
            let handshake = client::conn::http2::handshake(executor, stream).await;
            let (sender, connection) = handshake.unwrap();
            reveille::spawn(connection);
            Client::Two(sender)
        } else {
            let (sender, connection) = client::conn::http1::handshake(stream).await.unwrap();
            reveille::spawn(connection);
            Client::One(sender)
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Client::One(sender) => sender.send_request(request).await,
            Client::Two(sender) => sender.send_request(request).await,
        }
    }

    async fn text(&mut self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        text_of(self.send(request).await.unwrap()).await
    }
}

fn on_every_backend_and_version(test: impl AsyncFn(bool)) {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            test(false).await;
            test(true).await;
        });
    });
}

fn json(body: &str) -> Request<Full<Bytes>> {
    let mut request = request("POST", "/notes", body);
    let json = "application/json".parse().unwrap();
    request.headers_mut().insert("content-type", json);
    request
}

#[test]
fn example_takes_and_returns_json() {
    on_every_backend_and_version(async |is_http2| {
        let example = Example::start().await;
        let mut client = Client::connect(example.addr, is_http2).await;
        let empty = client.text(request("GET", "/notes", "")).await;
        assert_eq!(empty, (StatusCode::OK, "[]".into()));
        let note = r#"{"id":1,"text":"good \"night\""}"#;
        let response = client.send(json(r#"{"text": "good \"night\""}"#)).await;
        let response = response.unwrap();
        assert_eq!(response.headers()["location"], "/notes/1");
        assert_eq!(text_of(response).await, (StatusCode::CREATED, note.into()));
        let found = client.text(request("GET", "/notes/1", "")).await;
        assert_eq!(found, (StatusCode::OK, note.into()));
        for (faulty, status) in [
            (json(r#"{"text":"#), StatusCode::BAD_REQUEST),
            (json(r#"{"words": 1}"#), StatusCode::UNPROCESSABLE_ENTITY),
            (request("GET", "/notes/0", ""), StatusCode::NOT_FOUND),
            (request("GET", "/notes/2", ""), StatusCode::NOT_FOUND),
            (request("GET", "/notes/x", ""), StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(client.text(faulty).await.0, status);
        }
        drop(client);
        example.end().await;
    });
}

#[test]
fn example_sends_events_and_notices_that_a_client_has_gone() {
    on_every_backend_and_version(async |is_http2| {
        let example = Example::start().await;
        let mut client = Client::connect(example.addr, is_http2).await;
        let counted = client.send(request("GET", "/count/3", "")).await.unwrap();
        assert_eq!(counted.headers()["content-type"], "text/event-stream");
        let events = "data: 1\n\ndata: 2\n\ndata: 3\n\n";
        assert_eq!(text_of(counted).await, (StatusCode::OK, events.into()));

        let mut other = Client::connect(example.addr, is_http2).await;
        let ticks = other.send(request("GET", "/ticks", "")).await.unwrap();
        let mut ticks = ticks.into_body();
        let tick = ticks.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(tick, "event: tick\nid: 1\ndata: x\n\n");
        let open = client.text(request("GET", "/open", "")).await.1;
        assert_eq!(open, r#"{"open":1}"#);
        drop((other, ticks));
        sleep(Duration::from_secs(1)).await;
        let open = client.text(request("GET", "/open", "")).await.1;
        assert_eq!(open, r#"{"open":0}"#);
        drop(client);
        example.end().await;
    });
}

#[test]
fn example_echoes_through_a_websocket_and_says_why_it_ends() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let example = Example::start().await;
            let mut client = Client::connect(example.addr, false).await;
            let refused = client.text(request("GET", "/websocket", "")).await;
            assert_eq!(refused.0, StatusCode::BAD_REQUEST);
            drop(client);

            let connect = async || {
                let stream = TcpStream::connect(example.addr).await.unwrap();
                let connected = client_async("ws://localhost/websocket", stream).await;
                connected.unwrap().0
            };
            let mut socket = connect().await;
            for len in [0, 125, 126, 65_536, 1_000_000] {
                let message = Message::binary(vec![7; len]);
                socket.send(message.clone()).await.unwrap();
                assert_eq!(socket.next().await.unwrap().unwrap(), message);
            }
            // One is dropped without a close, and one has a message that is too long.
            drop(socket);
            let mut socket = connect().await;
            socket.send(Message::binary(vec![7; 2_000_000])).await.ok();
            assert!(!matches!(socket.next().await, Some(Ok(Message::Binary(_)))));

            let mut socket = connect().await;
            let ended = reveille::spawn(async move { socket.next().await });
            sleep(Duration::from_secs(1)).await;
            example.end().await;
            let Some(Ok(Message::Close(Some(reason)))) = ended.await.unwrap() else {
                panic!("no message says why");
            };
            assert_eq!(reason.code, CloseCode::Away);
        });
    });
}

#[test]
fn example_ends_and_loses_no_request() {
    on_every_backend_and_version(async |is_http2| {
        let example = Example::start().await;
        let mut idle = Client::connect(example.addr, is_http2).await;
        idle.text(request("GET", "/open", "")).await;
        let mut streaming = Client::connect(example.addr, is_http2).await;
        let ticks = streaming.send(request("GET", "/ticks", "")).await.unwrap();
        let ticks = reveille::spawn(text_of(ticks));
        let mut slow = Client::connect(example.addr, is_http2).await;
        let slow =
            reveille::spawn(async move { slow.text(request("GET", "/sleep/5000", "")).await });
        // It has sent nothing yet.
        let _silent = TcpStream::connect(example.addr).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert!(!slow.is_finished());

        // A request on a connection that was idle when the server began to end.
        let late = reveille::spawn(async move {
            sleep(Duration::from_millis(500)).await;
            let response = idle.send(request("GET", "/open", "")).await.unwrap();
            response.headers().get("connection").cloned()
        });
        example.end().await;
        assert_eq!(
            slow.await.unwrap(),
            (StatusCode::OK, "good morning\n".into())
        );
        let says_close = late.await.unwrap().is_some_and(|value| value == "close");
        assert_eq!(says_close, !is_http2);
        let (status, ticks) = ticks.await.unwrap();
        assert_eq!(status, StatusCode::OK);
        assert!(ticks.starts_with(b"event: tick\nid: 1\n"));
    });
}
