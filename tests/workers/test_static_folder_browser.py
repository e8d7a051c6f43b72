"""A result folder in Debian's Chromium: from a disk, and from hosts of files."""

import functools
import http.server
import re
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from app import folder_page
from tests.app.web.chromium import PROGRAM, Chromium
from tests.app.web.test_browser import INK, axe
from tests.workers.test_static_folder import annotate, folder, place

__all__ = ["axe", "folder", "place"]  # fixtures of this module, too

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="NO CHROMIUM: apt-get install -y chromium"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    try:
        browser.look(width=1280, height=900)
        yield browser
    finally:
        browser.close()


class Whole(http.server.SimpleHTTPRequestHandler):
    """A host of files that does not know ranges."""

    def log_message(self, *args):
        pass


class Ranges(Whole):
    """A host of files that answers ranges of bytes, as every larger one does."""

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        content, start = path.read_bytes(), int(wanted[1])
        part = content[start : int(wanted[2] or len(content)) + 1]
        self.send_response(206)
        self.send_header("Content-Type", "application/octet-stream")
        end = start + len(part) - 1
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture
def host(request, folder, browser):
    """Address of the folder on a host of files."""
    handler = functools.partial(request.param, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        # or what a page still asks for is refused, and its messages are those of the next test
        browser.goto("about:blank")
        server.shutdown()


READY = "document.getElementById('igv').dataset.ready"


def open_page(browser, address, how):
    """Open the page and wait for its browser; ink of each canvas."""
    browser.goto("about:blank")  # an address with another fragment is no new page
    browser.goto(address)
    browser.wait_for(READY)
    assert browser.evaluate(READY) == how, browser.evaluate("document.body.innerText")
    browser.wait_for(f"{INK}.filter(ink => ink > 0).length > 1")
    return browser.evaluate(INK)


def broken(browser):
    """What the console says of broken scripts, policies and files."""
    return [text for text in browser.messages if text.startswith(("error", "exception"))]


def look_and_use(browser, address, how):
    """The tracks are drawn; a link goes to a peak; a feature is drawn and taken away."""
    empty = open_page(browser, f"{address}#locus=chrA:1-3000&features=", how)
    open_page(browser, f"{address}#locus=chrA:1-3000&features=7", how)
    browser.wait_for(f"{INK}.reduce((a, b) => a + b, 0) > {sum(empty) + 20}")
    labels = (
        "[...document.getElementById('igv').shadowRoot.querySelectorAll('.igv-track-label')]"
        ".map(label => label.textContent)"
    )
    assert {"Genes", "7 peaks"} <= set(browser.evaluate(labels))
    browser.click("button.draw[data-feature='9-']")
    browser.wait_for(f"{labels}.includes('9- peaks')")
    browser.click("button.draw[data-feature='7']")
    browser.wait_for(f"!{labels}.includes('7 peaks')")
    assert browser.evaluate("document.getElementById('drawn').textContent") == "9-"
    browser.click("tbody .range a[href^='#locus=']")
    browser.wait_for("!location.hash.includes('chrA%3A1-3000')")
    open_page(browser, f"{address}#locus=nowhere:1-5", how)
    assert "There is no such place" in browser.evaluate(
        "document.getElementById('igv-failed').innerText"
    )
    # a gene, by the index of genes.bb
    browser.evaluate("document.getElementById('locus').value = 'xyz2'")
    browser.click("#jump button")
    browser.wait_for("/^chrA:5\\d\\d-29\\d\\d$/.test(document.getElementById('locus').value)")


def test_it_opens_from_a_disk(browser, folder):
    browser.requests.clear()
    browser.messages.clear()
    look_and_use(browser, (folder / "index.html").as_uri(), "embedded")
    asked = {address for address in browser.requests if address[:5] not in ("data:", "blob:")}
    assert {urlsplit(address).scheme for address in asked} <= {"file", "about"}
    here = [unquote(urlsplit(a).path) for a in asked if a.startswith("file:")]
    assert here
    assert all(path.startswith(str(folder)) for path in here)
    assert broken(browser) == []


@pytest.mark.parametrize(
    ("host", "how"), [(Ranges, "ranges"), (Whole, "embedded")], indirect=["host"]
)
def test_it_opens_from_any_host(browser, host, how):
    browser.requests.clear()
    browser.messages.clear()
    look_and_use(browser, host, how)
    asked = {address for address in browser.requests if address[:5] not in ("data:", "blob:")}
    assert {urlsplit(address).netloc for address in asked} <= {urlsplit(host).netloc, ""}, asked
    assert any("page/data.js" in address for address in asked) == (how == "embedded")
    assert broken(browser) == []


def test_tracks_too_large_for_the_page_ask_for_a_host(browser, place, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_page, "EMBEDDED_BYTES", 10)
    page = annotate(place, tmp_path / "out").out / "index.html"
    browser.goto(page.as_uri())
    browser.wait_for(f"{READY} === 'failed'")
    said = browser.evaluate("document.getElementById('igv-failed').innerText")
    assert "too large to stand in the page" in said
    assert "npx http-server" in said
    assert browser.evaluate("[...document.querySelectorAll('button.draw')].every(b => b.hidden)")


def test_axe_finds_nothing_outside_igv(browser, folder, axe):
    found = []
    for page in ("index.html", "about.html"):
        for look in ({}, {"dark": True}, {"width": 390, "height": 844}):
            browser.look(**{"width": 1280, "height": 900, **look})
            browser.goto((folder / page).as_uri())
            if page == "index.html":
                browser.wait_for(READY)
            browser.evaluate(axe + "; true")
            answer = browser.evaluate(
                "axe.run({exclude: [['#igv']]}, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a',"
                " 'wcag21aa', 'wcag22aa', 'best-practice']}).then(said => said.violations.map(one"
                " => one.id + ': ' + one.nodes.map(node => node.html.slice(0, 150)).join(' | ')))"
            )
            found += [f"{page} {look} {said}" for said in answer]
            wide = browser.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{page} {look} is {wide} pixels too wide"
    browser.look(width=1280, height=900)
    assert found == []
