//! `peers` on a counting allocator; the same commands, and every report gains allocations and
//! bytes.

#[global_allocator]
static COUNTING: peers::count::Counting = peers::count::Counting;

fn main() {
    peers::main();
}
