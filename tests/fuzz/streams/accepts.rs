//! Connections to one listener, from tasks and from another thread, accepted in every way: each
//! exactly once.

use super::super::activity::{Activity, Step};
use super::super::foreign::Foreign;
use super::super::harness::{Dice, lock};
use super::{Over, World};
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, sleep, timeout};
use reveille::{spawn, yield_now};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

/// Accepts in a random way. `None`: it gave up.
async fn accept(listener: &TcpListener, dice: &mut Dice) -> Option<io::Result<TcpStream>> {
    let short = Duration::from_micros(dice.below(200) as u64);
    let accepted = match dice.below(5) {
        0 => timeout(short, listener.accept()).await.ok()?,
        1 => poll_fn(|cx| listener.poll_accept(cx)).await,
        2 => match listener.try_accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                sleep(short).await;
                return None;
            }
            accepted => accepted,
        },
        3 => {
            yield_now().await;
            listener.accept().await
        }
        _ => listener.accept().await,
    };
    Some(accepted.map(|(stream, _)| stream))
}

/// Connects and sends the number.
async fn connect(world: Arc<World>, addr: SocketAddr, number: u8, over: Arc<AtomicBool>) {
    let activity = Activity::new(format!("connection {number} to {addr}"));
    activity.set(Step::Connects, -1, 0);
    let sent = match TcpStream::connect(addr).await {
        Ok(stream) => stream.write_all(&[number]).await,
        Err(error) => Err(error),
    };
    if let (Err(error), false) = (sent, over.load(SeqCst)) {
        world.fault(&format!("not connected: {error}"));
    }
}

pub(super) async fn serve(world: Arc<World>) {
    let mut dice = world.dice();
    let over = Over(Arc::default());
    let mut listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let count = 1 + dice.below(12) as u8;
    for number in 0..count {
        if dice.one_in(4) {
            let thread = thread::spawn(move || {
                // This fails if the listener was dropped with its task.
                if let Ok(mut stream) = std::net::TcpStream::connect(addr) {
                    let _ = stream.write_all(&[number]);
                }
            });
            lock(&world.threads).push(thread);
        } else {
            drop(spawn(connect(world.clone(), addr, number, over.0.clone())));
        }
    }
    let activity = Activity::new(format!("listener {addr}, {count} connections"));
    let mut seen = vec![false; usize::from(count)];
    while seen.contains(&false) {
        if dice.one_in(6) {
            let std = listener.into_std().unwrap();
            listener = TcpListener::from_std(std).unwrap();
        }
        let arrived = seen.iter().filter(|is_seen| **is_seen).count();
        activity.set(Step::Accepts, listener.as_raw_fd(), arrived);
        let Some(accepted) = accept(&listener, &mut dice).await else {
            continue;
        };
        let mut number = [0];
        let read = match accepted {
            Ok(stream) => {
                activity.set(Step::Reads, stream.as_raw_fd(), arrived);
                stream.read(&mut number).await
            }
            Err(error) => Err(error),
        };
        let is_new =
            matches!(read, Ok(1)) && !std::mem::replace(&mut seen[usize::from(number[0])], true);
        if !is_new {
            return world.fault(&format!("accepted {number:?}: {read:?}"));
        }
    }
}
