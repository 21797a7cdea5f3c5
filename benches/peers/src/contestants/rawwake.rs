//! Ways for one thread to sleep until another wakes it, each under the shortest possible executor:
//! a future polled in place. They are the hand-written references of the row `cross`.

use std::future::Future;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::contestant::{Contestant, Tasks};
use crate::sys::Epoll;
use crate::workloads;

/// A bell for which one thread waits. Others ring it once for each wait.
trait Bell: Send + Sync + 'static {
    fn new() -> Self;
    fn ring(&self);
    fn wait(&self);
}

struct Line<B> {
    rung: AtomicU32,
    bell: B,
}

impl<B: Bell> Wake for Line<B> {
    fn wake(self: Arc<Self>) {
        if self.rung.swap(1, Ordering::AcqRel) == 0 {
            self.bell.ring();
        }
    }
}

struct RawWake<B>(PhantomData<B>);

impl<B: Bell> Tasks for RawWake<B> {
    /// The future is polled in place, not in a task.
    type Join = Pin<Box<dyn Future<Output = ()>>>;

    fn block_on<F: Future>(f: F) -> F::Output {
        let line = Arc::new(Line {
            rung: AtomicU32::new(0),
            bell: B::new(),
        });
        let waker = Waker::from(line.clone());
        let mut f = pin!(f);
        loop {
            if let Poll::Ready(output) = f.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            // A ring that is left over costs one poll without need.
            line.bell.wait();
            // Acquires the data of the thread that rang, or found it rung already.
            line.rung.swap(0, Ordering::AcqRel);
        }
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        Box::pin(f)
    }
}

fn contestant<B: Bell>(name: &'static str) -> Contestant {
    Contestant {
        name,
        serve: None,
        servers: vec![],
        micro: workloads::cross::all::<RawWake<B>>(),
        missing: vec![],
    }
}

pub fn park() -> Contestant {
    contestant::<Park>("rawwake-park")
}

pub fn futex() -> Contestant {
    contestant::<Futex>("rawwake-futex")
}

pub fn epoll() -> Contestant {
    contestant::<Epolled>("rawwake-epoll")
}

pub fn read() -> Contestant {
    contestant::<Eventfd>("rawwake-read")
}

/// The standard library's.
struct Park(Thread);

impl Bell for Park {
    fn new() -> Park {
        Park(thread::current())
    }

    fn ring(&self) {
        self.0.unpark();
    }

    fn wait(&self) {
        thread::park();
    }
}

struct Futex(AtomicU32);

impl Futex {
    fn call(&self, operation: libc::c_int, value: u32) {
        // SAFETY: the word lives as long as the call; no timeout is given.
        unsafe {
            let operation = operation | libc::FUTEX_PRIVATE_FLAG;
            libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, value, 0usize);
        }
    }
}

impl Bell for Futex {
    fn new() -> Futex {
        Futex(AtomicU32::new(0))
    }

    fn ring(&self) {
        self.0.store(1, Ordering::Release);
        self.call(libc::FUTEX_WAKE, 1);
    }

    fn wait(&self) {
        while self.0.swap(0, Ordering::Acquire) == 0 {
            self.call(libc::FUTEX_WAIT, 0);
        }
    }
}

/// An eventfd that is read, and blocks.
pub struct Eventfd(OwnedFd);

impl Eventfd {
    pub fn with(flags: libc::c_int) -> Eventfd {
        // SAFETY: the call takes no pointer, and what it returns is nobody else's.
        let fd = unsafe { libc::eventfd(0, flags | libc::EFD_CLOEXEC) };
        assert!(fd >= 0, "no eventfd");
        // SAFETY: as above.
        Eventfd(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes that live as long as the call.
        let written = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        assert_eq!(written, 8);
    }
}

impl AsRawFd for Eventfd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Bell for Eventfd {
    fn new() -> Eventfd {
        Eventfd::with(0)
    }

    fn ring(&self) {
        Eventfd::ring(self);
    }

    fn wait(&self) {
        let mut count = [0; 8];
        let (fd, len) = (self.0.as_raw_fd(), count.len());
        // SAFETY: eight bytes that live as long as the call.
        while unsafe { libc::read(fd, count.as_mut_ptr().cast(), len) } != 8 {}
    }
}

/// An eventfd under an edge-triggered epoll, never read.
struct Epolled(Eventfd, Mutex<Epoll>);

impl Bell for Epolled {
    fn new() -> Epolled {
        let epoll = Epoll::new(16).expect("an epoll");
        let fd = Eventfd::with(libc::EFD_NONBLOCK);
        let mask = (libc::EPOLLIN | libc::EPOLLET) as u32;
        epoll.add(fd.as_raw_fd(), mask, 0).expect("room for one");
        Epolled(fd, Mutex::new(epoll))
    }

    fn ring(&self) {
        self.0.ring();
    }

    fn wait(&self) {
        let mut epoll = self.1.lock().expect("no panic inside");
        while epoll.wait(-1).is_empty() {}
    }
}
