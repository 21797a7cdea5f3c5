//! Loom models of a pool: its queue, its count of threads, and the end of a runtime.
//!
//! The limit of an idle thread is zero: it releases the lock once and then ends, unless it was
//! called meanwhile. So all threads end, and each model checks what is left. Loom runs its threads
//! on one system thread, whose thread-locals they share.

use super::jobs::{Jobs, Settings};
use super::pool::{Core, Pool};
use crate::sync::Arc;
use crate::task::{Description, JoinHandle, Remote};
use crate::token::RuntimeId;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

thread_local! {
    /// The threads of the pool in the model that runs.
    static THREADS: RefCell<Vec<loom::thread::JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
}

fn start(core: std::sync::Arc<Core>) -> io::Result<()> {
    let thread = loom::thread::spawn(move || core.work());
    THREADS.with_borrow_mut(|threads| threads.push(thread));
    Ok(())
}

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_duration = Some(Duration::from_secs(60));
    builder.check(f);
}

fn pool_of(max_threads: usize) -> Pool {
    Pool::with_start(max_threads, Duration::ZERO, Duration::ZERO, start)
}

fn jobs_of(pool: &Pool) -> Arc<Jobs> {
    let remote = Remote::new(RuntimeId::new(1, 0), Waker::noop().clone());
    let settings = Settings {
        pool: Some(pool.clone()),
        ..Settings::default()
    };
    Arc::new(Jobs::new(Arc::new(remote), settings))
}

/// Waits for the end of all threads.
fn join_threads() {
    while let Some(thread) = THREADS.with_borrow_mut(Vec::pop) {
        thread.join().unwrap();
    }
}

/// Waits for the end of all threads of the pool, which must have no job left.
fn join(pool: &Pool) {
    join_threads();
    assert_eq!(
        (pool.threads(), pool.idle_threads(), pool.queued()),
        (0, 0, 0)
    );
}

/// Returns the answer, which must be there. `None` if the job was aborted or its runtime is gone.
fn answer<R>(handle: JoinHandle<R>) -> Option<R> {
    match pin!(handle).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.ok(),
        Poll::Pending => panic!("a job was lost"),
    }
}

fn count(runs: &std::sync::Arc<AtomicUsize>) -> impl FnOnce() + Send + 'static {
    let runs = runs.clone();
    move || {
        runs.fetch_add(1, Ordering::SeqCst);
    }
}

/// The second job meets its thread in every state: not started, running, answering, idle, ending.
#[test]
fn loom_pool_runs_each_job_once() {
    for max_threads in [1, 2] {
        model(move || {
            let (pool, runs) = (pool_of(max_threads), Default::default());
            let jobs = jobs_of(&pool);
            let handles = [(); 2].map(|()| {
                jobs.spawn(Description::default(), count(&runs), |f| f)
                    .unwrap()
            });
            join(&pool);
            assert!(handles.map(answer).iter().all(Option::is_some));
            assert_eq!(runs.load(Ordering::SeqCst), 2);
        });
    }
}

#[test]
fn loom_pool_is_bounded_for_jobs_from_two_threads() {
    model(|| {
        let (pool, runs) = (pool_of(1), Default::default());
        let jobs = jobs_of(&pool);
        let (there, theirs) = (jobs.clone(), count(&runs));
        let other = loom::thread::spawn(move || {
            there.spawn(Description::default(), theirs, |f| f).unwrap()
        });
        let own = jobs
            .spawn(Description::default(), count(&runs), |f| f)
            .unwrap();
        assert!(pool.threads() <= 1);
        let handles = [own, other.join().unwrap()];
        join(&pool);
        assert!(handles.map(answer).iter().all(Option::is_some));
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn loom_abort_against_the_begin_of_a_job() {
    model(|| {
        let (pool, runs) = (pool_of(1), Default::default());
        let job = jobs_of(&pool)
            .spawn(Description::default(), count(&runs), |f| f)
            .unwrap();
        job.abort();
        join(&pool);
        let has_run = answer(job).is_some();
        assert_eq!(runs.load(Ordering::SeqCst), usize::from(has_run));
    });
}

#[test]
fn loom_close_against_a_spawn() {
    model(|| {
        let (pool, runs) = (pool_of(1), Default::default());
        let jobs = jobs_of(&pool);
        let (there, closure) = (jobs.clone(), count(&runs));
        let spawner = loom::thread::spawn(move || {
            there.spawn(Description::default(), closure, |f| f).unwrap()
        });
        jobs.close();
        // Every job that waited is out of the queue, and none comes after the end.
        assert_eq!(pool.queued(), 0);
        let job = spawner.join().unwrap();
        join(&pool);
        let has_run = answer(job).is_some();
        assert_eq!(runs.load(Ordering::SeqCst), usize::from(has_run));
    });
}

/// Without a limit: a thread that waits ends only if it is called.
#[test]
fn loom_end_of_the_last_user_ends_the_threads() {
    model(|| {
        let pool = Pool::with_start(1, Duration::MAX, Duration::ZERO, start);
        let (jobs, runs) = (jobs_of(&pool), Default::default());
        let job = jobs
            .spawn(Description::default(), count(&runs), |f| f)
            .unwrap();
        drop((jobs, pool));
        join_threads();
        answer(job).expect("it has run");
    });
}
