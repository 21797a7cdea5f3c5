//! Values of users: those in `AsyncFd`, hooks, mechanisms, and the functions of a callback loop.

use super::super::fixture::{Action, Drops, Fixture, Planned, operations, runtime, spender};
use super::super::own_backend::{Late, OwnBackend, Part};
use super::{Entered, PanicTarget, call, target, turns};
use reveille::Builder;
use reveille::backend::{BackendKind, Trigger};
use reveille::event_loop::{self, EventLoop};
use reveille::io::{AsyncFd, Interest};
use reveille::net::UdpSocket;
use reveille::runtime::UnhandledPanic;
use reveille::time::Duration;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::sync::Arc;

const SOON: Duration = Duration::from_millis(1);

/// A socket with nothing to read, and its peer.
pub(super) fn socket() -> (UnixStream, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    (here, there)
}

/// A value whose `as_fd` or whose drop is the foreign code.
struct Valued {
    stream: UnixStream,
    /// Runs the foreign code in `as_fd`.
    in_as_fd: Option<Arc<Fixture>>,
    /// Runs the foreign code in the drop.
    _drops: Option<Drops>,
}

impl AsFd for Valued {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if let Some(fixture) = &self.in_as_fd {
            fixture.run_action();
        }
        self.stream.as_fd()
    }
}

pub(super) fn as_fd_of_a_value(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let value = Valued {
        stream: socket().0,
        in_as_fd: Some(fixture.clone()),
        _drops: None,
    };
    let made = call(|| runtime().enter(|| drop(AsyncFd::new(value).unwrap())));
    (fixture, target(made))
}

pub(super) fn drop_of_a_value(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let value = Valued {
        stream: socket().0,
        in_as_fd: None,
        _drops: Some(Drops(fixture.clone())),
    };
    let fd = runtime().enter(|| AsyncFd::new(value).unwrap());
    let dropped = call(|| runtime().enter(|| drop(fd)));
    (fixture, target(dropped))
}

pub(super) fn call_of_async_io(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let (here, _there) = socket();
    let ran = call(|| {
        runtime().block_on(async {
            let fd = AsyncFd::new(here).unwrap();
            fd.async_io(Interest::WRITABLE, |_| {
                fixture.run_action();
                Ok(())
            })
            .await
            .unwrap();
        });
    });
    (fixture, target(ran))
}

pub(super) fn iterator_of_send_many(fixture: Arc<Fixture>, _: BackendKind, _: Action) -> Entered {
    let sent = call(|| {
        runtime().block_on(async {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(socket.local_addr().unwrap()).await.unwrap();
            let datagrams = [&b"x"[..]].into_iter().inspect(|_| fixture.run_action());
            socket.send_many(datagrams).await.unwrap();
        });
    });
    (fixture, target(sent))
}

/// A fixture whose runtime has a part that uses the fixture.
pub(super) fn with_late(
    kind: BackendKind,
    action: Action,
    set: impl FnOnce(Builder, Late) -> Builder,
) -> Arc<Fixture> {
    let late = Late::default();
    let fixture = Fixture::new(kind, action, |builder| set(builder, late.clone()));
    assert!(late.0.set(fixture.clone()).is_ok(), "it is set once");
    fixture
}

pub(super) fn on_park(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    let fixture = with_late(kind, action, |builder, late| {
        builder.on_park(move || late.run_action())
    });
    drop(runtime().spawn(spender()));
    (fixture, target(turns()))
}

pub(super) fn on_unpark(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    let fixture = with_late(kind, action, |builder, late| {
        builder.on_unpark(move || late.run_action())
    });
    drop(runtime().spawn(spender()));
    (fixture, target(turns()))
}

pub(super) fn handler_of_panics(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    let fixture = with_late(kind, action, |builder, late| {
        builder.unhandled_panic(UnhandledPanic::Call(Box::new(move |_| late.run_action())))
    });
    drop(runtime().spawn(async {
        operations();
        if true {
            resume_unwind(Box::new(Planned));
        }
    }));
    (fixture, target(turns()))
}

pub(super) fn own(kind: BackendKind, action: Action, part: Part) -> Arc<Fixture> {
    with_late(kind, action, |builder, late| {
        builder.with_backend(OwnBackend { late, part })
    })
}

pub(super) fn add_of_a_backend(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    let fixture = own(kind, action, Part::Add);
    let made = call(|| runtime().enter(|| drop(AsyncFd::new(socket().0))));
    (fixture, target(made))
}

pub(super) fn remove_of_a_backend(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    let fixture = own(kind, action, Part::Remove);
    let fd = runtime().enter(|| AsyncFd::new(socket().0).unwrap());
    let dropped = call(|| runtime().enter(|| drop(fd)));
    (fixture, target(dropped))
}

pub(super) fn wait_of_a_backend(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    let fixture = own(kind, action, Part::Wait);
    drop(runtime().spawn(spender()));
    (
        fixture,
        target(call(|| runtime().turn(Some(SOON)).unwrap())),
    )
}

pub(super) fn notify_of_a_backend(_: Arc<Fixture>, kind: BackendKind, action: Action) -> Entered {
    let fixture = own(kind, action, Part::Notify);
    let handle = runtime().handle();
    let notified = call(|| drop(handle.spawn(async {})));
    (fixture, target(notified))
}

pub(super) fn callbacks(kind: BackendKind, fixture: &Arc<Fixture>) -> EventLoop<Arc<Fixture>> {
    event_loop::Builder::new()
        .backend(kind)
        .build(fixture.clone())
        .unwrap()
}

pub(super) fn run(event_loop: &mut EventLoop<Arc<Fixture>>) -> PanicTarget {
    target(call(|| {
        event_loop.turn(Some(SOON)).unwrap();
        event_loop.turn(Some(SOON)).unwrap();
    }))
}

pub(super) fn handler_of_an_fd(fixture: Arc<Fixture>, kind: BackendKind, _: Action) -> Entered {
    let (mut event_loop, (here, mut there)) = (callbacks(kind, &fixture), socket());
    let (read, level) = (Interest::READABLE, Trigger::Level);
    event_loop
        .attach(here, read, level, |l, _, _| l.data().run_action())
        .unwrap();
    there.write_all(b"x").unwrap();
    let target = run(&mut event_loop);
    (fixture, target)
}

pub(super) fn handler_of_a_timer(fixture: Arc<Fixture>, kind: BackendKind, _: Action) -> Entered {
    let mut event_loop = callbacks(kind, &fixture);
    event_loop.set_timer(Duration::ZERO, |l, _| l.data().run_action());
    std::thread::sleep(SOON);
    let target = run(&mut event_loop);
    (fixture, target)
}

pub(super) fn hook_of_a_loop(fixture: Arc<Fixture>, kind: BackendKind, _: Action) -> Entered {
    let mut event_loop = callbacks(kind, &fixture);
    event_loop.before_wait(|l| l.data().run_action());
    let target = run(&mut event_loop);
    (fixture, target)
}

pub(super) fn handler_of_messages(fixture: Arc<Fixture>, kind: BackendKind, _: Action) -> Entered {
    let mut event_loop = callbacks(kind, &fixture);
    let sender = event_loop.on_message(|l, ()| l.data().run_action());
    sender.send(()).unwrap();
    let target = run(&mut event_loop);
    (fixture, target)
}

pub(super) fn deferred(fixture: Arc<Fixture>, kind: BackendKind, _: Action) -> Entered {
    let mut event_loop = callbacks(kind, &fixture);
    event_loop.defer(|l| l.data().run_action());
    let target = run(&mut event_loop);
    (fixture, target)
}

pub(super) fn drop_of_an_attached_value(
    fixture: Arc<Fixture>,
    kind: BackendKind,
    _: Action,
) -> Entered {
    let mut event_loop = callbacks(kind, &fixture);
    let value = Valued {
        stream: socket().0,
        in_as_fd: None,
        _drops: Some(Drops(fixture.clone())),
    };
    let (read, level) = (Interest::READABLE, Trigger::Level);
    let key = event_loop.attach(value, read, level, |_, _, _| ()).unwrap();
    let closed = call(|| assert!(event_loop.close(key)));
    (fixture, target(closed))
}
