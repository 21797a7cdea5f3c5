//! The resolver of hickory, over the file of `examples/resolver` that is made to be copied.

#[path = "../../../examples/resolver/src/reveille_hickory.rs"]
mod reveille_hickory;
#[path = "../../support/mod.rs"]
mod support;

use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use reveille::net::{TcpListener, TcpStream, UdpSocket};
use reveille::time::{Duration, now};
use reveille_hickory::ReveilleProvider;
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use support::on_every_backend;

/// The queries that a name server has received: the name, and `udp` or `tcp`.
type Queries = Rc<RefCell<Vec<(String, &'static str)>>>;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// The addresses of `many.test`, which do not fit into a datagram.
fn many() -> Vec<[u8; 4]> {
    (0..2000_u16)
        .map(|n| [192, 0, 2 + (n >> 8) as u8, n as u8])
        .collect()
}

/// Starts a name server for UDP and TCP on one port of 127.0.0.1.
async fn name_server() -> (SocketAddr, Queries) {
    let queries = Queries::default();
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Another program may have the same port of TCP.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let addr = udp.local_addr().unwrap();
    reveille::spawn(serve_udp(udp, queries.clone()));
    let shared = queries.clone();
    reveille::spawn(async move {
        loop {
            let (stream, _) = tcp.accept().await.unwrap();
            reveille::spawn(serve_tcp(stream, shared.clone()));
        }
    });
    (addr, queries)
}

async fn serve_udp(socket: UdpSocket, queries: Queries) {
    let mut buf = [0; 2000];
    loop {
        let (n, peer) = socket.recv_from(&mut buf).await.unwrap();
        if let Some(reply) = answer(&buf[..n], "udp", &queries) {
            socket.send_to(&reply, peer).await.unwrap();
        }
    }
}

async fn serve_tcp(stream: TcpStream, queries: Queries) {
    let mut len = [0; 2];
    while stream.read_exact(&mut len).await.is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut query).await.unwrap();
        let reply = answer(&query, "tcp", &queries).unwrap();
        let mut framed = u16::try_from(reply.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(reply);
        stream.write_all(&framed).await.unwrap();
    }
}

/// The reply to a query of one question (RFC 1035, section 4.1), or `None` if it is to be lost.
fn answer(query: &[u8], transport: &'static str, queries: &Queries) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let (name, question) = (labels.join("."), &query[12..at + 5]);
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let earlier = queries.borrow().iter().filter(|(n, _)| *n == name).count();
    queries.borrow_mut().push((name.clone(), transport));

    let truncated = transport == "udp" && name == "many.test";
    let addresses: Option<Vec<Vec<u8>>> = match (&name[..], kind) {
        // Nothing arrives for the first query.
        ("lost.test", _) if earlier == 0 => return None,
        ("one.test" | "lost.test", TYPE_A) => Some(vec![vec![192, 0, 2, 1]]),
        ("one.test", TYPE_AAAA) => {
            Some(vec![[&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1]].concat()])
        }
        ("many.test", TYPE_A) if truncated => Some(Vec::new()),
        ("many.test", TYPE_A) => Some(many().into_iter().map(Vec::from).collect()),
        ("one.test" | "lost.test" | "many.test", _) => Some(Vec::new()),
        _ => None,
    };
    let code = if addresses.is_some() { 0 } else { 3 };
    let addresses = addresses.unwrap_or_default();
    let flags = [0x81 | u8::from(truncated) << 1, 0x80 | code];
    let count = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    let mut reply = [&query[..2], &flags, &[0, 1], &count, &[0; 4], question].concat();
    for address in addresses {
        // The name of the question; the type; the class; 300 seconds; the length.
        reply.extend([
            0xc0,
            12,
            0,
            kind as u8,
            0,
            1,
            0,
            0,
            1,
            44,
            0,
            address.len() as u8,
        ]);
        reply.extend(address);
    }
    Some(reply)
}

fn resolver(addr: SocketAddr, patience: Duration) -> Resolver<ReveilleProvider> {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = addr.port();
    }
    let server = NameServerConfig::new(addr.ip(), true, connections);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = Resolver::builder_with_config(config, ReveilleProvider::current());
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.options_mut().timeout = patience;
    builder.build().unwrap()
}

/// A time in which no test ends.
const LONG: Duration = Duration::from_secs(600);

async fn addresses(resolver: &Resolver<ReveilleProvider>, name: &str) -> Vec<IpAddr> {
    let mut found: Vec<_> = resolver.lookup_ip(name).await.unwrap().iter().collect();
    found.sort();
    found
}

#[test]
fn resolver_finds_addresses_and_keeps_them() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, queries) = name_server().await;
            let resolver = resolver(addr, LONG);
            let expected: [IpAddr; 2] =
                ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
            assert_eq!(addresses(&resolver, "one.test.").await, expected);
            let asked = queries.borrow().len();
            assert_eq!(addresses(&resolver, "one.test.").await, expected);
            assert_eq!(queries.borrow().len(), asked, "the second answer is cached");
        });
    });
}

#[test]
fn resolver_asks_over_tcp_after_a_truncated_answer() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, queries) = name_server().await;
            let found = resolver(addr, LONG)
                .ipv4_lookup("many.test.")
                .await
                .unwrap();
            assert_eq!(found.answers().len(), many().len());
            let transports: Vec<_> = queries.borrow().iter().map(|(_, by)| *by).collect();
            assert_eq!(transports, ["udp", "tcp"]);
        });
    });
}

#[test]
fn resolver_asks_again_after_a_lost_datagram() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, queries) = name_server().await;
            let begin = now();
            let found = resolver(addr, Duration::from_secs(60))
                .ipv4_lookup("lost.test.")
                .await
                .unwrap();
            assert_eq!(found.answers().len(), 1);
            assert!(queries.borrow().len() >= 2);
            assert!(begin.elapsed() > Duration::ZERO);
        });
    });
}

#[test]
fn resolver_reports_a_name_that_does_not_exist() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, _queries) = name_server().await;
            let error = resolver(addr, LONG)
                .lookup_ip("no.test.")
                .await
                .unwrap_err();
            assert!(error.is_nx_domain(), "{error}");
        });
    });
}

#[test]
fn resolver_gives_up_on_a_silent_server() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let begin = now();
            let patience = Duration::from_millis(30);
            let resolver = resolver(silent.local_addr().unwrap(), patience);
            resolver.ipv4_lookup("one.test.").await.unwrap_err();
            assert!(begin.elapsed() >= patience);
        });
    });
}

#[test]
fn resolver_answers_many_look_ups_at_once() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (addr, queries) = name_server().await;
            let resolver = resolver(addr, LONG);
            let lookups: Vec<_> = (0..200)
                .map(|number| {
                    let resolver = resolver.clone();
                    reveille::spawn(async move {
                        let name = format!("no{number}.test.");
                        let error = resolver.ipv4_lookup(name.as_str()).await.unwrap_err();
                        assert!(error.is_nx_domain(), "{error}");
                    })
                })
                .collect();
            for lookup in lookups {
                lookup.await.unwrap();
            }
            assert!(queries.borrow().len() >= 200);
        });
    });
}
