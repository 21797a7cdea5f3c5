//! Listeners that pause while too many fds are attached.

use super::*;
use reveille::event_loop::WaterMarks;
use std::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Server {
    connections: Vec<Key<TcpStream>>,
    /// Calls of the listener's handler.
    calls: usize,
}

/// Accepts one connection; the level trigger calls again.
fn accept(event_loop: &mut EventLoop<Server>, listener: Key<TcpListener>, _: Cause) {
    event_loop.data_mut().calls += 1;
    let Ok((stream, _)) = event_loop.get(listener).unwrap().accept() else {
        return;
    };
    let key = event_loop
        .attach(stream, Interest::EMPTY, Trigger::Level, |_, _, _| {})
        .unwrap();
    event_loop.data_mut().connections.push(key);
}

fn listen(event_loop: &mut EventLoop<Server>) -> (Key<TcpListener>, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let key = event_loop.attach(listener, Interest::READABLE, Trigger::Level, accept);
    (key.unwrap(), addr)
}

/// The listener pauses at the high mark and resumes at the low one, and every client is accepted in
/// the end.
#[test]
fn water_marks_pause_and_resume_a_listener() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
        let (listener, addr) = listen(&mut event_loop);
        // With the listener itself: four connections, and two.
        let marks = WaterMarks { low: 3, high: 5 };
        event_loop.set_water_marks(listener, Some(marks)).unwrap();
        let clients: Vec<TcpStream> = (0..9).map(|_| TcpStream::connect(addr).unwrap()).collect();
        run_until(&mut event_loop, |server| server.connections.len() == 4);
        assert!(event_loop.is_paused(listener));
        assert_quiet(&mut event_loop);

        let close_one = |event_loop: &mut EventLoop<Server>| {
            let key = event_loop.data_mut().connections.remove(0);
            drop(event_loop.detach(key).unwrap());
        };
        close_one(&mut event_loop);
        assert!(
            event_loop.is_paused(listener),
            "it resumed between the marks"
        );
        assert_quiet(&mut event_loop);
        close_one(&mut event_loop);
        assert!(!event_loop.is_paused(listener));
        run_until(&mut event_loop, |server| server.connections.len() == 4);
        assert!(event_loop.is_paused(listener));

        // When the number rises to between the marks, the listener does not pause.
        while event_loop.data().connections.len() > 2 {
            close_one(&mut event_loop);
        }
        let (spare, _peer) = pair();
        event_loop
            .attach(spare, Interest::EMPTY, Trigger::Level, |_, _, _| {})
            .unwrap();
        assert!(!event_loop.is_paused(listener));
        drop(clients);
    });
}

/// A listener with two reasons for a pause resumes when both have ended.
#[test]
fn water_marks_do_not_end_a_pause_by_the_user() {
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
        assert!(
            event_loop.is_paused(listener),
            "the pause by the user has ended"
        );
        assert_quiet(&mut event_loop);
        event_loop.resume(listener).unwrap();
        run_until(&mut event_loop, |server| server.connections.len() == 2);
        event_loop.resume(listener).unwrap();
        assert!(event_loop.is_paused(listener), "too many fds are attached");
        event_loop.set_water_marks(listener, None).unwrap();
        assert!(!event_loop.is_paused(listener));
    });
}

#[test]
fn water_marks_out_of_order_are_refused() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
        let (listener, _addr) = listen(&mut event_loop);
        for (low, high) in [(2, 2), (3, 2)] {
            let marks = Some(WaterMarks { low, high });
            let refused = event_loop.set_water_marks(listener, marks).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
        // More fds than the high mark are attached already.
        let marks = Some(WaterMarks { low: 0, high: 1 });
        event_loop.set_water_marks(listener, marks).unwrap();
        assert!(event_loop.is_paused(listener));
        // New marks apply at once.
        let marks = Some(WaterMarks { low: 4, high: 8 });
        event_loop.set_water_marks(listener, marks).unwrap();
        assert!(!event_loop.is_paused(listener));
    });
}

/// For a moment both fds are attached; they count as one.
#[test]
fn replace_fd_below_the_high_mark_does_not_pause_the_listener() {
    on_every_loop(|loops| {
        let mut event_loop = loops.make(Server::default());
        let (listener, _addr) = listen(&mut event_loop);
        let marks = WaterMarks { low: 1, high: 3 };
        event_loop.set_water_marks(listener, Some(marks)).unwrap();
        let (one, _peer) = pair();
        let one = event_loop
            .attach(one, Interest::EMPTY, Trigger::Level, |_, _, _| {})
            .unwrap();
        let (two, _other) = pair();
        event_loop.replace_fd(one, two).unwrap();
        assert!(!event_loop.is_paused(listener));
    });
}

/// The new listener has the marks and the pause of the old one.
#[test]
fn replace_fd_keeps_the_water_marks() {
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

/// After an `accept` without a free descriptor the queue stays full, and the loop does not spin.
#[test]
fn pause_for_lets_a_listener_without_descriptors_rest() {
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
        let handler = |event_loop: &mut EventLoop<Poor>, listener: Key<TcpListener>, _: Cause| {
            // The first two calls find no descriptor.
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
            event_loop.turn(None).unwrap();
            turns += 1;
        }
        assert!(start.elapsed() >= 10 * MS);
        // Three calls, two ends of a pause, and some turns for a mechanism whose waits end early.
        assert!(turns <= 20, "{turns} turns");
    });
}
