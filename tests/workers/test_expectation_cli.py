"""`saetrack annotate --expectation`, end to end: tracks, parts, regions, variants."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
import pytest
import torch

from annotations.cards import find_cards
from annotations.expectation import STEP, composition, information, probabilities
from annotations.genome_folder import add_genome
from annotations.sequences import encode_bases
from annotations.types import Span
from app.alleles import pairs_listing
from app.expectation import EXPECTATION_FILES, letters_in
from app.selection import Choice
from tests.workers.factories import DICTIONARY_ID, MODEL_ID, make_tiny_models
from tests.workers.test_batch import content
from tests.workers.test_pipeline import random_sequence
from workers import cli
from workers.answers import open_result
from workers.registry import open_dictionary

SEQUENCES = {"chrA": random_sequence(3000), "chrB": random_sequence(900, 1)}
CUT = b"N" * 20
SEQUENCES["chrA"] = SEQUENCES["chrA"][:1000] + CUT + SEQUENCES["chrA"][1020:]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("expectation")
    make_tiny_models(root / "models")
    text = b"".join(b">%s\n%s\n" % (name.encode(), s) for name, s in SEQUENCES.items())
    (root / "x.fa").write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAETRACK_MODELS_DIRS", str(root / "models"))
        patch.setenv("SAETRACK_DATA_DIR", str(root / "data"))
        patch.setattr("workers.annotate.SHARD_BASES", 1000)
        yield root


@pytest.fixture(scope="module")
def model(place):
    roots = [place / "models"]
    return open_dictionary(find_cards(roots).dictionary(DICTIONARY_ID), roots, whole=True)


def annotate(place, *words):
    return ["annotate", str(place / "x.fa"), "--top", "1", *map(str, words)]


@pytest.fixture(scope="module")
def result(place):
    assert cli.run(annotate(place, "--expectation", "--out", place / "out")) == 0
    return place / "out"


def direct(model, sequence):
    """log2 p of a whole sequence."""
    codes = torch.from_numpy(encode_bases(sequence)[None])
    return model.language_model.log_probabilities(codes)[0].numpy() / np.log(2)


def test_the_table_says_what_the_model_says_of_each_known_base(result, model):
    table = pq.read_table(result / "expectation.parquet").to_pandas()
    for contig, sequence in enumerate(SEQUENCES.values()):
        own = table[table.contig == contig]
        known = np.flatnonzero(encode_bases(sequence) < 4)
        assert own.position.tolist() == known.tolist()
        logs = own[[f"log2_{letter}" for letter in "ACGT"]].to_numpy()
        assert np.abs(logs - direct(model, sequence)[known]).max() <= 0.51 * STEP
    record = json.loads((result / "provenance.json").read_text())
    assert record["expectation"] == {
        "bases": 3880,
        "sides": "all",
        "step_bits": STEP,
        "composition_window": 501,
        "pseudocount": 1.0,
    }
    assert record["options"]["expectation"] is True
    assert "expectation.parquet" in record["files"]


@pytest.mark.parametrize("name", EXPECTATION_FILES)
def test_tracks_hold_bits_of_each_known_base_and_nothing_of_others(result, name):
    table = pq.read_table(result / "expectation.parquet").to_pandas()
    with pyBigWig.open(str(result / name)) as track:
        assert track.chroms() == {"chrA": 3000, "chrB": 900}
        for contig, (text, sequence) in enumerate(SEQUENCES.items()):
            found = track.values(text, 0, len(sequence), numpy=True)
            codes = encode_bases(sequence)
            assert np.isnan(found[codes == 4]).all()
            own = table[table.contig == contig][[f"log2_{letter}" for letter in "ACGT"]]
            p = probabilities(own.to_numpy())
            q = composition(codes, 0, len(codes))[codes < 4]
            at = np.arange(len(p)), codes[codes < 4]
            bits = {
                "expectation_information.bw": information(p, q),
                "expectation_letters.bw": information(p, q) * p[at],
                "expectation_observed.bw": np.log2(p[at] / q[at]),
            }[name]
            assert bits.std() > 5 * STEP
            assert np.abs(found[codes < 4] - bits).max() <= 0.51 * STEP


def test_browsers_are_told_and_the_page_lists_the_files(result):
    hub = (result / "hub.txt").read_text()
    assert "given all other bases" in hub
    stanza = next(part for part in hub.split("\n\n") if "track expectation_letters" in part)
    assert "logo on" in stanza
    tracks = {
        track["url"]: track for track in json.loads((result / "igv.json").read_text())["tracks"]
    }
    assert set(EXPECTATION_FILES) < set(tracks)
    assert tracks["expectation_letters.bw"]["graphType"] == "dynseq"
    assert tracks["expectation_information.bw"]["min"] == 0
    assert "min" not in tracks["expectation_observed.bw"]
    described = json.loads((result / "jbrowse.json").read_text())["tracks"]
    assert set(EXPECTATION_FILES) < {
        track["adapter"].get("bigWigLocation", {}).get("uri") for track in described
    }
    assert all(name in (result / "session.xml").read_text() for name in EXPECTATION_FILES)
    page = (result / "index.html").read_text()
    data = (result / "page" / "data.js").read_text()
    for name in EXPECTATION_FILES:
        assert f'href="{name}"' in page
        assert f'"{name}": "' in data
    assert "composition of the 501 bases about the base" in " ".join(
        (result / "about.html").read_text().split()
    )


def test_a_figure_draws_the_letters_that_the_model_expects(place, result, model, tmp_path, capsys):
    sequences = tmp_path / "numbered.fa"
    sequences.write_bytes(b">0\n" + SEQUENCES["chrA"] + b"\n>1\n" + SEQUENCES["chrB"] + b"\n")
    opened = replace(open_result(result), sequences=sequences)
    found = letters_in(opened, Span(0, 980, 1100))
    assert np.isnan(found[20:40]).all()
    assert not np.isnan(found[:20]).any()
    table = pq.read_table(result / "expectation.parquet").to_pandas()
    own = table[table.contig == 0].set_index("position").loc[1020:1099]
    logs = own[[f"log2_{letter}" for letter in "ACGT"]].to_numpy()
    p = probabilities(logs.astype(np.float32))
    q = composition(encode_bases(SEQUENCES["chrA"]), 1020, 1100)
    wanted = p * (p * np.log2(p / q)).sum(axis=1)[:, None]
    np.testing.assert_allclose(found[40:], wanted, atol=1e-9)

    figure = ["figure", str(result), "--region", "chrA:981-1100", "--features", "0"]
    out = tmp_path / "x.svg"
    asked = [*figure, "--expectation", "--sequences", str(place / "x.fa"), "--out", str(out)]
    assert cli.run(asked) == 0
    assert f"at most {np.nanmax(found.sum(axis=1)):.3g}" in out.read_text()
    capsys.readouterr()
    text = out.read_text()
    # the folder has its own sequences; without them there is nothing to compare with
    assert cli.run([*figure, "--expectation", "--out", str(out)]) == 0
    assert out.read_text() == text
    bare = shutil.copytree(result, tmp_path / "bare")
    (bare / "sequence.fa").unlink()
    capsys.readouterr()
    figure[1] = str(bare)
    assert cli.run([*figure, "--expectation", "--out", str(out)]) == 2
    assert "needs the sequences" in capsys.readouterr().err


def test_parts_give_the_same_bytes_as_one_process(place, result, tmp_path):
    for task in ("2/2", "1/2"):
        command = annotate(place, "--expectation", "--work", tmp_path / "W", "--shard", task)
        assert cli.run(command) == 0
    assert cli.run(["merge", str(tmp_path / "W"), "--out", str(tmp_path / "out")]) == 0
    wanted, found = content(result), content(tmp_path / "out")
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_shards_without_it_are_of_another_run(place, tmp_path, capsys):
    assert cli.run(annotate(place, "--work", tmp_path / "W", "--shard", "1/1")) == 0
    capsys.readouterr()
    command = annotate(place, "--expectation", "--work", tmp_path / "W", "--out", tmp_path / "out")
    assert cli.run(command) == 2
    assert "holds the shards of another run" in capsys.readouterr().err


def test_without_the_option_all_else_is_the_same(place, result, tmp_path):
    out = tmp_path / "out"
    assert cli.run(annotate(place, "--out", out)) == 0
    found, wanted = content(out), content(result)
    own = {"expectation.parquet", *EXPECTATION_FILES}
    assert set(wanted) - set(found) == own
    tables = [name for name in found if name.endswith((".parquet", ".tsv", ".bed", ".bb", ".bw"))]
    assert [name for name in tables if found[name] != wanted[name]] == []
    record = json.loads((out / "provenance.json").read_text())
    assert "expectation" not in record
    assert "expectation" not in record["options"]
    # an earlier result's files do not stay beside one that has none
    assert cli.run(annotate(place, "--expectation", "--out", out, "--force")) == 0
    assert own < set(content(out))
    assert cli.run(annotate(place, "--out", out, "--force")) == 0
    assert not own & set(content(out))


def test_regions_are_as_in_the_whole_genome(place, result, tmp_path, capsys):
    add_genome(place / "data" / "genomes", "toy", place / "x.fa")
    words = "annotate --genome toy --region chrA:301-640,chrB:1-20,chrA:2990-3000 --top 0"
    out = tmp_path / "out"
    assert cli.run([*words.split(), "--expectation", "--out", str(out)]) == 0
    whole = pq.read_table(result / "expectation.parquet").to_pandas()
    part = pq.read_table(out / "expectation.parquet").to_pandas()
    spans = [(0, 300, 640), (0, 2989, 3000), (1, 0, 20)]
    inside = sum(
        (whole.contig == contig) & (whole.position >= start) & (whole.position < end)
        for contig, start, end in spans
    ).astype(bool)
    assert part.position.tolist() == whole[inside].position.tolist()
    logs = [f"log2_{letter}" for letter in "ACGT"]
    assert np.abs(part[logs].to_numpy() - whole[inside][logs].to_numpy()).max() <= STEP
    for name in EXPECTATION_FILES:
        with pyBigWig.open(str(out / name)) as own, pyBigWig.open(str(result / name)) as all_of_it:
            assert own.chroms() == {"chrA": 3000, "chrB": 900}
            for contig, (text, sequence) in enumerate(SEQUENCES.items()):
                found = own.values(text, 0, len(sequence), numpy=True)
                wanted = all_of_it.values(text, 0, len(sequence), numpy=True)
                here = np.zeros(len(sequence), dtype=bool)
                for _, start, end in (span for span in spans if span[0] == contig):
                    here[start:end] = True
                np.testing.assert_array_equal(np.isnan(found), ~here | np.isnan(wanted))
                known = here & ~np.isnan(wanted)
                # the composition too is that of the whole contig
                assert np.abs(found[known] - wanted[known]).max() <= 8 * STEP
    # a figure of either is the same: bases, and letters within the rounding of what is stored
    texts = []
    for folder in (result, out):
        words = f"figure {folder} --region chrA:321-380 --features 0 --expectation --out"
        assert cli.run([*words.split(), str(tmp_path / "x.svg")]) == 0
        texts.append((tmp_path / "x.svg").read_text())
    assert texts[0].count("scale(") == pytest.approx(texts[1].count("scale("), abs=3)
    assert ">bases (+ strand)<" in texts[1]
    pieces = (out / "sequence.fa").read_text()
    for broken in (">chrA\nACGT\n", ">chrB:1-100\n", ">none:1-4\nACGT\n", ">chrA:1-9\nACGT\n"):
        (out / "sequence.fa").write_text(broken if broken.count("\n") > 1 else broken + "A" * 100)
        assert cli.run([*words.split(), str(tmp_path / "y.svg")]) == 2
        assert "holds other sequences than the result" in capsys.readouterr().err
    (out / "sequence.fa").write_text(pieces)


def vcf_of(path, rows):
    lines = [f"chrB\t{at + 1}\t{name}\t{ref}\t{alt}\n" for at, name, ref, alt in rows]
    path.write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n" + "".join(lines))


def test_every_substitution_has_its_ratio(place, model, tmp_path, capsys):
    sequence = SEQUENCES["chrB"]
    text = sequence.decode()
    rows = [
        (at, f"s{at}{alt}", text[at], alt)
        for at in (0, 13, 450, 899)
        for alt in "ACGT"
        if alt != text[at]
    ]
    rows.append((600, "deletion", text[600:604], text[600]))
    vcf_of(tmp_path / "x.vcf", rows)
    out = tmp_path / "out"
    command = annotate(place, "--variants", tmp_path / "x.vcf", "--flank", "60")
    assert cli.run([*command, "--expectation", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "log2 p(alternative) / p(reference) of substitutions" in printed
    text_of_table = (out / "substitutions.tsv").read_text()
    told = list(csv.DictReader(text_of_table.splitlines(), delimiter="\t"))
    assert [(int(row["position"]), row["id"]) for row in told] == [row[:2] for row in rows[:-1]]
    result = open_result(out)
    listed = pairs_listing(result, Choice(sort="ratio", limit=100)).to_json()
    assert listed["expectation"] is True
    assert "given all other bases: below 0 where" in listed["note"]
    by_id = {row["id"]: row["log2_ratio"] for row in listed["alleles"]}
    assert by_id.pop("deletion") is None
    ratios = [abs(row["log2_ratio"]) for row in listed["alleles"][:-1]]
    assert ratios == sorted(ratios, reverse=True)
    for (at, name, ref, alt), row in zip(rows[:-1], told, strict=True):
        # brute force: the record with either letter, read alone
        low, high = max(0, at - 60), at + 61
        logs = direct(model, sequence[low:high])[at - low]
        other = direct(model, sequence[low:at] + alt.encode() + sequence[at + 1 : high])[at - low]
        np.testing.assert_allclose(logs, other, atol=1e-5)
        ratio = logs["ACGT".index(alt)] - logs["ACGT".index(ref)]
        assert abs(by_id[name] - ratio) <= 1.1 * STEP
        assert float(row["log2_ratio"]) == pytest.approx(by_id[name], abs=1e-5)


def test_a_model_without_a_head_is_refused_in_one_line(place, tmp_path, monkeypatch, capsys):
    root = make_tiny_models(tmp_path / "models")
    card = root / MODEL_ID / "model.json"
    card.write_text(card.read_text().replace('"paired_tree"', '"huggingface"'))
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(root))
    assert cli.run(annotate(place, "--expectation", "--out", tmp_path / "out")) == 2
    (line,) = filter(None, capsys.readouterr().err.splitlines())
    assert "tiny-tree has no expectation track: heads of huggingface models are not loaded" in line
    assert "leave the option expectation out" in line
    assert not (tmp_path / "out").exists()


def test_the_option_takes_no_value(place, tmp_path, capsys):
    assert cli.run(annotate(place, "--expectation=yes", "--out", tmp_path / "out")) == 2
    assert "does not take a value" in capsys.readouterr().err
