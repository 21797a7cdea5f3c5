//! reveille with a call for many datagrams, where the others make one for each.

use std::future::Future;

use reveille::net::{RecvBatch, UdpSocket};

use super::reveille::Reveille;
use crate::contestant::{Contestant, Datagrams, Tasks};
use crate::servers::{self, raw::BATCH};
use crate::workloads::{self, datagrams::SIZE};

struct Many;

pub fn contestant() -> Contestant {
    Contestant {
        name: "reveille-many",
        serve: None,
        servers: servers::reveille::batched(),
        micro: workloads::datagrams::all::<Many>(),
        missing: vec![("all but udp", "are those of reveille")],
    }
}

impl Tasks for Many {
    type Join = <Reveille as Tasks>::Join;

    fn block_on<F: Future>(f: F) -> F::Output {
        Reveille::block_on(f)
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        Reveille::spawn(f)
    }
}

impl Datagrams for Many {
    type Socket = (UdpSocket, RecvBatch);

    async fn adopt(socket: std::net::UdpSocket) -> Self::Socket {
        let socket = Reveille::adopt(socket).await;
        (socket, RecvBatch::new(BATCH, SIZE))
    }

    async fn receive((socket, mut batch): Self::Socket, n: usize) -> Self::Socket {
        let mut got = 0;
        while got < n {
            got += socket.recv_many(&mut batch).await.expect("receive");
        }
        (socket, batch)
    }
}
