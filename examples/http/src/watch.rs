//! Which limit a connection has to keep at a moment, and since when. The example `https` uses this
//! file too.
//!
//! hyper has one timer for HTTP/1, `header_read_timeout`. It runs from the beginning of the
//! connection, or from the end of the last response, to the end of the next head, so it is the
//! limit of idle connections too. It has none for a client that stops reading, and for HTTP/2 only
//! pings, which such a client answers. So this server switches hyper's timer off and keeps a
//! [`Watch`] for each connection:
//!
//! | state | limit | begins |
//! |---|---|---|
//! | no request, no byte of one | idle | at the end of the last response |
//! | part of a head (HTTP/1) | header | with its first byte |
//! | a request's body is read | stall, by `answers.rs` | with each window |
//! | a response is computed | none | |
//! | the socket takes no bytes | stall | when it took the last one |
//! | the client takes no part of a response (the windows of HTTP/2) | stall | with the last part |
//!
//! The kernel reports that a socket takes bytes again only when a third of its send buffer is free.
//! So a client that reads slowly has to read that much within the stall limit, and `--send-buffer`
//! keeps it small.

use crate::limits::Limits;
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use reveille::time::{Duration, Instant, now};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// How long a connection without a request may wait for one while it is being ended.
pub(crate) const LAST_CALL: Duration = Duration::from_secs(2);

/// A limit that a client has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Header,
    Idle,
    Stall,
}

impl Limit {
    pub(crate) const ALL: [Limit; 3] = [Limit::Header, Limit::Idle, Limit::Stall];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Limit::Header => "header",
            Limit::Idle => "idle",
            Limit::Stall => "stall",
        }
    }
}

/// The state of one connection.
pub(crate) struct Watch {
    limits: Limits,
    is_http2: Cell<bool>,
    /// [`Limits::idle`], or less once the connection is being ended.
    idle: Cell<Duration>,
    /// Requests whose response has not ended.
    requests: Cell<usize>,
    /// Requests whose response waits for the client.
    waiting: Cell<usize>,
    /// Whether a part of a head has come.
    is_in_head: Cell<bool>,
    /// When the present state began, or the last part of a response was taken.
    since: Cell<Instant>,
    /// Since when the socket takes no bytes.
    blocked: Cell<Option<Instant>>,
}

impl Watch {
    pub(crate) fn new(limits: Limits) -> Rc<Watch> {
        Rc::new(Watch {
            limits,
            is_http2: Cell::new(false),
            idle: Cell::new(limits.idle),
            requests: Cell::new(0),
            waiting: Cell::new(0),
            is_in_head: Cell::new(false),
            since: Cell::new(now()),
            blocked: Cell::new(None),
        })
    }

    /// Called when HTTP begins. The bytes that were read before are not part of a head.
    pub(crate) fn begin(&self, is_http2: bool) {
        self.is_http2.set(is_http2);
        self.is_in_head.set(false);
        self.since.set(now());
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.get()
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.requests.get() > 0
    }

    /// Leaves the client [`LAST_CALL`] for its next request.
    pub(crate) fn hurry(&self) {
        self.idle.set(self.idle.get().min(LAST_CALL));
        if !self.has_requests() && !self.is_in_head.get() {
            self.since.set(now());
        }
    }

    /// The limit that the client has to keep now, and when its time is over.
    pub(crate) fn due(&self) -> Option<(Instant, Limit)> {
        let (since, limit) = if let Some(blocked) = self.blocked.get() {
            (blocked, Limit::Stall)
        } else if self.requests.get() > 0 {
            if self.waiting.get() < self.requests.get() {
                return None;
            }
            (self.since.get(), Limit::Stall)
        } else if self.is_in_head.get() {
            (self.since.get(), Limit::Header)
        } else {
            (self.since.get(), Limit::Idle)
        };
        let time = match limit {
            Limit::Header => self.limits.header,
            Limit::Idle => self.idle.get(),
            Limit::Stall => self.limits.stall,
        };
        since.checked_add(time).map(|deadline| (deadline, limit))
    }

    /// Called with each part of a head, and with other bytes that are read.
    fn note_read(&self) {
        if !self.is_http2() && !self.has_requests() && !self.is_in_head.get() {
            self.is_in_head.set(true);
            self.since.set(now());
        }
    }

    /// Called with the result of each operation that waits for room in the socket.
    fn note_write<T>(&self, result: &Poll<T>) {
        match result {
            Poll::Ready(_) => self.blocked.set(None),
            Poll::Pending if self.blocked.get().is_none() => self.blocked.set(Some(now())),
            Poll::Pending => {}
        }
    }
}

/// A request, from its head to the end of its response.
pub(crate) struct Ticket {
    watch: Rc<Watch>,
    /// Whether the response is being sent, so that the client has to take it.
    is_waiting: bool,
}

impl Ticket {
    pub(crate) fn new(watch: &Rc<Watch>) -> Ticket {
        watch.requests.set(watch.requests.get() + 1);
        watch.is_in_head.set(false);
        Ticket {
            watch: watch.clone(),
            is_waiting: false,
        }
    }

    fn set_waiting(&mut self, is_waiting: bool) {
        let waiting = &self.watch.waiting;
        match (self.is_waiting, is_waiting) {
            (false, true) => waiting.set(waiting.get() + 1),
            (true, false) => waiting.set(waiting.get() - 1),
            _ => {}
        }
        self.is_waiting = is_waiting;
        self.watch.since.set(now());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.set_waiting(false);
        self.watch.requests.set(self.watch.requests.get() - 1);
    }
}

pin_project_lite::pin_project! {
    /// The body of a response, with the ticket of its request.
    pub(crate) struct Ticketed<B> {
        #[pin]
        body: B,
        ticket: Ticket,
    }
}

impl<B> Ticketed<B> {
    pub(crate) fn new(body: B, mut ticket: Ticket) -> Ticketed<B> {
        ticket.set_waiting(true);
        Ticketed { body, ticket }
    }
}

impl<B: Body> Body for Ticketed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        // While the body itself has nothing to send, the client need not hurry.
        this.ticket.set_waiting(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells a [`Watch`] what happens. It lies below TLS, whose buffers take bytes even
/// if the socket does not.
pub(crate) struct Watched<T> {
    io: T,
    watch: Rc<Watch>,
}

impl<T> Watched<T> {
    pub(crate) fn new(io: T, watch: Rc<Watch>) -> Watched<T> {
        Watched { io, watch }
    }
}

impl<T: Read + Unpin> Read for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.watch.note_read();
        }
        polled
    }
}

impl<T: Write + Unpin> Write for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch.note_write(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.watch.note_write(&polled);
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch.note_write(&polled);
        polled
    }
}
