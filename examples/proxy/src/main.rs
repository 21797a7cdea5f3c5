//! A reverse proxy: hyper takes requests, and the pooled client of hyper-util sends them on.
//!
//! ```text
//! cargo run --release --manifest-path examples/http/Cargo.toml &
//! cargo run --release --manifest-path examples/proxy/Cargo.toml -- --to 127.0.0.1:7777
//! curl http://127.0.0.1:7791/1000 | wc -c
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `main.rs` | accepts connections of HTTP/1 and HTTP/2; ends at SIGTERM and Ctrl-C |
//! | `forward.rs` | one request: its way to an upstream and the way of the response back |
//! | `headers.rs` | which header fields pass, and which are added |
//! | `streamed.rs` | one body, with back-pressure and a time limit |
//! | `reveille_connector.rs` | connections of reveille for the pool, made to be copied |
//!
//! # Time limits
//!
//! | what | how long | then |
//! |---|---|---|
//! | a client's first bytes, the head of a request, idle HTTP/1 | 30 s | the connection ends |
//! | the answer to a ping of HTTP/2, sent every 30 s | 20 s | the connection ends |
//! | connecting to an upstream | 3 s, or half of `--patience` | the next upstream, or 504 |
//! | an upstream before its response, once the body stands still | `--patience` | 504 |
//! | a body of which nothing arrives | `--patience` | both connections end |
//! | a client that reads nothing (Linux, HTTP/1) | `--patience` | both connections end |
//! | an idle connection to an upstream | 20 s | it ends |
//!
//! `--connections` limits the connections of clients. One of HTTP/2 may have 100 requests at a
//! time, each on a connection of its own to an upstream.
//!
//! # The end
//!
//! The listener is closed, idle connections end, requests that have begun are answered, for up to
//! 10 s. A tunnel (an upgraded connection, a WebSocket for example) is cut: the proxy does not know
//! how its protocol ends a connection.

mod forward;
mod headers;
mod reveille_connector;
mod streamed;
#[path = "../../support/mod.rs"]
mod support;

use forward::Upstreams;
use futures::channel::{mpsc, oneshot};
use futures::future::{Either, FutureExt, Shared, select};
use futures::stream::StreamExt;
use hyper::http::uri::Authority;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use reveille::backend::BackendKind;
use reveille::interop::{HyperExecutor, HyperTimer};
use reveille::net::{LimitedListener, Permit, TcpListener, TcpStream};
use reveille::signal::{SignalKind, signals};
use reveille::time::{Duration, sleep, timeout};
use reveille::{Builder, Runtime};
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;

/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(30);

/// How long requests may take once the proxy ends.
const GRACE: Duration = Duration::from_secs(10);

/// The most bytes that hyper buffers for one connection.
const BUFFER: usize = 64 * 1024;

const USAGE: &str = "\
usage: proxy [--addr IP:PORT] [--backend NAME] [--to HOST:PORT]... [--connections N]
             [--patience SECONDS]

  --addr IP:PORT      where to listen (default 127.0.0.1:7791); port 0: any free port
  --backend NAME      epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --to HOST:PORT      an upstream (default 127.0.0.1:7777); several take turns
  --connections N     how many connections of clients are open at a time (default 1000)
  --patience SECONDS  how long an upstream or a body may be silent (default 60)
  --help              print this text";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let backend = arguments.take("--backend");
    let mut upstreams: Vec<Authority> = Vec::new();
    while let Some(upstream) = arguments.take("--to") {
        upstreams.push(upstream);
    }
    let connections: Option<u16> = arguments.take("--connections");
    let patience: Option<u32> = arguments.take("--patience");
    arguments.finish();
    if upstreams.is_empty() {
        upstreams.push(Authority::from_static("127.0.0.1:7777"));
    }
    let patience = Duration::from_secs(u64::from(patience.unwrap_or(60).max(1)));
    let (stop, stopped) = oneshot::channel();
    let proxy = Proxy {
        upstreams: Upstreams::new(upstreams, patience),
        patience,
        stopped: stopped.shared(),
    };
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7791)));
    let connections = usize::from(connections.unwrap_or(1000).max(1));
    support::report(run(addr, backend, connections, Rc::new(proxy), stop))
}

/// What all connections share.
struct Proxy {
    upstreams: Upstreams,
    patience: Duration,
    /// Resolves when the proxy ends.
    stopped: Shared<oneshot::Receiver<()>>,
}

fn run(
    addr: SocketAddr,
    backend: Option<BackendKind>,
    connections: usize,
    proxy: Rc<Proxy>,
    stop: oneshot::Sender<()>,
) -> io::Result<()> {
    let mut builder = Builder::new();
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    let runtime = builder.build()?;
    // Each connection holds a sender, so the receiver learns when all have ended.
    let (alive, mut ended) = mpsc::channel::<()>(0);
    runtime.block_on(async {
        let kind = accept_until_signal(&runtime, addr, connections, &proxy, alive).await?;
        println!("{kind}: ending");
        drop(stop);
        // Not by `Runtime::shutdown`, which refuses the tasks that hyper spawns for a request.
        let ended = timeout(GRACE, ended.next()).await;
        ended.map(drop).map_err(|_elapsed| {
            io::Error::other(format!("some requests took more than {GRACE:?} to end"))
        })
    })
}

/// Accepts connections until a signal says that the proxy shall end, and then those that wait.
async fn accept_until_signal(
    runtime: &Runtime,
    addr: SocketAddr,
    connections: usize,
    proxy: &Rc<Proxy>,
    alive: mpsc::Sender<()>,
) -> io::Result<SignalKind> {
    let mut requests = signals(&[SignalKind::terminate(), SignalKind::interrupt()])?;
    let listener = TcpListener::bind(addr).await?;
    let (addr, backend) = (listener.local_addr()?, runtime.backend_name());
    println!("listening on {addr} backend={backend}");
    let listener: LimitedListener = listener.limit(connections);
    let spawn = |(stream, peer, permit): (TcpStream, SocketAddr, Permit)| {
        let (proxy, alive) = (proxy.clone(), alive.clone());
        reveille::spawn(async move {
            let _held = (permit, &alive);
            // Clients often break their connections, and upstreams theirs in the middle of a body.
            // A server would log it.
            let _ = serve(stream, peer.ip(), &proxy, &alive).await;
        });
    };
    let kind = loop {
        match select(pin!(requests.recv()), pin!(listener.accept())).await {
            Either::Left((kind, _)) => break kind.expect("the stream of signals never ends"),
            Either::Right((Ok(accepted), _)) => spawn(accepted),
            Either::Right((Err(error), _)) => {
                eprintln!("proxy: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    // The system would reset those in the queue.
    while let Some(Ok(accepted)) = listener.accept().now_or_never() {
        spawn(accepted);
    }
    Ok(kind)
}

/// Serves one connection of a client until it ends.
async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    proxy: &Rc<Proxy>,
    alive: &mpsc::Sender<()>,
) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    // A client that reads nothing keeps the window of its side closed. hyper has no time limit for
    // that, but the system has.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    stream.set_user_timeout(Some(proxy.patience))?;
    let service =
        service_fn(|request| forward::forward(request, peer, proxy.clone(), alive.clone()));
    let is_http2 = {
        let is_http2 = pin!(timeout(HEAD, is_http2(&stream)));
        match select(is_http2, proxy.stopped.clone()).await {
            Either::Left((is_http2, _)) => is_http2??,
            // The client has sent nothing.
            Either::Right(_) => return Ok(()),
        }
    };
    if is_http2 {
        let mut builder = http2::Builder::new(HyperExecutor::new());
        builder
            .timer(HyperTimer::new())
            .keep_alive_interval(HEAD)
            .initial_stream_window_size(BUFFER as u32)
            .max_send_buf_size(BUFFER)
            .max_concurrent_streams(100);
        let mut connection = pin!(builder.serve_connection(stream, service));
        match select(connection.as_mut(), proxy.stopped.clone()).await {
            Either::Left((ended, _)) => ended?,
            Either::Right(_) => {
                connection.as_mut().graceful_shutdown();
                connection.await?;
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(HyperTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(BUFFER);
        let connection = builder.serve_connection(stream, service);
        let mut connection = pin!(connection.with_upgrades());
        match select(connection.as_mut(), proxy.stopped.clone()).await {
            Either::Left((ended, _)) => ended?,
            Either::Right(_) => {
                connection.as_mut().graceful_shutdown();
                connection.await?;
            }
        }
    }
    Ok(())
}

/// Whether the connection begins as HTTP/2 does. Takes no bytes from it.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    // No method of HTTP/1 begins like this, and the first segment has more than three bytes.
    let mut first = [0; 3];
    let n = stream.peek(&mut first).await?;
    Ok(&first[..n] == b"PRI")
}
