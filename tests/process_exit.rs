//! `process::exit` inside a runtime that a thread-local keeps: the process ends with the given exit
//! code.

use reveille::{Builder, JoinHandle, Runtime};
use std::cell::RefCell;
use std::process::{Command, exit};
use std::time::Duration;

/// The environment variable that tells the child where to exit.
const WHERE: &str = "REVEILLE_TEST_EXIT";

const CODE: i32 = 7;

thread_local! {
    static RUNTIME: Runtime = Builder::new()
        .on_park(|| if place().as_deref() == Ok("hook") { exit(CODE) })
        .build()
        .unwrap();
    /// Dropped at the exit too, in an unknown order.
    static HANDLES: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
}

fn place() -> Result<String, std::env::VarError> {
    std::env::var(WHERE)
}

/// Exits when it is dropped.
struct Exits;
impl Drop for Exits {
    fn drop(&mut self) {
        exit(CODE);
    }
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child() {
    HANDLES.with_borrow_mut(|handles| {
        RUNTIME.with(|runtime| handles.push(runtime.spawn(std::future::pending())));
    });
    RUNTIME.with(|runtime| match place().unwrap().as_str() {
        "root" => runtime.block_on(async { exit(CODE) }),
        "task" => runtime.block_on(async { reveille::spawn(async { exit(CODE) }).await.unwrap() }),
        "drop" => runtime.block_on(async {
            let exits = Exits;
            let task = reveille::spawn(async move {
                let _exits = exits;
                std::future::pending::<()>().await;
            });
            reveille::yield_now().await;
            task.abort();
            std::future::pending::<()>().await;
        }),
        "run" => {
            drop(runtime.spawn(async { exit(CODE) }));
            runtime.run().unwrap();
        }
        "turn" => {
            drop(runtime.spawn(async { exit(CODE) }));
            runtime.turn(Some(Duration::ZERO)).unwrap();
        }
        "enter" => runtime.enter(|| exit(CODE)),
        "hook" => runtime.block_on(std::future::pending()),
        "nested" => {
            let outer = Runtime::new().unwrap();
            outer.block_on(async {
                drop(runtime.spawn(async { exit(CODE) }));
                runtime.turn(Some(Duration::ZERO)).unwrap();
            });
        }
        "outside" => exit(CODE),
        other => panic!("{other}?"),
    });
    unreachable!("it has exited");
}

#[test]
fn process_exit_keeps_the_exit_code() {
    let places = [
        "root", "task", "drop", "run", "turn", "enter", "hook", "nested", "outside",
    ];
    for place in places {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture"])
            .env(WHERE, place)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.code(), Some(CODE), "{place}: {said}");
    }
}
