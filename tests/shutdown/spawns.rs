//! Which spawns a shutdown refuses, how, and that none is lost.

use super::{LONG, OnDrop, SHORT, assert_clean, on_every_mechanism, spawn_sending};
use futures_task::Spawn;
use reveille::task::{JoinSet, scope};
use reveille::{Handle, JoinHandle, spawn, task};
use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;

#[test]
fn task_that_spawns_gets_a_handle_without_a_task() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let (send, dropped) = channel();
        let done = spawn_sending(&runtime, async move {
            let value = OnDrop("spawned", send.clone());
            let spawned = spawn(async move {
                let _value = value;
            });
            assert_eq!(
                dropped.try_recv(),
                Ok("spawned"),
                "the future is dropped at once"
            );
            assert!(spawned.is_finished());
            assert!(spawned.await.unwrap_err().is_runtime_gone());

            let value = OnDrop("named", send.clone());
            let named = task::Builder::new()
                .name("named")
                .spawn(async move { drop(value) });
            assert_eq!(dropped.try_recv(), Ok("named"));
            named.abort();
            assert!(named.await.unwrap_err().is_runtime_gone());

            let value = OnDrop("by a handle", send.clone());
            let handle = Handle::current();
            let spawned = handle.spawn(async move { drop(value) });
            assert_eq!(dropped.try_recv(), Ok("by a handle"));
            assert!(spawned.await.unwrap_err().is_runtime_gone());
            assert!(handle.status().is_err());

            let mut set = JoinSet::new();
            set.spawn(async { 7 });
            assert!(
                set.join_next()
                    .await
                    .unwrap()
                    .unwrap_err()
                    .is_runtime_gone()
            );

            // Children of a scope are no tasks.
            let seven = 7;
            scope(async |s| s.spawn(async { seven }).await.unwrap()).await
        });
        assert_clean(&runtime.shutdown(LONG));
        assert_eq!(done.recv().unwrap(), 7);
    });
}

/// The task does not return from its poll until the other thread has spawned, so that the spawn is
/// refused without the loop.
#[test]
fn other_thread_that_spawns_gets_a_handle_without_a_task() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let handle = runtime.handle();
        let ((begin, begun), (done, wait)) = (channel(), channel::<()>());
        let other = thread::spawn(move || {
            begun.recv().unwrap();
            let (send, dropped) = channel();
            let value = OnDrop("there", send);
            let spawned = handle.spawn(async move { drop(value) });
            assert_eq!(dropped.try_recv(), Ok("there"));
            assert!(spawned.wait().unwrap_err().is_runtime_gone());
            assert!(handle.status().is_err());
            drop(done);
        });
        let task = spawn_sending(&runtime, async move {
            begin.send(()).unwrap();
            wait.recv().unwrap_err();
        });
        assert_clean(&runtime.shutdown(LONG));
        task.recv().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn spawns_that_the_loop_has_not_seen_are_carried_out() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let handle = runtime.handle();
        let sent = thread::spawn(move || [1, 2, 3].map(|n| handle.spawn(async move { n })));
        let sent = sent.join().unwrap();
        assert_clean(&runtime.shutdown(LONG));
        assert_eq!(sent.map(|task| task.wait().unwrap()), [1, 2, 3]);
    });
}

/// Threads spawn all the time. Every future is dropped once, whether it has run or not, and every
/// handle says which: nothing is lost, and no handle waits forever.
#[test]
fn every_spawn_of_many_threads_is_carried_out_or_refused() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        struct Counts(Arc<AtomicUsize>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let (first, spawned) = channel();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (handle, first) = (runtime.handle(), first.clone());
                let (ran, dropped) = (ran.clone(), dropped.clone());
                thread::spawn(move || {
                    let mut handles: Vec<JoinHandle<()>> = Vec::new();
                    while handle.status().is_ok() || handles.is_empty() {
                        let (ran, counts) = (ran.clone(), Counts(dropped.clone()));
                        handles.push(handle.spawn(async move {
                            let _counts = counts;
                            ran.fetch_add(1, SeqCst);
                        }));
                        first.send(()).ok();
                        thread::yield_now();
                    }
                    handles
                })
            })
            .collect();
        for _ in 0..40 {
            spawned.recv().unwrap();
        }
        assert_clean(&runtime.shutdown(LONG));
        let handles = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        let (mut all, mut ended) = (0, 0);
        for handle in handles {
            all += 1;
            match handle.wait() {
                Ok(()) => ended += 1,
                Err(error) => assert!(error.is_runtime_gone()),
            }
        }
        assert_eq!((ran.load(SeqCst), dropped.load(SeqCst)), (ended, all));
    });
}

#[test]
fn drop_of_a_task_after_the_deadline_spawns_nothing() {
    struct Spawns(Handle, Rc<RefCell<Vec<JoinHandle<()>>>>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let mut made = self.1.borrow_mut();
            made.push(spawn(async {}));
            made.push(self.0.spawn(async {}));
            made.push(self.0.spawn_blocking(|| ()));
        }
    }
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let made = Rc::default();
        let value = Spawns(runtime.handle(), Rc::clone(&made));
        drop(runtime.spawn(async move {
            let _value = value;
            pending::<()>().await;
        }));
        assert!(runtime.shutdown(SHORT).is_late());
        let made = made.take();
        assert_eq!(made.len(), 3);
        for handle in made {
            assert!(handle.wait().unwrap_err().is_runtime_gone());
        }
    });
}
