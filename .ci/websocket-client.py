#!/usr/bin/env python3
"""Drives the example `websocket` by the WebSockets of Python, and by requests that are written by hand.

    websocket-client.py PROGRAM [BACKEND...]

Each check starts a server of its own on a free port of 127.0.0.1. Requires the package `websockets`, version 10 or later.
The variable CHECKS names the checks to make.
"""

import asyncio
import base64
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import websockets
import websockets.exceptions

from checks import Failed, Listener, Slow, expect, same

PATIENCE = 60.0             # seconds; longer than any step takes on a slow machine
MESSAGE = 4096              # bytes of the longest message
FAREWELL = 3.0              # seconds that the server waits for the answer to its close


class Server:
    """A server process. Its end is checked when the block ends without an error."""

    def __init__(self, program, backend, *arguments):
        self.process = subprocess.Popen([program, "--addr", "127.0.0.1:0", "--backend", backend, *arguments],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        first = self.process.stdout.readline()
        match = re.match(r"listening on 127\.0\.0\.1:(\d+) backend=", first)
        if not match:
            self.process.kill()
            raise Failed(f"the server prints {first + self.process.communicate()[0]!r}")
        self.port = int(match.group(1))
        self.host = f"127.0.0.1:{self.port}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)

    def __enter__(self):
        return self

    def __exit__(self, kind, _error, _trace):
        try:
            if kind is None:
                self.stop()
                rest = self.process.communicate(timeout=PATIENCE)[0]
                expect(re.fullmatch(r"(SIGTERM: closing \d+ clients\n)", rest), f"the server prints {rest!r}")
                same(self.process.returncode, 0)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()

    def request(self, target, *headers, host=None):
        """Sends a request by hand. Returns the status, the rest of the head, and the socket."""
        client = socket.socket()
        client.settimeout(PATIENCE)
        # Small, so that a client that does not read is soon full.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.port))
        lines = [f"GET {target} HTTP/1.1", f"Host: {host or self.host}", *headers, "", ""]
        client.sendall("\r\n".join(lines).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = client.recv(1)
            expect(byte, f"{target}: no response")
            head += byte
        status, _, rest = head.decode().partition("\r\n")
        return int(status.split()[1]), rest.lower(), client

    def upgrade(self, *headers, version=13, host=None):
        """Asks for a WebSocket by hand."""
        return self.request("/chat", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
                            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
                            f"Sec-WebSocket-Version: {version}", *headers, host=host)

    def by_hand(self, name):
        """A client that answers no ping, and reads only when it is told to."""
        status, _, client = self.upgrade()
        same(status, 101)
        client.sendall(frame(1, name.encode()))
        return client

    async def connect(self, name):
        """A client that is in the room."""
        client = await websockets.connect(f"ws://{self.host}/chat", origin=f"http://{self.host}", ping_interval=None,
                                          open_timeout=PATIENCE, close_timeout=PATIENCE, max_size=None)
        if name is not None:
            await client.send(name)
        return client


def frame(opcode, data, final=True):
    """A frame of a client, masked with zeros."""
    expect(len(data) < 65536, "too long for this program")
    length = struct.pack(">B", 128 | len(data)) if len(data) < 126 else struct.pack(">BH", 254, len(data))
    return bytes([(128 if final else 0) | opcode]) + length + bytes(4) + data


def exactly(client, count):
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            return None
        data += more
    return data


def read_frame(client):
    """Reads a frame of the server. Returns its opcode and data, or None at the end."""
    head = exactly(client, 2)
    if head is None:
        return None
    length = head[1]
    if length == 126:
        length = struct.unpack(">H", exactly(client, 2))[0]
    return head[0] & 15, exactly(client, length)


def close_frame(client):
    """Reads until a close. Returns its code."""
    deadline = time.monotonic() + PATIENCE
    while True:
        # Pings may come for ever.
        expect(time.monotonic() < deadline, "no close")
        got = read_frame(client)
        expect(got is not None, "ended without a close")
        if got[0] == 8:
            return struct.unpack(">H", got[1][:2])[0]


async def receive(client):
    return await asyncio.wait_for(client.recv(), PATIENCE)


async def lines(client, *wanted):
    for line in wanted:
        same(await receive(client), line)


async def closed(client, code):
    """The server closes the connection with this code. Messages before that are left out."""
    try:
        while True:
            await receive(client)
    except websockets.exceptions.ConnectionClosed:
        pass
    await asyncio.wait_for(client.wait_closed(), PATIENCE)
    same(client.close_code, code)


async def chat(start):
    """Two clients talk, and see each other come and leave."""
    with start() as server:
        anna = await server.connect("anna")
        await lines(anna, "* anna has come")
        bert = await server.connect("bert")
        await lines(anna, "* bert has come")
        await lines(bert, "* bert has come")
        await anna.send("hello <b>you</b>")
        await bert.send("one\ntwo\x07\u2028three")
        told = sorted([await receive(anna), await receive(anna)])
        same(told, ["anna: hello <b>you</b>", "bert: one two \u2028three"])
        same(sorted([await receive(bert), await receive(bert)]), told)
        await anna.send("x" * MESSAGE)
        await lines(bert, "anna: " + "x" * MESSAGE)
        await lines(anna, "anna: " + "x" * MESSAGE)
        # The same name gets a number.
        other = await server.connect("bert")
        await lines(other, "* bert-2 has come")
        await lines(anna, "* bert-2 has come")
        await bert.close()
        same(bert.close_code, 1000)
        await lines(anna, "* bert has left")
        # This one ends without a close.
        other.transport.abort()
        await lines(anna, "* bert-2 has left")
        # A ping of the client is answered.
        await asyncio.wait_for(await anna.ping(), PATIENCE)
        await anna.close(1001)
        same(anna.close_code, 1001)


async def faults(start):
    """Clients that break a rule are closed with the right code, and harm no other."""
    with start() as server:
        good = await server.connect("good")
        await lines(good, "* good has come")
        for message, code in (("x" * (MESSAGE + 1), 1009), ("x" * 3000000, 1009), (b"bytes", 1003)):
            bad = await server.connect("bad")
            await lines(good, "* bad has come")
            begun = time.monotonic()
            try:
                await bad.send(message)
            except websockets.exceptions.ConnectionClosed:
                pass            # it was closed in the middle
            try:
                await closed(bad, code)
            except Failed:
                # The server was still sent the message when it gave up, so that its close was lost.
                if bad.close_code == 1006 and time.monotonic() - begun > 0.8 * FAREWELL:
                    raise Slow from None
                raise
            await lines(good, "* bad was disconnected: it broke the rules")
        for name in ("", "x" * 21, "two words", "* x", "<b>"):
            await closed(await server.connect(name), 1008)
        by_hand = {
            "pieces": (frame(1, b"x" * 3000, final=False) + frame(0, b"x" * 3000), 1009),
            "no-text": (frame(1, b"\xff\xfe"), 1007),
            "no-opcode": (frame(3, b""), 1002),
            "no-mask": (b"\x81\x01x", 1002),
        }
        for name, (data, code) in by_hand.items():
            client = server.by_hand(name)
            await lines(good, f"* {name} has come")
            client.sendall(data)
            same(close_frame(client), code)
            await lines(good, f"* {name} was disconnected: it broke the rules")
            client.close()
        await good.send("still here")
        await lines(good, "good: still here")
        await good.close()


async def handshakes(start):
    """What is served, what is upgraded, and what is refused."""
    with start() as server:
        status, head, client = server.request("/")
        same(status, 200)
        expect("content-security-policy: default-src 'none'" in head and "nosniff" in head, head)
        length = int(re.search(r"content-length: (\d+)", head).group(1))
        page = exactly(client, length).decode()
        expect("textContent" in page and "innerHTML" not in page, "another page")
        client.close()
        same(server.request("/other")[0], 404)
        same(server.request("/chat")[0], 400)
        status, head, _ = server.upgrade(version=8)
        same(status, 426)
        expect("sec-websocket-version: 13" in head, head)
        other = f"127.0.0.1:{server.port ^ 1}"
        for origin, wanted in ((f"http://{server.host}", 101), (f"https://{server.host}", 101), ("http://evil.example", 403),
                               (f"http://{other}", 403), ("null", 403), (f"http://{server.host}.evil.example", 403)):
            status, _, client = server.upgrade(f"Origin: {origin}")
            expect(status == wanted, f"{origin}: {status}, not {wanted}")
            client.close()
        same(server.upgrade()[0], 101)
    with start("--origin", "http://chat.example") as server:
        same(server.upgrade("Origin: http://chat.example")[0], 101)
        same(server.upgrade("Origin: http://evil.example", host="evil.example")[0], 403)


async def limit(start):
    """There are no more clients than allowed, with a name or without."""
    with start("--clients", "2") as server:
        anna = await server.connect("anna")
        await lines(anna, "* anna has come")
        _, _, silent = server.upgrade()
        same(server.upgrade()[0], 503)
        same(server.request("/")[0], 200)
        silent.close()
        # The server sees the end of `silent` a little later.
        status = 503
        deadline = time.monotonic() + PATIENCE
        while status == 503 and time.monotonic() < deadline:
            status, _, client = server.upgrade()
            await asyncio.sleep(0.01)
        same(status, 101)
        client.close()
        await anna.close()


async def slow(start):
    """A client that does not read is disconnected, and holds up no other one."""
    with start() as server:
        anna = await server.connect("anna")
        bert = await server.connect("bert")
        await lines(anna, "* anna has come", "* bert has come")
        await lines(bert, "* bert has come")
        lazy = server.by_hand("lazy")
        for client in (anna, bert):
            await lines(client, "* lazy has come")
        end = "* lazy was disconnected: it was too slow"
        seen = set()
        for count in range(2000):
            speaker, name = (anna, "anna") if count % 2 else (bert, "bert")
            text = f"{count:05}".ljust(MESSAGE, "x")
            await speaker.send(text)
            # Each message is sent when all that read have the one before: these are never slow.
            for client in (anna, bert):
                line = await receive(client)
                if line == end:
                    seen.add(client)
                    line = await receive(client)
                same(line, f"{name}: {text}")
            if len(seen) == 2:
                break
        same(len(seen), 2)
        # It was not disconnected before it had its share.
        expect(count > 32, f"disconnected after {count} messages")
        lazy.close()
        await anna.close()
        await bert.close()
        return f"after {count} messages"


async def burst(start):
    """A client that sends all at once makes no other one lose a message: it is read more slowly."""
    with start() as server:
        fast = await server.connect("fast")
        await lines(fast, "* fast has come")
        other = await server.connect("other")
        await lines(fast, "* other has come")
        await lines(other, "* other has come")
        texts = [f"{number:05}".ljust(MESSAGE, "x") for number in range(40)]

        async def speak():
            for text in texts:
                await fast.send(text)

        told = [f"fast: {text}" for text in texts]
        begun = time.monotonic()
        await asyncio.gather(speak(), lines(fast, *told), lines(other, *told))
        # 10 at once, then one in 50 ms.
        took = time.monotonic() - begun
        expect(took > 1.4, f"40 messages in {took:.2f} s")
        await fast.close()
        await other.close()


async def silent(start):
    """A client that answers no ping is disconnected; one that only answers pings is not."""
    ping = 1.0
    with start("--ping", "1") as server:
        dead, alive = server.by_hand("dead"), server.by_hand("alive")
        last, pings = time.monotonic(), 0
        while pings < 5:
            got = read_frame(alive)
            before, last = last, time.monotonic()
            if got is None or got[0] == 8:
                if last - before > 1.5 * ping:
                    raise Slow
                raise Failed("a client that answers was disconnected")
            if got[0] == 9:
                pings += 1
                alive.sendall(frame(10, got[1]))
            if time.monotonic() - last > 0.5 * ping:
                raise Slow
        same(close_frame(dead), 1001)
        alive.close()
        dead.close()


async def stop(start):
    """SIGTERM closes all connections: what was said before it arrives, then 1001."""
    with start() as server:
        listener = Listener(server.port)
        anna, bert = await server.connect("anna"), await server.connect("bert")
        await lines(anna, "* anna has come", "* bert has come")
        lazy = server.by_hand("lazy")
        status, _, idle = server.request("/")
        same(status, 200)
        _, _, nameless = server.upgrade()
        await lines(anna, "* lazy has come")
        for number in range(10):
            await anna.send(str(number))
        for number in range(10):
            await lines(anna, f"anna: {number}")
        server.stop()
        got = []
        try:
            while True:
                got.append(await receive(bert))
        except websockets.exceptions.ConnectionClosed:
            pass
        same(bert.close_code, 1001)
        expect([line for line in got if line.startswith("anna")] == [f"anna: {number}" for number in range(10)], f"{got}")
        await closed(anna, 1001)
        same(close_frame(nameless), 1001)
        same(close_frame(lazy), 1001)
        while idle.recv(4096):
            pass
        expect(not listener.is_open(), "it listens after the signal")
        for client in (lazy, idle, nameless):
            client.close()


async def repeated(check, start):
    """Repeats a check in which this process was held up."""
    for _ in range(10):
        try:
            return await check(start)
        except Slow:
            pass
    raise Failed("this machine is too slow")


def main():
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    program, bad = sys.argv[1], 0
    chosen = os.environ.get("CHECKS", "").split()
    for backend in sys.argv[2:] or ["epoll"]:
        def start(*arguments):
            return Server(program, backend, *arguments)
        for check in (chat, faults, handshakes, limit, slow, burst, silent, stop):
            if chosen and check.__name__ not in chosen:
                continue
            try:
                note = asyncio.run(repeated(check, start)) or ""
                print(f"ok      websocket {backend} {check.__name__} {note}".rstrip(), flush=True)
            except (Failed, OSError, asyncio.TimeoutError, websockets.exceptions.WebSocketException) as error:
                print(f"FAILED  websocket {backend} {check.__name__}: {error!r}", flush=True)
                bad += 1
    sys.exit(1 if bad else 0)


main()
