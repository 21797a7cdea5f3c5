//! An echo server with callbacks: a handler for the listener, and one for each connection.
//!
//! ```text
//! cargo run --release --example callback_echo -- --backend poll --idle-ms 30000
//! nc 127.0.0.1 7777
//! ```
//!
//! The loop owns the sockets and calls a handler for each ready one, which reads and sends the
//! bytes back. Bytes that the client does not take are kept, and the server reads no more until
//! they are sent. With `--idle-ms` a connection that has received nothing for that long is closed;
//! each read pushes its timeout back.

mod support;

use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{Builder, Cause, EventLoop, Key, WaterMarks};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Duration;

/// The most bytes that one read takes, and that are kept for a client that does not read.
const BUFFER: usize = 64 * 1024;

/// The most connections that one call of the listener's handler accepts.
const ACCEPTS: usize = 64;

/// How long the listener pauses when the process is out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

const USAGE: &str = "\
usage: callback_echo [--addr IP:PORT] [--backend NAME] [--idle-ms MS] [--most N]

  --addr IP:PORT   where to listen (default 127.0.0.1:7777); port 0: any free port
  --backend NAME   epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --idle-ms MS     close a connection that has received nothing for MS milliseconds
  --most N         pause at N open connections, resume at four fifths of N
  --help           print this text";

/// The data that all handlers share.
struct Server {
    buffer: Vec<u8>,
    idle: Option<Duration>,
}

/// A connection, and the bytes that its client has not taken yet.
struct Connection {
    stream: TcpStream,
    left: Vec<u8>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let idle = arguments.take("--idle-ms");
    let settings = Settings {
        addr: addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7777))),
        backend: arguments.take("--backend"),
        idle: idle.map(|ms: NonZeroU64| Duration::from_millis(ms.get())),
        most: arguments.take("--most"),
    };
    arguments.finish();
    support::report(run(&settings))
}

/// The command line.
struct Settings {
    addr: SocketAddr,
    backend: Option<BackendKind>,
    idle: Option<Duration>,
    most: Option<NonZeroUsize>,
}

fn run(settings: &Settings) -> io::Result<()> {
    let mut builder = Builder::new();
    if let Some(kind) = settings.backend {
        builder = builder.backend(kind);
    }
    let mut event_loop = builder.build(Server {
        buffer: vec![0; BUFFER],
        idle: settings.idle,
    })?;
    let listener = TcpListener::bind(settings.addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let listener = event_loop.attach(listener, Interest::READABLE, Trigger::Level, accept)?;
    if let Some(most) = settings.most {
        // The listener counts as well.
        let marks = WaterMarks {
            low: most.get() * 4 / 5 + 1,
            high: most.get() + 1,
        };
        event_loop.set_water_marks(listener, Some(marks))?;
    }
    let backend = event_loop.backend_name();
    println!("listening on {addr} backend={backend}");
    event_loop.run()
}

/// Called when the listener is ready.
fn accept(event_loop: &mut EventLoop<Server>, listener: Key<TcpListener>, _: Cause) {
    for _ in 0..ACCEPTS {
        let Some(accepted) = event_loop.get(listener).map(TcpListener::accept) else {
            return;
        };
        match accepted {
            Ok((stream, _addr)) => {
                if let Err(error) = welcome(event_loop, stream) {
                    eprintln!("callback_echo: a connection was dropped: {error}");
                }
                // The water marks may have paused the listener, which does not end this loop.
                if event_loop.is_paused(listener) {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // The client closed the connection before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                eprintln!("callback_echo: accept: {error}");
                // For example out of descriptors. The listener stays ready, and every turn would
                // call this handler.
                if let Err(error) = event_loop.pause_for(listener, PAUSE) {
                    eprintln!("callback_echo: cannot pause the listener: {error}");
                    event_loop.stop();
                }
                return;
            }
        }
    }
}

fn welcome(event_loop: &mut EventLoop<Server>, stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let connection = Connection {
        stream,
        left: Vec::new(),
    };
    let key = event_loop.attach(connection, Interest::READABLE, Trigger::Level, serve)?;
    if let Some(idle) = event_loop.data().idle {
        event_loop.set_timeout(key, idle)?;
    }
    Ok(())
}

/// Called when a connection is ready, or was idle for too long.
fn serve(event_loop: &mut EventLoop<Server>, key: Key<Connection>, cause: Cause) {
    let stays_open = match cause {
        Cause::Timeout => false,
        Cause::Ready(_) => echo(event_loop, key).unwrap_or(false),
    };
    if !stays_open {
        event_loop.close(key);
    }
}

/// Sends back the received bytes, or more of the kept ones. Returns false at the end of the stream.
fn echo(event_loop: &mut EventLoop<Server>, key: Key<Connection>) -> io::Result<bool> {
    let Some((connection, server)) = event_loop.get_with_data(key) else {
        return Ok(false);
    };
    let transfer = connection.transfer(&mut server.buffer);
    match transfer? {
        Transfer::End => return Ok(false),
        Transfer::Done => {}
        // The handler waits for room to write, or for bytes to read, but never for both.
        Transfer::Stuck => event_loop.modify(key, Interest::WRITABLE)?,
        Transfer::Free => event_loop.modify(key, Interest::READABLE)?,
    }
    if event_loop.data().idle.is_some() {
        event_loop.push_timeout(key)?;
    }
    Ok(true)
}

/// The result of a transfer.
enum Transfer {
    /// All received bytes were sent back, or nothing changed.
    Done,
    /// The client takes no more bytes.
    Stuck,
    /// The client has taken the kept bytes.
    Free,
    /// The client has ended its side, and all its bytes were sent back.
    End,
}

impl Connection {
    /// Sends kept bytes if there are any; otherwise reads once and sends the bytes back.
    fn transfer(&mut self, buffer: &mut [u8]) -> io::Result<Transfer> {
        if !self.left.is_empty() {
            let sent = would_block(self.stream.write(&self.left))?.unwrap_or(0);
            self.left.drain(..sent);
            return Ok(if self.left.is_empty() {
                self.left = Vec::new();
                Transfer::Free
            } else {
                Transfer::Done
            });
        }
        let read = match would_block(self.stream.read(buffer))? {
            None => return Ok(Transfer::Done),
            Some(0) => return Ok(Transfer::End),
            Some(read) => read,
        };
        let sent = would_block(self.stream.write(&buffer[..read]))?.unwrap_or(0);
        if sent == read {
            return Ok(Transfer::Done);
        }
        self.left = buffer[sent..read].to_vec();
        Ok(Transfer::Stuck)
    }
}

/// Returns `None` for a call that would block or was interrupted.
fn would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}
