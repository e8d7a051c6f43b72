"""Sequence search, comparison and lists in Debian's Chromium; and what axe-core finds there."""

import numpy as np
import pytest

from tests.app.web.chromium import PROGRAM, Chromium
from tests.app.web.test_browser import LETTERS, axe, browser, root, service, write

__all__ = ["axe", "browser", "root", "service"]  # fixtures

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="NO CHROMIUM: apt-get install -y chromium"),
    pytest.mark.timeout(300),
]

RULES = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"


@pytest.fixture(scope="module")
def found(browser: Chromium, root: str) -> str:
    """A search that was typed and watched in the browser; its address."""
    bases = LETTERS[np.random.default_rng(9).integers(0, 4, 1_200)].tobytes().decode()
    browser.goto(f"{root}/search")
    write(browser, "#sequence", bases)
    browser.click("form[action='/search'] button.main")
    browser.wait_for("location.search.includes('run=')")
    # the page follows the run by itself, to its end
    browser.wait_for("document.querySelectorAll('.ten').length === 120", 90)
    return str(browser.evaluate("location.pathname + location.search"))


def test_from_a_search_to_a_comparison_to_a_list(browser: Chromium, root: str, found: str) -> None:
    browser.goto(root + found)
    letters = "[...document.querySelectorAll('.ten .seq')].map(ten => ten.textContent).join('')"
    assert len(browser.evaluate(letters)) == 1200
    coloured = browser.evaluate("document.querySelectorAll('.ten .h9').length")
    told = "document.querySelector('#sequence ~ p').textContent"
    assert coloured > 0
    assert "Strongest" in browser.evaluate(told)
    first = browser.evaluate("document.getElementById('sequence').textContent")
    browser.click("a[aria-label^='Show feature']")
    browser.wait_for(f"document.getElementById('sequence').textContent !== {first!r}")
    browser.evaluate(
        "[...document.querySelectorAll('input[name=feature][type=checkbox]')].slice(0, 3)"
        ".forEach(box => box.click())"
    )
    browser.click("form[action$='/compare'] button")
    browser.wait_for("location.pathname.endsWith('/compare')")
    browser.wait_for("document.querySelectorAll('svg.heat').length === 3")
    # strips have colours where the curve has height, and fit the window
    drawn = browser.evaluate(
        "[...document.querySelectorAll('svg.heat')]"
        ".map(heat => heat.querySelectorAll('rect').length)"
    )
    assert all(count > 1 for count in drawn)
    browser.click("a[aria-label^='Remove feature']")
    browser.wait_for("document.querySelectorAll('svg.heat').length === 2")
    browser.click("a[href^='/lists?']")
    browser.wait_for("location.pathname === '/lists'")
    browser.wait_for("document.querySelectorAll('tbody tr').length === 2")


def test_axe_finds_nothing_on_these_pages(
    browser: Chromium, root: str, found: str, axe: str
) -> None:
    run = found.partition("run=")[2]
    browser.goto(root + found)
    names = browser.evaluate(
        "[...document.querySelectorAll('input[name=feature][type=checkbox]')].slice(0, 3)"
        ".map(box => box.value).join(',')"
    )
    named = str(names).replace("+", "%2B")
    dictionary = browser.evaluate("document.querySelector('tbody th a').pathname.split('/')[2]")
    addresses = [
        found,
        f"/runs/{run}/compare?features={named}&region=query:1-400",
        f"/lists?dictionary={dictionary}&features={named}&run={run}&name=Mine&notes=mine",
        "/search",
        "/lists",
        f"/runs/{run}/compare?features=",
    ]
    said = []
    for size in ({"width": 1280, "height": 900}, {"width": 320, "height": 800, "dark": True}):
        browser.look(**size)
        for address in addresses:
            browser.goto(root + address)
            browser.evaluate(axe + "; true")
            answer = browser.evaluate(
                f"axe.run({{runOnly: {RULES}}}).then(said => said.violations.map(one =>"
                " one.id + ': ' + one.nodes.map(node => node.html.slice(0, 150)).join(' | ')))"
            )
            said += [f"{address} {each}" for each in answer]
            wide = browser.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{address} is {wide} pixels too wide"
    browser.look(width=1280, height=900)
    assert said == []
