//! Random operations on thousands of tasks, compared with a model.

use super::*;

/// Marsaglia's xorshift generator, which chooses the operations.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Alive,
    /// Its future has returned.
    Returned,
    /// Its future was dropped by an abort.
    Aborted,
}

/// One task, and its state in the model.
struct Case {
    seen: Rc<Seen>,
    handle: Option<JoinHandle<Output>>,
    state: State,
    queued: bool,
    to_abort: bool,
    polls: usize,
}

impl Case {
    /// Runs one queued task.
    fn run(&mut self) {
        self.queued = false;
        if self.state != State::Alive {
            return;
        }
        if self.to_abort {
            self.state = State::Aborted;
            return;
        }
        self.polls += 1;
        if self.seen.finish.get() {
            self.state = State::Returned;
        }
    }

    fn check(&self) {
        let output_dropped = self.state == State::Returned && self.handle.is_none();
        let drops = usize::from(self.state != State::Alive) + 100 * usize::from(output_dropped);
        assert_eq!(self.seen.counts(), (self.polls, drops), "{:?}", self.state);
    }
}

struct Model {
    bed: TestBed,
    random: XorShift,
    cases: Vec<Case>,
    /// Indices into `cases`, in the order in which they have to run.
    queue: std::collections::VecDeque<usize>,
}

impl Model {
    fn new(seed: u64) -> Model {
        Model {
            bed: TestBed::new(),
            random: XorShift(seed),
            cases: Vec::new(),
            queue: Default::default(),
        }
    }

    fn spawn(&mut self) {
        let (seen, future) = probe();
        let handle = Some(self.bed.spawn(future));
        self.queue.push_back(self.cases.len());
        self.cases.push(Case {
            seen,
            handle,
            state: State::Alive,
            queued: true,
            to_abort: false,
            polls: 0,
        });
    }

    fn queue(&mut self, at: usize) {
        let case = &mut self.cases[at];
        if case.state == State::Alive && !case.queued {
            case.queued = true;
            self.queue.push_back(at);
        }
    }

    fn wake(&mut self, at: usize) {
        let seen = self.cases[at].seen.clone();
        if seen.waker.borrow().is_some() {
            self.bed.enter(|_| seen.wake());
            self.queue(at);
        }
    }

    fn abort(&mut self, at: usize) {
        if let Some(handle) = &self.cases[at].handle {
            self.bed.enter(|_| handle.abort());
            if self.cases[at].state == State::Alive {
                self.cases[at].to_abort = true;
            }
            self.queue(at);
        }
    }

    fn join(&mut self, at: usize) {
        let Case { handle, state, .. } = &mut self.cases[at];
        if let Some(known) = handle {
            let answer = self.bed.poll(known);
            match (*state, &answer) {
                (State::Alive, Poll::Pending) | (State::Returned, Poll::Ready(Ok(_))) => {}
                (State::Aborted, Poll::Ready(Err(error))) => assert!(error.is_cancelled()),
                (state, answer) => panic!("{state:?} but {}", answer.is_ready()),
            }
            if answer.is_ready() {
                *handle = None;
            }
        }
    }

    fn run(&mut self) {
        let expected = loop {
            match self.queue.pop_front() {
                Some(at) if self.cases[at].state == State::Alive => break Some(at),
                Some(at) => self.cases[at].queued = false,
                None => break None,
            }
        };
        assert_eq!(self.bed.step().is_some(), expected.is_some());
        if let Some(at) = expected {
            self.cases[at].run();
            self.cases[at].check();
        }
    }

    fn step(&mut self) {
        let at = self.random.below(self.cases.len());
        match self.random.below(21) {
            0 | 1 => self.spawn(),
            2..=6 => self.wake(at),
            7 => self.abort(at),
            8 | 9 => self.cases[at].seen.finish.set(true),
            10 | 11 => self.join(at),
            13 => self.bed.tasks.shrink(),
            12 => {
                let handle = self.cases[at].handle.take();
                self.bed.enter(|_| drop(handle));
            }
            _ => self.run(),
        }
        self.cases[at].check();
        // Removes ended tasks now and then, so that their slots are reused by tasks that are
        // checked.
        if self.cases.len() > 400 {
            let victim = self.random.below(self.cases.len());
            let case = &self.cases[victim];
            if case.state != State::Alive && case.handle.is_none() && !case.queued {
                let last = self.cases.len() - 1;
                self.cases.swap_remove(victim);
                let renamed = self.queue.iter_mut().filter(|at| **at == last);
                renamed.for_each(|at| *at = victim);
            }
        }
    }

    fn end(self) {
        let Model { bed, cases, .. } = self;
        let known = cases
            .iter()
            .filter(|case| case.state == State::Alive || case.handle.is_some());
        assert_eq!(bed.tasks.live() as usize, known.count());
        bed.enter(Tasks::shutdown);
        for case in &cases {
            let output = if case.state == State::Returned {
                101
            } else {
                1
            };
            assert_eq!(case.seen.counts(), (case.polls, output));
        }
        drop(bed);
        cases
            .iter()
            .for_each(|case| assert_eq!(Rc::strong_count(&case.seen), 1));
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    let (seeds, steps) = if cfg!(miri) {
        (2_u64, 500)
    } else {
        (20, 20_000)
    };
    for seed in 1..=seeds {
        let mut model = Model::new(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        model.spawn();
        (0..steps).for_each(|_| model.step());
        model.end();
    }
}
