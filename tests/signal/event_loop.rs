//! Handlers of a callback loop.

use super::{USR1, USR2, kill, on_every_loop, raise, support};
use reveille::backend::BackendKind;
use reveille::event_loop::{Builder, EventLoop, SignalKey};
use reveille::signal::SignalKind;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use support::Loops;
use support::loops::{assert_quiet, assert_rests, run_until};
use support::recording::recording;

/// The calls of a loop's handlers: a name, the kind, the count.
type Calls = Vec<(&'static str, SignalKind, u32)>;

fn add(event_loop: &mut EventLoop<Calls>, name: &'static str, kind: SignalKind) -> SignalKey {
    let handler = move |event_loop: &mut EventLoop<Calls>, kind, count| {
        event_loop.data_mut().push((name, kind, count));
    };
    event_loop.on_signal(kind, handler).unwrap()
}

/// Makes turns until that many calls were made, and returns them.
fn calls(event_loop: &mut EventLoop<Calls>, count: usize) -> Calls {
    run_until(event_loop, |calls| calls.len() >= count);
    std::mem::take(event_loop.data_mut())
}

#[test]
fn each_handler_is_called_with_its_count() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Calls::new());
        raise_with_handler(loops);
        add(&mut event_loop, "one", USR1);
        add(&mut event_loop, "two", USR1);
        add(&mut event_loop, "three", USR2);
        assert_quiet(&mut event_loop);
        for burst in 1..=3 {
            (0..burst).for_each(|_| raise(USR1));
            let called = calls(&mut event_loop, 2);
            assert_eq!(called, [("one", USR1, burst), ("two", USR1, burst)]);
            assert_quiet(&mut event_loop);
            assert_rests(&mut event_loop);
        }
        raise(USR2);
        raise(USR1);
        // The turn counts these calls and no other.
        assert_eq!(event_loop.turn(None).unwrap(), 3);
        let called = std::mem::take(event_loop.data_mut());
        assert_eq!(
            called,
            [("one", USR1, 1), ("two", USR1, 1), ("three", USR2, 1)]
        );
    });
}

/// Raises USR1 while another loop listens for it, so that the signal has a handler.
fn raise_with_handler(loops: Loops) {
    let mut other = loops.make(Calls::new());
    add(&mut other, "other", USR1);
    raise(USR1);
}

#[test]
fn descriptor_for_signals_is_not_counted_as_attached() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Calls::new());
        // Some mechanisms open one more descriptor for the first file that they watch.
        let key = add(&mut event_loop, "", USR1);
        assert!(event_loop.remove_signal(key));
        let before = super::open_descriptors();
        let keys = [USR1, USR2].map(|kind| add(&mut event_loop, "", kind));
        assert!(event_loop.is_empty() && super::open_descriptors() > before);
        assert!(event_loop.remove_signal(keys[0]));
        assert!(event_loop.is_empty() && super::open_descriptors() > before);
        assert!(event_loop.remove_signal(keys[1]));
        assert!(!event_loop.remove_signal(keys[1]) && !event_loop.remove_signal(keys[0]));
        assert!(event_loop.is_empty());
        assert_eq!(super::open_descriptors(), before);
        // The numbers are not used again.
        let key = add(&mut event_loop, "", USR1);
        assert!(!keys.contains(&key));
        let mut other = loops.make(Calls::new());
        add(&mut other, "", USR1);
        assert!(!other.remove_signal(key), "it is a key of another loop");
    });
}

#[test]
fn handler_may_remove_itself_and_others_and_add_more() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make((0, Vec::new()));
        let value = Rc::new(());
        let held = value.clone();
        type Data = (u32, Vec<SignalKey>);
        let first = event_loop.on_signal(USR1, move |event_loop: &mut EventLoop<Data>, _, _| {
            let _held = &held;
            for key in std::mem::take(&mut event_loop.data_mut().1) {
                assert!(event_loop.remove_signal(key));
            }
            let add = |event_loop: &mut EventLoop<Data>, _, count| {
                event_loop.data_mut().0 += count;
            };
            event_loop.on_signal(USR1, add).unwrap();
        });
        let unused = |_: &mut EventLoop<Data>, _, _| unreachable!("it was removed");
        let second = event_loop.on_signal(USR1, unused);
        *event_loop.data_mut() = (0, vec![first.unwrap(), second.unwrap()]);
        raise(USR1);
        while Rc::strong_count(&value) > 1 {
            event_loop.turn(None).unwrap();
        }
        assert_quiet(&mut event_loop);
        assert_eq!(
            event_loop.data().0,
            0,
            "the new handler has seen an earlier signal"
        );
        raise(USR1);
        run_until(&mut event_loop, |(count, _)| *count == 1);
    });
}

#[test]
fn panic_leaves_the_other_handlers_to_the_next_turn() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Calls::new());
        event_loop
            .on_signal(USR1, |event_loop: &mut EventLoop<Calls>, kind, count| {
                event_loop.data_mut().push(("panics", kind, count));
                panic!("as planned");
            })
            .unwrap();
        add(&mut event_loop, "after", USR1);
        for _ in 0..2 {
            raise(USR1);
            let run = || while event_loop.turn(None).unwrap() == 0 {};
            let panicked = catch_unwind(AssertUnwindSafe(run));
            assert!(panicked.is_err());
            let called = calls(&mut event_loop, 2);
            assert_eq!(called, [("panics", USR1, 1), ("after", USR1, 1)]);
            assert_quiet(&mut event_loop);
        }
    });
}

#[test]
fn handlers_are_dropped_with_the_loop() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let value = Rc::new(());
        let held = value.clone();
        let handler = move |_: &mut EventLoop, _, _| drop(held.clone());
        event_loop.on_signal(USR1, handler).unwrap();
        drop(event_loop);
        assert_eq!(Rc::strong_count(&value), 1);
        // Without a loop it does nothing.
        raise(USR1);
    });
}

/// Threads send as fast as they can. Every signal that a thread sends to itself is counted.
#[test]
fn storm_of_threads_is_counted_exactly() {
    const THREADS: u32 = 3;
    const SIGNALS: u32 = 500;
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Calls::new());
        add(&mut event_loop, "counts", USR1);
        let done = Arc::new(AtomicU32::new(0));
        let handle = event_loop.handle();
        let senders: Vec<_> = (0..THREADS)
            .map(|_| {
                let (done, handle) = (done.clone(), handle.clone());
                thread::spawn(move || {
                    (0..SIGNALS).for_each(|_| raise(USR1));
                    if done.fetch_add(1, Ordering::SeqCst) + 1 == THREADS {
                        handle.stop();
                    }
                })
            })
            .collect();
        event_loop.run().unwrap();
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
        let total = |calls: &Calls| calls.iter().map(|(_, _, count)| count).sum::<u32>();
        run_until(&mut event_loop, |calls| total(calls) >= THREADS * SIGNALS);
        assert_quiet(&mut event_loop);
        assert_eq!(total(event_loop.data()), THREADS * SIGNALS);
    });
}

#[test]
fn signal_to_the_process_ends_the_wait() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Calls::new());
        add(&mut event_loop, "", USR2);
        for _ in 0..20 {
            kill(USR2);
            assert_eq!(calls(&mut event_loop, 1), [("", USR2, 1)]);
        }
    });
}

#[test]
fn debug_text_counts_the_fds_of_the_user() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Calls::new());
        add(&mut event_loop, "one", USR1);
        assert!(event_loop.is_empty());
        let text = format!("{event_loop:?}");
        assert!(text.contains("fds: 0"), "{text}");
    });
}

/// No handler of the user would learn of it. (Here in the process itself: that needs no fork.)
#[test]
fn after_fork_fails_if_signals_cannot_be_heard_any_longer() {
    let _alone = super::alone();
    for kind in BackendKind::ALL {
        let Some((recording, record)) = recording(kind) else {
            continue;
        };
        let builder = Builder::new().with_backend(recording);
        let mut event_loop: EventLoop<Calls> = builder.build(Calls::new()).unwrap();
        add(&mut event_loop, "one", USR1);
        match event_loop.after_fork() {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{kind}: {error}");
                continue;
            }
        }
        raise(USR1);
        assert_eq!(calls(&mut event_loop, 1).len(), 1);
        record.refuse(|_| true);
        let refused = event_loop.after_fork().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{kind}");
    }
}
