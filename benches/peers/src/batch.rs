//! recvmmsg(2) and sendmmsg(2) by hand: many datagrams with one call.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;

/// Room for datagrams, with the headers that point to it.
pub struct Batch {
    size: usize,
    bytes: Vec<u8>,
    addrs: Vec<libc::sockaddr_in>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Batch {
    /// Room for `n` datagrams of at most `size` bytes.
    pub fn new(n: usize, size: usize) -> Batch {
        let mut batch = Batch {
            size,
            bytes: vec![0; n * size],
            // SAFETY: plain C structs, for which zeroes are valid.
            addrs: vec![unsafe { zeroed() }; n],
            parts: Vec::with_capacity(n),
            headers: Vec::with_capacity(n),
        };
        for i in 0..n {
            batch.parts.push(libc::iovec {
                iov_base: batch.bytes[i * size..].as_mut_ptr().cast(),
                iov_len: size,
            });
        }
        for i in 0..n {
            // SAFETY: as above.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_iov = &raw mut batch.parts[i];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut batch.addrs[i]).cast();
            batch.headers.push(header);
        }
        batch
    }

    /// Receives as many datagrams as there are and fit; 0 when none waits.
    pub fn recv(&mut self, fd: RawFd) -> io::Result<usize> {
        for (header, part) in self.headers.iter_mut().zip(&mut self.parts) {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            part.iov_len = self.size;
        }
        let (headers, n) = (self.headers.as_mut_ptr(), self.headers.len() as u32);
        let null = std::ptr::null_mut();
        // SAFETY: each header points to room that lives in `self` and is not moved.
        let n = unsafe { libc::recvmmsg(fd, headers, n, libc::MSG_DONTWAIT, null) };
        result(n)
    }

    /// Sends the first `n` datagrams that were received back to where they came from.
    pub fn send_back(&mut self, fd: RawFd, n: usize) -> io::Result<usize> {
        for (header, part) in self.headers.iter().zip(&mut self.parts).take(n) {
            part.iov_len = header.msg_len as usize;
        }
        self.send(fd, n)
    }

    /// Sends the first `n` datagrams to where the socket is connected.
    pub fn send_connected(&mut self, fd: RawFd, n: usize) -> io::Result<usize> {
        for header in &mut self.headers[..n] {
            header.msg_hdr.msg_namelen = 0;
        }
        self.send(fd, n)
    }

    fn send(&mut self, fd: RawFd, n: usize) -> io::Result<usize> {
        let headers = self.headers[..n].as_mut_ptr();
        // SAFETY: each header points to bytes and an address that live in `self`.
        result(unsafe { libc::sendmmsg(fd, headers, n as u32, libc::MSG_DONTWAIT) })
    }

    pub fn fill(&mut self, i: usize, bytes: &[u8]) {
        self.bytes[i * self.size..][..bytes.len()].copy_from_slice(bytes);
        self.parts[i].iov_len = bytes.len();
    }

    /// The bytes of a datagram that was received.
    pub fn bytes(&self, i: usize) -> &[u8] {
        &self.bytes[i * self.size..][..self.headers[i].msg_len as usize]
    }
}

fn result(n: libc::c_int) -> io::Result<usize> {
    if n >= 0 {
        return Ok(n as usize);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(0),
        _ => Err(error),
    }
}
