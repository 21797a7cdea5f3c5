//! Several runtimes and threads in one process.

use super::{USR1, USR2, has_signal, kill, kind_of, on_every_backend, raise, support};
use reveille::signal::{signal, signals};
use reveille::{Builder, Runtime};
use std::sync::Barrier;
use std::thread;

/// Each signal is sent when every runtime has reported the one before.
#[test]
fn every_runtime_gets_each_signal_once() {
    const RUNTIMES: usize = 3;
    const ROUNDS: usize = 30;
    on_every_backend(|runtime| {
        let (barrier, kind) = (&Barrier::new(RUNTIMES + 1), kind_of(runtime));
        let hear = || {
            let builder = Builder::new();
            let runtime = match kind {
                Some(kind) => builder.backend(kind).build().unwrap(),
                None => builder.build().unwrap(),
            };
            let mut listener = runtime.enter(|| signal(USR1)).unwrap();
            for _ in 0..ROUNDS {
                barrier.wait();
                assert_eq!(runtime.block_on(listener.recv()), Some(()));
                assert!(!has_signal(&mut listener));
                barrier.wait();
            }
        };
        thread::scope(|scope| {
            for _ in 0..RUNTIMES {
                scope.spawn(hear);
            }
            for round in 0..ROUNDS {
                barrier.wait();
                match round % 2 {
                    0 => raise(USR1),
                    _ => kill(USR1),
                }
                barrier.wait();
            }
        });
    });
}

/// A listener waits on a thread without a runtime, and in another runtime.
#[test]
fn listener_works_on_other_threads_while_its_runtime_runs() {
    const ROUNDS: usize = 30;
    on_every_backend(|runtime| {
        let (mut one, mut both) =
            runtime.enter(|| (signal(USR1).unwrap(), signals(&[USR1, USR2]).unwrap()));
        let (barrier, handle) = (&Barrier::new(3), runtime.handle());
        thread::scope(|scope| {
            let without_runtime = scope.spawn(move || {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    assert_eq!(support::wait(one.recv()), Some(()));
                    barrier.wait();
                }
            });
            let in_another = scope.spawn(move || {
                let other = Runtime::new().unwrap();
                for _ in 0..ROUNDS {
                    barrier.wait();
                    assert_eq!(other.block_on(both.recv()), Some(USR1));
                    barrier.wait();
                }
            });
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    raise(USR1);
                    barrier.wait();
                }
                without_runtime.join().unwrap();
                in_another.join().unwrap();
                handle.stop();
            });
            runtime.run().unwrap();
        });
    });
}
