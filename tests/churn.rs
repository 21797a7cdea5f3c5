//! Thousands of connections that come, go, and are cancelled in the middle of everything. After it
//! the process has the descriptors and tasks that it had before.
//!
//! Server and clients are two processes: the test runs itself again as the clients. First all
//! connections are open at once, then they come and go. It takes a second.
//! `REVEILLE_CHURN=connections,seconds` makes it longer; then it also prints the memory. See
//! `.ci/churn.sh`.

#![cfg(target_os = "linux")]

mod support;

use reveille::backend::{BackendKind, available};
use reveille::net::{TcpListener, TcpSocket, TcpStream};
use reveille::time::{sleep, timeout};
use reveille::{Builder, Runtime, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::{Random, guarded, poll_once, raise_descriptor_limit};

/// What the environment asks for: connections at a time, and seconds.
fn size() -> (usize, Duration) {
    let Ok(text) = std::env::var("REVEILLE_CHURN") else {
        return (100, Duration::from_secs(1));
    };
    let (connections, seconds) = text.split_once(',').expect("connections,seconds");
    let seconds = seconds.parse().expect("a number of seconds");
    (
        connections.parse().expect("a number of connections"),
        Duration::from_secs(seconds),
    )
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns how many KiB of memory the process has.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.unwrap().split_whitespace();
    words
        .skip(1)
        .map(|word| word.parse().unwrap())
        .next()
        .unwrap()
}

/// Returns how many KiB of the heap are in use, without what the allocator keeps for later.
#[cfg(target_env = "gnu")]
fn allocated() -> usize {
    // SAFETY: the call takes no pointer and returns integers.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) / 1024
}

#[cfg(not(target_env = "gnu"))]
fn allocated() -> usize {
    0
}

/// A number below `end`.
fn below(random: &RefCell<Random>, end: u64) -> u64 {
    random.borrow_mut().next() % end
}

fn micros(random: &RefCell<Random>, end: u64) -> Duration {
    Duration::from_micros(below(random, end))
}

#[test]
fn nothing_is_left_of_thousands_of_connections() {
    if let Ok(addr) = std::env::var("REVEILLE_CHURN_SERVER") {
        return clients(addr.parse().unwrap());
    }
    raise_descriptor_limit();
    let (connections, _) = size();
    for kind in BackendKind::ALL {
        let chosen = std::env::var("REVEILLE_BACKEND").ok();
        let is_chosen = chosen.is_none_or(|name| name == kind.name());
        let is_here = available()
            .iter()
            .any(|one| one.kind() == kind && one.is_available());
        if !is_chosen || !is_here || kind == BackendKind::Select && connections > 800 {
            continue;
        }
        guarded(kind.name(), || serve(kind));
    }
}

/// Serves one run of the clients.
fn serve(kind: BackendKind) {
    let descriptors = open_descriptors();
    let runtime = Builder::new().backend(kind).build().unwrap();
    runtime.block_on(async {
        // Twice: the first run shows what the process keeps, such as its heap.
        let mut before = None;
        for run in ["first", "second"] {
            churn(&runtime, kind, run).await;
            let now = (open_descriptors(), runtime.tasks().len());
            assert_eq!(*before.get_or_insert(now), now, "{run} run");
        }
    });
    drop(runtime);
    assert_eq!(open_descriptors(), descriptors);
}

async fn churn(runtime: &Runtime, kind: BackendKind, run: &str) {
    let start = (memory(), allocated());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let random = Rc::new(RefCell::new(Random(kind as u64 + 77)));
    let served = Rc::new(Cell::new(0_u64));
    let live = Rc::new(Cell::new(0_usize));
    let most = Rc::new(Cell::new(0));
    let server = spawn(server(
        listener,
        random,
        served.clone(),
        live.clone(),
        most.clone(),
    ));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "nothing_is_left_of_thousands_of_connections",
            "--exact",
            "--nocapture",
        ])
        .env("REVEILLE_CHURN_SERVER", addr.to_string())
        .env("REVEILLE_CHURN_BACKEND", kind.name())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        sleep(Duration::from_millis(5)).await;
    };
    assert!(status.success(), "the clients: {status}");
    let peak = (memory(), allocated());
    // All clients are gone, so every connection ends.
    while live.get() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    server.abort();
    let _ = server.await;
    while runtime.tasks().len() > 1 {
        sleep(Duration::from_millis(1)).await;
    }
    println!(
        "{kind}, {run} run: {} connections, at most {} at a time; KiB in the process and in the \
         heap: {start:?} before, {peak:?} then, {:?} after",
        served.get(),
        most.get(),
        (memory(), allocated())
    );
    runtime.shrink();
    println!(
        "{kind}, {run} run: {} KiB in the heap after `Runtime::shrink`",
        allocated()
    );
    assert!(most.get() >= size().0, "at most {} at a time", most.get());
}

/// Accepts connections and serves each in a task. Once as many live as `size` says, some of the
/// tasks are aborted.
async fn server(
    listener: TcpListener,
    random: Rc<RefCell<Random>>,
    served: Rc<Cell<u64>>,
    live: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
) {
    let (connections, _) = size();
    let calm = Rc::new(Cell::new(true));
    loop {
        // EMFILE and the like are waited out inside.
        let (stream, _) = listener.accept().await.unwrap();
        let (random, counted) = (random.clone(), Live::new(&live));
        served.set(served.get() + 1);
        most.set(most.get().max(live.get()));
        let cancel = below(&random, 8);
        let is_calm = calm.clone();
        let task = spawn(async move {
            let _counted = counted;
            let _ = connection(&stream, &random, &is_calm).await;
        });
        if calm.get() {
            // The clients begin to churn when each has had its first answer.
            calm.set(live.get() < connections);
            continue;
        }
        match cancel {
            0 => task.abort(),
            1 => {
                spawn(async move {
                    sleep(Duration::from_millis(3)).await;
                    task.abort();
                });
            }
            _ => {}
        }
    }
}

/// Counts the connections that live.
struct Live(Rc<Cell<usize>>);

impl Live {
    fn new(count: &Rc<Cell<usize>>) -> Live {
        count.set(count.get() + 1);
        Live(count.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Echoes, in portions, with pauses. If it is not calm: with a limit of time, and a reset now and
/// then.
async fn connection(
    stream: &TcpStream,
    random: &RefCell<Random>,
    calm: &Cell<bool>,
) -> io::Result<()> {
    let mut buf = vec![0; 1 + below(random, 4096) as usize];
    loop {
        // A connection of the calm beginning may be silent until all are there.
        let limit = Duration::from_secs(if calm.get() { 120 } else { 5 });
        let Ok(read) = timeout(limit, stream.read(&mut buf)).await else {
            return Ok(());
        };
        let n = read?;
        if n == 0 {
            return Ok(());
        }
        if below(random, 64) == 0 {
            sleep(micros(random, 2000)).await;
        }
        stream.write_all(&buf[..n]).await?;
        if !calm.get() && below(random, 64) == 0 {
            stream.set_zero_linger()?;
            return Ok(());
        }
    }
}

/// The other process: all connections at once, then as many tasks, each of which connects again and
/// again.
fn clients(server: SocketAddr) {
    raise_descriptor_limit();
    let (connections, time) = size();
    let name = std::env::var("REVEILLE_CHURN_BACKEND").unwrap();
    let kind = BackendKind::ALL
        .into_iter()
        .find(|kind| kind.name() == name);
    let descriptors = open_descriptors();
    let runtime = Builder::new().backend(kind.unwrap()).build().unwrap();
    let with_runtime = open_descriptors();
    runtime.block_on(async {
        let opening: Vec<_> = (0..connections)
            .map(|number| spawn(first_connection(server, number)))
            .collect();
        let mut open = Vec::new();
        for task in opening {
            open.push(task.await.unwrap());
        }
        let end = Instant::now() + time;
        let seed = 1 + u64::from(std::process::id());
        let random = Rc::new(RefCell::new(Random(seed)));
        let tasks: Vec<_> = open
            .into_iter()
            .enumerate()
            .map(|(number, first)| {
                let random = random.clone();
                spawn(async move {
                    sleep(micros(&random, 1_000_000)).await;
                    drop(first);
                    while Instant::now() < end {
                        one_client(server, number, end, &random).await;
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        while runtime.tasks().len() > 1 {
            yield_now().await;
        }
    });
    // Sockets that a message of the runtime closes are closed by now.
    assert_eq!(open_descriptors(), with_runtime, "clients");
    drop(runtime);
    assert_eq!(
        open_descriptors(),
        descriptors,
        "clients, after the runtime"
    );
    io::stdout().flush().unwrap();
}

/// Several addresses to connect from, because each has 28,000 ports, and a port rests for a minute
/// after a connection that this side has closed.
fn socket_of(number: usize) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 1 + (number % 100) as u8, 1], 0)))?;
    Ok(socket)
}

/// Returns a connection that the server has answered on.
async fn first_connection(server: SocketAddr, number: usize) -> TcpStream {
    let mut byte = [number as u8];
    let stream = socket_of(number).unwrap().connect(server).await.unwrap();
    stream.write_all(&byte).await.unwrap();
    stream.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte, [number as u8]);
    stream
}

/// One connection: some requests, one of which is cancelled in the middle perhaps.
async fn one_client(server: SocketAddr, number: usize, end: Instant, random: &RefCell<Random>) {
    let Ok(socket) = socket_of(number) else {
        return sleep(Duration::from_millis(10)).await;
    };
    if below(random, 16) == 0 {
        // Dropped while it connects.
        let mut connecting = pin!(socket.connect(server));
        let _polled = poll_once(&mut connecting).await;
        return;
    }
    let connecting = timeout(Duration::from_secs(10), socket.connect(server));
    let Ok(Ok(stream)) = connecting.await else {
        return;
    };
    let mut sent = vec![7; 1 + below(random, 6000) as usize];
    let mut received = sent.clone();
    for _ in 0..below(random, 12) {
        if Instant::now() > end {
            break;
        }
        sent.fill(number as u8);
        let request = async {
            stream.write_all(&sent).await?;
            stream.read_exact(&mut received).await
        };
        match below(random, 8) {
            // Cancelled by a timer, or at once.
            0 => {
                let _ = timeout(micros(random, 500), request).await;
                break;
            }
            1 => {
                let mut request = pin!(request);
                let _polled = poll_once(&mut request).await;
                break;
            }
            _ => match timeout(Duration::from_secs(10), request).await {
                Ok(Ok(_)) => assert!(received == sent, "other bytes came back"),
                // The server cancels too.
                _ => break,
            },
        }
        if below(random, 4) == 0 {
            sleep(micros(random, 20_000)).await;
        }
    }
    if below(random, 2) == 0 {
        let _ = stream.set_zero_linger();
    }
}
