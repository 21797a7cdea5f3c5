//! The options of stream sockets, and those that all sockets have.

use super::socket::Socket;
use std::io;
use std::time::Duration;

const TCP: libc::c_int = libc::IPPROTO_TCP;
const V4: libc::c_int = libc::IPPROTO_IP;
const V6: libc::c_int = libc::IPPROTO_IPV6;

/// When the kernel checks a connection on which nothing is sent, to find out whether the peer is
/// still there. For [`TcpStream::set_keepalive`](crate::net::TcpStream::set_keepalive).
///
/// `None` leaves the system's value. Linux has 2 hours, 75 seconds and 9 (tcp(7)). OpenBSD and
/// Solaris have one setting for all connections: there these fields must be `None`.
///
/// # Examples
///
/// See [`TcpStream::set_keepalive`](crate::net::TcpStream::set_keepalive).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keepalive {
    /// How long nothing is received before the first check. Rounded up to seconds.
    pub idle: Option<Duration>,
    /// The time between checks that are not answered. Rounded up to seconds.
    pub interval: Option<Duration>,
    /// How many checks are not answered before the connection ends with an error.
    pub count: Option<u32>,
}

impl Socket {
    fn flag(&self, level: libc::c_int, name: libc::c_int) -> io::Result<bool> {
        let on: libc::c_int = self.option(level, name)?;
        Ok(on != 0)
    }

    fn set_flag(&self, level: libc::c_int, name: libc::c_int, on: bool) -> io::Result<()> {
        self.set_option(level, name, libc::c_int::from(on))
    }

    fn number(&self, level: libc::c_int, name: libc::c_int) -> io::Result<u32> {
        let number: libc::c_int = self.option(level, name)?;
        Ok(number as u32)
    }

    /// The kernel refuses what is too large, so the number must not wrap.
    fn set_number(&self, level: libc::c_int, name: libc::c_int, number: u32) -> io::Result<()> {
        let number = libc::c_int::try_from(number).unwrap_or(libc::c_int::MAX);
        self.set_option(level, name, number)
    }

    // ---- all sockets

    pub(crate) fn reuse_addr(&self) -> io::Result<bool> {
        self.flag(libc::SOL_SOCKET, libc::SO_REUSEADDR)
    }

    pub(crate) fn set_reuse_addr(&self, on: bool) -> io::Result<()> {
        self.set_flag(libc::SOL_SOCKET, libc::SO_REUSEADDR, on)
    }

    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    pub(crate) fn reuse_port(&self) -> io::Result<bool> {
        self.flag(libc::SOL_SOCKET, libc::SO_REUSEPORT)
    }

    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    pub(crate) fn set_reuse_port(&self, on: bool) -> io::Result<()> {
        self.set_flag(libc::SOL_SOCKET, libc::SO_REUSEPORT, on)
    }

    pub(crate) fn recv_buffer_size(&self) -> io::Result<u32> {
        self.number(libc::SOL_SOCKET, libc::SO_RCVBUF)
    }

    pub(crate) fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
        self.set_number(libc::SOL_SOCKET, libc::SO_RCVBUF, size)
    }

    pub(crate) fn send_buffer_size(&self) -> io::Result<u32> {
        self.number(libc::SOL_SOCKET, libc::SO_SNDBUF)
    }

    pub(crate) fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
        self.set_number(libc::SOL_SOCKET, libc::SO_SNDBUF, size)
    }

    pub(crate) fn linger(&self) -> io::Result<Option<Duration>> {
        let Linger(on, seconds) = self.option(libc::SOL_SOCKET, LINGER_SECONDS)?;
        Ok((on != 0).then(|| Duration::from_secs(seconds as u64)))
    }

    pub(crate) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        let seconds = linger.map_or(0, |linger| {
            // Rounded up, because zero means something else.
            let part = u64::from(linger.subsec_nanos() != 0);
            let seconds = linger.as_secs().saturating_add(part);
            libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX)
        });
        let value = Linger(libc::c_int::from(linger.is_some()), seconds);
        self.set_option(libc::SOL_SOCKET, LINGER_SECONDS, value)
    }

    /// Returns the interface that packets must use, without the zero at its end.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn device(&self) -> io::Result<Option<Vec<u8>>> {
        // `IFNAMSIZ` bytes.
        let name: [u8; libc::IFNAMSIZ] = self.option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE)?;
        let len = name.iter().position(|byte| *byte == 0);
        let name = &name[..len.unwrap_or(name.len())];
        Ok((!name.is_empty()).then(|| name.to_vec()))
    }

    /// Sets the interface that packets must use, or none. A name that is too long is refused.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn set_device(&self, name: &[u8]) -> io::Result<()> {
        // With a zero at the end.
        let mut value = [0_u8; libc::IFNAMSIZ];
        match value[..libc::IFNAMSIZ - 1].get_mut(..name.len()) {
            Some(place) => place.copy_from_slice(name),
            None => return Err(io::Error::from_raw_os_error(libc::ENODEV)),
        }
        self.set_option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, value)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn mark(&self) -> io::Result<u32> {
        self.number(libc::SOL_SOCKET, libc::SO_MARK)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn set_mark(&self, mark: u32) -> io::Result<()> {
        // All 32 bits have a meaning.
        self.set_option(libc::SOL_SOCKET, libc::SO_MARK, mark)
    }

    // ---- internet addresses

    pub(crate) fn ttl(&self) -> io::Result<u32> {
        let hops: libc::c_int = self.option(libc::IPPROTO_IP, libc::IP_TTL)?;
        Ok(hops as u32)
    }

    pub(crate) fn set_ttl(&self, hops: u32) -> io::Result<()> {
        // The kernel refuses more than 255, so the value must not wrap.
        let hops = libc::c_int::try_from(hops).unwrap_or(libc::c_int::MAX);
        self.set_option(libc::IPPROTO_IP, libc::IP_TTL, hops)
    }

    pub(crate) fn tos_v4(&self) -> io::Result<u32> {
        self.number(V4, libc::IP_TOS)
    }

    pub(crate) fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.set_number(V4, libc::IP_TOS, tos)
    }

    pub(crate) fn tclass_v6(&self) -> io::Result<u32> {
        self.number(V6, libc::IPV6_TCLASS)
    }

    pub(crate) fn set_tclass_v6(&self, class: u32) -> io::Result<()> {
        self.set_number(V6, libc::IPV6_TCLASS, class)
    }

    pub(crate) fn only_v6(&self) -> io::Result<bool> {
        self.flag(V6, libc::IPV6_V6ONLY)
    }

    pub(crate) fn set_only_v6(&self, on: bool) -> io::Result<()> {
        self.set_flag(V6, libc::IPV6_V6ONLY, on)
    }

    // ---- TCP

    pub(crate) fn nodelay(&self) -> io::Result<bool> {
        self.flag(TCP, libc::TCP_NODELAY)
    }

    pub(crate) fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.set_flag(TCP, libc::TCP_NODELAY, on)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn quickack(&self) -> io::Result<bool> {
        self.flag(TCP, libc::TCP_QUICKACK)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn set_quickack(&self, on: bool) -> io::Result<()> {
        self.set_flag(TCP, libc::TCP_QUICKACK, on)
    }

    /// Milliseconds in the kernel; zero is its own choice.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn user_timeout(&self) -> io::Result<Option<Duration>> {
        let ms: libc::c_uint = self.option(TCP, libc::TCP_USER_TIMEOUT)?;
        Ok((ms != 0).then(|| Duration::from_millis(ms.into())))
    }

    /// Rounded up to milliseconds, because zero means something else.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let ms = timeout.map_or(0, |timeout| {
            let ms = timeout.as_nanos().div_ceil(1_000_000).max(1);
            u32::try_from(ms).unwrap_or(u32::MAX)
        });
        self.set_option(TCP, libc::TCP_USER_TIMEOUT, ms)
    }

    /// Returns whether the connection is checked while nothing is sent, and when.
    pub(crate) fn keepalive(&self) -> io::Result<Option<Keepalive>> {
        if !self.flag(libc::SOL_SOCKET, libc::SO_KEEPALIVE)? {
            return Ok(None);
        }
        keepalive::times(self).map(Some)
    }

    /// Sets whether the connection is checked. Times that are `None` stay as they are.
    pub(crate) fn set_keepalive(&self, times: Option<Keepalive>) -> io::Result<()> {
        if let Some(times) = times {
            keepalive::set_times(self, times)?;
        }
        self.set_flag(libc::SOL_SOCKET, libc::SO_KEEPALIVE, times.is_some())
    }
}

/// Systems where each socket has its own times.
#[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris")))]
mod keepalive {
    use super::{Keepalive, Socket, TCP};
    use std::io;
    use std::time::Duration;

    #[cfg(target_vendor = "apple")]
    const IDLE: libc::c_int = libc::TCP_KEEPALIVE;
    #[cfg(not(target_vendor = "apple"))]
    const IDLE: libc::c_int = libc::TCP_KEEPIDLE;

    pub(super) fn times(socket: &Socket) -> io::Result<Keepalive> {
        let seconds = |name| {
            let seconds = socket.number(TCP, name)?;
            Ok::<_, io::Error>(Some(Duration::from_secs(seconds.into())))
        };
        Ok(Keepalive {
            idle: seconds(IDLE)?,
            interval: seconds(libc::TCP_KEEPINTVL)?,
            count: Some(socket.number(TCP, libc::TCP_KEEPCNT)?),
        })
    }

    pub(super) fn set_times(socket: &Socket, times: Keepalive) -> io::Result<()> {
        // Rounded up, because zero is refused.
        let seconds = |time: Duration| {
            let seconds = time.as_nanos().div_ceil(1_000_000_000);
            u32::try_from(seconds).unwrap_or(u32::MAX)
        };
        if let Some(idle) = times.idle {
            socket.set_number(TCP, IDLE, seconds(idle))?;
        }
        if let Some(interval) = times.interval {
            socket.set_number(TCP, libc::TCP_KEEPINTVL, seconds(interval))?;
        }
        if let Some(count) = times.count {
            socket.set_number(TCP, libc::TCP_KEEPCNT, count)?;
        }
        Ok(())
    }
}

/// Systems that have the same times for all sockets.
#[cfg(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris"))]
mod keepalive {
    use super::{Keepalive, Socket};
    use crate::sys::syscall::failure;
    use std::io;

    pub(super) fn times(_: &Socket) -> io::Result<Keepalive> {
        Ok(Keepalive {
            idle: None,
            interval: None,
            count: None,
        })
    }

    pub(super) fn set_times(_: &Socket, times: Keepalive) -> io::Result<()> {
        if times.idle.is_some() || times.interval.is_some() || times.count.is_some() {
            return Err(failure(
                io::ErrorKind::Unsupported,
                "cannot set when this connection is checked: this system has the same times for all sockets",
            ));
        }
        Ok(())
    }
}

/// `struct linger`: on or off, and seconds. Two ints everywhere.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Linger(libc::c_int, libc::c_int);

const _: () = assert!(size_of::<Linger>() == size_of::<libc::linger>());

/// On Apple's systems the common name counts clock ticks.
#[cfg(target_vendor = "apple")]
const LINGER_SECONDS: libc::c_int = libc::SO_LINGER_SEC;
#[cfg(not(target_vendor = "apple"))]
const LINGER_SECONDS: libc::c_int = libc::SO_LINGER;

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(addr: &str) -> Socket {
        Socket::tcp(addr.parse().unwrap()).unwrap()
    }

    #[test]
    fn options_read_back_what_was_set() {
        let here = socket("127.0.0.1:0");
        here.set_nodelay(true).unwrap();
        assert!(here.nodelay().unwrap());
        here.set_ttl(42).unwrap();
        assert_eq!(here.ttl().unwrap(), 42);
        assert!(here.set_ttl(u32::MAX).is_err());
        assert_eq!(here.linger().unwrap(), None);
        here.set_linger(Some(Duration::from_millis(1500))).unwrap();
        assert_eq!(here.linger().unwrap(), Some(Duration::from_secs(2)));
        here.set_linger(Some(Duration::MAX)).unwrap();
        assert!(here.linger().unwrap().unwrap() > Duration::from_secs(1 << 30));
        here.set_linger(None).unwrap();
        assert_eq!(here.linger().unwrap(), None);
        assert!(here.take_error().unwrap().is_none());
    }

    #[test]
    fn times_are_rounded_up_and_never_become_zero() {
        let here = socket("127.0.0.1:0");
        assert_eq!(here.keepalive().unwrap(), None);
        let short = Duration::from_nanos(1);
        let times = Keepalive {
            idle: Some(short),
            interval: Some(Duration::from_millis(1001)),
            count: Some(3),
        };
        here.set_keepalive(Some(times)).unwrap();
        let found = here.keepalive().unwrap().unwrap();
        assert_eq!(found.idle, Some(Duration::from_secs(1)));
        assert_eq!(found.interval, Some(Duration::from_secs(2)));
        assert_eq!(found.count, Some(3));
        let long = Keepalive {
            idle: Some(Duration::MAX),
            ..times
        };
        assert!(here.set_keepalive(Some(long)).is_err(), "not wrapped");
        here.set_keepalive(None).unwrap();
        assert_eq!(here.keepalive().unwrap(), None);

        #[cfg(target_os = "linux")]
        {
            assert_eq!(here.user_timeout().unwrap(), None);
            here.set_user_timeout(Some(short)).unwrap();
            let found = here.user_timeout().unwrap();
            assert_eq!(found, Some(Duration::from_millis(1)));
            here.set_user_timeout(None).unwrap();
            assert_eq!(here.user_timeout().unwrap(), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_named_without_its_zero() {
        let here = socket("127.0.0.1:0");
        assert_eq!(here.device().unwrap(), None);
        here.set_device(b"lo").unwrap();
        assert_eq!(here.device().unwrap(), Some(b"lo".to_vec()));
        here.set_device(b"").unwrap();
        assert_eq!(here.device().unwrap(), None);
        let long = here.set_device(b"a name of sixteen").unwrap_err();
        assert_eq!(long.raw_os_error(), Some(libc::ENODEV));
    }
}
