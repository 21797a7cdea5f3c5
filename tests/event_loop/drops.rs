//! Handlers, attached values and messages whose drop panics: the loop stays usable, the process
//! does not abort, and the drop of a loop does not panic.

use super::fake::{Fake, Shared};
use super::*;
use reveille::event_loop::Builder;
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::panic_any;
use std::rc::Rc;

/// Counts its drops, and panics in each.
struct Bomb(Rc<Cell<usize>>);

impl Bomb {
    /// Makes a closure own it.
    fn stays(&self) {}
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        panic_any("bomb");
    }
}

/// A message whose drop panics. Only this thread sends it.
struct Letter(#[allow(dead_code, reason = "its drop is what matters")] Option<SendBomb>);

struct SendBomb;

impl Drop for SendBomb {
    fn drop(&mut self) {
        panic_any("bomb");
    }
}

/// An fd whose drop panics.
struct Fd {
    stream: UnixStream,
    _bomb: Bomb,
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

struct Rig<D: 'static> {
    event_loop: EventLoop<D>,
    drops: Rc<Cell<usize>>,
    peers: Vec<UnixStream>,
}

impl<D: 'static> Rig<D> {
    fn new(loops: Loops, data: D) -> Rig<D> {
        Rig {
            event_loop: loops.make(data),
            drops: Rc::default(),
            peers: Vec::new(),
        }
    }

    fn bomb(&self) -> Bomb {
        Bomb(self.drops.clone())
    }

    /// Attaches a ready fd. The drop of the fd panics, and so does the drop of its handler.
    fn attach(&mut self, mut f: impl FnMut(&mut EventLoop<D>, Key<Fd>) + 'static) -> Key<Fd> {
        let (stream, there) = ready_pair();
        self.peers.push(there);
        let (fd, bomb) = (
            Fd {
                stream,
                _bomb: self.bomb(),
            },
            self.bomb(),
        );
        let handler = move |event_loop: &mut EventLoop<D>, key, _: Cause| {
            bomb.stays();
            f(event_loop, key);
        };
        self.event_loop
            .attach(fd, Interest::READABLE, Trigger::Level, handler)
            .unwrap()
    }
}

fn panic_in(f: impl FnOnce()) -> &'static str {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it should panic");
    payload.downcast_ref::<&str>().copied().unwrap()
}

/// The drop of the fd panics, then, at the end of the turn, the drop of its handler. The next fd
/// follows in the next turn.
#[test]
fn close_in_a_handler_drops_everything_despite_panics() {
    on_every_loop(|loops| {
        let mut rig = Rig::new(loops, 0);
        for _ in 0..2 {
            rig.attach(|event_loop, key| {
                *event_loop.data_mut() += 1;
                event_loop.close(key);
            });
        }
        let mut panics = 0;
        while !rig.event_loop.is_empty() || rig.drops.get() < 4 {
            let turned = catch_unwind(AssertUnwindSafe(|| turn(&mut rig.event_loop)));
            panics += usize::from(turned.is_err());
        }
        assert!(panics > 0);
        assert_eq!((*rig.event_loop.data(), rig.drops.get()), (2, 4));
        turn(&mut rig.event_loop);
    });
}

#[test]
fn detach_and_close_outside_of_a_turn_let_one_panic_out() {
    on_every_loop(|loops| {
        let mut rig = Rig::new(loops, ());
        let key = rig.attach(|_, _| {});
        let message = panic_in(|| drop(rig.event_loop.detach(key)));
        assert_eq!((message, rig.drops.get()), ("bomb", 2));
        let key = rig.attach(|_, _| {});
        let message = panic_in(|| {
            rig.event_loop.close(key);
        });
        assert_eq!((message, rig.drops.get()), ("bomb", 4));
        assert!(rig.event_loop.is_empty());
        turn(&mut rig.event_loop);
    });
}

/// The handler panics, then its drop: the first panic goes on.
#[test]
fn timer_whose_handler_and_drop_panic_is_removed() {
    on_every_loop(|loops| {
        let mut rig = Rig::new(loops, 0);
        let bomb = rig.bomb();
        rig.event_loop.set_timer(Duration::ZERO, move |_, _| {
            bomb.stays();
            panic_any("timer");
        });
        rig.event_loop
            .set_timer(Duration::ZERO, |event_loop, _| *event_loop.data_mut() += 1);
        pass(Instant::now() + MS);
        assert_eq!(panic_of(&mut rig.event_loop), "timer");
        assert_eq!(rig.drops.get(), 1);
        run_until(&mut rig.event_loop, |fired| *fired == 1);
        // Only the drop panics.
        let bomb = rig.bomb();
        rig.event_loop
            .set_timer(Duration::ZERO, move |_, _| bomb.stays());
        pass(Instant::now() + MS);
        assert_eq!(panic_of(&mut rig.event_loop), "bomb");
        assert_eq!(rig.event_loop.next_deadline(), None);
    });
}

/// The handler is dropped because its senders are gone.
#[test]
fn message_handler_whose_drop_panics_leaves_the_others() {
    on_every_loop(|loops| {
        let mut rig = Rig::new(loops, Vec::new());
        let mut senders = Vec::new();
        for at in 0..4 {
            let bomb = (at == 1 || at == 2).then(|| rig.bomb());
            senders.push(rig.event_loop.on_message(move |event_loop, ()| {
                if let Some(bomb) = &bomb {
                    bomb.stays();
                }
                event_loop.data_mut().push(at);
            }));
        }
        for sender in &senders {
            sender.send(()).unwrap();
        }
        senders.drain(1..3);
        assert_eq!(panic_of(&mut rig.event_loop), "bomb");
        assert_eq!(rig.drops.get(), 2);
        for sender in &senders {
            sender.send(()).unwrap();
        }
        run_until(&mut rig.event_loop, |got| got.len() == 6);
        assert_eq!(*rig.event_loop.data(), [0, 1, 2, 3, 0, 3]);
    });
}

fn full_of_bombs(loops: Loops) -> (Rig<()>, impl Fn() -> bool) {
    let mut rig = Rig::new(loops, ());
    for _ in 0..3 {
        rig.attach(|_, _| {});
        let (one, two, three, four) = (rig.bomb(), rig.bomb(), rig.bomb(), rig.bomb());
        rig.event_loop.set_timer(HOUR, move |_, _| one.stays());
        rig.event_loop.after_turn(move |_| two.stays());
        rig.event_loop.defer(move |_| drop(three));
        let sender = rig.event_loop.on_message(move |_, _: Letter| four.stays());
        for _ in 0..2 {
            sender.send(Letter(Some(SendBomb))).unwrap();
        }
    }
    let drops = rig.drops.clone();
    (rig, move || drops.get() == 3 * 6)
}

/// A panic from the drop would abort the process if the thread is unwinding.
#[test]
fn event_loop_drop_does_not_panic() {
    on_every_loop(|loops| {
        let (rig, is_whole) = full_of_bombs(loops);
        let Rig { event_loop, .. } = rig;
        drop(event_loop);
        assert!(is_whole());
        let (rig, is_whole) = full_of_bombs(loops);
        let message = panic_in(|| {
            let _event_loop = rig.event_loop;
            panic_any("other");
        });
        assert_eq!(message, "other");
        assert!(is_whole());
    });
}

/// A child of a fork drops all messages of the parent.
#[test]
fn after_fork_drops_each_message() {
    let builder = Builder::new().with_backend(Fake(Shared::default()));
    let mut event_loop = builder.build(0).unwrap();
    let sender = event_loop.on_message(|event_loop, _: Letter| *event_loop.data_mut() += 1);
    for _ in 0..2 {
        sender.send(Letter(Some(SendBomb))).unwrap();
    }
    assert_eq!(panic_in(|| event_loop.after_fork().unwrap()), "bomb");
    sender.send(Letter(None)).unwrap();
    run_until(&mut event_loop, |got| *got == 1);
}
