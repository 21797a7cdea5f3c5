//! The system calls of a timer, to be watched with strace.
//!
//! ```text
//! cargo build --release --example sleep
//! strace target/release/examples/sleep
//! ```
//!
//! Between `sleeping` and `done` each sleep is one system call: a wait that ends at the deadline.
//! Setting a timer does not wake the loop, and nothing polls the clock.

use reveille::time::{Duration, sleep};

fn main() {
    reveille::block_on(async {
        println!("sleeping");
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
        }
        println!("done");
    });
}
