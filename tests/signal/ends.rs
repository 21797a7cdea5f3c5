//! The ends of listeners and runtimes, in any order.

use super::{
    USR1, USR2, alone, another_like, has_signal, on_every_backend, open_descriptors, raise,
    support::{self, rounds},
};
use reveille::Builder;
use reveille::backend::BackendKind;
use reveille::event_loop;
use reveille::signal::{Signal, signal, signals};
use std::task::Poll;
use std::thread;

#[test]
fn listener_ends_with_its_runtime_after_reporting_what_has_arrived() {
    on_every_backend(|runtime| {
        let other = another_like(runtime);
        let (mut one, mut two) = other.enter(|| (signal(USR1).unwrap(), signal(USR1).unwrap()));
        raise(USR1);
        assert!(has_signal(&mut two));
        drop(other);
        // After the end of its runtime a signal is not counted.
        raise(USR1);
        assert_eq!(runtime.block_on(one.recv()), Some(()));
        assert_eq!(runtime.block_on(one.recv()), None);
        assert_eq!(runtime.block_on(two.recv()), None);
        assert_eq!(runtime.block_on(two.recv()), None);
    });
}

/// A thread that waits is woken by the end of the runtime.
#[test]
fn end_of_the_runtime_wakes_a_thread_that_waits() {
    on_every_backend(|runtime| {
        let other = another_like(runtime);
        let mut listener = other.enter(|| signal(USR1)).unwrap();
        let waits = thread::spawn(move || support::wait(listener.recv()));
        drop(other);
        assert_eq!(waits.join().unwrap(), None);
    });
}

/// The descriptor of a loop is owned by its actions as well, so one that is left open shows that an
/// action was left.
#[test]
fn thousands_of_listeners_and_loops_leave_no_descriptor_and_no_action() {
    let _alone = alone();
    for kind in BackendKind::ALL {
        let make = || Builder::new().backend(kind).build();
        if make().is_err() {
            println!("skipped on {kind}");
            continue;
        }
        support::guarded(kind.name(), || {
            let before = open_descriptors();
            for round in 0..rounds(150) {
                let runtime = make().unwrap();
                let mut kept = runtime.block_on(async {
                    let mut one = signal(USR1).unwrap();
                    let mut both = signals(&[USR1, USR2]).unwrap();
                    raise(USR1);
                    assert_eq!(one.recv().await, Some(()));
                    assert_eq!(both.recv().await, Some(USR1));
                    drop(one);
                    for _ in 0..3 {
                        drop(signal(USR2).unwrap());
                    }
                    let lost = signal(USR2).unwrap();
                    reveille::spawn(async move {
                        let mut lost = lost;
                        lost.recv().await
                    });
                    both
                });
                match round % 3 {
                    0 => drop((kept, runtime)),
                    1 => {
                        drop(runtime);
                        assert_eq!(super::poll_once(kept.recv()), Poll::Ready(None));
                    }
                    _ => thread::scope(|scope| {
                        scope.spawn(move || drop(kept));
                        drop(runtime);
                    }),
                }
            }
            for round in 0..rounds(150) {
                let builder = event_loop::Builder::new().backend(kind);
                let mut event_loop = builder.build(0).unwrap();
                let keys = [USR1, USR2, USR1].map(|kind| {
                    let add = |event_loop: &mut event_loop::EventLoop<u32>, _, count| {
                        *event_loop.data_mut() += count;
                    };
                    event_loop.on_signal(kind, add).unwrap()
                });
                raise(USR1);
                while *event_loop.data() < 2 {
                    event_loop.turn(None).unwrap();
                }
                for key in &keys[..round as usize % 4] {
                    assert!(event_loop.remove_signal(*key));
                }
            }
            // ThreadSanitizer opens two when it asks for the names of functions.
            assert!(open_descriptors() < before + 10);
        });
    }
}

/// The last listener closes the descriptor, so an idle runtime watches nothing.
#[test]
fn last_listener_takes_the_descriptor_with_it() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            // Some mechanisms open one more descriptor for the first file that they watch.
            drop(signal(USR1).unwrap());
            let before = open_descriptors();
            let one = signal(USR1).unwrap();
            assert!(open_descriptors() > before);
            let with_one = open_descriptors();
            let two = signals(&[USR1, USR2]).unwrap();
            assert_eq!(open_descriptors(), with_one);
            drop(one);
            assert_eq!(open_descriptors(), with_one);
            drop(two);
            assert_eq!(open_descriptors(), before);
        });
        assert!(format!("{runtime:?}").contains("fds: 0"), "{runtime:?}");
    });
}

/// A listener that is dropped on another thread leaves its descriptor's number to a new one.
#[test]
fn listener_may_be_dropped_on_another_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for _ in 0..20 {
                let old = signal(USR1).unwrap();
                thread::spawn(move || drop(old)).join().unwrap();
                let mut new: Signal = signal(USR1).unwrap();
                raise(USR1);
                assert_eq!(new.recv().await, Some(()));
                thread::spawn(move || drop(new)).join().unwrap();
            }
        });
    });
}
