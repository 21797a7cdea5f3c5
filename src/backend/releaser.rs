//! [`Releaser`] drops the kernel's reference to a file from another thread, for mechanisms whose
//! kernel object holds such references.

use super::Token;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

/// Drops the kernel's reference to a file; see [`Releaser`].
pub trait Release: Send + Sync {
    /// Makes the kernel drop its reference to the file that a number names, and that was added with
    /// this token. Other registrations of the same file must not be lost, nor another registration
    /// of the number, which the loop may have made since.
    fn release(&self, fd: RawFd, token: Token);
}

/// A shared handle that drops the kernel's reference to a file whose registration ended on another
/// thread.
///
/// The loop removes such a registration when it runs next, but the caller may use and close the
/// file before that. Then the peer should see the end at once (io_uring), and a duplicate of the
/// file that lives on should not wake the loop (epoll).
///
/// ```
/// use reveille::backend::{Release, Releaser, Token};
/// use std::os::fd::RawFd;
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Default)]
/// struct Released(Mutex<Vec<RawFd>>);
///
/// impl Release for Released {
///     fn release(&self, fd: RawFd, _: Token) {
///         self.0.lock().unwrap().push(fd);
///     }
/// }
///
/// let released = Arc::new(Released::default());
/// Releaser::new(released.clone()).release(7, Token::new(1, 1));
/// assert_eq!(*released.0.lock().unwrap(), [7]);
/// ```
#[derive(Clone)]
pub struct Releaser(Arc<dyn Release>);

impl Releaser {
    /// Makes a handle for a custom mechanism.
    pub fn new(release: Arc<dyn Release>) -> Releaser {
        Releaser(release)
    }

    /// Makes the kernel drop its reference to the file that a number names, and that was added with
    /// this token. Other registrations of that file stay. A number that is not open is ignored.
    pub fn release(&self, fd: RawFd, token: Token) {
        self.0.release(fd, token);
    }
}

impl fmt::Debug for Releaser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Releaser")
    }
}
