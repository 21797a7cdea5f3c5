#!/usr/bin/env python3
"""Runs the sweeps: counts first, then shuffled interleaved rounds of times; writes results.json, tables.md and
plots. README.md says what is measured and why so."""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# The peers' harness: how a child is started, bounded, and counted.
sys.path[:0] = [str(HERE), str(HERE.parent / "peers")]
sys.dont_write_bytecode = True

from harness import measure  # noqa: E402
from scaling import plan, plot, tables  # noqa: E402

DOCS = HERE.parent.parent / "docs"
PAGE = DOCS / "backends" / "scaling.md"


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="fewer points, 2 rounds of 10 runs: less than 4 minutes")
    p.add_argument("--rounds", type=int, help="timed rounds, each a process for each point (3)")
    p.add_argument("--runs", type=int, help="runs in a process (25)")
    p.add_argument("--budget", type=int, help="no measurement begins after so many seconds (690; quick: 220)")
    p.add_argument("--only", default="", metavar="REGEX", help="of `sweep/who/how/pairs/active/limit`")
    p.add_argument("--parts", default="counts,times", help="which of these two")
    p.add_argument("--core", type=int, default=os.cpu_count() - 1, help="that times are measured on")
    p.add_argument("--seed", type=int, default=0, help="of the shuffling; 0 takes the clock")
    p.add_argument("--out", default="out", help="directory for results.json, tables.md and the plots")
    p.add_argument("--program", help="a built `backends` instead of building")
    p.add_argument("--render", action="store_true", help="only show DIR/results.json again")
    p.add_argument("--docs", action="store_true", help="put tables and plots into the repository's docs too")
    args = p.parse_args()
    args.rounds = args.rounds or (2 if args.quick else 3)
    args.runs = args.runs or (10 if args.quick else 25)
    args.budget = args.budget or (220 if args.quick else 690)
    return args


def build():
    command = ["cargo", "build", "--release", "--locked", "--message-format=json"]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        message = json.loads(line)
        if message.get("executable"):
            return message["executable"]
    sys.exit("the package does not build")


def environment(args):
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    lock = (HERE / "Cargo.lock").read_text()
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split(" (")[0]
    return {
        "date": datetime.date.today().isoformat(), "cpu": cpu[1].strip() if cpu else "unknown", "cores": os.cpu_count(),
        "kernel": re.match(r"\d+\.\d+", os.uname().release)[0], "rustc": rustc.strip(),
        "versions": {n: re.search(rf'name = "{n}"\nversion = "([^"]+)"', lock)[1] for n in ("mio", "polling")},
        "rounds": 0, "runs": args.runs, "loads": [os.getloadavg()[0]],
    }


def strace(command):
    with tempfile.NamedTemporaryFile() as f:
        measure.run(["strace", "-f", "-c", "-o", f.name, *command], 40)
        return measure.read_strace(f.name)


class Session:
    def __init__(self, args, program):
        self.args, self.program = args, program
        self.end = time.monotonic() + args.budget
        self.random = random.Random(args.seed or time.time_ns())
        self.names = json.loads(measure.run([program, "list"], 20)[0])
        self.timed = self.wanted(plan.times(self.names, args.quick))
        self.results = {"env": environment(args), "points": [], "times": {}, "counts": {}, "errors": {}}
        self.results["points"] = [list(vars(p).values()) for p in self.timed]

    def wanted(self, points):
        return [p for p in points if re.search(self.args.only, p.key)]

    def save(self):
        out = pathlib.Path(self.args.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(self.results))

    def attempt(self, what, point, f):
        """`f()`, or None and a recorded error; nothing begins when the time is up."""
        if time.monotonic() > self.end:
            self.results["errors"].setdefault("time", "was up; what is missing was not measured")
            return None
        try:
            return f()
        except (measure.Failed, OSError, ValueError) as error:
            self.results["errors"][f"{what} {point.key}"] = str(error)
            return None

    def counts(self):
        """No clock: as many at a time as there are cores."""
        work = [("calls", p, self.calls) for p in self.wanted(plan.calls(self.names))]
        work += [("register", p, self.register) for p in self.wanted(plan.registering(self.names))]
        instructions = self.wanted(plan.instructions(self.names, self.args.quick))
        work += [("instructions", p, self.instructions) for p in instructions]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(lambda w: self.attempt(w[0], w[1], lambda: w[2](w[1])), work)
            for (what, point, _), value in zip(work, found):
                if value is not None:
                    self.results["counts"].setdefault(point.key, {})[what] = value
        self.save()

    def calls(self, point):
        short, long = plan.CALLS_OF[point.active]
        counts = [strace(point.command(self.program, 1, length)) for length in (short, long)]
        return measure.per_op(*counts, long - short)

    def register(self, point):
        few, many = plan.REGISTER_RUNS
        counts = [strace(point.command(self.program, runs)) for runs in (few, many)]
        return measure.per_op(*counts, (many - few) * point.pairs)

    def instructions(self, point):
        counts = []
        for length in plan.INSTRUCTIONS_OF[point.active]:
            with tempfile.TemporaryDirectory() as d:
                measure.run([*measure.valgrind(d), *point.command(self.program, 1, length)], 60)
                counts.append(measure.collected(d))
        short, long = plan.INSTRUCTIONS_OF[point.active]
        return (counts[1] - counts[0]) / (long - short)

    def times(self):
        env = self.results["env"]
        for number in range(self.args.rounds):
            begin = time.monotonic()
            self.random.shuffle(self.timed)
            for point in self.timed:
                if (got := self.attempt("time", point, lambda: self.time(point))) is not None:
                    self.results["times"].setdefault(point.key, []).append(got)
                    env["rounds"] = number + 1
            env["loads"].append(os.getloadavg()[0])
            self.save()
            print(f"round {number + 1} of {self.args.rounds}: {time.monotonic() - begin:.0f} s, "
                  f"load {env['loads'][-1]:.1f}", file=sys.stderr)

    def time(self, point):
        command = [*point.command(self.program, self.args.runs), "--core", self.args.core, "--limit", 30]
        return measure.last_json(measure.run(command, 35)[0])


def main():
    args = arguments()
    out = pathlib.Path(args.out)
    if not args.render:
        session = Session(args, args.program or build())
        for part in args.parts.split(","):
            begin = time.monotonic()
            getattr(session, part)()
            print(f"{part}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
        session.save()
    results = json.loads((out / "results.json").read_text())
    made, drawings = tables.render(results), plot.render(results)
    left_out = "".join(f"- {what}: {why}\n" for what, why in results["errors"].items())
    text = "\n".join(filter(None, made.values())) + (f"\nLeft out:\n\n{left_out}" if left_out else "")
    (out / "tables.md").write_text(text)
    for name, drawing in drawings.items():
        (out / f"{name}.svg").write_text(drawing)
    if args.docs:
        (DOCS / "backends").mkdir(exist_ok=True)
        for name, drawing in drawings.items():
            (DOCS / "backends" / f"{name}.svg").write_text(drawing)
        PAGE.write_text(tables.fill(PAGE.read_text(), made))
    print(text)


if __name__ == "__main__":
    main()
