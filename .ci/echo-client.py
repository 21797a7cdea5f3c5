#!/usr/bin/env python3
"""Drives an echo example with a real client over loopback.

    echo-client.py full       --example echo --backend NAME --connections N
    echo-client.py emfile     --example echo --backend NAME --connections N
    echo-client.py idle-close --example callback_echo --backend NAME --connections N
    echo-client.py arguments  --example echo --backend NAME
    echo-client.py command    'cargo run --release --example echo'

`full` starts the example and echoes through it in every way that has broken servers: many connections,
slow readers, half-close, resets, clients that vanish. `emfile` gives it 64 descriptors and more clients than
that. `idle-close` starts it with `--idle-ms`: silent connections are closed, not too early, and busy ones never.
`arguments` looks at its command line. `command` starts a given command line and echoes once.

The example prints `listening on IP:PORT backend=NAME` as its first line. `--server 'COMMAND'` starts another
server than the example; it gets `--addr 127.0.0.1:0 --backend NAME` appended.

One thread, non-blocking sockets, data compared byte for byte against one shared pool: memory does not grow with
the number of connections. Every phase has a deadline, only 127.0.0.1 is used, and the server is killed at the
end by the process group that was made for it.
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
import struct
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20
POOL = random.Random(20).randbytes(3 * MIB)
BUILD_SECONDS = 540
PATIENCE = 60.0             # seconds: what takes longer hangs, on the slowest machine
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
    """A server process in a process group of its own, known by its first line."""

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
        # Reads to the end, so that a talkative server never blocks on a full pipe.
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
        """The process that serves: `cargo run` and a shell usually become it, or else have it as a child."""
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
        """Notes how many descriptors it has at rest, once a first client has come and gone."""
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
        """CPU time used over some seconds, as a share of one core; the least of three, if it is more than `most`.

        On a loaded machine something may be left to be done at first, and the kernel's clock ticks are coarse.
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
        # The group holds only what this process started, and the leader is not reaped before it is signalled.
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
    """One connection that sends a stretch of the pool and compares what comes back."""

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
    """A non-blocking connection that may still be on its way."""
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


def fill(s, seconds=10.0, quiet=0.5):
    """Sends 64 KiB of the pool over and over, reading nothing, until it is stuck; how many bytes went."""
    sent, end, last = 0, time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < end and time.monotonic() - last < quiet and sent < 64 * MIB:
        try:
            sent += s.send(memoryview(POOL)[sent % 65536 : 65536])
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.005)
        except OSError as error:
            raise Failed(f"send: {error} after {sent} bytes") from error
    return sent


def connected(address):
    s = dial(address)
    s.setblocking(True)
    s.settimeout(PATIENCE)
    s.sendall(b"x")
    expect(s.recv(1) == b"x", "a fresh connection was not echoed")
    s.setblocking(False)
    return s


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def wait_for(condition, seconds, message):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, message() if callable(message) else message)
        time.sleep(0.02)


# --- the checks of `full` -------------------------------------------------------------------------


def small_echo(server, _):
    s = connected(server.address)
    s.settimeout(PATIENCE)
    for size in (1, 2, 63, 64, 1000, 4096, 16384, 16385):
        s.sendall(POOL[:size])
        got = b""
        while len(got) < size:
            data = s.recv(65536)
            expect(data, f"closed in the middle of {size} bytes")
            got += data
        expect(got == POOL[:size], f"{size} bytes came back changed")
    s.close()


def one_mebibyte(server, _):
    echo(server.address, MIB)


def many(server, connections):
    rng = random.Random(7)
    # Each is answered a byte before the next wave starts: all are open at once when the load begins, and no
    # listen queue overflows, which would say something about the kernel and nothing about the server.
    open_sockets = []
    while len(open_sockets) < connections:
        wave = [Echo(server.address, 0, 1, close=False) for _ in range(min(64, connections - len(open_sockets)))]
        drive(wave, PATIENCE, "opening connections")
        open_sockets += [c.socket for c in wave]
    # Sizes spread evenly over the orders of magnitude, with one in twenty a full mebibyte.
    sizes = [MIB if rng.random() < 0.05 else int(2 ** rng.uniform(0, 20)) for _ in range(connections)]
    drive(
        [
            Echo(server.address, rng.randrange(2 * MIB), size, half_close=rng.random() < 0.3, over=s)
            for size, s in zip(sizes, open_sockets)
        ],
        150, "concurrent connections",
    )
    return f"{connections} connections, {sum(sizes) / MIB:.0f} MiB"


def half_close(server, _):
    echo(server.address, 300_000, half_close=True)
    echo(server.address, 1, half_close=True)
    echo(server.address, 0x10001, half_close=True)
    # Nothing sent at all: the end of file comes back.
    s = connected(server.address)
    s.shutdown(socket.SHUT_WR)
    s.settimeout(PATIENCE)
    expect(s.recv(10) == b"", "bytes came from nowhere")
    s.close()


def slow_reader(server, _):
    slow = dial(server.address, receive_buffer=8192)
    wait_writable(slow)
    sent = fill(slow)
    expect(sent < 64 * MIB, "the server took 64 MiB from a client that does not read: it buffers without a bound")
    share = server.busy(1.0, 0.2)
    expect(share <= 0.2, f"the server uses {share:.0%} of a core while its client is stuck")
    echo(server.address, 100_000, what="another client beside a stuck one")
    # Now it reads, slowly at first.
    received, end = 0, time.monotonic() + PATIENCE
    slow.settimeout(PATIENCE)
    while received < sent:
        expect(time.monotonic() < end, f"{received} of {sent} bytes after {PATIENCE:.0f} s")
        data = slow.recv(4096 if received < 256 * 1024 else 262144)
        expect(data, f"closed after {received} of {sent} bytes")
        at, rest = received % 65536, data
        while rest:
            part = rest[: 65536 - at]
            expect(POOL.startswith(part, at), f"other bytes came back near {received}")
            rest, at = rest[len(part) :], 0
        received += len(data)
        if received < 256 * 1024:
            time.sleep(0.004)
    slow.close()
    return f"{sent // 1024} KiB stuck, then all read"


def wait_writable(s):
    with selectors.DefaultSelector() as selector:
        selector.register(s, selectors.EVENT_WRITE)
        expect(selector.select(PATIENCE), "no connection")
    code = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    expect(code == 0, f"connect: {os.strerror(code)}")


def resets(server, _):
    for round_ in range(50):
        s = connected(server.address)
        if round_ % 2:
            # With bytes under way in both directions.
            try:
                s.send(POOL[: 512 * 1024])
            except BlockingIOError:
                pass
        reset(s)
    # Connected and gone before the server may have accepted.
    for _ in range(50):
        reset(dial(server.address))
    echo(server.address, 1000, what="after resets")


def vanishing(server, _):
    stuck = [connected(server.address) for _ in range(8)]
    for s in stuck:
        fill(s, seconds=5, quiet=0.1)
    for position, s in enumerate(stuck):
        if position % 2:
            reset(s)
        else:
            s.close()
    echo(server.address, 1000, what="after clients vanished")


def descriptors_return(server, _):
    wait_for(
        lambda: server.descriptors() <= server.baseline,
        PATIENCE, lambda: f"{server.descriptors()} descriptors with no client left, {server.baseline} at the start",
    )


def idle(server, _):
    share = server.busy(2.0, 0.03)
    expect(share <= 0.03, f"the server uses {share:.0%} of a core with no client")


def still_serves(server, _):
    expect(server.alive(), f"the server has ended: {server.said()}")
    echo(server.address, MIB)
    return f"{server.resident() / MIB:.1f} MiB resident"


def full(options):
    command = server_command(options)
    with Server(command) as server:
        expect(
            server.backend == options.backend or options.backend is None,
            f"asked for backend {options.backend}, the first line says {server.backend}",
        )
        print(f"{server.lines[0]} (pid {server.pid})")
        server.settle()
        checks = [
            small_echo, one_mebibyte, many, half_close, slow_reader, resets, vanishing, descriptors_return, idle,
            still_serves,
        ]
        return run_checks(checks, server, options)


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
    """More clients than descriptors: some wait, nothing spins, all are served once others leave."""
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

        # As many as there are descriptors get their echo; the others wait.
        state = {"count": -1, "since": time.monotonic()}

        def settled():
            if len(served()) != state["count"]:
                state["count"], state["since"] = len(served()), time.monotonic()
            # So few may be for want of time, not of descriptors.
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

        # Those that are in are still served.
        s = first[0].socket
        s.settimeout(PATIENCE)
        s.sendall(b"still there")
        expect(s.recv(100) == b"still there", "a client that is in was not echoed")
        print("ok      a client that is in is still echoed")

        # As clients leave, the waiting ones come in.
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
    """A connection to a server that closes idle ones, and when it was written to and was closed."""

    def __init__(self, s, sent):
        self.socket = s
        self.sent = sent            # just before the last write: the server cannot have read it earlier
        self.longest = 0.0          # between the ends of two writes
        self.written = time.monotonic()
        self.answered = sent        # as `sent`, of the last write that came back whole
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
    """Half of the connections fall silent; the others write on for four times the limit, then fall silent too."""
    limit = ms / 1000
    with Server(server_command(options) + ["--idle-ms", str(ms)]) as server:
        print(f"{server.lines[0]} (pid {server.pid}, idle after {ms} ms)")
        server.settle()
        timed = []
        with selectors.EpollSelector() as selector:
            # Opening all of them must not take those that are open to their limit: they write between the waves.
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
            # It was closed while bytes of ours were under way.
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
    # One that this client itself left alone for too long, on a busy machine, proves nothing; nor does one that was closed
    # by a server which had no time to read from it for as long as that.
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
    early = [c for c in silent + judged if c.closed - c.sent < limit]
    expect(not early, f"{len(early)} connections closed within {limit} s of their last byte")
    owed = [c for c in judged if c.owed]
    expect(not owed, f"{len(owed)} busy connections did not get all their bytes back")
    print(f"ok      the others closed after they fell silent, none within {limit} s of its last byte")
    return 0


def wait_closed(selector, connections, which):
    end = time.monotonic() + PATIENCE
    while not all(c.closed for c in connections):
        left = sum(not c.closed for c in connections)
        expect(time.monotonic() < end, f"{left} of {len(connections)} connections, {which}, are open after {PATIENCE:.0f} s")
        listen_to(selector, 0.5)


# --- the checks of `arguments` and `command` ------------------------------------------------------


def arguments(options):
    program = shlex.split(options.server) if options.server else [build_example(options.example)]
    bad = 0

    def run(args, status, stream):
        nonlocal bad
        begin = time.monotonic()
        try:
            done = subprocess.run(
                program + args, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
            )
            text = getattr(done, stream)
            expect(done.returncode == status, f"status {done.returncode}, expected {status}; stderr: {done.stderr[-300:]!r}")
            expect("usage" in text.lower(), f"no usage on {stream}: {text[-300:]!r}")
            if status:
                expect("panicked" not in done.stderr, f"a panic: {done.stderr[-300:]!r}")
                expect("listening" not in done.stdout, "it listened all the same")
            result, note = "ok", ""
        except subprocess.TimeoutExpired:
            result, note, bad = "FAILED", f"did not end within {PATIENCE:.0f} s", bad + 1
        except Failed as error:
            result, note, bad = "FAILED", str(error), bad + 1
        shown = " ".join(args)
        print(f"{result:7} {shown:38} status {status} {time.monotonic() - begin:6.2f} s  {note}", flush=True)

    run(["--help"], 0, "stdout")
    run(["--nonsense"], 2, "stderr")
    run(["--addr"], 2, "stderr")
    run(["--addr", "nowhere"], 2, "stderr")
    run(["--backend"], 2, "stderr")
    run(["--backend", "nonsense"], 2, "stderr")
    return bad


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
    parser.add_argument("mode", choices=["full", "emfile", "idle-close", "arguments", "command"])
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
        modes = {"full": full, "emfile": emfile, "idle-close": idle_close, "arguments": arguments, "command": command}
        bad = modes[options.mode](options)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"FAILED  {options.mode}: {error}")
        bad = 1
    return 1 if bad else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
