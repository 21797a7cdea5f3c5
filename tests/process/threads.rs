//! Children that are used on other threads than that of their runtime.

use super::support::{self, wait};
use super::{another_like, id, is_reaped, on_every_way, turn_until_reaped};
use reveille::Runtime;
use reveille::process::Child;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

#[test]
fn child_is_waited_for_on_another_thread() {
    on_every_way(|runtime, way| {
        runtime.block_on(async {
            let mut child = way.cat();
            let (pid, stdin) = (id(&child), child.stdin.take());
            let (done, mut result) = (mpsc::channel(), None);
            let waiter = thread::spawn(move || {
                let status = wait(child.wait()).unwrap();
                done.0.send(status).unwrap();
            });
            drop(stdin);
            while result.is_none() {
                reveille::time::sleep(std::time::Duration::from_millis(1)).await;
                result = done.1.try_recv().ok();
            }
            assert!(result.unwrap().success());
            assert!(is_reaped(pid));
            waiter.join().unwrap();
        });
    });
}

#[test]
fn child_is_dropped_on_another_thread() {
    on_every_way(|runtime, way| {
        for ends_first in [false, true] {
            let mut child = runtime.enter(|| way.cat());
            let (pid, stdin) = (id(&child), child.stdin.take());
            if ends_first {
                drop(stdin);
                thread::spawn(move || drop(child)).join().unwrap();
            } else {
                thread::spawn(move || drop(child)).join().unwrap();
                runtime.turn(Some(std::time::Duration::ZERO)).unwrap();
                assert!(!is_reaped(pid));
                drop(stdin);
            }
            turn_until_reaped(runtime, pid);
        }
    });
}

/// The processes end at the same time as well. The last of the drops reaps them, or the next
/// runtime.
#[test]
fn child_is_dropped_while_its_runtime_ends() {
    on_every_way(|runtime, way| {
        for round in 0..support::rounds(12) {
            let other = another_like(runtime);
            let mut children: Vec<Child> = (0..4).map(|_| other.enter(|| way.cat())).collect();
            let pids: Vec<u32> = children.iter().map(id).collect();
            let stdins: Vec<_> = children
                .iter_mut()
                .map(|child| child.stdin.take())
                .collect();
            if round % 2 == 0 {
                drop(children.pop()); // The runtime has this one.
            }
            let start = Arc::new(Barrier::new(3));
            let at_once = |f: Box<dyn FnOnce() + Send>| {
                let start = start.clone();
                thread::spawn(move || {
                    start.wait();
                    f();
                })
            };
            let ends = at_once(Box::new(|| drop(stdins)));
            let drops = at_once(Box::new(|| drop(children)));
            start.wait();
            drop(other);
            ends.join().unwrap();
            drops.join().unwrap();
            while !pids.iter().all(|pid| is_reaped(*pid)) {
                thread::sleep(Duration::from_millis(1));
                drop(another_like(runtime));
            }
        }
    });
}

#[test]
fn child_is_dropped_in_another_runtime() {
    on_every_way(|runtime, way| {
        let other = another_like(runtime);
        let mut child = other.enter(|| way.cat());
        let (pid, stdin) = (id(&child), child.stdin.take());
        runtime.block_on(async move { drop(child) });
        drop(stdin);
        turn_until_reaped(&other, pid);
    });
}

#[test]
fn runtimes_on_several_threads_have_children() {
    on_every_way(|runtime, way| {
        let kind = support::rounds(20);
        let threads = (0..3).map(|at| {
            let name = runtime.backend_name().to_owned();
            thread::spawn(move || {
                let runtime = same(&name);
                runtime.block_on(async {
                    for code in 0..kind {
                        let mut waited = way.shell(&format!("exit {code}")).spawn().unwrap();
                        drop(way.command("true").spawn().unwrap());
                        let status = waited.wait().await.unwrap();
                        assert_eq!(status.code(), Some(code as i32), "{at}");
                    }
                });
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
    });
}

fn same(name: &str) -> Runtime {
    let mut kinds = reveille::backend::BackendKind::ALL.into_iter();
    match kinds.find(|kind| kind.name() == name) {
        Some(kind) if std::env::var_os("REVEILLE_BACKEND").is_none() => {
            reveille::Builder::new().backend(kind).build().unwrap()
        }
        _ => Runtime::new().unwrap(),
    }
}

#[test]
fn child_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Child>();
    check::<reveille::process::Command>();
}
