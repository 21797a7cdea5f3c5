//! What is registered under one number, and the changes that make the kernel's filters so.

use super::sys::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, Entry, Filter, Sys,
};
use crate::backend::{Interest, Readiness, Token, Trigger};
use std::os::fd::RawFd;

/// "Nobody" among the tokens: the reactor's slab never gets that far.
pub(super) const NOBODY: Token = Token::from_u64(u64::MAX);

/// What is registered under a number, or nothing.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) token: Token,
    pub(super) trigger: Trigger,
    /// The filters that are in the kernel; never none.
    pub(super) filters: Filters,
    /// Those of them that may report.
    pub(super) enabled: Filters,
    /// The sides that were reported as ended since the last `modify`.
    pub(super) closed: Readiness,
    /// Where its event stands in the batch, if it is there.
    pub(super) place: u32,
}

/// Some of the filters of an fd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Filters(u8);

impl Slot {
    pub(super) const EMPTY: Slot = Slot {
        token: NOBODY,
        trigger: Trigger::Level,
        filters: Filters::NONE,
        enabled: Filters::NONE,
        closed: Readiness::EMPTY,
        place: 0,
    };

    pub(super) fn new<S: Sys>(token: Token, interest: Interest, trigger: Trigger) -> Slot {
        let enabled = filters::<S>(interest);
        Slot {
            token,
            trigger,
            // Something has to be there that goes when the number is closed.
            filters: if enabled == Filters::NONE {
                Filters::of(Filter::Read)
            } else {
                enabled
            },
            enabled,
            closed: Readiness::EMPTY,
            place: 0,
        }
    }

    /// The change that puts one of its filters in, or arms it afresh.
    pub(super) fn addition<S: Sys>(&self, fd: RawFd, filter: Filter) -> Entry {
        let trigger = match self.trigger {
            Trigger::Edge => EV_CLEAR,
            Trigger::Level => 0,
            Trigger::Oneshot => EV_DISPATCH,
        };
        change::<S>(fd, filter, EV_ADD | trigger | self.state_of(filter))
    }

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

    pub(super) const fn and(self, other: Filters) -> Filters {
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

/// The filters that an interest asks for. Where the kernel does not tell out-of-band data, nothing can be asked for it.
fn filters<S: Sys>(interest: Interest) -> Filters {
    let mut filters = Filters::NONE;
    if interest.is_readable() {
        filters = filters.and(Filters::of(Filter::Read));
    }
    if interest.is_writable() {
        filters = filters.and(Filters::of(Filter::Write));
    }
    if interest.is_priority() && S::OOB.is_some() {
        filters = filters.and(Filters::of(Filter::Except));
    }
    filters
}

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

/// What makes the kernel's filters those of `new`. The first change is one of a filter of `old`: where that is not there any
/// more it fails, and nothing else is done.
pub(super) fn difference<S: Sys>(fd: RawFd, old: &Slot, new: &Slot) -> impl Iterator<Item = Entry> {
    let (old, new) = (*old, *new);
    let ends = old
        .filters
        .iter()
        .enumerate()
        .filter_map(move |(at, filter)| {
            // A filter that is there keeps its trigger.
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
