"""Registered genomes over REST, and runs over regions of them: stored, listed, refused."""

import gzip
import threading
from io import BytesIO

import pyarrow.parquet as pq
import pytest

from annotations.genome_folder import add_genome, find_genomes
from annotations.pieces import PieceFile
from annotations.sequences import refget_digest
from app.api import EXTENSION
from app.database import reading
from app.models import Computation, Shard
from app.storage import manifest_from_json
from tests.app.conftest import FASTA

CHR_A = b"ACGTTGCA" * 25
CHR_B = b"GATTACAG" * 10
GENOME = b">chrA\n" + CHR_A + b"\n>chrB\n" + CHR_B + b"\n"
GENES = (
    b"chrA\t20\t40\tONE\t0\t+\nchrA\t100\t110\tTWO\t0\t-\nchrB\t10\t14\tTWO\t0\t+\n"
    b"chrB\t60\t70\tTHREE\t0\t+\n"
)
ALIASES = b"chrA\tA\tNC_1.1\nchrB\tB\n"


def register(client, *, genes=GENES, aliases=ALIASES, fasta=GENOME, **fields):
    data = {"file": (BytesIO(fasta), "toy.fa"), **fields}
    if genes is not None:
        data["genes"] = (BytesIO(genes), "toy.bed")
    if isinstance(aliases, bytes):
        data["aliases"] = (BytesIO(aliases), "toy.tsv")
    elif aliases is not None:
        data["aliases"] = aliases
    return client.post("/v1/genomes", data=data, content_type="multipart/form-data")


def submit(client, *, bed=None, **fields):
    data = {"genome": "toy", "dictionary": "toy-sae", **fields}
    if bed is not None:
        data["regions"] = (BytesIO(bed), "my peaks.bed")
    return client.post("/v1/runs", data=data, content_type="multipart/form-data")


@pytest.fixture
def genome(client):
    answer = register(client, name="toy")
    assert answer.status_code == 201, answer.json
    return answer


def computation(engine):
    """The only computation and the spans of its shards."""
    with reading(engine) as session:
        found = session.query(Computation).one()
        shards = session.query(Shard).order_by(Shard.position).all()
        return found, [shard.spans for shard in shards]


def test_a_genome_is_registered_and_looked_at(client, genome, settings):
    assert genome.headers["Location"] == "/v1/genomes/toy"
    assert genome.json["name"] == "toy"
    assert (genome.json["bases"], genome.json["contigs"], genome.json["genes"]) == (280, 2, 3)
    assert genome.json["contig_list"][0] == {
        "name": "chrA",
        "length": 200,
        "refget": refget_digest(CHR_A),
        "aliases": ["A", "NC_1.1"],
    }
    assert (genome.json["aliases"], genome.json["next_page_token"]) == ("toy.tsv", None)
    assert client.get("/v1/genomes/toy").json == genome.json
    listed = client.get("/v1/genomes").json["genomes"]
    assert [each["name"] for each in listed] == ["toy"]
    assert listed[0]["seqcol"] == find_genomes(settings.genomes_dir)[0].seqcol
    assert listed[0]["links"] == {"self": "/v1/genomes/toy"}


def test_contigs_come_in_pages(client, genome):
    first = client.get("/v1/genomes/toy?limit=1").json
    assert [contig["name"] for contig in first["contig_list"]] == ["chrA"]
    token = first["next_page_token"]
    second = client.get(f"/v1/genomes/toy?limit=1&page_token={token}").json
    assert [contig["name"] for contig in second["contig_list"]] == ["chrB"]
    assert second["next_page_token"] is None
    assert client.get("/v1/genomes/toy?page_token=x").status_code == 400
    assert client.get("/v1/genomes/toy?other=1").status_code == 400


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"name": "toy"}, 409, "registered already"),
        ({"name": "../x"}, 400, "1 to 64 letters"),
        ({}, 400, "the field name"),
        ({"name": "new", "extra": "1"}, 400, "no field 'extra'"),
        ({"name": "new", "aliases": "hg17"}, 400, "no alias table is shipped for 'hg17'"),
        ({"name": "new", "aliases": b"x\ty\n"}, 422, "says nothing about any"),
        ({"name": "new", "fasta": b"hello"}, 422, "text before the first record"),
        ({"name": "new", "genes": b"chrX\t1\t2\n"}, 422, "no line"),
    ],
)
def test_what_cannot_be_registered_is_refused(client, genome, settings, fields, status, said):
    answer = register(client, **fields)
    assert (answer.status_code, said in answer.json["detail"]) == (status, True), answer.json
    assert [found.name for found in find_genomes(settings.genomes_dir)] == ["toy"]
    assert sorted(path.name for path in settings.genomes_dir.iterdir()) == ["toy"]


def test_large_uploads_and_genomes_are_bounded(client, app, monkeypatch):
    monkeypatch.setattr("app.api.uploads.FORM_OVERHEAD", 2000)
    settings = app.extensions[EXTENSION].settings
    object.__setattr__(settings, "max_genome_bases", 250)
    answer = register(client, name="big")
    assert (answer.status_code, "250 bases" in answer.json["detail"]) == (413, True)
    object.__setattr__(settings, "max_genome_upload_bytes", 10)
    answer = register(client, name="big", fasta=b">a\n" + b"A" * 3000)
    assert answer.status_code == 413


def test_an_upload_larger_than_a_run_may_register(client, app, monkeypatch):
    """The limit of a run's upload is not that of a genome's."""
    monkeypatch.setattr("app.api.uploads.FORM_OVERHEAD", 2000)
    object.__setattr__(app.extensions[EXTENSION].settings, "max_upload_bytes", 100)
    long = b">a\n" + b"ACGT" * 3000 + b"\n"
    assert register(client, name="long", fasta=long, genes=None, aliases=None).status_code == 201


def test_two_registrations_of_a_name_leave_one(client, app):
    answers = []

    def ask():
        answers.append(register(app.test_client(), name="twin").status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 409, 409, 409]


def test_an_unknown_genome_is_not_found(client, genome):
    answer = client.get("/v1/genomes/tou")
    assert (answer.status_code, "did you mean toy" in answer.json["detail"]) == (404, True)


# -------------------------------------------------------------------------------- runs


def test_regions_of_a_bed_file(client, genome, engine, storage):
    bed = (
        b"track name=x\n# c\nbrowser position chrA\n"
        b"chrB\t10\t20\tb\nchrA\t30\t50\nNC_1.1\t40\t60\tsecond\n"
    )
    answer = submit(client, bed=gzip.compress(bed), flank="5", taxon="fungi")
    assert answer.status_code == 202, answer.json
    view = answer.json
    assert view["regions"] == {
        "genome": "toy",
        "seqcol": genome.json["seqcol"],
        "named_by": "regions",
        "text": None,
        "submitted": 3,
        "merged": 2,
        "bases": 40 + 20,
        "read_bases": 104 + 64,  # with 25 for peaks, in windows of 8, and 8 of context
        "flank": 5,
        "several_places": {},
    }
    assert (view["bases"], view["contigs"], view["filename"]) == (60, 2, "my peaks.bed")
    assert "regions" not in view["options"]
    found, spans = computation(engine)
    assert found.parameters["regions"] == {"spans": [[0, 25, 65], [1, 5, 25]]}
    assert spans == [[[0, 25, 65], [1, 5, 25]], []]
    assert (found.bases, found.lengths) == (60, [200, 80])
    assert found.parameters["sequences"] == [refget_digest(CHR_A), refget_digest(CHR_B)]
    inputs = manifest_from_json(found.inputs)
    with PieceFile(storage.local_path(inputs["sequences.fa"])) as stored:
        assert stored.fetch("0", 25, 65) == CHR_A[25:65]
        assert stored.fetch("0", 190, 200) == b"N" * 10
    genes = pq.read_table(storage.local_path(inputs["genes.parquet"]))
    assert set(genes["name"].to_pylist()) == {"ONE", "TWO", "THREE"}
    contigs = client.get(f"/v1/runs/{view['id']}/contigs").json["contigs"]
    assert [(contig["name"], contig["length"]) for contig in contigs] == [
        ("chrA", 200),
        ("chrB", 80),
    ]


def test_only_touched_contigs_are_of_the_run(client, genome, engine, storage):
    view = submit(client, region="B:11-20").json
    assert (view["contigs"], view["regions"]["text"], view["filename"]) == (
        1,
        "B:11-20",
        "toy B:11-20",
    )
    found, spans = computation(engine)
    assert (found.lengths, spans[0]) == ([80], [[0, 10, 20]])
    genes = pq.read_table(storage.local_path(manifest_from_json(found.inputs)["genes.parquet"]))
    assert set(genes["contig"].to_pylist()) == {0}
    assert set(genes["name"].to_pylist()) == {"TWO", "THREE"}


def test_a_gene_in_several_places_gives_all(client, genome, engine):
    view = submit(client, gene="two, THREE").json
    assert (view["regions"]["submitted"], view["regions"]["several_places"]) == (3, {"two": 2})
    _, spans = computation(engine)
    assert spans[0] == [[0, 100, 110], [1, 10, 14], [1, 60, 70]]


def test_equal_regions_are_computed_once_however_they_are_named(client, genome):
    first = submit(client, region="chrA:21-40")
    again = submit(client, gene="ONE", title="another name")
    assert first.json["computation"] == again.json["computation"]
    other = submit(client, gene="ONE", flank="1")
    assert other.json["computation"] != first.json["computation"]
    uploaded = client.post(
        "/v1/runs",
        data={"file": (BytesIO(GENOME), "x.fa"), "dictionary": "toy-sae"},
        content_type="multipart/form-data",
    )
    assert uploaded.json["regions"] is None
    assert uploaded.json["computation"] not in {
        first.json["computation"],
        other.json["computation"],
    }


def test_a_whole_genome_is_what_its_files_are(client, genome):
    whole = submit(client)
    assert whole.json["regions"]["named_by"] is None
    uploaded = client.post(
        "/v1/runs",
        data={
            "file": (BytesIO(GENOME), "x.fa"),
            "genes": (BytesIO(GENES), "x.bed"),
            "dictionary": "toy-sae",
        },
        content_type="multipart/form-data",
    )
    assert uploaded.json["computation"] == whole.json["computation"]


def test_a_genome_is_named_without_a_body(client, genome):
    answer = client.post("/v1/runs?genome=toy&region=chrA:1-9&dictionary=toy-sae")
    assert (answer.status_code, answer.json["bases"]) == (202, 9)


def test_contigs_are_held_out_by_any_name(client, genome, engine):
    view = submit(client, region="chrA:1-50,chrB:1-50", held_out="B").json
    assert view["options"]["held_out"] == ["chrB"]
    assert computation(engine)[0].parameters["options"]["held_out"] == [1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"genome": "tou", "gene": "ONE"}, "did you mean toy"),
        ({"region": "chrC:1-5"}, "no contig 'chrC'"),
        ({"region": "chrA:190-201"}, "past the end of chrA, which has 200 bases"),
        ({"region": "chrA:9-8"}, "empty or reversed"),
        ({"region": "  "}, "no locus"),
        ({"gene": "FOUR"}, "no gene 'FOUR'"),
        ({"gene": "ONE", "region": "chrA:1-5"}, "one of regions, region, gene"),
        ({"gene": "ONE", "flank": "x"}, "flank must be a whole number"),
        ({"gene": "ONE", "flank": "2000000"}, "flank must be 0 to 1,000,000"),
        ({"flank": "5"}, "flank is added to regions"),
        ({"bed": b""}, "no region"),
        ({"bed": b"chrA\t5\t5\n"}, "line 1 of the BED file of regions"),
        ({"bed": b"#x\nchrA\t5\t201\n"}, "line 2 of the BED file of regions"),
        ({"bed": b"chrA 5\n"}, "has 2 of the three columns"),
        ({"bed": b"chrA\t5\tx\n"}, "must be whole numbers"),
        ({"bed": b"chrZ\t5\t9\n"}, "no contig 'chrZ'"),
        ({"gene": "ONE", "alleles": "a,b"}, "two records of a sequence file"),
        ({"gene": "ONE", "other": "1"}, "no option 'other'"),
    ],
)
def test_regions_that_cannot_be_read_are_refused(client, genome, engine, fields, said):
    answer = submit(client, **fields)
    assert answer.status_code in {400, 422}, answer.json
    assert said in answer.json["detail"], answer.json["detail"]
    with reading(engine) as session:
        assert session.query(Computation).count() == 0


def test_genes_of_a_genome_without_annotation(client):
    register(client, name="toy", genes=None)
    answer = submit(client, gene="ONE")
    assert (answer.status_code, "without an annotation" in answer.json["detail"]) == (400, True)


def test_a_genome_and_a_file_do_not_go_together(client, genome):
    both = submit(client, file=(BytesIO(FASTA), "x.fa"), gene="ONE")
    assert (both.status_code, "not both" in both.json["detail"]) == (400, True)
    for query in ("region=chrA:1-5", "gene=ONE"):
        answer = client.post(f"/v1/runs?{query}", data=FASTA, content_type="text/plain")
        assert (answer.status_code, "say which with genome" in answer.json["detail"]) == (400, True)
    alone = client.post(
        "/v1/runs",
        data={"file": (BytesIO(FASTA), "x.fa"), "regions": (BytesIO(b"chrA\t1\t2\n"), "r.bed")},
        content_type="multipart/form-data",
    )
    assert (alone.status_code, "say which with genome" in alone.json["detail"]) == (400, True)


def test_an_empty_body_is_still_no_sequence(client):
    answer = client.post("/v1/runs", data=b"", content_type="text/plain")
    assert (answer.status_code, "empty" in answer.json["detail"]) == (422, True)


def test_limits_count_the_bases_of_regions(client, genome, app):
    settings = app.extensions[EXTENSION].settings
    # 55 bases, 25 for peaks, in windows of 8, and 8 of context
    object.__setattr__(settings, "max_bases", 88)
    assert submit(client, region="chrA:1-55").status_code == 202
    answer = submit(client, region="chrA:1-56")
    assert answer.status_code == 413
    assert "1 region of 56 bases need 96 bases to be read" in answer.json["detail"]
    answer = submit(client, region="chrA:1-89")
    assert (answer.status_code, "89 bases" in answer.json["detail"]) == (413, True)
    scattered = b"chrA\t10\t11\nchrA\t90\t91\nchrA\t190\t191\n"
    answer = submit(client, bed=scattered)
    assert (answer.status_code, "regions that lie closer" in answer.json["detail"]) == (413, True)
    answer = submit(client)
    assert (answer.status_code, "name regions of it" in answer.json["detail"]) == (413, True)


def test_a_quota_counts_what_is_read_for_regions(client, genome, app):
    settings = app.extensions[EXTENSION].settings
    object.__setattr__(settings, "max_queued_bases", 150)
    assert submit(client, region="chrA:11").json["regions"]["read_bases"] == 48
    assert submit(client, region="chrA:101").status_code == 202  # bases 64 to 136
    refused = submit(client, region="chrB:31")
    assert refused.status_code == 429
    assert "120 bases of your runs are not at their end" in refused.json["detail"]
    assert submit(client, region="chrA:2").status_code == 429


def test_a_genome_of_the_command_line_is_that_of_the_service(client, settings, tmp_path):
    (tmp_path / "x.fa").write_bytes(GENOME)
    add_genome(settings.genomes_dir, "mine", tmp_path / "x.fa")
    assert client.get("/v1/genomes/mine").json["has_genes"] is False
