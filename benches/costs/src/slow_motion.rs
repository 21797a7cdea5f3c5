//! A monotonic clock that runs 64 times slower than the real one. A run under valgrind or strace
//! takes tens of times as long as a plain one, and the runtime, which ends a batch of polls that
//! take long, would do other work in it. With this clock time passes as in a plain run.

use std::ffi::{c_char, c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, Ordering::Relaxed};

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanos: i64,
}

type ClockGettime = unsafe extern "C" fn(c_int, *mut Timespec) -> c_int;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;
const MONOTONIC: c_int = 1;
const BILLION: i64 = 1_000_000_000;
const FACTOR: i64 = 64;

static ON: AtomicBool = AtomicBool::new(false);
static START: AtomicI64 = AtomicI64::new(0);
static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Slows the clock down, from now on. Nothing may have read it yet, or time goes back.
pub fn begin() {
    let mut now = Timespec {
        seconds: 0,
        nanos: 0,
    };
    // SAFETY: `now` is valid for writes.
    assert_eq!(unsafe { real(MONOTONIC, &mut now) }, 0);
    START.store(now.seconds * BILLION + now.nanos, Relaxed);
    ON.store(true, Relaxed);
}

/// The C library's function.
///
/// # Safety
/// As for `clock_gettime(2)`.
unsafe fn real(clock: c_int, to: *mut Timespec) -> c_int {
    let mut found = REAL.load(Relaxed);
    if found.is_null() {
        // SAFETY: the name ends with a zero byte.
        found = unsafe { dlsym(RTLD_NEXT, c"clock_gettime".as_ptr()) };
        assert!(!found.is_null());
        REAL.store(found, Relaxed);
    }
    // SAFETY: this is the C library's `clock_gettime`, with its type; the caller guarantees that
    // `to` is valid.
    unsafe { transmute::<*mut c_void, ClockGettime>(found)(clock, to) }
}

/// Replaces the C library's function of this name, which std calls.
///
/// # Safety
/// As for `clock_gettime(2)`.
// SAFETY: it does what the C library's function of this name promises, with another rate of one
// clock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, to: *mut Timespec) -> c_int {
    // SAFETY: the caller guarantees that `to` is valid.
    let result = unsafe { real(clock, to) };
    if ON.load(Relaxed) && clock == MONOTONIC && result == 0 {
        // SAFETY: the call succeeded, so `to` is valid, and it has been written.
        let now = unsafe { &mut *to };
        let start = START.load(Relaxed);
        let slow = start + (now.seconds * BILLION + now.nanos - start) / FACTOR;
        (now.seconds, now.nanos) = (slow / BILLION, slow % BILLION);
    }
    result
}
