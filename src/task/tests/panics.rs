//! Panics at every place where the tasks call foreign code.

use super::*;

fn panic_of<T>(result: Result<T, JoinError>) -> &'static str {
    text(result.err().expect("no output").into_panic())
}

#[test]
fn panic_in_a_poll_goes_to_the_handle() {
    let bed = TestBed::new();
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
fn panic_in_a_poll_of_a_detached_task_is_kept() {
    let bed = TestBed::new();
    let handle = bed.spawn(async { panic!("unseen") });
    bed.enter(|_| drop(handle));
    assert_eq!(bed.step(), Some(Outcome::DetachedPanic));
    assert_eq!(bed.tasks.take_panic().map(text), Some("unseen"));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn panic_whose_handle_is_dropped_later_is_kept() {
    let bed = TestBed::new();
    let handle = bed.spawn(async { panic!("unseen") });
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert!(bed.tasks.take_panic().is_none());
    bed.enter(|_| drop(handle));
    assert_eq!(bed.tasks.take_panic().map(text), Some("unseen"));
    assert!(bed.tasks.take_panic().is_none());
    assert_eq!(bed.tasks.live(), 0);
}

/// A named future, because a panic in a drop inside of an async block is part of the poll.
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
fn panic_in_the_drop_of_an_ended_future() {
    let bed = TestBed::new();
    let handle = bed.spawn(BadDrop(true));
    assert_eq!(bed.settle(), 1);
    assert_eq!(panic_of(bed.join(handle)), "future");
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn panic_in_the_drop_of_an_aborted_future() {
    let bed = TestBed::new();
    let handle = bed.spawn(BadDrop(false));
    bed.settle();
    bed.enter(|_| handle.abort());
    assert_eq!(bed.settle(), 1);
    assert_eq!(panic_of(bed.join(handle)), "future");
}

#[test]
fn panic_in_the_drop_of_a_detached_output() {
    let bed = TestBed::new();
    let handle = bed.spawn(async { OnDrop(|| panic!("output")) });
    bed.enter(|_| drop(handle));
    assert_eq!(bed.step(), Some(Outcome::DetachedPanic));
    assert_eq!(bed.tasks.take_panic().map(text), Some("output"));
    assert_eq!(bed.tasks.live(), 0);
}

#[test]
fn panic_in_the_drop_of_an_output_with_its_handle() {
    let bed = TestBed::new();
    let handle = bed.spawn(async { OnDrop(|| panic!("output")) });
    bed.settle();
    bed.enter(|_| drop(handle));
    assert_eq!(bed.tasks.take_panic().map(text), Some("output"));
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
fn panic_in_a_join_waker() {
    let bed = TestBed::new();
    let mut handle = bed.spawn(async { 4 });
    let waker = Waker::from(Arc::new(BadWake));
    assert!(bed.enter(|_| poll_with(&mut handle, &waker)).is_pending());
    assert_eq!(bed.step(), Some(Outcome::Done));
    assert_eq!(bed.tasks.take_panic().map(text), Some("wake"));
    assert_eq!(bed.join(handle).unwrap(), 4);
}

#[test]
fn panic_in_the_drop_of_a_payload() {
    // Of a detached task: `take_panic` returns the payload, whose drop panics.
    let bed = TestBed::new();
    let handle = bed.spawn(async { panic_any(OnDrop(|| panic!("payload"))) });
    bed.enter(|_| drop(handle));
    assert_eq!(bed.step(), Some(Outcome::DetachedPanic));
    let payload = bed.tasks.take_panic();
    let result = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    assert_eq!(result.map_err(text), Err("payload"));
    // Dropped with the tasks, its panic is dropped too.
    let handle = bed.spawn(async { panic_any(OnDrop(|| panic!("payload"))) });
    bed.settle();
    bed.enter(|_| drop(handle));
}

#[test]
fn join_error_displays_the_reason() {
    let error = JoinError::panic(Box::new(String::from("text")));
    assert_eq!(error.to_string(), "task panicked: text");
    assert_eq!(format!("{error:?}"), "JoinError::Panic(\"text\")");
    assert_eq!(JoinError::panic(Box::new(7)).to_string(), "task panicked");
    let gone = JoinError::gone();
    assert!(gone.is_cancelled() && gone.is_runtime_gone());
    let gone = gone.try_into_panic().unwrap_err();
    assert_eq!(
        gone.to_string(),
        "task was dropped because its runtime was dropped or is being shut down"
    );
}

#[test]
fn panics_in_drops_of_outputs_are_kept_in_order() {
    let bed = TestBed::new();
    // `resume_unwind` prints nothing: a thousand backtraces take long under a sanitizer.
    let panic_with = |n: i32| OnDrop(move || resume_unwind(Box::new(n)));
    let outputs = (0..1000).map(|n| bed.spawn(async move { panic_with(n) }));
    let handles: Vec<_> = outputs.collect();
    bed.settle();
    bed.enter(|_| drop(handles));
    let panics = std::iter::from_fn(|| bed.tasks.take_panic());
    let numbers = panics.map(|panic| *panic.payload.downcast::<i32>().expect("a number"));
    assert!(numbers.eq(0..1000));
}

#[test]
fn panic_in_the_drop_of_a_join_waker() {
    struct BadDrop;
    impl Wake for BadDrop {
        fn wake(self: Arc<Self>) {
            drop(self);
        }
    }
    impl Drop for BadDrop {
        fn drop(&mut self) {
            panic!("waker");
        }
    }
    let bed = TestBed::new();
    let mut handle = bed.spawn(future::pending::<()>());
    let waker = Waker::from(Arc::new(BadDrop));
    assert!(bed.enter(|_| poll_with(&mut handle, &waker)).is_pending());
    // The clone in the table is the last one.
    drop(waker);
    bed.enter(|_| drop(handle));
    assert_eq!(bed.tasks.take_panic().map(text), Some("waker"));
}

#[test]
fn panics_in_drops_during_an_unwinding() {
    let bed = TestBed::new();
    let outputs = (0..3).map(|_| bed.spawn(async { OnDrop(|| panic!("output")) }));
    let handles: Vec<_> = outputs.collect();
    bed.settle();
    let result = catch_unwind(AssertUnwindSafe(|| {
        bed.enter(|_| {
            let _dropped_by_the_unwinding = handles;
            panic_any("first");
        });
    }));
    assert_eq!(result.map_err(text), Err("first"));
    let kept = std::iter::from_fn(|| bed.tasks.take_panic());
    assert_eq!(kept.map(text).collect::<Vec<_>>(), ["output"; 3]);
}

#[test]
fn panic_in_the_drop_of_a_join_error() {
    let bed = TestBed::new();
    let payload = || OnDrop(|| panic!("payload"));
    let error = || JoinError::panic(Box::new(payload()));
    bed.enter(|_| drop(error()));
    assert_eq!(bed.tasks.take_panic().map(text), Some("payload"));
    // Without a runtime the panic is dropped.
    drop(error());
    let taken = error().into_panic();
    assert!(bed.tasks.take_panic().is_none());
    let result = catch_unwind(AssertUnwindSafe(|| drop(taken)));
    assert_eq!(result.map_err(text), Err("payload"), "it is the caller's");
}

#[test]
fn panics_in_drops_after_the_end_of_the_tasks() {
    let bed = TestBed::new();
    let output = bed.spawn(async { OnDrop(|| panic!("output")) });
    bed.settle();
    bed.enter(|tasks| tasks.shutdown());
    assert_eq!(bed.tasks.take_panic().map(text), Some("output"));
    assert!(bed.join(output).err().expect("gone").is_runtime_gone());
    // A future that is spawned after the end is dropped at once.
    let late = bed.spawn(BadDrop(false));
    assert_eq!(bed.tasks.take_panic().map(text), Some("future"));
    assert!(bed.join(late).err().expect("gone").is_runtime_gone());
    // Spawned from another thread, the panic goes to the handle.
    let late = bed
        .tasks
        .remote()
        .spawn_message(SendBadDrop, Description::default());
    assert_eq!(panic_of(bed.join(late)), "future");
    drop(
        bed.tasks
            .remote()
            .spawn_message(SendBadDrop, Description::default()),
    );
}

/// A `BadDrop` that is `Send`.
struct SendBadDrop;

impl Future for SendBadDrop {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for SendBadDrop {
    fn drop(&mut self) {
        panic!("future");
    }
}
