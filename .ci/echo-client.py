#!/usr/bin/env python3
"""Drives an echo example with a client in another process, over loopback.

    echo-client.py many       --example echo --backend NAME --connections N
    echo-client.py emfile     --example echo --backend NAME --connections N
    echo-client.py idle-close --example callback_echo --backend NAME --connections N
    echo-client.py command    'cargo run --release --example echo'

    many        opens many connections at once, echoes through all of them, and checks that the descriptors come back
    emfile      gives the example 64 descriptors and more clients than that
    idle-close  starts it with `--idle-ms`: it must close silent connections, none too early, and never a busy one
    command     starts the given command line and echoes once

The rest of what an echo server can get wrong is tested in tests/tcp*.rs.

The example prints `listening on IP:PORT backend=NAME` as its first line. With `--server 'COMMAND'` the script starts
that command in place of the example, with `--addr 127.0.0.1:0 --backend NAME` appended.

The client has one thread and non-blocking sockets. It compares all bytes with one shared pool, so its memory does not
grow with the number of connections. Every phase has a deadline. Only 127.0.0.1 is used. At the end the script kills
the process group that it made for the server.
"""

import argparse
import errno
import json
import os
import random
import re
import resource
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20
POOL = random.Random(20).randbytes(3 * MIB)
BUILD_SECONDS = 540
PATIENCE = 60.0             # seconds; longer than any step takes on a slow machine
IDLE_MS = 2000
LISTENING = re.compile(r"^listening on (127\.0\.0\.1):(\d+)\b(?:.*\bbackend=(\S+))?")


class Failed(Exception):
    """A check did not hold; the message says which."""


def expect(condition, message):
    if not condition:
        raise Failed(message)


# --- the server -----------------------------------------------------------------------------------


def build_example(name):
    """Builds the example and returns the path of its executable."""
    run = subprocess.run(
        ["cargo", "build", "--release", "--example", name, "--message-format=json"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=BUILD_SECONDS, text=True,
    )
    expect(run.returncode == 0, f"the example {name} does not build")
    for line in run.stdout.splitlines():
        if not line.startswith("{"):
            continue
        message = json.loads(line)
        if message.get("executable") and "example" in message.get("target", {}).get("kind", []):
            return message["executable"]
    raise Failed(f"cargo names no executable for the example {name}")


class Server:
    """A server process in its own process group. Its first line says where it listens."""

    def __init__(self, argv, nofile=None, shell=False, wait=PATIENCE):
        self.errors = tempfile.TemporaryFile(mode="w+b")

        def limits():
            if nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

        self.process = subprocess.Popen(
            argv, shell=shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors,
            start_new_session=True, preexec_fn=limits,
        )
        self.lines = []
        self.first = threading.Event()
        # Read to the end, so that the server never blocks on a full pipe.
        threading.Thread(target=self._drain, daemon=True).start()
        try:
            self._listening(wait)
        except Failed:
            self.stop()
            raise

    def _drain(self):
        for raw in self.process.stdout:
            if len(self.lines) < 1000:
                self.lines.append(raw.decode(errors="replace").rstrip())
            self.first.set()
        self.first.set()

    def _listening(self, wait):
        self.first.wait(wait)
        expect(self.lines, f"no first line within {wait:.0f} s: {self.said()}")
        match = LISTENING.match(self.lines[0])
        expect(match, f"the first line is {self.lines[0]!r}, not `listening on 127.0.0.1:PORT backend=NAME`")
        self.address = (match.group(1), int(match.group(2)))
        self.backend = match.group(3)
        self.pid = self._find()

    def _find(self):
        """The process that serves. `cargo run` and a shell either exec it or have it as a child."""
        pid = self.process.pid
        for _ in range(8):
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as file:
                    children = file.read().split()
            except OSError:
                break
            if not children:
                break
            pid = int(children[0])
        return pid

    def said(self):
        self.errors.seek(0)
        return self.errors.read()[-2000:].decode(errors="replace").strip()

    def settle(self):
        """Records how many descriptors it has at rest, after a first client has come and gone."""
        connected(self.address).close()
        time.sleep(0.3)
        self.baseline = self.descriptors()

    def alive(self):
        return self.process.poll() is None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self):
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def busy(self, seconds, most):
        """The CPU time used over some seconds, as a share of one core.

        Measures up to three times and returns the least, because the server may still have work to do at first and
        the kernel's clock ticks are coarse.
        """
        least = 1.0
        for _ in range(3):
            before, begin = self.cpu_seconds(), time.monotonic()
            time.sleep(seconds)
            least = min(least, (self.cpu_seconds() - before) / (time.monotonic() - begin))
            if least <= most:
                break
        return least

    def stop(self):
        # The group holds only what this process started. Its leader is signaled before it is reaped.
        if self.process.returncode is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# --- the client -----------------------------------------------------------------------------------


class Echo:
    """One connection that sends a part of the pool and compares what comes back."""

    def __init__(self, address, offset, size, half_close=False, close=True, over=None):
        self.offset, self.size = offset, size
        self.half_close, self.close_at_end = half_close, close
        self.sent = self.received = 0
        self.write_closed = self.done = False
        self.socket = over or dial(address)

    def writing(self):
        return self.sent < self.size

    def on_writable(self):
        end = min(self.offset + self.sent + 262144, self.offset + self.size)
        self.sent += self.socket.send(memoryview(POOL)[self.offset + self.sent : end])
        if not self.writing() and self.half_close:
            self.socket.shutdown(socket.SHUT_WR)
            self.write_closed = True

    def on_readable(self):
        data = self.socket.recv(65536)
        if not data:
            expect(self.write_closed, f"closed by the server after {self.received} of {self.size} bytes")
            expect(self.received == self.size, f"end of file after {self.received} of {self.size} bytes")
            self.finish()
            return
        expect(self.received + len(data) <= self.size, "more came back than was sent")
        expect(
            POOL.startswith(data, self.offset + self.received),
            f"other bytes came back, between {self.received} and {self.received + len(data)} of {self.size}",
        )
        self.received += len(data)
        if self.received == self.size and not self.half_close:
            self.finish()

    def finish(self):
        self.done = True
        if self.close_at_end:
            self.socket.close()


def dial(address, receive_buffer=None):
    """A non-blocking connection that may not be established yet."""
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setblocking(False)
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    code = s.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        s.close()
        raise Failed(f"connect: {os.strerror(code)}")
    return s


def drive(connections, seconds, what, until=None):
    """Runs connections until all are done, or until `until()` holds; fails at the deadline."""
    deadline = time.monotonic() + seconds
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    with selectors.EpollSelector() as selector:
        for c in connections:
            if not c.done:
                selector.register(c.socket, both if c.writing() else selectors.EVENT_READ, c)
        try:
            while selector.get_map() and not (until and until()):
                left = deadline - time.monotonic()
                expect(left > 0, f"{what}: {unfinished(connections)} after {seconds:.0f} s")
                for key, events in selector.select(min(left, 0.5)):
                    serve(selector, key, events, what)
        except BaseException:
            for c in connections:
                c.socket.close()
            raise


def serve(selector, key, events, what):
    c = key.data
    try:
        if events & selectors.EVENT_WRITE and c.writing():
            c.on_writable()
            if not c.writing():
                selector.modify(c.socket, selectors.EVENT_READ, c)
        if events & selectors.EVENT_READ:
            fd = c.socket.fileno()
            c.on_readable()
            if c.done:
                selector.unregister(fd)
    except BlockingIOError:
        pass
    except OSError as error:
        raise Failed(f"{what}: {error} after {c.sent} of {c.size} bytes sent, {c.received} received") from error


def unfinished(connections):
    late = [c for c in connections if not c.done]
    example = f", one has {late[0].received} of {late[0].size} bytes" if late else ""
    return f"{len(late)} of {len(connections)} connections unfinished{example}"


def echo(address, size, seconds=PATIENCE, what="echo", **options):
    drive([Echo(address, 0, size, **options)], seconds, what)


def connected(address):
    s = dial(address)
    s.setblocking(True)
    s.settimeout(PATIENCE)
    s.sendall(b"x")
    expect(s.recv(1) == b"x", "a fresh connection was not echoed")
    s.setblocking(False)
    return s


def wait_for(condition, seconds, message):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, message() if callable(message) else message)
        time.sleep(0.02)


# --- the checks of `many` -------------------------------------------------------------------------


def many(server, connections):
    rng = random.Random(7)
    # Connections open in waves, and each gets a byte back before the next wave. So the listen queue does not
    # overflow, and all connections are open when the load begins.
    open_sockets = []
    while len(open_sockets) < connections:
        wave = [Echo(server.address, 0, 1, close=False) for _ in range(min(64, connections - len(open_sockets)))]
        drive(wave, PATIENCE, "opening connections")
        open_sockets += [c.socket for c in wave]
    # Sizes spread evenly over the orders of magnitude; one in twenty is a full mebibyte.
    sizes = [MIB if rng.random() < 0.05 else int(2 ** rng.uniform(0, 20)) for _ in range(connections)]
    drive(
        [
            Echo(server.address, rng.randrange(2 * MIB), size, half_close=rng.random() < 0.3, over=s)
            for size, s in zip(sizes, open_sockets)
        ],
        150, "concurrent connections",
    )
    return f"{connections} connections, {sum(sizes) / MIB:.0f} MiB"


def wait_writable(s):
    with selectors.DefaultSelector() as selector:
        selector.register(s, selectors.EVENT_WRITE)
        expect(selector.select(PATIENCE), "no connection")
    code = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    expect(code == 0, f"connect: {os.strerror(code)}")


def descriptors_return(server, _):
    wait_for(
        lambda: server.descriptors() <= server.baseline,
        PATIENCE, lambda: f"{server.descriptors()} descriptors with no client left, {server.baseline} at the start",
    )


def still_serves(server, _):
    expect(server.alive(), f"the server has ended: {server.said()}")
    echo(server.address, MIB)
    return f"{server.resident() / MIB:.1f} MiB resident"


def many_connections(options):
    command = server_command(options)
    with Server(command) as server:
        expect(
            server.backend == options.backend or options.backend is None,
            f"asked for backend {options.backend}, the first line says {server.backend}",
        )
        print(f"{server.lines[0]} (pid {server.pid})")
        server.settle()
        return run_checks([many, descriptors_return, still_serves], server, options)


def run_checks(checks, server, options):
    bad = 0
    for check in checks:
        begin = time.monotonic()
        try:
            note = check(server, options.connections) or ""
            result = f"ok      {check.__name__}"
        except (Failed, OSError) as error:
            note, bad = str(error) or repr(error), bad + 1
            result = f"FAILED  {check.__name__}"
        print(f"{result:32} {time.monotonic() - begin:6.2f} s  {note}", flush=True)
        if not server.alive():
            print(f"FAILED  the server ended with status {server.process.returncode}: {server.said()}")
            return bad + 1
    if bad:
        print(f"the server's stderr ends: {server.said()!r}")
    return bad


# --- the checks of `emfile` -----------------------------------------------------------------------


def emfile(options):
    """More clients than descriptors: some wait, the server does not spin, and all are served when others leave."""
    limit = 64
    argv = [build_example(options.example), *arguments_of(options)] if not options.server else server_command(options)
    with Server(argv, nofile=limit) as server:
        print(f"{server.lines[0]} (pid {server.pid}, {limit} descriptors)")
        server.settle()
        rng = random.Random(3)
        clients = [
            Echo(server.address, rng.randrange(MIB), 64, close=False) for _ in range(options.connections)
        ]

        def served():
            return [c for c in clients if c.done]

        # As many clients as there are descriptors get their echo; the rest wait.
        state = {"count": -1, "since": time.monotonic()}

        def settled():
            if len(served()) != state["count"]:
                state["count"], state["since"] = len(served()), time.monotonic()
            # A lower count may also mean that the server needs more time.
            quiet = 2.0 if state["count"] >= limit // 2 else PATIENCE / 2
            return time.monotonic() - state["since"] > quiet

        drive(clients, 2 * PATIENCE, "the first clients", until=settled)
        first = served()
        expect(server.alive(), f"the server ended: {server.said()}")
        print(f"ok      {len(first)} of {len(clients)} clients served with {server.descriptors()} descriptors open")
        expect(len(first) >= limit // 2, f"only {len(first)} clients are served with {limit} descriptors")
        expect(len(first) < len(clients), "every client is served: the limit did not take hold")

        share = server.busy(4.0, 0.05)
        expect(share <= 0.05, f"the server uses {share:.0%} of a core while it has no descriptor left")
        print(f"ok      {share:.1%} of a core while none is left")

        # Accepted clients are still served.
        s = first[0].socket
        s.settimeout(PATIENCE)
        s.sendall(b"still there")
        expect(s.recv(100) == b"still there", "an accepted client was not echoed")
        print("ok      an accepted client is still echoed")

        # When clients leave, waiting ones are accepted.
        deadline = time.monotonic() + PATIENCE
        while True:
            for c in served():
                c.socket.close()
            waiting = [c for c in clients if not c.done]
            if not waiting:
                break
            left = deadline - time.monotonic()
            count = len(waiting)
            expect(left > 0, f"{count} clients never served though the others have left")
            drive(waiting, left, "waiting clients", until=lambda: sum(not c.done for c in waiting) < count)
        print("ok      the waiting clients were served as others left")

        echo(server.address, MIB, what="a new client at the end")
        wait_for(
            lambda: server.descriptors() <= server.baseline, PATIENCE,
            lambda: f"{server.descriptors()} descriptors with no client left, {server.baseline} at the start",
        )
        share = server.busy(2.0, 0.03)
        expect(share <= 0.03, f"the server uses {share:.0%} of a core with no client")
        expect(server.alive(), f"the server ended: {server.said()}")
        print("ok      serves again, descriptors are back, idle")
    return 0


# --- the check of `idle-close` --------------------------------------------------------------------


class Timed:
    """A connection to a server that closes idle ones, with the times of its writes and of its end."""

    def __init__(self, s, sent):
        self.socket = s
        self.sent = sent            # before the last write; the server cannot have read it earlier
        self.longest = 0.0          # longest time between the ends of two writes
        self.written = time.monotonic()
        self.answered = sent        # `sent` of the last write that came back whole
        self.owed = 0
        self.closed = None

    def write(self):
        if self.closed:
            return
        before = time.monotonic()
        try:
            self.socket.send(POOL[:8])
        except (BrokenPipeError, ConnectionResetError):
            self.closed = time.monotonic()
            return
        self.owed += 8
        after = time.monotonic()
        self.longest = max(self.longest, after - self.written)
        self.sent, self.written = before, after

    def read(self):
        data = self.socket.recv(65536)
        if data:
            expect(len(data) <= self.owed, "more came back than was sent")
            self.owed -= len(data)
            if not self.owed:
                self.answered = self.sent
        else:
            self.closed = time.monotonic()


class NoVerdict(Failed):
    """The machine was too slow to tell."""


def idle_close(options):
    for ms in (IDLE_MS, 2 * IDLE_MS):
        try:
            return idle_close_after(options, ms)
        except NoVerdict as reason:
            print(f"again   {reason}")
    return idle_close_after(options, 4 * IDLE_MS)


def idle_close_after(options, ms):
    """Half of the connections are silent; the rest write for four times the limit and are silent then."""
    limit = ms / 1000
    with Server(server_command(options) + ["--idle-ms", str(ms)]) as server:
        print(f"{server.lines[0]} (pid {server.pid}, idle after {ms} ms)")
        server.settle()
        timed = []
        with selectors.EpollSelector() as selector:
            # Opened connections write between the waves, so that none reaches the limit before all are open.
            for wave in range(0, options.connections, 64):
                for c in timed:
                    c.write()
                for _ in range(wave, min(wave + 64, options.connections)):
                    sent = time.monotonic()
                    timed.append(Timed(connected(server.address), sent))
                    selector.register(timed[-1].socket, selectors.EVENT_READ, timed[-1])
                listen_to(selector, 0)
            bad = idle_rounds(selector, timed[0::2], timed[1::2], limit)
        for c in timed:
            c.socket.close()
        descriptors_return(server, None)
        still_serves(server, None)
    return bad


def listen_to(selector, seconds):
    for key, _ in selector.select(seconds):
        c = key.data
        try:
            c.read()
        except ConnectionResetError:
            # The server closed it while our bytes were on their way.
            c.closed = time.monotonic()
        if c.closed:
            selector.unregister(c.socket)


def idle_rounds(selector, silent, busy, limit):
    end = time.monotonic() + 4 * limit
    while time.monotonic() < end:
        for c in busy:
            c.write()
        again = time.monotonic() + limit / 8
        while time.monotonic() < again:
            listen_to(selector, max(0, again - time.monotonic()))
    # Two kinds of connections prove nothing on a busy machine: those to which this client itself wrote too late, and
    # those from which the server had no time to read.
    judged = [c for c in busy if c.longest < limit and not (c.closed and c.closed - c.answered >= limit)]
    wrong = [c for c in judged if c.closed]
    print(f"{len(judged)} of {len(busy)} busy connections judged, the longest pause of one is "
          f"{max(c.longest for c in busy):.2f} s")
    if not judged:
        raise NoVerdict("this machine was too slow to keep one connection busy: no verdict")
    expect(not wrong, f"{len(wrong)} of {len(judged)} busy connections were closed")
    wait_closed(selector, silent, "silent from the beginning")
    print(f"ok      {len(silent)} silent connections closed, {len(judged)} busy ones served for {4 * limit:.0f} s")
    wait_closed(selector, busy, "silent in the end")
    # The silent ones wrote while the others were opened. The server closed those that this client kept waiting,
    # and its last write to them came too late.
    timely = [c for c in silent if c.longest < limit and c.answered == c.sent]
    if not timely:
        raise NoVerdict("this machine was too slow to open the connections: no verdict")
    early = [c for c in timely + judged if c.closed - c.sent < limit]
    expect(not early, f"{len(early)} connections closed within {limit} s of their last byte")
    owed = [c for c in judged if c.owed]
    expect(not owed, f"{len(owed)} busy connections did not get all their bytes back")
    print(f"ok      busy connections closed after they fell silent; no busy one and none of {len(timely)} silent ones "
          f"within {limit} s of its last byte")
    return 0


def wait_closed(selector, connections, which):
    end = time.monotonic() + PATIENCE
    while not all(c.closed for c in connections):
        left = sum(not c.closed for c in connections)
        expect(time.monotonic() < end, f"{left} of {len(connections)} connections, {which}, are open after {PATIENCE:.0f} s")
        listen_to(selector, 0.5)


# --- the check of `command` -----------------------------------------------------------------------


def command(options):
    with Server(options.command_line, shell=True, wait=BUILD_SECONDS) as server:
        print(server.lines[0])
        echo(server.address, 1000)
        echo(server.address, MIB, half_close=True)
        expect(server.alive(), f"the server ended: {server.said()}")
    print("ok      answers a client")
    return 0


# --- starting -------------------------------------------------------------------------------------


def arguments_of(options):
    return ["--addr", "127.0.0.1:0"] + (["--backend", options.backend] if options.backend else [])


def server_command(options):
    if options.server:
        return shlex.split(options.server) + arguments_of(options)
    build_example(options.example)
    return ["cargo", "run", "-q", "--release", "--example", options.example, "--", *arguments_of(options)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["many", "emfile", "idle-close", "command"])
    parser.add_argument("command_line", nargs="?")
    parser.add_argument("--example", default="echo")
    parser.add_argument("--backend")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--server")
    options = parser.parse_args()
    if (options.mode == "command") != (options.command_line is not None):
        parser.error("`command`, and only it, takes a command line")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(hard, 65536)) if hard != resource.RLIM_INFINITY else max(soft, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        modes = {"many": many_connections, "emfile": emfile, "idle-close": idle_close, "command": command}
        bad = modes[options.mode](options)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"FAILED  {options.mode}: {error}")
        bad = 1
    return 1 if bad else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
