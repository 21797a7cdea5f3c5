//! Runtimes that another loop drives by `host_fd`, `turn` and `next_deadline`: the host sleeps
//! until there is work, so it makes about as many turns as there are events.

mod support;

use reveille::io::AsyncFd;
use reveille::net::TcpListener;
use reveille::time::{Duration, Instant, now, sleep, sleep_until};
use reveille::{Builder, JoinHandle, Runtime, yield_now};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use support::{guarded, on_every_backend};

const PINGS: usize = 100;

/// One turn per event, and a few for the beginning and the end.
const MAX_TURNS: usize = 4 * PINGS + 50;

/// Returns the `host_fd` of a runtime, if its backend has one.
fn host_fd(runtime: &Runtime) -> Option<BorrowedFd<'_>> {
    match runtime.host_fd() {
        Ok(fd) => Some(fd),
        Err(error) => {
            println!("skipped: {error}");
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
            None
        }
    }
}

/// Waits for any of the fds, until the deadline. Returns which are readable.
fn poll<const N: usize>(fds: [BorrowedFd<'_>; N], deadline: Option<Instant>) -> [bool; N] {
    let mut entries = fds.map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = deadline.map_or(-1, |deadline| {
        let left = deadline.saturating_duration_since(now());
        left.as_micros().div_ceil(1000) as libc::c_int
    });
    // SAFETY: the entries are alive during the call.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), N as libc::nfds_t, timeout) };
    assert!(ready >= 0, "{}", std::io::Error::last_os_error());
    entries.map(|entry| entry.revents != 0)
}

/// An echo server for one connection.
fn serve(runtime: &Runtime) -> (SocketAddr, JoinHandle<()>) {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = runtime.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut buf = [0; 16];
        loop {
            match stream.read(&mut buf).await.unwrap() {
                0 => return,
                n => stream.write_all(&buf[..n]).await.unwrap(),
            }
        }
    });
    (addr, server)
}

/// Pings the server, with pauses in between.
async fn ping(addr: SocketAddr) {
    let stream = reveille::net::TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for number in 0..PINGS {
        stream.write_all(&[number as u8]).await.unwrap();
        let mut back = [0];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, [number as u8]);
        if number % 10 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[test]
fn poll_hosts_two_runtimes() {
    guarded("the default", || {
        let (one, two) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let (Some(first), Some(second)) = (host_fd(&one), host_fd(&two)) else {
            return;
        };
        let (addr, server) = serve(&one);
        let client = two.spawn(ping(addr));
        let mut turns = 0;
        while !(server.is_finished() && client.is_finished()) {
            let deadlines = [one.next_deadline(), two.next_deadline()];
            let earliest = deadlines.into_iter().flatten().min();
            let readable = poll([first, second], earliest);
            let due = deadlines.map(|deadline| deadline.is_some_and(|deadline| deadline <= now()));
            for (at, runtime) in [&one, &two].into_iter().enumerate() {
                if readable[at] || due[at] {
                    turns += 1;
                    runtime.turn(Some(Duration::ZERO)).unwrap();
                }
            }
            assert!(turns <= MAX_TURNS, "it spins");
        }
        one.block_on(server).unwrap();
        two.block_on(client).unwrap();
        println!("{turns} turns");
        assert!(turns >= PINGS);
        for (runtime, fd) in [(&one, first), (&two, second)] {
            runtime.turn(Some(Duration::ZERO)).unwrap();
            assert_eq!(runtime.next_deadline(), None);
            assert_eq!(
                poll([fd], Some(now())),
                [false],
                "readable without an event"
            );
        }
    });
}

/// Drives `inner` from a task of another runtime until `done` returns true, and counts the turns.
async fn host(inner: &Runtime, fd: BorrowedFd<'_>, turns: &Cell<usize>, done: impl Fn() -> bool) {
    // SAFETY: the fd is open; the call changes a flag of the runtime's own duplicate.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        assert_eq!(
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK),
            0
        );
    }
    let fd = AsyncFd::with_interest(fd, reveille::io::Interest::READABLE).unwrap();
    while !done() {
        let mut timer = inner.next_deadline().map(sleep_until);
        let mut readable = pin!(fd.readable());
        let guard = poll_fn(|cx| {
            if let Poll::Ready(guard) = readable.as_mut().poll(cx) {
                return Poll::Ready(Some(guard.unwrap()));
            }
            match &mut timer {
                Some(timer) => pin!(timer).poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await;
        turns.set(turns.get() + 1);
        assert!(turns.get() <= MAX_TURNS, "it spins");
        inner.turn(Some(Duration::ZERO)).unwrap();
        if let Some(mut guard) = guard {
            if poll([fd.as_fd()], Some(now())) == [false] {
                guard.clear_ready();
            }
        }
    }
}

#[test]
fn runtime_hosts_another_runtime() {
    guarded("the default", || {
        let parks = Rc::new(Cell::new(0));
        let count = parks.clone();
        let hook = move || count.set(count.get() + 1);
        let outer = Builder::new().on_park(hook).build().unwrap();
        let inner = Runtime::new().unwrap();
        let Some(fd) = host_fd(&inner) else { return };
        let (addr, server) = serve(&inner);
        let turns = Cell::new(0);
        outer.block_on(async {
            let client = reveille::spawn(ping(addr));
            let hosted = host(&inner, fd, &turns, || server.is_finished());
            hosted.await;
            client.await.unwrap();
        });
        println!(
            "{} turns inside, {} sleeps outside",
            turns.get(),
            parks.get()
        );
        assert!(turns.get() >= PINGS);
        assert!(parks.get() <= 2 * MAX_TURNS, "{} sleeps", parks.get());
        inner.block_on(server).unwrap();
    });
}

#[test]
fn host_and_hosted_runtime_sleep_until_a_timer() {
    guarded("the default", || {
        let (outer, inner) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let Some(fd) = host_fd(&inner) else { return };
        let task = inner.spawn(async {
            for _ in 0..5 {
                let start = now();
                sleep(Duration::from_millis(3)).await;
                assert!(start.elapsed() >= Duration::from_millis(3));
            }
        });
        let turns = Cell::new(0);
        outer.block_on(host(&inner, fd, &turns, || task.is_finished()));
        assert!(turns.get() <= 20, "{} turns for five timers", turns.get());
        inner.block_on(task).unwrap();
        outer.block_on(yield_now());
    });
}

/// A turn without a limit does not wait after it has run a task: the host may wait for what that
/// task did.
#[test]
fn turn_that_has_run_something_does_not_wait() {
    on_every_backend(|runtime| {
        // One task, and more tasks than one batch runs.
        for count in [1, 1000] {
            let done = Rc::new(Cell::new(0));
            let add = || {
                let done = done.clone();
                runtime.spawn(async move { done.set(done.get() + 1) })
            };
            let _tasks: Vec<_> = (0..count).map(|_| add()).collect();
            while done.get() < count {
                runtime.turn(None).unwrap();
            }
        }
    });
}

/// Another thread ends the wait of a turn that has no limit, whether it spawns before or during the
/// wait.
#[test]
fn handle_spawn_ends_the_wait_of_a_turn() {
    on_every_backend(|runtime| {
        for _ in 0..100 {
            let (handle, has_run) = (runtime.handle(), Arc::new(AtomicBool::new(false)));
            let flag = has_run.clone();
            let spawner = thread::spawn(move || {
                drop(handle.spawn(async move { flag.store(true, Ordering::SeqCst) }));
            });
            while !has_run.load(Ordering::SeqCst) {
                runtime.turn(None).unwrap();
            }
            spawner.join().unwrap();
        }
    });
}
