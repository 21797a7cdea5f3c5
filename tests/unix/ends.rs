//! How streams end: half-close, close, a reset, halves, a peer in another process that vanishes.

use super::support::on_every_backend;
use super::{pair, read_to_end};
use reveille::net::{OwnedReadHalf, UnixStream, kind::Unix};
use reveille::{spawn, yield_now};
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::rc::Rc;

#[test]
fn half_close_leaves_the_other_side_open() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            near.write_all(b"last words").await.unwrap();
            near.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&far).await.unwrap(), b"last words");
            for _ in 0..3 {
                far.write_all(b"answer").await.unwrap();
                let mut buf = [0; 6];
                near.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"answer");
            }
            let error = near.write(b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            // Twice, because the end lasts.
            drop(far);
            assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 0);
            assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 0);
        });
    });
}

#[test]
fn ends_wake_waiting_readers_and_writers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let far = Rc::new(far);
            let (reader, writer) = (far.clone(), far.clone());
            let reader = spawn(async move { reader.read(&mut [0; 4]).await });
            let writer = spawn(async move {
                loop {
                    if let Err(error) = writer.write(&[0; 1 << 16]).await {
                        return error;
                    }
                }
            });
            for _ in 0..3 {
                yield_now().await;
            }
            drop(near);
            // Linux reports the unread bytes to the reader or the writer, whichever comes first.
            match reader.await.unwrap() {
                Ok(n) => assert_eq!(n, 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
            let kind = writer.await.unwrap().kind();
            let expected = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(expected.contains(&kind), "{kind}");
        });
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn close_with_unread_bytes_resets_after_the_data() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            far.write_all(b"never read").await.unwrap();
            near.write_all(b"all of this").await.unwrap();
            drop(near);
            let mut got = Vec::new();
            let error = loop {
                match far.read_buf(&mut got).await {
                    Ok(n) => assert_ne!(n, 0, "the reset comes before the end"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert_eq!(got, b"all of this");
            assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 0);
            let error = far.write(b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn write_half_ends_the_stream_unless_it_is_forgotten_or_reunited() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let (read, write) = near.into_split();
            let near: UnixStream = read.reunite(write).unwrap();
            let (read, write) = near.into_split();
            let (_, other) = pair().0.into_split();
            let error = read.reunite(other).unwrap_err();
            let read: OwnedReadHalf<Unix> = error.0;
            drop(error.1);
            write.write_all(b"x").await.unwrap();
            assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 1);
            drop(write);
            assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 0);
            far.write_all(b"still").await.unwrap();
            assert_eq!(read.read(&mut [0; 8]).await.unwrap(), 5);

            let (near, far) = pair();
            let (read, write) = near.into_split();
            write.forget();
            read.stream().write_all(b"x").await.unwrap();
            assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 1);
            drop(read);
            assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 0);
        });
    });
}

#[test]
fn write_to_a_closed_peer_is_an_error_and_no_signal() {
    on_every_backend(|runtime| {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        runtime.block_on(async {
            let ours = UnixStream::from_std(ours).unwrap();
            theirs.write_all(b"bytes").unwrap();
            drop(theirs);
            let error = ours.write_all(b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            let error = ours.send_with_fds(b"x", &[]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert_eq!(read_to_end(&ours).await.unwrap(), b"bytes");
        });
    });
}
