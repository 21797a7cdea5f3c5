//! A FIFO whose writers come and go: the next writer ends the end of file, and only its bytes show
//! that it has come.

use super::super::activity::{Activity, Step};
use super::super::foreign::Foreign;
use super::World;
use super::side::byte;
use reveille::io::{AsyncFd, Interest};
use reveille::time::{Duration, sleep};
use reveille::{spawn, yield_now};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The name of a FIFO, which is removed when this is dropped.
struct Fifo(PathBuf);

impl Fifo {
    fn new() -> Fifo {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "reveille-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let text = CString::new(path.as_os_str().as_bytes()).expect("no zero in it");
        // SAFETY: the text ends with a zero and outlives the call.
        assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
        Fifo(path)
    }

    fn open(&self, options: &mut OpenOptions, interest: Interest) -> AsyncFd<File> {
        let file = options.custom_flags(libc::O_NONBLOCK).open(self.path());
        AsyncFd::with_interest(file.unwrap(), interest).unwrap()
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads this many bytes, across any number of ends of file.
async fn read(world: Arc<World>, fd: AsyncFd<File>, length: usize) {
    let (mut at, mut buffer) = (0, [0; 2000]);
    let activity = Activity::new(format!("reader of a FIFO, {length}"));
    while at < length {
        activity.set(Step::Reads, fd.get_ref().as_raw_fd(), at);
        let mut guard = match fd.readable().await {
            Ok(guard) => guard,
            Err(error) => return world.fault(&format!("a FIFO is not readable: {error}")),
        };
        match fd.get_ref().read(&mut buffer) {
            Ok(0) => guard.clear_ready(),
            Ok(count) => {
                if !(0..count).all(|i| buffer[i] == byte(at + i)) {
                    world.fault("a byte came in another's place, by a FIFO");
                }
                at += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
            Err(error) => return world.fault(&format!("a FIFO is not read: {error}")),
        }
    }
}

pub(super) async fn follow(world: Arc<World>) {
    let mut dice = world.dice();
    let fifo = Rc::new(Fifo::new());
    let reader = fifo.open(OpenOptions::new().read(true), Interest::READABLE);
    let lengths: Vec<usize> = (0..1 + dice.below(6))
        .map(|_| 1 + dice.below(3000))
        .collect();
    let reading = spawn(read(world.clone(), reader, lengths.iter().sum()));
    let activity = Activity::new("writer of a FIFO".to_owned());
    let mut at = 0;
    for length in lengths {
        let writer = fifo.open(OpenOptions::new().write(true), Interest::WRITABLE);
        activity.set(Step::Writes, writer.get_ref().as_raw_fd(), at);
        match dice.below(4) {
            0 => yield_now().await,
            1 => sleep(Duration::from_micros(dice.below(200) as u64)).await,
            _ => {}
        }
        let chunk: Vec<u8> = (at..at + length).map(byte).collect();
        // A FIFO takes less than a page as a whole or not at all.
        let written = writer
            .async_io(Interest::WRITABLE, |mut file| file.write(&chunk))
            .await;
        if !matches!(written, Ok(count) if count == length) {
            return world.fault(&format!("a FIFO is not written: {written:?}"));
        }
        at += length;
        drop(writer);
        if dice.one_in(2) {
            sleep(Duration::from_micros(dice.below(300) as u64)).await;
        }
    }
    activity.set(Step::Joins, -1, at);
    if let Err(error) = reading.await {
        world.fault(&format!("the reader of a FIFO: {error}"));
    }
}
