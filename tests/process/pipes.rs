//! The pipes of children.

use super::on_every_way;
use reveille::net::pipe::pipe;
use reveille::spawn;
use std::process::Stdio;

/// A script that writes two megabytes to each output, more than a pipe holds.
fn writes(first: &str, second: &str) -> String {
    format!("head -c 2000000 /dev/zero {first}; head -c 2000000 /dev/zero {second}")
}

#[test]
fn wait_with_output_reads_both_outputs_at_once() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            for (first, second) in [("", ">&2"), (">&2", "")] {
                let output = way.shell(&writes(first, second)).output().await.unwrap();
                assert!(output.status.success());
                assert_eq!(output.stdout.len(), 2_000_000);
                assert_eq!(output.stderr.len(), 2_000_000);
            }
        });
    });
}

#[test]
fn wait_with_output_closes_the_input() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut command = way.shell("cat; echo end");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let child = command.spawn().unwrap();
            let input = child.stdin.as_ref().unwrap();
            input.write_all(b"begin ").await.unwrap();
            let output = child.wait_with_output().await.unwrap();
            assert_eq!(output.stdout, b"begin end\n");
            assert!(output.stderr.is_empty());
        });
    });
}

#[test]
fn wait_with_output_waits_for_all_that_hold_the_pipe() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            // The process in the background ends after the shell, when this test lets it. It would
            // not have the shell's input without the 3.
            let mut command = way.shell("exec 3<&0; (read line; echo $line) <&3 & exit 3");
            let (sender, theirs) = pipe().unwrap();
            let theirs = theirs.into_blocking_fd().unwrap();
            command.stdin(theirs).stdout(Stdio::piped());
            let child = command.spawn().unwrap();
            drop(command);
            let output = spawn(child.wait_with_output());
            for _ in 0..20 {
                reveille::time::sleep(std::time::Duration::from_millis(1)).await;
                assert!(!output.is_finished());
            }
            sender.write_all(b"late\n").await.unwrap();
            let output = output.await.unwrap().unwrap();
            assert_eq!(output.status.code(), Some(3));
            assert_eq!(output.stdout, b"late\n");
        });
    });
}

#[test]
fn input_and_output_are_used_by_two_tasks() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut command = way.command("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
            let writer = spawn({
                let sent = sent.clone();
                async move { input.write_all(&sent).await }
            });
            let reader = spawn(async move {
                let mut all = Vec::new();
                while output.read_buf(&mut all).await.unwrap() != 0 {}
                all
            });
            assert!(child.wait().await.unwrap().success());
            writer.await.unwrap().unwrap();
            assert!(reader.await.unwrap() == sent);
        });
    });
}

#[test]
fn output_becomes_the_input_of_another_child() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut one = way
                .shell("echo hello")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output: Stdio = one.stdout.take().unwrap().try_into().unwrap();
            let mut two = way.command("tr");
            let two = two
                .args(["a-z", "A-Z"])
                .stdin(output)
                .output()
                .await
                .unwrap();
            assert_eq!(two.stdout, b"HELLO\n");
            assert!(one.wait().await.unwrap().success());
        });
    });
}

/// A program that reads or writes a stream in non-blocking mode fails with `EAGAIN`.
#[cfg(target_os = "linux")]
#[test]
fn streams_of_a_child_are_in_blocking_mode() {
    let is_blocking = |info: &[u8]| {
        let info = String::from_utf8(info.to_vec()).unwrap();
        let mut flags = info.lines().filter_map(|line| line.strip_prefix("flags:"));
        let flags = i32::from_str_radix(flags.next().unwrap().trim(), 8).unwrap();
        flags & libc::O_NONBLOCK == 0
    };
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            for number in [0, 1, 2] {
                // A process of its own would have another fd 1: the shell passes it on.
                let script = format!("cat /proc/self/fdinfo/{number}");
                let mut one = way.command("cat");
                one.stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut one = one.spawn().unwrap();
                let mut command = way.shell(&script);
                // Both kinds of pipes: new ones, and one that was registered here.
                command.stdin(Stdio::try_from(one.stdout.take().unwrap()).unwrap());
                let output = command.output().await.unwrap();
                assert!(is_blocking(&output.stdout), "{number}");
                one.wait().await.unwrap();
            }
        });
    });
}
