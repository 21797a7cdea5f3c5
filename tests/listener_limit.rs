//! `Listener::limit`: the limit holds, no connection is lost, and permits are dropped anywhere.

mod support;

use reveille::net::{LimitedListener, Permit, TcpListener, TcpStream};
use reveille::{Runtime, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread;
use support::{on_every_backend, poll_once};

async fn limited(connections: usize) -> LimitedListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.limit(connections)
}

/// Connects, with blocking streams that wait in the queue of the listener.
fn connect(listener: &LimitedListener, count: usize) -> Vec<std::net::TcpStream> {
    let addr = listener.get_ref().local_addr().unwrap();
    let connect = || std::net::TcpStream::connect(addr).unwrap();
    (0..count).map(|_| connect()).collect()
}

/// Accepts in a task, and collects what it gets.
struct Acceptor {
    got: Rc<RefCell<Vec<(TcpStream, Permit)>>>,
    _task: reveille::task::AbortOnDropHandle<()>,
}

impl Acceptor {
    fn new(listener: &Rc<LimitedListener>) -> Acceptor {
        let got = Rc::new(RefCell::new(Vec::new()));
        let (listener, place) = (listener.clone(), got.clone());
        let task = spawn(async move {
            loop {
                let (stream, _, permit) = listener.accept().await.unwrap();
                place.borrow_mut().push((stream, permit));
            }
        });
        Acceptor {
            got,
            _task: task.abort_on_drop(),
        }
    }

    fn count(&self) -> usize {
        self.got.borrow().len()
    }

    async fn until(&self, count: usize) {
        while self.count() < count {
            yield_now().await;
        }
    }
}

/// Lets every event arrive that is there, and every task run.
async fn settle(runtime: &Runtime) {
    let _ = runtime;
    let (near, far) = support::pair().await;
    for _ in 0..20 {
        near.write_all(b"x").await.unwrap();
        far.read_exact(&mut [0]).await.unwrap();
        yield_now().await;
    }
}

#[test]
fn limit_holds_and_no_connection_is_lost() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = Rc::new(limited(3).await);
            let clients = connect(&listener, 10);
            let acceptor = Acceptor::new(&listener);
            acceptor.until(3).await;
            settle(runtime).await;
            assert_eq!((acceptor.count(), listener.connections()), (3, 3));
            // Each that ends lets one in.
            for ended in 1..=7 {
                let first = acceptor.got.borrow_mut().remove(0);
                drop(first);
                acceptor.until(3).await;
                settle(runtime).await;
                assert_eq!(acceptor.count(), 3, "after {ended} have ended");
            }
            acceptor.got.borrow_mut().clear();
            assert_eq!(listener.connections(), 0);
            for mut client in clients {
                assert_eq!(client.read(&mut [0]).unwrap(), 0, "was accepted");
            }
        });
    });
}

#[test]
fn accepting_goes_on_at_the_low_mark() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = Rc::new(limited(4).await.resume_at(1));
            let _clients = connect(&listener, 8);
            let acceptor = Acceptor::new(&listener);
            acceptor.until(4).await;
            for left in [3, 2] {
                acceptor.got.borrow_mut().pop();
                settle(runtime).await;
                assert_eq!(acceptor.count(), left, "above the low mark");
            }
            acceptor.got.borrow_mut().pop();
            acceptor.until(4).await;
            settle(runtime).await;
            assert_eq!(acceptor.count(), 4);
        });
    });
}

#[test]
fn a_paused_listener_accepts_nothing_until_it_is_resumed() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = Rc::new(limited(100).await);
            listener.pause();
            let _clients = connect(&listener, 5);
            let acceptor = Acceptor::new(&listener);
            settle(runtime).await;
            assert_eq!(acceptor.count(), 0);
            listener.resume();
            acceptor.until(5).await;
            listener.pause();
            let _more = connect(&listener, 1);
            // Permits that are dropped do not resume it.
            acceptor.got.borrow_mut().clear();
            settle(runtime).await;
            assert_eq!((acceptor.count(), listener.is_paused()), (0, true));
            listener.resume();
            acceptor.until(1).await;
        });
    });
}

#[test]
fn futures_that_are_dropped_keep_no_permit() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = Rc::new(limited(1).await);
            for _ in 0..10 {
                let mut accept = pin!(listener.accept());
                assert!(poll_once(&mut accept).await.is_pending());
            }
            assert_eq!(listener.connections(), 0);
            let _clients = connect(&listener, 2);
            let (_stream, _, permit) = listener.accept().await.unwrap();
            {
                let mut accept = pin!(listener.accept());
                assert!(poll_once(&mut accept).await.is_pending(), "full");
            }
            drop(permit);
            let _second = listener.accept().await.unwrap();
        });
    });
}

#[test]
fn permits_are_dropped_on_other_threads() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = Rc::new(limited(2).await);
            let _clients = connect(&listener, 50);
            for _ in 0..25 {
                let (_, _, first) = listener.accept().await.unwrap();
                let (_, _, second) = listener.accept().await.unwrap();
                let thread = thread::spawn(move || drop((first, second)));
                if listener.connections() == 0 {
                    thread.join().unwrap();
                }
            }
            while listener.connections() > 0 {
                yield_now().await;
            }
        });
    });
}

/// The limit is not reached by a task that tries to accept when one more connection is allowed.
#[test]
fn a_try_to_accept_does_not_count_as_a_connection() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let listener = Rc::new(limited(2).await.resume_at(0));
            let acceptor = Acceptor::new(&listener);
            let _first = connect(&listener, 1);
            acceptor.until(1).await;
            // The acceptor tries again and finds nothing.
            settle(runtime).await;
            let _second = connect(&listener, 1);
            acceptor.until(2).await;
            settle(runtime).await;
            let _third = connect(&listener, 1);
            settle(runtime).await;
            assert_eq!(acceptor.count(), 2);
            acceptor.got.borrow_mut().clear();
            acceptor.until(1).await;
        });
    });
}

/// A waiting future takes its waker back, so there may be any number.
#[test]
fn thousands_of_tasks_wait_without_waking_each_other() {
    reveille::block_on(async {
        let listener = Rc::new(limited(1).await);
        listener.pause();
        let polls = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..3000)
            .map(|_| {
                let (listener, polls) = (listener.clone(), polls.clone());
                spawn(async move {
                    let mut accept = Box::pin(listener.accept());
                    std::future::poll_fn(|cx| {
                        polls.set(polls.get() + 1);
                        accept.as_mut().poll(cx).map(drop)
                    })
                    .await
                })
            })
            .collect();
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(polls.get(), 3000);
        for task in tasks {
            task.abort();
        }
    });
}

/// Panics when it wakes.
struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("from a waker");
    }
}

#[test]
fn a_panic_of_a_waker_does_not_come_out_of_a_permit() {
    reveille::block_on(async {
        let listener = limited(1).await;
        let _clients = connect(&listener, 2);
        let (_stream, _, permit) = listener.accept().await.unwrap();
        let polled = {
            let waker = Waker::from(Arc::new(Bomb));
            listener.poll_accept(&mut Context::from_waker(&waker))
        };
        assert!(polled.is_pending());
        drop(permit);
        assert_eq!(listener.connections(), 0);
        let _next = listener.accept().await.unwrap();
    });
}

#[test]
fn limits_without_a_sense_are_refused() {
    reveille::block_on(async {
        let done = Cell::new(0);
        for (high, low) in [(0, None), (3, Some(3))] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let refused = catch_unwind(AssertUnwindSafe(|| {
                let limited = listener.limit(high);
                low.map(|low| limited.resume_at(low))
            }));
            assert!(refused.is_err());
            done.set(done.get() + 1);
        }
        assert_eq!(done.get(), 2);
    });
}
