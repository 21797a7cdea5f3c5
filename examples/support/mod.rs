//! The command line of the examples: flags, each with one value.

use std::fmt::Display;
use std::io;
use std::process::{ExitCode, exit};
use std::str::FromStr;

/// The flags of a command line that were not taken yet.
pub(crate) struct Arguments {
    usage: &'static str,
    left: Vec<String>,
}

impl Arguments {
    /// Reads the command line of the process. Prints the usage and exits if it contains `--help`.
    pub(crate) fn new(usage: &'static str) -> Arguments {
        let left: Vec<String> = std::env::args().skip(1).collect();
        if left.iter().any(|flag| flag == "--help" || flag == "-h") {
            println!("{usage}");
            exit(0);
        }
        Arguments { usage, left }
    }

    /// Takes the value of a flag, or `None` without that flag. Exits if the value is missing or
    /// cannot be parsed.
    pub(crate) fn take<T>(&mut self, flag: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let at = self.left.iter().position(|given| given == flag)?;
        self.left.remove(at);
        if at == self.left.len() {
            self.refuse(&format!("{flag} needs a value"));
        }
        let value = self.left.remove(at);
        match value.parse() {
            Ok(value) => Some(value),
            Err(error) => self.refuse(&format!("{flag} {value}: {error}")),
        }
    }

    /// Exits if a flag was not taken: the example does not know it.
    pub(crate) fn finish(self) {
        if let Some(unknown) = self.left.first() {
            self.refuse(&format!("unknown argument {unknown:?}"));
        }
    }

    fn refuse(&self, error: &str) -> ! {
        eprintln!("{}: {error}\n{}", env!("CARGO_BIN_NAME"), self.usage);
        exit(2)
    }
}

/// Prints an error and returns the exit code of `main`.
pub(crate) fn report(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", env!("CARGO_BIN_NAME"));
            ExitCode::FAILURE
        }
    }
}
