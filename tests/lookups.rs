//! Look-ups of host names: on another thread, and not for addresses.

mod support;

use reveille::net::{TcpListener, TcpStream, lookup_host};
use reveille::{Builder, Handle};
use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};
use support::{guarded, on_every_backend};

#[test]
fn address_needs_no_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            TcpStream::connect(addr.to_string()).await.unwrap();
            let found = lookup_host(("127.0.0.1", addr.port())).await.unwrap();
            assert!(found.eq([addr]));
            assert_eq!(Handle::current().blocking_pool().threads(), 0);
        });
    });
}

#[test]
fn host_name_is_looked_up_on_another_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
            assert_eq!(Handle::current().blocking_pool().threads(), 1);
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(format!("localhost:{port}"))
                .await
                .unwrap();
            assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
            for addr in lookup_host(("localhost", port)).await.unwrap() {
                assert!(addr.ip().is_loopback() && addr.port() == port);
            }
        });
    });
}

#[test]
fn host_name_that_cannot_be_found_is_named_in_the_error() {
    reveille::block_on(async {
        // std refuses this name before it calls the resolver.
        for error in [
            lookup_host("no\0host:80").await.map(drop).unwrap_err(),
            TcpStream::connect("no\0host:80").await.unwrap_err(),
            TcpListener::bind("no\0host:80").await.unwrap_err(),
        ] {
            assert!(
                error.to_string().contains("cannot look up \"no\\0host\""),
                "{error}"
            );
        }
        let error = lookup_host("no port").await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn look_up_is_not_delayed_by_closures_that_occupy_the_pool() {
    guarded("default", || {
        let runtime = Builder::new().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (gate, wait) = channel::<()>();
            let slow = reveille::spawn_blocking(move || wait.recv().unwrap_err());
            let waiting = reveille::spawn_blocking(|| ());
            drop(lookup_host("localhost:80").await.unwrap());
            assert!(!slow.is_finished() && !waiting.is_finished());
            drop(gate);
            waiting.await.unwrap();
            slow.await.unwrap();
        });
    });
}

#[test]
fn look_up_outside_of_a_runtime_returns_an_error() {
    let mut future = pin!(lookup_host("localhost:80"));
    let poll = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    let std::task::Poll::Ready(Err(error)) = poll else {
        panic!("it is not ready, or found something");
    };
    assert!(
        error
            .to_string()
            .contains("no reveille runtime runs on this thread"),
        "{error}"
    );
}

#[test]
fn look_up_works_beside_the_loop() {
    let runtime = Builder::new().build().unwrap();
    let handle = runtime.handle();
    let found = std::thread::spawn(move || {
        handle.block_on(async { lookup_host("localhost:7").await.map(Iterator::count) })
    });
    assert!(found.join().unwrap().unwrap() > 0);
}
