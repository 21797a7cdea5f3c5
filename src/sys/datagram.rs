//! Calls on datagram sockets: one datagram with an address, and batches of datagrams. The options
//! that only datagram sockets have are in `datagram_options.rs`.
//!
//! A batch is one call of `recvmmsg` or `sendmmsg` on Linux, Android and NetBSD. Elsewhere, and if
//! the kernel lacks the call, it is a loop over calls for one datagram. (In FreeBSD the two
//! functions are such a loop, in its C library.)
//!
//! The buffers of a batch belong to [`Slots`]. The structures that a call needs for each datagram
//! are on the stack, so a batch allocates nothing.

use super::addr::RawAddr;
use super::socket::{MAX_BYTES, READ, Socket, WRITE, family_of};
use super::syscall::{check_size, retry};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;

/// The most datagrams of one batch. More save little: at 32, entering the kernel costs 6 of 600 ns
/// per datagram (measured on a virtual machine). Each takes 232 bytes of the stack.
pub(crate) const MAX_BATCH: usize = 64;

/// Memory that a call may fill: a slice of bytes, initialized or not.
pub(crate) trait Buffer {
    /// Returns its begin and its length. Only bytes may be written there, never uninitialized ones.
    fn begin(&mut self) -> (*mut u8, usize);
}

impl Buffer for [u8] {
    #[inline]
    fn begin(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.len())
    }
}

impl Buffer for [MaybeUninit<u8>] {
    #[inline]
    fn begin(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr().cast(), self.len())
    }
}

/// Whether a call takes the datagram off the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Take {
    Datagram,
    /// It stays, and the next call returns it again.
    Nothing,
}

impl Take {
    fn flags(self) -> libc::c_int {
        match self {
            Take::Datagram => READ,
            Take::Nothing => READ | libc::MSG_PEEK,
        }
    }
}

impl Socket {
    /// Makes a UDP socket of the address's family.
    pub(crate) fn udp(addr: SocketAddr) -> io::Result<Socket> {
        Socket::new(family_of(addr), libc::SOCK_DGRAM)
    }

    /// Receives a datagram. What does not fit is lost. On success the first bytes of the buffer, as
    /// many as the call returns, are initialized.
    #[inline]
    pub(crate) fn recv_datagram<B>(&self, buf: &mut B, take: Take) -> io::Result<usize>
    where
        B: Buffer + ?Sized,
    {
        let (ptr, len) = buf.begin();
        let (len, flags) = (len.min(MAX_BYTES), take.flags());
        // SAFETY: at least `len` bytes from the pointer on belong to `buf`, which is borrowed
        // mutably. The kernel writes bytes there and reads none.
        retry(|| check_size(unsafe { libc::recv(self.raw(), ptr.cast(), len, flags) }))
    }

    /// As [`recv_datagram`](Socket::recv_datagram), and stores the address of the sender.
    #[inline]
    pub(crate) fn recv_from<B>(
        &self,
        buf: &mut B,
        from: &mut RawAddr,
        take: Take,
    ) -> io::Result<usize>
    where
        B: Buffer + ?Sized,
    {
        let (ptr, len) = buf.begin();
        let (len, flags) = (len.min(MAX_BYTES), take.flags());
        retry(|| {
            from.clear();
            let (addr, addr_len) = from.as_mut_ptrs();
            // SAFETY: at least `len` bytes from the pointer on belong to `buf`, which is borrowed
            // mutably; the kernel writes bytes there and reads none. The address has the room that
            // `addr_len` says.
            check_size(unsafe {
                libc::recvfrom(self.raw(), ptr.cast(), len, flags, addr, addr_len)
            })
        })
    }

    /// As [`recv_from`](Socket::recv_from), and appends the datagram to a vector, as far as its
    /// spare capacity reaches.
    pub(crate) fn recv_append(&self, buf: &mut Vec<u8>, from: &mut RawAddr) -> io::Result<usize> {
        let received = self.recv_from(buf.spare_capacity_mut(), from, Take::Datagram)?;
        // SAFETY: the call has initialized so many bytes of the spare capacity.
        unsafe { buf.set_len(buf.len() + received) };
        Ok(received)
    }

    /// Sends a datagram to the peer of a connected socket.
    #[inline]
    pub(crate) fn send_datagram(&self, buf: &[u8]) -> io::Result<usize> {
        let (ptr, len) = (buf.as_ptr().cast(), buf.len());
        // SAFETY: `len` bytes from the pointer on belong to `buf`, which is borrowed.
        retry(|| check_size(unsafe { libc::send(self.raw(), ptr, len, WRITE) }))
    }

    /// Sends a datagram to an address.
    #[inline]
    pub(crate) fn send_to(&self, buf: &[u8], to: &RawAddr) -> io::Result<usize> {
        let (ptr, len) = (buf.as_ptr().cast(), buf.len());
        let (addr, addr_len) = (to.as_ptr(), to.len());
        // SAFETY: `len` bytes from the pointer on belong to `buf`, which is borrowed; the pointer
        // and the length of the address are those of one value that outlives the call.
        retry(|| check_size(unsafe { libc::sendto(self.raw(), ptr, len, WRITE, addr, addr_len) }))
    }

    /// Receives as many datagrams as are there, fit into the slots, and are allowed in a batch.
    /// Returns how many, at least one. Fewer than possible mean that no more were there, or that
    /// the next call returns an error.
    ///
    /// Call [`Slots::restart`] before.
    pub(crate) fn recv_many(&self, slots: &mut Slots) -> io::Result<usize> {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "netbsd"))]
        match retry(|| at_once::recv(self, slots)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
            done => return done,
        }
        one_by_one::recv(self, slots)
    }

    /// Sends the datagrams of a list in order. Returns how many it has sent, at least one. An error
    /// is that of the first.
    pub(crate) fn send_many(&self, list: &SendList<'_>) -> io::Result<usize> {
        if list.count == 0 {
            return Ok(0);
        }
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "netbsd"))]
        match retry(|| at_once::send(self, list)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
            done => return done,
        }
        one_by_one::send(self, list)
    }
}

/// The buffers that a batch is received into, and what was received.
///
/// The first `len` bytes of the slot with the same index are initialized for each `Filled`.
#[derive(Debug)]
pub(crate) struct Slots {
    bytes: Box<[MaybeUninit<u8>]>,
    slot_len: usize,
    count: usize,
    filled: Vec<Filled>,
    /// The code of an error behind the datagrams of the last batch, until
    /// [`take_error`](Slots::take_error). Only calls for one datagram leave it here; `recvmmsg`
    /// leaves it in the socket.
    error: Option<i32>,
}

/// What one slot holds.
#[derive(Clone, Copy, Debug)]
struct Filled {
    len: usize,
    from: SocketAddr,
    truncated: bool,
}

impl Slots {
    /// Allocates `count` slots of `slot_len` bytes each.
    ///
    /// # Panics
    ///
    /// If the size of all slots is more than a `usize` can hold.
    pub(crate) fn new(count: usize, slot_len: usize) -> Slots {
        let size = count
            .checked_mul(slot_len)
            .expect("the slots fit into memory");
        Slots {
            bytes: Box::new_uninit_slice(size),
            slot_len,
            count,
            filled: Vec::with_capacity(count.min(MAX_BATCH)),
            error: None,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// Returns how many datagrams one call may receive.
    pub(crate) fn batch_len(&self) -> usize {
        self.count.min(MAX_BATCH)
    }

    /// Empties the slots.
    pub(crate) fn restart(&mut self) {
        self.filled.clear();
        self.error = None;
    }

    /// Returns the code of the error behind the datagrams, which the socket no longer has.
    pub(crate) fn take_error(&mut self) -> Option<i32> {
        self.error.take()
    }

    /// Returns how many datagrams the last call has received.
    pub(crate) fn received(&self) -> usize {
        self.filled.len()
    }

    /// Returns the bytes, the sender, and whether the datagram was longer than its slot.
    pub(crate) fn get(&self, index: usize) -> Option<(&[u8], SocketAddr, bool)> {
        let Filled {
            len,
            from,
            truncated,
        } = *self.filled.get(index)?;
        let start = index * self.slot_len;
        let bytes = &self.bytes[start..start + len];
        // SAFETY: the first `len` bytes of a slot are initialized, see the type.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), len) };
        Some((bytes, from, truncated))
    }

    /// Returns the memory of a slot.
    fn slot(&mut self, index: usize) -> &mut [MaybeUninit<u8>] {
        &mut self.bytes[index * self.slot_len..][..self.slot_len]
    }

    /// Notes what the next slot holds.
    ///
    /// # Safety
    ///
    /// The kernel has written `len` bytes to the slot.
    unsafe fn fill(&mut self, len: usize, from: &RawAddr, truncated: bool) -> io::Result<()> {
        let filled = Filled {
            len: len.min(self.slot_len),
            from: from.to_ip()?,
            truncated,
        };
        self.filled.push(filled);
        Ok(())
    }
}

/// Datagrams to be sent in one batch, with the address of each. A connected socket needs none.
#[derive(Debug)]
pub(crate) struct SendList<'a> {
    /// The first `count` entries are initialized.
    entries: [MaybeUninit<(&'a [u8], RawAddr)>; MAX_BATCH],
    count: usize,
}

impl<'a> SendList<'a> {
    pub(crate) fn new() -> SendList<'a> {
        SendList {
            entries: [const { MaybeUninit::uninit() }; MAX_BATCH],
            count: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a datagram.
    ///
    /// # Panics
    ///
    /// If the list is full.
    pub(crate) fn push(&mut self, data: &'a [u8], to: Option<SocketAddr>) {
        let to = to.map_or(RawAddr::none(), RawAddr::from);
        self.entries[self.count].write((data, to));
        self.count += 1;
    }

    fn entries(&self) -> &[(&'a [u8], RawAddr)] {
        let entries = self.entries[..self.count].as_ptr().cast();
        // SAFETY: the first `count` entries are initialized.
        unsafe { std::slice::from_raw_parts(entries, self.count) }
    }
}

/// Returns a message with one buffer and no control data.
///
/// The pointers are valid as long as what they point to.
fn message(
    name: *const libc::sockaddr,
    name_len: libc::socklen_t,
    buffer: *mut libc::iovec,
) -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid msghdr: integers and null pointers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if name_len != 0 {
        message.msg_name = name.cast_mut().cast();
        message.msg_namelen = name_len;
    }
    message.msg_iov = buffer;
    message.msg_iovlen = 1;
    message
}

/// Returns the description of a buffer.
fn buffer(begin: *mut u8, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: begin.cast(),
        iov_len: len.min(MAX_BYTES),
    }
}

/// Batches by one system call.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "netbsd"))]
mod at_once {
    use super::{MAX_BATCH, READ, SendList, Slots, Socket, WRITE, buffer, message};
    use crate::sys::addr::RawAddr;
    use crate::sys::syscall::check;
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr::null_mut;

    pub(super) fn recv(socket: &Socket, slots: &mut Slots) -> io::Result<usize> {
        let count = slots.batch_len();
        let mut addrs = [const { MaybeUninit::<RawAddr>::uninit() }; MAX_BATCH];
        let mut buffers = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_BATCH];
        let (begin, slot_len) = (slots.bytes.as_mut_ptr().cast::<u8>(), slots.slot_len);
        for index in 0..count {
            // No slot begins behind the end.
            let begin = begin.wrapping_add(index * slot_len);
            let buffer = buffers[index].write(buffer(begin, slot_len));
            let (name, name_len) = addrs[index].write(RawAddr::empty()).as_mut_ptrs();
            headers[index].write(libc::mmsghdr {
                msg_hdr: message(name, *name_len, buffer),
                msg_len: 0,
            });
        }
        let list = headers.as_mut_ptr().cast();
        // SAFETY: the first `count` headers are initialized. Each names an address and a buffer in
        // the arrays above, and the buffer names its own slot: all of them live during the call,
        // and no reference to them is used.
        let result =
            unsafe { libc::recvmmsg(socket.raw(), list, count as _, READ as _, null_mut()) };
        let received = check(result as libc::c_int)? as usize;
        for (header, addr) in headers.iter().zip(&mut addrs).take(received.min(count)) {
            // SAFETY: both are initialized, as above.
            let (header, addr) = unsafe { (header.assume_init_ref(), addr.assume_init_mut()) };
            *addr.as_mut_ptrs().1 = header.msg_hdr.msg_namelen;
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            // SAFETY: the kernel has written so many bytes to the slot of the same index.
            unsafe { slots.fill(header.msg_len as usize, addr, truncated)? };
        }
        Ok(received)
    }

    pub(super) fn send(socket: &Socket, list: &SendList<'_>) -> io::Result<usize> {
        let mut buffers = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_BATCH];
        for (index, (data, to)) in list.entries().iter().enumerate() {
            // The kernel only reads what it points to.
            let buffer = buffers[index].write(buffer(data.as_ptr().cast_mut(), data.len()));
            headers[index].write(libc::mmsghdr {
                msg_hdr: message(to.as_ptr(), to.len(), buffer),
                msg_len: 0,
            });
        }
        let (count, list) = (list.count, headers.as_mut_ptr().cast());
        // SAFETY: the first `count` headers are initialized. Each names an address of the list and
        // a buffer in the array above, which names data of the list: all of them live during the
        // call.
        let result = unsafe { libc::sendmmsg(socket.raw(), list, count as _, WRITE as _) };
        check(result as libc::c_int).map(|sent| sent as usize)
    }
}

/// Batches by one system call per datagram.
mod one_by_one {
    use super::{Buffer, READ, SendList, Slots, Socket, WRITE, buffer, message};
    use crate::sys::addr::RawAddr;
    use crate::sys::syscall::{check_size, retry};
    use std::io;

    pub(super) fn recv(socket: &Socket, slots: &mut Slots) -> io::Result<usize> {
        for index in 0..slots.batch_len() {
            match retry(|| recv_one(socket, slots, index)) {
                Ok(()) => {}
                Err(error) if index == 0 => return Err(error),
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        slots.error = error.raw_os_error();
                    }
                    break;
                }
            }
        }
        Ok(slots.received())
    }

    fn recv_one(socket: &Socket, slots: &mut Slots, index: usize) -> io::Result<()> {
        let (begin, len) = slots.slot(index).begin();
        let mut buffer = buffer(begin, len);
        let mut addr = RawAddr::empty();
        let (name, name_len) = addr.as_mut_ptrs();
        let mut header = message(name, *name_len, &mut buffer);
        // SAFETY: the header names an address and a buffer that live during the call, and the
        // buffer names its slot.
        let received = check_size(unsafe { libc::recvmsg(socket.raw(), &mut header, READ) })?;
        *addr.as_mut_ptrs().1 = header.msg_namelen;
        let truncated = header.msg_flags & libc::MSG_TRUNC != 0;
        // SAFETY: the kernel has written so many bytes to this slot.
        unsafe { slots.fill(received, &addr, truncated) }
    }

    pub(super) fn send(socket: &Socket, list: &SendList<'_>) -> io::Result<usize> {
        for (index, (data, to)) in list.entries().iter().enumerate() {
            // The kernel only reads what it points to.
            let mut buffer = buffer(data.as_ptr().cast_mut(), data.len());
            let header = message(to.as_ptr(), to.len(), &mut buffer);
            // SAFETY: the header names an address and a buffer that live during the call, and the
            // buffer names data of the list.
            let sent = retry(|| check_size(unsafe { libc::sendmsg(socket.raw(), &header, WRITE) }));
            match sent {
                Ok(_) => {}
                Err(error) if index == 0 => return Err(error),
                // The next batch begins with this datagram and finds the error again.
                Err(_) => return Ok(index),
            }
        }
        Ok(list.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sockets, each connected to the other one.
    fn pair() -> (Socket, Socket) {
        let any = "127.0.0.1:0".parse().unwrap();
        let (here, there) = (Socket::udp(any).unwrap(), Socket::udp(any).unwrap());
        here.bind(any).unwrap();
        there.bind(any).unwrap();
        assert!(here.connect(there.local_addr().unwrap()).unwrap());
        assert!(there.connect(here.local_addr().unwrap()).unwrap());
        (here, there)
    }

    /// Waits until there is something to receive.
    fn wait_for(socket: &Socket) {
        let mut none = [0; 0];
        while let Err(error) = socket.recv_datagram(&mut none[..], Take::Nothing) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    fn list(data: &[&'static [u8]]) -> SendList<'static> {
        let mut list = SendList::new();
        for data in data {
            list.push(data, None);
        }
        list
    }

    fn received(slots: &Slots) -> Vec<(Vec<u8>, bool)> {
        let all = (0..).map_while(|index| slots.get(index));
        all.map(|(data, _, truncated)| (data.to_vec(), truncated))
            .collect()
    }

    type Send = fn(&Socket, &SendList<'_>) -> io::Result<usize>;
    type Recv = fn(&Socket, &mut Slots) -> io::Result<usize>;

    /// The calls of this system, and the loops that other systems use.
    fn both_ways(test: impl Fn(Send, Recv)) {
        test(Socket::send_many, Socket::recv_many);
        test(one_by_one::send, one_by_one::recv);
    }

    #[test]
    fn batch_keeps_empty_and_truncated_datagrams_apart() {
        both_ways(|send, recv| {
            let (here, there) = pair();
            let sent = send(&here, &list(&[b"one", b"", b"too long"]));
            assert_eq!(sent.unwrap(), 3);
            wait_for(&there);
            let mut slots = Slots::new(8, 4);
            let mut all = Vec::new();
            while all.len() < 3 {
                slots.restart();
                match recv(&there, &mut slots) {
                    Ok(count) => assert_eq!(count, slots.received()),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                all.extend(received(&slots));
            }
            let expected = [(&b"one"[..], false), (b"", false), (b"too ", true)];
            let expected = expected.map(|(data, truncated)| (data.to_vec(), truncated));
            assert_eq!(all, expected);
            slots.restart();
            let error = recv(&there, &mut slots).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(slots.received(), 0);
        });
    }

    #[test]
    fn batch_ends_before_a_datagram_that_cannot_be_sent() {
        static LONG: [u8; 70_000] = [0; 70_000];
        both_ways(|send, _| {
            let (here, _there) = pair();
            assert_eq!(send(&here, &list(&[b"one", &LONG, b"two"])).unwrap(), 1);
            let error = send(&here, &list(&[&LONG, b"two"])).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            assert_eq!(send(&here, &list(&[b"two"])).unwrap(), 1);
            assert_eq!(here.send_many(&list(&[])).unwrap(), 0);
        });
    }

    #[test]
    fn slots_of_length_zero_receive_the_address() {
        both_ways(|_, recv| {
            let (here, there) = pair();
            here.send_datagram(b"one").unwrap();
            wait_for(&there);
            let mut slots = Slots::new(2, 0);
            assert_eq!(recv(&there, &mut slots).unwrap(), 1);
            let found = slots.get(0).unwrap();
            assert_eq!(found, (&b""[..], here.local_addr().unwrap(), true));
        });
    }
}
