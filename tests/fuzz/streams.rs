//! Streams through TCP, Unix sockets and pipes. Tasks and another thread read and write them in
//! every way, shut them down and reset them, register them again under other numbers, read through
//! duplicates, and drop them in foreign wakers and on other threads. Tasks are aborted at any time.
//!
//! Beside them descriptors are passed, relays copy both ways, listeners have a limit, and files are
//! used through `Unblock`.
//!
//! Checked: every byte arrives, in order; the end comes after the last byte; each side notices when
//! the peer is gone; no descriptor is left open. In a dialogue each side waits for the peer's
//! bytes, so a lost wake is a hang. A listener accepts every connection, and never more than its
//! limit. Each descriptor comes with the byte it was sent with.

mod accepts;
mod dialogue;
mod ends;
mod fifo;
mod files;
mod limited;
mod passing;
#[cfg(feature = "futures-io")]
mod relay;
mod side;

use super::activity::{Activity, Step};
use super::foreign::{Flag, Foreign, Place};
use super::harness::{Dice, Planned, fuzz, is_planned, lock, on_each_mechanism, panic_as_planned};
use super::support::panics::text_of;
use ends::{End, Kind, ends};
use reveille::backend::BackendKind;
use reveille::io::Interest;
use reveille::runtime::{Pool, UnhandledPanic};
use reveille::time::{Duration, sleep, timeout};
use reveille::{Builder, JoinHandle, Runtime, spawn};
use side::Side;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::task::Context;
use std::thread;

/// The number of streams at a time.
const STREAMS: usize = 10;

/// When more ends than these are left for foreign code, they are dropped.
const MOST_VICTIMS: usize = 8;

/// State that the foreign code of one seed shares.
pub(super) struct World {
    dice: Mutex<Dice>,
    /// Ends of streams and sockets that are left for foreign code to drop.
    pub(super) victims: Mutex<Vec<Box<dyn Send>>>,
    flags: Mutex<Vec<Arc<Flag>>>,
    pub(super) threads: Mutex<Vec<thread::JoinHandle<()>>>,
    faults: Mutex<Vec<String>>,
    /// The number of panics still to come.
    panics: AtomicUsize,
}

impl World {
    fn new(dice: Dice, panics: usize) -> Arc<World> {
        Arc::new(World {
            panics: AtomicUsize::new(panics),
            dice: Mutex::new(dice),
            victims: Mutex::default(),
            flags: Mutex::default(),
            threads: Mutex::default(),
            faults: Mutex::default(),
        })
    }

    /// Returns the policy for panics of foreign code, which must have been planned.
    fn policy(self: &Arc<World>) -> UnhandledPanic {
        let world = self.clone();
        UnhandledPanic::Call(Box::new(move |report| {
            expect_planned(&world, report.into_payload())
        }))
    }

    fn below(&self, most: usize) -> usize {
        lock(&self.dice).below(most)
    }

    pub(super) fn dice(&self) -> Dice {
        Dice::new(lock(&self.dice).next())
    }

    /// Leaves ends for foreign code to drop; drops all when there are too many.
    fn add_victims(&self, ends: impl IntoIterator<Item = End>) {
        let ends = ends.into_iter().map(|end| Box::new(end) as Box<dyn Send>);
        lock(&self.victims).extend(ends);
        if lock(&self.victims).len() > MOST_VICTIMS {
            self.drop_victims();
        }
    }

    /// Checks that no waker is left, and that no check has failed.
    fn check_over(&self) {
        for flag in lock(&self.flags).drain(..) {
            if flag.wakers() != 0 {
                self.fault("a waker is left, or was dropped twice");
            }
        }
        let faults = lock(&self.faults);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// Drops what is left for foreign code.
    pub(super) fn drop_victims(&self) {
        // Not under the lock: the drop of an end wakes its waiters, and foreign wakers take victims
        // too.
        let victims = std::mem::take(&mut *lock(&self.victims));
        drop(victims);
    }

    pub(super) fn new_flag(self: &Arc<World>) -> Arc<Flag> {
        let world: Weak<World> = Arc::downgrade(self);
        let flag = Arc::new(Flag::new(world));
        lock(&self.flags).push(flag.clone());
        flag
    }
}

impl Foreign for World {
    fn enter(self: Arc<World>, _: Place) {
        if self.below(3) == 0 {
            let victim = lock(&self.victims).pop();
            drop(victim);
        }
        if self.below(20) == 0 && !thread::panicking() {
            let less = |left: usize| left.checked_sub(1);
            if self.panics.fetch_update(SeqCst, SeqCst, less).is_ok() {
                panic_as_planned(false);
            }
        }
    }

    fn fault(&self, what: &str) {
        lock(&self.faults).push(what.to_owned());
    }
}

/// How a stream should end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Everything arrives.
    Whole,
    /// The reader closes after this many bytes.
    ReaderGoes(usize),
    /// The writer closes after this many bytes.
    WriterGoes(usize),
    /// As `WriterGoes`, but a TCP connection is reset.
    Reset(usize),
}

impl Fate {
    fn new(dice: &mut Dice, length: usize) -> Fate {
        let at = dice.below(length + 1);
        match dice.below(6) {
            0 => Fate::ReaderGoes(at),
            1 => Fate::WriterGoes(at),
            2 => Fate::Reset(at),
            _ => Fate::Whole,
        }
    }

    fn last_read(self) -> usize {
        match self {
            Fate::ReaderGoes(at) => at,
            _ => usize::MAX,
        }
    }

    fn last_written(self, length: usize) -> usize {
        match self {
            Fate::WriterGoes(at) | Fate::Reset(at) => at,
            _ => length,
        }
    }
}

/// The peer is gone.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

/// One stream from its beginning to its end.
async fn stream(world: Arc<World>) {
    let mut dice = world.dice();
    let kind = [Kind::Tcp, Kind::Tcp, Kind::Unix, Kind::Pipe][dice.below(4)];
    let most = 1 << (4 + dice.below(15));
    let length = dice.below(most);
    let fate = Fate::new(&mut dice, length);
    let (reader, writer) = ends(kind, dice.one_in(2)).await;
    let who = format!("stream of {length}, {fate:?}");
    let reader = Side::new(&world, kind, reader, Interest::READABLE, 30, &who);
    let writer = Side::new(&world, kind, writer, Interest::WRITABLE, 30, &who);
    let reading = spawn(async move {
        let (reader, read) = reader.run(true, fate.last_read()).await;
        // The ends are dropped here, not when the result is taken.
        (reader.at, read)
    });
    let (mut writer, written) = writer.run(false, fate.last_written(length)).await;
    if let Err(error) = &written {
        let may_be = matches!(fate, Fate::ReaderGoes(_));
        if !may_be || !is_gone(error) {
            world.fault(&format!("{kind:?} {fate:?}: not written: {error}"));
        }
    }
    let count = writer.at;
    if matches!(fate, Fate::Reset(_)) {
        writer.ends.drain(..).for_each(End::reset);
    } else if dice.one_in(2) {
        writer.ends[0].shut_down();
    }
    drop(writer);
    let activity = Activity::new(who);
    activity.set(Step::Joins, -1, count);
    // The stream must end even if foreign code still holds duplicates of the writer.
    while !reading.is_finished() {
        world.drop_victims();
        sleep(Duration::from_micros(100)).await;
    }
    let (at, read) = reading.await.expect("it does not panic");
    let all = count.min(fate.last_read());
    let what = format!("{kind:?} {fate:?}: {at} of {count} read: {read:?}");
    match read {
        Ok(()) if matches!(fate, Fate::Reset(_)) => {}
        Ok(()) if at < all => world.fault(&what),
        Ok(()) => {}
        Err(error) if !is_gone(&error) || !matches!(fate, Fate::Reset(_)) => world.fault(&what),
        Err(_reset) => {}
    }
}

/// Marks a task as ended when it is dropped, even if it was aborted: its peers may find it gone
/// then.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

pub(super) fn expect_planned(world: &World, payload: Box<dyn std::any::Any + Send>) {
    if !payload.is::<Planned>() {
        world.fault(&format!("a panic: {}", text_of(&*payload)));
    }
    is_planned(payload);
}

/// On another thread, drops ends that are left for foreign code, and opens and closes pairs, so
/// that numbers are reused.
async fn disturb(world: Arc<World>, all: Vec<JoinHandle<()>>) {
    let mut dice = world.dice();
    let mut aborts = dice.below(3);
    while !all.iter().all(JoinHandle::is_finished) {
        match dice.below(8) {
            0 => {
                let victim = lock(&world.victims).pop();
                thread::spawn(move || drop(victim)).join().unwrap();
            }
            1 => {
                let kind = [Kind::Tcp, Kind::Unix, Kind::Pipe][dice.below(3)];
                let (reader, writer) = ends(kind, dice.one_in(2)).await;
                world.add_victims([reader, writer]);
            }
            // Only a few times, or else a task that hangs would be aborted and the hang would not
            // show.
            2 if aborts != 0 && dice.one_in(20) => {
                aborts -= 1;
                all[dice.below(all.len())].abort();
            }
            _ => sleep(Duration::from_micros(dice.below(300) as u64)).await,
        }
    }
    for one in all {
        if let Err(error) = one.await {
            if let Ok(payload) = error.try_into_panic() {
                expect_planned(&world, payload);
            }
        }
    }
}

/// Runs a future, and runs it again when the panic of a foreign waker has left the loop.
fn block_on(world: &World, runtime: &Runtime, future: impl Future<Output = ()>) {
    let mut future = Box::pin(future);
    loop {
        let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(future.as_mut())));
        match ran {
            Ok(()) => return,
            Err(payload) if payload.is::<Planned>() => drop(is_planned(payload)),
            Err(payload) => {
                expect_planned(world, payload);
                return;
            }
        }
    }
}

/// Plays one seed: `one` spawns each of the tasks, whose number it receives.
pub(super) fn play(
    kind: BackendKind,
    seed: u64,
    one: impl Fn(&Arc<World>, usize) -> JoinHandle<()>,
) {
    let mut dice = Dice::new(seed);
    let builder = Builder::new()
        .backend(kind)
        .event_capacity(1 + dice.below(20))
        .event_interval(1 + dice.below(200) as u32)
        .poll_budget(1 + dice.below(200) as u32)
        .precise_timers(dice.one_in(3));
    let pool = Pool::new(1 + dice.below(4), Duration::from_secs(10));
    let builder = builder.blocking_pool(&pool);
    let panics = dice.below(6);
    let ends_early = dice.one_in(8);
    let world = World::new(dice, panics);
    let runtime = builder.unhandled_panic(world.policy()).build();
    let runtime = runtime.expect("it was available a moment ago");
    let all = runtime.enter(|| (0..STREAMS).map(|at| one(&world, at)).collect());
    let disturbed = disturb(world.clone(), all);
    if ends_early {
        // The tasks are dropped together with the runtime.
        let moment = Duration::from_micros(world.below(20_000) as u64);
        block_on(&world, &runtime, async {
            let _ = timeout(moment, disturbed).await;
        });
    } else {
        block_on(&world, &runtime, disturbed);
    }
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(runtime)));
    if dropped.is_err() {
        world.fault("the drop of the runtime panicked");
    }
    // Tasks that wait for fds get the error that the runtime is gone.
    for thread in std::mem::take(&mut *lock(&world.threads)) {
        if thread.join().is_err() {
            world.fault("a panic on another thread");
        }
    }
    world.drop_victims();
    // A call of the pool that has begun goes on after the runtime's end, and holds descriptors.
    while pool.threads() != pool.idle_threads() {
        thread::yield_now();
    }
    world.check_over();
}

#[test]
fn streams() {
    fuzz("streams", 1..16, |kind, seed| {
        play(kind, seed, |world, at| match at % STREAMS {
            0 => spawn(accepts::serve(world.clone())),
            1 => spawn(dialogue::hold(world.clone())),
            2 => spawn(fifo::follow(world.clone())),
            3 => spawn(files::use_one(world.clone())),
            4 => spawn(limited::serve(world.clone())),
            5 => spawn(passing::pass(world.clone())),
            #[cfg(feature = "futures-io")]
            6 => spawn(relay::run(world.clone())),
            _ => spawn(stream(world.clone())),
        });
    });
}

/// Once the drop of surplus ends waited forever for a lock that it held.
#[test]
fn surplus_ends_are_dropped_unlocked() {
    on_each_mechanism(|kind| {
        let world = World::new(Dice::new(0), 0);
        let builder = Builder::new().backend(kind).unhandled_panic(world.policy());
        let runtime = builder.build().expect("it was available a moment ago");
        runtime.block_on(async {
            // Foreign wakers drop some of them, the rest is dropped a few times.
            for _ in 0..100 {
                let (reader, writer) = ends(Kind::Unix, false).await;
                let waker = world.new_flag().waker();
                reader.leave(&mut Context::from_waker(&waker));
                world.add_victims([reader, writer]);
            }
        });
        world.drop_victims();
        drop(runtime);
        world.check_over();
    });
}
