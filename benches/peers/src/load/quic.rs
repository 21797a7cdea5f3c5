//! Streams over QUIC that come back: short ones, `depth` at once on each connection, or one long
//! one for each connection. It runs on tokio, whatever the server runs on.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, TokioRuntime};
use tokio::task::LocalSet;

use super::{Plan, failed, pattern};
use crate::report::Report;
use crate::tls;

const MIB: usize = 1 << 20;
const PIECE: usize = 64 << 10;

pub fn run(plan: &Plan, bulk: bool) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = LocalSet::new();
    // The endpoint lives until the end: without it the connections would close.
    let (_endpoint, connections) = tasks.block_on(&runtime, connect(plan))?;
    let phase = |n: u64| match bulk {
        true => tasks.block_on(&runtime, long(&connections, n as usize)),
        false => tasks.block_on(&runtime, short(&connections, plan, n)),
    };
    phase(plan.warm)?;
    plan.measure(plan.requests as f64, || {
        phase(plan.requests)?;
        Ok(Vec::new())
    })
}

async fn connect(plan: &Plan) -> io::Result<(Endpoint, Vec<Connection>)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let config = EndpointConfig::default();
    let endpoint = Endpoint::new(config, None, socket, Arc::new(TokioRuntime))?;
    let crypto = QuicClientConfig::try_from(tls::client(true)).map_err(io::Error::other)?;
    let config = ClientConfig::new(Arc::new(crypto));
    let addr: SocketAddr = plan.tcp()?;
    let mut connections = Vec::new();
    for _ in 0..plan.conns {
        let connecting = endpoint
            .connect_with(config.clone(), addr, "localhost")
            .map_err(io::Error::other)?;
        connections.push(connecting.await?);
    }
    Ok((endpoint, connections))
}

/// `n` streams of `size` bytes.
async fn short(connections: &[Connection], plan: &Plan, n: u64) -> io::Result<()> {
    let left = Rc::new(Cell::new(n));
    let mut tasks = Vec::new();
    for connection in connections {
        for _ in 0..plan.depth {
            let (connection, left) = (connection.clone(), left.clone());
            let data = pattern(plan.size);
            tasks.push(tokio::task::spawn_local(async move {
                while let Some(now) = left.get().checked_sub(1) {
                    left.set(now);
                    exchange(&connection, &data).await?;
                }
                io::Result::Ok(())
            }));
        }
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn exchange(connection: &Connection, data: &[u8]) -> io::Result<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(data).await?;
    send.finish()?;
    let back = recv.read_to_end(data.len()).await;
    match back.map_err(io::Error::other)? == data {
        true => Ok(()),
        false => Err(failed("the server changed the data")),
    }
}

/// `n` MiB in all, on one stream of each connection.
async fn long(connections: &[Connection], n: usize) -> io::Result<()> {
    let each = n * MIB / connections.len();
    let mut tasks = Vec::new();
    for connection in connections {
        let (mut send, recv) = connection.open_bi().await?;
        tasks.push(tokio::task::spawn_local(async move {
            let data = pattern(PIECE + 251);
            let mut at = 0;
            while at < each {
                let part = &data[at % 251..][..PIECE.min(each - at)];
                send.write_all(part).await?;
                at += part.len();
            }
            send.finish()?;
            io::Result::Ok(())
        }));
        tasks.push(tokio::task::spawn_local(receive(recv, each)));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn receive(mut recv: RecvStream, n: usize) -> io::Result<()> {
    let data = pattern(PIECE + 251);
    let mut at = 0;
    while let Some(chunk) = recv.read_chunk(PIECE, true).await? {
        if data[at % 251..][..chunk.bytes.len()] != chunk.bytes {
            return Err(failed("the server changed the data"));
        }
        at += chunk.bytes.len();
    }
    match at == n {
        true => Ok(()),
        false => Err(failed("the server sent another number of bytes")),
    }
}
