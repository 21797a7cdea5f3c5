//! The places in the source that a report names: where descriptors and timers were created.

use super::{LONG, Make, on_every_mechanism};
use reveille::io::{AsyncFd, Interest, ReadinessOnly};
use reveille::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener};
use reveille::net::{UnixSocket, UnixStream, pipe};
use reveille::runtime::{ShutdownReport, TimerInfo};
use reveille::time::{self, Duration, Sleep, now, sleep, sleep_until};
use reveille::{Runtime, spawn};
use std::any::Any;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::Location;
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::thread;

impl Make {
    fn tracking(self) -> Runtime {
        self.builder().track_spawn_locations(true).build().unwrap()
    }
}

/// Returns the call that is at a place in this file.
#[track_caller]
fn call_at(place: Option<&Location<'_>>) -> &'static str {
    let place = place.expect("the place is known");
    assert_eq!(place.file(), file!());
    let mut lines = include_str!("places.rs").lines();
    let line = lines.nth(place.line() as usize - 1).unwrap();
    let call = &line[place.column() as usize - 1..];
    call.split('(').next().unwrap()
}

/// Values that are kept until the report is made, with the calls that have created them.
#[derive(Default)]
struct Kept {
    fds: Vec<(RawFd, &'static str)>,
    values: Vec<Box<dyn Any>>,
}

impl Kept {
    fn add<T: AsRawFd + 'static>(&mut self, call: &'static str, value: T) {
        self.fds.push((value.as_raw_fd(), call));
        self.values.push(Box::new(value));
    }

    /// Ends the runtime and compares the descriptors of the report.
    #[track_caller]
    fn compare(mut self, runtime: Runtime) {
        let report = runtime.shutdown(LONG);
        let infos = report.descriptors().iter();
        let mut found: Vec<_> = infos
            .map(|info| (info.fd(), call_at(info.created_at())))
            .collect();
        found.sort_unstable();
        self.fds.sort_unstable();
        assert_eq!(found, self.fds);
    }
}

#[test]
fn descriptor_names_the_call_of_a_tcp_or_udp_socket() {
    on_every_mechanism(|make| {
        let (runtime, mut kept) = (make.tracking(), Kept::default());
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            for _ in 0..4 {
                kept.add(
                    "TcpStream::connect",
                    TcpStream::connect(addr).await.unwrap(),
                );
            }
            kept.add("accept", listener.accept().await.unwrap().0);
            let polled = poll_fn(|cx| listener.poll_accept(cx)).await;
            kept.add("poll_accept", polled.unwrap().0);
            let tried = loop {
                match listener.try_accept() {
                    Ok((stream, _)) => break stream,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                reveille::yield_now().await;
            };
            kept.add("try_accept", tried);
            let mut incoming = Box::pin(listener.incoming());
            let next = poll_fn(|cx| futures_core::Stream::poll_next(incoming.as_mut(), cx)).await;
            drop(incoming);
            kept.add("incoming", next.unwrap().unwrap());
            kept.add("TcpListener::bind", listener);

            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(8).unwrap();
            let addr = listener.local_addr().unwrap();
            kept.add("listen", listener);
            let socket = TcpSocket::new_v4().unwrap();
            kept.add("connect", socket.connect(addr).await.unwrap());
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = std::net::TcpStream::connect(addr).unwrap();
            listener.set_nonblocking(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            kept.add(
                "TcpListener::from_std",
                TcpListener::from_std(listener).unwrap(),
            );
            kept.add("TcpStream::from_std", TcpStream::from_std(stream).unwrap());

            kept.add(
                "UdpSocket::bind",
                UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            );
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            kept.add("UdpSocket::from_std", UdpSocket::from_std(socket).unwrap());
        });
        kept.compare(runtime);
    });
}

#[test]
fn descriptor_names_the_call_of_a_unix_socket_or_pipe() {
    use std::os::unix::net as std_net;
    on_every_mechanism(|make| {
        let (runtime, mut kept) = (make.tracking(), Kept::default());
        let directory = super::support::Directory::new();
        let path = |name| directory.path().join(name);
        runtime.block_on(async {
            let listener = UnixListener::bind(path("one")).unwrap();
            let addr = std_net::SocketAddr::from_pathname(path("one")).unwrap();
            kept.add(
                "UnixStream::connect",
                UnixStream::connect(path("one")).await.unwrap(),
            );
            kept.add(
                "UnixStream::connect_addr",
                UnixStream::connect_addr(&addr).await.unwrap(),
            );
            let socket = UnixSocket::new_stream().unwrap();
            kept.add("connect", socket.connect(path("one")).await.unwrap());
            let socket = UnixSocket::new_stream().unwrap();
            kept.add("connect_addr", socket.connect_addr(&addr).await.unwrap());
            let limited = listener.limit(8);
            kept.add("accept", limited.accept().await.unwrap().0);
            let polled = poll_fn(|cx| limited.poll_accept(cx)).await;
            kept.add("poll_accept", polled.unwrap().0);
            let listener = limited.into_inner();
            kept.fds.push((listener.as_raw_fd(), "UnixListener::bind"));
            let mut incoming = Box::pin(listener.into_incoming());
            let next = poll_fn(|cx| futures_core::Stream::poll_next(incoming.as_mut(), cx)).await;
            kept.add("into_incoming", next.unwrap().unwrap());
            kept.values.push(Box::new(incoming));

            let addr = std_net::SocketAddr::from_pathname(path("two")).unwrap();
            kept.add(
                "UnixListener::bind_addr",
                UnixListener::bind_addr(&addr).unwrap(),
            );
            let socket = UnixSocket::new_stream().unwrap();
            socket.bind(path("three")).unwrap();
            kept.add("listen", socket.listen(8).unwrap());
            let (one, two) = UnixStream::pair().unwrap();
            kept.add("UnixStream::pair", one);
            // A conversion is a new registration, and has its own place.
            let two = two.into_std().unwrap();
            kept.add("UnixStream::from_std", UnixStream::from_std(two).unwrap());

            kept.add(
                "UnixDatagram::bind",
                UnixDatagram::bind(path("four")).unwrap(),
            );
            kept.add("UnixDatagram::unbound", UnixDatagram::unbound().unwrap());
            let (one, two) = UnixDatagram::pair().unwrap();
            kept.add("UnixDatagram::pair", one);
            let two = two.into_std().unwrap();
            kept.add(
                "UnixDatagram::from_std",
                UnixDatagram::from_std(two).unwrap(),
            );
            let socket = UnixSocket::new_datagram().unwrap();
            kept.add("datagram", socket.datagram().unwrap());

            let (sender, receiver) = pipe::pipe().unwrap();
            kept.add("pipe::pipe", sender);
            let fd = receiver.into_nonblocking_fd().unwrap();
            kept.add(
                "pipe::Receiver::from_owned_fd",
                pipe::Receiver::from_owned_fd(fd).unwrap(),
            );
        });
        kept.compare(runtime);
    });
}

#[test]
fn descriptor_names_the_call_of_an_async_fd() {
    fn fd() -> OwnedFd {
        let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        here.into()
    }
    on_every_mechanism(|make| {
        let (runtime, mut kept) = (make.tracking(), Kept::default());
        // Outside of a task, and within one.
        runtime.enter(|| kept.add("AsyncFd::new", AsyncFd::new(fd()).unwrap()));
        runtime.block_on(async {
            let write = Interest::WRITABLE;
            kept.add("AsyncFd::try_new", AsyncFd::try_new(fd()).unwrap());
            kept.add(
                "AsyncFd::with_interest",
                AsyncFd::with_interest(fd(), write).unwrap(),
            );
            let tried = AsyncFd::try_with_interest(fd(), write);
            kept.add("AsyncFd::try_with_interest", tried.unwrap());
            let only: AsyncFd<ReadinessOnly<OwnedFd>> =
                AsyncFd::readiness_only(fd(), write).unwrap();
            kept.add("AsyncFd::readiness_only", only);
            let task = spawn(async { AsyncFd::new(fd()).unwrap() });
            kept.add("AsyncFd::new", task.await.unwrap());
        });
        kept.compare(runtime);
    });
}

/// The pidfd and the pipes name the call that has started the child; the descriptor that all
/// listeners of signals share names none.
#[cfg(feature = "process")]
#[test]
fn descriptor_names_the_call_that_started_a_child() {
    use reveille::process::Command;
    use std::process::Stdio;
    on_every_mechanism(|make| {
        let runtime = make.tracking();
        let (mut child, fds, listener) = runtime.block_on(async {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let child = command.spawn().unwrap();
            let ends = (
                child.stdin.as_ref().unwrap(),
                child.stdout.as_ref().unwrap(),
            );
            let fds = [ends.0.as_raw_fd(), ends.1.as_raw_fd()];
            let kind = reveille::signal::SignalKind::user_defined1();
            (child, fds, reveille::signal::signal(kind).unwrap())
        });
        let report = runtime.shutdown(LONG);
        for fd in fds {
            let mut infos = report.descriptors().iter();
            let info = infos.find(|info| info.fd() == fd).unwrap();
            assert_eq!(call_at(info.created_at()), "spawn");
        }
        let infos = report.descriptors().iter();
        let others = infos.filter(|info| !fds.contains(&info.fd()));
        let (unknown, known): (Vec<_>, Vec<_>) =
            others.partition(|info| info.created_at().is_none());
        assert_eq!(unknown.len(), 1, "{report}");
        // None where the kernel has no pidfds.
        for info in known {
            assert_eq!(call_at(info.created_at()), "spawn");
        }
        drop(listener);
        drop(child.stdin.take());
        while child.try_wait().unwrap().is_none() {
            thread::yield_now();
        }
    });
}

/// Futures that have set a timer, until the report is made.
#[derive(Default)]
struct Armed(Vec<(&'static str, Waits)>);

type Waits = Pin<Box<dyn Future<Output = ()>>>;

impl Armed {
    /// Polls a future once, which has to wait.
    async fn add(&mut self, call: &'static str, future: impl Future + 'static) {
        let mut future: Waits = Box::pin(async move {
            future.await;
        });
        poll_fn(|cx| {
            assert!(future.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        self.0.push((call, future));
    }

    #[track_caller]
    fn compare(self, report: &ShutdownReport) {
        let mut calls: Vec<&str> = self.0.iter().map(|(call, _)| *call).collect();
        calls.sort_unstable();
        assert_eq!(timer_calls(report), calls);
    }
}

#[track_caller]
fn timer_calls(report: &ShutdownReport) -> Vec<&'static str> {
    let places = report.timers().iter().map(TimerInfo::created_at);
    let mut calls: Vec<_> = places.map(call_at).collect();
    calls.sort_unstable();
    calls
}

#[test]
fn timer_names_the_call_that_created_it() {
    on_every_mechanism(|make| {
        let (runtime, mut armed) = (make.tracking(), Armed::default());
        runtime.block_on(async {
            armed.add("sleep", sleep(LONG)).await;
            armed.add("sleep_until", sleep_until(now() + LONG)).await;
            // It sets its timer at its first poll, which is made elsewhere.
            let limited = time::timeout(LONG, pending::<()>());
            armed.add("time::timeout", limited).await;
            armed
                .add(
                    "time::timeout_at",
                    time::timeout_at(now() + LONG, pending::<()>()),
                )
                .await;
            // The timer of the second tick, after that of the first has fired.
            let mut ticks = time::interval(LONG);
            ticks.tick().await;
            armed
                .add("time::interval", async move { ticks.tick().await })
                .await;
            let mut ticks = time::interval_at(now() + LONG, LONG);
            armed
                .add("time::interval_at", async move { ticks.tick().await })
                .await;
            // Moved before the first poll, by a caller that has read the clock.
            let mut ticks = time::interval(LONG);
            ticks.reset();
            armed
                .add("time::interval", async move { ticks.tick().await })
                .await;
        });
        armed.compare(&runtime.shutdown(LONG));
    });
}

/// The wait between two attempts of a connection, and the pause while the queue of a listener is
/// full.
#[test]
fn timer_within_an_operation_names_the_call_of_the_operation() {
    on_every_mechanism(|make| {
        let (runtime, mut armed) = (make.tracking(), Armed::default());
        let directory = super::support::Directory::new();
        let path = directory.path().join("socket");
        let (_tcp, _full) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            // The first attempt is under way until a turn of the loop.
            let connects = async move {
                drop(TcpStream::connect(&[addr, addr][..]).await);
            };
            armed.add("TcpStream::connect", connects).await;
            // Other systems refuse the connection.
            if cfg!(any(target_os = "linux", target_os = "android")) {
                let full = UnixListener::bind(&path).unwrap();
                // SAFETY: listen takes no pointer. A second call changes the length of the queue.
                assert_eq!(unsafe { libc::listen(full.as_raw_fd(), 0) }, 0);
                let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
                let connect = UnixStream::connect(path.clone());
                armed
                    .add("UnixStream::connect", async { drop(connect.await) })
                    .await;
                return (listener, Some((full, waiting)));
            }
            (listener, None)
        });
        armed.compare(&runtime.shutdown(LONG));
    });
}

/// Timers are reset, fire, and are cancelled, so that the places of others are used again.
#[test]
fn place_stays_with_the_timer_and_not_with_its_slot() {
    on_every_mechanism(|make| {
        let runtime = make.tracking();
        let (mut one, mut two) = runtime.block_on(async {
            for _ in 0..3 {
                time::timeout(LONG, reveille::yield_now()).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
            let mut one = sleep(Duration::from_millis(1));
            (&mut one).await;
            let mut two = sleep_until(now() + LONG);
            // It takes the slot of the one that has fired.
            arm(&mut two).await;
            one.reset(now() + LONG);
            arm(&mut one).await;
            one.reset(now() + 2 * LONG);
            two.reset(now() + LONG / 2);
            (one, two)
        });
        runtime.shrink();
        runtime.block_on(async {
            arm(&mut one).await;
            arm(&mut two).await;
        });
        let report = runtime.shutdown(LONG);
        assert_eq!(timer_calls(&report), ["sleep", "sleep_until"]);
        let longest = report.timers().iter().max_by_key(|timer| timer.deadline());
        assert_eq!(call_at(longest.unwrap().created_at()), "sleep");
        drop((one, two));
    });
}

async fn arm(sleep: &mut Sleep) {
    poll_fn(|cx| {
        assert!(Pin::new(&mut *sleep).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Another thread polls a sleep that has fired and was reset, so that the owner sets a new timer.
/// A socket is moved there as well, and to another task.
#[test]
fn place_stays_on_other_threads_and_in_other_tasks() {
    on_every_mechanism(|make| {
        let runtime = make.tracking();
        let (fired, socket) = runtime.block_on(async {
            let mut fired = sleep(Duration::from_millis(1));
            (&mut fired).await;
            (fired, UdpSocket::bind("127.0.0.1:0").await.unwrap())
        });
        let (gate, wait) = channel::<()>();
        let (send, polled) = channel();
        let other = thread::spawn(move || {
            let mut fired = fired;
            fired.reset(now() + LONG);
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(Pin::new(&mut fired).poll(&mut cx).is_pending());
            send.send(()).unwrap();
            wait.recv().unwrap_err();
            drop((fired, socket));
        });
        polled.recv().unwrap();
        let moved = runtime.block_on(async { UnixDatagram::unbound().unwrap() });
        drop(runtime.spawn(async move { moved.recv(&mut [0]).await }));
        runtime.turn(Some(Duration::ZERO)).unwrap();
        let report = runtime.shutdown(Duration::ZERO);
        assert_eq!(timer_calls(&report), ["sleep"]);
        let infos = report.descriptors().iter();
        let mut calls: Vec<_> = infos.map(|info| call_at(info.created_at())).collect();
        calls.sort_unstable();
        assert_eq!(calls, ["UdpSocket::bind", "UnixDatagram::unbound"]);
        drop(gate);
        other.join().unwrap();
    });
}

/// Also while another runtime of the process tracks places, so that the values have them.
#[test]
fn runtime_that_does_not_track_places_reports_none() {
    on_every_mechanism(|make| {
        let (runtime, _tracking) = (make.runtime(), make.tracking());
        let (mut sleep, socket) = (sleep(LONG), runtime.enter(UnixDatagram::unbound).unwrap());
        runtime.block_on(arm(&mut sleep));
        let report = runtime.shutdown(LONG);
        let ([timer], [info]) = (report.timers(), report.descriptors()) else {
            panic!("{report:?}")
        };
        assert_eq!((timer.created_at(), info.created_at()), (None, None));
        assert!(!report.to_string().contains("created at"), "{report}");
        drop(socket);
    });
}
