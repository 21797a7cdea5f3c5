//! smol on a `LocalExecutor`.

use std::io;
#[cfg(feature = "quic")]
use std::pin::Pin;

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::unix::UnixListener;
use smol::net::{TcpListener, TcpStream, UdpSocket};

use super::{Server, Site};
use crate::contestant::Tasks;
use crate::contestants::smol::{Smol, connection};

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
    Smol::detach(Smol::spawn(async move { drop(f.await) }));
}

fn unix(site: Site) {
    Smol::block_on(async move {
        let listener = UnixListener::try_from(site.unix()).expect("listener");
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            spawn(connection(stream, site.buffer));
        }
    })
}

/// Accepts, and runs `f` in a task for each connection.
fn tcp<F: Future + 'static>(site: Site, f: fn(TcpStream, &Site) -> F) {
    Smol::block_on(async move {
        let listener = TcpListener::try_from(site.tcp()).expect("listener");
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

fn udp(site: Site) {
    Smol::block_on(async move {
        let socket = UdpSocket::try_from(site.udp()).expect("socket");
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
        super::http::connection(smol_hyper::rt::FuturesIo::new(stream))
    });
}

#[cfg(feature = "hyper")]
fn http2(site: Site) {
    tcp(site, |stream, _| {
        super::http::connection2::<Smol, _>(smol_hyper::rt::FuturesIo::new(stream))
    });
}

#[cfg(feature = "tls")]
fn tls(site: Site) {
    tcp(site, |stream, _| async {
        let acceptor = futures_rustls::TlsAcceptor::from(crate::tls::server());
        let stream = acceptor.accept(stream).await?;
        super::http::connection(smol_hyper::rt::FuturesIo::new(stream)).await;
        io::Result::Ok(())
    });
}

/// quinn's tasks are `Send`, so they need an executor beside the local one, on the same thread.
/// (`quinn::SmolRuntime` would run them on the global executor's thread.)
#[cfg(feature = "quic")]
fn quic(site: Site) {
    let executor = std::sync::Arc::new(smol::Executor::new());
    Smol::block_on(async {
        let runtime = std::sync::Arc::new(OneThread(executor.clone()));
        let served = super::quic::serve::<Smol>(site, runtime);
        executor.run(served).await;
    });
}

#[cfg(feature = "quic")]
#[derive(Debug)]
struct OneThread(std::sync::Arc<smol::Executor<'static>>);

#[cfg(feature = "quic")]
impl quinn::Runtime for OneThread {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        quinn::SmolRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future).detach();
    }

    fn wrap_udp_socket(
        &self,
        socket: std::net::UdpSocket,
    ) -> io::Result<std::sync::Arc<dyn quinn::AsyncUdpSocket>> {
        quinn::SmolRuntime.wrap_udp_socket(socket)
    }
}

/// Its `copy` takes buffers of 8 KiB, whatever the plan says, and shuts nothing down.
fn proxy(site: Site) {
    async fn way(from: TcpStream, mut to: TcpStream) -> io::Result<()> {
        smol::io::copy(from, &mut to).await?;
        to.shutdown(std::net::Shutdown::Write)
    }
    tcp(site, |near, site| {
        let backend = site.backend;
        async move {
            let far = TcpStream::connect(backend).await?;
            far.set_nodelay(true)?;
            smol::future::try_zip(way(near.clone(), far.clone()), way(far, near)).await
        }
    });
}
