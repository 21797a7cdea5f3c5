//! Bytes through pipes: between tasks, between threads, in small and large blocks.

use super::support::{Random, on_every_backend, raise_descriptor_limit, wait};
use super::{fill, joined};
use reveille::net::pipe::{Receiver, Sender, pipe};
use reveille::{spawn, yield_now};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::rc::Rc;
use std::thread;

/// The number of bytes that each transfer moves.
const LEN: usize = 3 << 20;

/// The byte at one place of a transfer.
fn byte(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Writes blocks of random length, some of them vectored.
async fn write(sender: Sender, seed: u64) {
    let bytes: Vec<u8> = (0..LEN).map(byte).collect();
    let (mut random, mut rest) = (Random(seed), &bytes[..]);
    while !rest.is_empty() {
        let len = (random.next() % 100_000 + 1) as usize;
        let block = &rest[..len.min(rest.len())];
        let written = match random.next() % 4 {
            0 => {
                let (one, two) = block.split_at(block.len() / 3);
                let parts = [IoSlice::new(&[]), IoSlice::new(one), IoSlice::new(two)];
                sender.write_vectored(&parts).await.unwrap()
            }
            1 => sender.write(block).await.unwrap(),
            2 => {
                sender.writable().await.unwrap();
                match sender.try_write(block) {
                    Ok(written) => written,
                    Err(error) => panic!("{error}, although the pipe is writable"),
                }
            }
            _ => {
                sender.write_all(block).await.unwrap();
                block.len()
            }
        };
        rest = &rest[written..];
    }
}

/// Reads up to the end in various ways, and checks every byte.
async fn read(receiver: Receiver, seed: u64) {
    let (mut random, mut at) = (Random(seed), 0);
    loop {
        let len = (random.next() % 100_000 + 1) as usize;
        let mut buf = Vec::new();
        match random.next() % 4 {
            0 => {
                let (mut one, mut two) = (vec![0; len / 3], vec![0; len]);
                let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
                let read = receiver.read_vectored(&mut parts).await.unwrap();
                buf.extend_from_slice(&one);
                buf.extend_from_slice(&two);
                buf.truncate(read);
            }
            1 => {
                buf.resize(len, 0);
                let read = receiver.read(&mut buf).await.unwrap();
                buf.truncate(read);
            }
            2 => {
                receiver.readable().await.unwrap();
                buf.resize(len, 0);
                let read = receiver.try_read(&mut buf).unwrap();
                buf.truncate(read);
            }
            _ => {
                buf.reserve(len);
                receiver.read_buf(&mut buf).await.unwrap();
            }
        }
        if buf.is_empty() {
            break;
        }
        for found in buf {
            assert_eq!(found, byte(at), "at {at}");
            at += 1;
        }
    }
    assert_eq!(at, LEN);
}

#[test]
fn bytes_arrive_between_two_tasks() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for seed in 1..3 {
                let (sender, receiver) = pipe().unwrap();
                receiver.set_short_read_hint(seed % 2 == 0);
                let writer = spawn(write(sender, seed));
                read(receiver, seed + 10).await;
                writer.await.unwrap();
            }
        });
    });
}

#[test]
fn bytes_arrive_with_either_end_on_another_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            let foreign = thread::spawn(move || wait(write(sender, 3)));
            read(receiver, 4).await;
            joined(foreign).await;

            let (sender, receiver) = pipe().unwrap();
            let foreign = thread::spawn(move || wait(read(receiver, 5)));
            write(sender, 6).await;
            joined(foreign).await;

            let (sender, receiver) = pipe().unwrap();
            let writer = thread::spawn(move || wait(write(sender, 7)));
            let reader = thread::spawn(move || wait(read(receiver, 8)));
            joined(writer).await;
            joined(reader).await;
        });
    });
}

#[test]
fn writes_wait_while_the_pipe_is_full() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            sender.writable().await.unwrap();
            let filled = fill(&sender);
            let sender = Rc::new(sender);
            let writer = spawn({
                let sender = sender.clone();
                async move { sender.write_all(b"the rest").await }
            });
            let waiter = spawn({
                let sender = sender.clone();
                async move { sender.writable().await }
            });
            for _ in 0..3 {
                yield_now().await;
            }
            assert!(!writer.is_finished() && !waiter.is_finished());

            let mut all = vec![0; filled + 8];
            receiver.read_exact(&mut all).await.unwrap();
            assert_eq!(&all[filled..], b"the rest");
            writer.await.unwrap().unwrap();
            waiter.await.unwrap().unwrap();
            let nothing = receiver.try_read(&mut [0]).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        });
    });
}

#[test]
fn small_writes_of_many_tasks_are_not_torn() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = pipe().unwrap();
            let sender = Rc::new(sender);
            for writer in 0..8_u8 {
                let sender = sender.clone();
                drop(spawn(async move {
                    for len in 1..100 {
                        // Less than PIPE_BUF: all or nothing.
                        let mut message = vec![writer; 500 + len];
                        message[..2].copy_from_slice(&(len as u16).to_ne_bytes());
                        assert_eq!(sender.write(&message).await.unwrap(), message.len());
                    }
                }));
            }
            drop(sender);
            let mut count = 0;
            let mut head = [0; 500];
            while receiver.read(&mut head[..1]).await.unwrap() != 0 {
                receiver.read_exact(&mut head[1..]).await.unwrap();
                let len = u16::from_ne_bytes([head[0], head[1]]);
                let mut tail = vec![0; len.into()];
                receiver.read_exact(&mut tail).await.unwrap();
                let mut message = head[2..].iter().chain(&tail);
                assert!(message.all(|byte| *byte == head[2]));
                count += 1;
            }
            assert_eq!(count, 8 * 99);
        });
    });
}

#[test]
fn thousands_of_pipes_work_at_once() {
    raise_descriptor_limit();
    on_every_backend(|runtime| {
        // Select can watch no number above 1023.
        let count = match runtime.backend_name() {
            "select" => 400,
            _ => 2000,
        };
        runtime.block_on(async {
            let (mut senders, mut readers) = (Vec::new(), Vec::new());
            for at in 0..count {
                let (sender, receiver) = match pipe() {
                    Ok(ends) => ends,
                    // The host allows no more open files.
                    Err(error) if error.raw_os_error() == Some(libc::EMFILE) => break,
                    Err(error) => panic!("{error} at {at}"),
                };
                senders.push(sender);
                readers.push(spawn(async move {
                    let mut all = Vec::new();
                    while receiver.read_buf(&mut all).await.unwrap() != 0 {}
                    all
                }));
            }
            assert!(senders.len() >= 300, "{} pipes", senders.len());
            for (at, sender) in senders.iter().enumerate().rev() {
                sender.write_all(&at.to_ne_bytes()).await.unwrap();
            }
            yield_now().await;
            for (at, sender) in senders.iter().enumerate() {
                sender.write_all(&at.to_ne_bytes()).await.unwrap();
            }
            drop(senders);
            for (at, reader) in readers.into_iter().enumerate() {
                let number = at.to_ne_bytes();
                assert_eq!(reader.await.unwrap(), [number, number].concat());
            }
        });
    });
}
