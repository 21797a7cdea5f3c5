//! Descriptors through a stream.

use super::support::{on_every_backend, poll_once, wait};
use super::{pair, read_to_end};
use reveille::net::UnixStream;
use reveille::spawn;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;

/// Reads once, and returns the bytes and the descriptors.
async fn receive(stream: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    let (mut buf, mut fds) = (vec![0; 1024], Vec::new());
    let n = stream.recv_with_fds(&mut buf, &mut fds).await.unwrap();
    buf.truncate(n);
    (buf, fds)
}

/// Whether nothing has the other end of this pipe any more.
fn is_closed(mut reader: &File) -> bool {
    match reader.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

/// A pipe whose reading end does not block.
fn pipe() -> (File, OwnedFd) {
    use std::os::fd::FromRawFd;
    let mut fds = [0; 2];
    // SAFETY: room for two numbers; the call has made both, and no other code knows them.
    let [reader, writer] = unsafe {
        assert_eq!(libc::pipe(fds.as_mut_ptr()), 0);
        fds.map(|fd| OwnedFd::from_raw_fd(fd))
    };
    reveille::io::set_nonblocking(&reader).unwrap();
    (reader.into(), writer)
}

#[test]
fn descriptors_are_of_the_same_files_in_order() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            for count in [0, 1, 2, 100, 252, 253] {
                let pipes: Vec<_> = (0..count).map(|_| pipe()).collect();
                let writers: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
                assert_eq!(near.send_with_fds(b"x", &writers).await.unwrap(), 1);
                let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
                drop(writers);
                let (bytes, fds) = receive(&far).await;
                assert_eq!((bytes.as_slice(), fds.len()), (&b"x"[..], count));
                for (number, fd) in fds.into_iter().enumerate() {
                    File::from(fd).write_all(&[number as u8]).unwrap();
                }
                for (number, mut reader) in readers.iter().enumerate() {
                    let mut byte = [0];
                    assert_eq!(reader.read(&mut byte).unwrap(), 1);
                    assert_eq!(byte, [number as u8]);
                    assert!(is_closed(reader));
                }
            }
        });
    });
}

#[test]
fn impossible_messages_are_refused() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let many = vec![near.as_fd(); 254];
            for (bytes, fds) in [(&b""[..], &many[..1]), (b"x", &many)] {
                let error = near.send_with_fds(bytes, fds).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                let error = near.try_send_with_fds(bytes, fds).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
            assert_eq!(near.send_with_fds(b"", &[]).await.unwrap(), 0);
            assert_eq!(near.try_send_with_fds(b"", &[]).unwrap(), 0);
            let mut fds = Vec::new();
            assert_eq!(far.recv_with_fds(&mut [], &mut fds).await.unwrap(), 0);
            let error = far.try_recv_with_fds(&mut [0; 4], &mut fds).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            drop(near);
            assert_eq!(far.recv_with_fds(&mut [0; 4], &mut fds).await.unwrap(), 0);
            assert!(fds.is_empty());
        });
    });
}

/// A read stops behind descriptors, and no later event reports what follows.
#[test]
fn bytes_behind_descriptors_are_read() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            // Some reads before change the trigger of the stream on epoll, and the call that reads.
            for (method, before) in (0..5).flat_map(|method| [(method, 0), (method, 20)]) {
                let (near, far) = pair();
                for _ in 0..before {
                    near.write_all(b"before").await.unwrap();
                    assert_eq!(far.read(&mut [0; 64]).await.unwrap(), 6);
                }
                let (reader, writer) = pipe();
                for bytes in [b"one", b"two"] {
                    near.write_all(bytes).await.unwrap();
                }
                near.send_with_fds(b"with", &[writer.as_fd()])
                    .await
                    .unwrap();
                near.write_all(b"behind").await.unwrap();
                near.send_with_fds(b"more", &[writer.as_fd(); 7])
                    .await
                    .unwrap();
                near.write_all(b"end").await.unwrap();
                drop(writer);

                let (mut all, mut fds) = (Vec::new(), Vec::new());
                while all.len() < b"onetwowithbehindmoreend".len() {
                    let mut buf = [0; 64];
                    let n = match method {
                        0 => far.read(&mut buf).await.unwrap(),
                        1 => {
                            let mut bufs = [std::io::IoSliceMut::new(&mut buf)];
                            far.read_vectored(&mut bufs).await.unwrap()
                        }
                        2 => far.recv_with_fds(&mut buf, &mut fds).await.unwrap(),
                        3 => {
                            far.readable().await.unwrap();
                            far.try_read(&mut buf).unwrap()
                        }
                        _ => {
                            far.read_buf(&mut all).await.unwrap();
                            continue;
                        }
                    };
                    all.extend_from_slice(&buf[..n]);
                }
                assert_eq!(all, b"onetwowithbehindmoreend", "method {method}");
                assert_eq!(fds.len(), if method == 2 { 8 } else { 0 });
                // The kernel has closed those that no read took.
                drop(fds);
                assert!(is_closed(&reader), "method {method}");
                // The stream still waits and wakes.
                let mut next = [0; 4];
                let mut more = pin!(far.read_exact(&mut next));
                assert!(poll_once(&mut more).await.is_pending());
                near.write_all(b"next").await.unwrap();
                more.await.unwrap();
            }
        });
    });
}

#[test]
fn long_message_passes_its_descriptors_once() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let (reader, writer) = pipe();
            let message: Vec<u8> = (0..1_000_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
            let expected = message.clone();
            let sender = spawn(async move {
                let sent = near
                    .send_with_fds(&message, &[writer.as_fd()])
                    .await
                    .unwrap();
                assert!(sent > 0);
                drop(writer);
                near.write_all(&message[sent..]).await.unwrap();
            });
            let (mut all, mut fds, mut buf) = (Vec::new(), Vec::new(), vec![0; 10_007]);
            loop {
                match far.recv_with_fds(&mut buf, &mut fds).await.unwrap() {
                    0 => break,
                    n => all.extend_from_slice(&buf[..n]),
                }
                // With the first bytes.
                assert_eq!(fds.len(), 1);
            }
            sender.await.unwrap();
            assert!(all == expected);
            assert!(!is_closed(&reader));
            drop(fds);
            assert!(is_closed(&reader));
        });
    });
}

#[test]
fn receiver_waits_and_a_dropped_one_takes_nothing() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let (reader, writer) = pipe();
            {
                let (mut buf, mut fds) = ([0; 8], Vec::new());
                let mut dropped = pin!(far.recv_with_fds(&mut buf, &mut fds));
                assert!(poll_once(&mut dropped).await.is_pending());
                near.send_with_fds(b"x", &[writer.as_fd()]).await.unwrap();
            }
            drop(writer);
            let (bytes, fds) = receive(&far).await;
            assert_eq!((bytes.as_slice(), fds.len()), (&b"x"[..], 1));
            drop(fds);
            assert!(is_closed(&reader));

            let far = Rc::new(far);
            let waiter = far.clone();
            let waiter = spawn(async move { receive(&waiter).await });
            reveille::yield_now().await;
            near.send_with_fds(b"y", &[near.as_fd()]).await.unwrap();
            let (bytes, fds) = waiter.await.unwrap();
            assert_eq!((bytes.as_slice(), fds.len()), (&b"y"[..], 1));
        });
    });
}

#[test]
fn sender_waits_for_room_and_a_dropped_one_sends_nothing() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let (reader, writer) = pipe();
            let mut sent = 0;
            while let Ok(n) = near.try_write(&[0; 1 << 14]) {
                sent += n;
            }
            while let Ok(n) = near.try_write(&[0]) {
                sent += n;
            }
            let ours = writer.try_clone().unwrap();
            let fds = [ours.as_fd()];
            assert_eq!(
                near.try_send_with_fds(b"x", &fds).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            {
                let mut dropped = pin!(near.send_with_fds(b"x", &fds));
                assert!(poll_once(&mut dropped).await.is_pending());
            }
            let mut send = pin!(near.send_with_fds(b"y", &fds));
            assert!(poll_once(&mut send).await.is_pending());
            let mut buf = vec![0; sent];
            far.read_exact(&mut buf).await.unwrap();
            assert_eq!(send.await.unwrap(), 1);
            drop(writer);
            let (bytes, received) = receive(&far).await;
            assert_eq!((bytes.as_slice(), received.len()), (&b"y"[..], 1));
            drop(received);
            assert!(!is_closed(&reader), "only ours is left");
        });
    });
}

/// Descriptors on their way are closed with the stream.
#[test]
fn descriptors_that_nobody_receives_are_closed() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let (reader, writer) = pipe();
            near.send_with_fds(b"x", &[writer.as_fd(); 9])
                .await
                .unwrap();
            drop(writer);
            assert!(!is_closed(&reader));
            drop((near, far));
            assert!(is_closed(&reader));
        });
    });
}

#[test]
fn another_thread_sends_and_receives() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let (reader, writer) = pipe();
            let thread = std::thread::spawn(move || {
                wait(async {
                    for _ in 0..20 {
                        let (bytes, fds) = receive(&far).await;
                        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                        assert_eq!((bytes.as_slice(), fds.len()), (&b"ping"[..], 3));
                        far.send_with_fds(b"pong", &fds).await.unwrap();
                    }
                    assert_eq!(read_to_end(&far).await.unwrap(), b"");
                });
            });
            let mut writers: Vec<_> = (0..3).map(|_| writer.try_clone().unwrap()).collect();
            drop(writer);
            for _ in 0..20 {
                let fds: Vec<BorrowedFd<'_>> = writers.iter().map(AsFd::as_fd).collect();
                near.send_with_fds(b"ping", &fds).await.unwrap();
                drop(std::mem::take(&mut writers));
                let (bytes, fds) = receive(&near).await;
                assert_eq!((bytes.as_slice(), fds.len()), (&b"pong"[..], 3));
                writers = fds;
            }
            drop(near);
            // The loop must run while the thread waits for the end.
            while !thread.is_finished() {
                reveille::time::sleep(reveille::time::Duration::from_millis(1)).await;
            }
            thread.join().unwrap();
            assert!(!is_closed(&reader));
            drop(writers);
            assert!(is_closed(&reader));
        });
    });
}

/// A stream that goes through a stream.
#[test]
fn passed_stream_works_in_another_registration() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let ((near, far), (client, server)) = (pair(), pair());
            near.send_with_fds(b"x", &[server.as_fd()]).await.unwrap();
            drop(server);
            let (_, mut fds) = receive(&far).await;
            let std = std::os::unix::net::UnixStream::from(fds.pop().unwrap());
            // The first registration is gone, although the file is open.
            let server = UnixStream::from_std(std).unwrap();
            client.write_all(b"hello").await.unwrap();
            let mut hello = [0; 5];
            server.read_exact(&mut hello).await.unwrap();
            drop(client);
            assert_eq!(server.read(&mut hello).await.unwrap(), 0);
        });
    });
}
