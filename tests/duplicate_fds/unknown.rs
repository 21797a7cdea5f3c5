//! Duplicates that the crate cannot know of: made from the bare number, as another process
//! (`pidfd_getfd`) or a child that was created by clone(2) can.

use super::*;

#[test]
fn number_of_a_duplicate_is_free_for_another_file_and_the_old_one() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (other_peer, other) = plain_pair();
            let (mut peer, stream) = fresh(record).await;
            let number = number_of(&stream);
            let kept = duplicate(number);
            drop(stream);
            assert_eq!(record.calls(), forgotten(runtime, number));
            send(&mut peer, &kept);

            let other = put_under(number, other.as_fd());
            let serving = serves(other_peer, other);
            peer.write_all(b"x").unwrap();
            serving.await;

            assert_eq!(take(&kept), PACKETS + 1);
            let back = put_under(number, kept.as_fd());
            record.calls();
            serves(peer, back).await;
            // The stream was made by std and its fd lent before it was registered, which changes
            // nothing.
            assert_eq!(record.calls(), [Call::Add(number), Call::Remove(number)]);
        });
    });
}

/// The same file comes back at once, before another file was registered under its number, again and
/// again.
#[test]
fn file_with_a_duplicate_comes_back_at_once() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (peer, stream) = fresh(record).await;
            let number = number_of(&stream);
            let kept = duplicate(number);
            drop(stream);
            for _ in 0..3 {
                let back = put_under(number, kept.as_fd());
                serves(peer.try_clone().unwrap(), back).await;
            }
        });
    });
}

/// While the file lives on, each arrival wakes the loop at most once.
#[test]
fn unknown_duplicate_does_not_make_the_loop_spin() {
    on_every_mechanism(|runtime, record| {
        runtime.block_on(async {
            let (mut peer, stream) = fresh(record).await;
            let kept = duplicate(number_of(&stream));
            drop(stream);
            send(&mut peer, &kept);
            wait_a_while().await;
            let events = record.events();
            assert!(events <= 1, "{events} events of what came before a wait");
            wait_a_while().await;
            assert_eq!(record.events(), 0);
        });
    });
}
