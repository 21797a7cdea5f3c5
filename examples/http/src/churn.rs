//! Clients of the example `http` that reset, stall and close one side at random, and some that
//! behave. `.ci/http-churn.sh` runs it.
//!
//! First all connections are opened, and each gets an answer. Then each task makes one connection
//! after the other, so about as many stay open. Those that behave must get each answer: run them as
//! a process of their own, because the others keep theirs busy.

#[path = "../../support/mod.rs"]
mod support;

use reveille::net::{TcpSocket, TcpStream};
use reveille::time::{Duration, Instant, sleep, timeout};
use reveille::{JoinHandle, spawn};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;

const USAGE: &str = "\
usage: http-churn --addr IP:PORT [--connections N] [--good N] [--seconds N]

  --addr IP:PORT     the server
  --connections N    how many are open at a time, and treated badly (default 100)
  --good N           how many clients behave (default 0)
  --seconds N        how long, after all have been opened (default 5)
  --help             print this text";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server may end a connection without a request after this time.
const SLOW: Duration = Duration::from_secs(1);

/// The longest time that a client stalls, in milliseconds.
const STALL: u64 = 6000;

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr = arguments.take("--addr");
    let connections = arguments.take("--connections").unwrap_or(100);
    let good = arguments.take("--good").unwrap_or(0);
    let seconds = arguments.take("--seconds").unwrap_or(5);
    arguments.finish();
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7777)));
    let churn = Rc::new(Churn {
        addr,
        made: Cell::new(0),
        ended_by_server: Cell::new(0),
        latencies: RefCell::default(),
        random: Cell::new(u64::from(std::process::id()) | 1),
    });
    let result = reveille::block_on(churn.clone().run(
        connections,
        good,
        Duration::from_secs(seconds),
    ));
    support::report(result)
}

struct Churn {
    addr: SocketAddr,
    /// Connections so far.
    made: Cell<u64>,
    /// Connections that stalled until the server ended them.
    ended_by_server: Cell<u64>,
    /// The times that the clients that behave have waited for their answers.
    latencies: RefCell<Vec<Duration>>,
    random: Cell<u64>,
}

impl Churn {
    async fn run(
        self: Rc<Churn>,
        connections: usize,
        good: usize,
        time: Duration,
    ) -> io::Result<()> {
        let opening: Vec<_> = (0..connections)
            .map(|number| {
                let churn = self.clone();
                spawn(async move { churn.get_on_new(number).await })
            })
            .collect();
        let open = join(opening).await?;
        println!("{} connections are open", open.len());
        let end = Instant::now() + time;
        let mut tasks: Vec<_> = (0..good)
            .map(|number| spawn(self.clone().behave(number, end)))
            .collect();
        tasks.extend(open.into_iter().enumerate().map(|(number, first)| {
            let churn = self.clone();
            spawn(async move {
                // Not all in the same moment.
                sleep(churn.millis(1000)).await;
                drop(first);
                while Instant::now() < end {
                    // The server may reset it, or end it in time: any error is fine.
                    let one = churn.misbehave(number, end);
                    let Ok(result) = timeout(3 * PATIENCE, one).await else {
                        return Err(io::Error::other("the server does not end a connection"));
                    };
                    if result.is_err() {
                        sleep(churn.millis(10)).await;
                    }
                }
                Ok(())
            })
        }));
        join(tasks).await?;
        self.print();
        Ok(())
    }

    fn print(&self) {
        let (made, ended) = (self.made.get(), self.ended_by_server.get());
        println!("{made} connections, {ended} of those that stalled were ended by the server");
        let mut latencies = self.latencies.borrow_mut();
        latencies.sort();
        if let Some(last) = latencies.last() {
            let count = latencies.len();
            println!(
                "{count} requests answered, half of them within {:?}, 99 % within {:?}, all within \
                 {last:?}",
                latencies[count / 2],
                latencies[count * 99 / 100],
            );
        }
    }

    /// Gets a page on a new connection, again and again.
    async fn behave(self: Rc<Churn>, number: usize, end: Instant) -> io::Result<()> {
        while Instant::now() < end {
            let start = Instant::now();
            let stream = self.get_on_new(number).await?;
            self.latencies.borrow_mut().push(start.elapsed());
            drop(stream);
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Makes a connection that is answered.
    async fn get_on_new(&self, number: usize) -> io::Result<TcpStream> {
        loop {
            let stream = self.connect(number).await?;
            let start = Instant::now();
            match self.get(&stream).await {
                Ok(()) => return Ok(stream),
                // On a machine that is too busy, this client is too slow itself.
                Err(_) if start.elapsed() > SLOW => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes one connection and treats it badly.
    async fn misbehave(&self, number: usize, end: Instant) -> io::Result<()> {
        let stream = self.connect(number).await?;
        match self.below(8) {
            // Some requests, then a close or a reset.
            0 | 1 => {
                for _ in 0..self.below(5) {
                    self.get(&stream).await?;
                    sleep(self.millis(1000)).await;
                }
            }
            // A part of a head, or of a body, or a download that is not read.
            2 => {
                self.stall(&stream, b"GET / HTTP/1.1\r\nhost: ", end)
                    .await?
            }
            3 => {
                let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\nabc";
                self.stall(&stream, head, end).await?;
            }
            4 => {
                let head = b"GET /10000000 HTTP/1.1\r\nhost: x\r\n\r\n";
                self.stall(&stream, head, end).await?;
            }
            // A whole request, or a part, and the end of this side. The whole one is answered.
            5 => {
                stream
                    .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                    .await?;
                stream.shutdown(Shutdown::Write)?;
                read_hello(&stream).await?;
                sleep(self.millis(1000)).await;
            }
            6 => {
                stream
                    .write_all(b"POST / HTTP/1.1\r\nhost: x\r\nconte")
                    .await?;
                stream.shutdown(Shutdown::Write)?;
                while stream.read(&mut [0; 1024]).await? > 0 {}
            }
            // The middle of a download.
            _ => {
                stream
                    .write_all(b"GET /1000000 HTTP/1.1\r\nhost: x\r\n\r\n")
                    .await?;
                let mut rest = self.below(1_000_000);
                let mut buffer = vec![0; 16 * 1024];
                while rest > 0 {
                    match stream.read(&mut buffer).await? {
                        0 => break,
                        n => rest = rest.saturating_sub(n as u64),
                    }
                }
            }
        }
        if self.below(2) == 0 {
            stream.set_zero_linger()?;
        }
        Ok(())
    }

    /// Sends something, and waits for the server to end the connection, or for less.
    async fn stall(&self, stream: &TcpStream, bytes: &[u8], end: Instant) -> io::Result<()> {
        stream.write_all(bytes).await?;
        let left = end.saturating_duration_since(Instant::now());
        let time = self.millis(STALL).min(left);
        if timeout(time, stream.read_closed()).await.is_ok() {
            self.ended_by_server.set(self.ended_by_server.get() + 1);
        }
        Ok(())
    }

    /// Several addresses to connect from, because each has 28,000 ports, and a port rests for a
    /// minute after a connection that this side has closed.
    async fn connect(&self, number: usize) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 1 + (number % 200) as u8, 1], 0)))?;
        let stream = timeout(PATIENCE, socket.connect(self.addr)).await??;
        self.made.set(self.made.get() + 1);
        Ok(stream)
    }

    async fn get(&self, stream: &TcpStream) -> io::Result<()> {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await?;
        timeout(PATIENCE, read_hello(stream)).await?
    }

    /// xorshift64
    fn below(&self, end: u64) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x % end
    }

    fn millis(&self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

/// Reads the answer to `GET /`.
async fn read_hello(stream: &TcpStream) -> io::Result<()> {
    let mut answer = Vec::with_capacity(256);
    while !answer.ends_with(b"\r\n\r\nhello\n") {
        if stream.read_buf(&mut answer).await? == 0 {
            let text = String::from_utf8_lossy(&answer);
            return Err(io::Error::other(format!("the answer is {text:?}")));
        }
    }
    Ok(())
}

/// Waits for tasks. Returns the first error.
async fn join<T>(tasks: Vec<JoinHandle<io::Result<T>>>) -> io::Result<Vec<T>> {
    let mut outputs = Vec::with_capacity(tasks.len());
    for task in tasks {
        outputs.push(task.await.map_err(io::Error::other)??);
    }
    Ok(outputs)
}
