//! `backends`: see `benches/backends/README.md`.

fn main() -> std::process::ExitCode {
    backends::main()
}
