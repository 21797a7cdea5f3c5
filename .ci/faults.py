#!/usr/bin/env python3
"""Runs the examples while strace makes system calls fail, and checks that they do what is documented.

    faults.py                 all rows
    faults.py TEXT...         the rows whose line contains one of the texts

A row names a program, the errors that strace injects, and the expected outcome:

    serves    it listens on the named backend, and clients are echoed while the errors go on
    refuses   it ends with status 1 before it listens, and prints all the given words; no panic
    ends      it ends by itself with status 0 and prints the words
    drops     it loses one connection, and serves the rest

A row fails if one of its errors was never injected, because nothing was tried then. `when=5+3` is strace's notation for
the fifth call and every third after it, counted for each thread from its start.
"""

import collections
import errno
import importlib.util
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

_path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "echo-client.py")
_spec = importlib.util.spec_from_file_location("echo_client", _path)
client = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(client)
Failed, expect = client.Failed, client.expect

HOST = ["this host has ", "but not "]
SHORT = {"EMFILE": "Too many open files", "ENFILE": "Too many open files in system", "ENOMEM": "Cannot allocate memory"}
ALL = ["epoll", "poll", "select", "rtsig", "io-uring"]
SERVERS = ["echo", "callback_echo"]

# `least` and `most` bound the number of injections, of all rules together.
Row = collections.namedtuple("Row", "program arguments environment rules outcome words least most")


def row(program, rules, outcome, words, backend=None, least=1, most=None, arguments=(), environment=None):
    given = list(arguments)
    if outcome != "ends":
        given += ["--addr", "127.0.0.1:0"] + (["--backend", backend] if backend else [])
    return Row(program, given, environment or {}, rules.split(), outcome, words, least, most)


def rows():
    yield from interrupted()
    yield from refused()
    yield from shortages()
    yield from in_service()


def interrupted():
    """A signal ends waits again and again: the server goes on."""
    waits = {
        "epoll": ["epoll_wait"], "poll": ["ppoll"], "select": ["pselect6"], "rtsig": ["ppoll", "read"],
        "io-uring": ["io_uring_enter", "ppoll"],
    }
    for backend in ALL:
        for call in waits[backend]:
            # The dynamic loader calls read too, and does not retry.
            first = {"read": 20, "ppoll": 2, "pselect6": 2}.get(call, 1)
            for program in SERVERS:
                rules = f"{call}:error=EINTR:when={first}+3"
                # io_uring calls poll to confirm that a readiness may be over: always for streams of the runtime, else by chance.
                if (backend, call, program) != ("io-uring", "ppoll", "callback_echo"):
                    yield row(program, rules, "serves", [backend], backend, least=5)
    for call in ("recvfrom", "sendto"):
        for program in SERVERS:
            yield row(program, f"{call}:error=EINTR:when=2+3", "serves", ["epoll"], "epoll", least=5)
    # With timers, epoll waits by the call that counts nanoseconds.
    busy = ["--idle-ms", "60000"]
    yield row("callback_echo", "epoll_pwait2:error=EINTR:when=1+3", "serves", ["epoll"], "epoll", 5, None, busy)
    yield row("many_threads", "write:error=EINTR:when=2+3 epoll_wait:error=EINTR:when=2+3", "serves", ["epoll"], "epoll",
              least=5, arguments=["--threads", "2"])


def refused():
    """A call that the kernel lacks or a sandbox blocks: another one replaces it, or the chosen backend is an error."""
    for error in ("ENOSYS", "EPERM"):
        rule = f"error={error}"
        for program in SERVERS:
            yield row(program, f"epoll_create1:{rule}", "serves", ["poll"])
        yield row("echo", f"epoll_create1:{rule}", "refuses", ["refuses the epoll backend", *HOST, "poll, select"], "epoll")
        yield row("echo", f"epoll_create1:{rule}", "refuses", ["REVEILLE_BACKEND: the system refuses the epoll backend", *HOST],
                  environment={"REVEILLE_BACKEND": "epoll"})
        # It is tried once, then the older call is used.
        yield row("callback_echo", f"epoll_pwait2:{rule}", "serves", ["epoll"], "epoll", 1, 1, ["--idle-ms", "60000"])
        yield row("sleep", f"epoll_pwait2:{rule}", "ends", ["done"], least=1, most=1,
                  environment={"REVEILLE_BACKEND": "epoll"})
        for backend in ALL:
            yield row("echo", f"eventfd2:{rule}", "serves", [backend], backend, 1, 1)
        yield row("many_threads", f"eventfd2:{rule}", "serves", ["epoll"], "epoll", 2, 2, ["--threads", "2"])
        yield row("echo", f"io_uring_setup:{rule}", "refuses", ["io_uring_setup: ", "sandbox", *HOST, "epoll"], "io-uring")
        yield row("callback_echo", f"io_uring_setup:{rule}", "refuses", ["REVEILLE_BACKEND: ", "sandbox", *HOST],
                  environment={"REVEILLE_BACKEND": "io_uring"})
        yield row("echo", f"signalfd4:{rule}", "refuses", ["refuses the rtsig backend", *HOST, "epoll"], "rtsig")
        yield row("echo", f"pselect6:{rule}", "refuses", ["refuses the select backend", *HOST, "epoll"], "select")
        for program in SERVERS:
            # poll(2) replaces it where it exists, for the confirmations of io_uring too.
            yield row(program, f"ppoll:{rule}", "serves", ["poll"], "poll", least=5)
        yield row("echo", f"ppoll:{rule}", "serves", ["io-uring"], "io-uring", least=5)
        yield row("echo", f"ppoll:{rule}", "refuses", ["refuses the rtsig backend", *HOST, "epoll"], "rtsig")
        # The standard library makes the first poll, before `main`.
        no_poll = f"ppoll:{rule} poll:{rule}:when=2+"
        yield row("echo", no_poll, "refuses", ["refuses the poll backend", *HOST, "epoll"], "poll", least=2)
        yield row("echo", f"epoll_create1:{rule} {no_poll}", "serves", ["select"], least=3)
        yield row("echo", f"epoll_create1:{rule} {no_poll} pselect6:{rule}", "refuses",
                  ["no backend of the automatic order", "this host has io-uring, but not "], least=4)
        yield row("echo", f"eventfd2:{rule} pipe2:{rule}", "refuses",
                  ["no backend of the automatic order", "this host has none, but not "], least=2)
        # A file that cannot send signals is polled in each wait.
        yield row("echo", f"fcntl:{rule}:when=3+", "serves", ["rtsig"], "rtsig", least=3)
        # Without timer fds, precise timers end by the timeouts of the waits.
        yield row("test signal_interrupts", f"timerfd_create:{rule}", "ends", ["test result: ok. 1 passed"], least=1,
                  arguments=["timers_are_exact_among_signals", "--exact"])
    # Kernels that have io_uring, but not its newer flags.
    yield row("echo", "io_uring_setup:error=EINVAL:when=1", "serves", ["io-uring"], "io-uring")


def shortages():
    """Out of descriptors or memory: the error is reported, and no other backend is tried."""
    made = {
        "epoll": ["epoll_create1", "eventfd2"], "poll": ["eventfd2"], "select": ["eventfd2"],
        "rtsig": ["signalfd4", "eventfd2"], "io-uring": ["io_uring_setup", "eventfd2"],
    }
    for error, text in SHORT.items():
        for backend in ALL:
            for call in made[backend]:
                yield row("echo", f"{call}:error={error}", "refuses", [text], backend, 1, 1)
        for call in made["epoll"]:
            for program in SERVERS:
                yield row(program, f"{call}:error={error}", "refuses", [text], None, 1, 1)
        yield row("echo", f"eventfd2:error=ENOSYS pipe2:error={error}", "refuses", [text], None, 2, 2)
    for error in ("ENOMEM", "ENOSPC"):
        text = SHORT.get(error, "No space left on device")
        yield row("echo", f"epoll_ctl:error={error}:when=1", "refuses", [text], "epoll", 1, 1)


def in_service():
    """A shortage while clients connect is survived."""
    for backend in ALL:
        for program in SERVERS:
            yield row(program, "accept4:error=EMFILE:when=2+5", "serves", [backend], backend, least=2)
    for error in ("ENFILE", "ENOMEM", "ENOBUFS", "ECONNABORTED", "EINTR"):
        for program in SERVERS:
            yield row(program, f"accept4:error={error}:when=2+5", "serves", ["epoll"], "epoll", least=2)
    # The network errors of a new connection that accept(2) lists.
    for error in ("ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "ENETUNREACH"):
        yield row("echo", f"accept4:error={error}:when=2+5", "serves", ["epoll"], "epoll", least=2)
    # All errors of connect(2) that are not about the progress of the connection: they are returned, and the next address
    # of several is tried.
    for error in ("EACCES", "EPERM", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EAGAIN", "EALREADY", "EBADF",
                  "ECONNREFUSED", "EFAULT", "EISCONN", "ENETUNREACH", "ENOTSOCK", "EPROTOTYPE", "ETIMEDOUT",
                  "EHOSTUNREACH", "ENOBUFS", "ENOMEM"):
        yield row("test tcp_connect", f"connect:error={error}:when=1..2", "ends", ["test result: ok. 1 passed"], least=2, most=2,
                  arguments=["an_error_of_the_system_is_returned_and_nothing_is_left", "--exact"],
                  environment={"REVEILLE_CONNECT_FAILS": str(getattr(errno, error))})
    # The call for the second client, after those for the notifier, the listener and the first client. The callback
    # loop removes the first client's registration by a call; the runtime only closes the stream.
    for error in ("ENOMEM", "ENOSPC"):
        yield row("echo", f"epoll_ctl:error={error}:when=4", "drops", ["epoll"], "epoll", 1, 1)
        yield row("callback_echo", f"epoll_ctl:error={error}:when=5", "drops", ["epoll"], "epoll", 1, 1)
    yield row("callback_echo", "epoll_ctl:error=ENOMEM:when=4", "serves", ["epoll"], "epoll", 1, 1)


# --- running them ---------------------------------------------------------------------------------


def build(program):
    """Builds an example, or the tests in one file, and returns the path of the executable."""
    if not program.startswith("test "):
        return client.build_example(program)
    name = program.split()[1]
    run = subprocess.run(
        ["cargo", "test", "--all-features", "--test", name, "--no-run", "--message-format=json"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=client.BUILD_SECONDS, text=True,
    )
    expect(run.returncode == 0, f"the tests in {name} do not build")
    for line in run.stdout.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    raise Failed(f"cargo names no executable for the tests in {name}")


def traffic(server):
    """Small requests on several connections, in turn and at once, a large one, and a half-close."""
    for size in (1, 64, 5000):
        client.echo(server.address, size, half_close=True)
    clients = [client.Echo(server.address, 7 * n, 30_000, half_close=n % 2 == 0) for n in range(8)]
    client.drive(clients, client.PATIENCE, "eight clients")
    s = client.connected(server.address)
    s.settimeout(client.PATIENCE)
    for _ in range(20):
        s.sendall(client.POOL[:64])
        got = b""
        while len(got) < 64:
            data = s.recv(64)
            expect(data, "closed in the middle of a request")
            got += data
        expect(got == client.POOL[:64], "other bytes came back")
    s.close()
    client.echo(server.address, client.MIB)


def serves(row, server):
    expect(server.backend == row.words[0], f"it serves by {server.backend}")
    traffic(server)
    expect(server.alive(), f"it ended: {server.said()}")
    return f"serves by {server.backend}"


def drops(row, server):
    expect(server.backend == row.words[0], f"it serves by {server.backend}")
    # Calls are counted, so the first client must be gone before the second connects.
    before = server.descriptors()
    client.echo(server.address, 10)
    client.wait_for(lambda: server.descriptors() == before, client.PATIENCE, "the first client's descriptor is still open")
    # They are silent until one of them has ended: the runtime asks the mechanism to watch a connection only when it has to
    # wait for its request.
    clients = [client.dial(server.address) for _ in range(5)]
    for s in clients:
        client.wait_writable(s)
        s.settimeout(client.PATIENCE)
    ended, _, _ = select.select(clients, [], [], client.PATIENCE)
    dropped = 0
    for s in clients:
        try:
            if s not in ended:
                s.sendall(b"x")
            dropped += s.recv(1) != b"x"
        except ConnectionError:
            dropped += 1
        s.close()
    expect(dropped == 1, f"{dropped} of 5 connections were dropped, not 1")
    traffic(server)
    expect(server.alive(), f"it ended: {server.said()}")
    return "dropped 1 connection, serves"


def command(row, log):
    calls = sorted({rule.split(":")[0] for rule in row.rules})
    # strace injects only into calls that it traces, and does not warn.
    traced = ["strace", "-f", "-qq", "-e", "signal=none", "-o", log, "-e", "trace=" + ",".join(calls)]
    for rule in row.rules:
        traced += ["-e", f"inject={rule}"]
    for name, value in row.environment.items():
        traced += ["-E", f"{name}={value}"]
    return [*traced, programs[row.program], *row.arguments]


def run_server(row, log):
    with client.Server(command(row, log)) as server:
        return {"serves": serves, "drops": drops}[row.outcome](row, server)


def run_to_the_end(row, log):
    process = subprocess.Popen(
        command(row, log), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    )
    try:
        said = process.communicate(timeout=client.PATIENCE)[0]
    except subprocess.TimeoutExpired:
        raise Failed(f"it did not end within {client.PATIENCE:.0f} s") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(client.PATIENCE)
    line = next((line for line in said.splitlines() if line), "nothing")
    status = 1 if row.outcome == "refuses" else 0
    expect(process.returncode == status, f"status {process.returncode}, says {line[:200]!r}")
    expect("panicked" not in said, f"a panic: {said[-300:]!r}")
    for words in row.words:
        expect(words in said, f"it does not say {words!r}: {said[-400:]!r}")
    if row.outcome == "refuses":
        expect("listening" not in said, "it listened before")
        expect(len(said.splitlines()) == 1, f"more than one line: {said[-300:]!r}")
        return f"status 1, {line.partition(': ')[2][:60]!r}"
    return f"status 0, {row.words[0]!r}"


def run(row):
    """Returns what happened and how many errors were injected. Raises `Failed` if that was not expected."""
    with tempfile.NamedTemporaryFile(mode="r", suffix=".strace") as log:
        if row.outcome in ("serves", "drops"):
            seen = run_server(row, log.name)
        else:
            seen = run_to_the_end(row, log.name)
        text = log.read()
    count = text.count("(INJECTED)")
    for rule in row.rules:
        call = rule.split(":")[0]
        expect(re.search(rf"\b{call}\(.*\(INJECTED\)", text) or re.search(rf"{call} resumed>.*\(INJECTED\)", text),
               f"{seen}, but {call} never failed: nothing was tried")
    expect(count >= row.least, f"{seen}, but only {count} errors were injected, {row.least} are expected")
    expect(row.most is None or count <= row.most, f"{seen}, but {count} errors were injected, {row.most} are expected")
    return seen, count


def expected(row):
    if row.outcome == "serves":
        return f"serves by {row.words[0]}"
    if row.outcome == "drops":
        return "drops 1 connection, serves"
    return f"{row.outcome}: " + " ... ".join(word.strip() for word in row.words if word not in HOST)


def main():
    wanted = sys.argv[1:]
    expect(shutil.which("strace"), "no strace on this machine")
    bad = total = 0
    begin = time.monotonic()
    print(f"{'':7} {'program':22} {'asked for':10} {'injected':54} {'times':>5}  expected / seen")
    for row in rows():
        asked = row.arguments[row.arguments.index("--backend") + 1] if "--backend" in row.arguments else ""
        asked = asked or row.environment.get("REVEILLE_BACKEND", "automatic")
        line = f"{row.program:22} {asked:10} {' '.join(row.rules):54}"
        if wanted and not any(text in line + expected(row) for text in wanted):
            continue
        total += 1
        try:
            if row.program not in programs:
                programs[row.program] = build(row.program)
            seen, count = run(row)
            print(f"ok      {line} {count:5}  {seen}", flush=True)
        except (Failed, OSError, subprocess.SubprocessError) as error:
            bad += 1
            print(f"FAILED  {line} {'':5}  expected: {expected(row)}\n        seen: {error}", flush=True)
    expect(total, "no row was chosen")
    print(f"{total - bad} of {total} rows as expected, {time.monotonic() - begin:.0f} s")
    return 1 if bad else 0


programs = {}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"FAILED  {error}")
