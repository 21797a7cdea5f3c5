//! smol: a leaked `LocalExecutor` under `smol::block_on`.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream, UdpSocket};
use smol::{Async, LocalExecutor, Task, Timer};

use crate::contestant::{Contestant, Fds, Reset, Serve, Tasks, Timers};
use crate::workloads;

pub struct Smol;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<Smol>();
    micro.extend(workloads::cross::all::<Smol>());
    micro.extend(workloads::timers::all::<Smol>());
    micro.extend(workloads::timers::reset::<Smol>());
    micro.extend(workloads::fds::all::<Smol>());
    Contestant {
        name: "smol",
        serve: Some(serve),
        micro,
        missing: vec![],
    }
}

thread_local! {
    static EXECUTOR: Cell<Option<&'static LocalExecutor<'static>>> = const { Cell::new(None) };
}

impl Tasks for Smol {
    type Join = Task<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        let executor: &'static _ = Box::leak(Box::new(LocalExecutor::new()));
        EXECUTOR.set(Some(executor));
        smol::block_on(executor.run(f))
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        EXECUTOR.get().expect("inside block_on").spawn(f)
    }

    fn detach(join: Self::Join) {
        join.detach();
    }

    fn yield_now() -> impl Future + 'static {
        smol::future::yield_now()
    }
}

impl Timers for Smol {
    fn sleep(d: Duration) -> impl Future + 'static {
        Timer::after(d)
    }

    /// The usual composition: smol has no `timeout` of its own.
    fn timeout<F: Future + 'static>(d: Duration, f: F) -> impl Future {
        smol::future::or(async { Some(f.await) }, async move {
            Timer::after(d).await;
            None
        })
    }
}

impl Reset for Smol {
    type Sleep = Timer;

    fn armed(d: Duration) -> Timer {
        Timer::after(d)
    }

    fn reset(mut sleep: Pin<&mut Timer>, at: Instant) {
        sleep.set_at(at);
    }
}

impl Fds for Smol {
    type Fd = UdpSocket;

    async fn udp() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").await.expect("udp")
    }
}

async fn idle(stream: TcpStream) {
    let inner: Arc<Async<std::net::TcpStream>> = stream.into();
    let _ = inner.readable().await;
}

async fn connection(mut stream: TcpStream, buffer: usize) -> std::io::Result<()> {
    let mut buf = vec![0; buffer];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}

fn serve(cfg: Serve) {
    Smol::block_on(async move {
        let listener = TcpListener::try_from(cfg.listener).expect("listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            Smol::detach(match cfg.idle {
                true => Smol::spawn(idle(stream)),
                false => Smol::spawn(async move {
                    let _ = connection(stream, cfg.buffer).await;
                }),
            });
        }
    })
}
