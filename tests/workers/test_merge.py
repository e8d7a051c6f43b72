"""A merge on enough sequence for the motif test, with a motif planted where a feature fires."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from annotations.cards import find_cards
from annotations.errors import OptionError
from annotations.options import RunOptions
from annotations.sequences import Record, encode_bases, write_fasta
from annotations.windows import plan_shards
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers.merge import RESULT_FILES, merge
from workers.pipeline import run_shard
from workers.registry import SparseWindows

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

    def activations_of(self, codes):
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


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    draw = np.random.default_rng(11)
    records = []
    for i, length in enumerate(LENGTHS):
        sequence = bytearray(random_sequence(length, i))
        sites = SITES * length // sum(LENGTHS)
        for at in draw.choice(length // 600, sites, replace=False) * 600 + 100:
            sequence[at : at + len(SITE)] = SITE
        records.append(Record(str(i), "", bytes(sequence)))
    path = tmp_path_factory.mktemp("fasta") / "sequences.fa"
    write_fasta(records, path)
    return path


def merged(folder, fasta, card, plan, **changes):
    shards = []
    for i, spans in enumerate(plan):
        shards.append(folder / f"shard{i}")
        shards[-1].mkdir(parents=True)
        run_shard(fasta, spans, Finder(card), shards[-1], batch=64, peaks_per_feature=PEAKS)
    out = folder / "out"
    out.mkdir()
    options = RunOptions(dictionary=card.id, taxon="fungi", peaks_per_feature=PEAKS, **changes)
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
    for name in RESULT_FILES[:4]:
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes(), name


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
    assert set(seconds) == {"activations", "peaks", "motifs", "labels", "matches", "features"}
    assert set(record["merge"]["cpu_seconds"]) == set(seconds)
    assert record["merge"]["peak_memory_bytes"] > 10**7


def test_nothing_to_merge_is_refused(tmp_path, fasta, card):
    with pytest.raises(OptionError, match="no shards"):
        merge([], fasta, card, RunOptions(dictionary=card.id), tmp_path)
