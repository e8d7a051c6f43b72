"""igv.js opens the hub of a share link: in Chromium, from a page under our own strict policy.

Skipped, loudly, where there is no Chromium (`apt-get install chromium`).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from annotations.peak_track import COLORS
from app.config import Settings
from app.feature_rows import SIGNAL_COLORS
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

DRAWN = """((red, green, blue) =>
  [...window.place.shadowRoot.querySelectorAll('.igv-viewport canvas')].map((canvas) => {
    if (!canvas.width || !canvas.height) return 0
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
    let count = 0
    for (let at = 0; at < data.length; at += 4)
      if (data[at] === red && data[at + 1] === green && data[at + 2] === blue) count += 1
    return count
  }).filter((count) => count > 20).length)"""
"""How many canvases hold a color."""


def drawn(color: tuple[int, int, int]) -> str:
    return f"({DRAWN})({','.join(map(str, color))})"


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
    names = opened(browser, root, {"hubURL": f"{base}hub.txt?features=1-,2%2B&peaks=both"})
    assert names == ["1- REB1", "2+ intron", *["1- REB1 peaks", "2+ intron peaks"] * 2]
    # chrA:1-20 holds the peak of the first row alone: as signal, as height, and as an item of
    # the color of its evidence
    browser.wait_for(f"{drawn(SIGNAL_COLORS[0])} === 2")
    browser.wait_for(f"{drawn(COLORS['enriched'])} === 1")
    assert browser.evaluate(drawn(SIGNAL_COLORS[1])) == 0
    browser.evaluate("window.browser.search('chrB:1-10')")
    browser.wait_for(f"{drawn(SIGNAL_COLORS[1])} === 2")
    browser.wait_for(f"{drawn(COLORS['labelled'])} === 1")
    assert browser.evaluate(drawn(SIGNAL_COLORS[0])) == 0
    asked = {
        urlsplit(address).path.removeprefix(urlsplit(base).path) for address in browser.requests
    }
    wanted = {"hub.txt", "sequence.2bit", "chrom.sizes"}
    for row in ("features/1_minus/", "features/2_plus/"):
        wanted |= {f"{row}signal.bw", f"{row}peaks.bw", f"{row}peaks.bb"}
    assert wanted <= asked
    hosts = {urlsplit(address).netloc for address in browser.requests}
    assert hosts <= {urlsplit(root).netloc, ""}
    assert not [said for said in browser.messages if not said.startswith("warning: Canvas2D")]
