#!/usr/bin/env python3
"""Holds what an operation costs to a record: counts, not seconds.

    costs.py                    measures and compares with benches/costs/record.json; exits 1 if a figure has grown
    costs.py --only REGEX       only the figures whose names match, for example: --only 'spawn.* instructions'
    costs.py --record           rewrites the record, or with --only some figures of it
    costs.py --list             the names of all figures

A figure is what one more operation costs: the difference of two runs of benches/costs that differ in nothing but how
many operations they do. It is counted in

  instructions  in user space, all of the process (valgrind's callgrind)
  allocs        calls of the allocator (a counting one)
  bytes         that these asked for
  live          bytes that stay allocated while the thing is kept
  calls         system calls (strace)
"""

import argparse
import json
import os
import platform
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = os.path.join(ROOT, "benches", "costs")
RECORD = os.path.join(PACKAGE, "record.json")

TOLERANCE = 0.03                    # of the recorded figure; the record holds others for figures by name
SLACK = {"instructions": 1.0, "allocs": 0.01, "bytes": 1.0, "live": 1.0, "calls": 0.01}
DIGITS = {"instructions": 2, "allocs": 4, "bytes": 2, "live": 2, "calls": 4}
STABLE = 0.01                       # how far apart three runs may be that are to be recorded
RUNS = 3

OPERATION = ("instructions", "allocs", "bytes", "calls")
# Workload: the two lengths, and what is counted. Lengths are multiples of the number of tasks or connections;
# what is kept is kept by powers of two, since tables grow by doubling.
WORKLOADS = {
    "spawn-task": ((1000, 21000), OPERATION),
    "spawn-root": ((1000, 21000), OPERATION),
    "spawn-batch": ((1000, 21000), OPERATION),
    "switch-1": ((1000, 21000), OPERATION),
    "switch-100": ((1000, 21000), OPERATION),
    "yield-1": ((1000, 21000), OPERATION),
    "yield-100": ((1000, 21000), OPERATION),
    "ping-pong": ((1000, 21000), OPERATION),
    "timer-0": ((1000, 21000), OPERATION),
    "timer-10000": ((1000, 21000), OPERATION),
    "reset-later": ((1000, 21000), OPERATION),
    "reset-earlier": ((1000, 21000), OPERATION),
    "timeout-ready": ((1000, 21000), OPERATION),
    "sleep": ((20, 220), ("calls",)),
    "echo-1": ((200, 2200), OPERATION),
    "echo-64": ((640, 6400), OPERATION),
    "live-task": ((2048, 4096), ("allocs", "bytes", "live")),
    "live-timer": ((2048, 4096), ("allocs", "bytes", "live")),
    "live-fd": ((2048, 4096), ("allocs", "bytes", "live")),
}
ALLOCATOR = ("allocs", "bytes", "live")
# Those whose figures depend on how many polls a batch has: a tool and other processes hold the polls up, and the runtime
# ends a batch of polls that take long.
SLOW = ("spawn-task", "spawn-root", "spawn-batch", "switch-1", "switch-100", "yield-1", "yield-100", "ping-pong",
        "echo-1", "echo-64")

# The size of the environment moves the stack, and the backend is part of what is measured.
ENVIRONMENT = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "REVEILLE_BACKEND": "epoll"}


class Failed(Exception):
    pass


def run(command, **options):
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, **options)
    except subprocess.TimeoutExpired:
        raise Failed(f"{os.path.basename(command[0])} is not done after 300 s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise Failed(f"{os.path.basename(command[0])} ended with {done.returncode}: {said[0][:200]}")
    return done.stdout


def build():
    """The three programs, built with no flags but those of the package."""
    keep = {name: value for name, value in os.environ.items()
            if not name.startswith("CARGO_PROFILE_") and name not in ("CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET")}
    done = subprocess.run(
        ["cargo", "build", "--release", "--locked", "--bins", "--message-format", "json-render-diagnostics"],
        cwd=PACKAGE, env={**keep, "RUSTFLAGS": ""}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )
    if done.returncode != 0:
        raise Failed("benches/costs does not build")
    messages = map(json.loads, done.stdout.splitlines())
    return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}


def program(programs, workload):
    return programs["costs-slow" if workload in SLOW else "costs"]


def instructions(programs, workload, n):
    with tempfile.TemporaryDirectory() as folder:
        run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", f"--log-file={folder}/log",
             program(programs, workload), workload, n], env=ENVIRONMENT)
        with open(f"{folder}/log") as log:
            counted = re.search(r"Collected : (\d+)", log.read())
    if not counted:
        raise Failed("callgrind counted nothing")
    return {"instructions": int(counted[1])}


def allocations(programs, workload, n):
    return json.loads(run([programs["costs-alloc"], workload, n], env=ENVIRONMENT))


def calls(programs, workload, n):
    with tempfile.NamedTemporaryFile(mode="r") as table:
        run(["strace", "-f", "-c", "-o", table.name, program(programs, workload), workload, n], env=ENVIRONMENT)
        rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", table.read(), re.M)
    if not rows:
        raise Failed("strace counted nothing")
    return {"calls": sum(int(count) for count, name in rows if name != "total")}


def difference(programs, workload, kind):
    """What one operation costs, of the kind and of those that the same runs tell."""
    count = {"instructions": instructions, "calls": calls}.get(kind, allocations)
    short, long = WORKLOADS[workload][0]
    one, two = count(programs, workload, short), count(programs, workload, long)
    return {k: round((two[k] - one[k]) / (long - short), DIGITS[k]) + 0.0 for k in one}


def missing_tools():
    """{kind: why it cannot be counted here}"""
    found = {}
    for kind, tool, probe in (
        ("instructions", "valgrind", ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "true"]),
        ("calls", "strace", ["strace", "-f", "-c", "-o", "/dev/null", "true"]),
    ):
        if not shutil.which(tool):
            found[kind] = f"no {tool}"
            continue
        try:
            run(probe, env=ENVIRONMENT)
        except Failed as error:
            found[kind] = f"{tool} does not work here ({error})"
    return found


def here():
    """What the counts depend on and the project does not determine."""
    rustc = run([os.environ.get("RUSTC", "rustc"), "-V"], cwd=ROOT).strip()
    return {"rustc": rustc, "host": f"{platform.system()} {platform.machine()}", "libc": " ".join(platform.libc_ver())}


def figures(only):
    """The names that match, as (workload, kind)."""
    return [(w, k) for w, (_, kinds) in WORKLOADS.items() for k in kinds if re.search(only, f"{w} {k}")]


def groups(names):
    """The names by the pair of runs that tells them."""
    grouped = {}
    for workload, kind in names:
        grouped.setdefault((workload, "allocs" if kind in ALLOCATOR else kind), []).append(kind)
    return grouped


def table(rows):
    rows = [("figure", "recorded", "now", "change", ""), *rows]
    widths = [max(len(row[at]) for row in rows) for at in range(5)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in (1, 2, 3)), row[4]]
        print("  ".join(cells).rstrip())


def number(value):
    return "-" if value is None else f"{value:g}" if abs(value) < 1000 else f"{value:.1f}"


def change(old, new):
    if not old or new is None:
        return "-"
    return f"{(new - old) / old * 100:+.1f} %"


class Judge:
    def __init__(self, record):
        self.figures, self.tolerances = record["figures"], record.get("tolerances", {})

    def verdict(self, name, now):
        old = self.figures[name]
        share = self.tolerances.get(name, {}).get("share", TOLERANCE)
        slack = SLACK[name.split()[1]]
        if now - old > max(share * old, slack):
            return "GREW"
        if old - now > max(share * old, slack):
            return "fell"
        return "ok"


def check(programs, record, names, missing):
    judge, rows, verdicts, left_out = Judge(record), [], {}, {}
    for (workload, group), kinds in groups(names).items():
        if group in missing:
            for kind in kinds:
                left_out.setdefault(missing[group], []).append(kind)
                name = f"{workload} {kind}"
                rows.append((name, number(judge.figures.get(name)), "-", "-", "skipped"))
            continue
        best = {}
        try:
            # Another process on the machine can only disturb: what is out of bounds gets two more chances.
            for _ in range(RUNS):
                now = difference(programs, workload, group)
                for kind in kinds:
                    old = judge.figures.get(f"{workload} {kind}", 0)
                    best[kind] = min(best.get(kind, now[kind]), now[kind], key=lambda value: abs(value - old))
                known = [kind for kind in kinds if f"{workload} {kind}" in judge.figures]
                if all(judge.verdict(f"{workload} {kind}", best[kind]) == "ok" for kind in known):
                    break
        except Failed as error:
            print(f"FAILED  {workload} {'/'.join(kinds)}: {error}")
            best = {}
        for kind in kinds:
            name, now = f"{workload} {kind}", best.get(kind)
            old = judge.figures.get(name)
            verdict = "FAILED" if now is None else "NOT RECORDED" if old is None else judge.verdict(name, now)
            verdicts.setdefault(verdict, []).append(name)
            rows.append((name, number(old), number(now), change(old, now), verdict))
    table(rows)
    print()
    for name in verdicts.get("fell", []):
        print(f"{name} fell: record it, or the next growth hides behind the old figure")
    for name in verdicts.get("GREW", []):
        share = judge.tolerances.get(name, {}).get("share", TOLERANCE)
        print(f"FAILED  {name} grew by more than {share * 100:g} %, from {judge.figures[name]:g}")
    for name in verdicts.get("NOT RECORDED", []):
        print(f"FAILED  {name} is not recorded")
    bad = [name for verdict in ("GREW", "FAILED", "NOT RECORDED") for name in verdicts.get(verdict, [])]
    if bad or "fell" in verdicts:
        print("To record: .ci/costs.py --record --only REGEX, in a commit that says why (benches/costs/README.md)")
    for why, kinds in left_out.items():
        print(f"skipped: {why}: {' and '.join(sorted(set(kinds)))} not measured")
    print(f"{len(verdicts.get('ok', []))} figures as recorded, {len(verdicts.get('fell', []))} fell, {len(bad)} failed")
    return 1 if bad else 0


def rewrite(programs, record, names, env, whole):
    tolerances = record.get("tolerances", {})
    measured, faults, rows = {}, 0, []
    for (workload, group), kinds in groups(names).items():
        runs = [difference(programs, workload, group) for _ in range(RUNS)]
        for kind in kinds:
            name, values = f"{workload} {kind}", [run[kind] for run in runs]
            share = tolerances[name]["share"] if name in tolerances else STABLE
            spread = max(values) - min(values)
            measured[name] = statistics.median(values)
            said = ""
            if spread > max(share * min(values), SLACK[kind] / 2):
                faults += 1
                said = f"UNSTABLE: {', '.join(map(number, values))}"
            old = record.get("figures", {}).get(name)
            rows.append((name, number(old), number(measured[name]), change(old, measured[name]), said))
    table(rows)
    if faults:
        print(f"\nFAILED  not recorded: {faults} figures differ from run to run. Quieter, longer, or with a tolerance of "
              "their own in the record that says why.")
        return 1
    old = {} if whole else record["figures"]
    ordered = {name: measured.get(name, old.get(name)) for name in (f"{w} {k}" for w, k in figures(""))}
    kept = {name: int(v) if v == int(v) else v for name, v in ordered.items() if v is not None}
    new = {**env, "figures": kept, "tolerances": tolerances}
    with open(RECORD, "w") as file:
        file.write(json.dumps(new, indent=2) + "\n")
    print(f"\nrecorded {len(measured)} figures")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    names = figures(options.only)
    if options.list:
        print("\n".join(" ".join(name) for name in names))
        return 0
    if not names:
        parser.error("no figure has such a name")

    record = {}
    if os.path.exists(RECORD):
        with open(RECORD) as file:
            record = json.load(file)
    env, missing = here(), missing_tools()
    whole = options.record and not options.only
    if not record and not whole:
        print("FAILED  there is no record: .ci/costs.py --record")
        return 1
    differs = [key for key in env if not whole and env[key] != record[key]]
    if options.record and (differs or missing):
        for why in [f"recorded with {record[key]}, this is {env[key]}" for key in differs] + list(missing.values()):
            print(f"FAILED  not recorded: {why}")
        return 1
    for key in ("rustc", "host"):
        if key in differs:
            print(f"skipped: recorded with {record[key]}, this is {env[key]}")
            return 0
    if "libc" in differs:
        missing["instructions"] = f"recorded with {record['libc']}, this is {env['libc']}"
    if not options.only and not whole:
        gone = set(record["figures"]) - {f"{w} {k}" for w, k in names}
        if gone:
            print(f"FAILED  recorded, but measured no more: {', '.join(sorted(gone))}")
            return 1

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = WORKLOADS["live-fd"][0][1] + 64
    if hard != resource.RLIM_INFINITY and hard < need:
        if options.record:
            print(f"FAILED  not recorded: {hard} descriptors at most")
            return 1
        names = [name for name in names if name[0] != "live-fd"]
        print(f"skipped: {hard} descriptors at most: live-fd not measured")
    elif soft != resource.RLIM_INFINITY and soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))

    begin = time.time()
    programs = build()
    built = time.time()
    if options.record:
        rc = rewrite(programs, record, names, env, whole)
    else:
        rc = check(programs, record, names, missing)
    print(f"built in {built - begin:.0f} s, measured in {time.time() - built:.0f} s")
    return rc


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except Failed as error:
        print(f"FAILED  {error}")
        sys.exit(1)
