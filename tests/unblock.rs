//! `Unblock`: files and standard streams through the pool of threads. No byte is lost or written
//! twice, whatever is dropped when, and no flag of an inherited file changes.
//!
//! A call that must not end yet waits for a channel, so no test depends on time.

mod support;

use reveille::io::Unblock;
use reveille::runtime::UnhandledPanic;
use reveille::time::{Duration, sleep};
use reveille::{Builder, Handle, JoinHandle, Runtime, spawn};
use std::cell::Cell;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use support::panics::text_of;
use support::{guarded, on_every_backend, poll_once};

/// What the value of an `Unblock` does with one call.
enum Act {
    Return(io::Result<Vec<u8>>),
    Panic(&'static str),
}

fn bytes(bytes: &[u8]) -> Act {
    Act::Return(Ok(bytes.to_vec()))
}

fn fail(kind: ErrorKind) -> Act {
    Act::Return(Err(kind.into()))
}

/// Each call announces itself and waits for its act. A write or flush takes as many bytes as the
/// act has.
struct Scripted {
    begin: Sender<&'static str>,
    acts: Receiver<Act>,
    written: Arc<Mutex<Vec<u8>>>,
}

/// The other end of a [`Scripted`].
struct Script {
    begun: Receiver<&'static str>,
    acts: Sender<Act>,
    written: Arc<Mutex<Vec<u8>>>,
}

fn scripted() -> (Scripted, Script) {
    let ((begin, begun), (send, acts)) = (channel(), channel());
    let written = Arc::new(Mutex::new(Vec::new()));
    let value = Scripted {
        begin,
        acts,
        written: written.clone(),
    };
    let script = Script {
        begun,
        acts: send,
        written,
    };
    (value, script)
}

impl Scripted {
    fn act(&mut self, call: &'static str) -> io::Result<Vec<u8>> {
        // The test may have ended.
        let _ = self.begin.send(call);
        match self.acts.recv() {
            Ok(Act::Return(result)) => result,
            Ok(Act::Panic(text)) => resume_unwind(Box::new(text)),
            Err(_) => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Script {
    fn act(&self, act: Act) {
        self.acts.send(act).unwrap();
    }

    fn has_begun(&self, call: &str) {
        assert_eq!(self.begun.recv().unwrap(), call);
    }

    fn written(&self) -> Vec<u8> {
        self.written.lock().unwrap().clone()
    }
}

impl Read for Scripted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.act("read")?;
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Write for Scripted {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.act("write")?.len().min(data.len());
        self.written.lock().unwrap().extend_from_slice(&data[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.act("flush").map(drop)
    }
}

/// A new file without a name.
fn file() -> File {
    thread_local! {
        static NEXT: Cell<usize> = const { Cell::new(0) };
    }
    let number = NEXT.replace(NEXT.get() + 1);
    let name = format!(
        "reveille.unblock.{}.{:?}.{number}",
        std::process::id(),
        thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let file = options.open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn content(mut file: &File) -> Vec<u8> {
    let mut content = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut content).unwrap();
    content
}

#[test]
fn file_is_written_read_and_repositioned() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut file = Unblock::new(file());
            let data: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
            file.write_all(&data).await.unwrap();
            assert_eq!(file.seek(SeekFrom::Current(0)).await.unwrap(), 300_000);
            assert_eq!(file.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(file.seek(SeekFrom::Start(100_000)).await.unwrap(), 100_000);
            let mut found = vec![7];
            assert_eq!(file.read_to_end(&mut found).await.unwrap(), 200_000);
            assert!(found[0] == 7 && found[1..] == data[100_000..]);
            assert_eq!(file.seek(SeekFrom::End(-3)).await.unwrap(), 299_997);
            let mut last = [0; 3];
            file.read_exact(&mut last).await.unwrap();
            assert_eq!(last, data[299_997..]);
            file.flush().await.unwrap();
            assert_eq!(content(file.get_mut().await.unwrap()), data);
            let error = file.seek(SeekFrom::End(-400_000)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(content(&file.into_inner().await.unwrap()), data);
        });
    });
}

#[test]
fn read_makes_one_call_and_returns_what_it_returns() {
    guarded("default", || {
        let (value, script) = scripted();
        Runtime::new().unwrap().block_on(async {
            let mut value = Unblock::with_capacity(5, value);
            assert_eq!(value.read(&mut []).await.unwrap(), 0);
            for (part, room) in [(&b"a"[..], 9), (b"bcdef", 9), (b"gh", 2)] {
                script.act(bytes(part));
                let mut buf = [0; 9];
                assert_eq!(value.read(&mut buf[..room]).await.unwrap(), part.len());
                assert_eq!(&buf[..part.len()], part);
                script.has_begun("read");
            }
            assert!(script.begun.try_recv().is_err());
        });
    });
}

#[test]
fn read_uninit_writes_only_what_was_read() {
    guarded("default", || {
        Runtime::new().unwrap().block_on(async {
            let mut value = Unblock::new(&b"abc"[..]);
            let mut buf = [MaybeUninit::new(9_u8); 5];
            let n = poll_fn(|cx| value.poll_read_uninit(cx, &mut buf)).await;
            assert_eq!(n.unwrap(), 3);
            // SAFETY: the test has initialized all of it.
            let buf = buf.map(|byte| unsafe { byte.assume_init() });
            assert_eq!(&buf, b"abc\x09\x09");
        });
    });
}

/// Polls a read once and drops it. Its call has begun.
async fn drop_a_read(value: &mut Unblock<Scripted>, script: &Script, room: usize) {
    let mut buf = vec![0; room];
    let mut read = pin!(value.read(&mut buf));
    assert!(poll_once(&mut read).await.is_pending());
    script.has_begun("read");
}

#[test]
fn dropped_read_keeps_its_bytes_for_the_next() {
    on_every_backend(|runtime| {
        let (value, script) = scripted();
        runtime.block_on(async {
            let mut value = Unblock::new(value);
            drop_a_read(&mut value, &script, 8).await;
            script.act(bytes(b"abcdef"));
            let mut buf = [0; 4];
            assert_eq!(value.read(&mut buf).await.unwrap(), 4);
            assert_eq!(&buf, b"abcd");
            assert_eq!(value.read(&mut buf).await.unwrap(), 2);
            assert_eq!(&buf[..2], b"ef");

            // Dropped once more while it waits for the call of the first.
            drop_a_read(&mut value, &script, 8).await;
            assert!(
                poll_once(&mut pin!(value.read(&mut buf)))
                    .await
                    .is_pending()
            );
            script.act(bytes(b"g"));
            assert_eq!(value.read(&mut buf).await.unwrap(), 1);

            // The end and an error are kept as well.
            for act in [bytes(b""), fail(ErrorKind::TimedOut)] {
                let end = match &act {
                    Act::Return(Ok(_)) => Ok(0),
                    _ => Err(ErrorKind::TimedOut),
                };
                drop_a_read(&mut value, &script, 8).await;
                script.act(act);
                let found = value.read(&mut buf).await;
                assert_eq!(found.map_err(|error| error.kind()), end);
            }
            script.act(bytes(b"h"));
            assert_eq!(value.read(&mut buf).await.unwrap(), 1);
        });
    });
}

/// The position of the file is behind what the dropped read has found.
#[test]
fn seek_goes_back_to_the_first_byte_that_no_read_has_returned() {
    guarded("default", || {
        one_thread().block_on(async {
            let mut file = Unblock::new(file());
            file.write_all(b"0123456789").await.unwrap();
            file.seek(SeekFrom::Start(0)).await.unwrap();
            begin_and_drop(file.read(&mut [0; 6])).await;
            let mut buf = [0; 2];
            file.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"01");
            assert_eq!(file.get_mut().await.unwrap().stream_position().unwrap(), 6);
            assert_eq!(file.seek(SeekFrom::Current(0)).await.unwrap(), 2);
            file.write_all(b"ab").await.unwrap();
            file.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"45");

            // The same for bytes that were read ahead.
            let ahead = poll_fn(|cx| file.poll_fill_buf(cx).map_ok(|bytes| bytes.to_vec()));
            assert_eq!(ahead.await.unwrap(), b"6789");
            file.consume(1);
            assert_eq!(file.seek(SeekFrom::Current(1)).await.unwrap(), 8);
            file.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"89");

            // The end is forgotten as well.
            begin_and_drop(file.read(&mut buf)).await;
            assert_eq!(file.seek(SeekFrom::Start(1)).await.unwrap(), 1);
            file.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"1a");
            assert_eq!(content(file.get_mut().await.unwrap()), b"01ab456789");
        });
    });
}

#[test]
fn seek_that_fails_keeps_the_bytes() {
    guarded("default", || {
        Runtime::new().unwrap().block_on(async {
            let mut bytes = Unblock::new(Cursor::new(b"0123456789"));
            poll_fn(|cx| {
                bytes
                    .poll_fill_buf(cx)
                    .map_ok(|ahead| assert_eq!(ahead.len(), 10))
            })
            .await
            .unwrap();
            bytes.consume(2);
            for to in [SeekFrom::Current(-3), SeekFrom::End(-11)] {
                bytes.seek(to).await.unwrap_err();
                let kept = poll_fn(|cx| bytes.poll_fill_buf(cx).map_ok(<[u8]>::len));
                assert_eq!(kept.await.unwrap(), 8);
            }
            // It cannot be one call, because the offset would overflow. The first one succeeds.
            bytes.seek(SeekFrom::Current(i64::MIN)).await.unwrap_err();
            assert_eq!(bytes.seek(SeekFrom::Current(0)).await.unwrap(), 2);
        });
    });
}

#[test]
fn dropped_seek_is_not_mistaken_for_the_next() {
    guarded("default", || {
        one_thread().block_on(async {
            let mut bytes = Unblock::new(Cursor::new([0; 64]));
            let by_five = SeekFrom::Current(5);
            begin_and_drop(bytes.seek(by_five)).await;
            assert_eq!(bytes.seek(by_five).await.unwrap(), 10);
            // Polled by hand: another call in between ends the seek.
            begin_and_drop(poll_fn(|cx| bytes.poll_seek(cx, by_five))).await;
            assert_eq!(bytes.read(&mut [0; 1]).await.unwrap(), 1);
            let position = poll_fn(|cx| bytes.poll_seek(cx, by_five)).await;
            assert_eq!(position.unwrap(), 21);
        });
    });
}

#[test]
fn write_returns_before_its_call_ends_and_the_next_one_waits() {
    on_every_backend(|runtime| {
        let (value, script) = scripted();
        runtime.block_on(async {
            let mut value = Unblock::with_capacity(4, value);
            assert_eq!(value.write(b"").await.unwrap(), 0);
            assert_eq!(value.write(b"abcdef").await.unwrap(), 4);
            script.has_begun("write");
            // Dropped before it was accepted: nothing of it is written.
            assert!(poll_once(&mut pin!(value.write(b"zz"))).await.is_pending());
            // Short writes are continued.
            script.act(bytes(b"123"));
            script.act(bytes(b"1"));
            assert_eq!(value.write(b"ef").await.unwrap(), 2);
            assert_eq!(script.written(), b"abcd");
            script.act(bytes(b"12"));
            script.act(bytes(b""));
            value.flush().await.unwrap();
            assert_eq!(script.written(), b"abcdef");
            // Nothing is left to flush.
            value.flush().await.unwrap();
            poll_fn(|cx| value.poll_close(cx)).await.unwrap();
            let calls: Vec<_> = script.begun.try_iter().collect();
            assert_eq!(calls, ["write", "write", "flush"]);
        });
    });
}

#[test]
fn error_of_a_write_is_returned_once_by_the_next_write_or_flush() {
    guarded("default", || {
        let (value, script) = scripted();
        Runtime::new().unwrap().block_on(async {
            let mut value = Unblock::new(value);
            for flushes in [false, true] {
                value.write_all(b"lost").await.unwrap();
                script.act(fail(ErrorKind::StorageFull));
                // A read in between does not take it.
                script.act(bytes(b"x"));
                assert_eq!(value.read(&mut [0; 1]).await.unwrap(), 1);
                let error = match flushes {
                    true => value.flush().await.unwrap_err(),
                    false => value.write_all(b"no").await.unwrap_err(),
                };
                assert_eq!(error.kind(), ErrorKind::StorageFull);
            }
            script.act(fail(ErrorKind::TimedOut));
            assert_eq!(value.flush().await.unwrap_err().kind(), ErrorKind::TimedOut);
            // The flush has failed, so there is still something to flush.
            script.act(bytes(b""));
            value.flush().await.unwrap();
            assert_eq!(script.written(), b"");

            value.write_all(b"lost").await.unwrap();
            script.act(bytes(b""));
            let error = value.into_inner().await.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WriteZero);
        });
    });
}

#[test]
fn dropped_flush_is_continued_by_the_next() {
    guarded("default", || {
        let (value, script) = scripted();
        Runtime::new().unwrap().block_on(async {
            let mut value = Unblock::new(value);
            value.write_all(b"a").await.unwrap();
            script.has_begun("write");
            script.act(bytes(b"1"));
            // Until the flush has begun.
            while script.begun.try_recv().is_err() {
                assert!(poll_once(&mut pin!(value.flush())).await.is_pending());
            }
            script.act(fail(ErrorKind::TimedOut));
            assert_eq!(value.flush().await.unwrap_err().kind(), ErrorKind::TimedOut);
        });
    });
}

#[test]
fn drop_lets_a_write_run_to_its_end() {
    guarded("default", || {
        let runtime = one_thread();
        let handle = runtime.handle();
        let file = file();
        let (gate, busy) = occupy(&handle);
        runtime.block_on(async {
            let mut writer = Unblock::new(file.try_clone().unwrap());
            writer.write_all(b"all of it").await.unwrap();
        });
        assert_eq!(handle.blocking_pool().queued(), 1);
        drop(gate);
        busy.wait().unwrap();
        runtime.block_on(spawn_blocking_in(&handle)).unwrap();
        assert_eq!(content(&file), b"all of it");
    });
}

fn one_thread() -> Runtime {
    Builder::new().max_blocking_threads(1).build().unwrap()
}

/// Polls a future once, while no thread of the pool is free, and drops it. Its call goes on.
async fn begin_and_drop<F: Future>(future: F) {
    let (gate, busy) = occupy(&Handle::current());
    assert!(poll_once(&mut pin!(future)).await.is_pending());
    drop(gate);
    busy.await.unwrap();
}

/// A closure that has begun when this returns, and ends when the gate is dropped.
fn occupy(handle: &Handle) -> (Sender<()>, JoinHandle<()>) {
    let (gate, wait) = channel::<()>();
    let (begin, begun) = channel();
    let job = handle.spawn_blocking(move || {
        begin.send(()).unwrap();
        wait.recv().unwrap_err();
    });
    begun.recv().unwrap();
    (gate, job)
}

/// Comes after all that waits.
fn spawn_blocking_in(handle: &Handle) -> JoinHandle<()> {
    handle.spawn_blocking(|| ())
}

#[test]
fn drop_takes_a_read_that_waits_for_a_thread_out_of_the_queue() {
    guarded("default", || {
        let runtime = one_thread();
        let handle = runtime.handle();
        let (gate, busy) = occupy(&handle);
        runtime.block_on(async {
            let (value, script) = scripted();
            let mut value = Unblock::new(value);
            assert!(
                poll_once(&mut pin!(value.read(&mut [0; 1])))
                    .await
                    .is_pending()
            );
            assert_eq!(handle.blocking_pool().queued(), 1);
            drop(value);
            assert_eq!(handle.blocking_pool().queued(), 0);
            // The value went with it.
            assert!(script.acts.send(bytes(b"")).is_err());
        });
        drop(gate);
        busy.wait().unwrap();
    });
}

#[test]
fn call_whose_runtime_is_dropped_fails_and_the_value_is_kept() {
    guarded("default", || {
        let runtime = one_thread();
        let (gate, busy) = occupy(&runtime.handle());
        let mut reader = Unblock::new(&b"abc"[..]);
        let mut writer = Unblock::new(Vec::new());
        let mut seeker = Unblock::new(Cursor::new([0; 9]));
        let mut user = Unblock::new(7);
        runtime.block_on(async {
            let mut buf = [0; 3];
            assert!(
                poll_once(&mut pin!(reader.read(&mut buf)))
                    .await
                    .is_pending()
            );
            writer.write_all(b"lost").await.unwrap();
            let mut seek = pin!(seeker.seek(SeekFrom::Start(1)));
            assert!(poll_once(&mut seek).await.is_pending());
            assert!(
                poll_once(&mut pin!(user.with_mut(|n| *n)))
                    .await
                    .is_pending()
            );
        });
        drop(runtime);
        drop(gate);
        busy.wait().unwrap();
        let is_gone = |error: io::Error| {
            let text = error.to_string();
            assert!(text.contains("its runtime was dropped"), "{text}");
        };
        one_thread().block_on(async {
            let mut buf = [0; 3];
            is_gone(reader.read(&mut buf).await.unwrap_err());
            assert_eq!(reader.read(&mut buf).await.unwrap(), 3);
            is_gone(writer.flush().await.unwrap_err());
            writer.write_all(b"written").await.unwrap();
            assert_eq!(writer.into_inner().await.unwrap(), b"written");
            assert_eq!(seeker.seek(SeekFrom::Current(4)).await.unwrap(), 4);
            assert_eq!(user.with_mut(|n| *n + 1).await.unwrap(), 8);
        });
        // Outside of any runtime.
        let mut reader = Unblock::new(&b"abc"[..]);
        let mut buf = [0; 3];
        let error = support::wait(reader.read(&mut buf)).unwrap_err();
        assert!(error.to_string().contains("no reveille runtime"), "{error}");
        assert_eq!(support::wait(reader.get_mut()).unwrap(), b"abc");
    });
}

#[test]
fn call_that_is_dropped_with_its_runtime_while_it_is_awaited_fails() {
    guarded("default", || {
        let pool = reveille::runtime::Pool::new(1, Duration::from_secs(1));
        let build = || Builder::new().blocking_pool(&pool).build().unwrap();
        let (one, two) = (build(), build());
        let (gate, busy) = occupy(&two.handle());
        let mut reader = Unblock::new(&b"abc"[..]);
        let (handle, mut buf) = (one.handle(), [0; 3]);
        let waiting = thread::spawn(move || handle.block_on(reader.read(&mut buf)).unwrap_err());
        while pool.queued() == 0 {
            thread::yield_now();
        }
        drop(one);
        let text = waiting.join().unwrap().to_string();
        assert!(text.contains("its runtime was dropped"), "{text}");
        drop(gate);
        busy.wait().unwrap();
    });
}

/// Runs a future whose poll panics, and returns the text.
async fn panic_of<F: Future>(future: F) -> String {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(_)) => panic!("it did not panic"),
            Err(payload) => Poll::Ready(text_of(&*payload)),
        }
    })
    .await
}

#[test]
fn panic_of_the_value_is_resumed_where_its_call_is_awaited() {
    on_every_backend(|runtime| {
        let (value, script) = scripted();
        runtime.block_on(async {
            let mut value = Unblock::new(value);
            let mut buf = [0; 4];
            script.act(Act::Panic("in a read"));
            assert_eq!(panic_of(value.read(&mut buf)).await, "in a read");
            script.has_begun("read");
            // In the next call, if the future was dropped.
            drop_a_read(&mut value, &script, 4).await;
            script.act(Act::Panic("in a dropped read"));
            assert_eq!(panic_of(value.flush()).await, "in a dropped read");
            value.write_all(b"x").await.unwrap();
            script.act(Act::Panic("in a write"));
            assert_eq!(panic_of(value.flush()).await, "in a write");
            let text = panic_of(value.with_mut(|_| resume_unwind(Box::new("in a closure"))));
            assert_eq!(text.await, "in a closure");
            // The value works as before.
            script.act(bytes(b"ab"));
            assert_eq!(value.read(&mut buf).await.unwrap(), 2);
            assert!(value.into_inner().await.is_ok());
        });
        assert_eq!(runtime.handle().blocking_pool().threads(), 1);
    });
}

#[test]
fn panic_of_a_write_that_is_dropped_goes_to_the_policy() {
    guarded("default", || {
        let (send, panics) = channel();
        let policy = UnhandledPanic::Call(Box::new(move |report| {
            send.send(text_of(report.payload())).unwrap();
        }));
        let runtime = Builder::new().unhandled_panic(policy).build().unwrap();
        let (value, script) = scripted();
        runtime.block_on(async {
            let mut value = Unblock::new(value);
            value.write_all(b"x").await.unwrap();
            script.has_begun("write");
        });
        script.act(Act::Panic("nobody waits"));
        let text = loop {
            match panics.try_recv() {
                Ok(text) => break text,
                Err(_) => runtime.block_on(sleep(Duration::from_millis(1))),
            }
        };
        assert_eq!(text, "nobody waits");
    });
}

/// A description that another process shares may be in non-blocking mode.
#[test]
fn calls_that_would_block_or_are_interrupted_are_made_again() {
    guarded("default", || {
        let (value, script) = scripted();
        Runtime::new().unwrap().block_on(async {
            let mut value = Unblock::new(value);
            for kind in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
                script.act(fail(kind));
                script.act(fail(kind));
                script.act(bytes(b"ab"));
                assert_eq!(value.read(&mut [0; 4]).await.unwrap(), 2);
                script.act(fail(kind));
                script.act(bytes(b"1"));
                script.act(fail(kind));
                script.act(bytes(b""));
                value.write_all(b"x").await.unwrap();
                value.flush().await.unwrap();
            }
            assert_eq!(script.written(), b"xx");
        });
    });
}

#[test]
fn with_mut_runs_a_closure_on_the_value() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let owner = thread::current().id();
            let mut value = Unblock::new(vec![1]);
            let thread = value.with_mut(|list| {
                list.push(2);
                assert!(Handle::try_current().is_some());
                thread::current().id()
            });
            assert_ne!(thread.await.unwrap(), owner);
            // One that is dropped goes on.
            let (open, gate) = channel::<()>();
            let push = value.with_mut(move |list| {
                gate.recv().unwrap_err();
                list.push(3);
            });
            {
                let mut push = pin!(push);
                assert!(poll_once(&mut push).await.is_pending());
            }
            drop(open);
            assert_eq!(value.get_mut().await.unwrap(), &[1, 2, 3]);
            assert!(format!("{value:?}").starts_with("Unblock"));
        });
    });
}

#[test]
fn value_moves_between_threads_and_runtimes() {
    fn is_send_and_sync<T: Send + Sync + Unpin>(_: &T) {}
    guarded("default", || {
        let runtime = Runtime::new().unwrap();
        let mut file = Unblock::new(file());
        is_send_and_sync(&file);
        runtime.block_on(async { file.write_all(b"one").await.unwrap() });
        let handle = runtime.handle();
        let thread = thread::spawn(move || {
            handle.block_on(async {
                file.write_all(b"two").await.unwrap();
                // Otherwise the drop of the runtime may drop the write.
                file.flush().await.unwrap();
                file
            })
        });
        let mut file = thread.join().unwrap();
        drop(runtime);
        let file = reveille::block_on(async {
            file.write_all(b"three").await.unwrap();
            file.into_inner().await.unwrap()
        });
        assert_eq!(content(&file), b"onetwothree");
    });
}

#[test]
fn reads_out_of_the_buffer_let_other_tasks_run() {
    guarded("default", || {
        Runtime::new().unwrap().block_on(async {
            let mut value = Unblock::new(io::repeat(7));
            let ran = Rc::new(Cell::new(false));
            let mark = ran.clone();
            poll_fn(|cx| {
                value
                    .poll_fill_buf(cx)
                    .map_ok(|bytes| assert_eq!(bytes.len(), 65536))
            })
            .await
            .unwrap();
            spawn(async move { mark.set(true) });
            let mut reads = 0;
            while !ran.get() {
                value.read_exact(&mut [0; 1]).await.unwrap();
                reads += 1;
            }
            assert!(reads < 1000, "{reads} reads");
        });
    });
}

#[test]
fn thousand_files_are_written_and_read_at_once() {
    guarded("default", || {
        Runtime::new().unwrap().block_on(async {
            let tasks: Vec<_> = (0..1000_u32)
                .map(|n| {
                    spawn(async move {
                        let mut file = Unblock::with_capacity(64, file());
                        let data = n.to_le_bytes().repeat(50);
                        file.write_all(&data).await?;
                        file.seek(SeekFrom::Start(0)).await?;
                        let mut found = Vec::new();
                        file.read_to_end(&mut found).await?;
                        assert_eq!(found, data);
                        io::Result::Ok(())
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            assert!(Handle::current().blocking_pool().threads() <= 64);
        });
    });
}

const CHILD: &str = "REVEILLE_TEST_UNBLOCK_CHILD";

/// Run by the next test in a process of its own: copies its standard input to standard error.
#[test]
fn child_copies_its_standard_input() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let copied: io::Result<()> = reveille::block_on(async {
        let mut input = Unblock::new(io::stdin());
        let mut output = Unblock::new(io::stderr());
        let mut buf = [0; 512];
        loop {
            match input.read(&mut buf).await? {
                0 => return output.flush().await,
                n => output.write_all(&buf[..n]).await?,
            }
        }
    });
    copied.unwrap();
}

#[test]
fn standard_streams_are_copied_and_keep_their_flags() {
    fn flags(fd: &impl std::os::fd::AsRawFd) -> libc::c_int {
        // SAFETY: F_GETFL takes no pointer.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }
    }
    guarded("default", || {
        let (input, mut ours) = std::os::unix::net::UnixStream::pair().unwrap();
        let shared = input.try_clone().unwrap();
        let before = flags(&shared);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_copies_its_standard_input", "--nocapture"])
            .env(CHILD, "1")
            .stdin(std::os::fd::OwnedFd::from(input))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut copy = child.stderr.take().unwrap();
        let output_before = flags(&copy);
        for part in [&b"good "[..], b"morning"] {
            ours.write_all(part).unwrap();
            let mut found = vec![0; part.len()];
            copy.read_exact(&mut found).unwrap();
            assert_eq!(found, part);
            // It reads the next part now.
            assert_eq!(flags(&shared), before);
            assert_eq!(flags(&copy), output_before);
        }
        drop((ours, shared));
        let mut rest = String::new();
        copy.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert!(child.wait().unwrap().success());
    });
}

/// A thread that reads standard input does not keep the process alive.
#[test]
fn runtime_and_process_end_while_standard_input_is_read() {
    const CHILD: &str = "REVEILLE_TEST_UNBLOCK_END";
    if std::env::var_os(CHILD).is_some() {
        reveille::block_on(async {
            let mut input = Unblock::new(io::stdin());
            assert!(
                poll_once(&mut pin!(input.read(&mut [0; 1])))
                    .await
                    .is_pending()
            );
            while Handle::current().blocking_pool().queued() > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        });
        return;
    }
    guarded("default", || {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "runtime_and_process_end_while_standard_input_is_read",
            ])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        assert!(child.wait().unwrap().success());
        drop(input);
    });
}

/// A seek that was given up is not taken for the one that is asked for later.
#[test]
fn a_seek_that_was_given_up_is_forgotten_when_the_value_is_used() {
    reveille::block_on(async {
        let mut bytes = Unblock::new(Cursor::new(vec![0; 100]));
        let first = poll_fn(|cx| Poll::Ready(bytes.poll_seek(cx, SeekFrom::Start(5)))).await;
        assert!(first.is_pending());
        bytes
            .with_mut(|cursor| cursor.set_position(50))
            .await
            .unwrap();
        let position = poll_fn(|cx| bytes.poll_seek(cx, SeekFrom::Start(5))).await;
        assert_eq!(position.unwrap(), 5);
        assert_eq!(bytes.get_mut().await.unwrap().position(), 5);
    });
}
