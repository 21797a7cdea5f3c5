//! `costs` with a monotonic clock that runs slower.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod slow_motion;

fn main() -> std::process::ExitCode {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    slow_motion::begin();
    costs::main()
}
