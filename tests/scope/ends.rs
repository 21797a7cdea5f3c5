//! How children and scopes end.

use super::support::panics::{hushed, message_of, text_of};
use super::support::wait;
use super::{Wakes, poll};
use reveille::runtime::UnhandledPanic;
use reveille::task::{Scope, ScopedJoinHandle, TryScope, scope, try_scope};
use reveille::{Builder, Runtime};
use std::cell::{Cell, RefCell};
use std::future::{Future, Ready, pending, poll_fn, ready};
use std::mem::ManuallyDrop;
use std::panic::panic_any;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Writes its name to a trace when it is dropped, and panics with it if it has to.
struct Noted<'a> {
    name: &'static str,
    trace: &'a RefCell<Vec<&'static str>>,
    panics: bool,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.trace.borrow_mut().push(self.name);
        if self.panics {
            panic_any(self.name);
        }
    }
}

/// What was dropped.
#[derive(Default)]
struct Trace(RefCell<Vec<&'static str>>);

impl Trace {
    fn noted(&self, name: &'static str) -> Noted<'_> {
        self.value(name, false)
    }

    fn bad(&self, name: &'static str) -> Noted<'_> {
        self.value(name, true)
    }

    fn value(&self, name: &'static str, panics: bool) -> Noted<'_> {
        let trace = &self.0;
        Noted {
            name,
            trace,
            panics,
        }
    }

    /// Returns the names since the last call, sorted.
    fn take(&self) -> Vec<&'static str> {
        let mut names = self.0.take();
        names.sort_unstable();
        names
    }
}

/// A child that is never ready, and owns a value.
async fn hold<T>(_value: T) {
    pending().await
}

/// Is pending in its first poll, after waking itself.
fn pass() -> impl Future<Output = ()> {
    let mut polled = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

#[test]
fn scope_returns_the_output_of_the_body_after_all_children() {
    let (mut count, texts) = (0, vec![String::from("a"), String::from("bc")]);
    let sum = wait(scope(async |s| {
        s.spawn(async {
            pass().await;
            count += 1;
        });
        let lens: Vec<_> = texts
            .iter()
            .map(|text| {
                s.spawn(async move {
                    pass().await;
                    text.len()
                })
            })
            .collect();
        let mut sum = 0;
        for len in lens {
            sum += len.await.unwrap();
        }
        // Not awaited, and not ready when the body ends.
        s.spawn(async {
            for _ in 0..10 {
                pass().await;
            }
            texts.len()
        });
        sum
    }));
    assert_eq!((sum, count), (3, 1));
    drop(texts);
}

#[test]
fn scope_without_children_is_ready_at_once() {
    let mut all = pin!(scope(|_| ready(7)));
    assert_eq!(poll(all.as_mut(), Waker::noop()), Poll::Ready(7));
    let text = message_of(|| {
        let _ = poll(all.as_mut(), Waker::noop());
    });
    assert!(text.contains("scope polled after it returned"), "{text}");
}

#[test]
fn handle_returns_the_output_after_the_end_of_the_scope() {
    let (mut first, mut second) = wait(scope(async |s| {
        let first = s.spawn(async { 1 });
        let second = s.spawn(async { pass().await });
        assert!(!first.is_finished());
        (first, second)
    }));
    assert!(first.is_finished() && second.is_finished());
    assert_eq!(wait(&mut first).unwrap(), 1);
    let text = message_of(|| drop(wait(&mut first)));
    assert!(text.contains("polled after it returned"), "{text}");
    wait(&mut second).unwrap();
}

#[test]
fn dropped_handle_drops_the_output_when_the_child_ends() {
    let trace = Trace::default();
    wait(scope(async |s| {
        drop(s.spawn(async { trace.noted("output") }));
        pass().await;
        assert_eq!(trace.take(), ["output"]);
        // A handle that is kept keeps the output.
        let kept = s.spawn(async { trace.noted("kept") });
        pass().await;
        assert_eq!(trace.take(), [""; 0]);
        drop(kept);
        assert_eq!(trace.take(), ["kept"]);
    }));
}

/// What a child has borrowed is free again when its handle is answered.
#[test]
fn child_is_dropped_before_its_handle_is_answered() {
    let trace = Trace::default();
    wait(scope(async |s| {
        let noted = trace.noted("child");
        let handle = s.spawn(poll_fn(move |_| {
            let _ = &noted;
            Poll::Ready(())
        }));
        handle.await.unwrap();
        assert_eq!(trace.take(), ["child"]);
    }));
}

#[test]
fn handle_wakes_the_last_waiter() {
    let mut all = pin!(scope(async |s| {
        let (s2, handle) = (s.clone(), s.spawn(async { pass().await }));
        let handle = Rc::new(RefCell::new(handle));
        let shared = handle.clone();
        // Polls the handle first, then leaves it to the other child.
        s2.spawn(poll_fn(move |cx| {
            assert!(pin!(&mut *shared.borrow_mut()).poll(cx).is_pending());
            Poll::Ready(())
        }));
        s2.spawn(poll_fn(move |cx| pin!(&mut *handle.borrow_mut()).poll(cx)));
    }));
    let (wakes, waker) = Wakes::new();
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!(wakes.take(), 1);
    assert!(poll(all.as_mut(), &waker).is_ready());
}

#[test]
fn dropped_handle_keeps_no_waker() {
    let (wakes, waker) = Wakes::new();
    wait(scope(async |s| {
        let mut handle = s.spawn(async {
            pass().await;
            pass().await;
        });
        assert!(poll(pin!(&mut handle), &waker).is_pending());
        assert_eq!(Arc::strong_count(&wakes), 3);
        drop(handle);
        assert_eq!(Arc::strong_count(&wakes), 2);
    }));
    assert_eq!(wakes.take(), 0);
}

#[test]
fn aborted_child_is_dropped_and_the_others_go_on() {
    let trace = Trace::default();
    wait(scope(async |s| {
        let first = s.spawn(hold(trace.noted("first")));
        let second = s.spawn(async {
            pass().await;
            pass().await;
            2
        });
        pass().await;
        first.abort();
        first.abort();
        assert_eq!(trace.take(), [""; 0], "the scope drops it, not the call");
        let error = first.await.unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(trace.take(), ["first"]);
        assert_eq!(second.await.unwrap(), 2);
    }));
}

#[test]
fn abort_of_a_child_that_has_ended_changes_nothing() {
    wait(scope(async |s| {
        let handle = s.spawn(async { 5 });
        pass().await;
        assert!(handle.is_finished());
        handle.abort();
        pass().await;
        assert_eq!(handle.await.unwrap(), 5);
    }));
}

#[test]
fn child_that_aborts_itself_runs_until_its_poll_ends() {
    let trace = Trace::default();
    let own: RefCell<Option<ScopedJoinHandle<()>>> = RefCell::new(None);
    wait(scope(async |s| {
        let handle = s.spawn(async {
            let _noted = trace.noted("child");
            own.borrow().as_ref().unwrap().abort();
            trace.0.borrow_mut().push("runs");
            pending().await
        });
        own.replace(Some(handle));
    }));
    assert_eq!(trace.0.take(), ["runs", "child"]);
    let handle = own.take().unwrap();
    assert!(wait(handle).unwrap_err().is_cancelled());
}

#[test]
fn abort_all_drops_what_was_spawned_before() {
    let trace = Trace::default();
    let output = wait(scope(async |s| {
        let old = s.spawn(hold(trace.noted("old")));
        pass().await;
        let (s2, trace) = (s.clone(), &trace);
        s.spawn(async move {
            let _noted = trace.noted("caller");
            s2.abort_all();
            s2.abort_all();
            trace.0.borrow_mut().push("runs");
            s2.spawn(async move {
                pass().await;
                trace.0.borrow_mut().push("new");
            });
            pending::<()>().await;
        });
        // It would be polled after the caller.
        let noted = trace.noted("never polled");
        s.spawn(async move {
            trace.0.borrow_mut().push("polled");
            hold(noted).await
        });
        assert!(old.await.unwrap_err().is_cancelled());
        assert_eq!(trace.take(), ["caller", "never polled", "old", "runs"]);
        let new = s.spawn(async { 4 });
        s.spawn(async { pass().await });
        new.await.unwrap()
    }));
    assert_eq!((output, trace.take()), (4, vec!["new"]));
}

#[test]
fn abort_all_by_the_body_drops_at_its_next_wait() {
    let trace = Trace::default();
    wait(scope(async |s| {
        s.abort_all();
        s.spawn(hold(trace.noted("child")));
        pass().await;
        s.abort_all();
        assert_eq!(trace.take(), [""; 0]);
        pass().await;
        assert_eq!(trace.take(), ["child"]);
    }));
}

/// Nothing else wakes the task, and the list of woken children is empty after one poll.
#[test]
fn abort_all_between_polls_wakes_the_task() {
    let trace = Trace::default();
    let wakers = RefCell::new(Vec::new());
    let kept = RefCell::new(None);
    let mut all = pin!(scope(async |s: Scope<'_>| {
        for _ in 0..100 {
            let (noted, wakers) = (trace.noted("child"), &wakers);
            s.spawn(poll_fn(move |cx| {
                let _ = &noted;
                wakers.borrow_mut().push(cx.waker().clone());
                Poll::<()>::Pending
            }));
        }
        kept.replace(Some(s));
        pending::<()>().await;
    }));
    let (wakes, waker) = Wakes::new();
    loop {
        assert!(poll(all.as_mut(), &waker).is_pending());
        if wakes.take() == 0 {
            break;
        }
    }
    let s = kept.take().unwrap();
    wakers.take().into_iter().for_each(Waker::wake);
    s.abort_all();
    s.abort_all();
    assert_eq!((wakes.take(), trace.take()), (1, vec![]));
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!((wakes.take(), trace.take()), (0, vec!["child"; 100]));
}

/// A child that was woken and then dropped is still in the list of woken children. Its place in the
/// table belongs to another child.
#[test]
fn wake_of_a_dropped_child_does_not_poll_the_next_one_in_its_place() {
    struct Spawns<'env>(Scope<'env>, &'env Cell<usize>);
    impl Drop for Spawns<'_> {
        fn drop(&mut self) {
            let polls = self.1;
            self.0.spawn(poll_fn(move |_| {
                polls.set(polls.get() + 1);
                Poll::<()>::Pending
            }));
        }
    }
    let [first, second] = [const { Cell::new(0) }; 2];
    let (child, kept) = (RefCell::new(None), RefCell::new(None));
    let mut all = pin!(scope(async |s: Scope<'_>| {
        let spawns = Spawns(s.clone(), &second);
        let (first, child) = (&first, &child);
        s.spawn(poll_fn(move |cx| {
            let _ = &spawns;
            first.set(first.get() + 1);
            child.replace(Some(cx.waker().clone()));
            Poll::<()>::Pending
        }));
        kept.replace(Some(s));
    }));
    let (wakes, waker) = Wakes::new();
    assert!(poll(all.as_mut(), &waker).is_pending());
    child.take().into_iter().for_each(Waker::wake);
    kept.take().unwrap().abort_all();
    assert_eq!(wakes.take(), 1);
    assert!(poll(all.as_mut(), &waker).is_pending());
    let polls = (first.get(), second.get());
    assert_eq!(
        (polls, wakes.take()),
        ((1, 1), 0),
        "the first is not polled"
    );
}

#[test]
fn spawn_after_the_end_drops_the_future() {
    let trace = Trace::default();
    let (s, t) = (
        wait(scope(async |s| s)),
        wait(try_scope(async |s: TryScope<'_, ()>| Ok(s))),
    );
    let handle = s.spawn(hold(trace.noted("late")));
    assert_eq!(trace.take(), ["late"]);
    handle.abort();
    assert!(wait(handle).unwrap_err().is_cancelled());
    let handle = t.unwrap().spawn(async { Ok(trace.noted("late").name) });
    assert!(wait(handle).unwrap_err().is_cancelled());
    s.abort_all();
    assert_eq!(format!("{s:?}"), "Scope { children: 0, .. }");
}

/// The children hold handles of the scope, so nothing else would ever drop them.
#[test]
fn panic_of_the_function_that_makes_the_body_drops_the_children() {
    let trace = Trace::default();
    let text = message_of(|| {
        drop(scope(|s: Scope<'_>| -> Ready<()> {
            for noted in [trace.bad("one"), trace.noted("two")] {
                let held = (noted, s.clone());
                s.spawn(async move {
                    let _held = held;
                    pending::<()>().await;
                });
            }
            panic!("no body")
        }));
    });
    assert_eq!((&*text, trace.take()), ("no body", vec!["one", "two"]));
}

#[test]
fn error_of_a_child_drops_all_others_before_the_scope_returns() {
    let trace = Trace::default();
    let outcome = wait(try_scope(async |s| {
        let _noted = trace.noted("body");
        s.spawn(hold_ok(trace.noted("sibling")));
        let ok = s.spawn(async { Ok(trace.noted("output")) });
        s.spawn(async {
            pass().await;
            let _noted = trace.noted("failed");
            Err::<(), _>("first")
        });
        s.spawn(async {
            pass().await;
            trace.0.borrow_mut().push("never polled");
            Err::<(), _>("second")
        });
        drop(ok.await);
        pending::<()>().await;
        Ok(())
    }));
    assert_eq!(outcome, Err("first"));
    assert_eq!(trace.take(), ["body", "failed", "output", "sibling"]);
}

async fn hold_ok<T, E>(_value: T) -> Result<(), E> {
    pending().await
}

#[test]
fn error_of_the_body_drops_the_children() {
    let trace = Trace::default();
    let outcome: Result<(), _> = wait(try_scope(async |s| {
        s.spawn(hold_ok(trace.noted("child")));
        pass().await;
        Err("body")
    }));
    assert_eq!(outcome, Err("body"));
    assert_eq!(trace.take(), ["child"]);
}

#[test]
fn try_scope_without_errors_returns_the_output() {
    let texts = ["1", "20", "x"];
    let parse = |count| {
        let texts = &texts;
        wait(try_scope(async |s| {
            let parsed: Vec<_> = texts[..count]
                .iter()
                .map(|text| s.spawn(async move { text.parse::<u32>() }))
                .collect();
            s.spawn(async {
                pass().await;
                Ok(())
            });
            let mut sum = 0;
            for number in parsed {
                sum += number.await.expect("an error ends the body");
            }
            Ok(sum)
        }))
    };
    assert_eq!(parse(2), Ok(21));
    assert!(parse(3).is_err());
}

/// A handle that is kept outside learns that the scope has failed.
#[test]
fn handles_of_dropped_children_return_an_error() {
    let kept = RefCell::new(Vec::new());
    let outcome: Result<(), _> = wait(try_scope(async |s| {
        kept.borrow_mut().push(s.spawn(pending::<Result<(), _>>()));
        kept.borrow_mut().push(s.spawn(async { Err("no") }));
        pending().await
    }));
    assert_eq!(outcome, Err("no"));
    for handle in kept.take() {
        assert!(wait(handle).unwrap_err().is_cancelled());
    }
}

#[test]
fn panic_of_a_child_drops_all_others_and_is_resumed() {
    let trace = Trace::default();
    let payload = hushed(|| {
        wait(scope(async |s| {
            let _noted = trace.noted("body");
            s.spawn(hold(trace.noted("sibling")));
            s.spawn(async {
                pass().await;
                let _noted = trace.noted("panicked");
                panic_any("child")
            });
            s.spawn(async {
                pass().await;
                trace.0.borrow_mut().push("never polled");
            });
            pending::<()>().await;
        }));
    });
    assert_eq!(text_of(&*payload.unwrap_err()), "child");
    assert_eq!(trace.take(), ["body", "panicked", "sibling"]);
}

#[test]
fn panic_of_the_body_drops_the_children_and_is_resumed() {
    let trace = Trace::default();
    let text = message_of(|| {
        wait(scope(async |s| {
            s.spawn(hold(trace.noted("child")));
            pass().await;
            panic!("body");
        }));
    });
    assert_eq!((text.as_str(), trace.take()), ("body", vec!["child"]));
}

/// The runtime sees one panic, as from any other future.
#[test]
fn panic_of_a_child_goes_to_the_handle_of_the_task() {
    reveille::block_on(async {
        let task = reveille::spawn(scope(async |s| {
            s.spawn(async { pending::<()>().await });
            s.spawn(async { std::panic::resume_unwind(Box::new("child")) });
        }));
        let payload = task.await.unwrap_err().into_panic();
        assert_eq!(payload.downcast_ref(), Some(&"child"));
    });
}

#[test]
fn panic_in_a_drop_lets_all_others_be_dropped() {
    let trace = Trace::default();
    // The panic of the child is the first.
    let text = message_of(|| {
        wait(scope(async |s| {
            let _bad = trace.bad("body");
            s.spawn(hold(trace.bad("one")));
            s.spawn(hold(trace.bad("two")));
            s.spawn(async { panic!("child") });
            pending::<()>().await;
        }));
    });
    assert_eq!(
        (text.as_str(), trace.take()),
        ("child", vec!["body", "one", "two"])
    );
    // An error is dropped if a drop panics.
    let text = message_of(|| {
        drop(wait(try_scope(async |s| {
            s.spawn(hold_ok(trace.bad("one")));
            s.spawn(hold_ok(trace.noted("two")));
            s.spawn(async { Err::<(), _>(trace.bad("error")) });
            pending::<()>().await;
            Ok(())
        })));
    });
    assert_eq!(
        (text.as_str(), trace.take()),
        ("one", vec!["error", "one", "two"])
    );
}

#[test]
fn panic_in_the_drop_of_a_child_that_ends_or_is_aborted_ends_the_scope() {
    let trace = Trace::default();
    for aborts in [false, true] {
        let text = message_of(|| {
            wait(scope(async |s| {
                s.spawn(hold(trace.noted("sibling")));
                let bad = trace.bad("bad");
                let handle = s.spawn(poll_fn(move |_| {
                    let _ = &bad;
                    if aborts {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                }));
                pass().await;
                if aborts {
                    handle.abort();
                }
                pending::<()>().await;
            }));
        });
        assert_eq!(
            (text.as_str(), trace.take()),
            ("bad", vec!["bad", "sibling"])
        );
    }
}

/// Its output is dropped before the panic goes on: by the unwinding it would end the process.
#[test]
fn panic_in_the_drop_of_a_child_that_has_an_output_drops_the_output() {
    let trace = Trace::default();
    let text = message_of(|| {
        wait(scope(async |s| {
            let (bad, trace) = (trace.bad("child"), &trace);
            s.spawn(poll_fn(move |_| {
                let _ = &bad;
                Poll::Ready(trace.bad("output"))
            }));
        }));
    });
    assert_eq!(
        (text.as_str(), trace.take()),
        ("child", vec!["child", "output"])
    );
    // The same for a body.
    let text = message_of(|| {
        drop(wait(scope(|_| {
            let (bad, trace) = (trace.bad("body"), &trace);
            poll_fn(move |_| {
                let _ = &bad;
                Poll::Ready(trace.bad("output"))
            })
        })));
    });
    assert_eq!(
        (text.as_str(), trace.take()),
        ("body", vec!["body", "output"])
    );
}

#[test]
fn drop_of_a_scope_drops_everything_once() {
    let trace = Trace::default();
    for polls in 0..3 {
        let (wakes, waker) = Wakes::new();
        let kept = RefCell::new(Vec::new());
        let mut all = Box::pin(scope(async |s| {
            let _noted = trace.noted("body");
            let (s2, trace, kept) = (s.clone(), &trace, &kept);
            s.spawn(async move {
                let _noted = trace.noted("parent");
                let _s = s2.clone();
                s2.spawn(hold(trace.noted("child")));
                poll_fn(|cx| {
                    kept.borrow_mut().push(cx.waker().clone());
                    Poll::<()>::Pending
                })
                .await
            });
            pending::<()>().await;
        }));
        for _ in 0..polls {
            assert!(poll(all.as_mut(), &waker).is_pending());
        }
        drop(all);
        let expected: &[&str] = match polls {
            0 => &[],
            _ => &["body", "child", "parent"],
        };
        assert_eq!(trace.take(), expected);
        // Wakes of what has ended reach nothing, and keep nothing.
        kept.take().into_iter().for_each(Waker::wake);
        drop(waker);
        assert_eq!((wakes.take(), Arc::strong_count(&wakes)), (0, 1));
    }
}

#[test]
fn drop_of_a_scope_in_which_drops_panic_resumes_the_first() {
    let trace = Trace::default();
    let mut all = Box::pin(scope(async |s| {
        let _bad = trace.bad("body");
        s.spawn(hold(trace.bad("one")));
        s.spawn(hold(trace.bad("two")));
        pending::<()>().await;
    }));
    assert!(poll(all.as_mut(), Waker::noop()).is_pending());
    let text = message_of(|| drop(all));
    assert_eq!(
        (text.as_str(), trace.take()),
        ("body", vec!["body", "one", "two"])
    );
}

#[test]
fn panic_in_the_drop_of_an_output_goes_to_the_policy() {
    let trace = Trace::default();
    let (runtime, reported) = reporting();
    runtime.block_on(async {
        let (first, second) = scope(async |s| {
            let first = s.spawn(async { trace.bad("first") });
            let second = s.spawn(async { trace.bad("second") });
            drop(s.spawn(async { trace.bad("unwanted") }));
            (first, second)
        })
        .await;
        drop(first);
        drop(second);
    });
    assert_eq!(reported.take(), ["unwanted", "first", "second"]);
}

/// Returns a runtime, and the panics that its policy has received.
fn reporting() -> (Runtime, Rc<RefCell<Vec<String>>>) {
    let reported = Rc::new(RefCell::new(Vec::new()));
    let into = reported.clone();
    let policy = UnhandledPanic::Call(Box::new(move |report| {
        into.borrow_mut().push(text_of(report.payload()));
    }));
    let runtime = Builder::new().unhandled_panic(policy).build().unwrap();
    (runtime, reported)
}

/// A second panic during an unwinding would end the process.
#[test]
fn drop_of_a_scope_by_an_unwinding_reports_panics_of_drops() {
    let trace = Trace::default();
    let (runtime, reported) = reporting();
    let text = message_of(|| {
        runtime.block_on(async {
            let mut all = pin!(scope(async |s| {
                s.spawn(hold(trace.bad("one")));
                s.spawn(hold(trace.bad("two")));
                pending::<()>().await;
            }));
            assert!(poll(all.as_mut(), Waker::noop()).is_pending());
            panic!("outside");
        })
    });
    assert_eq!(
        (text.as_str(), trace.take()),
        ("outside", vec!["one", "two"])
    );
    runtime.block_on(async {});
    assert_eq!(reported.take(), ["one"]);
}

#[test]
fn spawn_in_the_drop_of_a_child_is_refused() {
    struct Spawns<'a, 'env>(Scope<'env>, &'a Trace, &'env Trace);
    impl Drop for Spawns<'_, '_> {
        fn drop(&mut self) {
            let handle = self.0.spawn(hold(self.2.noted("late")));
            assert!(handle.is_finished());
            self.1.0.borrow_mut().push("dropped");
            self.0.abort_all();
        }
    }
    let trace = Trace::default();
    let mut all = Box::pin(scope(async |s| {
        s.spawn(hold(Spawns(s.clone(), &trace, &trace)));
        pending::<()>().await;
    }));
    assert!(poll(all.as_mut(), Waker::noop()).is_pending());
    drop(all);
    assert_eq!(trace.take(), ["dropped", "late"]);
}

/// Nothing is dropped, so nothing can be used that is gone. (The end of the test drops the scope,
/// for tools that look for leaks.)
#[test]
fn leaked_scope_leaks_its_children() {
    let drops = Rc::new(());
    let kept = Rc::new(RefCell::new(None));
    let (wakes, waker) = Wakes::new();
    let leaked = {
        let (drops, kept) = (drops.clone(), kept.clone());
        let mut all = Box::pin(scope(move |s| async move {
            s.spawn(poll_fn(move |cx| {
                let _ = &drops;
                kept.replace(Some(cx.waker().clone()));
                Poll::<()>::Pending
            }));
        }));
        assert!(poll(all.as_mut(), &waker).is_pending());
        ManuallyDrop::new(all)
    };
    kept.take().unwrap().wake();
    assert_eq!(wakes.take(), 1);
    assert_eq!(Rc::strong_count(&drops), 2);
    drop(ManuallyDrop::into_inner(leaked));
    assert_eq!(Rc::strong_count(&drops), 1);
}

/// A waker whose clone wakes a child, and which counts its wakes.
#[test]
fn clone_of_the_waker_of_the_task_may_wake_a_child() {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{RawWaker, RawWakerVTable};
    static CHILD: Mutex<Option<Waker>> = Mutex::new(None);
    static WAKES: AtomicUsize = AtomicUsize::new(0);
    static VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| {
            let child = CHILD.lock().unwrap().take();
            child.into_iter().for_each(Waker::wake);
            RawWaker::new(std::ptr::null(), &VTABLE)
        },
        |_| _ = WAKES.fetch_add(1, SeqCst),
        |_| _ = WAKES.fetch_add(1, SeqCst),
        |_| {},
    );
    let polls = Cell::new(0);
    let mut all = pin!(scope(async |s| {
        s.spawn(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            if polls.get() == 1 {
                *CHILD.lock().unwrap() = Some(cx.waker().clone());
            }
            Poll::<()>::Pending
        }));
    }));
    // SAFETY: the functions use no data.
    let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &VTABLE)) };
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!((polls.get(), WAKES.swap(0, SeqCst)), (1, 1));
    assert!(poll(all.as_mut(), &waker).is_pending());
    assert_eq!((polls.get(), WAKES.swap(0, SeqCst)), (2, 0));
}
