"""Properties of the window grid and of shards that must hold for every submission."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import CoordinateError
from annotations.windows import grid, plan_shards, read_spans

few = settings(max_examples=50, deadline=None)


@few
@given(st.integers(1, 300), st.integers(1, 50))
def test_the_grid_tiles_the_contig_from_base_0(length, stride):
    owned = grid(length, stride)
    assert owned.dtype == np.int64
    assert owned[:, 0].tolist() == list(range(0, length, stride))
    assert (owned[1:, 0] == owned[:-1, 1]).all()
    assert owned[-1, 1] == length
    assert (owned[:-1, 1] - owned[:-1, 0] == stride).all()


@few
@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 80), st.integers(0, 80))
def test_a_minus_read_is_the_mirror_of_a_plus_read(length, stride, context, ahead):
    owned = grid(length, stride)
    minus = read_spans(owned, length, context, "-", ahead=ahead)
    mirrored = length - owned[:, ::-1]
    plus = read_spans(mirrored, length, context, "+", ahead=ahead)
    assert (length - minus[:, ::-1] == plus).all()


@few
@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 80), st.integers(0, 80))
def test_what_is_read_ahead_lies_behind_the_cell_and_changes_no_left_end(
    length, stride, context, ahead
):
    owned = grid(length, stride)
    one_sided = read_spans(owned, length, context, "+")
    read = read_spans(owned, length, context, "+", ahead=ahead)
    assert (read[:, 0] == one_sided[:, 0]).all()
    assert read[:, 1].tolist() == [min(end + ahead, length) for end in owned[:, 1].tolist()]


@few
@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 80))
def test_a_plus_read_has_its_context_to_the_left_as_far_as_there_are_bases(length, stride, context):
    owned = grid(length, stride)
    read = read_spans(owned, length, context, "+")
    assert read[:, 1].tolist() == owned[:, 1].tolist()
    assert read[:, 0].tolist() == [max(0, start - context) for start in owned[:, 0].tolist()]


@few
@given(st.lists(st.integers(1, 100), max_size=12), st.integers(1, 9), st.integers(1, 60))
def test_shards_hold_every_cell_once_in_order(lengths, stride, target):
    shards = plan_shards(lengths, stride=stride, target=target)
    cells = [
        (span.contig, start + span.start, end + span.start)
        for shard in shards
        for span in shard
        for start, end in grid(span.length, stride).tolist()
    ]
    expected = [
        (contig, start, end)
        for contig, length in enumerate(lengths)
        for start, end in grid(length, stride).tolist()
    ]
    assert cells == expected
    room = max(1, target // stride)
    sizes = [sum(-(-span.length // stride) for span in shard) for shard in shards]
    assert all(0 < size <= room for size in sizes)


def test_short_contigs_are_packed_and_cost_a_whole_cell_each():
    shards = plan_shards([3] * 10, stride=100, target=400)
    assert [len(shard) for shard in shards] == [4, 4, 2]


def test_a_long_contig_is_cut_at_the_grid():
    shards = plan_shards([25, 4], stride=10, target=19)
    assert [[tuple(span) for span in shard] for shard in shards] == [
        [(0, 0, 10)],
        [(0, 10, 20)],
        [(0, 20, 25)],
        [(1, 0, 4)],
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid(0, 5), "at least 1 base, got 0"),
        (lambda: grid(5, 0), "stride must be at least 1 base, got 0"),
        (lambda: read_spans(grid(10, 5), 10, -1, "+"), "context must be 0 or more bases, got -1"),
        (lambda: read_spans(grid(10, 5), 10, 1, "+", ahead=-2), "0 or more bases, got -2"),
        (lambda: read_spans(grid(10, 5), 9, 1, "+"), "inside its contig of 9 bases"),
        (lambda: read_spans(grid(10, 5), 10, 1, "*"), r"\+ or -"),
        (lambda: plan_shards([5], stride=5, target=0), "target of 0"),
        (lambda: plan_shards([5, 0], stride=5, target=5), "at least 1 base, got 0"),
    ],
)
def test_a_grid_that_cannot_be_says_why(call, message):
    with pytest.raises(CoordinateError, match=message):
        call()
