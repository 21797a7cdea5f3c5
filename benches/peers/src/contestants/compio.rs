//! compio on io_uring, tuned: single issuer, deferred task work, a ring that fits the workloads.

use std::future::Future;
use std::time::Duration;

use compio::buf::BufResult;
use compio::driver::ProactorBuilder;
use compio::fs::pipe;
use compio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream, UdpSocket};
use compio::runtime::{JoinHandle, RuntimeBuilder};

use crate::contestant::{Blocking, Contestant, Datagrams, Fds, Pipes, Serve, Tasks, Timers};
use crate::workloads::datagrams::SIZE;
use crate::{servers, workloads};

pub struct Compio;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<Compio>();
    micro.extend(workloads::cross::all::<Compio>());
    micro.extend(workloads::timers::all::<Compio>());
    micro.extend(workloads::fds::all::<Compio>());
    micro.extend(workloads::blocking::all::<Compio>());
    micro.extend(workloads::pipes::all::<Compio>());
    micro.extend(workloads::datagrams::all::<Compio>());
    let missing = vec![("reset", "its sleeps cannot be moved")];
    Contestant {
        name: "compio",
        serve: Some(serve),
        servers: servers::compio::all(),
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

impl Blocking for Compio {
    async fn unblock<T, F>(f: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        compio::runtime::spawn_blocking(f).await.expect("no panic")
    }
}

impl Pipes for Compio {
    type Sender = pipe::Sender;
    type Receiver = pipe::Receiver;

    async fn pipe() -> (pipe::Sender, pipe::Receiver) {
        let (receiver, sender) = pipe::anonymous().await.expect("a pipe");
        (sender, receiver)
    }

    async fn write_all(sender: &mut pipe::Sender, data: Vec<u8>) -> Vec<u8> {
        let BufResult(written, back) = sender.write_all(data).await;
        written.expect("a reader");
        back
    }

    async fn read(receiver: &mut pipe::Receiver, mut buf: Vec<u8>) -> (usize, Vec<u8>) {
        buf.clear();
        let BufResult(n, back) = receiver.read(buf).await;
        (n.expect("a writer"), back)
    }
}

impl Datagrams for Compio {
    type Socket = UdpSocket;

    async fn adopt(socket: std::net::UdpSocket) -> UdpSocket {
        UdpSocket::from_std(socket).expect("register")
    }

    async fn receive(socket: UdpSocket, n: usize) -> UdpSocket {
        let mut buf = Vec::with_capacity(SIZE);
        for _ in 0..n {
            buf.clear();
            let BufResult(received, back) = socket.recv_from(buf).await;
            assert_eq!(received.expect("receive").0, SIZE);
            buf = back;
        }
        socket
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

pub async fn connection<S>(mut stream: S, buffer: usize) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
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
