//! Child processes: they are started, adopted, waited for, signaled, killed and dropped, inside the
//! runtime, outside of it and on other threads; waits are cancelled; tasks that own children are
//! aborted and panic; the runtime is dropped before its children. Both ways to notice an end are
//! used at the same time.
//!
//! Checked: every status is that of the right child, and the same each time; a child that no signal
//! was sent to ends by itself; afterwards every child was reaped.

use super::harness::{Dice, fuzz, is_planned, panic_as_planned};
use super::support::{repeat_sigchld_if_put_off, wait};
use reveille::backend::BackendKind;
use reveille::process::{Child, Command};
use reveille::signal::SignalKind;
use reveille::{Builder, JoinHandle, Runtime};
use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// A child and what may become of it.
struct Kept {
    child: Child,
    code: i32,
    /// The signals that were sent to it and end it.
    sent: Vec<i32>,
    status: Option<ExitStatus>,
}

impl Kept {
    /// Checks a status that was returned.
    fn check(&mut self, status: ExitStatus) {
        let is_known = match (status.code(), status.signal()) {
            (Some(code), _) => code == self.code,
            (None, Some(signal)) => self.sent.contains(&signal),
            (None, None) => false,
        };
        assert!(is_known, "{status}, not {} nor {:?}", self.code, self.sent);
        assert!(self.status.is_none_or(|before| before == status));
        assert_eq!(self.child.id(), None);
        self.status = Some(status);
    }

    fn try_wait(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            self.check(status);
        } else {
            assert_eq!(self.status, None);
        }
    }

    fn signal(&mut self, dice: &mut Dice) {
        // USR2 ends a program that does not handle it, and 0 is no signal.
        let kinds = [0, libc::SIGTERM, libc::SIGKILL, libc::SIGUSR2];
        let kind = kinds[dice.below(kinds.len())];
        if kind != 0 {
            self.sent.push(kind);
        }
        let kind = SignalKind::from_raw(kind);
        if dice.one_in(4) && self.child.id().is_some() {
            match self.child.signal_group(kind) {
                Ok(()) => {}
                // It leads no group.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            }
        } else {
            self.child.signal(kind).unwrap();
        }
    }
}

/// All children of one seed.
struct World {
    runtime: Option<Runtime>,
    kept: Vec<Kept>,
    /// Tasks that own a child, and whether they may fail.
    tasks: Vec<(JoinHandle<Kept>, bool)>,
    pids: Vec<u32>,
    dice: Dice,
}

impl World {
    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is dropped at the end")
    }

    #[allow(
        clippy::zombie_processes,
        reason = "it is reaped through the `Child` that adopts it"
    )]
    fn start(&mut self) {
        let code = self.dice.below(3) as i32;
        let mut command = match self.dice.below(4) {
            0 if code == 0 => Command::new("true"),
            at => {
                let script = match at {
                    1 => format!("exit {code}"),
                    // It ends when its input does.
                    _ => format!("read line; exit {code}"),
                };
                let mut command = Command::new("sh");
                command.args(["-c", &script]);
                command
            }
        };
        command
            .stdin(Stdio::piped())
            .watch_by_sigchld(self.dice.one_in(2))
            .kill_on_drop(self.dice.one_in(3));
        if self.dice.one_in(3) {
            command.process_group(0);
        }
        if self.dice.one_in(4) {
            command.stdout(Stdio::piped());
        }
        let child = match self.dice.one_in(5) {
            true => {
                let mut other = command.into_std();
                let other = other.stdin(Stdio::null()).spawn().unwrap();
                self.runtime()
                    .enter(|| Child::from_pid(other.id()))
                    .unwrap()
            }
            false => self.runtime().enter(|| command.spawn()).unwrap(),
        };
        let mut kept = Kept {
            code,
            sent: Vec::new(),
            status: None,
            child,
        };
        match kept.child.id() {
            Some(pid) => self.pids.push(pid),
            // It was adopted, and had ended.
            None => kept.try_wait(),
        }
        self.kept.push(kept);
    }

    fn take(&mut self) -> Option<Kept> {
        match self.kept.len() {
            0 => None,
            len => Some(self.kept.swap_remove(self.dice.below(len))),
        }
    }

    /// Does something with a child, which is put back if it still exists.
    fn act(&mut self) {
        let Some(mut kept) = self.take() else {
            return;
        };
        match self.dice.below(10) {
            0 => drop(kept),
            1 => self.runtime().enter(|| drop(kept)),
            2 => thread::spawn(move || drop(kept)).join().unwrap(),
            3 => {
                // The wait is cancelled, inside or outside of the runtime.
                let poll = |kept: &mut Kept| poll_once(kept.child.wait());
                let polled = match self.dice.one_in(2) {
                    true => self.runtime().enter(|| poll(&mut kept)),
                    false => poll(&mut kept),
                };
                if let Poll::Ready(status) = polled {
                    kept.check(status.unwrap());
                }
                self.kept.push(kept);
            }
            4 => {
                // Each child ends when its input has ended.
                let waits = async move {
                    let status = kept.child.wait().await.unwrap();
                    kept.check(status);
                    kept
                };
                let kept = self.runtime().block_on(waits);
                self.kept.push(kept);
            }
            5 => self.spawn(kept),
            6 => {
                let thread = thread::spawn(move || {
                    let status = wait(kept.child.wait()).unwrap();
                    kept.check(status);
                    kept
                });
                while !thread.is_finished() {
                    let limit = Some(Duration::from_millis(1));
                    self.runtime().turn(limit).unwrap();
                }
                self.kept.push(thread.join().unwrap());
            }
            7 => {
                kept.signal(&mut self.dice);
                self.kept.push(kept);
            }
            8 => {
                self.runtime().enter(|| drop(kept.child.stdin.take()));
                self.kept.push(kept);
            }
            _ => {
                kept.try_wait();
                self.kept.push(kept);
            }
        }
    }

    /// Gives a child to a task, which may panic or be aborted.
    fn spawn(&mut self, mut kept: Kept) {
        let (panics, aborts) = (self.dice.one_in(3), self.dice.one_in(3));
        let task = self.runtime().spawn(async move {
            if panics {
                let _ = poll_once(kept.child.wait());
                panic_as_planned(false);
            }
            let status = kept.child.wait().await.unwrap();
            kept.check(status);
            kept
        });
        if self.dice.one_in(2) {
            self.runtime().turn(Some(Duration::ZERO)).unwrap();
        }
        if aborts {
            task.abort();
        }
        self.tasks.push((task, panics || aborts));
    }

    fn join(&mut self) {
        for (task, may_fail) in std::mem::take(&mut self.tasks) {
            match self.runtime().block_on(task) {
                Ok(kept) => self.kept.push(kept),
                Err(error) => {
                    assert!(may_fail, "{error}");
                    if error.is_panic() {
                        assert!(is_planned(error.into_panic()));
                    }
                }
            }
        }
    }

    /// Ends everything, in some order.
    fn end(mut self) {
        if self.dice.one_in(2) {
            self.join();
        }
        if self.dice.one_in(2) {
            self.kept.clear();
        }
        if self.dice.one_in(2) {
            // Children that wait for their input end when the runtime has closed it.
            let _ = self.runtime().turn(Some(Duration::ZERO));
            for pid in &self.pids {
                while !is_reaped(*pid) && self.kept.is_empty() && self.tasks.is_empty() {
                    self.runtime().turn(Some(Duration::from_millis(1))).unwrap();
                }
            }
        }
        self.runtime = None;
        self.tasks.clear();
        self.kept.clear();
        // The runtimes of their children have ended.
        for pid in self.pids {
            while !is_reaped(pid) {
                drop(Builder::new().backend(BackendKind::Poll).build().unwrap());
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Whether a child was reaped: there is neither a process nor a zombie of it.
fn is_reaped(pid: u32) -> bool {
    // SAFETY: a siginfo is plain data that the call fills.
    let found = unsafe {
        let mut info = std::mem::zeroed::<libc::siginfo_t>();
        let flags = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
        libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags)
    };
    found == -1
}

fn play(kind: BackendKind, seed: u64) {
    repeat_sigchld_if_put_off();
    let mut dice = Dice::new(seed);
    let builder = Builder::new()
        .backend(kind)
        .event_capacity(1 + dice.below(6));
    let mut world = World {
        runtime: Some(builder.build().expect("it was available a moment ago")),
        kept: Vec::new(),
        tasks: Vec::new(),
        pids: Vec::new(),
        dice,
    };
    for _ in 0..world.dice.below(40) {
        match world.dice.below(8) {
            0 | 1 if world.pids.len() < 12 => world.start(),
            2 => {
                let limit = [Duration::ZERO, Duration::from_micros(300)];
                let limit = limit[world.dice.below(2)];
                world.runtime().turn(Some(limit)).unwrap();
            }
            _ => world.act(),
        }
    }
    world.end();
}

#[test]
fn children() {
    fuzz("children", 1..12, play);
}
