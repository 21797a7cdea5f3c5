//! [`Queue`]: the jobs that wait, and the numbers that decide whether one may begin.
//!
//! It holds no lock and starts no thread: the pool uses it under its lock, and does what it
//! returns.

use crate::token::RuntimeId;
use std::collections::BTreeMap;
use std::mem;

/// How many threads look-ups may have beyond the bound, and no other job.
pub(super) const LOOK_UP_THREADS: usize = 2;

/// The two kinds of job, which differ in how many may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A closure of the user.
    Work,
    /// A look-up of a host name.
    LookUp,
}

/// The jobs of type `J` that wait, oldest first.
///
/// | rule | in numbers |
/// |---|---|
/// | at most `bound` jobs of the kind `Work` run | `running[Work] <= bound` |
/// | at most two more jobs run | `running[Work] + running[LookUp] <= bound + 2` |
/// | no job waits that may begin | `startable() <= coming` after every call, unless a thread could not be created |
#[derive(Debug)]
pub(super) struct Queue<J> {
    bound: usize,
    /// The number of the next job. No number is given twice.
    next: u64,
    /// By kind: the jobs by their number, so that an abort takes one out of the middle.
    waiting: [BTreeMap<u64, (RuntimeId, J)>; 2],
    /// By kind: how many jobs run.
    running: [usize; 2],
    /// How many threads are on their way to the queue: they will call [`take`](Queue::take) without
    /// another notification.
    coming: usize,
}

impl<J> Queue<J> {
    pub(super) fn new(bound: usize) -> Queue<J> {
        Queue {
            bound,
            next: 0,
            waiting: [const { BTreeMap::new() }; 2],
            running: [0; 2],
            coming: 0,
        }
    }

    /// Returns how many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.iter().map(BTreeMap::len).sum()
    }

    /// Returns how many of the jobs that wait could begin at once if there were threads for them,
    /// given how many jobs of each kind wait.
    fn startable(&self, waiting: [usize; 2]) -> usize {
        let work = waiting[Kind::Work as usize].min(self.bound - self.running[Kind::Work as usize]);
        let running: usize = self.running.iter().sum();
        let room = self.bound + LOOK_UP_THREADS - running;
        room.min(work + waiting[Kind::LookUp as usize])
    }

    /// Returns whether one more job of this kind could begin at once, before it is pushed.
    pub(super) fn has_room(&self, kind: Kind) -> bool {
        let now = self.waiting.each_ref().map(BTreeMap::len);
        let mut then = now;
        then[kind as usize] += 1;
        self.startable(then) > self.startable(now)
    }

    /// Returns whether another thread has to come if one more job of this kind is pushed. `absent`
    /// is how many of those that are on their way the job must not rely on.
    pub(super) fn needs_thread(&self, kind: Kind, absent: usize) -> bool {
        let mut then = self.waiting.each_ref().map(BTreeMap::len);
        then[kind as usize] += 1;
        self.startable(then) + absent > self.coming
    }

    /// Returns whether another thread has to come, because none could be created before.
    pub(super) fn lacks_thread(&self) -> bool {
        self.startable(self.waiting.each_ref().map(BTreeMap::len)) > self.coming
    }

    /// Notes that a thread is on its way to the queue.
    pub(super) fn note_coming(&mut self) {
        self.coming += 1;
    }

    /// Notes that a thread that was on its way is here.
    pub(super) fn note_arrival(&mut self) {
        self.coming -= 1;
    }

    /// Adds the job that `make` creates from its number.
    pub(super) fn push(&mut self, kind: Kind, runtime: RuntimeId, make: impl FnOnce(u64) -> J) {
        let number = self.next;
        self.next += 1;
        self.waiting[kind as usize].insert(number, (runtime, make(number)));
    }

    /// Takes the oldest job that may begin, which runs until [`end`](Queue::end) is called.
    pub(super) fn take(&mut self) -> Option<(Kind, J)> {
        let first = |kind: Kind| Some(*self.waiting[kind as usize].first_key_value()?.0);
        let work = first(Kind::Work).filter(|_| self.running[Kind::Work as usize] < self.bound);
        let kind = match (work, first(Kind::LookUp)) {
            (None, None) => return None,
            (Some(work), Some(look_up)) if look_up < work => Kind::LookUp,
            (Some(_), _) => Kind::Work,
            (None, Some(_)) => Kind::LookUp,
        };
        let (_, (_, job)) = self.waiting[kind as usize].pop_first()?;
        self.running[kind as usize] += 1;
        debug_assert!(self.running.iter().sum::<usize>() <= self.bound + LOOK_UP_THREADS);
        Some((kind, job))
    }

    /// Returns the jobs of a runtime that wait, with their kinds, oldest first in each kind.
    pub(super) fn waiting(&self, runtime: RuntimeId) -> impl Iterator<Item = (Kind, &J)> {
        let kinds = [Kind::Work, Kind::LookUp].into_iter().zip(&self.waiting);
        kinds.flat_map(move |(kind, jobs)| {
            let own = jobs.values().filter(move |(owner, _)| *owner == runtime);
            own.map(move |(_, job)| (kind, job))
        })
    }

    /// Notes that a job of this kind has ended.
    pub(super) fn end(&mut self, kind: Kind) {
        self.running[kind as usize] -= 1;
    }

    /// Takes the job of this number out, if it still waits.
    pub(super) fn remove(&mut self, number: u64) -> Option<J> {
        let mut maps = self.waiting.iter_mut();
        maps.find_map(|map| map.remove(&number)).map(|(_, job)| job)
    }

    /// Takes all waiting jobs of a runtime out.
    pub(super) fn remove_all(&mut self, runtime: RuntimeId) -> Vec<J> {
        let mut removed = Vec::new();
        for map in &mut self.waiting {
            for (number, (owner, job)) in mem::take(map) {
                if owner == runtime {
                    removed.push(job);
                } else {
                    map.insert(number, (owner, job));
                }
            }
        }
        removed
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const OWN: RuntimeId = RuntimeId::new(1, 0);
    const OTHER: RuntimeId = RuntimeId::new(2, 0);

    #[test]
    fn take_returns_jobs_in_the_order_of_their_push() {
        let mut queue = Queue::new(9);
        for (kind, n) in [(Kind::Work, 0), (Kind::LookUp, 1), (Kind::Work, 2)] {
            queue.push(kind, OWN, |number| (n, number));
        }
        let taken = [(); 4].map(|()| queue.take().map(|(_, job)| job));
        assert_eq!(taken, [Some((0, 0)), Some((1, 1)), Some((2, 2)), None]);
    }

    #[test]
    fn take_passes_work_at_the_bound_over_for_a_look_up() {
        let mut queue = Queue::new(1);
        for kind in [Kind::Work, Kind::Work, Kind::LookUp, Kind::LookUp] {
            queue.push(kind, OWN, drop);
        }
        let mut take = || queue.take().map(|(kind, ())| kind);
        assert_eq!(take(), Some(Kind::Work));
        assert_eq!([take(), take()], [Some(Kind::LookUp); 2]);
        assert_eq!(take(), None);
        queue.end(Kind::LookUp);
        assert!(queue.take().is_none(), "the other work still runs");
        queue.end(Kind::Work);
        assert_eq!(queue.take().map(|(kind, ())| kind), Some(Kind::Work));
    }

    #[test]
    fn remove_takes_only_jobs_that_wait() {
        let mut queue = Queue::new(9);
        for _ in 0..3 {
            queue.push(Kind::Work, OWN, |number| number);
        }
        assert_eq!(queue.take(), Some((Kind::Work, 0)));
        assert_eq!(
            [queue.remove(0), queue.remove(1), queue.remove(1)],
            [None, Some(1), None]
        );
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn remove_all_leaves_the_jobs_of_other_runtimes_in_order() {
        let mut queue = Queue::new(9);
        for n in 0..6 {
            let owner = if n % 2 == 0 { OWN } else { OTHER };
            queue.push(Kind::Work, owner, |number| number);
        }
        assert_eq!(queue.remove_all(OWN), [0, 2, 4]);
        let left = [(); 4].map(|()| queue.take().map(|(_, job)| job));
        assert_eq!(left, [Some(1), Some(3), Some(5), None]);
    }

    /// Pushes, takes, ends and removes in a random order, with as few threads as the queue
    /// requires. No job may wait that could begin, and no bound may be passed.
    #[test]
    fn queue_requires_a_thread_for_each_job_that_may_begin() {
        const BOUND: usize = 3;
        let mut random = 1_u64;
        let mut below = |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 33) % limit
        };
        let mut queue = Queue::new(BOUND);
        let (mut idle, mut running, mut most) = (0, Vec::new(), 0);
        for _ in 0..200_000 {
            match below(4) {
                0 | 1 => {
                    let kind = [Kind::Work, Kind::LookUp][below(2) as usize];
                    let has_room = queue.has_room(kind);
                    if queue.needs_thread(kind, 0) {
                        idle = idle.max(1) - 1;
                        queue.note_coming();
                    }
                    queue.push(kind, OWN, |number| number);
                    if !has_room {
                        // Without more room than before, a removal changes nothing.
                        let last = queue.next - 1;
                        if below(2) == 0 {
                            assert_eq!(queue.remove(last), Some(last));
                        }
                    }
                }
                // A thread arrives.
                2 if queue.coming > 0 => {
                    queue.note_arrival();
                    match queue.take() {
                        Some((kind, _)) => running.push(kind),
                        None => idle += 1,
                    }
                }
                // A job ends; its thread takes another one.
                3 if !running.is_empty() => {
                    queue.end(running.swap_remove(below(running.len() as u64) as usize));
                    match queue.take() {
                        Some((kind, _)) => running.push(kind),
                        None => idle += 1,
                    }
                }
                _ => {}
            }
            let work = running.iter().filter(|kind| **kind == Kind::Work).count();
            assert!(work <= BOUND && running.len() <= BOUND + LOOK_UP_THREADS);
            let waiting = queue.waiting.each_ref().map(BTreeMap::len);
            assert!(queue.startable(waiting) <= queue.coming, "{queue:?}");
            let threads = running.len() + queue.coming + idle;
            most = most.max(threads);
            assert!(threads <= BOUND + LOOK_UP_THREADS, "{threads} threads");
        }
        assert_eq!(most, BOUND + LOOK_UP_THREADS, "the bound was reached");
    }
}
