//! Panics at every place where foreign code runs.

use super::*;

fn panic_of<T>(result: Result<T, JoinError>) -> &'static str {
    text(result.err().expect("no output").into_panic())
}

#[test]
fn in_poll() {
    let bed = Bed::new();
    let drops = Rc::new(Cell::new(0));
    let count = drops.clone();
    let guard = OnDrop(move || count.set(count.get() + 1));
    let handle = bed.spawn(async move {
        let _guard = guard;
        panic!("poll");
    });
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert_eq!(drops.get(), 1);
    let error = bed.join(handle).unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.to_string(), "task panicked: poll");
    assert_eq!(
        std::io::Error::from(error).to_string(),
        "task panicked: poll"
    );
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn in_poll_detached_before() {
    let bed = Bed::new();
    let handle = bed.spawn(async { panic!("nobody") });
    bed.enter(|_| drop(handle));
    assert_eq!(bed.step(), Some(Outcome::DetachedPanic));
    assert_eq!(bed.tasks.take_panic().map(text), Some("nobody"));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn in_poll_detached_after() {
    let bed = Bed::new();
    let handle = bed.spawn(async { panic!("nobody") });
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert!(bed.tasks.take_panic().is_none());
    bed.enter(|_| drop(handle));
    assert_eq!(bed.tasks.take_panic().map(text), Some("nobody"));
    assert!(bed.tasks.take_panic().is_none());
    assert_eq!(bed.tasks.live(), 0);
}

/// A future of its own, because a panic in a drop inside of an async block is part of the poll.
struct BadDrop(bool);

impl Future for BadDrop {
    type Output = OnDrop<Box<dyn FnMut()>>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0 {
            Poll::Ready(OnDrop(Box::new(|| panic!("output"))))
        } else {
            Poll::Pending
        }
    }
}

impl Drop for BadDrop {
    fn drop(&mut self) {
        panic!("future");
    }
}

#[test]
fn in_drop_of_an_ended_future() {
    let bed = Bed::new();
    let handle = bed.spawn(BadDrop(true));
    assert_eq!(bed.settle(), 1);
    assert_eq!(panic_of(bed.join(handle)), "future");
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn in_drop_of_an_aborted_future() {
    let bed = Bed::new();
    let handle = bed.spawn(BadDrop(false));
    bed.settle();
    bed.enter(|_| handle.abort());
    assert_eq!(bed.settle(), 1);
    assert_eq!(panic_of(bed.join(handle)), "future");
}

#[test]
fn in_drop_of_a_detached_output() {
    let bed = Bed::new();
    let handle = bed.spawn(async { OnDrop(|| panic!("output")) });
    bed.enter(|_| drop(handle));
    assert_eq!(bed.step(), Some(Outcome::DetachedPanic));
    assert_eq!(bed.tasks.take_panic().map(text), Some("output"));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn in_drop_of_an_output_with_its_handle() {
    let bed = Bed::new();
    let handle = bed.spawn(async { OnDrop(|| panic!("output")) });
    bed.settle();
    // It is the dropper's panic.
    let result = catch_unwind(AssertUnwindSafe(|| bed.enter(|_| drop(handle))));
    assert_eq!(result.map_err(text), Err("output"));
    assert_eq!(bed.tasks.live(), 0);
    bed.spawn(async {});
    assert_eq!(bed.settle(), 1);
}

struct BadWake;

impl Wake for BadWake {
    fn wake(self: Arc<Self>) {
        panic!("wake");
    }
}

#[test]
fn in_the_join_waker() {
    let bed = Bed::new();
    let mut handle = bed.spawn(async { 4 });
    let waker = Waker::from(Arc::new(BadWake));
    assert!(bed.enter(|_| poll_with(&mut handle, &waker)).is_pending());
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert_eq!(bed.tasks.take_panic().map(text), Some("wake"));
    assert_eq!(bed.join(handle).unwrap(), 4);
}

#[test]
fn in_the_drop_of_a_payload() {
    // Detached, with a payload whose drop panics: the caller gets it whole.
    let bed = Bed::new();
    let handle = bed.spawn(async { panic_any(OnDrop(|| panic!("payload"))) });
    bed.enter(|_| drop(handle));
    assert_eq!(bed.step(), Some(Outcome::DetachedPanic));
    let payload = bed.tasks.take_panic();
    let result = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    assert_eq!(result.map_err(text), Err("payload"));
    // Left to the tasks, it is swallowed.
    let handle = bed.spawn(async { panic_any(OnDrop(|| panic!("payload"))) });
    bed.settle();
    bed.enter(|_| drop(handle));
}

#[test]
fn errors_say_what_they_are() {
    let error = JoinError::panic(Box::new(String::from("text")));
    assert_eq!(error.to_string(), "task panicked: text");
    assert_eq!(format!("{error:?}"), "JoinError::Panic(\"text\")");
    assert_eq!(JoinError::panic(Box::new(7)).to_string(), "task panicked");
    let gone = JoinError::gone();
    assert!(gone.is_cancelled() && gone.is_runtime_gone());
    let gone = gone.try_into_panic().unwrap_err();
    assert_eq!(gone.to_string(), "task was dropped: its runtime is gone");
}
