//! [`Alarm`] is a timer fd that ends a wait at the earliest deadline, in place of the wait's
//! timeout, for precise timers. It is set only when the earliest deadline changes.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use super::super::clock::Moment;
    use crate::backend::{Backend, Trigger};
    use crate::interest::Interest;
    use crate::sys::syscall::is_refused;
    use crate::sys::timerfd::TimerFd;
    use crate::token::Token;
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Duration;

    /// The timer fd, and the deadline that it is set to.
    #[derive(Debug)]
    pub(crate) struct Alarm {
        timer: TimerFd,
        /// The deadline; `None` if it is not set or has expired.
        set: Option<Moment>,
    }

    /// The token of the timer fd: no registration has this index.
    const TOKEN: Token = Token::new(super::super::registrations::RESERVED_INDEX, 1);

    impl Alarm {
        /// Registers a timer fd that is not set. Returns `None` if the kernel has no timer fds or a
        /// sandbox forbids them; then waits end by their timeouts.
        pub(crate) fn new(backend: &mut dyn Backend) -> io::Result<Option<Alarm>> {
            let timer = match TimerFd::new() {
                Err(error) if is_refused(&error) => return Ok(None),
                timer => timer?,
            };
            backend.add(timer.as_fd(), TOKEN, Interest::READABLE, Trigger::Edge)?;
            Ok(Some(Alarm { timer, set: None }))
        }

        /// Sets the timer fd to expire in `delay`, at `deadline`.
        pub(crate) fn set(&mut self, deadline: Moment, delay: Duration) -> io::Result<()> {
            if self.set != Some(deadline) {
                self.timer.set(delay)?;
                self.set = Some(deadline);
            }
            Ok(())
        }

        /// Notes that the timer fd has expired.
        pub(crate) fn expired(&mut self, backend: &mut dyn Backend) -> io::Result<()> {
            self.set = None;
            if backend.capabilities().rearm {
                self.timer.drain();
                backend.rearm(self.timer.as_fd().as_raw_fd(), TOKEN, Interest::READABLE)?;
            }
            Ok(())
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use super::super::clock::Moment;
    use crate::backend::Backend;
    use std::io;
    use std::time::Duration;

    /// This system has no timer fds: no value of this type exists, and waits end by their timeouts.
    #[derive(Debug)]
    pub(crate) enum Alarm {}

    impl Alarm {
        pub(crate) fn new(_: &mut dyn Backend) -> io::Result<Option<Alarm>> {
            Ok(None)
        }

        pub(crate) fn set(&mut self, _: Moment, _: Duration) -> io::Result<()> {
            match *self {}
        }

        pub(crate) fn expired(&mut self, _: &mut dyn Backend) -> io::Result<()> {
            match *self {}
        }
    }
}

pub(crate) use imp::Alarm;
