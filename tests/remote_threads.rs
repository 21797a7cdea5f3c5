//! Every kind of handle, polled, woken and dropped on a thread that does not own its runtime, in
//! every state of that runtime. Nothing hangs, nothing leaks, and an operation that cannot work
//! returns an error with the reason.
//!
//! This is one test, because it counts the descriptors of the process. It runs on the backend that
//! `REVEILLE_BACKEND` names.

mod support;

use reveille::backend::BackendKind;
use reveille::io::{AsyncFd, Interest};
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Sleep, now, sleep};
use reveille::{JoinHandle, Runtime, yield_now};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
use support::panics::text_of;

/// How often all cells are run: races need more than one try.
const ROUNDS: usize = 10;

/// A thread that waits for longer than this hangs.
const TOO_LONG: Duration = Duration::from_secs(60);

/// The state of the runtime while the other thread has the handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In `block_on`.
    Running,
    /// Between two calls of `block_on`. It runs again once the thread waits.
    Ended,
    /// Dropped while the thread waits.
    Dropping,
    /// Dropped before.
    Dropped,
}

const STATES: [State; 4] = [
    State::Running,
    State::Ended,
    State::Dropping,
    State::Dropped,
];

impl State {
    fn is_gone(self) -> bool {
        matches!(self, State::Dropping | State::Dropped)
    }
}

type CellTest = fn(&mut Fixture);

const TABLE: [(&str, CellTest); 19] = [
    ("TcpStream poll read", tcp_poll_read),
    ("TcpStream poll writable", tcp_poll_writable),
    ("TcpStream wake", tcp_wake),
    ("TcpStream drop", tcp_drop),
    ("TcpStream drop, half polled", tcp_drop_half_polled),
    ("AsyncFd poll", async_fd_poll),
    ("AsyncFd wake", async_fd_wake),
    ("AsyncFd drop", async_fd_drop),
    ("AsyncFd drop, half polled", async_fd_drop_half_polled),
    ("Sleep poll", sleep_poll),
    ("Sleep poll, moved after it fired", sleep_poll_moved),
    ("Sleep wake", sleep_wake),
    ("Sleep drop", sleep_drop),
    ("JoinHandle poll", join_poll),
    ("JoinHandle wake", join_wake),
    ("JoinHandle drop", join_drop),
    ("Waker poll", waker_poll),
    ("Waker wake", waker_wake),
    ("Waker drop", waker_drop),
];

#[test]
fn handles_off_their_thread_work_or_fail_with_a_reason() {
    let (alive, watched) = mpsc::channel::<String>();
    let watchdog = thread::spawn(move || {
        let mut cell = String::from("nothing");
        loop {
            match watched.recv_timeout(TOO_LONG) {
                Ok(next) => cell = next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // The output of `eprintln!` would be held back until the test has ended.
                    let _ = writeln!(io::stderr(), "hangs: {cell}");
                    std::process::abort();
                }
            }
        }
    });
    for _ in 0..ROUNDS {
        for (name, test) in TABLE {
            for state in STATES {
                let cell = format!("{name} on another thread, the runtime {state:?}");
                alive.send(cell.clone()).unwrap();
                let before = open_fds();
                run_cell(&cell, test, state);
                if open_fds() != before {
                    // A leak would leak again. (A sanitizer opens a file for its first report.)
                    let before = open_fds();
                    run_cell(&cell, test, state);
                    assert_eq!(open_fds(), before, "{cell}: descriptors are leaked");
                }
            }
        }
    }
    drop(alive);
    watchdog.join().unwrap();
}

fn run_cell(cell: &str, test: CellTest, state: State) {
    let probe = Arc::new(());
    let mut fixture = Fixture::new(state, probe.clone());
    let result = catch_unwind(AssertUnwindSafe(|| test(&mut fixture)));
    if result.is_err() {
        panic!("{cell}: see above");
    }
    fixture.clear(cell);
    drop(fixture);
    assert_eq!(Arc::strong_count(&probe), 1, "{cell}: values are leaked");
}

/// Returns how many descriptors the process has, on systems with /proc.
fn open_fds() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

// ---- the fixture ----

/// A runtime in one of the states, and a value that must have been dropped at the end.
struct Fixture {
    state: State,
    runtime: Option<Runtime>,
    probe: Arc<()>,
}

/// The data of the other thread.
struct RemoteThread {
    state: State,
    probe: Arc<()>,
    waits: Event,
}

impl Fixture {
    fn new(state: State, probe: Arc<()>) -> Fixture {
        Fixture {
            state,
            runtime: Some(Runtime::new().expect("the chosen backend is available")),
            probe,
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is dropped by `run`")
    }

    /// Creates a value on the runtime's thread.
    fn make<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime().block_on(future)
    }

    /// Runs `remote` with `thing` on another thread, while the runtime is in its state. Once that
    /// thread waits, the owner drops the runtime or runs `deliver`. Returns the result of the
    /// thread, or the text of its panic.
    fn run<T: Send, R: Send>(
        &mut self,
        thing: T,
        remote: impl FnOnce(T, &RemoteThread) -> R + Send,
        deliver: impl FnOnce(),
    ) -> Result<R, String> {
        let (state, waits, done) = (self.state, Event::new(), Event::new());
        let context = RemoteThread {
            state,
            probe: self.probe.clone(),
            waits: waits.clone(),
        };
        let over = done.clone();
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| remote(thing, &context)));
            // Ends the wait of the owner, although the thread has panicked.
            context.waits.set();
            drop(context);
            over.set();
            result.map_err(message)
        };
        thread::scope(|scope| {
            let thread = match state {
                State::Running => self.runtime().block_on(async {
                    let thread = scope.spawn(body);
                    waits.wait().await;
                    deliver();
                    done.wait().await;
                    thread
                }),
                State::Ended => {
                    let thread = scope.spawn(body);
                    waits.block();
                    self.runtime().block_on(async {
                        deliver();
                        done.wait().await;
                    });
                    thread
                }
                State::Dropping => {
                    let thread = scope.spawn(body);
                    waits.block();
                    self.runtime = None;
                    thread
                }
                State::Dropped => {
                    self.runtime = None;
                    scope.spawn(body)
                }
            };
            thread.join().expect("its panics are caught")
        })
    }

    /// Checks that the runtime has dropped everything that the thread had.
    fn clear(&mut self, cell: &str) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        // Handles the last messages of the thread.
        runtime.turn(Some(Duration::ZERO)).unwrap();
        let left = format!("{runtime:?}");
        assert!(left.contains("fds: 0, timers: 0"), "{cell}: {left}");
        let handle = runtime.handle();
        runtime.block_on(async {
            let alive = reveille::spawn(async { 7 });
            assert_eq!(alive.await.unwrap(), 7, "{cell}: it works");
        });
        drop((runtime, handle));
    }
}

impl RemoteThread {
    /// Lets the owner continue.
    fn waits(&self) {
        self.waits.set();
    }

    /// Polls a future to its end on this thread. Lets the owner continue when it waits.
    fn wait<F: Future>(&self, future: F) -> F::Output {
        struct Unpark {
            thread: thread::Thread,
            _probe: Arc<()>,
        }
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.thread.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark {
            thread: thread::current(),
            _probe: self.probe.clone(),
        }));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            self.waits();
            thread::park();
        }
    }
}

/// An event that happens once. Threads and tasks can wait for it.
#[derive(Clone)]
struct Event(Arc<(Mutex<Happened>, Condvar)>);

/// Whether the event has happened, and the wakers of tasks that wait.
type Happened = (bool, Vec<Waker>);

impl Event {
    fn new() -> Event {
        Event(Arc::default())
    }

    fn set(&self) {
        let wakers = {
            let mut state = self.0.0.lock().unwrap();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        self.0.1.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn is_set(&self) -> bool {
        self.0.0.lock().unwrap().0
    }

    fn block(&self) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| !state.0).unwrap());
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let mut state = self.0.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Returns the text of a caught panic.
fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    text_of(&*payload)
}

#[track_caller]
fn is_gone<T>(result: io::Result<T>) {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => assert!(error.to_string().contains("gone"), "{error}"),
    }
}

/// A future that is `Send` and was polled once on the runtime's thread.
fn half_polled<T>(
    fixture: &Fixture,
    future: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    let mut future: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
    fixture.make(async {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
        assert!(polled, "there was nothing to wait for");
    });
    future
}

/// Runs `future` in a task and passes the task's waker to the other thread. That thread wakes the
/// task, which is polled again and still waits. Then the thread calls `deliver`, which ends the
/// future.
fn wake_a_task(
    fixture: &mut Fixture,
    future: impl Future<Output = ()> + 'static,
    deliver: impl FnOnce() + Send,
) {
    let mut future = Box::pin(future);
    let (again, finished) = (Event::new(), Event::new());
    let (polls, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let task = fixture.runtime().spawn({
        let (again, finished) = (again.clone(), finished.clone());
        let (polls, slot) = (polls.clone(), slot.clone());
        poll_fn(move |cx| {
            if polls.fetch_add(1, Ordering::Relaxed) == 0 {
                *slot.lock().unwrap() = Some(cx.waker().clone());
            } else {
                again.set();
            }
            let polled = future.as_mut().poll(cx);
            if polled.is_ready() {
                finished.set();
            }
            polled
        })
    });
    fixture.make(async {
        while polls.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
    });
    let waker = slot.lock().unwrap().take().unwrap();
    let wakes = move |waker: Waker, remote: &RemoteThread| {
        remote.waits();
        for _ in 0..3 {
            waker.wake_by_ref();
        }
        let other = waker.clone();
        waker.wake();
        if !remote.state.is_gone() {
            again.block();
            assert!(!finished.is_set(), "the wake alone must not end it");
            deliver();
            finished.block();
        }
        other.wake();
    };
    fixture.run(waker, wakes, || {}).unwrap();
    match &fixture.runtime {
        Some(runtime) => runtime.block_on(task).unwrap(),
        None => drop(task),
    }
}

// ---- TcpStream ----

/// A stream of the runtime, and its peer.
fn tcp(fixture: &Fixture) -> (TcpStream, std::net::TcpStream) {
    fixture.make(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (stream, peer)
    })
}

fn tcp_poll_read(fixture: &mut Fixture) {
    let (stream, mut peer) = tcp(fixture);
    let mut writer = peer.try_clone().unwrap();
    let reads = |stream: TcpStream, remote: &RemoteThread| {
        let mut buf = [0; 8];
        let read = remote.wait(stream.read(&mut buf));
        if remote.state.is_gone() {
            is_gone(read);
            is_gone(remote.wait(stream.readable()));
            // Operations that need not wait still work.
            assert_eq!(remote.wait(stream.write(b"bye")).unwrap(), 3);
            let nothing = stream.try_read(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        } else {
            assert_eq!(&buf[..read.unwrap()], b"hello");
        }
    };
    let deliver = || writer.write_all(b"hello").unwrap();
    fixture.run(stream, reads, deliver).unwrap();
    if fixture.state.is_gone() {
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"bye");
    }
}

fn tcp_poll_writable(fixture: &mut Fixture) {
    let (stream, peer) = tcp(fixture);
    let mut sent = 0;
    while let Ok(n) = stream.try_write(&[0; 1 << 16]) {
        sent += n;
    }
    let writes = |stream: TcpStream, remote: &RemoteThread| {
        let mut writable = remote.wait(stream.writable());
        if remote.state.is_gone() {
            // The peer has read, so there is room.
            while writable.is_ok() {
                while stream.try_write(&[0; 1 << 16]).is_ok() {}
                writable = remote.wait(stream.writable());
            }
            is_gone(writable);
            is_gone(remote.wait(stream.write_all(&vec![0; 1 << 22])));
        } else {
            writable.unwrap();
            remote.wait(stream.write(b"more")).unwrap();
        }
    };
    let mut all = (&peer).take(sent as u64);
    let deliver = || {
        // The peer reads everything, so that there is room.
        let read = io::copy(&mut all, &mut io::sink());
        assert_eq!(read.unwrap(), sent as u64);
    };
    fixture.run(stream, writes, deliver).unwrap();
}

fn tcp_wake(fixture: &mut Fixture) {
    let (stream, mut peer) = tcp(fixture);
    let probe = fixture.probe.clone();
    let reads = async move {
        let _probe = probe;
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 5);
    };
    wake_a_task(fixture, reads, move || peer.write_all(b"hello").unwrap());
}

fn tcp_drop(fixture: &mut Fixture) {
    let (stream, mut peer) = tcp(fixture);
    let drops = |stream, remote: &RemoteThread| {
        drop(stream);
        remote.waits();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    };
    fixture.run(stream, drops, || {}).unwrap();
}

fn tcp_drop_half_polled(fixture: &mut Fixture) {
    let (stream, mut peer) = tcp(fixture);
    let probe = fixture.probe.clone();
    let future = half_polled(fixture, async move {
        let _probe = probe;
        stream.readable().await
    });
    let drops = |future, remote: &RemoteThread| {
        drop(future);
        remote.waits();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    };
    fixture.run(future, drops, || {}).unwrap();
}

// ---- AsyncFd ----

/// A stream with a value that must be dropped.
struct Probed(UnixStream, #[allow(dead_code, reason = "counted")] Arc<()>);

impl std::os::fd::AsFd for Probed {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn async_fd(fixture: &Fixture) -> (AsyncFd<Probed>, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let probed = Probed(here, fixture.probe.clone());
    (fixture.make(async { AsyncFd::new(probed).unwrap() }), there)
}

fn async_fd_poll(fixture: &mut Fixture) {
    let (fd, there) = async_fd(fixture);
    let reads = |fd: AsyncFd<Probed>, remote: &RemoteThread| {
        let mut buf = [0; 8];
        let read = |fd: &Probed| (&fd.0).read(&mut buf);
        let read = remote.wait(fd.async_io(Interest::READABLE, read));
        if remote.state.is_gone() {
            is_gone(read);
            is_gone(remote.wait(fd.writable()).map(drop));
            // The value still works, and is returned.
            (&fd.into_inner().0).write_all(b"bye").unwrap();
        } else {
            assert_eq!(&buf[..read.unwrap()], b"hello");
        }
    };
    let deliver = || (&there).write_all(b"hello").unwrap();
    fixture.run(fd, reads, deliver).unwrap();
}

fn async_fd_wake(fixture: &mut Fixture) {
    let (fd, mut there) = async_fd(fixture);
    let reads = async move {
        let mut guard = fd.readable().await.unwrap();
        let read = guard.try_io(|fd| (&fd.get_ref().0).read(&mut [0; 8]));
        assert_eq!(read.unwrap().unwrap(), 5);
    };
    wake_a_task(fixture, reads, move || there.write_all(b"hello").unwrap());
}

fn async_fd_drop(fixture: &mut Fixture) {
    let (fd, mut there) = async_fd(fixture);
    let drops = |fd, remote: &RemoteThread| {
        drop(fd);
        // The value is dropped here, in every state of the runtime.
        ends(&mut there, remote);
    };
    fixture.run(fd, drops, || {}).unwrap();
}

fn async_fd_drop_half_polled(fixture: &mut Fixture) {
    let (fd, mut there) = async_fd(fixture);
    let future = half_polled(fixture, async move {
        let either = Interest::READABLE | Interest::ERROR;
        fd.ready(either).await.map(drop)
    });
    let drops = |future, remote: &RemoteThread| {
        drop(future);
        ends(&mut there, remote);
    };
    fixture.run(future, drops, || {}).unwrap();
}

/// Waits until the peer reads the end of the stream. io_uring keeps a file that it waits for open,
/// so there the owner has to handle the close first.
fn ends(there: &mut UnixStream, remote: &RemoteThread) {
    let name = std::env::var("REVEILLE_BACKEND").unwrap_or_default();
    let is_held = name.parse() == Ok(BackendKind::IoUring);
    if is_held {
        remote.waits();
    }
    assert_eq!(there.read(&mut [0]).unwrap(), 0);
    if !is_held {
        remote.waits();
    }
}

// ---- Sleep ----

const HOUR: Duration = Duration::from_secs(3600);

/// A timer that the runtime has armed.
fn armed(fixture: &Fixture, duration: Duration) -> Sleep {
    let mut sleep = sleep(duration);
    fixture.make(poll_fn(|cx| {
        assert!(Pin::new(&mut sleep).poll(cx).is_pending());
        Poll::Ready(())
    }));
    sleep
}

fn sleep_poll(fixture: &mut Fixture) {
    let sleep = armed(fixture, HOUR);
    let sleeps = |mut sleep: Sleep, remote: &RemoteThread| {
        if remote.state.is_gone() {
            remote.wait(&mut sleep);
            unreachable!("nothing can wake it");
        }
        // Twice, because the second time the runtime no longer has the timer.
        for _ in 0..2 {
            let deadline = now() + Duration::from_millis(2);
            sleep.reset(deadline);
            remote.wait(&mut sleep);
            assert!(now() >= deadline, "it was early");
        }
    };
    let slept = fixture.run(sleep, sleeps, || {});
    if fixture.state.is_gone() {
        let text = slept.unwrap_err();
        assert!(text.contains("gone"), "{text}");
    } else {
        slept.unwrap();
    }
}

fn sleep_poll_moved(fixture: &mut Fixture) {
    let sleep = armed(fixture, Duration::from_millis(1));
    fixture.make(reveille::time::sleep(Duration::from_millis(2)));
    let sleeps = |mut sleep: Sleep, remote: &RemoteThread| {
        assert!(sleep.is_elapsed());
        // It is ready even without the runtime.
        remote.wait(&mut sleep);
        sleep.reset(now() + HOUR);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            remote.wait(poll_fn(|cx| {
                for _ in 0..3 {
                    assert!(Pin::new(&mut sleep).poll(cx).is_pending());
                }
                Poll::Ready(())
            }));
        }));
        remote.waits();
        if remote.state != State::Dropping {
            let gone = remote.state == State::Dropped;
            assert_eq!(polled.is_err(), gone);
        }
    };
    fixture.run(sleep, sleeps, || {}).unwrap();
}

fn sleep_wake(fixture: &mut Fixture) {
    let (moves, probe) = (Event::new(), fixture.probe.clone());
    let moved = moves.clone();
    let sleeps = async move {
        let _probe = probe;
        let mut sleep = sleep(HOUR);
        let mut moved = pin!(moved.wait());
        poll_fn(|cx| {
            assert!(Pin::new(&mut sleep).poll(cx).is_pending());
            moved.as_mut().poll(cx)
        })
        .await;
        sleep.reset(now() + Duration::from_millis(1));
        sleep.await;
    };
    wake_a_task(fixture, sleeps, move || moves.set());
}

fn sleep_drop(fixture: &mut Fixture) {
    let sleep = armed(fixture, HOUR);
    let drops = |sleep, remote: &RemoteThread| {
        drop(sleep);
        remote.waits();
    };
    fixture.run(sleep, drops, || {}).unwrap();
}

// ---- JoinHandle ----

/// A task that ends when the event happens, with an output that must be dropped.
fn task(fixture: &Fixture) -> (JoinHandle<Arc<()>>, Event) {
    let (ends, probe) = (Event::new(), fixture.probe.clone());
    let end = ends.clone();
    let task = fixture.runtime().spawn(async move {
        end.wait().await;
        probe
    });
    fixture.make(yield_now());
    (task, ends)
}

fn join_poll(fixture: &mut Fixture) {
    let (task, ends) = task(fixture);
    let joins = |task: JoinHandle<Arc<()>>, remote: &RemoteThread| {
        let joined = remote.wait(task);
        if remote.state.is_gone() {
            let error = joined.unwrap_err();
            assert!(error.is_runtime_gone(), "{error}");
        } else {
            joined.unwrap();
        }
    };
    fixture.run(task, joins, || ends.set()).unwrap();
}

fn join_wake(fixture: &mut Fixture) {
    let (task, ends) = task(fixture);
    let joins = async move { drop(task.await.unwrap()) };
    wake_a_task(fixture, joins, move || ends.set());
}

fn join_drop(fixture: &mut Fixture) {
    for polled in [false, true] {
        if fixture.runtime.is_none() {
            return;
        }
        let (released, probe) = (Event::new(), fixture.probe.clone());
        let (release, ended) = (released.clone(), Event::new());
        let ends = ended.clone();
        let mut task = fixture.runtime().spawn(async move {
            released.wait().await;
            ends.set();
            probe
        });
        if polled {
            fixture.make(poll_fn(|cx| {
                assert!(Pin::new(&mut task).poll(cx).is_pending());
                Poll::Ready(())
            }));
        }
        let drops = move |task, remote: &RemoteThread| {
            drop(task);
            remote.waits();
            release.set();
            if !remote.state.is_gone() {
                // Detached, it continues.
                ended.block();
            }
        };
        fixture.run(task, drops, || {}).unwrap();
    }
}

// ---- Waker ----

fn waker_poll(fixture: &mut Fixture) {
    // A future on the other thread waits for a task of the runtime, which ends or is dropped.
    struct SetOnDrop(Event);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let (event, starts) = (Event::new(), Event::new());
    let (sets, start) = (SetOnDrop(event.clone()), starts.clone());
    drop(fixture.runtime().spawn(async move {
        let _sets = sets;
        start.wait().await;
    }));
    fixture.make(yield_now());
    let waits = |event: Event, remote: &RemoteThread| remote.wait(event.wait());
    fixture.run(event, waits, || starts.set()).unwrap();
}

fn waker_wake(fixture: &mut Fixture) {
    // The waker of a root: it wakes `block_on`, which may have returned already.
    let (roots, probe) = (Event::new(), fixture.probe.clone());
    let old = fixture.make(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    let root = roots.clone();
    let waits = async move {
        let _probe = probe;
        root.wait().await;
    };
    old.wake_by_ref();
    let wakes = Arc::new(AtomicUsize::new(0));
    let woken = wakes.clone();
    let old_too = old.clone();
    thread::scope(|scope| {
        scope.spawn(|| old_too.wake_by_ref());
    });
    wake_a_task(fixture, waits, move || {
        old.wake();
        woken.fetch_add(1, Ordering::Relaxed);
        roots.set();
    });
    let delivered = usize::from(!fixture.state.is_gone());
    assert_eq!(wakes.load(Ordering::Relaxed), delivered);
}

fn waker_drop(fixture: &mut Fixture) {
    let probe = fixture.probe.clone();
    let task = fixture.runtime().spawn(async move {
        let _probe = probe;
        poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
    });
    let waker = fixture.make(task).unwrap();
    let drops = |waker: Waker, remote: &RemoteThread| {
        let clones = [waker.clone(), waker.clone()];
        drop(waker);
        remote.waits();
        drop(clones);
    };
    fixture.run(waker, drops, || {}).unwrap();
}
