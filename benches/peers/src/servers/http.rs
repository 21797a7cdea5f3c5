//! hyper's servers for HTTP/1 and HTTP/2 with their default settings and no timer, the same on
//! every runtime.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};

use super::raw_http::{BIG, HELLO};
use crate::contestant::Tasks;

/// Serves one connection until it ends.
pub async fn connection<S: Read + Write + Unpin + 'static>(stream: S) {
    let served = http1::Builder::new().serve_connection(stream, service_fn(answer));
    // The load resets its connections.
    let _ = served.await;
}

/// Serves one connection by HTTP/2, with a task of the runtime for each stream.
pub async fn connection2<R: Tasks, S: Read + Write + Unpin + 'static>(stream: S) {
    let spawner: Spawner<R> = Spawner(PhantomData);
    let served = http2::Builder::new(spawner).serve_connection(stream, service_fn(answer));
    let _ = served.await;
}

struct Spawner<R>(PhantomData<fn() -> R>);

impl<R> Clone for Spawner<R> {
    fn clone(&self) -> Self {
        Spawner(PhantomData)
    }
}

impl<R: Tasks, F: Future<Output = ()> + 'static> Executor<F> for Spawner<R> {
    fn execute(&self, future: F) {
        R::detach(R::spawn(future));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    static BODY: OnceLock<Bytes> = OnceLock::new();
    let body = match (request.method(), request.uri().path()) {
        (&Method::GET, "/hello") => Bytes::from_static(HELLO.as_bytes()),
        (&Method::GET, "/big") => BODY.get_or_init(|| vec![b'x'; BIG].into()).clone(),
        _ => Bytes::from(count(request.into_body()).await.to_string()),
    };
    Ok(Response::new(Full::new(body)))
}

async fn count(mut body: Incoming) -> usize {
    let mut n = 0;
    while let Some(Ok(frame)) = body.frame().await {
        n += frame.data_ref().map_or(0, Bytes::len);
    }
    n
}
