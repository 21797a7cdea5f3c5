//! A runtime inside another loop. Here the host is a callback loop; the loop of a game or of a
//! graphical toolkit would work the same way.
//!
//! ```text
//! cargo run --release --example hosted
//! ```
//!
//! The host watches one descriptor of the runtime and its next deadline. It calls `turn` if the
//! descriptor is readable or the deadline has passed, so neither loop has to poll the other in
//! between. The last line prints how many turns were made for how many requests.

use reveille::Runtime;
use reveille::backend::{Interest, Trigger};
use reveille::event_loop::{EventLoop, TimerKey};
use reveille::net::{TcpListener, TcpStream};
use reveille::time::{Duration, Instant, now, sleep};
use std::cell::Cell;
use std::io;
use std::rc::Rc;

/// The number of requests that the client sends.
const REQUESTS: u32 = 50;

/// How long the client waits between two requests.
const PAUSE: Duration = Duration::from_millis(2);

fn main() -> io::Result<()> {
    let runtime = Rc::new(Runtime::new()?);
    let fd = match runtime.host_fd() {
        Ok(fd) => fd.try_clone_to_owned()?,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            println!("this backend cannot be hosted: {error}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };

    let mut host = EventLoop::new(Host::new(runtime.clone()))?;
    // Readable while the runtime has something to do. Level-triggered, so it is reported until the
    // runtime has done it.
    host.attach(fd, Interest::READABLE, Trigger::Level, |host, _, _| {
        turn(host)
    })?;
    // Before the host waits, it sets its timer to the runtime's next deadline.
    host.before_wait(follow_the_deadline);
    // The host has other work too.
    host.set_timer(Duration::from_millis(10), |host, timer| {
        host.data_mut().ticks += 1;
        host.reset_timer(timer, Duration::from_millis(10));
    });

    let answered = Rc::new(Cell::new(0));
    let (counter, handle) = (answered.clone(), host.handle());
    let began = now();
    runtime.spawn(async move {
        if let Err(error) = converse(&counter).await {
            eprintln!("hosted: {error}");
        }
        handle.stop();
    });
    host.run()?;

    let (turns, ticks) = (host.data().turns, host.data().ticks);
    let took = began.elapsed().as_millis();
    println!(
        "{} requests answered in {took} ms; the host ticked {ticks} times and made {turns} turns of the runtime",
        answered.get()
    );
    Ok(())
}

/// The data of the host's handlers.
struct Host {
    runtime: Rc<Runtime>,
    /// The timer at the runtime's next deadline.
    alarm: Option<(TimerKey, Instant)>,
    turns: u32,
    ticks: u32,
}

impl Host {
    fn new(runtime: Rc<Runtime>) -> Host {
        Host {
            runtime,
            alarm: None,
            turns: 0,
            ticks: 0,
        }
    }
}

/// Runs one turn of the runtime, without waiting.
fn turn(host: &mut EventLoop<Host>) {
    host.data_mut().turns += 1;
    let runtime = host.data().runtime.clone();
    if let Err(error) = runtime.turn(Some(Duration::ZERO)) {
        eprintln!("hosted: a turn of the runtime failed: {error}");
        host.stop();
    }
}

/// Sets the host's timer to the runtime's next deadline, if that has changed.
fn follow_the_deadline(host: &mut EventLoop<Host>) {
    let next = host.data().runtime.next_deadline();
    let alarm = host.data().alarm;
    if alarm.map(|(_, deadline)| deadline) == next {
        return;
    }
    if let Some((timer, _)) = alarm {
        host.cancel_timer(timer);
    }
    let alarm = next.map(|deadline| {
        let timer = host.set_timer_at(deadline, |host, _| {
            host.data_mut().alarm = None;
            turn(host);
        });
        (timer, deadline)
    });
    host.data_mut().alarm = alarm;
}

/// A server and its client, the same as in any runtime.
async fn converse(answered: &Cell<u32>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    reveille::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut buffer = [0; 64];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return io::Result::Ok(()),
                read => stream.write_all(&buffer[..read]).await?,
            }
        }
    });
    let client = TcpStream::connect(addr).await?;
    for _ in 0..REQUESTS {
        sleep(PAUSE).await;
        client.write_all(b"good morning").await?;
        client.read_exact(&mut [0; 12]).await?;
        answered.set(answered.get() + 1);
    }
    Ok(())
}
