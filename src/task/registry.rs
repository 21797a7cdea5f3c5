//! The process-wide table of runtimes: from a place to what other threads may touch of the runtime that lives there.
//!
//! The ids are given out here because memory safety rests on them: a `JoinHandle<T>` finds the memory of its task by
//! runtime id and key alone, so two runtimes must never have the same id. A place whose generations are used up is
//! therefore retired; after four billion runtimes (67 million on 32-bit targets) there are no more.

use super::remote::Remote;
use super::waker::MAX_PLACE;
use crate::sync::{Arc, StaticLock};
use crate::token::RuntimeId;

struct Place {
    /// Of the runtime that lives here, or of the next one.
    generation: u16,
    user: User,
}

enum User {
    /// Free for a new runtime.
    Nobody,
    /// Given out, not yet registered.
    Claimed,
    Runtime(Arc<Remote>),
    /// All generations are used up.
    Retired,
}

/// Place `n` is element `n - 1`: there is no place 0.
static PLACES: StaticLock<Vec<Place>> = StaticLock::new(Vec::new());

/// Gives out an id that no runtime has had before; `None` when there are 65,535 runtimes (1,023 on 32-bit targets).
pub(super) fn claim() -> Option<RuntimeId> {
    let mut places = PLACES.write();
    let free = places
        .iter()
        .position(|place| matches!(place.user, User::Nobody));
    let at = free.unwrap_or(places.len());
    if at >= MAX_PLACE {
        return None;
    }
    let number = u16::try_from(at + 1).ok()?;
    if free.is_none() {
        places.push(Place {
            generation: 0,
            user: User::Nobody,
        });
    }
    places[at].user = User::Claimed;
    Some(RuntimeId::new(number, places[at].generation))
}

/// Makes a runtime known under the place of its id, which came from [`claim`].
pub(super) fn register(id: RuntimeId, remote: Arc<Remote>) {
    let mut places = PLACES.write();
    let place = &mut places[usize::from(id.place()) - 1];
    debug_assert!(matches!(place.user, User::Claimed));
    place.user = User::Runtime(remote);
}

/// Frees the place of a runtime that has ended.
pub(super) fn unregister(id: RuntimeId) {
    let mut places = PLACES.write();
    let place = &mut places[usize::from(id.place()) - 1];
    let user = match place.generation.checked_add(1) {
        Some(next) => {
            place.generation = next;
            User::Nobody
        }
        None => User::Retired,
    };
    let former = std::mem::replace(&mut place.user, user);
    drop(places);
    drop(former);
}

/// The runtime that lives at a place now.
pub(super) fn at(place: u16) -> Option<Arc<Remote>> {
    let places = PLACES.read();
    match &places.get(usize::from(place).checked_sub(1)?)?.user {
        User::Runtime(remote) => Some(remote.clone()),
        _ => None,
    }
}

/// The runtime of exactly this id, if it is still there.
pub(super) fn of(id: RuntimeId) -> Option<Arc<Remote>> {
    at(id.place()).filter(|remote| remote.id() == id)
}
