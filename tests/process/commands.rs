//! What a child receives from its [`Command`]: arguments, environment, directory, user and signal
//! mask. The system passes them, so most of these tests run once.

use super::support;
use reveille::process::Command;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use support::Directory;

/// Runs a program on a new runtime and returns what it has written.
fn text_of(command: &mut Command) -> Vec<u8> {
    let output = output_of(command).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    output.stdout
}

fn output_of(command: &mut Command) -> io::Result<std::process::Output> {
    support::repeat_sigchld_if_put_off();
    let mut output = None;
    support::guarded("the default one", || {
        output = Some(reveille::block_on(async { command.output().await }));
    });
    output.unwrap()
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

/// The variables that a child has, sorted. It is no shell, because a shell adds some of its own.
fn variables_of(command: &mut Command) -> Vec<String> {
    let text = String::from_utf8_lossy(&text_of(command)).into_owned();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn arguments_arrive_unchanged_and_in_order() {
    let mut command = Command::new("/bin/sh");
    let script = "for each; do printf '<%s>' \"$each\"; done";
    command.arg("-c").arg(script);
    command.args(["name", "", "two words"]).arg("$HOME");
    command.args([OsStr::from_bytes(b"\xff\n"), OsStr::new("-n")]);
    assert_eq!(text_of(&mut command), b"<><two words><$HOME><\xff\n><-n>");
    assert_eq!(command.get_program(), "/bin/sh");
    let args: Vec<&OsStr> = command.get_args().collect();
    assert_eq!(args.len(), 8);
    assert_eq!(args[..4], ["-c", script, "name", ""]);
    assert_eq!(args[6].as_bytes(), b"\xff\n");
    // The command is used again, with one more.
    command.arg("last");
    let text = text_of(&mut command);
    assert_eq!(text, b"<><two words><$HOME><\xff\n><-n><last>");
}

/// With `-c` and no name, `$0` is the argument 0.
#[test]
fn arg0_replaces_the_program_in_the_arguments_only() {
    let mut command = shell("echo $0");
    assert_eq!(text_of(&mut command), b"/bin/sh\n");
    assert_eq!(text_of(command.arg0("sh")), b"sh\n");
    assert_eq!(command.get_program(), "/bin/sh");
    assert!(command.get_args().eq(["-c", "echo $0"]));
}

#[test]
fn environment_is_what_was_set_after_env_clear() {
    let mut command = Command::new("/usr/bin/env");
    // Removed by what follows.
    command.env("R_BEFORE", "1").env_clear();
    assert_eq!(command.get_envs().count(), 0);
    assert!(variables_of(&mut command).is_empty());
    command.env("R_A", "old").env("R_A", "1");
    command.envs([("R_B", "two words"), ("R_C", "")]);
    let expected = ["R_A=1", "R_B=two words", "R_C="];
    assert_eq!(variables_of(&mut command), expected);
    command.env_remove("R_B").env_remove("R_NONE");
    assert_eq!(variables_of(&mut command), ["R_A=1", "R_C="]);
    let set: Vec<_> = command
        .get_envs()
        .filter(|(_, set)| set.is_some())
        .collect();
    let of = |key, value| (OsStr::new(key), Some(OsStr::new(value)));
    assert_eq!(set, [of("R_A", "1"), of("R_C", "")]);
}

#[test]
fn environment_is_inherited_unless_it_is_changed() {
    let path_of = |command: &mut Command| {
        let lines = variables_of(command);
        assert!(lines.iter().any(|line| line == "R_A=1"), "{lines:?}");
        let mut values = lines.iter().filter_map(|line| line.strip_prefix("PATH="));
        values.next().map(OsString::from)
    };
    let mut command = Command::new("/usr/bin/env");
    command.env("R_A", "1");
    assert_eq!(path_of(&mut command), std::env::var_os("PATH"));
    command.env("PATH", "/nowhere");
    assert_eq!(path_of(&mut command), Some("/nowhere".into()));
    command.env_remove("PATH");
    assert_eq!(path_of(&mut command), None);
    let changed: Vec<_> = command.get_envs().collect();
    let (path, set) = (OsStr::new("PATH"), Some(OsStr::new("1")));
    assert_eq!(changed, [(path, None), (OsStr::new("R_A"), set)]);
}

#[test]
fn current_dir_is_where_the_child_begins() {
    let directory = Directory::new();
    let mut command = shell("pwd -P");
    assert_eq!(command.get_current_dir(), None);
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    let lines = |text: Vec<u8>| text.strip_suffix(b"\n").unwrap().to_vec();
    assert_eq!(lines(text_of(&mut command)), here.as_os_str().as_bytes());
    command.current_dir(directory.path());
    assert_eq!(command.get_current_dir(), Some(directory.path()));
    let there = directory.path().canonicalize().unwrap();
    assert_eq!(lines(text_of(&mut command)), there.as_os_str().as_bytes());
    command.current_dir(directory.path().join("missing"));
    let error = output_of(&mut command).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// Only root may become another user, unless its namespace has no other.
#[test]
fn uid_and_gid_are_those_of_the_child() {
    let directory = Directory::new();
    let own = std::fs::metadata(directory.path()).unwrap().uid();
    let mut command = shell("id -u; id -g");
    let refused = |error: &io::Error| {
        let errors = [Some(libc::EPERM), Some(libc::EINVAL)];
        errors.contains(&error.raw_os_error())
    };
    if own == 0 {
        match output_of(command.uid(65_534).gid(65_533)) {
            Ok(output) => assert_eq!(output.stdout, b"65534\n65533\n"),
            Err(error) => {
                assert!(refused(&error), "{error}");
                println!("skipped: this root may not become another user: {error}");
            }
        }
    } else {
        println!("skipped: not root");
        let error = output_of(command.uid(0)).unwrap_err();
        assert!(refused(&error), "{error}");
    }
}

/// `pre_exec` also makes std use fork and exec, where it otherwise uses `posix_spawn`.
#[test]
fn as_std_mut_sets_what_has_no_method() {
    use std::os::unix::process::CommandExt;
    let mut command = shell("umask");
    assert!(command.as_std().get_args().eq(["-c", "umask"]));
    let mask = || {
        // SAFETY: the call takes no pointer, and may be made after a fork.
        unsafe { libc::umask(0o027) };
        Ok(())
    };
    // SAFETY: the closure makes one call, which is safe in the child of a process with threads.
    unsafe { command.as_std_mut().pre_exec(mask) };
    assert_eq!(text_of(&mut command), b"0027\n");
    // Its error is that of the spawn.
    let fail = || Err(io::Error::from_raw_os_error(libc::ENOTTY));
    // SAFETY: the closure makes no call.
    unsafe { command.as_std_mut().pre_exec(fail) };
    let error = output_of(&mut command).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
}

#[test]
fn conversions_from_and_to_std_keep_what_was_set() {
    let directory = Directory::new();
    let mut std = std::process::Command::new("/bin/sh");
    std.args(["-c", "echo $R_A"]).env("R_A", "1");
    let mut command = Command::from(std);
    assert!(!command.get_kill_on_drop());
    command.kill_on_drop(true).current_dir(directory.path());
    assert!(command.get_kill_on_drop());
    assert_eq!(text_of(&mut command), b"1\n");
    let std = command.into_std();
    assert_eq!(std.get_program(), "/bin/sh");
    assert!(std.get_args().eq(["-c", "echo $R_A"]));
    assert_eq!(std.get_envs().count(), 1);
    assert_eq!(std.get_current_dir(), Some(directory.path()));
}

/// As with std's `Command`. The mechanism of real-time signals blocks signals in the thread of the
/// loop.
#[cfg(target_os = "linux")]
#[test]
fn child_inherits_the_signals_that_its_thread_blocks() {
    use std::os::unix::process::CommandExt;
    let line_of = |text: &str| {
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with("SigBlk:")).unwrap();
        line.to_owned()
    };
    super::on_every_way(|runtime, way| {
        let own = line_of(&std::fs::read_to_string("/proc/thread-self/status").unwrap());
        for by_fork in [false, true] {
            let mut command = way.command("cat");
            command.arg("/proc/self/status");
            if by_fork {
                // SAFETY: the closure makes no call.
                unsafe { command.as_std_mut().pre_exec(|| Ok(())) };
            }
            let output = runtime.block_on(async { command.output().await.unwrap() });
            assert_eq!(line_of(&String::from_utf8(output.stdout).unwrap()), own);
        }
    });
}
