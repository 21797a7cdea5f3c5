//! Which mechanism: names, aliases, the automatic order, and the reason why one is not to be had.

use super::Backend;
use super::notifier::is_refused;
use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;

/// Room for more events than that is made when they come.
const MOST_ROOM: usize = 1 << 20;

/// What the environment variable is called that names a mechanism.
const VARIABLE: &str = "REVEILLE_BACKEND";

/// The kernel mechanisms that a runtime can wait with.
///
/// ```
/// use reveille::backend::BackendKind;
/// assert_eq!("linux-sysepoll".parse(), Ok(BackendKind::Epoll));
/// assert_eq!(BackendKind::EventPorts.to_string(), "event-ports");
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
    /// Real-time signals (`F_SETSIG`): Linux. On request only.
    Rtsig,
    /// io_uring's poll requests: Linux. On request only.
    IoUring,
}

impl BackendKind {
    /// All of them; those of the automatic order first, in that order.
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

    /// How many of `ALL` are tried without being asked for. Signals are a resource of the whole process, and io_uring
    /// pins the files it waits for: neither is taken by surprise.
    const AUTOMATIC: usize = 6;

    /// The name, as `REVEILLE_BACKEND` and messages spell it.
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

    /// Opens this mechanism, with room for `capacity` events at once to begin with.
    ///
    /// # Errors
    ///
    /// `Unsupported` when this host or this version has none, with the reason and what there is instead; else what
    /// the system calls say.
    #[inline(never)]
    pub fn open(self, capacity: usize) -> io::Result<Box<dyn Backend>> {
        if let Some(reason) = self.absent() {
            let text = format!("the {self} backend is {reason}; {}", Host);
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        self.make(capacity.min(MOST_ROOM))
    }

    /// Why it cannot be had, as far as that is known without trying.
    fn absent(self) -> Option<&'static str> {
        const BSD: bool = cfg!(any(
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "dragonfly"
        ));
        const SOLARISH: bool = cfg!(any(target_os = "illumos", target_os = "solaris"));
        const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));
        let (at_home, home) = match self {
            BackendKind::Epoll => (LINUX, "only on Linux and Android"),
            BackendKind::Rtsig | BackendKind::IoUring => (LINUX, "only on Linux"),
            BackendKind::Kqueue => (BSD, "only on the BSDs and macOS"),
            BackendKind::EventPorts | BackendKind::DevPoll => {
                (SOLARISH, "only on illumos and Solaris")
            }
            BackendKind::Poll | BackendKind::Select => (true, ""),
        };
        // What has a home here is built here.
        (!at_home).then_some(home)
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

/// Reads a name, in any case and with `_` for `-`; lighttpd's names are aliases.
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

/// What can be asked for.
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

/// Whether a text is a name, in any case and with `_` for `-`.
#[inline(never)]
fn is_named(text: &str, name: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    text.len() == name.len() && text.bytes().map(plain).eq(name.bytes())
}

/// No mechanism has that name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseBackendKindError {
    name: String,
}

impl fmt::Display for ParseBackendKindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no backend is called {:?}; the names are ", self.name)?;
        list(f, &mut BackendKind::ALL.iter().map(|kind| kind as _))
    }
}

impl Error for ParseBackendKindError {}

/// Whether one mechanism can be had on this host, and if not, why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Availability {
    kind: BackendKind,
    missing: Option<String>,
}

impl Availability {
    fn of(kind: BackendKind) -> Availability {
        let missing = match kind.absent() {
            Some(reason) => Some(reason.to_owned()),
            // The proof: a sandbox may forbid what the kernel has.
            None => kind.make(1).err().map(|error| error.to_string()),
        };
        Availability { kind, missing }
    }

    /// Which one.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Whether it can be had.
    pub fn is_available(&self) -> bool {
        self.missing.is_none()
    }

    /// Why not.
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

/// Every mechanism, and whether this host has it: found out by opening and closing each.
pub fn available() -> Vec<Availability> {
    BackendKind::ALL
        .iter()
        .map(|kind| Availability::of(*kind))
        .collect()
}

/// Opens the mechanism that was asked for: by the program, else by `REVEILLE_BACKEND`, else the first of the automatic
/// order that works. Only the automatic order goes on to the next one.
///
/// # Errors
///
/// `InvalidInput` for an unknown name and `Unsupported` for a mechanism that is not to be had, with the reasons
/// and with what this host has; else what the system calls say, such as `EMFILE`.
pub(crate) fn open(choice: Option<BackendKind>, capacity: usize) -> io::Result<Box<dyn Backend>> {
    let variable = match choice {
        Some(_) => None,
        None => std::env::var_os(VARIABLE),
    };
    let name = variable.as_deref().map(|name| name.to_string_lossy());
    open_named(choice, name.as_deref(), capacity)
}

/// As `open`, with the variable's value.
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

/// Opens what the variable names; the message names the variable.
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

/// Says what to do about a mechanism that was asked for and that the system refuses, as a sandbox does; a shortage keeps
/// its number.
#[cold]
fn refused(kind: BackendKind, error: io::Error) -> io::Error {
    // What has no number was explained by whoever made it; a mechanism that is known to be absent, with all the rest.
    if kind.absent().is_some() || is_shortage(&error) {
        return error;
    }
    let text = format!(
        "the {kind} backend is refused by the system: {error}; {}",
        Host
    );
    io::Error::new(kind_of(&error), text)
}

/// Whoever forbids a call, and by whichever number: the mechanism is not to be had.
fn kind_of(error: &io::Error) -> io::ErrorKind {
    if is_refused(error) {
        io::ErrorKind::Unsupported
    } else {
        error.kind()
    }
}

/// Says what could be asked for, when nothing of the automatic order is to be had; a shortage keeps its number.
#[cold]
fn nothing_works(error: io::Error) -> io::Error {
    if is_shortage(&error) {
        return error;
    }
    let text = format!(
        "no backend of the automatic order is to be had: {error}; {}",
        Host
    );
    io::Error::new(kind_of(&error), text)
}

/// The first that opens. A process that is out of fds or memory gets that error, not a worse mechanism.
fn open_first(
    order: &[BackendKind],
    mut open: impl FnMut(BackendKind) -> io::Result<Box<dyn Backend>>,
) -> io::Result<Box<dyn Backend>> {
    let mut first = None;
    for &kind in order {
        match open(kind) {
            Err(error) if is_shortage(&error) => return Err(error),
            // What the host should have, but refuses, says more than that it is no Solaris.
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

/// "This host has ...; not ...": the end of every message about a choice that failed.
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
            list(f, &mut kinds.map(|kind| kind as _))?;
        }
        Ok(())
    }
}

/// Writes the items with commas between them.
fn list(
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
    fn a_refused_choice_says_what_else_there_is() {
        let error = refused(
            BackendKind::Epoll,
            io::Error::from_raw_os_error(libc::ENOSYS),
        );
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let text = error.to_string();
        assert!(text.contains("epoll backend is refused"), "{text}");
        assert!(text.contains("this host has"), "{text}");
        let shortage = refused(
            BackendKind::Epoll,
            io::Error::from_raw_os_error(libc::EMFILE),
        );
        assert_eq!(shortage.raw_os_error(), Some(libc::EMFILE));
    }

    #[test]
    fn any_capacity_is_taken() {
        for kind in BackendKind::ALL {
            for capacity in [0, 1, usize::MAX] {
                match kind.open(capacity) {
                    Ok(backend) => assert_eq!(backend.name(), kind.name()),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
                }
            }
        }
    }

    /// One that the host has and one that it has not, for sure.
    const PRESENT: BackendKind = BackendKind::Poll;
    const MISSING: BackendKind = if cfg!(any(target_os = "linux", target_os = "android")) {
        BackendKind::Kqueue
    } else {
        BackendKind::Epoll
    };

    #[test]
    fn every_name_is_read_back() {
        for kind in BackendKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let shouted = kind.name().to_ascii_uppercase().replace('-', "_");
            assert_eq!(shouted.parse(), Ok(kind));
        }
    }

    #[test]
    fn lighttpds_names_are_aliases() {
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
    fn an_unknown_name_is_answered_with_all_names() {
        let text = "libev".parse::<BackendKind>().unwrap_err().to_string();
        assert!(text.contains("\"libev\""), "{text}");
        for kind in BackendKind::ALL {
            assert!(text.contains(kind.name()), "{text}");
        }
    }

    #[test]
    fn an_explicit_choice_wins_over_the_variable() {
        let opened = open_named(Some(PRESENT), Some("nonsense"), 4).unwrap();
        assert_eq!(opened.name(), PRESENT.name());
    }

    #[test]
    fn the_variable_wins_over_the_automatic_order() {
        let opened = open_named(None, Some("poll"), 4).unwrap();
        assert_eq!(opened.name(), "poll");
    }

    #[test]
    fn an_empty_variable_is_unset() {
        let empty = open_named(None, Some(""), 4).unwrap();
        let unset = open_named(None, None, 4).unwrap();
        assert_eq!(empty.name(), unset.name());
    }

    #[test]
    fn a_failed_choice_says_what_there_is_and_why_not_the_rest() {
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
    fn every_kind_is_listed_with_a_reason_or_opens() {
        let list = available();
        assert_eq!(list.len(), BackendKind::ALL.len());
        for entry in list {
            let opened = entry.kind().open(4);
            assert_eq!(opened.is_ok(), entry.is_available(), "{entry}");
            assert_eq!(entry.reason().is_none(), entry.is_available());
        }
    }

    #[test]
    fn only_the_automatic_order_goes_on_to_the_next() {
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
            "a shortage is no matter of choice"
        );
        for code in [libc::EPERM, libc::ENOSYS] {
            let error = refused(PRESENT, io::Error::from_raw_os_error(code));
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        }
        let text = nothing_works(none).to_string();
        assert!(text.contains("(os error 38); this host has "), "{text}");
    }
}
