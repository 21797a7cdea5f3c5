//! An echo server that closes idle connections.
//!
//! ```text
//! cargo run --example timeouts -- --addr 127.0.0.1:7779 --idle-ms 10000
//! ```
//!
//! `timeout` limits any future, and its result says whether the future or the limit came first. The
//! time starts when the future first has to wait. If a client's bytes are already there, no timer
//! is set and no clock is read.

mod support;

use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, timeout};
use std::io;
use std::process::ExitCode;

const USAGE: &str = "\
usage: timeouts [--addr ADDR:PORT] [--idle-ms N]

  --addr ADDR:PORT   where to listen (default 127.0.0.1:7779)
  --idle-ms N        how long a connection may be idle, in milliseconds (default 10000)
  --help             print this text";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr: Option<String> = arguments.take("--addr");
    let idle = arguments.take("--idle-ms").map(Duration::from_millis);
    arguments.finish();
    support::report(serve(
        addr.as_deref().unwrap_or("127.0.0.1:7779"),
        idle.unwrap_or(Duration::from_secs(10)),
    ))
}

fn serve(addr: &str, idle: Duration) -> io::Result<()> {
    reveille::block_on(async {
        let listener = TcpListener::bind(addr).await?;
        println!(
            "listening on {}, closing connections after {idle:?}",
            listener.local_addr()?
        );
        loop {
            let (stream, peer) = listener.accept().await?;
            reveille::spawn(async move {
                match echo(&stream, idle).await {
                    Ok(()) => println!("{peer} closed its side"),
                    Err(error) => println!("{peer} was closed: {error}"),
                }
            });
        }
    })
}

/// Echoes until the client closes its side, or until a read or a write takes longer than `idle`.
async fn echo(stream: &TcpStream, idle: Duration) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        // The first `?` returns the error of `timeout`, the second one the error of `read`.
        let n = timeout(idle, stream.read(&mut buffer)).await??;
        if n == 0 {
            return Ok(());
        }
        // A client that does not read is idle too.
        timeout(idle, stream.write_all(&buffer[..n])).await??;
    }
}
