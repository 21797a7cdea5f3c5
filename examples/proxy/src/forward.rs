//! One request: its way to an upstream, and the way of the response back.
//!
//! The pool may hold a connection that the upstream has just closed. If nothing of a request was
//! sent, hyper-util sends it again by itself. Otherwise it may have been carried out, so it is sent
//! again here only if its method allows that and it has no body.

use crate::Proxy;
use crate::headers::{self, for_client, for_upstream};
use crate::reveille_connector::{Connected, Connector};
use crate::streamed::Streamed;
use futures::channel::mpsc;
use futures::future::select;
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::http::uri::{Authority, Scheme};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::{Client, Error as ClientError};
use reveille::interop::{HyperExecutor, HyperIo, HyperTimer};
use reveille::time::{Duration, Instant, now, timeout};
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tower_service::Service;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long an idle connection to an upstream is kept. Less than most servers keep one, so that few
/// requests meet a closed one.
const IDLE: Duration = Duration::from_secs(20);

/// How many idle connections to one upstream are kept.
const MOST_IDLE: usize = 100;

/// How long an upstream is left out after it could not be reached, if there is another one.
const PAUSE: Duration = Duration::from_secs(1);

type Upload = Either<Streamed, Empty<Bytes>>;
type Answer = Response<Either<Streamed, Full<Bytes>>>;

/// The servers behind the proxy, and the connections to them.
pub(crate) struct Upstreams {
    client: Client<Patient, Upload>,
    all: Vec<Upstream>,
    next: Cell<usize>,
}

struct Upstream {
    authority: Authority,
    /// Until when the upstream is left out, because it could not be reached.
    pauses: Cell<Option<Instant>>,
}

impl Upstreams {
    pub(crate) fn new(authorities: Vec<Authority>, patience: Duration) -> Upstreams {
        // Less than the time for the whole request, so that another upstream can be tried.
        let connector = Patient(CONNECT.min(patience / 2));
        let client = Client::builder(HyperExecutor::new())
            .timer(HyperTimer::new())
            .pool_timer(HyperTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .http1_max_buf_size(crate::BUFFER)
            .build(connector);
        let all = authorities.into_iter().map(|authority| Upstream {
            authority,
            pauses: Cell::new(None),
        });
        Upstreams {
            client,
            all: all.collect(),
            next: Cell::new(0),
        }
    }

    /// Returns the next upstream in turn that does not pause, or the next one if all pause.
    fn choose(&self) -> &Upstream {
        let first = self.next.get();
        self.next.set((first + 1) % self.all.len());
        let turn = self.all[first..].iter().chain(&self.all[..first]);
        let time = now();
        let mut awake = turn.filter(|upstream| upstream.pauses.get().is_none_or(|end| end <= time));
        awake.next().unwrap_or(&self.all[first])
    }
}

/// Sends a request on and returns the response.
pub(crate) async fn forward(
    request: Request<Incoming>,
    peer: IpAddr,
    proxy: Rc<Proxy>,
    alive: mpsc::Sender<()>,
) -> Result<Answer, Infallible> {
    let answer = exchange(request, peer, &proxy, alive).await;
    Ok(answer.unwrap_or_else(|status| {
        let mut answer = Response::new(Either::Right(format!("{status}\n").into()));
        *answer.status_mut() = status;
        answer
    }))
}

async fn exchange(
    mut request: Request<Incoming>,
    peer: IpAddr,
    proxy: &Rc<Proxy>,
    alive: mpsc::Sender<()>,
) -> Result<Answer, StatusCode> {
    if request.method() == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let front = hyper::upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    let wanted = for_upstream(&mut head, peer).ok_or(StatusCode::BAD_REQUEST)?;
    // What hyper has left there is about the connection of the client.
    head.extensions.clear();
    let mut response = if body.is_end_stream() {
        // Each upstream may get it, and one that had closed its connection once more.
        let mut tries = proxy.upstreams.all.len().max(2);
        loop {
            let request = Request::from_parts(head.clone(), Either::Right(Empty::new()));
            tries -= 1;
            match send(proxy, request, || 0).await {
                Ok(response) => break response,
                Err(failure) if failure.may_repeat(&head.method) && tries > 0 => {}
                Err(failure) => return Err(failure.status),
            }
        }
    } else {
        let body = Streamed::new(body, proxy.patience);
        let frames = body.frames();
        let request = Request::from_parts(head, Either::Left(body));
        let sent = send(proxy, request, || frames.load(Ordering::Relaxed)).await;
        sent.map_err(|failure| failure.status)?
    };
    *response.version_mut() = Version::HTTP_11;
    let made = for_client(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // hyper would not understand an upgrade that was not asked for.
        let (Some(protocol), Some(_)) = (made, wanted) else {
            return Err(StatusCode::BAD_GATEWAY);
        };
        headers::upgrade(response.headers_mut(), protocol);
        let back = hyper::upgrade::on(&mut response);
        let stopped = proxy.stopped.clone();
        reveille::spawn(async move {
            let _held = alive;
            select(pin!(tunnel(front, back)), stopped).await;
        });
        return Ok(response.map(|_| Either::Right(Full::default())));
    }
    Ok(response.map(|body| Either::Left(Streamed::new(body, proxy.patience))))
}

/// Why there is no response.
struct Failure {
    status: StatusCode,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// The upstream was not reached, so it got nothing.
    Connect,
    /// The connection ended before the response.
    Exchange,
    /// Another try would not help.
    Last,
}

impl Failure {
    /// Whether a request without a body may be sent once more (RFC 9110, section 9.2.2).
    fn may_repeat(&self, method: &Method) -> bool {
        match self.stage {
            Stage::Connect => true,
            Stage::Exchange => method.is_idempotent(),
            Stage::Last => false,
        }
    }
}

/// Sends a request to the next upstream. `progress` returns a number that grows while the body is
/// sent.
async fn send(
    proxy: &Proxy,
    mut request: Request<Upload>,
    progress: impl Fn() -> u64,
) -> Result<Response<Incoming>, Failure> {
    let stage = Stage::Last;
    let upstream = proxy.upstreams.choose();
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream.authority.clone());
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_error| {
        let status = StatusCode::BAD_REQUEST;
        Failure { status, stage }
    })?;
    let mut response = pin!(proxy.upstreams.client.request(request));
    let mut before = progress();
    loop {
        match timeout(proxy.patience, response.as_mut()).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => return Err(failure(&error, upstream)),
            // The body may take longer.
            Err(_elapsed) if progress() != before => before = progress(),
            Err(_elapsed) => {
                let status = StatusCode::GATEWAY_TIMEOUT;
                return Err(Failure { status, stage });
            }
        }
    }
}

/// What an error means. Notes that an upstream could not be reached.
fn failure(error: &ClientError, upstream: &Upstream) -> Failure {
    let mut stage = Stage::Exchange;
    if error.is_connect() {
        stage = Stage::Connect;
        upstream.pauses.set(Some(now() + PAUSE));
    }
    let mut cause = error.source();
    let mut status = StatusCode::BAD_GATEWAY;
    while let Some(error) = cause {
        let error_of_system = error.downcast_ref::<io::Error>();
        if error_of_system.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            status = StatusCode::GATEWAY_TIMEOUT;
        }
        cause = error.source();
    }
    Failure { status, stage }
}

/// Copies between two connections that were upgraded, until both sides have ended.
async fn tunnel(front: OnUpgrade, back: OnUpgrade) -> Result<(), Box<dyn Error>> {
    let (mut front, mut back) = (HyperIo::new(front.await?), HyperIo::new(back.await?));
    reveille::io::copy_bidirectional(&mut front, &mut back).await?;
    Ok(())
}

/// The connector, with a time limit.
#[derive(Clone)]
struct Patient(Duration);

impl Service<Uri> for Patient {
    type Response = Connected;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Connected>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(self.0, Connector.call(uri));
        Box::pin(async { connecting.await? })
    }
}
