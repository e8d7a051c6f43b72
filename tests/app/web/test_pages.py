"""Pages without a browser: what they say, refuse, escape and restore."""

import io
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from annotations.activations import Activations
from app.config import Settings
from app.database import transaction
from app.storage import LocalStorage
from app.web import run_pages
from app.web.in_run import LEVELS, colour_sequence, histogram, level
from app.web.run_pages import progress_view
from app.web.vendored import IGV_STYLES
from tests.app.atlas_cases import install_atlas
from tests.app.conftest import FASTA, complete, new_run

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
NASTY = "<script>alert(1)</script>\"'><img src=x onerror=y>"
STATIC = Path(__file__).parents[3] / "app" / "web" / "static"


@pytest.fixture
def known(settings: Settings) -> Settings:
    """The installation with an atlas of its dictionary."""
    install_atlas(settings.models_dirs[0])
    return settings


def page(client: FlaskClient, address: str, status: int = 200) -> str:
    """The text of a page."""
    answer = client.get(address, headers=HTML)
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "text/html"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    return answer.text


def words(text: str) -> str:
    """A page without its marks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def form(**fields: object) -> dict[str, object]:
    """What a browser sends of the form: an empty file for each that was not chosen."""
    empty = {name: (io.BytesIO(), "") for name in ("file", "genes", "motifs_file")}
    return {**empty, "dictionary": "toy-sae", "taxon": "fungi", "strands": "both", **fields}


def test_every_page_is_whole_and_loads_only_our_own(
    known: Settings, finished: str, client: FlaskClient
) -> None:
    addresses = (
        "/", "/runs", f"/runs/{finished}", "/tfs", "/tfs/REB1", f"/tfs/REB1?run={finished}",
        "/features", "/features/toy-sae/1", f"/features/toy-sae/1?run={finished}", "/methods",
        "/docs", "/docs/runs", f"/runs/{finished}/links",
    )  # fmt: skip
    for address in addresses:
        answer = client.get(address, headers=HTML)
        text = answer.text
        assert answer.status_code == 200, (address, text)
        assert text.rstrip().endswith("</html>")
        assert len(re.findall(r"<h1[ >]", text)) == 1, address
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        # no script or style in the page, no handler, nothing from another place
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), address
        for tag in re.findall(r"<script[^>]*>", text):
            assert 'src="/static/' in tag
        loaded = re.findall(r'<(?:link|script|img|iframe)[^>]*(?:src|href)="([^"]+)"', text)
        assert all(target.startswith(("/static/", "/v1/")) for target in loaded), address


def test_a_programs_errors_stay_documents(client: FlaskClient) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        answer = client.get("/runs/none", headers=headers)
        assert answer.mimetype == "application/problem+json"
        assert "Accept" in answer.headers["Vary"]
    text = page(client, "/runs/none", 404)
    assert "There is no run" in words(text)
    assert "urn:saetrack:request:" in text
    wrong = client.patch("/runs", headers=HTML)
    assert (wrong.status_code, wrong.mimetype) == (405, "text/html")
    assert "GET" in wrong.headers["Allow"]
    assert "X-Saetrack-Page" not in wrong.headers


def test_the_first_page_is_small(client: FlaskClient) -> None:
    bodies = [page(client, "/").encode()]
    bodies += [client.get(f"/static/{name}").data for name in ("saetrack.css", "submit.js")]
    assert sum(map(len, bodies)) < 100_000


def test_igv_is_the_file_of_the_notice_and_makes_the_two_styles_that_are_allowed() -> None:
    notice = (STATIC.parents[2] / "NOTICE").read_text(encoding="utf-8")
    import hashlib

    content = (STATIC / "igv.esm.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() in notice
    assert "MIT License" in (STATIC / "igv.LICENSE.txt").read_text(encoding="utf-8")
    assert len(IGV_STYLES) == 2


def test_a_form_is_taken_and_leads_to_its_run(client: FlaskClient) -> None:
    chosen = form(file=(io.BytesIO(FASTA), "mine.fa"), title="Mine")
    answer = client.post("/runs", data=chosen)
    assert answer.status_code == 303, answer.text
    text = page(client, answer.headers["Location"])
    assert "<h1>Mine</h1>" in text
    assert "30 bases in 2 records, from mine.fa" in words(text)
    assert 'http-equiv="refresh"' in text  # for those without scripts
    assert "Mine" in page(client, "/")


@pytest.mark.parametrize(
    ("pasted", "names"),
    [(">one\nACGT\n", ["one"]), ("acgtn ACGT\nAC", ["pasted"])],
)
def test_pasted_bases_need_no_header(pasted: str, names: list[str], client: FlaskClient) -> None:
    answer = client.post("/runs", data=form(sequence=pasted))
    assert answer.status_code == 303, answer.text
    run = answer.headers["Location"]
    contigs = client.get(f"/v1{run}/contigs").get_json()["contigs"]
    assert [contig["name"] for contig in contigs] == names


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 400, "There is no sequence"),
        ({"sequence": ">p\nMKVL\n"}, 422, "p"),
        ({"sequence": ">a\nACGT\n", "taxon": "martians"}, 400, "martians"),
        ({"sequence": ">a\nACGT\n", "dictionary": "nope"}, 400, "nope"),
        ({"sequence": ">a\nACGT\n", "held_out": "chrX"}, 400, "chrX"),
        ({"sequence": ">a\nACGT\n", "file": (io.BytesIO(FASTA), "x.fa")}, 400, "leave one"),
    ],
)
def test_a_wrong_form_is_shown_again_with_what_is_wrong(
    fields: dict[str, object], status: int, said: str, client: FlaskClient
) -> None:
    answer = client.post("/runs", data=form(**fields), headers=HTML)
    assert answer.status_code == status
    text = words(answer.text)
    assert "Nothing was submitted." in text
    assert said in text
    if "sequence" in fields:
        assert str(fields["sequence"]).strip() in unescape(answer.text)


def test_a_form_from_another_site_is_refused(client: FlaskClient) -> None:
    foreign = {"Origin": "http://evil.example", **HTML}
    answer = client.post("/runs", data=form(sequence=">a\nACGT\n"), headers=foreign)
    assert (answer.status_code, answer.mimetype) == (403, "text/html")
    assert client.get("/v1/runs").get_json()["runs"] == []


def test_the_example_is_submitted_with_its_genes(settings: Settings, client: FlaskClient) -> None:
    answer = client.post("/runs", data=form(action="example", sequence="ignored"))
    assert answer.status_code == 303, answer.text
    run = client.get(f"/v1{answer.headers['Location']}").get_json()
    assert (run["bases"], run["filename"]) == (50_000, "chrI_40001_90000.gb")
    assert run["options"]["taxon"] == "fungi"


def test_what_users_wrote_is_never_markup(
    engine: Engine, storage: LocalStorage, settings: Settings, client: FlaskClient
) -> None:
    nasty = f">{NASTY.replace(' ', '_')}\nACGT\n"
    given = form(sequence=nasty, title=NASTY)
    location = client.post("/runs", data=given).headers["Location"]
    addresses = ["/", "/runs", location, f"/tfs/{NASTY.replace('/', '')}", f"/runs?x={NASTY}"]
    for address in addresses:
        text = client.get(address, headers=HTML).text
        assert "<script>alert" not in text, address
        assert "<img src=x" not in text, address
    wrong = client.post("/runs", data=form(sequence=NASTY), headers=HTML)
    assert wrong.status_code == 422
    assert "<script>alert" not in wrong.text


def test_a_run_is_canceled_and_deleted_by_forms(
    engine: Engine, storage: LocalStorage, settings: Settings, client: FlaskClient
) -> None:
    run = new_run(engine, storage, settings)
    answer = client.post(f"/runs/{run}/cancel")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/runs/{run}")
    assert "It was canceled." in words(page(client, f"/runs/{run}"))
    assert client.post(f"/runs/{run}/delete").headers["Location"] == "/runs"
    page(client, f"/runs/{run}", 404)


def view(**values: object) -> dict[str, object]:
    """A run as the interface shows it."""
    base = {"state": "RUNNING", "progress": 0.5, "started_at": None, "error": None}
    return {**base, "bases": 1000, "bases_done": 500, **values}


def test_progress_is_said_in_words() -> None:
    waiting = progress_view(view(state="QUEUED", progress=0.0, bases_done=0), 100.0)
    assert (waiting["left"], waiting["ended"]) == ("about 10 seconds left", False)
    assert progress_view(view(state="QUEUED"), None)["left"] == ""
    merging = progress_view(view(bases_done=1000), None)
    assert merging["done"].endswith("peaks, motifs and genes are compared now")
    failed = progress_view(
        view(state="EXECUTOR_ERROR", error={"code": "x", "message": "no bases"}), None
    )
    assert (failed["title"], failed["error"], failed["ended"]) == ("Failed", "no bases", True)


def events(text: str) -> list[tuple[str, dict[str, object]]]:
    """Names and data of server-sent events."""
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)
    return [(name, json.loads(data)) for name, data in found]


def test_events_of_an_ended_run_end(finished: str, client: FlaskClient) -> None:
    answer = client.get(f"/runs/{finished}/events")
    assert answer.mimetype == "text/event-stream"
    ((name, data),) = events(answer.text)
    assert (name, data["state"], data["fraction"]) == ("end", "COMPLETE", 1.0)
    assert answer.text.startswith("retry: ")
    assert client.get(f"/runs/{finished}/progress").get_json() == data


def test_a_stream_ends_by_itself_and_streams_are_few(
    engine: Engine,
    storage: LocalStorage,
    settings: Settings,
    app: Flask,
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = new_run(engine, storage, settings)
    monkeypatch.setattr(run_pages, "STREAM_SECONDS", 0.0)
    assert [name for name, _ in events(client.get(f"/runs/{run}/events").text)] == ["progress"]
    monkeypatch.setattr(run_pages, "STREAM_SECONDS", 60.0)
    monkeypatch.setattr(run_pages, "LOOK_SECONDS", 0.0)
    open_ = [client.open(f"/runs/{run}/events", buffered=False) for _ in range(4)]
    refused = client.get(f"/runs/{run}/events")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "3")
    body = open_[0].iter_encoded()
    assert next(body).startswith(b"retry")
    assert b"event: progress" in next(body)
    assert next(body) == b": still here\n\n"
    for answer in open_:  # one of them was begun, the others never were
        answer.close()
    with transaction(engine) as session:
        session.get_one(run_pages.runs.Run, run).canceled_at = 1.0
    assert [name for name, _ in events(client.get(f"/runs/{run}/events").text)] == ["end"]


def config_of(text: str) -> dict[str, object]:
    """What igv.js is told."""
    found = re.search(r'data-config="([^"]+)"', text)
    assert found is not None
    return json.loads(unescape(found[1]))


def test_an_address_restores_what_was_seen(finished: str, client: FlaskClient) -> None:
    text = page(client, f"/runs/{finished}?features=2%2B,1-&locus=chrA:3-9&search=intron&sort=max")
    told = config_of(text)
    assert told["locus"] == "chrA:3-9"
    assert told["loadDefaultGenomes"] is False
    assert told["search"] is False
    tracks = [(track["name"], track["url"]) for track in told["tracks"] if track["type"] == "wig"]
    base = f"/v1/runs/{finished}/features"
    assert tracks == [
        ("feature 2+", f"{base}/2/signal.bw?strand=%2B"),
        ("feature 1-", f"{base}/1/signal.bw?strand=-"),
    ]
    for _, url in tracks:
        assert client.get(url).status_code == 200
    assert client.get(told["reference"]["twoBitURL"]).status_code == 200
    assert 'value="intron"' in text
    assert '<option value="max" selected>' in text
    assert "1 feature row, a row for each strand; strongest activation first" in words(text)
    assert config_of(page(client, f"/runs/{finished}?features="))["tracks"] == []


def test_without_a_choice_the_most_telling_features_are_drawn(
    finished: str, client: FlaskClient
) -> None:
    told = config_of(page(client, f"/runs/{finished}"))
    assert next(track["name"] for track in told["tracks"]) == "feature 1-"
    assert told["locus"] == "chrA:1-20"


@pytest.mark.parametrize(
    "query",
    ["features=4", "locus=%20", "locus=a%3Cb", "sort=colour", "page=0", "page=%D9%A1", "colour=1"],
)
def test_an_address_that_means_nothing_is_refused(
    query: str, finished: str, client: FlaskClient
) -> None:
    answer = client.get(f"/runs/{finished}?{query}", headers=HTML)
    assert answer.status_code in {400, 404} or query == "locus=%20"


def test_a_list_is_searched_sorted_and_turned(finished: str, client: FlaskClient) -> None:
    def shown(query: str) -> list[str]:
        text = page(client, f"/runs/{finished}?{query}")
        return re.findall(r'data-feature="([^"]+)"', text)

    assert shown("sort=max") == ["2+", "1-", "1+"]
    assert shown("sort=label")[0] == "2+"
    assert shown("sort=effect")[0] == "1-"
    assert shown("search=reb1") == ["1-"]
    assert shown("search=1") == ["1-", "1+"]
    assert shown("search=1%2B") == ["1+"]
    assert shown("search=nothing") == []
    assert shown("page=2") == []
    assert "No feature has “nothing”" in page(client, f"/runs/{finished}?search=nothing")


def test_a_feature_shows_what_is_known_and_what_it_did(
    known: Settings, finished: str, client: FlaskClient
) -> None:
    text = page(client, f"/features/toy-sae/1?run={finished}")
    said = words(text)
    assert "REB1-like motif" in said
    assert "fires together with 1 other" in said
    assert 'src="/v1/features/toy-sae/1/aligned.svg?strand=%2B"' in text
    for address in re.findall(r'<img[^>]+src="([^"]+)"', text):
        assert client.get(unescape(address)).mimetype == "image/svg+xml"
    # the strongest base of strand - is in the strongest colour
    assert 'class="h9 peak">' in text
    assert "ACT1 gene" in said
    assert f"/v1/runs/{finished}/features/1/signal.bw?strand=-" in text
    assert 'rel="prev" href="/features/toy-sae/0' in text
    last = page(client, "/features/toy-sae/3")
    assert 'rel="next"' not in last


def test_silent_unknown_and_not_computed_look_different(
    known: Settings,
    engine: Engine,
    storage: LocalStorage,
    client: FlaskClient,
    tmp_path: Path,
) -> None:
    run = new_run(engine, storage, known, strands="forward")
    complete(engine, storage, known, tmp_path / "results")
    said = words(page(client, f"/features/toy-sae/3?run={run}"))
    assert "not computed The run read the forward strand only." in said
    assert "silent Computed, and nowhere in these sequences above its gate." in said
    assert "Dead: the feature fires nowhere in a yeast, two contigs, on either strand." in said
    page(client, "/features/toy-sae/4", 404)
    page(client, "/features/none/1", 404)


def test_a_dictionary_without_an_atlas_says_so(finished: str, client: FlaskClient) -> None:
    assert "its dictionary has no atlas" in words(page(client, "/features/toy-sae/1"))
    assert "In this run" in words(page(client, f"/features/toy-sae/1?run={finished}"))
    assert "no dictionary of this installation has an atlas" in words(page(client, "/tfs")).lower()


def test_features_are_found_by_number_or_by_chance(known: Settings, client: FlaskClient) -> None:
    answer = client.get("/features?dictionary=toy-sae&feature=2")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/features/toy-sae/2")
    for _ in range(5):
        address = client.get("/features/toy-sae/random").headers["Location"]
        assert address in {"/features/toy-sae/1", "/features/toy-sae/2"}  # those with a label
    page(client, "/features?dictionary=toy-sae&feature=9", 404)


def test_a_factor_is_answered_explained_and_offered(known: Settings, client: FlaskClient) -> None:
    assert client.get("/tfs?q=REB1").headers["Location"] == "/tfs/REB1"
    said = words(page(client, "/tfs/reb1"))
    assert "was understood as a name in JSASPAR2026".replace("JSASPAR", "JASPAR") in said
    assert "2 matches, by q" in said
    assert "What controls reach" in said
    assert "toy-neurons" in said
    assert "1 match, by effect" in words(page(client, "/tfs/reb1?evidence=centred&sort=effect"))
    strict = words(page(client, "/tfs/reb1?max_q=0.001&evidence=causal"))
    assert "No feature matches at q ≤ 0.001 with the evidence “causal”." in strict
    several = page(client, "/tfs/bHLH", 300)
    assert '<a href="/tfs/bHLH-ZIP">' in several
    assert "near names" in words(page(client, "/tfs/REB", 404)).lower()
    assert '<a href="/tfs/REB1">' in page(client, "/tfs/REB", 404)
    assert '<a href="/tfs/REB1">REB1</a>' in page(client, "/tfs")
    page(client, "/tfs/reb1?max_q=0.7", 400)


def test_a_link_is_made_shown_once_and_revoked(finished: str, client: FlaskClient) -> None:
    made = client.post(f"/runs/{finished}/share", headers=HTML)
    assert made.status_code == 200
    hub = re.search(r"http://localhost(/s/[^<]+/hub\.txt)", made.text)
    assert hub is not None
    assert client.get(hub[1]).status_code == 200
    listed = page(client, f"/runs/{finished}/links")
    assert "/s/" not in listed
    action = re.search(r'action="(/runs/[^"]+/revoke)"', listed)
    assert action is not None
    assert client.post(action[1]).headers["Location"] == f"/runs/{finished}/links"
    assert client.get(hub[1]).status_code == 404


def test_colours_grow_with_the_activation() -> None:
    steps = [level(value, 10.0) for value in np.linspace(0, 10, 50)]
    assert steps == sorted(steps)
    assert (steps[0], steps[1], steps[-1]) == (0, 1, LEVELS)
    parts = colour_sequence("ACGTA", np.array([0, 0, 5, 5, 0], np.float32), 5.0)
    assert parts == [("AC", ""), ("G", "h9 peak"), ("T", "h9"), ("A", "")]
    assert "".join(letters for letters, _ in parts) == "ACGTA"


def test_a_histogram_counts_every_active_base() -> None:
    values = np.array([0.1, 0.5, 0.5, 4.0], np.float32)
    rows = Activations(
        feature=np.zeros(4, np.uint32),
        strand=np.ones(4, np.int8),
        contig=np.zeros(4, np.uint32),
        position=np.arange(4),
        value=values,
    )
    bars = histogram(rows)
    assert sum(bar.number for bar in bars) == 4
    assert (bars[0].low, bars[-1].high, bars[-1].number) == (0.0, 4.0, 1)
    assert max(bar.share for bar in bars) == 1.0
