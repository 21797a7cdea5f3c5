//! An HTTP server of hyper: HTTP/1, and HTTP/2 with prior knowledge, on one port. It limits what
//! each client may take, and ends without losing a request.
//!
//! ```text
//! cargo run --release --manifest-path examples/http/Cargo.toml
//! curl http://127.0.0.1:7777/
//! curl http://127.0.0.1:7777/1000 | wc -c
//! curl --data-binary @Cargo.toml http://127.0.0.1:7777/
//! curl --http2-prior-knowledge http://127.0.0.1:7777/1000 | wc -c
//! ```
//!
//! `GET /` returns a line, `GET /N` returns N bytes, `POST` the number of bytes in its body. All
//! requests count in one `Cell`: hyper's services need not be `Send` here, for HTTP/2 either.
//!
//! | file | its one idea |
//! |---|---|
//! | `main.rs` | which version of HTTP a connection speaks |
//! | `server.rs` | accepting with a limit; signals; the end of the server |
//! | `connection.rs` | one connection of hyper within its limits |
//! | `watch.rs` | which limit a connection has to keep at a moment |
//! | `limits.rs` | the limits and their flags |
//! | `answers.rs` | what is answered |

mod answers;
mod connection;
mod limits;
mod server;
#[path = "../../support/mod.rs"]
mod support;
mod watch;

use connection::Error;
use limits::Limits;
use reveille::net::TcpStream;
use server::Visit;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use watch::{Watch, Watched};

const USAGE: &str = "\
usage: http [--addr IP:PORT] [--backend NAME] [LIMITS]

  --addr IP:PORT       where to listen (default 127.0.0.1:7777); port 0: any free port
  --backend NAME       epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --help               print this text

Limits:
";

fn main() -> ExitCode {
    let usage = format!("{USAGE}{}", limits::USAGE);
    let mut arguments = support::Arguments::new(usage.leak());
    let addr = arguments.take("--addr");
    let backend = arguments.take("--backend");
    let limits = Limits::take(&mut arguments);
    arguments.finish();
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7777)));
    let run = server::run(addr, backend, limits, |stream, visit| async move {
        if let Err(Error::Limit(limit)) = serve(&stream, &visit).await {
            visit.server().count(limit);
        }
    });
    match run {
        Ok(code) => code,
        Err(error) => support::report(Err(error)),
    }
}

/// Serves one connection until it ends.
async fn serve(stream: &TcpStream, visit: &Visit) -> Result<(), Error> {
    let is_http2 = connection::prepare(is_http2(stream), visit).await?;
    let is_http2 = is_http2.map_err(|_| Error::Client)?;
    let watch = Watch::new(visit.server().limits);
    let io = Watched::new(stream, watch.clone());
    connection::serve(io, stream, is_http2, &watch, visit).await
}

/// Whether the connection begins as HTTP/2 does. Takes no bytes from it.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    // No method of HTTP/1 begins like this, and the first segment has more than three bytes.
    let mut first = [0; 3];
    let n = stream.peek(&mut first).await?;
    Ok(&first[..n] == b"PRI")
}
