//! The same ring on the callback loop, with a timeout on every fd that each read moves.

use crate::chain::Shape;
use crate::pairs::{Pairs, Writers, read};
use crate::report::Run;
use crate::sys::{self, Times};
use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop::{Builder, EventLoop, Key};
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How a read changes the timeout.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    /// There is none.
    None,
    /// `push_timeout`.
    Push,
    /// `clear_timeout` and `set_timeout`, as in a loop that cannot move a timeout.
    Again,
}

pub const POLICIES: [&str; 3] = ["none", "push", "again"];

/// The state that the handlers share.
struct Chain {
    writers: Writers,
    /// The pairs to write to after the turn.
    onward: Vec<(usize, usize)>,
    bytes: u64,
    events: u64,
    empty: u64,
    failed: Option<io::Error>,
}

/// All runs, and the CPU of their loops in user space and in the kernel.
pub fn run(
    backend: BackendKind,
    policy: &str,
    shape: Shape,
) -> Result<(Vec<Run>, (u64, u64)), String> {
    let policy = match policy {
        "none" => Policy::None,
        "push" => Policy::Push,
        "again" => Policy::Again,
        _ => return Err(format!("no policy {policy}: {}", POLICIES.join(", "))),
    };
    runs(backend, policy, shape).map_err(|error| error.to_string())
}

fn runs(backend: BackendKind, policy: Policy, shape: Shape) -> io::Result<(Vec<Run>, (u64, u64))> {
    let Pairs {
        mut readers,
        writers,
    } = Pairs::new(shape.pairs)?;
    let mut event_loop = Builder::new()
        .backend(backend)
        .event_capacity(shape.active.max(1024))
        .build(Chain {
            writers,
            onward: Vec::with_capacity(shape.active),
            bytes: 0,
            events: 0,
            empty: 0,
            failed: None,
        })?;
    let (mut sources, mut runs, mut split) = (Vec::new(), Vec::new(), (0, 0));
    for _ in 0..shape.runs {
        let start = Times::now();
        for source in sources.drain(..) {
            readers.push(event_loop.detach(source)?);
        }
        for (key, reader) in readers.drain(..).enumerate() {
            sources.push(attach(&mut event_loop, key, reader, policy)?);
        }
        event_loop.turn(Some(Duration::ZERO))?;
        let register = start.passed();
        let before = sys::user_and_kernel();
        let run = once(&mut event_loop, shape)?;
        let after = sys::user_and_kernel();
        split = (split.0 + after.0 - before.0, split.1 + after.1 - before.1);
        runs.push(Run { register, ..run });
    }
    Ok((runs, split))
}

/// Spread over a second, so that they are not all in one slot of the wheel.
fn timeout(key: usize) -> Duration {
    Duration::from_millis(60_000 + (key * 7919 % 1000) as u64)
}

fn attach(
    event_loop: &mut EventLoop<Chain>,
    key: usize,
    reader: UnixStream,
    policy: Policy,
) -> io::Result<Key<UnixStream>> {
    let handler = move |event_loop: &mut EventLoop<Chain>, source, _cause| {
        if let Err(error) = serve(event_loop, source, key, policy) {
            event_loop.data_mut().failed = Some(error);
        }
    };
    let source = event_loop.attach(reader, Interest::READABLE, Trigger::Level, handler)?;
    if policy != Policy::None {
        event_loop.set_timeout(source, timeout(key))?;
    }
    Ok(source)
}

fn serve(
    event_loop: &mut EventLoop<Chain>,
    source: Key<UnixStream>,
    key: usize,
    policy: Policy,
) -> io::Result<()> {
    let Some((reader, chain)) = event_loop.get_with_data(source) else {
        return Ok(());
    };
    let count = read(reader)?;
    chain.events += 1;
    chain.bytes += count as u64;
    match count {
        0 => chain.empty += 1,
        _ => chain.onward.push((chain.writers.after(key), count)),
    }
    match policy {
        Policy::None => Ok(()),
        Policy::Push => event_loop.push_timeout(source),
        Policy::Again => {
            event_loop.clear_timeout(source);
            event_loop.set_timeout(source, timeout(key))
        }
    }
}

/// Writes the first bytes, and turns until the last has been read.
fn once(event_loop: &mut EventLoop<Chain>, shape: Shape) -> io::Result<Run> {
    let chain = event_loop.data_mut();
    (chain.bytes, chain.events, chain.empty) = (0, 0, 0);
    for key in chain.writers.first(shape.active) {
        chain.writers.write(key, 1)?;
    }
    let (mut fired, mut left, mut turns) = (shape.active as u64, shape.writes, 0);
    let start = Times::now();
    while event_loop.data().bytes < fired {
        event_loop.turn(Some(Duration::ZERO))?;
        turns += 1;
        let chain = event_loop.data_mut();
        if let Some(error) = chain.failed.take() {
            return Err(error);
        }
        for (key, count) in chain.onward.drain(..) {
            let count = count.min(left);
            if count > 0 {
                left -= count;
                fired += count as u64;
                chain.writers.write(key, count)?;
            }
        }
    }
    let looped = start.passed();
    let chain = event_loop.data();
    Ok(Run {
        register: Times { wall: 0, cpu: 0 },
        looped,
        turns,
        events: chain.events,
        empty: chain.empty,
        bytes: chain.bytes,
        overflows: 0,
    })
}
