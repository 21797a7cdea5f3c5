//! Tests of places and generations.

use super::*;
use crate::backend::BackendKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

struct Nothing;

impl RegistrationState for Nothing {
    fn vacate(&mut self) {}
}

/// As a user's value whose drop panics.
struct Bomb;

impl RegistrationState for Bomb {
    fn vacate(&mut self) {
        std::panic::resume_unwind(Box::new("quiet"));
    }
}

fn register(table: &mut Registrations<Nothing>, fd: &UnixStream) -> Token {
    register_with(table, fd, Nothing)
}

fn register_with<S: RegistrationState>(
    table: &mut Registrations<S>,
    fd: &UnixStream,
    state: S,
) -> Token {
    let terms = Terms {
        interest: Interest::READABLE,
        trigger: Trigger::Edge,
        owned: false,
    };
    let watched = table.watch(fd.as_fd(), terms).unwrap();
    table.insert(watched, state)
}

fn end(table: &mut Registrations<Nothing>, token: Token) {
    let (_, removed) = table.deregister(token, false).unwrap();
    let removed = removed.expect("the mechanism does not panic");
    removed.unwrap();
    table.release();
}

/// Sets the generation instead of making 2^32 registrations.
#[test]
fn token_names_nothing_after_the_generations_wrap() {
    let mut table = Registrations::new(BackendKind::Poll.open(8).unwrap(), 8);
    let (one, two) = UnixStream::pair().unwrap();
    let first = register(&mut table, &one);
    let lives_on = register(&mut table, &two);
    end(&mut table, first);
    table.generation = u32::MAX - 1;
    let last = register(&mut table, &one);
    assert_eq!((last.index(), last.generation()), (0, u32::MAX));
    end(&mut table, last);

    let mut tokens = vec![first, last];
    for _ in 0..4 {
        let token = register(&mut table, &one);
        assert!(tokens.iter().all(|old| table.peek(*old).is_none()));
        assert!(table.peek(lives_on).is_some());
        tokens.push(token);
        end(&mut table, token);
    }
    assert_eq!(tokens[2], Token::new(2, 1));
    assert_eq!(tokens[5], Token::new(2, 4), "new places are used again");
    // A registration that was live at the wrap does not free its place either.
    end(&mut table, lives_on);
    let fresh = register(&mut table, &one);
    assert_eq!(fresh, Token::new(2, 5));
    assert!(table.peek(lives_on).is_none());
    assert_eq!(table.len(), 1);
}

#[test]
fn shrink_removes_the_free_places_after_the_last_registration() {
    let mut table = Registrations::new(BackendKind::Poll.open(8).unwrap(), 8);
    let pairs: Vec<_> = (0..6).map(|_| UnixStream::pair().unwrap()).collect();
    let mut tokens: Vec<_> = pairs
        .iter()
        .map(|(fd, _)| register(&mut table, fd))
        .collect();
    for at in [1, 4, 3] {
        end(&mut table, tokens[at]);
    }
    // Not released yet, because the batch may name it.
    assert!(table.deregister(tokens[5], false).is_some());
    table.shrink();
    assert_eq!(table.entries.len(), 6);
    table.release();
    table.shrink();
    assert_eq!((table.entries.len(), table.entries.capacity()), (3, 3));
    let old = [tokens[1], tokens[3], tokens[4], tokens[5]];
    for (at, place) in [(1, 1), (3, 3), (4, 4)] {
        tokens[at] = register(&mut table, &pairs[at].0);
        assert_eq!(tokens[at].index(), place);
    }
    assert!(old.iter().all(|token| table.peek(*token).is_none()));
    assert!(
        [0, 1, 2, 3, 4]
            .iter()
            .all(|at| table.peek(tokens[*at]).is_some())
    );

    // Places from before a wrap of the generations stay.
    table.generation = u32::MAX;
    let fresh = register(&mut table, &pairs[5].0);
    assert_eq!(fresh, Token::new(5, 1));
    end(&mut table, fresh);
    for at in [1, 3, 4] {
        end(&mut table, tokens[at]);
    }
    table.shrink();
    assert_eq!(table.entries.len(), 5);
}

#[test]
fn release_frees_a_place_though_its_state_panics() {
    let mut table = Registrations::new(BackendKind::Poll.open(8).unwrap(), 8);
    let fds = <[UnixStream; 2]>::from(UnixStream::pair().unwrap());
    for round in 0..3 {
        let tokens = fds.each_ref().map(|fd| register_with(&mut table, fd, Bomb));
        for token in tokens {
            assert!(token.index() < 2, "round {round}: {token:?}");
            assert!(table.deregister(token, false).is_some());
        }
        for _ in tokens {
            catch(|| table.release()).expect_err("it panics");
        }
        table.release();
    }
}
