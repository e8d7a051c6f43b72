"""Comparisons, lists and sequence search without a browser: what they say, refuse and restore."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from annotations.errors import FormatError, LimitError, OptionError
from annotations.types import Span
from app.config import Settings
from app.sequence_search import MAX_BASES, check_sequence
from app.storage import LocalStorage
from app.web.list_pages import FeatureList
from app.web.strips import _outline, ticks
from app.web.words import MISSING
from tests.app.atlas_cases import install_atlas
from tests.app.conftest import complete, new_run
from tests.app.test_tokens import bearer, guarded
from tests.app.web.test_pages import HTML, NASTY, page, words

__all__ = ["guarded"]  # a fixture


@pytest.fixture
def known(settings: Settings) -> Settings:
    """The installation with an atlas of its dictionary."""
    install_atlas(settings.models_dirs[0])
    return settings


def rows(text: str, label: str) -> list[list[str]]:
    """Cells of the table that lies in a group of a name."""
    group = text[text.index(f'aria-label="{label}"') :]
    body = group[group.index("<tbody>") : group.index("</tbody>")]
    return [
        [words(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line, re.DOTALL)]
        for line in body.split("</tr>")[:-1]
    ]


def links(text: str, word: str) -> list[str]:
    """Addresses of links whose text or name begins with a word."""
    found = re.findall(r'<a[^>]*href="([^"]+)"[^>]*?(?: aria-label="([^"]+)")?[^>]*>([^<]*)<', text)
    return [unescape(to) for to, name, said in found if (name or said).startswith(word)]


def test_rows_are_compared_over_a_region(finished: str, client: FlaskClient) -> None:
    text = page(client, f"/runs/{finished}/compare?features=1-,1%2B,2%2B&region=chrA:1-10")
    assert [row[:8] for row in rows(text, "Features in this region")] == [
        ["1-", MISSING, "REB1", "4.00", "4.00", "1 (10%)", "4%", "6 (4.00)"],
        ["1+", MISSING, MISSING, "2.00", "3.00", "2 (20%)", "8%", "6 (2.00)"],
        ["2+", "intron", MISSING, "0", "0", "0 (0%)", "4%", MISSING],
    ]
    # ten bases: each is drawn; feature 1+ is half as strong at 5 as at 6
    heat = re.findall(r'<rect class="(c\d)" x="([\d.]+)%" width="([\d.]+)%"', text)
    assert heat == [
        ("c9", "50.0", "10.0"),
        ("c5", "40.0", "10.0"),
        ("c9", "50.0", "10.0"),
    ]
    assert "<title>5: 1</title>" in text
    assert 'd="M0 100V100H4V50H5V0H6V100H10V100Z"' in text
    # the correlation of (1, 2) at 5 and 6 with 4 at 6 over ten bases
    one, other = np.zeros(10), np.zeros(10)
    one[4:6], other[5] = (1, 2), 4
    r = f"{np.corrcoef(one, other)[0, 1]:.2f}"
    assert rows(text, "Correlations")[0] == ["1-", "1.00", r, MISSING]
    assert "The run has no gene annotation." in words(text)
    files = links(text, "Table") + links(text, "Every base") + links(text, "Figure")
    assert [client.get(address).status_code for address in files] == [200] * 4
    same = page(client, f"/runs/{finished}/compare?features=1-,1%2B&region=chrA:1-10&scale=same")
    assert re.findall(r'class="(c\d)"', same) == ["c9", "c3", "c5"]


def test_rows_are_added_and_taken_away_by_links(finished: str, client: FlaskClient) -> None:
    base = f"/runs/{finished}/compare"
    text = page(client, f"{base}?features=1-&region=chrA:1-10&over=run")
    (add,) = links(text, "Add feature 1+")
    answer = client.get(add)
    assert answer.status_code == 303
    wanted = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert wanted == {"features": ["1-,1+"], "region": ["chrA:1-10"], "over": ["run"]}
    both = page(client, answer.headers["Location"])
    (without,) = links(both, "Remove feature 1-")
    assert parse_qs(urlsplit(without).query)["features"] == ["1+"]
    none = page(client, links(page(client, without), "Remove feature 1+")[0])
    assert "No feature is named." in words(none)
    assert links(none, "Add feature 1-")
    # without any choice the most telling ones are shown, around their first peak
    assert '<h2 id="figure">chrA:1-20 ' in page(client, base)


def test_the_region_moves(finished: str, client: FlaskClient) -> None:
    text = page(client, f"/runs/{finished}/compare?features=1-&region=chrA:5-8")

    def region(word: str) -> str:
        (address,) = links(text, word)
        return parse_qs(urlsplit(address).query)["region"][0]

    assert region("Left") == "chrA:3-6"
    assert region("Right") == "chrA:7-10"
    assert region("Zoom out") == "chrA:1-12"
    assert region("Whole sequence") == "chrA:1-20"
    for word in ("Left", "Right", "Zoom out", "Whole sequence"):
        page(client, links(text, word)[0])
    whole = page(client, f"/runs/{finished}/compare?features=1-&region=chrA")
    assert links(whole, "Left") == links(whole, "Whole") == []


def test_chosen_rows_of_a_list_lead_to_a_comparison(finished: str, client: FlaskClient) -> None:
    text = page(client, f"/runs/{finished}?sort=max")
    assert 'name="feature" value="2+" form="pick"' in text
    answer = client.post(
        f"/runs/{finished}/compare", data={"feature": ["2+", "1-"], "region": "chrA:1-10"}
    )
    assert answer.status_code == 303
    wanted = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert wanted == {"features": ["2+,1-"], "region": ["chrA:1-10"]}
    page(client, answer.headers["Location"])
    empty = client.post(f"/runs/{finished}/compare", data={})
    assert "No feature is named." in words(page(client, empty.headers["Location"]))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("features=9", 404),
        ("region=chrZ:1-5", 404),
        ("region=chrA:9-2", 422),
        ("scale=log", 400),
        ("over=all", 400),
        ("colour=1", 400),
        (f"features={'1-,' * 400}", 400),
    ],
)
def test_a_comparison_that_means_nothing_is_refused(
    query: str, status: int, finished: str, client: FlaskClient
) -> None:
    page(client, f"/runs/{finished}/compare?{query}", status)


def test_a_run_that_is_not_complete_leads_to_its_progress(
    engine: Engine, storage: LocalStorage, settings: Settings, client: FlaskClient
) -> None:
    run = new_run(engine, storage, settings)
    text = page(client, f"/runs/{run}/compare?features=1-", 409)
    assert links(text, "Follow the run") == [f"/runs/{run}"]
    page(client, "/runs/none/compare", 404)


def test_a_share_link_shows_the_comparison_and_no_way_further(
    finished: str, client: FlaskClient
) -> None:
    token = client.post(f"/v1/runs/{finished}/share-links").get_json()["token"]
    text = page(client, f"/s/{token}/compare?features=1-,1%2B&region=chrA:1-10")
    assert [row[0] for row in rows(text, "Features in this region")] == ["1-", "1+"]
    assert finished not in text
    body = text[text.index("<main") : text.index("<footer")]
    for address in re.findall(r'(?:href|action)="([^"]+)"', body):
        assert address.startswith(("/s/", "#")), address
    (table,) = links(text, "Table (TSV)")
    lines = client.get(table).text.splitlines()
    assert [line.split("\t")[2] for line in lines] == ["max", "4", "2"]
    for figure in links(text, "Figure"):
        assert client.get(figure).status_code == 200, figure
    assert client.get(f"/s/{token}x/compare").status_code == 404


def test_a_curve_has_a_step_at_each_change() -> None:
    assert _outline(np.array([0, 1, 1, 4], np.float32), 4.0) == "M0 100V100H1V75H3V0H4V100Z"
    assert _outline(np.zeros(3, np.float32), 0.0) == "M0 100V100H3V100Z"
    assert [tick.text for tick in ticks(Span(0, 9, 10))] == ["10"]


def test_a_list_is_its_address(known: Settings, finished: str, client: FlaskClient) -> None:
    query = {"dictionary": "toy-sae", "features": "1+,2-", "name": "Mine", "notes": "two\nlines"}
    text = page(client, f"/lists?{urlencode(query)}")
    assert "<h1>Mine</h1>" in text
    assert "two\nlines" in text
    found = rows(text, "Features of the list")
    assert [row[:2] for row in found] == [["1+", "REB1-like motif"], ["2-", "intron"]]
    assert 'alt="Motif of the peaks of feature 1+"' in text
    for address in re.findall(r'<img[^>]+src="([^"]+)"', text):
        assert client.get(unescape(address)).mimetype == "image/svg+xml"
    assert "A <b>" not in text
    in_run = page(client, f"/lists?{urlencode({**query, 'run': finished})}")
    row = rows(in_run, "Features of the list")[0]
    assert row[1] == "1+"
    assert row[5:8] == ["8%", "2.00", "1"]
    assert f'<option value="{finished}" selected>' in in_run
    files = links(in_run, "TSV") + links(in_run, "JSON")
    assert [client.get(address).status_code for address in files] == [200, 200]
    assert client.get(files[1]).get_json()["features"][1]["label"] == "intron"
    page(client, links(in_run, "Compare all")[0])
    page(client, links(in_run, "Open in the browser")[0])


def test_lists_grow_and_shrink_by_links(known: Settings, client: FlaskClient) -> None:
    listed = FeatureList("toy-sae", "2+", "Mine", "", "")
    feature = page(client, f"/features/toy-sae/1?{urlencode({'list': listed.query})}")
    assert "Mine, 1 feature row:" in words(feature)
    (more,) = links(feature, "Add 1-")
    assert dict(parse_qsl(urlsplit(more).query)) == {
        "dictionary": "toy-sae", "features": "2+,1-", "name": "Mine",
    }  # fmt: skip
    text = page(client, more)
    assert [row[0] for row in rows(text, "Features of the list")] == ["2+", "1-"]
    # the list goes with the links to its features
    (own,) = links(text, "1-")
    assert "Take 1- off" in page(client, own)
    # and with those from feature to feature
    before = page(client, links(page(client, own), "Previous")[0])
    assert "Mine, 2 feature rows:" in words(before)
    (less,) = links(text, "Remove feature 2+")
    assert [row[0] for row in rows(page(client, less), "Features of the list")] == ["1-"]
    added = client.get(f"{more}&add=3,2%2B")
    assert added.status_code == 303
    assert dict(parse_qsl(urlsplit(added.headers["Location"]).query))["features"] == "2+,1-,3+,3-"
    start = page(client, "/features/toy-sae/3")
    assert links(start, "Start a list with 3+") == ["/lists?dictionary=toy-sae&features=3%2B"]
    # a plus that nobody encoded
    loose = page(client, "/lists?dictionary=toy-sae&features=1+,2+")
    assert [row[0] for row in rows(loose, "Features of the list")] == ["1+", "2+"]


def test_rows_of_a_factor_go_on_the_list(known: Settings, client: FlaskClient) -> None:
    listed = FeatureList("toy-sae", "3-", "Mine", "", "")
    asked = client.get(f"/tfs?{urlencode({'q': 'REB1', 'list': listed.query})}")
    text = page(client, asked.headers["Location"])
    assert "Put the chosen on Mine" in text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text))
    data = {"dictionary": "toy-sae", "list": unescape(hidden["list"]), "feature": ["1+", "2+"]}
    answer = client.post("/lists", data=data)
    assert answer.status_code == 303
    wanted = dict(parse_qsl(urlsplit(answer.headers["Location"]).query))
    assert wanted == {"dictionary": "toy-sae", "features": "3-,1+,2+", "name": "Mine"}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("dictionary=none&features=1", 404),
        ("dictionary=toy-sae&features=9", 404),
        ("dictionary=toy-sae&features=x", 404),
        (f"dictionary=toy-sae&name={'n' * 101}", 400),
        (f"dictionary=toy-sae&notes={'n' * 1001}", 400),
        ("dictionary=toy-sae&run=none", 404),
        ("dictionary=toy-sae&colour=1", 400),
    ],
)
def test_a_list_that_means_nothing_is_refused(query: str, status: int, client: FlaskClient) -> None:
    page(client, f"/lists?{query}", status)


def test_lists_are_bounded_and_may_be_empty(client: FlaskClient) -> None:
    assert "Nothing of it is kept on this server." in words(page(client, "/lists"))
    assert "The list is empty." in words(page(client, "/lists?dictionary=toy-sae"))
    assert "There is no complete run" in words(page(client, "/lists?dictionary=toy-sae"))
    for wrong in ("x" * 8001, "dictionary=toy-sae&colour=1"):
        page(client, f"/features/toy-sae/1?{urlencode({'list': wrong})}", 400)
    nasty = page(client, f"/lists?{urlencode({'dictionary': 'toy-sae', 'name': NASTY})}")
    assert "<script>alert" not in nasty
    assert "<img src=x" not in nasty


@pytest.mark.parametrize(
    ("text", "fasta"),
    [
        ("acgt\n", b">query\nacgt\n"),
        ("  1 ACGT 5 AC\n", b">query\nACGTAC\n"),
        (">mine of this\nAC\r\nGT\n", b">mine\nACGT\n"),
    ],
)
def test_a_pasted_sequence_becomes_one_record(text: str, fasta: bytes) -> None:
    assert check_sequence(text) == fasta


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", OptionError),
        (">a\n", OptionError),
        (">a\nAC\n>b\nAC\n", FormatError),
        ("AC-GT", FormatError),
        ("A" * (MAX_BASES + 1), LimitError),
    ],
)
def test_other_pastes_are_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_sequence(text)


def search_run(
    engine: Engine, storage: LocalStorage, settings: Settings, client: FlaskClient, folder: Path
) -> str:
    """A complete search of 20 bases; the results are those of `write_results`."""
    answer = client.post(
        "/search", data={"sequence": "ACGTACGTAC GTACGTACGT", "dictionary": "toy-sae"}
    )
    assert answer.status_code == 303, answer.text
    location = str(answer.headers["Location"])
    text = page(client, location)
    assert "Searching 20 bases" in text
    assert 'http-equiv="refresh"' in text
    run = parse_qs(urlsplit(location).query)["run"][0]
    assert client.get(f"/v1/runs/{run}").get_json()["title"] == "Sequence search"
    complete(engine, storage, settings, folder)
    return run


def test_a_sequence_is_searched(
    engine: Engine, storage: LocalStorage, settings: Settings, client: FlaskClient, tmp_path: Path
) -> None:
    run = search_run(engine, storage, settings, client, tmp_path / "results")
    text = page(client, f"/search?run={run}")
    found = [row[1:8] for row in rows(text, "Features that fire")]
    assert found == [
        ["1-", MISSING, "REB1", "4.00", "6", "1 (5%)", "4%"],
        ["1+", MISSING, MISSING, "2.00", "6", "2 (10%)", "8%"],
    ]
    # the first is shown: base 6 of the second block's letters
    assert '<span class="seq">ACGTA<span class="h9" title="6: 4">C</span>GTAC</span>' in text
    other = page(client, f"/search?run={run}&feature=1%2B")
    coloured = '<span class="h5" title="5: 1">A</span><span class="h9" title="6: 2">C</span>'
    assert f'<span class="seq">ACGT{coloured}GTAC</span>' in other
    assert rows(other, "Stretches where feature 1+ is active") == [["5", "6", "2.00", "6", "AC"]]
    assert re.findall(r'<span class="at">(\d+)</span>', text) == ["1", "11"]
    assert f'href="/search?run={run}"' in page(client, f"/runs/{run}")

    def shown(query: str) -> list[str]:
        text = page(client, f"/search?run={run}&{query}")
        if "No feature fires here with these filters." in words(text):
            return []
        return [row[1] for row in rows(text, "Features that fire")]

    assert shown("strand=%2B") == shown("strand=+") == ["1+"]
    assert shown("share=6") == ["1+"]
    assert shown("density=5") == ["1-"]
    assert shown("start=1&end=5") == ["1+"]
    assert shown("start=7") == []
    assert shown("sort=feature") == ["1+", "1-"]
    assert shown("page=2") == []
    (tsv,) = links(text, "All as TSV")
    assert len(client.get(tsv).text.splitlines()) == 3
    (every,) = links(text, "Every base (TSV)")
    assert len(client.get(every).text.splitlines()) == 21


def test_filters_that_mean_nothing_are_refused(
    engine: Engine, storage: LocalStorage, settings: Settings, client: FlaskClient, tmp_path: Path
) -> None:
    run = search_run(engine, storage, settings, client, tmp_path / "results")
    for query, status in (
        ("share=101", 400),
        ("density=x", 400),
        ("density=nan", 400),
        ("start=0", 422),
        ("start=x", 400),
        ("end=21", 422),
        ("feature=9", 404),
        ("sort=q", 400),
        ("strand=3", 400),
        ("page=0", 400),
    ):
        page(client, f"/search?run={run}&{query}", status)


def test_a_wrong_search_is_shown_again(client: FlaskClient) -> None:
    for sequence, status, said in (
        ("", 400, "there is no sequence"),
        ("A" * 10_001, 413, "at most 10,000 bases, got 10,001"),
        ("ACGX", 422, "X"),
    ):
        answer = client.post(
            "/search", data={"sequence": sequence, "dictionary": "toy-sae"}, headers=HTML
        )
        assert answer.status_code == status
        text = words(answer.text)
        assert "Nothing was submitted." in text
        assert said.lower() in text.lower()
    wrong = client.post("/search", data={"sequence": "ACGT", "dictionary": "no"}, headers=HTML)
    assert wrong.status_code == 400
    assert links(page(client, "/search"), "Fill in") == []  # no dictionary has weights
    example = re.search(r"<textarea[^>]*>(>[^<]+)<", unescape(page(client, "/search?example=1")))
    assert example is not None
    assert len(check_sequence(example[1]).split(b"\n")[1]) == 1500
    page(client, "/search?run=none", 404)


def test_a_search_that_was_canceled_can_be_asked_again(client: FlaskClient) -> None:
    answer = client.post("/search", data={"sequence": "ACGTACGT", "dictionary": "toy-sae"})
    location = str(answer.headers["Location"])
    run = location.partition("run=")[2]
    client.post(f"/runs/{run}/cancel")
    text = page(client, location)
    assert "It was canceled." in words(text)
    assert links(text, "Submit again") == ["/search"]
    assert links(page(client, f"/runs/{run}"), "Submit again") == ["/"]


def test_a_large_run_has_another_page(finished: str, client: FlaskClient) -> None:
    text = page(client, f"/search?run={finished}", 400)
    assert "30 bases in 2 records" in words(text)


def test_these_pages_are_whole_and_load_only_our_own(
    known: Settings, finished: str, client: FlaskClient
) -> None:
    token = client.post(f"/v1/runs/{finished}/share-links").get_json()["token"]
    for address in (
        f"/runs/{finished}/compare",
        f"/s/{token}/compare",
        "/lists",
        f"/lists?dictionary=toy-sae&features=1,2&run={finished}",
        "/search",
    ):
        answer = client.get(address, headers=HTML)
        text = answer.text
        assert text.rstrip().endswith("</html>"), address
        assert len(re.findall(r"<h1[ >]", text)) == 1, address
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), address
        loaded = re.findall(r'<(?:link|script|img|iframe)[^>]*(?:src|href)="([^"]+)"', text)
        assert all(target.startswith(("/static/", "/v1/")) for target in loaded), address


def test_whoever_may_only_read_may_compare_and_list(guarded: Flask, engine: Engine) -> None:
    client, reader = guarded.test_client(), bearer(engine, "ada", "read")
    listed = client.post("/lists", data={"dictionary": "toy-sae", "feature": "1-"}, headers=reader)
    assert listed.headers["Location"] == "/lists?dictionary=toy-sae&features=1-"
    compared = client.post("/runs/none/compare", data={"feature": "1-"}, headers=reader)
    assert compared.status_code == 303
    searched = client.post("/search", data={"sequence": "ACGT"}, headers=reader)
    assert searched.status_code == 403
    assert client.post("/lists", data={"dictionary": "toy-sae"}).status_code == 401
