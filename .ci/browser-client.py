#!/usr/bin/env python3
"""Opens the page of the example `websocket` in two tabs of a browser, and uses it by the DevTools protocol.

    browser-client.py CHROMIUM PROGRAM [BACKEND...]

Keys and clicks go through the browser's input, as those of a user do. What a page shows is waited for by a function in the
page that observes it, so nothing here depends on time. Requires the package `websockets`, version 10 or later. The browser
has a folder of its own, chooses the port for DevTools itself, and is ended with this program.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import websockets
import websockets.exceptions

from checks import Failed, expect

PATIENCE = 90.0             # seconds; longer than any step takes on a slow machine

FLAGS = [
    "--headless", "--no-first-run", "--no-default-browser-check", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
    "--no-proxy-server", "--remote-debugging-port=0", "--remote-allow-origins=*",
]

# Resolves when the condition holds, which is a function of the page's document.
UNTIL = """new Promise((resolve) => {
    const holds = %s;
    const look = () => { if (holds()) { observer.disconnect(); resolve(true); return true; } };
    const observer = new MutationObserver(look);
    observer.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
    look();
})"""


class Server:
    """The server under test."""

    def __init__(self, program, backend, port=0):
        self.process = subprocess.Popen([program, "--addr", f"127.0.0.1:{port}", "--backend", backend],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        match = re.match(r"listening on 127\.0\.0\.1:(\d+) backend=", first)
        if not match:
            self.kill()
            raise Failed(f"the server prints {first!r}")
        self.port = int(match.group(1))
        self.url = f"http://127.0.0.1:{self.port}/"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        rest = self.process.communicate(timeout=PATIENCE)[0]
        expect(self.process.returncode == 0, f"the server ended with status {self.process.returncode}: {rest}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Browser:
    """A browser, and the connection to its DevTools."""

    def __init__(self, program):
        self.folder = tempfile.mkdtemp(prefix="browser.")
        flags = FLAGS + ["--no-sandbox"] if os.getuid() == 0 else FLAGS
        # A session of its own, so that the browser's other processes can be ended with it.
        self.process = subprocess.Popen([program, *flags, f"--user-data-dir={self.folder}", "about:blank"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        start_new_session=True)
        self.next, self.answers, self.pages, self.errors = 0, {}, {}, []

    async def start(self):
        self.url = await asyncio.wait_for(asyncio.to_thread(self.find), PATIENCE)
        # Whatever else the browser prints is dropped, so that it never waits for a reader.
        self.drain = asyncio.create_task(asyncio.to_thread(self.process.stderr.read))
        self.socket = await websockets.connect(self.url, max_size=None, ping_interval=None, open_timeout=PATIENCE)
        self.reader = asyncio.create_task(self.read())

    def find(self):
        printed = []
        for line in self.process.stderr:
            match = re.search(rb"DevTools listening on (ws://\S+)", line)
            if match:
                return match.group(1).decode()
            printed.append(line)
        raise Failed(f"the browser has ended: {b''.join(printed)[-2000:]!r}")

    async def read(self):
        try:
            async for text in self.socket:
                self.take(json.loads(text))
        except websockets.exceptions.ConnectionClosed:
            pass
        for answer in self.answers.values():
            if not answer.done():
                answer.set_exception(Failed("the browser has ended"))

    def take(self, message):
        if "id" in message:
            answer = self.answers.pop(message["id"])
            # It may come after the time limit of its call.
            if not answer.done():
                answer.set_result(message)
        elif message["method"] == "Runtime.exceptionThrown":
            self.errors.append(message["params"]["exceptionDetails"])
        elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.errors.append(message["params"]["entry"])
        elif message["method"] == "Page.loadEventFired" and message["sessionId"] in self.pages:
            self.pages[message["sessionId"]].loaded.set()

    async def call(self, method, session=None, **parameters):
        self.next += 1
        message = {"id": self.next, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        answer = self.answers[self.next] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps(message))
        got = await asyncio.wait_for(answer, PATIENCE)
        expect("error" not in got, f"{method}: {got.get('error')}")
        return got["result"]

    async def tab(self, url):
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = self.pages[session] = Tab(self, session)
        for domain in ("Page", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        # So that each tab behaves as if it were in front.
        await tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await tab.load("Page.navigate", url=url)
        return tab

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Tab:
    """One page."""

    def __init__(self, browser, session):
        self.browser, self.session, self.loaded = browser, session, asyncio.Event()

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    async def load(self, method, **parameters):
        """Navigates, and waits until the new page is there."""
        self.loaded.clear()
        result = await self.call(method, **parameters)
        expect("errorText" not in result, f"{parameters}: {result.get('errorText')}")
        await asyncio.wait_for(self.loaded.wait(), PATIENCE)

    async def evaluate(self, expression):
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        expect("exceptionDetails" not in result, f"{expression}: {result.get('exceptionDetails')}")
        return result["result"].get("value")

    async def until(self, condition):
        """Waits until a function of the page returns true."""
        try:
            await self.evaluate(UNTIL % condition)
        except asyncio.TimeoutError:
            body = await self.evaluate("document.body.innerText")
            raise Failed(f"{condition} does not hold; the page shows {body!r}") from None

    async def shows(self, line):
        """Waits for a line of the chat."""
        await self.until(f"() => [...document.querySelectorAll('#lines div')].some((div) => div.textContent === {json.dumps(line)})")

    async def state(self, text):
        await self.until(f"() => document.getElementById('state').textContent.startsWith({json.dumps(text)})")

    async def write(self, field, text):
        """Clicks into a field, types, and presses Enter."""
        box = await self.evaluate(f"(() => {{ const box = document.getElementById('{field}').getBoundingClientRect();"
                                  " return [box.x + box.width / 2, box.y + box.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
        expect(await self.evaluate(f"document.activeElement.id === '{field}'"), f"a click does not reach {field}")
        await self.call("Input.insertText", text=text)
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **enter)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **enter)


async def use(browser, program, backend):
    """Two users talk; one loads the page again; the server ends and comes back."""
    server = Server(program, backend)
    try:
        anna, bert = await browser.tab(server.url), await browser.tab(server.url)
        await anna.write("name", "anna")
        await anna.shows("* anna has come")
        await anna.state("connected")
        await bert.write("name", "bert")
        await anna.shows("* bert has come")
        await bert.shows("* bert has come")

        await anna.write("text", "good morning")
        await bert.shows("anna: good morning")
        await bert.write("text", "the same to you")
        await anna.shows("bert: the same to you")
        hostile = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
        await anna.write("text", hostile)
        await bert.shows(f"anna: {hostile}")
        found = await bert.evaluate("document.querySelectorAll('#lines img, #lines script').length")
        expect(found == 0, "a text was parsed as HTML")

        # The name is kept for the tab, so it connects by itself.
        await anna.load("Page.reload")
        await bert.shows("* anna has left")
        await anna.state("connected")
        await anna.until("() => document.querySelectorAll('#lines div').length > 0")
        # The server may see the new connection before the end of the old one; then there is a number.
        name = (await anna.evaluate("document.querySelector('#lines div').textContent")).split()[1]
        expect(name in ("anna", "anna-2"), f"the name is {name}")
        await bert.write("text", "welcome back")
        await anna.shows("bert: welcome back")
        await anna.write("text", "thanks")
        await bert.shows(f"{name}: thanks")

        server.stop()
        for tab in (anna, bert):
            await tab.state("disconnected (1001: the server ends)")
        server.end()
        expect(not browser.errors, f"errors in the page: {browser.errors}")

        # Back on the same port; a user connects again by a click.
        server = Server(program, backend, server.port)
        await anna.evaluate("document.querySelector('#enter button').click()")
        await anna.state("connected")
        await anna.write("text", "anybody here?")
        await anna.shows("anna: anybody here?")
        # A server that is killed says nothing.
        server.kill()
        await anna.state("disconnected (1006)")
    finally:
        server.kill()


async def main():
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    bad = 0
    for backend in sys.argv[3:] or ["epoll"]:
        browser = Browser(sys.argv[1])
        try:
            await browser.start()
            await use(browser, sys.argv[2], backend)
            print(f"ok      browser {backend}", flush=True)
        except (Failed, OSError, asyncio.TimeoutError, websockets.exceptions.WebSocketException) as error:
            print(f"FAILED  browser {backend}: {error!r}", flush=True)
            bad += 1
        finally:
            browser.kill()
    # Without waiting for threads that read from a browser.
    sys.stdout.flush()
    os._exit(1 if bad else 0)


asyncio.run(main())
