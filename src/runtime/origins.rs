//! [`Origins`]: which task has registered each fd, for reports.
//!
//! A column beside the table of registrations, and allocated only if the builder has chosen
//! `track_spawn_locations`. An entry stays until the next registration at its place, and its token
//! shows whether it is that of the present one.

#![forbid(unsafe_code)]

use crate::task::{Description, Id};
use crate::token::Token;

/// The task that has registered an fd.
#[derive(Clone, Debug)]
pub(super) struct Registrant {
    pub(super) id: Id,
    pub(super) description: Description,
}

/// The tasks that have registered the fds of a runtime, by the index of the registration.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<Option<(Token, Registrant)>>);

impl Origins {
    /// Stores which task has registered an fd.
    pub(super) fn set(&mut self, token: Token, registrant: Option<Registrant>) {
        let index = token.index() as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = registrant.map(|registrant| (token, registrant));
    }

    /// Returns the task that has registered an fd; `None` if that was code outside of tasks.
    pub(super) fn get(&self, token: Token) -> Option<&Registrant> {
        let (found, registrant) = self.0.get(token.index() as usize)?.as_ref()?;
        (*found == token).then_some(registrant)
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
