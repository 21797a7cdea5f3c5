#!/usr/bin/env python3
"""http-limits.py PROGRAM BACKEND [--tls]

Starts the example `http`, or `https` with --tls, and checks its limits and its end: what is too slow is closed, and not too
early; connections beyond the limit wait; after SIGTERM the requests that have begun are answered; a second signal ends the
server at once. No check relies on the client being fast: a time is only checked for not being too short.
"""

import select
import signal
import ssl
import struct
import sys
import time

sys.dont_write_bytecode = True
from http_server import PATIENCE, Failure, Server, check, get, read_response

HEADER, IDLE, STALL = 0.4, 0.6, 0.8  # seconds
LINGER = 2.0                    # as in examples/http/src/connection.rs
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def start(*flags):
    return Server(program, backend, *flags, tls=tls)


def is_readable(stream, seconds):
    return bool(select.select([stream], [], [], seconds)[0])


def closed_after(stream, begin, least, drip=None):
    """Waits until the server closes. Meanwhile sends `drip` every 50 ms."""
    while drip and not is_readable(stream, 0.05):
        check(time.monotonic() - begin < PATIENCE, "the server does not close the connection")
        try:
            stream.sendall(drip)
        except OSError:
            break
    try:
        data = stream.recv(65536)
    except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
        data = b""
    took = time.monotonic() - begin
    check(not data, f"the server sends {data!r}")
    check(took >= least, f"closed after {took:.3f} s, before {least} s")
    stream.close()


# --- HTTP/2 by hand: RFC 9113 ---------------------------------------------------------------------


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def http2_head(path):
    path = path.encode()
    # `:method: GET` and `:scheme: http` of the static table, `:path` and `:authority` with literals.
    block = b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x01x"
    return frame(1, 5, 1, block)


def closed_by_goaway(stream):
    data = b""
    while True:
        try:
            more = stream.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            more = b""
        if not more:
            break
        data += more
    kinds = []
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        kinds.append(data[3])
        data = data[9 + length :]
    check(7 in kinds, f"no GOAWAY among the frames {kinds}")


# --- the checks -----------------------------------------------------------------------------------


def until_served(attempt):
    """Tries again if this client was too slow itself."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except (Failure, OSError):
            if time.monotonic() > end:
                raise


def milliseconds(seconds):
    return str(int(seconds * 1000))


def slow_head():
    """Connections without a whole head are closed in time."""
    server = start("--header-ms", milliseconds(HEADER))
    begin = time.monotonic()
    closed_after(server.connect(), begin, HEADER)
    server.wait_for(header=1, connections=0)

    def drip():
        stream = server.open()
        begin = time.monotonic()
        stream.sendall(b"GET / HTTP/1.1\r\nx: ")
        closed_after(stream, begin, HEADER, drip=b"y")

    until_served(drip)
    state = server.wait_for(connections=0)
    check(state["header"] >= 2 and state["requests"] == 0, f"the heads: {state}")
    server.signal_to_end()
    server.stop()


def idle():
    """Connections without a request are closed in time, those of HTTP/2 with a GOAWAY."""
    server = start("--idle-ms", milliseconds(IDLE))

    def answered():
        stream = server.open()
        begin = time.monotonic()
        get(stream)
        return stream, begin

    closed_after(*until_served(answered), IDLE)
    before = server.wait_for(connections=0)
    check(before["idle"] >= 1, f"an idle connection: {before}")

    def http2():
        stream = server.open(protocol="h2")
        stream.sendall(PREFACE + frame(4, 0, 0))
        closed_by_goaway(stream)
        stream.close()

    until_served(http2)
    after = server.wait_for(connections=0, tasks=0)
    check(after["idle"] > before["idle"], f"an idle connection of HTTP/2: {after}")
    server.signal_to_end()
    server.stop()


def stall():
    """Clients that send a body too slowly, or do not take a response, are cut off."""
    server = start("--stall-ms", milliseconds(STALL), "--rate", "1000", "--send-buffer", "65536")

    def slow_body():
        stream = server.open()
        begin = time.monotonic()
        stream.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        last, gap = begin, 0
        while not is_readable(stream, 0.05):
            try:
                stream.sendall(b"zz")
            except OSError:
                break           # closed in between; what it has sent before is read below
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        try:
            head, _ = read_response(stream)
        except (Failure, OSError) as error:
            if max(gap, time.monotonic() - last) < LINGER / 2:
                raise RuntimeError("no 408, although this client was not slow") from error
            raise
        took = time.monotonic() - begin
        stream.close()
        return head, took

    # The response may be lost if it is not read before the server gives up.
    head, took = until_served(slow_body)
    check(head.startswith(b"HTTP/1.1 408") and b"connection: close" in head.lower(), f"a slow body: {head!r}")
    check(took >= STALL, f"408 after {took} s")
    state = server.wait_for(connections=0)
    check(state["body"] >= 1, f"a slow body: {state}")

    stream = server.open(receive=4096)
    stream.sendall(b"GET /100000000 HTTP/1.1\r\nhost: x\r\n\r\n")
    server.wait_for(stall=1, connections=0)
    stream.close()

    # The windows of HTTP/2: the server may send no byte of a response.
    stream = server.open(protocol="h2")
    settings = frame(4, 0, 0, struct.pack(">HI", 4, 0))
    stream.sendall(PREFACE + settings + http2_head("/100000000"))
    server.wait_for(stall=2, connections=0, tasks=0)
    stream.close()
    server.signal_to_end()
    server.stop()


def crowd():
    """More connections than the limit."""
    server = start("--connections", "3")
    streams = [server.open() for _ in range(3)]
    for stream in streams:
        get(stream)
    waiting = server.connect()
    if not tls:
        waiting.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    for stream in streams:
        get(stream)
    state = server.state()
    check(state["connections"] == 3, f"beyond the limit: {state}")
    check(not is_readable(waiting, 0), "a connection beyond the limit is served")
    streams.pop().close()
    server.wait_for(connections=3)
    if not tls:
        read_response(waiting)
    server.signal_to_end()
    for stream in streams:
        stream.close()
    waiting.close()
    server.stop()


def end():
    """Requests that have begun are answered after SIGTERM."""
    server = start("--grace", "100")
    download = server.open(receive=65536)
    download.sendall(b"GET /3000000 HTTP/1.1\r\nhost: x\r\n\r\n")
    upload, half = server.open(), b"x" * 50000
    upload.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + half)
    server.wait_for(requests=2)
    server.signal_to_end()
    upload.sendall(half)
    head, body = read_response(upload)
    check(body == b"100000\n" and b"connection: close" in head.lower(), f"{head!r} {body!r}")
    _, body = read_response(download)
    check(body == b"x" * 3000000, "the download has other bytes")
    upload.close()
    download.close()
    lines = server.stop()
    check(lines[-1] == "nothing was left", f"{lines}")


def hasty_end():
    """The time is over, or a second signal comes."""
    for grace in "100", "1":
        server = start("--grace", grace)
        upload = server.open()
        upload.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nhalf")
        server.wait_for(requests=1)
        server.signal_to_end()
        if grace == "100":
            server.process.send_signal(signal.SIGTERM)
        lines = server.stop(wanted=1)
        check(any("1 task" in line for line in lines), f"the report names no task: {lines}")
        upload.close()


program, backend = sys.argv[1:3]
tls = "--tls" in sys.argv[3:]
name = program.rsplit("/", 1)[-1]
status = 0
for run in slow_head, idle, stall, crowd, end, hasty_end:
    try:
        run()
        print(f"ok      {backend} {name}: {run.__doc__}")
    except (Failure, OSError) as error:
        print(f"FAILED  {backend} {name}: {run.__doc__} {error!r}")
        status = 1
sys.exit(status)
