//! FIFOs: opening, and ends that come and go.

use super::fill;
use super::support::on_every_backend;
use reveille::net::pipe::{OpenOptions, Receiver, Sender};
use reveille::{spawn, yield_now};
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A FIFO, which is removed when this is dropped.
struct Fifo(PathBuf);

impl Fifo {
    fn new() -> Fifo {
        let path = fresh_path();
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name ends with a zero and outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        Fifo(path)
    }

    fn receiver(&self) -> Receiver {
        OpenOptions::new().open_receiver(&self.0).unwrap()
    }

    fn sender(&self) -> Sender {
        OpenOptions::new().open_sender(&self.0).unwrap()
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A path of no file.
fn fresh_path() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    let path = std::env::temp_dir().join(format!("reveille-pipes-{}-{number}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn sender_needs_a_receiver() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let fifo = Fifo::new();
            let error = OpenOptions::new().open_sender(&fifo.0).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
            let receiver = fifo.receiver();
            let sender = fifo.sender();
            sender.write_all(b"hello").await.unwrap();
            let mut buf = [0; 5];
            receiver.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"hello");
        });
    });
}

#[test]
fn reader_waits_for_the_first_writer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let fifo = Fifo::new();
            let receiver = Rc::new(fifo.receiver());
            let reader = spawn({
                let receiver = receiver.clone();
                async move {
                    let mut buf = [0; 8];
                    let n = receiver.read(&mut buf).await.unwrap();
                    buf[..n].to_vec()
                }
            });
            let waiter = spawn(async move { receiver.readable().await });
            for _ in 0..3 {
                yield_now().await;
            }
            assert!(!reader.is_finished() && !waiter.is_finished());
            let sender = fifo.sender();
            for _ in 0..3 {
                yield_now().await;
            }
            assert!(!reader.is_finished() && !waiter.is_finished());
            sender.write_all(b"hello").await.unwrap();
            assert_eq!(reader.await.unwrap(), b"hello");
            drop(sender);
            waiter.await.unwrap().unwrap();
        });
    });
}

#[test]
fn writers_come_and_go() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let fifo = Fifo::new();
            let receiver = fifo.receiver();
            let mut buf = [0; 64];
            for round in 0..10_u8 {
                let sender = fifo.sender();
                // The last end is over: reads wait again.
                let nothing = receiver.try_read(&mut buf).unwrap_err();
                assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
                let writer = spawn(async move {
                    yield_now().await;
                    sender.write_all(&[round; 10]).await.unwrap();
                    yield_now().await;
                    sender.write_all(&[round; 10]).await.unwrap();
                });
                let mut all = Vec::new();
                loop {
                    match receiver.read(&mut buf).await.unwrap() {
                        0 => break,
                        n => all.extend_from_slice(&buf[..n]),
                    }
                }
                assert_eq!(all, [round; 20], "round {round}");
                writer.await.unwrap();
                // Until the next one comes, the end stays.
                receiver.readable().await.unwrap();
                assert_eq!(receiver.read(&mut buf).await.unwrap(), 0);
                assert_eq!(receiver.read(&mut buf).await.unwrap(), 0);
            }
        });
    });
}

#[test]
fn readers_come_and_go() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let fifo = Fifo::new();
            let mut receiver = fifo.receiver();
            let sender = fifo.sender();
            for round in 0..10_u8 {
                sender.write_all(&[round; 10]).await.unwrap();
                let mut buf = [0; 10];
                receiver.read_exact(&mut buf).await.unwrap();
                assert_eq!(buf, [round; 10]);
                if round % 2 == 0 {
                    fill(&sender);
                }
                drop(receiver);
                let error = sender.write_all(&[0; 100]).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                receiver = fifo.receiver();
                let mut rest = Vec::new();
                while receiver.try_read_buf(&mut rest).is_ok() {}
            }
            // With a reader, writes wait again in place of an error.
            let filled = fill(&sender);
            let writer = spawn(async move { sender.write_all(b"end").await });
            for _ in 0..3 {
                yield_now().await;
            }
            assert!(!writer.is_finished());
            let mut all = vec![0; filled + 3];
            receiver.read_exact(&mut all).await.unwrap();
            assert_eq!(&all[filled..], b"end");
            writer.await.unwrap().unwrap();
        });
    });
}

#[test]
fn read_closed_follows_the_writers() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let fifo = Fifo::new();
            let receiver = Rc::new(fifo.receiver());
            let first = fifo.sender();
            if runtime.backend_name() == "select" {
                let error = receiver.read_closed().await.unwrap_err();
                return assert_eq!(error.kind(), ErrorKind::Unsupported);
            }
            let mut second = fifo.sender();
            for _ in 0..3 {
                let waiter = spawn({
                    let receiver = receiver.clone();
                    async move { receiver.read_closed().await }
                });
                for _ in 0..3 {
                    yield_now().await;
                }
                assert!(!waiter.is_finished());
                second.write_all(b"unread").await.unwrap();
                drop(second);
                if !waiter.is_finished() {
                    yield_now().await;
                }
                second = fifo.sender();
                drop(second);
                // The first writer is left.
                for _ in 0..3 {
                    yield_now().await;
                }
                assert!(!waiter.is_finished());
                second = fifo.sender();
                waiter.abort();
            }
            drop((first, second));
            receiver.read_closed().await.unwrap();
            let mut all = Vec::new();
            while receiver.read_buf(&mut all).await.unwrap() != 0 {}
            assert_eq!(all, b"unreadunreadunread");
            receiver.read_closed().await.unwrap();
        });
    });
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn read_write_ends_need_no_other_side() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let fifo = Fifo::new();
            let mut options = OpenOptions::new();
            options.read_write(true);
            let sender = options.open_sender(&fifo.0).unwrap();
            sender.write_all(b"early").await.unwrap();
            let filled = fill(&sender);
            let receiver = options.open_receiver(&fifo.0).unwrap();
            let mut all = vec![0; 5 + filled];
            receiver.read_exact(&mut all).await.unwrap();
            assert_eq!(&all[..5], b"early");

            drop(sender);
            let receiver = Rc::new(receiver);
            for round in 0..3_u8 {
                let reader = spawn({
                    let receiver = receiver.clone();
                    async move {
                        let mut buf = [0; 10];
                        receiver.read_exact(&mut buf).await.map(|_| buf)
                    }
                });
                for _ in 0..3 {
                    yield_now().await;
                }
                assert!(!reader.is_finished());
                let sender = fifo.sender();
                sender.write_all(&[round; 10]).await.unwrap();
                drop(sender);
                assert_eq!(reader.await.unwrap().unwrap(), [round; 10]);
                let nothing = receiver.try_read(&mut [0]).unwrap_err();
                assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
            }
        });
    });
}

fn is_refused<T>(opened: io::Result<T>) -> bool {
    match opened {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("nor a FIFO"), "{error}");
            true
        }
    }
}

#[test]
fn other_files_are_refused() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let path = fresh_path();
            std::fs::write(&path, b"kept").unwrap();
            for file in [&path, Path::new("/dev/null")] {
                assert!(is_refused(OpenOptions::new().open_receiver(file)));
                assert!(is_refused(OpenOptions::new().open_sender(file)));
            }
            assert_eq!(std::fs::read(&path).unwrap(), b"kept");
            std::fs::remove_file(&path).unwrap();
            let missing = OpenOptions::new().open_receiver(&path).unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
        });
    });
}

#[test]
fn unchecked_options_accept_other_files() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let Ok(master) = std::fs::File::open("/dev/ptmx") else {
                return println!("skipped: no terminals here");
            };
            drop(master);
            let mut options = OpenOptions::new();
            options.unchecked(true);
            // A new terminal, of which this is the master's side.
            let terminal = options.open_sender("/dev/ptmx").unwrap();
            assert_eq!(terminal.write(b"typed").await.unwrap(), 5);
            assert!(options.open_receiver("/no such file").is_err());
        });
    });
}

#[test]
fn nothing_is_opened_without_a_runtime() {
    let fifo = Fifo::new();
    let error = OpenOptions::new().open_receiver(&fifo.0).unwrap_err();
    assert!(error.to_string().contains("no reveille runtime"), "{error}");
    let error = OpenOptions::new().open_sender(&fifo.0).unwrap_err();
    assert!(error.to_string().contains("no reveille runtime"), "{error}");
    let error = reveille::net::pipe::pipe().unwrap_err();
    assert!(error.to_string().contains("no reveille runtime"), "{error}");
}
