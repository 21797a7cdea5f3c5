//! One thread accepts connections and sends each of them, by a message, to the loop of another
//! thread.
//!
//! ```text
//! cargo run --release --example many_threads -- --addr 127.0.0.1:7777 --threads 4
//! ```
//!
//! The message contains the socket itself. If a loop has ended, `send` returns the socket. The
//! threads share nothing else, so the handlers need no locks.

mod support;

use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{Builder, Cause, EventLoop, Key, Sender};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The most bytes that one read takes.
const BUFFER: usize = 16 * 1024;

/// How long the accepting thread pauses when the process is out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

const USAGE: &str = "\
usage: many_threads [--addr IP:PORT] [--backend NAME] [--threads N]

  --addr IP:PORT   where to listen (default 127.0.0.1:7777); port 0: any free port
  --backend NAME   epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --threads N      the number of threads that serve (default: one for each processor)
  --help           print this text";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let backend = arguments.take("--backend");
    let threads = arguments.take("--threads");
    arguments.finish();
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7777)));
    let threads = threads
        .or_else(|| thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN);
    support::report(run(addr, backend, threads))
}

fn run(addr: SocketAddr, backend: Option<BackendKind>, threads: NonZeroUsize) -> io::Result<()> {
    let mut workers = Vec::new();
    for _ in 0..threads.get() {
        workers.push(start_worker(backend)?);
    }
    let listener = TcpListener::bind(addr)?;
    let (addr, backend) = (listener.local_addr()?, &workers[0].backend);
    println!("listening on {addr} backend={backend}");
    accept(&listener, &workers)
}

/// Accepts connections and sends them to the workers in turn.
fn accept(listener: &TcpListener, workers: &[Worker]) -> io::Result<()> {
    let mut turns = workers.iter().cycle();
    loop {
        let stream = match listener.accept() {
            Ok((stream, _addr)) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                eprintln!("many_threads: accept: {error}");
                thread::sleep(PAUSE);
                continue;
            }
        };
        let worker = turns.next().expect("there is at least one worker");
        if worker.connections.send(stream).is_err() {
            return Err(io::Error::other(
                "a worker has ended: see its message above",
            ));
        }
    }
}

/// A loop on another thread.
struct Worker {
    connections: Sender<TcpStream>,
    backend: String,
}

/// Starts a thread. A loop cannot move to another thread, so the new thread creates it and sends
/// its sender back.
fn start_worker(backend: Option<BackendKind>) -> io::Result<Worker> {
    let (made, worker) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let mut builder = Builder::new();
        if let Some(kind) = backend {
            builder = builder.backend(kind);
        }
        let mut event_loop = match builder.build(vec![0; BUFFER]) {
            Ok(event_loop) => event_loop,
            Err(error) => return drop(made.send(Err(error))),
        };
        let connections = event_loop.on_message(|event_loop, stream| {
            // The error is about this connection only, which is closed.
            if let Err(error) = welcome(event_loop, stream) {
                eprintln!("many_threads: a connection was closed: {error}");
            }
        });
        let backend = event_loop.backend_name().to_owned();
        let worker = Worker {
            connections,
            backend,
        };
        if made.send(Ok(worker)).is_ok() {
            if let Err(error) = event_loop.run() {
                eprintln!("many_threads: a loop failed: {error}");
            }
        }
    })?;
    worker
        .recv()
        .map_err(|_| io::Error::other("a worker panicked"))?
}

/// Attaches a new connection to the loop of this thread.
fn welcome(event_loop: &mut EventLoop<Vec<u8>>, stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let connection = Connection {
        stream,
        left: Vec::new(),
    };
    event_loop.attach(connection, Interest::READABLE, Trigger::Level, serve)?;
    Ok(())
}

/// A connection, and the bytes that its client has not taken.
struct Connection {
    stream: TcpStream,
    left: Vec<u8>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Called when a connection is ready.
fn serve(event_loop: &mut EventLoop<Vec<u8>>, key: Key<Connection>, _: Cause) {
    let Some((connection, buffer)) = event_loop.get_with_data(key) else {
        return;
    };
    let next = connection.echo(buffer);
    let stays_open = match next {
        Ok(Some(interest)) => event_loop.modify(key, interest).is_ok(),
        Ok(None) | Err(_) => false,
    };
    if !stays_open {
        event_loop.close(key);
    }
}

impl Connection {
    /// Sends the received bytes back. Returns what to wait for next, or `None` at the end of the
    /// stream.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<Option<Interest>> {
        let Connection { stream, left } = self;
        if left.is_empty() {
            let read = match stream.read(buffer) {
                Ok(0) => return Ok(None),
                Err(error) if is_transient(&error) => return Ok(Some(Interest::READABLE)),
                read => read?,
            };
            left.extend_from_slice(&buffer[..read]);
        }
        match stream.write(left) {
            Err(error) if is_transient(&error) => {}
            sent => drop(left.drain(..sent?)),
        }
        Ok(Some(if left.is_empty() {
            Interest::READABLE
        } else {
            Interest::WRITABLE
        }))
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
