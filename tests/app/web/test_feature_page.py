"""The page of a feature and the list of a factor: pictures, states, and what they lead to."""

import re
from html import unescape
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from annotations.atlas import write_atlas
from annotations.enrichment import MATCHES_SCHEMA
from annotations.feature_examples import EXAMPLES_SCHEMA, FLANK
from app.config import Settings
from app.database import transaction
from app.models import Computation
from app.runs import cancel_run, get_run
from app.storage import LocalStorage
from tests.app.atlas_cases import install_atlas, make_atlas, match, table
from tests.app.conftest import complete, new_run
from tests.app.web.test_pages import HTML, page, words


@pytest.fixture
def known(settings: Settings) -> Settings:
    """The installation with an atlas of its dictionary."""
    install_atlas(settings.models_dirs[0])
    return settings


def test_the_own_motif_lies_over_the_matrix(known: Settings, client: FlaskClient) -> None:
    text = page(client, "/features/toy-sae/1")
    address = "/v1/features/toy-sae/1/aligned.svg?strand=%2B"
    assert f'src="{address}"' in text
    picture = client.get(address)
    assert picture.mimetype == "image/svg+xml"
    assert "peaks of 1+" in picture.text
    assert "REB1 MA0363.3" in picture.text
    other = client.get(f"{address}&matrix_id=MA0291.1")
    assert "DAL82 MA0291.1" in other.text
    for wrong, status in (("matrix_id=MA9999.1", 404), ("colour=1", 400), ("strand=x", 400)):
        assert client.get(f"{address.split('?')[0]}?{wrong}").status_code == status
    assert client.get("/v1/features/toy-sae/2/aligned.svg").status_code == 404


def test_a_strand_may_be_named(known: Settings, client: FlaskClient) -> None:
    for name, first in (("2-", "2-"), ("2+", "2+"), ("2_minus", "2-"), ("2", "2+")):
        text = page(client, f"/features/toy-sae/{name}")
        assert re.findall(r'<h2 id="(?:plus|minus)">(2[+-])', text)[0] == first
    answer = client.get("/features?dictionary=toy-sae&feature=2-", headers=HTML)
    assert answer.headers["Location"] == "/features/toy-sae/2-"
    assert "There is no feature" in words(page(client, "/features/toy-sae/x-", 404))


def test_examples_are_coloured_where_the_atlas_has_values(
    settings: Settings, client: FlaskClient
) -> None:
    values = [0] * FLANK + [255, 20] + [0] * (FLANK - 1)
    place = {"contig": "chrI", "position": 99, "gene": "ACT1"}
    rows = [
        {"feature": 1, "strand": 1, "range": part, "rank": rank, "value": value, **place,
         "sequence": "ACGTG" * 10 + "A", "values": values}
        for part, rank, value in ((1, 1, 8.0), (4, 40, 1.0))
    ]  # fmt: skip
    atlas = make_atlas()
    object.__setattr__(atlas, "examples", table(EXAMPLES_SCHEMA, *rows))
    write_atlas(atlas, settings.models_dirs[0] / "toy" / "toy-sae" / "atlas")
    text = page(client, "/features/toy-sae/1")
    assert text.count('class="h9 peak">') == 2
    assert text.count('class="h1">') == 2
    assert "active at 2 of 51 bases" in text
    assert "Activation of its 40 peaks in the atlas by rank" in words(text)
    assert "the colour is the activation of each base" in words(text)
    rows = client.get("/v1/features/toy-sae/1").get_json()["rows"][0]["examples"]
    assert rows[0]["values"] == values


@pytest.mark.parametrize(("placed", "drawn"), [(1, False), (5, True)])
def test_the_tested_peaks_come_before_the_examples(
    settings: Settings, client: FlaskClient, placed: int, drawn: bool
) -> None:
    place = {"contig": "chrI", "position": 99, "value": 1.0, "strand": 1, "feature": 1}
    with_it = "A" * 19 + "TTACCCG" + "A" * 25
    rows = [
        {**place, "range": 4, "rank": rank, "sequence": with_it if rank <= placed else "A" * 51}
        for rank in range(1, 13)
    ]
    atlas = make_atlas()
    object.__setattr__(atlas, "examples", table(EXAMPLES_SCHEMA, *rows))
    tested = match(1, 1e-9, peaks=94, hits=81, offset=-3, offset_share=0.99)
    object.__setattr__(atlas, "matches", table(MATCHES_SCHEMA, tested))
    write_atlas(atlas, settings.models_dirs[0] / "toy" / "toy-sae" / "atlas")
    text = page(client, "/features/toy-sae/1")
    said = words(text)
    assert "81 of the 94 peaks that were tested have REB1 MA0363.3, its middle at -3" in said
    assert re.search(r"from the peak in 99 ?% of them", said)
    has = "has" if placed == 1 else "have"
    assert "are another sample, taken evenly from its strongest to its weakest" in said
    assert f"that were tested are its strongest: {placed} of 12 {has} it" in said
    assert ('aria-label="Where REB1 stands' in text) is drawn


def test_an_older_atlas_without_values_is_shown_plain(known: Settings, client: FlaskClient) -> None:
    said = words(page(client, "/features/toy-sae/1"))
    assert "Read in the sense of the pass; the frame is the peak." in said


def test_known_unknown_and_dead_look_different(known: Settings, client: FlaskClient) -> None:
    assert "Dead: the feature fires nowhere" in words(page(client, "/features/toy-sae/3"))
    both = words(page(client, "/features/toy-sae/1"))
    assert "Dead: the feature" not in both
    # strand - of feature 1 has no example: it never fires there
    assert "dead Computed in the whole of a yeast, two contigs, and silent there" in both


def test_a_run_without_a_result_says_why(
    known: Settings, engine: Engine, storage: LocalStorage, client: FlaskClient
) -> None:
    run = new_run(engine, storage, known)
    waiting = page(client, f"/features/toy-sae/1?run={run}")
    assert "Waiting. What this feature did in run" in words(waiting)
    assert "is not computed yet" in words(waiting)
    assert "note warn" in waiting
    assert "REB1-like motif" in waiting  # what the atlas knows is shown all the same
    with transaction(engine) as session:
        cancel_run(session, get_run(session, run, "local"))
    canceled = page(client, f"/features/toy-sae/1?run={run}")
    assert "Canceled. What this feature did in run" in words(canceled)
    assert "was never computed" in words(canceled)
    assert "its state is CANCELED; submit it again" in words(canceled)
    assert "note bad" in canceled
    page(client, "/features/toy-sae/1?run=none", 404)


def test_a_run_adds_pictures_genes_and_ways_out(
    known: Settings, finished: str, client: FlaskClient
) -> None:
    text = page(client, f"/features/toy-sae/1?run={finished}")
    figures = set(re.findall(rf'"(/v1/runs/{finished}/figure\.(?:svg|png)\?[^"]+)"', text))
    assert len(figures) == 6  # two strands; light, dark and dots
    for address in figures:
        assert client.get(unescape(address)).status_code == 200, address
    assert "top peaks of this run have it" in words(text)
    assert f'href="/runs/{finished}?features=1-"' in text
    assert "Open in IGV" in text
    addresses = re.findall(r'(?:href|src)="(/v1/[^"]+)"', text)
    for address in {unescape(each) for each in addresses}:
        assert client.get(address).status_code == 200, address
    tsv = client.get("/v1/features/toy-sae/1/matches?format=tsv")
    assert tsv.text.splitlines()[0].startswith("feature\tstrand\tmatrix_id")
    assert len(client.get("/v1/features/toy-sae/2/matches").get_json()["matches"]) == 2


def test_genes_lie_beneath_the_examples(
    engine: Engine,
    storage: LocalStorage,
    settings: Settings,
    client: FlaskClient,
    tmp_path: Path,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from annotations.transcripts import GENES_SCHEMA

    run = new_run(engine, storage, settings)
    genes = [
        {"contig": 0, "start": 3, "end": 12, "strand": -1, "kind": "gene", "name": "G1"},
        {"contig": 0, "start": 3, "end": 8, "strand": -1, "kind": "exon", "name": "G1"},
        {"contig": 0, "start": 4, "end": 7, "strand": -1, "kind": "CDS", "name": "G1"},
    ]
    path = tmp_path / "genes.parquet"
    rows = [{"transcript": "t", **gene} for gene in genes]
    pq.write_table(pa.Table.from_pylist(rows, schema=GENES_SCHEMA), path)
    with transaction(engine) as session:
        computation = session.query(Computation).one()
        stored = storage.put_file("inputs/genes.parquet", path)
        computation.inputs = {**computation.inputs, "genes.parquet": _json(stored)}
    complete(engine, storage, settings, tmp_path / "results")
    text = page(client, f"/features/toy-sae/1?run={run}")
    under = re.findall(r'<span class="seq under" aria-hidden="true">(.*?)</span></span>', text)
    parts = re.findall(r'<span(?: class="([^"]*)")?>(\s*)', under[0] + "</span>")
    sizes = [(name, len(blank)) for name, blank in parts]
    # the peak of 1+ is base 5: 25 bases before it begin at -20
    assert sizes == [
        ("", 23),
        ("g-exon", 1),
        ("g-cds", 3),
        ("g-exon", 1),
        ("g-intron", 4),
        ("", 19),
    ]
    assert "antisense" in words(text)


def _json(stored: object) -> object:
    from app.storage import manifest_to_json

    return manifest_to_json({"x": stored})["x"]  # type: ignore[dict-item]


def test_the_list_of_a_factor_leads_to_the_browser(
    known: Settings, finished: str, client: FlaskClient
) -> None:
    text = page(client, f"/tfs/REB1?run={finished}")
    assert f'formaction="/runs/{finished}/draw"' in text
    for address in re.findall(r'<img[^>]+src="([^"]+)"', text):
        assert client.get(unescape(address)).mimetype == "image/svg+xml"
    answer = client.post(f"/runs/{finished}/draw", data={"feature": ["1-", "2+", "1-"]})
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/runs/{finished}?features=1-%2C2%2B"
    nothing = client.post(f"/runs/{finished}/draw", data={})
    assert nothing.headers["Location"] == f"/runs/{finished}"
    assert "?run=" not in page(client, "/tfs/REB1").split("Ranked features")[1].split("/draw")[0]


def test_a_run_of_short_records_says_why_it_has_no_peaks(
    finished: str, engine: Engine, client: FlaskClient
) -> None:
    why = "No peak is reported in the first 25 bases of a record"
    assert why in words(page(client, f"/runs/{finished}"))  # of 20 and 10 bases
    with transaction(engine) as session:
        session.query(Computation).one().lengths = [26, 10]
    assert why not in words(page(client, f"/runs/{finished}"))


def test_the_page_of_a_run_offers_its_view_as_a_figure(finished: str, client: FlaskClient) -> None:
    text = page(client, f"/runs/{finished}?features=1-,2&locus=chrA:3-9")
    found = re.findall(r'<a class="button small figure" href="([^"]+)" download>(\w+)', text)
    assert [name for _, name in found] == ["SVG", "PNG"]
    for address, _ in found:
        answer = client.get(unescape(address))
        assert answer.status_code == 200
        assert answer.data
    assert ">chrA:3-9<" in client.get(unescape(found[0][0])).text
