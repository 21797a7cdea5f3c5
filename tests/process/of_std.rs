//! Pipes and Unix sockets of child processes that `std` starts. They are not tested beside those of
//! `tests/pipes` and `tests/unix`: a new child has copies of all descriptors until it runs its
//! program, so for a moment an end that another test has closed is still open.

use super::support::{on_every_backend, wait};
use reveille::net::UnixStream;
use reveille::net::pipe::{Receiver, Sender, pipe};
use reveille::{spawn, spawn_blocking, yield_now};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

fn shell(script: &str) -> Child {
    Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn read_to_end(receiver: Receiver) -> Vec<u8> {
    let mut all = Vec::new();
    while receiver.read_buf(&mut all).await.unwrap() != 0 {}
    all
}

#[test]
fn input_and_outputs_of_a_child() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut child = shell("cat; echo done >&2");
            let input = Sender::try_from(child.stdin.take().unwrap()).unwrap();
            let output = Receiver::try_from(child.stdout.take().unwrap()).unwrap();
            let errors = Receiver::try_from(child.stderr.take().unwrap()).unwrap();
            let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
            let writer = spawn({
                let sent = sent.clone();
                async move { input.write_all(&sent).await }
            });
            let errors = spawn(read_to_end(errors));
            assert!(read_to_end(output).await == sent);
            writer.await.unwrap().unwrap();
            assert_eq!(errors.await.unwrap(), b"done\n");
            assert!(child.wait().unwrap().success());
        });
    });
}

#[test]
fn child_that_reads_nothing_breaks_the_pipe() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut child = shell("exec <&-; echo closed; exec sleep 1000");
            let input = Sender::try_from(child.stdin.take().unwrap()).unwrap();
            let output = Receiver::try_from(child.stdout.take().unwrap()).unwrap();
            let writer = spawn(async move { input.write_all(&[0; 1 << 20]).await });
            let mut buf = [0; 7];
            output.read_exact(&mut buf).await.unwrap();
            let error = writer.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            child.kill().unwrap();
            assert_eq!(output.read(&mut buf).await.unwrap(), 0);
            child.wait().unwrap();
        });
    });
}

#[test]
fn output_of_a_child_is_read_on_another_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut child = shell("read line; echo got $line");
            let input = Sender::try_from(child.stdin.take().unwrap()).unwrap();
            let output = Receiver::try_from(child.stdout.take().unwrap()).unwrap();
            let reader = spawn_blocking(move || wait(read_to_end(output)));
            input.write_all(b"it\n").await.unwrap();
            assert_eq!(reader.await.unwrap(), b"got it\n");
            child.wait().unwrap();
        });
    });
}

#[test]
fn ends_of_a_pipe_become_files_of_a_child() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, theirs) = pipe().unwrap();
            let (output, receiver) = pipe().unwrap();
            let mut child = Command::new("cat")
                .stdin(theirs.into_blocking_fd().unwrap())
                .stdout(output.into_blocking_fd().unwrap())
                .spawn()
                .unwrap();
            sender.write_all(b"hello").await.unwrap();
            drop(sender);
            assert_eq!(read_to_end(receiver).await, b"hello");
            assert!(child.wait().unwrap().success());
        });
    });
}

/// A child has one end as its standard input, and is killed while it waits for more.
#[test]
fn peer_that_is_killed_ends_the_stream() {
    on_every_backend(|runtime| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut child = Command::new("cat")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        runtime.block_on(async {
            let ours = UnixStream::from_std(ours).unwrap();
            ours.write_all(b"hello").await.unwrap();
            let mut hello = [0; 5];
            child.stdout.take().unwrap().read_exact(&mut hello).unwrap();
            let ours = Rc::new(ours);
            let reader = ours.clone();
            let reader = spawn(async move { reader.read(&mut [0; 4]).await });
            yield_now().await;
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(reader.await.unwrap().unwrap(), 0);
            let error = ours.write(b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
    });
}
