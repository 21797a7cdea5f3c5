//! The backend over the kernel that is made of the manual's words.

use super::*;
use crate::backend::fake::kqueue::Fake;

/// A system like macOS; one like FreeBSD; one like an older OpenBSD.
type Full = Fake<true, true>;
type NoExcept = Fake<true, false>;
type NoUser = Fake<false, true>;

fn judge<S: Sys>() -> crate::conformance::Report {
    crate::conformance::run(&mut || Ok(Box::new(Kqueue::<S>::new(64)?)))
}

#[test]
fn conforms_with_every_filter() {
    let report = judge::<Full>();
    println!("{report}");
    report.assert_ok();
}

#[test]
fn conforms_without_out_of_band_data() {
    judge::<NoExcept>().assert_ok();
}

#[test]
fn conforms_without_user_events() {
    judge::<NoUser>().assert_ok();
}
