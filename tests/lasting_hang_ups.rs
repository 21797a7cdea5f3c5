//! Hang-ups and errors that last and cannot be masked, while a call on the fd would block: the loop
//! does not spin, and later events are reported. A wrapper around each backend counts its waits.

#![cfg(any(target_os = "linux", target_os = "android"))]

mod support;

use reveille::backend::{Backend, BackendKind, Interest, Trigger};
use reveille::event_loop::{self, EventLoop, Key};
use reveille::io::AsyncFd;
use reveille::time::sleep;
use reveille::{Builder, Runtime};
use std::any::Any;
use std::fs::{File, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::counting::{Counting, Waits};
use support::guarded;

/// How long the waits of a loop are counted.
const WHILE: Duration = Duration::from_millis(70);

/// An fd with a hang-up or an error that lasts.
struct Case {
    name: &'static str,
    fd: OwnedFd,
    /// What a task or handler waits for.
    interest: Interest,
    /// Makes the call. Returns whether it succeeded.
    call: fn(&OwnedFd) -> bool,
    /// The call may succeed before `make_ready`, because late TCP acknowledgments make room.
    may_be_early: bool,
    /// Makes the call succeed. The returned value must live until then.
    make_ready: Box<dyn FnOnce() -> Box<dyn Any>>,
}

fn cases() -> Vec<Case> {
    let cases = [
        Some(datagram_error_queue()),
        zero_copy(),
        Some(fifo_without_a_writer()),
        terminal_without_the_other_side(),
        Some(half_closed_and_written_to()),
        Some(before_listen()),
    ];
    cases.into_iter().flatten().collect()
}

fn set(fd: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> bool {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and size are those of one int.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size,
        ) == 0
    }
}

/// Whether poll(2) says that there is an error or a hang-up.
fn wait_for_the_end(fd: &impl AsRawFd) {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one entry, alive during the call.
    while unsafe { libc::poll(&mut entry, 1, -1) } != 1 {}
}

/// Reads. Returns whether there were bytes, as opposed to an end of file or an error.
fn read(fd: &OwnedFd) -> bool {
    let mut file = File::from(fd.try_clone().unwrap());
    matches!(file.read(&mut [0; 64]), Ok(1..))
}

/// The error queue has an entry that is not read, and recv would block.
fn datagram_error_queue() -> Case {
    let here = UdpSocket::bind("127.0.0.1:0").unwrap();
    here.set_nonblocking(true).unwrap();
    assert!(set(&here, libc::IPPROTO_IP, libc::IP_RECVERR, 1));
    let dead = support::Refusing::udp();
    here.send_to(b"anyone?", dead.addr).unwrap();
    wait_for_the_end(&here);
    let error = here.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    wait_for_the_end(&here);
    let addr = here.local_addr().unwrap();
    Case {
        name: "error queue of a datagram socket",
        fd: here.into(),
        interest: Interest::READABLE,
        call: read,
        may_be_early: false,
        make_ready: Box::new(move || {
            let there = UdpSocket::bind("127.0.0.1:0").unwrap();
            there.send_to(b"news", addr).unwrap();
            Box::new((there, dead))
        }),
    }
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (here, _) = listener.accept().unwrap();
    here.set_nonblocking(true).unwrap();
    (here, there)
}

const ZERO_COPY: &str = "error queue after MSG_ZEROCOPY";

/// Sends without a copy are reported to the error queue, which is not read.
fn zero_copy() -> Option<Case> {
    let (here, mut there) = tcp_pair();
    if !set(&here, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1) {
        println!("skipped: no SO_ZEROCOPY");
        return None;
    }
    static TEXT: [u8; 64] = [7; 64];
    // SAFETY: the bytes are static.
    let sent = unsafe {
        libc::send(
            here.as_raw_fd(),
            TEXT.as_ptr().cast(),
            TEXT.len(),
            libc::MSG_ZEROCOPY,
        )
    };
    if sent != TEXT.len() as isize {
        println!("skipped: {}", io::Error::last_os_error());
        return None;
    }
    there.read_exact(&mut [0; 64]).unwrap();
    wait_for_the_end(&here);
    Some(Case {
        name: ZERO_COPY,
        fd: here.into(),
        interest: Interest::READABLE,
        call: read,
        may_be_early: false,
        make_ready: Box::new(move || {
            there.write_all(b"news").unwrap();
            Box::new(there)
        }),
    })
}

/// The path of a file that goes with its test.
struct RemovedOnDrop(PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A FIFO whose last writer has closed, and which another one opens later.
fn fifo_without_a_writer() -> Case {
    let path = std::env::temp_dir().join(format!(
        "reveille-{}-{:?}.fifo",
        std::process::id(),
        std::thread::current().id()
    ));
    let _ = std::fs::remove_file(&path);
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .unwrap();
    let path = RemovedOnDrop(path);
    let open = move || OpenOptions::new().write(true).open(&path.0).unwrap();
    let mut first = open();
    first.write_all(b"x").unwrap();
    (&reader).read_exact(&mut [0]).unwrap();
    drop(first);
    wait_for_the_end(&reader);
    Case {
        name: "FIFO without a writer",
        fd: reader.into(),
        interest: Interest::READABLE,
        call: read,
        may_be_early: false,
        make_ready: Box::new(move || {
            let mut second = open();
            second.write_all(b"news").unwrap();
            Box::new(second)
        }),
    }
}

/// A terminal whose other side was closed, and is opened later.
fn terminal_without_the_other_side() -> Option<Case> {
    // SAFETY: the only pointer is that of the name's buffer, and its length is right.
    let (master, name) = unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK);
        let mut name = [0; 128];
        if master < 0
            || libc::grantpt(master) != 0
            || libc::unlockpt(master) != 0
            || libc::ptsname_r(master, name.as_mut_ptr(), name.len()) != 0
        {
            println!("skipped: {}", io::Error::last_os_error());
            return None;
        }
        let name = std::ffi::CStr::from_ptr(name.as_ptr()).to_owned();
        (OwnedFd::from_raw_fd(master), name)
    };
    let open = move || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(name.to_str().unwrap())
    };
    match open() {
        Ok(first) => drop(first),
        Err(error) => {
            println!("skipped: {error}");
            return None;
        }
    }
    wait_for_the_end(&master);
    Some(Case {
        name: "terminal without the other side",
        fd: master,
        interest: Interest::READABLE,
        call: read,
        may_be_early: false,
        make_ready: Box::new(move || {
            let mut second = open().unwrap();
            second.write_all(b"news").unwrap();
            Box::new(second)
        }),
    })
}

/// The peer has shut down its sending side, and there is no room to write.
fn half_closed_and_written_to() -> Case {
    let (here, there) = tcp_pair();
    there.shutdown(Shutdown::Write).unwrap();
    support::arrived(&here);
    fill(&here);
    Case {
        name: "half-closed and written to",
        fd: here.into(),
        interest: Interest::WRITABLE,
        call: |fd| {
            let mut file = File::from(fd.try_clone().unwrap());
            file.write(&[0; 64]).is_ok()
        },
        may_be_early: true,
        make_ready: Box::new(move || {
            there.set_nonblocking(true).unwrap();
            while (&there).read(&mut [0; 65536]).is_ok() {}
            Box::new(there)
        }),
    }
}

/// Writes until no byte fits, and no byte on its way would make room.
fn fill(mut stream: &TcpStream) {
    let mut full = 0;
    while full < 20 {
        match stream.write(&[0; 65536]) {
            Ok(_) => full = 0,
            Err(_) => full += 1,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A socket that neither listens nor is connected, which Linux reports as hung up. It listens
/// later.
fn before_listen() -> Case {
    // SAFETY: the call takes no pointer.
    let fd = unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let fd = libc::socket(libc::AF_INET, kind, 0);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd)
    };
    let socket = fd.try_clone().unwrap();
    Case {
        name: "socket before listen",
        fd,
        interest: Interest::READABLE,
        call: |fd| TcpListener::from(fd.try_clone().unwrap()).accept().is_ok(),
        may_be_early: false,
        make_ready: Box::new(move || {
            // It was not bound, so the system chooses the port.
            // SAFETY: the call takes no pointer.
            assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 4) }, 0);
            let listener = TcpListener::from(socket);
            let port = listener.local_addr().unwrap().port();
            let there = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
            Box::new((listener, there))
        }),
    }
}

/// Runs a test for each case, on every backend of this host or on the one that `REVEILLE_BACKEND`
/// names.
fn on_every_backend(test: impl Fn(Counting, Waits, Case)) {
    let only = std::env::var("REVEILLE_BACKEND")
        .ok()
        .filter(|name| !name.is_empty());
    let only = only.map(|name| name.parse::<BackendKind>().unwrap());
    for kind in BackendKind::ALL {
        if only.is_some_and(|only| only != kind) {
            continue;
        }
        guarded(kind.name(), || {
            for case in cases() {
                match Counting::open(kind) {
                    Ok((backend, waits)) => {
                        println!("... {}", case.name);
                        test(backend, waits, case);
                    }
                    Err(error) => return println!("skipped on {kind}: {error}"),
                }
            }
        });
    }
}

fn runtime(backend: Counting) -> Runtime {
    Builder::new().with_backend(backend).build().unwrap()
}

/// Waits as documented at `AsyncFd`: clears the readiness when the call would block.
async fn wait_for(fd: AsyncFd<OwnedFd>, interest: Interest, call: fn(&OwnedFd) -> bool) {
    loop {
        let mut guard = fd.ready(interest).await.unwrap();
        if call(fd.get_ref()) {
            return;
        }
        guard.clear_ready();
    }
}

/// As [`wait_for`], in one call.
async fn poll_for(fd: AsyncFd<OwnedFd>, interest: Interest, call: fn(&OwnedFd) -> bool) {
    let refused = || Err(ErrorKind::WouldBlock.into());
    let attempt = |fd: &OwnedFd| call(fd).then_some(()).map_or_else(refused, Ok);
    poll_fn(|cx| fd.poll_io(interest, cx, attempt))
        .await
        .unwrap();
}

#[test]
fn future_waits_beside_a_lasting_hang_up() {
    future_rests(wait_for);
}

#[test]
fn poll_io_waits_beside_a_lasting_hang_up() {
    future_rests(poll_for);
}

fn future_rests<F: Future<Output = ()> + 'static>(
    wait_for: impl Fn(AsyncFd<OwnedFd>, Interest, fn(&OwnedFd) -> bool) -> F,
) {
    on_every_backend(|backend, waits, case| {
        runtime(backend).block_on(async {
            let fd = AsyncFd::with_interest(case.fd, case.interest).unwrap();
            let waiting = reveille::spawn(wait_for(fd, case.interest, case.call));
            let rest = waits.rest();
            sleep(WHILE).await;
            rest.assert(case.name);
            assert!(!waiting.is_finished() || case.may_be_early);
            let _peer = (case.make_ready)();
            waiting.await.unwrap();
        });
    });
}

/// How a thread waits and makes its calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Guard,
    AsyncIo,
    PollIo,
}

/// A remote thread calls poll(2), which reports the hang-up or error each time.
fn another_thread_rests(by: By) {
    on_every_backend(|backend, _, case| {
        runtime(backend).block_on(async {
            let fd = AsyncFd::with_interest(case.fd, case.interest).unwrap();
            let (interest, call) = (case.interest, case.call);
            let tries = Arc::new(AtomicUsize::new(0));
            let (begin, count) = (Instant::now(), tries.clone());
            let thread = std::thread::spawn(move || {
                let tried = |fd: &OwnedFd| {
                    count.fetch_add(1, Ordering::SeqCst);
                    call(fd)
                };
                support::wait(async {
                    if by == By::PollIo {
                        let refused = || Err(ErrorKind::WouldBlock.into());
                        let attempt =
                            |fd: &OwnedFd| tried(fd).then_some(()).map_or_else(refused, Ok);
                        let io = poll_fn(|cx| fd.poll_io(interest, cx, attempt));
                        return io.await.unwrap();
                    }
                    if by == By::AsyncIo {
                        let refused = || Err(ErrorKind::WouldBlock.into());
                        let io = fd.async_io(interest, |fd| {
                            tried(fd).then_some(()).map_or_else(refused, Ok)
                        });
                        return io.await.unwrap();
                    }
                    loop {
                        let mut guard = fd.ready(interest).await.unwrap();
                        if tried(fd.get_ref()) {
                            return;
                        }
                        guard.clear_ready();
                    }
                });
            });
            sleep(WHILE).await;
            let (most, tries) = (
                40 + begin.elapsed().as_millis() / 16,
                tries.load(Ordering::SeqCst),
            );
            assert!(
                tries as u128 <= most,
                "{}: {tries} tries, at most {most}",
                case.name
            );
            assert!(!thread.is_finished() || case.may_be_early);
            let _peer = (case.make_ready)();
            while !thread.is_finished() {
                sleep(Duration::from_millis(1)).await;
            }
            thread.join().unwrap();
        });
    });
}

#[test]
fn wait_on_another_thread_rests_beside_a_lasting_hang_up() {
    another_thread_rests(By::Guard);
}

#[test]
fn call_on_another_thread_rests_beside_a_lasting_hang_up() {
    another_thread_rests(By::AsyncIo);
}

#[test]
fn poll_io_on_another_thread_rests_beside_a_lasting_hang_up() {
    another_thread_rests(By::PollIo);
}

struct Log {
    calls: usize,
    is_done: bool,
}

type FdKey = Key<OwnedFd>;

#[test]
fn edge_handler_is_called_beside_a_lasting_hang_up() {
    on_every_backend(|backend, waits, case| {
        let builder = event_loop::Builder::new().with_backend(backend);
        let log = Log {
            calls: 0,
            is_done: false,
        };
        let mut event_loop = builder.build(log).unwrap();
        let call = case.call;
        let handler = move |event_loop: &mut EventLoop<Log>, key: FdKey, _| {
            event_loop.data_mut().calls += 1;
            while call(event_loop.get(key).unwrap()) {
                event_loop.data_mut().is_done = true;
            }
        };
        let key = event_loop
            .attach(case.fd, case.interest, Trigger::Edge, handler)
            .unwrap();
        let rest = waits.rest();
        let timer = event_loop.set_timer(WHILE, |event_loop, _| event_loop.stop());
        event_loop.run().unwrap();
        assert!(!event_loop.cancel_timer(timer));
        rest.assert(case.name);
        assert!(event_loop.data().calls < 40, "{}", case.name);
        assert!(!event_loop.data().is_done || case.may_be_early);
        let _peer = (case.make_ready)();
        while !event_loop.data().is_done {
            event_loop.turn(None).unwrap();
        }
        // The fd that was to be rechecked is gone.
        assert!(event_loop.close(key));
        assert_eq!(event_loop.next_deadline(), None);
    });
}

/// A host that waits until `next_deadline` makes a turn when a recheck is due.
#[test]
fn next_deadline_includes_the_recheck_until_the_fd_is_gone() {
    on_every_backend(|backend, _, case| {
        if case.may_be_early {
            return;
        }
        let rearms = backend.capabilities().rearm;
        let runtime = runtime(backend);
        let (interest, call) = (case.interest, case.call);
        let waiting = runtime.enter(|| {
            let fd = AsyncFd::with_interest(case.fd, interest).unwrap();
            reveille::spawn(wait_for(fd, interest, call))
        });
        while rearms
            && runtime
                .next_deadline()
                .is_none_or(|next| next <= Instant::now())
        {
            runtime.turn(Some(Duration::ZERO)).unwrap();
        }
        let peer = (case.make_ready)();
        while !waiting.is_finished() {
            runtime.turn(None).unwrap();
        }
        assert_eq!(runtime.next_deadline(), None);
        drop(peer);
    });
}

/// `Level` without READABLE: a lasting error is delivered once, and later room is delivered too.
#[test]
fn level_writer_waits_for_room_beside_an_error() {
    on_every_backend(|backend, waits, case| {
        // Where errors are reported as readiness, a level-triggered writer is called in every turn.
        if case.name != ZERO_COPY || !backend.capabilities().errors {
            return;
        }
        let here = TcpStream::from(case.fd);
        fill(&here);
        let builder = event_loop::Builder::new().with_backend(backend);
        let mut event_loop = builder.build(0).unwrap();
        let key = event_loop
            .attach(
                here,
                Interest::WRITABLE,
                Trigger::Level,
                |event_loop: &mut EventLoop<usize>, key, _| {
                    while event_loop.get_mut(key).unwrap().write(&[0; 65536]).is_ok() {
                        *event_loop.data_mut() += 1;
                    }
                },
            )
            .unwrap();
        let rest = waits.rest();
        event_loop.set_timer(WHILE, |event_loop, _| event_loop.stop());
        event_loop.run().unwrap();
        rest.assert(case.name);
        let before = *event_loop.data();
        let peer = (case.make_ready)().downcast::<TcpStream>().unwrap();
        peer.set_nonblocking(true).unwrap();
        while *event_loop.data() == before {
            while (&*peer).read(&mut [0; 65536]).is_ok() {}
            event_loop.turn(Some(Duration::from_millis(1))).unwrap();
        }
        assert!(event_loop.close(key));
        assert_eq!(event_loop.next_deadline(), None);
    });
}
