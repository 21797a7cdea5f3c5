//! smol: a leaked `LocalExecutor` under `smol::block_on`.

use std::cell::Cell;
use std::future::Future;
use std::io::{PipeReader, PipeWriter};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream, UdpSocket};
use smol::{Async, LocalExecutor, Task, Timer};

use crate::contestant::{Blocking, Contestant, Datagrams, Fds, Pipes, Reset, Serve, Tasks, Timers};
use crate::workloads::datagrams::SIZE;
use crate::{servers, workloads};

pub struct Smol;

pub fn contestant() -> Contestant {
    let mut micro = workloads::tasks::all::<Smol>();
    micro.extend(workloads::cross::all::<Smol>());
    micro.extend(workloads::timers::all::<Smol>());
    micro.extend(workloads::timers::reset::<Smol>());
    micro.extend(workloads::fds::all::<Smol>());
    micro.extend(workloads::blocking::all::<Smol>());
    micro.extend(workloads::pipes::all::<Smol>());
    micro.extend(workloads::datagrams::all::<Smol>());
    Contestant {
        name: "smol",
        serve: Some(serve),
        servers: servers::smol::all(),
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

impl Blocking for Smol {
    async fn unblock<T, F>(f: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        smol::unblock(f).await
    }
}

/// smol has no pipes of its own: `Async` over the standard library's.
impl Pipes for Smol {
    type Sender = Async<PipeWriter>;
    type Receiver = Async<PipeReader>;

    async fn pipe() -> (Self::Sender, Self::Receiver) {
        let (receiver, sender) = std::io::pipe().expect("a pipe");
        let sender = Async::new(sender).expect("register");
        (sender, Async::new(receiver).expect("register"))
    }

    async fn write_all(sender: &mut Self::Sender, data: Vec<u8>) -> Vec<u8> {
        sender.write_all(&data).await.expect("a reader");
        data
    }

    async fn read(receiver: &mut Self::Receiver, mut buf: Vec<u8>) -> (usize, Vec<u8>) {
        (receiver.read(&mut buf).await.expect("a writer"), buf)
    }
}

impl Datagrams for Smol {
    type Socket = UdpSocket;

    async fn adopt(socket: std::net::UdpSocket) -> UdpSocket {
        socket.set_nonblocking(true).expect("a socket");
        UdpSocket::try_from(socket).expect("register")
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
