//! [`ctrl_c`]: waits for one Ctrl-C.

use super::{SignalKind, signal};
use crate::sys::syscall::failure;
use std::io;

/// Waits for the next Ctrl-C on the terminal (SIGINT).
///
/// It listens from its *first poll* on, until it is dropped. Before the first poll, Ctrl-C ends the
/// process. After the drop, Ctrl-C does nothing, because the handler
/// [stays installed](super#what-happens-to-the-process). A program that has to notice each Ctrl-C
/// keeps a [`signal()`] of [`SignalKind::interrupt`].
///
/// # Errors
///
/// Those of [`signal()`], and [`Other`](io::ErrorKind::Other) if the runtime of its first poll has
/// ended.
///
/// # Cancel safety
///
/// Not cancel safe: a Ctrl-C that arrives after the future was dropped is not reported. A
/// [`signal()`] that is kept reports it.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// reveille::block_on(async {
///     println!("press Ctrl-C to end the program");
///     reveille::signal::ctrl_c().await
/// })
/// # }
/// ```
pub async fn ctrl_c() -> io::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    interrupts.recv().await.ok_or_else(|| {
        failure(
            io::ErrorKind::Other,
            "cannot wait for Ctrl-C any longer: the runtime has ended",
        )
    })
}
