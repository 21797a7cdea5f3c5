//! A batch ends early while polls are expensive: timers, sockets, other threads and `stop` wait for
//! at most two expensive polls. Counted in polls.
//!
//! An expensive poll spins until the clock has advanced by a millisecond. If its thread is delayed,
//! the poll becomes more expensive, never cheaper.

mod support;

use reveille::io::{AsyncFd, Interest};
use reveille::time::{Duration, now, sleep_until};
use reveille::{Handle, Runtime};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use support::on_every_backend;

/// The largest number of polls between two readings of the clock.
const MAX_GAP: usize = 32;

/// The event that the loop has to notice.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Event {
    Timer,
    Socket,
    /// Another thread spawns.
    Spawn,
    /// Another thread wakes.
    Wake,
}

const EVENTS: [Event; 4] = [Event::Timer, Event::Socket, Event::Spawn, Event::Wake];

/// How the loop is run.
#[derive(Clone, Copy, PartialEq, Debug)]
enum By {
    BlockOn,
    Run,
    Turn,
}

/// One event at a time: [`cause`](Trial::cause) makes it happen, and a task that waits for it notes
/// when it has noticed.
struct Trial {
    event: Event,
    handle: Handle,
    peer: UnixStream,
    cause: Cell<Option<Box<dyn FnOnce()>>>,
    /// The number of expensive polls so far, and its value when the event happened.
    polls: Cell<usize>,
    caused_at: Cell<usize>,
    /// How many polls began after each event and before it was noticed.
    waited: RefCell<Vec<usize>>,
}

impl Trial {
    fn new(runtime: &Runtime, event: Event) -> (Rc<Trial>, UnixStream) {
        let (peer, stream) = UnixStream::pair().unwrap();
        let trial = Rc::new(Trial {
            event,
            handle: runtime.handle(),
            peer,
            cause: Cell::new(None),
            polls: Cell::new(0),
            caused_at: Cell::new(0),
            waited: RefCell::default(),
        });
        (trial, stream)
    }

    /// Creates a trial with a task that waits for this number of events.
    fn waiting(runtime: &Runtime, event: Event, events: usize) -> Rc<Trial> {
        let (trial, stream) = Trial::new(runtime, event);
        let this = trial.clone();
        drop(runtime.spawn(async move {
            stream.set_nonblocking(true).unwrap();
            let fd = AsyncFd::new(stream).unwrap();
            for _ in 0..events {
                this.wait(&fd).await;
                let waited = this.polls.get() - this.caused_at.get();
                this.waited.borrow_mut().push(waited);
            }
            this.handle.stop();
        }));
        trial
    }

    /// Waits for one event, from the moment that it can happen.
    async fn wait(self: &Rc<Trial>, fd: &AsyncFd<UnixStream>) {
        match self.event {
            Event::Timer => loop {
                let deadline = now() + Duration::from_millis(5);
                self.cause
                    .set(Some(Box::new(move || while now() < deadline {})));
                sleep_until(deadline).await;
                // No waker was stored, because this thread was delayed and the timer had already
                // fired.
                if self.cause.take().is_none() {
                    return;
                }
            },
            Event::Socket => {
                let peer = self.peer.try_clone().unwrap();
                self.cause
                    .set(Some(Box::new(move || (&peer).write_all(b"x").unwrap())));
                let read = |mut stream: &UnixStream| stream.read(&mut [0]);
                fd.async_io(Interest::READABLE, read).await.unwrap();
            }
            Event::Spawn | Event::Wake => self.wait_for_thread().await,
        }
    }

    async fn wait_for_thread(self: &Rc<Trial>) {
        let mut begun = false;
        poll_fn(|cx| {
            if begun && self.cause.take().is_none() {
                return Poll::Ready(());
            }
            begun = true;
            let (waker, handle) = (cx.waker().clone(), self.handle.clone());
            let spawns = self.event == Event::Spawn;
            self.cause.set(Some(Box::new(move || {
                let wake = move || {
                    if spawns {
                        wake_in_task(&handle, waker)
                    } else {
                        waker.wake()
                    }
                };
                thread::spawn(wake).join().unwrap();
            })));
            Poll::Pending
        })
        .await;
    }

    /// A task that is always runnable. `is_expensive` decides by the number of a poll whether it is
    /// expensive. The event happens in the first expensive poll after the waiting task is ready for
    /// it.
    async fn busy(self: Rc<Trial>, is_expensive: impl Fn(usize) -> bool) {
        let mut number = 0;
        poll_fn::<(), _>(|cx| {
            number += 1;
            if is_expensive(number) {
                self.polls.set(self.polls.get() + 1);
                if let Some(cause) = self.cause.take() {
                    cause();
                    self.caused_at.set(self.polls.get());
                }
                let end = now() + Duration::from_millis(1);
                while now() < end {}
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Runs until the waiting task is done.
    fn run(&self, runtime: &Runtime, by: By, events: usize) {
        match by {
            By::BlockOn => runtime.block_on(poll_fn(|cx| {
                if self.waited.borrow().len() == events {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })),
            By::Run => runtime.run().unwrap(),
            By::Turn => {
                while self.waited.borrow().len() < events {
                    runtime.turn(None).unwrap();
                }
            }
        }
    }
}

/// Spawns a task that wakes the waker: first a message, then a wake.
fn wake_in_task(handle: &Handle, waker: Waker) {
    drop(handle.spawn(async move { waker.wake() }));
}

/// How many more polls may begin before the event is noticed, if a batch makes two expensive ones.
fn bound(event: Event, by: By) -> usize {
    // The rest of the batch, and one in the next that is ahead of the task in the queue. (Another
    // one when a task is spawned that wakes it.)
    let in_line = 1 + usize::from(event == Event::Spawn);
    match by {
        By::BlockOn | By::Run => 1 + in_line,
        // The event may happen in the second of its two batches.
        By::Turn => 3 + in_line,
    }
}

fn trials(events: usize, check: impl Fn(&Rc<Trial>, &Runtime, By)) {
    for by in [By::BlockOn, By::Run, By::Turn] {
        for event in EVENTS {
            on_every_backend(|old| {
                let kind = old.backend_name().parse().unwrap();
                let runtime = reveille::Builder::new().backend(kind).build().unwrap();
                let trial = Trial::waiting(&runtime, event, events);
                println!("{by:?} {event:?}");
                check(&trial, &runtime, by);
                trial.cause.take();
            });
        }
    }
}

#[test]
fn event_waits_for_two_expensive_polls() {
    trials(5, |trial, runtime, by| {
        drop(runtime.spawn(trial.clone().busy(|_| true)));
        trial.run(runtime, by, 5);
        let (waited, bound) = (trial.waited.borrow(), bound(trial.event, by));
        let most = waited.iter().max().unwrap();
        assert!(
            *most <= bound,
            "{:?} {by:?}: {waited:?}, not {bound}",
            trial.event
        );
    });
}

#[test]
fn event_waits_for_one_gap_when_cheap_polls_turn_expensive() {
    trials(3, |trial, runtime, by| {
        drop(runtime.spawn(trial.clone().busy(|number| number > 1000)));
        trial.run(runtime, by, 3);
        let (waited, bound) = (trial.waited.borrow(), bound(trial.event, by));
        assert!(
            waited[0] <= MAX_GAP + bound,
            "{:?} {by:?}: {waited:?}",
            trial.event
        );
        let most = waited[1..].iter().max().unwrap();
        assert!(
            *most <= bound,
            "{:?} {by:?}: {waited:?}, not {bound}",
            trial.event
        );
    });
}

#[test]
fn event_waits_for_two_of_the_expensive_polls_among_cheap_ones() {
    trials(3, |trial, runtime, by| {
        drop(runtime.spawn(trial.clone().busy(|number| number % 2 == 0)));
        // Other tasks that are always runnable, all cheap.
        for _ in 0..3 {
            drop(runtime.spawn(poll_fn::<(), _>(|cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            })));
        }
        trial.run(runtime, by, 3);
        let (waited, bound) = (trial.waited.borrow(), bound(trial.event, by));
        let most = waited.iter().max().unwrap();
        assert!(
            *most <= bound,
            "{:?} {by:?}: {waited:?}, not {bound}",
            trial.event
        );
    });
}

#[test]
fn stop_waits_for_two_expensive_polls() {
    on_every_backend(|runtime| {
        for cheap in [0, 1, 1000] {
            let (trial, _stream) = Trial::new(runtime, Event::Wake);
            let busy = runtime.spawn(trial.clone().busy(move |number| number > cheap));
            for stop in 0..3 {
                let handle = runtime.handle();
                trial.cause.set(Some(Box::new(move || handle.stop())));
                runtime.run().unwrap();
                let more = trial.polls.get() - trial.caused_at.get();
                let bound = if stop == 0 && cheap == 1000 {
                    MAX_GAP
                } else {
                    1
                };
                assert!(
                    more <= bound,
                    "{more} after {cheap} cheap ones, not {bound}"
                );
            }
            busy.abort();
        }
    });
}
