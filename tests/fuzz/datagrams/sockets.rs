//! [`Sockets`]: the sockets of an exchange, made in every way.

use super::super::harness::Dice;
use super::socket::{Socket, Target};
use reveille::net::{UdpSocket, UnixDatagram};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What the sockets are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Udp,
    /// Two Unix sockets, each the peer of the other.
    Pair,
    /// Unix sockets that send to one with a name.
    Path,
}

/// The file of a Unix socket, which is removed when this is dropped.
struct Name(PathBuf);

impl Name {
    fn new() -> Name {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let name = format!("reveille-datagrams-{}-{number}", std::process::id());
        Name(std::env::temp_dir().join(name))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) struct Sockets {
    /// `None` once it is gone.
    pub(super) receiver: Option<Arc<Socket>>,
    pub(super) senders: Vec<(Arc<Socket>, Target)>,
    /// How many datagrams the kernel had dropped on their way at first.
    drops: usize,
    _name: Option<Name>,
}

impl Sockets {
    /// `is_small`: the buffer of a receiver of UDP may be too small.
    pub(super) async fn new(kind: Kind, dice: &mut Dice, is_small: bool) -> Sockets {
        let drops = drops_on_the_way();
        let mut name = None;
        let (receiver, senders) = match kind {
            Kind::Udp => udp(dice, is_small).await,
            Kind::Pair => pair(dice),
            Kind::Path => paths(dice, name.insert(Name::new())),
        };
        let senders = senders.into_iter();
        Sockets {
            receiver: Some(Arc::new(receiver)),
            senders: senders
                .map(|(socket, target)| (Arc::new(socket), target))
                .collect(),
            drops,
            _name: name,
        }
    }

    /// Returns how many datagrams the kernel may have dropped since the beginning.
    pub(super) fn dropped(&self) -> usize {
        match self.receiver.as_deref() {
            Some(Socket::Udp(socket)) => {
                let on_the_way = drops_on_the_way().saturating_sub(self.drops);
                drops_at(socket).saturating_add(on_the_way)
            }
            _ => 0,
        }
    }
}

type Made = (Socket, Vec<(Socket, Target)>);

async fn udp(dice: &mut Dice, is_small: bool) -> Made {
    let receiver = one_udp(dice).await;
    let addr = receiver.local_addr().unwrap();
    if is_small && dice.one_in(2) {
        receiver.set_recv_buffer_size(1).unwrap();
    }
    let mut senders = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let sender = one_udp(dice).await;
        let is_connected = dice.one_in(2);
        if is_connected {
            sender.connect(addr).await.unwrap();
        }
        senders.push((sender, is_connected));
    }
    if let ([(sender, _)], true) = (&*senders, dice.one_in(2)) {
        receiver
            .connect(sender.local_addr().unwrap())
            .await
            .unwrap();
    }
    let sender = |(sender, is_connected)| {
        let target = if is_connected {
            Target::Peer
        } else {
            Target::Ip(addr)
        };
        (Socket::Udp(sender), target)
    };
    (
        Socket::Udp(receiver),
        senders.into_iter().map(sender).collect(),
    )
}

async fn one_udp(dice: &mut Dice) -> UdpSocket {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    if dice.one_in(3) {
        let socket = std::net::UdpSocket::bind(any).unwrap();
        socket.set_nonblocking(true).unwrap();
        return UdpSocket::from_std(socket).unwrap();
    }
    UdpSocket::bind(any).await.unwrap()
}

fn pair(dice: &mut Dice) -> Made {
    let (receiver, sender) = if dice.one_in(3) {
        let (one, two) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let adopt = |socket: std::os::unix::net::UnixDatagram| {
            socket.set_nonblocking(true).unwrap();
            UnixDatagram::from_std(socket).unwrap()
        };
        (adopt(one), adopt(two))
    } else {
        UnixDatagram::pair().unwrap()
    };
    (
        Socket::Unix(receiver),
        vec![(Socket::Unix(sender), Target::Peer)],
    )
}

fn paths(dice: &mut Dice, name: &Name) -> Made {
    let receiver = UnixDatagram::bind(&name.0).unwrap();
    let addr = receiver.local_addr().unwrap();
    let senders = (0..1 + dice.below(3)).map(|_| {
        let sender = UnixDatagram::unbound().unwrap();
        let target = match dice.below(3) {
            0 => {
                sender.connect(&name.0).unwrap();
                Target::Peer
            }
            1 => Target::Path(name.0.clone()),
            _ => Target::Addr(addr.clone()),
        };
        (Socket::Unix(sender), target)
    });
    let senders = senders.collect();
    (Socket::Unix(receiver), senders)
}

/// Returns how many datagrams the kernel has dropped at a socket, most of them because its buffer
/// was full.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn drops_at(socket: &UdpSocket) -> usize {
    use std::os::fd::AsRawFd;

    /// The number of values, and the place of the drops among them (`linux/sock_diag.h`).
    const VALUES: usize = 9;
    const DROPS: usize = 8;
    let mut values = [0_u32; VALUES];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of one array that outlives the call.
    let result = unsafe {
        let (level, name) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
        let values = values.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), level, name, values, &raw mut length)
    };
    match result {
        0 if length as usize == size_of_val(&values) => values[DROPS] as usize,
        _ => usize::MAX,
    }
}

/// Elsewhere nothing tells.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn drops_at(_: &UdpSocket) -> usize {
    usize::MAX
}

/// Returns how many packets of any socket the kernel has dropped before they came to their socket.
fn drops_on_the_way() -> usize {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    let column = |line: &str| usize::from_str_radix(line.split(' ').nth(1)?, 16).ok();
    text.lines().filter_map(column).sum()
}
