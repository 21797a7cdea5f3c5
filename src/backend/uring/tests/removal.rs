//! Requests that are ended while another thread writes without a pause. Each write wakes the
//! request, and a wake-up whose task work has not run yet makes the kernel refuse to remove it.

use super::*;
use std::sync::atomic::AtomicBool;

/// Calls `end` with the reading end of a pipe while another thread writes to it. No request may
/// hold the reading end afterwards.
fn while_another_writes_on(mut end: impl FnMut(&File)) {
    // A child of another test would have a copy of the reading end.
    let _no_child = sys::fork::no_child();
    for _ in 0..5 {
        let (reads, writes) = sys::pipe::pipe().unwrap();
        let (reader, mut writer) = (File::from(reads), File::from(writes));
        let (begins, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut has_room = true;
                while has_room && !is_over.load(Ordering::Acquire) {
                    has_room = writer.write(b"x").is_ok();
                    begins.store(true, Ordering::Release);
                }
            });
            // Also if `end` panics.
            let _over = SetOnDrop(&is_over);
            while !begins.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            end(&reader);
        });
        drop(reader);
        let error = writer.write(b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn rings() -> Option<Uring> {
    let made = Uring::new(1024);
    made.map_err(|error| println!("skipped: {error}")).ok()
}

#[test]
fn remove_ends_a_request_while_another_thread_writes() {
    let Some(mut uring) = rings() else { return };
    for trigger in [Trigger::Edge, Trigger::Level, Trigger::Oneshot] {
        while_another_writes_on(|reader| {
            for _ in 0..20 {
                uring
                    .add(reader.as_fd(), token(1), READABLE, trigger)
                    .unwrap();
                uring.remove(reader.as_raw_fd(), token(1)).unwrap();
            }
        });
    }
}

#[test]
fn end_of_all_requests_releases_a_file_while_another_thread_writes() {
    let Some(mut uring) = rings() else { return };
    while_another_writes_on(|reader| {
        for _ in 0..20 {
            uring
                .add(reader.as_fd(), token(1), READABLE, Trigger::Edge)
                .unwrap();
            uring.end_all();
            uring.slots[reader.as_raw_fd() as usize] = VACANT;
        }
    });
}
