//! What an echo server does by `--idle-ms`: idle connections are closed, busy ones are not.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

const IDLE: Duration = Duration::from_millis(30);

#[derive(Default)]
struct Server {
    accepted: usize,
    /// How many were closed for being idle: of those that are to be, and of the busy ones.
    idle_closed: usize,
    busy_closed: usize,
    echoed: usize,
    /// The clients that are never idle.
    busy: Vec<UnixStream>,
}

fn accept(event_loop: &mut EventLoop<Server>, listener: Source<TcpListener>, _: Cause) {
    while let Ok((stream, _)) = event_loop.get(listener).unwrap().accept() {
        stream.set_nonblocking(true).unwrap();
        serve(event_loop, stream, false);
        event_loop.data_mut().accepted += 1;
    }
}

/// A connection, and when something came last.
struct Connection<S> {
    stream: S,
    is_busy: bool,
    last: Instant,
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
    let connection = Connection {
        stream,
        is_busy,
        last: Instant::now(),
    };
    let name = event_loop
        .attach(connection, Interest::READABLE, Trigger::Level, echo)
        .unwrap();
    event_loop.set_timeout(name, IDLE).unwrap();
}

fn echo<S: Read + Write + 'static>(
    event_loop: &mut EventLoop<Server>,
    name: Source<Connection<S>>,
    cause: Cause,
) {
    let connection = event_loop.get_mut(name).unwrap();
    if cause.is_timeout() {
        assert!(connection.last.elapsed() >= IDLE, "it was busy");
        let is_busy = connection.is_busy;
        event_loop.close(name);
        let server = event_loop.data_mut();
        server.busy_closed += usize::from(is_busy);
        server.idle_closed += usize::from(!is_busy);
        return;
    }
    let mut buffer = [0; 16];
    match connection.stream.read(&mut buffer) {
        Ok(0) => drop(event_loop.close(name)),
        Ok(length) => {
            connection.last = Instant::now();
            // The buffers of the two ends hold more than is on its way.
            connection.stream.write_all(&buffer[..length]).unwrap();
            event_loop.data_mut().echoed += 1;
            event_loop.push_timeout(name).unwrap();
        }
        Err(_would_block) => {}
    }
}

/// Each of the idle ones is closed; the busy ones are not, though they live for several times as long. The loop feeds the busy
/// ones itself, a byte in every turn, so that only a machine that stops this thread for the whole time can make them idle: what
/// is asserted of every connection that is closed is that nothing had come for that long.
#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
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
                // Refused when it was closed.
                let _ = client.write(b"x");
                let _ = client.read(&mut [0; 64]);
            }
        });
        let mut idle: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(addr).unwrap()).collect();
        // The first says something once, and is idle from then on.
        idle[0].write_all(b"hello").unwrap();
        let start = Instant::now();
        run_until(&mut event_loop, |server| {
            // All of the busy ones closed: this thread was held up, see above.
            let served = server.echoed > 4 || server.busy_closed == 4;
            server.accepted == 4 && server.idle_closed == 4 && served && start.elapsed() > 4 * IDLE
        });
        // Each ends, which it would not if it were open: reading would not come back.
        for client in &mut idle {
            if let Err(error) = client.read_to_end(&mut Vec::new()) {
                // Held up for so long that what the first one said was not even read.
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
        }
        let server = event_loop.data();
        assert_eq!(event_loop.len(), 1 + 4 - server.busy_closed);
    });
}
