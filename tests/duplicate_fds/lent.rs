//! Duplicates that were made through `as_fd` or `as_raw_fd`, and sockets whose descriptor never
//! left the crate.

use super::*;
use reveille::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread;

#[test]
fn close_without_a_duplicate_costs_no_removal() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (peer, stream) = fresh(record).await;
            let number = number_of(&stream);
            // No call of the stream here lends the descriptor.
            stream.set_nodelay(true).unwrap();
            stream.local_addr().unwrap();
            stream.writable().await.unwrap();
            stream.try_write(b"x").unwrap();
            let _ = stream.try_read(&mut [0]);
            let (read, write) = stream.into_split();
            drop(read.reunite(write).unwrap());
            assert_eq!(record.calls(), forgotten(runtime, number));
            drop(peer);

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let number = number_of(&listener);
            record.calls();
            drop(listener);
            assert_eq!(record.calls(), forgotten(runtime, number));
        });
    });
}

#[test]
fn as_fd_and_as_raw_fd_lend_the_descriptor() {
    on_every_mechanism(|runtime, record| {
        let lends: [fn(&TcpStream); 2] = [
            |stream| {
                stream.as_fd();
            },
            |stream| {
                stream.as_raw_fd();
            },
        ];
        for lend in lends {
            runtime.block_on(async {
                let (_peer, stream) = fresh(record).await;
                let number = number_of(&stream);
                lend(&stream);
                drop(stream);
                assert_eq!(record.calls(), removed(number));

                // Before it was taken apart.
                let (_peer, stream) = fresh(record).await;
                let number = number_of(&stream);
                lend(&stream);
                drop(stream.into_split());
                assert_eq!(record.calls(), removed(number));
            });
        }
        let lends: [fn(&TcpListener); 2] = [
            |listener| {
                listener.as_fd();
            },
            |listener| {
                listener.as_raw_fd();
            },
        ];
        for lend in lends {
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let number = number_of(&listener);
                lend(&listener);
                record.calls();
                drop(listener);
                assert_eq!(record.calls(), removed(number));
            });
        }
    });
}

#[test]
fn into_std_removes_the_registration() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = fresh(record).await;
            let number = number_of(&stream);
            let stream = stream.into_std().unwrap();
            assert_eq!(record.calls(), removed(number));
            send(&mut peer, &stream.into());
            wait_a_while().await;
            assert_eq!(record.events(), 0);
        });
    });
}

#[test]
fn clone_of_the_descriptor_does_not_wake_the_loop() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (other_peer, other) = plain_pair();
            let (mut peer, stream) = fresh(record).await;
            let number = number_of(&stream);
            let kept = stream.as_fd().try_clone_to_owned().unwrap();
            drop(stream);
            send(&mut peer, &kept);
            wait_a_while().await;
            assert_eq!(record.events(), 0);

            // The number is free for another file, which gets no event of the old one.
            let other = put_under(number, other.as_fd());
            let serving = serves(other_peer, other);
            peer.write_all(b"x").unwrap();
            serving.await;
            // And for the old one.
            assert_eq!(take(&kept), PACKETS + 1);
            let back = put_under(number, kept.as_fd());
            serves(peer, back).await;
        });
    });
}

#[test]
fn stream_that_was_lent_is_removed_when_another_thread_drops_it() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            for lent in [false, true] {
                let (mut peer, stream) = fresh(record).await;
                let number = number_of(&stream);
                let kept = thread::spawn(move || {
                    lent.then(|| stream.as_fd().try_clone_to_owned().unwrap())
                })
                .join()
                .unwrap();
                wait_a_while().await;
                let expected = match lent {
                    true => removed(number),
                    false => forgotten(runtime, number),
                };
                assert_eq!(record.calls(), expected);
                // The wait before the removal may have reported that the new stream is writable.
                record.events();
                if let Some(kept) = kept {
                    send(&mut peer, &kept);
                }
                wait_a_while().await;
                assert_eq!(record.events(), 0);
            }
        });
    });
}

/// Sends a descriptor over a socket, or receives one.
fn pass(socket: &UnixStream, fd: Option<RawFd>) -> Option<OwnedFd> {
    // SAFETY: every pointer is to a local that outlives the calls. The control buffer has room for
    // one header with one fd. The received fd is ours.
    unsafe {
        let (mut byte, mut control) = (0u8, [0u64; 4]);
        let mut part = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut part, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        let Some(fd) = fd else {
            assert_eq!(libc::recvmsg(socket.as_raw_fd(), &mut message, 0), 1);
            let fd = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
            return Some(OwnedFd::from_raw_fd(fd));
        };
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        assert_eq!(libc::sendmsg(socket.as_raw_fd(), &message, 0), 1);
        None
    }
}

/// A stream is parked in the queue of a socket, held by no descriptor, and taken back, usually
/// under its old number.
#[test]
fn stream_sent_to_another_socket_comes_back() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = fresh(record).await;
            let (ours, keeper) = UnixStream::pair().unwrap();
            pass(&ours, Some(stream.as_raw_fd()));
            let number = number_of(&stream);
            drop(stream);
            assert_eq!(record.calls(), removed(number));
            peer.write_all(&[1; PACKETS]).unwrap();
            wait_a_while().await;
            assert_eq!(record.events(), 0);
            let back = pass(&keeper, None).unwrap();
            send_and_take(&mut peer, &back);
            serves(peer, back).await;
        });
    });
}

/// Reads what was sent before.
fn send_and_take(peer: &mut std::net::TcpStream, file: &OwnedFd) {
    peer.write_all(&[2]).unwrap();
    let mut reader = std::net::TcpStream::from(file.try_clone().unwrap());
    let mut byte = [0];
    while byte != [2] {
        support::arrived(&reader);
        assert_eq!(reader.read(&mut byte).unwrap(), 1);
    }
}

/// Another thread reads what comes to the socket that was given to it, as another process would.
#[test]
fn stream_given_to_another_thread_is_served_there() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = fresh(record).await;
            let (ours, theirs) = UnixStream::pair().unwrap();
            let server = thread::spawn(move || {
                let mut stream = std::net::TcpStream::from(pass(&theirs, None).unwrap());
                let mut bytes = [0; PACKETS];
                let mut read = 0;
                while read < PACKETS {
                    support::arrived(&stream);
                    read += stream.read(&mut bytes[read..]).unwrap();
                }
                stream.write_all(b"done").unwrap();
            });
            pass(&ours, Some(stream.as_raw_fd()));
            drop(stream);
            for _ in 0..PACKETS {
                peer.write_all(b"x").unwrap();
            }
            wait_a_while().await;
            let mut done = [0; 4];
            peer.read_exact(&mut done).unwrap();
            // No descriptor of this process refers to it any more.
            assert_eq!(peer.read(&mut done).unwrap(), 0);
            server.join().unwrap();
            assert_eq!(record.events(), 0);
        });
    });
}
