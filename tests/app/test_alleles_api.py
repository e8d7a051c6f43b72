"""Alleles over REST: submitted as a VCF or as two records, listed, drawn, refused."""

from io import BytesIO

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
import pytest

from annotations.activations import Activations, to_stretches, write_stretches
from annotations.allele_effects import allele_effects
from annotations.allele_maps import AlleleMap, Change
from annotations.alleles import ALLELES_FILE, AllelePair, Alleles, read_alleles
from annotations.genome_folder import add_genome
from app.alleles import note_of
from app.database import reading, transaction
from app.models import Computation
from app.shards import finish
from app.storage import Manifest, manifest_from_json
from tests.app.conftest import FASTA, take, write_results

#  chrA: ACGTACGTACGTACGTACGT
VCF = (
    b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"
    b"chrA\t10\trs7\tC\tT\nchrA\t10\t.\tC\tCGG\nchrA\t12\t.\tT\t<DEL>\n"
)


def submit(client, *, fasta=FASTA, variants=None, **fields):
    data = {"file": (BytesIO(fasta), "x.fa"), "dictionary": "toy-sae", **fields}
    if variants is not None:
        data["variants"] = (BytesIO(variants), "x.vcf")
    return client.post("/v1/runs", data=data, content_type="multipart/form-data")


def active(*rows):
    feature, strand, contig, position, value = zip(*rows, strict=True)
    return Activations(
        np.array(feature, np.uint32),
        np.array(strand, np.int8),
        np.array(contig, np.uint32),
        np.array(position, np.int64),
        np.array(value, np.float32),
    )


def complete(engine, storage, settings, folder, rows):
    """Finish the shards of the only computation with these activations."""
    shard_id = 1
    while True:
        claimed = take(engine, settings, shard_id)
        manifest: Manifest = {}
        if claimed.kind == "merge":
            write_results(folder, tested=False)
            write_stretches(to_stretches(active(*rows)), folder / "activations.parquet")
            alleles = read_alleles(storage.local_path(claimed.inputs[ALLELES_FILE]))
            table = allele_effects(folder / "activations.parquet", alleles)
            pq.write_table(table, folder / "allele_effects.parquet")
            for path in sorted(folder.iterdir()):
                manifest[path.name] = storage.put_file(f"{claimed.prefix}/{path.name}", path)
        with transaction(engine) as session:
            assert finish(session, claimed, manifest)
        if claimed.kind == "merge":
            return
        shard_id += 1


ROWS = [
    (1, 1, 0, 5, 4.0),  # the changed base of the reference of pair 0
    (1, 1, 1, 5, 1.0),
    (2, -1, 1, 2, 8.0),
    (1, 1, 3, 6, 2.5),  # inserted
]


@pytest.fixture
def run(client, engine, storage, settings, tmp_path):
    answer = submit(client, variants=VCF, flank="5")
    assert answer.status_code == 202, answer.json
    complete(engine, storage, settings, tmp_path / "results", ROWS)
    return answer.json["id"]


def test_a_variant_is_two_records_with_its_flanks(client, engine, storage, run):
    listed = client.get(f"/v1/runs/{run}/contigs").json["contigs"]
    assert [(contig["name"], contig["length"]) for contig in listed] == [
        ("chrA_10_C_T_ref", 11),
        ("chrA_10_C_T_alt", 11),
        ("chrA_10_C_CGG_ref", 10),
        ("chrA_10_C_CGG_alt", 12),
    ]
    with reading(engine) as session:
        computation = session.query(Computation).one()
        inputs = manifest_from_json(computation.inputs)
        assert len(computation.parameters["alleles"]) == 64
    stored = storage.local_path(inputs["sequences.fa"]).read_text()
    assert stored == ">0\nACGTACGTACG\n>1\nACGTATGTACG\n>2\nCGTACGTACG\n>3\nCGTACGGGTACG\n"


def test_shifted_windows_are_told_of_where_lengths_differ():
    pair = AllelePair("x", None, "c", 0, 0, 1, Change(2, 3, 2, 3), AlleleMap(((0, 0, 5),), 5, 5))
    same = Alleles("variants", (pair,), True, 2, {})
    assert "Behind an insertion" not in note_of(same)
    longer = pair._replace(map=AlleleMap(((0, 0, 3), (3, 4, 2)), 5, 6))
    assert "Behind an insertion" in note_of(same._replace(pairs=(pair, longer)))


def test_the_pairs_are_listed_with_what_changed_most(client, run):
    answer = client.get(f"/v1/runs/{run}/alleles").json
    assert (answer["total"], answer["kind"], answer["flank"]) == (2, "variants", 5)
    assert answer["skipped"] == {"symbolic allele (<...>)": 1}
    assert "no test" in answer["note"]
    assert "Behind an insertion or deletion the windows" in answer["note"]
    first, second = answer["alleles"]
    assert (first["name"], first["id"], first["contig"]) == ("chrA:10 C>T", "rs7", "chrA")
    assert (first["start"], first["end"], first["record_start"]) == (9, 10, 5)
    assert (first["feature"], first["strand"], first["change"]) == (2, "-", 8.0)
    assert (first["changed"], first["contig_position"]) == (2, 6)
    assert (second["feature"], second["strand"], second["change"]) == (1, "+", 2.5)
    assert (second["start"], second["end"], second["reference_record"]) == (
        10,
        10,
        "chrA_10_C_CGG_ref",
    )
    minus = client.get(f"/v1/runs/{run}/alleles?strand=-&sort=change").json
    assert [row["pair"] for row in minus["alleles"]] == [0]


def test_the_changed_features_of_a_pair_and_of_all(client, run):
    answer = client.get(f"/v1/runs/{run}/alleles/0/features").json
    assert answer["pair"]["name"] == "chrA:10 C>T"
    rows = answer["features"]
    assert [(row["rank"], row["feature"], row["strand"]) for row in rows] == [
        (1, 2, "-"),
        (2, 1, "+"),
    ]
    assert (rows[1]["reference_max"], rows[1]["alternative_max"]) == (4.0, 1.0)
    assert (rows[1]["change"], rows[1]["position"], rows[1]["contig_position"]) == (-3.0, 5, 9)
    assert rows[1]["label"] is None
    page = client.get(f"/v1/runs/{run}/alleles/0/features?limit=1").json
    assert (len(page["features"]), page["total"], page["next_page_token"]) == (1, 2, "1")
    text = client.get(f"/v1/runs/{run}/alleles/0/features?format=tsv").text.splitlines()
    assert text[0].startswith("rank\tfeature\tstrand\treference_max")
    assert len(text) == 3
    data = client.get(f"/v1/runs/{run}/alleles?format=parquet").data
    assert pq.read_table(BytesIO(data)).num_rows == 2
    data = client.get(f"/v1/runs/{run}/allele_effects.parquet").data
    assert pq.read_table(BytesIO(data))["pair"].to_pylist() == [0, 0, 1]
    totals = client.get(f"/v1/runs/{run}/alleles/features").json
    assert totals["pairs"] == 2
    first = totals["features"][0]
    assert (first["feature"], first["strand"], first["pairs"]) == (1, "+", 2)
    assert (first["change"], first["pair"], first["mean_change"]) == (-3.0, 0, 2.75)
    assert first["pair_name"] == "chrA:10 C>T"


def bigwig(client, tmp_path, address):
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    (tmp_path / "x.bw").write_bytes(answer.data)
    return pyBigWig.open(str(tmp_path / "x.bw"))


def test_tracks_are_at_the_references_coordinates(client, run, tmp_path):
    base = f"/v1/runs/{run}/features/1_plus"
    with bigwig(client, tmp_path, f"{base}/difference.bw") as track:
        assert track.values("chrA_10_C_T_ref", 0, 11) == [0] * 5 + [-3] + [0] * 5
        assert track.values("chrA_10_C_CGG_ref", 0, 10) == [0] * 4 + [2.5] + [0] * 5
        assert track.intervals("chrA_10_C_T_alt") is None
    with bigwig(client, tmp_path, f"{base}/alternative.bw") as track:
        assert track.values("chrA_10_C_T_ref", 0, 11) == [0] * 5 + [1] + [0] * 5
    with bigwig(client, tmp_path, f"/v1/runs/{run}/features/3/difference.bw") as track:
        assert track.values("chrA_10_C_T_ref", 0, 11) == [0] * 11
    assert client.get(f"/v1/runs/{run}/features/4/difference.bw").status_code == 404


def test_the_hub_and_igv_show_the_three_signals_as_letters(client, run):
    hub = client.get(f"/v1/runs/{run}/hub.txt?features=1%2B").text
    stanzas = {part.split("\n")[0]: part for part in hub.split("\n\n")}
    difference = stanzas["track f1_plus_difference"]
    assert "bigDataUrl features/1_plus/difference.bw" in difference
    assert "viewLimits -3:3" in difference
    assert "type bigWig -3 3" in difference
    assert "logo on" in difference
    assert "logo on" in stanzas["track f1_plus_alternative"]
    config = client.get(f"/v1/runs/{run}/igv.json?features=1%2B").json
    assert config["locus"] == "chrA_10_C_T_ref:1-11"
    tracks = config["tracks"]
    found = {track["url"].rsplit("/", 1)[1]: track for track in tracks}
    assert found["difference.bw"]["graphType"] == "dynseq"
    assert (found["difference.bw"]["min"], found["difference.bw"]["max"]) == (-3.0, 3.0)
    assert found["signal.bw"]["graphType"] == "dynseq"
    for track in tracks:
        assert client.get(track["url"].split("localhost", 1)[1]).status_code == 200


def test_controls_are_counted(client, engine, storage, settings, tmp_path):
    answer = submit(client, variants=VCF, flank="9", controls="2")
    assert answer.status_code == 202, answer.json
    names = client.get(answer.json["links"]["contigs"]).json["contigs"]
    assert len(names) == 4 + 2 * 2
    rows = [(1, 1, 0, 9, 4.0), (2, -1, 1, 2, 8.0), (2, -1, 4, 0, 9.0)]
    complete(engine, storage, settings, tmp_path / "r", rows)
    base = f"/v1/runs/{answer.json['id']}/alleles"
    told = client.get(base).json
    assert (told["controls"], told["total"]) == (2, 2)
    assert "how many of 2 random substitutions" in told["note"]
    found = client.get(f"{base}/0/features?sort=specific").json
    assert found["controls"] == 2
    large = [row["controls_as_large"] for row in found["features"]]
    assert large == sorted(large)
    text = client.get(f"/runs/{answer.json['id']}", headers={"Accept": "text/html"}).text
    assert "Controls as large" in text


def test_a_link_shows_them_too(client, run, tmp_path):
    token = client.post(f"/v1/runs/{run}/share-links").json["token"]
    answer = client.get(f"/s/{token}/features/1_plus/difference.bw")
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    genome = client.get(f"/s/{token}/hub.txt").text.split("\ngenome ")[1].split("\n")[0]
    said = client.get(
        f"/s/{token}/getData/track?genome={genome};track=f1_plus_difference;"
        "chrom=chrA_10_C_T_ref;start=5;end=6"
    ).json
    assert said["f1_plus_difference"] == [{"start": 5, "end": 6, "value": -3.0}]
    alternative = client.get(
        f"/s/{token}/getData/track?genome={genome};track=f1_plus_difference;chrom=chrA_10_C_T_alt"
    )
    assert alternative.json["f1_plus_difference"] == []


def test_two_records_of_a_file(client, engine, storage, settings, tmp_path):
    fasta = b">a\nACGTACGTAC\n>b\nACGTTCGTAC\n>c\nAAAA\n"
    answer = submit(client, fasta=fasta, alleles="a,b")
    assert answer.status_code == 202, answer.json
    complete(engine, storage, settings, tmp_path / "r", [(1, 1, 0, 4, 2.0), (1, 1, 1, 6, 3.0)])
    (pair,) = client.get(f"/v1/runs/{answer.json['id']}/alleles").json["alleles"]
    assert (pair["name"], pair["start"], pair["end"]) == ("b against a", 4, 5)
    assert (pair["reference_record"], pair["alternative_record"]) == ("a", "b")
    assert pair["change"] == 3.0


def test_variants_of_a_registered_genome(client, engine, storage, settings, tmp_path):
    (tmp_path / "x.fa").write_bytes(FASTA)
    add_genome(settings.genomes_dir, "toy", tmp_path / "x.fa")
    data = {"genome": "toy", "dictionary": "toy-sae", "flank": "5"}
    answer = client.post(
        "/v1/runs",
        data={**data, "variants": (BytesIO(VCF), "x.vcf")},
        content_type="multipart/form-data",
    )
    assert answer.status_code == 202, answer.json
    # the same records as of the file: computed once
    assert answer.json["computation"] == submit(client, variants=VCF, flank="5").json["computation"]
    complete(engine, storage, settings, tmp_path / "results", ROWS)
    pairs = client.get(f"/v1/runs/{answer.json['id']}/alleles").json["alleles"]
    assert [pair["name"] for pair in pairs] == ["chrA:10 C>T", "chrA:10 C>CGG"]
    data |= {"region": "chrA:1-9", "variants": (BytesIO(VCF), "x.vcf")}
    answer = client.post("/v1/runs", data=data, content_type="multipart/form-data")
    assert (answer.status_code, "leave regions out" in answer.json["detail"]) == (400, True)


def test_what_is_compared_is_part_of_the_digest(client):
    fasta = b">a\nACGTACGTAC\n>b\nACGTTCGTAC\n"
    plain = submit(client, fasta=fasta).json["computation"]
    forth = submit(client, fasta=fasta, alleles="a,b").json["computation"]
    back = submit(client, fasta=fasta, alleles="b,a").json["computation"]
    assert len({plain, forth, back}) == 3
    assert submit(client, fasta=fasta, alleles="a,b").json["computation"] == forth


def test_a_raw_body_may_name_two_records(client):
    answer = client.post(
        "/v1/runs?dictionary=toy-sae&alleles=a,b",
        data=b">a\nACGTACGTAC\n>b\nACGTTCGTAC\n",
        content_type="text/plain",
    )
    assert answer.status_code == 202, answer.json


BAD = {
    "no VCF": ({"variants": b">a\nACGT\n"}, 422, "no VCF 4"),
    "REF": ({"variants": VCF.replace(b"10\trs7\tC", b"11\trs7\tC")}, 422, "chrA:11 is C"),
    "contig": ({"variants": VCF.replace(b"chrA", b"chrZ")}, 400, "no contig 'chrZ'"),
    "past the end": ({"variants": VCF.replace(b"\t12\t.\tT\t<DEL>", b"\t20\t.\tTA\tT")}, 422, "20"),
    "no ALT": ({"variants": VCF.replace(b"\tT\n", b"\t.\n").replace(b"CGG", b"*")}, 422, "no var"),
    "both": ({"variants": VCF, "alleles": "chrA,chrB"}, 400, "not both"),
    "genes": ({"variants": VCF, "genes": (BytesIO(b"x"), "x.bed")}, 400, "leave genes out"),
    "held out": ({"variants": VCF, "held_out": "chrB"}, 400, "leave held_out out"),
    "flank": ({"variants": VCF, "flank": "many"}, 400, "'many'"),
    "controls": ({"variants": VCF, "controls": "100"}, 400, "controls must be"),
    "controls alone": ({"controls": "5"}, 400, "controls is of variants"),
    "controls word": ({"variants": VCF, "controls": "some"}, 400, "'some'"),
    "flank 0": ({"variants": VCF, "flank": "0"}, 400, "flank must be"),
    "flank alone": ({"flank": "5"}, 400, "send a VCF"),
    "names": ({"alleles": "chrA,chrC"}, 400, "did you mean"),
    "one name": ({"alleles": "chrA"}, 400, "comma"),
    "equal": ({"alleles": "chrA,chrA"}, 400, "two different"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_and_leaves_nothing(client, engine, kind):
    fields, status, words = BAD[kind]
    answer = submit(client, **fields)
    assert (answer.status_code, words in answer.json["detail"]) == (status, True), answer.json
    with reading(engine) as session:
        assert session.query(Computation).count() == 0


def test_a_run_without_alleles_says_so(client, finished):
    for address in (
        "alleles",
        "alleles/features",
        "alleles/0/features",
        "allele_effects.parquet",
        "features/1/difference.bw",
    ):
        answer = client.get(f"/v1/runs/{finished}/{address}")
        assert answer.status_code == 409
        assert "compares no alleles" in answer.json["detail"]


def test_unknown_pairs_and_parameters(client, run):
    for pair in ("2", "x", "-1"):
        answer = client.get(f"/v1/runs/{run}/alleles/{pair}/features")
        assert answer.status_code == 404
        assert "numbered 0 to 1" in answer.json["detail"]
    assert client.get(f"/v1/runs/{run}/alleles?order=change").status_code == 400
    assert client.get(f"/v1/runs/{run}/alleles?sort=size").status_code == 400
    answer = client.get(f"/v1/runs/{run}/alleles/0/features?sort=specific")
    assert (answer.status_code, "needs controls" in answer.json["detail"]) == (400, True)
    assert client.get("/v1/runs/none/alleles").status_code == 404
