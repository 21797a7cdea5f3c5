//! Connections that say nothing for a while are closed.
//!
//! ```text
//! cargo run --example timeouts -- --addr 127.0.0.1:7779 --idle-ms 10000
//! ```
//!
//! Any future can be given a limit by `timeout`, and what it returns says which of the two was first. The time starts
//! when the future first has to wait: a client whose bytes are there already costs no timer and no look at the clock.

use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, timeout};
use std::convert::Infallible;
use std::io;
use std::process::ExitCode;

const USAGE: &str = "\
usage: timeouts [--addr ADDR:PORT] [--idle-ms NUMBER]   (127.0.0.1:7779 and 10000 if not given)";

fn main() -> ExitCode {
    let (mut addr, mut idle) = ("127.0.0.1:7779".to_owned(), "10000".to_owned());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--help" | "-h", _) => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            ("--addr", Some(value)) => addr = value,
            ("--idle-ms", Some(value)) => idle = value,
            (flag, _) => {
                eprintln!("timeouts: {flag:?} is unknown or lacks its value\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let Ok(idle) = idle.parse().map(Duration::from_millis) else {
        eprintln!("timeouts: {idle:?} is no number of milliseconds\n{USAGE}");
        return ExitCode::from(2);
    };
    let Err(error) = serve(&addr, idle);
    eprintln!("timeouts: {addr}: {error}");
    ExitCode::FAILURE
}

fn serve(addr: &str, idle: Duration) -> io::Result<Infallible> {
    reveille::block_on(async {
        let listener = TcpListener::bind(addr).await?;
        println!(
            "listening on {}, patient for {idle:?}",
            listener.local_addr()?
        );
        loop {
            let (stream, peer) = listener.accept().await?;
            reveille::spawn(async move {
                match echo(&stream, idle).await {
                    Ok(()) => println!("{peer} has left"),
                    Err(error) => println!("{peer} is closed: {error}"),
                }
            });
        }
    })
}

/// Echoes until the client ends its side, or is silent or takes nothing for `idle`.
async fn echo(stream: &TcpStream, idle: Duration) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        // The first `?` is for the limit, the second for the call.
        let n = timeout(idle, stream.read(&mut buffer)).await??;
        if n == 0 {
            return Ok(());
        }
        // A client that does not read is as idle as one that does not write.
        timeout(idle, stream.write_all(&buffer[..n])).await??;
    }
}
