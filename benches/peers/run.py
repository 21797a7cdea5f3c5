#!/usr/bin/env python3
"""Runs the comparison: shuffled interleaved rounds, then counts, memory and idleness; writes tables
and plots. `run.py --help`; README.md says what is measured and why so."""

import argparse
import datetime
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

from harness import measure, plan, svg, tables

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=6, help="timed rounds (30 for a published table)")
    p.add_argument("--only", default="", metavar="REGEX", help="of `workload/contestant`")
    p.add_argument("--out", default="out", help="directory for results.json, the tables and the plots")
    p.add_argument("--parts", default="times,counts,memory,idle", help="which of these four")
    p.add_argument("--cargo", default="", help="more arguments for cargo build, in one string")
    p.add_argument("--peers", help="a built `peers` (with `peers-alloc` beside it) instead of building")
    p.add_argument("--seed", type=int, default=0, help="of the shuffling; 0 takes the clock")
    p.add_argument("--render", action="store_true", help="only draw DIR/results.json again")
    return p.parse_args()


def build(args):
    if args.peers:
        return args.peers
    command = ["cargo", "build", "--release", "--message-format=json", *args.cargo.split()]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("the package does not build; leave a contestant out with --cargo "
                 "'--no-default-features --features ...'")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "peers":
            return message["executable"]
    sys.exit("cargo built no `peers`")


def environment():
    def said(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True).stdout.strip()
        except OSError:
            return "unknown"

    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    lock = (HERE / "Cargo.lock").read_text()
    names = ("tokio", "smol", "monoio", "glommio", "compio", "io-uring", "hyper", "h2", "rustls",
             "quinn")
    versions = {n: re.findall(rf'name = "{n}"\nversion = "([^"]+)"', lock) for n in names}
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu[1] if cpu else "unknown",
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "rustc": said("rustc", "--version"),
        "valgrind": said("valgrind", "--version"),
        "load": os.getloadavg()[0],
        "versions": {n: v[-1] for n, v in versions.items() if v},
    }


class Session:
    def __init__(self, args, peers):
        self.peers, self.args = peers, args
        self.out = pathlib.Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.list = json.loads(measure.run([peers, "list"], 10)[0])
        self.random = random.Random(args.seed or time.time_ns())
        self.failures = {}
        self.results = {"env": environment(), "list": self.list, "rounds": {}, "counts": {},
                        "live": {}, "idle": {}, "errors": {}}

    def save(self):
        (self.out / "results.json").write_text(json.dumps(self.results, indent=1))

    def wanted(self, key):
        """The contestants that can run `key`; the reference stays in when any other is wanted."""
        can = []
        for name, what in self.list.items():
            shape = next((e for e in plan.SHAPES if e.key == key), None)
            if shape:
                able = shape.able(what)
            elif key in [w for w, _, _ in plan.LIVE]:
                able = key in what.get("micro", [])
            else:
                able = what.get("serve")
            if able:
                can.append(name)
        hits = [c for c in can if re.search(self.args.only, f"{key}/{c}")]
        reference = getattr(shape, "reference", None)
        if hits and reference in can and reference not in hits:
            hits.append(reference)
        return hits

    def attempt(self, key, contestant, what, f):
        """`f()`, or None and a recorded error; twice failed is left out from then on."""
        at = (key, contestant, what)
        if self.failures.get(at, 0) >= 2:
            return None
        try:
            return f()
        except (measure.Failed, OSError, ValueError) as error:
            self.failures[at] = self.failures.get(at, 0) + 1
            self.results["errors"].setdefault(key, {}).setdefault(contestant, {})[what] = str(error)
            print(f"  {key}/{contestant} {what}: {error}", file=sys.stderr)
            return None

    def time(self, shape, contestant):
        f = measure.echo if isinstance(shape, plan.Echo) else measure.micro
        return self.attempt(shape.key, contestant, "time", lambda: f(self.peers, contestant, shape))

    def times(self):
        for number in range(self.args.rounds):
            begin = time.time()
            shapes = [s for s in plan.SHAPES if number % s.every == 0]
            self.random.shuffle(shapes)
            for shape in shapes:
                contestants = self.wanted(shape.key)
                self.random.shuffle(contestants)
                row = {c: self.time(shape, c) for c in contestants}
                if row:
                    self.results["rounds"].setdefault(shape.key, []).append(
                        {c: r for c, r in row.items() if r})
            self.save()
            print(f"round {number + 1} of {self.args.rounds}: {time.time() - begin:.0f} s", flush=True)

    def counts(self):
        for shape in plan.SHAPES:
            for contestant in self.wanted(shape.key):
                self.count(shape, contestant)
            self.save()
            print(f"counted {shape.key}", flush=True)

    def count(self, shape, contestant):
        echo = isinstance(shape, plan.Echo)
        got = self.results["counts"].setdefault(shape.key, {}).setdefault(contestant, {})

        def put(what, f):
            value = self.attempt(shape.key, contestant, what, f)
            if value is not None:
                got[what] = value

        if echo:
            put("syscalls", lambda: measure.strace_echo(self.peers, contestant, shape))
            if shape.instructions:
                put("instructions", lambda: measure.instructions_echo(self.peers, contestant, shape))
            return
        put("syscalls", lambda: measure.strace_micro(self.peers, contestant, shape))
        if shape.instructions:
            put("instructions", lambda: measure.instructions_micro(self.peers, contestant, shape))
        if shape.group != "lateness" and shape.workload != "cross":
            put("allocations", lambda: self.allocations(contestant, shape))

    def allocations(self, contestant, shape):
        r = measure.micro(self.peers, contestant, shape, n=shape.count[1], alloc=True)
        return {k: r[k] for k in ("allocs", "bytes", "live") if k in r}

    def memory(self):
        for key, n, _ in plan.LIVE:
            work = plan.Micro(key, "", key, n, "")
            for contestant in self.wanted(key):
                r = self.attempt(key, contestant, "live",
                                 lambda: measure.micro(self.peers, contestant, work, alloc=True))
                if r:
                    self.results["live"].setdefault(key, {})[contestant] = r
        for contestant in self.wanted("connection"):
            got = {}
            for alloc in (False, True):
                what = "live" if alloc else "rss"
                got |= self.attempt("connection", contestant, what, lambda: measure.connections(
                    self.peers, contestant, plan.IDLE_CONNECTIONS, alloc)) or {}
            self.results["live"].setdefault("connection", {})[contestant] = got
        self.save()

    def idle(self):
        for contestant in self.wanted("idle"):
            r = self.attempt("idle", contestant, "idle", lambda: measure.idle(self.peers, contestant))
            if r:
                self.results["idle"][contestant] = r
        self.save()


def main():
    args = arguments()
    out = pathlib.Path(args.out)
    if not args.render:
        session = Session(args, build(args))
        for part in args.parts.split(","):
            getattr(session, part)()
        session.save()
    results = json.loads((out / "results.json").read_text())
    (out / "tables.md").write_text(tables.render(results))
    for name, drawing in svg.render(results).items():
        (out / f"{name}.svg").write_text(drawing)
    print((out / "tables.md").read_text())


if __name__ == "__main__":
    main()
