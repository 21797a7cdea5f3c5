//! [`Incoming`] and [`IntoIncoming`]: the connections of a listener as a [`Stream`].

use super::Listener;
use crate::net::ByteStream;
use crate::net::backoff::Backoff;
use crate::net::kind::{Duplex, Tcp};
use crate::place::Place;
use futures_core::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A stream of the connections that a listener accepts. Returned by [`Listener::incoming`]. It
/// never ends.
///
/// # Examples
///
/// See [`Listener::incoming`].
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Incoming<'a, K: Duplex = Tcp> {
    listener: &'a Listener<K>,
    backoff: Backoff,
    place: Place,
}

/// Same as [`Incoming`], but owns the listener. Returned by [`Listener::into_incoming`].
///
/// # Examples
///
/// See [`Listener::into_incoming`].
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct IntoIncoming<K: Duplex = Tcp> {
    listener: Listener<K>,
    backoff: Backoff,
    place: Place,
}

impl<K: Duplex> Listener<K> {
    /// Returns the connections as a [`Stream`], for use with the combinators of `futures-util`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection is taken only by the poll that returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_core::Stream;
    /// use reveille::net::{Incoming, TcpListener, TcpStream};
    /// use std::future::poll_fn;
    /// use std::pin::pin;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let incoming: Incoming<'_> = listener.incoming();
    ///     let mut incoming = pin!(incoming);
    ///     let stream = poll_fn(|cx| incoming.as_mut().poll_next(cx)).await.expect("never ends")?;
    ///     assert_eq!(stream.peer_addr()?, client.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn incoming(&self) -> Incoming<'_, K> {
        Incoming {
            listener: self,
            backoff: Backoff::default(),
            place: Place::here(),
        }
    }

    /// Same as [`incoming`](Listener::incoming), but the result owns the listener: for a task of
    /// its own, or a server that takes any stream of connections.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a connection is taken only by the poll that returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_core::Stream;
    /// use reveille::net::{IntoIncoming, TcpListener, TcpStream};
    /// use std::future::poll_fn;
    /// use std::pin::Pin;
    ///
    /// async fn serve(mut incoming: IntoIncoming) -> std::io::Result<()> {
    ///     while let Some(stream) = poll_fn(|cx| Pin::new(&mut incoming).poll_next(cx)).await {
    ///         stream?.write_all(b"hello").await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// reveille::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let addr = listener.local_addr()?;
    ///     reveille::spawn(serve(listener.into_incoming()));
    ///     let client = TcpStream::connect(addr).await?;
    ///     client.read_exact(&mut [0; 5]).await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn into_incoming(self) -> IntoIncoming<K> {
        IntoIncoming {
            listener: self,
            backoff: Backoff::default(),
            place: Place::here(),
        }
    }
}

impl<K: Duplex> IntoIncoming<K> {
    /// Returns the listener, for its address for example.
    pub fn listener(&self) -> &Listener<K> {
        &self.listener
    }

    /// Returns the listener and ends the stream of connections. No connection is lost.
    pub fn into_listener(self) -> Listener<K> {
        self.listener
    }
}

impl<K: Duplex> Stream for Incoming<'_, K> {
    type Item = io::Result<ByteStream<K>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        poll_stream(this.listener, &mut this.backoff, this.place, cx)
    }
}

impl<K: Duplex> Stream for IntoIncoming<K> {
    type Item = io::Result<ByteStream<K>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        poll_stream(&this.listener, &mut this.backoff, this.place, cx)
    }
}

fn poll_stream<K: Duplex>(
    listener: &Listener<K>,
    backoff: &mut Backoff,
    place: Place,
    cx: &mut Context<'_>,
) -> Poll<Option<io::Result<ByteStream<K>>>> {
    let polled = listener.poll_accept_with(backoff, place, cx);
    polled.map(|accepted| Some(accepted.map(|(stream, _addr)| stream)))
}
