//! Listeners that pause while too many fds are open.

use super::*;
use reveille::event_loop::WaterMarks;
use std::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Server {
    connections: Vec<Source<TcpStream>>,
    /// Calls of the listener's handler.
    calls: usize,
}

/// Accepts one at a time: a level trigger calls again.
fn accept(event_loop: &mut EventLoop<Server>, listener: Source<TcpListener>, _: Cause) {
    event_loop.data_mut().calls += 1;
    let Ok((stream, _)) = event_loop.get(listener).unwrap().accept() else {
        return;
    };
    let name = event_loop
        .attach(stream, Interest::NONE, Trigger::Level, |_, _, _| {})
        .unwrap();
    event_loop.data_mut().connections.push(name);
}

fn listen(event_loop: &mut EventLoop<Server>) -> (Source<TcpListener>, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let name = event_loop.attach(listener, Interest::READABLE, Trigger::Level, accept);
    (name.unwrap(), addr)
}

/// FD20. It pauses at the upper mark, stays paused down to the lower one, and goes on then; nobody is turned away.
#[test]
fn a_listener_pauses_at_the_upper_mark_and_goes_on_at_the_lower_one() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
        let (listener, addr) = listen(&mut event_loop);
        // With itself: four connections, and two.
        let marks = WaterMarks { low: 3, high: 5 };
        event_loop.set_water_marks(listener, Some(marks)).unwrap();
        let clients: Vec<TcpStream> = (0..9).map(|_| TcpStream::connect(addr).unwrap()).collect();
        run_until(&mut event_loop, |server| server.connections.len() == 4);
        assert!(event_loop.is_paused(listener));
        assert_quiet(&mut event_loop);

        let close_one = |event_loop: &mut EventLoop<Server>| {
            let name = event_loop.data_mut().connections.remove(0);
            drop(event_loop.detach(name).unwrap());
        };
        close_one(&mut event_loop);
        assert!(event_loop.is_paused(listener), "between the marks it waits");
        assert_quiet(&mut event_loop);
        close_one(&mut event_loop);
        assert!(!event_loop.is_paused(listener));
        run_until(&mut event_loop, |server| server.connections.len() == 4);
        assert!(event_loop.is_paused(listener));

        // The other direction: between the marks, coming from below, it does not pause.
        while event_loop.data().connections.len() > 2 {
            close_one(&mut event_loop);
        }
        let (spare, _peer) = pair();
        event_loop
            .attach(spare, Interest::NONE, Trigger::Level, |_, _, _| {})
            .unwrap();
        assert!(!event_loop.is_paused(listener));
        drop(clients);
    });
}

/// Two reasons for a pause: both must go.
#[test]
fn the_marks_do_not_end_a_pause_that_was_asked_for() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
        let (listener, addr) = listen(&mut event_loop);
        let marks = WaterMarks { low: 1, high: 2 };
        event_loop.set_water_marks(listener, Some(marks)).unwrap();
        let _client = TcpStream::connect(addr).unwrap();
        run_until(&mut event_loop, |server| server.connections.len() == 1);
        event_loop.pause(listener).unwrap();
        let _second = TcpStream::connect(addr).unwrap();
        let first = event_loop.data().connections[0];
        event_loop.close(first);
        assert!(event_loop.is_paused(listener), "it was asked for");
        assert_quiet(&mut event_loop);
        event_loop.resume(listener).unwrap();
        run_until(&mut event_loop, |server| server.connections.len() == 2);
        event_loop.resume(listener).unwrap();
        assert!(event_loop.is_paused(listener), "there are too many");
        // Without marks there are never too many.
        event_loop.set_water_marks(listener, None).unwrap();
        assert!(!event_loop.is_paused(listener));
    });
}

#[test]
fn marks_that_make_no_sense_are_refused() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
        let (listener, _addr) = listen(&mut event_loop);
        for (low, high) in [(2, 2), (3, 2)] {
            let marks = Some(WaterMarks { low, high });
            let refused = event_loop.set_water_marks(listener, marks).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
        // It is above the upper mark already.
        let marks = Some(WaterMarks { low: 0, high: 1 });
        event_loop.set_water_marks(listener, marks).unwrap();
        assert!(event_loop.is_paused(listener));
        // New marks judge afresh.
        let marks = Some(WaterMarks { low: 4, high: 8 });
        event_loop.set_water_marks(listener, marks).unwrap();
        assert!(!event_loop.is_paused(listener));
    });
}

/// For a moment there are two of them, which counts as one.
#[test]
fn replacing_an_fd_below_the_mark_does_not_pause_the_listener() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
        let (listener, _addr) = listen(&mut event_loop);
        let marks = WaterMarks { low: 1, high: 3 };
        event_loop.set_water_marks(listener, Some(marks)).unwrap();
        let (one, _peer) = pair();
        let one = event_loop
            .attach(one, Interest::NONE, Trigger::Level, |_, _, _| {})
            .unwrap();
        let (two, _other) = pair();
        event_loop.replace_fd(one, two).unwrap();
        assert!(!event_loop.is_paused(listener));
    });
}

/// The marks go with the handler to the new listener, and so does the pause.
#[test]
fn a_listener_that_is_replaced_keeps_its_marks() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
        let (listener, addr) = listen(&mut event_loop);
        let marks = WaterMarks { low: 1, high: 2 };
        event_loop.set_water_marks(listener, Some(marks)).unwrap();
        let _client = TcpStream::connect(addr).unwrap();
        run_until(&mut event_loop, |server| server.connections.len() == 1);
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        other.set_nonblocking(true).unwrap();
        let addr = other.local_addr().unwrap();
        let (new, _old) = event_loop.replace_fd(listener, other).unwrap();
        assert!(event_loop.is_paused(new));
        let _client = TcpStream::connect(addr).unwrap();
        assert_quiet(&mut event_loop);
        let first = event_loop.data().connections[0];
        event_loop.close(first);
        run_until(&mut event_loop, |server| server.connections.len() == 2);
        assert!(event_loop.is_paused(new));
    });
}

/// What an `accept` that finds no descriptor left is answered by: the queue stays full, and the loop does not spin.
#[test]
fn a_listener_without_descriptors_rests_and_goes_on() {
    #[derive(Default)]
    struct Poor {
        refused: usize,
        accepted: usize,
    }
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Poor::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let start = Instant::now();
        let handler =
            |event_loop: &mut EventLoop<Poor>, listener: Source<TcpListener>, _: Cause| {
                // The first two find none left.
                if event_loop.data().refused < 2 {
                    event_loop.data_mut().refused += 1;
                    event_loop.pause_for(listener, 5 * MS).unwrap();
                } else if event_loop.get(listener).unwrap().accept().is_ok() {
                    event_loop.data_mut().accepted += 1;
                }
            };
        event_loop
            .attach(listener, Interest::READABLE, Trigger::Level, handler)
            .unwrap();
        let _client = TcpStream::connect(addr).unwrap();
        let mut turns = 0;
        while event_loop.data().accepted == 0 {
            event_loop.run_once(None).unwrap();
            turns += 1;
        }
        assert!(start.elapsed() >= 10 * MS);
        // Three calls and two ends of a pause, and some for a mechanism that ends a wait for nothing.
        assert!(turns <= 20, "{turns} turns");
    });
}
