//! monoio on both of its drivers.

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, Splitable};
use monoio::net::udp::UdpSocket;
use monoio::net::{TcpListener, TcpStream, UnixListener};

use super::{Server, Site};
use crate::contestant::Tasks;
use crate::contestants::monoio::connection;

pub fn all<R: Tasks>() -> Vec<Server> {
    vec![
        ("unix", unix::<R>),
        ("once", once::<R>),
        ("udp", udp::<R>),
        ("proxy", proxy::<R>),
    ]
}

fn spawn<R: Tasks>(f: impl Future + 'static) {
    R::detach(R::spawn(async move { drop(f.await) }));
}

/// io_uring must be able to block on a socket, epoll must not.
fn prepare(site: &mut Site) -> &mut Site {
    match monoio::utils::is_legacy() {
        true => site.nonblocking(),
        false => site,
    }
}

fn unix<R: Tasks>(mut site: Site) {
    R::block_on(async move {
        let listener = UnixListener::from_std(prepare(&mut site).unix()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            spawn::<R>(connection(stream, site.buffer));
        }
    })
}

/// Accepts, and runs `f` in a task for each connection.
fn tcp<R: Tasks, F: Future + 'static>(mut site: Site, f: fn(TcpStream, &Site) -> F) {
    R::block_on(async move {
        let listener = TcpListener::from_std(prepare(&mut site).tcp()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            let _ = stream.set_nodelay(true);
            spawn::<R>(f(stream, &site));
        }
    })
}

fn once<R: Tasks>(site: Site) {
    async fn answer(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
        let (n, buf) = stream.read(Vec::with_capacity(buffer)).await;
        n?;
        stream.write_all(buf).await.0.map(drop)
    }
    tcp::<R, _>(site, |stream, site| answer(stream, site.buffer));
}

fn udp<R: Tasks>(mut site: Site) {
    R::block_on(async move {
        let socket = UdpSocket::from_std(prepare(&mut site).udp()).expect("socket");
        let mut buf = Vec::with_capacity(site.buffer);
        loop {
            let (received, datagram) = socket.recv_from(buf).await;
            let (_, from) = received.expect("receive");
            let (sent, back) = socket.send_to(datagram, from).await;
            sent.expect("send");
            buf = back;
        }
    })
}

/// Its own `copy` takes buffers of 4 KiB: this is the same loop with the size of the plan.
async fn way<R, W>(mut from: R, mut to: W, buffer: usize) -> io::Result<()>
where
    R: AsyncReadRent,
    W: AsyncWriteRent,
{
    let mut buf = Vec::with_capacity(buffer);
    loop {
        let (n, read) = from.read(buf).await;
        if n? == 0 {
            return to.shutdown().await;
        }
        let (written, back) = to.write_all(read).await;
        written?;
        buf = back;
    }
}

fn proxy<R: Tasks>(site: Site) {
    tcp::<R, _>(site, |near, site| {
        let (backend, buffer) = (site.backend, site.buffer);
        async move {
            let far = TcpStream::connect_addr(backend).await?;
            far.set_nodelay(true)?;
            let ((near_read, near_write), (far_read, far_write)) =
                (near.into_split(), far.into_split());
            let back = R::spawn(async move { drop(way(far_read, near_write, buffer).await) });
            way(near_read, far_write, buffer).await?;
            back.await;
            io::Result::Ok(())
        }
    });
}
