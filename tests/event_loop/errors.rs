//! What is refused, and what is given back then; closing is closing.

use super::*;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

fn nothing<T>(_: &mut EventLoop<()>, _: Source<T>, _: Cause) {}

/// C28. Closed, or detached and dropped: the peer reads its end at once, from inside a handler too.
#[test]
fn close_gives_eof() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(());
        let (here, mut there) = pair();
        let name = event_loop
            .attach(here, Interest::READABLE, trigger, nothing)
            .unwrap();
        turn(&mut event_loop);
        assert!(event_loop.close(name));
        assert_eq!(there.read(&mut [0]).unwrap(), 0);

        let (here, mut there) = pair();
        let name = event_loop
            .attach(here, Interest::READABLE, trigger, nothing)
            .unwrap();
        turn(&mut event_loop);
        drop(event_loop.detach(name).unwrap());
        assert_eq!(there.read(&mut [0]).unwrap(), 0);

        let (here, mut there) = ready_pair();
        let mut gone = there.try_clone().unwrap();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, name, _| {
                    drain(event_loop.get(name).unwrap());
                    assert!(event_loop.close(name));
                    assert_eq!(gone.read(&mut [0]).unwrap(), 0);
                },
            )
            .unwrap();
        assert_eq!(turn(&mut event_loop), 1);
        assert_eq!(there.read(&mut [0]).unwrap(), 0);
    });
}

/// C28 for TCP, whose end takes the kernel's way.
#[test]
fn close_gives_eof_over_tcp() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        let name = event_loop.attach(here, both, trigger, nothing).unwrap();
        turn(&mut event_loop);
        assert!(event_loop.close(name));
        // It blocks, and hangs if nothing was closed.
        assert_eq!(there.read(&mut [0]).unwrap(), 0);
    });
}

/// C28 when the loop goes.
#[test]
fn dropping_the_loop_closes_what_is_attached() {
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

/// C29.
#[test]
fn an_fd_that_is_attached_already_is_given_back() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let here = Arc::new(here);
        let name = event_loop
            .attach(here.clone(), Interest::READABLE, trigger, nothing)
            .unwrap();
        let again = event_loop
            .attach(here.clone(), Interest::READABLE, trigger, nothing)
            .unwrap_err();
        assert_eq!(again.error().kind(), ErrorKind::AlreadyExists);
        let (error, given_back) = again.into_parts();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(Arc::ptr_eq(&given_back, &here));
        assert_eq!(event_loop.len(), 1);
        // Nothing was left behind, and nothing was broken.
        drop(event_loop.detach(name).unwrap());
        event_loop
            .attach(here, Interest::READABLE, trigger, nothing)
            .unwrap();
    });
}

/// C29. Every call with a name that names nothing any more.
#[test]
fn a_stale_name_is_not_found() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let level = Trigger::Level;
        let name = event_loop
            .attach(here, Interest::READABLE, level, nothing)
            .unwrap();
        let here = event_loop.detach(name).unwrap();
        // Another one has its place, and its number.
        let new = event_loop
            .attach(here, Interest::READABLE, level, nothing)
            .unwrap();
        refuses_everything(&mut event_loop, name);
        assert!(event_loop.is_attached(new));
        assert_eq!(event_loop.len(), 1);
    });
}

/// C29. The same with a name that names something elsewhere, at the same place.
#[test]
fn a_name_of_another_loop_is_not_found() {
    on_every_loop(|loops| {
        let (mut one, mut other) = (loops.make(()), loops.make(()));
        let mut peers = Vec::new();
        let mut names = Vec::new();
        for event_loop in [&mut one, &mut other] {
            let (here, there) = pair();
            let name = event_loop.attach(
                here,
                Interest::READABLE,
                Trigger::Level,
                nothing::<UnixStream>,
            );
            names.push(name.unwrap());
            peers.push(there);
        }
        assert_ne!(names[0], names[1]);
        refuses_everything(&mut one, names[1]);
        refuses_everything(&mut other, names[0]);
        assert!(one.is_attached(names[0]) && other.is_attached(names[1]));

        let timer = one.set_timer(HOUR, |_, _| {});
        other.set_timer(HOUR, |_, _| {});
        assert!(!other.cancel_timer(timer) && !other.reset_timer(timer, HOUR));
        assert!(one.reset_timer(timer, HOUR) && one.cancel_timer(timer));
    });
}

#[track_caller]
fn refuses_everything(event_loop: &mut EventLoop<()>, name: Source<UnixStream>) {
    let not_found = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
    };
    not_found(event_loop.modify(name, Interest::WRITABLE));
    not_found(event_loop.set_trigger(name, Trigger::Level));
    not_found(event_loop.pause(name));
    not_found(event_loop.pause_for(name, MS));
    not_found(event_loop.resume(name));
    not_found(event_loop.set_timeout(name, MS));
    not_found(event_loop.push_timeout(name));
    not_found(event_loop.set_water_marks(name, None));
    not_found(event_loop.detach(name).map(drop));
    let (spare, _there) = pair();
    let number = spare.as_raw_fd();
    let (error, spare) = event_loop.replace_fd(name, spare).unwrap_err().into_parts();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(spare.as_raw_fd(), number);
    assert!(!event_loop.close(name) && !event_loop.clear_timeout(name));
    assert!(!event_loop.is_attached(name) && !event_loop.is_paused(name));
    assert!(event_loop.get(name).is_none() && event_loop.get_mut(name).is_none());
}

/// C29. Nothing is left behind by a refusal of the mechanism either.
#[test]
fn what_has_no_timeout_cannot_push_it() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let name = event_loop
            .attach(here, Interest::READABLE, Trigger::Level, nothing)
            .unwrap();
        let pushed = event_loop.push_timeout(name).unwrap_err();
        assert_eq!(pushed.kind(), ErrorKind::NotFound);
        assert!(!event_loop.clear_timeout(name));
        assert!(event_loop.next_deadline().is_none());
    });
}

/// An error of attaching is an `io::Error` for who has no use for the fd.
#[test]
fn an_attach_error_says_why() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let here = Arc::new(here);
        let attach = |event_loop: &mut EventLoop<()>| {
            event_loop.attach(here.clone(), Interest::READABLE, Trigger::Level, nothing)
        };
        attach(&mut event_loop).unwrap();
        let error = attach(&mut event_loop).unwrap_err();
        assert!(error.to_string().starts_with("the fd cannot be attached: "));
        assert!(std::error::Error::source(&error).is_some());
        let error = io::Error::from(error);
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    });
}

/// What is attached need not be a socket; whatever has an fd will do.
#[test]
fn any_value_with_an_fd_comes_back_as_what_it_was() {
    struct Named(UnixStream, &'static str);
    impl AsFd for Named {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let (here, _there) = pair();
        let name = event_loop
            .attach(
                Named(here, "before"),
                Interest::READABLE,
                Trigger::Level,
                nothing,
            )
            .unwrap();
        event_loop.get_mut(name).unwrap().1 = "after";
        assert_eq!(event_loop.get(name).unwrap().1, "after");
        assert_eq!(event_loop.detach(name).unwrap().1, "after");
        assert!(event_loop.is_empty());
    });
}
