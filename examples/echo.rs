//! An echo server: whatever a client sends comes back to it.
//!
//! ```text
//! cargo run --release --example echo -- --addr 127.0.0.1:7777 --backend poll
//! ```
//!
//! Each connection is a task of its own, and all of them share one buffer. The thread has only one pair of hands, so no
//! two connections ever need it at once: a task borrows it, reads, sends back, and returns it, all within one poll. A
//! connection that waits holds no memory but its task. One whose client does not take its bytes keeps those that are
//! left in a buffer of its own, and reads no further before they are gone: that is all the back-pressure there is.

use futures_io::AsyncRead;
use reveille::backend::BackendKind;
use reveille::net::{TcpListener, TcpStream};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The most that one read takes, and that a client which does not read keeps in memory.
const BUFFER: usize = 64 * 1024;

const USAGE: &str = "\
usage: echo [--addr ADDR] [--backend NAME]

  --addr ADDR      IP:PORT to listen on (no host name), 127.0.0.1:7777 if not given; port 0 lets the system choose
  --backend NAME   epoll, poll, ...; without it the variable REVEILLE_BACKEND decides, and else the best one there is
  --help           print this";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("echo: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> io::Result<()> {
    let mut builder = reveille::Builder::new();
    if let Some(kind) = arguments.backend {
        builder = builder.backend(kind);
    }
    let runtime = builder.build()?;
    runtime.block_on(async {
        let addr = arguments.addr;
        let bound = TcpListener::bind(addr).await;
        let listener =
            bound.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}")))?;
        let (addr, backend) = (listener.local_addr()?, runtime.backend_name());
        let mut stdout = io::stdout();
        writeln!(stdout, "listening on {addr} backend={backend}")?;
        stdout.flush()?;
        serve(listener).await
    })
}

/// Accepts for ever. `accept` itself waits until there are descriptors again when the process has run out of them, and
/// skips connections that died in the queue; whatever else goes wrong concerns one connection, and is no reason to end.
async fn serve(listener: TcpListener) -> ! {
    let buffer = Rc::new(RefCell::new(vec![0; BUFFER]));
    loop {
        match listener.accept().await {
            Ok((stream, _addr)) => {
                let buffer = buffer.clone();
                // An error is the end of this connection: the client reset it, or is gone.
                reveille::spawn(async move { echo(stream, &buffer).await.ok() });
            }
            Err(error) => {
                eprintln!("echo: accept: {error}");
                reveille::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Echoes until the client has ended its sending side; dropping the stream ends ours.
async fn echo(stream: TcpStream, buffer: &RefCell<Vec<u8>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(rest) = poll_fn(|cx| poll_echo(&stream, &mut buffer.borrow_mut(), cx)).await? {
        stream.write_all(&rest).await?;
    }
    Ok(())
}

/// Reads once and sends back what the client takes at once. Ready with what is left, mostly nothing; with `None` at the
/// end of the stream.
fn poll_echo(
    mut stream: &TcpStream,
    buffer: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<Vec<u8>>>> {
    let read = ready!(Pin::new(&mut stream).poll_read(cx, buffer))?;
    if read == 0 {
        return Poll::Ready(Ok(None));
    }
    let sent = match stream.try_write(&buffer[..read]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        sent => sent?,
    };
    Poll::Ready(Ok(Some(buffer[sent..read].to_vec())))
}

struct Arguments {
    addr: SocketAddr,
    backend: Option<BackendKind>,
}

impl Arguments {
    /// `None`: the usage was asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
        let mut arguments = Arguments {
            addr: SocketAddr::from(([127, 0, 0, 1], 7777)),
            backend: None,
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--addr" => {
                    let text = value()?;
                    arguments.addr = text
                        .parse()
                        .map_err(|_| format!("{text:?} is no address such as 127.0.0.1:7777"))?;
                }
                "--backend" => {
                    arguments.backend = Some(value()?.parse().map_err(|e| format!("{e}"))?);
                }
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown argument {other:?}")),
            }
        }
        Ok(Some(arguments))
    }
}
