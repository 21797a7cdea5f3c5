//! reveille itself.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use reveille::JoinHandle;
use reveille::io::AsyncFd;
use reveille::net::kind::{Readable, Writable};
use reveille::net::{ByteStream, TcpListener, TcpStream, UdpSocket, pipe};
use reveille::time::Sleep;

use crate::contestant::{Blocking, Contestant, Datagrams, Fds, Pipes, Reset, Serve, Tasks, Timers};
use crate::workloads::datagrams::SIZE;
use crate::{servers, workloads};

pub struct Reveille;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<Reveille>();
    micro.extend(workloads::cross::all::<Reveille>());
    micro.extend(workloads::timers::all::<Reveille>());
    micro.extend(workloads::timers::reset::<Reveille>());
    micro.extend(workloads::fds::all::<Reveille>());
    micro.extend(workloads::blocking::all::<Reveille>());
    micro.extend(workloads::datagrams::all::<Reveille>());
    micro.extend(workloads::pipes::all::<Reveille>());
    Contestant {
        name: "reveille",
        serve: Some(serve),
        servers: servers::reveille::all(),
        micro,
        missing: vec![],
    }
}

/// TLS by futures-rustls, through the traits of `futures-io`, in place of tokio-rustls.
#[cfg(feature = "tls")]
pub fn futures() -> Contestant {
    Contestant {
        name: "reveille-futures",
        serve: None,
        servers: servers::reveille::futures(),
        micro: vec![],
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

impl Blocking for Reveille {
    async fn unblock<T, F>(f: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        reveille::spawn_blocking(f).await.expect("no panic")
    }
}

impl Pipes for Reveille {
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

impl Datagrams for Reveille {
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

pub async fn connection<K>(stream: ByteStream<K>, buffer: usize) -> std::io::Result<()>
where
    K: Readable + Writable,
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
