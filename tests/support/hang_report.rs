//! [`HangReport`]: what a watchdog prints about a process that hangs.
//!
//! ```text
//! fd 12 socket:[24508]: ready for IN OUT; flags: 02026002
//! signals: SigQ: 3/96365 ShdPnd: 0000000000000000
//! thread 20027 (streams::stream): State: S (sleeping) SigPnd: 0000010000000000 in futex_do_wait
//!    7: <fuzz::streams::World as fuzz::foreign::Foreign>::enter
//! ```
//!
//! The stack of a thread is taken by the thread itself, in a signal handler. That is not safe in
//! general, because the thread may be inside of the allocator. But the process is about to be
//! aborted: a thread that does not answer gets no stack. ThreadSanitizer would report each call of
//! the handler, so under it there are no stacks.

use std::backtrace::Backtrace;
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long one thread may take to write down its stack.
const PATIENCE: Duration = Duration::from_secs(20);

/// The signal that asks a thread for its stack. The handler is set only when a hang is reported.
const SIGNAL: libc::c_int = libc::SIGUSR2;

/// The number of stacks taken so far, and the last one.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static STACK: Mutex<String> = Mutex::new(String::new());

/// Knows the thread that is watched.
#[derive(Clone, Copy)]
pub(crate) struct HangReport {
    /// A `pthread_t`, which is a pointer on some systems.
    watched: usize,
}

impl HangReport {
    /// Watches the calling thread.
    pub(crate) fn of_this_thread() -> HangReport {
        HangReport {
            // SAFETY: the call always succeeds.
            watched: unsafe { libc::pthread_self() } as usize,
        }
    }

    /// Writes the report to standard error. The watched thread must not have ended.
    pub(crate) fn write(self) {
        // Not by `eprintln!`, whose output is captured until the test has ended.
        let out = &mut io::stderr();
        // Standard error may be closed.
        let _ = self.write_to(out);
    }

    fn write_to(self, out: &mut impl Write) -> io::Result<()> {
        write_descriptors(out)?;
        let signals = fields("/proc/self/status", &["SigQ", "ShdPnd"]);
        writeln!(out, "signals: {signals}")?;
        install_handler();
        let threads = other_threads();
        for thread in &threads {
            let folder = format!("/proc/self/task/{thread}");
            let name = read(&format!("{folder}/comm"));
            let state = fields(&format!("{folder}/status"), &["State", "SigPnd"]);
            let place = read(&format!("{folder}/wchan"));
            writeln!(out, "thread {thread} ({name}): {state} in {place}")?;
            writeln!(out, "{}", stack_of(|| send_to_thread(*thread)))?;
        }
        if threads.is_empty() {
            let stack = stack_of(|| {
                // SAFETY: the thread has not ended, as the caller has promised.
                unsafe { libc::pthread_kill(self.watched as libc::pthread_t, SIGNAL) };
            });
            writeln!(out, "the watched thread:\n{stack}")?;
        }
        Ok(())
    }
}

/// Writes what each descriptor is and what poll(2) finds now.
fn write_descriptors(out: &mut impl Write) -> io::Result<()> {
    let Ok(all) = fs::read_dir("/proc/self/fd") else {
        return Ok(());
    };
    let numbers = all.flatten().filter_map(|fd| {
        let name = fd.file_name();
        name.to_str()?.parse::<libc::c_int>().ok()
    });
    let mut numbers: Vec<_> = numbers.filter(|number| *number > 2).collect();
    numbers.sort_unstable();
    for number in numbers {
        let file = fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        let info = read(&format!("/proc/self/fdinfo/{number}"));
        let is_known = |line: &&str| {
            ["pos:", "mnt_id:", "ino:", "scm_fds:"]
                .iter()
                .all(|known| !line.starts_with(known))
        };
        let words = info.lines().filter(is_known).map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.join(" ")
        });
        let info: Vec<_> = words.collect();
        let (file, info) = (file.display(), info.join("; "));
        writeln!(
            out,
            "fd {number} {file}: ready for{}; {info}",
            ready(number)
        )?;
    }
    Ok(())
}

/// Returns what poll(2) finds now.
fn ready(fd: libc::c_int) -> String {
    let mut entry = libc::pollfd {
        fd,
        events: libc::POLLIN | libc::POLLOUT | libc::POLLPRI,
        revents: 0,
    };
    // SAFETY: one entry, alive during the call.
    if unsafe { libc::poll(&mut entry, 1, 0) } != 1 {
        return " nothing".to_owned();
    }
    let bits = [
        (libc::POLLIN, " IN"),
        (libc::POLLOUT, " OUT"),
        (libc::POLLPRI, " PRI"),
        (libc::POLLHUP, " HUP"),
        (libc::POLLERR, " ERR"),
        (libc::POLLNVAL, " NVAL"),
    ];
    let found = bits.iter().filter(|(bit, _)| entry.revents & bit != 0);
    found.map(|(_, name)| *name).collect()
}

/// Returns a file's text, or nothing where there is no such file.
fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim_end().to_owned()
}

/// Returns the named lines of a file, in one line.
fn fields(path: &str, names: &[&str]) -> String {
    let text = read(path);
    let lines = text.lines().filter(|line| {
        let name = line.split(':').next();
        name.is_some_and(|name| names.contains(&name))
    });
    let lines: Vec<_> = lines.map(|line| line.replace('\t', " ")).collect();
    lines.join(" ")
}

/// Makes a thread write down its stack. `send` sends it the signal.
fn stack_of(send: impl FnOnce()) -> String {
    if std::env::var_os("TSAN_OPTIONS").is_some() {
        return "   no stack: ThreadSanitizer".to_owned();
    }
    let (before, started) = (TAKEN.load(SeqCst), Instant::now());
    send();
    while TAKEN.load(SeqCst) == before {
        if started.elapsed() > PATIENCE {
            return "   no stack: the thread does not answer the signal".to_owned();
        }
        thread::sleep(Duration::from_millis(1));
    }
    let stack = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    shortened(&stack).join("\n")
}

/// Leaves out the frames of the handler, and those that every thread has.
fn shortened(stack: &str) -> Vec<&str> {
    let lines: Vec<_> = stack.lines().collect();
    let is_handler = |line: &&str| line.contains("restore_rt") || line.contains("take_stack");
    let first = lines.iter().rposition(is_handler);
    let lines = &lines[first.map_or(0, |at| at + 1)..];
    let last = lines
        .iter()
        .position(|line| line.contains("__rust_begin_short_backtrace"));
    lines[..last.unwrap_or(lines.len())].to_vec()
}

extern "C" fn take_stack(_: libc::c_int) {
    let stack = Backtrace::force_capture().to_string();
    if let Ok(mut last) = STACK.try_lock() {
        *last = stack;
    }
    TAKEN.fetch_add(1, SeqCst);
}

fn install_handler() {
    let handler: extern "C" fn(libc::c_int) = take_stack;
    // SAFETY: zeros are a valid structure; the handler takes a signal's number, as the flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(SIGNAL, &action, std::ptr::null_mut());
    }
}

/// Returns the ids of the threads of this process, except this one. Empty where there are no ids.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn other_threads() -> Vec<libc::pid_t> {
    // SAFETY: the call takes no arguments.
    let own = unsafe { libc::syscall(libc::SYS_gettid) } as libc::pid_t;
    let all = fs::read_dir("/proc/self/task").into_iter().flatten();
    let ids = all.flatten().filter_map(|task| {
        let name = task.file_name();
        name.to_str()?.parse::<libc::pid_t>().ok()
    });
    ids.filter(|id| *id != own).collect()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn other_threads() -> Vec<libc::pid_t> {
    Vec::new()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn send_to_thread(thread: libc::pid_t) {
    // SAFETY: the call takes three numbers. It fails if the thread has ended.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn send_to_thread(_: libc::pid_t) {}
