//! [`Ledger`]: which datagrams of an exchange were sent, and which have arrived.

use super::super::foreign::Foreign;
use super::super::harness::lock;
use super::super::streams::World;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// The bytes of the id, the number, the copy and the length, with which each datagram begins.
pub(super) const HEADER: usize = 14;

/// The length of the longest datagram.
pub(super) const LONGEST: usize = 1400;

/// What became of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sending {
    /// It is being sent.
    Begun,
    Done,
    /// The call has failed or was given up: the datagram must never arrive.
    Withdrawn,
}

/// What a task of an exchange does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Receives,
    Sends,
}

struct OneCopy {
    sending: Sending,
    has_arrived: bool,
}

struct State {
    /// By number: its copies.
    copies: Vec<Vec<OneCopy>>,
    /// How many numbers have arrived, each at least once.
    arrived: usize,
    /// By sender: the last number of it that has arrived.
    last: Vec<Option<usize>>,
    /// By role: whether its tasks are to end.
    is_over: [bool; 2],
    /// Woken by each arrival and by the end.
    wakers: Vec<Waker>,
}

impl State {
    fn missing(&self) -> impl Iterator<Item = usize> {
        let is_missing = |copies: &[OneCopy]| {
            copies.iter().all(|copy| !copy.has_arrived)
                && copies.iter().any(|copy| copy.sending == Sending::Done)
        };
        let all = self.copies.iter().enumerate();
        all.filter(move |(_, copies)| is_missing(copies))
            .map(|(number, _)| number)
    }
}

/// The datagrams of one exchange. Each has a number; a number that the kernel drops is sent again,
/// as another copy.
pub(super) struct Ledger {
    world: Arc<World>,
    /// Tells its datagrams from those of earlier exchanges at the same address.
    id: u64,
    what: String,
    /// Each sender sends every `senders`-th number.
    pub(super) senders: usize,
    /// The numbers of one sender arrive in order.
    is_ordered: bool,
    state: Mutex<State>,
}

impl Ledger {
    pub(super) fn new(
        world: &Arc<World>,
        id: u64,
        what: String,
        numbers: usize,
        senders: usize,
        is_ordered: bool,
    ) -> Ledger {
        Ledger {
            world: world.clone(),
            id,
            what,
            senders,
            is_ordered,
            state: Mutex::new(State {
                copies: (0..numbers).map(|_| Vec::new()).collect(),
                arrived: 0,
                last: vec![None; senders],
                is_over: [false; 2],
                wakers: Vec::new(),
            }),
        }
    }

    pub(super) fn fault(&self, what: &str) {
        self.world.fault(&format!("{}: {what}", self.what));
    }

    pub(super) fn numbers(&self) -> usize {
        lock(&self.state).copies.len()
    }

    pub(super) fn arrived(&self) -> usize {
        lock(&self.state).arrived
    }

    pub(super) fn is_over(&self, role: Role) -> bool {
        lock(&self.state).is_over[role as usize]
    }

    /// Begins to send a copy of a number, and returns its bytes.
    pub(super) fn begin(&self, number: usize, length: usize) -> Outgoing<'_> {
        let mut state = lock(&self.state);
        let copies = &mut state.copies[number];
        let copy = copies.len();
        copies.push(OneCopy {
            sending: Sending::Begun,
            has_arrived: false,
        });
        let mut bytes = self.id.to_le_bytes().to_vec();
        for field in [number, copy, length] {
            bytes.extend((field as u16).to_le_bytes());
        }
        bytes.extend((HEADER..length).map(|at| fill(number, at)));
        Outgoing {
            ledger: self,
            number,
            copy,
            bytes,
            is_done: false,
        }
    }

    fn end(&self, number: usize, copy: usize, sending: Sending) {
        let mut state = lock(&self.state);
        let copy = &mut state.copies[number][copy];
        copy.sending = sending;
        let is_wrong = sending == Sending::Withdrawn && copy.has_arrived;
        drop(state);
        if is_wrong {
            self.fault("a datagram arrived whose send has failed or was dropped");
        }
    }

    /// Checks a datagram and returns its number and copy, unless it is another exchange's.
    /// `capacity`: the length of the buffer.
    pub(super) fn check(&self, bytes: &[u8], capacity: usize) -> Option<(usize, usize)> {
        let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
            self.fault(&format!("a datagram of {} bytes", bytes.len()));
            return None;
        };
        if header[..8] != self.id.to_le_bytes() {
            return None;
        }
        let field = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let [number, copy, length] = [field(8), field(10), field(12)];
        let is_right = (HEADER..)
            .zip(rest)
            .all(|(at, byte)| *byte == fill(number, at));
        if !is_right || bytes.len() != length.min(capacity) {
            let len = bytes.len();
            self.fault(&format!(
                "{len} bytes of {length} into {capacity}: {is_right}"
            ));
        }
        Some((number, copy))
    }

    /// Notes that a datagram was received.
    pub(super) fn receive(&self, bytes: &[u8], capacity: usize) {
        let Some((number, copy)) = self.check(bytes, capacity) else {
            return;
        };
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let copies = &mut state.copies[number];
        let is_first = copies.iter().all(|copy| !copy.has_arrived);
        let fault = match copies.get_mut(copy) {
            Some(OneCopy {
                sending: Sending::Withdrawn,
                ..
            }) => "a datagram arrived whose send has failed or was dropped",
            Some(one) if one.has_arrived => "a datagram arrived twice",
            Some(one) => {
                one.has_arrived = true;
                ""
            }
            None => "a datagram arrived that was never sent",
        };
        state.arrived += usize::from(is_first);
        let last = state.last[number % self.senders].replace(number);
        let is_late = self.is_ordered && last >= Some(number);
        let wakers = std::mem::take(&mut state.wakers);
        drop(guard);
        wakers.into_iter().for_each(Waker::wake);
        if !fault.is_empty() {
            self.fault(fault);
        }
        if is_late {
            self.fault(&format!("number {number} after {last:?}"));
        }
    }

    /// Returns the numbers that were sent and have not arrived.
    pub(super) fn missing(&self) -> Vec<usize> {
        lock(&self.state).missing().collect()
    }

    /// Returns how many copies were sent and have not arrived.
    pub(super) fn lost(&self) -> usize {
        let state = lock(&self.state);
        let all = state.copies.iter().flatten();
        all.filter(|copy| copy.sending == Sending::Done && !copy.has_arrived)
            .count()
    }

    /// Ends all that waits by [`until_over`](Ledger::until_over) in this role.
    pub(super) fn end_all(&self, role: Role) {
        let mut state = lock(&self.state);
        state.is_over[role as usize] = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns ready if `is_over` says so, or stores the waker.
    fn poll(&self, cx: &Context<'_>, is_over: impl FnOnce(&State) -> bool) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.state);
        if is_over(&state) {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|kept| kept.will_wake(&waker)) {
            state.wakers.push(waker);
        }
        Poll::Pending
    }

    /// Waits until fewer than `window` numbers are on their way, or a role is over.
    pub(super) async fn until_room(&self, window: usize) {
        let has_room =
            |state: &State| state.is_over.contains(&true) || state.missing().count() < window;
        std::future::poll_fn(|cx| self.poll(cx, has_room)).await;
    }

    /// Polls a future until it is ready. `None`: the role was over before.
    pub(super) async fn until_over<T>(
        &self,
        role: Role,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if self
                .poll(cx, |state| state.is_over[role as usize])
                .is_ready()
            {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// The byte of a datagram at a place behind its header.
fn fill(number: usize, at: usize) -> u8 {
    (number + at) as u8
}

/// A copy that is being sent. It is withdrawn if this is dropped before [`done`](Outgoing::done).
pub(super) struct Outgoing<'a> {
    ledger: &'a Ledger,
    number: usize,
    copy: usize,
    pub(super) bytes: Vec<u8>,
    is_done: bool,
}

impl Outgoing<'_> {
    /// The kernel has taken it.
    pub(super) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        let sending = match self.is_done {
            true => Sending::Done,
            false => Sending::Withdrawn,
        };
        self.ledger.end(self.number, self.copy, sending);
    }
}
