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
use std::io;

fn main() -> io::Result<()> {
    let addr = argument("--addr").unwrap_or("127.0.0.1:7779".into());
    let idle = argument("--idle-ms").map_or(Ok(10_000), |text| text.parse());
    let idle = Duration::from_millis(idle.map_err(io::Error::other)?);

    reveille::block_on(async {
        let listener = TcpListener::bind(&addr).await?;
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

/// The value that follows a flag on the command line.
fn argument(flag: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != flag).nth(1)
}
