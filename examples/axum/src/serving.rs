//! Serves a `Router` of axum until it shall stop, as `axum::serve` does on tokio.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use reveille::interop::{HyperExecutor, HyperTimer};
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, sleep, timeout};
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use tokio::sync::watch;

/// How long a client may take for the head of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection without a request may wait for one after the server has begun to stop: one
/// may be on its way.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// Tells connections and handlers that the server stops, and waits for them. Clones are for the
/// same server.
#[derive(Clone)]
pub(crate) struct Stop(watch::Sender<bool>);

impl Stop {
    pub(crate) fn new() -> Stop {
        Stop(watch::Sender::new(false))
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns a future that ends when the server begins to stop. The server waits until the future
    /// has been dropped.
    pub(crate) fn stopping(&self) -> impl Future<Output = Guard> + Send + use<> {
        let mut receiver = self.0.subscribe();
        async move {
            // An error: the server is gone.
            receiver.wait_for(|&stops| stops).await.ok();
            Guard(receiver)
        }
    }

    /// Begins to stop, and waits until all that `stopping` has returned is gone.
    pub(crate) async fn stop(self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

/// The server waits until this is dropped.
pub(crate) struct Guard(
    #[expect(dead_code, reason = "the server counts it")] watch::Receiver<bool>,
);

/// Accepts connections until a future has ended, and then those that wait in the queue.
pub(crate) async fn accept_until<T>(
    end: impl Future<Output = T>,
    listener: TcpListener,
    router: Router,
    stop: &Stop,
) -> T {
    let stopping = stop.clone();
    let close = from_fn(move |request, next| close_if_stopping(stopping.clone(), request, next));
    let router = router.layer(close);
    let spawn = |stream| {
        let connection = serve(stream, router.clone(), stop.stopping());
        // The client causes errors here, such as a reset. They are not printed.
        reveille::spawn(async { connection.await.ok() });
    };
    let mut end = pin!(end);
    let output = loop {
        let accepted = tokio::select! {
            biased;
            output = end.as_mut() => break output,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _peer)) => spawn(stream),
            // The runtime cannot take this connection: it is out of memory, for example.
            Err(error) => {
                eprintln!("axum: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    loop {
        match listener.try_accept() {
            Ok((stream, _peer)) => spawn(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Nothing is left, or there is no descriptor for it.
            Err(_) => return output,
        }
    }
}

/// Makes the responses by HTTP/1 the last ones of their connections, once the server stops.
async fn close_if_stopping(stop: Stop, request: Request, next: Next) -> Response {
    let is_http1 = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    // An upgrade has another value of this header.
    if is_http1 && stop.is_stopping() && !response.headers().contains_key(header::CONNECTION) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Serves one connection, until the client closes it or the server stops.
async fn serve(
    stream: TcpStream,
    router: Router,
    stopping: impl Future<Output = Guard>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // The server waits for the guard, which is dropped at the end of this function.
    let mut ended = pin!(async {
        let guard = stopping.await;
        sleep(IDLE).await;
        guard
    });
    stream.set_nodelay(true)?;
    // The time limit of hyper begins with the first byte.
    let mut first = [0];
    tokio::select! {
        biased;
        peeked = timeout(PATIENCE, stream.peek(&mut first)) => peeked??,
        _guard = ended.as_mut() => return Ok(()),
    };
    let mut server = auto::Builder::new(HyperExecutor::new());
    let timer = HyperTimer::new();
    server.http1().timer(timer).header_read_timeout(PATIENCE);
    server.http2().timer(timer).keep_alive_interval(PATIENCE);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(server.serve_connection_with_upgrades(stream, service));
    let _guard = tokio::select! {
        biased;
        served = connection.as_mut() => return served,
        guard = ended => guard,
    };
    connection.as_mut().graceful_shutdown();
    connection.await
}
