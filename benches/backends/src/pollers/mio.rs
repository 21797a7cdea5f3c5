//! mio: edges, never re-armed.

use super::Poller;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

struct Mio {
    poll: Poll,
    events: Events,
}

pub fn open(room: usize) -> io::Result<Box<dyn Poller>> {
    Ok(Box::new(Mio {
        poll: Poll::new()?,
        events: Events::with_capacity(room),
    }))
}

impl Poller for Mio {
    fn add(&mut self, key: usize, fd: &UnixStream) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&fd), Token(key), Interest::READABLE)
    }

    fn remove(&mut self, _key: usize, fd: &UnixStream) -> io::Result<()> {
        let registry = self.poll.registry();
        registry.deregister(&mut SourceFd(&fd.as_raw_fd()))
    }

    fn turn(&mut self, ready: &mut Vec<usize>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        ready.extend(self.events.iter().map(|event| event.token().0));
        Ok(())
    }

    fn served(&mut self, _key: usize, _fd: &UnixStream) -> io::Result<()> {
        Ok(())
    }
}
