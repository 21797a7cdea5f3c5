//! The commands: `list`, `ring`, `timeouts`.

use crate::chain::{self, Shape};
use crate::pollers::{self, TRIGGERS};
use crate::{report, sys, timeouts};
use std::collections::HashMap;
use std::process::ExitCode;

const USAGE: &str = "\
backends list                       who can be measured here, with which triggers, as JSON
backends ring WHO TRIGGER ...       prints every run of the ring as JSON
backends timeouts BACKEND none|push|again ...
                                    the same on the callback loop, with timeouts
where ... is [--pairs 100] [--active 1] [--writes 100] [--runs 25], the ring and how it is used;
[--keep 1] registers once, not before each run;
[--pending N] lowers the limit of queued signals, and counts the turns that lost one;
[--core C] pins the process, [--limit 60] ends it after so many seconds";

/// `--key value` pairs.
struct Options(HashMap<String, u64>);

impl Options {
    fn parse(args: &[String]) -> Result<Options, String> {
        let mut map = HashMap::new();
        for pair in args.chunks(2) {
            let [key, value] = pair else {
                return Err(format!("{} needs a value", pair[0]));
            };
            let key = key
                .strip_prefix("--")
                .ok_or_else(|| format!("unexpected {key}"))?;
            let value = value
                .parse()
                .map_err(|_| format!("--{key} {value}: no number"))?;
            map.insert(key.to_string(), value);
        }
        Ok(Options(map))
    }

    fn get(&self, key: &str, default: u64) -> u64 {
        self.0.get(key).copied().unwrap_or(default)
    }

    fn shape(&self) -> Result<Shape, String> {
        let shape = Shape {
            pairs: self.get("pairs", 100) as usize,
            active: self.get("active", 1) as usize,
            writes: self.get("writes", 100) as usize,
            runs: self.get("runs", 25) as usize,
            keeps: self.get("keep", 0) != 0,
            watch_overflows: self.0.contains_key("pending"),
        };
        if shape.active == 0 || shape.active > shape.pairs {
            return Err("at least one pair is active, and no more than there are".into());
        }
        Ok(shape)
    }

    fn apply(&self) -> std::io::Result<()> {
        sys::end_after(self.get("limit", 60) as u32);
        sys::raise_descriptor_limit()?;
        if let Some(&core) = self.0.get("core") {
            sys::pin(core as usize)?;
        }
        if let Some(&most) = self.0.get("pending") {
            sys::limit_pending_signals(most)?;
        }
        Ok(())
    }
}

pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backends: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (runs, split) = match words.as_slice() {
        ["list"] => {
            list();
            return Ok(());
        }
        ["ring", name, trigger, ..] => {
            let found = TRIGGERS.iter().find(|(word, _)| word == trigger);
            let &(_, trigger) = found.ok_or_else(|| format!("no trigger {trigger}"))?;
            let shape = set_up(&args[3..])?;
            let mut poller = pollers::open(name, trigger, shape.active.max(1024))?;
            chain::run(shape, &mut *poller).map_err(|error| format!("{name}: {error}"))?
        }
        ["timeouts", backend, policy, ..] => {
            let kind = backend
                .parse()
                .map_err(|error| format!("{backend}: {error}"))?;
            let shape = set_up(&args[3..])?;
            timeouts::run(kind, policy, shape)?
        }
        _ => return Err(USAGE.into()),
    };
    report::print(&runs, split);
    Ok(())
}

fn set_up(args: &[String]) -> Result<Shape, String> {
    let options = Options::parse(args)?;
    options.apply().map_err(|error| error.to_string())?;
    options.shape()
}

fn list() {
    let rows = pollers::list().into_iter().map(|(name, triggers)| {
        let triggers: Vec<_> = triggers.iter().map(|t| format!("\"{t}\"")).collect();
        format!("\"{name}\": [{}]", triggers.join(", "))
    });
    println!("{{{}}}", rows.collect::<Vec<_>>().join(",\n"));
}
