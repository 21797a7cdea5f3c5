//! Timers: the cost of one among many, storms, and how late they are.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn, ready};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::{Duration, Instant};

use super::in_task;
use crate::contestant::{Args, Micro, Reset, Timers};
use crate::report::{Meter, Report, quantile};
use crate::sys;

pub fn all<R: Timers>() -> Vec<Micro> {
    vec![
        ("timer", timer::<R>),
        ("timeout-ready", timeout_ready::<R>),
        ("sleep-register", register::<R>),
        ("live-timer", register::<R>),
        ("timer-storm", storm::<R>),
        ("timer-storm-tasks", storm_tasks::<R>),
        ("late", late::<R>),
    ]
}

/// The workloads that the settings of timers affect.
pub fn fired<R: Timers>() -> Vec<Micro> {
    vec![
        ("timer", timer::<R>),
        ("timer-storm", storm::<R>),
        ("late", late::<R>),
    ]
}

pub fn reset<R: Reset>() -> Vec<Micro> {
    vec![
        ("reset-later", reset_later::<R>),
        ("reset-earlier", reset_earlier::<R>),
    ]
}

/// xorshift: the same deadlines for all contestants.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

async fn context<T>(f: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut f = Some(f);
    poll_fn(|cx| Poll::Ready(f.take().expect("polled once")(cx))).await
}

/// `k` others that end between five seconds and an hour from now: some before, most after the ten
/// seconds of the one that is measured. They are not awaited.
fn others<R: Timers>(k: u64) -> Vec<Pin<Box<impl Future>>> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut cx = Context::from_waker(Waker::noop());
    let mut sleeps = Vec::with_capacity(k as usize);
    for _ in 0..k {
        let us = 5_000_000 + random.below(3_600_000_000);
        let mut sleep = Box::pin(R::sleep(Duration::from_micros(us)));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        sleeps.push(sleep);
    }
    sleeps
}

fn create_poll_drop<R: Timers>(cx: &mut Context<'_>, n: u64) {
    for _ in 0..n {
        let mut sleep = pin!(R::sleep(Duration::from_secs(10)));
        assert!(sleep.as_mut().poll(cx).is_pending());
    }
}

/// Create, poll once, drop, among `k` others.
fn timer<R: Timers>(a: &Args) -> Report {
    let (n, k, warm) = (a.n, a.k, a.warm);
    in_task::<R, _>(async move {
        let others = others::<R>(k);
        // One wait, so that the driver knows them: tokio notifies itself for every timer until
        // then.
        R::sleep(Duration::from_millis(1)).await;
        let report = context(|cx| {
            create_poll_drop::<R>(cx, warm);
            let meter = Meter::new();
            create_poll_drop::<R>(cx, n);
            meter.done(n)
        })
        .await;
        std::mem::forget(others);
        report
    })
}

/// `timeout` around a future that is ready at once.
fn timeout_ready<R: Timers>(a: &Args) -> Report {
    let n = a.n;
    in_task::<R, _>(async move {
        let meter = Meter::new();
        for _ in 0..n {
            let mut timeout = pin!(R::timeout(black_box(Duration::from_secs(10)), ready(())));
            // Through an opaque pointer, so that the future exists.
            poll_fn(|cx| black_box(timeout.as_mut()).poll(cx)).await;
        }
        meter.done(n)
    })
}

/// `n` sleeps of 10 to 20 s made, boxed and polled once; kept until the meter has stopped.
fn register<R: Timers>(a: &Args) -> Report {
    let n = a.n;
    in_task::<R, _>(async move {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        context(|cx| {
            let mut sleeps = Vec::with_capacity(n as usize);
            let meter = Meter::new();
            for _ in 0..n {
                let us = 10_000_000 + random.below(10_000_000);
                let mut sleep = Box::pin(R::sleep(Duration::from_micros(us)));
                assert!(sleep.as_mut().poll(cx).is_pending());
                sleeps.push(sleep);
            }
            let report = meter.done(n);
            std::mem::forget(sleeps);
            report
        })
        .await
    })
}

/// A point in the second that begins when all `n` are surely registered.
fn storm_deadline(random: &mut Random, n: u64) -> Duration {
    Duration::from_micros(500_000 + 3 * n + random.below(1_000_000))
}

/// A waker that only counts down, and wakes the main task at zero. Its owner may be a helper thread
/// of the runtime, but one thread at a time: so no locked instruction is needed to count.
struct Countdown {
    left: AtomicU64,
    main: Mutex<Option<Waker>>,
}

static COUNTDOWN: RawWakerVTable =
    RawWakerVTable::new(|p| RawWaker::new(p, &COUNTDOWN), fire, fire, |_| ());

unsafe fn fire(p: *const ()) {
    // SAFETY: `storm` leaks its `Countdown`.
    let c = unsafe { &*p.cast::<Countdown>() };
    let left = c.left.load(Relaxed) - 1;
    c.left.store(left, Relaxed);
    if left == 0 {
        let main = c.main.lock().expect("no panic inside").take();
        main.into_iter().for_each(Waker::wake);
    }
}

/// `n` timers spread over one second, without tasks: CPU to register, and CPU to fire.
fn storm<R: Timers>(a: &Args) -> Report {
    let n = a.n;
    in_task::<R, _>(async move {
        let count = Countdown {
            left: AtomicU64::new(n),
            main: Mutex::new(None),
        };
        let count: &'static Countdown = Box::leak(Box::new(count));
        let own = sys::process_cpu();
        let begin = Instant::now();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        // SAFETY: the vtable's functions take a leaked `Countdown`.
        let waker = unsafe { Waker::new((&raw const *count).cast(), &COUNTDOWN) };
        let mut cx = Context::from_waker(&waker);
        let mut sleeps = Vec::with_capacity(n as usize);
        for _ in 0..n {
            let at = storm_deadline(&mut random, n);
            let mut sleep = Box::pin(R::sleep(at.saturating_sub(begin.elapsed())));
            assert!(sleep.as_mut().poll(&mut cx).is_pending());
            sleeps.push(sleep);
        }
        let registered = sys::process_cpu();
        poll_fn(|cx| {
            let mut main = count.main.lock().expect("no panic inside");
            if count.left.load(Relaxed) == 0 {
                return Poll::Ready(());
            }
            *main = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let fired = sys::process_cpu();
        drop(sleeps);
        let mut r = Report::default();
        r.set("ops", n as f64);
        r.set("register_ms", (registered - own) as f64 / 1e6);
        r.set("fire_ms", (fired - registered) as f64 / 1e6);
        r.set("cpu_ns", (fired - own) as f64 / n as f64);
        r.set("drop_ms", (sys::process_cpu() - fired) as f64 / 1e6);
        r
    })
}

/// The same with a task per timer, joined through one counter.
fn storm_tasks<R: Timers>(a: &Args) -> Report {
    let n = a.n;
    R::block_on(async move {
        let own = sys::process_cpu();
        let begin = Instant::now();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let left = Rc::new((Cell::new(n), RefCell::new(None::<Waker>)));
        for _ in 0..n {
            let at = storm_deadline(&mut random, n);
            let left = left.clone();
            R::detach(R::spawn(async move {
                R::sleep(at.saturating_sub(begin.elapsed())).await;
                left.0.set(left.0.get() - 1);
                if left.0.get() == 0 {
                    left.1.take().into_iter().for_each(Waker::wake);
                }
            }));
        }
        poll_fn(|cx| {
            if left.0.get() == 0 {
                return Poll::Ready(());
            }
            *left.1.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let all = sys::process_cpu() - own;
        let mut r = Report::default();
        r.set("ops", n as f64);
        r.set("cpu_ns", all as f64 / n as f64);
        r.set("total_ms", all as f64 / 1e6);
        r
    })
}

/// `n` sleeps of `us` on an otherwise idle runtime: how late each one ends.
fn late<R: Timers>(a: &Args) -> Report {
    let (n, d) = (a.n, Duration::from_micros(a.us));
    in_task::<R, _>(async move {
        let mut late = Vec::with_capacity(n as usize);
        let mut early = 0;
        let meter = Meter::new();
        for _ in 0..n {
            let begin = Instant::now();
            R::sleep(d).await;
            let took = begin.elapsed();
            early += u64::from(took < d);
            late.push(took.saturating_sub(d).as_nanos() as u64);
        }
        let mut r = meter.done(n);
        late.sort_unstable();
        r.set("p50_us", quantile(&late, 0.5) as f64 / 1e3);
        r.set("p99_us", quantile(&late, 0.99) as f64 / 1e3);
        r.set("best_us", late[0] as f64 / 1e3);
        r.set("early", early as f64);
        r
    })
}

/// Deadlines are given, the clock is not read; `step` microseconds between one and the next.
fn resets<R: Reset>(n: u64, first: Duration, step: i64) -> Report {
    in_task::<R, _>(async move {
        let base = Instant::now() + first;
        let mut sleep = Box::pin(R::armed(first));
        context(|cx| {
            assert!(sleep.as_mut().poll(cx).is_pending());
            let meter = Meter::new();
            for i in 1..=n {
                let by = Duration::from_micros(i * step.unsigned_abs());
                R::reset(sleep.as_mut(), if step < 0 { base - by } else { base + by });
            }
            meter.done(n)
        })
        .await
    })
}

fn reset_later<R: Reset>(a: &Args) -> Report {
    resets::<R>(a.n, Duration::from_secs(3_600), 100)
}

fn reset_earlier<R: Reset>(a: &Args) -> Report {
    resets::<R>(
        a.n,
        Duration::from_secs(3_600) + Duration::from_micros(a.n * 100),
        -100,
    )
}
