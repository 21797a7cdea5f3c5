//! Connecting: one attempt, and several as in RFC 8305.

use super::Tcp;
use crate::net::ByteStream;
use crate::net::lookup::{Addrs, no_address};
use crate::net::registered_socket::RegisteredSocket;
use crate::place::Place;
use crate::reactor::Watch;
use crate::reactor::clock::Moment;
use crate::reactor::direction::Direction;
use crate::reactor::timer::{Deadline, Timer};
use crate::sys::socket::Socket;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec;

/// How long an attempt has before the next begins beside it: RFC 8305, section 5.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the address that accepts first.
pub(super) async fn connect_any(addrs: Addrs, place: Place) -> io::Result<ByteStream<Tcp>> {
    match addrs {
        Addrs::One(None) => Err(no_address()),
        Addrs::One(Some(addr)) => connect(Socket::tcp(addr)?, addr, true, place).await,
        Addrs::Many(addrs) => {
            // In a box, because the future of one attempt, which is the usual one, is small.
            let mut race = Box::new(Race::new(interleave(addrs.collect()), place));
            poll_fn(move |cx| race.poll(cx)).await
        }
    }
}

/// Connects a socket. `owned`: no other descriptor of it exists.
pub(super) async fn connect(
    socket: Socket,
    addr: SocketAddr,
    owned: bool,
    place: Place,
) -> io::Result<ByteStream<Tcp>> {
    let mut attempt = Some(Attempt::begin(socket, addr, owned, place)?);
    poll_fn(|cx| poll_attempt(&mut attempt, cx)).await
}

/// Polls an attempt, and takes it when it has ended.
fn poll_attempt(
    place: &mut Option<Attempt>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<ByteStream<Tcp>>> {
    let attempt = place.as_mut().expect("not polled after it was ready");
    let result = ready!(attempt.poll(cx));
    let attempt = place.take().expect("it was there");
    Poll::Ready(result.map(|()| attempt.into_stream()))
}

/// A connection in progress. Dropping it closes the socket.
#[derive(Debug)]
struct Attempt {
    io: RegisteredSocket,
    is_connected: bool,
}

impl Attempt {
    fn begin(socket: Socket, addr: SocketAddr, owned: bool, place: Place) -> io::Result<Attempt> {
        let connected = socket.connect(addr)?;
        let io = RegisteredSocket::new(socket, Watch::Tcp { connected, owned }, place)?;
        Ok(Attempt {
            io,
            is_connected: connected,
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_connected {
            ready!(self.io.poll_ready(Direction::Write, cx))?;
            if let Some(error) = self.io.socket().take_error()? {
                return Poll::Ready(Err(error));
            }
            self.is_connected = true;
        }
        Poll::Ready(Ok(()))
    }

    fn into_stream(self) -> ByteStream<Tcp> {
        ByteStream::new(self.io)
    }
}

/// Attempts that run beside each other.
#[derive(Debug)]
struct Race {
    /// The addresses that were not tried yet.
    rest: vec::IntoIter<SocketAddr>,
    attempts: Vec<Option<Attempt>>,
    /// The error of the attempt that failed last.
    error: Option<io::Error>,
    /// When the next attempt begins even if none fails.
    next: Moment,
    timer: Timer,
    /// Where in the source the connection was requested.
    place: Place,
}

impl Race {
    fn new(addrs: Vec<SocketAddr>, place: Place) -> Race {
        Race {
            rest: addrs.into_iter(),
            attempts: Vec::new(),
            error: None,
            next: Moment::now(),
            timer: Timer::new(Deadline::Ahead, place),
            place,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ByteStream<Tcp>>> {
        loop {
            let mut has_failed = false;
            for place in &mut self.attempts {
                match poll_attempt(place, cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        self.error = Some(error);
                        has_failed = true;
                    }
                    Poll::Pending => {}
                }
            }
            self.attempts.retain(Option::is_some);
            let is_time = has_failed || self.attempts.is_empty() || self.poll_delay(cx).is_ready();
            match self.rest.as_slice() {
                [] if self.attempts.is_empty() => {
                    let error = self.error.take().unwrap_or_else(no_address);
                    return Poll::Ready(Err(error));
                }
                [] => return Poll::Pending,
                _ if is_time => self.begin_next(),
                _ => return Poll::Pending,
            }
        }
    }

    /// Begins an attempt. If that fails at once, the next poll of the loop begins another.
    fn begin_next(&mut self) {
        let Some(addr) = self.rest.next() else { return };
        match Socket::tcp(addr).and_then(|socket| Attempt::begin(socket, addr, true, self.place)) {
            Ok(attempt) => self.attempts.push(Some(attempt)),
            Err(error) => {
                self.error = Some(error);
                // Others may still run: do not wait for them.
                self.next = Moment::now();
                self.timer = Timer::new(Deadline::Passed, self.place);
                return;
            }
        }
        self.next = Moment::after(ATTEMPT_DELAY);
        self.timer = Timer::new(Deadline::Ahead, self.place);
    }

    fn poll_delay(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.rest.as_slice().is_empty() {
            return Poll::Pending;
        }
        self.timer.poll(self.next, cx)
    }
}

/// Orders addresses for a race: the families by turns, beginning with that of the first; each
/// family in its own order. RFC 8305, section 4.
fn interleave(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addrs.first().copied() else {
        return addrs;
    };
    let count = addrs.len();
    let (one, other): (Vec<_>, Vec<_>) = addrs
        .into_iter()
        .partition(|addr| addr.is_ipv4() == first.is_ipv4());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(count);
    while mixed.len() < count {
        mixed.extend(one.next());
        mixed.extend(other.next());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(text: &str) -> Vec<SocketAddr> {
        let parts = text.split_whitespace();
        parts.map(|part| part.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_keep_their_order() {
        for (given, expected) in [
            ("", ""),
            ("1.1.1.1:1", "1.1.1.1:1"),
            (
                "[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1 2.2.2.2:1",
                "[::1]:1 1.1.1.1:1 [::2]:1 2.2.2.2:1 [::3]:1",
            ),
            (
                "1.1.1.1:1 [::1]:1 [::2]:1 [::3]:1",
                "1.1.1.1:1 [::1]:1 [::2]:1 [::3]:1",
            ),
            ("[::2]:1 [::1]:1", "[::2]:1 [::1]:1"),
        ] {
            assert_eq!(interleave(addrs(given)), addrs(expected), "{given}");
        }
    }
}
