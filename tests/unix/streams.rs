//! Bytes through Unix streams.

use super::support::{Random, on_every_backend, raise_descriptor_limit, wait};
use super::{Directory, pair, read_to_end};
use reveille::net::{UnixListener, UnixStream};
use reveille::{spawn, yield_now};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::thread;

async fn echo(stream: UnixStream, buf_len: usize) {
    let mut buf = vec![0; buf_len];
    loop {
        match stream.read(&mut buf).await.unwrap() {
            0 => return,
            n => stream.write_all(&buf[..n]).await.unwrap(),
        }
    }
}

#[test]
fn echo_returns_every_size_byte_for_byte() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            let mut random = Random(11);
            for (buf_len, message_len) in [(1, 100), (7, 5000), (4096, 4096), (70_000, 1_000_000)] {
                let client = UnixStream::connect(&path).await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                let server = spawn(echo(server, buf_len));
                let message = random.bytes(message_len);
                let (read, write) = client.into_split();
                let sent = message.clone();
                let writer = spawn(async move { write.write_all(&sent).await });
                let mut back = vec![0; message_len];
                read.read_exact(&mut back).await.unwrap();
                assert!(back == message, "{buf_len} {message_len}");
                writer.await.unwrap().unwrap();
                drop(read);
                server.await.unwrap();
            }
        });
    });
}

#[test]
fn read_of_a_full_and_of_a_partial_buffer_alternate() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let mut buf = [0; 4];
            for len in [4, 1, 8, 3, 4, 12, 2] {
                near.write_all(&vec![len as u8; len]).await.unwrap();
                let mut got = 0;
                while got < len {
                    got += far.read(&mut buf).await.unwrap();
                }
                assert_eq!(got, len);
            }
        });
    });
}

#[test]
fn pairs_by_the_thousand_are_served_by_one_loop() {
    raise_descriptor_limit();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            // `select` has 1024 on some systems.
            let count = if runtime.backend_name() == "select" {
                300
            } else {
                2000
            };
            let (near, far): (Vec<_>, Vec<_>) = (0..count).map(|_| pair()).unzip();
            let servers: Vec<_> = far.into_iter().map(|far| spawn(echo(far, 64))).collect();
            for round in 0..3_u8 {
                for (number, stream) in near.iter().enumerate() {
                    stream.write_all(&[round, number as u8]).await.unwrap();
                }
                for (number, stream) in near.iter().enumerate() {
                    let mut back = [0; 2];
                    stream.read_exact(&mut back).await.unwrap();
                    assert_eq!(back, [round, number as u8]);
                }
            }
            drop(near);
            for server in servers {
                server.await.unwrap();
            }
        });
    });
}

#[test]
fn write_waits_for_a_slow_reader() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let message = Random(5).bytes(1 << 20);
            let sent = message.clone();
            let writer = spawn(async move {
                let done = near.write_all(&sent).await;
                drop(near);
                done
            });
            let (mut got, mut buf) = (Vec::new(), vec![0; 3000]);
            loop {
                yield_now().await;
                match far.read(&mut buf).await.unwrap() {
                    0 => break,
                    n => got.extend_from_slice(&buf[..n]),
                }
            }
            writer.await.unwrap().unwrap();
            assert!(got == message);
        });
    });
}

#[test]
fn number_that_is_used_again_belongs_to_the_new_stream() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut again = 0;
            for round in 0..50_u8 {
                let (near, far) = pair();
                let far_fd = far.as_raw_fd();
                // An event of the first stream is on its way when its number is free.
                near.write_all(&[round]).await.unwrap();
                drop(far);
                let (new_near, new_far) = pair();
                again += usize::from(new_near.as_raw_fd() == far_fd);
                new_far.write_all(&[!round]).await.unwrap();
                let mut byte = [0];
                assert_eq!(new_near.read(&mut byte).await.unwrap(), 1);
                assert_eq!(byte, [!round]);
            }
            // Other tests of this process may take the number first.
            println!("{again} of 50 numbers used again");
        });
    });
}

#[test]
fn stream_is_used_and_dropped_on_another_thread() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let thread = thread::spawn(move || {
                wait(async {
                    let mut sum = 0;
                    let mut buf = [0; 1000];
                    loop {
                        match far.read(&mut buf).await.unwrap() {
                            0 => break,
                            n => sum += n,
                        }
                        far.write_all(&vec![1; 5000]).await.unwrap();
                    }
                    sum
                })
            });
            let near = Rc::new(near);
            let reader = near.clone();
            let reader = spawn(async move { read_to_end(&reader).await.unwrap().len() });
            for _ in 0..100 {
                near.write_all(&[0; 700]).await.unwrap();
                yield_now().await;
            }
            near.shutdown(std::net::Shutdown::Write).unwrap();
            let answered = reader.await.unwrap();
            assert_eq!(thread.join().unwrap(), 70_000);
            assert_eq!(answered % 5000, 0);
        });
    });
}

#[test]
fn stream_of_a_runtime_that_is_gone_fails_only_to_wait() {
    on_every_backend(|_| {
        let runtime = reveille::Runtime::new().unwrap();
        let (near, far) = runtime.block_on(async { pair() });
        drop(runtime);
        assert_eq!(near.try_write(b"x").unwrap(), 1);
        let mut byte = [0];
        assert_eq!(far.try_read(&mut byte).unwrap(), 1);
        let waits = wait(far.read(&mut byte));
        assert!(waits.unwrap_err().to_string().contains("runtime"));
    });
}

/// One event may stand for many writes: nothing is left behind after it.
#[test]
fn many_writes_between_two_turns_are_all_read() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            let mut random = Random(3);
            for _ in 0..200 {
                let writes = random.next() % 9 + 1;
                let mut sent = 0;
                for _ in 0..writes {
                    let len = (random.next() % 300 + 1) as usize;
                    near.write_all(&vec![7; len]).await.unwrap();
                    sent += len;
                }
                let mut buf = vec![0; (random.next() % 600 + 1) as usize];
                while sent > 0 {
                    sent -= far.read(&mut buf).await.unwrap();
                }
            }
        });
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn read_loses_no_bytes_after_urgent_data() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (near, far) = pair();
            near.write_all(b"before").await.unwrap();
            let fd = near.as_raw_fd();
            // SAFETY: pointer and length are those of one byte. Since Linux 5.15.
            let sent = unsafe { libc::send(fd, b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
            if sent != 1 {
                println!("skipped: the kernel has no urgent data here");
                return;
            }
            near.write_all(b"behind").await.unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"behind") {
                assert_ne!(far.read_buf(&mut got).await.unwrap(), 0);
            }
            assert!(got.starts_with(b"before"), "{got:?}");
            drop(near);
            assert_eq!(far.read(&mut [0; 4]).await.unwrap(), 0);
        });
    });
}
