//! A TCP load balancer: connections go to the backend that has the fewest.
//!
//! ```text
//! cargo run --release --example balancer -- --to 127.0.0.1:8001,127.0.0.1:8002
//! wrk http://127.0.0.1:7784/
//! ```
//!
//! A task for each backend connects to it now and then, and marks it as up or down. Besides, a
//! backend to which a client cannot be connected is marked as down at once, and the client gets the
//! next one. If all are marked as down, all are tried: a mark may be wrong.
//!
//! Counts and marks are in `Cell`s that all tasks share, because all run on one thread.

mod support;

use reveille::io::copy_bidirectional;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, interval, sleep, timeout};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

const USAGE: &str = "\
usage: balancer [--addr ADDR:PORT] --to IP:PORT[,IP:PORT...] [--check-ms N]

  --addr ADDR:PORT   where to listen (default 127.0.0.1:7784)
  --to IP:PORT,...   the backends
  --check-ms N       the time between two checks of a backend, in milliseconds (default 1000)
  --help             print this text";

/// How long it may take to connect to a backend.
const CONNECT: Duration = Duration::from_secs(5);

/// A server that clients are connected to.
struct Backend {
    addr: SocketAddr,
    is_up: Cell<bool>,
    /// How many connections there are.
    connections: Cell<usize>,
    /// How many connections there were.
    served: Cell<u64>,
}

impl Backend {
    /// Marks the backend, and prints what has changed.
    fn mark(&self, result: &io::Result<TcpStream>) {
        if self.is_up.replace(result.is_ok()) != result.is_ok() {
            match result {
                Ok(_) => println!("{} is up", self.addr),
                Err(error) => println!(
                    "{} is down after {} connections: {error}",
                    self.addr,
                    self.served.get()
                ),
            }
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let result = match timeout(CONNECT, TcpStream::connect(self.addr)).await {
            Ok(result) => result,
            Err(elapsed) => Err(elapsed.into()),
        };
        self.mark(&result);
        result
    }
}

/// Counts a connection until it is dropped, whatever ends the task.
struct Counted<'a>(&'a Backend);

impl Counted<'_> {
    fn new(backend: &Backend) -> Counted<'_> {
        backend.connections.set(backend.connections.get() + 1);
        Counted(backend)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// The value of `--to`.
struct Addrs(Vec<SocketAddr>);

impl std::str::FromStr for Addrs {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Addrs, Self::Err> {
        text.split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Addrs)
    }
}

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr: Option<String> = arguments.take("--addr");
    let check = arguments.take("--check-ms").map(Duration::from_millis);
    let addrs: Option<Addrs> = arguments.take("--to");
    arguments.finish();
    let Some(Addrs(addrs)) = addrs else {
        return support::report(Err(io::Error::other("--to is missing; see --help")));
    };
    let backends = addrs.into_iter().map(|addr| Backend {
        addr,
        is_up: Cell::new(true),
        connections: Cell::new(0),
        served: Cell::new(0),
    });
    // An interval of zero is refused.
    let check = check
        .unwrap_or(Duration::from_secs(1))
        .max(Duration::from_millis(1));
    support::report(reveille::block_on(run(
        addr.as_deref().unwrap_or("127.0.0.1:7784"),
        backends.collect(),
        check,
    )))
}

async fn run(addr: &str, backends: Rc<[Backend]>, check: Duration) -> io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    println!("listening on {}", listener.local_addr()?);
    for index in 0..backends.len() {
        let backends = backends.clone();
        reveille::spawn(async move {
            let mut interval = interval(check);
            loop {
                interval.tick().await;
                // The connection is closed at once: that it was accepted is enough.
                backends[index].connect().await.ok();
            }
        });
    }
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                let backends = backends.clone();
                reveille::spawn(async move {
                    if let Err(error) = serve(client, &backends).await {
                        eprintln!("balancer: {peer}: {error}");
                    }
                });
            }
            Err(error) => {
                eprintln!("balancer: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Connects a client to a backend and moves the bytes both ways, until both sides have ended.
async fn serve(mut client: TcpStream, backends: &[Backend]) -> io::Result<()> {
    let mut tried = vec![false; backends.len()];
    let mut last = None;
    while let Some(index) = choose(backends, &tried) {
        tried[index] = true;
        let backend = &backends[index];
        // Counted before it is connected, so that clients that come together are spread.
        let _counted = Counted::new(backend);
        match backend.connect().await {
            Ok(mut server) => {
                backend.served.set(backend.served.get() + 1);
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                copy_bidirectional(&mut client, &mut server).await?;
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
    }
    // The client sees that its connection is closed.
    Err(last.unwrap_or_else(|| io::Error::other("there is no backend")))
}

/// Chooses among the backends that were not tried: one that is up, with the fewest connections,
/// that has served the fewest.
fn choose(backends: &[Backend], tried: &[bool]) -> Option<usize> {
    (0..backends.len())
        .filter(|index| !tried[*index])
        .min_by_key(|index| {
            let backend = &backends[*index];
            let connections = backend.connections.get();
            (!backend.is_up.get(), connections, backend.served.get())
        })
}
