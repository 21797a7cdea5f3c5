//! A loop driven by another loop: `host_fd`, `next_deadline` and `turn`.

use super::*;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;

/// Waits as a host does, and returns whether the loop's fd was readable.
fn sleep(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> bool {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = deadline.map_or(-1, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        left.as_micros().div_ceil(1000) as libc::c_int
    });
    // SAFETY: the entry is alive during the call.
    let ready = unsafe { libc::poll(&mut entry, 1, timeout) };
    assert!(ready >= 0, "{}", io::Error::last_os_error());
    ready > 0
}

/// Drives a loop as a host until `is_done`, and returns the number of turns; `None` if the
/// mechanism has no fd.
fn host<D: 'static>(event_loop: &mut EventLoop<D>, is_done: impl Fn(&D) -> bool) -> Option<usize> {
    let mut turns = 0;
    while !is_done(event_loop.data()) {
        let deadline = event_loop.next_deadline();
        match event_loop.host_fd() {
            Ok(fd) => sleep(fd, deadline),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                println!("skipped: {error}");
                return None;
            }
        };
        turn(event_loop);
        turns += 1;
    }
    Some(turns)
}

#[test]
fn host_is_woken_by_events() {
    on_every_trigger(|loops, trigger| {
        let mut event_loop = loops.make(0);
        let (here, mut there) = pair();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                trigger,
                move |event_loop, key, _| {
                    *event_loop.data_mut() += drain(event_loop.get(key).unwrap()).len();
                    if trigger == Trigger::Oneshot {
                        event_loop.modify(key, Interest::READABLE).unwrap();
                    }
                },
            )
            .unwrap();
        let client = thread::spawn(move || {
            for _ in 0..20 {
                thread::sleep(MS / 2);
                there.write_all(b"x").unwrap();
            }
            there
        });
        if let Some(turns) = host(&mut event_loop, |bytes| *bytes == 20) {
            assert!(turns <= 200, "{turns} turns");
        }
        drop(client.join().unwrap());
    });
}

#[test]
fn host_is_woken_by_messages_timers_and_deferred_functions() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        let sender = event_loop.on_message(|event_loop, ()| *event_loop.data_mut() += 1);
        if event_loop.host_fd().is_err() {
            return println!("skipped: no fd");
        }
        for round in 1..20 {
            let other = sender.clone();
            let client = thread::spawn(move || {
                thread::sleep(MS / 2);
                other.send(()).unwrap();
            });
            let turns = host(&mut event_loop, |count| *count == 4 * round - 3);
            assert!(turns.is_none_or(|turns| turns <= 20), "{turns:?} turns");
            client.join().unwrap();
            // Sent by this thread while it is outside the loop.
            sender.send(()).unwrap();
            host(&mut event_loop, |count| *count == 4 * round - 2);
            event_loop.set_timer(MS, |event_loop, _| *event_loop.data_mut() += 1);
            let turns = host(&mut event_loop, |count| *count == 4 * round - 1);
            assert!(turns.is_none_or(|turns| turns <= 20), "{turns:?} turns");
            event_loop.defer(|event_loop| *event_loop.data_mut() += 1);
            host(&mut event_loop, |count| *count == 4 * round);
        }
    });
}

/// The outer loop watches the fd of the inner one.
#[test]
fn event_loop_may_host_another() {
    on_every_loop(|loops| {
        let mut inner = loops.make(0);
        let (here, mut there) = pair();
        inner
            .attach(here, Interest::READABLE, Trigger::Level, |inner, key, _| {
                *inner.data_mut() += drain(inner.get(key).unwrap()).len();
            })
            .unwrap();
        let Ok(fd) = inner.host_fd().and_then(|fd| fd.try_clone_to_owned()) else {
            return println!("skipped: no fd");
        };
        let mut outer = loops.make(0);
        outer
            .attach(
                fd,
                Interest::READABLE,
                Trigger::Level,
                move |outer, _, _| {
                    turn(&mut inner);
                    *outer.data_mut() = *inner.data();
                },
            )
            .unwrap();
        there.write_all(b"x").unwrap();
        run_until(&mut outer, |bytes| *bytes == 1);
        there.write_all(b"yz").unwrap();
        run_until(&mut outer, |bytes| *bytes == 3);
    });
}
