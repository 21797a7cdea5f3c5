//! Accepted connections that no task has waited for: the mechanism does not know them yet.

use super::*;
use reveille::io::AsyncFd;

/// A connection with `sent` in it, accepted with nothing but its listener in the record.
async fn accepted(record: &Record, sent: &[u8]) -> (std::net::TcpStream, TcpStream) {
    let (mut peer, stream) = std_pair().await;
    peer.set_nodelay(true).unwrap();
    peer.write_all(sent).unwrap();
    if !sent.is_empty() {
        support::arrived(&duplicate(number_of(&stream)));
    }
    record.calls();
    (peer, stream)
}

/// Polls a future once; it must be ready.
async fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    match polled {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn connection_served_without_a_wait_is_never_registered() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = accepted(record, b"request").await;
            let mut buf = [0; 16];
            assert_eq!(at_once(stream.read(&mut buf)).await.unwrap(), 7);
            assert_eq!(at_once(stream.write(b"answer")).await.unwrap(), 6);
            drop(stream);
            assert_eq!(record.calls(), []);
            assert_eq!(peer.read(&mut buf).unwrap(), 6);
            assert_eq!(peer.read(&mut buf).unwrap(), 0);

            // Nor one that leaves the crate.
            let (_peer, stream) = accepted(record, b"").await;
            stream.into_std().unwrap();
            assert_eq!(record.calls(), []);
        });
    });
}

#[test]
fn first_wait_registers_a_connection() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = accepted(record, b"1").await;
            let number = number_of(&stream);
            let mut buf = [0; 16];
            assert_eq!(at_once(stream.read(&mut buf)).await.unwrap(), 1);
            {
                let mut reading = pin!(stream.read(&mut buf));
                waits(reading.as_mut()).await;
                assert_eq!(record.calls(), [Call::Add(number)]);
                peer.write_all(b"23").unwrap();
                assert_eq!(reading.await.unwrap(), 2);
            }
            drop(peer);
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            drop(stream);
            assert_eq!(record.calls(), forgotten(runtime, number));
        });
    });
}

/// What came between the last read and the first wait is found, also the end of the stream.
#[test]
fn what_came_before_the_first_wait_is_found() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = accepted(record, b"1").await;
            let mut buf = [0; 16];
            assert_eq!(at_once(stream.read(&mut buf)).await.unwrap(), 1);
            peer.write_all(b"23").unwrap();
            support::arrived(&duplicate(number_of(&stream)));
            assert_eq!(stream.read(&mut buf).await.unwrap(), 2);

            let (peer, stream) = accepted(record, b"1").await;
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(at_once(stream.read(&mut buf)).await.unwrap(), 1);
            assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
            let (peer, stream) = accepted(record, b"").await;
            drop(peer);
            if let Err(error) = stream.read_closed().await {
                assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
            }
        });
    });
}

/// A stream counts as readable only if it is, though its first read does not wait.
#[test]
fn readable_waits_on_a_connection_without_data() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = accepted(record, b"").await;
            {
                let mut readable = pin!(stream.readable());
                waits(readable.as_mut()).await;
                peer.write_all(b"x").unwrap();
                readable.await.unwrap();
            }
            assert_eq!(at_once(stream.read(&mut [0; 2])).await.unwrap(), 1);
        });
    });
}

/// Another thread waits first.
#[test]
fn another_thread_waits_for_a_connection() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = accepted(record, b"").await;
            let number = number_of(&stream);
            let (began, begins) = std::sync::mpsc::channel();
            let reader = std::thread::spawn(move || {
                let read = reveille::Runtime::new().unwrap().block_on(async {
                    let mut buf = [0; 4];
                    let mut reading = pin!(stream.read(&mut buf));
                    waits(reading.as_mut()).await;
                    began.send(()).unwrap();
                    reading.await
                });
                read.unwrap()
            });
            begins.recv().unwrap();
            wait_a_while().await;
            assert_eq!(record.calls(), [Call::Add(number)]);
            peer.write_all(b"x").unwrap();
            while !reader.is_finished() {
                wait_a_while().await;
            }
            assert_eq!(reader.join().unwrap(), 1);
        });
    });
}

/// The same number is registered before the first wait, which says so.
#[test]
fn first_wait_of_a_registered_number_fails() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = accepted(record, b"").await;
            let mut buf = [0; 4];
            {
                let other = AsyncFd::new(stream.as_fd()).unwrap();
                let error = stream.read(&mut buf).await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
                peer.write_all(b"x").unwrap();
                other.readable().await.unwrap().clear_ready();
            }
            assert_eq!(stream.read(&mut buf).await.unwrap(), 1);
            {
                let mut reading = pin!(stream.read(&mut buf));
                waits(reading.as_mut()).await;
                peer.write_all(b"23").unwrap();
                assert_eq!(reading.await.unwrap(), 2);
            }
        });
    });
}

#[test]
fn first_wait_may_be_for_room() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = accepted(record, b"").await;
            let number = number_of(&stream);
            let chunk = [0; 1 << 16];
            let mut sent = 0;
            let write = || poll_fn(|cx| Poll::Ready(stream.poll_write(cx, &chunk)));
            while let Poll::Ready(count) = write().await {
                sent += count.unwrap();
                // The next write begins with a whole budget.
                reveille::task::yield_now().await;
            }
            assert_eq!(record.calls(), [Call::Add(number)]);
            let reader = std::thread::spawn(move || peer.read_to_end(&mut Vec::new()).unwrap());
            sent += stream.write(&chunk).await.unwrap();
            drop(stream);
            assert_eq!(reader.join().unwrap(), sent);
        });
    });
}
