//! A task and a plain thread that wake each other; the thread may be busy for a while before it
//! answers.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::in_task;
use crate::contestant::{Args, Micro, Tasks};
use crate::report::{Report, quantile};
use crate::sys;

pub fn all<R: Tasks>() -> Vec<Micro> {
    vec![("cross", cross::<R>)]
}

const IDLE: u8 = 0;
const ASKED: u8 = 1;
const ANSWERED: u8 = 2;
const OVER: u8 = 3;

#[derive(Default)]
struct Line {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

/// The other side: sleeps until asked, computes for a while, and answers by waking the task.
fn answer(line: &Line, busy: Duration, core: Option<usize>) {
    if let Some(core) = core {
        let _ = sys::pin(core);
    }
    loop {
        match line.state.load(Ordering::Acquire) {
            ASKED => {
                let asked = Instant::now();
                while !busy.is_zero() && asked.elapsed() < busy {
                    std::hint::spin_loop();
                }
                let waker = line.waker.lock().expect("no panic inside").take();
                line.state.store(ANSWERED, Ordering::Release);
                waker.into_iter().for_each(Waker::wake);
            }
            OVER => return,
            _ => std::thread::park(),
        }
    }
}

/// A task asks and a thread answers. One operation is the round trip, with one wake each way.
fn cross<R: Tasks>(a: &Args) -> Report {
    let line = Arc::new(Line::default());
    let (busy, core) = (Duration::from_micros(a.us), a.peer_core);
    let thread = std::thread::spawn({
        let line = line.clone();
        move || answer(&line, busy, core)
    });
    let (n, warm, other) = (a.n, a.warm, thread.thread().clone());
    let mut report = in_task::<R, _>(async move {
        let mut times = Vec::with_capacity((warm + n) as usize);
        let (mut all, mut own) = (0, 0);
        for i in 0..warm + n {
            if i == warm {
                (all, own) = (sys::process_cpu(), sys::thread_cpu());
            }
            let begin = Instant::now();
            let mut asked = false;
            poll_fn(|cx| {
                if asked && line.state.load(Ordering::Acquire) == ANSWERED {
                    return Poll::Ready(());
                }
                *line.waker.lock().expect("no panic inside") = Some(cx.waker().clone());
                if !asked {
                    asked = true;
                    line.state.store(ASKED, Ordering::Release);
                    other.unpark();
                } else if line.state.load(Ordering::Acquire) == ANSWERED {
                    return Poll::Ready(());
                }
                Poll::Pending
            })
            .await;
            line.state.store(IDLE, Ordering::Release);
            times.push(begin.elapsed().as_nanos() as u64);
        }
        let (all, own) = (sys::process_cpu() - all, sys::thread_cpu() - own);
        line.state.store(OVER, Ordering::Release);
        other.unpark();
        let times = &mut times[warm as usize..];
        times.sort_unstable();
        let mut r = Report::default();
        r.set("ops", n as f64);
        r.set("ns", times.iter().sum::<u64>() as f64 / n as f64);
        r.set("p50_ns", quantile(times, 0.5) as f64);
        r.set("p99_ns", quantile(times, 0.99) as f64);
        r.set("cpu_ns", own as f64 / n as f64);
        r.set("process_cpu_ns", all as f64 / n as f64);
        r
    });
    thread.join().expect("the answering thread");
    report.set("threads", 2.0);
    report
}
