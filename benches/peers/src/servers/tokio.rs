//! tokio on its `current_thread` runtime.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};

use super::{Server, Site};
use crate::contestant::Tasks;
use crate::contestants::tokio::{Tokio, connection};

pub fn all() -> Vec<Server> {
    vec![
        ("unix", unix),
        ("once", once),
        ("udp", udp),
        #[cfg(feature = "hyper")]
        ("http", http),
        #[cfg(feature = "hyper")]
        ("http2", http2),
        #[cfg(feature = "tls")]
        ("tls", tls),
        #[cfg(feature = "quic")]
        ("quic", quic),
        #[cfg(feature = "quic")]
        ("quic-bulk", quic),
        ("proxy", proxy),
    ]
}

fn spawn(f: impl Future + 'static) {
    Tokio::spawn(async move { drop(f.await) });
}

fn unix(mut site: Site) {
    Tokio::block_on(async move {
        let listener = UnixListener::from_std(site.nonblocking().unix()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            spawn(connection(stream, site.buffer));
        }
    })
}

/// Accepts, and runs `f` in a task for each connection.
fn tcp<F: Future + 'static>(mut site: Site, f: fn(TcpStream, &Site) -> F) {
    Tokio::block_on(async move {
        let listener = TcpListener::from_std(site.nonblocking().tcp()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            let _ = stream.set_nodelay(true);
            spawn(f(stream, &site));
        }
    })
}

fn once(site: Site) {
    async fn answer(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
        let mut buf = vec![0; buffer];
        let n = stream.read(&mut buf).await?;
        stream.write_all(&buf[..n]).await
    }
    tcp(site, |stream, site| answer(stream, site.buffer));
}

fn udp(mut site: Site) {
    Tokio::block_on(async move {
        let socket = UdpSocket::from_std(site.nonblocking().udp()).expect("socket");
        let mut buf = vec![0; site.buffer];
        loop {
            let (n, from) = socket.recv_from(&mut buf).await.expect("receive");
            socket.send_to(&buf[..n], from).await.expect("send");
        }
    })
}

#[cfg(feature = "hyper")]
fn http(site: Site) {
    tcp(site, |stream, _| {
        super::http::connection(hyper_util::rt::TokioIo::new(stream))
    });
}

#[cfg(feature = "hyper")]
fn http2(site: Site) {
    tcp(site, |stream, _| {
        super::http::connection2::<Tokio, _>(hyper_util::rt::TokioIo::new(stream))
    });
}

#[cfg(feature = "tls")]
fn tls(site: Site) {
    tcp(site, |stream, _| async {
        let acceptor = tokio_rustls::TlsAcceptor::from(crate::tls::server());
        let stream = acceptor.accept(stream).await?;
        super::http::connection(hyper_util::rt::TokioIo::new(stream)).await;
        io::Result::Ok(())
    });
}

#[cfg(feature = "quic")]
fn quic(site: Site) {
    Tokio::block_on(async {
        super::quic::serve::<Tokio>(site, std::sync::Arc::new(quinn::TokioRuntime)).await;
    });
}

fn proxy(site: Site) {
    tcp(site, |mut near, site| {
        let (backend, buffer) = (site.backend, site.buffer);
        async move {
            let mut far = TcpStream::connect(backend).await?;
            far.set_nodelay(true)?;
            tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, buffer, buffer).await
        }
    });
}
