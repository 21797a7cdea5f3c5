//! A supervisor: runs commands, starts each again when it ends, and ends them all in order.
//!
//! ```text
//! cargo run --release --features process --example supervisor -- --run 'sleep 5' --run 'exit 1'
//! kill -HUP PID        is passed on to the commands
//! kill -TERM PID       ends them, then the supervisor
//! ```
//!
//! Each command has a task, which owns its `Child` and listens for signals of its own. So the task
//! of a command is a plain loop: start, wait for the end or for a signal, pause, start again. The
//! pause doubles with each end, and is short again after the command has stayed up for a while.
//!
//! Each command leads a process group. Signals go to the group, so they reach what the command has
//! started, and the Ctrl-C of a terminal reaches the supervisor alone. Processes that are left when
//! the command itself has ended are not followed.
//!
//! At SIGTERM or SIGINT each group gets SIGTERM, and SIGKILL if the command has not ended in time,
//! or if the signal comes again. The supervisor ends when all commands have.

mod support;

use reveille::process::{Child, Command};
use reveille::signal::{SignalKind, Signals, signals};
use reveille::task::JoinSet;
use reveille::time::{Duration, Sleep, now, sleep};
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::{Pin, pin};
use std::process::{ExitCode, ExitStatus};
use std::rc::Rc;
use std::task::Poll;

const USAGE: &str = "\
usage: supervisor [--run COMMAND]... [--pause-ms N] [--max-pause-ms N] [--stable-ms N]
                  [--grace-ms N] [--by pidfd|sigchld]

  --run COMMAND      a command for sh; may be given several times (default: 'sleep 2' and
                     'sleep 3; exit 1')
  --pause-ms N       the pause before the first new start (default 100); doubled with each end
  --max-pause-ms N   the longest pause (default 10000)
  --stable-ms N      after so long the pause is the first one again (default 5000)
  --grace-ms N       how long a command may take to end before it is killed (default 3000)
  --by WAY           how the end of a command is noticed (default: pidfd, where there is one)
  --help             print this text

Signals: SIGHUP, SIGUSR1, SIGUSR2 and SIGWINCH are passed on; SIGTERM and SIGINT end everything.";

#[derive(Clone, Copy)]
struct Settings {
    pause: Duration,
    max_pause: Duration,
    stable: Duration,
    grace: Duration,
    by_sigchld: bool,
}

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let mut commands: Vec<String> = Vec::new();
    while let Some(command) = arguments.take("--run") {
        commands.push(command);
    }
    if commands.is_empty() {
        commands = vec!["sleep 2".to_owned(), "sleep 3; exit 1".to_owned()];
    }
    let mut millis = |flag, default| {
        Duration::from_millis(arguments.take::<u32>(flag).unwrap_or(default).into())
    };
    let settings = Settings {
        pause: millis("--pause-ms", 100),
        max_pause: millis("--max-pause-ms", 10_000),
        stable: millis("--stable-ms", 5000),
        grace: millis("--grace-ms", 3000),
        by_sigchld: arguments.take::<Way>("--by").is_some_and(|way| way.0),
    };
    arguments.finish();
    support::report(reveille::block_on(run(commands, settings)))
}

/// The value of `--by`: whether it is SIGCHLD.
struct Way(bool);

impl std::str::FromStr for Way {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Way, &'static str> {
        match text {
            "pidfd" => Ok(Way(false)),
            "sigchld" => Ok(Way(true)),
            _ => Err("neither pidfd nor sigchld"),
        }
    }
}

async fn run(commands: Vec<String>, settings: Settings) -> io::Result<()> {
    println!("supervisor pid {}", std::process::id());
    let mut all = JoinSet::new();
    for (number, command) in commands.into_iter().enumerate() {
        // All listeners exist before the first command is started, so no signal is missed.
        let task = Task {
            number,
            command: Rc::from(command),
            settings,
            requests: listen()?,
        };
        all.spawn(task.run());
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    println!("end");
    Ok(())
}

fn listen() -> io::Result<Signals> {
    signals(&[
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::window_change(),
        SignalKind::terminate(),
        SignalKind::interrupt(),
    ])
}

/// Whether a signal asks for the end.
fn ends(kind: SignalKind) -> bool {
    kind == SignalKind::terminate() || kind == SignalKind::interrupt()
}

/// Supervises one command.
struct Task {
    number: usize,
    command: Rc<str>,
    settings: Settings,
    requests: Signals,
}

/// What a task waits for.
enum Event {
    Exit(ExitStatus),
    Signal(SignalKind),
    Time,
}

impl Task {
    /// Starts the command again and again, until the supervisor ends.
    async fn run(mut self) -> io::Result<()> {
        let mut pause = self.settings.pause;
        loop {
            let began = now();
            match self.start() {
                Ok(child) => {
                    if self.watch(child).await? {
                        return Ok(());
                    }
                }
                Err(error) => println!("failed {}: {error}", self.number),
            }
            if now() - began >= self.settings.stable {
                pause = self.settings.pause;
            }
            println!("restart {} in {} ms", self.number, pause.as_millis());
            if self.rest(pause).await? {
                return Ok(());
            }
            pause = (pause * 2).min(self.settings.max_pause);
        }
    }

    fn start(&self) -> io::Result<Child> {
        let child = Command::new("sh")
            .args(["-c", &self.command])
            .process_group(0)
            .kill_on_drop(true)
            .watch_by_sigchld(self.settings.by_sigchld)
            .spawn()?;
        if let Some(pid) = child.id() {
            println!("start {} pid {pid}", self.number);
        }
        Ok(child)
    }

    /// Waits until the command has ended, and passes signals on to it. Returns whether the
    /// supervisor ends.
    async fn watch(&mut self, mut child: Child) -> io::Result<bool> {
        let pid = child.id().unwrap_or(0);
        let mut limit: Option<Pin<Box<Sleep>>> = None;
        loop {
            match self.next(Some(&mut child), limit.as_mut()).await? {
                Event::Exit(status) => {
                    println!("exit {} pid {pid} {}", self.number, how(status));
                    return Ok(limit.is_some());
                }
                Event::Signal(kind) if ends(kind) && limit.is_none() => {
                    println!("stop {} pid {pid} because of {kind}", self.number);
                    child.signal_group(SignalKind::terminate())?;
                    limit = Some(Box::pin(sleep(self.settings.grace)));
                }
                Event::Signal(kind) if !ends(kind) => {
                    println!("forward {} pid {pid} {kind}", self.number);
                    child.signal_group(kind)?;
                }
                // It was asked to end before.
                Event::Signal(_) | Event::Time => {
                    println!("kill {} pid {pid}", self.number);
                    child.signal_group(SignalKind::from_raw(libc::SIGKILL))?;
                    let status = child.wait().await?;
                    println!("exit {} pid {pid} {}", self.number, how(status));
                    return Ok(true);
                }
            }
        }
    }

    /// Waits before the next start. Returns whether the supervisor ends.
    async fn rest(&mut self, pause: Duration) -> io::Result<bool> {
        let mut pause = Box::pin(sleep(pause));
        loop {
            match self.next(None, Some(&mut pause)).await? {
                Event::Signal(kind) if ends(kind) => return Ok(true),
                Event::Signal(_) => {}
                Event::Time | Event::Exit(_) => return Ok(false),
            }
        }
    }

    /// Waits for the first of what may happen. The end of the child comes first: a signal that
    /// arrives at the same time is returned by the next call.
    async fn next(
        &mut self,
        child: Option<&mut Child>,
        mut limit: Option<&mut Pin<Box<Sleep>>>,
    ) -> io::Result<Event> {
        let mut exit = pin!(async {
            match child {
                Some(child) => child.wait().await,
                None => std::future::pending().await,
            }
        });
        poll_fn(|cx| {
            if let Poll::Ready(status) = exit.as_mut().poll(cx) {
                return Poll::Ready(status.map(Event::Exit));
            }
            // It returns `None` only after the end of the runtime.
            if let Poll::Ready(Some(kind)) = self.requests.poll_recv(cx) {
                return Poll::Ready(Ok(Event::Signal(kind)));
            }
            match &mut limit {
                Some(limit) => limit.as_mut().poll(cx).map(|()| Ok(Event::Time)),
                None => Poll::Pending,
            }
        })
        .await
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
