//! A fake kqueue on Linux, written from the manual: what kqueue(2) and kevent(2) promise, and where
//! they help less than expected.
//!
//! "Page" is kqueue(2) of FreeBSD, which the other systems' pages repeat; "code" is FreeBSD's
//! `sys/kern/kern_event.c`, where the page says nothing. Where systems or their versions differ,
//! the fake is the worst of them.
//!
//! | what it does | source |
//! |---|---|
//! | one knote for one (ident, filter) in a queue; `EV_ADD` again does not make another | page |
//! | `EV_ADD` again changes `fflags`, keeps the trigger flags, and does not enable what is disabled | code, `kqueue_register`; the page promises enabling, so the backend must not rely on either |
//! | the filter is run when it is added, when something happens, and when it is retrieved: what is no longer true is not reported | page |
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
//! **Where it differs.** An epoll(7) instance per filter, with edge triggers, reports what happens
//! to a file. It wakes knotes as a kernel does, also for data that comes while older data is
//! unread, and now and then once more than a BSD would. poll(2) shows what is true. The error of a
//! socket cannot be read without clearing it, so `ECONNRESET` stands for all. poll(2) does not
//! report our own shutdown of the writing side, so it is not `EV_EOF`. `data` of the write filter
//! is 1.

mod activity;
mod knote;
mod tests;

use super::signal::Signal;
use crate::backend::kqueue::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_ERROR, EV_RECEIPT, Entry,
    Filter, NOTE_TRIGGER, Sys,
};
use crate::sys::fd::FileId;
use crate::sys::poll::poll;
use crate::sys::timerfd::TimerFd;
use activity::Activity;
use knote::{Kind, Knote, file_of, kind_of, mask};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Not a flag of the backend; the head says why.
const EV_ONESHOT: u32 = 0x10;

/// The `fflags` of `EVFILT_EXCEPT`, with macOS's number.
const OOB: u32 = 2;

/// `itimerfix` refuses more seconds.
const LONGEST: Duration = Duration::from_secs(100_000_000);

/// A queue of a system that has user events or not, and `EVFILT_EXCEPT` or not.
pub(in crate::backend) struct Fake<const USER: bool, const EXCEPT: bool> {
    owner: u32,
    /// Contains the other fds, so that poll(2) can check this queue.
    outer: Activity,
    read: Activity,
    write: Activity,
    except: Activity,
    /// Ends a wait.
    timer: TimerFd,
    state: Mutex<State>,
}

struct State {
    knotes: HashMap<Key, Knote>,
    queue: VecDeque<Key>,
    /// Readable while a knote is queued.
    signal: Signal,
    /// The filter whose next `EV_ADD` fails, for tests.
    fault: Option<(Filter, libc::c_int)>,
    /// The calls since a test began to record them.
    calls: Option<Vec<Call>>,
}

/// One call of kevent(2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::backend) struct Call {
    pub(in crate::backend) changes: Vec<Entry>,
    pub(in crate::backend) room: usize,
    pub(in crate::backend) timeout: Option<Duration>,
}

/// The key of a knote.
type Key = (Filter, usize);

impl<const USER: bool, const EXCEPT: bool> Fake<USER, EXCEPT> {
    /// Makes the next `EV_ADD` of a filter fail.
    pub(in crate::backend) fn fail_next_add(&self, filter: Filter, error: libc::c_int) {
        self.state().fault = Some((filter, error));
    }

    /// Returns the calls since the last call of this; none the first time.
    pub(in crate::backend) fn take_calls(&self) -> Vec<Call> {
        self.state().calls.replace(Vec::new()).unwrap_or_default()
    }

    /// Returns the filters of a number, and whether they are enabled.
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

    fn activity(&self, filter: Filter) -> Option<&Activity> {
        match filter {
            Filter::Read => Some(&self.read),
            Filter::Write => Some(&self.write),
            Filter::Except => Some(&self.except),
            Filter::User => None,
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
        };
        if !is_known || has(EV_ENABLE) && has(EV_DISABLE) {
            return Err(libc::EINVAL);
        }
        let key = (filter, ident);
        let file = match self.activity(filter) {
            Some(_) => Some(file_of(ident)?),
            None => None,
        };
        self.forget_if_closed(state, key, file);
        if !state.knotes.contains_key(&key) {
            if !has(EV_ADD) {
                return Err(libc::ENOENT);
            }
            state.check_fault(filter)?;
            self.attach(state, change, file)?;
        } else if has(EV_DELETE) {
            self.forget(state, key);
            return Ok(());
        } else if has(EV_ADD) {
            state.check_fault(filter)?;
        }
        let knote = state
            .knotes
            .get_mut(&key)
            .expect("the knote was found or made");
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

    /// Makes the knote listen. Several numbers of one file listen once if the file has its own
    /// inode, because epoll(7) accepts only a few hundred duplicates of a file in an instance that
    /// lies in another one.
    fn listen(&self, state: &mut State, key: Key) -> Result<(), libc::c_int> {
        let knote = &state.knotes[&key];
        let (Some(activity), Some(file)) = (self.activity(key.0), knote.file) else {
            return Ok(());
        };
        let has_own_inode = matches!(knote.kind, Kind::Socket | Kind::Pipe);
        let is_watched = |(other, twin): (&Key, &Knote)| {
            other.0 == key.0 && twin.listens && twin.file == Some(file)
        };
        if knote.kind == Kind::Regular || has_own_inode && state.knotes.iter().any(is_watched) {
            return Ok(());
        }
        activity.add(key.1 as RawFd, mask(key.0))?;
        state
            .knotes
            .get_mut(&key)
            .expect("the knote was inserted before")
            .listens = true;
        Ok(())
    }

    fn forget(&self, state: &mut State, key: Key) {
        let Some(knote) = state.knotes.remove(&key) else {
            return;
        };
        state.queue.retain(|queued| *queued != key);
        let Some(activity) = self.activity(key.0).filter(|_| knote.listens) else {
            return;
        };
        activity.remove(key.1 as RawFd);
        // Another knote of the same file listens from now on.
        let successor = state.knotes.iter().find(|(other, twin)| {
            other.0 == key.0
                && twin.file == knote.file
                && knote.file == FileId::of(other.1 as RawFd).ok()
        });
        if let Some((&key, _)) = successor {
            let _ = self.listen(state, key);
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
            let activity = self.activity(filter).expect("these have one");
            for number in activity.take()? {
                // A number that was closed wakes all knotes: a duplicate of its file may be among
                // them.
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
                    let knote = state.knotes.get_mut(&key).expect("the knote is in the map");
                    knote.run(key);
                    state.enqueue(key);
                }
            }
        }
        Ok(())
    }

    /// `kqueue_scan`, one round.
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
        state.update_signal();
        Ok(())
    }

    /// Makes the changes of one call, and writes the receipts. Returns the error if one finds no
    /// room.
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
                state.update_signal();
                return Err(io::Error::from_raw_os_error(error));
            }
        }
        state.update_signal();
        Ok(())
    }
}

impl<const USER: bool, const EXCEPT: bool> Sys for Fake<USER, EXCEPT> {
    type Record = Entry;

    const OOB: Option<u32> = if EXCEPT { Some(OOB) } else { None };

    fn open() -> io::Result<Self> {
        let signal = Signal::new()?;
        let (outer, read) = (Activity::new()?, Activity::new()?);
        let (write, except) = (Activity::new()?, Activity::new()?);
        for inner in [
            read.0.as_raw_fd(),
            write.0.as_raw_fd(),
            except.0.as_raw_fd(),
            signal.number(),
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
            timer: TimerFd::new()?,
            state: Mutex::new(State {
                knotes: HashMap::new(),
                queue: VecDeque::new(),
                signal,
                fault: None,
                calls: None,
            }),
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
        // Only the owner of a queue waits for it, so the timer is free; the last wait may have set
        // it.
        self.timer.drain();
        if timeout != Some(Duration::ZERO) {
            self.timer.set(timeout.unwrap_or(LONGEST))?;
        }
        loop {
            self.scan(&mut state, events, room)?;
            if !events.is_empty() || timeout == Some(Duration::ZERO) {
                return Ok(());
            }
            drop(state);
            let mut fds = [self.outer.0.as_fd(), self.timer.as_fd()].map(|fd| libc::pollfd {
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
    /// Makes the queue's fd readable if something is queued.
    fn update_signal(&mut self) {
        self.signal.set(!self.queue.is_empty());
    }

    /// Fails once, if a test wants the next `EV_ADD` of this filter to fail.
    fn check_fault(&mut self, filter: Filter) -> Result<(), libc::c_int> {
        match self.fault.take_if(|(fails, _)| *fails == filter) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Queues an active knote, unless it is disabled or queued.
    fn enqueue(&mut self, key: Key) {
        let knote = self.knotes.get_mut(&key).expect("a knote of the set");
        if knote.active && !knote.disabled && !knote.queued {
            knote.queued = true;
            self.queue.push_back(key);
        }
    }
}
