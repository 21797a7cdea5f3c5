//! Names, binding, conversions, credentials.

use super::support::on_every_backend;
use super::{Directory, address, pair};
use reveille::net::{UnixListener, UnixStream};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

#[test]
fn both_ends_know_the_path() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
            let client = UnixStream::connect(&path).await.unwrap();
            let (server, addr) = listener.accept().await.unwrap();
            assert!(addr.is_unnamed());
            assert!(client.local_addr().unwrap().is_unnamed());
            assert!(server.peer_addr().unwrap().is_unnamed());
            for named in [client.peer_addr(), server.local_addr()] {
                assert_eq!(named.unwrap().as_pathname(), Some(&*path));
            }
            let debug = format!("{listener:?} {client:?}");
            assert!(debug.contains("UnixListener") && debug.contains("UnixStream"));
            assert_eq!(debug.matches(path.to_str().unwrap()).count(), 2, "{debug}");
        });
    });
}

#[test]
fn bind_refuses_an_existing_file_and_leaves_its_own() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            let in_use = UnixListener::bind(&path).unwrap_err();
            assert_eq!(in_use.kind(), ErrorKind::AddrInUse);
            drop(listener);
            // Stale: nobody listens, and the file is still there.
            let refused = UnixStream::connect(&path).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let in_use = UnixListener::bind(&path).unwrap_err();
            assert_eq!(in_use.kind(), ErrorKind::AddrInUse);
            std::fs::remove_file(&path).unwrap();
            let missing = UnixStream::connect(&path).await.unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            UnixListener::bind(&path).unwrap();
        });
    });
}

#[test]
fn paths_that_cannot_be_sockets_are_invalid() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            for path in ["/tmp/\0x".to_owned(), "/".repeat(200)] {
                let error = UnixListener::bind(&path).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                let error = UnixStream::connect(&path).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
        });
    });
}

#[test]
fn nothing_is_made_without_a_runtime() {
    let directory = Directory::new();
    let path = directory.socket();
    assert!(UnixListener::bind(&path).is_err());
    assert!(!path.exists());
    assert!(UnixStream::pair().is_err());
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let connect = super::support::wait(UnixStream::connect(&path));
    assert!(connect.unwrap_err().to_string().contains("runtime"));
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn abstract_names_need_no_file() {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    on_every_backend(|runtime| {
        let name = format!("reveille\0test {}", std::process::id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        runtime.block_on(async {
            let listener = UnixListener::bind_addr(&addr).unwrap();
            let local = listener.local_addr().unwrap();
            assert_eq!(local.as_abstract_name(), Some(name.as_bytes()));
            let client = UnixStream::connect_addr(&local).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let peer = client.peer_addr().unwrap();
            assert_eq!(peer.as_abstract_name(), Some(name.as_bytes()));
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read(&mut [0; 4]).await.unwrap(), 1);
            let in_use = UnixListener::bind_addr(&addr).unwrap_err();
            assert_eq!(in_use.kind(), ErrorKind::AddrInUse);
            drop((listener, client, server));
        });
        // Nothing stays behind.
        runtime.block_on(async { drop(UnixListener::bind_addr(&addr).unwrap()) });
    });
}

/// The kernel allows a path without a null byte at its end. The standard library has no such
/// address, but returns one that it receives.
#[cfg(target_os = "linux")]
#[test]
fn peer_with_the_longest_path_is_accepted() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let mut long = directory.path().as_os_str().to_owned().into_encoded_bytes();
        long.push(b'/');
        long.resize(108, b'p');
        let client = bound_to(&long);
        let path = directory.socket();
        runtime.block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            client.connect(&address(&path));
            let (server, addr) = listener.accept().await.unwrap();
            for addr in [addr, server.peer_addr().unwrap()] {
                let path = addr.as_pathname().unwrap().as_os_str();
                assert_eq!(path.as_encoded_bytes(), &long);
            }
        });
    });
}

#[cfg(target_os = "linux")]
struct Bound(OwnedFd);

/// Makes a socket whose path fills the kernel's structure.
#[cfg(target_os = "linux")]
fn bound_to(path: &[u8]) -> Bound {
    use std::os::fd::FromRawFd;
    // SAFETY: all-zero bytes are a valid sockaddr_un; pointer and length are those of one value
    // that outlives the call; the first call has made the fd, and no other code knows it.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        let mut addr: libc::sockaddr_un = std::mem::zeroed();
        addr.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in addr.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        assert_eq!(libc::bind(fd, (&raw const addr).cast(), len), 0);
        Bound(OwnedFd::from_raw_fd(fd))
    }
}

#[cfg(target_os = "linux")]
impl Bound {
    fn connect(&self, to: &std::os::unix::net::SocketAddr) {
        let path = to.as_pathname().unwrap().as_os_str().as_encoded_bytes();
        // SAFETY: as above.
        unsafe {
            let mut addr: libc::sockaddr_un = std::mem::zeroed();
            addr.sun_family = libc::AF_UNIX as libc::sa_family_t;
            for (to, from) in addr.sun_path.iter_mut().zip(path) {
                *to = *from as libc::c_char;
            }
            let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
            let fd = self.0.as_raw_fd();
            assert_eq!(libc::connect(fd, (&raw const addr).cast(), len), 0);
        }
    }
}

#[test]
fn peer_cred_is_that_of_this_process() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            let client = UnixStream::connect(&path).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let (one, other) = pair();
            // SAFETY: these calls take nothing.
            let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
            for stream in [&client, &server, &one, &other] {
                let cred = stream.peer_cred().unwrap();
                assert_eq!((cred.uid(), cred.gid()), (uid, gid));
                if let Some(pid) = cred.pid() {
                    assert_eq!(pid, std::process::id() as i32);
                }
            }
        });
    });
}

#[test]
fn from_std_and_into_std_convert_sockets() {
    on_every_backend(|runtime| {
        let directory = Directory::new();
        let path = directory.socket();
        runtime.block_on(async {
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let blocking = UnixListener::from_std(listener.try_clone().unwrap()).unwrap_err();
            assert_eq!(blocking.kind(), ErrorKind::InvalidInput);
            listener.set_nonblocking(true).unwrap();
            let listener = UnixListener::from_std(listener).unwrap();

            let std = std::os::unix::net::UnixStream::connect(&path).unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let blocking = UnixStream::from_std(std.try_clone().unwrap()).unwrap_err();
            assert_eq!(blocking.kind(), ErrorKind::InvalidInput);
            std.set_nonblocking(true).unwrap();
            let client = UnixStream::from_std(std).unwrap();
            // Writable at once, without a turn of the loop.
            assert_eq!(client.write(b"hello").await.unwrap(), 5);

            let mut server = server.into_std().unwrap();
            let mut buf = [0; 5];
            server.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"hello");
            let mut client = client.into_std().unwrap();
            client.write_all(b"x").unwrap();
            let listener: std::os::unix::net::UnixListener = listener.into_std().unwrap();
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        });
    });
}

/// The constructor of the standard library takes any socket.
#[test]
fn from_std_of_a_socket_that_keeps_packets_apart_reads_all() {
    on_every_backend(|runtime| {
        let (near, far) = packets();
        runtime.block_on(async {
            let far = UnixStream::from_std(far.into()).unwrap();
            for packet in [b"one", b"two", b"six"] {
                send(&near, packet);
            }
            let mut buf = [0; 64];
            for packet in [b"one", b"two", b"six"] {
                // A short read each, and only one event.
                assert_eq!(far.read(&mut buf).await.unwrap(), 3);
                assert_eq!(&buf[..3], packet);
            }
        });
    });
}

fn packets() -> (OwnedFd, OwnedFd) {
    use std::os::fd::FromRawFd;
    let mut fds = [0; 2];
    // SAFETY: room for two numbers; the call has made both, and no other code knows them.
    let (near, far) = unsafe {
        let made = libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, fds.as_mut_ptr());
        assert_eq!(made, 0);
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    };
    reveille::io::set_nonblocking(&far).unwrap();
    (near, far)
}

fn send(to: &OwnedFd, packet: &[u8]) {
    // SAFETY: pointer and length are those of one slice.
    let sent = unsafe { libc::send(to.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0) };
    assert_eq!(sent, packet.len() as isize);
}
