//! Cases about closing: half-closes, hang-ups, resets, refused connections, and the closing of
//! registered fds.

use super::harness::{
    Added, Fault, Harness, PATIENCE, Verdict, drain, ensure, fill, fill_completely, of, pipe,
    tcp_pair, unix_pair,
};
use super::{Case, Trigger};
use crate::backend::{Event, Interest, Ready};
use crate::sys::syscall::retry;
use crate::sys::test_fds;
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
    Case::new("C21", "reset_reported_both_ways", reset_reported_both_ways),
    Case::new("C28", "close_gives_eof", close_gives_eof),
    Case::new("C33", "closed_behind_back", closed_behind_back),
    Case::new("C35", "errors_reported", errors_reported),
    Case::new("C39", "duplicate_kept", duplicate_kept),
];

const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);

/// The peer ends its sending side: READABLE is reported, and only that side as closed.
fn half_close(harness: &mut Harness) -> Verdict {
    let (ours, theirs) = tcp_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    ours.shutdown(Shutdown::Write)?;
    check_half_closed(harness, added)?;
    ensure!(drain(&theirs)? == (0, true), "not the end of file");
    (&theirs).write_all(b"x")?;
    ours.set_nonblocking(false)?;
    (&ours).read_exact(&mut [0])?;

    let (ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    ours.shutdown(Shutdown::Write)?;
    check_half_closed(harness, added)?;
    ensure!(drain(&theirs)? == (0, true), "not the end of file");
    (&theirs).write_all(b"x")?;
    Ok(())
}

fn check_half_closed(harness: &mut Harness, added: Added) -> Verdict {
    let mut expected = Ready::READABLE;
    if harness.capabilities.read_closed {
        expected |= Ready::READ_CLOSED;
    }
    // Linux reports the end of a TCP stream as readable a moment before it reports the end itself.
    let seen = harness.until(added, expected)? - (Ready::READ_CLOSED - expected);
    ensure!(seen == expected, "{seen:?} instead of {expected:?}");
    Ok(())
}

/// All bytes come before the end of file, without an error.
fn data_then_close(harness: &mut Harness) -> Verdict {
    for size in [1, 4096, 65536] {
        let (ours, theirs) = tcp_pair()?;
        ours.set_nonblocking(false)?;
        let writer = thread::spawn(move || (&ours).write_all(&vec![7; size]));
        let added = harness.add(&theirs, Interest::READABLE)?;
        let read = read_to_end(harness, added, &theirs)?;
        ensure!(read == size, "{read} bytes instead of {size}");
        writer.join().expect("the writing thread returns")?;
    }
    let (mut ours, theirs) = unix_pair()?;
    let added = harness.add(&theirs, Interest::READABLE)?;
    ours.write_all(&[7; 4096])?;
    drop(ours);
    let read = read_to_end(harness, added, &theirs)?;
    ensure!(read == 4096, "{read} bytes instead of 4096");
    Ok(())
}

fn read_to_end(harness: &mut Harness, added: Added, mut from: impl Read) -> Verdict<usize> {
    let (mut total, started) = (0, Instant::now());
    loop {
        ensure!(started.elapsed() < PATIENCE, "no end after {total} bytes");
        let seen = harness.next(added)?;
        ensure!(!seen.is_error(), "{seen:?} after {total} bytes");
        let (read, ended) = drain(&mut from)?;
        total += read;
        if ended {
            harness.remove(added)?;
            return Ok(total);
        }
        harness.rearm(added, Interest::READABLE)?;
    }
}

/// The last writer closes a pipe: a waiting reader is woken, though there is nothing to read.
fn pipe_writer_closed(harness: &mut Harness) -> Verdict {
    let (reader, writer) = pipe()?;
    let added = harness.add(&reader, Interest::READABLE)?;
    harness.silent(added)?;
    drop(writer);
    let seen = harness.next(added)?;
    ensure!(seen.is_readable() && !seen.is_error(), "{seen:?}");
    harness.check_lasting_hangup(added)?;
    ensure!(drain(&reader)? == (0, true), "not the end of file");
    Ok(())
}

/// The last reader closes a pipe: a writer that waits for room is woken.
fn pipe_reader_closed(harness: &mut Harness) -> Verdict {
    let (reader, writer) = pipe()?;
    fill(&writer)?;
    let added = harness.add(&writer, Interest::WRITABLE)?;
    harness.silent(added)?;
    drop(reader);
    let seen = harness.next(added)?;
    ensure!(seen.is_writable(), "{seen:?} without WRITABLE");
    harness.check_lasting_hangup(added)?;
    let written = (&writer).write(b"x").map_err(|error| error.kind());
    ensure!(written == Err(io::ErrorKind::BrokenPipe), "{written:?}");
    Ok(())
}

/// A connection that succeeds, and one that is refused: both report WRITABLE, and `SO_ERROR` tells
/// them apart.
fn connect_result(harness: &mut Harness) -> Verdict {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let socket = test_fds::connect(address)?;
    let added = harness.add(&socket, BOTH)?;
    let seen = harness.until(added, Ready::WRITABLE)?;
    ensure!(seen == Ready::WRITABLE, "{seen:?} when connected");
    let error = socket.take_error()?;
    ensure!(error.is_none(), "{error:?} when connected");

    // The next socket may get this number.
    harness.remove(added)?;
    drop((listener, socket));
    let (_refusing, address) = test_fds::refusing()?;
    let socket = match test_fds::connect(address) {
        Ok(socket) => socket,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let added = harness.add(&socket, Interest::WRITABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen.is_writable(), "{seen:?} when refused");
    harness.remove(added)?;
    let error = socket.take_error()?.map(|error| error.kind());
    ensure!(
        error == Some(io::ErrorKind::ConnectionRefused),
        "{error:?} when refused"
    );
    Ok(())
}

/// The peer resets the connection: a wait for data ends, and so does a wait for room.
fn reset_reported_both_ways(harness: &mut Harness) -> Verdict {
    for interest in [BOTH, Interest::READABLE, Interest::WRITABLE] {
        let (ours, mut theirs) = tcp_pair()?;
        fill(&theirs)?;
        let added = harness.add(&theirs, interest)?;
        fill_completely(harness, added, &theirs)?;
        test_fds::reset_on_close(ours.as_fd())?;
        drop(ours);
        let wanted = Ready::from_interest(interest) - (Ready::READ_CLOSED | Ready::WRITE_CLOSED);
        let started = Instant::now();
        let read = loop {
            harness.until(added, wanted)?;
            match theirs.read(&mut [0]).map_err(|error| error.kind()) {
                // Room that was reported late, before the reset.
                Err(io::ErrorKind::WouldBlock)
                    if interest == Interest::WRITABLE && started.elapsed() < PATIENCE => {}
                read => break read,
            }
        };
        ensure!(read == Err(io::ErrorKind::ConnectionReset), "{read:?}");
        harness.remove(added)?;
    }
    Ok(())
}

/// A removed fd is closed: the peer sees the end at once, without a wait in between, because
/// nothing else holds the file.
fn close_gives_eof(harness: &mut Harness) -> Verdict {
    for removes in [true, false] {
        if !removes && !harness.capabilities.close_removes {
            continue;
        }
        let (mut ours, theirs) = tcp_pair()?;
        let added = harness.add(&theirs, Interest::READABLE)?;
        harness.silent(added)?;
        if removes {
            harness.remove(added)?;
        } else {
            harness.backend.forget(added.number, added.token)?;
        }
        drop(theirs);
        ours.set_nonblocking(false)?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let read = retry(|| ours.read(&mut [0])).map_err(|error| error.kind());
        ensure!(read == Ok(0), "{read:?} instead of the end of file");
        harness.silent(added)?;
    }
    Ok(())
}

/// An fd was closed without `remove`: it is reported once as INVALID at most, the loop does not
/// spin, and other fds still work.
fn closed_behind_back(harness: &mut Harness) -> Verdict {
    let (_peer, theirs) = unix_pair()?;
    let (mut ours, other) = unix_pair()?;
    let closed = harness.move_up(theirs)?;
    let gone = harness.add(&closed, Interest::READABLE)?;
    let live = harness.add(&other, Interest::READABLE)?;
    drop(closed);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let events = harness.poll_now()?;
        ensure!(of(&events, live).is_none(), "{events:?} for an idle fd");
        seen.extend(of(&events, gone));
    }
    let is_reported = seen.iter().all(|seen| seen.is_invalid());
    ensure!(seen.len() <= 1 && is_reported, "{seen:?} for a closed fd");
    let (timeout, started) = (Duration::from_millis(3), Instant::now());
    harness.wait(Some(timeout))?;
    ensure!(started.elapsed() >= timeout, "a closed fd makes it spin");
    ours.write_all(b"x")?;
    harness.next(live)?;
    match harness.remove(gone).map_err(|error| error.kind()) {
        Ok(()) | Err(io::ErrorKind::NotFound) => Ok(()),
        Err(kind) => Err(Fault::Failed(format!("remove afterwards: {kind:?}"))),
    }
}

/// A number is closed while its file lives on in a duplicate. After `remove` the old file is not
/// reported. After `forget`, on a mechanism with `close_removes`, it may be reported, but only
/// under the old token. In both cases the number can be added again: for another file, and for the
/// old file when it comes back.
fn duplicate_kept(harness: &mut Harness) -> Verdict {
    for forgets in [false, true] {
        if forgets && !harness.capabilities.close_removes {
            continue;
        }
        let end = |harness: &mut Harness, added: Added| match forgets {
            true => harness.backend.forget(added.number, added.token),
            false => harness.remove(added),
        };
        let (mut ours, theirs) = unix_pair()?;
        let (mut other_ours, other) = unix_pair()?;
        let kept = theirs.try_clone()?;
        let number = harness.move_up(theirs)?;
        let old = harness.add(&number, Interest::READABLE)?;
        end(harness, old)?;
        // Closes the number and gives it to another file in one step.
        test_fds::replace(number.as_fd(), other.as_fd())?;
        drop(other);
        ours.write_all(b"x")?;
        check_only(&harness.poll_now()?, forgets.then_some(old))?;
        if !forgets {
            harness.silent(old)?;
        }
        let new = harness.add(&number, Interest::READABLE)?;
        check_only(&harness.poll_now()?, forgets.then_some(old))?;
        other_ours.write_all(b"x")?;
        let seen = harness.next_with(new, old)?;
        ensure!(seen == Ready::READABLE, "{seen:?} for the new file");
        end(harness, new)?;

        test_fds::replace(number.as_fd(), kept.as_fd())?;
        check_only(&harness.poll_now()?, forgets.then_some(old))?;
        let back = harness.add(&number, Interest::READABLE)?;
        let seen = harness.next_with(back, old)?;
        ensure!(seen == Ready::READABLE, "{seen:?} for the old file");
        drain(&kept)?;
        harness.rearm(back, Interest::READABLE)?;
        harness.silent(back)?;
        harness.silent(old)?;
        ours.write_all(b"x")?;
        harness.next(back)?;
        harness.remove(back)?;
        harness.silent(back)?;
    }
    Ok(())
}

/// Checks that a batch reports only this registration, or nothing (`None`).
fn check_only(events: &[Event], added: Option<Added>) -> Verdict {
    let token = added.map(|added| added.token);
    let is_only = events.iter().all(|event| Some(event.token) == token);
    ensure!(is_only, "{events:?} instead of those of {added:?} alone");
    Ok(())
}

/// The last reader closes a pipe, and the writing end has an empty interest (or waits for room that
/// does not exist, without the capability `unasked`): a hang-up or an error is reported, and again
/// when it is armed again.
fn errors_reported(harness: &mut Harness) -> Verdict {
    let (reader, writer) = pipe()?;
    fill(&writer)?;
    let interest = match harness.capabilities.unasked {
        true => Interest::EMPTY,
        false => Interest::WRITABLE,
    };
    let mut added = harness.add(&writer, interest)?;
    harness.silent(added)?;
    drop(reader);
    if !harness.capabilities.errors {
        return Err(Fault::Skipped("does not report errors".into()));
    }
    let is_reported = |seen: Ready| {
        let bits = match interest.is_empty() {
            true => Ready::READABLE | Ready::WRITABLE,
            false => Ready::WRITABLE,
        };
        (seen.is_error() || seen.is_write_closed()) && seen.contains(bits)
    };
    let seen = harness.next(added)?;
    ensure!(is_reported(seen), "{seen:?} for a pipe without a reader");
    match harness.trigger {
        Trigger::Edge if !harness.capabilities.rearm => return Ok(()),
        Trigger::Edge => harness.rearm(added, Interest::ERROR)?,
        Trigger::Level | Trigger::Oneshot => harness.modify(&mut added, interest)?,
    }
    let seen = harness.next(added)?;
    ensure!(is_reported(seen), "{seen:?} when armed again");
    Ok(())
}
