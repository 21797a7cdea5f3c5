#!/usr/bin/env python3
"""benches/proxy/run.py [SECONDS] [ROUNDS]     the example proxy beside haproxy, both driven by wrk

Question: what does a request cost a reverse proxy that is written with hyper on this runtime, beside one of the fastest in C?
Prints a table: CPU time of the proxy for each request and requests a second, the medians of ROUNDS (5) rounds of SECONDS (3)
each, and the memory at the end. 64 connections of HTTP/1.1, kept open on both sides; bodies of 100 bytes and of 64 KiB. The
upstream is the example http. The proxies take turns. Both have one thread, on core 0; wrk and the upstream are on core 1, so use a quiet machine with
two cores. Needs wrk and haproxy (Debian: wrk, haproxy).
"""

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{ROOT}/tests/downstream/target"), "release")
CONNECTIONS = 64

# Both append X-Forwarded-For and have the same time limits.
HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    option forwardfor
    http-reuse always
frontend front
    bind fd@{fd}
    default_backend back
backend back
    server one {upstream}
"""

running = []


def start(core, *command, **options):
    cores = ["taskset", "-c", str(core)] if os.cpu_count() > 1 else []
    process = subprocess.Popen([*cores, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options)
    running.append(process)
    return process


def example(core, name, *arguments):
    """Starts an example. Returns its process and address."""
    process = start(core, f"{PROGRAMS}/{name}", "--addr", "127.0.0.1:0", *arguments)
    first = process.stdout.readline()
    match = re.match(r"listening on (\S+)", first)
    if not match:
        sys.exit(f"{name} prints {first!r}")
    return process, match.group(1)


def haproxy(upstream, folder):
    """Starts haproxy on a socket of this program, which chooses the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    with open(f"{folder}/haproxy.cfg", "w") as file:
        file.write(HAPROXY.format(fd=listener.fileno(), upstream=upstream))
    process = start(0, "haproxy", "-db", "-q", "-f", file.name, pass_fds=[listener.fileno()])
    return process, "127.0.0.1:%d" % listener.getsockname()[1]


def cpu(process):
    """The CPU time of a process, in nanoseconds."""
    tasks = f"/proc/{process.pid}/task"
    total = 0
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total


def measure(process, address, size, seconds):
    """Returns the CPU time for a request, in microseconds, and requests a second."""
    before = cpu(process)
    load = start(1, "wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", f"http://{address}/{size}")
    output = load.communicate()[0]
    running.remove(load)
    if load.returncode != 0 or re.search("Socket errors|Non-2xx", output):
        sys.exit(f"wrk prints {output}")
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    rate = float(re.search(r"Requests/sec: *([\d.]+)", output).group(1))
    return (cpu(process) - before) / 1000 / requests, rate


def main():
    seconds, rounds = int((sys.argv[1:2] or [3])[0]), int((sys.argv[2:3] or [5])[0])
    for name in ("http", "proxy"):
        manifest = f"{ROOT}/examples/{name}/Cargo.toml"
        subprocess.run(["cargo", "build", "-q", "--release", "--locked", "--manifest-path", manifest], check=True)
    with tempfile.TemporaryDirectory() as folder:
        _, upstream = example(1, "http")
        proxies = {"proxy": example(0, "proxy", "--to", upstream), "haproxy": haproxy(upstream, folder)}
        print("| body | proxy | CPU µs a request | requests/s | memory, KiB |\n|---|---|---|---|---|")
        for size in (100, 65536):
            figures = {name: [] for name in proxies}
            for _ in range(rounds):
                for name, (process, address) in proxies.items():
                    figures[name].append(measure(process, address, size, seconds))
                    # What is left of the load ends.
                    time.sleep(0.2)
            for name, (process, _) in proxies.items():
                with open(f"/proc/{process.pid}/status") as status:
                    memory = re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)
                used, rate = (statistics.median(column) for column in zip(*figures[name]))
                print(f"| {size} | {name} | {used:.1f} | {rate:.0f} | {memory} |", flush=True)


try:
    main()
finally:
    for process in running:
        process.kill()
        process.wait()
