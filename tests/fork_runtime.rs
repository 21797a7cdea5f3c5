//! A process forks while a runtime is alive: the parent's runtime goes on, whatever the child does
//! with its copy, and the child makes one of its own.
//!
//! One test in a binary of its own, because a child has only the thread that forked: a lock of the
//! test harness that another thread held stays locked in it.

mod support;

use reveille::backend::BackendKind;
use reveille::net::TcpStream;
use reveille::time::{Duration, sleep, timeout};
use reveille::{Builder, JoinHandle, Runtime};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::{guarded, pair};

/// 0 in the child, which ends by `end`.
fn fork() -> libc::pid_t {
    // SAFETY: the child goes on with this thread alone, and never returns from this block.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the call takes no pointer. A child that hangs is ended by it.
        unsafe { libc::alarm(120) };
    }
    child
}

fn end(f: impl FnOnce()) -> ! {
    let done = catch_unwind(AssertUnwindSafe(f)).is_ok();
    // SAFETY: the call takes no pointer.
    unsafe { libc::_exit(i32::from(!done)) }
}

/// How the child ended.
fn status_of(child: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: the status outlives the call; the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

async fn ping(client: &TcpStream, server: &TcpStream) {
    for _ in 0..3 {
        let there = async {
            let mut byte = [0];
            server.read_exact(&mut byte).await.unwrap();
            server.write_all(&byte).await.unwrap();
        };
        let back = async {
            client.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
        };
        // In turns: the server waits first.
        let mut there = std::pin::pin!(there);
        assert!(support::poll_once(&mut there).await.is_pending());
        let mut back = std::pin::pin!(back);
        assert!(support::poll_once(&mut back).await.is_pending());
        there.await;
        back.await;
    }
}

fn play_child(
    kind: BackendKind,
    inherited: Runtime,
    streams: (TcpStream, TcpStream),
    sleeper: JoinHandle<()>,
) {
    // The copy is refused with a reason, or does nothing; it does not hang and takes nothing from
    // the parent.
    assert!(inherited.host_fd().is_err(), "{kind}");
    let used = catch_unwind(AssertUnwindSafe(|| {
        inherited.block_on(async {
            // So that the next deadline is another one than the parent's, which would wait for it.
            sleeper.abort();
            let mut byte = [0];
            timeout(Duration::from_secs(3600), streams.0.read(&mut byte)).await
        })
    }));
    assert!(!matches!(used, Ok(Ok(Ok(_)))), "{kind}: read something");
    drop(streams);
    drop(inherited);
    let own = Builder::new().backend(kind).build().unwrap();
    own.block_on(async {
        let (client, server) = pair().await;
        ping(&client, &server).await;
    });
}

/// The copy of a runtime is shut down in the child: it is dropped without a wait, for the reason in
/// the report.
fn shut_down_in_child(kind: BackendKind, inherited: Runtime, sleeper: JoinHandle<()>) {
    let report = inherited.shutdown(Duration::from_secs(3600));
    assert!(!report.is_clean() && !report.is_late(), "{kind}");
    let error = report.error().expect("it is the parent's").to_string();
    assert!(error.contains("before a fork"), "{kind}: {error}");
    assert_eq!((report.tasks().len(), report.timers().len()), (1, 1));
    assert!(report.blocking_jobs().is_empty(), "{kind}");
    drop(sleeper);
}

#[test]
fn runtime_goes_on_in_the_parent_and_its_child_makes_another() {
    for kind in BackendKind::ALL {
        for precise in [false, true] {
            let builder = Builder::new().backend(kind).precise_timers(precise);
            let runtime = match builder.build() {
                Ok(runtime) => runtime,
                Err(error) if error.kind() == ErrorKind::Unsupported => continue,
                Err(error) => panic!("{kind}: {error}"),
            };
            guarded(kind.name(), move || {
                let (client, server) = runtime.block_on(pair());
                runtime.block_on(ping(&client, &server));
                // A turn that ends before the deadline leaves the timer fd set to it.
                let mut time = Duration::from_millis(300);
                let sleeper = loop {
                    let sleeper = runtime.spawn(sleep(time));
                    for _ in 0..2 {
                        runtime.turn(Some(Duration::from_millis(1))).unwrap();
                    }
                    if runtime.enter(|| !sleeper.is_finished()) {
                        break sleeper;
                    }
                    // This thread was held up.
                    time *= 2;
                };
                let child = fork();
                if child == 0 {
                    end(|| play_child(kind, runtime, (client, server), sleeper));
                }
                assert_eq!(status_of(child), 0, "{kind}");
                let child = fork();
                if child == 0 {
                    end(|| shut_down_in_child(kind, runtime, sleeper));
                }
                assert_eq!(status_of(child), 0, "{kind}");
                runtime.block_on(sleeper).unwrap();
                runtime.block_on(ping(&client, &server));
            });
        }
    }
}
