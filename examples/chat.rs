//! A chat room: every line that a client sends goes to all the others.
//!
//! ```text
//! cargo run --example chat -- --addr 127.0.0.1:7778
//! nc 127.0.0.1 7778
//! ```
//!
//! One slow reader must not hold up the rest, so nobody writes to another's socket. A line is put into the queue of
//! each client, where a task of that client's own takes it out. The queues are bounded: who is too far behind is dropped.
//!
//! All of it is on one thread, so the room is a plain `Rc` and `RefCell`, and "there is something in your queue" is a
//! plain `Waker`: no locks, no channels.

use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, timeout};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Bytes that may wait for one client.
const QUEUE: usize = 64 * 1024;

/// The longest line that is taken, in bytes.
const LINE: usize = 1024;

/// How long a client that has ended its side may take for what is still on its way to it.
const FAREWELL: Duration = Duration::from_secs(5);

const USAGE: &str = "usage: chat [--addr ADDR:PORT]   (127.0.0.1:7778 if not given)";

fn main() -> ExitCode {
    let mut addr = "127.0.0.1:7778".to_owned();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--help" | "-h", _) => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            ("--addr", Some(value)) => addr = value,
            (flag, _) => {
                eprintln!("chat: {flag:?} is unknown or lacks its value\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let Err(error) = serve(&addr);
    eprintln!("chat: {addr}: {error}");
    ExitCode::FAILURE
}

fn serve(addr: &str) -> io::Result<Infallible> {
    reveille::block_on(async {
        let listener = TcpListener::bind(addr).await?;
        println!("listening on {}", listener.local_addr()?);
        let room = Rc::new(Room::default());
        loop {
            let (stream, peer) = listener.accept().await?;
            let client = Rc::new(Client::new(stream, peer.to_string()));
            room.enter(&client);
            // Two tasks use one stream at once: all its methods take `&self`.
            let writer = reveille::spawn(deliver(client.clone()));
            let room = room.clone();
            reveille::spawn(async move {
                let why = match listen(&client, &room).await {
                    Ok(()) => "has left".to_owned(),
                    Err(error) => format!("is gone: {error}"),
                };
                room.leave(&client);
                room.tell(&client, &why);
                client.queue.close();
                if timeout(FAREWELL, writer).await.is_err() {
                    client.stream.shutdown(Shutdown::Both).ok();
                }
            });
        }
    })
}

/// Reads lines and hands them round, until the client ends its side.
async fn listen(client: &Client, room: &Room) -> io::Result<()> {
    let mut line = Vec::new();
    let mut buffer = [0; LINE];
    loop {
        let n = client.stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        for part in buffer[..n].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.len() > LINE {
                return Err(io::Error::other("a line was too long"));
            }
            if line.ends_with(b"\n") {
                room.tell(client, String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        }
        // Those that have been told something now get to send it, however much more there is to read here.
        reveille::yield_now().await;
    }
}

/// Writes what is put into the client's queue, until that is closed and empty.
async fn deliver(client: Rc<Client>) {
    while let Some(text) = client.queue.next().await {
        if client.stream.write_all(&text).await.is_err() {
            // The task that reads finds out by itself.
            return;
        }
    }
}

struct Client {
    stream: TcpStream,
    name: String,
    queue: Queue,
}

impl Client {
    fn new(stream: TcpStream, name: String) -> Client {
        let queue = Queue::default();
        Client {
            stream,
            name,
            queue,
        }
    }
}

#[derive(Default)]
struct Room {
    clients: RefCell<Vec<Rc<Client>>>,
}

impl Room {
    fn enter(&self, client: &Rc<Client>) {
        self.clients.borrow_mut().push(client.clone());
        self.tell(client, "has come");
    }

    fn leave(&self, client: &Rc<Client>) {
        self.clients
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, client));
    }

    /// Puts what `from` says into everybody else's queue, and drops those whose queue is full.
    fn tell(&self, from: &Client, text: &str) {
        let line = format!("{}: {text}\n", from.name);
        self.clients.borrow_mut().retain(|client| {
            if std::ptr::eq(&**client, from) || client.queue.push(&line) {
                return true;
            }
            // Both of its tasks wait for the stream, and find that it has ended.
            client.queue.close();
            client.stream.shutdown(Shutdown::Both).ok();
            false
        });
    }
}

/// Text on its way to one client, and the task that waits for it.
#[derive(Default)]
struct Queue(RefCell<Waiting>);

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    closed: bool,
    waker: Option<Waker>,
}

impl Queue {
    /// False: there is no room for the line.
    fn push(&self, line: &str) -> bool {
        let fits = self.0.borrow().text.len() + line.len() <= QUEUE;
        if fits {
            self.change(|waiting| waiting.text.extend_from_slice(line.as_bytes()));
        }
        fits
    }

    /// Nothing more will come.
    fn close(&self) {
        self.change(|waiting| waiting.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.0.borrow_mut();
        change(&mut waiting);
        let waker = waiting.waker.take();
        drop(waiting);
        // A waker may be anybody's code: called when the queue is not borrowed any more.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// All that is there, as soon as there is something; `None` when there will be nothing more.
    async fn next(&self) -> Option<Vec<u8>> {
        poll_fn(|cx| {
            let mut waiting = self.0.borrow_mut();
            if !waiting.text.is_empty() {
                return Poll::Ready(Some(std::mem::take(&mut waiting.text)));
            }
            if waiting.closed {
                return Poll::Ready(None);
            }
            waiting.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
