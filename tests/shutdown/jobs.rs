//! Closures of `spawn_blocking` and look-ups: which are waited for, accepted, and reported.

use super::support::{Gate, occupy};
use super::{LONG, Make, OnDrop, SHORT, assert_clean, on_every_mechanism, spawn_sending};
use reveille::io::Unblock;
use reveille::net::lookup_host;
use reveille::runtime::Pool;
use reveille::time::Duration;
use reveille::{Handle, JoinHandle, Runtime, spawn_blocking, task};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Drops a gate when the loop waits, or does something else then.
fn when_it_waits(waits: Receiver<()>, f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        waits.recv().unwrap();
        f();
    })
}

#[test]
fn running_closures_are_waited_for() {
    on_every_mechanism(|make| {
        let (runtime, waits) = make.announcing();
        let (gates, jobs): (Vec<_>, Vec<_>) = (0..3).map(|_| occupy(&runtime.handle())).unzip();
        let other = when_it_waits(waits, || drop(gates));
        assert_clean(&runtime.shutdown(Duration::MAX));
        for job in jobs {
            assert!(job.is_finished());
            job.wait().unwrap();
        }
        other.join().unwrap();
    });
}

#[test]
fn waiting_closures_run_before_the_deadline() {
    on_every_mechanism(|make| {
        let pool = Pool::new(1, Duration::from_secs(1));
        let runtime = make.builder().blocking_pool(&pool).build().unwrap();
        let (gate, running) = occupy(&runtime.handle());
        let waiting = [1, 2, 3].map(|n| runtime.handle().spawn_blocking(move || n));
        drop(gate);
        assert_clean(&runtime.shutdown(LONG));
        running.wait().unwrap();
        assert_eq!(waiting.map(|job| job.wait().unwrap()), [1, 2, 3]);
        assert_eq!(pool.queued(), 0);
    });
}

#[test]
fn closure_that_never_ends_is_reported_and_left_alone() {
    on_every_mechanism(|make| {
        let builder = make.builder().max_blocking_threads(1);
        let runtime = builder.track_spawn_locations(true).build().unwrap();
        let handle = runtime.handle();
        let (gate, running) = occupy(&handle);
        let (send, dropped) = channel();
        let value = OnDrop("closure", send);
        let named = task::Builder::new().name("second");
        let waiting = named.spawn_blocking_on(move || drop(value), &handle);
        let report = runtime.shutdown(SHORT);
        assert!(report.is_late() && !report.is_clean());
        let [first, second] = report.blocking_jobs() else {
            panic!("{report:?}");
        };
        assert_eq!((first.id(), second.id()), (running.id(), waiting.id()));
        assert_eq!((first.has_begun(), second.has_begun()), (true, false));
        assert_eq!((first.name(), second.name()), (None, Some("second")));
        for job in [first, second] {
            assert!(
                job.spawned_at()
                    .is_some_and(|place| place.file() == file!())
            );
            assert!(!job.is_look_up());
        }
        let text = report.to_string();
        assert!(
            text.starts_with("the time was over: 2 jobs were left\n  job "),
            "{text}"
        );
        assert!(
            text.contains(", still running\n  job ") && text.ends_with(", not begun"),
            "{text}"
        );
        assert_eq!(dropped.try_recv(), Ok("closure"));
        assert!(waiting.wait().unwrap_err().is_runtime_gone());
        assert!(!running.is_finished());
        drop(gate);
        running.wait().unwrap();
    });
}

#[test]
fn drop_and_shutdown_without_time_do_not_wait_for_a_closure() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let (gate, job) = occupy(&runtime.handle());
        drop(runtime);
        assert!(!job.is_finished());
        drop(gate);
        job.wait().unwrap();

        let runtime = make.runtime();
        let (gate, job) = occupy(&runtime.handle());
        assert_eq!(runtime.shutdown(Duration::ZERO).blocking_jobs().len(), 1);
        assert!(!job.is_finished());
        drop(gate);
        job.wait().unwrap();
    });
}

#[test]
fn tasks_may_use_files_and_names_while_they_end() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let task = spawn_sending(&runtime, async {
            let inner = || Handle::current().spawn_blocking(|| 3).wait().unwrap();
            let sum = spawn_blocking(move || 4 + inner()).await.unwrap();
            let mut file = Unblock::new(std::fs::File::open("Cargo.toml").unwrap());
            let mut start = [0; 9];
            file.read_exact(&mut start).await.unwrap();
            assert_eq!(&start, b"[package]");
            assert!(lookup_host("localhost:80").await.unwrap().next().is_some());
            sum
        });
        assert_clean(&runtime.shutdown(LONG));
        assert_eq!(task.recv().unwrap(), 7);
    });
}

/// The task does not return from its poll until the other thread was refused.
#[test]
fn closures_of_other_threads_are_refused() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let handle = runtime.handle();
        let ((begin, begun), (done, wait)) = (channel(), channel::<()>());
        let other = thread::spawn(move || {
            begun.recv().unwrap();
            let (send, dropped) = channel();
            let value = OnDrop("closure", send);
            let job = handle.spawn_blocking(move || drop(value));
            assert_eq!(dropped.try_recv(), Ok("closure"));
            assert!(job.wait().unwrap_err().is_runtime_gone());
            let error = handle.try_spawn_blocking(|| 7).unwrap_err();
            assert!(error.is_runtime_gone());
            assert_eq!(error.into_inner()(), 7);
            drop(done);
        });
        let task = spawn_sending(&runtime, async move {
            begin.send(()).unwrap();
            wait.recv().unwrap_err();
        });
        assert_clean(&runtime.shutdown(LONG));
        task.recv().unwrap();
        other.join().unwrap();
    });
}

/// A pool of one thread, which a closure of another runtime holds.
fn shared(make: Make) -> (Pool, Runtime, Gate, JoinHandle<()>) {
    let pool = Pool::new(1, Duration::from_secs(1));
    let other = make.builder().blocking_pool(&pool).build().unwrap();
    let (gate, running) = occupy(&other.handle());
    (pool, other, gate, running)
}

#[test]
fn closures_of_another_runtime_in_the_same_pool_do_not_count() {
    on_every_mechanism(|make| {
        let (pool, other, gate, running) = shared(make);
        let theirs = other.handle().spawn_blocking(|| 7);
        let runtime = make.builder().blocking_pool(&pool).build().unwrap();
        assert_clean(&runtime.shutdown(LONG));

        let runtime = make.builder().blocking_pool(&pool).build().unwrap();
        let ours = runtime.handle().spawn_blocking(|| 8);
        let report = runtime.shutdown(SHORT);
        assert_eq!(report.blocking_jobs().len(), 1);
        assert_eq!(report.blocking_jobs()[0].id(), ours.id());
        assert!(ours.wait().unwrap_err().is_runtime_gone());
        assert_eq!(pool.queued(), 1);
        drop(gate);
        running.wait().unwrap();
        assert_eq!(theirs.wait().unwrap(), 7);
        assert_clean(&other.shutdown(LONG));
    });
}

#[test]
fn abort_of_the_last_closure_ends_the_wait() {
    on_every_mechanism(|make| {
        let (pool, _other, gate, running) = shared(make);
        let (send, waits) = channel();
        let builder = make.builder().blocking_pool(&pool);
        let builder = builder.on_park(move || {
            send.send(()).ok();
        });
        let runtime = builder.build().unwrap();
        let job = runtime.handle().spawn_blocking(|| ());
        let aborts = when_it_waits(waits, move || {
            job.abort();
            assert!(job.wait().unwrap_err().is_cancelled());
        });
        assert_clean(&runtime.shutdown(Duration::MAX));
        aborts.join().unwrap();
        drop(gate);
        running.wait().unwrap();
    });
}

/// The loop goes on while only closures are left: one of them waits for a socket.
#[test]
fn closure_may_wait_for_a_socket_of_the_runtime() {
    on_every_mechanism(|make| {
        let (runtime, waits) = make.announcing();
        let (mut peer, stream) = runtime.block_on(super::support::std_pair());
        while waits.try_recv().is_ok() {}
        let handle = runtime.handle();
        let job = runtime.handle().spawn_blocking(move || {
            let mut word = [0; 4];
            handle.block_on(stream.read_exact(&mut word)).unwrap();
            word
        });
        let writes = when_it_waits(waits, move || {
            std::io::Write::write_all(&mut peer, b"word").unwrap();
        });
        assert_clean(&runtime.shutdown(Duration::MAX));
        assert_eq!(&job.wait().unwrap(), b"word");
        writes.join().unwrap();
    });
}
