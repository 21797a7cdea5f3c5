//! An echo server: sends back what each client sends.
//!
//! ```text
//! cargo run --release --example echo
//! nc 127.0.0.1 7777
//! ```
//!
//! Each connection is a task. `write_all` waits until the kernel has taken all bytes, so the server
//! stops reading from a client that does not read.

mod support;

use reveille::backend::BackendKind;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, sleep};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

const USAGE: &str = "\
usage: echo [--addr IP:PORT] [--backend NAME]

  --addr IP:PORT   where to listen (default 127.0.0.1:7777); port 0: any free port
  --backend NAME   epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --help           print this text";

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
        loop {
            match listener.accept().await {
                // If the client resets the connection, the task ends and its error is dropped.
                Ok((stream, _addr)) => drop(reveille::spawn(echo(stream))),
                // The runtime cannot take this connection: it is out of memory, for example.
                Err(error) => {
                    eprintln!("echo: accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

/// Echoes until the client has shut its writing side down.
async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}
