//! An echo server whose connections share one buffer, so that an idle connection needs no buffer.
//!
//! ```text
//! cargo run --release --example echo_shared_buffer
//! nc 127.0.0.1 7777
//! ```
//!
//! The tasks of a runtime run on one thread, one at a time. A task borrows the buffer, reads,
//! writes and returns it within one poll, so no other task can need it meanwhile. If the client
//! does not take all bytes, the task copies the rest and reads no more until the rest is written.

mod support;

use futures_io::AsyncRead;
use reveille::backend::BackendKind;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, sleep};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// The most bytes that one read takes, and that are kept for a client that does not read.
const BUFFER: usize = 64 * 1024;

const USAGE: &str = "\
usage: echo_shared_buffer [--addr IP:PORT] [--backend NAME]

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
        serve(listener).await
    })
}

/// Accepts connections. An error is about one connection, and is printed: `accept` itself waits
/// while the process is out of descriptors, and skips connections that ended in the queue.
async fn serve(listener: TcpListener) -> ! {
    let buffer = Rc::new(RefCell::new(vec![0; BUFFER]));
    loop {
        match listener.accept().await {
            Ok((stream, _addr)) => {
                let buffer = buffer.clone();
                // If the client resets the connection, the task ends and its error is dropped.
                reveille::spawn(async move { echo(stream, &buffer).await.ok() });
            }
            Err(error) => {
                eprintln!("echo_shared_buffer: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Echoes until the client has shut its writing side down.
async fn echo(stream: TcpStream, buffer: &RefCell<Vec<u8>>) -> io::Result<()> {
    while let Some(rest) = poll_fn(|cx| poll_echo(&stream, &mut buffer.borrow_mut(), cx)).await? {
        stream.write_all(&rest).await?;
    }
    Ok(())
}

/// Reads once and writes what the kernel takes at once. Returns the bytes that are left, mostly
/// none, or `None` at the end of the stream.
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
