//! Signals that cannot be listened for.

use super::{USR1, alone, open_descriptors, support};
use reveille::event_loop::EventLoop;
use reveille::signal::{SignalKind, signal, signals};
use std::io::ErrorKind;

/// Kinds with a part of the error's text.
fn refused() -> Vec<(SignalKind, &'static str)> {
    let mut kinds = vec![
        (libc::SIGKILL, "the system lets no program handle it"),
        (libc::SIGSTOP, "the system lets no program handle it"),
        (libc::SIGSEGV, "a fault of the running code"),
        (libc::SIGBUS, "a fault of the running code"),
        (libc::SIGILL, "a fault of the running code"),
        (libc::SIGFPE, "a fault of the running code"),
        (0, ""),
        (-1, ""),
        (4000, ""),
    ];
    if cfg!(any(target_os = "linux", target_os = "android")) {
        kinds.push((libc::SIGIO, "the backend of real-time signals uses it"));
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    kinds.extend([
        (libc::SIGRTMIN() + 7, "the backend of real-time signals"),
        (libc::SIGRTMAX(), "the backend of real-time signals"),
        // glibc and musl keep it for the end of a thread.
        (libc::SIGRTMIN() - 1, ""),
    ]);
    let kinds = kinds.into_iter();
    kinds
        .map(|(signal, why)| (SignalKind::from_raw(signal), why))
        .collect()
}

#[test]
fn refused_kinds_are_errors_that_leave_nothing_behind() {
    let _alone = alone();
    support::on_every_backend(|runtime| {
        runtime.block_on(async {
            // Some mechanisms open one more descriptor for the first file that they watch.
            drop(signal(USR1).unwrap());
            let before = open_descriptors();
            for (kind, why) in refused() {
                let error = signal(kind).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{kind}: {error}");
                assert!(error.to_string().contains(why), "{kind}: {error}");
                let error = signals(&[USR1, kind]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{kind}: {error}");
            }
            let error = signals(&[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(open_descriptors(), before);
        });
    });
}

#[test]
fn refused_kinds_are_errors_of_a_callback_loop_as_well() {
    let _alone = alone();
    let mut event_loop = EventLoop::new(()).unwrap();
    let key = event_loop.on_signal(USR1, |_, _, _| {}).unwrap();
    assert!(event_loop.remove_signal(key));
    let before = open_descriptors();
    for (kind, why) in refused() {
        let error = event_loop.on_signal(kind, |_, _, _| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{kind}: {error}");
        assert!(error.to_string().contains(why), "{kind}: {error}");
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn listener_needs_a_runtime() {
    let error = signal(USR1).unwrap_err();
    assert!(error.to_string().contains("no reveille runtime"), "{error}");
}
