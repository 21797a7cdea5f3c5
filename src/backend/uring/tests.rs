use super::*;

fn build(flags: &[u32], requests: u32, answers: u32, notify: NotifyFd) -> io::Result<Uring> {
    Uring::build(Ring::with_flags(flags, requests, answers)?, notify)
}

/// Every queue is full at once, requests end all the time, and the notifier is the other one.
#[test]
fn conforms_in_tiny_rings_and_without_eventfd() {
    crate::conformance::run(&mut || {
        let flags = [abi::SETUP_COOP_TASKRUN];
        Ok(Box::new(build(&flags, 1, 2, NotifyFd::pipe()?)?))
    })
    .assert_ok();
}

/// As on the first kernel that has what is needed.
#[test]
fn conforms_without_later_flags() {
    crate::conformance::run(&mut || Ok(Box::new(build(&[0], 8, 64, NotifyFd::new()?)?)))
        .assert_ok();
}
