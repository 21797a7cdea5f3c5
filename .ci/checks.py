"""What graceful-client.py, proxy-client.py, websocket-client.py and browser-client.py check with."""

import time


class Failed(Exception):
    """A check did not hold; the message says which."""


class Slow(Exception):
    """This process was held up, so that the check shows nothing."""


def expect(condition, message):
    if not condition:
        raise Failed(message)


def same(got, wanted):
    expect(got == wanted, f"{got!r}, not {wanted!r}")


class Listener:
    """The socket that listens on a port of 127.0.0.1. It is known by its inode: a port that is free again may be taken by
    another process, and then a connection to it says nothing."""

    def __init__(self, port):
        self.port = port
        deadline = time.monotonic() + 60
        # A list that changes while it is read may lack an entry.
        while not (found := self.inodes()):
            expect(time.monotonic() < deadline, f"nobody listens on port {port}")
            time.sleep(0.05)
        self.inode = found[0]

    def inodes(self):
        """Of the sockets that listen on the port."""
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table]
        return [row[9] for row in rows if row[1] == f"0100007F:{self.port:04X}" and row[3] == "0A"]

    def is_open(self):
        return self.inode in self.inodes()
