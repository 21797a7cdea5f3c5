//! Accepts connections until a signal comes, then ends the server. The example `https` uses this
//! file too.
//!
//! On SIGTERM or Ctrl-C:
//!
//! 1. What waits in the listener's queue is accepted, and the listener closed. The system would
//!    reset the connections in the queue.
//! 2. Each connection ends as `connection.rs` says, for `--grace` seconds at most. This comes
//!    before [`Runtime::shutdown`], which refuses new tasks: a request of HTTP/2 is one.
//! 3. [`Runtime::shutdown`] ends the runtime. Its report names the connections that are left, by
//!    the addresses of the clients. The exit status is 0 if there are none.
//!
//! A second signal skips the time that is left. SIGUSR1 prints what runs.

use crate::limits::Limits;
use crate::watch::Limit;
use reveille::backend::BackendKind;
use reveille::net::{LimitedListener, Permit, TcpSocket, TcpStream};
use reveille::signal::{SignalKind, Signals, signals};
use reveille::time::{Duration, sleep, timeout};
use reveille::{Builder, Runtime, task};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Connections that wait in the kernel's queue, at most. The system may lower it (somaxconn).
const BACKLOG: u32 = 4096;

/// What the connections share.
pub(crate) struct Server {
    pub(crate) limits: Limits,
    /// Requests that were read.
    pub(crate) requests: Cell<u64>,
    /// Bodies of requests that came too slowly.
    pub(crate) slow_bodies: Cell<u64>,
    is_stopping: Cell<bool>,
    /// How many connections are open.
    open: Cell<usize>,
    /// The number of the next connection.
    next: Cell<u64>,
    /// The wakers of the connections, by their numbers.
    wakers: RefCell<HashMap<u64, Waker>>,
    /// The waker of the task that ends the server. It waits for the last connection.
    end: Cell<Option<Waker>>,
    /// Connections ended by each of [`Limit::ALL`].
    ended: [Cell<u64>; Limit::ALL.len()],
}

fn add_one(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

impl Server {
    fn new(limits: Limits) -> Rc<Server> {
        Rc::new(Server {
            limits,
            requests: Cell::default(),
            slow_bodies: Cell::default(),
            is_stopping: Cell::default(),
            open: Cell::default(),
            next: Cell::default(),
            wakers: RefCell::default(),
            end: Cell::default(),
            ended: Default::default(),
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Counts a connection that a limit has ended.
    pub(crate) fn count(&self, limit: Limit) {
        add_one(&self.ended[limit as usize]);
    }

    fn stop(&self) {
        self.is_stopping.set(true);
        let wakers = self.wakers.take();
        wakers.into_values().for_each(Waker::wake);
    }

    /// Waits until no connection is open.
    fn poll_end(&self, cx: &Context<'_>) -> Poll<()> {
        if self.open.get() == 0 {
            return Poll::Ready(());
        }
        self.end.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Prints what runs.
    fn print(&self, tasks: usize) {
        let (open, requests) = (self.open.get(), self.requests.get());
        let counts = Limit::ALL.map(|limit| {
            let count = self.ended[limit as usize].get();
            format!(" {}={count}", limit.name())
        });
        let (counts, bodies) = (counts.concat(), self.slow_bodies.get());
        println!("connections={open} tasks={tasks} requests={requests}{counts} body={bodies}");
    }
}

/// An open connection, for as long as its task lives.
pub(crate) struct Visit {
    server: Rc<Server>,
    id: u64,
    _permit: Option<Permit>,
}

impl Visit {
    fn new(server: &Rc<Server>, permit: Option<Permit>) -> Visit {
        let id = server.next.get();
        server.next.set(id + 1);
        server.open.set(server.open.get() + 1);
        Visit {
            server: server.clone(),
            id,
            _permit: permit,
        }
    }

    pub(crate) fn server(&self) -> &Rc<Server> {
        &self.server
    }

    /// Waits until the server stops. Only the last task that has called this is woken.
    pub(crate) fn poll_stop(&self, cx: &Context<'_>) -> Poll<()> {
        if self.server.is_stopping.get() {
            return Poll::Ready(());
        }
        let mut wakers = self.server.wakers.borrow_mut();
        let known = wakers.get(&self.id);
        if !known.is_some_and(|waker| waker.will_wake(cx.waker())) {
            wakers.insert(self.id, cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.server.wakers.borrow_mut().remove(&self.id);
        self.server.open.set(self.server.open.get() - 1);
        if self.server.open.get() == 0 {
            self.server.end.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Runs a server until a signal ends it. `serve` makes the future of a connection.
pub(crate) fn run<F>(
    addr: SocketAddr,
    backend: Option<BackendKind>,
    limits: Limits,
    serve: impl Fn(TcpStream, Visit) -> F,
) -> io::Result<ExitCode>
where
    F: Future<Output = ()> + 'static,
{
    let mut builder = Builder::new();
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    let runtime = builder.build()?;
    let server = Server::new(limits);
    let (kind, mut signals) = runtime.block_on(async {
        let mut signals = signals(&[
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::user_defined1(),
        ])?;
        let listener = listen(addr, &limits)?;
        let (addr, backend) = (listener.get_ref().local_addr()?, runtime.backend_name());
        println!("listening on {addr} backend={backend}");
        let kind = accept_until_signal(&runtime, listener, &mut signals, &server, &serve).await;
        io::Result::Ok((kind, signals))
    })?;
    let (open, grace) = (server.open.get(), limits.grace);
    println!("{kind}: waiting up to {grace:?} for {open} connections");
    server.stop();
    runtime
        .block_on(async {
            let ended = pin!(poll_fn(|cx| server.poll_end(cx)));
            timeout(grace, until_signal(ended, &mut signals)).await
        })
        .ok();
    server.print(runtime.tasks().len());
    drop(signals);
    // The connections had their time.
    let report = runtime.shutdown(Duration::ZERO);
    println!("{report}");
    Ok(match report.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn listen(addr: SocketAddr, limits: &Limits) -> io::Result<LimitedListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuse_addr(true)?;
    if limits.send_buffer > 0 {
        socket.set_send_buffer_size(limits.send_buffer)?;
    }
    socket.bind(addr)?;
    Ok(socket.listen(BACKLOG)?.limit(limits.connections))
}

enum Next {
    Connection(TcpStream, SocketAddr, Permit),
    Signal(SignalKind),
}

/// Accepts connections until a signal to end comes, and then those that wait in the queue.
async fn accept_until_signal<F>(
    runtime: &Runtime,
    listener: LimitedListener,
    signals: &mut Signals,
    server: &Rc<Server>,
    serve: &impl Fn(TcpStream, Visit) -> F,
) -> SignalKind
where
    F: Future<Output = ()> + 'static,
{
    let spawn = |stream, peer: SocketAddr, permit| {
        let connection = serve(stream, Visit::new(server, permit));
        drop(
            task::Builder::new()
                .name(peer.to_string())
                .spawn(connection),
        );
    };
    let kind = loop {
        match next(&listener, signals).await {
            Ok(Next::Connection(stream, peer, permit)) => spawn(stream, peer, Some(permit)),
            Ok(Next::Signal(kind)) if kind == SignalKind::user_defined1() => {
                // Without the task that runs this function.
                server.print(runtime.tasks().len() - 1);
            }
            Ok(Next::Signal(kind)) => break kind,
            // The runtime cannot take this connection: it is out of memory, for example. The others
            // go on.
            Err(error) => {
                eprintln!("accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    let listener = listener.into_inner();
    loop {
        match listener.try_accept() {
            Ok((stream, peer)) => spawn(stream, peer, None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // For example no descriptor is free: the connections that are left are reset.
                eprintln!("accept: {error}");
                break;
            }
        }
    }
    kind
}

/// Waits for a connection or a signal.
async fn next(listener: &LimitedListener, signals: &mut Signals) -> io::Result<Next> {
    poll_fn(|cx| {
        if let Poll::Ready(Some(kind)) = signals.poll_recv(cx) {
            return Poll::Ready(Ok(Next::Signal(kind)));
        }
        let accepted = listener.poll_accept(cx);
        accepted.map_ok(|(stream, peer, permit)| Next::Connection(stream, peer, permit))
    })
    .await
}

/// Waits for a future, or for a signal to end.
async fn until_signal(mut future: impl Future<Output = ()> + Unpin, signals: &mut Signals) {
    poll_fn(|cx| {
        while let Poll::Ready(kind) = signals.poll_recv(cx) {
            if kind != Some(SignalKind::user_defined1()) {
                return Poll::Ready(());
            }
        }
        pin!(&mut future).poll(cx)
    })
    .await;
}
