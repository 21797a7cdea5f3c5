//! reveille itself.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use reveille::JoinHandle;
use reveille::io::AsyncFd;
use reveille::net::{TcpListener, TcpStream};
use reveille::time::Sleep;

use crate::contestant::{Contestant, Fds, Reset, Serve, Tasks, Timers};
use crate::workloads;

pub struct Reveille;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<Reveille>();
    micro.extend(workloads::cross::all::<Reveille>());
    micro.extend(workloads::timers::all::<Reveille>());
    micro.extend(workloads::timers::reset::<Reveille>());
    micro.extend(workloads::fds::all::<Reveille>());
    Contestant {
        name: "reveille",
        serve: Some(serve),
        micro,
        missing: vec![],
    }
}

impl Tasks for Reveille {
    type Join = JoinHandle<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        reveille::block_on(f)
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        reveille::spawn(f)
    }

    fn yield_now() -> impl Future + 'static {
        reveille::task::yield_now()
    }
}

impl Timers for Reveille {
    fn sleep(d: Duration) -> impl Future + 'static {
        reveille::time::sleep(d)
    }

    fn timeout<F: Future + 'static>(d: Duration, f: F) -> impl Future {
        reveille::time::timeout(d, f)
    }
}

impl Reset for Reveille {
    type Sleep = Sleep;

    fn armed(d: Duration) -> Sleep {
        reveille::time::sleep(d)
    }

    fn reset(mut sleep: Pin<&mut Sleep>, at: Instant) {
        sleep.reset(at);
    }
}

impl Fds for Reveille {
    type Fd = AsyncFd<std::net::UdpSocket>;

    async fn udp() -> Self::Fd {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("udp");
        socket.set_nonblocking(true).expect("udp");
        AsyncFd::new(socket).expect("register")
    }
}

async fn idle(stream: TcpStream) {
    let _ = stream.readable().await;
}

async fn connection(stream: TcpStream, buffer: usize) -> std::io::Result<()> {
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
    Reveille::block_on(async move {
        cfg.listener.set_nonblocking(true).expect("listener");
        let listener = TcpListener::from_std(cfg.listener).expect("listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            Reveille::detach(match cfg.idle {
                true => Reveille::spawn(idle(stream)),
                false => Reveille::spawn(async move {
                    let _ = connection(stream, cfg.buffer).await;
                }),
            });
        }
    })
}
