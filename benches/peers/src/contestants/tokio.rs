//! tokio's `current_thread` runtime with `tokio::spawn`.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::contestant::{
    Blocking, Contestant, Datagrams, Fds, Pipes, Reset, Serve, Solo, Tasks, Timers,
};
use crate::workloads::datagrams::SIZE;
use crate::{servers, workloads};

pub struct Tokio;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<Tokio>();
    micro.extend(workloads::cross::all::<Tokio>());
    micro.extend(workloads::timers::all::<Tokio>());
    micro.extend(workloads::timers::reset::<Tokio>());
    micro.extend(workloads::fds::all::<Tokio>());
    micro.extend(workloads::blocking::all::<Tokio>());
    micro.extend(workloads::pipes::all::<Tokio>());
    micro.extend(workloads::datagrams::all::<Tokio>());
    Contestant {
        name: "tokio",
        serve: Some(serve::<Tokio>),
        servers: servers::tokio::all(),
        micro,
        missing: vec![],
    }
}

impl Tasks for Tokio {
    type Join = JoinHandle<()>;

    fn block_on<F: Future>(f: F) -> F::Output {
        let rt = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        rt.expect("runtime").block_on(f)
    }

    fn spawn<F: Future<Output = ()> + 'static>(f: F) -> Self::Join {
        tokio::spawn(Solo(f))
    }

    fn yield_now() -> impl Future + 'static {
        tokio::task::yield_now()
    }
}

impl Timers for Tokio {
    fn sleep(d: Duration) -> impl Future + 'static {
        tokio::time::sleep(d)
    }

    fn timeout<F: Future + 'static>(d: Duration, f: F) -> impl Future {
        tokio::time::timeout(d, f)
    }
}

impl Reset for Tokio {
    type Sleep = tokio::time::Sleep;

    fn armed(d: Duration) -> Self::Sleep {
        tokio::time::sleep(d)
    }

    fn reset(sleep: Pin<&mut Self::Sleep>, at: Instant) {
        sleep.reset(at.into());
    }
}

impl Blocking for Tokio {
    async fn unblock<T, F>(f: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        tokio::task::spawn_blocking(f).await.expect("no panic")
    }
}

impl Pipes for Tokio {
    type Sender = pipe::Sender;
    type Receiver = pipe::Receiver;

    async fn pipe() -> (pipe::Sender, pipe::Receiver) {
        pipe::pipe().expect("a pipe")
    }

    async fn write_all(sender: &mut pipe::Sender, data: Vec<u8>) -> Vec<u8> {
        sender.write_all(&data).await.expect("a reader");
        data
    }

    async fn read(receiver: &mut pipe::Receiver, mut buf: Vec<u8>) -> (usize, Vec<u8>) {
        (receiver.read(&mut buf).await.expect("a writer"), buf)
    }
}

impl Datagrams for Tokio {
    type Socket = UdpSocket;

    async fn adopt(socket: std::net::UdpSocket) -> UdpSocket {
        socket.set_nonblocking(true).expect("a socket");
        UdpSocket::from_std(socket).expect("register")
    }

    async fn receive(socket: UdpSocket, n: usize) -> UdpSocket {
        let mut buf = [0; SIZE];
        for _ in 0..n {
            let received = socket.recv_from(&mut buf).await.expect("receive");
            assert_eq!(received.0, SIZE);
        }
        socket
    }
}

impl Fds for Tokio {
    type Fd = UdpSocket;

    async fn udp() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").await.expect("udp")
    }
}

/// Readiness of a fresh stream is a guess here: only a read that would block makes it true.
async fn idle(stream: TcpStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0]) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

pub async fn connection<S>(mut stream: S, buffer: usize) -> std::io::Result<()>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut buf = vec![0; buffer];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}

pub fn serve<R: Tasks>(cfg: Serve) {
    R::block_on(async move {
        cfg.listener.set_nonblocking(true).expect("listener");
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
