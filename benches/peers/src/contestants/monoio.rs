//! monoio on its two drivers: epoll ("legacy") and io_uring.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::udp::UdpSocket;
use monoio::net::{TcpListener, TcpStream};
use monoio::task::JoinHandle;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::contestant::{Contestant, Datagrams, Fds, Reset, Serve, Tasks, Timers};
use crate::workloads::datagrams::SIZE;
use crate::{servers, workloads};

pub struct Legacy;
pub struct Uring;

pub fn legacy() -> Contestant {
    contestant::<Legacy>("monoio-legacy")
}

pub fn uring() -> Contestant {
    contestant::<Uring>("monoio-uring")
}

fn contestant<R: Reset + Fds + Datagrams>(name: &'static str) -> Contestant {
    let mut micro = workloads::tasks::all::<R>();
    micro.extend(workloads::timers::all::<R>());
    micro.extend(workloads::timers::reset::<R>());
    micro.extend(workloads::fds::all::<R>());
    micro.extend(workloads::datagrams::all::<R>());
    let mut missing = vec![
        ("pipe", "its pipes serve splice alone"),
        ("http", "hyper runs on it by a crate that copies"),
        ("blocking", "needs the feature monoio-sync as well"),
    ];
    if cfg!(feature = "monoio-sync") {
        micro.extend(workloads::cross::all::<R>());
    } else {
        missing.push((
            "cross",
            "needs the feature monoio-sync, which slows every local wake",
        ));
    }
    Contestant {
        name,
        serve: Some(serve::<R>),
        servers: servers::monoio::all::<R>(),
        micro,
        missing,
    }
}

macro_rules! driver {
    ($name:ident, $driver:ty) => {
        impl Tasks for $name {
            type Join = JoinHandle<()>;

            fn block_on<F: Future>(f: F) -> F::Output {
                let rt = RuntimeBuilder::<$driver>::new().enable_timer().build();
                rt.expect("runtime").block_on(f)
            }

            fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
                monoio::spawn(f)
            }
        }

        impl Timers for $name {
            fn sleep(d: Duration) -> impl Future + 'static {
                monoio::time::sleep(d)
            }

            fn timeout<F: Future + 'static>(d: Duration, f: F) -> impl Future {
                monoio::time::timeout(d, f)
            }
        }

        impl Reset for $name {
            type Sleep = monoio::time::Sleep;

            fn armed(d: Duration) -> Self::Sleep {
                monoio::time::sleep(d)
            }

            fn reset(sleep: Pin<&mut Self::Sleep>, at: Instant) {
                sleep.reset(at.into());
            }
        }

        impl Datagrams for $name {
            type Socket = UdpSocket;

            async fn adopt(socket: std::net::UdpSocket) -> UdpSocket {
                let nonblocking = monoio::utils::is_legacy();
                socket.set_nonblocking(nonblocking).expect("a socket");
                UdpSocket::from_std(socket).expect("register")
            }

            async fn receive(socket: UdpSocket, n: usize) -> UdpSocket {
                let mut buf = Vec::with_capacity(SIZE);
                for _ in 0..n {
                    let (received, back) = socket.recv_from(buf).await;
                    assert_eq!(received.expect("receive").0, SIZE);
                    buf = back;
                }
                socket
            }
        }

        impl Fds for $name {
            type Fd = UdpSocket;

            async fn udp() -> UdpSocket {
                UdpSocket::bind("127.0.0.1:0").expect("udp")
            }
        }
    };
}

driver!(Legacy, LegacyDriver);
driver!(Uring, IoUringDriver);

async fn idle(stream: TcpStream) {
    let _ = stream.readable(false).await;
}

pub async fn connection<S>(mut stream: S, buffer: usize) -> std::io::Result<()>
where
    S: AsyncReadRent + AsyncWriteRent,
{
    let mut buf = Vec::with_capacity(buffer);
    loop {
        let (n, read) = stream.read(buf).await;
        if n? == 0 {
            return Ok(());
        }
        let (written, back) = stream.write_all(read).await;
        written?;
        buf = back;
    }
}

fn serve<R: Tasks>(cfg: Serve) {
    R::block_on(async move {
        // io_uring must be able to block on it, epoll must not.
        cfg.listener
            .set_nonblocking(monoio::utils::is_legacy())
            .expect("listener");
        let listener = TcpListener::from_std(cfg.listener).expect("listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            R::detach(match cfg.idle {
                true => R::spawn(idle(stream)),
                false => R::spawn(async move {
                    let _ = connection(stream, cfg.buffer).await;
                }),
            });
        }
    })
}
