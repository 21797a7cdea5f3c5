//! [`SignalKind`]: a kind of signal, and which kinds are refused.

#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::backend::rtsig;
use crate::sys::signal as sys;
use crate::sys::syscall::failure;
use std::fmt;
use std::io;

/// A kind of signal, such as SIGTERM.
///
/// # Examples
///
/// ```
/// use reveille::signal::SignalKind;
///
/// let kind = SignalKind::terminate();
/// assert_eq!(kind.as_raw_value(), 15);
/// assert_eq!(kind, SignalKind::from_raw(15));
/// assert_eq!(kind.to_string(), "SIGTERM");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalKind(i32);

impl SignalKind {
    /// Returns the kind of signal with this number, which need not have a function here.
    ///
    /// Any number is accepted. [`signal`](crate::signal::signal()) refuses those that a program
    /// cannot handle.
    pub const fn from_raw(signal: i32) -> SignalKind {
        SignalKind(signal)
    }

    /// Returns the number of the signal.
    pub const fn as_raw_value(self) -> i32 {
        self.0
    }

    /// Returns SIGALRM: a timer of the system has expired. By default it ends the process.
    pub const fn alarm() -> SignalKind {
        SignalKind(sys::SIGALRM)
    }

    /// Returns SIGCHLD: a child process has ended, stopped or continued. By default it is ignored.
    pub const fn child() -> SignalKind {
        SignalKind(sys::SIGCHLD)
    }

    /// Returns SIGHUP: the terminal was closed; daemons read their configuration again. By default
    /// it ends the process.
    pub const fn hangup() -> SignalKind {
        SignalKind(sys::SIGHUP)
    }

    /// Returns SIGINT: Ctrl-C on the terminal. By default it ends the process.
    pub const fn interrupt() -> SignalKind {
        SignalKind(sys::SIGINT)
    }

    /// Returns SIGPIPE: a write to a pipe or socket that no process reads. By default it ends the
    /// process, but Rust programs ignore it from the start.
    pub const fn pipe() -> SignalKind {
        SignalKind(sys::SIGPIPE)
    }

    /// Returns SIGQUIT: Ctrl-\ on the terminal. By default it ends the process with a core dump.
    pub const fn quit() -> SignalKind {
        SignalKind(sys::SIGQUIT)
    }

    /// Returns SIGTERM: the request to end, as by `kill` and service managers. By default it ends
    /// the process.
    pub const fn terminate() -> SignalKind {
        SignalKind(sys::SIGTERM)
    }

    /// Returns SIGUSR1, whose meaning the program defines. By default it ends the process.
    pub const fn user_defined1() -> SignalKind {
        SignalKind(sys::SIGUSR1)
    }

    /// Returns SIGUSR2, whose meaning the program defines. By default it ends the process.
    pub const fn user_defined2() -> SignalKind {
        SignalKind(sys::SIGUSR2)
    }

    /// Returns SIGWINCH: the terminal has another size. By default it is ignored.
    pub const fn window_change() -> SignalKind {
        SignalKind(sys::SIGWINCH)
    }

    /// Checks that a program may listen for the signal.
    ///
    /// # Errors
    ///
    /// `InvalidInput` with the reason.
    pub(super) fn check(self) -> io::Result<()> {
        let why = match self.0 {
            sys::SIGKILL | sys::SIGSTOP => "the system lets no program handle it",
            sys::SIGILL | sys::SIGFPE | sys::SIGSEGV | sys::SIGBUS => {
                "it reports a fault of the running code, which cannot go on after it"
            }
            signal if is_taken_by_backend(signal) => {
                "the backend of real-time signals uses it; use SIGUSR1, SIGUSR2 or one of the first real-time signals"
            }
            _ => return Ok(()),
        };
        let text = format!("cannot listen for {self}: {why}");
        Err(failure(io::ErrorKind::InvalidInput, &text))
    }

    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            sys::SIGALRM => "SIGALRM",
            sys::SIGBUS => "SIGBUS",
            sys::SIGCHLD => "SIGCHLD",
            sys::SIGFPE => "SIGFPE",
            sys::SIGHUP => "SIGHUP",
            sys::SIGILL => "SIGILL",
            sys::SIGINT => "SIGINT",
            sys::SIGIO => "SIGIO",
            sys::SIGKILL => "SIGKILL",
            sys::SIGPIPE => "SIGPIPE",
            sys::SIGQUIT => "SIGQUIT",
            sys::SIGSEGV => "SIGSEGV",
            sys::SIGSTOP => "SIGSTOP",
            sys::SIGTERM => "SIGTERM",
            sys::SIGUSR1 => "SIGUSR1",
            sys::SIGUSR2 => "SIGUSR2",
            sys::SIGWINCH => "SIGWINCH",
            _ => return None,
        })
    }
}

/// Whether a loop over real-time signals may use the signal, or uses it when it loses one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_taken_by_backend(signal: i32) -> bool {
    signal == sys::SIGIO || rtsig::may_use(signal)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_taken_by_backend(_signal: i32) -> bool {
    false
}

/// The signal's name, such as `SIGTERM`, or `signal 40` for one without a name here.
impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignalKind({self})")
    }
}
