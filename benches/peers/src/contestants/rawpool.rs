//! Threads for blocking code by hand, for the row `blocking`: a locked queue with a condition
//! variable, a locked list of answers, an eventfd under epoll. No futures and no handles.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::rawwake::Eventfd;
use crate::contestant::{Args, Micro};
use crate::report::Report;
use crate::sys::{self, Epoll};
use crate::workloads::blocking::{RoundTrips, closure};

pub fn all() -> Vec<Micro> {
    vec![("blocking", blocking)]
}

type Closure = Box<dyn FnOnce() -> u64 + Send>;

#[derive(Default)]
struct Queue {
    /// Closures with the number of their caller.
    waiting: VecDeque<(usize, Closure)>,
    idle: usize,
    over: bool,
}

struct Pool {
    queue: Mutex<Queue>,
    bell: Condvar,
    answers: Mutex<Vec<(usize, u64)>>,
    event: Eventfd,
}

impl Pool {
    fn push(&self, caller: usize, f: Closure) {
        let mut queue = self.queue.lock().expect("no panic inside");
        queue.waiting.push_back((caller, f));
        let rings = queue.idle > 0;
        drop(queue);
        if rings {
            self.bell.notify_one();
        }
    }

    fn work(&self) {
        let mut queue = self.queue.lock().expect("no panic inside");
        loop {
            while let Some((caller, f)) = queue.waiting.pop_front() {
                drop(queue);
                let value = f();
                let mut answers = self.answers.lock().expect("no panic inside");
                answers.push((caller, value));
                let first = answers.len() == 1;
                drop(answers);
                if first {
                    self.event.ring();
                }
                queue = self.queue.lock().expect("no panic inside");
            }
            if queue.over {
                return;
            }
            queue.idle += 1;
            queue = self.bell.wait(queue).expect("no panic inside");
            queue.idle -= 1;
        }
    }
}

/// `k` closures in flight, on as many threads.
fn blocking(a: &Args) -> Report {
    let pool = Arc::new(Pool {
        queue: Mutex::default(),
        bell: Condvar::new(),
        answers: Mutex::default(),
        event: Eventfd::with(libc::EFD_NONBLOCK),
    });
    let mut epoll = Epoll::new(16).expect("an epoll");
    let fd = pool.event.as_raw_fd();
    epoll.add(fd, sys::IN | sys::ET, 0).expect("room for one");
    let k = a.k.max(1) as usize;
    let threads: Vec<_> = (0..k)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || pool.work())
        })
        .collect();
    let mut phase = |n: usize| {
        let mut times = Vec::with_capacity(n);
        let mut begins = vec![Instant::now(); k];
        let mut left = n;
        let mut start = |caller: usize, begins: &mut [Instant]| {
            if left > 0 {
                left -= 1;
                begins[caller] = Instant::now();
                pool.push(caller, Box::new(closure(a.peer_core)));
            }
        };
        (0..k).for_each(|caller| start(caller, &mut begins));
        let mut answers = Vec::with_capacity(k);
        while times.len() < n {
            epoll.wait(-1);
            let mut list = pool.answers.lock().expect("no panic inside");
            std::mem::swap(&mut *list, &mut answers);
            drop(list);
            for (caller, value) in answers.drain(..) {
                assert_eq!(value, 1);
                times.push(begins[caller].elapsed().as_nanos() as u64);
                start(caller, &mut begins);
            }
        }
        times
    };
    phase(a.warm as usize);
    let clocks = RoundTrips::new();
    let times = phase(a.n as usize);
    let report = clocks.done(times);
    pool.queue.lock().expect("no panic inside").over = true;
    pool.bell.notify_all();
    for thread in threads {
        thread.join().expect("a thread of the pool");
    }
    report
}
