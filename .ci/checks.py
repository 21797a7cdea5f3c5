"""What graceful-client.py, proxy-client.py, websocket-client.py and browser-client.py check with."""


class Failed(Exception):
    """A check did not hold; the message says which."""


class Slow(Exception):
    """This process was held up, so that the check shows nothing."""


def expect(condition, message):
    if not condition:
        raise Failed(message)


def same(got, wanted):
    expect(got == wanted, f"{got!r}, not {wanted!r}")
