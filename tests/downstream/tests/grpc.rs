//! gRPC of tonic: all four kinds of calls, over hyper's HTTP/2. The messages and the dispatch are
//! what `tonic-build` makes from a `.proto` file, written by hand.

#[path = "../../../examples/proxy/src/reveille_connector.rs"]
mod reveille_connector;
#[path = "../../support/mod.rs"]
mod support;

use futures::stream::{self, BoxStream, StreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use reveille::interop::{HyperExecutor, HyperTimer};
use reveille::net::TcpListener;
use reveille::time::{Duration, sleep, timeout};
use reveille_connector::Connector;
use std::convert::Infallible;
use std::net::SocketAddr;
use support::on_every_backend;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, http};
use tonic::server::{
    ClientStreamingService, ServerStreamingService, StreamingService, UnaryService,
};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    value: u64,
}

fn number(value: u64) -> Number {
    Number { value }
}

type Numbers = BoxStream<'static, Result<Number, Status>>;

/// The square of a number, if it fits.
struct Square;

impl UnaryService<Number> for Square {
    type Response = Number;
    type Future = BoxFuture<Response<Number>, Status>;

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        Box::pin(async move {
            sleep(Duration::from_micros(100)).await;
            let value = request.into_inner().value;
            let square = value.checked_mul(value).map(number);
            let square = square.ok_or_else(|| Status::out_of_range("too large"))?;
            Ok(Response::new(square))
        })
    }
}

/// The numbers below one.
struct Count;

impl ServerStreamingService<Number> for Count {
    type Response = Number;
    type ResponseStream = Numbers;
    type Future = BoxFuture<Response<Numbers>, Status>;

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        Box::pin(async move {
            let numbers = stream::iter(0..request.into_inner().value);
            Ok(Response::new(numbers.map(|n| Ok(number(n))).boxed()))
        })
    }
}

/// The sum of numbers.
struct Sum;

impl ClientStreamingService<Number> for Sum {
    type Response = Number;
    type Future = BoxFuture<Response<Number>, Status>;

    fn call(&mut self, request: Request<Streaming<Number>>) -> Self::Future {
        Box::pin(async move {
            let (mut numbers, mut sum) = (request.into_inner(), 0);
            while let Some(number) = numbers.message().await? {
                sum += number.value;
            }
            Ok(Response::new(number(sum)))
        })
    }
}

/// Each number plus one, at once.
struct Next;

impl StreamingService<Number> for Next {
    type Response = Number;
    type ResponseStream = Numbers;
    type Future = BoxFuture<Response<Numbers>, Status>;

    fn call(&mut self, request: Request<Streaming<Number>>) -> Self::Future {
        let numbers = request.into_inner();
        let next = numbers.map(|n| n.map(|n| number(n.value + 1)));
        Box::pin(async move { Ok(Response::new(next.boxed())) })
    }
}

async fn dispatch(request: http::Request<Incoming>) -> Result<http::Response<Body>, Infallible> {
    let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
    Ok(match request.uri().path() {
        "/numbers.Numbers/Square" => grpc.unary(Square, request).await,
        "/numbers.Numbers/Count" => grpc.server_streaming(Count, request).await,
        "/numbers.Numbers/Sum" => grpc.client_streaming(Sum, request).await,
        "/numbers.Numbers/Next" => grpc.streaming(Next, request).await,
        path => Status::unimplemented(path).into_http(),
    })
}

async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    reveille::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut server = http2::Builder::new(HyperExecutor::new());
            server.timer(HyperTimer::new());
            reveille::spawn(server.serve_connection(stream, service_fn(dispatch)));
        }
    });
    addr
}

type Grpc = tonic::client::Grpc<Client<Connector, Body>>;

fn client(addr: SocketAddr) -> Grpc {
    let client = Client::builder(HyperExecutor::new())
        .http2_only(true)
        .timer(HyperTimer::new())
        .build(Connector);
    Grpc::with_origin(client, format!("http://{addr}").parse().unwrap())
}

fn path(method: &str) -> PathAndQuery {
    format!("/numbers.Numbers/{method}").parse().unwrap()
}

fn codec() -> ProstCodec<Number, Number> {
    ProstCodec::default()
}

async fn square(grpc: &mut Grpc, value: u64) -> Result<u64, Status> {
    grpc.ready().await.unwrap();
    let request = Request::new(number(value));
    let response = grpc.unary(request, path("Square"), codec()).await?;
    Ok(response.into_inner().value)
}

async fn all(mut numbers: Streaming<Number>) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(number) = numbers.message().await.unwrap() {
        all.push(number.value);
    }
    all
}

#[test]
fn grpc_answers_unary_calls() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let grpc = client(server().await);
            let calls: Vec<_> = (0..100)
                .map(|value| {
                    let mut grpc = grpc.clone();
                    reveille::spawn(async move { square(&mut grpc, value).await.unwrap() })
                })
                .collect();
            for (value, call) in calls.into_iter().enumerate() {
                assert_eq!(call.await.unwrap(), (value * value) as u64);
            }
        });
    });
}

#[test]
fn grpc_reports_errors() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut grpc = client(server().await);
            let status = square(&mut grpc, u64::MAX).await.unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (Code::OutOfRange, "too large")
            );
            let request = Request::new(number(1));
            let status = grpc.unary(request, path("Nothing"), codec()).await;
            let status = status.map(Response::<Number>::into_inner).unwrap_err();
            assert_eq!(status.code(), Code::Unimplemented);
            assert_eq!(square(&mut grpc, 3).await.unwrap(), 9);
        });
    });
}

#[test]
fn grpc_streams_in_both_directions() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut grpc = client(server().await);
            let count = grpc.server_streaming(Request::new(number(5000)), path("Count"), codec());
            let count = all(count.await.unwrap().into_inner()).await;
            assert!(count.into_iter().eq(0..5000));

            let numbers = Request::new(stream::iter((0..5000).map(number)));
            let sum = grpc.client_streaming(numbers, path("Sum"), codec());
            let sum: Number = sum.await.unwrap().into_inner();
            assert_eq!(sum.value, 5000 * 4999 / 2);

            let numbers = Request::new(stream::iter((0..5000).map(number)));
            let next = grpc.streaming(numbers, path("Next"), codec());
            let next = all(next.await.unwrap().into_inner()).await;
            assert!(next.into_iter().eq(1..5001));
        });
    });
}

/// Each request is made after the answer to the one before.
#[test]
fn grpc_stream_answers_before_its_end() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut grpc = client(server().await);
            let (sender, numbers) = async_channel::unbounded();
            sender.send(number(0)).await.unwrap();
            let next = grpc.streaming(Request::new(numbers), path("Next"), codec());
            let mut next = next.await.unwrap().into_inner();
            for _ in 0..50 {
                let one: Number = next.message().await.unwrap().unwrap();
                sender.send(one).await.unwrap();
            }
            drop(sender);
            assert_eq!(all(next).await, [51]);
        });
    });
}

/// `tonic::Request::set_timeout` would only send a header, which a plain service does not obey.
#[test]
fn grpc_call_is_cancelled_by_a_timeout() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut grpc = client(server().await);
            let (_sender, numbers) = async_channel::unbounded::<Number>();
            let sum = grpc.client_streaming(Request::new(numbers), path("Sum"), codec());
            let sum: Result<Result<Response<Number>, _>, _> =
                timeout(Duration::from_millis(5), sum).await;
            sum.unwrap_err();
            assert_eq!(square(&mut grpc, 3).await.unwrap(), 9);
        });
    });
}
