#!/usr/bin/env python3
"""Ends the example `graceful` by SIGTERM while clients use it, and counts every request.

    graceful-client.py PROGRAM

A request counts as accepted when it was sent on a connection on which the server had not said `Connection: close`,
and had not closed its side. Each of these must be answered, except one that crosses the close of an idle connection,
and no connection may be reset. Each kind of client is one check. Only 127.0.0.1 is used.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from checks import Failed, Listener, Slow, expect

PATIENCE = 60.0             # seconds; longer than any step takes on a slow machine
IDLE = 1.0                  # seconds that the server waits for a request on an idle connection


class Server:
    """A server process, with what it has printed."""

    def __init__(self, program, grace):
        self.process = subprocess.Popen([program, "--addr", "127.0.0.1:0", "--grace", str(grace)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        match = re.match(r"listening on (127\.0\.0\.1):(\d+)$", self.process.stdout.readline())
        expect(match, "no first line")
        self.address = (match.group(1), int(match.group(2)))

    def signal(self, number):
        self.process.send_signal(number)

    def stopping(self):
        """Waits until it has closed the listener, and returns how many connections it waits for."""
        line = self.process.stdout.readline()
        match = re.match(r"SIG(?:TERM|INT): waiting up to \S+ for (\d+) connections$", line)
        expect(match, f"printed {line!r}")
        return int(match.group(1))

    def end(self, status=0):
        """Waits for its end. Returns the report, and how many requests it has read and answered."""
        rest = self.process.stdout.read()
        code = self.process.wait(PATIENCE)
        expect(code == status, f"ended with status {code}, not {status}: {rest}")
        report, _, counts = rest.rstrip().rpartition("\n")
        match = re.match(r"read (\d+) requests, answered (\d+)$", counts)
        expect(match, f"printed {rest!r}")
        return report, int(match.group(1)), int(match.group(2))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Client:
    """One connection. A reset comes out as an OSError."""

    def __init__(self, server):
        self.socket = socket.create_connection(server.address, PATIENCE)
        self.rest = b""

    def send(self, target="/", count=1):
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * count)

    def response(self):
        """Reads a response. Returns whether it says `close`, or None at the end of the connection."""
        while b"\r\n\r\n" not in self.rest:
            data = self.socket.recv(65536)
            if not data:
                expect(not self.rest, f"ended in the middle of a response: {self.rest!r}")
                return None
            self.rest += data
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        expect(head.startswith(b"HTTP/1.1 200 OK\r\n"), f"answered {head!r}")
        while len(self.rest) < 6:
            data = self.socket.recv(65536)
            expect(data, "ended in the middle of a response")
            self.rest += data
        expect(self.rest[:6] == b"hello\n", f"answered {self.rest!r}")
        self.rest = self.rest[6:]
        return b"\r\nConnection: close" in head

    def last(self):
        """Reads the last response and the end."""
        expect(self.response() is True, "the last response does not say `close`")
        self.ended()

    def ended(self):
        expect(self.response() is None, "there are more responses")
        self.socket.close()


class Load(threading.Thread):
    """A client that sends one request after the other, until the server says `close`."""

    def __init__(self, server):
        super().__init__()
        self.last = self.before = time.monotonic()      # when the last request was sent, and the one before it
        self.client, self.answers, self.failure, self.is_slow = Client(server), 0, None, False
        self.start()

    def run(self):
        try:
            closes = False
            while closes is False:
                self.before, self.last = self.last, time.monotonic()
                self.client.send()
                closes = self.client.response()
                expect(closes is not None, "closed without an answer")
                self.answers += 1
            self.client.ended()
        except (Failed, OSError) as error:
            self.failure = repr(error)
            # The server may have waited for this request, and closed an idle connection.
            self.is_slow = time.monotonic() - self.before > 0.9 * IDLE


def under_load(program):
    """Clients that are never idle: every request is answered, at any moment of the signal."""
    total = 0
    for pause in (0.0, 0.05, 0.1, 0.3, 0.5):
        with Server(program, 30) as server:
            loads = [Load(server) for _ in range(32)]
            time.sleep(pause)
            server.signal(signal.SIGTERM)
            server.stopping()
            for load in loads:
                load.join(PATIENCE)
                if load.is_slow:
                    raise Slow
                expect(not load.is_alive() and load.failure is None, load.failure or "a client hangs")
            report, read, answered = server.end()
            sent = sum(load.answers for load in loads)
            expect((read, answered) == (sent, sent), f"{sent} sent, {read} read, {answered} answered")
            expect(report == "nothing was left", report)
            total += sent
    return f"{total} requests"


def kinds(program):
    """One connection for each state in which a signal may find it."""
    with Server(program, 30) as server:
        listener = Listener(server.address[1])
        names = ("silent", "idle", "slow", "half", "pipelined", "body")
        clients = {name: Client(server) for name in names}
        for name in ("idle", "slow"):
            clients[name].send()
            expect(clients[name].response() is False, "closed too early")
        clients["slow"].send("/sleep/4000")
        clients["half"].socket.sendall(b"GET / HTTP/1.1\r\nHo")
        clients["pipelined"].send("/sleep/1500", 3)
        clients["body"].socket.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234")
        # Mostly the server has read what was sent by then; if not, it finds it with the signal.
        time.sleep(0.2)
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        expect(server.stopping() == len(names), "another number of connections")
        expect(not listener.is_open(), "it listens after the signal")
        clients["idle"].send()
        if time.monotonic() - begun > 0.9 * IDLE:
            raise Slow
        clients["idle"].last()
        clients["half"].socket.sendall(b"st: x\r\n\r\n")
        clients["half"].last()
        clients["body"].socket.sendall(b"56789")
        clients["body"].last()
        for _ in range(2):
            expect(clients["pipelined"].response() is False, "closed before the last answer")
        clients["pipelined"].last()
        clients["slow"].last()
        clients["silent"].ended()
        report, read, answered = server.end()
        expect((report, read, answered) == ("nothing was left", 9, 9), f"{report}: read {read}, answered {answered}")


def queue(program):
    """Connections that the server has not accepted: it is stopped, and finds them with the signal."""
    with Server(program, 30) as server:
        first = Client(server)
        first.send()
        expect(first.response() is False, "closed too early")
        server.signal(signal.SIGSTOP)
        clients = [Client(server) for _ in range(200)]
        for client in clients:
            client.send()
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        expect(server.stopping() == 201, "another number of connections")
        for client in clients:
            client.last()
        first.ended()
        report, read, answered = server.end()
        expect((report, read, answered) == ("nothing was left", 201, 201), f"{report}: {read}, {answered}")


def unread(program):
    """A client that has sent more than the server reads gets its response, and no reset."""
    with Server(program, 30) as server:
        client = Client(server)
        client.socket.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"x" * 100000)
        data = b""
        while True:
            more = client.socket.recv(65536)
            if not more:
                break
            data += more
        expect(data.startswith(b"HTTP/1.1 501 "), f"answered {data!r}")
        client.socket.close()
        server.signal(signal.SIGINT)
        server.stopping()
        server.end()


def deadline(program):
    """A request that takes too long is cut off, and the report says where."""
    with Server(program, 0.3) as server:
        client = Client(server)
        # In one piece, so that the second request has been read when the first is answered.
        client.socket.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target for target in (b"/", b"/sleep/50000")))
        expect(client.response() is False, "closed too early")
        server.signal(signal.SIGTERM)
        server.stopping()
        expect(client.response() is None, "answered")
        report, read, answered = server.end(1)
        expect((read, answered) == (2, 1), f"read {read}, answered {answered}")
        lines = report.splitlines()
        expect(lines[0] == "the time was over: 1 task, 1 descriptor, 1 timer were left", report)
        host, port = client.socket.getsockname()
        expect(re.match(rf'  task \d+ "{host}:{port}", spawned at examples/graceful\.rs:\d+:\d+$', lines[1]), report)


def repeated(check, program):
    """Repeats a check in which this process was held up."""
    for _ in range(10):
        try:
            return check(program)
        except Slow:
            pass
    raise Failed("this machine is too slow")


def main():
    bad = 0
    for check in (under_load, kinds, queue, unread, deadline):
        try:
            note = repeated(check, sys.argv[1]) or ""
            print(f"ok      graceful {check.__name__} {note}".rstrip(), flush=True)
        except (Failed, OSError) as error:
            print(f"FAILED  graceful {check.__name__}: {str(error) or repr(error)}", flush=True)
            bad += 1
    sys.exit(1 if bad else 0)


main()
