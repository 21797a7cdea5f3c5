//! This crate's backends, through the public trait.

use super::Poller;
use reveille::backend::{Backend, BackendKind, Events, Interest, Token, Trigger};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

struct Reveille {
    backend: Box<dyn Backend>,
    events: Events,
    trigger: Trigger,
    rearms: bool,
}

/// The mechanisms that can be opened on this machine.
pub fn here() -> impl Iterator<Item = BackendKind> {
    BackendKind::ALL
        .into_iter()
        .filter(|kind| kind.open(16).is_ok())
}

pub fn open(name: &str, trigger: Trigger, room: usize) -> io::Result<Box<dyn Poller>> {
    let kind: BackendKind = name.parse().map_err(io::Error::other)?;
    let backend = kind.open(room)?;
    Ok(Box::new(Reveille {
        rearms: backend.capabilities().rearm,
        backend,
        events: Events::with_capacity(room),
        trigger,
    }))
}

fn token(key: usize) -> Token {
    Token::from_u64(key as u64)
}

impl Poller for Reveille {
    fn add(&mut self, key: usize, fd: &UnixStream) -> io::Result<()> {
        self.backend
            .add(fd.as_fd(), token(key), Interest::READABLE, self.trigger)
    }

    fn remove(&mut self, key: usize, fd: &UnixStream) -> io::Result<()> {
        self.backend.remove(fd.as_raw_fd(), token(key))
    }

    fn turn(&mut self, ready: &mut Vec<usize>) -> io::Result<()> {
        match self.backend.wait(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            waited => waited?,
        }
        let events = self.events.as_slice();
        ready.extend(events.iter().map(|event| event.token.to_u64() as usize));
        Ok(())
    }

    fn served(&mut self, key: usize, fd: &UnixStream) -> io::Result<()> {
        let (fd, token) = (fd.as_raw_fd(), token(key));
        match self.trigger {
            Trigger::Edge if self.rearms => self.backend.rearm(fd, token, Interest::READABLE),
            Trigger::Oneshot => {
                let interest = Interest::READABLE;
                self.backend.modify(fd, token, interest, Trigger::Oneshot)
            }
            _ => Ok(()),
        }
    }
}
