//! Crates on the traits of `futures-io`, and crates that need no runtime: `asynchronous-codec`,
//! `async-tungstenite`, `async-channel`, `async-lock`, `blocking`. Also the frames of tokio-util.

#[path = "../../support/mod.rs"]
mod support;

use async_lock::{Mutex, Semaphore};
use async_tungstenite::tungstenite::Message;
use async_tungstenite::{accept_async, client_async};
use asynchronous_codec::{Framed, LengthCodec};
use futures::{SinkExt, StreamExt};
use hyper::body::Bytes;
use reveille::time::{Duration, sleep};
use std::rc::Rc;
use std::sync::Arc;
use support::{Random, on_every_backend, pair};
use tokio_util::codec::LengthDelimitedCodec;

/// The lengths of the frames that are sent: none, some, and more than a socket's buffer.
const LENS: [usize; 6] = [0, 1, 100, 9000, 70_000, 3_000_000];

#[test]
fn asynchronous_codec_transports_frames() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let echo = reveille::spawn(async move {
                let mut frames = Framed::new(server, LengthCodec);
                while let Some(frame) = frames.next().await {
                    frames.send(frame.unwrap()).await.unwrap();
                }
            });
            let mut frames = Framed::new(client, LengthCodec);
            for len in LENS {
                let frame = Bytes::from(Random(len as u64 + 1).bytes(len));
                frames.send(frame.clone()).await.unwrap();
                assert!(frames.next().await.unwrap().unwrap() == frame, "{len}");
            }
            drop(frames);
            echo.await.unwrap();
        });
    });
}

#[test]
fn tokio_util_transports_frames_with_a_length() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let echo = reveille::spawn(async move {
                let mut frames = LengthDelimitedCodec::builder().new_framed(server);
                while let Some(frame) = frames.next().await {
                    frames.send(frame.unwrap().freeze()).await.unwrap();
                }
            });
            let mut frames = LengthDelimitedCodec::builder().new_framed(client);
            for len in LENS {
                let frame = Bytes::from(Random(len as u64 + 1).bytes(len));
                frames.send(frame.clone()).await.unwrap();
                assert!(frames.next().await.unwrap().unwrap() == frame, "{len}");
            }
            drop(frames);
            echo.await.unwrap();
        });
    });
}

#[test]
fn async_tungstenite_echoes_messages_and_closes() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let echo = reveille::spawn(async move {
                let mut socket = accept_async(server).await.unwrap();
                // It goes on after the close message: the next read sends the answer to it.
                while let Some(message) = socket.next().await {
                    let message = message.unwrap();
                    if !message.is_close() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
            let (mut socket, _) = client_async("ws://localhost/", client).await.unwrap();
            for len in LENS {
                let message = Message::text("x".repeat(len));
                socket.send(message.clone()).await.unwrap();
                assert!(socket.next().await.unwrap().unwrap() == message, "{len}");
            }
            socket.close(None).await.unwrap();
            while let Some(message) = socket.next().await {
                assert!(message.unwrap().is_close());
            }
            echo.await.unwrap();
        });
    });
}

#[test]
fn async_channel_wakes_senders_and_receivers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (sender, receiver) = async_channel::bounded(3);
            let from_here = sender.clone();
            let here = reveille::spawn(async move {
                for number in 0..1000_u64 {
                    from_here.send(number).await.unwrap();
                }
            });
            let there = std::thread::spawn(move || {
                for number in 0..1000_u64 {
                    sender.send_blocking(number).unwrap();
                }
            });
            let mut sum = 0;
            while let Ok(number) = receiver.recv().await {
                sum += number;
            }
            assert_eq!(sum, 1000 * 999);
            here.await.unwrap();
            there.join().unwrap();
        });
    });
}

#[test]
fn async_lock_lets_one_task_in_at_a_time() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (mutex, permits) = (Rc::new(Mutex::new(0)), Arc::new(Semaphore::new(2)));
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    let (mutex, permits) = (mutex.clone(), permits.clone());
                    reveille::spawn(async move {
                        let _permit = permits.acquire_arc().await;
                        let mut value = mutex.lock().await;
                        let before = *value;
                        sleep(Duration::from_micros(50)).await;
                        *value = before + 1;
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*mutex.lock().await, 20);
        });
    });
}

#[test]
fn blocking_runs_closures_on_its_own_threads() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let here = std::thread::current().id();
            let there = blocking::unblock(|| std::thread::current().id()).await;
            assert_ne!(here, there);
            let lines = blocking::Unblock::new(&b"one\ntwo\n"[..]);
            let lines = futures::io::BufReader::new(lines);
            let lines: Vec<_> = futures::io::AsyncBufReadExt::lines(lines)
                .map(|line| line.unwrap())
                .collect()
                .await;
            assert_eq!(lines, ["one", "two"]);
        });
    });
}
