//! Signals to children and to their groups.

use super::{id, is_reaped, on_every_way, wait_for_the_end};
use reveille::process::Child;
use reveille::signal::SignalKind;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

async fn line(child: &Child) -> String {
    let (output, mut line) = (child.stdout.as_ref().unwrap(), Vec::new());
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        output.read_exact(&mut byte).await.unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim().to_owned()
}

#[test]
fn kill_ends_a_child_and_has_no_effect_later() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut child = way.command("sleep").arg("1000").spawn().unwrap();
            let pid = id(&child);
            child.kill().await.unwrap();
            assert!(is_reaped(pid));
            assert_eq!(child.wait().await.unwrap().signal(), Some(libc::SIGKILL));
            child.kill().await.unwrap();
            child.start_kill().unwrap();
            child.signal(SignalKind::terminate()).unwrap();
            // One that has ended, but was not reaped.
            let mut child = way.shell("exit 4").spawn().unwrap();
            wait_for_the_end(id(&child));
            child.start_kill().unwrap();
            child.kill().await.unwrap();
            assert_eq!(child.wait().await.unwrap().code(), Some(4));
        });
    });
}

#[test]
fn signal_is_handled_by_the_child() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut command = way.shell("trap 'echo usr1' USR1; echo ready; read line; read line");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            assert_eq!(line(&child).await, "ready");
            child.signal(SignalKind::user_defined1()).unwrap();
            // A shell runs a trap when the command that it waits for has ended.
            child
                .stdin
                .as_ref()
                .unwrap()
                .write_all(b"\n")
                .await
                .unwrap();
            assert_eq!(line(&child).await, "usr1");
            child.wait().await.unwrap();
            let child = way.cat();
            let error = child.signal(SignalKind::from_raw(1_000_000)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn signal_group_reaches_what_the_child_has_started() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut command = way.shell("sleep 1000 & sleep 1000 & echo ready; wait");
            command.stdout(Stdio::piped()).process_group(0);
            let mut child = command.spawn().unwrap();
            assert_eq!(line(&child).await, "ready");
            child.signal_group(SignalKind::terminate()).unwrap();
            // The output ends when none of the three has it open.
            let output = child.stdout.take().unwrap();
            assert_eq!(output.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(child.wait().await.unwrap().signal(), Some(libc::SIGTERM));
            let reaped = child.signal_group(SignalKind::terminate()).unwrap_err();
            assert_eq!(reaped.kind(), ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn signal_group_of_a_child_without_a_group_is_an_error() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut child = way.cat();
            let error = child.signal_group(SignalKind::from_raw(libc::SIGKILL));
            assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
            assert!(child.wait().await.unwrap().success());
        });
    });
}
