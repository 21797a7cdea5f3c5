//! The two ends of a stream of any kind, and all ways to read and write them.

use super::super::harness::Dice;
use reveille::io::{AsyncFd, Interest};
use reveille::net::kind::{Readable, Writable};
use reveille::net::{ByteStream, TcpListener, TcpStream, UnixStream, pipe};
use reveille::time::{Duration, sleep, timeout};
use reveille::yield_now;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, ready};

/// What a stream is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Tcp,
    Unix,
    Pipe,
}

/// One end, registered with a runtime.
pub(super) enum End {
    Tcp(TcpStream),
    Unix(UnixStream),
    Receiver(pipe::Receiver),
    Sender(pipe::Sender),
    Fd(AsyncFd<File>),
}

/// An end that reads and one that writes. `is_net`: as the types of `net`, if there are others.
pub(super) async fn ends(kind: Kind, is_net: bool) -> (End, End) {
    let (reader, writer): (OwnedFd, OwnedFd) = match kind {
        Kind::Unix if is_net => {
            let (reader, writer) = UnixStream::pair().unwrap();
            return (End::Unix(reader), End::Unix(writer));
        }
        Kind::Pipe if is_net => {
            let (writer, reader) = pipe::pipe().unwrap();
            return (End::Receiver(reader), End::Sender(writer));
        }
        Kind::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let reader = TcpStream::connect(addr).await.unwrap();
            let (writer, _) = listener.accept().await.unwrap();
            return (End::Tcp(reader), End::Tcp(writer));
        }
        Kind::Unix => {
            let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
            (reader.into(), writer.into())
        }
        Kind::Pipe => {
            let mut numbers = [0; 2];
            // SAFETY: the array has room for the two numbers.
            assert_eq!(unsafe { libc::pipe(numbers.as_mut_ptr()) }, 0);
            // SAFETY: the call has just made these fds, and no other code knows them.
            let [reader, writer] = numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            (reader, writer)
        }
    };
    let interests = match kind {
        Kind::Pipe => [Interest::READABLE, Interest::WRITABLE],
        _ => [Interest::READABLE | Interest::WRITABLE; 2],
    };
    (
        End::Fd(custom(reader, interests[0])),
        End::Fd(custom(writer, interests[1])),
    )
}

fn custom(fd: OwnedFd, interest: Interest) -> AsyncFd<File> {
    // SAFETY: the calls take no pointer; the fd is open.
    let set = unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    assert_eq!(set, 0);
    AsyncFd::with_interest(File::from(fd), interest).expect("it is not registered")
}

impl End {
    fn fd(&self) -> &dyn AsFd {
        match self {
            End::Tcp(stream) => stream,
            End::Unix(stream) => stream,
            End::Receiver(end) => end,
            End::Sender(end) => end,
            End::Fd(fd) => fd,
        }
    }

    /// Returns the number of its descriptor.
    pub(super) fn number(&self) -> RawFd {
        self.fd().as_fd().as_raw_fd()
    }

    /// Makes a duplicate with its own registration.
    pub(super) fn duplicate(&self, interest: Interest) -> End {
        End::Fd(custom(
            self.fd().as_fd().try_clone_to_owned().unwrap(),
            interest,
        ))
    }

    /// Registers the same file again, under its number or another one, perhaps as another type.
    pub(super) fn rehome(self, dice: &mut Dice, interest: Interest) -> End {
        /// What it is registered as again, if not as an `AsyncFd`.
        type Again = Option<fn(OwnedFd) -> End>;
        let (mut fd, again): (OwnedFd, Again) = match self {
            End::Tcp(stream) => (
                stream.into_std().unwrap().into(),
                Some(|fd| End::Tcp(TcpStream::from_std(fd.into()).unwrap())),
            ),
            End::Unix(stream) => (
                stream.into_std().unwrap().into(),
                Some(|fd| End::Unix(UnixStream::from_std(fd.into()).unwrap())),
            ),
            End::Receiver(end) => (
                end.into_nonblocking_fd().unwrap(),
                Some(|fd| End::Receiver(pipe::Receiver::from_owned_fd(fd).unwrap())),
            ),
            End::Sender(end) => (
                end.into_nonblocking_fd().unwrap(),
                Some(|fd| End::Sender(pipe::Sender::from_owned_fd(fd).unwrap())),
            ),
            End::Fd(fd) => (fd.into_inner().into(), None),
        };
        if dice.one_in(3) {
            fd = fd.try_clone().unwrap();
        }
        match again {
            Some(again) if dice.one_in(2) => again(fd),
            _ => End::Fd(custom(fd, interest)),
        }
    }

    /// Shuts down the writer's direction, if the file has two.
    pub(super) fn shut_down(&self) {
        // SAFETY: the call takes no pointer; the fd is open.
        unsafe { libc::shutdown(self.number(), libc::SHUT_WR) };
        // A backend without edges may not report this by itself: see `TcpStream::shutdown`.
    }

    /// Makes the drop reset the connection, if it is TCP.
    pub(super) fn reset(self) {
        if let End::Tcp(stream) = &self {
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }

    /// Polls for readiness once, which leaves a waker behind.
    pub(super) fn leave(&self, cx: &mut Context<'_>) {
        let _ = match self {
            End::Tcp(stream) => stream.poll_read_ready(cx).map(drop),
            End::Unix(stream) => stream.poll_read_ready(cx).map(drop),
            End::Receiver(end) => end.poll_read_ready(cx).map(drop),
            End::Sender(_) => return,
            End::Fd(fd) => fd.poll_read_ready(cx).map(drop),
        };
    }

    /// Reads some bytes, or none at the end. `None`: it gave up.
    pub(super) async fn read(
        &self,
        dice: &mut Dice,
        buffer: &mut [u8],
        is_here: bool,
    ) -> Option<io::Result<usize>> {
        let short = Duration::from_micros(dice.below(200) as u64);
        let way = dice.below(6);
        Some(match self {
            End::Tcp(stream) if way == 2 => match stream.peek(buffer).await {
                Ok(0) => Ok(0),
                Ok(most) => stream.read(&mut buffer[..most]).await,
                Err(error) => Err(error),
            },
            End::Tcp(stream) => read_stream(stream, way, short, buffer, is_here).await?,
            End::Unix(stream) => read_stream(stream, way, short, buffer, is_here).await?,
            End::Receiver(end) => read_stream(end, way, short, buffer, is_here).await?,
            End::Sender(_) => unreachable!("it only writes"),
            End::Fd(fd) => match way {
                0 => match fd.readable().await {
                    Ok(mut guard) => match guard.try_io(|fd| fd.get_ref().read(buffer)) {
                        Ok(read) => read,
                        Err(_would_block) => return None,
                    },
                    Err(error) => Err(error),
                },
                1 if is_here => {
                    let read = fd.async_io(Interest::READABLE, |mut file| file.read(buffer));
                    timeout(short, read).await.ok()?
                }
                2 => poll_fn(|cx| read_by_poll(fd, cx, buffer)).await,
                3 if is_here => match fd.readable().await {
                    Ok(mut guard) => match fd.get_ref().read(buffer) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            // This guard does not clear readiness that arrives meanwhile.
                            sleep(short).await;
                            guard.clear_ready();
                            return None;
                        }
                        read => read,
                    },
                    Err(error) => Err(error),
                },
                _ => {
                    fd.async_io(Interest::READABLE, |mut file| file.read(buffer))
                        .await
                }
            },
        })
        .filter(|read| !would_block(read))
    }

    /// Writes some of the bytes. `None`: nothing was written.
    pub(super) async fn write(
        &self,
        dice: &mut Dice,
        bytes: &[u8],
        is_here: bool,
    ) -> Option<io::Result<usize>> {
        let short = Duration::from_micros(dice.below(200) as u64);
        let way = dice.below(6);
        Some(match self {
            End::Tcp(stream) => write_stream(stream, way, short, bytes, is_here).await?,
            End::Unix(stream) => write_stream(stream, way, short, bytes, is_here).await?,
            End::Sender(end) => write_stream(end, way, short, bytes, is_here).await?,
            End::Receiver(_) => unreachable!("it only reads"),
            End::Fd(fd) => match way {
                0 => match fd.writable().await {
                    Ok(mut guard) => match guard.try_io(|fd| fd.get_ref().write(bytes)) {
                        Ok(written) => written,
                        Err(_would_block) => return None,
                    },
                    Err(error) => Err(error),
                },
                1 if is_here => {
                    let written = fd.async_io(Interest::WRITABLE, |mut file| file.write(bytes));
                    timeout(short, written).await.ok()?
                }
                _ => {
                    yield_now().await;
                    fd.async_io(Interest::WRITABLE, |mut file| file.write(bytes))
                        .await
                }
            },
        })
        .filter(|written| !would_block(written))
    }
}

/// Reads from a stream of any kind in one of several ways. `None`: it gave up.
async fn read_stream<K: Readable>(
    stream: &ByteStream<K>,
    way: usize,
    short: Duration,
    buffer: &mut [u8],
    is_here: bool,
) -> Option<io::Result<usize>> {
    Some(match way {
        0 => match stream.readable().await {
            Ok(()) => stream.try_read(buffer),
            Err(error) => Err(error),
        },
        1 if is_here => timeout(short, stream.read(buffer)).await.ok()?,
        3 => match poll_fn(|cx| stream.poll_read_ready(cx)).await {
            Ok(()) => stream.try_read(buffer),
            Err(error) => Err(error),
        },
        4 => {
            let mut vector = Vec::with_capacity(buffer.len());
            let read = stream.read_buf(&mut vector).await;
            // It reserves more than was asked for, perhaps.
            let fits = vector.len() <= buffer.len();
            assert!(fits, "more than the capacity was read");
            buffer[..vector.len()].copy_from_slice(&vector);
            read
        }
        _ => stream.read(buffer).await,
    })
}

/// Writes to a stream of any kind in one of several ways. `None`: nothing was written.
async fn write_stream<K: Writable>(
    stream: &ByteStream<K>,
    way: usize,
    short: Duration,
    bytes: &[u8],
    is_here: bool,
) -> Option<io::Result<usize>> {
    Some(match way {
        0 => match stream.writable().await {
            Ok(()) => stream.try_write(bytes),
            Err(error) => Err(error),
        },
        1 if is_here => timeout(short, stream.write(bytes)).await.ok()?,
        2 => stream.write_all(bytes).await.map(|()| bytes.len()),
        _ => stream.write(bytes).await,
    })
}

fn read_by_poll(
    fd: &AsyncFd<File>,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let mut guard = ready!(fd.poll_read_ready(cx))?;
        if let Ok(read) = guard.try_io(|fd| fd.get_ref().read(buffer)) {
            return Poll::Ready(read);
        }
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
