#!/usr/bin/env python3
"""http-churn.py FOLDER CONNECTIONS SECONDS BACKEND

Runs the example `http` and twice its clients `http-churn`, both in FOLDER, and compares the server after the first run with
the server after the second one; if that needs more memory, with up to three further ones. The first run shows what the process keeps: the places of tasks and timers, and memory that
the C library does not give back, because something in use lies behind it.
"""

import subprocess
import sys
import time

sys.dont_write_bytecode = True
from http_server import PATIENCE, Failure, Server, check

# The C library keeps what it likes of freed memory: how much depends on what lies at its end at the moment, and differs by some
# percent from run to run. A leak of 100 bytes for each connection would be more in a run of two minutes.
MARGIN = 1.10
MARGIN_KIB = 4096


def clients(server, *flags):
    command = [f"{folder}/http-churn", "--addr", f"127.0.0.1:{server.addr[1]}", "--seconds", seconds, *flags]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def churn(server, run):
    """Runs clients that treat their connections badly, and others, which must be served."""
    both = [clients(server, "--connections", connections), clients(server, "--connections", 0, "--good", 10)]
    peak, most, end = 0, 0, time.monotonic() + seconds + 4 * PATIENCE
    try:
        while any(process.poll() is None for process in both):
            peak = max(peak, server.memory())
            most = max(most, server.state()["connections"])
            check(time.monotonic() < end, "the clients do not end")
            time.sleep(0.2)
    finally:
        for process in both:
            process.kill()
    for process in both:
        output = process.stdout.read().strip()
        check(process.returncode == 0, f"the clients have failed: {output}")
        print(f"{backend}, {run} run: {output.splitlines()[-1]}", flush=True)
    state = server.wait_for(connections=0, tasks=0)
    limits = ", ".join(f"{name} {state[name]}" for name in ("header", "stall", "body"))
    now = server.memory()
    print(f"{backend}, {run} run: at most {most} at a time; {peak} KiB then, {now} KiB after; ended by limits so far: {limits}", flush=True)
    return now, server.descriptors()


folder, backend = sys.argv[1], sys.argv[4]
connections, seconds = int(sys.argv[2]), int(sys.argv[3])
# Clients that have gone still count until the server notices it, so the server takes more of them.
most = 2 * connections if connections < 5000 else 19500
times = ["--header-ms", "3000", "--idle-ms", "60000", "--stall-ms", "3000"]
try:
    server = Server(f"{folder}/http", backend, "--connections", str(most), "--send-buffer", "65536", *times)
    stream = server.open()
    stream.close()
    server.wait_for(connections=0, tasks=0)
    start, descriptors = server.memory(), server.descriptors()
    print(f"{backend}: {start} KiB and {descriptors} descriptors before")
    first, left = churn(server, "first")
    check(left == descriptors, f"{left} descriptors after the first run, not {descriptors}")
    # A run in which all of this was held up makes fewer connections, and the next one shows more of what the process keeps. A
    # leak grows in each run.
    for run in ("second", "third", "fourth", "fifth"):
        second, left = churn(server, run)
        check(left == descriptors, f"{left} descriptors after the {run} run, not {descriptors}")
        most = int(first * MARGIN) + MARGIN_KIB
        if second <= most:
            break
        check(run != "fifth", f"memory grows in each run: {second} KiB after the last one, {first} KiB after the one before")
        first = second
    server.signal_to_end()
    server.stop()
    print(f"ok      {backend}: {descriptors} descriptors and no tasks after each run, {first} KiB and then {second} KiB")
except Failure as error:
    print(f"FAILED  {backend}: {error}")
    sys.exit(1)
