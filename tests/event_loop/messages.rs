//! Other threads: messages, `wake` and `stop`.

use super::*;
use reveille::event_loop::{Handle, SendError, Sender};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[test]
fn sender_and_handle_are_send_and_sync() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<Sender<std::cell::Cell<u8>>>();
    is_shared::<Handle>();
    fn is_static<T: 'static>() {}
    is_static::<SendError<u8>>();
}

/// C06 for messages: none is lost or handled twice, and those of one thread arrive in order, while
/// the loop sleeps and is woken.
#[test]
fn messages_from_many_threads_are_not_lost() {
    const THREADS: usize = 4;
    const EACH: usize = 5000;
    on_every_loop(|loops| {
        let mut event_loop = loops.make(vec![0; THREADS]);
        let sender = event_loop.on_message(|event_loop, (who, number): (usize, usize)| {
            let next = &mut event_loop.data_mut()[who];
            assert_eq!(*next, number, "thread {who}");
            *next += 1;
        });
        let threads: Vec<_> = (0..THREADS)
            .map(|who| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for number in 0..EACH {
                        sender.send((who, number)).unwrap();
                        if number % 64 == 0 {
                            // Lets the loop sleep now and then.
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        run_until(&mut event_loop, |counts| {
            counts.iter().all(|count| *count == EACH)
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_quiet(&mut event_loop);
    });
}

/// Each message is sent when the previous one was handled: the loop is asleep, about to sleep, or
/// spins first.
#[test]
fn message_wakes_a_sleeping_loop() {
    on_every_loop(|loops| {
        for spin in [Duration::ZERO, MS / 50, HOUR] {
            one_message_at_a_time(loops.builder().spin_before_park(spin));
        }
    });
}

fn one_message_at_a_time(builder: reveille::event_loop::Builder) {
    let mut event_loop = builder.build(0).unwrap();
    let (handled, next) = std::sync::mpsc::channel();
    let sender = event_loop.on_message(move |event_loop, ()| {
        *event_loop.data_mut() += 1;
        handled.send(()).unwrap();
    });
    let thread = thread::spawn(move || {
        for _ in 0..500 {
            sender.send(()).unwrap();
            next.recv().unwrap();
        }
    });
    run_until(&mut event_loop, |count| *count == 500);
    thread.join().unwrap();
}

/// Two kinds of messages, sent alternately.
#[test]
fn message_handlers_receive_only_their_kind() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Vec::new());
        let texts = event_loop.on_message(|event_loop, text: String| {
            event_loop.data_mut().push(text);
        });
        let numbers = event_loop.on_message(|event_loop, number: u32| {
            event_loop.data_mut().push(number.to_string());
        });
        texts.send("a".to_owned()).unwrap();
        numbers.send(1).unwrap();
        texts.send("b".to_owned()).unwrap();
        numbers.send(2).unwrap();
        assert_eq!(turn(&mut event_loop), 4);
        event_loop.data_mut().sort_unstable();
        assert_eq!(*event_loop.data(), ["1", "2", "a", "b"]);
    });
}

/// It waits, because otherwise a handler that sends to itself would never let the turn end.
#[test]
fn message_sent_by_a_message_handler_waits_for_the_next_turn() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(None);
        let sender =
            event_loop.on_message(|event_loop: &mut EventLoop<Option<Sender<u32>>>, left| {
                if left > 0 {
                    let sender = event_loop.data().clone().unwrap();
                    sender.send(left - 1).unwrap();
                } else {
                    *event_loop.data_mut() = None;
                }
            });
        *event_loop.data_mut() = Some(sender.clone());
        sender.send(3).unwrap();
        for _ in 0..4 {
            assert_eq!(event_loop.turn(None).unwrap(), 1);
        }
        assert!(event_loop.data().is_none());
    });
}

/// A message sent by the handler of an fd is handled in the same turn. One sent by a timer or a
/// deferred function is handled in the next turn, which does not wait.
#[test]
fn message_from_the_loops_own_thread_is_handled() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Vec::new());
        let sender = event_loop.on_message(|event_loop: &mut EventLoop<Vec<&str>>, from| {
            event_loop.data_mut().push(from);
            if event_loop.data().len() == 3 {
                event_loop.stop();
            }
        });
        let (here, _there) = ready_pair();
        let other = sender.clone();
        event_loop
            .attach(
                here,
                Interest::READABLE,
                Trigger::Level,
                move |event_loop, key, _| {
                    event_loop.close(key);
                    other.send("handler").unwrap();
                },
            )
            .unwrap();
        assert_eq!(turn(&mut event_loop), 2);
        let other = sender.clone();
        event_loop.set_timer(MS, move |event_loop, _| {
            other.send("timer").unwrap();
            let sender = sender.clone();
            event_loop.defer(move |_| sender.send("deferred").unwrap());
        });
        event_loop.run().unwrap();
        assert_eq!(*event_loop.data(), ["handler", "timer", "deferred"]);
    });
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The loop drops messages that were not handled. A later send returns the message.
#[test]
fn messages_are_dropped_with_the_loop_or_returned() {
    on_every_loop(|loops| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut event_loop = loops.make(());
        let sender = event_loop.on_message(|_, _: Counted| {});
        sender.send(Counted(dropped.clone())).unwrap();
        sender.send(Counted(dropped.clone())).unwrap();
        drop(event_loop);
        assert_eq!(dropped.load(Ordering::SeqCst), 2);
        let refused = sender.send(Counted(dropped.clone())).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot send the message: the event loop was dropped"
        );
        assert_eq!(
            dropped.load(Ordering::SeqCst),
            2,
            "the error contains the message"
        );
        drop(refused);
        assert_eq!(dropped.load(Ordering::SeqCst), 3);
    });
}

/// The drop of a message sends another one, which is returned because the loop is gone.
#[test]
fn message_may_send_in_its_drop() {
    struct Nosy(Option<Sender<Nosy>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                assert!(sender.send(Nosy(None)).is_err());
            }
        }
    }
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let sender = event_loop.on_message(|_, message: Nosy| std::mem::forget(message));
        sender.send(Nosy(Some(sender.clone()))).unwrap();
        drop(event_loop);
    });
}

/// The handler is dropped in the next turn that handles messages, and not before the last message.
#[test]
fn message_handler_is_dropped_after_its_last_sender_and_message() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        let held = Rc::new(());
        let holder = held.clone();
        let sender = event_loop.on_message(move |event_loop, ()| {
            let _ = &holder;
            *event_loop.data_mut() += 1;
        });
        let other = sender.clone();
        drop(sender);
        event_loop.handle().wake();
        turn(&mut event_loop);
        assert_eq!(Rc::strong_count(&held), 2, "there is another sender");
        other.send(()).unwrap();
        drop(other);
        turn(&mut event_loop);
        event_loop.handle().wake();
        turn(&mut event_loop);
        assert_eq!(*event_loop.data(), 1);
        assert_eq!(Rc::strong_count(&held), 1);
    });
}

/// The handler of a message adds a handler and sends to it.
#[test]
fn message_handler_added_by_a_handler_is_called() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(0);
        let sender = event_loop.on_message(|event_loop, ()| {
            let inner = event_loop.on_message(|event_loop, ()| *event_loop.data_mut() += 1);
            inner.send(()).unwrap();
            *event_loop.data_mut() += 1;
        });
        sender.send(()).unwrap();
        run_until(&mut event_loop, |count| *count == 2);
        assert!(sender.send(()).is_ok());
        run_until(&mut event_loop, |count| *count == 4);
    });
}

/// `wake` ends a wait; several calls cause one turn.
#[test]
fn wakes_in_one_turn_make_one_turn() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(());
        let handle = event_loop.handle();
        for _ in 0..10 {
            handle.wake();
        }
        event_loop.turn(None).unwrap();
        assert_eq!(event_loop.next_deadline(), None);
        let start = Instant::now();
        event_loop.turn(Some(5 * MS)).unwrap();
        event_loop.turn(Some(5 * MS)).unwrap();
        // The mechanism may still report one notification.
        assert!(start.elapsed() >= 5 * MS);
        let thread = thread::spawn(move || {
            thread::sleep(2 * MS);
            handle.wake();
        });
        event_loop.turn(None).unwrap();
        thread.join().unwrap();
    });
}

/// A handle may outlive its loop.
#[test]
fn handle_of_a_dropped_loop_does_nothing() {
    on_every_loop(|loops| {
        let handle = loops.make(()).handle();
        handle.wake();
        handle.stop();
        thread::spawn(move || handle.clone().stop()).join().unwrap();
    });
}
