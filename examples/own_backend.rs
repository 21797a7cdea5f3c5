//! A custom backend: written, checked by the conformance cases, and used by a runtime.
//!
//! ```text
//! cargo run --example own_backend --features conformance
//! ```
//!
//! It uses poll(2) in the plainest way: a map of the watched fds, from which each wait builds the
//! array for poll. The contract that it must keep is at the head of `reveille::backend`, and
//! `reveille::conformance` checks it case by case. `Capabilities` names what it can do. Neither the
//! cases nor the runtime use anything else.

use reveille::backend::{
    Backend, Capabilities, Events, Interest, Notifier, NotifyFd, Ready, Token, Trigger,
};
use reveille::net::{TcpListener, TcpStream};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

fn main() -> io::Result<()> {
    let report = reveille::conformance::run(&mut || Ok(Box::new(OwnPoll::new()?)));
    println!("{report}");
    if !report.is_ok() {
        return Err(io::Error::other(
            "the backend broke the contract: see the failed cases above",
        ));
    }
    let builder = reveille::Builder::new().with_backend(OwnPoll::new()?);
    let runtime = builder.build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let clients: Vec<_> = (0..10)
            .map(|number| reveille::spawn(ask(addr, number)))
            .collect();
        for _ in &clients {
            let (stream, _addr) = listener.accept().await?;
            reveille::spawn(answer(stream));
        }
        for client in clients {
            client.await??;
        }
        println!("10 clients were echoed by {}", runtime.backend_name());
        Ok(())
    })
}

async fn answer(stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

async fn ask(addr: std::net::SocketAddr, number: u8) -> io::Result<()> {
    let stream = TcpStream::connect(addr).await?;
    stream.write_all(&[number; 100]).await?;
    let mut back = [0; 100];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, [number; 100]);
    Ok(())
}

/// The backend. It stays on one thread and needs no lock. Other threads have only its notifier.
#[derive(Debug)]
struct OwnPoll {
    watched: BTreeMap<RawFd, Watched>,
    /// The fd that wakes a wait from another thread. It is polled with the others.
    notify: NotifyFd,
    /// The fd at which the next batch starts, so that low numbers are not always served first.
    next: RawFd,
}

#[derive(Debug)]
struct Watched {
    token: Token,
    interest: Interest,
    /// The events to poll for. With `None` the fd is not polled, because poll would report a
    /// hang-up again and again.
    armed: Option<libc::c_short>,
}

impl OwnPoll {
    fn new() -> io::Result<OwnPoll> {
        Ok(OwnPoll {
            watched: BTreeMap::new(),
            notify: NotifyFd::new()?,
            next: 0,
        })
    }

    /// Finds a watched fd. The number alone is not enough, because it may have been closed and
    /// belong to another file.
    fn find(&mut self, fd: RawFd, token: Token) -> io::Result<&mut Watched> {
        let found = self.watched.get_mut(&fd);
        found
            .filter(|watched| watched.token == token)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Disarms what is reported, and returns the token.
    ///
    /// | event | effect |
    /// |---|---|
    /// | readiness | that direction is not polled until it is armed again (`Trigger::Edge`) |
    /// | hang-up or error | the fd is not polled until it is armed again |
    /// | the number is not open | the fd is removed |
    fn disarm(&mut self, fd: RawFd, seen: libc::c_short) -> Option<Token> {
        let watched = self.watched.get_mut(&fd)?;
        let token = watched.token;
        let is_final = seen & (libc::POLLHUP | libc::POLLERR) != 0;
        let left = watched.armed.map(|armed| armed & !seen);
        watched.armed = left.filter(|_| !is_final);
        if seen & libc::POLLNVAL != 0 {
            self.watched.remove(&fd);
        }
        Some(token)
    }
}

impl Backend for OwnPoll {
    fn name(&self) -> &str {
        "own-poll"
    }

    /// Futures need `Edge`, so that is the only trigger here. `rearm` means that a direction must
    /// be armed again after each event. `after_fork` is not implemented: the trait's default
    /// returns an error.
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.edge = true;
        capabilities.rearm = true;
        capabilities.errors = true;
        capabilities.unasked = true;
        capabilities.priority = true;
        capabilities
    }

    fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        if trigger != Trigger::Edge {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let number = fd.as_raw_fd();
        // Even if the number was closed without `remove` and belongs to another file: the caller
        // removes it and adds again.
        if self.watched.contains_key(&number) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut probe = [entry(number, 0)];
        poll(&mut probe, Some(Duration::ZERO))?;
        if probe[0].revents & libc::POLLNVAL != 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let armed = Some(mask(interest));
        let watched = Watched {
            token,
            interest,
            armed,
        };
        self.watched.insert(number, watched);
        Ok(())
    }

    fn modify(
        &mut self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        trigger: Trigger,
    ) -> io::Result<()> {
        if trigger != Trigger::Edge {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let watched = self.find(fd, token)?;
        watched.interest = interest;
        watched.armed = Some(mask(interest));
        Ok(())
    }

    fn rearm(&mut self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        let watched = self.find(fd, token)?;
        let again = interest & (watched.interest | Interest::ERROR);
        if !again.is_empty() {
            watched.armed = Some(watched.armed.unwrap_or(0) | mask(again));
        }
        Ok(())
    }

    fn remove(&mut self, fd: RawFd, token: Token) -> io::Result<()> {
        self.find(fd, token)?;
        self.watched.remove(&fd);
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let mut entries = vec![entry(self.notify.as_fd().as_raw_fd(), libc::POLLIN)];
        let (low, high) = (
            self.watched.range(..self.next),
            self.watched.range(self.next..),
        );
        entries.extend(
            high.chain(low)
                .filter_map(|(&fd, watched)| Some(entry(fd, watched.armed?))),
        );
        poll(&mut entries, timeout)?;
        if entries[0].revents != 0 {
            // The caller handles the messages of other threads after this wait.
            self.notify.drain();
        }
        for seen in entries[1..].iter().filter(|entry| entry.revents != 0) {
            if events.room() == 0 {
                self.next = seen.fd;
                break;
            }
            if let Some(token) = self.disarm(seen.fd, seen.revents) {
                events.push(token, readiness(seen.revents));
            }
        }
        Ok(())
    }

    fn notifier(&self) -> Notifier {
        self.notify.notifier()
    }

    fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        let reason = "poll(2) has no kernel object";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }
}

fn entry(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// Calls poll(2). The timeout is rounded up to milliseconds, so that a wait is never too short.
fn poll(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let millis = timeout.map_or(-1, |timeout| {
        let rounded = timeout.as_nanos().div_ceil(1_000_000);
        libc::c_int::try_from(rounded).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: pointer and length are those of one slice, which the call may write to.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as _, millis) };
    if ready == -1 {
        // A signal is returned too, as `Interrupted`.
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Converts an interest for poll(2), which always reports hang-ups and errors.
fn mask(interest: Interest) -> libc::c_short {
    let pick = |asked, bit| if interest.contains(asked) { bit } else { 0 };
    pick(Interest::READABLE, libc::POLLIN)
        | pick(Interest::WRITABLE, libc::POLLOUT)
        | pick(Interest::PRIORITY, libc::POLLPRI)
}

/// Converts what poll(2) has reported. An error or a hang-up sets both directions, because both
/// calls would return.
fn readiness(seen: libc::c_short) -> Ready {
    let both = Ready::READABLE | Ready::WRITABLE;
    let closed = Ready::READ_CLOSED | Ready::WRITE_CLOSED;
    let mut readiness = Ready::EMPTY;
    for (bit, reported) in [
        (libc::POLLIN, Ready::READABLE),
        (libc::POLLOUT, Ready::WRITABLE),
        (libc::POLLPRI, Ready::PRIORITY),
        (libc::POLLERR, both | Ready::ERROR),
        (libc::POLLHUP, both | closed),
        (libc::POLLNVAL, both | Ready::INVALID),
    ] {
        if seen & bit != 0 {
            readiness |= reported;
        }
    }
    readiness
}
