//! Whole runtimes on every mechanism: a seed chooses how the tasks of each connection read, write,
//! peek, wait, give up and end. Some run on another thread. Every byte must arrive in order, every
//! end after the last byte, and every task must end.
//!
//! `REVEILLE_MODEL_SEEDS=first..end` chooses other seeds than the few that always run.

mod support;

use reveille::backend::BackendKind;
use reveille::net::TcpStream;
use reveille::time::{Duration, sleep, timeout};
use reveille::{Builder, Runtime, spawn, yield_now};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use support::{Random, guarded, pair, seeds, wait};

const CONNECTIONS: u64 = 10;

/// Returns the byte at a position of a stream.
fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// Writes this number of bytes, and shuts the direction down.
async fn write(stream: Arc<TcpStream>, length: usize, seed: u64, is_local: bool) {
    let mut random = Random(seed | 1);
    let mut at = 0;
    while at < length {
        let most = (random.next() as usize % 30_000 + 1).min(length - at);
        let chunk: Vec<u8> = (at..at + most).map(byte).collect();
        at += match random.next() % 5 {
            0 => {
                stream.writable().await.unwrap();
                match stream.try_write(&chunk) {
                    Ok(count) => count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    Err(error) => panic!("{error}"),
                }
            }
            1 => {
                stream.write_all(&chunk).await.unwrap();
                most
            }
            2 if is_local => {
                // A write that was dropped has written nothing.
                let short = Duration::from_micros(random.next() % 200);
                let written = timeout(short, stream.write(&chunk)).await;
                written.map_or(0, |count| count.unwrap())
            }
            _ => stream.write(&chunk).await.unwrap(),
        };
        if is_local && random.next() % 8 == 0 {
            yield_now().await;
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Reads to the end and returns the number of bytes.
async fn read(stream: Arc<TcpStream>, seed: u64, is_local: bool) -> usize {
    let mut random = Random(seed | 1);
    let (mut at, mut buffer) = (0, vec![0; 40_000]);
    loop {
        let most = random.next() as usize % buffer.len() + 1;
        let buffer = &mut buffer[..most];
        let count = match random.next() % 6 {
            0 => {
                stream.readable().await.unwrap();
                match stream.try_read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    read => read.unwrap(),
                }
            }
            1 => {
                let count = stream.peek(buffer).await.unwrap();
                check(&buffer[..count], at);
                continue;
            }
            2 if is_local => {
                let short = Duration::from_micros(random.next() % 200);
                match timeout(short, stream.read(buffer)).await {
                    Ok(read) => read.unwrap(),
                    Err(_given_up) => continue,
                }
            }
            3 if is_local => {
                sleep(Duration::from_micros(random.next() % 100)).await;
                continue;
            }
            _ => stream.read(buffer).await.unwrap(),
        };
        check(&buffer[..count], at);
        at += count;
        if count == 0 {
            return at;
        }
    }
}

fn check(bytes: &[u8], at: usize) {
    let wrong = bytes
        .iter()
        .enumerate()
        .position(|(i, b)| *b != byte(at + i));
    assert_eq!(wrong, None, "at {at}");
}

/// Streams of bytes in both directions, each with a writer and a reader.
async fn converse(seed: u64) {
    let mut random = Random(seed | 1);
    let (client, server) = pair().await;
    let (client, server) = (Arc::new(client), Arc::new(server));
    let lengths = [
        random.next() as usize % 600_000,
        random.next() as usize % 3_000,
    ];
    let is_remote = random.next() % 3 == 0;
    let remote = is_remote.then(|| {
        let (stream, seed) = (server.clone(), random.next());
        thread::spawn(move || {
            wait(write(stream.clone(), lengths[1], seed, false));
            wait(read(stream, seed, false))
        })
    });
    let client_writer = spawn(write(client.clone(), lengths[0], random.next(), true));
    let reader = spawn(read(client.clone(), random.next(), true));
    // A second reader, which waits for the same end.
    let second = client.clone();
    let second = spawn(async move { second.readable().await.map(drop) });
    if remote.is_none() {
        let writer = spawn(write(server.clone(), lengths[1], random.next(), true));
        let count = read(server.clone(), random.next(), true).await;
        assert_eq!(count, lengths[0]);
        writer.await.unwrap();
    }
    client_writer.await.unwrap();
    assert_eq!(reader.await.unwrap(), lengths[1]);
    second.await.unwrap().unwrap();
    if let Some(remote) = remote {
        while !remote.is_finished() {
            sleep(Duration::from_micros(300)).await;
        }
        assert_eq!(remote.join().unwrap(), lengths[0]);
    }
}

/// One side stops reading in the middle. The others must not wait forever.
async fn break_off(seed: u64) {
    let (client, server) = pair().await;
    let (client, server) = (Arc::new(client), Arc::new(server));
    let waiting = client.clone();
    let waiting = spawn(async move { waiting.read(&mut [0; 1]).await.unwrap() });
    let writer = spawn(write(server, 100_000, seed, true));
    let count = waiting.await.unwrap();
    assert_eq!(count, 1);
    let other = client.clone();
    // Another reader waits, or has read, when this side ends. Data that arrives after both
    // directions have ended causes a reset, which that reader may receive.
    let other = spawn(async move {
        loop {
            match other.read(&mut [0; 512]).await.map_err(|e| e.kind()) {
                Ok(0) | Err(ErrorKind::ConnectionReset) => return,
                read => drop(read.unwrap()),
            }
        }
    });
    yield_now().await;
    writer.await.unwrap();
    client.shutdown(Shutdown::Both).ok();
    other.await.unwrap();
}

fn play(runtime: &Runtime, seed: u64) {
    runtime.block_on(async {
        let all: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let seed = (seed * 1000 + number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                spawn(async move {
                    converse(seed).await;
                    break_off(seed).await;
                })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
    });
}

/// Alternates between room for many events and for two, and with and without precise timers.
#[test]
fn streams_deliver_all_bytes_in_order_and_all_tasks_end() {
    for kind in BackendKind::ALL {
        for seed in seeds(1..4) {
            let capacity = if seed % 3 == 1 { 1024 } else { 2 };
            let builder = Builder::new().backend(kind).precise_timers(seed % 2 == 0);
            match builder.event_capacity(capacity).build() {
                Ok(runtime) => {
                    let what = format!("{kind} with seed {seed}");
                    guarded(&what, || play(&runtime, seed));
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => panic!("{kind}: {error}"),
            }
        }
    }
}
