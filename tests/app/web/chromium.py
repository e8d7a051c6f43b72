"""Debian's Chromium, driven through its DevTools protocol: no more than these tests need."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import websocket

PROGRAM = shutil.which("chromium")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    # whatever asks for another host is told that there is none, and is still recorded
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

WAIT_SECONDS = 30.0


class Chromium:
    """One tab; keeps the address of every request and every message of the console."""

    def __init__(self, folder: Path):
        self.requests: list[str] = []
        """Addresses asked for; not those that the page's own policy held back."""
        self._asked: dict[str, str] = {}
        self.messages: list[str] = []
        self._number = 0
        self._profile = folder / "profile"
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._socket = websocket.create_connection(self._tab(), timeout=WAIT_SECONDS)
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def _tab(self):
        """Address of the tab's socket, once the browser has written its port."""
        deadline = time.monotonic() + WAIT_SECONDS
        port = self._profile / "DevToolsActivePort"
        while time.monotonic() < deadline:
            if port.is_file() and port.read_text().count("\n"):
                number = port.read_text().split("\n")[0]
                with urllib.request.urlopen(f"http://127.0.0.1:{number}/json/list") as answer:
                    tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
                if tabs:
                    return tabs[0]["webSocketDebuggerUrl"]
            if self._process.poll() is not None:
                raise RuntimeError(f"chromium ended with {self._process.returncode}")
            time.sleep(0.05)
        raise RuntimeError("chromium did not open its port")

    def close(self):
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)

    def send(self, method, **parameters):
        """One command, and its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._heard(message)

    def _heard(self, message):
        """Keep what an event says."""
        method, said = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
            self._asked[said["requestId"]] = said["request"]["url"]
        elif method == "Network.loadingFailed" and said.get("blockedReason") == "csp":
            # igv.js asks igv.org for moved addresses when a file does not come: it may not
            held_back = self._asked[said["requestId"]]
            if held_back in self.requests:
                self.requests.remove(held_back)
        elif method == "Log.entryAdded":
            entry = said["entry"]
            self.messages.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", details["text"])
            self.messages.append(f"exception: {thrown}")

    def evaluate(self, expression):
        """The JSON value of an expression; a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression[:200]}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=WAIT_SECONDS):
        """Ask until an expression is true, over page loads too; its value."""
        deadline, last = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                last = self.evaluate(expression)
            except RuntimeError as error:  # between two pages
                last = str(error)
            else:
                if last:
                    return last
            time.sleep(0.1)
        where = self.evaluate("location.href + ' ' + document.body.innerText.slice(0, 600)")
        raise AssertionError(f"not so after {seconds:g} s: {expression}\n{last}\n{where}")

    def goto(self, address):
        """Open an address and wait until it is loaded."""
        self.evaluate("window.leaving = true")
        answer = self.send("Page.navigate", url=address)
        assert "errorText" not in answer, answer
        self.wait_for("!window.leaving && document.readyState === 'complete'")

    def click(self, selector):
        """Click what a selector finds; it must be there."""
        self.wait_for(f"!!document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def look(self, *, width=1280, height=900, dark=False, mobile=False):
        """Choose the size of the window and the colour scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path, *, full=True):
        """A picture of the page."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=full, format="png")
        path.write_bytes(base64.b64decode(answer["data"]))
