#!/usr/bin/env python3
"""What a minimal echo server costs to build and to carry: reveille, tokio and smol beside each other.

    run.py [--rounds 3]     builds each clean, in turn, and prints a table

Seconds are wall time of a clean release build on all cores, everything downloaded before; the smallest of the
rounds, for what else the machine does only adds. Size is that of the stripped binary. Crates are those that cargo
compiles for this host, the program itself included.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ["reveille", "tokio", "smol"]


def cargo(name, *args, **more):
    command = ["cargo", *args, "--manifest-path", str(HERE / name / "Cargo.toml"), "--locked"]
    return subprocess.run(command, check=True, **more)


def crates(name):
    """The packages of a normal build of the host: build scripts' and proc macros' dependencies count."""
    tree = cargo(name, "tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}",
                 stdout=subprocess.PIPE, text=True).stdout
    return len({line.split(" (")[0] for line in tree.splitlines() if line})


def build(name):
    target = tempfile.mkdtemp(prefix=f"size-{name}-")
    try:
        begin = time.monotonic()
        cargo(name, "build", "--release", "--offline", "--quiet",
              env={**os.environ, "CARGO_TARGET_DIR": target})
        seconds = time.monotonic() - begin
        return seconds, os.path.getsize(os.path.join(target, "release", f"size-{name}"))
    finally:
        shutil.rmtree(target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    for name in NAMES:
        cargo(name, "fetch")
    results = {name: [] for name in NAMES}
    for _ in range(rounds):
        for name in NAMES:
            results[name].append(build(name))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, smallest of {rounds}")
    print("| | seconds | to tokio | stripped, kB | crates |\n|---|---|---|---|---|")
    best = {name: min(seconds for seconds, _ in results[name]) for name in NAMES}
    for name in NAMES:
        size = results[name][0][1] / 1000
        print(f"| {name} | {best[name]:.1f} | {best[name] / best['tokio']:.2f} | {size:.0f} | {crates(name)} |")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
