//! hickory-resolver 0.26 on reveille. This file is made to be copied into other programs.
//!
//! ```ignore
//! let resolver = Resolver::builder(ReveilleProvider::current())?.build()?;
//! let addresses = resolver.lookup_ip("example.com.").await?;
//! ```
//!
//! hickory spawns a task for each connection to a name server. They are tasks of the runtime that
//! `ReveilleProvider` was made in. A look-up opens sockets, so it must be awaited inside that
//! runtime: elsewhere it fails.
//!
//! `Tcp` and `Udp` only exist because a type of one crate cannot have a trait of another one.

use async_trait::async_trait;
use futures_io::{AsyncRead, AsyncWrite};
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use reveille::Handle;
use reveille::net::{TcpSocket, TcpStream, UdpSocket};
use reveille::time::{Duration, sleep, timeout};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How long connecting may take if hickory does not say.
const PATIENCE: Duration = Duration::from_secs(5);

/// The runtime that runs hickory's tasks.
#[derive(Clone, Debug)]
pub struct ReveilleProvider(Handle);

impl ReveilleProvider {
    /// Returns the runtime that this thread is inside of.
    ///
    /// # Panics
    ///
    /// If this thread is not inside a runtime.
    pub fn current() -> ReveilleProvider {
        ReveilleProvider(Handle::current())
    }
}

impl Spawn for ReveilleProvider {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        // The task goes on without the handle.
        drop(self.0.spawn(future));
    }
}

impl RuntimeProvider for ReveilleProvider {
    type Handle = ReveilleProvider;
    type Timer = Timer;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> ReveilleProvider {
        self.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        bind: Option<SocketAddr>,
        patience: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Tcp>>>> {
        Box::pin(async move {
            let socket = match server {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(addr) = bind {
                socket.bind(addr)?;
            }
            socket.set_nodelay(true)?;
            let connected = timeout(patience.unwrap_or(PATIENCE), socket.connect(server));
            Ok(Tcp(connected.await.map_err(io::Error::from)??))
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        _server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Udp>>>> {
        Box::pin(async move { UdpSocket::bind(local).await.map(Udp) })
    }
}

/// The timers of the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Timer;

#[async_trait]
impl Time for Timer {
    async fn delay_for(duration: Duration) {
        sleep(duration).await;
    }

    async fn timeout<F: Future + Send + 'static>(
        duration: Duration,
        future: F,
    ) -> io::Result<F::Output> {
        timeout(duration, future).await.map_err(io::Error::from)
    }
}

/// A socket for queries over UDP.
#[derive(Debug)]
pub struct Udp(UdpSocket);

impl DnsUdpSocket for Udp {
    type Time = Timer;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.0.poll_recv_from(cx, buf)
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(cx, buf, target)
    }
}

/// A connection to a name server.
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl DnsTcpStream for Tcp {
    type Time = Timer;
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        AsyncRead::poll_read(Pin::new(&mut self.0), cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.0), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
