//! Packet mode (`O_DIRECT`): each read returns one packet, so a short read proves nothing.

use super::support::on_every_backend;
use reveille::net::pipe::{Receiver, Sender, pipe};
use reveille::spawn;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Makes a pipe whose writing end is in packet mode. Kernels before 3.4 have none.
fn packet_pipe() -> Option<(Sender, Receiver)> {
    let mut fds = [-1; 2];
    // SAFETY: the array has room for the two fds that the call writes.
    let made = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_NONBLOCK | libc::O_DIRECT) };
    if made != 0 {
        println!("skipped: no packet mode here");
        return None;
    }
    // SAFETY: the call has just made both fds, and no other code has them.
    let ends = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let [reader, writer] = ends;
    Some((
        Sender::from_owned_fd(writer).unwrap(),
        Receiver::from_owned_fd(reader).unwrap(),
    ))
}

#[test]
fn packets_that_came_together_are_all_read() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let Some((sender, receiver)) = packet_pipe() else {
                return;
            };
            packets(sender, receiver).await;
        });
    });
}

#[test]
fn packet_mode_may_be_switched_on_in_a_pipe_of_ours() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            let flags = libc::O_NONBLOCK | libc::O_DIRECT;
            // SAFETY: F_SETFL takes an int; the sender keeps the fd open.
            if unsafe { libc::fcntl(sender.as_raw_fd(), libc::F_SETFL, flags) } != 0 {
                return println!("skipped: no packet mode here");
            }
            packets(sender, receiver).await;
        });
    });
}

async fn packets(sender: Sender, receiver: Receiver) {
    // In bursts: nothing more comes before all packets of one are read.
    let mut buf = [0; 4096];
    for count in 1..=16 {
        for len in 1..=count {
            sender.write_all(&vec![b'p'; len]).await.unwrap();
        }
        for len in 1..=count {
            assert_eq!(receiver.read(&mut buf).await.unwrap(), len);
        }
    }
    // All at once, more than fit.
    let reader = spawn(async move {
        let (mut lens, mut buf) = (Vec::new(), [0; 4096]);
        loop {
            match receiver.read(&mut buf).await.unwrap() {
                0 => return lens,
                n => lens.push(n),
            }
        }
    });
    for len in 1..=100 {
        sender.write_all(&vec![b'p'; len]).await.unwrap();
    }
    drop(sender);
    assert_eq!(reader.await.unwrap(), Vec::from_iter(1..=100));
}
