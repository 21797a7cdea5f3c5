//! glommio: one `LocalExecutor`, unbound.

use std::future::Future;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream, UdpSocket};
use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement, Task};

use crate::contestant::{Contestant, Fds, Reset, Serve, Tasks, Timers};
use crate::workloads;

pub struct Glommio;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<Glommio>();
    micro.extend(workloads::cross::all::<Glommio>());
    micro.extend(workloads::timers::all::<Glommio>());
    micro.extend(workloads::timers::reset::<Glommio>());
    micro.extend(workloads::fds::all::<Glommio>());
    Contestant {
        name: "glommio",
        serve: Some(serve),
        servers: vec![],
        micro,
        missing: vec![],
    }
}

impl Tasks for Glommio {
    type Join = Task<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        LocalExecutorBuilder::new(Placement::Unbound)
            .make()
            .expect("executor")
            .run(f)
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        glommio::spawn_local(f)
    }

    fn detach(join: Self::Join) {
        join.detach();
    }

    fn yield_now() -> impl Future + 'static {
        async { glommio::executor().yield_now().await }
    }
}

impl Timers for Glommio {
    fn sleep(d: Duration) -> impl Future + 'static {
        Timer::new(d)
    }

    fn timeout<F: Future + 'static>(d: Duration, f: F) -> impl Future {
        glommio::timer::timeout(d, async { Ok::<_, glommio::GlommioError<()>>(f.await) })
    }
}

impl Reset for Glommio {
    type Sleep = Timer;

    fn armed(d: Duration) -> Timer {
        Timer::new(d)
    }

    /// glommio takes a duration and reads the clock itself: its number includes that.
    fn reset(mut sleep: Pin<&mut Timer>, at: Instant) {
        thread_local! {
            static ORIGIN: Instant = Instant::now();
        }
        sleep.reset(ORIGIN.with(|o| at.saturating_duration_since(*o)));
    }
}

impl Fds for Glommio {
    type Fd = UdpSocket;

    async fn udp() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").expect("udp")
    }
}

/// There is no wait without a buffer: the smallest one.
async fn idle(mut stream: TcpStream) {
    let _ = stream.read(&mut [0]).await;
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
    Glommio::block_on(async move {
        // SAFETY: the descriptor is a listening socket and is given away.
        let listener = unsafe { TcpListener::from_raw_fd(cfg.listener.into_raw_fd()) };
        loop {
            let Ok(stream) = listener.accept().await else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            Glommio::detach(match cfg.idle {
                true => Glommio::spawn(idle(stream)),
                false => Glommio::spawn(async move {
                    let _ = connection(stream, cfg.buffer).await;
                }),
            });
        }
    })
}
