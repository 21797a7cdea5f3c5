//! What a report lists, and its texts.

use super::{LONG, SHORT, on_every_mechanism};
use reveille::io::AsyncFd;
use reveille::net::{TcpListener, TcpStream, UdpSocket};
use reveille::runtime::ShutdownReport;
use reveille::time::{Duration, Sleep, now, sleep};
use reveille::{spawn, task};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::thread;

/// Polls the new tasks. The time of a short shutdown may be over before it polls anything.
fn poll_all(runtime: &reveille::Runtime) {
    runtime.turn(Some(Duration::ZERO)).unwrap();
}

#[test]
fn report_names_tasks_descriptors_and_timers() {
    on_every_mechanism(|make| {
        let builder = make.builder().track_spawn_locations(true);
        let runtime = builder.build().unwrap();
        let (fds, sent) = std::sync::mpsc::channel();
        let server = task::Builder::new().name("server").spawn_local_on(
            async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                fds.send(listener.as_raw_fd()).unwrap();
                let waits = async { drop(listener.accept().await) };
                reveille::time::timeout(LONG, waits).await.unwrap();
            },
            &runtime,
        );
        let id = server.id();
        let before = now();
        poll_all(&runtime);
        let report = runtime.shutdown(SHORT);
        assert!(report.is_late() && report.error().is_none());

        let [task] = report.tasks() else {
            panic!("{report:?}")
        };
        assert_eq!((task.id(), task.name()), (id, Some("server")));
        assert_eq!(task.spawned_at().unwrap().file(), file!());
        assert!(!task.is_finished());

        let [listener] = report.descriptors() else {
            panic!("{report:?}")
        };
        assert_eq!(listener.fd(), sent.recv().unwrap());
        assert_eq!(listener.waiting_tasks(), [id]);
        assert_eq!(
            (listener.task_id(), listener.task_name()),
            (Some(id), Some("server"))
        );
        assert_eq!(listener.task_spawned_at(), task.spawned_at());
        assert!(!listener.outlives_tasks());

        let [timer] = report.timers() else {
            panic!("{report:?}")
        };
        let deadline = timer.deadline().unwrap();
        assert!(before + LONG <= deadline && deadline <= now() + LONG + Duration::from_millis(1));
        assert_eq!(timer.waiting_task(), Some(id));
        assert!(!timer.outlives_tasks());

        check_texts(&report);
        assert!(server.wait().unwrap_err().is_runtime_gone());
    });
}

/// Checks the texts of a report with one task, its descriptor and its timer.
fn check_texts(report: &ShutdownReport) {
    let (task, listener) = (&report.tasks()[0], &report.descriptors()[0]);
    let (id, timer) = (task.id(), &report.timers()[0]);
    let text = report.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let (fd, place) = (listener.fd(), task.spawned_at().unwrap());
    let created = listener.created_at().unwrap();
    assert_eq!(
        lines[..3],
        [
            "the time was over: 1 task, 1 descriptor, 1 timer were left",
            &format!("  task {id} \"server\", spawned at {place}"),
            &format!(
                "  descriptor {fd}, created at {created}, registered by task {id} \"server\", spawned at {place}, awaited by task {id}"
            ),
        ]
    );
    assert!(lines[3].starts_with("  timer due in 35"), "{text}");
    let ending = format!(
        ", created at {}, awaited by task {id}",
        timer.created_at().unwrap()
    );
    assert!(lines[3].ends_with(&ending), "{text}");
    assert_eq!(lines.len(), 4);
    let debug = format!("{report:?}");
    for part in [
        "ShutdownReport",
        "\"server\"",
        "DescriptorInfo",
        "TimerInfo",
        "TaskInfo",
    ] {
        assert!(debug.contains(part), "{debug}");
    }
}

#[test]
fn report_without_locations_has_no_places() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        drop(runtime.spawn(async {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            drop(socket.recv(&mut [0]).await);
        }));
        poll_all(&runtime);
        let report = runtime.shutdown(SHORT);
        assert_eq!(report.tasks()[0].spawned_at(), None);
        let [socket] = report.descriptors() else {
            panic!("{report:?}")
        };
        assert_eq!((socket.task_id(), socket.task_name()), (None, None));
        assert_eq!(socket.task_spawned_at(), None);
        assert_eq!(socket.waiting_tasks(), [report.tasks()[0].id()]);
    });
}

/// A stream on another thread, one that was forgotten, and a timer in a variable.
#[test]
fn report_marks_what_outlives_the_tasks() {
    on_every_mechanism(|make| {
        let runtime = make.builder().track_spawn_locations(true).build().unwrap();
        let mut kept: Pin<Box<Sleep>> = Box::pin(sleep(LONG));
        let listener = runtime.block_on(async {
            let armed = poll_fn(|cx| Poll::Ready(kept.as_mut().poll(cx).is_pending())).await;
            assert!(armed);
            TcpListener::bind("127.0.0.1:0").await.unwrap()
        });
        let addr = listener.local_addr().unwrap();
        let leaks = runtime.spawn(async move {
            let leaked = TcpStream::connect(addr).await.unwrap();
            let (fd, sent) = (leaked.as_raw_fd(), TcpStream::connect(addr).await.unwrap());
            std::mem::forget(leaked);
            (fd, sent)
        });
        let leaker = leaks.id();
        let (leaked, sent) = runtime.block_on(leaks).unwrap();
        let (gate, wait) = std::sync::mpsc::channel::<()>();
        let elsewhere = sent.as_raw_fd();
        let other = thread::spawn(move || {
            wait.recv().unwrap_err();
            drop(sent);
        });

        let report = runtime.shutdown(LONG);
        assert!(!report.is_late() && !report.is_clean());
        assert!(report.tasks().is_empty());
        let find = |fd| {
            report
                .descriptors()
                .iter()
                .find(|info| info.fd() == fd)
                .unwrap()
        };
        assert_eq!(report.descriptors().len(), 3);
        for fd in [leaked, elsewhere] {
            assert!(find(fd).outlives_tasks());
            assert_eq!(
                find(fd).task_id(),
                Some(leaker),
                "the task that has ended is named"
            );
            assert_eq!(find(fd).task_spawned_at().unwrap().file(), file!());
        }
        assert!(find(listener.as_raw_fd()).outlives_tasks());
        assert_eq!(
            find(listener.as_raw_fd()).task_id(),
            None,
            "the root is no task"
        );
        let [timer] = report.timers() else {
            panic!("{report:?}")
        };
        assert!(timer.outlives_tasks() && timer.waiting_task().is_none());
        let text = report.to_string();
        assert!(
            text.starts_with("3 descriptors, 1 timer were left\n"),
            "{text}"
        );
        assert_eq!(text.matches(", outlives the tasks").count(), 4, "{text}");
        drop(gate);
        other.join().unwrap();
    });
}

/// A place in the table of registrations is used again, with tasks and without.
#[test]
fn registrant_is_that_of_the_present_registration() {
    on_every_mechanism(|make| {
        let runtime = make.builder().track_spawn_locations(true).build().unwrap();
        let fd = |socket: UnixStream| {
            socket.set_nonblocking(true).unwrap();
            AsyncFd::new(socket).unwrap()
        };
        for _ in 0..3 {
            runtime.block_on(spawn_with(&runtime, fd)).unwrap();
            runtime.turn(Some(Duration::ZERO)).unwrap();
        }
        runtime.shrink();
        let (here, _there) = UnixStream::pair().unwrap();
        let kept = runtime.enter(|| fd(here));
        let report = runtime.shutdown(LONG);
        let [info] = report.descriptors() else {
            panic!("{report:?}")
        };
        assert_eq!((info.fd(), info.task_id()), (kept.as_raw_fd(), None));
    });
}

fn spawn_with(
    runtime: &reveille::Runtime,
    fd: impl Fn(UnixStream) -> AsyncFd<UnixStream> + 'static,
) -> reveille::JoinHandle<()> {
    let (here, there) = UnixStream::pair().unwrap();
    runtime.spawn(async move { drop((fd(here), there)) })
}

#[test]
fn text_lists_twenty_of_a_kind() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        for _ in 0..123 {
            drop(runtime.spawn(pending::<()>()));
        }
        let report = runtime.shutdown(Duration::ZERO);
        let text = report.to_string();
        assert_eq!(report.tasks().len(), 123);
        assert_eq!(text.lines().count(), 1 + 20 + 1);
        assert!(
            text.starts_with("the time was over: 123 tasks were left\n"),
            "{text}"
        );
        assert!(text.ends_with("\n  and 103 more tasks"), "{text}");
    });
}

/// Several tasks wait for one descriptor, each in both directions.
#[test]
fn report_lists_each_waiting_task_once() {
    on_every_mechanism(|make| {
        let runtime = make.runtime();
        let (here, _there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let fd = Rc::new(runtime.enter(|| AsyncFd::new(here).unwrap()));
        let ids = Rc::new(RefCell::new(Vec::new()));
        runtime.block_on(async {
            for _ in 0..3 {
                let fd = fd.clone();
                let task = spawn(async move {
                    let other = fd.clone();
                    let waits = [fd, other].map(|fd| async move { drop(fd.readable().await) });
                    let mut waits = waits.map(Box::pin);
                    poll_fn(|cx| {
                        waits.iter_mut().for_each(|wait| {
                            assert!(wait.as_mut().poll(cx).is_pending());
                        });
                        Poll::<()>::Pending
                    })
                    .await;
                });
                ids.borrow_mut().push(task.id());
            }
            reveille::yield_now().await;
        });
        let report = runtime.shutdown(Duration::ZERO);
        let [info] = report.descriptors() else {
            panic!("{report:?}")
        };
        let mut ids = ids.take();
        ids.sort_unstable();
        assert_eq!(info.waiting_tasks(), ids);
        assert!(info.outlives_tasks());
    });
}
