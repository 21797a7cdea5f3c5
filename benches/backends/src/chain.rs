//! The workload: bytes that travel around the ring.

use crate::pairs::{Pairs, read};
use crate::pollers::Poller;
use crate::report::Run;
use crate::sys::{self, Times};
use std::io;

/// How many pairs, and how many bytes travel.
#[derive(Clone, Copy)]
pub struct Shape {
    pub pairs: usize,
    /// Bytes that travel at a time.
    pub active: usize,
    /// How often a byte that was read is written on, in a run.
    pub writes: usize,
    pub runs: usize,
    /// Register once, not before each run.
    pub keeps: bool,
    /// Check for lost signals before each turn.
    pub watch_overflows: bool,
}

/// All runs, and the CPU of their loops in user space and in the kernel.
pub fn run(shape: Shape, poller: &mut dyn Poller) -> io::Result<(Vec<Run>, (u64, u64))> {
    let pairs = Pairs::new(shape.pairs)?;
    let mut ready = Vec::new();
    let (mut runs, mut split) = (Vec::new(), (0, 0));
    for round in 0..shape.runs {
        let start = Times::now();
        for (key, reader) in pairs.readers.iter().enumerate() {
            if round > 0 {
                if shape.keeps {
                    break;
                }
                poller.remove(key, reader)?;
            }
            poller.add(key, reader)?;
        }
        poller.turn(&mut ready)?;
        let register = start.passed();
        let before = sys::user_and_kernel();
        let run = once(shape, &pairs, poller)?;
        let after = sys::user_and_kernel();
        split = (split.0 + after.0 - before.0, split.1 + after.1 - before.1);
        runs.push(Run { register, ..run });
    }
    for (key, reader) in pairs.readers.iter().enumerate() {
        poller.remove(key, reader)?;
    }
    Ok((runs, split))
}

/// Writes the first bytes, and turns until the last has been read.
fn once(shape: Shape, pairs: &Pairs, poller: &mut dyn Poller) -> io::Result<Run> {
    let writers = &pairs.writers;
    for key in writers.first(shape.active) {
        writers.write(key, 1)?;
        poller.written(key);
    }
    let (mut fired, mut left) = (shape.active as u64, shape.writes);
    let (mut turns, mut events, mut empty, mut bytes, mut overflows) = (0, 0, 0, 0, 0);
    let mut ready = Vec::with_capacity(shape.active);
    let mut onward = Vec::with_capacity(shape.active);
    let start = Times::now();
    while bytes < fired {
        if shape.watch_overflows && sys::has_overflowed() {
            overflows += 1;
        }
        poller.turn(&mut ready)?;
        turns += 1;
        events += ready.len() as u64;
        for key in ready.drain(..) {
            let reader = &pairs.readers[key];
            let count = read(reader)?;
            poller.served(key, reader)?;
            match count {
                0 => empty += 1,
                _ => onward.push((writers.after(key), count)),
            }
            bytes += count as u64;
        }
        // Only when all have read, so that no byte overtakes another.
        for (key, count) in onward.drain(..) {
            let count = count.min(left);
            if count > 0 {
                left -= count;
                fired += count as u64;
                writers.write(key, count)?;
                poller.written(key);
            }
        }
    }
    let looped = start.passed();
    Ok(Run {
        register: Times { wall: 0, cpu: 0 },
        looped,
        turns,
        events,
        empty,
        bytes,
        overflows,
    })
}
