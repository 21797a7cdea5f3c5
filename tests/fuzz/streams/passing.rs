//! Unix streams that pass descriptors, in messages that reads take apart at any byte.

use super::super::activity::{Activity, Step};
use super::super::foreign::Foreign;
use super::super::harness::{Dice, lock};
use super::side::byte;
use super::{Over, World};
use reveille::net::UnixStream;
use reveille::time::{Duration, sleep, timeout};
use reveille::{spawn, yield_now};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// The messages with descriptors: where each begins, and the numbers of its descriptors.
type Sent = Arc<Mutex<Vec<(usize, Vec<u8>)>>>;

/// Makes a descriptor from which a number can be read.
fn numbered(number: u8) -> OwnedFd {
    let (mut here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    here.write_all(&[number]).unwrap();
    there.into()
}

fn number_of(fd: OwnedFd) -> u8 {
    let mut number = [0];
    let read = std::os::unix::net::UnixStream::from(fd).read(&mut number);
    assert_eq!(read.unwrap(), 1);
    number[0]
}

async fn write(
    world: Arc<World>,
    stream: UnixStream,
    sent: Sent,
    length: usize,
    over: Arc<AtomicBool>,
) {
    let mut dice = world.dice();
    let activity = Activity::new(format!("passes descriptors, {length}"));
    let (mut at, mut next) = (0, 0);
    while at < length {
        activity.set(Step::Writes, stream.as_raw_fd(), at);
        let most = (1 + dice.below(3000)).min(length - at);
        let bytes: Vec<u8> = (at..at + most).map(byte).collect();
        let count = if dice.one_in(2) { dice.below(4) } else { 0 };
        let numbers: Vec<u8> = (next..next + count).map(byte).collect();
        let fds: Vec<OwnedFd> = numbers.iter().copied().map(numbered).collect();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        // Before the call, because the peer may read before it returns.
        lock(&sent).push((at, numbers));
        let written = match dice.below(4) {
            0 => poll_fn(|cx| stream.poll_send_with_fds(cx, &bytes, &fds)).await,
            1 => stream.try_send_with_fds(&bytes, &fds),
            2 => {
                let short = Duration::from_micros(dice.below(200) as u64);
                let written = timeout(short, stream.send_with_fds(&bytes, &fds)).await;
                written.unwrap_or_else(|_| Err(ErrorKind::WouldBlock.into()))
            }
            _ => stream.send_with_fds(&bytes, &fds).await,
        };
        match written {
            Ok(written) => {
                at += written;
                next += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                lock(&sent).pop();
                yield_now().await;
            }
            Err(_) if over.load(SeqCst) => return,
            Err(error) => return world.fault(&format!("descriptors are not sent: {error}")),
        }
    }
}

async fn read(
    stream: &UnixStream,
    dice: &mut Dice,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    match dice.below(4) {
        0 => poll_fn(|cx| stream.poll_recv_with_fds(cx, buffer, fds)).await,
        1 => {
            stream.readable().await?;
            stream.try_recv_with_fds(buffer, fds)
        }
        2 => {
            let short = Duration::from_micros(dice.below(200) as u64);
            let read = timeout(short, stream.recv_with_fds(buffer, fds)).await;
            read.unwrap_or_else(|_| Err(ErrorKind::WouldBlock.into()))
        }
        _ => stream.recv_with_fds(buffer, fds).await,
    }
}

pub(super) async fn pass(world: Arc<World>) {
    let mut dice = world.dice();
    let over = Over(Arc::default());
    let (reader, writer) = UnixStream::pair().unwrap();
    let most = [10, 1000, 100_000][dice.below(3)];
    let length = 1 + dice.below(most);
    let sent = Sent::default();
    let writing = write(world.clone(), writer, sent.clone(), length, over.0.clone());
    let writing = spawn(writing);
    let activity = Activity::new(format!("takes descriptors, {length}"));
    let mut at = 0;
    loop {
        activity.set(Step::Reads, reader.as_raw_fd(), at);
        if dice.one_in(10) {
            sleep(Duration::from_micros(dice.below(300) as u64)).await;
        }
        let mut buffer = vec![0; 1 + dice.below(4000)];
        let mut fds = Vec::new();
        let count = match read(&reader, &mut dice, &mut buffer, &mut fds).await {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock && fds.is_empty() => continue,
            Err(error) => return world.fault(&format!("descriptors are not read: {error}")),
        };
        let is_right = (0..count).all(|i| buffer[i] == byte(at + i));
        let came: Vec<u8> = fds.into_iter().map(number_of).collect();
        let mut expected = Vec::new();
        for (begin, numbers) in lock(&sent).iter() {
            if (at..at + count).contains(begin) {
                expected.extend_from_slice(numbers);
            }
        }
        if !is_right || came != expected {
            let what = format!("{count} bytes at {at}, {is_right}: {came:?}, not {expected:?}");
            return world.fault(&what);
        }
        at += count;
    }
    // The writer may have been aborted; then its part has arrived.
    activity.set(Step::Joins, -1, at);
    match writing.await {
        Ok(()) if at != length => world.fault(&format!("{at} of {length} bytes with descriptors")),
        Ok(()) => {}
        Err(error) => world.fault(&format!("the sender of descriptors: {error}")),
    }
}
