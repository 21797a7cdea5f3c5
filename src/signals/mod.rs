//! The signals that each loop listens for (feature `signal`): the part that runtimes and callback
//! loops share, and the listeners of a runtime.
//!
//! ```text
//! a signal arrives
//!  └─ Action (`sys/signal.rs`), in a signal handler   Counter + 1, a write to the loop's WakeFd
//!      └─ the loop's mechanism reports the WakeFd as readable
//!          ├─ runtime:        Hub drains it and wakes the tasks of all listeners (`hub.rs`)
//!          │   └─ Listener    compares the counters with what it has seen (`listener.rs`)
//!          └─ callback loop:  drains it and compares the counters itself
//! ```
//!
//! A loop that listens for signals has one [`WakeFd`] for all of them, made for its first listener
//! and closed after its last one. For each kind of signal it has one counter and one action
//! ([`HeardSignals`]), however many listeners there are. The `WakeFd` shows that some counter may
//! have changed; the counters show which. So a burst of equal signals may be reported once, no
//! signal is lost, and every listener gets each.
//!
//! A signal handler does not use the mechanism's notifier, by which other threads end the wait of a
//! loop: a notifier may be a user's code, which must not run in a signal handler.

#![forbid(unsafe_code)]

mod heard;
mod hub;
mod kind;
mod listener;

pub(crate) use heard::HeardSignals;
pub(crate) use hub::{Hub, HubSlot};
pub use kind::SignalKind;
pub(crate) use listener::Listener;
