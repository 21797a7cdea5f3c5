//! Segmentation offload: one system call sends many datagrams (GSO), and one receives many (GRO).
//!
//! ```text
//! cargo run --release --manifest-path examples/udp_gso/Cargo.toml
//! cargo run --release --manifest-path examples/udp_gso/Cargo.toml -- --rounds 100000
//! ```
//!
//! The crate `quinn-udp`, which is made for QUIC, makes the system calls. It needs no runtime: a
//! `UdpSocket` of reveille waits, and `async_io` and `try_io` make the calls of the crate. Where
//! the kernel lacks the offload, the crate sends and receives one datagram at a time.

#[path = "../../support/mod.rs"]
mod support;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use reveille::backend::BackendKind;
use reveille::io::Interest;
use reveille::net::UdpSocket;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::process::ExitCode;

const USAGE: &str = "\
usage: udp_gso [--rounds N] [--backend NAME]

  --rounds N       how many times to send as many datagrams as one call can (default 1000)
  --backend NAME   epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --help           print this text";

/// The length of a datagram: what fits into a packet on most paths.
const SEGMENT: usize = 1200;

/// The most bytes of one call, which is the length of the longest datagram.
const MOST: usize = 65_507;

/// A socket and what `quinn-udp` knows about it.
struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    async fn bind() -> io::Result<Socket> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        // It switches GRO on, and finds out what the kernel can do.
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Socket { socket, state })
    }

    /// How many datagrams one call can send.
    fn segments(&self) -> usize {
        self.state.max_gso_segments().min(MOST / SEGMENT)
    }

    /// Sends datagrams of `SEGMENT` bytes, which lie one behind the other.
    async fn send(&self, contents: &[u8], destination: SocketAddr) -> io::Result<()> {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: (contents.len() > SEGMENT).then_some(SEGMENT),
            src_ip: None,
        };
        let send = || self.state.try_send((&self.socket).into(), &transmit);
        // Mostly there is room, so the first try need not wait.
        match self.socket.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.socket.async_io(Interest::WRITABLE, send).await
            }
            sent => sent,
        }
    }

    /// Receives datagrams into the buffers, and returns how many buffers hold some. A buffer holds
    /// `stride` bytes of each datagram, and the rest of the last one.
    async fn recv(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let recv = || self.state.recv((&self.socket).into(), buffers, meta);
        self.socket.async_io(Interest::READABLE, recv).await
    }
}

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let rounds = arguments.take("--rounds").unwrap_or(1000);
    let backend = arguments.take("--backend");
    arguments.finish();
    support::report(run(rounds, backend))
}

fn run(rounds: usize, backend: Option<BackendKind>) -> io::Result<()> {
    let mut builder = reveille::Builder::new();
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    builder.build()?.block_on(transfer(rounds))
}

async fn transfer(rounds: usize) -> io::Result<()> {
    let (from, to) = (Socket::bind().await?, Socket::bind().await?);
    let (addr, segments) = (to.socket.local_addr()?, from.segments());
    println!("one call sends up to {segments} datagrams of {SEGMENT} bytes");

    let data: Vec<u8> = (0..segments * SEGMENT).map(|at| at as u8).collect();
    let mut memory = vec![[0; MOST]; BATCH_SIZE];
    let mut meta = vec![RecvMeta::default(); BATCH_SIZE];
    let mut calls = 0;
    for _ in 0..rounds {
        from.send(&data, addr).await?;
        // Nothing is lost on the loopback interface, so all of it arrives.
        let mut received = 0;
        while received < data.len() {
            let mut buffers: Vec<_> = memory.iter_mut().map(|one| IoSliceMut::new(one)).collect();
            let filled = to.recv(&mut buffers, &mut meta).await?;
            calls += 1;
            for (buffer, meta) in buffers.iter().zip(&meta).take(filled) {
                for datagram in buffer[..meta.len].chunks(meta.stride) {
                    assert_eq!(datagram, &data[received..][..datagram.len()]);
                    received += datagram.len();
                }
            }
        }
    }
    println!(
        "{} datagrams were sent by {rounds} calls and received by {calls}",
        rounds * segments
    );
    Ok(())
}
