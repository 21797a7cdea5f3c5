//! The server of the example `http` over TLS of rustls: HTTP/1 and HTTP/2, chosen by ALPN.
//!
//! ```text
//! cargo run --release --manifest-path examples/https/Cargo.toml
//! curl --insecure https://127.0.0.1:7743/
//! openssl s_client -connect 127.0.0.1:7743 -alpn h2 < /dev/null
//! ```
//!
//! The server makes a certificate for the name `localhost` at its start, and `--certificate FILE`
//! writes it to a file. The limit for the head of a request is that of a handshake too. The server
//! speaks TLS 1.3; the feature `tls12` of rustls would add 1.2. This file holds what TLS adds; the
//! rest is in the folder of `http`.

#[path = "../../http/src/answers.rs"]
mod answers;
#[path = "../../http/src/connection.rs"]
mod connection;
#[path = "../../http/src/limits.rs"]
mod limits;
#[path = "../../http/src/server.rs"]
mod server;
#[path = "../../support/mod.rs"]
mod support;
#[path = "../../http/src/watch.rs"]
mod watch;

use connection::Error;
use limits::Limits;
use reveille::interop::HyperTokioIo;
use reveille::net::TcpStream;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use server::Visit;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use watch::{Watch, Watched};

const USAGE: &str = "\
usage: https [--addr IP:PORT] [--backend NAME] [--certificate FILE] [LIMITS]

  --addr IP:PORT       where to listen (default 127.0.0.1:7743); port 0: any free port
  --backend NAME       epoll, poll, ... (default: REVEILLE_BACKEND, or the best one here)
  --certificate FILE   where to write the certificate, in DER (default: nowhere)
  --help               print this text

Limits (that of a head is also that of the handshake):
";

/// The versions of HTTP, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

fn main() -> ExitCode {
    let usage = format!("{USAGE}{}", limits::USAGE);
    let mut arguments = support::Arguments::new(usage.leak());
    let addr = arguments.take("--addr");
    let backend = arguments.take("--backend");
    let file: Option<String> = arguments.take("--certificate");
    let limits = Limits::take(&mut arguments);
    arguments.finish();
    let addr = addr.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7743)));
    let run = acceptor(file.as_deref()).and_then(|acceptor| {
        server::run(addr, backend, limits, |stream, visit| {
            let acceptor = acceptor.clone();
            async move {
                if let Err(Error::Limit(limit)) = serve(acceptor, &stream, &visit).await {
                    visit.server().count(limit);
                }
            }
        })
    });
    match run {
        Ok(code) => code,
        Err(error) => support::report(Err(error)),
    }
}

/// Makes a certificate, and what is needed to accept connections with it.
fn acceptor(file: Option<&str>) -> io::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    if let Some(file) = file {
        std::fs::write(file, made.cert.der())?;
    }
    let certificate = CertificateDer::from(made.cert);
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = PROTOCOLS.map(Vec::from).to_vec();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves one connection until it ends.
async fn serve(acceptor: TlsAcceptor, tcp: &TcpStream, visit: &Visit) -> Result<(), Error> {
    let watch = Watch::new(visit.server().limits);
    let io = HyperTokioIo::new(Watched::new(tcp, watch.clone()));
    let stream = connection::prepare(acceptor.accept(io), visit).await?;
    let stream = stream.map_err(|_| Error::Client)?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(PROTOCOLS[0]);
    connection::serve(HyperTokioIo::new(stream), tcp, is_http2, &watch, visit).await
}
