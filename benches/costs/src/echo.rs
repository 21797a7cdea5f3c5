//! Requests and answers of 64 bytes over the loopback, both sides on one runtime.

use crate::count::{Counts, Meter};
use reveille::net::{TcpListener, TcpStream};
use std::io;

const SIZE: usize = 64;

async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n]).await?,
        }
    }
}

async fn ask(stream: TcpStream, n: u64) -> io::Result<()> {
    let mut buf = [0; 4096];
    for _ in 0..n {
        stream.write_all(&[7; SIZE]).await?;
        let mut got = 0;
        while got < SIZE {
            match stream.read(&mut buf[got..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => got += more,
            }
        }
    }
    Ok(())
}

async fn all(n: u64, k: u64) -> io::Result<Counts> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let mut pairs = Vec::new();
    for _ in 0..k {
        let client = TcpStream::connect(addr).await?;
        let (server, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        pairs.push((client, server));
    }
    let meter = Meter::start();
    let mut joins = Vec::new();
    for (client, server) in pairs {
        joins.push(reveille::spawn(serve(server)));
        joins.push(reveille::spawn(ask(client, n / k)));
    }
    for join in joins {
        join.await.expect("the task ends")?;
    }
    Ok(meter.stop())
}

/// `k` connections; one operation is one request and its answer.
pub fn echo(n: u64, k: u64) -> Counts {
    assert_eq!(n % k, 0, "a multiple of {k}");
    reveille::block_on(all(n, k)).expect("the loopback works")
}
