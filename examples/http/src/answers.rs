//! What the server answers. The example `https` uses this file too.

use crate::server::Server;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Method, Request, Response, StatusCode};
use reveille::time::{now, timeout_at};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) type Reply = UnsyncBoxBody<Bytes, Infallible>;

/// Answers a request. Also returns whether the connection (of HTTP/1) has to end with it.
pub(crate) async fn answer(
    request: Request<Incoming>,
    server: &Server,
) -> Result<(Response<Reply>, bool), hyper::Error> {
    let path = request.uri().path();
    let length = path.strip_prefix('/').and_then(|path| path.parse().ok());
    let mut is_last = false;
    let (status, body) = match (request.method(), path, length) {
        (&Method::GET | &Method::HEAD, "/", _) => (StatusCode::OK, text("hello\n")),
        (&Method::GET | &Method::HEAD, _, Some(length)) => {
            (StatusCode::OK, Filler(length).boxed_unsync())
        }
        (&Method::POST, ..) => match count(request.into_body(), server).await? {
            Some(count) => (StatusCode::OK, text(format!("{count}\n"))),
            None => {
                is_last = true;
                let sorry = text("the body is too slow\n");
                (StatusCode::REQUEST_TIMEOUT, sorry)
            }
        },
        _ => {
            let requests = server.requests.get();
            let text = text(format!("GET /N, or POST. Requests so far: {requests}\n"));
            (StatusCode::NOT_FOUND, text)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok((response, is_last))
}

fn text(text: impl Into<String>) -> Reply {
    text.into().boxed_unsync()
}

/// Reads a body to its end, and returns its length; `None` if it came too slowly.
async fn count(mut body: Incoming, server: &Server) -> Result<Option<u64>, hyper::Error> {
    let mut count = 0;
    loop {
        let (start, end) = (count, now() + server.limits.stall);
        while count - start < server.limits.bytes_per_stall() {
            match timeout_at(end, body.frame()).await {
                Ok(Some(frame)) => {
                    count += frame?.data_ref().map_or(0, |data| data.len() as u64);
                }
                Ok(None) => return Ok(Some(count)),
                Err(_elapsed) => {
                    server.slow_bodies.set(server.slow_bodies.get() + 1);
                    return Ok(None);
                }
            }
        }
    }
}

/// A body of so many bytes, which all are `x`.
struct Filler(u64);

static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let len = self.0.min(CHUNK.len() as u64);
        self.0 -= len;
        let data = Bytes::from_static(&CHUNK[..len as usize]);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}
