//! The commands: `list`, `serve`, `load`, `micro`, `alloc`.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;

use crate::contestant::{Args, NAMES, Serve, find};
use crate::servers::Site;
use crate::{count, load, sys};

const USAGE: &str = "\
peers list                             contestants and workloads, as JSON
peers serve CONTESTANT [--kind echo] [--buffer 4096] [--idle 1] [--backend A]
                                       a server on 127.0.0.1; prints its pid and address
           kinds: echo, unix, once, udp, http, http2, tls, quic, quic-bulk,
           proxy (which connects to A)
peers load --addr A --pid P [--kind echo] [--conns 1] [--size 64] [--depth 1] [--requests 10000]
           [--warm 1000] [--others 0] [--path /hello]
                                       loads it and prints times per request; for a proxy it
                                       prints the backend's address and reads `PID ADDRESS`
peers micro CONTESTANT WORKLOAD [--n 100000] [--k 0] [--us U] [--warm 1000] [--peer-core C]
           U: microseconds to sleep (late, 1000) or until the other thread answers (cross, 0)
peers alloc serve|micro ...            the same with allocations counted (starts peers-alloc)
everywhere: [--core C] pins the process, [--limit 60] ends it after so many seconds";

/// `--key value` pairs.
struct Options(HashMap<String, String>);

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
            map.insert(key.to_string(), value.clone());
        }
        Ok(Options(map))
    }

    fn number(&self, key: &str, default: u64) -> Result<u64, String> {
        match self.0.get(key) {
            Some(v) => v
                .replace('_', "")
                .parse()
                .map_err(|_| format!("--{key} {v}: no number")),
            None => Ok(default),
        }
    }

    fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }

    fn common(&self) -> Result<(), String> {
        sys::end_after(self.number("limit", 60)? as u32);
        if self.0.contains_key("core") {
            let core = self.number("core", 0)? as usize;
            sys::pin(core).map_err(|e| format!("--core {core}: {e}"))?;
        }
        Ok(())
    }
}

pub fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    sys::raise_descriptor_limit();
    if let Err(e) = run(&args) {
        eprintln!("peers: {e}");
        std::process::exit(2);
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => list(),
        ["serve", name, ..] => return serve(name, &Options::parse(&args[2..])?),
        ["load", ..] => return load(&Options::parse(&args[1..])?),
        ["micro", name, workload, ..] => {
            return micro(name, workload, &Options::parse(&args[3..])?);
        }
        ["alloc", ..] => return Err(alloc(&args[1..])),
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

fn list() {
    let quote = |s: &str| format!("\"{}\"", s.replace('"', "'"));
    let mut rows = Vec::new();
    for name in NAMES {
        rows.push(match find(name) {
            Err(e) => format!("{}:{{\"error\":{}}}", quote(name), quote(&e)),
            Ok(c) => {
                let micro: Vec<_> = c.micro.iter().map(|(w, _)| quote(w)).collect();
                let servers: Vec<_> = c.servers.iter().map(|(k, _)| quote(k)).collect();
                let missing = c
                    .missing
                    .iter()
                    .map(|(w, e)| format!("{}:{}", quote(w), quote(e)));
                format!(
                    "{}:{{\"serve\":{},\"servers\":[{}],\"micro\":[{}],\"missing\":{{{}}}}}",
                    quote(name),
                    c.serve.is_some(),
                    servers.join(","),
                    micro.join(","),
                    missing.collect::<Vec<_>>().join(",")
                )
            }
        });
    }
    println!("{{{}}}", rows.join(",\n"));
}

fn serve(name: &str, options: &Options) -> Result<(), String> {
    let contestant = find(name)?;
    options.common()?;
    let kind = options.text("kind", "echo");
    let backend = options.text("backend", "127.0.0.1:1");
    let backend = backend.parse().map_err(|e| format!("--backend: {e}"))?;
    let buffer = options.number("buffer", 4096)? as usize;
    let (site, addr) = Site::bind(kind, buffer, backend).map_err(|e| format!("bind: {e}"))?;
    println!("{{\"pid\":{},\"addr\":\"{addr}\"}}", std::process::id());
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    if count::on() {
        std::thread::spawn(answer_counts);
    }
    if kind != "echo" {
        let known = contestant.servers.iter().find(|(k, _)| *k == kind);
        let (_, serve) = known.ok_or_else(|| format!("{name} has no server `{kind}`"))?;
        serve(site);
        return Ok(());
    }
    let serve = contestant.serve.ok_or("this contestant serves nothing")?;
    serve(Serve {
        listener: site.tcp(),
        buffer,
        idle: options.number("idle", 0)? != 0,
    });
    Ok(())
}

/// Prints the allocation counters for every line that arrives.
fn answer_counts() {
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        let c = count::now();
        println!(
            "{{\"calls\":{},\"bytes\":{},\"live\":{}}}",
            c.calls, c.bytes, c.live
        );
    }
}

fn load(options: &Options) -> Result<(), String> {
    options.common()?;
    let (kind, path) = (options.text("kind", "echo"), options.text("path", "/hello"));
    let mut plan = load::Plan {
        addr: options.text("addr", "").into(),
        server: options.number("pid", 0)? as u32,
        conns: options.number("conns", 1)? as usize,
        others: options.number("others", 0)? as usize,
        size: options.number("size", 64)? as usize,
        depth: options.number("depth", 1)?,
        requests: options.number("requests", 10_000)?,
        warm: options.number("warm", 1_000)?,
        hold: options.number("hold", 0)? != 0,
    };
    plan.run(kind, path)
        .map_err(|e| format!("load: {e}"))?
        .print(&[]);
    Ok(())
}

fn micro(name: &str, workload: &str, options: &Options) -> Result<(), String> {
    let contestant = find(name)?;
    let known = contestant.micro.iter().find(|(w, _)| *w == workload);
    let (_, f) = known.ok_or_else(|| format!("{name} has no workload {workload}"))?;
    options.common()?;
    let peer_core = options.number("peer-core", u64::MAX)?;
    let args = Args {
        n: options.number("n", 100_000)?,
        k: options.number("k", 0)?,
        us: options.number("us", if workload == "late" { 1_000 } else { 0 })?,
        warm: options.number("warm", 1_000)?,
        peer_core: (peer_core != u64::MAX).then_some(peer_core as usize),
    };
    f(&args).print(&[("contestant", name), ("workload", workload)]);
    Ok(())
}

/// Becomes `peers-alloc`, which stands beside this program.
fn alloc(args: &[String]) -> String {
    let path = match std::env::current_exe() {
        Ok(path) => path.with_file_name("peers-alloc"),
        Err(e) => return e.to_string(),
    };
    let error = std::process::Command::new(&path).args(args).exec();
    format!("{}: {error}", path.display())
}
