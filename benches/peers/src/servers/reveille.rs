//! reveille.

use std::io;

use reveille::net::{RecvBatch, TcpListener, TcpStream, UdpSocket, UnixListener};

use super::{Server, Site, raw};
use crate::contestant::Tasks;
use crate::contestants::reveille::{Reveille, connection};

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

/// recv_many and send_many instead of a call for each datagram.
pub fn batched() -> Vec<Server> {
    vec![("udp", udp_batched)]
}

/// TLS by futures-rustls.
#[cfg(feature = "tls")]
pub fn futures() -> Vec<Server> {
    vec![("tls", tls_by_futures)]
}

fn spawn(f: impl Future + 'static) {
    drop(Reveille::spawn(async move { drop(f.await) }));
}

fn unix(mut site: Site) {
    Reveille::block_on(async move {
        let listener = UnixListener::from_std(site.nonblocking().unix()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            spawn(connection(stream, site.buffer));
        }
    })
}

/// Accepts, and runs `f` in a task for each connection.
fn tcp<F: Future + 'static>(mut site: Site, f: fn(TcpStream, &Site) -> F) {
    Reveille::block_on(async move {
        let listener = TcpListener::from_std(site.nonblocking().tcp()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            let _ = stream.set_nodelay(true);
            spawn(f(stream, &site));
        }
    })
}

fn once(site: Site) {
    async fn answer(stream: TcpStream, buffer: usize) -> io::Result<()> {
        let mut buf = vec![0; buffer];
        let n = stream.read(&mut buf).await?;
        stream.write_all(&buf[..n]).await
    }
    tcp(site, |stream, site| answer(stream, site.buffer));
}

fn udp(mut site: Site) {
    Reveille::block_on(async move {
        let socket = UdpSocket::from_std(site.nonblocking().udp()).expect("socket");
        let mut buf = vec![0; site.buffer];
        loop {
            let (n, from) = socket.recv_from(&mut buf).await.expect("receive");
            socket.send_to(&buf[..n], from).await.expect("send");
        }
    })
}

fn udp_batched(mut site: Site) {
    Reveille::block_on(async move {
        let socket = UdpSocket::from_std(site.nonblocking().udp()).expect("socket");
        let mut batch = RecvBatch::new(raw::BATCH, site.buffer);
        loop {
            let n = socket.recv_many(&mut batch).await.expect("receive");
            let sent = socket.send_many(batch.iter()).await.expect("send");
            assert_eq!(sent, n, "the socket's buffer is full");
        }
    })
}

#[cfg(feature = "hyper")]
fn http(site: Site) {
    tcp(site, |stream, _| super::http::connection(stream));
}

#[cfg(feature = "hyper")]
fn http2(site: Site) {
    tcp(site, |stream, _| {
        super::http::connection2::<Reveille, _>(stream)
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

#[cfg(feature = "tls")]
fn tls_by_futures(site: Site) {
    tcp(site, |stream, _| async {
        let acceptor = futures_rustls::TlsAcceptor::from(crate::tls::server());
        let stream = acceptor.accept(stream).await?;
        super::http::connection(smol_hyper::rt::FuturesIo::new(stream)).await;
        io::Result::Ok(())
    });
}

#[cfg(feature = "quic")]
fn quic(site: Site) {
    Reveille::block_on(async {
        let runtime = super::quic::reveille_quinn::ReveilleRuntime::current();
        super::quic::serve::<Reveille>(site, std::sync::Arc::new(runtime)).await;
    });
}

/// Its copies share one buffer of 64 KiB for the thread.
fn proxy(site: Site) {
    tcp(site, |mut near, site| {
        let backend = site.backend;
        async move {
            let mut far = TcpStream::connect(backend).await?;
            far.set_nodelay(true)?;
            reveille::io::copy_bidirectional(&mut near, &mut far).await
        }
    });
}
