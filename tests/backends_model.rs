//! Compares every backend of this host with a model: random operations on fds of several kinds, and
//! after each of them poll(2) decides which events must have been reported, and which must not.
//!
//! The same seed gives the same run. `REVEILLE_MODEL_SEEDS=first..end` replaces the few default
//! seeds.

// The model relies on the bits that Linux's poll(2) returns for each kind of end.
#![cfg(any(target_os = "linux", target_os = "android"))]

mod support;

use reveille::backend::{Backend, BackendKind, Capabilities, Events};
use reveille::backend::{Interest, Ready, Token, Trigger};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::{Random, guarded, seeds};

/// The most fds at a time. Fewer fit into a batch.
const MAX_FDS: usize = 24;
const STEPS: usize = 400;

/// How long an event may be missing before it counts as lost. TCP may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many turns in a row may report events before the backend counts as endless.
const MAX_NEW: usize = 10_000;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Unix,
    Tcp,
    PipeRead,
    PipeWrite,
}

/// One open fd of ours.
struct Fd {
    file: File,
    kind: Kind,
    /// The other end, while it is open. Duplicates share it.
    peer: Rc<RefCell<Option<File>>>,
    registered: Option<Registered>,
}

struct Registered {
    token: Token,
    interest: Interest,
    trigger: Trigger,
    /// With edges: reported, and not cleared by a call that would block.
    cached: Ready,
    /// Nothing more is reported until `modify`.
    silent: bool,
    /// Reported since the last operation.
    reported: Ready,
}

struct Model {
    backend: Box<dyn Backend>,
    can: Capabilities,
    events: Events,
    random: Random,
    fds: Vec<Fd>,
    last_index: u32,
    /// A registration whose fd was closed without removal, and whether its last event was reported.
    orphan: Option<(Token, bool)>,
    log: Vec<String>,
}

impl Model {
    fn new(kind: BackendKind, seed: u64) -> io::Result<Model> {
        let backend = kind.open(16)?;
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let capacity = [3, 8, 64][random.next() as usize % 3];
        Ok(Model {
            can: backend.capabilities(),
            backend,
            events: Events::with_capacity(capacity),
            random,
            fds: Vec::new(),
            last_index: 0,
            orphan: None,
            log: vec![format!("{kind}, seed {seed}, capacity {capacity}")],
        })
    }

    fn below(&mut self, end: usize) -> usize {
        (self.random.next() >> 8) as usize % end
    }

    fn any_fd(&mut self) -> Option<usize> {
        let end = self.fds.len();
        (end > 0).then(|| self.below(end))
    }

    fn step(&mut self) {
        let Some(at) = self.any_fd() else {
            return self.open();
        };
        // Operations that close or remove are rare, or few events would be reported.
        match self.below(64) {
            0..=3 if self.fds.len() < MAX_FDS => self.open(),
            4 if self.fds.len() < MAX_FDS => self.duplicate(at),
            5..=9 => self.add_or_modify(at),
            10 => self.remove(at),
            11 => self.close(at),
            12 => self.close_behind_the_back(at),
            13..=24 => self.peer_writes(at),
            25..=30 => self.peer_reads(at),
            31 => self.peer_shuts_down(at),
            32 => self.peer_closes(at),
            33..=36 => self.read(at, 1),
            37..=45 => self.read(at, usize::MAX),
            46..=53 => self.fill(at),
            54 => self.shut_down(at),
            55 | 56 => self.notify(),
            57 | 58 => self.peer_is_urgent(at),
            59 | 60 => self.read_urgent(at),
            61 => self.peer_resets(at),
            _ => self.mistake(at),
        }
    }

    fn note(&mut self, what: &str, at: usize) {
        let fd = &self.fds[at];
        let token = fd.registered.as_ref().map(|known| known.token);
        let line = format!("{what}: fd {} {:?} {token:?}", fd.file.as_raw_fd(), fd.kind);
        self.log.push(line);
    }

    fn open(&mut self) {
        let kind = [Kind::Unix, Kind::Tcp, Kind::PipeRead, Kind::PipeWrite][self.below(4)];
        let (ours, theirs) = ends(kind);
        self.fds.push(Fd {
            file: ours,
            kind,
            peer: Rc::new(RefCell::new(Some(theirs))),
            registered: None,
        });
        self.note("open", self.fds.len() - 1);
        self.add_or_modify(self.fds.len() - 1);
    }

    fn duplicate(&mut self, at: usize) {
        let fd = &self.fds[at];
        let twin = Fd {
            file: fd.file.try_clone().unwrap(),
            kind: fd.kind,
            peer: fd.peer.clone(),
            registered: None,
        };
        self.fds.push(twin);
        self.note("duplicate", self.fds.len() - 1);
        self.add_or_modify(self.fds.len() - 1);
    }

    fn add_or_modify(&mut self, at: usize) {
        let trigger = [Trigger::Edge, Trigger::Level, Trigger::Oneshot][self.below(3)];
        let (read, write) = (Interest::READABLE, Interest::WRITABLE);
        let asked = match self.fds[at].kind {
            Kind::Unix | Kind::Tcp => [read, write, read | write][self.below(3)],
            Kind::PipeRead => read,
            Kind::PipeWrite => write,
        };
        let mut interest = match self.below(6) {
            0 => Interest::EMPTY,
            _ => asked,
        };
        if self.fds[at].kind == Kind::Tcp && self.below(2) == 0 {
            interest |= Interest::PRIORITY;
        }
        self.register(at, interest, trigger);
        self.note(&format!("{interest:?} {trigger:?}"), at);
    }

    fn register(&mut self, at: usize, interest: Interest, trigger: Trigger) {
        let fd = &mut self.fds[at];
        let token = match &fd.registered {
            Some(known) => {
                let (number, token) = (fd.file.as_raw_fd(), known.token);
                self.backend
                    .modify(number, token, interest, trigger)
                    .unwrap();
                token
            }
            None => {
                self.last_index += 1;
                let token = Token::new(self.last_index, 1);
                self.backend
                    .add(fd.file.as_fd(), token, interest, trigger)
                    .unwrap();
                token
            }
        };
        fd.registered = Some(Registered {
            token,
            interest,
            trigger,
            cached: Ready::EMPTY,
            silent: false,
            reported: Ready::EMPTY,
        });
    }

    fn remove(&mut self, at: usize) {
        self.note("remove", at);
        let fd = &mut self.fds[at];
        if let Some(known) = fd.registered.take() {
            let number = fd.file.as_raw_fd();
            self.backend.remove(number, known.token).unwrap();
        }
    }

    /// Closes a number as the reactor does: after `forget` instead of `remove` where that is
    /// enough.
    fn close(&mut self, at: usize) {
        if self.can.close_removes && Rc::strong_count(&self.fds[at].peer) == 1 {
            self.note("forget", at);
            let fd = &mut self.fds[at];
            if let Some(known) = fd.registered.take() {
                let number = fd.file.as_raw_fd();
                self.backend.forget(number, known.token).unwrap();
            }
        } else {
            self.remove(at);
        }
        self.note("close", at);
        self.fds.swap_remove(at);
    }

    fn close_behind_the_back(&mut self, at: usize) {
        if self.can.close_removes || Rc::strong_count(&self.fds[at].peer) > 1 {
            return;
        }
        self.note("close behind the back", at);
        let fd = self.fds.swap_remove(at);
        let number = fd.file.as_raw_fd();
        drop(fd.file);
        let Some(known) = fd.registered else { return };
        self.orphan = Some((known.token, false));
        self.settle();
        let removed = self.backend.remove(number, known.token);
        let (_, was_reported) = self.orphan.take().unwrap();
        match removed.map_err(|error| error.kind()) {
            Ok(()) => assert!(!was_reported, "reported as invalid and not forgotten"),
            Err(kind) => assert_eq!((kind, was_reported), (ErrorKind::NotFound, true)),
        }
    }

    fn peer_writes(&mut self, at: usize) {
        if self.fds[at].kind != Kind::PipeWrite {
            self.note("peer writes", at);
            let length = 1 + self.below(4000);
            if let Some(mut peer) = self.fds[at].peer.borrow().as_ref() {
                let _ = peer.write(&vec![7; length]);
            }
        }
    }

    fn peer_reads(&mut self, at: usize) {
        if self.fds[at].kind != Kind::PipeRead {
            self.note("peer reads", at);
            if let Some(peer) = self.fds[at].peer.borrow().as_ref() {
                let _ = drain(peer, usize::MAX);
            }
        }
    }

    fn peer_shuts_down(&mut self, at: usize) {
        self.note("peer shuts down", at);
        if let Some(peer) = self.fds[at].peer.borrow().as_ref() {
            shutdown(peer, libc::SHUT_WR);
        }
    }

    fn peer_closes(&mut self, at: usize) {
        self.note("peer closes", at);
        *self.fds[at].peer.borrow_mut() = None;
    }

    fn peer_is_urgent(&mut self, at: usize) {
        if self.fds[at].kind == Kind::Tcp {
            self.note("peer is urgent", at);
            if let Some(peer) = self.fds[at].peer.borrow().as_ref() {
                let flags = libc::MSG_OOB | libc::MSG_NOSIGNAL;
                // SAFETY: pointer and length are those of one array; the file is open.
                unsafe { libc::send(peer.as_raw_fd(), b"!".as_ptr().cast(), 1, flags) };
            }
        }
    }

    fn read_urgent(&mut self, at: usize) {
        if self.fds[at].kind == Kind::Tcp {
            self.note("read what is urgent", at);
            let (number, mut byte) = (self.fds[at].file.as_raw_fd(), [0]);
            // SAFETY: pointer and length are those of one array; the file is open.
            unsafe { libc::recv(number, byte.as_mut_ptr().cast(), 1, libc::MSG_OOB) };
            // A socket that was reset keeps it.
            if poll_now(&self.fds[at].file) & libc::POLLPRI == 0 {
                self.would_block(at, Ready::PRIORITY, Interest::PRIORITY);
            }
        }
    }

    fn peer_resets(&mut self, at: usize) {
        if self.fds[at].kind == Kind::Tcp {
            if let Some(peer) = self.fds[at].peer.borrow().as_ref() {
                let linger = libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                let length = size_of::<libc::linger>() as libc::socklen_t;
                let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
                let value = (&raw const linger).cast();
                // SAFETY: pointer and length are those of one value that outlives the call.
                unsafe { libc::setsockopt(peer.as_raw_fd(), level, name, value, length) };
            }
            self.peer_closes(at);
        }
    }

    fn read(&mut self, at: usize, most: usize) {
        if self.fds[at].kind != Kind::PipeWrite {
            self.note("read", at);
            if drain(&self.fds[at].file, most) {
                self.would_block(at, Ready::READABLE, Interest::READABLE);
            }
        }
    }

    fn fill(&mut self, at: usize) {
        if self.fds[at].kind == Kind::PipeRead {
            return;
        }
        self.note("fill", at);
        loop {
            match (&self.fds[at].file).write(&[7; 1 << 16]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        self.would_block(at, Ready::WRITABLE, Interest::WRITABLE);
    }

    /// Does what the reactor does after a call that would block.
    fn would_block(&mut self, at: usize, bit: Ready, direction: Interest) {
        let fd = &mut self.fds[at];
        let number = fd.file.as_raw_fd();
        let Some(known) = &mut fd.registered else {
            return;
        };
        let was_cached = known.cached.contains(bit);
        known.cached = known.cached - bit;
        let is_asked = known.interest.contains(direction);
        if known.trigger == Trigger::Edge && self.can.rearm && was_cached && is_asked {
            self.backend.rearm(number, known.token, direction).unwrap();
        }
    }

    /// Also arms the fd again, for backends that do not notice the shutdown.
    fn shut_down(&mut self, at: usize) {
        self.note("shut down", at);
        let how = [libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR][self.below(3)];
        shutdown(&self.fds[at].file, how);
        let number = self.fds[at].file.as_raw_fd();
        let peer = self.fds[at].peer.clone();
        // Duplicates are the same socket.
        for at in 0..self.fds.len() {
            if !Rc::ptr_eq(&self.fds[at].peer, &peer) {
                continue;
            }
            match &self.fds[at].registered {
                Some(known) if known.trigger == Trigger::Edge => {
                    let number = self.fds[at].file.as_raw_fd();
                    let interest = known.interest | Interest::ERROR;
                    self.backend.rearm(number, known.token, interest).unwrap();
                }
                Some(known) => self.register(at, known.interest, known.trigger),
                None => {}
            }
        }
        self.log.push(format!("by {how} of fd {number}"));
    }

    fn notify(&mut self) {
        self.log.push("notify".to_owned());
        self.backend.notifier().notify().unwrap();
        self.wait(None);
    }

    /// Makes a call that must be refused and change nothing.
    fn mistake(&mut self, at: usize) {
        self.note("mistake", at);
        let fd = &self.fds[at];
        let (number, stranger) = (fd.file.as_raw_fd(), Token::new(u32::MAX - 1, 1));
        let (all, edge) = (Interest::READABLE, Trigger::Edge);
        let is_missing = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
        };
        is_missing(self.backend.modify(number, stranger, all, edge));
        is_missing(self.backend.remove(number, stranger));
        if fd.registered.is_some() {
            let twice = self.backend.add(fd.file.as_fd(), stranger, all, edge);
            assert_eq!(twice.unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }

    /// Waits once. Returns whether an event was reported that a level trigger does not repeat.
    fn wait(&mut self, timeout: Option<Duration>) -> bool {
        self.backend.wait(&mut self.events, timeout).unwrap();
        let mut is_new = false;
        for at in 0..self.events.as_slice().len() {
            let event = self.events.as_slice()[at];
            let line = format!("  {event:?}");
            if self.log.last() != Some(&line) {
                self.log.push(line);
            }
            if let Some((token, is_over)) = &mut self.orphan {
                if *token == event.token {
                    assert!(!*is_over, "reported after it was invalid");
                    *is_over = event.readiness.is_invalid();
                    continue;
                }
            }
            is_new |= self.take(event.token, event.readiness);
        }
        is_new
    }

    /// Takes one event and checks that it is true.
    fn take(&mut self, token: Token, seen: Ready) -> bool {
        let can = self.can;
        let is_it = |fd: &&mut Fd| fd.registered.as_ref().is_some_and(|r| r.token == token);
        let fd = self.fds.iter_mut().find(is_it);
        let fd = fd.expect("an event of what is not registered");
        let now = poll_now(&fd.file);
        let known = fd.registered.as_mut().unwrap();
        assert!(!known.silent, "reported although it had to be silent");
        assert!(!seen.is_empty() && !seen.is_invalid());
        let (ended, failed) = (now & libc::POLLHUP != 0, now & libc::POLLERR != 0);
        let half_ended = now & libc::POLLRDHUP != 0;
        // With edges, a readiness may be over that was true when it was queued, and an error once a
        // call returned it.
        let is_edge = known.trigger == Trigger::Edge;
        assert!(!seen.is_error() || can.errors && (failed || is_edge));
        assert!(!seen.is_read_closed() || ended || half_ended);
        assert!(!seen.is_write_closed() || ended);
        let is_final = seen.is_error() || seen.is_write_closed();
        if !is_edge {
            let both = Ready::READABLE | Ready::WRITABLE;
            let reported = if is_final { seen - both } else { seen };
            let reported = reported & (both | Ready::PRIORITY);
            let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
            let asked = Ready::from_interest(known.interest);
            assert!(
                ready(now, all, can).contains(reported),
                "{seen:?} is not so"
            );
            assert!(asked.contains(reported), "{seen:?} was not asked for");
            known.silent = known.trigger == Trigger::Oneshot;
        }
        known.cached |= seen;
        known.reported |= seen;
        is_edge
    }

    /// Waits until every expected event was reported, and then checks that the reports end.
    fn settle(&mut self) {
        for fd in &mut self.fds {
            if let Some(known) = &mut fd.registered {
                known.reported = Ready::EMPTY;
                known.silent |= known.trigger == Trigger::Oneshot && !known.cached.is_empty();
            }
        }
        let rounds = self.fds.len() / self.events.capacity() + 2;
        for _ in 0..rounds {
            self.wait(Some(Duration::ZERO));
        }
        let started = Instant::now();
        while let Some(missing) = self.missing() {
            assert!(started.elapsed() < PATIENCE, "not reported: {missing}");
            self.wait(Some(Duration::from_millis(2)));
        }
        let mut patience = MAX_NEW;
        while self.wait(Some(Duration::ZERO)) {
            patience -= 1;
            assert!(patience > 0, "an edge is reported without end");
        }
    }

    /// Returns an event that is missing.
    fn missing(&self) -> Option<String> {
        self.fds.iter().find_map(|fd| {
            let known = fd.registered.as_ref()?;
            let now = poll_now(&fd.file);
            let due = ready(now, known.interest, self.can);
            let is_unasked = self.can.unasked && now & (libc::POLLHUP | libc::POLLERR) != 0;
            let is_missing = match known.trigger {
                Trigger::Edge => {
                    // A hang-up disarms everything, and counts as an event for every interest.
                    let is_over = known.cached.is_error() || known.cached.is_write_closed();
                    let due = if is_over { due - Ready::PRIORITY } else { due };
                    !known.cached.contains(due) || is_unasked && known.cached.is_empty()
                }
                Trigger::Level => {
                    !known.reported.contains(due) || is_unasked && known.reported.is_empty()
                }
                Trigger::Oneshot => !known.silent && (!due.is_empty() || is_unasked),
            };
            is_missing.then(|| format!("{due:?} ({now:#x}) of {:?} {:?}", known.token, fd.kind))
        })
    }
}

/// Maps the bits of poll(2) to readiness, for an interest. select(2) does not report room for a
/// hang-up.
fn ready(bits: libc::c_short, interest: Interest, can: Capabilities) -> Ready {
    let hangup = if can.errors { libc::POLLHUP } else { 0 };
    let readable = libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
    let writable = libc::POLLOUT | libc::POLLERR | hangup;
    let mut ready = Ready::EMPTY;
    if interest.is_readable() && bits & readable != 0 {
        ready |= Ready::READABLE;
    }
    if interest.is_writable() && bits & writable != 0 {
        ready |= Ready::WRITABLE;
    }
    if interest.is_priority() && bits & libc::POLLPRI != 0 {
        ready |= Ready::PRIORITY;
    }
    ready
}

fn poll_now(file: &File) -> libc::c_short {
    let mut entry = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP | libc::POLLPRI,
        revents: 0,
    };
    // SAFETY: one entry that outlives the call.
    let count = unsafe { libc::poll(&mut entry, 1, 0) };
    assert!(count >= 0);
    entry.revents
}

/// Reads, and returns whether a read would block. Errors and the end of file last.
fn drain(mut file: &File, most: usize) -> bool {
    let mut buffer = vec![0; most.min(1 << 16)];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) if most < usize::MAX => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Shuts down a direction. Pipes and sockets without a peer refuse that, which changes nothing.
fn shutdown(file: &File, how: libc::c_int) {
    // SAFETY: the call takes no pointer; the file is open.
    unsafe { libc::shutdown(file.as_raw_fd(), how) };
}

/// Makes two non-blocking ends, ours first.
fn ends(kind: Kind) -> (File, File) {
    let (ours, theirs): (OwnedFd, OwnedFd) = match kind {
        Kind::Unix => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (ours.into(), theirs.into())
        }
        Kind::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (theirs, _) = listener.accept().unwrap();
            ours.set_nodelay(true).unwrap();
            (ours.into(), theirs.into())
        }
        Kind::PipeRead | Kind::PipeWrite => {
            let mut numbers = [0; 2];
            // SAFETY: the array has room for the two numbers.
            assert_eq!(unsafe { libc::pipe(numbers.as_mut_ptr()) }, 0);
            // SAFETY: the call has just made these fds, and no other code knows them.
            let [read, write] = numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            if kind == Kind::PipeRead {
                (read, write)
            } else {
                (write, read)
            }
        }
    };
    for fd in [&ours, &theirs] {
        // SAFETY: the calls take no pointer; the fd is open.
        let set = unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        };
        assert_eq!(set, 0);
    }
    (ours.into(), theirs.into())
}

/// Prints the operations that led to a failure.
impl Drop for Model {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.log.len().saturating_sub(100);
            println!("{}\n...\n{}", self.log[0], self.log[from..].join("\n"));
        }
    }
}

fn run(kind: BackendKind) {
    for seed in seeds(1..9) {
        let mut model = match Model::new(kind, seed) {
            Ok(model) => model,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return println!("skipped on {kind}: {error}");
            }
            Err(error) => panic!("{kind}: {error}"),
        };
        for _ in 0..STEPS {
            model.step();
            model.settle();
        }
        if seed % 2 == 0 {
            // Sometimes the fds are closed first, and then the backend.
            model.fds.clear();
        }
    }
}

#[test]
fn backends_report_what_the_model_expects() {
    for kind in BackendKind::ALL {
        guarded(kind.name(), || run(kind));
    }
}
