//! [`Origins`]: where each fd was registered and by which task, for reports.
//!
//! A column beside the table of registrations, and allocated only if the builder has chosen
//! `track_spawn_locations`. An entry stays until the next registration at its index, and its token
//! shows whether it is that of the present one.

#![forbid(unsafe_code)]

use crate::place::Place;
use crate::task::{Description, Id};
use crate::token::Token;

/// The task that has registered an fd.
#[derive(Clone, Debug)]
pub(super) struct Registrant {
    pub(super) id: Id,
    pub(super) description: Description,
}

/// Where an fd was registered.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// `None` if that was code outside of tasks.
    pub(super) registrant: Option<Registrant>,
    /// Where the owner of the fd was created: a socket, a pipe, an `AsyncFd`.
    pub(super) place: Place,
}

/// The origins of the fds of a runtime, by the index of the registration.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<Option<(Token, Origin)>>);

impl Origins {
    /// Stores the origin of an fd.
    pub(super) fn set(&mut self, token: Token, origin: Origin) {
        let index = token.index() as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some((token, origin));
    }

    /// Returns the origin of an fd.
    pub(super) fn get(&self, token: Token) -> Option<&Origin> {
        let (found, origin) = self.0.get(token.index() as usize)?.as_ref()?;
        (*found == token).then_some(origin)
    }

    /// Drops the entries of registrations that have ended, and frees memory that is not used.
    pub(super) fn shrink(&mut self, is_live: impl Fn(Token) -> bool) {
        for entry in &mut self.0 {
            entry.take_if(|(token, _)| !is_live(*token));
        }
        let len = self.0.iter().rposition(Option::is_some);
        self.0.truncate(len.map_or(0, |at| at + 1));
        self.0.shrink_to_fit();
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// The number is in the documentation of `Builder::track_spawn_locations`.
    #[test]
    fn entry_takes_56_bytes() {
        assert_eq!(size_of::<Option<(Token, Origin)>>(), 56);
    }
}
