"""Starts processes, pinned and bounded, and reads what they print."""

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time

SERVER_CORE, CLIENT_CORE = 0, 1


class Failed(Exception):
    """A contestant did not finish its workload: the reason goes into the tables."""


def last_line(text):
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    panics = [i for i, line in enumerate(lines) if "panicked at" in line]
    if panics:
        where = re.sub(r"/\S*/(?=[\w.-]+/src/)", "", lines[panics[0]])
        said = lines[panics[0] + 1] if panics[0] + 1 < len(lines) else ""
        return f"{where} {said}"[:200]
    return lines[-1][:200] if lines else "no output"


def run(args, timeout):
    """The standard output of a finished child, or Failed."""
    args = [str(a) for a in args]
    try:
        done = subprocess.run(args, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {timeout} s") from None
    if done.returncode != 0:
        by = f"signal {-done.returncode}: " if done.returncode < 0 else ""
        raise Failed(by + last_line(done.stderr))
    return done.stdout, done.stderr


def last_json(text):
    for line in reversed(text.strip().splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise Failed("printed no result")


class Server:
    """A `peers serve` child; leaving the block ends it."""

    def __init__(self, peers, contestant, buffer=4096, idle=False, wrap=(), limit=120, alloc=False,
                 kind="echo", backend=None):
        args = [*wrap, peers, *(["alloc"] if alloc else []), "serve", contestant, "--buffer", buffer,
                "--idle", int(idle), "--core", SERVER_CORE, "--limit", limit, "--kind", kind,
                *(["--backend", backend] if backend else [])]
        self.log = tempfile.TemporaryFile("w+")
        self.child = subprocess.Popen([str(a) for a in args], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=self.log, text=True)

    def __enter__(self):
        ready, _, _ = select.select([self.child.stdout], [], [], 60)
        line = self.child.stdout.readline() if ready else ""
        if not line:
            self.__exit__()
            raise Failed(self.errors())
        said = json.loads(line)
        self.pid, self.addr = said["pid"], said["addr"]
        time.sleep(0.1)
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            try:
                os.kill(getattr(self, "pid", self.child.pid), signal.SIGTERM)
                self.child.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                self.child.kill()
                self.child.wait()
        self.child.stdout.close()
        self.child.stdin.close()

    def errors(self):
        self.log.seek(0)
        return last_line(self.log.read())

    def ask(self):
        """The allocation counters of a `peers-alloc` server."""
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def status(self):
        """Resident KiB, threads, voluntary switches and CPU nanoseconds."""
        text = open(f"/proc/{self.pid}/status").read()
        out = {"rss": int(re.search(r"VmRSS:\s+(\d+)", text)[1]), "threads": 0, "switches": 0, "cpu": 0}
        for task in os.listdir(f"/proc/{self.pid}/task"):
            at = f"/proc/{self.pid}/task/{task}"
            text = open(f"{at}/status").read()
            out["switches"] += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", text)[1])
            out["cpu"] += int(open(f"{at}/schedstat").read().split()[0])
            out["threads"] += 1
        return out


def load(peers, server, args, limit=60):
    command = [peers, "load", "--addr", server.addr, "--core", CLIENT_CORE, "--limit", limit, *args]
    try:
        return last_json(run(command, limit + 5)[0])
    except Failed as failed:
        if server.child.poll() is not None:
            raise Failed(f"the server ended: {server.errors()}") from None
        raise failed


def served(peers, contestant, shape, requests, timed=False, limit=60, **server):
    """One load of a fresh server. A proxy gets its backend, which is in the load, first."""
    args = shape.load_args(requests)
    if shape.kind == "proxy":
        return proxied(peers, contestant, shape, args, timed, limit, **server)
    with Server(peers, contestant, shape.buffer, kind=shape.kind, **server) as s:
        said = load(peers, s, [*(["--pid", s.pid] if timed else []), *args], limit)
        time.sleep(0 if timed else 0.1)
        return said


def proxied(peers, contestant, shape, args, timed, limit, **server):
    command = [peers, "load", "--core", CLIENT_CORE, "--limit", limit, *args]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(
            [str(a) for a in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True) as child:
        try:
            backend = json.loads(child.stdout.readline())["backend"]
            with Server(peers, contestant, shape.buffer, kind="proxy", backend=backend, **server) as s:
                said, _ = child.communicate(f"{s.pid if timed else 0} {s.addr}\n", limit + 5)
                if child.returncode != 0 and s.child.poll() is not None:
                    raise Failed(f"the proxy ended: {s.errors()}")
                time.sleep(0 if timed else 0.1)
        finally:
            child.kill()
        log.seek(0)
        if child.returncode != 0:
            raise Failed(last_line(log.read()))
        return last_json(said)


def echo(peers, contestant, shape):
    """One timed round against a fresh server."""
    return served(peers, contestant, shape, shape.requests, timed=True)


def micro(peers, contestant, work, n=None, alloc=False, warm=None, limit=60):
    command = [peers, *(["alloc"] if alloc else []), "micro", contestant, work.workload,
               *work.args(n or work.n, warm), "--core", SERVER_CORE, "--peer-core", CLIENT_CORE,
               "--limit", limit]
    return last_json(run(command, limit + 5)[0])


def read_strace(path):
    """{name: (calls, errors)} of `strace -c`."""
    calls = {}
    for line in open(path):
        m = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(\d+)?\s*(\w+)\s*$", line)
        if m and m[3] != "total":
            calls[m[3]] = (int(m[1]), int(m[2] or 0))
    if not calls:
        raise Failed("strace counted nothing")
    return calls


def per_op(one, two, ops):
    """The difference of two counts per operation, names that matter only."""
    out = {}
    for name in set(one) | set(two):
        (c1, e1), (c2, e2) = one.get(name, (0, 0)), two.get(name, (0, 0))
        calls, errors = (c2 - c1) / ops, (e2 - e1) / ops
        if abs(calls) >= 0.0005:
            out[name] = [round(calls, 4), round(errors, 4)]
    return out


def strace_echo(peers, contestant, shape):
    counts = []
    for n in shape.count:
        with tempfile.NamedTemporaryFile() as f:
            served(peers, contestant, shape, n, wrap=["strace", "-f", "-c", "-o", f.name])
            counts.append(read_strace(f.name))
    return per_op(*counts, shape.count[1] - shape.count[0])


def strace_micro(peers, contestant, work):
    counts = []
    for n in work.count:
        with tempfile.NamedTemporaryFile() as f:
            run(["strace", "-f", "-c", "-o", f.name, peers, "micro", contestant, work.workload,
                 *work.args(n, 100), "--limit", 100], 105)
            counts.append(read_strace(f.name))
    return per_op(*counts, work.count[1] - work.count[0])


def valgrind(directory):
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out",
            f"--log-file={directory}/log"]


def collected(directory):
    log = open(f"{directory}/log").read()
    m = re.search(r"Collected : (\d+)", log)
    if not m:
        lines = [re.sub(r"^==\d+== ?", "", x) for x in log.splitlines()[6:]]
        said = [x for x in lines if x and not x.startswith("For interactive")]
        raise Failed("callgrind: " + (said[0] if said else "counted nothing, it had to be killed"))
    return int(m[1])


def dumped(server, directory, part):
    """What callgrind counted since the last dump. A dump by vgdb reaches also a server that waits in
    io_uring_enter, which a signal under valgrind does not."""
    run(["vgdb", f"--pid={server.pid}", "dump"], 20)
    text = open(f"{directory}/out.{part}").read()
    m = re.search(r"^totals: (\d+)", text, re.M)
    if not m:
        raise Failed("callgrind dumped no totals")
    return int(m[1])


def instructions_echo(peers, contestant, shape):
    """Three loads of one server; the first is for what happens once."""
    counts = []
    with tempfile.TemporaryDirectory() as d:
        with Server(peers, contestant, shape.buffer, wrap=valgrind(d), limit=300, kind=shape.kind) as s:
            for part, n in enumerate((shape.count[0], *shape.count), 1):
                load(peers, s, shape.load_args(n), 120)
                counts.append(dumped(s, d, part))
    return (counts[2] - counts[1]) / (shape.count[1] - shape.count[0])


def instructions_micro(peers, contestant, work):
    counts = []
    for n in work.count:
        with tempfile.TemporaryDirectory() as d:
            run([*valgrind(d), peers, "micro", contestant, work.workload, *work.args(n, 100),
                 "--limit", 200], 205)
            counts.append(collected(d))
    return (counts[1] - counts[0]) / (work.count[1] - work.count[0])


def connections(peers, contestant, n, alloc):
    """Resident and live bytes per idle connection, from one that is open to `n`."""
    with Server(peers, contestant, idle=True, alloc=alloc) as server:
        points = []
        for conns in (1, n):
            command = [peers, "load", "--addr", server.addr, "--conns", conns, "--hold", 1, "--core",
                       CLIENT_CORE, "--limit", 60]
            holder = subprocess.Popen([str(a) for a in command], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
            line = holder.stdout.readline()
            time.sleep(0.5)
            if not line or server.child.poll() is not None:
                holder.kill()
                holder.wait()
                raise Failed(server.errors())
            points.append(server.ask() if alloc else server.status())
            holder.stdin.close()
            holder.wait(20)
            time.sleep(0.3)
        (a, b), more = points, n - 1
        if alloc:
            return {"live": (b["live"] - a["live"]) / more, "allocs": (b["calls"] - a["calls"]) / more}
        return {"rss": (b["rss"] - a["rss"]) * 1024 / more}


def idle(peers, contestant):
    """Threads, wake-ups and CPU of a server that nobody calls, over two seconds; system calls too."""
    with Server(peers, contestant) as server:
        time.sleep(0.5)
        a = server.status()
        time.sleep(2)
        b = server.status()
    calls = []
    for seconds in (0.5, 2.5):
        with tempfile.NamedTemporaryFile() as f:
            with Server(peers, contestant, wrap=["strace", "-f", "-c", "-o", f.name]):
                time.sleep(seconds)
            calls.append(sum(c for c, _ in read_strace(f.name).values()))
    return {"threads": b["threads"], "wakeups": (b["switches"] - a["switches"]) / 2,
            "cpu_us": (b["cpu"] - a["cpu"]) / 2e3, "syscalls": (calls[1] - calls[0]) / 2}
