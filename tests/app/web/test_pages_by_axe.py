"""What axe-core finds on the pages that need more than a run: an atlas, alleles, tokens, links.

Skipped, loudly, where there is no Chromium (`apt-get install chromium`) or no npm.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from annotations.genome_folder import add_genome
from app.config import Settings
from app.storage import LocalStorage
from tests.app.atlas_cases import install_atlas
from tests.app.test_alleles_api import ROWS, VCF, complete, submit
from tests.app.web.chromium import PROGRAM, Chromium
from tests.app.web.test_browser import axe, browser
from tests.app.web.test_genome_form import GENOME
from tests.app.web_server import ask, web_process
from workers.serve import free_port

__all__ = ["axe", "browser"]  # fixtures

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="NO CHROMIUM: apt-get install -y chromium"),
    pytest.mark.timeout(300),
]

RULES = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"

SIZES = ({"width": 1280, "height": 900}, {"width": 390, "height": 844, "dark": True})


@pytest.fixture
def run(
    settings: Settings, engine: Engine, storage: LocalStorage, client: FlaskClient, tmp_path: Path
) -> str:
    """A complete run of two variants, with an atlas of its dictionary and a registered genome."""
    install_atlas(settings.models_dirs[0])
    (settings.data_dir / "g.fa").write_bytes(GENOME)
    add_genome(settings.genomes_dir, "toy", settings.data_dir / "g.fa")
    answer = submit(client, variants=VCF, flank="5")
    complete(engine, storage, settings, tmp_path / "results", ROWS)
    return str(answer.json["id"])


@pytest.fixture
def root(settings: Settings, run: str, tmp_path: Path) -> Iterator[str]:
    """Address of the web process."""
    assert run
    settings = replace(settings, port=free_port("127.0.0.1", 0))
    with web_process(settings, tmp_path / "log"):
        yield f"http://127.0.0.1:{settings.port}"


def violations(browser: Chromium, axe: str, address: str) -> list[str]:
    """What axe-core finds at an address, and whether the page is wider than the window."""
    found = []
    for size in SIZES:
        browser.look(**size)
        browser.goto(address)
        browser.evaluate(axe + "; true")
        answer = browser.evaluate(
            f"axe.run({{exclude: [['#igv']]}}, {{runOnly: {RULES}}}).then(said =>"
            " said.violations.map(one => one.id + ': ' +"
            " one.nodes.map(node => node.html.slice(0, 150)).join(' | ')))"
        )
        found += [f"{address} {said}" for said in answer]
        wide = browser.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        found += [f"{address} is {wide} pixels too wide"] if wide > 0 else []
    browser.look(width=1280, height=900)
    return found


def test_axe_finds_nothing_on_pages_with_an_atlas_alleles_and_links(
    browser: Chromium, axe: str, root: str, run: str
) -> None:
    port = urlsplit(root).port
    assert port is not None
    made = json.loads(ask(port, f"/v1/runs/{run}/share-links", "POST").body)
    addresses = [
        "/",
        f"/runs/{run}",
        f"/runs/{run}/links",
        f"/s/{made['token']}/compare?features=1%2B,2-",
        "/tfs",
        "/tfs/REB1",
        f"/tfs/REB1?run={run}",
        "/tfs/bHLH",
        "/tfs/zzz",
        "/features/toy-sae/1",
        f"/features/toy-sae/1?run={run}",
        f"/features/toy-sae/0?run={run}",
        "/features/toy-sae/99",
    ]
    found = [said for each in addresses for said in violations(browser, axe, root + each)]
    assert found == []


def test_axe_finds_nothing_where_one_signs_in(
    browser: Chromium, axe: str, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    assert engine
    port = free_port("127.0.0.1", 0)
    with web_process(replace(settings, port=port, auth="tokens"), tmp_path / "log"):
        assert violations(browser, axe, f"http://127.0.0.1:{port}/sign-in") == []


def test_the_keyboard_reaches_the_content_and_shows_where_it_is(
    browser: Chromium, root: str, run: str
) -> None:
    browser.goto(f"{root}/runs/{run}")
    browser.wait_for("document.getElementById('igv').dataset.ready === 'yes'")
    press(browser, "Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    # the link is off the window until it has the focus
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    press(browser, "Enter")
    browser.wait_for("document.activeElement.id === 'main'")
    seen = []
    for _ in range(60):
        press(browser, "Tab")
        seen.append(
            browser.evaluate(
                "(() => { const here = document.activeElement;"
                " return [here.id || here.className || here.tagName,"
                " here === document.body || here.id === 'igv'"
                " || getComputedStyle(here).outlineStyle !== 'none']; })()"
            )
        )
    names = [name for name, _ in seen]
    assert "locus" in names
    assert any("draw" in name.split() for name in names)
    assert all(visible for _, visible in seen), seen
    # a feature is drawn, or taken away, with the space bar
    browser.evaluate("document.querySelector('a.draw').focus()")
    before = browser.evaluate("document.querySelector('a.draw').getAttribute('aria-pressed')")
    press(browser, " ")
    browser.wait_for(
        f"document.querySelector('a.draw').getAttribute('aria-pressed') !== {before!r}"
    )


def press(browser: Chromium, key: str) -> None:
    """Press a key, and let it go."""
    codes = {"Tab": 9, "Enter": 13, " ": 32}
    text = {"Enter": "\r", " ": " "}.get(key, "")
    for kind in ("keyDown", "keyUp"):
        browser.send(
            "Input.dispatchKeyEvent",
            type=kind, key=key, code={" ": "Space"}.get(key, key),
            windowsVirtualKeyCode=codes[key], text=text if kind == "keyDown" else "",
        )  # fmt: skip


def test_nothing_moves_where_less_motion_is_asked_for(browser: Chromium, root: str) -> None:
    browser.goto(f"{root}/")
    scheme = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.send("Emulation.setEmulatedMedia", features=scheme)
    moving = browser.evaluate(
        "[...document.querySelectorAll('*')].filter(one => { const style = getComputedStyle(one);"
        " return style.transitionDuration !== '0s' || style.animationName !== 'none'; }).length"
    )
    browser.look(width=1280, height=900)
    assert moving == 0
