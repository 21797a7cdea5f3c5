//! Precise timers: a timer fd among the registered fds that ends the wait at the earliest deadline, in place of the
//! wait's timeout. It is set anew only when that deadline is another one.

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

    /// The timer fd and what it is set to.
    #[derive(Debug)]
    pub(crate) struct Alarm {
        timer: TimerFd,
        /// The deadline it is set to; `None` when it is not set or has gone off.
        set: Option<Moment>,
    }

    /// Names the timer fd to the backend: an index that no registration has.
    const TOKEN: Token = Token::new(super::super::table::RESERVED_INDEX, 1);

    impl Alarm {
        /// An alarm that is not set, registered with the backend. `None` where the kernel has no timer fds, or a sandbox
        /// forbids them: the waits end by their timeouts then.
        pub(crate) fn new(backend: &mut dyn Backend) -> io::Result<Option<Alarm>> {
            let timer = match TimerFd::new() {
                Err(error) if is_refused(&error) => return Ok(None),
                timer => timer?,
            };
            backend.add(timer.as_fd(), TOKEN, Interest::READABLE, Trigger::Edge)?;
            Ok(Some(Alarm { timer, set: None }))
        }

        /// Sets it to go off in `delay`, at `deadline`.
        pub(crate) fn set(&mut self, deadline: Moment, delay: Duration) -> io::Result<()> {
            if self.set != Some(deadline) {
                self.timer.set(delay)?;
                self.set = Some(deadline);
            }
            Ok(())
        }

        /// Takes note that it has gone off.
        pub(crate) fn gone_off(&mut self, backend: &mut dyn Backend) -> io::Result<()> {
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

    /// There is no timer fd here: nothing of this type exists, and waits end by their timeouts.
    #[derive(Debug)]
    pub(crate) enum Alarm {}

    impl Alarm {
        pub(crate) fn new(_: &mut dyn Backend) -> io::Result<Option<Alarm>> {
            Ok(None)
        }

        pub(crate) fn set(&mut self, _: Moment, _: Duration) -> io::Result<()> {
            match *self {}
        }

        pub(crate) fn gone_off(&mut self, _: &mut dyn Backend) -> io::Result<()> {
            match *self {}
        }
    }
}

pub(crate) use imp::Alarm;
