//! QUIC by quinn: a server that sends back what each stream brings, and a client.
//!
//! ```text
//! cargo run --release --manifest-path examples/quic/Cargo.toml
//! cargo run --release --manifest-path examples/quic/Cargo.toml -- --serve 127.0.0.1:4433
//! cargo run --release --manifest-path examples/quic/Cargo.toml -- --connect 127.0.0.1:4433
//! ```
//!
//! Without `--serve` and `--connect` it is both, in one runtime. The server makes a certificate for
//! the name `localhost` at its start and writes it to a file, which a client reads and trusts.
//! [`reveille_quinn`] holds what quinn needs of a runtime.

mod reveille_quinn;
#[path = "../../support/mod.rs"]
mod support;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, Incoming, ServerConfig};
use quinn::{RecvStream, SendStream};
use reveille::backend::BackendKind;
use reveille_quinn::ReveilleRuntime;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::cell::Cell;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

const USAGE: &str = "\
usage: quic [--serve IP:PORT | --connect IP:PORT] [--certificate FILE] [--streams N] [--bytes N]
            [--backend NAME]

  --serve IP:PORT      only serve
  --connect IP:PORT    only be a client of the server at this address
  --certificate FILE   which the server writes and the client trusts (default quic-certificate.der)
  --streams N          how many streams the client opens at once (default 16)
  --bytes N            how many bytes it sends on each stream (default 4194304)
  --backend NAME       epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --help               print this text";

/// The protocol above QUIC that both sides name when they connect.
const PROTOCOL: &[u8] = b"echo";

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What the client does.
#[derive(Clone, Copy)]
struct Load {
    streams: usize,
    bytes: usize,
}

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let serve: Option<SocketAddr> = arguments.take("--serve");
    let connect: Option<SocketAddr> = arguments.take("--connect");
    let file = arguments.take("--certificate");
    let file: String = file.unwrap_or_else(|| "quic-certificate.der".to_owned());
    let load = Load {
        streams: arguments.take("--streams").unwrap_or(16),
        bytes: arguments.take("--bytes").unwrap_or(4 << 20),
    };
    let backend: Option<BackendKind> = arguments.take("--backend");
    arguments.finish();

    let mut builder = reveille::Builder::new();
    if let Some(kind) = backend {
        builder = builder.backend(kind);
    }
    let run = |runtime: reveille::Runtime| {
        runtime.block_on(async {
            match (serve, connect) {
                (Some(addr), None) => {
                    let (server, certificate) = server(addr)?;
                    std::fs::write(file, certificate)?;
                    println!("listening on {}", server.local_addr()?);
                    answer(server).await;
                    Ok(())
                }
                (None, Some(addr)) => send(addr, std::fs::read(file)?.into(), load).await,
                (None, None) => {
                    let (server, certificate) = server(SocketAddr::from(([127, 0, 0, 1], 0)))?;
                    let addr = server.local_addr()?;
                    reveille::spawn(answer(server));
                    send(addr, certificate, load).await
                }
                (Some(_), Some(_)) => Err("--serve and --connect exclude each other".into()),
            }
        })
    };
    let result: Result<()> = builder.build().map_err(Box::from).and_then(run);
    support::report(result.map_err(io::Error::other))
}

/// Returns a server and its certificate.
fn server(addr: SocketAddr) -> Result<(Endpoint, CertificateDer<'static>)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = CertificateDer::from(made.cert);
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    Ok((endpoint(addr, Some(config))?, certificate))
}

/// Returns an endpoint, which is a client and, with a configuration for it, a server.
fn endpoint(addr: SocketAddr, config: Option<ServerConfig>) -> io::Result<Endpoint> {
    let runtime = Arc::new(ReveilleRuntime::current());
    let socket = UdpSocket::bind(addr)?;
    Endpoint::new(EndpointConfig::default(), config, socket, runtime)
}

/// Serves each connection by a task.
async fn answer(server: Endpoint) {
    while let Some(incoming) = server.accept().await {
        reveille::spawn(async move {
            let peer = incoming.remote_address();
            match serve(incoming).await {
                Ok(bytes) => println!("{peer}: {bytes} bytes"),
                Err(error) => eprintln!("quic: {peer}: {error}"),
            }
        });
    }
}

/// Sends back what each stream of a connection brings, until the client closes the connection.
/// Returns the number of bytes.
async fn serve(incoming: Incoming) -> Result<usize> {
    let connection = incoming.await?;
    // The tasks of a connection run on one thread, so they may share an `Rc`.
    let total = Rc::new(Cell::new(0));
    loop {
        match connection.accept_bi().await {
            Ok((mut send, mut recv)) => {
                let total = total.clone();
                reveille::spawn(async move {
                    while let Ok(Some(chunk)) = recv.read_chunk(usize::MAX, true).await {
                        total.set(total.get() + chunk.bytes.len());
                        if send.write_chunk(chunk.bytes).await.is_err() {
                            return;
                        }
                    }
                    // It fails if the connection is closed, which `accept_bi` reports.
                    let _ = send.finish();
                });
            }
            Err(quinn::ConnectionError::ApplicationClosed(_)) => return Ok(total.get()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Connects, sends bytes on many streams at once, and compares what comes back.
async fn send(addr: SocketAddr, certificate: CertificateDer<'static>, load: Load) -> Result<()> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let mut tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let any = match addr {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let client = endpoint(any, None)?;
    let connection = client.connect_with(config, addr, "localhost")?.await?;

    let begin = Instant::now();
    let mut streams = reveille::task::JoinSet::new();
    for _ in 0..load.streams {
        let connection = connection.clone();
        streams.spawn(async move { exchange(&connection, load.bytes).await });
    }
    while let Some(result) = streams.join_next().await {
        result??;
    }
    let (seconds, bytes) = (begin.elapsed().as_secs_f64(), load.streams * load.bytes);
    println!(
        "{bytes} bytes on {} streams went to the server and back in {seconds:.3} s: {:.0} MB/s",
        load.streams,
        bytes as f64 / seconds / 1e6
    );
    connection.close(0_u8.into(), b"");
    // Otherwise the program could end before the server knows.
    client.wait_idle().await;
    Ok(())
}

/// Sends bytes on one stream, while it receives and compares them.
async fn exchange(connection: &Connection, bytes: usize) -> Result<()> {
    let (send, recv) = connection.open_bi().await?;
    let sent = reveille::spawn(write(send, bytes));
    let received = read(recv).await?;
    sent.await??;
    if received != bytes {
        return Err(format!("{received} bytes came back, not {bytes}").into());
    }
    Ok(())
}

/// What the streams carry: the byte at each position is the remainder of the position.
const PERIOD: usize = 251;

async fn write(mut send: SendStream, bytes: usize) -> Result<()> {
    let data: Vec<u8> = (0..PERIOD * 256).map(|at| (at % PERIOD) as u8).collect();
    let mut left = bytes;
    while left > 0 {
        let part = &data[..left.min(data.len())];
        send.write_all(part).await?;
        left -= part.len();
    }
    send.finish()?;
    Ok(())
}

async fn read(mut recv: RecvStream) -> Result<usize> {
    let mut at = 0;
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        for byte in &chunk.bytes {
            if usize::from(*byte) != at % PERIOD {
                return Err(format!("the byte {at} is {byte}").into());
            }
            at += 1;
        }
    }
    Ok(at)
}
