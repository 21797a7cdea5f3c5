//! A listener with a limit: several tasks accept, permits are dropped at any time and place, and
//! the listener is paused and resumed.

use super::super::activity::{Activity, Step};
use super::super::foreign::Foreign;
use super::super::harness::{Dice, lock};
use super::{Over, World};
use reveille::net::{LimitedListener, TcpListener, TcpStream};
use reveille::time::{Duration, sleep, timeout};
use reveille::{spawn, yield_now};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

struct Served {
    listener: LimitedListener,
    limit: usize,
    /// How many permits there are, counted apart.
    open: AtomicUsize,
    seen: Mutex<Vec<bool>>,
    over: Arc<AtomicBool>,
}

async fn connect(world: Arc<World>, addr: SocketAddr, number: u8, over: Arc<AtomicBool>) {
    let activity = Activity::new(format!("connection {number} to the limited {addr}"));
    activity.set(Step::Connects, -1, 0);
    let sent = match TcpStream::connect(addr).await {
        Ok(stream) => stream.write_all(&[number]).await,
        Err(error) => Err(error),
    };
    if let (Err(error), false) = (sent, over.load(SeqCst)) {
        world.fault(&format!("not connected: {error}"));
    }
}

/// Accepts connections until the task is aborted.
async fn accept(world: Arc<World>, served: Arc<Served>) {
    let mut dice = world.dice();
    let activity = Activity::new("accepts with a limit".to_owned());
    let mut count = 0;
    loop {
        activity.set(Step::Accepts, served.listener.get_ref().as_raw_fd(), count);
        let short = Duration::from_micros(dice.below(300) as u64);
        let accepted = match dice.below(3) {
            0 => match timeout(short, served.listener.accept()).await {
                Ok(accepted) => accepted,
                Err(_elapsed) => continue,
            },
            1 => poll_fn(|cx| served.listener.poll_accept(cx)).await,
            _ => served.listener.accept().await,
        };
        let (stream, _, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return world.fault(&format!("not accepted: {error}")),
        };
        count += 1;
        let open = served.open.fetch_add(1, SeqCst) + 1;
        if open > served.limit || served.listener.connections() > served.limit {
            world.fault(&format!("{open} connections of {}", served.limit));
        }
        let mut dice = Dice::new(dice.next());
        let (world, served) = (world.clone(), served.clone());
        drop(spawn(async move {
            let mut number = [0];
            let read = stream.read(&mut number).await;
            let is_new = matches!(read, Ok(1))
                && !std::mem::replace(&mut lock(&served.seen)[usize::from(number[0])], true);
            if !is_new && !served.over.load(SeqCst) {
                world.fault(&format!("accepted {number:?}: {read:?}"));
            }
            sleep(Duration::from_micros(dice.below(500) as u64)).await;
            // Before the permit, whose drop lets the next one in.
            served.open.fetch_sub(1, SeqCst);
            if dice.one_in(3) {
                lock(&world.threads).push(thread::spawn(move || drop(permit)));
            } else if dice.one_in(2) {
                lock(&world.victims).push(Box::new(permit));
            }
        }));
    }
}

pub(super) async fn serve(world: Arc<World>) {
    let mut dice = world.dice();
    let over = Over(Arc::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let limit = 1 + dice.below(4);
    let listener = listener.limit(limit).resume_at(dice.below(limit));
    let count = 1 + dice.below(20) as u8;
    let served = Arc::new(Served {
        listener,
        limit,
        open: AtomicUsize::new(0),
        seen: Mutex::new(vec![false; usize::from(count)]),
        over: over.0.clone(),
    });
    let accepting: Vec<_> = (0..1 + dice.below(3))
        .map(|_| spawn(accept(world.clone(), served.clone())).abort_on_drop())
        .collect();
    for number in 0..count {
        drop(spawn(connect(world.clone(), addr, number, over.0.clone())));
    }
    let activity = Activity::new(format!("limit {limit} for {count}"));
    loop {
        let arrived = lock(&served.seen)
            .iter()
            .filter(|is_seen| **is_seen)
            .count();
        activity.set(Step::Joins, -1, arrived);
        if arrived == usize::from(count) {
            break;
        }
        match dice.below(6) {
            0 => {
                served.listener.pause();
                sleep(Duration::from_micros(dice.below(300) as u64)).await;
                served.listener.resume();
            }
            1 => yield_now().await,
            _ => sleep(Duration::from_micros(dice.below(500) as u64)).await,
        }
        world.drop_victims();
    }
    drop(accepting);
    // Every permit comes back.
    while served.listener.connections() != 0 {
        activity.set(Step::Joins, -1, served.listener.connections());
        world.drop_victims();
        sleep(Duration::from_micros(100)).await;
    }
}
