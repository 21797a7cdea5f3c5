//! A relay between two streams: `copy_bidirectional`. Each way ends by itself.

use super::super::foreign::Foreign;
use super::ends::{End, Kind, ends};
use super::side::Side;
use super::{Over, World};
use reveille::io::{Interest, copy_bidirectional};
use reveille::{JoinHandle, spawn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Relays between two ends of any kind.
async fn relay(a: End, b: End) -> io::Result<(u64, u64)> {
    match (a, b) {
        (End::Tcp(mut a), End::Tcp(mut b)) => copy_bidirectional(&mut a, &mut b).await,
        (End::Tcp(mut a), End::Unix(mut b)) => copy_bidirectional(&mut a, &mut b).await,
        (End::Unix(mut a), End::Tcp(mut b)) => copy_bidirectional(&mut a, &mut b).await,
        (End::Unix(mut a), End::Unix(mut b)) => copy_bidirectional(&mut a, &mut b).await,
        _ => unreachable!("only streams both ways are made"),
    }
}

/// Sends bytes one way, and receives them at the other side of the relay. Once `over` is set, the
/// relay may be gone.
fn one_way(
    world: &Arc<World>,
    [from, to]: [(Kind, End); 2],
    length: usize,
    over: &Arc<AtomicBool>,
) -> [JoinHandle<()>; 2] {
    let both = Interest::READABLE | Interest::WRITABLE;
    let odds = [0, 30][world.dice().below(2)];
    let who = format!("relay of {length}");
    let writer = Side::new(world, from.0, from.1, both, odds, &who);
    let reader = Side::new(world, to.0, to.1, both, odds, &who);
    let fault = |what: String| {
        let (world, over) = (world.clone(), over.clone());
        move |result: String| {
            if !over.load(SeqCst) {
                world.fault(&format!("{what} of {length}: {result}"));
            }
        }
    };
    let (not_written, not_read) = (
        fault("a relay is not written".into()),
        fault("a relay".into()),
    );
    let write = async move {
        let (side, written) = writer.run(false, length).await;
        if written.is_err() {
            not_written(format!("{written:?}"));
        }
        side.ends[0].shut_down();
    };
    let read = async move {
        let (side, read) = reader.run(true, usize::MAX).await;
        if read.is_err() || side.at != length {
            not_read(format!("{} came, {read:?}", side.at));
        }
    };
    [spawn(write), spawn(read)]
}

pub(super) async fn run(world: Arc<World>) {
    let mut dice = world.dice();
    let [near, far] = [(); 2].map(|()| [Kind::Tcp, Kind::Unix][dice.below(2)]);
    let (client, a) = ends(near, true).await;
    let (server, b) = ends(far, true).await;
    let both = Interest::READABLE | Interest::WRITABLE;
    let most = 1 << (4 + dice.below(15));
    let lengths = [dice.below(most), dice.below(most)];
    let (client_too, server_too) = (client.duplicate(both), server.duplicate(both));
    let over = Over(Arc::default());
    let there = [(near, client), (far, server)];
    let there = one_way(&world, there, lengths[0], &over.0);
    let back = [(far, server_too), (near, client_too)];
    let back = one_way(&world, back, lengths[1], &over.0);
    match relay(a, b).await {
        Ok((there, back)) if [there, back] == lengths.map(|length| length as u64) => {}
        copied => world.fault(&format!("a relay has copied {copied:?} of {lengths:?}")),
    }
    for one in there.into_iter().chain(back) {
        if let Err(error) = one.await {
            world.fault(&format!("a side of a relay: {error}"));
        }
    }
}
