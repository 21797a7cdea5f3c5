//! Host names and their addresses, by the resolver of hickory: it has a cache, sends queries to
//! several name servers, and uses no thread.
//!
//! ```text
//! cargo run --release --manifest-path examples/resolver/Cargo.toml
//! cargo run --release --manifest-path examples/resolver/Cargo.toml -- --names example.com
//! cargo run --release --manifest-path examples/resolver/Cargo.toml -- --server 127.0.0.1:53
//! ```
//!
//! [`reveille_hickory`] holds what hickory needs of a runtime.

mod reveille_hickory;
#[path = "../../support/mod.rs"]
mod support;

use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use reveille_hickory::ReveilleProvider;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

const USAGE: &str = "\
usage: resolver [--names NAME,NAME,...] [--server IP:PORT]

  --names NAME,...   which names to look up, all at once (default localhost)
  --server IP:PORT   the name server (default: those of /etc/resolv.conf)
  --help             print this text";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let names = arguments.take("--names");
    let names: String = names.unwrap_or_else(|| "localhost".to_owned());
    let server = arguments.take("--server");
    arguments.finish();
    support::report(reveille::block_on(run(&names, server)))
}

async fn run(names: &str, server: Option<SocketAddr>) -> io::Result<()> {
    let provider = ReveilleProvider::current();
    let builder = match server {
        Some(addr) => Resolver::builder_with_config(only(addr), provider),
        None => Resolver::builder(provider).map_err(io::Error::other)?,
    };
    let resolver = builder.build().map_err(io::Error::other)?;

    let mut lookups = reveille::task::JoinSet::new();
    for name in names.split(',').map(str::to_owned) {
        let resolver = resolver.clone();
        lookups.spawn(async move {
            let found = resolver.lookup_ip(name.as_str()).await;
            (name, found.map(|found| found.iter().collect()))
        });
    }
    while let Some(lookup) = lookups.join_next().await {
        let (name, found): (String, Result<Vec<IpAddr>, NetError>) = lookup?;
        match found {
            Ok(addresses) => println!("{name} {addresses:?}"),
            Err(error) => println!("{name}: {error}"),
        }
    }
    Ok(())
}

/// A configuration with one name server: queries are sent over UDP, and over TCP if the answer does
/// not fit into a datagram.
fn only(addr: SocketAddr) -> ResolverConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = addr.port();
    }
    let server = NameServerConfig::new(addr.ip(), true, connections);
    ResolverConfig::from_name_servers(vec![server])
}
