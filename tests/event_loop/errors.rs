//! Calls that fail, and what the errors contain; closing.

use super::*;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

fn nothing<T>(_: &mut EventLoop<()>, _: Key<T>, _: Cause) {}

/// C28. After `close`, or `detach` and a drop, the peer reads the end at once, even if a handler
/// makes the call.
#[test]
fn close_gives_eof() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(());
        let (here, mut there) = pair();
        let key = event_loop
            .attach(here, Interest::READABLE, trigger, nothing)
            .unwrap();
        turn(&mut event_loop);
        assert!(event_loop.close(key));
        assert_eq!(there.read(&mut [0]).unwrap(), 0);

        let (here, mut there) = pair();
        let key = event_loop
            .attach(here, Interest::READABLE, trigger, nothing)
            .unwrap();
        turn(&mut event_loop);
        drop(event_loop.detach(key).unwrap());
        assert_eq!(there.read(&mut [0]).unwrap(), 0);

        let (here, mut there) = ready_pair();
        let mut gone = there.try_clone().unwrap();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, key, _| {
                    drain(event_loop.get(key).unwrap());
                    assert!(event_loop.close(key));
                    assert_eq!(gone.read(&mut [0]).unwrap(), 0);
                },
            )
            .unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!(there.read(&mut [0]).unwrap(), 0);
    });
}

/// C28 for TCP.
#[test]
fn close_gives_eof_over_tcp() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        let key = event_loop.attach(here, both, trigger, nothing).unwrap();
        turn(&mut event_loop);
        assert!(event_loop.close(key));
        // A blocking read, which hangs if nothing was closed.
        assert_eq!(there.read(&mut [0]).unwrap(), 0);
    });
}

/// C28 for the drop of the loop.
#[test]
fn event_loop_drop_closes_attached_fds() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(());
        let (here, mut there) = pair();
        event_loop
            .attach(here, Interest::READABLE, trigger, nothing)
            .unwrap();
        turn(&mut event_loop);
        drop(event_loop);
        assert_eq!(there.read(&mut [0]).unwrap(), 0);
    });
}

/// C29. The error contains the fd, and the first registration stays.
#[test]
fn attach_returns_an_fd_that_is_already_attached() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let here = Arc::new(here);
        let key = event_loop
            .attach(here.clone(), Interest::READABLE, trigger, nothing)
            .unwrap();
        let again = event_loop
            .attach(here.clone(), Interest::READABLE, trigger, nothing)
            .unwrap_err();
        assert_eq!(again.error().kind(), ErrorKind::AlreadyExists);
        let (given_back, error) = again.into_parts();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(Arc::ptr_eq(&given_back, &here));
        assert_eq!(event_loop.len(), 1);
        // The first registration still works, and the failed one has left nothing behind.
        drop(event_loop.detach(key).unwrap());
        event_loop
            .attach(here, Interest::READABLE, trigger, nothing)
            .unwrap();
    });
}

/// C29. Every call with a key whose fd was detached.
#[test]
fn stale_key_is_not_found() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let level = Trigger::Level;
        let key = event_loop
            .attach(here, Interest::READABLE, level, nothing)
            .unwrap();
        let here = event_loop.detach(key).unwrap();
        // Another registration has its index and its number.
        let new = event_loop
            .attach(here, Interest::READABLE, level, nothing)
            .unwrap();
        refuses_everything(&mut event_loop, key);
        assert!(event_loop.is_attached(new));
        assert_eq!(event_loop.len(), 1);
    });
}

/// C29. Every call with a key of another loop, in which the same index is in use.
#[test]
fn key_of_another_loop_is_not_found() {
    on_every_loop(|loops| {
        let (mut one, mut other) = (loops.make(()), loops.make(()));
        let mut peers = Vec::new();
        let mut keys = Vec::new();
        for event_loop in [&mut one, &mut other] {
            let (here, there) = pair();
            let key = event_loop.attach(
                here,
                Interest::READABLE,
                Trigger::Level,
                nothing::<UnixStream>,
            );
            keys.push(key.unwrap());
            peers.push(there);
        }
        assert_ne!(keys[0], keys[1]);
        refuses_everything(&mut one, keys[1]);
        refuses_everything(&mut other, keys[0]);
        assert!(one.is_attached(keys[0]) && other.is_attached(keys[1]));

        let timer = one.set_timer(HOUR, |_, _| {});
        other.set_timer(HOUR, |_, _| {});
        assert!(!other.cancel_timer(timer) && !other.reset_timer(timer, HOUR));
        assert!(one.reset_timer(timer, HOUR) && one.cancel_timer(timer));
    });
}

#[track_caller]
fn refuses_everything(event_loop: &mut EventLoop<()>, key: Key<UnixStream>) {
    let not_found = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
    };
    not_found(event_loop.modify(key, Interest::WRITABLE));
    not_found(event_loop.set_trigger(key, Trigger::Level));
    not_found(event_loop.pause(key));
    not_found(event_loop.pause_for(key, MS));
    not_found(event_loop.resume(key));
    not_found(event_loop.set_timeout(key, MS));
    not_found(event_loop.push_timeout(key));
    not_found(event_loop.set_water_marks(key, None));
    not_found(event_loop.detach(key).map(drop));
    let (spare, _there) = pair();
    let number = spare.as_raw_fd();
    let (spare, error) = event_loop.replace_fd(key, spare).unwrap_err().into_parts();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(spare.as_raw_fd(), number);
    assert!(!event_loop.close(key) && !event_loop.clear_timeout(key));
    assert!(!event_loop.is_attached(key) && !event_loop.is_paused(key));
    assert!(event_loop.get(key).is_none() && event_loop.get_mut(key).is_none());
}

/// The error differs from that of an invalid key.
#[test]
fn push_timeout_without_a_timeout_fails() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let key = event_loop
            .attach(here, Interest::READABLE, Trigger::Level, nothing)
            .unwrap();
        let pushed = event_loop.push_timeout(key).unwrap_err();
        assert_eq!(pushed.kind(), ErrorKind::NotFound);
        assert!(pushed.to_string().contains("no timeout"), "{pushed}");
        assert!(!event_loop.clear_timeout(key));
        assert!(event_loop.next_deadline().is_none());
    });
}

/// `AttachError` displays the reason and converts to `io::Error`.
#[test]
fn attach_error_has_a_reason() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let here = Arc::new(here);
        let attach = |event_loop: &mut EventLoop<()>| {
            event_loop.attach(here.clone(), Interest::READABLE, Trigger::Level, nothing)
        };
        attach(&mut event_loop).unwrap();
        let error = attach(&mut event_loop).unwrap_err();
        assert!(error.to_string().starts_with("cannot attach the fd: "));
        assert!(std::error::Error::source(&error).is_some());
        let error = io::Error::from(error);
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    });
}

/// Any value that implements `AsFd` can be attached.
#[test]
fn attached_value_keeps_its_type() {
    struct Named(UnixStream, &'static str);
    impl AsFd for Named {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let key = event_loop
            .attach(
                Named(here, "before"),
                Interest::READABLE,
                Trigger::Level,
                nothing,
            )
            .unwrap();
        event_loop.get_mut(key).unwrap().1 = "after";
        assert_eq!(event_loop.get(key).unwrap().1, "after");
        assert_eq!(event_loop.detach(key).unwrap().1, "after");
        assert!(event_loop.is_empty());
    });
}
