//! With which trigger a Unix stream is watched, and what its reads are passed.

use super::super::trigger_choice::{READS, READS_AGAIN, REPORTS};
use super::*;
use crate::sys::syscall::Answer;

const UNIX: Watch = Watch::Unix { owned: true };

/// The result of a read from a Unix stream: so many bytes.
struct Bytes(usize);

impl Answer for Bytes {
    const CHOOSES_TRIGGER: bool = true;

    fn is_all(&self, len: usize) -> bool {
        self.0 == len
    }

    fn is_short(&self, len: usize) -> bool {
        (1..len).contains(&self.0)
    }

    fn count(&self) -> usize {
        self.0
    }

    fn result(self) -> io::Result<usize> {
        Ok(self.0)
    }
}

/// Like epoll.
fn either() -> Capabilities {
    Capabilities {
        level: true,
        cheap_level: true,
        ..edge()
    }
}

impl Rig {
    /// Takes the triggers that `modify` was passed.
    fn triggers(&self) -> Vec<Trigger> {
        std::mem::take(&mut self.script.borrow_mut().triggers)
    }

    /// Reads three bytes of `len`. Returns what the read was passed.
    fn read(&self, token: Token, len: usize) -> bool {
        let mut passed = None;
        let read = |is_level| {
            passed = Some(is_level);
            Bytes(3)
        };
        let cx = Context::from_waker(Waker::noop());
        let polled = self.driver.poll_io(token, Direction::Read, &cx, len, read);
        assert!(matches!(polled, Poll::Ready(Ok(3))), "{polled:?}");
        passed.unwrap()
    }

    /// Delivers an event and reads all, `count` times.
    fn echo(&self, token: Token, count: u8) {
        for _ in 0..count {
            self.deliver(&[(token, Ready::READABLE)]);
            self.read(token, 10);
        }
    }

    /// Registers a stream and reads until it is watched with a level trigger.
    fn level(&self) -> Token {
        let token = self.register(UNIX);
        self.echo(token, READS);
        assert_eq!(self.triggers(), [Trigger::Level]);
        token
    }

    /// Ends the registration as a drop of a stream does. Returns the last call.
    fn close(&self, token: Token) -> Call {
        let closing = Some(self.closing(false));
        self.driver.deregister(token, closing).unwrap();
        self.calls().pop().unwrap()
    }
}

#[test]
fn stream_gets_a_level_trigger_after_some_short_reads() {
    let rig = Rig::new(either());
    let token = rig.register(UNIX);
    for _ in 0..READS {
        assert_eq!(rig.triggers(), []);
        rig.deliver(&[(token, Ready::READABLE)]);
        assert!(!rig.read(token, 10), "the read has to tell what it leaves");
        assert!(!rig.cached(token).is_readable());
    }
    assert_eq!(rig.triggers(), [Trigger::Level]);
    for _ in 0..100 {
        rig.deliver(&[(token, Ready::READABLE)]);
        assert!(rig.read(token, 10));
        assert!(!rig.cached(token).is_readable());
    }
    assert_eq!(rig.triggers(), []);
    assert_eq!(rig.close(token), Call::Remove(token));
}

#[test]
fn full_reads_do_not_change_the_trigger() {
    let rig = Rig::new(either());
    let token = rig.register(UNIX);
    rig.deliver(&[(token, Ready::READABLE)]);
    for _ in 0..100 {
        assert!(!rig.read(token, 3));
    }
    assert_eq!(rig.triggers(), []);
    assert_eq!(rig.close(token), Call::Forget(token));
}

#[test]
fn unread_stream_gets_an_edge_trigger_again() {
    let rig = Rig::new(either());
    let token = rig.level();
    for _ in 1..REPORTS {
        rig.deliver(&[(token, Ready::READABLE)]);
    }
    // A read in time: the count begins again.
    rig.read(token, 10);
    for _ in 1..REPORTS {
        rig.deliver(&[(token, Ready::READABLE)]);
        assert_eq!(rig.triggers(), []);
    }
    rig.deliver(&[(token, Ready::READABLE)]);
    assert_eq!(rig.triggers(), [Trigger::Edge]);
    // Reads have to tell again, until there were enough of them.
    assert!(!rig.read(token, 10));
    rig.echo(token, READS_AGAIN - 2);
    assert_eq!(rig.triggers(), []);
    rig.echo(token, 1);
    assert_eq!(rig.triggers(), [Trigger::Level]);
    rig.end(token);
}

#[test]
fn failed_change_to_edge_is_tried_at_the_next_report() {
    let rig = Rig::new(either());
    let token = rig.level();
    rig.script.borrow_mut().modify_fails = true;
    for _ in 0..=REPORTS {
        rig.deliver(&[(token, Ready::READABLE)]);
    }
    assert_eq!(rig.triggers(), [Trigger::Edge; 2]);
    assert!(rig.read(token, 10), "it is still watched by level");
    rig.end(token);
}

#[test]
fn failed_change_to_level_leaves_the_edge_trigger() {
    let rig = Rig::new(either());
    let token = rig.register(UNIX);
    rig.script.borrow_mut().modify_fails = true;
    rig.echo(token, READS);
    assert_eq!(rig.triggers(), [Trigger::Level]);
    rig.deliver(&[(token, Ready::READABLE)]);
    assert!(!rig.read(token, 10));
    rig.end(token);
}

/// Reports that last, whatever is read: the end of the stream, urgent data.
#[test]
fn lasting_reports_end_with_an_edge_trigger() {
    for lasting in [Ready::READ_CLOSED, Ready::PRIORITY, Ready::ERROR] {
        let rig = Rig::new(either());
        let token = rig.level();
        for _ in 0..REPORTS {
            assert_eq!(rig.triggers(), []);
            rig.deliver(&[(token, Ready::READABLE | lasting)]);
            rig.read(token, 10);
        }
        assert_eq!(rig.triggers(), [Trigger::Edge], "{lasting:?}");
        // A short read of this stream proves nothing now.
        rig.echo(token, 100);
        assert_eq!(rig.triggers(), [], "{lasting:?}");
        rig.end(token);
    }
}

#[test]
fn wait_for_room_brings_the_edge_trigger() {
    let rig = Rig::new(either());
    let token = rig.level();
    let seen = rig.seen(token);
    rig.driver
        .clear(token, seen.round, Ready::WRITABLE)
        .unwrap();
    rig.wait(token, Direction::Write, Waker::noop());
    assert_eq!(rig.triggers(), [Trigger::Edge]);
    // No level trigger as long as room is watched.
    rig.echo(token, READS_AGAIN);
    assert_eq!(rig.triggers(), []);
    rig.deliver(&[(token, Ready::WRITABLE)]);
    rig.driver.unwatch_writable(token);
    assert_eq!(rig.triggers(), [Trigger::Edge]);
    rig.echo(token, READS_AGAIN);
    assert_eq!(rig.triggers(), [Trigger::Level]);
    rig.end(token);
}

#[test]
fn other_mechanisms_and_other_fds_keep_their_trigger() {
    for (capabilities, watch) in [
        (edge(), UNIX),
        (
            Capabilities {
                level: true,
                ..edge()
            },
            UNIX,
        ),
        (
            Capabilities {
                level: false,
                ..either()
            },
            UNIX,
        ),
        (rearming(), UNIX),
        (either(), CUSTOM),
    ] {
        let rig = Rig::new(capabilities);
        let token = rig.register(watch);
        rig.echo(token, 100);
        assert_eq!(rig.triggers(), [], "{capabilities:?}, {watch:?}");
        rig.end(token);
    }
}
