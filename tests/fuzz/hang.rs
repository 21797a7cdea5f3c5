//! A seed that hangs says where.

use super::activity::{Activity, Step};
use super::harness::{Watchdog, alone};
use std::process::Command;
use std::thread;

/// Never returns.
#[inline(never)]
fn hang_at_this_place() {
    let activity = Activity::new("a part that hangs".to_owned());
    activity.set(Step::Reads, 7, 5000);
    let watchdog = Watchdog::new();
    watchdog.watch("this command");
    loop {
        thread::park();
    }
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child() {
    hang_at_this_place();
}

#[test]
fn hang_names_command_place_and_activity() {
    let _alone = alone();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "hang::child", "--nocapture"])
        .env("REVEILLE_FUZZ_PATIENCE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success());
    let mut wanted = vec![
        "FAILED  hangs; again: this command",
        "a part that hangs: Reads fd 7 at 5000, step 1",
    ];
    // Elsewhere the stack may end at the signal handler; ThreadSanitizer allows none.
    let is_tsan = std::env::var_os("TSAN_OPTIONS").is_some();
    if cfg!(all(target_os = "linux", target_env = "gnu")) && !is_tsan {
        wanted.push("hang_at_this_place");
    }
    for text in wanted {
        assert!(said.contains(text), "without {text:?}:\n{said}");
    }
}
