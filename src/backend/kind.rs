//! [`BackendKind`] names the mechanisms, with aliases and the automatic order; [`available`] says
//! why one is unavailable.

use super::Backend;
use super::notifier::is_refused;
use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;

/// The most events for which memory is allocated at the start. Memory for more is allocated when
/// they come.
const MAX_ROOM: usize = 1 << 20;

/// The environment variable that names a mechanism.
const VARIABLE: &str = "REVEILLE_BACKEND";

/// A kernel mechanism that a runtime can wait with.
///
/// ```
/// use reveille::backend::BackendKind;
/// assert_eq!("linux-sysepoll".parse(), Ok(BackendKind::Epoll));
/// assert_eq!(BackendKind::EventPorts.to_string(), "event-ports");
/// let poll = BackendKind::Poll.open(64)?;
/// assert_eq!(poll.name(), "poll");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BackendKind {
    /// epoll(7): Linux and Android.
    Epoll,
    /// kqueue(2): the BSDs and macOS.
    Kqueue,
    /// port_create(3C): illumos and Solaris.
    EventPorts,
    /// /dev/poll: illumos and Solaris.
    DevPoll,
    /// poll(2): every Unix.
    Poll,
    /// select(2): every Unix.
    Select,
    /// Real-time signals (`F_SETSIG`): Linux. Never chosen automatically.
    Rtsig,
    /// io_uring's poll requests: Linux. Never chosen automatically.
    IoUring,
}

impl BackendKind {
    /// All kinds. The first six are those of the automatic order, in that order.
    pub const ALL: [BackendKind; 8] = [
        BackendKind::Epoll,
        BackendKind::Kqueue,
        BackendKind::EventPorts,
        BackendKind::DevPoll,
        BackendKind::Poll,
        BackendKind::Select,
        BackendKind::Rtsig,
        BackendKind::IoUring,
    ];

    /// How many of `ALL` belong to the automatic order. Signals belong to the whole process, and
    /// io_uring holds a reference to each file that it waits for, so a program has to choose these
    /// two.
    const AUTOMATIC: usize = 6;

    /// Returns the name, as `REVEILLE_BACKEND` and messages spell it.
    pub const fn name(self) -> &'static str {
        match self {
            BackendKind::Epoll => "epoll",
            BackendKind::Kqueue => "kqueue",
            BackendKind::EventPorts => "event-ports",
            BackendKind::DevPoll => "devpoll",
            BackendKind::Poll => "poll",
            BackendKind::Select => "select",
            BackendKind::Rtsig => "rtsig",
            BackendKind::IoUring => "io-uring",
        }
    }

    /// Opens this mechanism, with room for `capacity` events to begin with.
    ///
    /// # Errors
    ///
    /// `Unsupported` if this host or this version of the crate has no such mechanism; the text has
    /// the reason and the mechanisms that are available. Otherwise the error of the system call.
    #[inline(never)]
    pub fn open(self, capacity: usize) -> io::Result<Box<dyn Backend>> {
        if let Some(reason) = self.unavailability() {
            let text = format!("the {self} backend is available {reason}; {}", Host);
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        self.make(capacity.min(MAX_ROOM))
    }

    /// Returns why this mechanism is unavailable, as far as that is known without trying.
    fn unavailability(self) -> Option<&'static str> {
        const BSD: bool = cfg!(any(
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "dragonfly"
        ));
        const SOLARISH: bool = cfg!(any(target_os = "illumos", target_os = "solaris"));
        const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));
        let (is_native, systems) = match self {
            BackendKind::Epoll => (LINUX, "only on Linux and Android"),
            BackendKind::Rtsig | BackendKind::IoUring => (LINUX, "only on Linux"),
            BackendKind::Kqueue => (BSD, "only on the BSDs and macOS"),
            BackendKind::EventPorts | BackendKind::DevPoll => {
                (SOLARISH, "only on illumos and Solaris")
            }
            BackendKind::Poll | BackendKind::Select => (true, ""),
        };
        (!is_native).then_some(systems)
    }

    fn make(self, capacity: usize) -> io::Result<Box<dyn Backend>> {
        Ok(match self {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            BackendKind::Epoll => Box::new(super::epoll::Epoll::new(capacity)?),
            #[cfg(any(
                target_vendor = "apple",
                target_os = "freebsd",
                target_os = "netbsd",
                target_os = "openbsd",
                target_os = "dragonfly"
            ))]
            BackendKind::Kqueue => Box::new(super::kqueue::Native::new(capacity)?),
            #[cfg(any(target_os = "illumos", target_os = "solaris"))]
            BackendKind::EventPorts => Box::new(super::evport::open(capacity)?),
            #[cfg(any(target_os = "illumos", target_os = "solaris"))]
            BackendKind::DevPoll => Box::new(
                super::devpoll::DevPoll::<super::devpoll::Device>::new(capacity)?,
            ),
            BackendKind::Poll => Box::new(super::poll::Poll::new(capacity)?),
            BackendKind::Select => Box::new(super::select::Select::new(capacity)?),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            BackendKind::Rtsig => Box::new(super::rtsig::Rtsig::new(capacity)?),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            BackendKind::IoUring => Box::new(super::uring::Uring::new(capacity)?),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Parses a name, in upper or lower case and with `_` for `-`. The names of lighttpd are aliases.
impl FromStr for BackendKind {
    type Err = ParseBackendKindError;

    #[inline(never)]
    fn from_str(text: &str) -> Result<BackendKind, ParseBackendKindError> {
        let name = text.trim();
        let named = NAMES.iter().find(|(known, _)| is_named(name, known));
        match named {
            Some(&(_, kind)) => Ok(kind),
            None => Err(ParseBackendKindError {
                name: text.to_owned(),
            }),
        }
    }
}

/// All names and aliases.
static NAMES: [(&str, BackendKind); 20] = [
    ("epoll", BackendKind::Epoll),
    ("linux-sysepoll", BackendKind::Epoll),
    ("sysepoll", BackendKind::Epoll),
    ("kqueue", BackendKind::Kqueue),
    ("freebsd-kqueue", BackendKind::Kqueue),
    ("event-ports", BackendKind::EventPorts),
    ("eventports", BackendKind::EventPorts),
    ("evport", BackendKind::EventPorts),
    ("solaris-eventports", BackendKind::EventPorts),
    ("devpoll", BackendKind::DevPoll),
    ("dev-poll", BackendKind::DevPoll),
    ("/dev/poll", BackendKind::DevPoll),
    ("solaris-devpoll", BackendKind::DevPoll),
    ("poll", BackendKind::Poll),
    ("select", BackendKind::Select),
    ("rtsig", BackendKind::Rtsig),
    ("linux-rtsig", BackendKind::Rtsig),
    ("io-uring", BackendKind::IoUring),
    ("iouring", BackendKind::IoUring),
    ("uring", BackendKind::IoUring),
];

/// Whether a text is a name, in upper or lower case and with `_` for `-`.
#[inline(never)]
fn is_named(text: &str, name: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    text.len() == name.len() && text.bytes().map(plain).eq(name.bytes())
}

/// The error of parsing a [`BackendKind`]: no mechanism has that name.
///
/// ```
/// use reveille::backend::{BackendKind, ParseBackendKindError};
/// let error: ParseBackendKindError = "libev".parse::<BackendKind>().unwrap_err();
/// assert!(error.to_string().starts_with("no backend is called \"libev\""));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseBackendKindError {
    name: String,
}

impl fmt::Display for ParseBackendKindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no backend is called {:?}: the names are ", self.name)?;
        write_list(f, &mut BackendKind::ALL.iter().map(|kind| kind as _))
    }
}

impl Error for ParseBackendKindError {}

/// Whether one mechanism is available on this host, and why not; see [`available`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Availability {
    kind: BackendKind,
    missing: Option<String>,
}

impl Availability {
    fn of(kind: BackendKind) -> Availability {
        let missing = match kind.unavailability() {
            Some(reason) => Some(reason.to_owned()),
            // A sandbox may forbid what the kernel has, so try it.
            None => kind.make(1).err().map(|error| error.to_string()),
        };
        Availability { kind, missing }
    }

    /// Returns the mechanism.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Returns whether the mechanism is available.
    pub fn is_available(&self) -> bool {
        self.missing.is_none()
    }

    /// Returns why the mechanism is unavailable. `None` if it is available.
    pub fn reason(&self) -> Option<&str> {
        self.missing.as_deref()
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.missing {
            None => write!(f, "{}", self.kind),
            Some(reason) => write!(f, "{} ({reason})", self.kind),
        }
    }
}

/// Returns every mechanism, with the reason if this host does not have it. Opens and closes each.
///
/// ```
/// use reveille::backend::{Availability, BackendKind, available};
/// let all: Vec<Availability> = available();
/// let poll = all.iter().find(|entry| entry.kind() == BackendKind::Poll);
/// assert!(poll.is_some_and(Availability::is_available));
/// for missing in all.iter().filter(|entry| !entry.is_available()) {
///     assert!(missing.reason().is_some());
/// }
/// ```
pub fn available() -> Vec<Availability> {
    BackendKind::ALL
        .iter()
        .map(|kind| Availability::of(*kind))
        .collect()
}

/// Opens the mechanism that the program chose. Without a choice, opens the one that
/// `REVEILLE_BACKEND` names, and without that the first of the automatic order that works. Only the
/// automatic order tries the next mechanism after a failure.
///
/// # Errors
///
/// `InvalidInput` for an unknown name, and `Unsupported` for a mechanism that is unavailable; the
/// text has the reasons and the mechanisms that are available. Otherwise the error of the system
/// call, such as `EMFILE`.
pub(crate) fn open(choice: Option<BackendKind>, capacity: usize) -> io::Result<Box<dyn Backend>> {
    let variable = match choice {
        Some(_) => None,
        None => std::env::var_os(VARIABLE),
    };
    let name = variable.as_deref().map(|name| name.to_string_lossy());
    open_named(choice, name.as_deref(), capacity)
}

/// As `open`, with the value of the environment variable.
#[inline(never)]
fn open_named(
    choice: Option<BackendKind>,
    variable: Option<&str>,
    capacity: usize,
) -> io::Result<Box<dyn Backend>> {
    if let Some(kind) = choice {
        return kind.open(capacity).map_err(|error| refused(kind, error));
    }
    let Some(name) = variable.filter(|name| !name.is_empty()) else {
        let order = &BackendKind::ALL[..BackendKind::AUTOMATIC];
        return open_first(order, |kind| kind.open(capacity)).map_err(nothing_works);
    };
    open_by_name(name, capacity)
}

/// Opens the mechanism that the environment variable names. An error names the variable.
#[cold]
fn open_by_name(name: &str, capacity: usize) -> io::Result<Box<dyn Backend>> {
    let invalid = |error| {
        let text = format!("{VARIABLE}: {error}; {Host}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let kind: BackendKind = name.parse().map_err(invalid)?;
    kind.open(capacity).map_err(|error| {
        let error = refused(kind, error);
        match error.raw_os_error() {
            Some(_) => error,
            None => io::Error::new(error.kind(), format!("{VARIABLE}: {error}")),
        }
    })
}

/// Explains the error of a mechanism that was chosen and that the system refuses, as a sandbox
/// does. An error that reports a lack of fds or memory keeps its number.
#[cold]
fn refused(kind: BackendKind, error: io::Error) -> io::Error {
    // An error without a number has been explained already, and so has a mechanism that is known to
    // be absent.
    if kind.unavailability().is_some() || is_shortage(&error) {
        return error;
    }
    let text = format!("the system refuses the {kind} backend: {error}; {}", Host);
    io::Error::new(error_kind(&error), text)
}

/// Returns the kind of an error that explains another one. A forbidden call means that the
/// mechanism is unavailable, whichever error number it fails with.
fn error_kind(error: &io::Error) -> io::ErrorKind {
    if is_refused(error) {
        io::ErrorKind::Unsupported
    } else {
        error.kind()
    }
}

/// Explains the error when no mechanism of the automatic order works. An error that reports a lack
/// of fds or memory keeps its number.
#[cold]
fn nothing_works(error: io::Error) -> io::Error {
    if is_shortage(&error) {
        return error;
    }
    let text = format!("no backend of the automatic order works: {error}; {}", Host);
    io::Error::new(error_kind(&error), text)
}

/// Opens the first mechanism that works. A process without free fds or memory gets that error, not
/// a worse mechanism.
fn open_first(
    order: &[BackendKind],
    mut open: impl FnMut(BackendKind) -> io::Result<Box<dyn Backend>>,
) -> io::Result<Box<dyn Backend>> {
    let mut first = None;
    for &kind in order {
        match open(kind) {
            Err(error) if is_shortage(&error) => return Err(error),
            // A mechanism that the host should have but refuses is the more useful reason.
            Err(error) if error.raw_os_error().is_some() => {
                first.get_or_insert(error);
            }
            Err(_) => {}
            opened => return opened,
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
    )
}

/// Writes the end of every error about a choice that failed: "this host has ..., but not ...".
struct Host;

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = available();
        f.write_str("this host has ")?;
        if !all.iter().any(Availability::is_available) {
            f.write_str("none")?;
        }
        for (have, before) in [(true, ""), (false, ", but not ")] {
            f.write_str(before)?;
            let kinds = all.iter().filter(|kind| kind.is_available() == have);
            write_list(f, &mut kinds.map(|kind| kind as _))?;
        }
        Ok(())
    }
}

/// Writes the items with commas between them.
fn write_list(
    f: &mut fmt::Formatter<'_>,
    items: &mut dyn Iterator<Item = &dyn fmt::Display>,
) -> fmt::Result {
    for (at, item) in items.enumerate() {
        f.write_str(if at == 0 { "" } else { ", " })?;
        item.fmt(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_names_the_alternatives_of_a_refused_choice() {
        let error = refused(
            BackendKind::Epoll,
            io::Error::from_raw_os_error(libc::ENOSYS),
        );
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let text = error.to_string();
        assert!(text.contains("refuses the epoll backend"), "{text}");
        assert!(text.contains("this host has"), "{text}");
        let shortage = refused(
            BackendKind::Epoll,
            io::Error::from_raw_os_error(libc::EMFILE),
        );
        assert_eq!(shortage.raw_os_error(), Some(libc::EMFILE));
    }

    #[test]
    fn open_accepts_any_capacity() {
        for kind in BackendKind::ALL {
            for capacity in [0, 1, usize::MAX] {
                match kind.open(capacity) {
                    Ok(backend) => assert_eq!(backend.name(), kind.name()),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
                }
            }
        }
    }

    /// A mechanism that every host has, and one that this host does not have.
    const PRESENT: BackendKind = BackendKind::Poll;
    const MISSING: BackendKind = if cfg!(any(target_os = "linux", target_os = "android")) {
        BackendKind::Kqueue
    } else {
        BackendKind::Epoll
    };

    #[test]
    fn names_parse_to_their_kinds() {
        for kind in BackendKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let shouted = kind.name().to_ascii_uppercase().replace('-', "_");
            assert_eq!(shouted.parse(), Ok(kind));
        }
    }

    #[test]
    fn names_of_lighttpd_are_aliases() {
        for (name, kind) in [
            ("linux-sysepoll", BackendKind::Epoll),
            ("solaris-eventports", BackendKind::EventPorts),
            ("solaris-devpoll", BackendKind::DevPoll),
            ("freebsd-kqueue", BackendKind::Kqueue),
            ("linux-rtsig", BackendKind::Rtsig),
            ("io_uring", BackendKind::IoUring),
        ] {
            assert_eq!(name.parse(), Ok(kind));
        }
    }

    #[test]
    fn parse_error_lists_all_names() {
        let text = "libev".parse::<BackendKind>().unwrap_err().to_string();
        assert!(text.contains("\"libev\""), "{text}");
        for kind in BackendKind::ALL {
            assert!(text.contains(kind.name()), "{text}");
        }
    }

    #[test]
    fn open_prefers_the_choice_to_the_variable() {
        let opened = open_named(Some(PRESENT), Some("nonsense"), 4).unwrap();
        assert_eq!(opened.name(), PRESENT.name());
    }

    #[test]
    fn open_prefers_the_variable_to_the_automatic_order() {
        let opened = open_named(None, Some("poll"), 4).unwrap();
        assert_eq!(opened.name(), "poll");
    }

    #[test]
    fn open_ignores_an_empty_variable() {
        let empty = open_named(None, Some(""), 4).unwrap();
        let unset = open_named(None, None, 4).unwrap();
        assert_eq!(empty.name(), unset.name());
    }

    #[test]
    fn open_errors_list_what_is_available_and_why_the_rest_is_not() {
        for (choice, variable) in [
            (Some(MISSING), None),
            (None, Some(MISSING.name())),
            (None, Some("nonsense")),
        ] {
            let error = open_named(choice, variable, 4).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("this host has"), "{text}");
            assert!(text.contains("poll"), "{text}");
            assert!(text.contains(&format!("{MISSING} (only on ")), "{text}");
            assert_eq!(text.contains(VARIABLE), variable.is_some(), "{text}");
        }
    }

    #[test]
    fn available_gives_a_reason_for_each_kind_that_does_not_open() {
        let list = available();
        assert_eq!(list.len(), BackendKind::ALL.len());
        for entry in list {
            let opened = entry.kind().open(4);
            assert_eq!(opened.is_ok(), entry.is_available(), "{entry}");
            assert_eq!(entry.reason().is_none(), entry.is_available());
        }
    }

    #[test]
    fn open_first_tries_the_next_kind_unless_fds_run_out() {
        let refusing = |kind: BackendKind| match kind {
            PRESENT => kind.open(1),
            _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        };
        let order = [MISSING, BackendKind::Select, PRESENT];
        assert_eq!(open_first(&order, refusing).unwrap().name(), "poll");
        let none = open_first(&order[..2], refusing).unwrap_err();
        assert_eq!(none.raw_os_error(), Some(libc::ENOSYS));
        let starving = |_| Err(io::Error::from_raw_os_error(libc::EMFILE));
        let starved = open_first(&order, starving).unwrap_err();
        assert_eq!(starved.raw_os_error(), Some(libc::EMFILE));
        assert_eq!(
            nothing_works(starved).raw_os_error(),
            Some(libc::EMFILE),
            "a lack of fds keeps its number"
        );
        for code in [libc::EPERM, libc::ENOSYS] {
            let error = refused(PRESENT, io::Error::from_raw_os_error(code));
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        }
        let text = nothing_works(none).to_string();
        assert!(text.contains("(os error 38); this host has "), "{text}");
    }
}
