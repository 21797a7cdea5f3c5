//! Tests of foreign wakers that use the driver from inside their clone, wake and drop: nothing may
//! be borrowed then.

use super::*;
use crate::place::Place;
use crate::sys::fake_waker::{Use, foreign, hooked, key, woken};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// What a re-entrant waker may use. Not borrowed while it does.
#[derive(Clone, Copy)]
struct Prey {
    token: Token,
    id: u64,
    timer: crate::timer::TimerKey,
}

#[derive(Default)]
struct Reentrant {
    prey: Mutex<Option<Prey>>,
    inside: AtomicBool,
    uses: [AtomicUsize; 3],
    /// In the clone, end the registration that is about to store it.
    ends: AtomicBool,
}

impl Reentrant {
    fn waker(self: &std::sync::Arc<Self>) -> Waker {
        let this = self.clone();
        hooked(move |used| {
            this.uses[used as usize].fetch_add(1, Ordering::Relaxed);
            // Its own clones and drops in there do not count.
            if !this.inside.swap(true, Ordering::Relaxed) {
                this.use_all();
                this.inside.store(false, Ordering::Relaxed);
            }
        })
    }

    fn uses(&self, used: Use) -> usize {
        self.uses[used as usize].load(Ordering::Relaxed)
    }

    /// Uses everything that code inside a runtime can use.
    fn use_all(&self) {
        let prey = *self.prey.lock().unwrap();
        CURRENT.with(|driver| {
            let driver = driver.unwrap();
            let (here, _there) = UnixStream::pair().unwrap();
            let other = driver
                .register(here.as_fd(), CUSTOM, Place::UNKNOWN)
                .unwrap();
            let mine = foreign(77);
            let cx = Context::from_waker(&mine);
            for direction in Direction::ALL {
                let _ = driver.poll_ready(other, direction, &cx);
            }
            let mut id = 0;
            let wide = Interest::READABLE | Interest::ERROR;
            let _ = driver.poll_ready_named(other, &mut id, wide, ending_bits(wide), &cx);
            driver.forget_waiter(other, id);
            let timer = driver.arm_timer(later(), &mine).unwrap();
            let _ = driver.poll_timer(timer, &foreign(78));
            driver.reset_timer(timer, now());
            driver.cancel_timer(timer);
            driver.handle_messages();
            driver.next_deadline();
            if let Some(prey) = prey {
                let seen = driver.cached(prey.token);
                if let Some(seen) = seen {
                    let _ = driver.clear(prey.token, seen.round, Ready::READABLE);
                }
                let _ = driver.poll_ready(prey.token, Direction::Read, &cx);
                let call = |_| Err(io::ErrorKind::WouldBlock.into());
                let _ = driver.poll_io(prey.token, Direction::Write, &cx, 1, call);
                let _ = driver.poll_timer(prey.timer, &mine);
                driver.reset_timer(prey.timer, later());
                if self.ends.load(Ordering::Relaxed) {
                    driver.forget_waiter(prey.token, prey.id);
                    driver.cancel_timer(prey.timer);
                    driver.deregister(prey.token, None).unwrap();
                }
            }
            driver.deregister(other, None).unwrap();
        });
    }
}

/// Runs `f` with a driver, a re-entrant waker, and something that it may use. Then checks that
/// nothing is left.
fn with_prey(ends: bool, f: impl Fn(&Rig, Prey, &Waker)) {
    let rig = Rig::new(rearming());
    let reentrant = std::sync::Arc::new(Reentrant::default());
    let waker = reentrant.waker();
    reentrant.ends.store(ends, Ordering::Relaxed);
    CURRENT.enter(&rig.driver, || {
        let token = rig.register(CUSTOM);
        let mut id = 0;
        let polled = rig.poll_named(token, &mut id, Interest::READABLE, &key(1));
        assert!(polled.is_pending());
        let timer = rig.driver.arm_timer(later(), &key(2)).unwrap();
        let prey = Prey { token, id, timer };
        *reentrant.prey.lock().unwrap() = Some(prey);
        f(&rig, prey, &waker);
        drop(waker);
        for used in [Use::Clone, Use::Drop] {
            assert!(reentrant.uses(used) > 0, "no {used:?}");
        }
        rig.driver.shutdown();
    });
    assert_eq!(rig.driver.foreign_wakers(), 0);
    assert_eq!(rig.driver.counts(), (0, 0));
    let kept = std::sync::Arc::strong_count(&reentrant);
    assert_eq!(kept, 1, "clones are left");
    woken();
}

#[test]
fn waker_may_use_the_driver_while_it_is_stored_and_replaced() {
    for ends in [false, true] {
        with_prey(ends, |rig, prey, waker| {
            for direction in Direction::ALL {
                let _ = rig.poll(prey.token, direction, waker);
            }
            let mut id = 0;
            for waker in [waker, &key(3), waker] {
                let _ = rig.poll_named(prey.token, &mut id, Interest::READABLE, waker);
            }
            rig.driver.forget_waiter(prey.token, id);
            let mut id = 0;
            let wide = Interest::READABLE | Interest::ERROR;
            let _ = rig.poll_named(prey.token, &mut id, wide, waker);
            rig.driver.forget_waiter(prey.token, id);
        });
    }
}

#[test]
fn waker_may_use_the_driver_when_the_budget_is_used_up() {
    with_prey(false, |rig, prey, waker| {
        let _ = rig.poll(prey.token, Direction::Write, waker);
        rig.deliver(&[(prey.token, Ready::READABLE)]);
        let cx = Context::from_waker(waker);
        let before = budget::refill(0);
        let call = |_| -> io::Result<usize> { panic!("nothing is left for this") };
        let polled = rig
            .driver
            .poll_io(prey.token, Direction::Read, &cx, 10, call);
        assert_eq!(budget::refill(before), 0);
        assert!(polled.is_pending());
    });
}

#[test]
fn waker_may_use_the_driver_while_it_is_woken() {
    for ends in [false, true] {
        with_prey(ends, |rig, prey, waker| {
            let token = rig.register(CUSTOM);
            for direction in Direction::ALL {
                let _ = rig.poll(token, direction, waker);
            }
            rig.deliver(&[(token, Ready::READABLE), (prey.token, Ready::ALL)]);
            let _ = rig.poll(token, Direction::Write, waker);
            rig.end(token);
        });
    }
}

#[test]
fn waker_may_use_the_driver_while_its_timer_is_handled() {
    for ends in [false, true] {
        with_prey(ends, |rig, prey, waker| {
            let timer = rig.driver.arm_timer(later(), waker).unwrap();
            let _ = rig.driver.poll_timer(timer, &key(3));
            let _ = rig.driver.poll_timer(timer, waker);
            rig.driver.cancel_timer(timer);
            let _ = rig.driver.poll_timer(prey.timer, waker);
            rig.driver.arm_timer(now(), waker);
            rig.turn();
        });
    }
}

#[test]
fn waker_may_use_the_driver_while_a_message_is_handled() {
    for ends in [false, true] {
        with_prey(ends, |rig, prey, waker| {
            let (token, timer) = (prey.token, prey.timer);
            rig.send(rig.arm(token, Direction::Read, waker.clone()));
            rig.send(rig.arm(Token::new(7, 7), Direction::Read, waker.clone()));
            for deadline in [later(), now()] {
                let waker = waker.clone();
                rig.send(Message::Timer {
                    key: timer,
                    deadline,
                    place: Place::UNKNOWN,
                    waker,
                });
            }
            rig.send(Message::Reset {
                key: timer,
                deadline: now(),
            });
            rig.send(Message::Cancel { key: timer });
            rig.send(Message::Deregister {
                token,
                closing: None,
            });
        });
    }
}

#[test]
fn waker_may_use_the_driver_at_its_end() {
    with_prey(false, |rig, prey, waker| {
        rig.wait(prey.token, Direction::Read, waker);
        let _ = rig.driver.poll_timer(prey.timer, waker);
        let arm = rig.arm(prey.token, Direction::Error, waker.clone());
        assert!(rig.remote().push(arm).is_ok());
    });
}

#[test]
fn first_woken_waker_may_end_the_registration() {
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let other = rig.register(CUSTOM);
    let ends = hooked(move |used| {
        if used == Use::Wake {
            CURRENT.with(|driver| {
                let driver = driver.unwrap();
                driver.deregister(token, None).unwrap();
                driver.deregister(other, None).unwrap();
            });
        }
    });
    rig.wait(token, Direction::Read, &ends);
    rig.wait(token, Direction::Write, &foreign(1));
    rig.wait(token, Direction::Error, &foreign(2));
    rig.wait(other, Direction::Error, &foreign(3));
    CURRENT.enter(&rig.driver, || {
        let both = Ready::READABLE | Ready::WRITABLE;
        rig.deliver(&[(token, both), (other, both), (token, both)]);
    });
    // The second half was in the batch; the others are woken at the end.
    let mut all = woken();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
    assert_eq!(rig.driver.counts().0, 0);
    assert_eq!(rig.driver.foreign_wakers(), 0);
}

#[test]
fn readiness_during_a_clone_is_not_lost() {
    use std::io::Write;
    let rig = Rig::new(edge());
    let token = rig.register(CUSTOM);
    let script = Mutex::new(false);
    let waker = hooked(move |used| {
        let first = used == Use::Clone && !std::mem::replace(&mut *script.lock().unwrap(), true);
        if first {
            CURRENT.with(|driver| driver.unwrap().handle_messages());
        }
        if used == Use::Wake {
            crate::sys::fake_waker::note(1);
        }
    });
    (&rig.there).write_all(b"x").unwrap();
    let arm = rig.arm(token, Direction::Read, key(2));
    assert!(rig.remote().push(arm).is_ok());
    CURRENT.enter(&rig.driver, || {
        let polled = rig.poll(token, Direction::Read, &waker);
        assert_eq!(rig.cached(token), Ready::READABLE);
        assert!(
            polled.is_ready() || woken().contains(&1),
            "it waits for an event that came while it was stored"
        );
    });
}
