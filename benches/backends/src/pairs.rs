//! The ring: socket pairs, and which one comes after which.

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

/// More than there ever is in one pair: a read that is shorter has taken everything.
const BUFFER: usize = 64;

/// Everything that is there; 0 when there is nothing.
pub fn read(mut reader: &UnixStream) -> io::Result<usize> {
    match reader.read(&mut [0; BUFFER]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        read => read,
    }
}

/// Some 0.6 of the ring, without a common factor: a byte comes through the whole ring before it meets a pair again, and who
/// looks from the first fd on finds it neither always early nor always late.
fn stride(count: usize) -> usize {
    let wanted = (count * 618 / 1000).max(1);
    (wanted..=count).find(|&s| gcd(s, count) == 1).unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
