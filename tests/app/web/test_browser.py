"""The pages in Debian's Chromium: submit, watch, browse, ask, download; and what axe-core finds.

Skipped, loudly, where there is no Chromium (`apt-get install chromium`) or, for axe-core, no npm.
"""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.app.web.chromium import PROGRAM, Chromium
from tests.workers.factories import make_tiny_models
from tests.workers.test_serve import Service

AXE = "4.14.1"
"""Version of axe-core (MPL-2.0): fetched for these tests alone, no part of the project."""

LETTERS = np.frombuffer(b"ACGT", np.uint8)

GENES = b"mine\t100\t900\tGENE1\t0\t+\t100\t900\t0\t2\t300,300,\t0,500,\n"

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="NO CHROMIUM: apt-get install -y chromium"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real `saetrack serve` with a tiny model."""
    folder = tmp_path_factory.mktemp("service")
    make_tiny_models(folder / "models")
    service = Service(folder)
    try:
        service.ask("/healthz")
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A tab."""
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    try:
        browser.look(width=1280, height=900)
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="module")
def root(service: Service) -> str:
    """Address of the service."""
    return f"http://127.0.0.1:{service.port}"


@pytest.fixture(scope="module")
def run(
    service: Service, browser: Chromium, root: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A run that was submitted and watched in the browser; its address."""
    folder = tmp_path_factory.mktemp("given")
    bases = LETTERS[np.random.default_rng(7).integers(0, 4, 12_000)].tobytes().decode()
    (folder / "genes.bed").write_bytes(GENES)
    browser.goto(f"{root}/")
    write(browser, "#sequence", ">mine\nACGTX\n")
    browser.wait_for(
        "document.querySelector('#checked .bad')?.textContent.includes('stands for no base')"
    )
    write(browser, "#sequence", f">mine\n{bases}\n")
    browser.wait_for("document.querySelector('#checked')?.textContent.includes('12,000 bases')")
    write(browser, "#title", "A <b>browser's</b> run")
    write(browser, "#taxon", "fungi")
    choose(browser, "#genes", folder / "genes.bed")
    browser.click("#submit button.main")
    browser.wait_for("location.pathname.startsWith('/runs/')")
    # the page follows the run by itself, to its end
    browser.wait_for("!!document.getElementById('igv')", 90)
    assert browser.evaluate("document.querySelector('h1').textContent") == "A <b>browser's</b> run"
    return str(browser.evaluate("location.pathname"))


def write(browser: Chromium, selector: str, text: str) -> None:
    """Type into a field."""
    browser.evaluate(
        f"(() => {{ const field = document.querySelector({selector!r}); field.value = {text!r};"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def choose(browser: Chromium, selector: str, path: Path) -> None:
    """Choose a file."""
    document = browser.send("DOM.getDocument")["root"]["nodeId"]
    node = browser.send("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
    browser.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


INK = """(() => {
  const root = document.getElementById("igv").shadowRoot;
  return [...root.querySelectorAll("canvas")].map((canvas) => {
    if (!canvas.width || !canvas.height) return 0;
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let ink = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] && Math.min(data[at], data[at + 1], data[at + 2]) < 240) ink += 1;
    }
    return ink;
  });
})()"""
"""Pixels of each canvas of igv.js that are not empty."""


def drawn(browser: Chromium) -> list[int]:
    """Ink of each track, once igv.js is there and has drawn something."""
    browser.wait_for("document.getElementById('igv').dataset.ready === 'yes'")
    browser.wait_for(f"{INK}.some(ink => ink > 0)")
    return list(browser.evaluate(INK))


def test_tracks_are_drawn_from_the_runs_own_files(browser: Chromium, root: str, run: str) -> None:
    browser.goto(f"{root}{run}?features=&locus=mine:1-3000")
    empty = drawn(browser)
    browser.goto(f"{root}{run}?locus=mine:1-3000&sort=density")
    drawn(browser)
    more = len([ink for ink in empty if ink]) + 1
    browser.wait_for(f"{INK}.filter(ink => ink > 0).length >= {more}")
    full = drawn(browser)
    assert sum(full) > sum(empty) + 20
    names = browser.evaluate(
        "[...document.getElementById('igv').shadowRoot.querySelectorAll('.igv-track-label')]"
        ".map(label => label.textContent)"
    )
    assert "Genes" in names
    assert any(name.startswith("feature ") for name in names)


def test_the_address_follows_what_is_seen_and_restores_it(
    browser: Chromium, root: str, run: str
) -> None:
    browser.goto(f"{root}{run}?features=&sort=max")
    drawn(browser)
    name = browser.evaluate("document.querySelector('a.draw').dataset.feature")
    browser.click("a.draw")
    browser.wait_for("document.querySelector('a.draw').textContent === 'Drawn'")
    write(browser, "#locus", "mine:2,001-2,500")
    browser.click("#jump button")
    browser.wait_for("/locus=mine%3A20\\d\\d-2[45]\\d\\d/.test(location.search)")
    # another page of the list is fetched without a new page
    browser.evaluate("window.same = true")
    write(browser, "#search", name[:-1])
    browser.click("#find button")
    browser.wait_for("location.search.includes('search=')")
    browser.wait_for(
        "document.querySelectorAll('a.draw').length > 0 && [...document.querySelectorAll('a.draw')]"
        f".every(link => link.dataset.number === {name[:-1]!r})"
    )
    assert browser.evaluate("window.same")
    address = browser.evaluate("location.href")
    locus = browser.evaluate("document.getElementById('locus').value")
    browser.goto(address)
    drawn(browser)
    assert browser.evaluate("document.getElementById('drawn').textContent") == name
    start, end = map(int, locus.split(":")[1].split("-"))
    again = browser.evaluate("document.getElementById('locus').value").split(":")[1].split("-")
    assert abs(int(again[0]) - start) <= 2
    assert abs(int(again[1]) - end) <= 2
    assert browser.evaluate("document.getElementById('search').value") == name[:-1]
    browser.click("a.draw[aria-pressed=true]")
    browser.wait_for("document.getElementById('drawn').textContent.startsWith('no feature')")


def test_one_way_from_the_form_to_a_file(browser: Chromium, root: str, run: str) -> None:
    """Submitted and watched by `run`; then tracks, a feature, a factor, the hub and a file."""
    browser.goto(f"{root}{run}?features=&locus=mine:1-3000")
    empty = sum(drawn(browser))
    browser.click("a.draw")
    browser.wait_for(f"{INK}.reduce((sum, ink) => sum + ink, 0) > {empty + 20}")
    browser.click("#list tbody th a")
    browser.wait_for("location.pathname.startsWith('/features/')")
    # the address changes before the page is there
    browser.wait_for("document.querySelectorAll('.seq .h9').length > 0")
    browser.wait_for("document.readyState === 'complete'")
    signal = browser.evaluate("document.querySelector('a[download][href*=\"signal.bw\"]').href")
    browser.click("a[href^='/runs/']")
    browser.wait_for("!!document.querySelector('form[action=\"/tfs\"]')")
    write(browser, "#q", "REB1")
    browser.click("form[action='/tfs'] button")
    browser.wait_for("location.pathname === '/tfs/REB1'")
    browser.wait_for("(document.querySelector('h1') || {}).textContent?.includes('REB1')")
    assert browser.evaluate("document.querySelector('h1').textContent") == (
        "Features that match REB1"
    )
    assert "was understood as a name in JASPAR" in browser.evaluate("document.body.innerText")
    assert run.removeprefix("/runs/") in browser.evaluate("location.search")
    browser.click("a[href^='/runs/']")
    browser.wait_for("!!document.querySelector('#elsewhere ~ dl code')")
    hub = browser.evaluate("document.querySelector('#elsewhere ~ dl code').textContent")
    assert browser.evaluate(f"fetch({hub!r}).then(answer => answer.text())").startswith("hub ")
    size = browser.evaluate(
        f"fetch({signal!r}).then(answer => answer.arrayBuffer()).then(data => data.byteLength)"
    )
    assert size > 500


def test_what_is_seen_is_drawn_as_a_figure(browser: Chromium, root: str, run: str) -> None:
    browser.goto(f"{root}{run}?locus=mine:1-3000&sort=density")
    drawn(browser)
    write(browser, "#locus", "mine:2,001-2,500")
    browser.click("#jump button")
    browser.wait_for(
        "/region=mine%3A20\\d\\d-2[45]\\d\\d/.test(document.querySelector('a.figure').search)"
    )
    said = browser.evaluate(
        "fetch(document.querySelector('a.figure').href).then(answer => answer.text())"
    )
    assert ">mine:2,0" in said
    # the figure of a feature's strongest peak is a picture that the page's policy lets in
    browser.goto(f"{root}{run}?features=&sort=max")
    browser.click("#list tbody th a")
    browser.wait_for("!!document.querySelector('img.figure')")
    browser.evaluate("document.querySelector('img.figure').scrollIntoView()")
    browser.wait_for("document.querySelector('img.figure').naturalWidth > 600")


def test_cancel_stops_a_run(service: Service, browser: Chromium, root: str) -> None:
    bases = LETTERS[np.random.default_rng(8).integers(0, 4, 2_000_000)].tobytes()
    run_id = service.ask("/v1/runs", b">long\n" + bases + b"\n")["id"]
    browser.goto(f"{root}/runs/{run_id}")
    browser.click("form[action$='/cancel'] button")
    browser.wait_for("document.body.innerText.includes('It was canceled.')")
    assert service.ask(f"/v1/runs/{run_id}")["state"] == "CANCELED"


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, from a cache or from npm."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "saetrack-tests"
    path = cache / f"axe-core-{AXE}.js"
    if not path.is_file():
        if shutil.which("npm") is None:
            pytest.skip(f"NO AXE-CORE: npm is not here, and {path} neither")
        cache.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", f"axe-core@{AXE}", "--silent"],
            cwd=cache, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if packed.returncode:
            pytest.skip(f"NO AXE-CORE: npm pack failed: {packed.stderr[-200:]}")
        archive = cache / packed.stdout.split()[-1]
        with tarfile.open(archive) as files:
            member = files.extractfile("package/axe.min.js")
            assert member is not None
            path.write_bytes(member.read())
        archive.unlink()
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark", "narrow"])
def test_axe_finds_nothing_outside_igv(
    browser: Chromium, root: str, run: str, axe: str, scheme: str
) -> None:
    sizes = {"narrow": {"width": 390, "height": 844}}
    browser.look(**sizes.get(scheme, {"width": 1280, "height": 900}), dark=scheme == "dark")
    feature = browser_feature(browser, root, run)
    addresses = ["/", run, feature, "/tfs"]
    if scheme == "light":  # structure is the same in all three
        addresses += ["/runs", f"{run}/links", "/features", "/methods", "/runs/none"]
        addresses += ["/docs", "/docs/runs"]
    found = []
    for address in addresses:
        browser.goto(root + address)
        browser.evaluate(axe + "; true")
        answer = browser.evaluate(
            "axe.run({exclude: [['#igv']]}, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa',"
            " 'wcag22aa', 'best-practice']}).then(said => said.violations.map(one =>"
            " one.id + ': ' + one.nodes.map(node => node.html.slice(0, 150)).join(' | ')))"
        )
        found += [f"{address} {said}" for said in answer]
        wide = browser.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{address} is {wide} pixels too wide"
    browser.look(width=1280, height=900)
    assert found == []


def browser_feature(browser: Chromium, root: str, run: str) -> str:
    """Address of the page of a feature that the run's list shows."""
    browser.goto(f"{root}{run}?features=&sort=max")
    return str(
        browser.evaluate(
            "(() => { const link = document.querySelector('#list tbody th a');"
            " return link.pathname + link.search; })()"
        )
    )


def test_no_request_left_the_machine_and_the_policy_was_kept(
    browser: Chromium, root: str, run: str
) -> None:
    browser.goto(f"{root}{run}")
    drawn(browser)
    hosts = {urlsplit(address).netloc for address in browser.requests} - {""}
    assert hosts == {urlsplit(root).netloc}
    schemes = {urlsplit(address).scheme for address in browser.requests}
    assert schemes <= {"http", "data", "blob", "about"}
    assert len(browser.requests) > 20
    # pages of errors are answers too; a broken policy or script is not
    said = [text for text in browser.messages if text.startswith(("error", "exception"))]
    broken = [text for text in said if "responded with a status of" not in text]
    assert broken == []
