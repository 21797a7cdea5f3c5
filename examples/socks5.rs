//! A SOCKS5 proxy: connects clients to the hosts they name (RFC 1928, without authentication).
//!
//! ```text
//! cargo run --release --example socks5
//! curl --socks5-hostname 127.0.0.1:7782 http://example.com/
//! ```
//!
//! A host name is looked up on another thread (`lookup_host`), so a slow look-up delays no other
//! client. Whatever a client has to do first has a time limit. Then `copy_bidirectional` moves the
//! bytes both ways, until both sides have ended; keepalive probes end connections to peers that
//! have vanished.
//!
//! Whoever reaches this port reaches whatever this machine reaches. Keep it on a private address.

mod support;

use reveille::io::copy_bidirectional;
use reveille::net::{Keepalive, TcpListener, TcpStream, lookup_host};
use reveille::time::{Duration, sleep, timeout};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

const USAGE: &str = "\
usage: socks5 [--addr ADDR:PORT] [--limit-ms N]

  --addr ADDR:PORT   where to listen (default 127.0.0.1:7782)
  --limit-ms N       how long a client may take for its request, and a host to be looked up and
                     connected, in milliseconds each (default 10000)
  --help             print this text";

const VERSION: u8 = 5;

/// A peer that is silent for a minute is probed three times.
const KEEPALIVE: Keepalive = Keepalive {
    idle: Some(Duration::from_secs(60)),
    interval: Some(Duration::from_secs(10)),
    count: Some(3),
};

/// The reply to a request, as RFC 1928 numbers them.
#[derive(Clone, Copy)]
enum Reply {
    Succeeded = 0,
    Failure = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

/// What a client wants to be connected to.
enum Target {
    Addr(SocketAddr),
    Host(String, u16),
}

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr: Option<String> = arguments.take("--addr");
    let limit = arguments.take("--limit-ms").map(Duration::from_millis);
    arguments.finish();
    support::report(run(
        addr.as_deref().unwrap_or("127.0.0.1:7782"),
        limit.unwrap_or(Duration::from_secs(10)),
    ))
}

fn run(addr: &str, limit: Duration) -> io::Result<()> {
    reveille::block_on(async {
        let listener = TcpListener::bind(addr).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((client, peer)) => drop(reveille::spawn(async move {
                    if let Err(error) = serve(client, limit).await {
                        eprintln!("socks5: {peer}: {error}");
                    }
                })),
                Err(error) => {
                    eprintln!("socks5: accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

/// Serves one client: its request, the connection, the bytes.
async fn serve(mut client: TcpStream, limit: Duration) -> io::Result<()> {
    // Bytes go on as they come, so none may wait to be sent with others.
    client.set_nodelay(true)?;
    let target = match timeout(limit, read_request(&client)).await?? {
        Ok(target) => target,
        Err(reply) => return send_reply(&client, reply, None).await,
    };
    // Dropping a look-up or a connection that takes too long ends it.
    let mut host = match timeout(limit, connect(target)).await {
        Ok(Ok(host)) => host,
        Ok(Err(reply)) => return send_reply(&client, reply, None).await,
        Err(_elapsed) => return send_reply(&client, Reply::HostUnreachable, None).await,
    };
    host.set_nodelay(true)?;
    for stream in [&client, &host] {
        stream.set_keepalive(Some(KEEPALIVE))?;
    }
    send_reply(&client, Reply::Succeeded, Some(host.local_addr()?)).await?;
    copy_bidirectional(&mut client, &mut host).await?;
    Ok(())
}

/// Reads the greeting and the request. The inner error is a reply to the client.
async fn read_request(client: &TcpStream) -> io::Result<Result<Target, Reply>> {
    // The greeting: version, number of methods, methods.
    let [version, count] = read(client).await?;
    check_version(version)?;
    let mut methods = [0; 255];
    let methods = &mut methods[..usize::from(count)];
    client.read_exact(methods).await?;
    // Method 0 is no authentication, and 255 says that no method is accepted.
    let method = if methods.contains(&0) { 0 } else { 255 };
    client.write_all(&[VERSION, method]).await?;
    if method != 0 {
        return Err(io::Error::other("the client insists on authentication"));
    }

    // The request: version, command, a zero, kind of address, address, port.
    let [version, command, _, kind] = read(client).await?;
    check_version(version)?;
    let target = match kind {
        1 => {
            let ip = Ipv4Addr::from(read::<4>(client).await?);
            Target::Addr(SocketAddr::new(IpAddr::V4(ip), read_port(client).await?))
        }
        3 => {
            let [length] = read(client).await?;
            let mut name = vec![0; usize::from(length)];
            client.read_exact(&mut name).await?;
            let port = read_port(client).await?;
            match String::from_utf8(name) {
                Ok(name) => Target::Host(name, port),
                Err(_) => return Ok(Err(Reply::HostUnreachable)),
            }
        }
        4 => {
            let ip = Ipv6Addr::from(read::<16>(client).await?);
            Target::Addr(SocketAddr::new(IpAddr::V6(ip), read_port(client).await?))
        }
        _ => return Ok(Err(Reply::AddressNotSupported)),
    };
    // 1 is CONNECT. There are BIND and UDP ASSOCIATE, too.
    Ok(if command == 1 {
        Ok(target)
    } else {
        Err(Reply::CommandNotSupported)
    })
}

async fn connect(target: Target) -> Result<TcpStream, Reply> {
    let addrs: Vec<SocketAddr> = match target {
        Target::Addr(addr) => vec![addr],
        Target::Host(name, port) => match lookup_host((name, port)).await {
            Ok(addrs) => addrs.collect(),
            Err(_) => return Err(Reply::HostUnreachable),
        },
    };
    // Several addresses are tried beside each other, IPv6 first.
    let stream = TcpStream::connect(addrs.as_slice()).await;
    stream.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Reply::NotAllowed,
        ErrorKind::NetworkUnreachable => Reply::NetworkUnreachable,
        ErrorKind::HostUnreachable | ErrorKind::TimedOut => Reply::HostUnreachable,
        ErrorKind::ConnectionRefused => Reply::ConnectionRefused,
        _ => Reply::Failure,
    })
}

/// Sends a reply with the address from which the host is connected, or with zeros.
async fn send_reply(client: &TcpStream, reply: Reply, from: Option<SocketAddr>) -> io::Result<()> {
    let from = from.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let mut bytes = vec![VERSION, reply as u8, 0];
    match from.ip() {
        IpAddr::V4(ip) => {
            bytes.push(1);
            bytes.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(4);
            bytes.extend(ip.octets());
        }
    }
    bytes.extend(from.port().to_be_bytes());
    client.write_all(&bytes).await
}

async fn read<const N: usize>(client: &TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_port(client: &TcpStream) -> io::Result<u16> {
    read(client).await.map(u16::from_be_bytes)
}

fn check_version(version: u8) -> io::Result<()> {
    if version == VERSION {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the client speaks version {version} of SOCKS, not 5"
    )))
}
