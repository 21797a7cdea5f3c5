//! [`Slot`] holds the registration of one number, and makes the changes that give the kernel its
//! filters.

use super::sys::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, Entry, Filter, Sys,
};
use crate::backend::{Interest, Ready, Token, Trigger};
use std::os::fd::RawFd;

/// The token of a free slot. No registration has it.
pub(super) const NO_OWNER: Token = Token::from_u64(u64::MAX);

/// The registration of a number, or none.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) token: Token,
    pub(super) trigger: Trigger,
    /// The filters that are in the kernel; never empty.
    pub(super) filters: Filters,
    /// The enabled ones.
    pub(super) enabled: Filters,
    /// The sides whose latest report since the last `modify` was that they have ended.
    pub(super) closed: Ready,
    /// The place of its event in the batch, if it has one.
    pub(super) place: u32,
}

/// A set of filters of an fd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Filters(u8);

impl Slot {
    pub(super) const EMPTY: Slot = Slot {
        token: NO_OWNER,
        trigger: Trigger::Level,
        filters: Filters::NONE,
        enabled: Filters::NONE,
        closed: Ready::EMPTY,
        place: 0,
    };

    pub(super) fn new<S: Sys>(token: Token, interest: Interest, trigger: Trigger) -> Slot {
        let enabled = filters::<S>(interest);
        Slot {
            token,
            trigger,
            // One filter has to exist that is removed when the number is closed.
            filters: if enabled == Filters::NONE {
                Filters::of(Filter::Read)
            } else {
                enabled
            },
            enabled,
            closed: Ready::EMPTY,
            place: 0,
        }
    }

    /// Returns the change that adds one of its filters, or arms it again.
    pub(super) fn addition<S: Sys>(&self, fd: RawFd, filter: Filter) -> Entry {
        let trigger = match self.trigger {
            Trigger::Edge => EV_CLEAR,
            Trigger::Level => 0,
            Trigger::Oneshot => EV_DISPATCH,
        };
        change::<S>(fd, filter, EV_ADD | trigger | self.state_of(filter))
    }

    /// Returns the flag that enables a filter or disables it, as this registration has it.
    pub(super) fn state_of(&self, filter: Filter) -> u32 {
        if self.enabled.contains(filter) {
            EV_ENABLE
        } else {
            EV_DISABLE
        }
    }
}

impl Filters {
    pub(super) const NONE: Filters = Filters(0);

    pub(super) const fn of(filter: Filter) -> Filters {
        match filter {
            Filter::Read => Filters(1),
            Filter::Write => Filters(2),
            Filter::Except => Filters(4),
            Filter::User => Filters::NONE,
        }
    }

    pub(super) const fn union(self, other: Filters) -> Filters {
        Filters(self.0 | other.0)
    }

    pub(super) const fn without(self, filter: Filter) -> Filters {
        Filters(self.0 & !Filters::of(filter).0)
    }

    pub(super) const fn contains(self, filter: Filter) -> bool {
        self.0 & Filters::of(filter).0 != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Filter> {
        let all = [Filter::Read, Filter::Write, Filter::Except];
        all.into_iter().filter(move |&filter| self.contains(filter))
    }
}

/// Returns the filters for an interest. If the kernel does not report out-of-band data, there is
/// none for it.
fn filters<S: Sys>(interest: Interest) -> Filters {
    let mut filters = Filters::NONE;
    if interest.is_readable() {
        filters = filters.union(Filters::of(Filter::Read));
    }
    if interest.is_writable() {
        filters = filters.union(Filters::of(Filter::Write));
    }
    if interest.is_priority() && S::OOB.is_some() {
        filters = filters.union(Filters::of(Filter::Except));
    }
    filters
}

/// Returns a change of one filter of an fd.
pub(super) fn change<S: Sys>(fd: RawFd, filter: Filter, flags: u32) -> Entry {
    let fflags = match (filter, S::OOB) {
        (Filter::Except, Some(oob)) => oob,
        _ => 0,
    };
    Entry {
        ident: fd as usize,
        filter,
        flags,
        fflags,
        data: 0,
    }
}

/// Returns the changes that turn the kernel's filters of `old` into those of `new`. The first
/// change is one of a filter of `old`: if that no longer exists the change fails, and nothing else
/// is done.
pub(super) fn difference<S: Sys>(fd: RawFd, old: &Slot, new: &Slot) -> impl Iterator<Item = Entry> {
    let (old, new) = (*old, *new);
    let ends = old
        .filters
        .iter()
        .enumerate()
        .filter_map(move |(at, filter)| {
            // A filter that exists keeps its trigger.
            let goes = old.trigger != new.trigger || !new.filters.contains(filter);
            match (goes, at) {
                (true, _) => Some(change::<S>(fd, filter, EV_DELETE)),
                (false, 0) => Some(change::<S>(fd, filter, EV_DISABLE)),
                (false, _) => None,
            }
        });
    let filters = new.filters.iter();
    ends.chain(filters.map(move |filter| new.addition::<S>(fd, filter)))
}
