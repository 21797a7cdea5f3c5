//! Crates that need tokio's reactor, under `async-compat`: a thread of that crate runs it. Tasks
//! that use such a crate run here.

#[path = "../../support/mod.rs"]
mod support;

use async_compat::{Compat, CompatExt};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use reveille::net::TcpListener;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use support::{Random, on_every_backend};

/// A server on reveille that sends bodies back.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    reveille::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let echo = service_fn(|request: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::new(request.into_body()))
            });
            reveille::spawn(http1::Builder::new().serve_connection(stream, echo));
        }
    });
    addr
}

#[test]
fn reqwest_sends_requests_under_async_compat() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let url = format!("http://{}/", server().await);
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let seeds = Rc::new(std::cell::Cell::new(0));
            let requests: Vec<_> = (0..10)
                .map(|_| {
                    let (client, url, seeds) = (client.clone(), url.clone(), seeds.clone());
                    // The tasks share an `Rc`: they run here. Those that `reqwest` spawns do not.
                    reveille::spawn(Compat::new(async move {
                        seeds.set(seeds.get() + 1);
                        let body = Random(seeds.get()).bytes(100_000);
                        let response = client.post(url).body(body.clone()).send().await.unwrap();
                        assert!(response.bytes().await.unwrap() == body);
                    }))
                })
                .collect();
            for request in requests {
                request.await.unwrap();
            }
        });
    });
}

#[test]
fn tokios_timers_work_only_under_async_compat() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let wait = || tokio::time::sleep(std::time::Duration::from_millis(1));
            async move { wait().await }.compat().await;
            let bare = reveille::spawn(async move { wait().await });
            assert!(
                bare.await.unwrap_err().is_panic(),
                "there is no runtime of tokio"
            );
        });
    });
}
