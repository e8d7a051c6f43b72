"""Labels of peaks against answers worked out by hand and a slow twin."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import labels
from annotations.labels import KINDS, distinct, gene_parts, modal, near_hits


def hits_table(rows):
    columns = list(zip(*rows, strict=True)) or [()] * 5
    return pa.table(
        {
            "contig": pa.array(columns[0], pa.uint32()),
            "start": pa.array(columns[1], pa.int64()),
            "end": pa.array(columns[2], pa.int64()),
            "strand": pa.array(columns[3], pa.int8()),
            "score": pa.array(columns[4], pa.float32()),
        }
    )


def bases(*rows):
    contig, position, strand = zip(*rows, strict=True)
    return (
        np.array(contig, dtype=np.uint32),
        np.array(position, dtype=np.int64),
        np.array(strand, dtype=np.int8),
    )


def test_the_hit_with_the_largest_score_in_reach_wins():
    # centres: 103, 118, 131 of contig 0, and 100 of contig 1
    hits = hits_table(
        [(0, 100, 107, 1, 5), (0, 115, 122, -1, 9), (0, 128, 135, 1, 50), (1, 97, 104, 1, 7)]
    )
    found = near_hits(*bases((0, 100, 1), (0, 100, -1), (1, 100, 1), (1, 500, 1)), hits)
    assert found.row.tolist() == [1, 1, 3, -1]
    assert found.offset.tolist() == [18, -18, 0, 0]


def test_reach_includes_its_end_and_nothing_more():
    hits = hits_table([(0, 120, 121, 1, 5)])
    found = near_hits(*bases((0, 100, 1), (0, 99, 1), (0, 140, 1), (0, 141, 1)), hits)
    assert found.row.tolist() == [0, -1, 0, -1]


def test_equal_scores_go_to_the_nearest():
    hits = hits_table([(0, 90, 91, 1, 5), (0, 103, 104, 1, 5)])
    assert near_hits(*bases((0, 100, 1)), hits).row.tolist() == [1]


def test_no_hits_give_none():
    assert near_hits(*bases((0, 1, 1)), hits_table([])).row.tolist() == [-1]


hit_rows = st.tuples(
    st.integers(0, 1),
    st.integers(0, 60),
    st.integers(1, 9),
    st.sampled_from([1, -1]),
    st.integers(0, 3),
).map(lambda r: (r[0], r[1], r[1] + r[2], r[3], r[4]))
base_rows = st.tuples(st.integers(0, 1), st.integers(0, 70), st.sampled_from([1, -1]))


@settings(max_examples=50, deadline=None)
@given(st.lists(hit_rows, max_size=12), st.lists(base_rows, min_size=1, max_size=8))
def test_near_hits_equal_a_search_of_every_pair(hits, peaks):
    found = near_hits(*bases(*peaks), hits_table(hits))
    for i, (contig, position, strand) in enumerate(peaks):
        near = [
            (-score, abs(start + end - 1 - 2 * position), j)
            for j, (c, start, end, _, score) in enumerate(hits)
            if c == contig and abs(start + end - 1 - 2 * position) <= 40
        ]
        expected = min(near)[2] if near else -1
        assert found.row[i] == expected
        if near:
            twice = hits[expected][1] + hits[expected][2] - 1 - 2 * position
            assert found.offset[i] == (strand * twice) // 2


def test_gene_parts_are_listed_from_the_most_specific_and_names_once():
    genes = pa.table(
        {"kind": ["gene", "exon", "CDS", "gene", "tRNA"], "name": ["B1", "B1", "B1", "A2", "X"]}
    )
    parts = gene_parts(3, np.array([0, 0, 0, 0, 2]), np.array([0, 1, 2, 3, 4]), genes)
    assert parts.kinds.to_pylist() == ["CDS;exon;gene", "", ""]
    assert parts.names.to_pylist() == ["A2;B1", None, "X"]
    assert parts.primary.tolist() == [KINDS.index("CDS"), len(KINDS), len(KINDS)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 5), max_size=20))
def test_distinct_equals_unique(values):
    values = np.array(values, dtype=np.int64)
    for found, expected in zip(
        distinct(values), np.unique(values, return_inverse=True), strict=True
    ):
        assert found.tolist() == expected.tolist()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), max_size=20),
    st.sampled_from([1, 3, 200_000]),
)
def test_modal_equals_counting(members, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_MEMBERS_AT_ONCE", at_once)
        check_modal(members)
        check_modal(sorted(members))


def check_modal(members):
    group = np.array([g for g, _ in members], dtype=np.int64)
    code = np.array([c for _, c in members], dtype=np.int64)
    best, share = modal(group, code, 4)
    for g in range(4):
        codes = [c for h, c in members if h == g]
        counted = [c for c in codes if c >= 0]
        if not counted:
            assert (best[g], share[g]) == (-1, 0)
            continue
        most = max(map(counted.count, counted))
        assert best[g] == min(c for c in counted if counted.count(c) == most)
        assert share[g] == most / len(codes)
