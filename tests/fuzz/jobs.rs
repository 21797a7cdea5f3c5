//! Closures that block: two runtimes share a pool of few threads. Closures return, panic, wait for
//! a gate, and spawn other closures; handles are awaited, aborted and dropped; the runtimes are
//! dropped while closures wait in the queue and run.
//!
//! Checked: a closure runs at most once; a handle returns the output of its own closure; one that
//! was cancelled has not run; no more threads than allowed run closures; every closure was dropped.

use super::harness::{Dice, fuzz, is_planned, panic_as_planned};
use reveille::backend::BackendKind;
use reveille::runtime::{Handle, PanicReport, Pool, UnhandledPanic};
use reveille::{Builder, JoinHandle, Runtime};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What the threads share.
#[derive(Default)]
struct World {
    /// The closures that exist.
    closures: AtomicUsize,
    /// The closures that run now.
    running: AtomicUsize,
    /// How many may.
    threads: usize,
    gate: Mutex<bool>,
    opened: Condvar,
}

impl World {
    fn set_gate(&self, is_open: bool) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = is_open;
        self.opened.notify_all();
    }

    fn pass_gate(&self) {
        let mut is_open = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_open {
            is_open = (self.opened.wait(is_open)).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Lives as long as its closure.
struct Token {
    world: Arc<World>,
    runs: Arc<AtomicUsize>,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.world.closures.fetch_sub(1, SeqCst);
    }
}

/// Counts the closures that run, also on unwind.
struct Runs<'a>(&'a World);

impl<'a> Runs<'a> {
    fn new(world: &'a World) -> Runs<'a> {
        let before = world.running.fetch_add(1, SeqCst);
        assert!(before < world.threads, "{before} of {}", world.threads);
        Runs(world)
    }
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

/// What a closure does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Return,
    Panic,
    Sleep,
    Gate,
    /// Spawns a closure that nothing waits for.
    Spawn,
}

struct Job {
    number: usize,
    act: Act,
    handle: JoinHandle<usize>,
    runs: Arc<AtomicUsize>,
    is_aborted: bool,
}

fn closure(
    world: &Arc<World>,
    number: usize,
    act: Act,
) -> (impl FnOnce() -> usize + use<>, Arc<AtomicUsize>) {
    world.closures.fetch_add(1, SeqCst);
    let runs = Arc::new(AtomicUsize::new(0));
    let token = Token {
        world: world.clone(),
        runs: runs.clone(),
    };
    let run = move || {
        let _runs = Runs::new(&token.world);
        assert_eq!(token.runs.fetch_add(1, SeqCst), 0, "{number} runs twice");
        match act {
            Act::Return => {}
            Act::Panic => panic_as_planned(number % 2 == 0),
            Act::Sleep => thread::sleep(Duration::from_micros(number as u64 % 200)),
            Act::Gate => token.world.pass_gate(),
            Act::Spawn => {
                let (inner, _) = closure_of_closure(&token.world, number);
                // The runtime may have ended.
                drop(Handle::current().spawn_blocking(inner));
            }
        }
        number
    };
    (run, runs)
}

/// Separate, because a function that returns an opaque type cannot call itself.
fn closure_of_closure(
    world: &Arc<World>,
    number: usize,
) -> (Box<dyn FnOnce() -> usize + Send>, ()) {
    let (run, _) = closure(world, number, Act::Return);
    (Box::new(run), ())
}

fn start(world: &Arc<World>, runtime: &Runtime, dice: &mut Dice, number: usize) -> Option<Job> {
    let acts = [Act::Return, Act::Panic, Act::Sleep, Act::Gate, Act::Spawn];
    let act = acts[dice.below(acts.len())];
    let (run, runs) = closure(world, number, act);
    let handle = match dice.below(3) {
        0 => runtime.handle().spawn_blocking(run),
        1 => runtime.enter(|| reveille::spawn_blocking(run)),
        // Refused if all threads are busy; the closure is dropped with the error.
        _ => runtime.handle().try_spawn_blocking(run).ok()?,
    };
    Some(Job {
        number,
        act,
        handle,
        runs,
        is_aborted: false,
    })
}

/// Waits for a job whose gate is open. `may_be_gone`: its runtime has ended.
fn check(job: Job, result: Result<usize, reveille::task::JoinError>, may_be_gone: bool) {
    match result {
        Ok(number) => {
            assert_eq!(number, job.number);
            assert_ne!(job.act, Act::Panic);
            assert_eq!(job.runs.load(SeqCst), 1);
        }
        Err(error) if error.is_panic() => {
            assert_eq!(job.act, Act::Panic);
            assert!(is_planned(error.into_panic()));
        }
        Err(error) => {
            assert!(job.is_aborted || may_be_gone, "{error}");
            assert!(
                may_be_gone || job.runs.load(SeqCst) == 0,
                "{error}, and it ran"
            );
        }
    }
}

fn play(kind: BackendKind, seed: u64) {
    let mut dice = Dice::new(seed);
    let threads = 1 + dice.below(3);
    let pool = Pool::new(threads, Duration::from_millis(1 + dice.below(3) as u64));
    let world = Arc::new(World {
        threads,
        ..World::default()
    });
    let make = || {
        let builder = Builder::new().backend(kind).blocking_pool(&pool);
        let policy = |report: PanicReport| assert!(is_planned(report.into_payload()));
        let policy = UnhandledPanic::Call(Box::new(policy));
        builder.unhandled_panic(policy).build()
    };
    let mut runtimes = [Some(make().unwrap()), Some(make().unwrap())];
    let mut jobs: [Vec<Job>; 2] = [Vec::new(), Vec::new()];
    for number in 0..dice.below(60) {
        let home = dice.below(2);
        let Some(runtime) = &runtimes[home] else {
            continue;
        };
        let jobs = &mut jobs[home];
        let at = dice.below(jobs.len().max(1));
        match dice.below(10) {
            0 if !jobs.is_empty() => drop(jobs.swap_remove(at)),
            1 if !jobs.is_empty() => {
                jobs[at].handle.abort();
                jobs[at].is_aborted = true;
            }
            2 if !jobs.is_empty() => {
                // It may be queued behind closures that wait for the gate.
                world.set_gate(true);
                let mut job = jobs.swap_remove(at);
                let result = runtime.block_on(&mut job.handle);
                check(job, result, false);
                world.set_gate(dice.one_in(2));
            }
            3 => world.set_gate(dice.one_in(2)),
            4 => runtime.turn(Some(Duration::from_micros(100))).unwrap(),
            5 if dice.one_in(10) => runtimes[home] = None,
            _ => jobs.extend(start(&world, runtime, &mut dice, number)),
        }
    }
    let drops_first = dice.one_in(2);
    if drops_first {
        runtimes = [None, None];
    }
    world.set_gate(true);
    for (runtime, jobs) in runtimes.iter().zip(jobs) {
        for mut job in jobs {
            match runtime {
                Some(runtime) => {
                    let result = runtime.block_on(&mut job.handle);
                    check(job, result, false);
                }
                None => {
                    let result = Runtime::new().unwrap().block_on(&mut job.handle);
                    check(job, result, true);
                }
            }
        }
    }
    drop(runtimes);
    // Closures that have begun go on after the end of their runtime. A thread that has not ended
    // may hold a descriptor of the runtime of its last closure.
    while world.closures.load(SeqCst) != 0 || pool.threads() != 0 {
        thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn jobs() {
    fuzz("jobs", 1..40, play);
}
