//! In a turn with events for two tasks, the first task closes the fd of the second, and a new file
//! gets the number. The new file must inherit neither readiness nor wake-ups.

mod support;

use reveille::io::AsyncFd;
use reveille::net::TcpStream;
use reveille::{Runtime, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use support::on_every_backend;

/// Duplicates a file to a number from `lowest` on, which no other code in the process gets by
/// chance.
fn at_least(fd: impl AsFd, lowest: RawFd) -> OwnedFd {
    let fd = fd.as_fd();
    // SAFETY: the fd is open.
    let number = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    assert!(number >= lowest, "{}", std::io::Error::last_os_error());
    // SAFETY: the call has just made this fd, and no other code knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The kinds of handle that can hold a number.
enum Kind {
    Fd(AsyncFd<UnixStream>),
    Tcp(TcpStream),
}

impl Kind {
    fn fd(file: OwnedFd) -> Kind {
        let stream = UnixStream::from(file);
        stream.set_nonblocking(true).unwrap();
        Kind::Fd(AsyncFd::new(stream).unwrap())
    }

    fn tcp(file: OwnedFd) -> Kind {
        let stream = std::net::TcpStream::from(file);
        stream.set_nonblocking(true).unwrap();
        Kind::Tcp(TcpStream::from_std(stream).unwrap())
    }

    fn number(&self) -> RawFd {
        match self {
            Kind::Fd(fd) => fd.as_raw_fd(),
            Kind::Tcp(stream) => stream.as_raw_fd(),
        }
    }

    /// Reads one byte. Makes no system call if the cached readiness shows that there is none.
    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<u8> {
        let mut buf = [0];
        match self {
            Kind::Fd(fd) => loop {
                let Poll::Ready(guard) = fd.poll_read_ready(cx) else {
                    return Poll::Pending;
                };
                let read = guard.unwrap().try_io(|fd| fd.get_ref().read(&mut buf));
                if let Ok(read) = read {
                    assert_eq!(read.unwrap(), 1);
                    return Poll::Ready(buf[0]);
                }
            },
            Kind::Tcp(stream) => {
                let mut read = pin!(async {
                    assert_eq!(stream.read(&mut buf).await.unwrap(), 1);
                    buf[0]
                });
                read.as_mut().poll(cx)
            }
        }
    }
}

/// Two connected files.
type Pair = (OwnedFd, OwnedFd);

type MakePair = fn() -> Pair;
type MakeKind = fn(OwnedFd) -> Kind;

fn unix_pair() -> Pair {
    let (one, two) = UnixStream::pair().unwrap();
    (one.into(), two.into())
}

fn tcp_pair() -> Pair {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (two, _) = listener.accept().unwrap();
    (one.into(), two.into())
}

fn write(fd: &OwnedFd, byte: u8) {
    let file = std::fs::File::from(fd.try_clone().unwrap());
    (&file).write_all(&[byte]).unwrap();
}

/// Two tasks wait for one file each, and both become ready at once. The first task that runs closes
/// the file of the second and registers an idle file under its number. The numbers are above those
/// of other tests.
fn close_and_reuse(
    runtime: &Runtime,
    (pair, kind): (MakePair, MakeKind),
    lowest: RawFd,
    keep: bool,
) {
    runtime.block_on(async {
        let (one, two, new) = (pair(), pair(), pair());
        let first = at_least(&one.0, lowest);
        let second = at_least(&two.0, lowest);
        // A file that is held open elsewhere too stays alive when its registered number is closed.
        let kept = keep.then(|| (one.0.try_clone().unwrap(), two.0.try_clone().unwrap()));
        drop((one.0, two.0));
        let slots: Rc<[RefCell<Option<Kind>>; 2]> = Rc::new([
            RefCell::new(Some(kind(first))),
            RefCell::new(Some(kind(second))),
        ]);
        let (new_file, new_peer) = new;
        let new_file = Rc::new(Cell::new(Some(new_file)));
        let polls = Rc::new([Cell::new(0), Cell::new(0)]);
        let closed: Rc<Cell<Option<usize>>> = Rc::default();
        let spawn = |mine: usize| {
            let (slots, polls) = (slots.clone(), polls.clone());
            let (closed, new_file) = (closed.clone(), new_file.clone());
            reveille::spawn(poll_fn(move |cx| {
                polls[mine].set(polls[mine].get() + 1);
                let polled = slots[mine].borrow().as_ref().unwrap().poll_read(cx);
                if polled.is_ready() && closed.get().is_none() {
                    let others = 1 - mine;
                    closed.set(Some(others));
                    let old = slots[others].borrow_mut().take().unwrap();
                    let number = old.number();
                    drop(old);
                    let file = at_least(new_file.take().unwrap(), number);
                    assert_eq!(file.as_raw_fd(), number, "the test needs the same number");
                    *slots[others].borrow_mut() = Some(kind(file));
                }
                polled
            }))
        };
        let tasks = [spawn(0), spawn(1)];
        while polls.iter().any(|polls| polls.get() == 0) {
            yield_now().await;
        }
        // Both before the next wait, so that one batch holds both events.
        write(&one.1, 1);
        write(&two.1, 2);
        let mut turns = 0;
        while closed.get().is_none() || turns < 20 {
            reveille::time::sleep(std::time::Duration::from_micros(50)).await;
            turns += 1;
        }
        let victim = closed.get().unwrap();
        assert!(tasks[1 - victim].is_finished());
        assert!(!tasks[victim].is_finished(), "it took another file's event");
        // The first poll, and one for the event of its old file or for its end.
        let before = polls[victim].get();
        assert!(before <= 3, "{before} polls");
        if kept.is_some() {
            // The old file stays open and gets ready, which no task must notice.
            write(if victim == 0 { &one.1 } else { &two.1 }, 3);
            for _ in 0..5 {
                reveille::time::sleep(std::time::Duration::from_micros(50)).await;
            }
            assert_eq!(polls[victim].get(), before);
        }
        write(&new_peer, 9);
        let mut bytes = Vec::new();
        for task in tasks {
            bytes.push(task.await.unwrap());
        }
        assert_eq!(bytes[victim], 9, "the new file works");
        slots.iter().for_each(|slot| drop(slot.take()));
    });
}

#[test]
fn async_fd_under_a_reused_number_inherits_nothing() {
    on_every_backend(|runtime| {
        for keep in [false, true] {
            close_and_reuse(runtime, (unix_pair, Kind::fd), 300, keep);
        }
    });
}

#[test]
fn tcp_stream_under_a_reused_number_inherits_nothing() {
    on_every_backend(|runtime| {
        for keep in [false, true] {
            close_and_reuse(runtime, (tcp_pair, Kind::tcp), 600, keep);
        }
    });
}

#[test]
fn fd_that_two_tasks_wait_for_may_be_closed_by_either() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = UnixStream::pair().unwrap();
            here.set_nonblocking(true).unwrap();
            // Full, so that both directions wait.
            while (&here).write(&[0; 4096]).is_ok() {}
            let slot = Rc::new(RefCell::new(Some(AsyncFd::new(here).unwrap())));
            let polls = Rc::new(Cell::new(0));
            let spawn = |reads: bool| {
                let (slot, polls) = (slot.clone(), polls.clone());
                reveille::spawn(poll_fn(move |cx| {
                    polls.set(polls.get() + 1);
                    let ready = match &*slot.borrow() {
                        None => return Poll::Ready(false),
                        Some(fd) if reads => fd.poll_read_ready(cx).map(drop),
                        Some(fd) => match fd.poll_write_ready(cx) {
                            Poll::Ready(Ok(mut guard)) => {
                                let full = guard.try_io(|fd| fd.get_ref().write(&[0]));
                                if full.is_err() {
                                    fd.poll_write_ready(cx).map(drop)
                                } else {
                                    Poll::Ready(())
                                }
                            }
                            other => other.map(drop),
                        },
                    };
                    ready.map(|()| {
                        *slot.borrow_mut() = None;
                        true
                    })
                }))
            };
            let (reader, writer) = (spawn(true), spawn(false));
            while polls.get() < 2 {
                yield_now().await;
            }
            // A hang-up wakes both by one event.
            drop(there);
            let ended = (reader.await.unwrap(), writer.await.unwrap());
            assert_ne!(
                ended.0, ended.1,
                "one of them ended it, the other found it gone"
            );
        });
    });
}

#[test]
fn read_returns_all_bytes_before_the_end() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for len in [1, 2, 1000, 4096, 65_536] {
                for buf_len in [1, 1000, 1 << 17] {
                    let (mut peer, stream) = support::std_pair().await;
                    let sender = std::thread::spawn(move || {
                        peer.write_all(&vec![7; len]).unwrap();
                    });
                    let all = support::read_to_end(&stream, buf_len.max(len / 64)).await;
                    assert_eq!((all.len(), all.iter().all(|byte| *byte == 7)), (len, true));
                    sender.join().unwrap();
                }
            }
        });
    });
}

#[test]
fn reset_wakes_reader_and_writer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (peer, stream) = support::pair().await;
            let stream = Rc::new(stream);
            let (reads, writes) = (stream.clone(), stream.clone());
            let started = Rc::new(Cell::new(0));
            let (one, two) = (started.clone(), started.clone());
            let reader = reveille::spawn(async move {
                one.set(one.get() + 1);
                reads.read(&mut [0]).await
            });
            let writer = reveille::spawn(async move {
                while writes.try_write(&[0; 1 << 16]).is_ok() {}
                two.set(two.get() + 1);
                writes.writable().await?;
                writes.write(&[0]).await
            });
            while started.get() < 2 {
                yield_now().await;
            }
            yield_now().await;
            peer.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(peer);
            // One of them receives the error, and the other one the end.
            let ended = (reader.await.unwrap(), writer.await.unwrap());
            assert!(ended.0.is_err() || ended.1.is_err(), "{ended:?}");
        });
    });
}
