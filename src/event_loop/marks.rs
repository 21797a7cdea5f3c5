//! Listeners that pause while too many fds are open: what lighttpd calls high and low water marks.

use super::EventLoop;
use super::source::{Pauses, Source};
use crate::backend::Token;
use std::io;

/// When a listener pauses and when it goes on, by the number of fds that are attached to the loop, the listener
/// included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaterMarks {
    /// It goes on when no more than this many are attached.
    pub low: usize,
    /// It pauses when this many are attached.
    pub high: usize,
}

/// A source with marks.
#[derive(Debug)]
pub(super) struct Marked {
    token: Token,
    marks: WaterMarks,
}

impl Marked {
    /// The fd under `from` was replaced by the one under `to`.
    pub(super) fn follow(&mut self, from: Token, to: Token) {
        if self.token == from {
            self.token = to;
        }
    }
}

impl<D: 'static> EventLoop<D> {
    /// Pauses the source, a listener say, whenever `marks.high` fds are attached to the loop, and resumes it when no more than
    /// `marks.low` are; `None` takes the marks off. While it is paused, connections wait in the kernel's queue.
    ///
    /// # Errors
    ///
    /// `NotFound` when nothing is attached under that name any more; `InvalidInput` when `low` is not below `high`.
    pub fn set_water_marks<T>(
        &mut self,
        source: Source<T>,
        marks: Option<WaterMarks>,
    ) -> io::Result<()> {
        let token = self.live(source)?;
        if marks.is_some_and(|marks| marks.low >= marks.high) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the low water mark must be below the high one",
            ));
        }
        self.marked.retain(|marked| marked.token != token);
        match marks {
            Some(marks) => self.marked.push(Marked { token, marks }),
            None => self.set_pauses(token, |pauses| pauses.without(Pauses::MARKS))?,
        }
        self.mind_marks();
        Ok(())
    }

    /// Pauses and resumes what has marks; called whenever the number of fds has changed.
    #[inline]
    pub(super) fn mind_marks(&mut self) {
        if !self.marked.is_empty() {
            self.mind_some_marks();
        }
    }

    fn mind_some_marks(&mut self) {
        let open = self.len();
        let mut marked = std::mem::take(&mut self.marked);
        marked.retain(|marked| {
            if self.table.peek(marked.token).is_none() {
                return false;
            }
            // A refusal leaves it as it was; the next change tries again.
            let _ = self.set_pauses(marked.token, |pauses| {
                if open >= marked.marks.high {
                    pauses.with(Pauses::MARKS)
                } else if open <= marked.marks.low {
                    pauses.without(Pauses::MARKS)
                } else {
                    pauses
                }
            });
            true
        });
        self.marked = marked;
    }
}
