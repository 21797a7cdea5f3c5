//! A program that sleeps and does nothing else, to be watched:
//!
//! ```text
//! cargo build --release --example sleep
//! strace target/release/examples/sleep
//! ```
//!
//! Between `sleeping` and `done` each sleep costs exactly one system call: a wait that ends at the deadline. Nothing
//! wakes the loop to tell it that there is a timer, and nothing asks again whether the time has come.

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
