"""The examples `http` and `https` as a child process, for the scripts beside this file."""

import atexit
import os
import queue
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

PATIENCE = 120  # seconds for what must happen at all


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


class Server:
    def __init__(self, program, backend, *flags, tls=False):
        self.tls = tls
        command = [program, "--addr", "127.0.0.1:0", "--backend", backend, *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        atexit.register(self.process.kill)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        first = self.line()
        match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+) backend=\S+", first)
        check(match, f"the server does not start: {first}")
        self.addr = ("127.0.0.1", int(match[1]))

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self):
        try:
            line = self.lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise Failure("the server prints nothing") from None
        check(line is not None, "the server has ended")
        return line

    def state(self):
        """The counts that the server prints on SIGUSR1."""
        self.process.send_signal(signal.SIGUSR1)
        words = self.line().split()
        return {name: int(count) for name, count in (word.split("=") for word in words)}

    def wait_for(self, **wanted):
        end = time.monotonic() + PATIENCE
        while True:
            state = self.state()
            if all(state[name] == count for name, count in wanted.items()):
                return state
            check(time.monotonic() < end, f"not {wanted}: {state}")
            time.sleep(0.02)

    def connect(self, receive=None, patience=PATIENCE):
        tcp = socket.socket()
        if receive:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        tcp.settimeout(patience)
        tcp.connect(self.addr)
        return tcp

    def open(self, receive=None, protocol="http/1.1", patience=PATIENCE):
        tcp = self.connect(receive, patience)
        if not self.tls:
            return tcp
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        stream = context.wrap_socket(tcp, server_hostname="localhost")
        check(stream.selected_alpn_protocol() == protocol, f"no {protocol}: {stream.selected_alpn_protocol()}")
        return stream

    def stop(self, wanted=0):
        """Waits for the end, and returns what was printed since."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure("the server does not end") from None
        lines = list(iter(self.lines.get, None))
        check(status == wanted, f"the server has ended with status {status}: {lines}")
        return lines

    def signal_to_end(self):
        """Sends SIGTERM, and returns once the listener is closed."""
        self.process.send_signal(signal.SIGTERM)
        line = self.line()
        check("waiting up to" in line, f"after SIGTERM: {line}")
        return line

    def memory(self):
        """Resident memory, in KiB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def read_response(stream):
    """Returns the head and the body of a response with Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        check(more, f"the server closes the connection after {data!r}")
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        more = stream.recv(1 << 20)
        check(more, f"the server closes the connection after {len(body)} of {length} bytes")
        body += more
    return head, body


def get(stream, path="/", wanted=b"hello\n"):
    stream.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head, body = read_response(stream)
    check(head.startswith(b"HTTP/1.1 200") and body == wanted, f"{path}: {head!r} {body[:99]!r}")
    return head
