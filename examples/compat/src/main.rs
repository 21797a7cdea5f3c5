//! A crate that needs the runtime of tokio, in tasks of reveille: reqwest under `async-compat`.
//!
//! ```text
//! cargo run --release --manifest-path examples/compat/Cargo.toml
//! cargo run --release --manifest-path examples/compat/Cargo.toml -- --url http://example.org/
//! ```
//!
//! reqwest opens sockets, sleeps and spawns through tokio. [`Compat`] starts a thread with a
//! runtime of tokio, once for the process, and lets the future that it wraps find it:
//!
//! - The wrapped future is polled here, by reveille. So it may share an `Rc` with other tasks, and
//!   await sockets and timers of reveille as well.
//! - What it passes to `tokio::spawn` runs on the other thread: in reqwest, the connections.
//! - All that belongs to such a crate must be polled and dropped inside `Compat`: wrap the whole
//!   task.
//!
//! Without `--url` the requests go to a server in this program, which runs on reveille. This build
//! of reqwest has no TLS; that of a program may have it.

#[path = "../../support/mod.rs"]
mod support;

use async_compat::Compat;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use reqwest::{Client, Url};
use reveille::backend::BackendKind;
use reveille::interop::HyperTimer;
use reveille::net::TcpListener;
use reveille::task::JoinSet;
use reveille::time::{Duration, timeout};
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;

const USAGE: &str = "\
usage: compat [--url URL] [--requests N] [--backend NAME]

  --url URL        what to fetch, by HTTP without TLS (default: from a server in this program)
  --requests N     how many requests to send at a time (default 20)
  --backend NAME   epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --help           print this text";

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let url = arguments.take("--url");
    let requests = arguments.take("--requests").unwrap_or(20);
    let backend = arguments.take("--backend");
    arguments.finish();
    let result = run(url, requests, backend);
    support::report(result.map_err(|error| io::Error::other(error.to_string())))
}

fn run(
    url: Option<Url>,
    requests: usize,
    backend: Option<BackendKind>,
) -> Result<(), Box<dyn Error>> {
    let mut builder = reveille::Builder::new();
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    let runtime = builder.build()?;
    runtime.block_on(async {
        let (url, client) = match url {
            Some(url) => (url, Client::new()),
            // A server of this machine is not behind a proxy.
            None => (serve().await?, Client::builder().no_proxy().build()?),
        };
        let bytes = Rc::new(Cell::new(0));
        let here = thread::current().id();
        let mut tasks = JoinSet::new();
        for _ in 0..requests {
            let (client, url, bytes) = (client.clone(), url.clone(), bytes.clone());
            tasks.spawn(Compat::new(async move {
                // A time limit of reveille around a request of reqwest.
                timeout(PATIENCE, fetch(client, url, bytes)).await??;
                assert_eq!(thread::current().id(), here);
                Ok::<_, Box<dyn Error>>(())
            }));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        println!("{requests} requests, {} bytes from {url}", bytes.get());
        // A client holds connections: it is dropped inside of `Compat` too.
        Compat::new(async move { drop(client) }).await;
        Ok(())
    })
}

/// Fetches a page, and counts its bytes.
async fn fetch(client: Client, url: Url, bytes: Rc<Cell<usize>>) -> reqwest::Result<()> {
    let mut response = client.get(url).send().await?.error_for_status()?;
    while let Some(piece) = response.chunk().await? {
        bytes.set(bytes.get() + piece.len());
    }
    Ok(())
}

/// Starts a server on reveille, and returns its address.
async fn serve() -> Result<Url, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?).parse()?;
    reveille::spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            let page = service_fn(|_: Request<_>| async {
                Ok::<_, Infallible>(Response::new("good morning\n".repeat(1000)))
            });
            let mut server = http1::Builder::new();
            let server = server.timer(HyperTimer::new());
            reveille::spawn(server.serve_connection(stream, page));
        }
    });
    Ok(url)
}
