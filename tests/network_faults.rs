//! A network that loses packets, resets connections, swallows SYNs, and goes down: no future hangs;
//! each ends with the right error, or goes on when the network is back.
//!
//! `.ci/network-faults.sh` runs this in one of two network namespaces. Without it there is nothing
//! to do.

#![cfg(target_os = "linux")]

mod support;

use reveille::net::{TcpListener, TcpSocket, TcpStream};
use reveille::time::{sleep, timeout};
use reveille::{block_on, spawn, spawn_blocking};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use support::{Random, on_every_backend};

const NAME: &str = "connections_survive_or_end_with_the_right_error";

/// Long enough for the kernel to send a packet again several times.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn connections_survive_or_end_with_the_right_error() {
    let Ok(script) = std::env::var("REVEILLE_NETWORK_FAULTS") else {
        println!("skipped: .ci/network-faults.sh runs it");
        return;
    };
    if std::env::var_os("REVEILLE_NETWORK_SERVER").is_some() {
        return block_on(echo()).unwrap();
    }
    let server = Server::start();
    let network = Network {
        script,
        server: server.addr,
    };
    on_every_backend(|runtime| {
        runtime.block_on(async {
            network.set("clear", &[]).await;
            loss(&network).await;
            resets(&network).await;
            lost_syns(&network).await;
            link_down(&network).await;
        });
    });
}

/// Serves in the other namespace until it is killed.
async fn echo() -> io::Result<()> {
    let listener = TcpListener::bind("10.231.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        spawn(async move {
            let mut buf = [0; 4096];
            loop {
                match stream.read(&mut buf).await? {
                    0 => return io::Result::Ok(()),
                    n => stream.write_all(&buf[..n]).await?,
                }
            }
        });
    }
}

/// The process of `echo`.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let mut child = Command::new("ip")
            .args(["netns", "exec", "rvA"])
            .arg(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env("REVEILLE_NETWORK_SERVER", "1")
            .env_remove("REVEILLE_BACKEND")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = lines
            .map(|line| line.unwrap())
            .find_map(|line| Some(line.split_once("listening on ")?.1.parse().unwrap()));
        Server {
            child,
            addr: addr.expect("the server says its address"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Network {
    script: String,
    server: SocketAddr,
}

impl Network {
    /// Runs the script that makes or ends a fault.
    async fn set(&self, fault: &str, arguments: &[&str]) {
        println!("  {fault} {arguments:?}");
        let mut command = Command::new(&self.script);
        command.arg(fault).args(arguments);
        let status = spawn_blocking(move || command.status()).await.unwrap();
        assert!(status.unwrap().success(), "{fault}");
    }

    fn port(&self) -> String {
        self.server.port().to_string()
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        timeout(PATIENCE, TcpStream::connect(self.server)).await?
    }
}

/// Sends and receives so many bytes, and compares them.
async fn exchange(stream: &TcpStream, len: usize, seed: u64) -> io::Result<()> {
    let sent = Random(seed).bytes(len);
    let mut received = vec![0; len];
    let writing = async {
        for portion in sent.chunks(1000) {
            stream.write_all(portion).await?;
        }
        io::Result::Ok(())
    };
    let reading = async { stream.read_exact(&mut received).await };
    let (mut writing, mut reading) = (Box::pin(writing), Box::pin(reading));
    let (mut written, mut read) = (None, None);
    std::future::poll_fn(|cx| {
        if written.is_none() {
            if let std::task::Poll::Ready(result) = writing.as_mut().poll(cx) {
                written = Some(result);
            }
        }
        if read.is_none() {
            if let std::task::Poll::Ready(result) = reading.as_mut().poll(cx) {
                read = Some(result);
            }
        }
        let is_over = written.is_some() && read.is_some()
            || matches!(written, Some(Err(_)))
            || matches!(read, Some(Err(_)));
        if is_over {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    drop((writing, reading));
    written.unwrap_or(Ok(()))?;
    read.unwrap_or(Ok(0))?;
    assert!(received == sent, "other bytes came back");
    Ok(())
}

/// Every byte arrives.
async fn loss(network: &Network) {
    network.set("loss", &["15"]).await;
    let network = Rc::new(network.server);
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let server = network.clone();
            spawn(async move {
                let stream = timeout(PATIENCE, TcpStream::connect(*server)).await??;
                timeout(PATIENCE, exchange(&stream, 50_000, number + 1)).await?
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

/// The connections end with an error.
async fn resets(network: &Network) {
    network.set("rst", &["6", &network.port()]).await;
    for seed in 1..4 {
        let stream = network.connect().await.unwrap();
        let result = timeout(PATIENCE, exchange(&stream, 1 << 20, seed)).await;
        let error = result.expect("it does not hang").unwrap_err();
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        );
    }
    network.set("clear", &[]).await;
}

/// A connection that is not answered ends by the limit of its user, by that of the socket, or goes
/// on when the network is back.
async fn lost_syns(network: &Network) {
    network.set("dropsyn", &[&network.port()]).await;
    let short = Duration::from_millis(300);
    let limited = timeout(short, TcpStream::connect(network.server)).await;
    assert!(limited.is_err(), "{limited:?}");

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_user_timeout(Some(short)).unwrap();
    let ended = timeout(PATIENCE, socket.connect(network.server)).await;
    let error = ended.expect("it does not hang").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);

    let server = network.server;
    let connecting = spawn(async move { timeout(PATIENCE, TcpStream::connect(server)).await? });
    sleep(short).await;
    assert!(!connecting.is_finished());
    network.set("clear", &[]).await;
    let stream = connecting.await.unwrap().unwrap();
    exchange(&stream, 1000, 5).await.unwrap();
}

async fn link_down(network: &Network) {
    let (patient, limited) = (
        network.connect().await.unwrap(),
        network.connect().await.unwrap(),
    );
    for stream in [&patient, &limited] {
        exchange(stream, 1000, 9).await.unwrap();
    }
    limited
        .set_user_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    network.set("linkdown", &[]).await;
    let waiting = spawn(async move {
        let result = timeout(PATIENCE, exchange(&patient, 20_000, 3)).await;
        result.expect("it goes on when the link is back")
    });
    let ended = timeout(PATIENCE, exchange(&limited, 1000, 4)).await;
    let error = ended.expect("it does not hang").unwrap_err();
    // Linux returns what it last heard from the network, or that it has waited too long.
    let kinds = [
        ErrorKind::TimedOut,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
    ];
    assert!(kinds.contains(&error.kind()), "{error}");
    assert!(!waiting.is_finished());
    network.set("linkup", &[]).await;
    waiting.await.unwrap().unwrap();
}
