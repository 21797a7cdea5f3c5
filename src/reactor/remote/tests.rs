//! Tests of the queue of messages: later messages replace earlier ones about the same thing.

#![forbid(unsafe_code)]

use super::*;
use crate::place::Place;
use std::task::Wake;
use std::time::Duration;

/// A waker that does nothing. Each is a different one.
struct Numbered;

impl Wake for Numbered {
    fn wake(self: std::sync::Arc<Self>) {
        drop(self);
    }
}

fn wakers<const N: usize>() -> [Waker; N] {
    std::array::from_fn(|_| Waker::from(std::sync::Arc::new(Numbered)))
}

fn key(n: u64) -> TimerKey {
    TimerKey::outside(n)
}

fn timer(key: TimerKey, at: Duration, waker: &Waker) -> Message {
    Message::Timer {
        key,
        deadline: Moment::ZERO.plus(at),
        place: Place::UNKNOWN,
        waker: waker.clone(),
    }
}

#[cfg(not(loom))]
mod sequential {
    use super::*;

    fn arm(waker: &Waker) -> Message {
        Message::Arm {
            token: Token::new(1, 1),
            direction: Direction::Read,
            waker: waker.clone(),
            again: None,
        }
    }

    fn drained(remote: &Remote) -> VecDeque<Message> {
        let mut taken = VecDeque::new();
        remote.drain(&mut taken);
        taken
    }

    #[test]
    fn push_queues_a_waiter_once_until_drained() {
        let remote = Remote::new(Waker::noop().clone(), Source::new(), None);
        for _ in 0..2 {
            remote.push(arm(Waker::noop())).unwrap();
            remote.push(arm(Waker::noop())).unwrap();
            assert_eq!(drained(&remote).len(), 1);
        }
    }

    #[test]
    fn push_queues_what_a_handle_repeats_once() {
        let remote = Remote::new(Waker::noop().clone(), Source::new(), None);
        let token = Token::new(1, 1);
        for on in [true, true, false] {
            remote.push(Message::Recheck { token }).unwrap();
            remote.push(Message::Urgent { token }).unwrap();
            remote.push(Message::ShortReadHint { token, on }).unwrap();
        }
        let queued = Vec::from(drained(&remote));
        assert!(
            matches!(
                queued[..],
                [
                    Message::Recheck { .. },
                    Message::Urgent { .. },
                    Message::ShortReadHint { on: false, .. }
                ]
            ),
            "{queued:?}"
        );
    }

    #[test]
    fn push_to_a_closed_queue_returns_the_message() {
        let remote = Remote::new(Waker::noop().clone(), Source::new(), None);
        remote.close();
        assert!(matches!(
            remote.push(arm(Waker::noop())),
            Err(Message::Arm { .. })
        ));
    }

    #[test]
    fn push_queues_every_waiter_of_a_registration() {
        let remote = Remote::new(Waker::noop().clone(), Source::new(), None);
        let wakers = wakers::<3>();
        for at in [0, 1, 0, 2, 2, 1, 0] {
            remote.push(arm(&wakers[at])).unwrap();
        }
        let queued = drained(&remote).into_iter().map(|message| match message {
            Message::Arm { waker, .. } => waker,
            other => panic!("{other:?}"),
        });
        let queued: Vec<_> = queued.collect();
        assert_eq!(queued.len(), 3);
        for (queued, waker) in queued.iter().zip(&wakers) {
            assert!(queued.will_wake(waker));
        }
    }

    /// Polls and resets a few timers at random, and handles the messages at random times. There are
    /// never more than two messages of a timer, and the owner ends with the last waker and the last
    /// deadline.
    #[test]
    fn push_keeps_the_last_waker_and_deadline_of_a_timer() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let wakers = wakers::<3>();
        for _ in 0..2000 {
            let remote = Remote::new(Waker::noop().clone(), Source::new(), None);
            let mut wanted: [(Option<usize>, Moment); 2] = [(None, Moment::ZERO); 2];
            let mut held = [(None, Moment::ZERO), (None, Moment::ZERO)];
            for step in 0..random(12) {
                let of = random(2) as usize;
                let at = Duration::from_nanos(step * 8 + random(8));
                if random(3) == 0 {
                    wanted[of].1 = Moment::ZERO.plus(at);
                    let (key, deadline) = (key(of as u64), wanted[of].1);
                    remote.push(Message::Reset { key, deadline }).unwrap();
                } else {
                    let by = random(3) as usize;
                    let at = wanted[of].1.since(Moment::ZERO);
                    wanted[of].0 = Some(by);
                    remote.push(timer(key(of as u64), at, &wakers[by])).unwrap();
                }
                if random(4) == 0 {
                    take(&remote, &mut held);
                }
            }
            take(&remote, &mut held);
            for (wanted, held) in wanted.iter().zip(&held) {
                assert_eq!(wanted.1, held.1);
                match (wanted.0, &held.0) {
                    (Some(by), Some(waker)) => assert!(waker.will_wake(&wakers[by])),
                    (None, None) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn take(remote: &Remote, held: &mut [(Option<Waker>, Moment); 2]) {
        let messages = drained(remote);
        assert!(messages.len() <= 4, "{messages:?}");
        for message in messages {
            match message {
                Message::Timer {
                    key,
                    deadline,
                    waker,
                    ..
                } => held[usize::from(key == super::key(1))] = (Some(waker), deadline),
                Message::Reset { key, deadline } => {
                    held[usize::from(key == super::key(1))].1 = deadline;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Another thread polls while the owner handles messages: in the end the owner has the waker of the
/// last poll.
#[cfg(loom)]
#[test]
fn loom_push_keeps_the_last_waker_of_a_timer() {
    loom::model(|| {
        let remote = Remote::new(Waker::noop().clone(), Source::new(), None);
        let [a, b] = wakers::<2>();
        let last = a.clone();
        let poller = {
            let remote = remote.clone();
            loom::thread::spawn(move || {
                for waker in [&a, &b, &a] {
                    remote.push(timer(key(1), Duration::ZERO, waker)).unwrap();
                }
            })
        };
        let mut stored = None;
        let mut take = || {
            let mut taken = VecDeque::new();
            remote.drain(&mut taken);
            for message in taken {
                if let Message::Timer { waker, .. } = message {
                    stored = Some(waker);
                }
            }
        };
        take();
        take();
        poller.join().unwrap();
        take();
        assert!(stored.unwrap().will_wake(&last));
    });
}
