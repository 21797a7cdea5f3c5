//! An echo server on a Unix socket: sends back what each client sends, after a line with the
//! client's process and user.
//!
//! ```text
//! cargo run --release --example unix_echo -- --addr /tmp/echo.sock
//! socat - UNIX-CONNECT:/tmp/echo.sock
//! ```
//!
//! The socket file is removed when the server starts, if no process listens on it. A server with
//! its own directory could remove it without this check.

mod support;

use reveille::net::{UnixListener, UnixStream};
use reveille::time::{Duration, sleep};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: unix_echo [--addr PATH] [--silent true]

  --addr PATH     where to listen (default: reveille-echo.sock in the directory for temporary files)
  --silent true   does not greet
  --help          print this text";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let silent = arguments.take("--silent").unwrap_or(false);
    arguments.finish();
    let addr = addr.unwrap_or_else(|| std::env::temp_dir().join("reveille-echo.sock"));
    support::report(reveille::block_on(run(addr, silent)))
}

async fn run(path: PathBuf, silent: bool) -> io::Result<()> {
    let listener = listen(&path).await?;
    println!("listening on {}", path.display());
    loop {
        match listener.accept().await {
            // If the client is gone, the task ends and its error is dropped.
            Ok((stream, _addr)) => drop(reveille::spawn(serve(stream, silent))),
            Err(error) => {
                eprintln!("unix_echo: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Binds. Removes the file of a server that has ended.
async fn listen(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path).await {
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path)
                }
                _ => Err(error),
            }
        }
        result => result,
    }
}

/// Greets, then echoes until the client has shut its writing side down.
async fn serve(stream: UnixStream, silent: bool) -> io::Result<()> {
    if !silent {
        let peer = stream.peer_cred()?;
        let greeting = match peer.pid() {
            Some(pid) => format!("hello, process {pid} of user {}\n", peer.uid()),
            None => format!("hello, process of user {}\n", peer.uid()),
        };
        stream.write_all(greeting.as_bytes()).await?;
    }
    let mut buf = [0; 4096];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}
