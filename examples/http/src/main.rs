//! An HTTP server of hyper: HTTP/1, and HTTP/2 with prior knowledge, on one port.
//!
//! ```text
//! cargo run --release --manifest-path examples/http/Cargo.toml
//! curl http://127.0.0.1:7777/1000 | wc -c
//! curl --data-binary @Cargo.toml http://127.0.0.1:7777/
//! curl --http2-prior-knowledge http://127.0.0.1:7777/1000 | wc -c
//! ```
//!
//! `GET /N` returns N bytes, `POST` returns the number of bytes in its body. All requests count in
//! one `Rc<Cell>`: hyper's services need not be `Send` here, for HTTP/2 either.

#[path = "../../support/mod.rs"]
mod support;

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use reveille::backend::BackendKind;
use reveille::interop::{HyperExecutor, HyperTimer};
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, sleep, timeout};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll};

const USAGE: &str = "\
usage: http [--addr IP:PORT] [--backend NAME]

  --addr IP:PORT   where to listen (default 127.0.0.1:7777); port 0: any free port
  --backend NAME   epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --help           print this text";

/// How long a client may take for the head of a request.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let backend = arguments.take("--backend");
    arguments.finish();
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7777)));
    support::report(run(addr, backend))
}

fn run(addr: SocketAddr, backend: Option<BackendKind>) -> io::Result<()> {
    let mut builder = reveille::Builder::new();
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    let runtime = builder.build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        let (addr, backend) = (listener.local_addr()?, runtime.backend_name());
        println!("listening on {addr} backend={backend}");
        let served = Rc::new(Cell::new(0));
        loop {
            match listener.accept().await {
                Ok((stream, _addr)) => {
                    let served = served.clone();
                    reveille::spawn(async move {
                        if let Err(error) = serve(stream, served).await {
                            eprintln!("http: {error}");
                        }
                    });
                }
                Err(error) => {
                    eprintln!("http: accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

type Served = Rc<Cell<u64>>;

/// Serves one connection until the client closes it.
async fn serve(stream: TcpStream, served: Served) -> Result<(), Box<dyn std::error::Error>> {
    let service = service_fn(move |request| answer(request, served.clone()));
    if timeout(PATIENCE, is_http2(&stream)).await?? {
        let mut builder = http2::Builder::new(HyperExecutor::new());
        builder.timer(HyperTimer::new());
        builder.serve_connection(stream, service).await?;
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(HyperTimer::new())
            .header_read_timeout(PATIENCE);
        builder.serve_connection(stream, service).await?;
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

async fn answer(
    request: Request<Incoming>,
    served: Served,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    served.set(served.get() + 1);
    let length = request.uri().path()[1..].parse();
    let (status, body) = match (request.method(), length) {
        (&Method::GET, Ok(length)) => (StatusCode::OK, Filler(length).boxed_unsync()),
        (&Method::POST, _) => {
            let count = count(request.into_body()).await?;
            (StatusCode::OK, format!("{count}\n").boxed_unsync())
        }
        _ => {
            let text = format!("GET /N, or POST. Requests so far: {}\n", served.get());
            (StatusCode::NOT_FOUND, text.boxed_unsync())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}

/// Reads a body to its end, and returns its length.
async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            count += data.len() as u64;
        }
    }
    Ok(count)
}

/// A body of so many bytes, which all are `x`.
struct Filler(u64);

static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let len = self.0.min(CHUNK.len() as u64);
        self.0 -= len;
        let data = Bytes::from_static(&CHUNK[..len as usize]);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}
