//! reveille's callback loop: handlers, no futures, one shared buffer.
//!
//! Level triggers, as its users write it: one read and one write for each event.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use reveille::backend::{Interest, Trigger};
use reveille::event_loop::{Cause, EventLoop, Key};

use crate::contestant::{Contestant, Serve};

struct Server {
    buffer: Vec<u8>,
    idle: bool,
}

pub fn contestant() -> Contestant {
    Contestant {
        name: "reveille-loop",
        serve: Some(serve),
        servers: vec![],
        micro: vec![],
        missing: vec![
            ("tasks", "has none"),
            ("timers", "counted in reveille's own benches"),
        ],
    }
}

fn serve(cfg: Serve) {
    let mut event_loop = EventLoop::new(Server {
        buffer: vec![0; cfg.buffer],
        idle: cfg.idle,
    })
    .expect("loop");
    cfg.listener.set_nonblocking(true).expect("listener");
    event_loop
        .attach(cfg.listener, Interest::READABLE, Trigger::Level, accept)
        .expect("listener");
    event_loop.run().expect("run");
}

fn accept(event_loop: &mut EventLoop<Server>, listener: Key<TcpListener>, _: Cause) {
    while let Some(Ok((stream, _))) = event_loop.get(listener).map(TcpListener::accept) {
        let _ = stream.set_nodelay(true);
        stream.set_nonblocking(true).expect("stream");
        event_loop
            .attach(stream, Interest::READABLE, Trigger::Level, ready)
            .expect("stream");
    }
}

fn ready(event_loop: &mut EventLoop<Server>, key: Key<TcpStream>, _: Cause) {
    let goes_on = match event_loop.get_with_data(key) {
        Some((_, server)) if server.idle => true,
        Some((stream, server)) => echo(stream, &mut server.buffer),
        None => false,
    };
    if !goes_on {
        event_loop.close(key);
    }
}

fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        // The load generator takes everything before it sends more; a client that does not is cut
        // off.
        Ok(n) => stream.write_all(&buffer[..n]).is_ok(),
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    }
}
