"""A merge on enough sequence for the motif test, with a motif planted where a feature fires."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from annotations.activation_parts import INDEX_FILE, ONE_FILE, Layout, folder_activations
from annotations.activations import stretch_groups
from annotations.cards import file_sha256, find_cards
from annotations.errors import OptionError
from annotations.options import RunOptions
from annotations.sequences import Record, encode_bases, write_fasta
from annotations.windows import plan_shards
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers.merge import RESULT_FILES, TABLE_FILES, merge
from workers.pipeline import run_shard
from workers.registry import SparseWindows
from workers.result_folder import move_into

LENGTHS = (220_000, 80_000)
SITE = b"CGGGTAA"
"""What Reb1 binds (MA0363); planted on strand +."""
SITES = 250
PEAKS = 60


class Finder:
    """Feature 0 fires on the last base of `SITE`, feature 1 on the last base of GATC.

    Values tell places apart, so that the top peaks are unique.
    """

    def __init__(self, card):
        self.dictionary = card

    def activations_of(self, codes, wanted=None):
        parts = []
        for feature, word in enumerate((SITE, b"GATC")):
            letters = encode_bases(word)
            ends = np.ones(codes.shape, dtype=bool)
            ends[:, : len(word) - 1] = False
            for back, letter in enumerate(letters[::-1]):
                ends[:, back:] &= codes[:, : codes.shape[1] - back] == letter
            window, position = np.nonzero(ends)
            # the 14 bases that end there, as a number: the same in any window
            value = np.ones(len(window), dtype=np.float32)
            for back in range(14):
                value += codes[window, np.maximum(position - back, 0)] * np.float32(0.3**back)
            parts.append(
                SparseWindows(
                    window, position, np.full(len(window), feature, dtype=np.uint32), value
                )
            )
        return SparseWindows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    roots = [make_tiny_models(tmp_path_factory.mktemp("models"))]
    found = find_cards(roots).dictionary(DICTIONARY_ID)
    return replace(found, stride=1024, context=32, d_sae=2)


def planted(folder, lengths, seed=0):
    """A FASTA file of random sequences with `SITE` at random places."""
    draw = np.random.default_rng(11)
    records = []
    for i, length in enumerate(lengths):
        sequence = bytearray(random_sequence(length, i + seed * (i > 0)))
        sites = SITES * length // sum(LENGTHS)
        for at in draw.choice(length // 600, sites, replace=False) * 600 + 100:
            sequence[at : at + len(SITE)] = SITE
        records.append(Record(str(i), "", bytes(sequence)))
    path = folder / "sequences.fa"
    write_fasta(records, path)
    return path


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("fasta"), LENGTHS)


def merged(folder, fasta, card, plan, **changes):
    options = RunOptions(dictionary=card.id, peaks_per_feature=PEAKS, taxon="fungi", **changes)
    shards = []
    for i, spans in enumerate(plan):
        shards.append(folder / f"shard{i}")
        shards[-1].mkdir(parents=True)
        run_shard(fasta, spans, Finder(card), shards[-1], batch=64)
    out = folder / "out"
    out.mkdir()
    return out, merge(shards, fasta, card, options, out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, fasta, card):
    plan = plan_shards(LENGTHS, stride=card.stride, target=sum(LENGTHS) * 2)
    assert len(plan) == 1
    return merged(tmp_path_factory.mktemp("whole"), fasta, card, plan)


def test_the_planted_motif_is_the_match_of_its_feature_and_of_no_other(whole):
    out, result = whole
    assert result.power.tested, result.power.reason
    table = pq.read_table(out / "matches.parquet")
    found = table.filter(pc.less_equal(table["q"], 0.05)).to_pylist()
    assert result.matches == len(found) > 0
    assert {row["feature"] for row in found} == {0}
    best = min(found, key=lambda row: row["p"])
    assert best["motif_name"].upper() == "REB1"
    assert best["q"] < 1e-20
    assert best["log2_enrichment"] > 3
    # the feature fires on the last base of the site: the motif's centre is before it
    assert best["offset"] < 0
    features = pq.read_table(out / "features.parquet").to_pylist()
    assert features[0]["match_motif_name"] == best["motif_name"]
    assert features[2]["match_motif_name"] is None


def test_the_top_peaks_are_the_largest_of_all_that_are_counted(whole):
    out, result = whole
    features = pq.read_table(out / "features.parquet").to_pylist()
    peaks = pq.read_table(out / "peaks.parquet")
    assert [(row["feature"], row["strand"]) for row in features] == [
        (0, 1), (0, -1), (1, 1), (1, -1)
    ]  # fmt: skip
    assert features[0]["peaks"] >= SITES > PEAKS
    assert features[2]["peaks"] > 10 * PEAKS
    assert result.peaks == peaks.num_rows == sum(min(row["peaks"], PEAKS) for row in features)
    for feature in (0, 1):
        rows = peaks.filter(
            pc.and_(pc.equal(peaks["feature"], feature), pc.equal(peaks["strand"], 1))
        )
        values = rows["value"].to_numpy()
        assert rows["rank"].to_pylist() == list(range(1, PEAKS + 1))
        assert (np.diff(values) <= 0).all()
        assert values[0] == features[2 * feature]["max"]


def test_the_tables_are_the_same_bytes_however_shards_are_cut(tmp_path, fasta, card, whole):
    plan = plan_shards(LENGTHS, stride=card.stride, target=70_000)
    assert len(plan) > 3
    out, result = merged(tmp_path, fasta, card, plan[::-1])
    assert result == whole[1]
    for name in RESULT_FILES[:-1]:
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes(), name


DISCOVERY, HELD_OUT = 240_000, 240_000
"""Bases, enough for a test each."""


@pytest.fixture(scope="module")
def apart(tmp_path_factory, card):
    """Results whose second contig is held out, and is another one in the second of them."""
    found = []
    for seed in (0, 7):
        folder = tmp_path_factory.mktemp("apart")
        fasta = planted(folder, (DISCOVERY, HELD_OUT), seed)
        plan = plan_shards((DISCOVERY, HELD_OUT), stride=card.stride, target=90_000)
        found.append(merged(folder, fasta, card, plan, held_out=(1,)))
    return found


def test_what_is_found_is_confirmed_on_the_contig_held_out(apart):
    out, result = apart[0]
    best = pq.read_table(out / "matches.parquet").to_pylist()[0]
    assert (best["feature"], best["motif_name"].upper()) == (0, "REB1")
    assert best["peaks"] <= PEAKS
    assert 10 < best["held_out_peaks"] <= PEAKS
    assert best["held_out_q"] < 1e-10
    assert best["held_out_log2_enrichment"] > 3
    assert {"enriched", "centred", "similar", "predictive"} == set(best["evidence"].split(";"))
    assert best["similar_to"] == best["matrix_id"]
    assert "cluster" in best["cluster"]
    assert result.confirmed >= 1
    peaks = pq.read_table(out / "peaks.parquet").to_pylist()
    for part in (0, 1):
        ranks = [
            p["rank"]
            for p in peaks
            if (p["feature"], p["strand"]) == (1, 1) and p["contig"] == part
        ]
        assert ranks == list(range(1, PEAKS + 1))
    assert all(peak["held_out"] == (peak["contig"] == 1) for peak in peaks)
    test = json.loads((out / "provenance.json").read_text())["motif_test"]
    assert test["held_out"]["tested"] is True
    assert 1 <= test["held_out"]["tested_pairs"] <= result.matches
    assert test["background"] == [pytest.approx(share) for share in test["background"]]
    assert sum(test["background"]) == pytest.approx(1)
    assert (test["pseudocount"], test["motif_p"]) == (1.0, 1e-4)


def test_nothing_that_is_found_depends_on_what_is_held_out(apart):
    tables = [pq.read_table(out / "matches.parquet") for out, _ in apart]
    own = [name for name in tables[0].column_names if "held_out" not in name and name != "evidence"]
    assert tables[0].select(own).equals(tables[1].select(own))
    assert not tables[0].equals(tables[1])
    peaks = [pq.read_table(out / "peaks.parquet") for out, _ in apart]
    discovery = [table.filter(pc.equal(table["contig"], 0)) for table in peaks]
    assert discovery[0].equals(discovery[1])
    assert not peaks[0].equals(peaks[1])
    backgrounds = [
        json.loads((out / "provenance.json").read_text())["motif_test"]["background"]
        for out, _ in apart
    ]
    assert backgrounds[0] == backgrounds[1]


@pytest.mark.parametrize("held_out", [(0, 1), (2,)])
def test_contigs_that_cannot_be_held_out_are_refused(tmp_path, fasta, card, held_out):
    plan = plan_shards(LENGTHS, stride=card.stride, target=sum(LENGTHS) * 2)
    with pytest.raises(OptionError, match="held_out must leave at least one of the 2 contigs"):
        merged(tmp_path, fasta, card, plan, held_out=held_out)


def test_provenance_says_what_was_tested_with_which_dictionary(whole):
    out, result = whole
    record = json.loads((out / "provenance.json").read_text())
    assert record["motif_test"]["tested"] is True
    assert record["motif_test"]["release"] == record["options"]["release"]
    assert record["motif_test"]["taxon"] == "fungi"
    assert record["motif_test"]["motifs"] > 100
    assert record["counts"]["bases"] == sum(LENGTHS)
    assert record["counts"]["peaks"] == result.peaks
    dictionary = record["dictionary"]
    assert (dictionary["d_sae"], dictionary["stride"], dictionary["context"]) == (2, 1024, 32)
    assert dictionary["layer"] == 2
    assert dictionary["random_weights"] is True
    seconds = record["merge"]["seconds"]
    assert set(seconds) == {
        *("activations", "peaks", "motifs", "labels", "matches", "concepts", "features")
    }
    assert set(record["merge"]["cpu_seconds"]) == set(seconds)
    assert record["merge"]["peak_memory_bytes"] > 10**7


def test_a_large_result_is_in_parts_and_its_tables_are_the_same(
    tmp_path, fasta, card, whole, monkeypatch
):
    layout = Layout(one_file=0, tile_bases=20_000, tiles_per_stripe=4, cell_bases=100)
    monkeypatch.setattr("workers.merge.LAYOUT", layout)
    plan = plan_shards(LENGTHS, stride=card.stride, target=70_000)
    out, result = merged(tmp_path / "one", fasta, card, plan)
    assert result == whole[1]
    assert not (out / ONE_FILE).exists()
    for name in TABLE_FILES:
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes(), name
    one, parts = whole[0] / ONE_FILE, folder_activations(out)
    assert len(list(parts.parent.glob("*.parquet"))) > 2
    assert pa.concat_tables(stretch_groups(parts)).equals(pq.read_table(one))
    record = json.loads((out / "provenance.json").read_text())
    assert record["files"][INDEX_FILE]["sha256"] == file_sha256(parts)
    # the same bytes from other shards
    other, _ = merged(tmp_path / "other", fasta, card, [[s for spans in plan for s in spans]])
    assert [path.name for path in sorted(parts.parent.iterdir())] == [
        path.name for path in sorted((other / "activations").iterdir())
    ]
    for path in parts.parent.iterdir():
        assert path.read_bytes() == (other / "activations" / path.name).read_bytes(), path.name
    # a later result in one file leaves none of them
    move_into(out, tmp_path / "final")
    move_into(whole[0].rename(tmp_path / "whole"), tmp_path / "final")
    assert not (tmp_path / "final" / "activations").exists()
    assert folder_activations(tmp_path / "final").name == ONE_FILE


def test_nothing_to_merge_is_refused(tmp_path, fasta, card):
    with pytest.raises(OptionError, match="no shards"):
        merge([], fasta, card, RunOptions(dictionary=card.id), tmp_path)
