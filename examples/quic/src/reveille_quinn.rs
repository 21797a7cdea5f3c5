//! quinn 0.11 on reveille. This file is made to be copied into other programs.
//!
//! ```ignore
//! let runtime = Arc::new(ReveilleRuntime::current());
//! let socket = std::net::UdpSocket::bind("[::]:4433")?;
//! let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)?;
//! ```
//!
//! quinn spawns one task for each endpoint and one for each connection. They are tasks of the
//! runtime that `ReveilleRuntime` was made in, and all sockets and timers are its own. The system
//! calls are those of `quinn-udp`, with segmentation offload where the kernel has it.
//!
//! quinn requires that everything here is `Send` and `Sync`, which reveille's handle, sockets and
//! timers are. So an `Endpoint` or a `Connection` may be used on other threads too. Only `new` and
//! `rebind` of `Endpoint` must be called inside the runtime, because a socket is registered there;
//! elsewhere they fail.

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use reveille::Handle;
use reveille::io::{AsyncFd, Interest, Ready};
use reveille::time::{Sleep, now, sleep_until};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// The runtime that runs quinn's tasks.
#[derive(Clone, Debug)]
pub struct ReveilleRuntime(Handle);

impl ReveilleRuntime {
    /// Returns the runtime that this thread is inside of.
    ///
    /// # Panics
    ///
    /// If this thread is not inside a runtime.
    pub fn current() -> ReveilleRuntime {
        ReveilleRuntime(Handle::current())
    }
}

impl Runtime for ReveilleRuntime {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(sleep_until(deadline)))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        // The task goes on without the handle.
        drop(self.0.spawn(future));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        // It makes the socket nonblocking, switches GRO on, and finds out what the kernel can do.
        let state = UdpSocketState::new((&socket).into())?;
        let socket = AsyncFd::new(socket)?;
        Ok(Arc::new(Socket { socket, state }))
    }

    fn now(&self) -> Instant {
        // Differs from `Instant::now` if the clock is paused, as in tests.
        now()
    }
}

#[derive(Debug)]
struct Timer(Sleep);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.0.reset(deadline);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A socket and what `quinn-udp` knows about it.
///
/// It is an `AsyncFd` and not a `UdpSocket` of reveille, because a wait for that asks the kernel
/// once more, which quinn would pay before each call.
#[derive(Debug)]
struct Socket {
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // An error other than `WouldBlock` is logged and counts as a datagram that was lost.
        let send = |socket: &UdpSocket| self.state.send(socket.into(), transmit);
        self.socket.try_io(Interest::WRITABLE, send)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let socket = self.socket.get_ref();
            match self.state.recv(socket.into(), buffers, meta) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                received => {
                    // Linux fills all buffers if there is enough to receive, so nothing is left
                    // now, and the next call would only find that out.
                    if LINUX && received.as_ref().is_ok_and(|n| *n < buffers.len()) {
                        guard.clear_ready_matching(Ready::READABLE);
                    }
                    return Poll::Ready(received);
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits until the socket is writable. The socket keeps the wakers of all tasks that poll, so the
/// pollers need no state.
#[derive(Debug)]
struct Poller(Arc<Socket>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.socket.poll_write_ready(cx).map_ok(drop)
    }
}
