#!/usr/bin/env python3
"""Drives the example `proxy`, between clients and upstreams that this program writes by hand.

    proxy-client.py PROGRAM [BACKEND...]

Each check starts a proxy of its own. Only free ports of 127.0.0.1 are used. What is checked is what RFC 9110 says about
intermediaries, back-pressure, time limits, and the end of the proxy. The variable CHECKS names the checks to make.
"""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time

from checks import Failed, Listener, Slow, expect, same

PATIENCE = 60.0             # seconds; longer than any step takes on a slow machine
MIB = 1 << 20
PATTERN = os.urandom(MIB)   # of which the bodies consist
MEMORY = 8 * MIB            # by which a proxy that streams may grow


def most(buffer):
    """The most bytes to which the kernel lets the buffer of a socket grow."""
    try:
        with open(f"/proc/sys/net/ipv4/tcp_{buffer}") as file:
            return int(file.read().split()[2])
    except OSError:
        return 6 * MIB


# What a proxy may take of a body that is not read: the kernel's buffers of both its connections, and those of hyper.
IN_FLIGHT = 2 * (most("rmem") + most("wmem")) + 16 * MIB
BODY = max(256 * MIB, 2 * IN_FLIGHT)


class Wire:
    """One connection, of a client or of an upstream."""

    def __init__(self, connected):
        self.socket, self.rest = connected, b""
        self.socket.settimeout(PATIENCE)

    def send(self, *lines, body=b""):
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def receive(self):
        data = self.socket.recv(65536)
        self.rest += data
        return bool(data)

    def head(self):
        """Reads a head. Returns its first line and its fields in lower case, or None at the end."""
        while b"\r\n\r\n" not in self.rest:
            if not self.receive():
                expect(not self.rest, f"ended in a head: {self.rest!r}")
                return None
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        pairs = [field.split(": ", 1) for field in fields]
        expect(len({name.lower() for name, _ in pairs}) == len(pairs), f"a field comes twice: {fields}")
        return first, {name.lower(): value for name, value in pairs}

    def exactly(self, count):
        while len(self.rest) < count:
            expect(self.receive(), f"ended after {len(self.rest)} bytes of {count}")
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def response(self):
        """Reads a response with a length. Returns the status, the fields and the body."""
        got = self.head()
        expect(got, "ended without a response")
        first, fields = got
        return int(first.split()[1]), fields, self.exactly(int(fields.get("content-length", 0)))

    def ended(self):
        """Reads to the end. Whether the connection has ended, by a reset too."""
        try:
            while self.receive():
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self):
        self.socket.close()

    def answer(self, body=b"", *fields):
        self.send("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields, body=body)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


class Upstream:
    """A server whose requests this program answers itself. Which connection a request comes on is the proxy's choice."""

    def __init__(self, backlog=16):
        """With a backlog of None it refuses all connections."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        if backlog is not None:
            self.listener.listen(backlog)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.wires = []

    def request(self, first=None, within=PATIENCE):
        """Waits for a request, whose first line may be given. Returns its connection and its fields, or None."""
        got = any_request([self], within)
        if got is None:
            expect(within < PATIENCE, "no request")
            return None
        if first is not None:
            same(got[2], first)
        return got[1], got[3]

    def close(self):
        for wire in self.wires:
            wire.close()
        self.listener.close()


def any_request(upstreams, within=PATIENCE):
    """Waits for a request to one of them. Returns it, the connection, the first line and the fields, or None."""
    deadline = time.monotonic() + within
    while True:
        sources = {}
        for upstream in upstreams:
            sources[upstream.listener] = (upstream, None)
            sources.update((wire.socket, (upstream, wire)) for wire in upstream.wires)
        ready = select.select(list(sources), [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            return None
        upstream, wire = sources[ready[0]]
        if wire is None:
            upstream.wires.append(Wire(upstream.listener.accept()[0]))
            continue
        try:
            got = wire.head()
        except ConnectionResetError:
            got = None
        if got is not None:
            return upstream, wire, got[0], got[1]
        upstream.wires.remove(wire)
        wire.close()


class Proxy:
    """A proxy process. Its end is checked when the block ends without an error."""

    def __init__(self, program, backend, *upstreams, arguments=()):
        command = [program, "--addr", "127.0.0.1:0", "--backend", backend, *arguments]
        for upstream in upstreams:
            command += ["--to", upstream.address]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)
        first = self.process.stdout.readline()
        match = re.match(r"listening on 127\.0\.0\.1:(\d+) backend=", first)
        if not match:
            self.process.kill()
            raise Failed(f"the proxy prints {first + self.process.communicate()[0]!r}")
        self.port = int(match.group(1))

    def connect(self):
        return Wire(socket.create_connection(("127.0.0.1", self.port), PATIENCE))

    def get(self, target="/", *fields, method="GET"):
        """Sends a request on a new connection."""
        client = self.connect()
        client.send(f"{method} {target} HTTP/1.1", "Host: site.example", *fields)
        return client

    def memory(self):
        """The most memory that it has used, in bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)

    def __enter__(self):
        return self

    def __exit__(self, kind, _error, _trace):
        try:
            if kind is None:
                self.stop()
                rest = self.process.communicate(timeout=PATIENCE)[0]
                same(rest, "SIGTERM: ending\n")
                same(self.process.returncode, 0)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()


def fields(start):
    """Fields of one connection do not pass, those of the proxy are added, Host stays."""
    upstream = Upstream()
    with start(upstream) as proxy:
        client = proxy.connect()
        client.send("GET http://other.example/a/b?c=d%20e HTTP/1.1", "Host: site.example", "Connection: keep-alive, X-Private",
                    "Keep-Alive: timeout=9", "Proxy-Connection: keep-alive", "TE: gzip", "Upgrade: h2c", "X-Private: 1",
                    "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "Via: 1.1 other", "X-Public: 2", "Cookie: a=b")
        back, got = upstream.request("GET /a/b?c=d%20e HTTP/1.1")
        same(got, {"host": "other.example", "x-forwarded-for": "192.0.2.1, 127.0.0.1", "x-forwarded-proto": "http",
                   "forwarded": "for=192.0.2.1, for=127.0.0.1;proto=http", "via": "1.1 other, 1.1 proxy",
                   "x-public": "2", "cookie": "a=b"})
        back.answer(b"ok", "Connection: X-Secret", "Keep-Alive: timeout=5", "Upgrade: h2c", "X-Secret: 3",
                    "Proxy-Connection: close", "X-Public: 4")
        status, got, body = client.response()
        got.pop("date")
        same((status, got, body), (200, {"x-public": "4", "content-length": "2", "via": "1.1 proxy"}, b"ok"))
        # A HEAD has a length and no body.
        client.send("HEAD / HTTP/1.1", "Host: site.example")
        back, got = upstream.request("HEAD / HTTP/1.1")
        same((got["host"], got["x-forwarded-for"]), ("site.example", "127.0.0.1"))
        back.send("HTTP/1.1 200 OK", "Content-Length: 1000")
        same(client.head()[1]["content-length"], "1000")
        # Trailers pass to a client that takes them.
        client.send("GET / HTTP/1.1", "Host: site.example", "TE: trailers", "Connection: TE")
        back, got = upstream.request("GET / HTTP/1.1")
        same(got["te"], "trailers")
        back.send("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: X-Sum", body=b"2\r\nok\r\n0\r\nX-Sum: 5\r\n\r\n")
        same(client.head()[1]["trailer"], "X-Sum")
        body = b""
        while not body.endswith(b"\r\n\r\n"):
            body += client.exactly(1)
        same(body.lower(), b"2\r\nok\r\n0\r\nx-sum: 5\r\n\r\n")
        # An old upstream, whose response has no length.
        client.send("GET / HTTP/1.1", "Host: site.example")
        back, _ = upstream.request()
        back.send("HTTP/1.0 200 OK", body=b"ok")
        back.socket.shutdown(socket.SHUT_WR)
        first, got = client.head()
        same((first, got["transfer-encoding"]), ("HTTP/1.1 200 OK", "chunked"))
        same(client.exactly(12), b"2\r\nok\r\n0\r\n\r\n")
        # An old client, which names no host.
        old = proxy.connect()
        old.send("GET /old HTTP/1.0")
        back, got = upstream.request("GET /old HTTP/1.1")
        same(got["host"], upstream.address)
        back.answer(b"ok")
        same(old.response()[2], b"ok")
        expect(old.ended(), "the connection is open")
        old.close()
        # Without a host there is nothing to send on, with two it could be either, and this is no proxy for CONNECT.
        for hosts in ([], ["Host: one.example", "Host: two.example"]):
            client.send("GET / HTTP/1.1", *hosts)
            same(client.response()[0], 400)
        client.send("GET / HTTP/1.1")
        same(client.response()[0], 400)
        client.close()
        client = proxy.connect()
        client.send("CONNECT other.example:80 HTTP/1.1", "Host: other.example")
        same(client.response()[0], 501)
        client.close()
    upstream.close()


def smuggling(start):
    """A body has one length: a request with two reaches the upstream with the one that was used, or not at all."""
    upstream = Upstream()
    with start(upstream) as proxy:
        client = proxy.connect()
        body = b"1e\r\nGET /smuggled HTTP/1.1\r\nA: b\r\n\r\n0\r\n\r\n"
        client.send("POST / HTTP/1.1", "Host: x", "Content-Length: 4", "Transfer-Encoding: chunked", body=body)
        ready = select.select([client.socket, upstream.listener], [], [], PATIENCE)[0]
        expect(ready, "nothing happens")
        if upstream.listener in ready:
            back, got = upstream.request("POST / HTTP/1.1")
            expect("content-length" not in got and got["transfer-encoding"] == "chunked", f"{got}")
            same(back.exactly(len(body)).lower(), body.lower())
        else:
            same(client.head()[0].split()[1], "400")
        client.close()
    upstream.close()


def errors(start):
    """502 for upstreams that refuse, break off or talk nonsense."""
    upstream = Upstream(backlog=None)
    with start(upstream) as proxy:
        client = proxy.get()
        same(client.response()[0], 502)
        client.close()
    upstream.close()
    upstream = Upstream()
    with start(upstream) as proxy:
        for answer in (b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"):
            client = proxy.get(method="POST")
            back, _ = upstream.request()
            back.socket.sendall(answer)
            back.socket.shutdown(socket.SHUT_WR)
            same(client.response()[0], 502)
            client.close()
        # A body that breaks off breaks off.
        client = proxy.get()
        back, _ = upstream.request()
        back.send("HTTP/1.1 200 OK", "Content-Length: 10", body=b"12345")
        same(client.head()[1]["content-length"], "10")
        same(client.exactly(5), b"12345")
        back.socket.shutdown(socket.SHUT_WR)
        expect(client.ended() and client.rest == b"", f"{client.rest!r}")
        client.close()
    upstream.close()


def retry(start):
    """A request whose connection ends before the response is sent again, if its method allows that."""
    upstream = Upstream()
    with start(upstream) as proxy:
        client = proxy.connect()
        for method, wanted in (("GET", 200), ("PUT", 200), ("POST", 502)):
            client.send(f"{method} / HTTP/1.1", "Host: x", "Content-Length: 0")
            upstream.request(f"{method} / HTTP/1.1")[0].socket.shutdown(socket.SHUT_RDWR)
            if wanted == 200:
                upstream.request(f"{method} / HTTP/1.1")[0].answer()
            same(client.response()[0], wanted)
        # Not for ever.
        client.send("GET / HTTP/1.1", "Host: x")
        for _ in range(2):
            upstream.request("GET / HTTP/1.1")[0].socket.shutdown(socket.SHUT_RDWR)
        same(client.response()[0], 502)
        # A connection of the pool that is closed while the next request comes.
        for _ in range(50):
            client.send("GET / HTTP/1.1", "Host: x")
            back, _ = upstream.request()
            back.answer()
            back.socket.shutdown(socket.SHUT_RDWR)
            same(client.response()[0], 200)
        client.close()
    upstream.close()


def turns(start):
    """Upstreams take turns, and one that is down is left out."""
    down, up = Upstream(backlog=None), [Upstream(), Upstream()]
    counts = {upstream: 0 for upstream in up}
    with start(up[0], down, up[1]) as proxy:
        client = proxy.connect()
        for _ in range(60):
            client.send("GET / HTTP/1.1", "Host: x")
            got = any_request(up)
            expect(got, "no request")
            counts[got[0]] += 1
            got[1].answer()
            same(client.response()[0], 200)
        client.close()
    expect(min(counts.values()) >= 15, f"{counts.values()}")
    for upstream in (down, *up):
        upstream.close()


def limits(start):
    """504 for an upstream that cannot be reached or says nothing; a body that stops ends the connection."""
    upstream = Upstream()
    with start(upstream, arguments=["--patience", "1"]) as proxy:
        client = proxy.get()
        back, _ = upstream.request()
        same(client.response()[0], 504)
        expect(back.ended(), "the upstream's connection is open")
        client.close()
        begun = time.monotonic()
        client = proxy.get()
        back, _ = upstream.request()
        back.send("HTTP/1.1 200 OK", "Content-Length: 10", body=b"12345")
        if time.monotonic() - begun > 0.5:
            raise Slow
        got = client.head()
        if got and got[0].split()[1] == "504" and time.monotonic() - begun > 0.9:
            raise Slow          # the proxy was held up itself
        same(got[1]["content-length"], "10")
        expect(client.ended() and client.rest == b"12345", f"{client.rest!r}")
        expect(back.ended(), "the upstream's connection is open")
        client.close()
        # The body of a request.
        client = proxy.get("/", "Content-Length: 10", method="POST")
        upstream.request()
        got = client.head()
        expect(got is None or got[0].split()[1] in ("502", "504"), f"{got}")
        client.close()
        # A client that reads nothing.
        client = proxy.get()
        back, _ = upstream.request()
        begun = time.monotonic()
        back.send("HTTP/1.1 200 OK", f"Content-Length: {BODY}")
        if time.monotonic() - begun > 0.5:
            raise Slow
        expect(sent_until_full(back, BODY) < IN_FLIGHT and back.ended(), "the upstream's connection is open")
        client.close()
    upstream.close()
    # A listener with a full queue drops whoever comes.
    full = Upstream(backlog=0)
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", int(full.address.split(":")[1])))
        fillers.append(filler)
    with start(full, arguments=["--patience", "1"]) as proxy:
        client = proxy.get()
        same(client.response()[0], 504)
        client.close()
    upstream = Upstream()
    with start(full, upstream, arguments=["--patience", "4"]) as proxy:
        for _ in range(2):
            begun = time.monotonic()
            client = proxy.get()
            back, _ = upstream.request()
            back.answer()
            status = client.response()[0]
            if status != 200 and time.monotonic() - begun > 3.0:
                raise Slow
            same(status, 200)
            client.close()
    upstream.close()
    for filler in fillers:
        filler.close()
    full.close()


def sent_until_full(wire, limit):
    """Sends a body until there was no room for two seconds. Returns how many bytes."""
    sent = 0
    wire.socket.setblocking(False)
    try:
        while sent < limit and select.select([], [wire.socket], [], 2.0)[1]:
            sent += wire.socket.send(PATTERN[sent % MIB:])
    except (BrokenPipeError, ConnectionResetError):
        pass                # the check finds its end
    wire.socket.settimeout(PATIENCE)
    return sent


class Sender(threading.Thread):
    """Sends the rest of a body on a thread, for the time of a block."""

    def __init__(self, wire, sent, whole):
        super().__init__()
        self.wire, self.sent, self.whole = wire, sent, whole

    def run(self):
        try:
            while self.sent < self.whole:
                piece = PATTERN[self.sent % MIB:]
                self.wire.socket.sendall(piece)
                self.sent += len(piece)
        except OSError as error:
            print(f"a sender has ended: {error}", flush=True)

    def __enter__(self):
        self.start()

    def __exit__(self, kind, _error, _trace):
        if kind is not None:
            # So that the thread ends.
            try:
                self.wire.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass            # it has ended
        self.join()


def received(wire, count):
    """Reads a body, compares it, and forgets it."""
    taken, data = 0, wire.rest
    wire.rest = b""
    while True:
        while data:
            piece = PATTERN[taken % MIB:][:len(data)]
            expect(data[:len(piece)] == piece, f"another byte after {taken}")
            taken, data = taken + len(piece), data[len(piece):]
        if taken == count:
            return
        data = wire.socket.recv(min(MIB, count - taken))
        expect(data, f"ended after {taken} bytes of {count}")


def pressure(start):
    """A client that reads nothing stops the upstream, and the other way round; the proxy keeps nothing."""
    upstream = Upstream()
    with start(upstream) as proxy:
        client = proxy.get()
        back, _ = upstream.request()
        before = proxy.memory()
        back.send("HTTP/1.1 200 OK", f"Content-Length: {BODY}")
        down = sent_until_full(back, BODY)
        expect(down < IN_FLIGHT, f"the upstream could send {down >> 20} MiB to a client that reads nothing")
        with Sender(back, down, BODY):
            same(client.head()[1]["content-length"], str(BODY))
            received(client, BODY)
        client.send("POST / HTTP/1.1", "Host: x", f"Content-Length: {BODY}")
        back, got = upstream.request()
        same(got["content-length"], str(BODY))
        up = sent_until_full(client, BODY)
        expect(up < IN_FLIGHT, f"a client could send {up >> 20} MiB to an upstream that reads nothing")
        with Sender(client, up, BODY):
            received(back, BODY)
        back.answer()
        same(client.response()[0], 200)
        grown = proxy.memory() - before
        expect(grown < MEMORY, f"the proxy has grown by {grown >> 10} KiB")
        client.close()
    upstream.close()
    return f"stopped after {down / MIB:.1f} MiB down and {up / MIB:.1f} MiB up, grown by {grown >> 10} KiB"


def cancel(start):
    """A client that goes away takes its request back."""
    upstream = Upstream()
    with start(upstream) as proxy:
        for answers in (False, True):
            client = proxy.get()
            back, _ = upstream.request()
            if answers:
                back.send("HTTP/1.1 200 OK", f"Content-Length: {BODY}", body=bytes(1000))
                client.head()
            client.reset()
            expect(back.ended(), "the upstream's connection is open")
    upstream.close()


def tunnel(start):
    """An upgraded connection is copied both ways, and one that the upstream refuses is not."""
    upgrade = ("Connection: Upgrade", "Upgrade: websocket")
    upstream = Upstream()
    with start(upstream) as proxy:
        client = proxy.get("/chat", *upgrade, "Sec-WebSocket-Key: x")
        back, got = upstream.request()
        same((got["connection"], got["upgrade"], got["sec-websocket-key"]), ("upgrade", "websocket", "x"))
        # Bytes that follow at once are not lost.
        back.send("HTTP/1.1 101 Switching Protocols", *upgrade, "Sec-WebSocket-Accept: y", body=b"first")
        first, got = client.head()
        same((first.split()[1], got["upgrade"], got["sec-websocket-accept"]), ("101", "websocket", "y"))
        same(client.exactly(5), b"first")
        for count in (1, 100000):
            client.socket.sendall(b"x" * count)
            same(back.exactly(count), b"x" * count)
            back.socket.sendall(b"y" * count)
            same(client.exactly(count), b"y" * count)
        # Each side ends by itself.
        client.socket.shutdown(socket.SHUT_WR)
        expect(not back.receive(), "more bytes")
        back.socket.sendall(b"last")
        back.socket.shutdown(socket.SHUT_WR)
        same(client.exactly(4), b"last")
        expect(not client.receive(), "more bytes")
        client.close()
        client = proxy.get("/chat", *upgrade)
        upstream.request()[0].send("HTTP/1.1 403 Forbidden", "Content-Length: 0")
        same(client.response()[0], 403)
        client.close()
        # SIGTERM cuts one that is open.
        client = proxy.get("/chat", *upgrade)
        back, _ = upstream.request()
        back.send("HTTP/1.1 101 Switching Protocols", *upgrade)
        same(client.head()[0].split()[1], "101")
        proxy.stop()
        expect(client.ended() and back.ended(), "a tunnel is open")
        client.close()
    upstream.close()


def limit(start):
    """Connections beyond the limit wait until another one ends."""
    upstream = Upstream()
    with start(upstream, arguments=["--connections", "2"]) as proxy:
        clients = [proxy.get("/first"), proxy.get("/first")]
        for _ in clients:
            upstream.request("GET /first HTTP/1.1")
        third = proxy.get("/third")
        expect(upstream.request(within=0.2) is None, "a third connection was served")
        clients[0].reset()
        upstream.request("GET /third HTTP/1.1")[0].answer()
        same(third.response()[0], 200)
        third.close()
        clients[1].close()
    upstream.close()


def stop(start):
    """SIGTERM: what has begun goes on, what is idle ends, what comes is refused."""
    upstream = Upstream()
    with start(upstream) as proxy:
        listener = Listener(proxy.port)
        silent, idle = proxy.connect(), proxy.get()
        upstream.request()[0].answer()
        same(idle.response()[0], 200)
        waits, half = proxy.get("/waits"), proxy.get("/half")
        backs = {}
        for _ in range(2):
            _, wire, first, _ = any_request([upstream])
            backs[first.split()[1]] = wire
        backs["/half"].send("HTTP/1.1 200 OK", f"Content-Length: {4 * MIB}", body=PATTERN)
        same(half.head()[0], "HTTP/1.1 200 OK")
        proxy.stop()
        for client in (silent, idle):
            expect(client.ended(), "an idle connection is open")
        expect(not listener.is_open(), "it listens after the signal")
        backs["/waits"].send("HTTP/1.1 200 OK", f"Content-Length: {4 * MIB}")
        with Sender(backs["/waits"], 0, 4 * MIB), Sender(backs["/half"], MIB, 4 * MIB):
            same(waits.head()[0], "HTTP/1.1 200 OK")
            for client in (waits, half):
                received(client, 4 * MIB)
        for client in (waits, half):
            expect(client.ended() and client.rest == b"", "more bytes")
        for wire in (silent, idle, waits, half):
            wire.close()
    upstream.close()


def repeated(check, start):
    """Repeats a check in which this process was held up."""
    for _ in range(10):
        try:
            return check(start)
        except Slow:
            pass
    raise Failed("this machine is too slow")


def main():
    program, bad = sys.argv[1], 0
    chosen = os.environ.get("CHECKS", "").split()
    for backend in sys.argv[2:] or ["epoll"]:
        def start(*upstreams, arguments=()):
            return Proxy(program, backend, *upstreams, arguments=arguments)
        for check in (fields, smuggling, errors, retry, turns, limits, pressure, cancel, tunnel, limit, stop):
            if chosen and check.__name__ not in chosen:
                continue
            try:
                note = repeated(check, start) or ""
                print(f"ok      proxy {backend} {check.__name__} {note}".rstrip(), flush=True)
            except (Failed, OSError, KeyError, subprocess.TimeoutExpired) as error:
                print(f"FAILED  proxy {backend} {check.__name__}: {error!r}", flush=True)
                bad += 1
    sys.exit(1 if bad else 0)


main()
