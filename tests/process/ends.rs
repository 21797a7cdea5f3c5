//! How processes end, and what `wait` and `try_wait` return.

use super::{id, is_reaped, on_every_way, poll_once, support, wait_for_the_end};
use reveille::process::{Child, Command};
use reveille::time::{Duration, timeout};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

#[test]
fn wait_returns_the_status() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            for code in [0, 7, 255] {
                let mut child = way.shell(&format!("exit {code}")).spawn().unwrap();
                let pid = id(&child);
                let status = child.wait().await.unwrap();
                assert_eq!((status.code(), status.success()), (Some(code), code == 0));
                assert!(is_reaped(pid));
                assert_eq!(child.id(), None);
                // Again, and by the other function.
                assert_eq!(child.wait().await.unwrap(), status);
                assert_eq!(child.try_wait().unwrap(), Some(status));
            }
            let mut child = way.shell("kill -TERM $$").spawn().unwrap();
            assert_eq!(child.wait().await.unwrap().signal(), Some(libc::SIGTERM));
        });
    });
}

#[test]
fn wait_notices_a_child_that_has_ended_before_the_first_poll() {
    on_every_way(|runtime, way| {
        let mut child = runtime.enter(|| way.shell("exit 3").spawn().unwrap());
        wait_for_the_end(id(&child));
        let status = runtime.block_on(child.wait()).unwrap();
        assert_eq!(status.code(), Some(3));
    });
}

#[test]
fn wait_goes_on_after_a_cancel() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut child = way.cat();
            let stdin = child.stdin.take();
            assert!(poll_once(child.wait()).is_pending());
            let waited = timeout(Duration::from_millis(1), child.wait()).await;
            assert!(waited.is_err());
            assert_eq!(child.try_wait().unwrap(), None);
            drop(stdin);
            assert!(child.wait().await.unwrap().success());
        });
    });
}

#[test]
fn wait_closes_the_input_and_try_wait_does_not() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut child = way.cat();
            assert_eq!(child.try_wait().unwrap(), None);
            assert!(child.stdin.is_some());
            // Otherwise it would wait forever.
            assert!(child.wait().await.unwrap().success());
            assert!(child.stdin.is_none());
        });
    });
}

#[test]
fn try_wait_reaps() {
    on_every_way(|runtime, way| {
        let mut child = runtime.enter(|| way.shell("exit 5").spawn().unwrap());
        let pid = id(&child);
        wait_for_the_end(pid);
        // Outside of the runtime.
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(5));
        assert!(is_reaped(pid));
        assert_eq!(runtime.block_on(child.wait()).unwrap().code(), Some(5));
    });
}

#[test]
fn many_children_wait_at_once() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let waits = (0..20).map(|code| {
                let mut child = way.cat();
                let mut named = way.shell(&format!("exit {code}"));
                reveille::spawn(async move {
                    let mut second = named.spawn().unwrap();
                    assert!(child.wait().await.unwrap().success());
                    second.wait().await.unwrap().code()
                })
            });
            for (code, wait) in waits.collect::<Vec<_>>().into_iter().enumerate() {
                assert_eq!(wait.await.unwrap(), Some(code as i32));
            }
        });
    });
}

#[test]
fn status_and_output_start_at_once() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let status = way.shell("exit 9").status();
            assert_eq!(status.await.unwrap().code(), Some(9));
            let mut command = way.shell("echo out; echo err >&2; exit 2");
            // They are replaced by pipes.
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let output = command.output().await.unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert_eq!(
                (&output.stdout[..], &output.stderr[..]),
                (&b"out\n"[..], &b"err\n"[..])
            );
        });
    });
}

#[test]
fn command_that_cannot_start_is_an_error() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut command = way.command("/nonexistent/program");
            assert_eq!(command.spawn().unwrap_err().kind(), ErrorKind::NotFound);
            let status = command.status().await;
            assert_eq!(status.unwrap_err().kind(), ErrorKind::NotFound);
            let output = command.output().await;
            assert_eq!(output.unwrap_err().kind(), ErrorKind::NotFound);
        });
    });
}

#[test]
fn spawn_without_a_runtime_starts_nothing() {
    let path = std::env::temp_dir().join(format!("reveille-process-{}", std::process::id()));
    let mut command = Command::new("touch");
    let error = command.arg(&path).spawn().unwrap_err();
    assert!(error.to_string().contains("no reveille runtime"), "{error}");
    let status = support::wait(command.status()).unwrap_err();
    assert_eq!(status.kind(), ErrorKind::Other);
    assert!(!path.exists());
    let adopted = Child::from_pid(std::process::id()).unwrap_err();
    assert_eq!(adopted.kind(), ErrorKind::Other);
}

#[allow(
    clippy::zombie_processes,
    reason = "they are reaped through the `Child` that adopts them"
)]
#[test]
fn from_pid_adopts_a_child() {
    support::on_every_backend(|runtime| {
        runtime.block_on(async {
            let start = |script: &str| {
                let mut command = std::process::Command::new("sh");
                command.args(["-c", script]).stdin(Stdio::piped());
                command.spawn().unwrap()
            };
            let mut other = start("cat; exit 4");
            let mut child = Child::from_pid(other.id()).unwrap();
            assert_eq!(child.id(), Some(other.id()));
            assert_eq!(child.try_wait().unwrap(), None);
            child
                .signal(reveille::signal::SignalKind::from_raw(0))
                .unwrap();
            drop(other.stdin.take());
            assert_eq!(child.wait().await.unwrap().code(), Some(4));
            // One that has ended, and is reaped by the call.
            let ended = start("exit 6");
            wait_for_the_end(ended.id());
            let mut child = Child::from_pid(ended.id()).unwrap();
            assert!(is_reaped(ended.id()));
            assert_eq!(child.wait().await.unwrap().code(), Some(6));
            // Those that are no children, or none any more.
            for pid in [ended.id(), std::process::id(), 1] {
                let error = Child::from_pid(pid).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound, "{pid}");
            }
            for pid in [0, u32::MAX] {
                let error = Child::from_pid(pid).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{pid}");
            }
            // Dropped, it is reaped by the runtime.
            let mut other = start("cat");
            drop(Child::from_pid(other.id()).unwrap());
            drop(other.stdin.take());
            while !is_reaped(other.id()) {
                reveille::time::sleep(Duration::from_millis(1)).await;
            }
        });
    });
}

#[test]
fn status_that_other_code_has_taken_is_lost() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let take = |child: &Child| {
                let pid = id(child) as libc::pid_t;
                // SAFETY: a null status is allowed.
                let found = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
                assert_eq!(found, pid);
            };
            let mut child = way.shell("exit 0").spawn().unwrap();
            take(&child);
            for _ in 0..2 {
                assert_eq!(child.wait().await.unwrap_err().kind(), ErrorKind::NotFound);
                assert_eq!(child.try_wait().unwrap_err().kind(), ErrorKind::NotFound);
            }
            assert_eq!(child.id(), None);
            // The number may be that of another process, so nothing is sent.
            child.start_kill().unwrap();
            let mut child = way.shell("exit 0").spawn().unwrap();
            take(&child);
            assert_eq!(child.try_wait().unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(child.wait().await.unwrap_err().kind(), ErrorKind::NotFound);
            let child = way.shell("exit 0").spawn().unwrap();
            take(&child);
            drop(child);
        });
    });
}

#[test]
fn wait_after_the_end_of_the_runtime_is_an_error_unless_the_child_has_ended() {
    on_every_way(|runtime, way| {
        let other = super::another_like(runtime);
        let mut child = other.enter(|| way.cat());
        let stdin = child.stdin.take();
        drop(other);
        let error = runtime.block_on(child.wait()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other, "{error}");
        assert_eq!(child.try_wait().unwrap(), None);
        let pid = id(&child);
        drop(stdin);
        wait_for_the_end(pid);
        assert!(runtime.block_on(child.wait()).unwrap().success());
    });
}

/// Other tests cannot tell which way was taken.
#[cfg(target_os = "linux")]
#[test]
fn pidfd_is_open_until_the_child_was_reaped() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            // SAFETY: the call takes no pointer; what it makes is closed by the end of the process.
            if unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) } == -1 {
                return println!("skipped: {}", std::io::Error::last_os_error());
            }
            let mut child = way.cat();
            let pid = id(&child);
            let expected = match way {
                super::Way::Pidfd => 1,
                super::Way::Sigchld => 0,
            };
            assert_eq!(pidfds_of(pid), expected);
            child.wait().await.unwrap();
            assert_eq!(pidfds_of(pid), 0);
        });
    });
}

/// How many descriptors of this process are pidfds of that one.
#[cfg(target_os = "linux")]
fn pidfds_of(pid: u32) -> usize {
    let line = format!("Pid:\t{pid}");
    let names = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = names.filter_map(|name| std::fs::read_to_string(name.unwrap().path()).ok());
    texts
        .filter(|text| text.lines().any(|found| found == line))
        .count()
}
