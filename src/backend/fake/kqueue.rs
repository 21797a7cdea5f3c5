//! A kqueue made of the manual's words, on Linux: what kqueue(2) and kevent(2) promise, and the places where they help less
//! than one hopes.
//!
//! "Page" is kqueue(2) of FreeBSD, which the other systems' pages repeat; "code" is FreeBSD's `sys/kern/kern_event.c`,
//! where the page is silent. Where systems or their versions differ, the fake is the worst of them.
//!
//! | what it does | source |
//! |---|---|
//! | one knote for one (ident, filter) in a queue; `EV_ADD` again does not make another | page |
//! | `EV_ADD` again changes `fflags`, keeps the trigger flags, and does not enable what is disabled | code, `kqueue_register`; the page promises enabling, so the backend must not rely on either |
//! | the filter is run when it is added, when something happens, and when it is retrieved: what is true no more is not told | page |
//! | an `EV_ONESHOT` knote is not run again when it is retrieved, and is deleted then | code, `kqueue_scan` |
//! | `EV_CLEAR`: inactive once retrieved, until something happens; `EV_DISPATCH`: disabled, too | page, code |
//! | `EV_ENABLE` alone does not run the filter | code before FreeBSD 11 |
//! | what is true still goes to the end of the queue | code, `kqueue_scan` |
//! | close of the number deletes its knotes, duplicates or not | page; code, `knote_fdclose` |
//! | changes come first; a failed one answers with `EV_ERROR` and the error in `data` while there is room, else the call fails and the changes behind it are not made; answers end the call without a wait | page; code, `kern_kevent` |
//! | `EV_RECEIPT` answers with `EV_ERROR` and 0 | page |
//! | no room for events: no wait | page |
//! | `ENOENT` for what is not there, `EBADF` for a bad fd, `EINVAL` for an unknown filter, for room in a regular file, and for a timeout over 10^8 seconds | page; OpenBSD's page for regular files; code before FreeBSD 10 (`itimerfix`) |
//! | `EINTR` only without an event | page |
//! | a child of a fork has no queue: `EBADF` | page |
//! | `EV_EOF`: read, when the reading side has ended; write, when nothing can be sent; `fflags` is then the socket's error | page |
//! | the queue's own fd can be read while knotes are queued, true or not | code, `kqueue_poll` |
//!
//! **Where it differs.** What happens to a file is heard from an epoll(7) with edge triggers, one for each filter: it wakes as
//! a kernel's knotes are woken, also for data that comes while older data lies unread, and now and then once more than a BSD
//! would. What is true is asked from poll(2). Which error a socket has cannot be asked without taking it: `ECONNRESET`
//! stands for all. Our own shutdown of the writing side is not seen by poll(2) and so not `EV_EOF`. `data` of the write
//! filter is 1.

use crate::backend::kqueue::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_EOF, EV_ERROR, EV_RECEIPT,
    Entry, Filter, NOTE_TRIGGER, Sys,
};
use crate::sys::eventfd::eventfd;
use crate::sys::fd::FileId;
use crate::sys::poll::poll;
use crate::sys::syscall::check;
use crate::sys::timerfd::TimerFd;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Not one of the backend's flags, and why is told above.
const EV_ONESHOT: u32 = 0x10;

/// `itimerfix` refuses more seconds.
const LONGEST: Duration = Duration::from_secs(100_000_000);

/// A queue of a system that has user events or not, and `EVFILT_EXCEPT` or not.
pub(in crate::backend) struct Fake<const USER: bool, const EXCEPT: bool> {
    owner: u32,
    /// Holds the others: what poll(2) sees of this queue.
    outer: Edges,
    read: Edges,
    write: Edges,
    except: Edges,
    /// Readable while a knote is queued.
    bell: File,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    knotes: HashMap<Key, Knote>,
    queue: VecDeque<Key>,
    rung: bool,
    /// What a test wants to fail: the next `EV_ADD` of this filter.
    fault: Option<(Filter, libc::c_int)>,
    /// The calls that were made since a test asked for them.
    calls: Option<Vec<Call>>,
}

/// One call of kevent(2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::backend) struct Call {
    pub(in crate::backend) changes: Vec<Entry>,
    pub(in crate::backend) room: usize,
    pub(in crate::backend) timeout: Option<Duration>,
}

type Key = (Filter, usize);

struct Knote {
    /// As they were when it was added first.
    flags: u32,
    fflags: u32,
    /// What the number named then.
    file: Option<FileId>,
    kind: Kind,
    active: bool,
    queued: bool,
    disabled: bool,
    triggered: bool,
    /// The epoll(7) of its filter has its number.
    listens: bool,
    /// What the filter said when it was true last.
    last: Entry,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    Socket,
    Pipe,
    Regular,
    Other,
}

impl<const USER: bool, const EXCEPT: bool> Fake<USER, EXCEPT> {
    /// Lets the next `EV_ADD` of a filter fail.
    pub(in crate::backend) fn fail_next_add(&self, filter: Filter, error: libc::c_int) {
        self.state().fault = Some((filter, error));
    }

    /// The calls since the last time that this was asked; the first time, none.
    pub(in crate::backend) fn take_calls(&self) -> Vec<Call> {
        self.state().calls.replace(Vec::new()).unwrap_or_default()
    }

    /// The filters of a number, and whether they are enabled.
    pub(in crate::backend) fn filters(&self, fd: RawFd) -> Vec<(Filter, bool)> {
        let state = self.state();
        [Filter::Read, Filter::Write, Filter::Except]
            .into_iter()
            .filter_map(|filter| {
                let knote = state.knotes.get(&(filter, fd as usize))?;
                Some((filter, !knote.disabled))
            })
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edges(&self, filter: Filter) -> Option<&Edges> {
        match filter {
            Filter::Read => Some(&self.read),
            Filter::Write => Some(&self.write),
            Filter::Except => Some(&self.except),
            Filter::User | Filter::Other => None,
        }
    }

    /// `kqueue_register`.
    fn register(&self, state: &mut State, change: Entry) -> Result<(), libc::c_int> {
        let Entry { filter, ident, .. } = change;
        let has = |flag: u32| change.flags & flag != 0;
        let is_known = match filter {
            Filter::Read | Filter::Write => true,
            Filter::Except => EXCEPT,
            Filter::User => USER,
            Filter::Other => false,
        };
        if !is_known || has(EV_ENABLE) && has(EV_DISABLE) {
            return Err(libc::EINVAL);
        }
        let key = (filter, ident);
        let file = match self.edges(filter) {
            Some(_) => Some(file_of(ident)?),
            None => None,
        };
        self.forget_if_closed(state, key, file);
        if !state.knotes.contains_key(&key) {
            if !has(EV_ADD) {
                return Err(libc::ENOENT);
            }
            if state.fault.is_some_and(|(fails, _)| fails == filter) {
                return Err(state.fault.take().map_or(0, |(_, error)| error));
            }
            self.attach(state, change, file)?;
        } else if has(EV_DELETE) {
            self.forget(state, key);
            return Ok(());
        } else if has(EV_ADD) && state.fault.is_some_and(|(fails, _)| fails == filter) {
            return Err(state.fault.take().map_or(0, |(_, error)| error));
        }
        let knote = state.knotes.get_mut(&key).expect("it was found or made");
        if has(EV_ADD) {
            knote.fflags = change.fflags;
        }
        if filter == Filter::User && change.fflags & NOTE_TRIGGER != 0 {
            knote.triggered = true;
        }
        if has(EV_DISABLE) {
            knote.disabled = true;
        } else if has(EV_ENABLE) {
            knote.disabled = false;
        }
        if has(EV_ADD) || filter == Filter::User {
            knote.run(key);
        }
        state.enqueue(key);
        Ok(())
    }

    /// Makes a knote.
    fn attach(
        &self,
        state: &mut State,
        change: Entry,
        file: Option<FileId>,
    ) -> Result<(), libc::c_int> {
        let kind = match file {
            Some(_) => kind_of(change.ident)?,
            None => Kind::User,
        };
        if kind == Kind::Regular && change.filter != Filter::Read
            || change.filter == Filter::Except && kind != Kind::Socket
        {
            return Err(libc::EINVAL);
        }
        let knote = Knote {
            flags: change.flags & !(EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE),
            fflags: change.fflags,
            file,
            kind,
            active: false,
            queued: false,
            disabled: change.flags & EV_DISABLE != 0,
            triggered: false,
            listens: false,
            last: change,
        };
        let key = (change.filter, change.ident);
        state.knotes.insert(key, knote);
        self.listen(state, key).inspect_err(|_| {
            state.knotes.remove(&key);
        })
    }

    /// Has the knote woken. What has an inode of its own is listened to once, for epoll(7) takes a few hundred duplicates of a
    /// file at the most when it lies in another epoll(7).
    fn listen(&self, state: &mut State, key: Key) -> Result<(), libc::c_int> {
        let knote = &state.knotes[&key];
        let (Some(edges), Some(file)) = (self.edges(key.0), knote.file) else {
            return Ok(());
        };
        let is_sole = matches!(knote.kind, Kind::Socket | Kind::Pipe);
        let is_heard = |(other, twin): (&Key, &Knote)| {
            other.0 == key.0 && twin.listens && twin.file == Some(file)
        };
        if knote.kind == Kind::Regular || is_sole && state.knotes.iter().any(is_heard) {
            return Ok(());
        }
        edges.add(key.1 as RawFd, mask(key.0))?;
        state.knotes.get_mut(&key).expect("as above").listens = true;
        Ok(())
    }

    fn forget(&self, state: &mut State, key: Key) {
        let Some(knote) = state.knotes.remove(&key) else {
            return;
        };
        state.queue.retain(|queued| *queued != key);
        let Some(edges) = self.edges(key.0).filter(|_| knote.listens) else {
            return;
        };
        edges.remove(key.1 as RawFd);
        // Another one of the same file listens from now on.
        let heir = state.knotes.iter().find(|(other, twin)| {
            other.0 == key.0
                && twin.file == knote.file
                && knote.file == FileId::of(other.1 as RawFd).ok()
        });
        if let Some((&heir, _)) = heir {
            let _ = self.listen(state, heir);
        }
    }

    /// `knote_fdclose`, late: the number names another file now, or none.
    fn forget_if_closed(&self, state: &mut State, key: Key, file: Option<FileId>) {
        let knote = state.knotes.get(&key);
        if knote.is_some_and(|knote| knote.file != file) {
            self.forget(state, key);
        }
    }

    fn forget_all_closed(&self, state: &mut State) {
        let closed: Vec<Key> = state
            .knotes
            .iter()
            .filter(|(key, knote)| {
                knote.file.is_some() && knote.file != FileId::of(key.1 as RawFd).ok()
            })
            .map(|(key, _)| *key)
            .collect();
        for key in closed {
            self.forget(state, key);
        }
    }

    /// `knote`: runs the filters of all files to which something happened.
    fn wake(&self, state: &mut State) -> io::Result<()> {
        for filter in [Filter::Read, Filter::Write, Filter::Except] {
            let edges = self.edges(filter).expect("these have one");
            for number in edges.take()? {
                // A number that was closed wakes everybody: a duplicate of its file may be among them.
                let file = state.knotes.get(&(filter, number)).map(|knote| knote.file);
                let is_woken = |(key, knote): &(&Key, &Knote)| {
                    key.0 == filter && file.is_none_or(|file| file == knote.file)
                };
                let woken: Vec<Key> = state
                    .knotes
                    .iter()
                    .filter(is_woken)
                    .map(|(key, _)| *key)
                    .collect();
                for key in woken {
                    let knote = state.knotes.get_mut(&key).expect("as above");
                    knote.run(key);
                    state.enqueue(key);
                }
            }
        }
        Ok(())
    }

    /// `kqueue_scan`, once round.
    fn scan(&self, state: &mut State, events: &mut Vec<Entry>, room: usize) -> io::Result<()> {
        self.forget_all_closed(state);
        self.wake(state)?;
        for _ in 0..state.queue.len() {
            if events.len() == room {
                break;
            }
            let Some(key) = state.queue.pop_front() else {
                break;
            };
            let knote = state.knotes.get_mut(&key).expect("what is queued exists");
            knote.queued = false;
            if knote.disabled {
                continue;
            }
            if knote.flags & EV_ONESHOT != 0 {
                events.push(knote.last);
                self.forget(state, key);
                continue;
            }
            knote.active = false;
            if !knote.run(key) {
                continue;
            }
            events.push(knote.last);
            if knote.flags & (EV_CLEAR | EV_DISPATCH) != 0 {
                knote.active = false;
                knote.triggered &= knote.flags & EV_CLEAR == 0;
                knote.disabled |= knote.flags & EV_DISPATCH != 0;
            }
            state.enqueue(key);
        }
        self.ring(state);
        Ok(())
    }

    /// Makes the queue's fd say whether something is queued.
    fn ring(&self, state: &mut State) {
        let rings = !state.queue.is_empty();
        if rings != std::mem::replace(&mut state.rung, rings) {
            let mut bell = &self.bell;
            let done = match rings {
                true => bell.write(&1_u64.to_ne_bytes()),
                false => bell.read(&mut [0; 8]),
            };
            done.expect("an eventfd of our own");
        }
    }

    /// The changes of one call, and the answers to them; the error if one finds no room.
    fn change(
        &self,
        state: &mut State,
        changes: &[Entry],
        events: &mut Vec<Entry>,
        room: usize,
    ) -> io::Result<()> {
        for &change in changes {
            let error = match self.register(state, change) {
                Ok(()) if change.flags & EV_RECEIPT == 0 => continue,
                Ok(()) => 0,
                Err(error) => error,
            };
            if events.len() < room {
                events.push(Entry {
                    flags: change.flags | EV_ERROR,
                    data: i64::from(error),
                    ..change
                });
            } else if error != 0 {
                self.ring(state);
                return Err(io::Error::from_raw_os_error(error));
            }
        }
        self.ring(state);
        Ok(())
    }
}

impl<const USER: bool, const EXCEPT: bool> Sys for Fake<USER, EXCEPT> {
    type Record = Entry;

    const OOB: Option<u32> = if EXCEPT { Some(2) } else { None };

    fn open() -> io::Result<Self> {
        let bell = File::from(eventfd()?);
        let (outer, read) = (Edges::new()?, Edges::new()?);
        let (write, except) = (Edges::new()?, Edges::new()?);
        for inner in [
            read.0.as_raw_fd(),
            write.0.as_raw_fd(),
            except.0.as_raw_fd(),
            bell.as_raw_fd(),
        ] {
            let added = outer.add(inner, libc::EPOLLIN as u32);
            added.map_err(io::Error::from_raw_os_error)?;
        }
        Ok(Fake {
            owner: process::id(),
            outer,
            read,
            write,
            except,
            bell,
            state: Mutex::default(),
        })
    }

    fn record(entry: Entry) -> Entry {
        entry
    }

    fn entry(record: &Entry) -> Entry {
        *record
    }

    fn kevent(
        &self,
        changes: &[Entry],
        events: &mut Vec<Entry>,
        room: usize,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        events.clear();
        if process::id() != self.owner {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let mut state = self.state();
        if let Some(calls) = &mut state.calls {
            calls.push(Call {
                changes: changes.to_vec(),
                room,
                timeout,
            });
        }
        self.change(&mut state, changes, events, room)?;
        if !events.is_empty() || room == 0 {
            return Ok(());
        }
        if timeout.is_some_and(|timeout| timeout > LONGEST) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let timer = TimerFd::new()?;
        if let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero()) {
            timer.set(timeout)?;
        }
        loop {
            self.scan(&mut state, events, room)?;
            if !events.is_empty() || timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Ok(());
            }
            drop(state);
            let mut fds = [self.outer.0.as_fd(), timer.as_fd()].map(|fd| libc::pollfd {
                fd: fd.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            });
            poll(&mut fds, None)?;
            state = self.state();
            if fds[0].revents == 0 && fds[1].revents != 0 {
                return Ok(());
            }
        }
    }
}

impl<const USER: bool, const EXCEPT: bool> AsFd for Fake<USER, EXCEPT> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outer.0.as_fd()
    }
}

impl State {
    /// Puts a knote that is active into the queue, unless it is disabled or there.
    fn enqueue(&mut self, key: Key) {
        let knote = self.knotes.get_mut(&key).expect("a knote of the set");
        if knote.active && !knote.disabled && !knote.queued {
            knote.queued = true;
            self.queue.push_back(key);
        }
    }
}

impl Knote {
    /// Runs the filter. What it has found stays active until it is retrieved.
    fn run(&mut self, key: Key) -> bool {
        let (filter, ident) = key;
        let Some((flags, fflags, data)) = self.look(filter, ident) else {
            return false;
        };
        self.active = true;
        self.last = Entry {
            ident,
            filter,
            flags: self.flags | flags,
            fflags,
            data,
        };
        true
    }

    /// Flags, `fflags` and `data`, if the filter is true.
    fn look(&self, filter: Filter, ident: usize) -> Option<(u32, u32, i64)> {
        if filter == Filter::User {
            return self.triggered.then_some((0, 0, 0));
        }
        let fd = ident as RawFd;
        if self.kind == Kind::Regular {
            let left = left_in(fd);
            return (left != 0).then_some((0, 0, left));
        }
        let seen = look(fd, mask(filter));
        let (hup, err) = (seen & libc::POLLHUP != 0, seen & libc::POLLERR != 0);
        let ended = match filter {
            Filter::Read => hup || seen & libc::POLLRDHUP != 0,
            Filter::Write => hup || err && self.kind == Kind::Pipe,
            Filter::Except => return (seen & libc::POLLPRI != 0).then_some((0, self.fflags, 0)),
            Filter::User | Filter::Other => false,
        };
        let wanted = mask(filter) as libc::c_short & !libc::POLLRDHUP;
        if !ended && !err && seen & wanted == 0 {
            return None;
        }
        let is_reset = ended && err && self.kind == Kind::Socket;
        Some((
            if ended { EV_EOF } else { 0 },
            if is_reset { libc::ECONNRESET as u32 } else { 0 },
            if filter == Filter::Read {
                unread(fd)
            } else {
                1
            },
        ))
    }
}

/// What epoll(7) and poll(2) are asked for a filter; their numbers are the same.
fn mask(filter: Filter) -> u32 {
    let mask = match filter {
        Filter::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
        Filter::Write => libc::EPOLLOUT,
        Filter::Except => libc::EPOLLPRI,
        Filter::User | Filter::Other => 0,
    };
    mask as u32
}

fn look(fd: RawFd, mask: u32) -> libc::c_short {
    let mut fds = [libc::pollfd {
        fd,
        events: mask as libc::c_short,
        revents: 0,
    }];
    match poll(&mut fds, Some(Duration::ZERO)) {
        Ok(1) => fds[0].revents,
        _ => 0,
    }
}

fn file_of(ident: usize) -> Result<FileId, libc::c_int> {
    let fd = RawFd::try_from(ident).map_err(|_| libc::EBADF)?;
    FileId::of(fd).map_err(|_| libc::EBADF)
}

/// Looks at a number as a file without owning it. The number is open: `file_of` has just said so.
fn with_file<T>(fd: RawFd, look: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
    // SAFETY: the file is not closed here, and its owner keeps it open: the backend's caller is on this thread.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    look(&file)
}

fn kind_of(ident: usize) -> Result<Kind, libc::c_int> {
    let kind = with_file(ident as RawFd, |file| {
        let kind = file.metadata()?.file_type();
        Ok(match () {
            () if kind.is_socket() => Kind::Socket,
            () if kind.is_fifo() => Kind::Pipe,
            () if kind.is_file() || kind.is_dir() => Kind::Regular,
            () => Kind::Other,
        })
    });
    kind.map_err(|_| libc::EBADF)
}

/// How much of a regular file lies behind its position.
fn left_in(fd: RawFd) -> i64 {
    let left = with_file(fd, |mut file| {
        Ok(file.metadata()?.len() as i64 - file.stream_position()? as i64)
    });
    left.unwrap_or(0)
}

/// The bytes that can be read; of a listening socket, which counts no bytes, 1.
fn unread(fd: RawFd) -> i64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    match check(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) }) {
        Ok(_) => i64::from(bytes),
        Err(_) => 1,
    }
}

/// An epoll(7), which here only says to which numbers something happened.
struct Edges(OwnedFd);

impl Edges {
    fn new() -> io::Result<Edges> {
        // SAFETY: the call takes no pointer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call has just made this fd, and nobody else knows it.
        Ok(Edges(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn add(&self, fd: RawFd, mask: u32) -> Result<(), libc::c_int> {
        // The queue's own parts are there as long as they are readable, files when something happens.
        let edge = match mask == libc::EPOLLIN as u32 {
            true => 0,
            false => libc::EPOLLET as u32,
        };
        let mut added = self.control(libc::EPOLL_CTL_ADD, fd, mask | edge);
        if added == Err(libc::EEXIST) {
            // The same file came back to the number.
            added = self.control(libc::EPOLL_CTL_MOD, fd, mask | edge);
        }
        added
    }

    fn remove(&self, fd: RawFd) {
        // Errors: it was closed. A duplicate may keep it here: then it wakes whoever has the number, which looks and finds
        // nothing.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0);
    }

    fn control(&self, what: libc::c_int, fd: RawFd, mask: u32) -> Result<(), libc::c_int> {
        let mut event = libc::epoll_event {
            events: mask,
            u64: fd as u64,
        };
        // SAFETY: the event outlives the call; a number that is not open is an error, not an access.
        let done = check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), what, fd, &mut event) });
        let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EINVAL);
        done.map(drop).map_err(number)
    }

    /// The numbers to which something happened since the last time.
    fn take(&self) -> io::Result<Vec<usize>> {
        let mut taken = Vec::new();
        loop {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
            let (room, at) = (events.len() as libc::c_int, events.as_mut_ptr());
            // SAFETY: the array has room for that many events.
            let count = check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), at, room, 0) })?;
            let count = count as usize;
            taken.extend(events[..count].iter().map(|event| event.u64 as usize));
            if count < events.len() {
                return Ok(taken);
            }
        }
    }
}
