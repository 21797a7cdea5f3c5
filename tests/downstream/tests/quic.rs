//! QUIC of quinn, over the file of `examples/quic` that is made to be copied.

#[path = "../../../examples/quic/src/reveille_quinn.rs"]
mod reveille_quinn;
#[path = "../../support/mod.rs"]
mod support;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectError, Connection, ConnectionError, Endpoint, EndpointConfig};
use quinn::{Runtime as _, ServerConfig, TransportConfig, VarInt};
use reveille::Builder;
use reveille::backend::BackendKind;
use reveille::time::{Duration, now, sleep};
use reveille_quinn::ReveilleRuntime;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::cell::Cell;
use std::future::poll_fn;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use support::{Random, on_every_backend};

/// The settings of both sides, with the certificate of the tests of TLS. A connection ends if
/// nothing arrives for `idle`.
fn settings(idle: Duration) -> (ClientConfig, ServerConfig) {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(idle.try_into().unwrap()));
    let transport = Arc::new(transport);
    let client = QuicClientConfig::try_from(client).unwrap();
    let server = QuicServerConfig::try_from(server).unwrap();
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(transport.clone());
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(transport);
    (client, server)
}

/// A time in which no test ends.
const LONG: Duration = Duration::from_secs(3600);

fn endpoint(config: Option<ServerConfig>) -> Endpoint {
    let runtime = Arc::new(ReveilleRuntime::current());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    Endpoint::new(EndpointConfig::default(), config, socket, runtime).unwrap()
}

/// A client and a server.
fn endpoints(idle: Duration) -> (Endpoint, Endpoint) {
    let (client_side, server_side) = settings(idle);
    let mut client = endpoint(None);
    client.set_default_client_config(client_side);
    (client, endpoint(Some(server_side)))
}

/// Both sides of a connection.
async fn connect(client: &Endpoint, server: &Endpoint) -> (Connection, Connection) {
    let addr = server.local_addr().unwrap();
    let accept = async { server.accept().await.unwrap().await.unwrap() };
    let connect = async { client.connect(addr, "localhost").unwrap().await.unwrap() };
    futures::join!(connect, accept)
}

/// Sends back what each stream of the connection brings, until the peer closes the connection.
/// The streams share an `Rc`.
async fn echo(connection: Connection) -> usize {
    let total = Rc::new(Cell::new(0));
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let total = total.clone();
        reveille::spawn(async move {
            while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.unwrap() {
                total.set(total.get() + chunk.bytes.len());
                send.write_chunk(chunk.bytes).await.unwrap();
            }
            send.finish().unwrap();
        });
    }
    total.get()
}

/// Sends bytes on a new stream and reads them back at the same time.
async fn exchange(connection: Connection, seed: u64, len: usize) {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let data = Random(seed + 1).bytes(len);
    let expected = data.clone();
    let writer = reveille::spawn(async move {
        send.write_all(&data).await.unwrap();
        send.finish().unwrap();
    });
    let got = recv.read_to_end(len + 1).await.unwrap();
    assert!(got == expected, "stream {seed}");
    writer.await.unwrap();
}

#[test]
fn quic_echoes_many_streams_at_once() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = endpoints(LONG);
            let (here, there) = connect(&client, &server).await;
            let echo = reveille::spawn(echo(there));
            let lens = [0, 1, 1000, 100_000, 3_000_000].into_iter();
            let lens: Vec<usize> = lens.chain((0..60).map(|at| at * 100)).collect();
            let exchanges = lens.iter().enumerate();
            let exchanges: Vec<_> = exchanges
                .map(|(at, &len)| reveille::spawn(exchange(here.clone(), at as u64, len)))
                .collect();
            for exchange in exchanges {
                exchange.await.unwrap();
            }
            here.close(VarInt::from_u32(7), b"done");
            assert_eq!(echo.await.unwrap(), lens.iter().sum::<usize>());
            // Both sides have sent and received the last datagrams of the connection.
            client.wait_idle().await;
            server.wait_idle().await;
        });
    });
}

#[test]
fn quic_reports_how_the_peer_has_closed() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = endpoints(LONG);
            let (here, there) = connect(&client, &server).await;
            let mut send = here.open_uni().await.unwrap();
            send.write_all(b"hello").await.unwrap();
            let mut recv = there.accept_uni().await.unwrap();
            recv.read_exact(&mut [0; 5]).await.unwrap();
            there.close(VarInt::from_u32(7), b"enough");
            let ConnectionError::ApplicationClosed(close) = here.closed().await else {
                panic!("closed in another way");
            };
            assert_eq!(
                (close.error_code, &close.reason[..]),
                (VarInt::from_u32(7), &b"enough"[..])
            );
            assert!(send.write_all(b"more").await.is_err());
        });
    });
}

#[test]
fn quic_datagrams_arrive() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = endpoints(LONG);
            let (here, there) = connect(&client, &server).await;
            for number in 0..100_u8 {
                here.send_datagram(vec![number; 100].into()).unwrap();
                let datagram = there.read_datagram().await.unwrap();
                assert_eq!(datagram[..], [number; 100]);
            }
        });
    });
}

#[test]
fn quic_connection_ends_when_the_peer_is_silent() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
            let idle = Duration::from_millis(50);
            let (client, _server) = endpoints(idle);
            let begin = now();
            let addr = silent.local_addr().unwrap();
            let error = client
                .connect(addr, "localhost")
                .unwrap()
                .await
                .unwrap_err();
            assert!(matches!(error, ConnectionError::TimedOut), "{error}");
            assert!(begin.elapsed() >= idle);
        });
    });
}

#[test]
fn quic_connection_is_used_by_another_thread() {
    on_every_backend(|runtime| {
        let (client, server) = runtime.enter(|| endpoints(LONG));
        let (addr, handle) = (server.local_addr().unwrap(), runtime.handle());
        let thread = thread::spawn(move || {
            // The connection's task is spawned from here, and runs on the runtime's thread.
            handle.block_on(async {
                let connection = client.connect(addr, "localhost").unwrap().await.unwrap();
                for seed in 0..20 {
                    let (mut send, mut recv) = connection.open_bi().await.unwrap();
                    let data = Random(seed + 1).bytes(50_000);
                    send.write_all(&data).await.unwrap();
                    send.finish().unwrap();
                    assert!(recv.read_to_end(100_000).await.unwrap() == data);
                }
                connection.close(VarInt::from_u32(0), b"");
                client.wait_idle().await;
            });
        });
        runtime.block_on(async {
            let connection = server.accept().await.unwrap().await.unwrap();
            assert_eq!(echo(connection).await, 20 * 50_000);
            server.wait_idle().await;
            // The client's tasks run here as well, until it is idle.
            while !thread.is_finished() {
                sleep(Duration::from_millis(1)).await;
            }
        });
        thread.join().unwrap();
    });
}

/// Datagrams on one host hardly ever have to wait, so the other tests need no poller.
#[test]
fn quic_pollers_find_the_socket_writable() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let quinn = ReveilleRuntime::current();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let socket = quinn.wrap_udp_socket(socket).unwrap();
            let pollers = (0..3).map(|_| socket.clone().create_io_poller());
            let tasks = pollers.map(|mut poller| {
                reveille::spawn(async move {
                    for _ in 0..2 {
                        poll_fn(|cx| poller.as_mut().poll_writable(cx))
                            .await
                            .unwrap();
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn quic_endpoint_is_refused_outside_a_runtime() {
    on_every_backend(|runtime| {
        let quinn = runtime.enter(|| Arc::new(ReveilleRuntime::current()));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let made = Endpoint::new(EndpointConfig::default(), None, socket, quinn);
        let error = made.unwrap_err().to_string();
        assert!(error.contains("no reveille runtime"), "{error}");
    });
}

#[test]
fn quic_endpoint_outlives_its_runtime() {
    for kind in BackendKind::ALL {
        let Ok(runtime) = Builder::new().backend(kind).build() else {
            continue;
        };
        let ((client, server), connections) = runtime.block_on(async {
            let (client, server) = endpoints(LONG);
            let connections = connect(&client, &server).await;
            ((client, server), connections)
        });
        let addr = server.local_addr().unwrap();
        drop(runtime);
        let refused = client.connect(addr, "localhost").unwrap_err();
        assert!(
            matches!(refused, ConnectError::EndpointStopping),
            "{refused}"
        );
        drop((connections, client, server));
    }
}

/// An hour of silence passes at once, because quinn reads the runtime's clock.
#[test]
fn quic_obeys_a_paused_clock() {
    let runtime = Builder::new().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let begin = now();
        let (client, server) = endpoints(LONG);
        let (here, there) = connect(&client, &server).await;
        assert!(matches!(here.closed().await, ConnectionError::TimedOut));
        assert!(matches!(there.closed().await, ConnectionError::TimedOut));
        assert!(now() - begin >= LONG);
    });
}
