//! Event loops: handlers, timers, hooks, messages and deferred functions attach, change, pause,
//! close and detach fds, set and cancel timers, try to run the loop that calls them, and panic.
//! Meanwhile peers write and close, and another thread sends messages.
//!
//! Checked: no handler is called for a closed source or outside its interest; every byte and every
//! end reaches the handler that reads; timers are not early and fire once; messages arrive in
//! order; every attached value is dropped once.

mod acts;
mod world;

use super::harness::{Dice, fuzz, join};
use reveille::backend::BackendKind;
use reveille::event_loop::{Builder, EventLoop, Handle, Sender};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use world::{World, guarded};

/// The number of messages from another thread.
const MESSAGES: u64 = 40;

/// Sends numbers, wakes the loop and stops it, from another thread.
fn send(numbers: &Sender<u64>, handle: &Handle, dice: &mut Dice, sent: &AtomicU64) {
    for number in 1..=MESSAGES {
        sent.store(number, SeqCst);
        numbers.send(number).expect("the loop is there");
        match dice.below(6) {
            0 => handle.wake(),
            1 => handle.stop(),
            2 => thread::yield_now(),
            _ => {}
        }
    }
}

fn play(kind: BackendKind, seed: u64) {
    let mut dice = Dice::new(seed);
    let builder = Builder::new()
        .backend(kind)
        .event_capacity(1 + dice.below(6))
        .timer_tick(Duration::from_nanos(1 << dice.below(20)));
    let world = World::new(dice.next());
    let tracks = world.tracks.clone();
    let mut event_loop = builder.build(world).expect("it was available a moment ago");
    let numbers = event_loop.on_message(World::receive);
    for at in 0..3 {
        acts::add_hook(&mut event_loop, at);
    }
    for _ in 0..1 + dice.below(6) {
        acts::attach(&mut event_loop);
    }
    let (handle, sent, is_over) = (
        event_loop.handle(),
        AtomicU64::new(0),
        AtomicBool::new(seed % 2 == 0),
    );
    let mut their_dice = Dice::new(dice.next());
    thread::scope(|scope| {
        let sender = (seed % 2 == 1).then(|| {
            scope.spawn(|| {
                send(&numbers, &handle, &mut their_dice, &sent);
                is_over.store(true, SeqCst);
            })
        });
        for _ in 0..dice.below(30) {
            guarded(&mut event_loop, acts::enter);
            drive(&mut event_loop, &mut dice);
        }
        settle(&mut event_loop, |world| {
            is_over.load(SeqCst) && world.received == sent.load(SeqCst)
        });
        sender.map(join);
    });
    assert_none(event_loop.data().take_faults());
    let world = event_loop.data().shared();
    drop(event_loop);
    world.check(
        tracks.get() == 0,
        "a value or a handler is left, or was dropped twice",
    );
    assert_none(world.take_faults());
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Runs the loop for a while.
fn drive(event_loop: &mut EventLoop<World>, dice: &mut Dice) {
    event_loop.data_mut().is_inside = true;
    guarded(event_loop, |event_loop| match dice.below(4) {
        0 => {
            event_loop.handle().stop();
            event_loop.run().unwrap();
        }
        1 => assert!(event_loop.turn(Some(Duration::from_micros(200))).is_ok()),
        _ => assert!(event_loop.turn(Some(Duration::ZERO)).is_ok()),
    });
    event_loop.data_mut().is_inside = false;
}

/// Runs until all that was sent has arrived and every timer has fired.
fn settle(event_loop: &mut EventLoop<World>, is_over: impl Fn(&World) -> bool) {
    acts::calm(event_loop);
    while !(is_over(event_loop.data()) && event_loop.data().is_settled()) {
        guarded(event_loop, |event_loop| {
            event_loop.turn(Some(Duration::from_millis(1))).unwrap();
        });
    }
}

#[test]
fn callbacks() {
    fuzz("callbacks", 1..50, play);
}
