//! compio on io_uring, tuned: single issuer, deferred task work, a ring that fits the workloads.

use std::future::Future;
use std::time::Duration;

use compio::buf::BufResult;
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream, UdpSocket};
use compio::runtime::{JoinHandle, RuntimeBuilder};

use crate::contestant::{Contestant, Fds, Serve, Tasks, Timers};
use crate::workloads;

pub struct Compio;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<Compio>();
    micro.extend(workloads::cross::all::<Compio>());
    micro.extend(workloads::timers::all::<Compio>());
    micro.extend(workloads::fds::all::<Compio>());
    let missing = vec![("reset", "its sleeps cannot be moved")];
    Contestant {
        name: "compio",
        serve: Some(serve),
        micro,
        missing,
    }
}

impl Tasks for Compio {
    type Join = JoinHandle<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        let mut driver = ProactorBuilder::new();
        driver
            .capacity(4096)
            .single_issuer(true)
            .coop_taskrun(true)
            .defer_taskrun(true);
        let rt = RuntimeBuilder::new().with_proactor(driver).build();
        rt.expect("runtime").block_on(f)
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        compio::runtime::spawn(f)
    }

    fn detach(join: Self::Join) {
        join.detach();
    }
}

impl Timers for Compio {
    fn sleep(d: Duration) -> impl Future + 'static {
        compio::time::sleep(d)
    }

    fn timeout<F: Future + 'static>(d: Duration, f: F) -> impl Future {
        compio::time::timeout(d, f)
    }
}

impl Fds for Compio {
    type Fd = UdpSocket;

    async fn udp() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").await.expect("udp")
    }
}

async fn idle(stream: TcpStream) {
    if let Ok(fd) = stream.into_poll_fd() {
        let _ = fd.read_ready().await;
    }
}

async fn connection(mut stream: TcpStream, buffer: usize) -> std::io::Result<()> {
    let mut buf = Vec::with_capacity(buffer);
    loop {
        buf.clear();
        let BufResult(n, read) = stream.read(buf).await;
        if n? == 0 {
            return Ok(());
        }
        let BufResult(written, back) = stream.write_all(read).await;
        written?;
        buf = back;
    }
}

fn serve(cfg: Serve) {
    Compio::block_on(async move {
        let listener = TcpListener::from_std(cfg.listener).expect("listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            Compio::detach(match cfg.idle {
                true => Compio::spawn(idle(stream)),
                false => Compio::spawn(async move {
                    let _ = connection(stream, cfg.buffer).await;
                }),
            });
        }
    })
}
