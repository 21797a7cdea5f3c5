//! TLS of rustls on streams, by tokio's traits and by those of `futures-io`; and hyper on TLS.

#[path = "../../../support/mod.rs"]
mod support;

use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response};
use reveille::interop::{HyperIo, HyperTimer, HyperTokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::convert::Infallible;
use std::sync::Arc;
use support::{Random, on_every_backend, pair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The settings of both sides. The certificate is in this folder, valid for a century.
fn settings() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("key.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (Arc::new(client), Arc::new(server))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

const LEN: usize = 1_000_000;

#[test]
fn tls_by_tokios_traits_echoes() {
    let (client_side, server_side) = settings();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let acceptor = tokio_rustls::TlsAcceptor::from(server_side.clone());
            let echo = reveille::spawn(async move {
                let stream = acceptor.accept(server).await.unwrap();
                let (mut read, mut write) = tokio::io::split(stream);
                let n = tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
                n
            });
            let connector = tokio_rustls::TlsConnector::from(client_side.clone());
            let stream = connector.connect(name(), client).await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            let sent = Random(2).bytes(LEN);
            let expected = sent.clone();
            let writer = reveille::spawn(async move {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            });
            let mut got = Vec::new();
            read.read_to_end(&mut got).await.unwrap();
            assert!(got == expected);
            writer.await.unwrap();
            assert_eq!(echo.await.unwrap(), LEN as u64);
        });
    });
}

#[test]
fn tls_by_the_traits_of_futures_io_echoes() {
    let (client_side, server_side) = settings();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let acceptor = futures_rustls::TlsAcceptor::from(server_side.clone());
            let echo = reveille::spawn(async move {
                let stream = acceptor.accept(server).await.unwrap();
                let (read, mut write) = stream.split();
                let n = futures::io::copy(read, &mut write).await.unwrap();
                write.close().await.unwrap();
                n
            });
            let connector = futures_rustls::TlsConnector::from(client_side.clone());
            let stream = connector.connect(name(), client).await.unwrap();
            let (mut read, mut write) = stream.split();
            let sent = Random(3).bytes(LEN);
            let expected = sent.clone();
            let writer = reveille::spawn(async move {
                write.write_all(&sent).await.unwrap();
                write.close().await.unwrap();
            });
            let mut got = Vec::new();
            read.read_to_end(&mut got).await.unwrap();
            assert!(got == expected);
            writer.await.unwrap();
            assert_eq!(echo.await.unwrap(), LEN as u64);
        });
    });
}

/// Posts bodies over a connection to a server that sends them back.
async fn post_bodies<C, S>(client: C, server: S)
where
    C: Read + Write + Unpin + 'static,
    S: Read + Write + Unpin + 'static,
{
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let connection = builder
        .timer(HyperTimer::new())
        .serve_connection(server, service);
    let serving = reveille::spawn(connection);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(client).await.unwrap();
    let client = reveille::spawn(connection);
    for len in [0, 1, 20_000, LEN] {
        let body = Random(len as u64 + 1).bytes(len);
        let request = Request::post("/").body(Full::new(Bytes::from(body.clone())));
        let response = sender.send_request(request.unwrap()).await.unwrap();
        let got = response.into_body().collect().await.unwrap().to_bytes();
        assert!(got == body, "{len}");
    }
    drop(sender);
    client.await.unwrap().unwrap();
    serving.await.unwrap().unwrap();
}

#[test]
fn hyper_runs_on_tls_by_adapters() {
    let (client_side, server_side) = settings();
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let acceptor = tokio_rustls::TlsAcceptor::from(server_side.clone());
            let connector = tokio_rustls::TlsConnector::from(client_side.clone());
            let sides = futures::join!(connector.connect(name(), client), acceptor.accept(server));
            let (client, server) = (sides.0.unwrap(), sides.1.unwrap());
            post_bodies(HyperTokioIo::new(client), HyperTokioIo::new(server)).await;

            let (client, server) = pair().await;
            let acceptor = futures_rustls::TlsAcceptor::from(server_side.clone());
            let connector = futures_rustls::TlsConnector::from(client_side.clone());
            let sides = futures::join!(connector.connect(name(), client), acceptor.accept(server));
            let (client, server) = (sides.0.unwrap(), sides.1.unwrap());
            post_bodies(HyperIo::new(client), HyperIo::new(server)).await;
        });
    });
}
