//! What one or more listeners on one runtime report.

use super::{USR1, USR2, has_signal, kind_of, on_every_backend, poll_once, raise, take_all};
use futures_core::Stream;
use reveille::Builder;
use reveille::signal::{Signal, SignalKind, Signals, ctrl_c, signal, signals};
use reveille::time::sleep;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Real-time signals that no mechanism uses.
fn real_time() -> Vec<SignalKind> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return [0, 6]
        .map(|at| SignalKind::from_raw(libc::SIGRTMIN() + at))
        .to_vec();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    Vec::new()
}

#[test]
fn each_kind_wakes_a_task_that_waits() {
    on_every_backend(|runtime| {
        let kinds = [
            SignalKind::alarm(),
            SignalKind::child(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::pipe(),
            SignalKind::quit(),
            SignalKind::terminate(),
            USR1,
            USR2,
            SignalKind::window_change(),
            SignalKind::from_raw(libc::SIGURG),
        ];
        runtime.block_on(async {
            for kind in kinds.into_iter().chain(real_time()) {
                let mut listener = signal(kind).unwrap();
                assert_eq!(listener.kind(), kind);
                let waits = reveille::spawn(async move {
                    assert_eq!(listener.recv().await, Some(()), "{kind}");
                    listener
                });
                reveille::yield_now().await;
                raise(kind);
                let mut listener = waits.await.unwrap();
                assert!(!has_signal(&mut listener), "{kind} was reported twice");
            }
        });
    });
}

#[test]
fn every_listener_gets_each_signal() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut one = signal(USR1).unwrap();
            let mut two = signal(USR1).unwrap();
            let mut both = signals(&[USR2, USR1, USR1]).unwrap();
            let mut other = signal(USR2).unwrap();
            for _ in 0..3 {
                let tasks: Vec<_> = [&mut one, &mut two]
                    .map(|listener| std::mem::replace(listener, signal(USR1).unwrap()))
                    .into_iter()
                    .map(|mut listener| {
                        reveille::spawn(async move {
                            listener.recv().await.unwrap();
                            listener
                        })
                    })
                    .collect();
                reveille::yield_now().await;
                raise(USR1);
                assert_eq!(both.recv().await, Some(USR1));
                let mut back = Vec::new();
                for task in tasks {
                    back.push(task.await.unwrap());
                }
                two = back.pop().unwrap();
                one = back.pop().unwrap();
                assert!(!has_signal(&mut one) && !has_signal(&mut two));
                assert_eq!(take_all(&mut both), []);
                assert!(!has_signal(&mut other));
            }
            raise(USR2);
            assert_eq!(other.recv().await, Some(()));
            assert_eq!(take_all(&mut both), [USR2]);
        });
    });
}

#[test]
fn listener_does_not_see_signals_from_before_it_was_made() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut early = signal(USR1).unwrap();
            raise(USR1);
            let mut late = signal(USR1).unwrap();
            assert!(has_signal(&mut early) && !has_signal(&mut late));
            drop((early, late));
            raise(USR1);
            let mut alone = signals(&[USR1, USR2]).unwrap();
            reveille::yield_now().await;
            assert_eq!(take_all(&mut alone), []);
            raise(USR1);
            assert_eq!(alone.recv().await, Some(USR1));
        });
    });
}

#[test]
fn burst_is_reported_once_and_what_follows_once_more() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut listener = signal(USR1).unwrap();
            for round in 0..20 {
                (0..1 + round * 10).for_each(|_| raise(USR1));
                assert_eq!(listener.recv().await, Some(()));
                assert!(!has_signal(&mut listener), "round {round}");
            }
        });
    });
}

/// Signals that arrive while nothing waits: before the first poll, after a wait was dropped,
/// between two calls of the loop.
#[test]
fn recv_reports_what_arrived_while_nothing_waited() {
    on_every_backend(|runtime| {
        let mut listener = runtime.enter(|| signal(USR1)).unwrap();
        raise(USR1);
        runtime.block_on(async {
            assert_eq!(listener.recv().await, Some(()));
            assert!(poll_once(listener.recv()).is_pending());
            raise(USR1);
            // The dropped wait has not taken it.
            let mut waits = Box::pin(listener.recv());
            assert!(
                poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx)))
                    .await
                    .is_ready()
            );
            drop(waits);
            let mut waits = Box::pin(listener.recv());
            assert!(
                poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx)))
                    .await
                    .is_pending()
            );
            drop(waits);
        });
        raise(USR1);
        assert_eq!(runtime.block_on(listener.recv()), Some(()));
        runtime.block_on(async { assert!(!has_signal(&mut listener)) });
    });
}

/// A kind that arrives before each call does not keep the other from being reported.
#[test]
fn signals_takes_turns_between_its_kinds() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for kinds in [[USR1, USR2], [USR2, USR1]] {
                let mut both = signals(&kinds).unwrap();
                raise(USR2);
                let mut found = Vec::new();
                for _ in 0..2 {
                    raise(USR1);
                    found.push(both.recv().await.unwrap());
                }
                assert!(found.contains(&USR2), "{found:?}");
            }
        });
    });
}

#[test]
fn listeners_are_streams() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut one = signal(USR1).unwrap();
            let mut both = signals(&[USR1, USR2]).unwrap();
            raise(USR1);
            let found = poll_fn(|cx| Pin::new(&mut one).poll_next(cx)).await;
            assert_eq!(found, Some(()));
            let found = poll_fn(|cx| Pin::new(&mut both).poll_next(cx)).await;
            assert_eq!(found, Some(USR1));
            let next = poll_fn(|cx| Poll::Ready(Pin::new(&mut both).poll_next(cx))).await;
            assert!(next.is_pending());
        });
    });
}

#[test]
fn ctrl_c_listens_from_its_first_poll_on() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            // So that SIGINT has a handler.
            drop(signal(SignalKind::interrupt()).unwrap());
            let mut waits = pin!(ctrl_c());
            raise(SignalKind::interrupt());
            assert!(support_poll(waits.as_mut()).await.is_pending());
            raise(SignalKind::interrupt());
            waits.await.unwrap();
        });
    });
}

async fn support_poll<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Counts the wakes of a waker.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Of the wakers of one listener, the last is woken; it is woken once for a burst.
#[test]
fn poll_recv_wakes_the_last_waker() {
    on_every_backend(|runtime| {
        let counts = [(); 3].map(|()| Arc::new(Count::default()));
        let mut listener = runtime.enter(|| signal(USR1)).unwrap();
        for count in &counts {
            let waker = Waker::from(count.clone());
            let polled = listener.poll_recv(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        raise(USR1);
        raise(USR1);
        while counts[2].0.load(Ordering::SeqCst) == 0 {
            runtime.turn(None).unwrap();
        }
        let [first, second, last] = counts.map(|count| count.0.load(Ordering::SeqCst));
        assert_eq!((first, second, last), (0, 0, 1));
        runtime.block_on(async { assert!(has_signal(&mut listener)) });
    });
}

/// After a signal was reported, and while a listener exists, the runtime sleeps until its timer.
#[test]
fn runtime_rests_after_a_signal() {
    on_every_backend(|runtime| {
        let parks = Rc::new(Cell::new(0));
        let counted = parks.clone();
        let builder = Builder::new().on_park(move || counted.set(counted.get() + 1));
        let runtime = match kind_of(runtime) {
            Some(kind) => builder.backend(kind).build().unwrap(),
            None => builder.build().unwrap(),
        };
        runtime.block_on(async {
            let mut listener = signal(USR1).unwrap();
            for _ in 0..3 {
                raise(USR1);
                assert_eq!(listener.recv().await, Some(()));
            }
            parks.set(0);
            sleep(Duration::from_millis(40)).await;
            assert!(parks.get() < 20, "{} turns", parks.get());
        });
    });
}

/// While other listeners exist, too.
#[test]
fn signal_whose_last_listener_is_gone_wakes_no_task() {
    on_every_backend(|runtime| {
        let count = Arc::new(Count::default());
        let mut listener = runtime.enter(|| signal(USR1)).unwrap();
        let waker = Waker::from(count.clone());
        let polled = listener.poll_recv(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(runtime.enter(|| signal(USR2)).unwrap());
        raise(USR2);
        // An event would be reported by the first of these.
        for _ in 0..3 {
            runtime.turn(Some(Duration::from_millis(5))).unwrap();
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    });
}

/// A host notices signals as it notices all else.
#[test]
fn signal_makes_the_descriptor_of_a_host_readable() {
    on_every_backend(|runtime| {
        let Ok(fd) = runtime.host_fd() else {
            return println!("skipped: the mechanism has no kernel object");
        };
        let mut listener = runtime.enter(|| signal(USR1)).unwrap();
        let task = runtime.spawn(async move { listener.recv().await });
        runtime.turn(Some(Duration::ZERO)).unwrap();
        raise(USR1);
        super::support::arrived(&fd);
        while !task.is_finished() {
            runtime.turn(Some(Duration::ZERO)).unwrap();
        }
    });
}

/// The handler that was installed before the first listener is called as well.
#[test]
fn former_handler_is_called_as_well() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_signal: libc::c_int) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    // No other test uses this one.
    let kind = SignalKind::from_raw(libc::SIGVTALRM);
    // SAFETY: all-zero bytes are a valid sigaction, and the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
        let set = libc::sigaction(kind.as_raw_value(), &action, std::ptr::null_mut());
        assert_eq!(set, 0);
    }
    on_every_backend(|runtime| {
        let before = CALLS.load(Ordering::SeqCst);
        runtime.block_on(async {
            let mut listener = signal(kind).unwrap();
            raise(kind);
            assert_eq!(listener.recv().await, Some(()));
        });
        raise(kind);
        assert_eq!(CALLS.load(Ordering::SeqCst), before + 2);
    });
}

#[test]
fn descriptions_name_the_signals() {
    let _alone = super::alone();
    reveille::block_on(async {
        let one = signal(USR1).unwrap();
        assert_eq!(format!("{one:?}"), "Signal(SignalKind(SIGUSR1))");
        let both = signals(&[USR2, SignalKind::hangup()]).unwrap();
        let text = "Signals[SignalKind(SIGUSR2), SignalKind(SIGHUP)]";
        assert_eq!(format!("{both:?}"), text);
    });
    assert_eq!(SignalKind::from_raw(200).to_string(), "signal 200");
}

#[test]
fn listeners_may_move_to_other_threads() {
    fn check<T: Send + Sync + Unpin + std::panic::UnwindSafe>() {}
    check::<SignalKind>();
    fn check_listener<T: Send + Sync + Unpin>() {}
    check_listener::<Signal>();
    check_listener::<Signals>();
}
