//! One thread accepts, several serve: each connection is handed to the loop of another thread by a message.
//!
//! ```text
//! cargo run --release --example many_threads -- --addr 127.0.0.1:7777 --threads 4
//! ```
//!
//! This is how FastDFS uses its loops, less the pointers through a pipe: the message is the socket itself, and a loop that
//! is gone gives it back. Nothing else is shared, so the handlers need no locks.

use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{Builder, Cause, EventLoop, Sender, Source};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The most that one read takes.
const BUFFER: usize = 16 * 1024;

/// How long the acceptor waits when there is no descriptor left.
const BREATHER: Duration = Duration::from_millis(100);

const USAGE: &str = "\
usage: many_threads [--addr ADDR] [--backend NAME] [--threads N]

  --addr ADDR      IP:PORT to listen on (no host name), 127.0.0.1:7777 if not given; port 0 lets the system choose
  --backend NAME   epoll, poll, ...; without it the variable REVEILLE_BACKEND decides, and else the best one there is
  --threads N      loops that serve, each on a thread of its own; as many as there are processors if not given
  --help           print this";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("many_threads: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("many_threads: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut workers = Vec::new();
    for _ in 0..arguments.threads {
        workers.push(start_worker(arguments.backend)?);
    }
    let addr = arguments.addr;
    let bound = TcpListener::bind(addr);
    let listener =
        bound.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}")))?;
    let (addr, backend) = (listener.local_addr()?, &workers[0].backend);
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {addr} backend={backend}")?;
    stdout.flush()?;
    accept(&listener, &workers)
}

/// Accepts for ever, and deals the connections out in turn.
fn accept(listener: &TcpListener, workers: &[Worker]) -> io::Result<()> {
    let mut turns = workers.iter().cycle();
    loop {
        let stream = match listener.accept() {
            Ok((stream, _addr)) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                eprintln!("many_threads: accept: {error}");
                thread::sleep(BREATHER);
                continue;
            }
        };
        let worker = turns.next().expect("the workers go round and round");
        if worker.connections.send(stream).is_err() {
            return Err(io::Error::other("a worker has ended"));
        }
    }
}

/// A loop on a thread of its own.
struct Worker {
    connections: Sender<TcpStream>,
    backend: String,
}

/// A loop stays on the thread that made it, so the thread makes it and sends back what others need of it.
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
            // An error concerns this connection alone, and closes it.
            if let Err(error) = welcome(event_loop, stream) {
                eprintln!("many_threads: a connection was dropped: {error}");
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

/// A connection, and what its client has not taken yet.
struct Connection {
    stream: TcpStream,
    left: Vec<u8>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn serve(event_loop: &mut EventLoop<Vec<u8>>, source: Source<Connection>, _: Cause) {
    let Some((connection, buffer)) = event_loop.get_with_data(source) else {
        return;
    };
    let next = connection.echo(buffer);
    let goes_on = match next {
        Ok(Some(interest)) => event_loop.modify(source, interest).is_ok(),
        Ok(None) | Err(_) => false,
    };
    if !goes_on {
        event_loop.close(source);
    }
}

impl Connection {
    /// Sends back what has come; what to wait for next, or `None` at the end.
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

struct Arguments {
    addr: SocketAddr,
    backend: Option<BackendKind>,
    threads: usize,
}

impl Arguments {
    /// `None`: the usage was asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
        let mut arguments = Arguments {
            addr: SocketAddr::from(([127, 0, 0, 1], 7777)),
            backend: None,
            threads: thread::available_parallelism().map_or(1, usize::from),
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
                "--threads" => {
                    let text = value()?;
                    arguments.threads = match text.parse() {
                        Ok(threads @ 1..=1024) => threads,
                        _ => return Err(format!("{text:?} is no number from 1 to 1024")),
                    };
                }
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown argument {other:?}")),
            }
        }
        Ok(Some(arguments))
    }
}
