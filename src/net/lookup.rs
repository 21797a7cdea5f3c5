//! [`ToSocketAddrs`]: what can be given as an address, and looking up host names.
//!
//! `std` has a trait of the same name, but its method blocks, and its result may borrow the
//! argument. The hidden method here returns addresses if it has them, and otherwise an owned host
//! name, so that the look-up can move to another thread.

use crate::blocking;
use crate::reactor::registration::no_runtime;
use crate::sys::syscall::failure;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::vec;

/// Types that name one or more socket addresses, for
/// [`TcpStream::connect`](super::TcpStream::connect),
/// [`TcpListener::bind`](super::TcpListener::bind) and the methods of
/// [`UdpSocket`](super::UdpSocket).
///
/// The implementors are those of [`std::net::ToSocketAddrs`]. The trait is sealed: it cannot be
/// implemented outside this crate.
///
/// | type | host names |
/// |---|---|
/// | [`SocketAddr`], [`SocketAddrV4`], [`SocketAddrV6`] | no |
/// | `&[SocketAddr]`: these addresses, one after the other | no |
/// | `(IpAddr, u16)`, `(Ipv4Addr, u16)`, `(Ipv6Addr, u16)` | no |
/// | `(&str, u16)`, `(String, u16)` | yes: `("localhost", 80)` |
/// | `str`, `String`: host and port, with a colon in between | yes: `"localhost:80"` |
/// | a reference to one of these | as for the type |
///
/// A string that is an IP address is not looked up. A host name is looked up by the system's
/// resolver on another thread, which is one of those of [`spawn_blocking`](crate::spawn_blocking),
/// or one of two that only look-ups use, so that slow closures delay no look-up. [`lookup_host`]
/// returns the addresses.
///
/// # Examples
///
/// ```
/// use reveille::net::{TcpListener, ToSocketAddrs};
/// use std::net::Ipv4Addr;
///
/// async fn port(addr: impl ToSocketAddrs) -> std::io::Result<u16> {
///     Ok(TcpListener::bind(addr).await?.local_addr()?.port())
/// }
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let port_of_text = port("127.0.0.1:0").await?;
///     let port_of_pair = port((Ipv4Addr::LOCALHOST, 0)).await?;
///     assert!(port_of_text > 0 && port_of_pair > 0);
///     Ok(())
/// })
/// # }
/// ```
pub trait ToSocketAddrs: sealed::ToTarget {}

impl<T: sealed::ToTarget + ?Sized> ToSocketAddrs for T {}

mod sealed {
    use super::Target;
    use std::io;

    /// The hidden half of [`ToSocketAddrs`](super::ToSocketAddrs).
    pub trait ToTarget {
        /// Returns the addresses, or the host to look up. Never blocks.
        fn to_target(&self) -> io::Result<Target>;
    }
}

use sealed::ToTarget;

/// The addresses or the host that an argument names.
#[derive(Debug)]
pub enum Target {
    /// One address.
    Addr(SocketAddr),
    /// Several, in the order in which they are tried.
    Addrs(Vec<SocketAddr>),
    /// A name that is no IP address, and a port.
    Host(String, u16),
}

/// The addresses to try, in order.
#[derive(Debug)]
pub(super) enum Addrs {
    One(Option<SocketAddr>),
    Many(vec::IntoIter<SocketAddr>),
}

impl Iterator for Addrs {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        match self {
            Addrs::One(addr) => addr.take(),
            Addrs::Many(addrs) => addrs.next(),
        }
    }
}

/// Returns the addresses that an argument names. A host name is looked up on another thread.
///
/// Not an `async fn`, so that the future does not borrow the argument.
pub(super) fn resolve<A: ToSocketAddrs>(
    addr: &A,
) -> impl Future<Output = io::Result<Addrs>> + Send + use<A> {
    let target = addr.to_target();
    async {
        Ok(match target? {
            Target::Addr(addr) => Addrs::One(Some(addr)),
            Target::Addrs(addrs) => Addrs::Many(addrs.into_iter()),
            Target::Host(host, port) => Addrs::Many(look_up(host, port).await?),
        })
    }
}

/// Returns the first address that an argument names.
///
/// A look-up is boxed, so that the future of a send is small.
pub(super) fn resolve_first<A: ToSocketAddrs>(
    addr: &A,
) -> impl Future<Output = io::Result<SocketAddr>> + Send + use<A> {
    let target = addr.to_target();
    async {
        let first = match target? {
            Target::Addr(addr) => Some(addr),
            Target::Addrs(addrs) => addrs.first().copied(),
            Target::Host(host, port) => Box::pin(look_up(host, port)).await?.next(),
        };
        first.ok_or_else(no_address)
    }
}

/// Looks a host name up on a thread of the current runtime's pool. If the future is dropped before
/// a thread has begun, nothing is looked up.
async fn look_up(host: String, port: u16) -> io::Result<vec::IntoIter<SocketAddr>> {
    let name = host.clone();
    let call = move || std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), port));
    let job = blocking::CURRENT.with(|jobs| match jobs {
        Some(jobs) => jobs.look_up(call).map_err(io::Error::from),
        None => Err(no_runtime()),
    });
    let answer = match job {
        Ok(job) => job.abort_on_drop().await.map_err(io::Error::from),
        Err(error) => Err(error),
    };
    answer
        .and_then(|found| found)
        .map_err(|error| look_up_failed(&host, &error))
}

/// Looks up the addresses of a host, on another thread.
///
/// Arguments that are addresses are returned unchanged; [`ToSocketAddrs`] has a table of the types.
/// The system's resolver may return an address more than once.
///
/// # Errors
///
/// Returns an error if the string names neither an address nor a host with a port, if the resolver
/// finds no address, or if a host must be looked up and no runtime runs on this thread.
///
/// # Cancel safety
///
/// Cancel safe. A look-up that has begun continues on its thread, and its result is dropped.
///
/// # Examples
///
/// ```
/// use reveille::net::lookup_host;
///
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     let mut addrs = lookup_host("127.0.0.1:80").await?;
///     assert_eq!(addrs.next().map(|addr| addr.port()), Some(80));
///     for addr in lookup_host(("localhost", 80)).await? {
///         assert!(addr.ip().is_loopback());
///     }
///     Ok(())
/// })
/// # }
/// ```
pub async fn lookup_host<A: ToSocketAddrs>(
    host: A,
) -> io::Result<impl Iterator<Item = SocketAddr> + use<A>> {
    resolve(&host).await
}

/// Returns the error for an argument that names no address at all.
#[cold]
pub(super) fn no_address() -> io::Error {
    failure(
        io::ErrorKind::InvalidInput,
        "cannot connect, bind or send: the list of addresses is empty",
    )
}

#[cold]
fn look_up_failed(host: &str, error: &io::Error) -> io::Error {
    failure(error.kind(), &format!("cannot look up {host:?}: {error}"))
}

/// Returns the target of a host and a port: an address if the host is an IP address.
fn host_target(host: &str, port: u16) -> Target {
    match host.parse::<IpAddr>() {
        Ok(ip) => Target::Addr(SocketAddr::new(ip, port)),
        Err(_) => Target::Host(host.to_owned(), port),
    }
}

impl ToTarget for SocketAddr {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addr(*self))
    }
}

impl ToTarget for SocketAddrV4 {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addr((*self).into()))
    }
}

impl ToTarget for SocketAddrV6 {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addr((*self).into()))
    }
}

impl ToTarget for (IpAddr, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addr((*self).into()))
    }
}

impl ToTarget for (Ipv4Addr, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addr((*self).into()))
    }
}

impl ToTarget for (Ipv6Addr, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addr((*self).into()))
    }
}

impl ToTarget for (&str, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(host_target(self.0, self.1))
    }
}

impl ToTarget for (String, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(host_target(&self.0, self.1))
    }
}

impl ToTarget for str {
    fn to_target(&self) -> io::Result<Target> {
        if let Ok(addr) = self.parse() {
            return Ok(Target::Addr(addr));
        }
        let parts = self.rsplit_once(':');
        let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let Some((name, port)) = parts else {
            let why = format!("{self:?} is not an address: write IP:PORT or HOST:PORT");
            return Err(failure(io::ErrorKind::InvalidInput, &why));
        };
        Ok(host_target(name, port))
    }
}

impl ToTarget for String {
    fn to_target(&self) -> io::Result<Target> {
        self.as_str().to_target()
    }
}

impl ToTarget for &[SocketAddr] {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addrs(self.to_vec()))
    }
}

impl<T: ToTarget + ?Sized> ToTarget for &T {
    fn to_target(&self) -> io::Result<Target> {
        (**self).to_target()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::blocking::{Jobs, Pool};
    use crate::task::Remote;
    use crate::token::RuntimeId;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    fn target(addr: impl ToSocketAddrs) -> String {
        match addr.to_target() {
            Ok(target) => format!("{target:?}"),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    #[test]
    fn to_socket_addrs_looks_up_only_names() {
        let v4 = SocketAddr::from(([127, 0, 0, 1], 80));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 80));
        let (one, other) = ("Addr(127.0.0.1:80)", "Addr([::1]:80)");
        let SocketAddr::V4(only_v4) = v4 else {
            unreachable!()
        };
        let SocketAddr::V6(only_v6) = v6 else {
            unreachable!()
        };
        let (v6_by_reference, text) = (&v6, "name:80".to_owned());
        let text_by_reference = &&text;
        for (found, expected) in [
            (target(v4), one),
            (target(v6_by_reference), other),
            (target(only_v4), one),
            (target(only_v6), other),
            (target((v4.ip(), 80)), one),
            (target((Ipv4Addr::LOCALHOST, 80)), one),
            (target((Ipv6Addr::LOCALHOST, 80)), other),
            (target("127.0.0.1:80"), one),
            (target("[::1]:80"), other),
            (target("::1:80"), other),
            (target(("127.0.0.1", 80)), one),
            (target(("::1", 80)), other),
            (target(("::1".to_owned(), 80)), other),
            (target("name:80"), r#"Host("name", 80)"#),
            (target(text_by_reference), r#"Host("name", 80)"#),
            (target(("name", 80)), r#"Host("name", 80)"#),
            (target(("name:80", 81)), r#"Host("name:80", 81)"#),
            (target(&[v4, v6][..]), "Addrs([127.0.0.1:80, [::1]:80])"),
            (target("name"), "InvalidInput"),
            (target("name:"), "InvalidInput"),
            (target("name:65536"), "InvalidInput"),
            (target(""), "InvalidInput"),
        ] {
            assert_eq!(found, expected);
        }
    }

    /// Resolves addresses. The first poll is ready, because nothing is looked up.
    fn resolved<A: ToSocketAddrs>(addr: &A) -> io::Result<Addrs> {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(resolve(addr)).poll(&mut cx) {
            Poll::Ready(addrs) => addrs,
            Poll::Pending => panic!("an address was looked up"),
        }
    }

    #[test]
    fn resolve_tries_the_addresses_in_order() {
        let list = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(resolved(&&list[..]).unwrap().eq(list));
        assert!(resolved(&list[0]).unwrap().eq([list[0]]));
    }

    #[test]
    fn resolve_names_the_host_that_was_not_found() {
        // A name that std refuses before it calls the resolver.
        let error = crate::block_on(resolve(&("no\0host", 80))).unwrap_err();
        assert!(error.to_string().contains("no\\0host"), "{error}");
    }

    /// The threads of the pool are busy with other look-ups, which wait for the gate.
    #[test]
    fn look_up_that_is_dropped_leaves_the_queue() {
        let pool = Pool::new(1, Duration::from_secs(10));
        let remote = Remote::new(RuntimeId::new(1, 0), Waker::noop().clone());
        let settings = blocking::Settings {
            pool: Some(pool.clone()),
            ..blocking::Settings::default()
        };
        let jobs = Jobs::new(Arc::new(remote), settings);
        let gates = [(); 3].map(|()| {
            let (gate, wait) = channel::<()>();
            let call = move || wait.recv().is_err();
            (gate, jobs.look_up(call).unwrap())
        });
        while pool.queued() > 0 {
            std::thread::yield_now();
        }
        blocking::CURRENT.enter(&jobs, || {
            let mut future = Box::pin(resolve(&"localhost:80"));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            assert_eq!(pool.queued(), 1);
            drop(future);
            assert_eq!(pool.queued(), 0);
        });
        for (gate, job) in gates {
            drop(gate);
            assert!(job.wait().unwrap());
        }
    }
}
