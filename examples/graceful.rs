//! An HTTP server that ends without losing a request.
//!
//! ```text
//! cargo run --release --features signal --example graceful -- --grace 10
//! wrk -t 2 -c 100 -d 5 http://127.0.0.1:7787/     and meanwhile: kill -TERM, or Ctrl-C
//! ```
//!
//! It speaks enough of HTTP/1 for `curl` and `wrk`. On SIGTERM or Ctrl-C:
//!
//! 1. It takes what waits in the listener's queue, and closes the listener. The system would reset
//!    the connections in the queue.
//! 2. Each connection ends the requests that it has begun to read. The last response says
//!    `Connection: close`.
//! 3. A connection without a request gets [`IDLE`] to send one more, because it may be on its way.
//!    A client whose request crosses the close has to send it again (RFC 9112, section 9.3.1).
//! 4. A connection is closed for writing at first, and read until the client closes it or
//!    [`LINGER`] has passed. The system would reset a connection with unread bytes, and the client
//!    could lose the response.
//! 5. `Runtime::shutdown` runs all of this until it has ended or `--grace` has passed. What is left
//!    then is cut off, and named in the report. The exit status is 0 if nothing was.
//!
//! A second signal changes nothing, because the handler of the first one stays.
//!
//! One gap is left: a client that is in the middle of its handshake when the listener is closed is
//! reset. It has received no answer yet. To close the gap, pass the listening socket to the next
//! process, which goes on accepting.

mod support;

use reveille::net::{TcpListener, TcpStream};
use reveille::signal::{SignalKind, Signals, signals};
use reveille::time::{Duration, sleep, timeout};
use reveille::{Builder, Runtime, task};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How long a connection without a request may wait for one while the server ends.
const IDLE: Duration = Duration::from_secs(1);

/// How long the server waits for the client to close a connection.
const LINGER: Duration = Duration::from_secs(2);

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The longest body of a request, in bytes. It is read and ignored.
const MAX_BODY: usize = 1024 * 1024;

const USAGE: &str = "\
usage: graceful [--addr ADDR:PORT] [--grace SECONDS]

  --addr ADDR:PORT   where to listen (default 127.0.0.1:7787)
  --grace SECONDS    how long to wait for connections after SIGTERM or Ctrl-C (default 30)
  --help             print this text

GET /sleep/MILLISECONDS answers after that time; every other path at once.";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr: Option<String> = arguments.take("--addr");
    let grace: Option<Seconds> = arguments.take("--grace");
    arguments.finish();
    let grace = grace.map_or(Duration::from_secs(30), |Seconds(grace)| grace);
    match run(addr.as_deref().unwrap_or("127.0.0.1:7787"), grace) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => support::report(Err(error)),
    }
}

/// A time in seconds, which may have a fraction.
struct Seconds(Duration);

impl std::str::FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seconds, String> {
        let seconds: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
        let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
        Ok(Seconds(time))
    }
}

/// Serves until a signal comes, then ends. Returns whether nothing was cut off.
fn run(addr: &str, grace: Duration) -> io::Result<bool> {
    // The report then says where the tasks were spawned.
    let runtime = Builder::new().track_spawn_locations(true).build()?;
    let server = Rc::new(Server::default());
    let kind = runtime.block_on(accept_until_signal(addr, &server))?;
    server.stop();
    println!(
        "{kind}: waiting up to {grace:?} for {} connections",
        server.open.get()
    );
    let is_clean = end(runtime, grace);
    println!(
        "read {} requests, answered {}",
        server.read.get(),
        server.answered.get()
    );
    Ok(is_clean)
}

/// Gives the connections their time. Returns whether all of them have ended.
fn end(runtime: Runtime, grace: Duration) -> bool {
    let report = runtime.shutdown(grace);
    println!("{report}");
    report.is_clean()
}

/// Accepts connections until a signal comes, and then those that wait in the queue.
async fn accept_until_signal(addr: &str, server: &Rc<Server>) -> io::Result<SignalKind> {
    let mut requests = signals(&[SignalKind::terminate(), SignalKind::interrupt()])?;
    let listener = TcpListener::bind(addr).await?;
    println!("listening on {}", listener.local_addr()?);
    let kind = loop {
        match accept_or_signal(&listener, &mut requests).await {
            Ok(Next::Connection(stream, peer)) => server.spawn(stream, peer),
            Ok(Next::Signal(kind)) => break kind,
            // The runtime cannot take this connection: it is out of memory, for example. The others
            // go on.
            Err(error) => {
                eprintln!("graceful: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    loop {
        match listener.try_accept() {
            Ok((stream, peer)) => server.spawn(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Such as a lack of descriptors: those that are left are reset.
                eprintln!("graceful: accept: {error}");
                break;
            }
        }
    }
    Ok(kind)
}

enum Next {
    Connection(TcpStream, SocketAddr),
    Signal(SignalKind),
}

/// Waits for a connection or a signal.
async fn accept_or_signal(listener: &TcpListener, requests: &mut Signals) -> io::Result<Next> {
    poll_fn(|cx| {
        if let Poll::Ready(Some(kind)) = requests.poll_recv(cx) {
            return Poll::Ready(Ok(Next::Signal(kind)));
        }
        let accepted = listener.poll_accept(cx);
        accepted.map_ok(|(stream, peer)| Next::Connection(stream, peer))
    })
    .await
}

/// What the connections share.
#[derive(Default)]
struct Server {
    is_stopping: Cell<bool>,
    /// The number of the next connection.
    next: Cell<u64>,
    /// How many connections are open.
    open: Cell<u64>,
    /// The connections that wait for a request.
    idle: RefCell<HashMap<u64, Waker>>,
    /// How many requests were read to their end.
    read: Cell<u64>,
    /// How many responses were written to their end.
    answered: Cell<u64>,
}

fn add_one(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

impl Server {
    /// Spawns the task of a connection, whose name is the address of the client.
    fn spawn(self: &Rc<Server>, stream: TcpStream, peer: SocketAddr) {
        let (server, id) = (self.clone(), self.next.get());
        add_one(&self.next);
        add_one(&self.open);
        let connection = async move {
            // An error means that the client has reset its connection. It is not printed.
            serve(&server, id, &stream).await.ok();
            server.idle.borrow_mut().remove(&id);
            server.open.set(server.open.get() - 1);
        };
        drop(
            task::Builder::new()
                .name(peer.to_string())
                .spawn(connection),
        );
    }

    /// Makes the connections end.
    fn stop(&self) {
        self.is_stopping.set(true);
        let idle = self.idle.take();
        idle.into_values().for_each(Waker::wake);
    }

    /// Waits until the server stops.
    fn poll_stop(&self, id: u64, cx: &Context<'_>) -> Poll<()> {
        if self.is_stopping.get() {
            return Poll::Ready(());
        }
        self.idle.borrow_mut().insert(id, cx.waker().clone());
        Poll::Pending
    }
}

/// Answers the requests of one client until it closes its side or says `close`, breaks the
/// protocol, or the server ends.
async fn serve(server: &Server, id: u64, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::new();
    loop {
        let request = match next_request(server, id, stream, &mut input).await? {
            Received::Request(request) => request,
            Received::Nothing => return close(stream).await,
            Received::End => return Ok(()),
            Received::Fault(status) => {
                respond(stream, status, "", true, true).await?;
                return close(stream).await;
            }
        };
        add_one(&server.read);
        if let Some(time) = request.sleep {
            sleep(time).await;
        }
        input.drain(..request.length);
        if server.is_stopping.get() && input.is_empty() {
            // A request that the client has sent before it has this response is answered too.
            stream.try_read_buf(&mut input).ok();
        }
        let is_last = request.closes || server.is_stopping.get() && input.is_empty();
        respond(stream, "200 OK", "hello\n", request.is_head, is_last).await?;
        add_one(&server.answered);
        if is_last {
            return close(stream).await;
        }
    }
}

enum Received {
    Request(Request),
    /// The server ends, and the client has sent nothing.
    Nothing,
    /// The client has closed its side.
    End,
    /// It is no request that this server understands.
    Fault(&'static str),
}

/// Reads until `input` begins with a request.
async fn next_request(
    server: &Server,
    id: u64,
    stream: &TcpStream,
    input: &mut Vec<u8>,
) -> io::Result<Received> {
    let mut has_continued = false;
    loop {
        match parse(input) {
            Ok(Some(request)) if request.length <= input.len() => {
                return Ok(Received::Request(request));
            }
            Ok(Some(request)) if request.expects_continue && !has_continued => {
                has_continued = true;
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            Ok(_) => {}
            Err(status) => return Ok(Received::Fault(status)),
        }
        let read = if input.is_empty() {
            match read_or_stop(server, id, stream, input).await? {
                Some(read) => read,
                None => return Ok(Received::Nothing),
            }
        } else {
            stream.read_buf(input).await?
        };
        if read == 0 {
            return Ok(Received::End);
        }
    }
}

/// Reads the first bytes of a request. `None`: the server ends, and nothing has come.
async fn read_or_stop(
    server: &Server,
    id: u64,
    stream: &TcpStream,
    input: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    {
        let mut read = pin!(stream.read_buf(input));
        let read = poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => server.poll_stop(id, cx).map(|()| None),
        });
        if let Some(read) = read.await {
            return read.map(Some);
        }
    }
    timeout(IDLE, stream.read_buf(input)).await.ok().transpose()
}

/// Closes a connection so that the client gets everything that was written.
async fn close(stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let rest = async {
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? != 0 {}
        Ok(())
    };
    timeout(LINGER, rest).await.unwrap_or(Ok(()))
}

/// Writes a response.
async fn respond(
    stream: &TcpStream,
    status: &str,
    body: &str,
    is_head: bool,
    closes: bool,
) -> io::Result<()> {
    let connection = if closes { "close" } else { "keep-alive" };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    );
    if !is_head {
        response.push_str(body);
    }
    stream.write_all(response.as_bytes()).await
}

// --- the protocol: RFC 9112 ----------------------------------------------------------------------

struct Request {
    /// The bytes of the head and the body.
    length: usize,
    is_head: bool,
    /// The client wants no more responses on this connection.
    closes: bool,
    /// It sends its body after a response with the status 100.
    expects_continue: bool,
    /// How long to wait before the answer.
    sleep: Option<Duration>,
}

/// Parses the head of the first request of `input`, or returns `None` if that is not complete. An
/// error is the status of the response.
fn parse(input: &[u8]) -> Result<Option<Request>, &'static str> {
    const BAD: &str = "400 Bad Request";
    let window = &input[..input.len().min(MAX_HEAD)];
    let Some(end) = window.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return match window.len() {
            MAX_HEAD => Err("431 Request Header Fields Too Large"),
            _ => Ok(None),
        };
    };
    let head = std::str::from_utf8(&window[..end]).map_err(|_| BAD)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    let mut request = Request {
        length: end + 4,
        is_head: method == "HEAD",
        closes: match version {
            "HTTP/1.1" => false,
            "HTTP/1.0" => true,
            _ => return Err("505 HTTP Version Not Supported"),
        },
        expects_continue: false,
        sleep: target
            .strip_prefix("/sleep/")
            .and_then(|time| time.parse().ok())
            .map(Duration::from_millis),
    };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(BAD)?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length: usize = value.parse().map_err(|_| BAD)?;
                if length > MAX_BODY {
                    return Err("413 Content Too Large");
                }
                request.length = end + 4 + length;
            }
            "transfer-encoding" => return Err("501 Not Implemented"),
            "expect" => request.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "connection" => {
                let mut options = value.split(',').map(str::trim);
                request.closes |= options.any(|option| option.eq_ignore_ascii_case("close"));
            }
            _ => {}
        }
    }
    Ok(Some(request))
}
