//! Serves one connection within its limits, and ends it when the server stops. The example `https`
//! uses this file too.
//!
//! | when the server stops, a connection | |
//! |---|---|
//! | of HTTP/1 with a request | ends after its response, which says `Connection: close` |
//! | of HTTP/1 without one | gets [`LAST_CALL`] for one, because it may be on its way |
//! | of HTTP/2 | gets a GOAWAY, and ends after the responses to what was sent before it |
//!
//! A connection that ends so is closed for writing at first, and read until the client closes it or
//! [`LINGER`] has passed: the system resets a connection with unread bytes, and the client could
//! lose the response. One that has exceeded a limit is just closed.

use crate::answers::{Reply, answer};
use crate::server::{Server, Visit};
use crate::watch::{LAST_CALL, Limit, Ticket, Ticketed, Watch};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use reveille::interop::{HyperExecutor, HyperTimer};
use reveille::net::TcpStream;
use reveille::time::{Duration, now, sleep, sleep_until, timeout};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

/// How long the server waits for the client to close a connection.
const LINGER: Duration = Duration::from_secs(2);

/// The memory for bytes that were read or wait to be written, of each connection of HTTP/1 and each
/// request of HTTP/2.
const BUFFER: usize = 64 * 1024;

/// Why a connection has ended early.
#[derive(Debug)]
pub(crate) enum Error {
    /// The client has exceeded a limit.
    Limit(Limit),
    /// The client has broken the connection or the protocol, or does not react to its end.
    Client,
}

/// Serves a connection until it ends. `io` is the stream that speaks HTTP, over `tcp`,
/// whose reads and writes `watch` sees.
pub(crate) async fn serve<T>(
    io: T,
    tcp: &TcpStream,
    is_http2: bool,
    watch: &Rc<Watch>,
    visit: &Visit,
) -> Result<(), Error>
where
    T: Read + Write + Unpin,
{
    watch.begin(is_http2);
    let service = {
        let (server, watch) = (visit.server().clone(), watch.clone());
        service_fn(move |request| reply(request, server.clone(), watch.clone()))
    };
    if is_http2 {
        let connection = http2::Builder::new(HyperExecutor::new())
            .timer(HyperTimer::new())
            .max_concurrent_streams(100)
            .max_send_buf_size(BUFFER)
            .serve_connection(io, service);
        let end = http2::Connection::graceful_shutdown;
        drive(pin!(connection), end, watch, visit).await?;
    } else {
        let connection = http1::Builder::new()
            .timer(HyperTimer::new())
            .header_read_timeout(None)
            // A client that has closed its side still gets its response.
            .half_close(true)
            .max_buf_size(BUFFER)
            .serve_connection(io, service);
        let end = http1::Connection::graceful_shutdown;
        drive(pin!(connection), end, watch, visit).await?;
    }
    linger(tcp).await;
    Ok(())
}

/// Answers a request, and counts it.
async fn reply(
    request: Request<Incoming>,
    server: Rc<Server>,
    watch: Rc<Watch>,
) -> Result<Response<Ticketed<Reply>>, hyper::Error> {
    let ticket = Ticket::new(&watch);
    server.requests.set(server.requests.get() + 1);
    let is_http1 = request.version() < Version::HTTP_2;
    let (mut response, is_last) = answer(request, &server).await?;
    if is_http1 && (is_last || server.is_stopping()) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response.map(|body| Ticketed::new(body, ticket)))
}

/// Runs a connection of hyper until it ends, a limit is exceeded, or the server's stop ends it.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    end: fn(Pin<&mut C>),
    watch: &Watch,
    visit: &Visit,
) -> Result<(), Error>
where
    C: Future<Output = hyper::Result<()>>,
{
    let (mut is_stopping, mut is_ending) = (false, false);
    // Fires early rather than late: it is only set when the deadline comes nearer.
    let mut timer = sleep(visit.server().limits.header);
    poll_fn(|cx| {
        if !is_stopping && visit.poll_stop(cx).is_ready() {
            is_stopping = true;
            watch.hurry();
            if watch.is_http2() || watch.has_requests() {
                is_ending = true;
                end(connection.as_mut());
            }
        }
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|_| Error::Client));
            }
            let Some((deadline, limit)) = watch.due() else {
                return Poll::Pending;
            };
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.reset(deadline);
            }
            while Pin::new(&mut timer).poll(cx).is_ready() && deadline > now() {
                timer.reset(deadline);
            }
            if !timer.is_elapsed() {
                return Poll::Pending;
            }
            match limit {
                Limit::Header | Limit::Stall => return Poll::Ready(Err(Error::Limit(limit))),
                // A client of HTTP/2 that does not react to the GOAWAY.
                Limit::Idle if is_ending => return Poll::Ready(Err(Error::Client)),
                // Without a request it can end in order.
                Limit::Idle => {}
            }
            is_ending = true;
            if !is_stopping {
                visit.server().count(Limit::Idle);
            }
            watch.hurry();
            end(connection.as_mut());
        }
    })
    .await
}

/// Reads until the client closes its side.
async fn linger(tcp: &TcpStream) {
    let rest = async {
        let mut rest = [0; 4096];
        while matches!(tcp.read(&mut rest).await, Ok(1..)) {}
    };
    timeout(LINGER, rest).await.ok();
}

/// Awaits what must be done before a connection can be served, for the limit of a head at most, and
/// for [`LAST_CALL`] once the server stops.
pub(crate) async fn prepare<F: Future>(future: F, visit: &Visit) -> Result<F::Output, Error> {
    let mut future = pin!(future);
    let mut timer = sleep(visit.server().limits.header);
    let mut is_stopping = false;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if !is_stopping && visit.poll_stop(cx).is_ready() {
            is_stopping = true;
            timer = sleep_until(timer.deadline().min(now() + LAST_CALL));
        }
        let timer = Pin::new(&mut timer).poll(cx);
        timer.map(|()| Err(Error::Limit(Limit::Header)))
    })
    .await
}
