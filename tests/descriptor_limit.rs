//! A process lowers its limit of open files (`RLIMIT_NOFILE`), as sandboxes do. Open fds keep
//! working on every backend, although poll(2) refuses more entries than the limit. A listener
//! pauses.
//!
//! The only test of its program, because it forks and a child has only this thread.

mod support;

use reveille::backend::{BackendKind, Interest, Trigger};
use reveille::event_loop;
use reveille::io::AsyncFd;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, sleep};
use reveille::{Builder, Runtime, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, RawWaker, RawWakerVTable, Wake, Waker};
use support::{guarded, is_thread_sanitizer, pair};

fn allow(limit: libc::rlim_t) {
    // SAFETY: an rlimit is two integers; getrlimit fills it, setrlimit reads it.
    unsafe {
        let mut value = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut value), 0);
        value.rlim_cur = limit;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &value), 0);
    }
}

async fn echo(client: &TcpStream, server: &TcpStream) {
    let mut buf = [0; 4];
    client.writable().await.unwrap();
    client.write_all(b"ping").await.unwrap();
    server.readable().await.unwrap();
    server.read_exact(&mut buf).await.unwrap();
    server.write_all(&buf).await.unwrap();
    client.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"ping");
}

/// A waker that reports when it is woken.
struct Bell(mpsc::Sender<()>);

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        let _ = self.0.send(());
    }
}

/// Reads from a socket of the loop on another thread, which calls poll(2) itself and waits by a
/// message.
fn read_elsewhere(stream: TcpStream, waits: mpsc::Sender<()>) -> (u8, TcpStream) {
    let (ring, woken) = mpsc::channel();
    let waker = Waker::from(std::sync::Arc::new(Bell(ring)));
    let mut buf = [0];
    {
        let mut read = pin!(stream.read_exact(&mut buf));
        let mut context = Context::from_waker(&waker);
        while read.as_mut().poll(&mut context).is_pending() {
            let _ = waits.send(());
            woken.recv().unwrap();
        }
    }
    (buf[0], stream)
}

fn futures_go_on(runtime: &Runtime, limit: libc::rlim_t) {
    runtime.block_on(async {
        let (client, server) = pair().await;
        let mut idle = Vec::new();
        for _ in 0..5 {
            idle.push(pair().await);
        }
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let fd = AsyncFd::new(here).unwrap();
        let (waits, is_waiting) = mpsc::channel();
        let (go, wait) = mpsc::channel::<TcpStream>();
        let thread = std::thread::spawn(move || read_elsewhere(wait.recv().unwrap(), waits));
        // By now the backend has seen every fd once.
        echo(&client, &server).await;
        allow(limit);
        for _ in 0..3 {
            echo(&client, &server).await;
        }
        let waiter = spawn(async move { fd.readable().await.unwrap().clear_ready() });
        yield_now().await;
        sleep(Duration::from_millis(2)).await;
        assert!(!waiter.is_finished());
        there.write_all(b"x").unwrap();
        waiter.await.unwrap();
        go.send(server).unwrap();
        is_waiting.recv().unwrap();
        client.write_all(b"y").await.unwrap();
        while !thread.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
        let (byte, server) = thread.join().unwrap();
        assert_eq!(byte, b'y');
        // The end of the stream is reported too.
        drop(client);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

/// What the wakers of `accepts_pause` call.
struct Accepts {
    listener: TcpListener,
    nested: Cell<bool>,
    kept_was_dropped: Cell<bool>,
}

thread_local! {
    static ACCEPTS: RefCell<Option<Rc<Accepts>>> = const { RefCell::new(None) };
}

impl Accepts {
    fn get() -> Rc<Accepts> {
        ACCEPTS.with_borrow(|accepts| accepts.clone().unwrap())
    }

    fn poll(&self, waker: &Waker) {
        let polled = self.listener.poll_accept(&mut Context::from_waker(waker));
        assert!(polled.is_pending(), "{polled:?}");
    }
}

fn waker(vtable: &'static RawWakerVTable) -> Waker {
    // SAFETY: the functions of the tables below do not use the data, and this thread alone calls
    // them.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), vtable)) }
}

/// The clone of this waker polls the listener with a waker of `KEPT`.
static OUTER: RawWakerVTable = RawWakerVTable::new(clone_outer, nothing, nothing, nothing);
/// The drop of this waker polls the listener.
static KEPT: RawWakerVTable = RawWakerVTable::new(clone_kept, nothing, nothing, drop_kept);

unsafe fn clone_outer(_: *const ()) -> RawWaker {
    let accepts = Accepts::get();
    if !accepts.nested.replace(true) {
        accepts.poll(&std::mem::ManuallyDrop::new(waker(&KEPT)));
    }
    RawWaker::new(std::ptr::null(), &OUTER)
}

unsafe fn clone_kept(_: *const ()) -> RawWaker {
    RawWaker::new(std::ptr::null(), &KEPT)
}

unsafe fn drop_kept(_: *const ()) {
    let accepts = Accepts::get();
    accepts.kept_was_dropped.set(true);
    accepts.poll(Waker::noop());
}

unsafe fn nothing(_: *const ()) {}

/// Polls a listener while no descriptor is left for its connection. A poll inside of that one, by
/// the clone of a waker, begins a pause of its own, whose waker is dropped and polls again.
fn accepts_pause(runtime: &Runtime, limit: libc::rlim_t) {
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        allow(limit);
        // Until a turn has reported the connection.
        sleep(Duration::from_millis(5)).await;
        let accepts = Rc::new(Accepts {
            listener,
            nested: Cell::new(false),
            kept_was_dropped: Cell::new(false),
        });
        ACCEPTS.set(Some(accepts.clone()));
        accepts.poll(&waker(&OUTER));
        assert!(accepts.kept_was_dropped.get());
        ACCEPTS.set(None);
    });
}

fn handlers_go_on(kind: BackendKind, trigger: Trigger, limit: libc::rlim_t) {
    let mut event_loop = event_loop::Builder::new().backend(kind).build(0).unwrap();
    let mut peers = Vec::new();
    for _ in 0..5 {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        event_loop
            .attach(here, Interest::READABLE, trigger, |event_loop, key, _| {
                let mut stream = &*event_loop.get_mut(key).unwrap();
                match stream.read(&mut [0; 8]) {
                    Ok(0) => assert!(event_loop.close(key)),
                    Ok(_) => event_loop.modify(key, Interest::READABLE).unwrap(),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                *event_loop.data_mut() += 1;
            })
            .unwrap();
        peers.push(there);
    }
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    allow(limit);
    event_loop.turn(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(*event_loop.data(), 0);
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
        let before = *event_loop.data();
        while *event_loop.data() == before {
            event_loop.turn(None).unwrap();
        }
    }
    drop(peers);
    while !event_loop.is_empty() {
        event_loop.turn(None).unwrap();
    }
}

#[test]
fn open_fds_work_under_a_lower_descriptor_limit() {
    if is_thread_sanitizer() {
        return println!("skipped: a sanitizer needs descriptors of its own");
    }
    for kind in BackendKind::ALL {
        match Builder::new().backend(kind).build() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => continue,
            Err(error) => panic!("{kind}: {error}"),
        }
        type Play = Box<dyn Fn(libc::rlim_t)>;
        let mut plays: Vec<Play> = vec![Box::new(move |limit| {
            let runtime = Builder::new().backend(kind).build().unwrap();
            futures_go_on(&runtime, limit);
        })];
        plays.push(Box::new(move |limit| {
            let runtime = Builder::new().backend(kind).build().unwrap();
            accepts_pause(&runtime, limit);
        }));
        for trigger in [Trigger::Level, Trigger::Oneshot, Trigger::Edge] {
            plays.push(Box::new(move |limit| handlers_go_on(kind, trigger, limit)));
        }
        guarded(kind.name(), || {
            for (at, play) in plays.iter().enumerate() {
                for limit in [0, 1, 4] {
                    // SAFETY: the child has only this thread, and never returns from this block.
                    let child = unsafe { libc::fork() };
                    assert!(child >= 0, "{}", io::Error::last_os_error());
                    if child == 0 {
                        // SAFETY: the call takes no pointer. A child that hangs is ended by it.
                        unsafe { libc::alarm(120) };
                        let failed = catch_unwind(AssertUnwindSafe(|| play(limit))).is_err();
                        // SAFETY: the call takes no pointer.
                        unsafe { libc::_exit(failed.into()) };
                    }
                    let mut status = 0;
                    // SAFETY: the status outlives the call; the child is ours.
                    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                    assert_eq!(status, 0, "{kind}, play {at}, limit {limit}");
                }
            }
        });
    }
}
