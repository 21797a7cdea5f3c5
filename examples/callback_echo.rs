//! An echo server without futures: a handler for the listener, and one for each connection.
//!
//! ```text
//! cargo run --release --example callback_echo -- --addr 127.0.0.1:7777 --backend poll --idle-ms 30000
//! ```
//!
//! What FastDFS and lighttpd do in C: the loop owns the sockets, a handler is called when one is ready, reads what there is
//! and sends it back. What the client does not take is kept, and nothing more is read before it is gone. With `--idle-ms` a
//! connection on which nothing has come for that long is closed: its timeout is pushed back on each read, which costs
//! a store.

use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{Builder, Cause, EventLoop, Source, WaterMarks};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Duration;

/// The most that one read takes, and that a client which does not read keeps in memory.
const BUFFER: usize = 64 * 1024;

/// Connections that one call of the listener's handler accepts at most: the others wait for their turn.
const ACCEPTS: usize = 64;

/// How long the listener pauses when there is no descriptor left for a connection.
const BREATHER: Duration = Duration::from_millis(100);

const USAGE: &str = "\
usage: callback_echo [--addr ADDR] [--backend NAME] [--idle-ms MS] [--most N]

  --addr ADDR      IP:PORT to listen on (no host name), 127.0.0.1:7777 if not given; port 0 lets the system choose
  --backend NAME   epoll, poll, ...; without it the variable REVEILLE_BACKEND decides, and else the best one there is
  --idle-ms MS     closes a connection on which nothing has come for that long
  --most N         accepts no more while N connections are open, and goes on at four fifths of that
  --help           print this";

/// What all handlers share.
struct Server {
    buffer: Vec<u8>,
    idle: Option<Duration>,
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

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("callback_echo: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("callback_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut builder = Builder::new();
    if let Some(kind) = arguments.backend {
        builder = builder.backend(kind);
    }
    let mut event_loop = builder.build(Server {
        buffer: vec![0; BUFFER],
        idle: arguments.idle,
    })?;
    let addr = arguments.addr;
    let bound = TcpListener::bind(addr);
    let listener =
        bound.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}")))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let listener = event_loop.attach(listener, Interest::READABLE, Trigger::Level, accept)?;
    if let Some(most) = arguments.most {
        // The listener is attached too.
        let marks = WaterMarks {
            low: most * 4 / 5 + 1,
            high: most + 1,
        };
        event_loop.set_water_marks(listener, Some(marks))?;
    }
    let mut stdout = io::stdout();
    let backend = event_loop.backend_name();
    writeln!(stdout, "listening on {addr} backend={backend}")?;
    stdout.flush()?;
    event_loop.run()
}

/// The listener is ready.
fn accept(event_loop: &mut EventLoop<Server>, listener: Source<TcpListener>, _: Cause) {
    for _ in 0..ACCEPTS {
        let Some(accepted) = event_loop.get(listener).map(TcpListener::accept) else {
            return;
        };
        match accepted {
            Ok((stream, _addr)) => {
                if let Err(error) = welcome(event_loop, stream) {
                    eprintln!("callback_echo: a connection was dropped: {error}");
                }
                // The water marks may have paused the listener, which ends what comes, not what is accepted here.
                if event_loop.is_paused(listener) {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // That connection died in the queue.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                eprintln!("callback_echo: accept: {error}");
                // Out of descriptors: the queue stays full, and a level trigger would call again and again.
                if let Err(error) = event_loop.pause_for(listener, BREATHER) {
                    eprintln!("callback_echo: the listener is lost: {error}");
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
    let source = event_loop.attach(connection, Interest::READABLE, Trigger::Level, serve)?;
    if let Some(idle) = event_loop.data().idle {
        event_loop.set_timeout(source, idle)?;
    }
    Ok(())
}

/// A connection is ready, or has been idle for too long.
fn serve(event_loop: &mut EventLoop<Server>, source: Source<Connection>, cause: Cause) {
    let goes_on = match cause {
        Cause::Timeout => false,
        Cause::Ready(_) => echo(event_loop, source).unwrap_or(false),
    };
    if !goes_on {
        event_loop.close(source);
    }
}

/// Sends back what has come, or more of what was left; false at the end.
fn echo(event_loop: &mut EventLoop<Server>, source: Source<Connection>) -> io::Result<bool> {
    let Some((connection, server)) = event_loop.get_with_data(source) else {
        return Ok(false);
    };
    let transferred = connection.transfer(&mut server.buffer);
    match transferred? {
        Transfer::End => return Ok(false),
        Transfer::Done => {}
        // From now on the connection is written to, and read no more; or the other way round.
        Transfer::Stuck => event_loop.modify(source, Interest::WRITABLE)?,
        Transfer::Free => event_loop.modify(source, Interest::READABLE)?,
    }
    if event_loop.data().idle.is_some() {
        event_loop.push_timeout(source)?;
    }
    Ok(true)
}

/// How a transfer ended.
enum Transfer {
    /// All that had come went back.
    Done,
    /// The client does not take it.
    Stuck,
    /// The client has taken what was left.
    Free,
    /// The client has ended its side, and has all that it sent.
    End,
}

impl Connection {
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

/// `None` for a call that would block or was interrupted.
fn would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}

struct Arguments {
    addr: SocketAddr,
    backend: Option<BackendKind>,
    idle: Option<Duration>,
    most: Option<usize>,
}

impl Arguments {
    /// `None`: the usage was asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
        let mut arguments = Arguments {
            addr: SocketAddr::from(([127, 0, 0, 1], 7777)),
            backend: None,
            idle: None,
            most: None,
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
                "--idle-ms" => arguments.idle = Some(Duration::from_millis(number(&value()?)?)),
                "--most" => arguments.most = Some(number(&value()?)? as usize),
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown argument {other:?}")),
            }
        }
        Ok(Some(arguments))
    }
}

/// A number above zero.
fn number(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no number above 0")),
        Ok(number) => Ok(number),
    }
}
