#!/usr/bin/env python3
"""slow-loris.py PROGRAM SECONDS [--tls]

Attacks PROGRAM, which is the example `http`, or `https` with --tls, by slowhttptest in four ways, one after the other:

    heads     1,000 connections send a line of a head each second, and never the end (Slowloris)
    bodies    1,000 connections send some bytes of a body each second
    readers   1,000 connections ask for 10 MB and read 32 bytes in five seconds, with a small window
    crowd     1,000 connections send heads like that, to a server that takes only 250 connections

Each limit of time of the server is a third of SECONDS. Meanwhile two clients get a page again and again, each on a new
connection. For each attack it prints

    attackers   the connections that slowhttptest had made
    ended       how many of them a limit of the server has ended
    open        for how long they were open on average: the connections open at a time, summed up over the time
    memory      of the server before, and the most while the attack went on
    others      the requests of the two clients, and after how long they were answered
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from http_server import PATIENCE, Failure, Server, check, get

ATTACKERS = 1000
CLIENTS = 2


class Clients:
    """They get a page again and again, until they are stopped."""

    def __init__(self, server, seconds, patience):
        self.server, self.seconds, self.patience = server, seconds, patience
        self.latencies, self.errors, self.late, self.is_over = [], [], 0, False
        self.threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.is_over:
            begin = time.monotonic()
            try:
                stream = self.server.open(patience=self.patience)
                get(stream)
                stream.close()
                self.latencies.append(time.monotonic() - begin)
            except (Failure, OSError) as error:
                # On a machine that is too busy for it, this client is a slow one itself.
                if time.monotonic() - begin < self.seconds / 10 or time.monotonic() - begin > self.patience / 2:
                    self.errors.append(repr(error))
                else:
                    self.late += 1
            time.sleep(0.02)

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()


def attackers(file):
    """The connections that slowhttptest has made, by the lines that it writes each second: time, closed, pending, connected."""
    try:
        with open(file) as lines:
            rows = [line.split(",") for line in lines][1:]
    except FileNotFoundError:
        rows = []
    return max((int(row[1]) + int(row[3]) for row in rows), default=0)


class Short(Failure):
    """All of this was held up for so long that the attack has shown nothing, or a limit does not work."""


def attack(name, flags, limit, connections, seconds):
    step = str(int(seconds * 1000 / 3))
    limits = ["--header-ms", step, "--idle-ms", step, "--stall-ms", step, "--rate", "500"]
    server = Server(program, "epoll", *limits, "--send-buffer", "65536", "--connections", str(connections), tls=tls)
    begin, base, peak, area = time.monotonic(), server.memory(), 0, 0.0
    # In a crowd the clients wait behind the attackers that came before them.
    clients = Clients(server, seconds, 20 if connections > ATTACKERS else PATIENCE)
    path = "/10000000" if name == "readers" else "/"
    url = f"{'https' if tls else 'http'}://127.0.0.1:{server.addr[1]}{path}"
    command = ["slowhttptest", *flags, "-c", ATTACKERS, "-r", ATTACKERS, "-l", seconds, "-p", 5, "-u", url, "-v", 1]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/output", "w") as output:
            command += ["-g", "-o", f"{folder}/counts"]
            tool = subprocess.Popen(list(map(str, command)), stdout=output, stderr=subprocess.STDOUT)
        last = time.monotonic()
        try:
            while tool.poll() is None:
                state = server.state()
                now = time.monotonic()
                area, last = area + state["connections"] * (now - last), now
                peak = max(peak, server.memory())
                time.sleep(0.1)
                check(now < begin + PATIENCE + 8 * seconds, "slowhttptest does not end")
        finally:
            tool.kill()
            clients.stop()
        made = attackers(f"{folder}/counts.csv")
    state = server.wait_for(connections=0, tasks=0)
    # Over TLS some are ended in their handshake, by the limit of a head.
    ended = sum(state[name] for name in ("header", "idle", "stall", "body"))
    answered = sorted(clients.latencies)
    if not answered:
        raise Short(f"no other client was served: {clients.errors[:3]}")
    median, most, all_ = (1000 * time for time in (statistics.median(answered), answered[len(answered) * 99 // 100], answered[-1]))
    print(f"{state}") if "-v" in sys.argv else None
    print(
        f"{program.rsplit('/', 1)[-1]} {name}: {made} attackers, {ended} ended, open for {area / max(made, 1):.1f} s, "
        f"memory {base} and {peak} KiB; others: {len(answered)} answered, {len(clients.errors)} not, {clients.late} too slow themselves, "
        f"median {median:.1f} ms, 99 % within {most:.0f} ms, all within {all_:.0f} ms",
        flush=True,
    )
    check(not clients.errors, f"others were not served: {clients.errors[:3]}")
    server.signal_to_end()
    server.stop()
    if made == 0 or state[limit] == 0:
        raise Short(f"slowhttptest has made {made} connections, and the limit {limit} has ended none: {state}")


def repeated(*arguments):
    """Takes more time if it was too short."""
    for times in (1, 4):
        try:
            return attack(*arguments, times * seconds)
        except Short as short:
            print(f"again: {short}", flush=True)
    return attack(*arguments, 10 * seconds)


program, seconds = sys.argv[1], int(sys.argv[2])
tls = "--tls" in sys.argv[3:]
heads, bodies = ["-H", "-i", 1], ["-B", "-i", 1, "-s", 100000]
readers = ["-X", "-w", 512, "-y", 1024, "-n", 5, "-z", 32]
status = 0
attacks = (
    ("heads", heads, "header", 2 * ATTACKERS),
    ("bodies", bodies, "body", 2 * ATTACKERS),
    ("readers", readers, "stall", 2 * ATTACKERS),
    ("crowd", heads, "header", ATTACKERS // 4),
)
for arguments in attacks:
    try:
        repeated(*arguments)
    except Failure as error:
        print(f"FAILED  {program} {arguments[0]}: {error}")
        status = 1
sys.exit(status)
