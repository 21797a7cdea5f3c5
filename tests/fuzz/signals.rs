//! Signals: listeners for one kind and for several come and go, on two runtimes, in tasks and
//! outside of them, while signals are raised on this thread and on others. Tasks are aborted,
//! runtimes are dropped.
//!
//! Checked: each listener returns each kind that was raised since it returned that kind last, once
//! and no other one; tasks that wait are woken; after the end of its runtime a listener returns
//! what it has not returned, and then its end.

use super::harness::{Dice, fuzz};
use reveille::backend::BackendKind;
use reveille::signal::{self, SignalKind, Signals};
use reveille::{Builder, JoinHandle, Runtime};
use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const KINDS: [SignalKind; 4] = [
    SignalKind::user_defined1(),
    SignalKind::user_defined2(),
    SignalKind::hangup(),
    SignalKind::window_change(),
];

/// A listener and what it has to return.
struct Kept {
    signals: Signals,
    kinds: Vec<SignalKind>,
    pending: Vec<SignalKind>,
    /// Which runtime it belongs to.
    home: usize,
}

impl Kept {
    fn note(&mut self, kind: SignalKind) {
        if self.kinds.contains(&kind) && !self.pending.contains(&kind) {
            self.pending.push(kind);
        }
    }

    /// Takes everything. `is_over`: the runtime has ended.
    fn take(&mut self, is_over: bool) {
        loop {
            match poll_once(self.signals.recv()) {
                Poll::Ready(Some(kind)) => {
                    let at = self.pending.iter().position(|pending| *pending == kind);
                    self.pending.swap_remove(at.expect("it was raised since"));
                }
                Poll::Ready(None) => {
                    assert!(is_over);
                    break;
                }
                Poll::Pending => {
                    assert!(!is_over);
                    break;
                }
            }
        }
        assert!(self.pending.is_empty(), "{:?} is lost", self.pending);
    }
}

/// A task that waits for signals and notes them.
struct Waiting {
    task: JoinHandle<()>,
    noted: Rc<RefCell<Vec<SignalKind>>>,
    kinds: Vec<SignalKind>,
    home: usize,
}

struct World {
    runtimes: [Option<Runtime>; 2],
    kept: Vec<Kept>,
    waiting: Vec<Waiting>,
    dice: Dice,
}

impl World {
    /// Listens for some kinds on one of the runtimes that are left.
    fn listen(&mut self) -> Option<Kept> {
        let home = self.dice.below(2);
        let count = 1 + self.dice.below(KINDS.len());
        let mut kinds: Vec<_> = (0..count)
            .map(|_| KINDS[self.dice.below(KINDS.len())])
            .collect();
        let runtime = self.runtimes[home].as_ref()?;
        let signals = runtime.enter(|| signal::signals(&kinds)).unwrap();
        kinds.sort();
        kinds.dedup();
        Some(Kept {
            signals,
            kinds,
            pending: Vec::new(),
            home,
        })
    }

    fn spawn(&mut self) {
        let Some(mut kept) = self.listen() else {
            return;
        };
        let noted = Rc::new(RefCell::new(Vec::new()));
        let notes = noted.clone();
        let runtime = self.runtimes[kept.home].as_ref().expect("it was there");
        let task = runtime.spawn(async move {
            while let Some(kind) = kept.signals.recv().await {
                notes.borrow_mut().push(kind);
            }
        });
        self.waiting.push(Waiting {
            task,
            noted,
            kinds: kept.kinds,
            home: kept.home,
        });
    }

    /// Raises a signal, which all listeners get.
    fn raise(&mut self) {
        let kind = KINDS[self.dice.below(KINDS.len())];
        let times = 1 + self.dice.below(3);
        // SAFETY: the calls take no pointer, and the handler was installed by `play`.
        let raise = move || (0..times).for_each(|_| assert_eq!(unsafe { raise(kind) }, 0));
        match self.dice.one_in(4) {
            true => thread::spawn(raise).join().unwrap(),
            false => raise(),
        }
        self.kept.iter_mut().for_each(|kept| kept.note(kind));
        for waiting in &self.waiting {
            let runtime = self.runtimes[waiting.home].as_ref();
            let is_awaited = !waiting.task.is_finished() && waiting.kinds.contains(&kind);
            if let Some(runtime) = runtime.filter(|_| is_awaited) {
                while !waiting.noted.borrow().contains(&kind) {
                    runtime.turn(None).unwrap();
                }
                // At most once for each signal.
                let noted = std::mem::take(&mut *waiting.noted.borrow_mut());
                assert!(noted.len() <= times, "{noted:?}");
            }
        }
    }

    /// Drops one of the runtimes, and the tasks on it.
    fn end(&mut self, home: usize) {
        self.runtimes[home] = None;
        self.waiting.retain(|waiting| {
            assert!(waiting.home != home || waiting.task.is_finished());
            waiting.home != home
        });
        for mut kept in std::mem::take(&mut self.kept) {
            if kept.home == home {
                kept.take(true);
            } else {
                self.kept.push(kept);
            }
        }
    }
}

/// # Safety
///
/// The signal must have a handler.
unsafe fn raise(kind: SignalKind) -> i32 {
    // SAFETY: the call takes no pointer.
    unsafe { libc::raise(kind.as_raw_value()) }
}

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn play(kind: BackendKind, seed: u64) {
    let make = || Builder::new().backend(kind).build().unwrap();
    let mut world = World {
        runtimes: [Some(make()), Some(make())],
        kept: Vec::new(),
        waiting: Vec::new(),
        dice: Dice::new(seed),
    };
    // Installs the handlers, which stay.
    let runtime = world.runtimes[0].as_ref().expect("it was just made");
    drop(runtime.enter(|| signal::signals(&KINDS)).unwrap());
    for _ in 0..world.dice.below(60) {
        match world.dice.below(12) {
            0 | 1 => {
                let listener = world.listen();
                world.kept.extend(listener);
            }
            2 => world.spawn(),
            3 if !world.kept.is_empty() => {
                let at = world.dice.below(world.kept.len());
                let kept = world.kept.swap_remove(at);
                match world.dice.one_in(2) {
                    true => drop(kept),
                    false => thread::spawn(move || drop(kept)).join().unwrap(),
                }
            }
            4 if !world.waiting.is_empty() => {
                let at = world.dice.below(world.waiting.len());
                let waiting = world.waiting.swap_remove(at);
                waiting.task.abort();
            }
            5 => {
                for runtime in world.runtimes.iter().flatten() {
                    runtime.turn(Some(Duration::ZERO)).unwrap();
                }
            }
            6 if world.dice.one_in(8) => {
                let home = world.dice.below(2);
                world.end(home);
            }
            7 | 8 if !world.kept.is_empty() => {
                let at = world.dice.below(world.kept.len());
                world.kept[at].take(false);
            }
            _ => world.raise(),
        }
    }
    let first = world.dice.below(2);
    world.end(first);
    world.raise();
    world.end(1 - first);
}

#[test]
fn signals() {
    fuzz("signals", 1..40, play);
}
