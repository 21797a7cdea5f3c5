//! Connections of reveille for `hyper_util::client::legacy`, a client with a pool. This file is
//! made to be copied into other programs.
//!
//! ```ignore
//! let client = Client::builder(HyperExecutor::new())
//!     .timer(HyperTimer::new())
//!     .pool_timer(HyperTimer::new())
//!     .build(Connector);
//! ```
//!
//! It connects to the host and the port of the URI, 80 if it has none. It knows no TLS, so it
//! refuses `https`.
//!
//! `Connected` only exists because a type of one crate cannot have a trait of another one.

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{self, Connection};
use reveille::net::TcpStream;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service;

/// Connects the pool's client to servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connector;

impl Service<Uri> for Connector {
    type Response = Connected;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Connected>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
                let text = format!("{uri} has no host or another scheme than http");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            };
            // An address of IPv6 is in brackets there.
            let host = host.trim_matches(['[', ']']);
            let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
            stream.set_nodelay(true)?;
            Ok(Connected(stream))
        })
    }
}

/// A connection of the pool.
#[derive(Debug)]
pub struct Connected(TcpStream);

impl Connection for Connected {
    fn connected(&self) -> connect::Connected {
        connect::Connected::new()
    }
}

impl Read for Connected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Read::poll_read(Pin::new(&mut self.0), cx, buf)
    }
}

impl Write for Connected {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Write::poll_write(Pin::new(&mut self.0), cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        Write::is_write_vectored(&self.0)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Write::poll_write_vectored(Pin::new(&mut self.0), cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}
