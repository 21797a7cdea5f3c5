//! One side of a stream: reads or writes in every way, with random events in between.

use super::super::activity::{Activity, Step};
use super::super::foreign::Foreign;
use super::super::harness::{Dice, lock};
use super::super::support::wait;
use super::ends::{End, Kind};
use super::{World, expect_planned};
use reveille::io::Interest;
use reveille::time::{Duration, sleep};
use reveille::yield_now;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::task::Context;
use std::thread;

/// The byte at a position of a stream.
pub(super) fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// One side of a stream: its end, and the duplicates of that end.
pub(super) struct Side {
    world: Arc<World>,
    pub(super) ends: Vec<End>,
    interest: Interest,
    dice: Dice,
    pub(super) at: usize,
    activity: Activity,
    /// How often it moves to another thread for a while: once in this many calls. 0: never, and
    /// nothing else happens to it that would make the backend report again.
    odds: usize,
}

impl Side {
    pub(super) fn new(
        world: &Arc<World>,
        kind: Kind,
        end: End,
        interest: Interest,
        odds: usize,
        who: &str,
    ) -> Side {
        Side {
            activity: Activity::new(format!("{kind:?} {who}, {interest:?}")),
            world: world.clone(),
            ends: vec![end],
            interest: match kind {
                Kind::Pipe => interest,
                _ => Interest::READABLE | Interest::WRITABLE,
            },
            dice: world.dice(),
            at: 0,
            odds,
        }
    }

    /// A random event between two calls.
    async fn change(mut self) -> Side {
        let first = if self.odds == 0 { 4 } else { 0 };
        match first + self.dice.below(24 - first) {
            0 => {
                let end = self.ends.swap_remove(0);
                let end = end.rehome(&mut self.dice, self.interest);
                self.ends.push(end);
            }
            1 if self.ends.len() < 3 => {
                let end = self.ends[0].duplicate(self.interest);
                self.ends.push(end);
            }
            2 if self.ends.len() > 1 => {
                let end = self.ends.swap_remove(0);
                if self.dice.one_in(2) {
                    lock(&self.world.victims).push(Box::new(end));
                }
            }
            3 => {
                let flag = self.world.new_flag();
                let waker = flag.waker();
                let left = catch_unwind(AssertUnwindSafe(|| {
                    if self.interest.is_readable() {
                        self.ends[0].leave(&mut Context::from_waker(&waker));
                    }
                    drop(waker);
                }));
                if let Err(payload) = left {
                    expect_planned(&self.world, payload);
                }
            }
            4 => yield_now().await,
            5 => sleep(Duration::from_micros(self.dice.below(200) as u64)).await,
            _ => {}
        }
        self
    }

    fn any(&mut self, step: Step) -> (&End, &mut Dice, &mut usize) {
        let at = self.dice.below(self.ends.len());
        self.activity.set(step, self.ends[at].number(), self.at);
        (&self.ends[at], &mut self.dice, &mut self.at)
    }

    /// Reads once. Returns whether to go on.
    async fn read(&mut self, last: usize, is_here: bool) -> io::Result<bool> {
        let mut buffer = vec![0; 1 + self.dice.below(20_000)];
        let (end, dice, at) = self.any(Step::Reads);
        let Some(count) = end.read(dice, &mut buffer, is_here).await else {
            return Ok(true);
        };
        let count = count?;
        let is_right = (0..count).all(|i| buffer[i] == byte(*at + i));
        *at += count;
        if !is_right {
            self.world.fault("a byte came in another's place");
        }
        Ok(count != 0 && self.at < last)
    }

    /// Writes once. Returns whether to go on.
    async fn write(&mut self, last: usize, is_here: bool) -> io::Result<bool> {
        let most = (1 + self.dice.below(30_000)).min(last - self.at);
        if most == 0 {
            return Ok(false);
        }
        let chunk: Vec<u8> = (self.at..self.at + most).map(byte).collect();
        let (end, dice, at) = self.any(Step::Writes);
        if let Some(count) = end.write(dice, &chunk, is_here).await {
            *at += count?;
        }
        Ok(self.at < last)
    }

    /// Makes a few calls on another thread. Returns whether to go on after them.
    async fn elsewhere(mut self, reads: bool, last: usize) -> (Side, io::Result<bool>) {
        let calls = 1 + self.dice.below(10);
        let world = self.world.clone();
        let (sender, back) = mpsc::channel();
        let there = thread::spawn(move || {
            let side = wait(async move {
                for _ in 0..calls {
                    let more = match reads {
                        true => self.read(last, false).await,
                        false => self.write(last, false).await,
                    };
                    if !matches!(more, Ok(true)) {
                        return (self, more);
                    }
                }
                (self, Ok(true))
            });
            // If the task was aborted, the side is dropped here.
            drop(sender.send(side));
        });
        lock(&world.threads).push(there);
        loop {
            sleep(Duration::from_micros(200)).await;
            match back.try_recv() {
                Ok(side) => return side,
                Err(mpsc::TryRecvError::Empty) => {}
                Err(mpsc::TryRecvError::Disconnected) => panic!("a panic on another thread"),
            }
        }
    }

    /// Goes on until the end or an error.
    pub(super) async fn run(mut self, reads: bool, last: usize) -> (Side, io::Result<()>) {
        loop {
            self = self.change().await;
            let more;
            if self.odds != 0 && self.dice.one_in(self.odds) {
                (self, more) = self.elsewhere(reads, last).await;
            } else if reads {
                more = self.read(last, true).await;
            } else {
                more = self.write(last, true).await;
            }
            match more {
                Ok(true) => {}
                Ok(false) => return (self, Ok(())),
                Err(error) => return (self, Err(error)),
            }
        }
    }
}
