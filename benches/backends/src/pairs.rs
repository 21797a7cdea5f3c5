//! The ring: socket pairs, and their order.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

pub struct Pairs {
    pub readers: Vec<UnixStream>,
    pub writers: Writers,
}

/// The ends that are written to.
pub struct Writers {
    ends: Vec<UnixStream>,
    stride: usize,
}

impl Pairs {
    pub fn new(count: usize) -> io::Result<Pairs> {
        let (mut readers, mut ends) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            readers.push(reader);
            ends.push(writer);
        }
        let stride = stride(count);
        Ok(Pairs {
            readers,
            writers: Writers { ends, stride },
        })
    }
}

impl Writers {
    /// The pair that is written to after `key` was read.
    pub fn after(&self, key: usize) -> usize {
        (key + self.stride) % self.ends.len()
    }

    pub fn write(&self, key: usize, count: usize) -> io::Result<()> {
        (&self.ends[key]).write_all(&[b'e'; BUFFER][..count])
    }

    /// The `active` pairs that a run begins with, evenly spread.
    pub fn first(&self, active: usize) -> impl Iterator<Item = usize> {
        let space = self.ends.len() / active;
        (0..active).map(move |i| i * space)
    }
}

/// More bytes than a pair ever holds, so a read always takes all of them.
const BUFFER: usize = 64;

/// Reads all bytes. Returns 0 if there are none.
pub fn read(mut reader: &UnixStream) -> io::Result<usize> {
    match reader.read(&mut [0; BUFFER]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        read => read,
    }
}

/// Some 0.6 of the ring, without a common factor: a byte visits all pairs before it returns to one,
/// and a scan from the first fd finds it neither always early nor always late.
fn stride(count: usize) -> usize {
    let wanted = (count * 618 / 1000).max(1);
    (wanted..=count).find(|&s| gcd(s, count) == 1).unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
