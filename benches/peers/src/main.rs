//! `peers`: see README.md.

fn main() {
    peers::main();
}
