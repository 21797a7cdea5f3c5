//! An axum server: JSON, server-sent events, a WebSocket, HTTP/1 and HTTP/2 on one port, and an end
//! that loses no request.
//!
//! ```text
//! cargo run --release --manifest-path examples/axum/Cargo.toml
//! curl -X POST --json '{"text": "good morning"}' http://127.0.0.1:7778/notes
//! curl http://127.0.0.1:7778/notes/1
//! curl -N http://127.0.0.1:7778/count/3
//! kill -TERM, or Ctrl-C
//! ```
//!
//! [`routes`] has the handlers, which know nothing of reveille but its timers and `spawn`, and
//! [`serving`] is what `axum::serve` is for tokio: made to be copied, for any `Router`.
//!
//! On SIGTERM or Ctrl-C:
//!
//! 1. What waits in the listener's queue is accepted, and the listener is closed. The system would
//!    reset the connections in the queue.
//! 2. Streams of events and WebSockets end. Each response by HTTP/1 says `Connection: close`.
//! 3. A connection without a request gets [`serving::IDLE`] for one more. Then hyper ends it.
//! 4. When all connections have ended, or `--grace` has passed, `Runtime::shutdown` waits for the
//!    other tasks in what is left of `--grace`, and reports what it had to cut off. It refuses new
//!    tasks, and each request by HTTP/2 is one: that is why the connections end first.
//!
//! The exit status is 0 if nothing was left.

mod routes;
mod serving;
#[path = "../../support/mod.rs"]
mod support;
mod websocket;

use reveille::Builder;
use reveille::backend::BackendKind;
use reveille::net::TcpListener;
use reveille::signal::{SignalKind, signals};
use reveille::time::{Duration, Instant, timeout};
use serving::{Stop, accept_until};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

const USAGE: &str = "\
usage: axum [--addr IP:PORT] [--backend NAME] [--grace SECONDS]

  --addr IP:PORT    where to listen (default 127.0.0.1:7778); port 0: any free port
  --backend NAME    epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --grace SECONDS   how long to wait for connections after SIGTERM or Ctrl-C (default 30)
  --help            print this text

GET  /notes           all notes, as JSON
POST /notes           adds one: {\"text\": \"..\"}
GET  /notes/ID        one note
GET  /count/N         N server-sent events, then the end
GET  /ticks           an event every 0.1 s, until the client goes away
GET  /websocket       sends each message back
GET  /sleep/MS        answers after MS milliseconds
GET  /open            how many of the last four are under way";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let backend = arguments.take("--backend");
    let grace = arguments.take("--grace").map(Duration::from_secs);
    arguments.finish();
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7778)));
    match run(addr, backend, grace.unwrap_or(Duration::from_secs(30))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => support::report(Err(error)),
    }
}

/// Serves until a signal comes, then ends. Returns whether nothing was cut off.
fn run(addr: SocketAddr, backend: Option<BackendKind>, grace: Duration) -> io::Result<bool> {
    // The report then says where the tasks were spawned.
    let mut builder = Builder::new().track_spawn_locations(true);
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    let runtime = builder.build()?;
    let deadline = runtime.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        let mut requests = signals(&[SignalKind::terminate(), SignalKind::interrupt()])?;
        let (addr, backend) = (listener.local_addr()?, runtime.backend_name());
        println!("listening on {addr} backend={backend}");
        let stop = Stop::new();
        let router = routes::router(&stop);
        let kind = accept_until(requests.recv(), listener, router, &stop).await;
        let kind = kind.expect("the runtime has not ended");
        println!("{kind}: waiting up to {grace:?} for the connections");
        let deadline = Instant::now() + grace;
        timeout(grace, stop.stop()).await.ok();
        io::Result::Ok(deadline)
    })?;
    let report = runtime.shutdown(deadline.saturating_duration_since(Instant::now()));
    println!("{report}");
    Ok(report.is_clean())
}
