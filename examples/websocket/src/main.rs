//! A chat in a browser: hyper serves the page and upgrades `/chat` to a WebSocket.
//!
//! ```text
//! cargo run --release --manifest-path examples/websocket/Cargo.toml
//! ```
//!
//! and open <http://127.0.0.1:7790/> in two windows.
//!
//! | file | what it does |
//! |---|---|
//! | `main.rs` | accepts connections, answers HTTP requests, ends at SIGTERM and Ctrl-C |
//! | `chat.rs` | one WebSocket, from its first message to its close |
//! | `room.rs` | who is there, and a bounded queue for each |
//! | `page.html` | the page |
//!
//! A connection is one task: it serves HTTP, and after an upgrade it goes on with the WebSocket. So
//! the permit of the listener counts both.
//!
//! The WebSocket is one of `async-tungstenite`. It takes the traits of `futures-io`, which are a
//! default feature of reveille; `HyperIo` gives them to the upgraded connection of hyper. It splits
//! a connection into two halves without another crate. `tokio-tungstenite` would serve as well,
//! with the feature `tokio` and `HyperTokioIo`.
//!
//! # Which pages may connect
//!
//! A browser lets the page of any site open a WebSocket here, with the user's cookies, and says in
//! `Origin` which site it is. `/chat` refuses an origin that does not name the host of the request.
//! A hostile site may point its own name at this server, so that both are the same: `--origin`
//! names the only origin that is taken. A client that is no browser need not send an origin, and
//! may send any.

mod chat;
mod room;
#[path = "../../support/mod.rs"]
mod support;

use async_tungstenite::tungstenite::error::{Error, ProtocolError};
use async_tungstenite::tungstenite::handshake::server::create_response_with_body;
use futures::channel::oneshot;
use futures::future::{Either, FutureExt, Shared, select};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_VERSION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use reveille::backend::BackendKind;
use reveille::interop::HyperTimer;
use reveille::net::{TcpListener, TcpStream};
use reveille::signal::{SignalKind, signals};
use reveille::time::{Duration, sleep};
use reveille::{Builder, Runtime};
use room::Room;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;

const PAGE: &str = include_str!("page.html");

/// The page uses no other resource, and no other page may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long a client may take for the head of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the clients may take to close their connections when the server ends.
const GRACE: Duration = Duration::from_secs(10);

/// The bytes that the kernel keeps for each client that reads slowly. Linux doubles the number. By
/// default it would be megabytes.
const SEND_BUFFER: u32 = 64 * 1024;

/// Connections that are not in the chat, beside those that are.
const MORE_CONNECTIONS: usize = 100;

const USAGE: &str = "\
usage: websocket [--addr IP:PORT] [--backend NAME] [--clients N] [--ping SECONDS] [--origin URL]

  --addr IP:PORT   where to listen (default 127.0.0.1:7790); port 0: any free port
  --backend NAME   epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --clients N      how many clients may chat at a time (default 1000)
  --ping SECONDS   how often each client gets a ping (default 20); one that is silent
                   for twice this time is disconnected
  --origin URL     the only origin whose pages may chat (default: the host of the request)
  --help           print this text";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let backend = arguments.take("--backend");
    let clients: Option<u16> = arguments.take("--clients");
    let ping: Option<u32> = arguments.take("--ping");
    let origin = arguments.take("--origin");
    arguments.finish();
    let (stop, stopped) = oneshot::channel();
    let server = Server {
        room: Room::default(),
        clients: usize::from(clients.unwrap_or(1000)),
        seats: Rc::default(),
        ping: Duration::from_secs(u64::from(ping.unwrap_or(20).max(1))),
        origin,
        stopped: stopped.shared(),
    };
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7790)));
    support::report(run(addr, backend, &Rc::new(server), stop))
}

/// What all connections share.
struct Server {
    room: Room,
    /// How many clients may chat.
    clients: usize,
    /// Each client holds one more reference.
    seats: Rc<()>,
    ping: Duration,
    origin: Option<String>,
    /// Resolves when the server ends.
    stopped: Shared<oneshot::Receiver<()>>,
}

fn run(
    addr: SocketAddr,
    backend: Option<BackendKind>,
    server: &Rc<Server>,
    stop: oneshot::Sender<()>,
) -> io::Result<()> {
    let mut builder = Builder::new();
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    let runtime = builder.build()?;
    let kind = runtime.block_on(accept_until_signal(&runtime, addr, server))?;
    println!("{kind}: closing {} clients", server.room.len());
    drop(stop);
    let report = runtime.shutdown(GRACE);
    if report.is_clean() {
        return Ok(());
    }
    Err(io::Error::other(report.to_string()))
}

/// Accepts connections until a signal says that the server shall end.
async fn accept_until_signal(
    runtime: &Runtime,
    addr: SocketAddr,
    server: &Rc<Server>,
) -> io::Result<SignalKind> {
    let mut requests = signals(&[SignalKind::terminate(), SignalKind::interrupt()])?;
    let listener = TcpListener::bind(addr).await?;
    let (addr, backend) = (listener.local_addr()?, runtime.backend_name());
    println!("listening on {addr} backend={backend}");
    let listener = listener.limit(server.clients + MORE_CONNECTIONS);
    loop {
        let accepted = match select(pin!(requests.recv()), pin!(listener.accept())).await {
            Either::Left((kind, _)) => return Ok(kind.expect("the stream of signals never ends")),
            Either::Right((accepted, _)) => accepted,
        };
        match accepted {
            Ok((stream, _addr, permit)) => {
                let server = server.clone();
                reveille::spawn(async move {
                    if let Err(error) = serve(stream, &server).await {
                        eprintln!("websocket: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                eprintln!("websocket: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves one connection: HTTP/1, and after an upgrade a WebSocket.
async fn serve(stream: TcpStream, server: &Server) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_nodelay(true)?;
    stream.set_send_buffer_size(SEND_BUFFER)?;
    let upgrade = Rc::new(Cell::new(None));
    let service = service_fn(|request| {
        let response = answer(request, server, &upgrade);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(HyperTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 * 1024)
        .serve_connection(stream, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    match select(connection.as_mut(), server.stopped.clone()).await {
        Either::Left((ended, _)) => ended?,
        Either::Right(_) => {
            connection.as_mut().graceful_shutdown();
            connection.await?;
        }
    }
    if let Some((upgrade, _seat)) = upgrade.take() {
        chat::serve(upgrade.await?, server).await;
    }
    Ok(())
}

type Body = String;

/// Answers a request. Puts the connection into `upgrade` if it becomes a WebSocket.
fn answer(
    mut request: Request<Incoming>,
    server: &Server,
    upgrade: &Cell<Option<(OnUpgrade, Rc<()>)>>,
) -> Response<Body> {
    match request.uri().path() {
        "/" if matches!(*request.method(), Method::GET | Method::HEAD) => page(),
        "/" => refuse(StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, "GET, HEAD"))),
        "/chat" => {
            if !has_right_origin(&request, server.origin.as_deref()) {
                return refuse(StatusCode::FORBIDDEN, None);
            }
            let response = match create_response_with_body(&request, String::new) {
                Ok(response) => response,
                Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
                    let version = Some((SEC_WEBSOCKET_VERSION, "13"));
                    return refuse(StatusCode::UPGRADE_REQUIRED, version);
                }
                Err(_) => return refuse(StatusCode::BAD_REQUEST, None),
            };
            if Rc::strong_count(&server.seats) > server.clients {
                return refuse(StatusCode::SERVICE_UNAVAILABLE, None);
            }
            upgrade.set(Some((
                hyper::upgrade::on(&mut request),
                server.seats.clone(),
            )));
            response
        }
        _ => refuse(StatusCode::NOT_FOUND, None),
    }
}

fn page() -> Response<Body> {
    Response::builder()
        .header("content-type", "text/html; charset=utf-8")
        .header("content-security-policy", POLICY)
        .header("x-content-type-options", "nosniff")
        .header("cache-control", "no-cache")
        .body(PAGE.to_owned())
        .expect("the headers are valid")
}

fn refuse(status: StatusCode, header: Option<(HeaderName, &'static str)>) -> Response<Body> {
    let mut response = Response::new(format!("{status}\n"));
    *response.status_mut() = status;
    if let Some((name, value)) = header {
        let value = hyper::header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Whether the page that makes the request may do so. A program other than a browser may leave the
/// origin out.
fn has_right_origin(request: &Request<Incoming>, allowed: Option<&str>) -> bool {
    let Some(origin) = request.headers().get(ORIGIN) else {
        return true;
    };
    if let Some(allowed) = allowed {
        return origin == allowed;
    }
    // A proxy in front of this server may add TLS, so both schemes are right.
    let host = origin.to_str().ok().and_then(|origin| {
        let rest = origin.strip_prefix("http://");
        rest.or_else(|| origin.strip_prefix("https://"))
    });
    let asked = request.headers().get(HOST);
    matches!((host, asked), (Some(host), Some(asked)) if host.as_bytes() == asked.as_bytes())
}
