//! Two sides that take turns: each waits for the peer's bytes, and nothing else would wake it.

use super::super::foreign::Foreign;
use super::ends::{Kind, ends};
use super::side::Side;
use super::{Over, World};
use reveille::io::Interest;
use reveille::spawn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// The most bytes that one side writes in a turn.
const LONGEST: usize = 40_000;

/// Writes and reads in turn, `lengths` bytes each.
async fn speak(
    world: Arc<World>,
    mut writer: Side,
    mut reader: Side,
    lengths: Vec<[usize; 2]>,
    first: bool,
    over: Arc<AtomicBool>,
) {
    for lengths in lengths {
        for writes in [first, !first] {
            let result;
            if writes {
                let last = writer.at + lengths[usize::from(!first)];
                (writer, result) = writer.run(false, last).await;
            } else {
                let last = reader.at + lengths[usize::from(first)];
                (reader, result) = reader.run(true, last).await;
            }
            if let Err(error) = result {
                if !over.load(SeqCst) {
                    world.fault(&format!("a dialogue ends: {error}"));
                }
                return;
            }
        }
    }
}

pub(super) async fn hold(world: Arc<World>) {
    let mut dice = world.dice();
    let kind = [Kind::Tcp, Kind::Unix, Kind::Pipe][dice.below(3)];
    let over = Over(Arc::default());
    let odds = if dice.one_in(2) {
        0
    } else {
        2 + dice.below(20)
    };
    let mut ends = async || ends(kind, dice.one_in(2)).await;
    let [here, there] = [ends().await, ends().await];
    let side = |end, interest| Side::new(&world, kind, end, interest, odds, "dialogue");
    let (read, write) = (Interest::READABLE, Interest::WRITABLE);
    let (first, second) = (
        (side(here.1, write), side(there.0, read)),
        (side(there.1, write), side(here.0, read)),
    );
    let turns = 1 + dice.below(8);
    let most = [1, 100, LONGEST][dice.below(3)];
    let lengths: Vec<[usize; 2]> = (0..turns)
        .map(|_| [1 + dice.below(most), 1 + dice.below(most)])
        .collect();
    let other = spawn(speak(
        world.clone(),
        second.0,
        second.1,
        lengths.clone(),
        false,
        over.0.clone(),
    ));
    speak(
        world.clone(),
        first.0,
        first.1,
        lengths,
        true,
        over.0.clone(),
    )
    .await;
    // The peer may have been aborted together with this task; then no result is needed.
    if let Err(error) = other.await {
        world.fault(&format!("a dialogue: {error}"));
    }
}
