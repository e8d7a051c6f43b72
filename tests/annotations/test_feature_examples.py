"""Examples of a feature: ranges by hand, sampling against a slow twin, bases as they were read."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import activations as activations_module
from annotations.activations import as_stored, sort, write_stretches
from annotations.feature_examples import (
    EXAMPLES_SCHEMA,
    FLANK,
    examples_table,
    ranges_of,
    sample_peaks,
    window_values,
)
from annotations.peaks import find_peaks, with_context
from annotations.sequences import encode_bases
from annotations.stretches import to_stretches
from annotations.types import Span
from tests.annotations.activation_cases import LENGTH, activations, row_lists

EVERYWHERE = [Span(0, 0, LENGTH), Span(1, 0, LENGTH)]


@given(st.integers(1, 300), st.integers(1, 7))
def test_ranges_are_quarters_with_their_ends(peaks, per_range):
    chosen = ranges_of(peaks, per_range)
    ranks = [rank for rank, _ in chosen]
    assert ranks == sorted(set(ranks))
    assert chosen[0] == (1, 1)
    for rank, part in chosen:
        assert (part - 1) * peaks / 4 - 1 <= rank - 1 < part * peaks / 4 + 1
    for part in range(1, 5):
        assert sum(each == part for _, each in chosen) <= per_range
    if per_range > 1 and peaks >= 4:
        assert chosen[-1] == (peaks, 4)


@settings(max_examples=30, deadline=None)
@given(row_lists(), st.integers(1, 3), st.sampled_from([None, [0], [1]]))
def test_examples_are_peaks_at_their_ranks(tmp_path_factory, found, per_range, contigs):
    path = tmp_path_factory.mktemp("examples") / "activations.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations_module, "GROUP_ROWS", 3)  # rows in two groups
        write_stretches(to_stretches(activations(found)), path)
    lengths = [LENGTH, LENGTH]
    sampled = sample_peaks(path, lengths, contigs=contigs, per_range=per_range)
    peaks = with_context(
        find_peaks(as_stored(activations(found)), EVERYWHERE), dict(enumerate(lengths))
    ).to_pylist()
    if contigs is not None:
        peaks = [peak for peak in peaks if peak["contig"] in contigs]
    slow = []
    for key in sorted({(p["feature"], -p["strand"]) for p in peaks}):
        own = [p for p in peaks if (p["feature"], -p["strand"]) == key]
        own.sort(key=lambda p: (-p["value"], p["contig"], p["position"]))
        slow += [(own[rank - 1], rank, part) for rank, part in ranges_of(len(own), per_range)]
    got = zip(sampled.peaks.to_pylist(), sampled.rank.tolist(), sampled.range.tolist(), strict=True)
    assert list(got) == slow


def test_examples_have_the_bases_that_the_pass_read(tmp_path):
    text = b"ACGTT" * 20
    found = activations([(0, 1, 0, 40, 2.0), (0, -1, 0, 40, 3.0), (1, 1, 0, 98, 1.0)])
    path = tmp_path / "activations.parquet"
    write_stretches(to_stretches(found), path)
    sampled = sample_peaks(path, [len(text)])
    table = examples_table(sampled, [encode_bases(text)], ["chrI"], pa.array(["A;B", None, "C"]))
    assert table.schema == EXAMPLES_SCHEMA
    plus, minus, end = table.to_pylist()
    assert (plus["contig"], plus["position"], plus["gene"]) == ("chrI", 40, "A;B")
    assert plus["sequence"] == text[40 - FLANK : 41 + FLANK].decode()
    swap = str.maketrans("ACGT", "TGCA")
    assert minus["sequence"] == plus["sequence"][::-1].translate(swap)
    assert end["sequence"].endswith("T" + "N" * 24)
    assert {len(row["sequence"]) for row in (plus, minus, end)} == {2 * FLANK + 1}


def test_a_silent_dictionary_has_no_examples(tmp_path):
    path = tmp_path / "activations.parquet"
    write_stretches(to_stretches(activations([])), path)
    sampled = sample_peaks(path, [100])
    assert examples_table(sampled, [np.zeros(100, np.uint8)], ["a"], None).num_rows == 0


def test_values_are_steps_of_the_rows_largest_in_the_sense_of_the_pass(tmp_path):
    found = activations(
        [(0, 1, 0, 40, 1.0), (0, 1, 0, 42, 4.0), (0, 1, 1, 60, 0.001),
         (0, -1, 0, 50, 2.0), (0, -1, 0, 51, 8.0)]
    )  # fmt: skip
    path = tmp_path / "activations.parquet"
    write_stretches(to_stretches(found), path)
    sampled = sample_peaks(path, [100, 100])
    table = examples_table(sampled, [np.zeros(100, np.uint8)] * 2, ["a", "b"], None)
    rows = {(row["strand"], row["contig"], row["position"]): row for row in table.to_pylist()}
    largest = rows[1, "a", 42]["values"]
    assert (largest[FLANK], largest[FLANK - 2], sum(largest)) == (255, 64, 319)
    # far below a step, and still not silent; the other contig's bases are not beside it
    assert rows[1, "b", 60]["values"] == [0] * FLANK + [1] + [0] * FLANK
    minus = rows[-1, "a", 51]["values"]
    assert (minus[FLANK], minus[FLANK + 1], minus[FLANK - 1]) == (255, 64, 0)


@settings(max_examples=30, deadline=None)
@given(row_lists())
def test_values_against_a_slow_twin(found):
    sampled_of = as_stored(activations(found))
    table = find_peaks(sampled_of, EVERYWHERE)
    ordered = sort(sampled_of)
    values = window_values(ordered, table)
    known = {
        tuple(key): value for *key, value in zip(*map(np.ndarray.tolist, ordered), strict=True)
    }
    for peak, got in zip(table.to_pylist(), values, strict=True):
        row, sense = (peak["feature"], peak["strand"]), peak["strand"]
        top = max(value for key, value in known.items() if key[:2] == row)
        slow = [
            known.get((*row, peak["contig"], peak["position"] + sense * step), 0.0) / top
            for step in range(-FLANK, FLANK + 1)
        ]
        assert got.tolist() == [int(np.ceil(np.float32(255) * np.float32(s))) for s in slow]
