//! [`Socket`]: a datagram socket of either kind, and all ways to receive and send.

use super::super::harness::Dice;
use super::ledger::{Ledger, Outgoing};
use reveille::io::Interest;
use reveille::net::{RecvBatch, UdpSocket, UnixDatagram};
use reveille::time::{Duration, timeout};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::PathBuf;
use std::task::Context;

pub(super) enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Where to send to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The socket is connected to the peer.
    Peer,
    Ip(SocketAddr),
    Path(PathBuf),
    Addr(UnixAddr),
}

impl Socket {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }

    /// Returns whether poll(2) finds any of these events.
    pub(super) fn has(&self, events: libc::c_short) -> bool {
        let mut one = libc::pollfd {
            fd: self.fd().as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: the pointer and the count are those of one value that outlives the call.
        let found = unsafe { libc::poll(&raw mut one, 1, 0) };
        found == 1 && one.revents & events != 0
    }

    /// Polls for readiness once, which leaves wakers behind.
    pub(super) fn leave(&self, cx: &mut Context<'_>) {
        match self {
            Socket::Udp(socket) => {
                let _ = socket.poll_recv_ready(cx);
                let _ = socket.poll_send_ready(cx);
            }
            Socket::Unix(socket) => {
                let _ = socket.poll_recv_ready(cx);
                let _ = socket.poll_send_ready(cx);
            }
        }
    }

    /// Receives one or more datagrams in a random way and notes them. `is_here`: this thread runs
    /// the runtime. Returns `None` if it gave up, and the number of bytes or datagrams otherwise.
    pub(super) async fn receive(
        &self,
        ledger: &Ledger,
        dice: &mut Dice,
        capacity: usize,
        is_here: bool,
    ) -> Option<io::Result<usize>> {
        let mut buffer = vec![0; capacity];
        let received = match self {
            Socket::Udp(socket) if dice.one_in(4) => receive_many(socket, ledger, dice, capacity)
                .await
                .transpose()?
                .map(|()| 0),
            Socket::Udp(socket) => receive_udp(socket, ledger, dice, &mut buffer, is_here).await?,
            Socket::Unix(socket) => receive_unix(socket, dice, &mut buffer, is_here).await?,
        };
        if let Ok(count @ 1..) = received {
            ledger.receive(&buffer[..count], capacity);
        }
        Some(received).filter(|received| !would_block(received))
    }

    /// Receives without waiting until nothing is left.
    pub(super) fn drain(&self, ledger: &Ledger) {
        let mut buffer = [0; 2000];
        loop {
            let received = match self {
                Socket::Udp(socket) => socket.try_recv(&mut buffer),
                Socket::Unix(socket) => socket.try_recv(&mut buffer),
            };
            match received {
                Ok(0) | Err(_) => return,
                Ok(count) => ledger.receive(&buffer[..count], 2000),
            }
        }
    }

    /// Sends a datagram in a random way. `None`: it gave up.
    pub(super) async fn send(
        &self,
        target: &Target,
        bytes: &[u8],
        dice: &mut Dice,
        is_here: bool,
    ) -> Option<io::Result<usize>> {
        let way = dice.below(6);
        let short = Duration::from_micros(dice.below(200) as u64);
        let sent = match self {
            Socket::Udp(socket) => match (target, way) {
                (Target::Ip(to), 0) => socket.send_to(bytes, *to).await,
                (Target::Ip(to), 1) => poll_fn(|cx| socket.poll_send_to(cx, bytes, *to)).await,
                (Target::Ip(to), 2) if is_here => {
                    timeout(short, socket.send_to(bytes, *to)).await.ok()?
                }
                (Target::Ip(to), _) => match socket.writable().await {
                    Ok(()) => socket.try_send_to(bytes, *to),
                    Err(error) => Err(error),
                },
                (_, 0) => socket.send(bytes).await,
                (_, 1) => poll_fn(|cx| socket.poll_send(cx, bytes)).await,
                (_, 2) if is_here => timeout(short, socket.send(bytes)).await.ok()?,
                (_, 3) => {
                    let call = || send_raw(socket.as_fd(), bytes);
                    socket.async_io(Interest::WRITABLE, call).await
                }
                (_, _) => match poll_fn(|cx| socket.poll_send_ready(cx)).await {
                    Ok(()) => socket.try_send(bytes),
                    Err(error) => Err(error),
                },
            },
            Socket::Unix(socket) => send_unix(socket, target, way, short, bytes, is_here).await?,
        };
        Some(sent).filter(|sent| !would_block(sent))
    }

    /// Sends datagrams by one call, if this is UDP. Returns how many.
    pub(super) async fn send_many(
        &self,
        target: &Target,
        all: &[Outgoing<'_>],
        dice: &mut Dice,
    ) -> Option<io::Result<usize>> {
        let Socket::Udp(socket) = self else {
            return None;
        };
        let bytes: Vec<&[u8]> = all.iter().map(|one| &*one.bytes).collect();
        let by_try = dice.one_in(3);
        let sent = if let Target::Ip(to) = target {
            let all = bytes.iter().map(|bytes| (*bytes, *to));
            match by_try {
                true => socket.try_send_many(all),
                false => socket.send_many(all).await,
            }
        } else {
            let all = bytes.iter().copied();
            match by_try {
                true => socket.try_send_many(all),
                false => socket.send_many(all).await,
            }
        };
        Some(sent).filter(|sent| !would_block(sent))
    }
}

async fn receive_many(
    socket: &UdpSocket,
    ledger: &Ledger,
    dice: &mut Dice,
    capacity: usize,
) -> io::Result<Option<()>> {
    let mut batch = RecvBatch::new(1 + dice.below(20), capacity);
    let received = match dice.below(3) {
        0 => {
            socket.readable().await?;
            socket.try_recv_many(&mut batch)
        }
        1 => poll_fn(|cx| socket.poll_recv_many(cx, &mut batch)).await,
        _ => socket.recv_many(&mut batch).await,
    };
    if would_block(&received) {
        return Ok(None);
    }
    if received? != batch.len() {
        ledger.fault("a batch has another number of datagrams than was returned");
    }
    for datagram in batch.iter().filter(|datagram| !datagram.data().is_empty()) {
        ledger.receive(datagram.data(), capacity);
    }
    Ok(Some(()))
}

/// Receives by one of the calls for one datagram.
async fn receive_udp(
    socket: &UdpSocket,
    ledger: &Ledger,
    dice: &mut Dice,
    buffer: &mut [u8],
    is_here: bool,
) -> Option<io::Result<usize>> {
    let short = Duration::from_micros(dice.below(200) as u64);
    let received = match dice.below(11) {
        0 => return Some(socket.recv(buffer).await),
        1 => poll_fn(|cx| socket.poll_recv_from(cx, buffer)).await,
        2 => match socket.readable().await {
            Ok(()) => socket.try_recv_from(buffer),
            Err(error) => Err(error),
        },
        3 if is_here => timeout(short, socket.recv_from(buffer)).await.ok()?,
        4 => {
            let mut vector = Vec::with_capacity(buffer.len());
            let received = socket.recv_buf_from(&mut vector).await;
            buffer[..vector.len()].copy_from_slice(&vector);
            received
        }
        5 => {
            let call = || receive_raw(socket.as_fd(), buffer);
            return Some(socket.async_io(Interest::READABLE, call).await);
        }
        6 => {
            let mut bytes = vec![MaybeUninit::new(0); buffer.len()];
            let received = poll_fn(|cx| socket.poll_recv_from_uninit(cx, &mut bytes)).await;
            for (to, from) in buffer.iter_mut().zip(&bytes) {
                // SAFETY: all bytes were initialized above.
                *to = unsafe { from.assume_init() };
            }
            received
        }
        7 => {
            let peeked = match dice.one_in(2) {
                true => socket.peek_from(buffer).await.map(|(count, _)| count),
                false => poll_fn(|cx| socket.poll_peek(cx, buffer)).await,
            };
            match peeked {
                Ok(0) => {}
                // Another task may take it.
                Ok(count) => drop(ledger.check(&buffer[..count], buffer.len())),
                Err(error) => return Some(Err(error)),
            }
            socket.try_recv_from(buffer)
        }
        8 => match socket.ready(Interest::READABLE).await {
            Ok(_) => return Some(socket.try_recv(buffer)),
            Err(error) => Err(error),
        },
        9 => match socket.peek_sender().await {
            Ok(_) => socket.try_recv_from(buffer),
            Err(error) => Err(error),
        },
        _ => socket.recv_from(buffer).await,
    };
    Some(received.map(|(count, _)| count))
}

async fn receive_unix(
    socket: &UnixDatagram,
    dice: &mut Dice,
    buffer: &mut [u8],
    is_here: bool,
) -> Option<io::Result<usize>> {
    let short = Duration::from_micros(dice.below(200) as u64);
    Some(match dice.below(7) {
        0 => match socket.readable().await {
            Ok(()) => socket.try_recv(buffer),
            Err(error) => Err(error),
        },
        1 if is_here => timeout(short, socket.recv(buffer)).await.ok()?,
        2 => {
            let received = poll_fn(|cx| socket.poll_recv_from(cx, buffer)).await;
            received.map(|(count, _)| count)
        }
        3 => {
            let mut vector = Vec::with_capacity(buffer.len());
            let received = socket.recv_buf(&mut vector).await;
            buffer[..vector.len()].copy_from_slice(&vector);
            received
        }
        4 => {
            let call = || receive_raw(socket.as_fd(), buffer);
            socket.async_io(Interest::READABLE, call).await
        }
        5 => match socket.ready(Interest::READABLE).await {
            Ok(_) => socket.try_recv_from(buffer).map(|(count, _)| count),
            Err(error) => Err(error),
        },
        _ => socket.recv(buffer).await,
    })
}

async fn send_unix(
    socket: &UnixDatagram,
    target: &Target,
    way: usize,
    short: Duration,
    bytes: &[u8],
    is_here: bool,
) -> Option<io::Result<usize>> {
    Some(match (target, way) {
        (Target::Path(to), 0) => poll_fn(|cx| socket.poll_send_to(cx, bytes, to)).await,
        (Target::Path(to), 1) => socket.try_send_to(bytes, to),
        (Target::Path(to), 2) if is_here => timeout(short, socket.send_to(bytes, to)).await.ok()?,
        (Target::Path(to), _) => socket.send_to(bytes, to).await,
        (Target::Addr(to), 0) => poll_fn(|cx| socket.poll_send_to_addr(cx, bytes, to)).await,
        (Target::Addr(to), 1) => socket.try_send_to_addr(bytes, to),
        (Target::Addr(to), 2) if is_here => {
            timeout(short, socket.send_to_addr(bytes, to)).await.ok()?
        }
        (Target::Addr(to), _) => socket.send_to_addr(bytes, to).await,
        (_, 0) => match socket.writable().await {
            Ok(()) => socket.try_send(bytes),
            Err(error) => Err(error),
        },
        (_, 1) => poll_fn(|cx| socket.poll_send(cx, bytes)).await,
        (_, 2) if is_here => timeout(short, socket.send(bytes)).await.ok()?,
        (_, 3) => {
            let call = || send_raw(socket.as_fd(), bytes);
            socket.async_io(Interest::WRITABLE, call).await
        }
        (_, _) => socket.send(bytes).await,
    })
}

fn send_raw(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let (pointer, length) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the pointer and the length are those of one slice, which is borrowed.
    let sent = unsafe { libc::send(fd.as_raw_fd(), pointer, length, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn receive_raw(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (pointer, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the pointer and the length are those of one slice, which is borrowed mutably.
    let received = unsafe { libc::recv(fd.as_raw_fd(), pointer, length, 0) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
