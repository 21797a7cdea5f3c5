//! Listeners, and the permits of one that limits its connections.

use super::fixture::{Event, Fixture, RemoteThread, half_polled};
use super::support::Directory;
use reveille::net::kind::Duplex;
use reveille::net::{Listener, TcpListener, TcpStream, UnixListener};
use std::net::{Ipv4Addr, TcpStream as StdStream};
use std::os::unix::net::UnixStream as StdUnixStream;

fn listener(fixture: &Fixture) -> TcpListener {
    fixture
        .make(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .unwrap()
}

fn unix_listener(fixture: &Fixture) -> (UnixListener, Directory) {
    let directory = Directory::new();
    let listener = fixture.make(async { UnixListener::bind(directory.socket()).unwrap() });
    (listener, directory)
}

/// An accepted connection could not be registered, so none is taken off the queue. Returns the
/// address of the one that waits there, unless the runtime is gone.
fn accept<K: Duplex>(fixture: &mut Fixture, listener: Listener<K>) -> Option<K::Addr> {
    let accepts = |listener: Listener<K>, remote: &RemoteThread| {
        let error = remote.wait(listener.accept()).unwrap_err();
        assert!(error.to_string().contains("no reveille runtime"), "{error}");
        listener
    };
    let listener = fixture.run(listener, accepts, || {}).unwrap();
    let runtime = fixture.runtime.as_ref()?;
    Some(runtime.block_on(listener.accept()).unwrap().1)
}

pub(crate) fn tcp_accept(fixture: &mut Fixture) {
    let listener = listener(fixture);
    let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    if let Some(addr) = accept(fixture, listener) {
        assert_eq!(addr, client.local_addr().unwrap());
    }
}

pub(crate) fn unix_accept(fixture: &mut Fixture) {
    let (listener, directory) = unix_listener(fixture);
    let _client = StdUnixStream::connect(directory.socket()).unwrap();
    if let Some(addr) = accept(fixture, listener) {
        assert!(addr.is_unnamed());
    }
}

fn drop_half_polled<K: Duplex>(fixture: &mut Fixture, listener: Listener<K>) {
    let probe = fixture.probe.clone();
    let future = half_polled(fixture, async move {
        let _probe = probe;
        listener.accept().await.map(drop)
    });
    let drops = |future, remote: &RemoteThread| {
        drop(future);
        remote.waits();
    };
    fixture.run(future, drops, || {}).unwrap();
}

pub(crate) fn tcp_listener_drop_half_polled(fixture: &mut Fixture) {
    let listener = listener(fixture);
    drop_half_polled(fixture, listener);
}

pub(crate) fn unix_listener_drop_half_polled(fixture: &mut Fixture) {
    let (listener, _directory) = unix_listener(fixture);
    drop_half_polled(fixture, listener);
}

/// The permit of the only connection is dropped elsewhere. A task of the runtime then accepts the
/// next one.
pub(crate) fn permit_drop(fixture: &mut Fixture) {
    let limited = listener(fixture).limit(1);
    let addr = limited.get_ref().local_addr().unwrap();
    let clients = [(); 2].map(|()| StdStream::connect(addr).unwrap());
    let (first, _, permit) = fixture.make(limited.accept()).unwrap();
    let (accepted, probe) = (Event::new(), fixture.probe.clone());
    let accepts = accepted.clone();
    let task = fixture.runtime().spawn(async move {
        let _probe = probe;
        let (second, _, _permit) = limited.accept().await.unwrap();
        accepts.set();
        drop::<TcpStream>(second);
    });
    fixture.make(reveille::yield_now());
    assert!(!accepted.is_set(), "the limit is reached");
    let drops = |permit, remote: &RemoteThread| {
        drop(permit);
        remote.waits();
        if !remote.state.is_gone() {
            accepted.block();
        }
    };
    fixture.run(permit, drops, || {}).unwrap();
    match &fixture.runtime {
        Some(runtime) => runtime.block_on(task).unwrap(),
        None => drop(task),
    }
    drop((first, clients));
}
