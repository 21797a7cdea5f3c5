//! `costs` with a counting allocator: prints the allocations of the N operations.

#[global_allocator]
static COUNTING: costs::count::Counting = costs::count::Counting;

fn main() -> std::process::ExitCode {
    costs::main()
}
