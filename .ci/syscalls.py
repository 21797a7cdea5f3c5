#!/usr/bin/env python3
"""Counts the system calls of a running example with strace.

    syscalls.py echo  --backend NAME
        a steady 64-byte echo costs one receive and one send a request, and the wait
    syscalls.py idle  --backend NAME --connections 1000
        a server whose clients are silent makes no system call in 5 seconds
    syscalls.py sleep --backend NAME --sleeps 3
        the example prints `sleeping`, sleeps one second so many times and prints `done`; each sleep costs one call

The default example is `sleep` for the mode of that name and `echo` for the rest. strace is attached to a server only
while calls are counted. Attaching and detaching interrupt the wait, so calls outside the counted time are left out by
their time stamps.
"""

import argparse
import collections
import importlib.util
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

_path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "echo-client.py")
_spec = importlib.util.spec_from_file_location("echo_client", _path)
client = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(client)
Failed, expect = client.Failed, client.expect

# The calls of one wait, by backend, with the most that a wait may make of each. A tuple lists names of which the host
# uses one. All other calls count as the program's. rtsig sleeps in a ppoll, reads the signals, and polls the fds that
# they name by a second ppoll (in the next wait if there are more). io-uring confirms by a ppoll that a readiness may be
# over, even if the answers are in the ring and no io_uring_enter is needed.
WAITS = {
    "epoll": {("epoll_wait", "epoll_pwait", "epoll_pwait2"): 1},
    "poll": {("poll", "ppoll"): 1},
    "select": {("select", "pselect6"): 1},
    "rtsig": {("poll", "ppoll"): 2, ("read",): 1},
    "io-uring": {("io_uring_enter",): 1, ("poll", "ppoll"): 1},
}
CALL = re.compile(r"^(?:\d+ +)?(\d+\.\d+) (\w+)\((.*)")


class Call(collections.namedtuple("Call", "time name text")):
    def failed(self, name):
        return f" {name} (" in self.text


class Trace:
    """strace attached to a process. `calls(begin, end)` detaches it and returns the calls of that time."""

    def __init__(self, pid):
        self.log = tempfile.NamedTemporaryFile(mode="r", suffix=".strace")
        self.process = subprocess.Popen(
            ["strace", "-f", "-qq", "-ttt", "-e", "signal=none", "-o", self.log.name, "-p", str(pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        # It is attached once the kernel names a tracer.
        def attached():
            with open(f"/proc/{pid}/status") as file:
                return not re.search(r"^TracerPid:\s*0$", file.read(), re.M)

        client.wait_for(lambda: attached() or self.process.poll() is not None, client.PATIENCE, "strace did not attach")
        expect(self.process.poll() is None, "strace ended")
        time.sleep(0.7)                         # the program has entered the interrupted wait again

    def calls(self, begin, end):
        self.detach()
        found = []
        for line in self.log:
            match = CALL.match(line)
            if match and begin <= float(match.group(1)) <= end:
                found.append(Call(float(match.group(1)), match.group(2), match.group(3)))
        return found

    def detach(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(client.PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(client.PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.detach()
        self.log.close()


def by_name(calls):
    return ", ".join(f"{name} {count}" for name, count in collections.Counter(c.name for c in calls).most_common())


def dial(server):
    s = client.connected(server.address)
    s.settimeout(client.PATIENCE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def rounds(sockets, count):
    """Each round sends 64 bytes on every connection, then receives every answer."""
    request = bytes(range(64))
    for _ in range(count):
        for s in sockets:
            s.sendall(request)
        for s in sockets:
            got = s.recv(64)
            while len(got) < 64:
                more = s.recv(64 - len(got))
                expect(more, "closed in the middle of an echo")
                got += more
            expect(got == request, "other bytes came back")


def echo(options):
    bad = 0
    with client.Server(client.server_command(options)) as server:
        for connections, repeat in ((1, 1000), (64, 30)):
            sockets = [dial(server) for _ in range(connections)]
            rounds(sockets, 20)
            with Trace(server.pid) as trace:
                begin = time.time()
                rounds(sockets, repeat)
                end = time.time()
                calls = trace.calls(begin, end)
            for s in sockets:
                s.close()
            bad += judge_echo(calls, connections, connections * repeat, WAITS[server.backend])
    return bad


def judge_echo(calls, connections, requests, allowed):
    counts = {names: sum(c.name in names for c in calls) for names in allowed}
    waiting = {name for names in allowed for name in names}
    waits = sum(counts.values())
    others = len(calls) - waits
    again = sum(c.failed("EAGAIN") for c in calls if c.name not in waiting)
    print(f"{connections:4} connections, {requests} requests: {others / requests:.3f} calls and {waits / requests:.3f} "
          f"to wait a request, {again} ended in EAGAIN ({by_name(calls)})")
    faults = []
    if not 1.98 * requests <= others <= 2.02 * requests:
        faults.append("2 calls a request are expected beside the wait")
    # One wait may return the events of many connections; a request never needs more than one.
    for names, most in allowed.items():
        if counts[names] > (most + 0.02) * requests:
            faults.append(f"more than {most} {names[-1]} a request")
    if again > 0.01 * requests:
        faults.append("reads or writes that end in EAGAIN")
    for fault in faults:
        print(f"FAILED  {connections} connections: {fault}")
    return len(faults)


def idle(options):
    with client.Server(client.server_command(options)) as server:
        sockets = [dial(server) for _ in range(options.connections)]
        rounds(sockets, 2)
        # On a loaded machine the program may enter the interrupted wait late; then it is tried again.
        for _ in range(3):
            with Trace(server.pid) as trace:
                begin = time.time()
                time.sleep(5.0)
                calls = trace.calls(begin, begin + 5.0)
            if not calls:
                break
        rounds(sockets[:1], 1)
        for s in sockets:
            s.close()
    print(f"idle with {options.connections} connections: {len(calls)} calls in 5 s {by_name(calls)}")
    if calls:
        print("FAILED  an idle server makes system calls")
    return 1 if calls else 0


def sleep(options):
    program = client.build_example(options.example)
    environment = dict(os.environ)
    if options.backend:
        environment["REVEILLE_BACKEND"] = options.backend
    with tempfile.NamedTemporaryFile(mode="r", suffix=".strace") as log:
        process = subprocess.Popen(
            ["strace", "-f", "-qq", "-ttt", "-e", "signal=none", "-o", log.name, program], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        try:
            said = process.communicate(timeout=options.sleeps + client.PATIENCE)[1]
        finally:
            # strace leads a process group with the program in it, which would outlive a killed strace.
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(client.PATIENCE)
        expect(process.returncode == 0, f"{options.example} ended with status {process.returncode}: {said[-300:]}")
        calls = [Call(float(m.group(1)), m.group(2), m.group(3)) for m in map(CALL.match, log) if m]
    marks = [i for i, c in enumerate(calls) if c.name == "write" and ('"sleeping' in c.text or '"done' in c.text)]
    expect(len(marks) == 2, f"{options.example} writes `sleeping` and `done`, each once and at once")
    between = calls[marks[0] + 1 : marks[1]]
    took = calls[marks[1]].time - calls[marks[0]].time
    print(f"{options.sleeps} sleeps of 1 s: {len(between)} calls in {took:.3f} s ({by_name(between)})")
    expect(took >= options.sleeps, "woken early")
    if len(between) > options.sleeps:
        print("FAILED  a sleep costs more than one call")
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["echo", "idle", "sleep"])
    parser.add_argument("--example", help="`sleep` for the mode of that name, else `echo`")
    parser.add_argument("--backend")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--sleeps", type=int, default=3)
    parser.add_argument("--server")
    options = parser.parse_args()
    options.example = options.example or ("sleep" if options.mode == "sleep" else "echo")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65536), hard))
    print(f"--- {options.mode}, backend {options.backend}")
    try:
        bad = {"echo": echo, "idle": idle, "sleep": sleep}[options.mode](options)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"FAILED  {options.mode}: {error}")
        bad = 1
    return 1 if bad else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
