//! Children that wait for sockets, timers, tasks and threads, on every mechanism.

use super::support::{on_every_backend, pair, read_to_end};
use reveille::net::{TcpListener, TcpStream};
use reveille::task::{scope, try_scope};
use reveille::time::{Duration, now, sleep, timeout, timeout_at};
use reveille::{spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;

/// A day, in which no test ends.
const LONG: Duration = Duration::from_secs(24 * 3600);

#[test]
fn children_echo_through_streams_that_the_parent_owns() {
    const CONNECTIONS: usize = 40;
    on_every_backend(|runtime| {
        let sent = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let received = RefCell::new(Vec::new());
            let echoed = Cell::new(0);
            scope(async |s| {
                let (s2, listener, echoed) = (s.clone(), &listener, &echoed);
                // Accepts, and spawns siblings that borrow as it does.
                s.spawn(async move {
                    for _ in 0..CONNECTIONS {
                        let (stream, _) = listener.accept().await.unwrap();
                        s2.spawn(async move {
                            let mut buf = [0; 7];
                            loop {
                                let n = stream.read(&mut buf).await.unwrap();
                                if n == 0 {
                                    return;
                                }
                                stream.write_all(&buf[..n]).await.unwrap();
                                echoed.set(echoed.get() + n);
                            }
                        });
                    }
                });
                for client in 0..CONNECTIONS {
                    let received = &received;
                    s.spawn(async move {
                        let stream = TcpStream::connect(addr).await.unwrap();
                        let text = format!("{client:03}").repeat(50);
                        stream.write_all(text.as_bytes()).await.unwrap();
                        stream.shutdown(std::net::Shutdown::Write).unwrap();
                        assert_eq!(read_to_end(&stream, 64).await, text.as_bytes());
                        received.borrow_mut().push(client);
                    });
                }
            })
            .await;
            assert_eq!(echoed.get(), CONNECTIONS * 150);
            received.into_inner()
        });
        assert_eq!(sent.len(), CONNECTIONS);
    });
}

/// A reader and a writer of one borrowed stream, without a split.
#[test]
fn two_children_share_one_stream() {
    const BYTES: usize = 1 << 20;
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let len = scope(async |s| {
                let reader = s.spawn(async { read_to_end(&here, 4096).await.len() });
                s.spawn(async {
                    here.write_all(&vec![1; BYTES]).await.unwrap();
                    here.shutdown(std::net::Shutdown::Write).unwrap();
                });
                s.spawn(async {
                    let mut buf = vec![0; 4096];
                    loop {
                        let n = there.read(&mut buf).await.unwrap();
                        there.write_all(&buf[..n]).await.unwrap();
                        if n == 0 {
                            return there.shutdown(std::net::Shutdown::Write).unwrap();
                        }
                    }
                });
                reader.await.unwrap()
            });
            assert_eq!(len.await, BYTES);
        });
    });
}

#[test]
fn deadline_drops_the_scope_and_keeps_what_it_has_stored() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (stream, peer) = pair().await;
            let done = RefCell::new(Vec::new());
            let begun = now();
            let all = scope(async |s| {
                for time in [Duration::ZERO, LONG, 2 * LONG] {
                    let done = &done;
                    s.spawn(async move {
                        sleep(time).await;
                        done.borrow_mut().push(time);
                    });
                }
                s.spawn(async { stream.read(&mut [0]).await.unwrap() });
                pending::<()>().await;
            });
            let deadline = begun + Duration::from_millis(30);
            assert!(timeout_at(deadline, all).await.is_err());
            assert!(now() >= deadline);
            assert_eq!(done.into_inner(), [Duration::ZERO]);
            // The stream that the children have borrowed is as before.
            peer.write_all(b"x").await.unwrap();
            assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 1);
        });
    });
}

/// A child that is always ready does not hide the deadline.
#[test]
fn deadline_ends_a_scope_that_is_always_ready() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let all = scope(async |s| {
                for _ in 0..100 {
                    s.spawn(async {
                        loop {
                            yield_now().await;
                        }
                    });
                }
                s.spawn(async {
                    loop {
                        sleep(Duration::ZERO).await;
                    }
                });
            });
            assert!(timeout(Duration::from_millis(10), all).await.is_err());
        });
    });
}

#[test]
fn error_of_a_connection_ends_the_others() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (idle, _peer) = pair().await;
            let (closed, peer) = pair().await;
            drop(peer);
            let read = async |stream: &TcpStream| {
                let mut buf = [0; 4];
                stream.read_exact(&mut buf).await.map(|_| buf)
            };
            let outcome: io::Result<()> = try_scope(async |s| {
                s.spawn(read(&idle));
                s.spawn(read(&closed));
                s.spawn(async {
                    sleep(LONG).await;
                    Ok(())
                });
                Ok(())
            })
            .await;
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        });
    });
}

#[test]
fn children_wait_for_tasks_threads_and_closures() {
    on_every_backend(|runtime| {
        let handle = runtime.handle();
        let sum = runtime.block_on(scope(async |s| {
            let task = s.spawn(async {
                let task = spawn(async {
                    yield_now().await;
                    1
                });
                task.await.unwrap()
            });
            let closure = s.spawn(async { reveille::spawn_blocking(|| 10).await.unwrap() });
            let thread = s.spawn(async {
                let thread = std::thread::spawn(move || handle.spawn(async { 100 }));
                // The join blocks this thread until the other one has sent the task.
                thread.join().unwrap().await.unwrap()
            });
            task.await.unwrap() + closure.await.unwrap() + thread.await.unwrap()
        }));
        assert_eq!(sum, 111);
    });
}

#[test]
fn scope_in_a_task_that_is_aborted_drops_its_children() {
    on_every_backend(|runtime| {
        let (alive, count) = (std::rc::Rc::new(()), std::rc::Rc::strong_count);
        runtime.block_on(async {
            let inside = alive.clone();
            let task = spawn(scope(move |s| async move {
                for _ in 0..3 {
                    let inside = inside.clone();
                    s.spawn(async move {
                        sleep(LONG).await;
                        drop(inside);
                    });
                }
                pending::<()>().await;
            }));
            while count(&alive) < 5 {
                yield_now().await;
            }
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(count(&alive), 1);
        });
    });
}

/// A scope, its children and their children wait at the same time.
#[test]
fn nested_scopes_wait_for_io_and_timers() {
    on_every_backend(|runtime| {
        let begun = std::time::Instant::now();
        let total = runtime.block_on(async {
            let total = Cell::new(0);
            scope(async |s| {
                for outer in 0..10 {
                    let total = &total;
                    s.spawn(async move {
                        let (stream, peer) = pair().await;
                        scope(async |s| {
                            s.spawn(async {
                                sleep(Duration::from_millis(5)).await;
                                peer.write_all(&[outer]).await.unwrap();
                            });
                            s.spawn(async {
                                let mut buf = [0];
                                stream.read_exact(&mut buf).await.unwrap();
                                total.set(total.get() + u32::from(buf[0]));
                            });
                        })
                        .await;
                    });
                }
            })
            .await;
            total.get()
        });
        assert_eq!(total, 45);
        assert!(begun.elapsed() >= Duration::from_millis(5));
    });
}
