"""igv.js opens the hub of a share link: in Chromium, from a page under our own strict policy.

Skipped, loudly, where there is no Chromium (`apt-get install chromium`).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.config import Settings
from tests.app.web.chromium import PROGRAM, Chromium
from tests.app.web_server import ask, web_process
from workers.serve import free_port

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="NO CHROMIUM: apt-get install -y chromium"),
    pytest.mark.timeout(300),
]

OPEN = """(async () => {
  const { default: igv } = await import('/static/igv.esm.min.js')
  const place = document.createElement('div')
  document.body.replaceChildren(place)
  window.browser = await igv.createBrowser(place, %s)
  window.place = place
  return true
})()"""

DRAWN = """(() => [...window.place.shadowRoot.querySelectorAll('.igv-viewport canvas')].map((canvas) => {
  if (!canvas.width || !canvas.height) return 0
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
  let colored = 0
  // of a color of ours: blue, orange, green of the signals; not black, white or grey
  for (let at = 0; at < data.length; at += 4)
    if (data[at + 3] && Math.max(data[at], data[at + 1], data[at + 2]) -
        Math.min(data[at], data[at + 1], data[at + 2]) > 60) colored += 1
  return colored
}))()"""
"""Colored pixels of each canvas."""


@pytest.fixture
def server(settings: Settings, finished: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address of the web process, and that of a share link of a run."""
    settings = replace(settings, port=free_port("127.0.0.1", 0))
    with web_process(settings, tmp_path / "log"):
        made = ask(settings.port, f"/v1/runs/{finished}/share-links", "POST")
        root = f"http://127.0.0.1:{settings.port}"
        yield root, f"{root}/s/{json.loads(made.body)['token']}/"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    browser = Chromium(tmp_path)
    try:
        browser.look(width=1000, height=800)
        yield browser
    finally:
        browser.close()


def opened(browser: Chromium, root: str, config: dict[str, object]) -> list[str]:
    """Open something in igv.js, on a page of ours; names of its tracks."""
    browser.goto(f"{root}/")
    # by default igv.js asks its makers' servers for genomes and places
    browser.evaluate(OPEN % json.dumps({"loadDefaultGenomes": False, "search": False, **config}))
    return list(
        browser.evaluate("window.browser.tracks.map(track => track.name).filter(name => name)")
    )


def test_igv_draws_the_hub_that_a_link_names(browser: Chromium, server: tuple[str, str]) -> None:
    root, base = server
    browser.requests.clear()
    names = opened(browser, root, {"hubURL": f"{base}hub.txt?features=1-,2%2B&peaks=both"})
    print(names)
    browser.wait_for(f"{DRAWN}.filter(colored => colored > 20).length >= 2")
    assert browser.evaluate("window.browser.genome.id").startswith("saetrack_")
    asked = [address for address in browser.requests if address.startswith(base)]
    files = {urlsplit(address).path.rsplit("/", 2)[-1] for address in asked}
    assert {"hub.txt", "sequence.2bit", "signal.bw", "peaks.bb"} <= files
    hosts = {urlsplit(address).hostname for address in browser.requests}
    assert hosts <= {"127.0.0.1", None, ""}, hosts
    assert not [said for said in browser.messages if "exception" in said or "Refused" in said]
    # beside the peak nothing is drawn: what was seen are our data
    browser.screenshot(Path("/tmp/w/hub_igv.png"))
    print(browser.evaluate(DRAWN), asked, browser.messages)
