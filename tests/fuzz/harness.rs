//! Shared by all fuzzers: seeds, the loop over the backends, a watchdog, random numbers, planned
//! panics.

use super::activity;
use super::support::HangReport;
use reveille::backend::{BackendKind, available};
use std::any::Any;
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::ops::{Deref, DerefMut, Range};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A seed that takes longer hangs; `REVEILLE_FUZZ_PATIENCE` overrides it. A seed usually takes
/// milliseconds, under a sanitizer on a busy machine a few seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// The fuzzers of this program run one at a time, because each counts the descriptors of the
/// process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

thread_local! {
    /// The mutexes that this thread holds by `lock`, and where it locked them.
    static HELD: RefCell<Vec<(*const (), &'static Location<'static>)>> =
        const { RefCell::new(Vec::new()) };
}

/// What `lock` returns.
pub(crate) struct Locked<'a, T: ?Sized> {
    guard: MutexGuard<'a, T>,
    address: *const (),
}

/// Locks, even if another thread has panicked: the guarded values stay valid.
///
/// # Panics
///
/// If this thread holds the mutex already, as when foreign code is entered under a lock. Otherwise
/// the thread would wait for itself.
#[track_caller]
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> Locked<'_, T> {
    let address = (&raw const *mutex).cast::<()>();
    let here = Location::caller();
    let before = HELD.with_borrow(|held| {
        let same = held.iter().find(|(other, _)| *other == address);
        same.map(|(_, place)| *place)
    });
    if let Some(before) = before {
        panic!("the lock taken at {before} is taken again by the same thread at {here}");
    }
    let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
    HELD.with_borrow_mut(|held| held.push((address, here)));
    Locked { guard, address }
}

impl<T: ?Sized> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: ?Sized> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            let at = held.iter().rposition(|(other, _)| *other == self.address);
            held.swap_remove(at.expect("it was noted when it was locked"));
        });
    }
}

/// Which seeds to try.
enum Plan {
    /// The fixed seeds of every test run.
    Fixed(Range<u64>),
    /// The seed of `REVEILLE_FUZZ_SEED`.
    One(u64),
    /// New seeds, for `REVEILLE_FUZZ_SECONDS` seconds.
    For(Duration),
}

impl Plan {
    fn new(fixed: Range<u64>) -> Plan {
        match (
            number("REVEILLE_FUZZ_SEED"),
            number("REVEILLE_FUZZ_SECONDS"),
        ) {
            (Some(seed), _) => Plan::One(seed),
            (None, Some(seconds)) => Plan::For(Duration::from_secs(seconds)),
            (None, None) => Plan::Fixed(fixed),
        }
    }

    /// Returns the seeds in order. Each is tried on every backend.
    fn seeds(self) -> Box<dyn Iterator<Item = u64>> {
        match self {
            Plan::Fixed(range) => Box::new(range),
            Plan::One(seed) => Box::new([seed].into_iter()),
            Plan::For(time) => {
                let (first, started) = (new_seed(), Instant::now());
                Box::new((first..).take_while(move |_| started.elapsed() < time))
            }
        }
    }
}

/// Reads a setting from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// Returns a seed that differs from run to run.
fn new_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 16
}

/// Tries seeds on every backend of this host, or on the one that `REVEILLE_BACKEND` names. `play`
/// receives the backend and the seed, and panics if a check fails; then the command that runs the
/// seed again is printed. No descriptor may be left.
pub(crate) fn fuzz(name: &'static str, fixed: Range<u64>, play: impl Fn(BackendKind, u64)) {
    let _alone = alone();
    let kinds = mechanisms();
    let mut counts = vec![0; kinds.len()];
    let watchdog = Watchdog::new();
    for seed in Plan::new(fixed).seeds() {
        for (kind, count) in kinds.iter().zip(&mut counts) {
            let again = format!(
                "REVEILLE_FUZZ_SEED={seed} REVEILLE_BACKEND={kind} cargo test --test fuzz {name}"
            );
            watchdog.watch(&again);
            let before = descriptors();
            let played = catch_unwind(AssertUnwindSafe(|| {
                play(*kind, seed);
                let after = descriptors();
                let same = after.len() == before.len() || is_symbolizer(&before, &after);
                assert!(same, "descriptors {after:#?} after {before:#?}");
            }));
            if let Err(payload) = played {
                println!("\nFAILED  again: {again}");
                resume_unwind(payload);
            }
            *count += 1;
        }
    }
    for (kind, count) in kinds.iter().zip(counts) {
        println!("\nseeds {name} {kind} {count}");
    }
}

/// Waits until no fuzzer runs, and lets none run until the result is dropped.
pub(crate) fn alone() -> Locked<'static, ()> {
    lock(&ONE_AT_A_TIME)
}

/// Runs a test on every backend of this host, or on the one that `REVEILLE_BACKEND` names.
pub(crate) fn on_each_mechanism(test: impl Fn(BackendKind)) {
    let _alone = alone();
    mechanisms().into_iter().for_each(test);
}

fn mechanisms() -> Vec<BackendKind> {
    if let Ok(name) = std::env::var("REVEILLE_BACKEND") {
        return vec![BackendKind::from_str(&name).expect("a mechanism's name")];
    }
    let here = available().into_iter().filter(|one| one.is_available());
    here.map(|one| one.kind()).collect()
}

/// The descriptors of this process and their files; empty where they cannot be listed.
fn descriptors() -> Vec<String> {
    let Ok(all) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let of = |fd: std::fs::DirEntry| {
        let file = std::fs::read_link(fd.path()).unwrap_or_default();
        format!("{} {}", fd.file_name().to_string_lossy(), file.display())
    };
    all.flatten().map(of).collect()
}

/// Returns whether the new descriptors are the two pipes of ThreadSanitizer's symbolizer. It starts
/// once per process, even for a report that is suppressed.
fn is_symbolizer(before: &[String], after: &[String]) -> bool {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let pipes = |all: &[String]| all.iter().filter(|fd| fd.contains(" pipe:")).count();
    std::env::var_os("TSAN_OPTIONS").is_some()
        && after.len() == before.len() + 2
        && pipes(after) == pipes(before) + 2
        && !SEEN.swap(true, Ordering::Relaxed)
}

/// Waits for a thread until nothing of it is left. The end of a scope waits for its closure only:
/// if the process ends then, LeakSanitizer finds the thread-local values that were not dropped yet.
pub(crate) fn join(thread: thread::ScopedJoinHandle<'_, ()>) {
    thread
        .join()
        .unwrap_or_else(|payload| resume_unwind(payload));
}

/// Aborts the process when one seed takes too long, and reports what it was doing.
pub(crate) struct Watchdog {
    seeds: mpsc::Sender<String>,
}

impl Watchdog {
    pub(crate) fn new() -> Watchdog {
        let (seeds, next) = mpsc::channel::<String>();
        let report = HangReport::of_this_thread();
        thread::spawn(move || {
            let patience = number("REVEILLE_FUZZ_PATIENCE").map_or(PATIENCE, Duration::from_secs);
            let Ok(mut what) = next.recv() else {
                return;
            };
            loop {
                match next.recv_timeout(patience) {
                    Ok(seed) => what = seed,
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    Err(mpsc::RecvTimeoutError::Timeout) => abort(&what, report),
                }
            }
        });
        Watchdog { seeds }
    }

    /// Watches the next seed; `what` is the command that runs it again.
    pub(crate) fn watch(&self, what: &str) {
        self.seeds
            .send(what.to_owned())
            .expect("the watchdog ends last");
    }
}

fn abort(what: &str, report: HangReport) -> ! {
    // Not by `eprintln!`, whose output is captured until the test has ended.
    let _ = writeln!(io::stderr(), "\nFAILED  hangs; again: {what}");
    report.write();
    for line in activity::all() {
        let _ = writeln!(io::stderr(), "{line}");
    }
    std::process::abort();
}

/// Random numbers from a seed (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `most`, which is not 0.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    pub(crate) fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }
}

/// The payload of a planned panic, which does not run the panic hook and so prints nothing.
pub(crate) struct Planned {
    /// Whether the drop of this payload panics, with a payload whose drop does not.
    panics_in_drop: bool,
}

impl Drop for Planned {
    fn drop(&mut self) {
        if self.panics_in_drop && !thread::panicking() {
            resume_unwind(Box::new(Planned {
                panics_in_drop: false,
            }));
        }
    }
}

/// Panics as planned. `panics_in_drop`: the drop of the payload panics as well.
pub(crate) fn panic_as_planned(panics_in_drop: bool) -> ! {
    resume_unwind(Box::new(Planned { panics_in_drop }));
}

/// Drops a value whose drop may panic as planned. Returns false if it panicked in another way.
pub(crate) fn drop_planned<T>(value: T) -> bool {
    match catch_unwind(AssertUnwindSafe(|| drop(value))) {
        Ok(()) => true,
        Err(payload) => is_planned(payload),
    }
}

/// Returns whether a panic was planned, and drops its payload.
pub(crate) fn is_planned(payload: Box<dyn Any + Send>) -> bool {
    let planned = payload.is::<Planned>();
    // Its drop may panic once.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        drop(second);
    }
    planned
}
