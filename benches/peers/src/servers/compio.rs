//! compio on io_uring.

use std::io;

use compio::buf::BufResult;
use compio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};

use super::{Server, Site};
use crate::contestant::Tasks;
use crate::contestants::compio::{Compio, connection};

pub fn all() -> Vec<Server> {
    vec![
        ("unix", unix),
        ("once", once),
        ("udp", udp),
        ("proxy", proxy),
    ]
}

fn spawn(f: impl Future + 'static) {
    Compio::detach(Compio::spawn(async move { drop(f.await) }));
}

fn unix(site: Site) {
    Compio::block_on(async move {
        let listener = UnixListener::from_std(site.unix()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            spawn(connection(stream, site.buffer));
        }
    })
}

/// Accepts, and runs `f` in a task for each connection.
fn tcp<F: Future + 'static>(site: Site, f: fn(TcpStream, &Site) -> F) {
    Compio::block_on(async move {
        let listener = TcpListener::from_std(site.tcp()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            let _ = stream.set_nodelay(true);
            spawn(f(stream, &site));
        }
    })
}

fn once(site: Site) {
    async fn answer(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
        let BufResult(n, buf) = stream.read(Vec::with_capacity(buffer)).await;
        n?;
        stream.write_all(buf).await.0
    }
    tcp(site, |stream, site| answer(stream, site.buffer));
}

fn udp(site: Site) {
    Compio::block_on(async move {
        let socket = UdpSocket::from_std(site.udp()).expect("socket");
        let mut buf = Vec::with_capacity(site.buffer);
        loop {
            buf.clear();
            let BufResult(received, datagram) = socket.recv_from(buf).await;
            let (_, from) = received.expect("receive");
            let BufResult(sent, back) = socket.send_to(datagram, from).await;
            sent.expect("send");
            buf = back;
        }
    })
}

fn proxy(site: Site) {
    async fn way(mut from: TcpStream, mut to: TcpStream, buffer: usize) -> io::Result<()> {
        compio::io::util::copy_with_size(&mut from, &mut to, buffer).await?;
        to.shutdown().await
    }
    tcp(site, |near, site| {
        let (backend, buffer) = (site.backend, site.buffer);
        async move {
            let far = TcpStream::connect(backend).await?;
            far.set_nodelay(true)?;
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            let back = Compio::spawn(async move { drop(way(far_read, near_write, buffer).await) });
            way(near_read, far_write, buffer).await?;
            let _ = back.await;
            io::Result::Ok(())
        }
    });
}
