//! Calls and words that are allowed in one place only.

use super::assert_none;
use super::source::sources;

/// The modules that may hold unsafe code.
const UNSAFE: &[&str] = &["sys", "backend", "task", "traits"];

/// The modules that may name libc.
const LIBC: &[&str] = &["sys", "backend"];

/// The files that may read the clock: `reactor`'s clock, the system call below it, and the kit,
/// which measures real time.
const CLOCK: &[&str] = &["reactor/clock.rs", "sys/clock.rs", "conformance/"];

/// The calls that read it.
const CLOCK_CALLS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "clock_gettime",
    "monotonic_nanos",
];

/// The files that may make socket calls: `sys`'s sockets, and the peers of the conformance kit.
const SOCKETS: &[&str] = &[
    "sys/socket.rs",
    "sys/datagram.rs",
    "sys/passing.rs",
    "sys/unix_socket.rs",
    "sys/test_fds.rs",
];

/// The socket calls.
const SOCKET_CALLS: &[&str] = &[
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "send",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socket",
    "socketpair",
];

#[test]
fn clock_is_read_in_one_place() {
    let mut faults = Vec::new();
    for file in sources().iter().filter(|file| !file.is_in(CLOCK)) {
        for call in CLOCK_CALLS {
            faults.extend(file.find_word(call));
        }
    }
    assert_none(faults);
}

/// Names of clocks that can be set. With them, timers could fire early, late, or all at once.
const WALL_CLOCK: &[&str] = &[
    "SystemTime",
    "CLOCK_REALTIME",
    "CLOCK_TAI",
    "gettimeofday",
    "libc::time",
    "UNIX_EPOCH",
];

#[test]
fn wall_clock_is_never_read() {
    let mut faults = Vec::new();
    for file in sources() {
        for word in WALL_CLOCK {
            faults.extend(file.find_word(word));
        }
    }
    assert_none(faults);
}

#[test]
fn socket_calls_are_made_in_one_place() {
    let mut faults = Vec::new();
    for file in sources().iter().filter(|file| !file.is_in(SOCKETS)) {
        for call in SOCKET_CALLS {
            faults.extend(file.find_word(&format!("libc::{call}")));
        }
    }
    assert_none(faults);
}

#[test]
fn libc_is_named_only_in_the_lowest_layers() {
    let mut faults = Vec::new();
    for file in sources() {
        if !LIBC.contains(&file.module()) {
            faults.extend(file.find_word("libc"));
        }
    }
    assert_none(faults);
}

#[test]
fn unsafe_code_is_forbidden_elsewhere() {
    let mut faults = Vec::new();
    for file in sources() {
        if UNSAFE.contains(&file.module()) {
            continue;
        }
        faults.extend(file.find_word("unsafe"));
        // The root cannot forbid it, because the modules that need it are below the root.
        let head = file.is_module_head() && file.path != "lib.rs";
        if head && !file.code.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{}: has no #![forbid(unsafe_code)]", file.path));
        }
    }
    assert_none(faults);
}
