//! polling: one-shot by default, which `modify` arms again; levels and edges on request.

use super::Poller;
use polling::{Event, Events, PollMode};
use reveille::backend::Trigger;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::time::Duration;

struct Polling {
    poller: polling::Poller,
    events: Events,
    mode: PollMode,
}

pub fn open(trigger: Trigger, room: usize) -> io::Result<Box<dyn Poller>> {
    let room = NonZeroUsize::new(room).unwrap_or(NonZeroUsize::MIN);
    Ok(Box::new(Polling {
        poller: polling::Poller::new()?,
        events: Events::with_capacity(room),
        mode: match trigger {
            Trigger::Edge => PollMode::Edge,
            Trigger::Level => PollMode::Level,
            Trigger::Oneshot => PollMode::Oneshot,
        },
    }))
}

impl Poller for Polling {
    fn add(&mut self, key: usize, fd: &UnixStream) -> io::Result<()> {
        // SAFETY: the ring removes every fd before it closes one.
        unsafe {
            self.poller
                .add_with_mode(fd, Event::readable(key), self.mode)
        }
    }

    fn remove(&mut self, _key: usize, fd: &UnixStream) -> io::Result<()> {
        self.poller.delete(fd)
    }

    fn turn(&mut self, ready: &mut Vec<usize>) -> io::Result<()> {
        self.events.clear();
        self.poller.wait(&mut self.events, Some(Duration::ZERO))?;
        ready.extend(self.events.iter().map(|event| event.key));
        Ok(())
    }

    fn served(&mut self, key: usize, fd: &UnixStream) -> io::Result<()> {
        match self.mode {
            PollMode::Oneshot => self.poller.modify(fd, Event::readable(key)),
            _ => Ok(()),
        }
    }
}
