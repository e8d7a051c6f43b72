"""`saetrack genomes` and `saetrack annotate --genome`, end to end with a tiny model."""

import json

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
import pytest

from annotations.stretches import from_stretches
from tests.workers.factories import make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers import cli
from workers.answers import open_result, rank_for_bed

LENGTHS = {"chrI": 5000, "chrII": 3000}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a registered genome and a models folder."""
    root = tmp_path_factory.mktemp("regions")
    make_tiny_models(root / "models")
    records = [
        b">%s\n%s\n" % (name.encode(), random_sequence(length, length))
        for name, length in LENGTHS.items()
    ]
    (root / "g.fa").write_bytes(b"".join(records))
    (root / "g.bed").write_bytes(b"I\t1000\t1500\tPHO5\t0\t+\nchrII\t5\t40\tTWO\t0\t-\n")
    (root / "alias.txt").write_text("# ucsc\tensembl\nchrI\tI\nchrII\tII\n")
    (root / "r.bed").write_bytes(b"track x\nI\t2000\t2400\nchrI\t2300\t2600\tb\nchrII\t9\t700\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAETRACK_MODELS_DIRS", str(root / "models"))
        patch.setenv("SAETRACK_DATA_DIR", str(root / "data"))
        add = f"genomes add toy {root / 'g.fa'} --genes {root / 'g.bed'}"
        assert cli.run([*add.split(), "--aliases", str(root / "alias.txt")]) == 0
        yield root


def annotate(out, arguments):
    return cli.run([*f"annotate {arguments} --top 1 --json --out".split(), str(out)])


def active_of(folder):
    active = from_stretches(pq.read_table(folder / "activations.parquet"))
    return set(zip(*(values.tolist() for values in active), strict=True))


@pytest.fixture(scope="module")
def whole(place):
    out = place / "whole"
    assert annotate(out, "--genome toy") == 0
    return out


@pytest.fixture(scope="module")
def part(place):
    out = place / "part"
    assert annotate(out, f"--genome toy --regions {place / 'r.bed'} --flank 20") == 0
    return out


def test_genomes_are_listed_with_what_states_their_names(place, capsys):
    assert cli.run(["genomes", "list"]) == 0
    assert "alias.txt" in capsys.readouterr().out
    assert cli.run(["genomes", "list", "--json"]) == 0
    (genome,) = json.loads(capsys.readouterr().out)["genomes"]
    assert [contig["aliases"] for contig in genome["contigs"]] == [["I"], ["II"]]
    assert (genome["gene_names"], len(genome["seqcol"])) == (2, 32)


def test_the_shipped_table_of_another_assembly_is_refused(place, capsys):
    arguments = ["genomes", "add", "x", str(place / "g.fa"), "--aliases", "sacCer3"]
    assert cli.run(arguments) != 0
    assert "chrI has 5000 bases, 230218 there" in capsys.readouterr().err


def test_regions_are_those_of_the_whole_genome(whole, part):
    spans = [(0, 1980, 2620), (1, 0, 720)]
    expected = {
        each
        for each in active_of(whole)
        if any(each[2] == contig and start <= each[3] < end for contig, start, end in spans)
    }
    assert len(expected) > 1000
    assert active_of(part) == expected
    record = json.loads((part / "provenance.json").read_text())
    assert record["regions"]["spans"] == [list(span) for span in spans]
    said = record["made_by"]["regions"]
    assert (said["submitted"], said["merged"], said["flank"], said["genome"]) == (3, 2, 20, "toy")
    assert said["file"]["file"] == "r.bed"


def test_the_folder_has_tracks_of_the_genome(part):
    assert (part / "chrom.sizes").read_text() == "chrI\t5000\nchrII\t3000\n"
    (path,) = part.glob("features/*/signal.bw")
    track = pyBigWig.open(str(path))
    assert track.chroms() == LENGTHS
    assert np.flatnonzero(~np.isnan(track.values("chrI", 0, 5000))).tolist() == list(
        range(1980, 2620)
    )
    track.close()
    assert "twoBitURL" in (part / "igv.json").read_text()
    assert (part / "sequence.fa.fai").read_text().startswith("chrI:")
    result = open_result(part)
    assert [tuple(span) for span in result.spans] == [(0, 1980, 2620), (1, 0, 720)]


def test_questions_to_the_folder_are_of_its_regions(place, part, capsys):
    inside, outside = place / "inside.bed", place / "outside.bed"
    inside.write_text("".join(f"chrI\t{at}\t{at + 15}\n" for at in range(2000, 2600, 30)))
    outside.write_text("chrI\t100\t150\n")
    found = rank_for_bed(part, inside, background=None, sequences=place / "g.fa")
    assert found.num_rows > 0
    assert set(found["intervals"].to_pylist()) == {20}
    assert cli.run(["query", str(part), "--bed", str(outside), "--fasta", str(place / "g.fa")]) != 0
    assert "none of the intervals" in capsys.readouterr().err


def test_a_summary_says_what_was_read(place, capsys):
    out = place / "gene"
    assert annotate(out, "--genome toy --gene pho5 --flank 10 --strands forward") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["regions"]["bases"] == 520
    loci = place / "loci"
    arguments = f"annotate --genome toy --region I:1-100,II:1-100 --top 0 --out {loci}"
    assert cli.run(arguments.split()) == 0
    assert "2 regions of toy, 200 bases, both strands" in capsys.readouterr().out


def test_shards_are_kept_for_the_same_regions_alone(place):
    """Another flank is other work."""
    first = place / "first"
    assert annotate(first, "--genome toy --region chrI:100-900") == 0
    second = place / "second"
    assert annotate(second, "--genome toy --region chrI:100-901") == 0
    assert active_of(first) < active_of(second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--genome tou --gene PHO5", "did you mean toy"),
        ("--genome toy --gene PHO6", "no gene 'PHO6'"),
        ("--genome toy --region chrV:1-5", "no contig 'chrV'"),
        ("--genome toy --region chrI:1-5001", "past the end"),
        ("--genome toy --regions nowhere.bed", "there is no file"),
        ("--genome toy --gene PHO5 --region chrI:1-5", "one of regions, region, gene"),
        ("--gene PHO5", "name a sequence file or a registered genome"),
        ("x.fa --gene PHO5", "--genome NAME in place of SEQ"),
        ("x.fa --genome toy", "not both"),
        ("--genome toy --gene PHO5 --alleles a,b", "two records of a sequence file"),
    ],
)
def test_what_cannot_be_read_is_said(place, capsys, arguments, message):
    assert annotate(place / "never", arguments) != 0
    assert message in capsys.readouterr().err
    assert not (place / "never").exists()
