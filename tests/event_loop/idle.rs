//! The echo server of `examples/callback_echo.rs` with `--idle-ms`: it closes idle connections and
//! no busy ones.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

#[derive(Default)]
struct Server {
    /// How long a connection may be idle.
    limit: Duration,
    accepted: usize,
    /// How many connections were closed by their timeout: idle ones, and busy ones.
    closed: [usize; 2],
    echoed: usize,
    /// The peers of the busy connections.
    busy: Vec<UnixStream>,
}

fn accept(event_loop: &mut EventLoop<Server>, listener: Key<TcpListener>, _: Cause) {
    while let Ok((stream, _)) = event_loop.get(listener).unwrap().accept() {
        stream.set_nonblocking(true).unwrap();
        serve(event_loop, stream, false);
        event_loop.data_mut().accepted += 1;
    }
}

/// A connection, and when it received data last.
struct Connection<S> {
    stream: S,
    last: Instant,
    is_busy: bool,
}

impl<S: AsFd> AsFd for Connection<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn serve<S: Read + Write + AsFd + 'static>(
    event_loop: &mut EventLoop<Server>,
    stream: S,
    is_busy: bool,
) {
    let (last, limit) = (Instant::now(), event_loop.data().limit);
    let connection = Connection {
        stream,
        last,
        is_busy,
    };
    let key = event_loop
        .attach(connection, Interest::READABLE, Trigger::Level, echo)
        .unwrap();
    event_loop.set_timeout(key, limit).unwrap();
}

fn echo<S: Read + Write + 'static>(
    event_loop: &mut EventLoop<Server>,
    key: Key<Connection<S>>,
    cause: Cause,
) {
    let limit = event_loop.data().limit;
    let connection = event_loop.get_mut(key).unwrap();
    if cause.is_timeout() {
        assert!(connection.last.elapsed() >= limit, "it was busy");
        let which = usize::from(connection.is_busy);
        event_loop.close(key);
        event_loop.data_mut().closed[which] += 1;
        return;
    }
    let mut buffer = [0; 16];
    match connection.stream.read(&mut buffer) {
        Ok(0) => drop(event_loop.close(key)),
        Ok(length) => {
            connection.last = Instant::now();
            // The socket buffers hold more than can be in flight.
            connection.stream.write_all(&buffer[..length]).unwrap();
            event_loop.data_mut().echoed += 1;
            event_loop.push_timeout(key).unwrap();
        }
        Err(_would_block) => {}
    }
}

/// All idle connections are closed and no busy one, although the busy ones live several times as
/// long.
///
/// The loop itself sends the busy ones a byte in every turn. So they become idle only if this
/// thread is held up for as long as the limit, as `echo` asserts for each connection that is
/// closed. The test is then repeated with a longer limit.
#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    on_every_loop(|loops| {
        let mut limit = 30 * MS;
        while !idle_ones_are_closed_and_no_busy_one(loops, limit) {
            limit *= 2;
        }
    });
}

/// Returns whether no busy connection was closed, and all of them were busy for more than one turn.
fn idle_ones_are_closed_and_no_busy_one(loops: Loops, limit: Duration) -> bool {
    let mut event_loop = loops.make(Server {
        limit,
        ..Server::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    event_loop
        .attach(listener, Interest::READABLE, Trigger::Level, accept)
        .unwrap();
    for _ in 0..4 {
        let (here, there) = pair();
        serve(&mut event_loop, here, true);
        event_loop.data_mut().busy.push(there);
    }
    event_loop.before_wait(|event_loop| {
        for mut client in &event_loop.data().busy {
            // Fails if the connection was closed.
            let _ = client.write(b"x");
            let _ = client.read(&mut [0; 64]);
        }
    });
    let mut idle: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // The first client sends once, and is idle from then on.
    idle[0].write_all(b"hello").unwrap();
    let start = Instant::now();
    run_until(&mut event_loop, |server| {
        server.accepted == 4 && server.closed[0] == 4 && start.elapsed() > 4 * limit
    });
    // Each read ends because the connection was closed.
    for client in &mut idle {
        let ended = client.read_to_end(&mut Vec::new());
        // With a reset if the data arrived after the timeout.
        let reset = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        ended.map_or_else(reset, drop);
    }
    let server = event_loop.data();
    let [_, closed] = server.closed;
    assert_eq!(event_loop.len(), 1 + 4 - closed);
    closed == 0 && server.echoed > 4
}
