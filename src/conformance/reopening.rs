//! Cases about files that can be used after an end: half-closes, FIFOs and terminals whose other
//! side comes back, sockets that are not connected yet, errors that no call has returned.

use super::harness::{
    Added, Fault, Harness, PATIENCE, Verdict, drain, ensure, fill, fill_completely, of, tcp_pair,
};
use super::{Case, Trigger};
use crate::backend::{Interest, Ready};
use crate::sys::test_fds::{self, Fifo};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "C40",
        "half_closed_and_written_to",
        half_closed_and_written_to,
    ),
    Case::new("C41", "fifo_gets_another_writer", fifo_gets_another_writer),
    Case::new("C42", "terminal_opened_anew", terminal_opened_anew),
    Case::new(
        "C43",
        "before_connect_and_listen",
        before_connect_and_listen,
    ),
    Case::new("C44", "error_queue_unread", error_queue_unread),
];

const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);
const CLOSED: Ready = Ready::READ_CLOSED.union(Ready::WRITE_CLOSED);

/// The peer shuts down its sending side and goes on reading: the end of input does not count as
/// room to write, and room is reported.
fn half_closed_and_written_to(harness: &mut Harness) -> Verdict {
    let (ours, theirs) = tcp_pair()?;
    ours.shutdown(Shutdown::Write)?;
    let started = Instant::now();
    while !drain(&theirs)?.1 {
        ensure!(started.elapsed() < PATIENCE, "no end of file");
        thread::yield_now();
    }
    fill(&theirs)?;
    let added = harness.add(&theirs, Interest::WRITABLE)?;
    fill_completely(harness, added, &theirs)?;
    let mut seen = Ready::EMPTY;
    while !seen.is_writable() {
        ensure!(started.elapsed() < PATIENCE, "only {seen:?} for room");
        // What the peer reads makes room for data that is on its way.
        drain(&ours)?;
        let events = harness.wait(Some(Duration::from_millis(1)))?;
        seen |= of(&events, added).unwrap_or(Ready::EMPTY);
    }
    let wrong = Ready::WRITE_CLOSED | Ready::ERROR | Ready::READABLE;
    ensure!(!seen.intersects(wrong), "{seen:?} for room");
    Ok(())
}

/// The last writer of a FIFO closes it, which hangs the reader up, and another writer opens it: its
/// data is reported, and no side is reported as closed.
fn fifo_gets_another_writer(harness: &mut Harness) -> Verdict {
    let fifo = Fifo::new()?;
    let reader = fifo.reader()?;
    let mut first = fifo.writer()?;
    let added = harness.add(&reader, Interest::READABLE)?;
    first.write_all(b"x")?;
    harness.next(added)?;
    ensure!(drain(&reader)? == (1, false), "not one byte");
    harness.rearm(added, Interest::READABLE)?;
    drop(first);
    let seen = harness.next(added)?;
    ensure!(seen.is_readable(), "{seen:?} without a writer");
    ensure!(drain(&reader)? == (0, true), "not the end of file");
    consume_stale_events(harness)?;
    let mut second = fifo.writer()?;
    second.write_all(b"y")?;
    check_open_again(harness, added)?;
    ensure!(
        drain(&reader)? == (1, false),
        "not the second writer's byte"
    );
    Ok(())
}

/// The other side of a terminal is closed, and opened again.
fn terminal_opened_anew(harness: &mut Harness) -> Verdict {
    let skipped = |error| Fault::Skipped(format!("no terminal: {error}"));
    let mut master = test_fds::terminal().map_err(skipped)?;
    let slave = test_fds::other_side(master.as_fd()).map_err(skipped)?;
    let added = harness.add(&master, Interest::READABLE)?;
    harness.silent(added)?;
    drop(slave);
    let seen = harness.next(added)?;
    ensure!(seen.is_readable(), "{seen:?} for a hang-up");
    consume_stale_events(harness)?;
    let mut slave = File::from(test_fds::other_side(master.as_fd())?);
    slave.write_all(b"y")?;
    check_open_again(harness, added)?;
    ensure!(master.read(&mut [0; 8])? == 1, "not the byte");
    Ok(())
}

/// One socket is added before it connects, and one before it listens. Linux calls them hung up
/// until then.
fn before_connect_and_listen(harness: &mut Harness) -> Verdict {
    let listener = test_fds::unconnected()?;
    let added = harness.add(&listener, Interest::READABLE)?;
    consume_stale_events(harness)?;
    let address = test_fds::listen(&listener)?;
    let listener = TcpListener::from(std::os::fd::OwnedFd::from(listener));
    harness.rearm(added, Interest::READABLE)?;
    let _client = TcpStream::connect(address)?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::READABLE, "{seen:?} for a connection");
    let (_server, _) = listener.accept()?;
    harness.remove(added)?;

    let socket = test_fds::unconnected()?;
    let added = harness.add(&socket, BOTH)?;
    consume_stale_events(harness)?;
    test_fds::begin_connect(&socket, address)?;
    harness.rearm(added, BOTH)?;
    let seen = harness.until(added, Ready::WRITABLE)?;
    ensure!(seen == Ready::WRITABLE, "{seen:?} when connected");
    Ok(())
}

/// The error queue of a datagram socket is not read, so the socket has an error while its calls
/// would block. The error is reported as the trigger says, and data that comes later is reported
/// too.
fn error_queue_unread(harness: &mut Harness) -> Verdict {
    let here = UdpSocket::bind("127.0.0.1:0")?;
    here.set_nonblocking(true)?;
    if let Err(error) = test_fds::keep_errors(here.as_fd()) {
        return Err(Fault::Skipped(format!("no error queue: {error}")));
    }
    // The second socket is connected to itself, so what others send to it is refused.
    let refusing = UdpSocket::bind("127.0.0.1:0")?;
    refusing.connect(refusing.local_addr()?)?;
    here.send_to(b"x", refusing.local_addr()?)?;
    let started = Instant::now();
    loop {
        match here.recv(&mut [0; 8]).map_err(|error| error.kind()) {
            Err(io::ErrorKind::ConnectionRefused) => break,
            received => ensure!(
                started.elapsed() < PATIENCE,
                "{received:?} instead of a refusal"
            ),
        }
    }
    let added = harness.add(&here, Interest::READABLE)?;
    let seen = harness.next(added)?;
    let is_reported = seen.is_readable() && !seen.intersects(CLOSED);
    ensure!(is_reported, "{seen:?} for an error without a hang-up");
    let received = here.recv(&mut [0; 8]).map_err(|error| error.kind());
    ensure!(received == Err(io::ErrorKind::WouldBlock), "{received:?}");
    harness.check_lasting(added)?;
    consume_stale_events(harness)?;
    UdpSocket::bind("127.0.0.1:0")?.send_to(b"news", here.local_addr()?)?;
    harness.rearm(added, Interest::READABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen.is_readable(), "{seen:?} for data");
    ensure!(here.recv(&mut [0; 8])? == 4, "not the data");
    Ok(())
}

/// Consumes events that were queued before a change: with edges a condition may be reported when it
/// is already over.
fn consume_stale_events(harness: &mut Harness) -> Verdict {
    for _ in 0..3 {
        harness.poll_now()?;
    }
    Ok(())
}

/// Checks that an fd that was hung up is reported as open once its other side is back and has sent
/// data.
fn check_open_again(harness: &mut Harness, added: Added) -> Verdict {
    harness.rearm(added, Interest::READABLE)?;
    let seen = harness.next(added)?;
    ensure!(seen == Ready::READABLE, "{seen:?} when it is open again");
    if harness.trigger == Trigger::Level {
        let seen = harness.next(added)?;
        ensure!(seen == Ready::READABLE, "{seen:?} in the next wait");
    }
    Ok(())
}
