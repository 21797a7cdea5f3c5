//! The limits of a server, and the flags that set them. The example `https` uses this file too.

use crate::support::Arguments;
use reveille::time::Duration;

/// The part of a usage text that is about limits.
pub(crate) const USAGE: &str = "\
  --connections N      how many connections may be open; more wait in the kernel's queue
                       (default 1000)
  --header-ms MS       for the head of a request, and the first bytes of a connection
                       (default 10000)
  --idle-ms MS         how long a connection may be open without a request (default 60000)
  --stall-ms MS        how long a client may take no byte of a response (default 30000). A body
                       of a request must bring --rate bytes a second in each time of this length
  --rate BYTES         (default 500)
  --send-buffer BYTES  of each socket, in the kernel; 0: the system's choice (default 262144)
  --grace SECONDS      for the connections after SIGTERM or Ctrl-C (default 30). A second signal
                       ends the server at once";

/// The limits, which are read from the command line once.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How many connections are open at a time.
    pub(crate) connections: usize,
    /// The time from the first byte of a request's head to its last one, from the beginning of a
    /// connection to its first byte, and for the handshake of TLS.
    pub(crate) header: Duration,
    /// How long a connection may be open without a request.
    pub(crate) idle: Duration,
    /// How long a client may take no byte of a response. Also the period in which a request's body
    /// must keep `rate`.
    pub(crate) stall: Duration,
    /// How many bytes a second of a request's body must come.
    pub(crate) rate: u64,
    /// `SO_SNDBUF` of the listener, which its connections inherit.
    pub(crate) send_buffer: u32,
    /// The longest time between the signal and the end.
    pub(crate) grace: Duration,
}

impl Limits {
    pub(crate) fn take(arguments: &mut Arguments) -> Limits {
        let mut take = |flag, default| arguments.take(flag).unwrap_or(default);
        Limits {
            connections: usize::try_from(take("--connections", 1000).max(1)).unwrap_or(usize::MAX),
            header: Duration::from_millis(take("--header-ms", 10_000)),
            idle: Duration::from_millis(take("--idle-ms", 60_000)),
            stall: Duration::from_millis(take("--stall-ms", 30_000)),
            rate: take("--rate", 500),
            send_buffer: u32::try_from(take("--send-buffer", 262_144)).unwrap_or(u32::MAX),
            grace: Duration::from_secs(take("--grace", 30)),
        }
    }

    /// The bytes of a request's body that must come in each `stall`.
    pub(crate) fn bytes_per_stall(&self) -> u64 {
        let millis = u64::try_from(self.stall.as_millis()).unwrap_or(u64::MAX);
        (self.rate.saturating_mul(millis) / 1000).max(1)
    }
}
