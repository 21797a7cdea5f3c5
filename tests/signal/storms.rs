//! Many signals from threads and processes at once. A signal that is lost makes a test hang.

use super::support::{is_thread_sanitizer, rounds};
use super::{USR1, USR2, has_signal, kill, on_every_backend, raise};
use reveille::signal::{SignalKind, signal, signals};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;

/// The sender sends the next signal when the listener has reported the last one.
#[test]
fn each_signal_to_the_process_is_reported_once() {
    let last = rounds(100) as u32;
    on_every_backend(|runtime| {
        let mut listener = runtime.enter(|| signal(USR1)).unwrap();
        let (report, reports) = channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                for round in 1..=last {
                    kill(USR1);
                    assert_eq!(reports.recv(), Ok(round));
                }
                // The listener must not have reported more.
                kill(USR1);
            });
            runtime.block_on(async {
                for round in 1..=last {
                    listener.recv().await.unwrap();
                    report.send(round).unwrap();
                }
                listener.recv().await.unwrap();
                assert!(!has_signal(&mut listener));
            });
        });
    });
}

/// Threads send as fast as they can, in bursts. After its burst each waits until the listener has
/// reported a signal that came after the burst began.
#[test]
fn storm_of_threads_loses_no_last_signal() {
    const THREADS: usize = 3;
    let last = rounds(30) as u32;
    on_every_backend(|runtime| {
        let mut both = runtime.enter(|| signals(&[USR1, USR2])).unwrap();
        let sent = &[const { AtomicU32::new(0) }; THREADS];
        thread::scope(|scope| {
            let mut reports = Vec::new();
            for sent in sent {
                let (report, reported) = channel();
                reports.push(report);
                scope.spawn(move || {
                    for round in 1..=last {
                        (0..20).for_each(|_| raise(USR2));
                        sent.store(round, Ordering::SeqCst);
                        raise(USR1);
                        while reported.recv().unwrap() != round {}
                    }
                });
            }
            runtime.block_on(async {
                let mut reported = [0; THREADS];
                while reported != [last; THREADS] {
                    if both.recv().await.unwrap() == USR1 {
                        reported = sent.each_ref().map(|sent| sent.load(Ordering::SeqCst));
                        for (report, round) in reports.iter().zip(reported) {
                            // A thread that has received the last report may be gone.
                            let _ = report.send(round);
                        }
                    }
                }
            });
        });
    });
}

/// Listeners come and go while the signal arrives all the time, on this thread and on others.
#[test]
fn listeners_come_and_go_in_a_storm() {
    on_every_backend(|runtime| {
        // So that a handler exists from the beginning.
        let mut first = runtime.enter(|| signal(USR1)).unwrap();
        let ends = &AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    while ends.load(Ordering::SeqCst) == 0 {
                        raise(USR1);
                    }
                });
            }
            runtime.block_on(async {
                for _ in 0..rounds(40) {
                    let mut one = signal(USR1).unwrap();
                    let mut both = signals(&[USR2, USR1]).unwrap();
                    assert_eq!(one.recv().await, Some(()));
                    assert_eq!(both.recv().await, Some(USR1));
                    assert_eq!(first.recv().await, Some(()));
                    drop(one);
                    assert_eq!(both.recv().await, Some(USR1));
                }
            });
            ends.store(1, Ordering::SeqCst);
        });
    });
}

/// A program that sends signals to this process.
fn sender(script: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn each_signal_of_another_process_is_reported() {
    if is_thread_sanitizer() {
        return println!("skipped: ThreadSanitizer puts such signals off");
    }
    on_every_backend(|runtime| {
        let mut listener = runtime.enter(|| signal(USR1)).unwrap();
        let mut child = sender("while read line; do kill -USR1 $PPID; done");
        let mut orders = child.stdin.take().unwrap();
        for _ in 0..50 {
            orders.write_all(b"send\n").unwrap();
            assert_eq!(runtime.block_on(listener.recv()), Some(()));
        }
        drop(orders);
        assert!(child.wait().unwrap().success());
    });
}

/// The child waits after each burst until a signal of the burst was reported. Another kind, sent
/// last, ends the test.
///
/// No other test uses these kinds, because the handler of the last signals of a burst may run after
/// the end of this test.
#[test]
fn storm_of_another_process_loses_no_last_signal() {
    const BURSTS: usize = 20;
    if is_thread_sanitizer() {
        return println!("skipped: ThreadSanitizer puts such signals off");
    }
    on_every_backend(|runtime| {
        let kinds = [libc::SIGXCPU, libc::SIGXFSZ].map(SignalKind::from_raw);
        let mut both = runtime.enter(|| signals(&kinds)).unwrap();
        let mut child = sender(
            "while read line; do \
                 for i in 1 2 3 4 5 6 7 8 9 10; do kill -XCPU $PPID; done; \
                 echo sent; \
             done; \
             kill -XFSZ $PPID",
        );
        let mut orders = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        runtime.block_on(async {
            for _ in 0..BURSTS {
                orders.write_all(b"send\n").unwrap();
                assert_eq!(both.recv().await, Some(kinds[0]));
                answers.read_line(&mut String::new()).unwrap();
            }
            drop(orders);
            while both.recv().await != Some(kinds[1]) {}
        });
        assert!(child.wait().unwrap().success());
    });
}
