//! A DNS forwarder: sends each query to a name server, and to the next one if that one is silent.
//!
//! ```text
//! cargo run --release --example dns_forwarder -- --upstream 9.9.9.9:53,1.1.1.1:53
//! dig @127.0.0.1 -p 7783 example.com
//! ```
//!
//! Each query is a task. Over UDP it has a socket of its own, connected to the name server: the
//! kernel drops datagrams of others, and reports at once if nothing listens there. It is sent with
//! a new random id, which a forged answer would have to guess; the client gets the answer with the
//! id that it chose.
//!
//! An answer that does not fit into a datagram comes back truncated, and the client asks again over
//! TCP. So the forwarder listens on both, and asks the name server over the same protocol.

mod support;

use reveille::net::{TcpListener, TcpStream, UdpSocket};
use reveille::time::{Duration, sleep, timeout};
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

/// The length of a DNS header: id, flags, and the numbers of entries of four kinds.
const HEADER: usize = 12;

/// The longest datagram that is forwarded, in bytes. Clients ask for 1,232 to 4,096.
const MAX_DATAGRAM: usize = 4096;

/// The most queries that are on their way over UDP. Those beyond it are dropped, and asked again by
/// their clients.
const MAX_QUERIES: usize = 1000;

/// How long a TCP client may be silent.
const IDLE: Duration = Duration::from_secs(10);

const USAGE: &str = "\
usage: dns_forwarder [--addr IP:PORT] --upstream IP:PORT[,IP:PORT...] [--wait-ms N]

  --addr IP:PORT           where to listen, UDP and TCP (default 127.0.0.1:7783)
  --upstream IP:PORT,...   the name servers, in the order in which they are asked
  --wait-ms N              how long to wait for each, in milliseconds (default 2000)
  --help                   print this text";

/// What all tasks share.
struct Forwarder {
    upstreams: Vec<SocketAddr>,
    wait: Duration,
    queries: Cell<usize>,
}

/// The value of `--upstream`.
struct Upstreams(Vec<SocketAddr>);

impl std::str::FromStr for Upstreams {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Upstreams, Self::Err> {
        text.split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Upstreams)
    }
}

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let wait = arguments.take("--wait-ms").map(Duration::from_millis);
    let upstreams: Option<Upstreams> = arguments.take("--upstream");
    arguments.finish();
    let Some(Upstreams(upstreams)) = upstreams else {
        return support::report(Err(io::Error::other("--upstream is missing; see --help")));
    };
    let forwarder = Rc::new(Forwarder {
        upstreams,
        wait: wait.unwrap_or(Duration::from_secs(2)),
        queries: Cell::new(0),
    });
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7783)));
    support::report(reveille::block_on(run(addr, forwarder)))
}

async fn run(addr: SocketAddr, forwarder: Rc<Forwarder>) -> io::Result<()> {
    let (listener, socket) = bind(addr).await?;
    println!("listening on {}", listener.local_addr()?);
    reveille::spawn(serve_tcp(listener, forwarder.clone()));
    let socket = Rc::new(socket);
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let (n, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                eprintln!("dns_forwarder: receive: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let query = &buffer[..n];
        // An answer must never be answered: two servers would send to each other for ever.
        if !is_query(query) || forwarder.queries.get() == MAX_QUERIES {
            continue;
        }
        forwarder.queries.set(forwarder.queries.get() + 1);
        let (forwarder, socket, query) = (forwarder.clone(), socket.clone(), query.to_vec());
        reveille::spawn(async move {
            let answer = forwarder.answer(&query, ask_udp).await;
            forwarder.queries.set(forwarder.queries.get() - 1);
            if let Err(error) = socket.send_to(&answer, client).await {
                eprintln!("dns_forwarder: {client}: {error}");
            }
        });
    }
}

/// Binds the same port for TCP and UDP. With port 0 the first port that is free for one may be in
/// use for the other, so it tries several.
async fn bind(addr: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempts = if addr.port() == 0 { 20 } else { 1 };
    loop {
        let listener = TcpListener::bind(addr).await?;
        attempts -= 1;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if attempts == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

async fn serve_tcp(listener: TcpListener, forwarder: Rc<Forwarder>) {
    loop {
        match listener.accept().await {
            Ok((client, _addr)) => {
                let forwarder = forwarder.clone();
                reveille::spawn(async move {
                    // Clients close the connection as they like, so errors are dropped.
                    while let Ok(Ok(query)) = timeout(IDLE, read_message(&client)).await {
                        if !is_query(&query) {
                            break;
                        }
                        let answer = forwarder.answer(&query, ask_tcp).await;
                        let written = timeout(IDLE, write_message(&client, &answer)).await;
                        if !matches!(written, Ok(Ok(()))) {
                            break;
                        }
                    }
                });
            }
            Err(error) => {
                eprintln!("dns_forwarder: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Forwarder {
    /// Asks the name servers one after the other. Returns the first answer, or one that says that
    /// there is none.
    async fn answer(
        &self,
        query: &[u8],
        ask: impl AsyncFn(&[u8], SocketAddr) -> io::Result<Vec<u8>>,
    ) -> Vec<u8> {
        for upstream in &self.upstreams {
            let mut sent = query.to_vec();
            sent[..2].copy_from_slice(&random_id().to_be_bytes());
            let error = match timeout(self.wait, ask(&sent, *upstream)).await {
                Ok(Ok(mut answer)) => {
                    answer[..2].copy_from_slice(&query[..2]);
                    return answer;
                }
                Ok(Err(error)) => error,
                Err(elapsed) => elapsed.into(),
            };
            eprintln!("dns_forwarder: {upstream}: {error}");
        }
        // The query as an answer, with the code SERVFAIL, and without entries besides the question.
        let mut failure = query.to_vec();
        failure[2] |= 0x80;
        failure[3] = 2;
        failure[6..HEADER].fill(0);
        failure.truncate(question_end(query).unwrap_or(HEADER));
        if failure.len() == HEADER {
            failure[4..6].fill(0);
        }
        failure
    }
}

async fn ask_udp(query: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let any = match upstream {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    // Each query has a port of its own, another number to be guessed.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let n = socket.recv(&mut buffer).await?;
        // What answers something else is not from the name server, so the wait goes on.
        if answers(&buffer[..n], query) {
            return Ok(buffer[..n].to_vec());
        }
    }
}

async fn ask_tcp(query: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let server = TcpStream::connect(upstream).await?;
    write_message(&server, query).await?;
    let answer = read_message(&server).await?;
    if !answers(&answer, query) {
        return Err(io::Error::other("it answers another query"));
    }
    Ok(answer)
}

// --- messages: RFC 1035, section 4 ---------------------------------------------------------------

/// Reads a message from TCP, where its length comes first, in two bytes.
async fn read_message(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}

/// Whether this is a query: the first bit of the flags is set in answers.
fn is_query(message: &[u8]) -> bool {
    message.len() >= HEADER && message[2] & 0x80 == 0
}

/// Whether this answers the query: by its id, and by its question.
fn answers(message: &[u8], query: &[u8]) -> bool {
    let Some(end) = question_end(query) else {
        return false;
    };
    message.len() >= end
        && message[..2] == query[..2]
        && message[2] & 0x80 != 0
        // Names are compared without their case.
        && message[HEADER..end].eq_ignore_ascii_case(&query[HEADER..end])
}

/// Where the question of a message ends: a name, two bytes for its type and two for its class.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    // A name is a row of labels, each after its length. It ends with the empty one.
    loop {
        let length = usize::from(*message.get(at)?);
        at += length + 1;
        if length == 0 {
            return Some(at + 4).filter(|end| *end <= message.len());
        }
    }
}

/// A number that cannot be foreseen: std keys each hasher by the system's random numbers.
fn random_id() -> u16 {
    RandomState::new().hash_one(()) as u16
}
