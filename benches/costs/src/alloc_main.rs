//! `costs` on a counting allocator: what it prints is what the N operations allocated.

#[global_allocator]
static COUNTING: costs::count::Counting = costs::count::Counting;

fn main() -> std::process::ExitCode {
    costs::main()
}
