#!/usr/bin/env python3
"""Clients for the example `files` that curl is not, and one check for each.

    apps-files.py PORT FOLDER shrinks       the file shrink.bin becomes shorter while it is sent
    apps-files.py PORT FOLDER descriptors   more clients than the server may have descriptors; 64 files one.txt.. exist
    apps-files.py PORT FOLDER slow          200 clients that do not read, of the file big.bin
    apps-files.py PORT FOLDER raw           requests that curl does not send

Prints ok, or says what is wrong. Only 127.0.0.1 is used.
"""

import os
import socket
import sys
import time

PATIENCE = 60.0             # seconds; longer than any step takes on a slow machine


def connect(port):
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
    stream.settimeout(PATIENCE)
    return stream


def ask(stream, path, method="GET", more=""):
    stream.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())


def head(stream):
    """Reads the head of a response and returns its status, its headers, and what came after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = stream.recv(65536)
        assert piece, f"the connection was closed after {data!r}"
        data += piece
    text, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = text.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, rest


def response(stream):
    """Reads a response and returns its status and its body."""
    status, headers, body = head(stream)
    length = int(headers["content-length"])
    while len(body) < length:
        piece = stream.recv(65536)
        assert piece, f"the connection was closed after {len(body)} of {length} bytes"
        body += piece
    assert len(body) == length, f"{len(body)} bytes, not {length}"
    return status, body


def shrinks(port, folder):
    stream = connect(port)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    ask(stream, "/shrink.bin")
    status, headers, body = head(stream)
    length = int(headers["content-length"])
    assert (status, length) == (200, 64 << 20), (status, headers)
    # Far more is left than the buffers of both sides hold.
    os.truncate(os.path.join(folder, "shrink.bin"), 1 << 20)
    received = len(body)
    while True:
        try:
            piece = stream.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        received += len(piece)
    assert received < length, "everything was sent"
    stream = connect(port)
    ask(stream, "/shrink.bin")
    status, body = response(stream)
    assert (status, len(body)) == (200, 1 << 20), (status, len(body))


def descriptors(port, _folder):
    client = connect(port)
    ask(client, "/0.txt")
    assert response(client) == (200, b"0\n")
    others = []
    # The server accepts them until it has no descriptor left. The others wait.
    for _ in range(100):
        others.append(connect(port))
    until = time.monotonic() + PATIENCE
    while True:
        ask(client, "/1.txt")
        status, body = response(client)
        if status == 503:
            break
        assert (status, body) == (200, b"1\n"), (status, body)
        assert time.monotonic() < until, "the server never lacks descriptors"
        time.sleep(0.05)
    for other in others:
        other.close()
    # It goes on when they have gone.
    while status == 503:
        assert time.monotonic() < until, "the server lacks descriptors for ever"
        time.sleep(0.05)
        ask(client, "/2.txt")
        status, body = response(client)
    assert (status, body) == (200, b"2\n"), (status, body)


def slow(port, _folder):
    clients = [connect(port) for _ in range(200)]
    for client in clients:
        ask(client, "/big.bin")
    for client in clients:
        assert head(client)[0] == 200
    # They share one descriptor of the file, and memory is bounded.
    client = connect(port)
    ask(client, "/0.txt")
    assert response(client) == (200, b"0\n")
    server = int(os.environ["SERVER"])
    files = [os.readlink(f"/proc/{server}/fd/{fd}") for fd in os.listdir(f"/proc/{server}/fd")]
    count = sum(name.endswith("/big.bin") for name in files)
    assert 1 <= count <= 64, f"{count} descriptors for one file"
    with open(f"/proc/{server}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(f"{count} descriptors of the file, at most {peak} KiB of memory", file=sys.stderr)
    assert peak < 200 * 1024, f"{peak} KiB of memory for {len(clients)} clients"


def raw(port, _folder):
    stream = connect(port)
    for path, status in (
        ("/0.txt", 200),
        ("//etc/passwd", 404),
        ("http://localhost/0.txt", 200),
        ("*", 404),
        ("/0.txt?query=/../..", 200),
        ("/0%2etxt", 200),
        ("/%00", 404),
        ("/0.txt%00.html", 404),
        ("/%ff%fe", 404),
        ("/" + "a" * 300, 404),
        ("/" + "a/" * 3000, 404),
    ):
        ask(stream, path)
        got = response(stream)[0]
        assert got == status, f"{path[:50]}: {got}, not {status}"
    for method, status in (("DELETE", 405), ("BREW", 405)):
        ask(stream, "/0.txt", method)
        assert response(stream)[0] == status, method
    # Requests one after the other without waiting.
    for _ in range(50):
        ask(stream, "/0.txt")
    received = b""
    while received.count(b"\r\n\r\n0\n") < 50:
        piece = stream.recv(65536)
        assert piece, "the connection was closed"
        received += piece


{"shrinks": shrinks, "descriptors": descriptors, "slow": slow, "raw": raw}[sys.argv[3]](int(sys.argv[1]), sys.argv[2])
print("ok")
