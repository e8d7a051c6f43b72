"""A run over regions through the service: submitted, computed by a worker, served as tracks."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyBigWig
import pytest

from annotations.cards import find_cards
from annotations.concept_tracks import INTERVALS_SCHEMA
from annotations.genome_folder import add_genome
from annotations.genome_parts import PartRequest
from annotations.options import RunOptions
from annotations.stretches import from_stretches
from app.analyses import create_analysis
from app.client import _frame as client_frame
from app.factory import create_app
from app.submissions import create_run
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_analyses import answerer, result_path, row
from tests.workers.test_causal import MOTIF
from tests.workers.test_pipeline import random_sequence
from tests.workers.test_tasks import Installation

LENGTHS = {"chrA": 9000, "chrB": 4000, "chrC": 700}
BED = b"chrA\t3000\t6000\nchrA\t5500\t6400\tb\nchrB\t10\t1500\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_tiny_models(tmp_path_factory.mktemp("region-models"))


@pytest.fixture(scope="module")
def here(tmp_path_factory, models):
    folder = tmp_path_factory.mktemp("regions")
    here = Installation(folder, models)
    sequences = {name: random_sequence(n, n) for name, n in LENGTHS.items()}
    fasta, genes, bed = folder / "g.fa", folder / "g.bed", folder / "r.bed"
    fasta.write_bytes(b"".join(b">%s\n%s\n" % (n.encode(), s) for n, s in sequences.items()))
    genes.write_bytes(b"chrA\t2000\t5000\tONE\t0\t+\nchrB\t3000\t3100\tFAR\t0\t-\n")
    bed.write_bytes(BED)
    add_genome(here.settings.genomes_dir, "toy", fasta, genes=genes)
    here.whole = submit(here, PartRequest(genome="toy"))
    here.part = submit(here, PartRequest(genome="toy", regions=bed, flank=10))
    # a worker reads what was stored with the run, not the registry
    here.settings.genomes_dir.rename(folder / "away")
    here.work(here.runner())
    (folder / "away").rename(here.settings.genomes_dir)
    return here


def submit(here, part):
    return create_run(
        here.engine,
        here.storage,
        find_cards(here.roots),
        part=part,
        options=RunOptions(dictionary=DICTIONARY_ID, taxon="fungi", peaks_per_feature=1000),
        owner="local",
        settings=here.settings,
    ).run_id


@pytest.fixture(scope="module")
def client(here):
    return create_app(here.settings).test_client()


def get(client, path):
    answer = client.get(path, buffered=True)
    assert answer.status_code == 200, (path, answer.get_data()[:300])
    return answer


def active_bases(here, run_id):
    """Every active base, with the names of the contigs."""
    active = from_stretches(pq.read_table(result_path(here, run_id, "activations.parquet")))
    return set(zip(*(values.tolist() for values in active), strict=True))


def test_regions_are_computed_as_in_the_whole_genome(here):
    for run_id in (here.whole, here.part):
        state, computation = here.computation(run_id)
        assert state == "COMPLETE", computation.error_message
    spans = [(0, 2990, 6410), (1, 0, 1510)]
    expected = {
        each
        for each in active_bases(here, here.whole)
        if any(each[2] == contig and start <= each[3] < end for contig, start, end in spans)
    }
    assert len(expected) > 10_000
    assert active_bases(here, here.part) == expected


def test_the_run_says_what_it_read(here, client):
    view = get(client, f"/v1/runs/{here.part}").json
    assert (view["bases"], view["bases_done"], view["contigs"]) == (4930, 4930, 2)
    assert view["regions"]["submitted"] == 3
    assert view["regions"]["merged"] == 2
    record = get(client, f"/v1/runs/{here.part}/provenance").json
    assert record["regions"] == {"spans": [[0, 2990, 6410], [1, 0, 1510]], "bases": 4930}


def test_tracks_are_in_coordinates_of_the_genome(here, client, tmp_path):
    features = get(client, f"/v1/runs/{here.part}/features").json["features"]
    best = features[0]
    word = f"{best['feature']}_{'plus' if best['strand'] == '+' else 'minus'}"
    for kind in ("signal", "peaks"):
        path = tmp_path / f"{kind}.bw"
        path.write_bytes(get(client, f"/v1/runs/{here.part}/features/{word}/{kind}.bw").data)
        track = pyBigWig.open(str(path))
        assert track.chroms() == {"chrA": 9000, "chrB": 4000}
        values = np.array(track.values("chrA", 0, 9000))
        assert np.isnan(values[:2990]).all()
        assert np.isnan(values[6410:]).all()
        assert not np.isnan(values[2990:6410]).any()
        track.close()
    assert get(client, f"/v1/runs/{here.part}/chrom.sizes").text == "chrA\t9000\nchrB\t4000\n"
    peaks = get(client, f"/v1/runs/{here.part}/peaks.bed").text.splitlines()
    starts = [int(line.split("\t")[1]) for line in peaks if line.startswith("chrA")]
    assert min(starts) >= 2990
    assert max(starts) < 6410


def test_browsers_get_the_sequence_as_2bit(here, client):
    hub = get(client, f"/v1/runs/{here.part}/hub.txt").text
    assert "twoBitPath sequence.2bit" in hub
    config = get(client, f"/v1/runs/{here.part}/igv.json").json
    assert "twoBitURL" in config["reference"]
    assert "fastaURL" not in config["reference"]
    for name in ("sequence.2bit", "sequence.fa", "sequence.fa.fai", "genes.bb", "about.html"):
        get(client, f"/v1/runs/{here.part}/{name}")
    index = get(client, f"/v1/runs/{here.part}/sequence.fa.fai").text.splitlines()
    assert index[0].startswith("chrA:")
    get(client, f"/v1/runs/{here.part}/session.xml")
    get(client, f"/v1/runs/{here.part}/jbrowse.json")
    attached = get(client, f"/v1/runs/{here.part}/hub.txt?genome=toy").text
    assert "genome toy" in attached
    assert "twoBitPath" not in attached


def test_pages_of_the_run_open(here, client):
    features = get(client, f"/v1/runs/{here.part}/features").json["features"]
    best = features[0]["feature"]
    for path in (
        f"/runs/{here.part}",
        f"/runs/{here.part}?locus=chrA:4000-4100",
        f"/features/{DICTIONARY_ID}/{best}?run={here.part}",
    ):
        answer = client.get(path, headers={"Accept": "text/html"}, buffered=True)
        assert answer.status_code == 200, (path, answer.get_data()[:300])


SPANS = {"chrA": (2990, 6410), "chrB": (0, 1510)}


@pytest.fixture(scope="module")
def rows(here, client):
    """The feature rows that are active most, as an address names them."""
    found = get(client, f"/v1/runs/{here.part}/features?sort=density&limit=3").json["features"]
    return [f"{row['feature']}{row['strand']}" for row in found]


def values(client, run_id, rows, region):
    """Shape (rows, bases); NaN for null."""
    asked = ",".join(rows).replace("+", "%2B")
    answer = get(client, f"/v1/runs/{run_id}/activations?features={asked}&region={region}").json
    return answer, np.array([row["values"] for row in answer["features"]], dtype=float)


@pytest.mark.parametrize(
    ("region", "start", "end"),
    [("chrA:2901-3100", 90, 200), ("chrA:6301-6500", 0, 110), ("chrA", 2990, 6410),
     ("chrB:1401-1600", 0, 110), ("chrA:101-200", 0, 0), ("chrA:4001-4100", 0, 100)],
)  # fmt: skip
def test_what_was_not_read_is_not_told_as_silent(here, client, rows, region, start, end):
    _, whole = values(client, here.whole, rows, region)
    answer, part = values(client, here.part, rows, region)
    assert not np.isnan(whole).any()
    expected = np.full_like(whole, np.nan)
    expected[:, start:end] = whole[:, start:end]
    np.testing.assert_array_equal(part, expected)
    assert answer["bases_read"] == end - start
    # the table that the client makes of it: nulls become NaN
    asked = ",".join(rows).replace("+", "%2B")
    address = f"/v1/runs/{here.part}/activations?features={asked}&region={region}&format="
    table = pq.read_table(pa.BufferReader(get(client, f"{address}parquet").data))
    table = client_frame(table, {})
    np.testing.assert_array_equal(table[rows].to_numpy().T, expected)
    first, last = get(client, f"{address}tsv").text.splitlines()[1 :: part.shape[1] - 1]
    for line, known in ((first, start == 0 < end), (last, end == part.shape[1])):
        assert line.endswith("\t\t\t") is not known


@pytest.mark.parametrize("region", ["chrA", "chrA:2901-3100", "chrB:1401-1600"])
def test_shares_and_correlations_are_over_what_was_read(here, client, rows, region):
    answer, _ = values(client, here.part, rows, region)
    low, high = SPANS[answer["contig"]]
    read = f"{answer['contig']}:{max(low, answer['start']) + 1}-{min(high, answer['end'])}"
    asked = ",".join(rows).replace("+", "%2B")
    part = get(client, f"/v1/runs/{here.part}/comparison?features={asked}&region={region}").json
    whole = get(client, f"/v1/runs/{here.whole}/comparison?features={asked}&region={read}").json
    assert part["correlation"] == whole["correlation"]
    _, dense = values(client, here.whole, rows, read)
    for told, same, own in zip(part["features"], whole["features"], dense, strict=True):
        assert told["share"] == same["share"] == np.count_nonzero(own) / dense.shape[1]
        assert told["sum"] == same["sum"]
    # the edge of a region is no peak where the base beyond it is larger
    assert part["peaks"] == whole["peaks"]
    listed = f"region-features?region={region}&limit=100"
    listed_rows = get(client, f"/v1/runs/{here.part}/{listed}").json["features"]
    shares = {(told["feature"], told["strand"]): told["share"] for told in listed_rows}
    for told in part["features"]:
        if told["active_bases"]:
            assert shares[told["feature"], told["strand"]] == told["share"]


def test_nothing_is_known_of_a_region_that_was_not_read(here, client, rows):
    asked = ",".join(rows).replace("+", "%2B")
    address = f"/v1/runs/{here.part}/comparison?features={asked}&region=chrA:101-200"
    answer = get(client, address).json
    assert answer["bases_read"] == 0
    for told in answer["features"]:
        names = ("max", "sum", "active_bases", "share", "position")
        assert [told[name] for name in names] == [None] * 5
    assert answer["correlation"] == [[None] * 3] * 3
    assert (
        get(client, f"/v1/runs/{here.part}/region-features?region=chrA:101-200").json["total"] == 0
    )


def test_figures_hatch_what_was_not_read(here, client, rows):
    asked = ",".join(rows).replace("+", "%2B")
    for region, hatched, nothing in (
        ("chrA:2901-3100", True, False),
        ("chrA:101-200", True, True),
        ("chrA:4001-4100", False, False),
    ):
        query = f"features={asked}&region={region}"
        figure = get(client, f"/v1/runs/{here.part}/figure.svg?{query}").text
        assert (">hatched</text>" in figure) is hatched
        assert ("not read by this run" in figure) is hatched
        assert (figure.count(">not read by this run</text>") == 4) is nothing
        assert get(client, f"/v1/runs/{here.part}/figure.png?{query}&dpi=72").data[1:4] == b"PNG"
        page = client.get(
            f"/runs/{here.part}/compare?{query}", headers={"Accept": "text/html"}
        ).text
        assert ("url(#unread)" in page) is hatched
        assert ("Hatched: not read by this run" in page) is hatched
        assert (page.count('<span class="soft">not read by this run</span>') == 3) is nothing
        assert "hatched" not in get(client, f"/v1/runs/{here.whole}/figure.svg?{query}").text


def ask(here, kind, parameters, tables=None):
    return create_analysis(
        here.engine,
        here.storage,
        run_id=here.part,
        owner="local",
        kind=kind,
        parameters=parameters,
        settings=here.settings,
        tables=tables,
    )


def test_analyses_are_asked_of_regions(here, client):
    motif = {"matrix_id": MOTIF.matrix_id, "name": MOTIF.name, "counts": MOTIF.counts.tolist()}
    asked = ask(
        here,
        "causal_test",
        {"feature": 7, "strand": "-", "motif": motif, "sites": 20, "seed": 0},
    )
    assert answerer(here).run(asked)
    done = row(here, asked)
    assert (done.state, done.error_message) == ("COMPLETE", None)
    places = {"chrA": (2990, 6410), "chrB": (0, 1510)}
    for site in done.result["sites"]:
        low, high = places[site["contig"]]
        assert low <= site["position"] < high


def intervals(*rows):
    columns = list(map(list, zip(*rows, strict=True)))
    return pa.table(columns, schema=INTERVALS_SCHEMA)


def ranked(here, table):
    parameters = {"name": "x", "limit": 10, "seed": 0, "intervals": {"foreground": 1}}
    asked = ask(here, "bed_concept", parameters, {"foreground.parquet": table})
    answerer(here).run(asked)
    return row(here, asked)


def test_intervals_are_ranked_on_regions(here):
    starts = range(3000, 6000, 60)
    done = ranked(here, intervals(*((0, start, start + 20, 0) for start in starts)))
    assert (done.state, done.error_message) == ("COMPLETE", None)
    assert done.result["tested"] > 0
    outside = ranked(here, intervals((0, 100, 120, 0)))
    assert outside.state == "EXECUTOR_ERROR"
    assert "none of the intervals lies in a region" in outside.error_message
