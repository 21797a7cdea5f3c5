//! `costs WORKLOAD N`: does one operation N times; `costs` alone lists the workloads.

fn main() -> std::process::ExitCode {
    costs::main()
}
