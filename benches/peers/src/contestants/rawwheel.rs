//! The executor of `rawexec` with a hand-written timer wheel: 6 levels of 64 slots, ticks of 65.536
//! us, waits by epoll_pwait2.
//!
//! Entries live in a slab and are linked through indices; an entry's level follows from the highest
//! bit in which its tick differs from the wheel's, so that an advance meets every slot in order.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Reset, Tasks, Timers};
use crate::contestants::rawexec;
use crate::sys::{self, Epoll};
use crate::workloads;

pub struct RawWheel;

pub fn contestant() -> Contestant {
    let mut micro = workloads::timers::all::<RawWheel>();
    micro.extend(workloads::timers::reset::<RawWheel>());
    Contestant {
        name: "rawwheel",
        serve: None,
        servers: vec![],
        micro,
        missing: vec![("echo", "is rawfut's"), ("tasks", "are rawexec's")],
    }
}

const TICK_BITS: u32 = 16;
const LEVELS: usize = 6;
const NONE: u32 = u32::MAX;
/// Set in `prev` when the entry is the first of the slot that the other bits name.
const FIRST: u32 = 1 << 31;
/// `prev` of an entry that is in no slot.
const FIRED: u32 = u32::MAX;

struct Entry {
    tick: u64,
    waker: Option<Waker>,
    prev: u32,
    next: u32,
}

struct Wheel {
    now: u64,
    heads: [[u32; 64]; LEVELS],
    occupied: [u64; LEVELS],
    entries: Vec<Entry>,
    free: u32,
    fired: Vec<Waker>,
}

impl Wheel {
    const fn new() -> Wheel {
        Wheel {
            now: 0,
            heads: [[NONE; 64]; LEVELS],
            occupied: [0; LEVELS],
            entries: Vec::new(),
            free: NONE,
            fired: Vec::new(),
        }
    }

    fn place(&self, tick: u64) -> (usize, usize) {
        let level = ((63 - ((self.now ^ tick) | 63).leading_zeros()) / 6) as usize;
        let level = level.min(LEVELS - 1);
        (level, (tick >> (6 * level)) as usize & 63)
    }

    fn link(&mut self, key: u32) {
        let (level, slot) = self.place(self.entries[key as usize].tick.max(self.now + 1));
        let head = std::mem::replace(&mut self.heads[level][slot], key);
        self.occupied[level] |= 1 << slot;
        let entry = &mut self.entries[key as usize];
        entry.prev = FIRST | (level * 64 + slot) as u32;
        entry.next = head;
        if head != NONE {
            self.entries[head as usize].prev = key;
        }
    }

    fn unlink(&mut self, key: u32) {
        let Entry { prev, next, .. } = self.entries[key as usize];
        if prev == FIRED {
            return;
        }
        if next != NONE {
            self.entries[next as usize].prev = prev;
        }
        if prev & FIRST == 0 {
            self.entries[prev as usize].next = next;
            return;
        }
        let (level, slot) = ((prev & !FIRST) as usize / 64, prev as usize & 63);
        self.heads[level][slot] = next;
        if next == NONE {
            self.occupied[level] &= !(1 << slot);
        }
    }

    fn insert(&mut self, tick: u64, waker: Waker) -> u32 {
        let entry = Entry {
            tick,
            waker: Some(waker),
            prev: FIRED,
            next: NONE,
        };
        let key = self.free;
        let key = if key == NONE {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        } else {
            self.free = self.entries[key as usize].next;
            self.entries[key as usize] = entry;
            key
        };
        self.link(key);
        key
    }

    fn remove(&mut self, key: u32) {
        self.unlink(key);
        let entry = &mut self.entries[key as usize];
        entry.waker = None;
        entry.next = self.free;
        self.free = key;
    }

    /// The first occupied slot and the tick at which it begins.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|bits| *bits != 0)?;
        let shift = 6 * level as u32;
        let here = (self.now >> shift) as u32 & 63;
        let ahead = self.occupied[level].rotate_right(here).trailing_zeros();
        let begin = ((self.now >> shift) + u64::from(ahead)) << shift;
        Some((level, (here + ahead) as usize & 63, begin))
    }

    /// The earliest true deadline, so that a lone sleep costs one wait.
    fn next_tick(&self) -> Option<u64> {
        let (level, slot, _) = self.first()?;
        let mut key = self.heads[level][slot];
        let mut tick = u64::MAX;
        while key != NONE {
            let entry = &self.entries[key as usize];
            tick = tick.min(entry.tick);
            key = entry.next;
        }
        Some(tick)
    }

    /// Moves to `to`; the wakers of what expired are left in `fired`.
    fn advance(&mut self, to: u64) {
        while let Some((level, slot, begin)) = self.first() {
            if begin > to {
                break;
            }
            self.now = self.now.max(begin);
            self.occupied[level] &= !(1 << slot);
            let mut key = std::mem::replace(&mut self.heads[level][slot], NONE);
            while key != NONE {
                let entry = &mut self.entries[key as usize];
                let this = std::mem::replace(&mut key, entry.next);
                if entry.tick <= to {
                    entry.prev = FIRED;
                    self.fired.extend(entry.waker.take());
                } else {
                    self.link(this);
                }
            }
        }
        self.now = to;
    }
}

thread_local! {
    static WHEEL: RefCell<Wheel> = const { RefCell::new(Wheel::new()) };
}

fn park(epoll: &mut Epoll) {
    let next = WHEEL.with_borrow(Wheel::next_tick);
    let wait = next.map_or(3_600_000_000_000, |tick| {
        (tick << TICK_BITS).saturating_sub(sys::monotonic())
    });
    epoll.wait_ns(wait);
    let mut fired = WHEEL.with_borrow_mut(|w| {
        w.advance(sys::monotonic() >> TICK_BITS);
        std::mem::take(&mut w.fired)
    });
    fired.drain(..).for_each(Waker::wake);
    WHEEL.with_borrow_mut(|w| w.fired = fired);
}

pub struct Sleep {
    tick: u64,
    key: u32,
}

fn tick_of(deadline: u64) -> u64 {
    (deadline + (1 << TICK_BITS) - 1) >> TICK_BITS
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        WHEEL.with_borrow_mut(|w| {
            if self.key == NONE {
                self.key = w.insert(self.tick, cx.waker().clone());
                return Poll::Pending;
            }
            let entry = &mut w.entries[self.key as usize];
            if entry.prev == FIRED {
                return Poll::Ready(());
            }
            match &mut entry.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.key != NONE {
            WHEEL.with_borrow_mut(|w| w.remove(self.key));
        }
    }
}

struct Timeout<F> {
    future: F,
    after: Duration,
    sleep: Option<Sleep>,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is never moved; the other fields are `Unpin`.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        if let Poll::Ready(v) = unsafe { Pin::new_unchecked(&mut this.future) }.poll(cx) {
            return Poll::Ready(Some(v));
        }
        let after = this.after;
        let sleep = this.sleep.get_or_insert_with(|| RawWheel::armed(after));
        Pin::new(sleep).poll(cx).map(|()| None)
    }
}

impl Tasks for RawWheel {
    type Join = rawexec::Join<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        let mut epoll = Epoll::new(64).expect("epoll");
        WHEEL.with_borrow_mut(|w| w.advance(sys::monotonic() >> TICK_BITS));
        rawexec::block_on(f, || park(&mut epoll))
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        rawexec::spawn(f)
    }
}

impl Timers for RawWheel {
    fn sleep(d: Duration) -> impl Future + 'static {
        RawWheel::armed(d)
    }

    fn timeout<F: Future + 'static>(d: Duration, future: F) -> impl Future {
        Timeout {
            future,
            after: d,
            sleep: None,
        }
    }
}

impl Reset for RawWheel {
    type Sleep = Sleep;

    fn armed(d: Duration) -> Sleep {
        Sleep {
            tick: tick_of(sys::monotonic() + d.as_nanos() as u64),
            key: NONE,
        }
    }

    fn reset(mut sleep: Pin<&mut Sleep>, at: Instant) {
        let tick = tick_of(nanoseconds(at));
        sleep.tick = tick;
        if sleep.key != NONE {
            WHEEL.with_borrow_mut(|w| {
                w.unlink(sleep.key);
                w.entries[sleep.key as usize].tick = tick;
                w.link(sleep.key);
            });
        }
    }
}

/// `at` on the monotonic clock's own scale, by one pair of readings taken once.
fn nanoseconds(at: Instant) -> u64 {
    thread_local! {
        static ORIGIN: (Instant, u64) = (Instant::now(), sys::monotonic());
    }
    ORIGIN.with(|(instant, ns)| match at.checked_duration_since(*instant) {
        Some(d) => ns + d.as_nanos() as u64,
        None => ns - (*instant - at).as_nanos() as u64,
    })
}
