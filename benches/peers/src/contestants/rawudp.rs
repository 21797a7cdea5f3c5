//! Datagrams by hand, one by one and by recvmmsg(2), for the row `udp-recv`.

use std::os::fd::AsRawFd;

use crate::batch::Batch;
use crate::contestant::{Args, Contestant, Micro};
use crate::report::Report;
use crate::servers;
use crate::sys;
use crate::workloads::datagrams::{FILL, Pair, Receiving, SIZE};

pub fn all() -> Vec<Micro> {
    vec![("udp-recv", one_by_one)]
}

/// recvmmsg(2) and sendmmsg(2) instead of a call for each datagram.
pub fn batched() -> Contestant {
    Contestant {
        name: "rawepoll-mmsg",
        serve: None,
        servers: servers::raw::batched(),
        micro: vec![("udp-recv", in_batches)],
        missing: vec![("all but udp", "are those of rawepoll")],
    }
}

/// `receive` takes all that wait.
fn measure(a: &Args, mut receive: impl FnMut(i32)) -> Report {
    let mut pair = Pair::new();
    let socket = pair.receiver();
    socket.set_nonblocking(true).expect("a socket");
    let mut receiving = Receiving::default();
    let warm = a.warm.div_ceil(FILL as u64);
    for round in 0..(a.warm + a.n).div_ceil(FILL as u64) {
        pair.fill();
        let begin = sys::thread_cpu();
        receive(socket.as_raw_fd());
        if round >= warm {
            receiving.add(begin);
        }
    }
    receiving.done()
}

fn one_by_one(a: &Args) -> Report {
    let mut buf = [0; SIZE];
    measure(a, |fd| {
        for _ in 0..FILL {
            let received = sys::recv_from(fd, &mut buf).expect("receive");
            assert_eq!(received.map(|(n, _)| n), Some(SIZE));
        }
    })
}

fn in_batches(a: &Args) -> Report {
    let mut batch = Batch::new(servers::raw::BATCH, SIZE);
    measure(a, |fd| {
        let mut n = 0;
        while n < FILL {
            n += batch.recv(fd).expect("receive");
        }
    })
}
