//! [`Tally`] counts what decides whether a Unix stream is watched with an edge or a level trigger.
//!
//! Under an edge trigger each read must find out whether it has left bytes, because nothing reports
//! them again. Only `recvmsg(2)` tells (`sys/unix_socket.rs`). It costs more than `recv(2)`, by 7 %
//! of the time of an echo. Under a level trigger the mechanism itself reports what a read has left,
//! so `recv` is enough. But there, bytes that no task reads end every wait.
//!
//! | watched by | counted | then |
//! |---|---|---|
//! | edge, from the beginning | short reads | level after [`READS`], or [`READS_AGAIN`] if it had a level trigger before; not while WRITABLE is watched, nor if short reads of this stream prove nothing (`IoState::short_proves`) |
//! | level | reports since the last short read | edge at the [`REPORTS`]th, or as soon as WRITABLE is watched |
//!
//! So a stream with few reads makes no more calls than under an edge trigger alone. Unread bytes,
//! an end of the stream and urgent data that stays end at most [`REPORTS`] waits. If a task is
//! often late, its stream changes triggers again and again. Each change there and back costs two
//! calls and a few reports for [`READS_AGAIN`] reads, which is too little to matter.
//!
//! Only `Capabilities::cheap_level` mechanisms do this: epoll checks each reported fd once more in
//! the next wait, and forgets it if it was read.
//!
//! **Closing.** A file may live on in a duplicate that the runtime does not know of. If it is
//! closed without `Backend::remove`, its registration lives on as well, and under a level trigger
//! it would end every wait. So `Registrations::deregister` calls `remove` there.

/// After how many short reads a stream is watched with a level trigger. The change is a system
/// call, and the end of the registration another one, of 200 to 300 ns each: four such reads pay
/// for them.
pub(super) const READS: u8 = 16;

/// As [`READS`], if the stream has had a level trigger before or had WRITABLE watched.
pub(super) const READS_AGAIN: u8 = 240;

/// At which report without a read a stream is watched with an edge trigger again. More than one,
/// because a batch of polls may end before the task that reads was polled.
pub(super) const REPORTS: u8 = 3;

/// The count of one registration. Its trigger decides what is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tally(u8);

impl Tally {
    /// The count of a new registration.
    pub(super) const FIRST: Tally = Tally(READS_AGAIN - READS);

    /// The count after a change of the trigger.
    pub(super) const NONE: Tally = Tally(0);

    /// Counts a short read that proves something. Returns true once, when the level trigger is due.
    #[inline]
    pub(super) fn note_read(&mut self, is_level: bool) -> bool {
        if is_level {
            self.0 = 0;
            return false;
        }
        // The count stays at its end if the trigger does not change.
        if self.0 < READS_AGAIN {
            self.0 += 1;
            return self.0 == READS_AGAIN;
        }
        false
    }

    /// Counts a report under a level trigger. Returns whether the edge trigger is due.
    #[inline]
    pub(super) fn note_report(&mut self) -> bool {
        self.0 = self.0.saturating_add(1);
        self.0 >= REPORTS
    }
}
