//! No mechanism: the ring itself knows which fds are ready. So it measures the reads, the writes
//! and the bench alone.

use super::Poller;
use std::io;
use std::os::unix::net::UnixStream;

struct Floor {
    written: Vec<usize>,
}

pub fn open() -> Box<dyn Poller> {
    Box::new(Floor {
        written: Vec::new(),
    })
}

impl Poller for Floor {
    fn add(&mut self, _key: usize, _fd: &UnixStream) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, _key: usize, _fd: &UnixStream) -> io::Result<()> {
        Ok(())
    }

    fn turn(&mut self, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.append(&mut self.written);
        Ok(())
    }

    fn served(&mut self, _key: usize, _fd: &UnixStream) -> io::Result<()> {
        Ok(())
    }

    fn written(&mut self, key: usize) {
        self.written.push(key);
    }
}
