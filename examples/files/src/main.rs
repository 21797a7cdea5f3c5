//! A server of static files, by hyper and `Unblock`.
//!
//! ```text
//! cargo run --release --manifest-path examples/files/Cargo.toml -- --root FOLDER
//! curl -i http://127.0.0.1:7779/page.html
//! curl -r 0-99 http://127.0.0.1:7779/page.html
//! ```
//!
//! No system can wait for a file on a disk, so each call on a file is made by a thread of the
//! runtime's pool:
//!
//! - [`files`] finds and opens a file below the root. Clients that download the same file share one
//!   descriptor.
//! - [`body`] reads it, 64 KiB at a time, and only when the connection has room. So a slow client
//!   costs some buffers, however long the file is.
//! - [`answer`] is the protocol: ranges, conditions, types.
//!
//! A request is answered with 503 if there is no descriptor or memory to open its file. A client
//! that does not read keeps its connection: `--clients` limits how many there are.

mod answer;
mod body;
mod files;
#[path = "../../support/mod.rs"]
mod support;

use files::Files;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use reveille::backend::BackendKind;
use reveille::interop::HyperTimer;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, sleep};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: &str = "\
usage: files [--addr IP:PORT] [--backend NAME] [--root FOLDER] [--clients N]

  --addr IP:PORT   where to listen (default 127.0.0.1:7779); port 0: any free port
  --backend NAME   epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --root FOLDER    what to serve (default: the present folder)
  --clients N      how many connections may be open (default 1000)
  --help           print this text";

/// How long a client may take for the head of a request, and may be silent between two.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let backend = arguments.take("--backend");
    let root: Option<PathBuf> = arguments.take("--root");
    let clients = arguments.take("--clients");
    arguments.finish();
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7779)));
    let files = Files::new(&root.unwrap_or(PathBuf::from(".")));
    support::report(files.and_then(|files| run(addr, backend, files, clients.unwrap_or(1000))))
}

fn run(
    addr: SocketAddr,
    backend: Option<BackendKind>,
    files: Files,
    clients: usize,
) -> io::Result<()> {
    let mut builder = reveille::Builder::new();
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    let runtime = builder.build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        let (addr, backend) = (listener.local_addr()?, runtime.backend_name());
        println!("listening on {addr} backend={backend}");
        let (listener, files) = (listener.limit(clients), Arc::new(files));
        loop {
            match listener.accept().await {
                Ok((stream, _peer, permit)) => {
                    let connection = serve(stream, files.clone());
                    reveille::spawn(async move {
                        // The client causes errors here, or a file, whose error `body` prints.
                        connection.await.ok();
                        drop(permit);
                    });
                }
                Err(error) => {
                    eprintln!("files: accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

/// Serves one connection until the client closes it.
async fn serve(stream: TcpStream, files: Arc<Files>) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| answer::answer(request, files.clone()));
    http1::Builder::new()
        .timer(HyperTimer::new())
        .header_read_timeout(PATIENCE)
        // What hyper keeps of a response that the client does not read.
        .max_buf_size(128 * 1024)
        .serve_connection(stream, service)
        .await?;
    Ok(())
}
