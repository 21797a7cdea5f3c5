//! Every kind of handle, polled, woken and dropped on a thread that does not own its runtime, in every state of that
//! runtime: nothing hangs, nothing is left behind, and what cannot be any more says so.
//!
//! One test, because it counts the descriptors of the process. It runs on the backend that `REVEILLE_BACKEND` names.

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

/// How often the table is gone through: races need more than one try.
const ROUNDS: usize = 10;

/// What a thread waits for longer than this, it would wait for ever.
const TOO_LONG: Duration = Duration::from_secs(60);

/// How the runtime is while the other thread has the handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In `block_on`.
    Running,
    /// Between two calls of `block_on`; it runs again once the thread waits.
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

type CellTest = fn(&mut Stage);

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
fn every_handle_works_or_fails_clearly_off_its_thread() {
    let (alive, watched) = mpsc::channel::<String>();
    let watchdog = thread::spawn(move || {
        let mut cell = String::from("nothing");
        loop {
            match watched.recv_timeout(TOO_LONG) {
                Ok(next) => cell = next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // Not by `eprintln!`: what that says is kept back until a test has ended.
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
                play(&cell, test, state);
                if open_fds() != before {
                    // What leaks leaks again. (A sanitizer opens something when it has its first say.)
                    let before = open_fds();
                    play(&cell, test, state);
                    assert_eq!(open_fds(), before, "{cell}: descriptors are leaked");
                }
            }
        }
    }
    drop(alive);
    watchdog.join().unwrap();
}

fn play(cell: &str, test: CellTest, state: State) {
    let probe = Arc::new(());
    let mut stage = Stage::new(state, probe.clone());
    let played = catch_unwind(AssertUnwindSafe(|| test(&mut stage)));
    if played.is_err() {
        panic!("{cell}: see above");
    }
    stage.clear(cell);
    drop(stage);
    assert_eq!(Arc::strong_count(&probe), 1, "{cell}: values are leaked");
}

/// How many descriptors the process has, where the system tells.
fn open_fds() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

// ---- the stage ------------------------------------------------------------------------------------------------

/// A runtime in one of the states, and what must be gone in the end.
struct Stage {
    state: State,
    runtime: Option<Runtime>,
    probe: Arc<()>,
}

/// What the other thread has.
struct Foreign {
    state: State,
    probe: Arc<()>,
    waits: Event,
}

impl Stage {
    fn new(state: State, probe: Arc<()>) -> Stage {
        Stage {
            state,
            runtime: Some(Runtime::new().expect("the chosen backend is to be had")),
            probe,
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is dropped by `play`")
    }

    /// Makes something on the runtime's thread.
    fn make<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime().block_on(future)
    }

    /// Runs `foreign` with `thing` on another thread, with the runtime in its state; `deliver` is run by the owner once
    /// the thread waits, unless the runtime is to go. Says what became of the thread, or the text of its panic.
    fn play<T: Send, R: Send>(
        &mut self,
        thing: T,
        foreign: impl FnOnce(T, &Foreign) -> R + Send,
        deliver: impl FnOnce(),
    ) -> Result<R, String> {
        let (state, waits, done) = (self.state, Event::new(), Event::new());
        let context = Foreign {
            state,
            probe: self.probe.clone(),
            waits: waits.clone(),
        };
        let over = done.clone();
        let body = move || {
            let played = catch_unwind(AssertUnwindSafe(|| foreign(thing, &context)));
            // So that nobody waits for a thread that will not come to it.
            context.waits.set();
            drop(context);
            over.set();
            played.map_err(message)
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

    /// The runtime knows nothing any more of what the thread had.
    fn clear(&mut self, cell: &str) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        // Takes what the thread has sent at last.
        runtime.turn(Some(Duration::ZERO)).unwrap();
        let left = format!("{runtime:?}");
        assert!(left.contains("fds: 0, timers: 0"), "{cell}: {left}");
        let handle = runtime.handle();
        runtime.block_on(async {
            let alive = reveille::spawn(async { 7 });
            assert_eq!(alive.await.unwrap(), 7, "{cell}: it goes on");
        });
        drop((runtime, handle));
    }
}

impl Foreign {
    /// The owner goes on to the next act.
    fn waits(&self) {
        self.waits.set();
    }

    /// Polls to the end with an executor of this thread's own, and says when it waits.
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

/// Something that happens once; waited for by a thread or by tasks.
#[derive(Clone)]
struct Event(Arc<(Mutex<Happened>, Condvar)>);

/// Whether it has, and whom to tell.
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

/// The text of a caught panic.
fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .copied()
            .unwrap_or("?")
            .to_owned(),
    }
}

#[track_caller]
fn is_gone<T>(result: io::Result<T>) {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => assert!(error.to_string().contains("gone"), "{error}"),
    }
}

/// A future that can be sent, polled once by the runtime's thread.
fn half_polled<T>(
    stage: &Stage,
    future: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    let mut future: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
    stage.make(async {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
        assert!(polled, "there was nothing to wait for");
    });
    future
}

/// A task waits for what `future` waits for, and hands its waker out: woken by the other thread it is polled again and
/// goes on waiting; then `deliver`, also called there, ends it.
fn wake_a_task(
    stage: &mut Stage,
    future: impl Future<Output = ()> + 'static,
    deliver: impl FnOnce() + Send,
) {
    let mut future = Box::pin(future);
    let (again, finished) = (Event::new(), Event::new());
    let (polls, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let task = stage.runtime().spawn({
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
    stage.make(async {
        while polls.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
    });
    let waker = slot.lock().unwrap().take().unwrap();
    let wakes = move |waker: Waker, foreign: &Foreign| {
        foreign.waits();
        for _ in 0..3 {
            waker.wake_by_ref();
        }
        let other = waker.clone();
        waker.wake();
        if !foreign.state.is_gone() {
            again.block();
            assert!(!finished.is_set(), "a wake is no event");
            deliver();
            finished.block();
        }
        other.wake();
    };
    stage.play(waker, wakes, || {}).unwrap();
    match &stage.runtime {
        Some(runtime) => runtime.block_on(task).unwrap(),
        None => drop(task),
    }
}

// ---- TcpStream ------------------------------------------------------------------------------------------------

/// A stream of the runtime's, and its peer.
fn tcp(stage: &Stage) -> (TcpStream, std::net::TcpStream) {
    stage.make(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (stream, peer)
    })
}

fn tcp_poll_read(stage: &mut Stage) {
    let (stream, mut peer) = tcp(stage);
    let mut teller = peer.try_clone().unwrap();
    let reads = |stream: TcpStream, foreign: &Foreign| {
        let mut buf = [0; 8];
        let read = foreign.wait(stream.read(&mut buf));
        if foreign.state.is_gone() {
            is_gone(read);
            is_gone(foreign.wait(stream.readable()));
            // What need not wait goes on working.
            assert_eq!(foreign.wait(stream.write(b"bye")).unwrap(), 3);
            let nothing = stream.try_read(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        } else {
            assert_eq!(&buf[..read.unwrap()], b"hello");
        }
    };
    let deliver = || teller.write_all(b"hello").unwrap();
    stage.play(stream, reads, deliver).unwrap();
    if stage.state.is_gone() {
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"bye");
    }
}

fn tcp_poll_writable(stage: &mut Stage) {
    let (stream, peer) = tcp(stage);
    let mut sent = 0;
    while let Ok(n) = stream.try_write(&[0; 1 << 16]) {
        sent += n;
    }
    let writes = |stream: TcpStream, foreign: &Foreign| {
        let mut writable = foreign.wait(stream.writable());
        if foreign.state.is_gone() {
            // What was on its way has made room.
            while writable.is_ok() {
                while stream.try_write(&[0; 1 << 16]).is_ok() {}
                writable = foreign.wait(stream.writable());
            }
            is_gone(writable);
            is_gone(foreign.wait(stream.write_all(&vec![0; 1 << 22])));
        } else {
            writable.unwrap();
            foreign.wait(stream.write(b"more")).unwrap();
        }
    };
    let mut all = (&peer).take(sent as u64);
    let deliver = || {
        // All of it: then there is room.
        let read = io::copy(&mut all, &mut io::sink());
        assert_eq!(read.unwrap(), sent as u64);
    };
    stage.play(stream, writes, deliver).unwrap();
}

fn tcp_wake(stage: &mut Stage) {
    let (stream, mut peer) = tcp(stage);
    let probe = stage.probe.clone();
    let reads = async move {
        let _probe = probe;
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 5);
    };
    wake_a_task(stage, reads, move || peer.write_all(b"hello").unwrap());
}

fn tcp_drop(stage: &mut Stage) {
    let (stream, mut peer) = tcp(stage);
    let drops = |stream, foreign: &Foreign| {
        drop(stream);
        foreign.waits();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    };
    stage.play(stream, drops, || {}).unwrap();
}

fn tcp_drop_half_polled(stage: &mut Stage) {
    let (stream, mut peer) = tcp(stage);
    let probe = stage.probe.clone();
    let future = half_polled(stage, async move {
        let _probe = probe;
        stream.readable().await
    });
    let drops = |future, foreign: &Foreign| {
        drop(future);
        foreign.waits();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    };
    stage.play(future, drops, || {}).unwrap();
}

// ---- AsyncFd --------------------------------------------------------------------------------------------------

/// A stream with something that must be dropped.
struct Probed(UnixStream, #[allow(dead_code, reason = "counted")] Arc<()>);

impl std::os::fd::AsFd for Probed {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn async_fd(stage: &Stage) -> (AsyncFd<Probed>, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let probed = Probed(here, stage.probe.clone());
    (stage.make(async { AsyncFd::new(probed).unwrap() }), there)
}

fn async_fd_poll(stage: &mut Stage) {
    let (fd, there) = async_fd(stage);
    let reads = |fd: AsyncFd<Probed>, foreign: &Foreign| {
        let mut buf = [0; 8];
        let read = |fd: &Probed| (&fd.0).read(&mut buf);
        let read = foreign.wait(fd.async_io(Interest::READABLE, read));
        if foreign.state.is_gone() {
            is_gone(read);
            is_gone(foreign.wait(fd.writable()).map(drop));
            // The value goes on working, and is given back.
            (&fd.into_inner().0).write_all(b"bye").unwrap();
        } else {
            assert_eq!(&buf[..read.unwrap()], b"hello");
        }
    };
    let deliver = || (&there).write_all(b"hello").unwrap();
    stage.play(fd, reads, deliver).unwrap();
}

fn async_fd_wake(stage: &mut Stage) {
    let (fd, mut there) = async_fd(stage);
    let reads = async move {
        let mut guard = fd.readable().await.unwrap();
        let read = guard.try_io(|fd| (&fd.get_ref().0).read(&mut [0; 8]));
        assert_eq!(read.unwrap().unwrap(), 5);
    };
    wake_a_task(stage, reads, move || there.write_all(b"hello").unwrap());
}

fn async_fd_drop(stage: &mut Stage) {
    let (fd, mut there) = async_fd(stage);
    let drops = |fd, foreign: &Foreign| {
        drop(fd);
        // The value is dropped here, whatever its runtime does.
        ends(&mut there, foreign);
    };
    stage.play(fd, drops, || {}).unwrap();
}

fn async_fd_drop_half_polled(stage: &mut Stage) {
    let (fd, mut there) = async_fd(stage);
    let future = half_polled(stage, async move {
        let either = Interest::READABLE | Interest::ERROR;
        fd.ready(either).await.map(drop)
    });
    let drops = |future, foreign: &Foreign| {
        drop(future);
        ends(&mut there, foreign);
    };
    stage.play(future, drops, || {}).unwrap();
}

/// The peer's file has been closed, and that can be read. io_uring holds a file that it waits for, so there the owner
/// has to hear of it first.
fn ends(there: &mut UnixStream, foreign: &Foreign) {
    let name = std::env::var("REVEILLE_BACKEND").unwrap_or_default();
    let is_held = name.parse() == Ok(BackendKind::IoUring);
    if is_held {
        foreign.waits();
    }
    assert_eq!(there.read(&mut [0]).unwrap(), 0);
    if !is_held {
        foreign.waits();
    }
}

// ---- Sleep ----------------------------------------------------------------------------------------------------

const HOUR: Duration = Duration::from_secs(3600);

/// A timer that the runtime has armed.
fn armed(stage: &Stage, duration: Duration) -> Sleep {
    let mut sleep = sleep(duration);
    stage.make(poll_fn(|cx| {
        assert!(Pin::new(&mut sleep).poll(cx).is_pending());
        Poll::Ready(())
    }));
    sleep
}

fn sleep_poll(stage: &mut Stage) {
    let sleep = armed(stage, HOUR);
    let sleeps = |mut sleep: Sleep, foreign: &Foreign| {
        if foreign.state.is_gone() {
            foreign.wait(&mut sleep);
            unreachable!("nobody can wake it");
        }
        // Twice: the second time it is not known at its runtime any more.
        for _ in 0..2 {
            let deadline = now() + Duration::from_millis(2);
            sleep.reset(deadline);
            foreign.wait(&mut sleep);
            assert!(now() >= deadline, "it was early");
        }
    };
    let slept = stage.play(sleep, sleeps, || {});
    if stage.state.is_gone() {
        let text = slept.unwrap_err();
        assert!(text.contains("gone"), "{text}");
    } else {
        slept.unwrap();
    }
}

fn sleep_poll_moved(stage: &mut Stage) {
    let sleep = armed(stage, Duration::from_millis(1));
    stage.make(reveille::time::sleep(Duration::from_millis(2)));
    let sleeps = |mut sleep: Sleep, foreign: &Foreign| {
        assert!(sleep.is_elapsed());
        // Ready, runtime or not.
        foreign.wait(&mut sleep);
        sleep.reset(now() + HOUR);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            foreign.wait(poll_fn(|cx| {
                for _ in 0..3 {
                    assert!(Pin::new(&mut sleep).poll(cx).is_pending());
                }
                Poll::Ready(())
            }));
        }));
        foreign.waits();
        if foreign.state != State::Dropping {
            let gone = foreign.state == State::Dropped;
            assert_eq!(polled.is_err(), gone);
        }
    };
    stage.play(sleep, sleeps, || {}).unwrap();
}

fn sleep_wake(stage: &mut Stage) {
    let (moves, probe) = (Event::new(), stage.probe.clone());
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
    wake_a_task(stage, sleeps, move || moves.set());
}

fn sleep_drop(stage: &mut Stage) {
    let sleep = armed(stage, HOUR);
    let drops = |sleep, foreign: &Foreign| {
        drop(sleep);
        foreign.waits();
    };
    stage.play(sleep, drops, || {}).unwrap();
}

// ---- JoinHandle -----------------------------------------------------------------------------------------------

/// A task that ends, with something that must be dropped, when it is told to.
fn task(stage: &Stage) -> (JoinHandle<Arc<()>>, Event) {
    let (ends, probe) = (Event::new(), stage.probe.clone());
    let end = ends.clone();
    let task = stage.runtime().spawn(async move {
        end.wait().await;
        probe
    });
    stage.make(yield_now());
    (task, ends)
}

fn join_poll(stage: &mut Stage) {
    let (task, ends) = task(stage);
    let joins = |task: JoinHandle<Arc<()>>, foreign: &Foreign| {
        let joined = foreign.wait(task);
        if foreign.state.is_gone() {
            let error = joined.unwrap_err();
            assert!(error.is_runtime_gone(), "{error}");
        } else {
            joined.unwrap();
        }
    };
    stage.play(task, joins, || ends.set()).unwrap();
}

fn join_wake(stage: &mut Stage) {
    let (task, ends) = task(stage);
    let joins = async move { drop(task.await.unwrap()) };
    wake_a_task(stage, joins, move || ends.set());
}

fn join_drop(stage: &mut Stage) {
    for polled in [false, true] {
        if stage.runtime.is_none() {
            return;
        }
        let (goes_on, probe) = (Event::new(), stage.probe.clone());
        let (goes, ended) = (goes_on.clone(), Event::new());
        let ends = ended.clone();
        let mut task = stage.runtime().spawn(async move {
            goes.wait().await;
            ends.set();
            probe
        });
        if polled {
            stage.make(poll_fn(|cx| {
                assert!(Pin::new(&mut task).poll(cx).is_pending());
                Poll::Ready(())
            }));
        }
        let drops = move |task, foreign: &Foreign| {
            drop(task);
            foreign.waits();
            goes_on.set();
            if !foreign.state.is_gone() {
                // Detached: it goes on.
                ended.block();
            }
        };
        stage.play(task, drops, || {}).unwrap();
    }
}

// ---- Waker ----------------------------------------------------------------------------------------------------

fn waker_poll(stage: &mut Stage) {
    // The other way round: a future of the other thread's, which a task of the runtime completes, or its end.
    struct SetOnDrop(Event);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let (event, starts) = (Event::new(), Event::new());
    let (sets, start) = (SetOnDrop(event.clone()), starts.clone());
    drop(stage.runtime().spawn(async move {
        let _sets = sets;
        start.wait().await;
    }));
    stage.make(yield_now());
    let waits = |event: Event, foreign: &Foreign| foreign.wait(event.wait());
    stage.play(event, waits, || starts.set()).unwrap();
}

fn waker_wake(stage: &mut Stage) {
    // A root's: `block_on` is woken by it, or was over when it was handed out.
    let (roots, probe) = (Event::new(), stage.probe.clone());
    let old = stage.make(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
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
    wake_a_task(stage, waits, move || {
        old.wake();
        woken.fetch_add(1, Ordering::Relaxed);
        roots.set();
    });
    let delivered = usize::from(!stage.state.is_gone());
    assert_eq!(wakes.load(Ordering::Relaxed), delivered);
}

fn waker_drop(stage: &mut Stage) {
    let probe = stage.probe.clone();
    let task = stage.runtime().spawn(async move {
        let _probe = probe;
        poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
    });
    let waker = stage.make(task).unwrap();
    let drops = |waker: Waker, foreign: &Foreign| {
        let clones = [waker.clone(), waker.clone()];
        drop(waker);
        foreign.waits();
        drop(clones);
    };
    stage.play(waker, drops, || {}).unwrap();
}
