"""`saetrack annotate --variants` and `--alleles`, end to end with a tiny model."""

import csv
import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
import pytest

from annotations.activations import from_stretches
from annotations.allele_effects import ROUNDING
from annotations.alleles import read_alleles
from annotations.genome_folder import add_genome
from annotations.records import Record
from annotations.sequences import read_sequences, write_fasta
from tests.workers.factories import make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers import cli
from workers.answers import open_result

LENGTH, SITE, FLANK = 1200, 600, 300
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A models folder, a sequence and the variants of it."""
    root = tmp_path_factory.mktemp("alleles")
    make_tiny_models(root / "models")
    sequence = random_sequence(LENGTH, 5)
    write_fasta([Record("chr1", "", sequence)], root / "x.fa")
    kinds = {
        "SNV": (sequence[SITE : SITE + 1], other(sequence[SITE])),
        "deletion": (sequence[SITE : SITE + 6], sequence[SITE : SITE + 1]),
        "insertion": (sequence[SITE : SITE + 1], sequence[SITE : SITE + 1] + b"GATTACA"),
        "MNV": (sequence[SITE : SITE + 2], other(sequence[SITE]) + other(sequence[SITE + 1])),
    }
    rows = [
        f"chr1\t{SITE + 1}\t{name}\t{ref.decode()}\t{alt.decode()}\n"
        for name, (ref, alt) in kinds.items()
    ]
    (root / "x.vcf").write_text(HEAD + "".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAETRACK_MODELS_DIRS", str(root / "models"))
        patch.setenv("SAETRACK_DATA_DIR", str(root / "data"))
        yield root, sequence, kinds


def other(base):
    return b"A" if base != ord("A") else b"C"


@pytest.fixture(scope="module")
def result(place):
    root, _, _ = place
    out = root / "out"
    arguments = f"annotate {root / 'x.fa'} --variants {root / 'x.vcf'} --flank {FLANK} --top 3"
    assert cli.run([*arguments.split(), "--out", str(out)]) == 0
    return out


def dense(folder, contig, length):
    """Every activation of a record of a result: shape (features, 2 strands, bases)."""
    active = from_stretches(pq.read_table(folder / "activations.parquet"))
    own = active.contig == contig
    values = np.zeros((64, 2, length), dtype=np.float32)
    strand = (active.strand[own] < 0).astype(int)
    values[active.feature[own], strand, active.position[own]] = active.value[own]
    return values


def alone(root, name, sequence):
    """Activations of a sequence that is annotated by itself, elsewhere."""
    write_fasta([Record("it", "", sequence)], root / f"{name}.fa")
    out = root / f"{name}.alone"
    arguments = ["annotate", str(root / f"{name}.fa"), "--top", "0", "--out", str(out), "--force"]
    assert cli.run(arguments) == 0
    return dense(out, 0, len(sequence))


@pytest.mark.parametrize("kind", ["SNV", "deletion", "insertion", "MNV"])
def test_the_changes_are_those_between_two_runs_of_the_two_sequences(place, result, kind):
    root, sequence, kinds = place
    reference, alternative = kinds[kind]
    index = list(kinds).index(kind)
    alleles = read_alleles(result / "alleles.json")
    pair = alleles.pairs[index]
    assert alleles.one_sided
    end = SITE + len(reference) + FLANK
    left = sequence[pair.offset : SITE]
    right = sequence[SITE + len(reference) : end]
    before = alone(root, f"{kind}.ref", left + reference + right)
    after = alone(root, f"{kind}.alt", left + alternative + right)
    # the place where inserted and deleted bases stand is known here by construction
    moved = np.zeros_like(before)
    shared = min(len(reference), len(alternative))
    at = len(left) + shared
    moved[..., :at] = after[..., :at]
    extra = len(alternative) - shared
    if extra:
        moved[..., at - 1] = after[..., at - 1 : at + extra].max(axis=-1)
    gone = len(reference) - shared
    moved[..., at + gone :] = after[..., at + extra :]
    change = moved - before
    change[np.abs(change) <= ROUNDING * np.maximum(moved, before)] = 0
    # a causal model: on + nothing changes left of the variant, on - nothing right of it
    assert not change[:, 0, : len(left) - 1].any()
    assert not change[:, 1, at + gone :].any()
    largest = np.abs(change).max(axis=-1)
    table = pq.read_table(result / "allele_effects.parquet").to_pylist()
    rows = [row for row in table if row["pair"] == index]
    got = {(row["feature"], int(row["strand"] < 0)): row for row in rows}
    wanted = {tuple(cell) for cell in np.argwhere(largest > 0).tolist()}
    assert set(got) == wanted
    assert len(wanted) > 10
    for (feature, strand), row in got.items():
        assert abs(row["change"]) == pytest.approx(largest[feature, strand], rel=1e-3)
        # rounding may make another of two equal bases the largest
        own = change[feature, strand, row["position"]]
        assert own == pytest.approx(row["change"], rel=1e-2)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))


def test_the_difference_track_is_what_the_table_says(result):
    names = [contig["name"] for contig in pq.read_table(result / "contigs.parquet").to_pylist()]
    assert names[0].endswith("_ref")
    folders = sorted((result / "features").iterdir())
    assert len(folders) == 3
    table = pq.read_table(result / "allele_effects.parquet").to_pylist()
    seen = 0
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {
            "signal.bw",
            "peaks.bb",
            "alternative.bw",
            "difference.bw",
        }
        feature, sign = folder.name.split("_")
        with pyBigWig.open(str(folder / "difference.bw")) as track:
            for row in table:
                strand = "minus" if row["strand"] < 0 else "plus"
                if (str(row["feature"]), strand) != (feature, sign):
                    continue
                values = track.values(names[2 * row["pair"]], 0, 2 * FLANK)
                assert not np.isnan(values).any()
                assert values[row["position"]] == pytest.approx(row["change"], rel=1e-3)
                seen += 1
    assert seen > 3
    hub = (result / "hub.txt").read_text()
    assert "difference.bw" in hub
    assert "viewLimits -" in hub


def test_the_table_is_written_as_text_with_the_names_of_the_pairs(place, result):
    _, sequence, _ = place
    with (result / "allele_effects.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert rows[0]["name"].startswith(f"chr1:{SITE + 1} ")
    assert {row["strand"] for row in rows} == {"+", "-"}
    pairs = read_alleles(result / "alleles.json").pairs
    records = read_sequences(result / "sequence.fa").records
    for row in rows:
        assert row["contig"] == "chr1"
        # what stands there in the cut piece stands there in the contig
        piece = records[pairs[int(row["pair"])].reference].sequence[int(row["position"]) :][:20]
        assert sequence[int(row["contig_position"]) :].startswith(piece)
    record = json.loads((result / "provenance.json").read_text())
    assert record["alleles"]["pairs"] == 4
    assert record["made_by"]["variants"]["file"] == "x.vcf"
    assert "allele_effects.parquet" in record["files"]
    assert open_result(result).alleles == result / "alleles.json"


def test_a_registered_genome_and_the_printed_summary(place, result, tmp_path, capsys):
    root, _, _ = place
    add_genome(root / "data" / "genomes", "toy", root / "x.fa")
    arguments = f"annotate toy --variants {root / 'x.vcf'} --flank {FLANK} --top 0"
    assert cli.run([*arguments.split(), "--out", str(tmp_path / "o")]) == 0
    said = capsys.readouterr().out
    assert "alternative minus reference (a measurement, no test)" in said
    assert f"chr1:{SITE + 1} " in said
    name = "allele_effects.parquet"
    assert (tmp_path / "o" / name).read_bytes() == (result / name).read_bytes()
    record = json.loads((tmp_path / "o" / "provenance.json").read_text())
    assert record["made_by"]["sequences"]["genome"] == "toy"


def test_two_records_of_a_file(place, tmp_path, capsys):
    _, sequence, kinds = place
    changed = sequence[:SITE] + kinds["SNV"][1] + sequence[SITE + 1 :]
    write_fasta([Record("a", "", sequence), Record("b", "", changed)], tmp_path / "x.fa")
    arguments = ["annotate", str(tmp_path / "x.fa"), "--top", "1", "--out", str(tmp_path / "o")]
    assert cli.run([*arguments, "--alleles", "a,b"]) == 0
    assert "b against a" in capsys.readouterr().out
    assert (tmp_path / "o" / "allele_effects.tsv").is_file()
    # what only this run wrote goes with the next
    assert cli.run([*arguments, "--force"]) == 0
    names = {path.name for path in (tmp_path / "o").rglob("*")}
    assert not names & {"alleles.json", "allele_effects.tsv", "difference.bw", "alternative.bw"}


def test_genes_beside_variants_are_refused_before_anything_is_loaded():
    code = (
        "import sys; from workers.cli import run; "
        "code = run('annotate x.fa --variants x.vcf --genes x.gff --out o'.split()); "
        "sys.exit(code if 'torch' not in sys.modules else 99)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "leave genes out" in done.stderr


BAD = {
    "no file": ("--variants nothing.vcf", "there is no file nothing.vcf"),
    "no VCF": ("--variants x.fa", "no VCF 4"),
    "both": ("--variants x.vcf --alleles a,b", "not both"),
    "genes": ("--variants x.vcf --genes x.gff", "leave genes out"),
    "flank": ("--variants x.vcf --flank 0", "flank must be"),
    "flank alone": ("--flank 10", "send a VCF file"),
    "names": ("--alleles chr1,chr2", "which is not a record"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_arguments_get_one_line_and_exit_2(place, monkeypatch, capsys, kind):
    root, _, _ = place
    arguments, words = BAD[kind]
    monkeypatch.chdir(root)
    assert cli.run(["annotate", "x.fa", *arguments.split(), "--out", "bad"]) == 2
    (line,) = filter(None, capsys.readouterr().err.splitlines())
    assert words in line
    assert not (root / "bad").exists()
