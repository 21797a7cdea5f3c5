//! Child processes where the whole process matters: no zombie among all children, lack of
//! descriptors, a mechanism that refuses pidfds, SIGCHLD that is ignored, and fork.
//!
//! The only test of its program, because it forks, and because it looks at all children of the
//! process.

mod support;

use reveille::backend::BackendKind;
use reveille::process::{Child, Command};
use reveille::signal::{SignalKind, signal};
use reveille::time::{Duration, sleep};
use reveille::{Runtime, spawn};
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use support::on_every_backend;
use support::recording::{Record, recorded};

#[test]
fn children_of_a_process() {
    // First, while no handler for SIGCHLD is installed.
    on_every_backend(status_is_lost_if_sigchld_is_ignored);
    on_every_backend(|runtime| {
        end_of_a_runtime_and_each_start_and_drop_reap_what_was_left(runtime)
    });
    on_every_backend(|runtime| {
        for by_sigchld in [false, true] {
            no_child_is_left(runtime, by_sigchld);
        }
    });
    on_every_backend(|runtime| {
        for by_sigchld in [false, true] {
            child_of_a_fork_leaves_the_children_of_its_parent_alone(runtime, by_sigchld);
        }
    });
    mechanism_that_refuses_pidfds_has_children();
    mechanism_that_refuses_everything_leaves_no_child();
    on_every_backend(lack_of_descriptors_is_an_error_before_the_start);
}

/// Whether this process has a child, alive or a zombie.
fn has_children() -> bool {
    // SAFETY: a siginfo is plain data that the call fills.
    let found = unsafe {
        let mut info = std::mem::zeroed::<libc::siginfo_t>();
        let flags = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
        libc::waitid(libc::P_ALL, 0, &mut info, flags)
    };
    let error = io::Error::last_os_error();
    assert!(
        found == 0 || error.raw_os_error() == Some(libc::ECHILD),
        "{error}"
    );
    found == 0
}

/// Waits until one of the children has ended, and leaves it a zombie.
fn wait_for_the_end(pid: u32) {
    // SAFETY: a siginfo is plain data that the call fills.
    let found = unsafe {
        let mut info = std::mem::zeroed::<libc::siginfo_t>();
        libc::waitid(
            libc::P_PID,
            pid as libc::id_t,
            &mut info,
            libc::WEXITED | libc::WNOWAIT,
        )
    };
    assert_eq!(found, 0, "{}", io::Error::last_os_error());
}

fn command(by_sigchld: bool, program: &str) -> Command {
    let mut command = Command::new(program);
    command.watch_by_sigchld(by_sigchld);
    command
}

fn cat(by_sigchld: bool) -> Child {
    let mut command = command(by_sigchld, "cat");
    command.stdin(Stdio::piped()).spawn().unwrap()
}

/// Starts children one after the other, and treats them in each possible way. Afterwards the
/// process has none.
fn no_child_is_left(runtime: &Runtime, by_sigchld: bool) {
    assert!(!has_children());
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for at in 0..support::rounds(250) {
            let mut child = command(by_sigchld, "true").spawn().unwrap();
            match at % 4 {
                0 => assert!(child.wait().await.unwrap().success()),
                1 => drop(child),
                2 => tasks.push(spawn(async move { child.wait().await })),
                _ => spawn(async move { child.wait().await }).abort(),
            }
        }
        for task in tasks {
            assert!(task.await.unwrap().unwrap().success());
        }
        while has_children() {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

/// A child that is left by a runtime, and has ended.
fn left() -> u32 {
    let runtime = Runtime::new().unwrap();
    let mut child = runtime.enter(|| cat(false));
    let (pid, stdin) = (child.id().unwrap(), child.stdin.take());
    drop(child);
    drop(runtime);
    assert!(has_children());
    drop(stdin);
    wait_for_the_end(pid);
    assert!(has_children());
    pid
}

fn end_of_a_runtime_and_each_start_and_drop_reap_what_was_left(runtime: &Runtime) {
    left();
    drop(Runtime::new().unwrap());
    assert!(!has_children());

    left();
    runtime.block_on(async {
        let error = Command::new("/nonexistent/program").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
    assert!(!has_children());

    runtime.block_on(async {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().await.unwrap();
        left();
        drop(child);
        assert!(!has_children());
    });
}

fn status_is_lost_if_sigchld_is_ignored(runtime: &Runtime) {
    if !cfg!(target_os = "linux") {
        // The handler for SIGCHLD is installed there, so it is no longer ignored.
        return;
    }
    // SAFETY: no pointer to memory is passed.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    runtime.block_on(async {
        let mut child = Command::new("true").spawn().unwrap();
        let error = child.wait().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("SIGCHLD is ignored"), "{error}");
        assert_eq!(child.id(), None);
        child.start_kill().unwrap();
        drop(Command::new("true").spawn().unwrap());
        while has_children() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGCHLD, before) };
}

/// Runs `f` in a child of this process, which has only this thread, and returns its result.
fn in_child(f: impl FnOnce()) -> bool {
    // SAFETY: the child runs on this thread and ends by `_exit`. `alarm` takes no pointer.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the calls take no pointer.
        unsafe { libc::alarm(120) };
        let result = catch_unwind(AssertUnwindSafe(f));
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(result.is_err())) };
    }
    let mut status = 0;
    // SAFETY: the status is a local.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status == 0
}

fn child_of_a_fork_leaves_the_children_of_its_parent_alone(runtime: &Runtime, by_sigchld: bool) {
    let mut child = runtime.enter(|| cat(by_sigchld));
    let mut doomed = command(by_sigchld, "cat");
    doomed.stdin(Stdio::piped()).kill_on_drop(true);
    let mut doomed = Some(runtime.enter(|| doomed.spawn().unwrap()));
    let stdin = runtime.enter(|| cat(by_sigchld).stdin.take());
    let is_right = in_child(|| {
        let kind = child.try_wait().unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Unsupported);
        let kind = child.start_kill().unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Unsupported);
        let kind = support::wait(child.wait()).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Unsupported);
        // It would be killed.
        drop(doomed.take());
        // Children of its own are reaped.
        if !support::is_thread_sanitizer() {
            let own = Runtime::new().unwrap();
            own.block_on(async {
                let mut child = command(by_sigchld, "true").spawn().unwrap();
                assert!(child.wait().await.unwrap().success());
            });
        }
    });
    assert!(is_right);
    runtime.block_on(async {
        assert_eq!(child.try_wait().unwrap(), None);
        let mut doomed = doomed.take().unwrap();
        assert_eq!(doomed.try_wait().unwrap(), None);
        assert!(child.wait().await.unwrap().success());
        assert!(doomed.wait().await.unwrap().success());
        drop(stdin);
        while has_children() {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

fn is_pidfd(fd: RawFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"));
    info.is_ok_and(|info| info.contains("Pid:"))
}

/// Runs a test on each mechanism with a wrapper that can refuse files.
fn on_refusing(test: impl Fn(&Runtime, &Record)) {
    for kind in BackendKind::ALL {
        if let Some((runtime, record)) = recorded(kind) {
            support::guarded(kind.name(), || test(&runtime, &record));
        }
    }
}

fn mechanism_that_refuses_pidfds_has_children() {
    on_refusing(|runtime, record| {
        record.refuse(is_pidfd);
        runtime.block_on(async {
            let mut child = cat(false);
            assert_eq!(child.try_wait().unwrap(), None);
            assert!(child.wait().await.unwrap().success());
            drop(Command::new("true").spawn().unwrap());
            while has_children() {
                sleep(Duration::from_millis(1)).await;
            }
        });
        if cfg!(target_os = "linux") {
            println!("{} pidfds were refused", record.take_refusals());
        }
    });
}

fn mechanism_that_refuses_everything_leaves_no_child() {
    on_refusing(|runtime, record| {
        record.refuse(|_| true);
        runtime.block_on(async {
            for pipes in [Stdio::null, Stdio::piped] {
                for by_sigchld in [false, true] {
                    let mut command = command(by_sigchld, "sleep");
                    let command = command.arg("1000").stdin(pipes()).stdout(pipes());
                    let error = command.spawn().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                    assert_ne!(record.take_refusals(), 0);
                }
            }
            // They were killed. Another one is not needed to reap them, but a start tries.
            while has_children() {
                sleep(Duration::from_millis(1)).await;
                Command::new("/nonexistent/program").spawn().unwrap_err();
            }
        });
    });
}

fn limit() -> libc::rlimit {
    // SAFETY: an rlimit is two integers, which the call fills.
    unsafe {
        let mut value = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut value), 0);
        value
    }
}

fn allow(limit: libc::rlimit) {
    // SAFETY: the call reads the value.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// The smallest limit that leaves so many numbers free.
fn limit_with(free: usize) -> libc::rlim_t {
    let mut unused = (0..).filter(|fd| !is_open(*fd));
    unused.nth(free).unwrap() as libc::rlim_t
}

fn lack_of_descriptors_is_an_error_before_the_start(runtime: &Runtime) {
    let path = std::env::temp_dir().join(format!("reveille-alone-{}", std::process::id()));
    // Of a process that had the same number and was killed.
    let _ = std::fs::remove_file(&path);
    let before = limit();
    for listens in [false, true] {
        for (pipes, by_sigchld) in [(false, false), (true, false), (false, true), (true, true)] {
            // Whether a start has succeeded, for each number of free descriptors.
            let mut seen = Vec::new();
            for free in 0..10 {
                let listener = runtime.enter(|| listens.then(|| signal(SignalKind::child())));
                let listener = listener.transpose().unwrap();
                let mut command = command(by_sigchld, "touch");
                command.arg(&path).kill_on_drop(true);
                if pipes {
                    command.stdin(Stdio::piped()).stdout(Stdio::piped());
                }
                allow(libc::rlimit {
                    rlim_cur: limit_with(free),
                    ..before
                });
                let spawned = runtime.enter(|| command.spawn());
                allow(before);
                match spawned {
                    Ok(mut child) => {
                        assert!(runtime.block_on(child.wait()).unwrap().success());
                        std::fs::remove_file(&path).unwrap();
                        seen.push(true);
                    }
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                        assert!(!has_children(), "{free} free, {pipes}, {by_sigchld}");
                        assert!(!path.exists());
                        seen.push(false);
                    }
                }
                drop(listener);
                runtime.turn(Some(Duration::ZERO)).unwrap();
                assert!(!has_children());
            }
            assert!(seen.is_sorted(), "{seen:?}");
            // Neither a pidfd nor a new descriptor for signals is needed then, nor a pipe.
            assert_eq!(seen[0], listens && !pipes, "{seen:?}");
            assert!(seen[9], "{seen:?}");
        }
    }
}
