//! The traits of `futures-io`, tokio and hyper, and the adapters of `reveille::interop`: each keeps
//! the contract of its trait.

mod async_fd;
mod contract;
mod family;
mod interop;
mod pipes;
mod script;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod unblock;
mod unix;
