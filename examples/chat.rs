//! A chat room: each line of a client goes to all other clients.
//!
//! ```text
//! cargo run --example chat -- --addr 127.0.0.1:7778
//! nc 127.0.0.1 7778
//! ```
//!
//! A slow client must not delay the others. So each client has a queue, and a task that writes from
//! the queue to the client's socket. The queues are bounded: a client whose queue is full is
//! disconnected.
//!
//! All tasks run on one thread. The room is an `Rc` with a `RefCell`, and a queue wakes its task by
//! a `Waker`. No locks and no channels are needed.

mod support;

use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, timeout};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The most bytes that a client's queue holds.
const QUEUE: usize = 64 * 1024;

/// The longest line, in bytes.
const LINE: usize = 1024;

/// How long a client that has closed its side may take to read its queue.
const FAREWELL: Duration = Duration::from_secs(5);

const USAGE: &str = "\
usage: chat [--addr ADDR:PORT]

  --addr ADDR:PORT   where to listen (default 127.0.0.1:7778)
  --help             print this text";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr: Option<String> = arguments.take("--addr");
    arguments.finish();
    support::report(serve(addr.as_deref().unwrap_or("127.0.0.1:7778")))
}

fn serve(addr: &str) -> io::Result<()> {
    reveille::block_on(async {
        let listener = TcpListener::bind(addr).await?;
        println!("listening on {}", listener.local_addr()?);
        let room = Rc::new(Room::default());
        loop {
            let (stream, peer) = listener.accept().await?;
            let client = Rc::new(Client::new(stream, peer.to_string()));
            room.enter(&client);
            // Two tasks use one stream, because all its methods take `&self`.
            let writer = reveille::spawn(deliver(client.clone()));
            let room = room.clone();
            reveille::spawn(async move {
                let why = match listen(&client, &room).await {
                    Ok(()) => "has left".to_owned(),
                    Err(error) => format!("was disconnected: {error}"),
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

/// Reads lines and sends them to the room, until the client closes its side.
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
                return Err(io::Error::other("its line was too long"));
            }
            if line.ends_with(b"\n") {
                room.tell(client, String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        }
        // Lets the tasks of the other clients write, even if there is more to read here.
        reveille::yield_now().await;
    }
}

/// Writes the client's queue to its socket, until the queue is closed and empty.
async fn deliver(client: Rc<Client>) {
    while let Some(text) = client.queue.next().await {
        if client.stream.write_all(&text).await.is_err() {
            // The task that reads gets an error as well.
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

    /// Puts a line of `from` into the queues of all other clients. Disconnects clients whose queue
    /// is full.
    fn tell(&self, from: &Client, text: &str) {
        let line = format!("{}: {text}\n", from.name);
        self.clients.borrow_mut().retain(|client| {
            if std::ptr::eq(&**client, from) || client.queue.push(&line) {
                return true;
            }
            // Both of its tasks wait for the stream, and this ends their waits.
            client.queue.close();
            client.stream.shutdown(Shutdown::Both).ok();
            false
        });
    }
}

/// The queue of a client: text, and the task that waits for it.
#[derive(Default)]
struct Queue(RefCell<Waiting>);

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    closed: bool,
    waker: Option<Waker>,
}

impl Queue {
    /// Adds a line. Returns false if there is no room for it.
    fn push(&self, line: &str) -> bool {
        let fits = self.0.borrow().text.len() + line.len() <= QUEUE;
        if fits {
            self.change(|waiting| waiting.text.extend_from_slice(line.as_bytes()));
        }
        fits
    }

    /// Closes the queue: no line follows.
    fn close(&self) {
        self.change(|waiting| waiting.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.0.borrow_mut();
        change(&mut waiting);
        let waker = waiting.waker.take();
        drop(waiting);
        // A waker may run any code, so it is called after the borrow has ended.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for text and returns all of it, or `None` if the queue is closed and empty.
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
