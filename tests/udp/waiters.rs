use super::support::{on_every_backend, poll_once, wait};
use super::{bound, pair};
use reveille::net::{RecvBatch, UdpSocket};
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Unlike in tokio, where only the waker of the last poll is kept.
#[test]
fn poll_methods_wake_every_task_that_polled() {
    type Recv = fn(&UdpSocket, &mut Context<'_>) -> bool;
    let methods: [Recv; 7] = [
        |socket, cx| socket.poll_recv(cx, &mut [0; 8]).is_pending(),
        |socket, cx| socket.poll_recv_from(cx, &mut [0; 8]).is_pending(),
        |socket, cx| socket.poll_peek(cx, &mut [0; 8]).is_pending(),
        |socket, cx| socket.poll_peek_from(cx, &mut [0; 8]).is_pending(),
        |socket, cx| socket.poll_peek_sender(cx).is_pending(),
        |socket, cx| socket.poll_recv_ready(cx).is_pending(),
        |socket, cx| {
            let mut batch = RecvBatch::new(4, 8);
            socket.poll_recv_many(cx, &mut batch).is_pending()
        },
    ];
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            for round in 0..3 {
                let wakes: Vec<_> = (0..21).map(|_| Arc::new(Wakes::default())).collect();
                for (index, wake) in wakes.iter().enumerate() {
                    let waker = Waker::from(wake.clone());
                    let poll = methods[index % methods.len()];
                    assert!(poll(&there, &mut Context::from_waker(&waker)));
                }
                here.send(b"x").await.unwrap();
                while wakes.iter().any(|wake| wake.0.load(Ordering::SeqCst) == 0) {
                    reveille::yield_now().await;
                }
                println!("round {round}");
                assert_eq!(there.try_recv(&mut [0; 8]).unwrap(), 1);
            }
        });
    });
}

#[test]
fn each_datagram_goes_to_one_of_the_tasks() {
    const TASKS: usize = 10;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let (there, received) = (Rc::new(there), Rc::new(Cell::new(0)));
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let (there, received) = (there.clone(), received.clone());
                    reveille::spawn(async move {
                        for _ in 0..20 {
                            assert_eq!(there.recv(&mut [0; 8]).await.unwrap(), 1);
                            received.set(received.get() + 1);
                        }
                    })
                })
                .collect();
            for _ in 0..TASKS * 20 {
                here.send(b"x").await.unwrap();
                reveille::yield_now().await;
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(received.get(), TASKS * 20);
        });
    });
}

/// A waiter that is gone takes no datagram with it.
#[test]
fn cancelled_receive_loses_nothing() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let mut buf = [0; 8];
            for _ in 0..20 {
                {
                    let mut first = pin!(there.recv(&mut buf));
                    assert!(poll_once(&mut first).await.is_pending());
                }
                {
                    let mut second = [0; 8];
                    let mut second = pin!(there.recv_from(&mut second));
                    assert!(poll_once(&mut second).await.is_pending());
                    here.send(b"x").await.unwrap();
                    // Woken, perhaps, and dropped before it is polled again.
                    reveille::yield_now().await;
                }
                assert_eq!(there.recv(&mut buf).await.unwrap(), 1);
            }
        });
    });
}

/// The owner's loop runs while another thread sends and receives on its socket.
#[test]
fn other_threads_send_and_receive() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let ((here, here_addr), (there, addr)) = (bound().await, bound().await);
            let (here, there) = (Arc::new(here), Arc::new(there));
            let echo = thread::spawn({
                let there = there.clone();
                move || {
                    wait(async {
                        let mut batch = RecvBatch::new(4, 64);
                        let mut buf = [0; 64];
                        for round in 0..200 {
                            if round % 2 == 0 {
                                let (n, peer) = there.recv_from(&mut buf).await.unwrap();
                                there.send_to(&buf[..n], peer).await.unwrap();
                            } else {
                                assert_eq!(there.recv_many(&mut batch).await.unwrap(), 1);
                                assert_eq!(there.send_many(&batch).await.unwrap(), 1);
                            }
                        }
                    });
                }
            });
            let mut buf = [0; 64];
            for round in 0..200u8 {
                here.send_to(&[round], addr).await.unwrap();
                assert_eq!(here.recv_from(&mut buf).await.unwrap(), (1, addr));
                assert_eq!(buf[0], round);
            }
            echo.join().unwrap();
            assert_eq!(here.local_addr().unwrap(), here_addr);
        });
    });
}

#[test]
fn wait_on_a_runtime_that_is_gone_is_an_error() {
    on_every_backend(|runtime| {
        let kind = runtime.backend_name().parse().ok();
        let builder = match kind {
            Some(kind) => reveille::Builder::new().backend(kind),
            None => reveille::Builder::new(),
        };
        let other = builder.build().unwrap();
        let (socket, addr) = other.block_on(bound());
        let waiting = thread::spawn(move || {
            let result = wait(socket.recv(&mut [0; 8]));
            (socket, result)
        });
        // The wait may begin before or after the end of the runtime.
        other.turn(Some(std::time::Duration::ZERO)).unwrap();
        drop(other);
        let (socket, result) = waiting.join().unwrap();
        assert!(result.unwrap_err().to_string().contains("is gone"));
        // What need not wait still works.
        assert_eq!(socket.try_send_to(b"x", addr).unwrap(), 1);
        super::support::arrived(&socket);
        assert_eq!(socket.try_recv(&mut [0; 8]).unwrap(), 1);
    });
}

/// Raises the soft limit of descriptors to the hard one. Returns it.
fn raise_limit() -> libc::rlim_t {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(8192);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    limit.rlim_cur
}

/// Each task passes on what it receives to the socket of the next one, all around.
#[test]
fn thousand_sockets_pass_datagrams_on() {
    let count = if raise_limit() < 2048 { 200 } else { 1000 };
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut sockets = Vec::new();
            for _ in 0..count {
                sockets.push(bound().await);
            }
            let addrs: Vec<_> = sockets.iter().map(|(_, addr)| *addr).collect();
            let tasks: Vec<_> = sockets
                .into_iter()
                .enumerate()
                .map(|(index, (socket, _))| {
                    let next = addrs[(index + 1) % addrs.len()];
                    reveille::spawn(async move {
                        let mut buf = [0; 8];
                        for _ in 0..2 {
                            let n = socket.recv(&mut buf).await.unwrap();
                            if n > 1 || index + 1 < count {
                                let n = if index + 1 == count { 1 } else { n };
                                socket.send_to(&buf[..n], next).await.unwrap();
                            }
                        }
                    })
                })
                .collect();
            let (first, _) = bound().await;
            // It has two bytes in the first lap, and one in the second.
            first.send_to(b"xx", addrs[0]).await.unwrap();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn poll_send_keeps_its_promise_to_be_ready() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let addr = there.local_addr().unwrap();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(matches!(here.poll_send(&mut cx, b"x"), Poll::Ready(Ok(1))));
            let sent = here.poll_send_to(&mut cx, b"x", addr);
            assert!(matches!(sent, Poll::Ready(Ok(1))));
            assert_eq!(there.recv(&mut [0; 8]).await.unwrap(), 1);
            assert_eq!(there.recv(&mut [0; 8]).await.unwrap(), 1);
        });
    });
}
