//! A pipe by hand, for the row `pipe`: both ends on one edge-triggered epoll, no futures.

use std::io::{ErrorKind, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd};

use crate::contestant::{Args, Micro};
use crate::report::{Meter, Report};
use crate::sys::{self, Epoll};
use crate::workloads::pipes::BLOCK;

pub fn all() -> Vec<Micro> {
    vec![("pipe", through)]
}

fn through(a: &Args) -> Report {
    let (mut receiver, mut sender) = pipe().expect("a pipe");
    let mut epoll = Epoll::new(16).expect("an epoll");
    for (fd, mask) in [(receiver.as_fd(), sys::IN), (sender.as_fd(), sys::OUT)] {
        sys::set_nonblocking(fd).expect("a pipe");
        epoll
            .add(fd.as_raw_fd(), mask | sys::ET, u64::from(mask))
            .expect("room for two");
    }
    let (block, mut buf) = (vec![7; BLOCK], vec![0; BLOCK]);
    let mut unsent = (a.warm + a.n) as usize * BLOCK;
    let (mut unread, mut meter) = (unsent, None);
    while unread > 0 {
        if meter.is_none() && unread <= a.n as usize * BLOCK {
            meter = Some(Meter::new());
        }
        for event in epoll.wait(-1) {
            while event.events & sys::OUT != 0 && unsent > 0 {
                let from = (BLOCK - unsent % BLOCK) % BLOCK;
                match sender.write(&block[from..]) {
                    Ok(n) => unsent -= n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => panic!("{e}"),
                }
            }
            while event.events & sys::IN != 0 {
                match receiver.read(&mut buf) {
                    Ok(n) => {
                        assert!(n > 0 && buf[n - 1] == 7, "the pipe changed the data");
                        unread -= n;
                        if n < BLOCK {
                            break;
                        }
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => panic!("{e}"),
                }
            }
        }
    }
    meter.expect("n is not 0").done(a.n)
}
