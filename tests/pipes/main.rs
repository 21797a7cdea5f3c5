//! `net::pipe`: the ends of pipes and FIFOs, on every backend. What pipes share with other streams
//! is in `tests/streams`.

mod conversions;
mod ends;
mod fifos;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod packets;
#[path = "../support/mod.rs"]
mod support;
mod transfers;

use reveille::net::pipe::Sender;
use reveille::yield_now;
use std::io::ErrorKind;
use std::sync::mpsc::{self, TryRecvError};
use std::thread::JoinHandle;

/// Writes until the pipe is full. Returns the number of bytes.
fn fill(sender: &Sender) -> usize {
    let mut sum = 0;
    // The longer block may not fit although a byte does.
    for len in [1000, 1] {
        loop {
            match sender.try_write(&vec![b'f'; len]) {
                Ok(n) => sum += n,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
    }
    sum
}

/// Lets other tasks run until another thread has sent something.
async fn received(from: &mpsc::Receiver<()>) {
    loop {
        match from.try_recv() {
            Ok(()) => return,
            Err(TryRecvError::Empty) => yield_now().await,
            Err(TryRecvError::Disconnected) => panic!("the other thread has panicked"),
        }
    }
}

/// Lets other tasks run until a thread has ended.
async fn joined<T>(thread: JoinHandle<T>) -> T {
    while !thread.is_finished() {
        yield_now().await;
    }
    thread.join().unwrap()
}
