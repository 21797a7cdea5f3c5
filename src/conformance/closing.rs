//! Ends: half-closes, hang-ups, resets, refusals, and our own.

use super::bench::{
    Added, Bench, Fault, PATIENCE, Verdict, drain, ensure, fill, fill_for_good, of, pipe, tcp_pair,
    unix_pair,
};
use super::{Case, Trigger};
use crate::backend::{Interest, Readiness};
use crate::sys::lab;
use crate::sys::syscall::retry;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    Case::new("C16", "half_close", half_close),
    Case::new("C17", "data_then_close", data_then_close),
    Case::new("C18", "pipe_writer_closed", pipe_writer_closed),
    Case::new("C19", "pipe_reader_closed", pipe_reader_closed),
    Case::new("C20", "connect_result", connect_result),
    Case::new("C21", "reset_tells_both", reset_tells_both),
    Case::new("C28", "close_gives_eof", close_gives_eof),
    Case::new("C33", "closed_behind_back", closed_behind_back),
    Case::new("C35", "errors_are_told", errors_are_told),
];

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The peer ends its sending side: that can be read, and only that side is closed.
fn half_close(bench: &mut Bench) -> Verdict {
    let (ours, theirs) = tcp_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    ours.shutdown(Shutdown::Write)?;
    is_half_closed(bench, added)?;
    ensure!(drain(&theirs)? == (0, true), "not the end of file");
    (&theirs).write_all(b"x")?;
    ours.set_nonblocking(false)?;
    (&ours).read_exact(&mut [0])?;

    let (ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    ours.shutdown(Shutdown::Write)?;
    is_half_closed(bench, added)?;
    ensure!(drain(&theirs)? == (0, true), "not the end of file");
    (&theirs).write_all(b"x")?;
    Ok(())
}

fn is_half_closed(bench: &mut Bench, added: Added) -> Verdict {
    let mut expected = Readiness::READABLE;
    if bench.capabilities.read_closed {
        expected |= Readiness::READ_CLOSED;
    }
    // Linux counts the end of a TCP stream among what can be read a moment before it says that this is the end.
    let seen = bench.until(added, expected)? - (Readiness::READ_CLOSED - expected);
    ensure!(seen == expected, "{seen:?} instead of {expected:?}");
    Ok(())
}

/// All bytes come before the end of file, and no error with them.
fn data_then_close(bench: &mut Bench) -> Verdict {
    for size in [1, 4096, 65536] {
        let (ours, theirs) = tcp_pair()?;
        ours.set_nonblocking(false)?;
        let writer = thread::spawn(move || (&ours).write_all(&vec![7; size]));
        let added = bench.add(&theirs, Interest::READABLE)?;
        let read = read_to_end(bench, added, &theirs)?;
        ensure!(read == size, "{read} bytes instead of {size}");
        writer.join().expect("the writing thread returns")?;
    }
    let (mut ours, theirs) = unix_pair()?;
    let added = bench.add(&theirs, Interest::READABLE)?;
    ours.write_all(&[7; 4096])?;
    drop(ours);
    let read = read_to_end(bench, added, &theirs)?;
    ensure!(read == 4096, "{read} bytes instead of 4096");
    Ok(())
}

fn read_to_end(bench: &mut Bench, added: Added, mut from: impl Read) -> Verdict<usize> {
    let (mut total, started) = (0, Instant::now());
    loop {
        ensure!(started.elapsed() < PATIENCE, "no end after {total} bytes");
        let seen = bench.next(added)?;
        ensure!(!seen.is_error(), "{seen:?} after {total} bytes");
        let (read, ended) = drain(&mut from)?;
        total += read;
        if ended {
            bench.remove(added)?;
            return Ok(total);
        }
        bench.again(added, Interest::READABLE)?;
    }
}

/// The last writer goes: a reader that waits hears of it, though there is nothing to read.
fn pipe_writer_closed(bench: &mut Bench) -> Verdict {
    let (reader, writer) = pipe()?;
    let added = bench.add(&reader, Interest::READABLE)?;
    bench.silent(added)?;
    drop(writer);
    let seen = bench.next(added)?;
    ensure!(seen.is_readable() && !seen.is_error(), "{seen:?}");
    bench.disarmed_by(seen, added)?;
    ensure!(drain(&reader)? == (0, true), "not the end of file");
    Ok(())
}

/// The last reader goes: a writer that waits for room hears of it.
fn pipe_reader_closed(bench: &mut Bench) -> Verdict {
    let (reader, writer) = pipe()?;
    fill(&writer)?;
    let added = bench.add(&writer, Interest::WRITABLE)?;
    bench.silent(added)?;
    drop(reader);
    let seen = bench.next(added)?;
    ensure!(seen.is_writable(), "{seen:?} without WRITABLE");
    bench.disarmed_by(seen, added)?;
    let written = (&writer).write(b"x").map_err(|error| error.kind());
    ensure!(written == Err(io::ErrorKind::BrokenPipe), "{written:?}");
    Ok(())
}

/// A connection that is made, and one that is refused: WRITABLE, and `SO_ERROR` says which.
fn connect_result(bench: &mut Bench) -> Verdict {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let socket = lab::connect(address)?;
    let added = bench.add(&socket, BOTH)?;
    let seen = bench.until(added, Readiness::WRITABLE)?;
    ensure!(seen == Readiness::WRITABLE, "{seen:?} when connected");
    let error = socket.take_error()?;
    ensure!(error.is_none(), "{error:?} when connected");

    // Its number may be the next socket's.
    bench.remove(added)?;
    drop((listener, socket));
    let (_nobody, address) = lab::refusing()?;
    let socket = match lab::connect(address) {
        Ok(socket) => socket,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let added = bench.add(&socket, Interest::WRITABLE)?;
    let seen = bench.next(added)?;
    ensure!(seen.is_writable(), "{seen:?} when refused");
    bench.remove(added)?;
    let error = socket.take_error()?.map(|error| error.kind());
    ensure!(
        error == Some(io::ErrorKind::ConnectionRefused),
        "{error:?} when refused"
    );
    Ok(())
}

/// The peer resets: whoever waits, for data or for room, hears of it.
fn reset_tells_both(bench: &mut Bench) -> Verdict {
    for interest in [BOTH, Interest::READABLE, Interest::WRITABLE] {
        let (ours, mut theirs) = tcp_pair()?;
        fill(&theirs)?;
        let added = bench.add(&theirs, interest)?;
        fill_for_good(bench, added, &theirs)?;
        lab::reset_on_close(ours.as_fd())?;
        drop(ours);
        let wanted =
            Readiness::from_interest(interest) - (Readiness::READ_CLOSED | Readiness::WRITE_CLOSED);
        let started = Instant::now();
        let read = loop {
            bench.until(added, wanted)?;
            match theirs.read(&mut [0]).map_err(|error| error.kind()) {
                // It was told of room that came late, before it was reset.
                Err(io::ErrorKind::WouldBlock)
                    if interest == Interest::WRITABLE && started.elapsed() < PATIENCE => {}
                read => break read,
            }
        };
        ensure!(read == Err(io::ErrorKind::ConnectionReset), "{read:?}");
        bench.remove(added)?;
    }
    Ok(())
}

/// A removed fd is closed: the peer sees the end at once, without a wait in between, for nothing holds the file any longer.
fn close_gives_eof(bench: &mut Bench) -> Verdict {
    for removes in [true, false] {
        if !removes && !bench.capabilities.close_removes {
            continue;
        }
        let (mut ours, theirs) = tcp_pair()?;
        let added = bench.add(&theirs, Interest::READABLE)?;
        bench.silent(added)?;
        if removes {
            bench.remove(added)?;
        }
        drop(theirs);
        ours.set_nonblocking(false)?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let read = retry(|| ours.read(&mut [0])).map_err(|error| error.kind());
        ensure!(read == Ok(0), "{read:?} instead of the end of file");
        bench.silent(added)?;
    }
    Ok(())
}

/// An fd that was closed without `remove`: once INVALID at most, no spin, and the others live.
fn closed_behind_back(bench: &mut Bench) -> Verdict {
    let (_peer, theirs) = unix_pair()?;
    let (mut ours, other) = unix_pair()?;
    let closed = bench.move_up(theirs)?;
    let gone = bench.add(&closed, Interest::READABLE)?;
    let live = bench.add(&other, Interest::READABLE)?;
    drop(closed);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let events = bench.look()?;
        ensure!(of(&events, live).is_none(), "{events:?} for an idle fd");
        seen.extend(of(&events, gone));
    }
    let is_told = seen.iter().all(|seen| seen.is_invalid());
    ensure!(seen.len() <= 1 && is_told, "{seen:?} for a closed fd");
    let (timeout, started) = (Duration::from_millis(3), Instant::now());
    bench.wait(Some(timeout))?;
    ensure!(started.elapsed() >= timeout, "a closed fd makes it spin");
    ours.write_all(b"x")?;
    bench.next(live)?;
    match bench.remove(gone).map_err(|error| error.kind()) {
        Ok(()) | Err(io::ErrorKind::NotFound) => Ok(()),
        Err(kind) => Err(Fault::Failed(format!("remove afterwards: {kind:?}"))),
    }
}

/// The last reader of a pipe goes, and nobody asks for anything at the writer's end (or for room that there is not, where
/// hang-ups are not told unasked): it hears of that, as of an error or a hang-up, and again when that is armed again.
fn errors_are_told(bench: &mut Bench) -> Verdict {
    let (reader, writer) = pipe()?;
    fill(&writer)?;
    let asked = match bench.capabilities.unasked {
        true => Interest::NONE,
        false => Interest::WRITABLE,
    };
    let mut added = bench.add(&writer, asked)?;
    bench.silent(added)?;
    drop(reader);
    if !bench.capabilities.errors {
        return Err(Fault::Skipped("tells no errors".into()));
    }
    let is_told = |seen: Readiness| {
        let bits = match asked.is_none() {
            true => Readiness::READABLE | Readiness::WRITABLE,
            false => Readiness::WRITABLE,
        };
        (seen.is_error() || seen.is_write_closed()) && seen.contains(bits)
    };
    let seen = bench.next(added)?;
    ensure!(is_told(seen), "{seen:?} for a pipe without a reader");
    match bench.trigger {
        Trigger::Edge if !bench.capabilities.rearm => return Ok(()),
        Trigger::Edge => bench.again(added, Interest::ERROR)?,
        Trigger::Level | Trigger::Oneshot => bench.modify(&mut added, asked)?,
    }
    let seen = bench.next(added)?;
    ensure!(is_told(seen), "{seen:?} when armed again");
    Ok(())
}
