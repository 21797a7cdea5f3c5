//! A pool on a system that refuses to create threads, and look-ups beyond the bound.

use super::error::Refusal;
use super::jobs::{Jobs, Settings};
use super::pool::{Core, Pool};
use crate::sys::fork;
use crate::task::{Description, JobQueue, JoinHandle, Remote};
use crate::token::RuntimeId;
use std::cell::{Cell, OnceCell};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::Waker;
use std::thread;
use std::time::Duration;

thread_local! {
    /// How many threads this thread may still create.
    static ALLOWED: Cell<usize> = const { Cell::new(0) };
}

fn start(core: Arc<Core>) -> io::Result<()> {
    let Some(left) = ALLOWED.get().checked_sub(1) else {
        // As the system reports EAGAIN.
        return Err(io::ErrorKind::WouldBlock.into());
    };
    ALLOWED.set(left);
    thread::spawn(move || core.work());
    Ok(())
}

fn jobs(max_threads: usize, allowed: usize) -> (Jobs, Pool) {
    ALLOWED.set(allowed);
    let pool = Pool::with_start(max_threads, Duration::from_secs(10), Duration::ZERO, start);
    (jobs_of(pool.clone()), pool)
}

fn jobs_of(pool: Pool) -> Jobs {
    let remote = Remote::new(RuntimeId::new(1, 0), Waker::noop().clone());
    let settings = Settings {
        pool: Some(pool),
        ..Settings::default()
    };
    Jobs::new(Arc::new(remote), settings)
}

/// Spawns a job that has begun when this returns, and waits for its gate.
fn occupy(jobs: &Jobs) -> (Sender<()>, JoinHandle<()>) {
    let (gate, wait) = channel::<()>();
    let (begin, begun) = channel();
    let f = move || {
        begin.send(()).unwrap();
        wait.recv().unwrap_err();
    };
    let job = jobs.spawn(Description::default(), f, |f| f).unwrap();
    begun.recv().unwrap();
    (gate, job)
}

#[test]
fn spawn_without_any_thread_fails_and_leaves_nothing() {
    let (jobs, pool) = jobs(4, 0);
    let refusal = jobs
        .spawn(Description::default(), || (), |f| f)
        .unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.starts_with("no thread for blocking code could be created: "),
        "{text}"
    );
    assert!(matches!(refusal, Refusal::NoThread(_)));
    assert_eq!((pool.threads(), pool.queued()), (0, 0));
    // Later there may be threads again.
    ALLOWED.set(1);
    assert_eq!(
        jobs.spawn(Description::default(), || 7, |f| f)
            .unwrap()
            .wait()
            .unwrap(),
        7
    );
}

#[test]
fn spawn_with_a_thread_queues_if_no_other_can_be_created() {
    let (jobs, pool) = jobs(4, 1);
    let (gate, running) = occupy(&jobs);
    let waiting = [1, 2].map(|n| {
        jobs.spawn(Description::default(), move || n, |f| f)
            .unwrap()
    });
    assert_eq!((pool.threads(), pool.queued()), (1, 2));
    // A job that must not wait is refused.
    let (refusal, _) = jobs
        .try_spawn(Description::default(), || 3, |f| f)
        .unwrap_err();
    assert!(matches!(refusal, Refusal::NoThread(_)));
    // The next job may have a thread again; the oldest job gets it.
    ALLOWED.set(1);
    let last = jobs.spawn(Description::default(), || 4, |f| f).unwrap();
    assert_eq!(waiting.map(|job| job.wait().unwrap()), [1, 2]);
    assert_eq!(last.wait().unwrap(), 4);
    assert_eq!(pool.threads(), 2);
    drop(gate);
    running.wait().unwrap();
}

#[test]
fn spawn_makes_up_for_threads_that_could_not_be_created() {
    let (jobs, pool) = jobs(8, 1);
    let (gate, running) = occupy(&jobs);
    let waiting = [1, 2, 3].map(|n| {
        jobs.spawn(Description::default(), move || n, |f| f)
            .unwrap()
    });
    assert_eq!((pool.threads(), pool.queued()), (1, 3));
    ALLOWED.set(usize::MAX);
    let last = jobs.spawn(Description::default(), || 4, |f| f).unwrap();
    assert_eq!(pool.threads(), 5);
    let outputs = waiting.map(|job| job.wait().unwrap());
    assert_eq!((outputs, last.wait().unwrap()), ([1, 2, 3], 4));
    drop(gate);
    running.wait().unwrap();
}

/// `WouldBlock` would look like an fd that is not ready.
#[test]
fn refusal_is_never_an_error_that_asks_to_wait() {
    let refusal = Refusal::NoThread(io::ErrorKind::WouldBlock.into());
    assert_eq!(io::Error::from(refusal).kind(), io::ErrorKind::Other);
}

#[test]
fn look_ups_have_two_threads_beyond_the_bound() {
    let (jobs, pool) = jobs(2, usize::MAX);
    let busy = [(); 2].map(|()| occupy(&jobs));
    let (gate, wait) = channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let (begin, begun) = channel();
    let look_ups: Vec<_> = (0..3)
        .map(|_| {
            let (wait, begin) = (wait.clone(), begin.clone());
            let f = move || {
                begin.send(()).unwrap();
                wait.lock().unwrap().recv().unwrap_err();
            };
            jobs.look_up(f).unwrap()
        })
        .collect();
    for _ in 0..2 {
        begun.recv().unwrap();
    }
    assert_eq!((pool.threads(), pool.queued()), (4, 1));
    let (refusal, _) = jobs
        .try_spawn(Description::default(), || (), |f| f)
        .unwrap_err();
    assert!(matches!(refusal, Refusal::Busy));
    drop(gate);
    look_ups.into_iter().for_each(|job| job.wait().unwrap());
    for (gate, job) in busy {
        drop(gate);
        job.wait().unwrap();
    }
    assert_eq!(pool.threads(), 4);
}

#[test]
fn closed_jobs_answer_that_the_runtime_is_gone() {
    let (jobs, pool) = jobs(1, usize::MAX);
    let (gate, running) = occupy(&jobs);
    let waiting = jobs.look_up(|| ()).unwrap();
    drop(gate);
    jobs.close();
    jobs.close();
    for job in [
        jobs.spawn(Description::default(), || (), |f| f).unwrap(),
        jobs.look_up(|| ()).unwrap(),
    ] {
        assert!(job.wait().unwrap_err().is_runtime_gone());
    }
    running.wait().unwrap();
    // It may have begun before.
    drop(waiting.wait());
    assert_eq!(pool.queued(), 0);
}

/// The process forks while the lock of the pool is held.
#[test]
fn child_of_a_fork_does_not_wait_for_the_lock_of_the_pool() {
    thread_local! {
        static JOBS: OnceCell<(Jobs, Pool)> = const { OnceCell::new() };
    }
    /// Called with the lock held.
    fn start(core: Arc<Core>) -> io::Result<()> {
        let in_child = fork::in_child(|| {
            JOBS.with(|jobs| {
                let (jobs, pool) = jobs.get().expect("they are set");
                let refusal = jobs.spawn(Description::default(), || (), |f| f).map(drop);
                let is_refused = matches!(refusal, Err(Refusal::Child));
                let is_kept = core.take_out(0).is_none() && pool.queued() == 0;
                jobs.close();
                (is_refused && is_kept)
                    .then_some(())
                    .ok_or_else(|| format!("{refusal:?}"))
            })
        });
        in_child?.map_err(io::Error::other)?;
        thread::spawn(move || core.work());
        Ok(())
    }
    let pool = Pool::with_start(1, Duration::from_secs(10), Duration::ZERO, start);
    JOBS.with(|jobs| {
        let made = jobs_of(pool.clone());
        let (jobs, _) = jobs.get_or_init(|| (made, pool));
        assert_eq!(
            jobs.spawn(Description::default(), || 7, |f| f)
                .unwrap()
                .wait()
                .unwrap(),
            7
        );
    });
}

#[test]
fn jobs_that_were_listed_as_not_begun_do_not_begin() {
    let (jobs, pool) = jobs(1, 1);
    let (gate, running) = occupy(&jobs);
    let waiting = jobs.spawn(Description::default(), || (), |f| f).unwrap();
    let (states, taken_out) = jobs.close_and_list();
    let states: Vec<_> = (states.iter().map(|job| (job.label.id, job.has_begun))).collect();
    assert_eq!(states, [(running.id(), true), (waiting.id(), false)]);
    drop(gate);
    running.wait().unwrap();
    // The thread is in its loop again, and has found no job.
    while pool.idle_threads() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!waiting.is_finished());
    taken_out.cancel();
    assert!(waiting.wait().unwrap_err().is_runtime_gone());
}

/// What a runtime sees of its jobs when it is unparked.
#[cfg(feature = "test-util")]
struct Looks {
    jobs: std::sync::OnceLock<std::sync::Weak<Jobs>>,
    seen: std::sync::Mutex<Sender<(bool, bool)>>,
}

#[cfg(feature = "test-util")]
impl std::task::Wake for Looks {
    fn wake(self: Arc<Self>) {
        if let Some(jobs) = self.jobs.get().and_then(std::sync::Weak::upgrade) {
            let seen = (jobs.is_active(), jobs.await_all());
            self.seen.lock().unwrap().send(seen).ok();
        }
    }
}

/// A paused clock may jump as soon as no job is active. If a shutdown waited for a job then, the
/// clock would jump to the deadline of the shutdown.
#[cfg(feature = "test-util")]
#[test]
fn job_is_active_as_long_as_a_shutdown_waits_for_it() {
    let (send, seen) = channel();
    let looks = Arc::new(Looks {
        jobs: std::sync::OnceLock::new(),
        seen: std::sync::Mutex::new(send),
    });
    let remote = Remote::new(RuntimeId::new(1, 0), Waker::from(looks.clone()));
    let jobs = Arc::new(Jobs::new(Arc::new(remote), Settings::default()));
    looks.jobs.set(Arc::downgrade(&jobs)).unwrap();
    let job = jobs.spawn(Description::default(), || (), |f| f).unwrap();
    job.wait().unwrap();
    loop {
        match seen.recv().unwrap() {
            (false, false) => break,
            (is_active, _) => assert!(is_active, "the clock could jump"),
        }
    }
}
