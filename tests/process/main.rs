//! Child processes, on every mechanism and with both ways to notice their end: statuses, pipes,
//! signals, no zombie whatever happens to a `Child`, and what a `Command` passes to its child.
//!
//! The tests of this program run at the same time, and all have children. So each one looks at its
//! own children only, by their numbers.

mod commands;
mod drops;
mod ends;
mod of_std;
mod pipes;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod threads;

use reveille::process::{Child, Command};
use reveille::{Builder, Runtime};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::process::Stdio;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How the end of a child is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Pidfd,
    Sigchld,
}

impl Way {
    fn command(self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.watch_by_sigchld(self == Way::Sigchld);
        command
    }

    fn shell(self, script: &str) -> Command {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        command
    }

    /// A child that ends when its standard input does. That is closed at once if it is dropped
    /// inside the runtime, or after its end; otherwise by the next turn.
    fn cat(self) -> Child {
        let mut command = self.command("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command.spawn().unwrap()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Runs a test on every mechanism, with each way.
fn on_every_way(test: impl Fn(&Runtime, Way)) {
    support::repeat_sigchld_if_put_off();
    for way in [Way::Pidfd, Way::Sigchld] {
        println!("... {way}");
        support::on_every_backend(|runtime| test(runtime, way));
    }
}

/// Makes another runtime of the same mechanism.
fn another_like(runtime: &Runtime) -> Runtime {
    let builder = Builder::new();
    let mut kinds = reveille::backend::BackendKind::ALL.into_iter();
    let is_chosen = std::env::var_os("REVEILLE_BACKEND").is_some();
    match kinds.find(|kind| !is_chosen && kind.name() == runtime.backend_name()) {
        Some(kind) => builder.backend(kind).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// Polls a future once and drops it.
fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn id(child: &Child) -> u32 {
    child.id().expect("it was not reaped")
}

/// Asks for the state of a child that was not reaped, without reaping it.
fn look(pid: u32, flags: i32) -> io::Result<()> {
    // SAFETY: a siginfo is plain data that the call fills.
    let found = unsafe {
        let mut info = std::mem::zeroed::<libc::siginfo_t>();
        let flags = libc::WEXITED | libc::WNOWAIT | flags;
        libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags)
    };
    match found {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a child was reaped: there is neither a process nor a zombie of it.
fn is_reaped(pid: u32) -> bool {
    match look(pid, libc::WNOHANG) {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error}");
            true
        }
    }
}

/// Waits until a child has ended, and leaves it a zombie.
fn wait_for_the_end(pid: u32) {
    loop {
        match look(pid, 0) {
            Ok(()) => return,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}"),
        }
    }
}

/// Makes turns, which wait, until a child was reaped.
fn turn_until_reaped(runtime: &Runtime, pid: u32) {
    while !is_reaped(pid) {
        runtime.turn(Some(Duration::from_millis(100))).unwrap();
    }
}
