"""A shard's active bases are read back by rows, and what is not one of its files is refused."""

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import shard_bases as module
from annotations.active_bases import locus_index, row_index, sort
from annotations.errors import FormatError, StorageError
from annotations.shard_bases import OpenShard, ShardBases, write_shard_bases
from annotations.stretches import as_stored
from tests.annotations.activation_cases import N_FEATURES, activations, row_lists
from tests.annotations.shard_cases import read_shard_bases, write_shard


@settings(max_examples=40, deadline=None)
@given(row_lists(), st.integers(0, 2 * N_FEATURES), st.integers(0, 2 * N_FEATURES + 3))
def test_some_rows_are_those_of_all(tmp_path_factory, found, low, high):
    path = tmp_path_factory.mktemp("shard") / "shard"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GROUP_BASES", 7)
        write_shard(activations(found), path)
        shard, part = OpenShard(path), OpenShard(path).read(low, max(low, high))
    expected = sort(as_stored(activations(found)))
    row = row_index(expected.feature, expected.strand)
    kept = (row >= low) & (row < high)
    np.testing.assert_array_equal(part.row, row[kept])
    locus = locus_index(expected.contig, expected.position)
    np.testing.assert_array_equal(part.locus, locus[kept])
    np.testing.assert_array_equal(part.value.view(np.float16), expected.value[kept])
    assert part.row.dtype == np.int32
    assert shard.active == len(row)
    assert shard.end_row == (int(row.max()) + 1 if len(row) else 0)
    if len(row):
        assert shard.loci() == (int(locus.min()), int(locus.max()))
    else:
        assert shard.loci() == (1 << 64, 0)


def test_files_of_something_else_are_refused(tmp_path):
    with pytest.raises(StorageError, match="cannot read the active bases of a shard"):
        OpenShard(tmp_path / "none")
    (tmp_path / "text").write_text("no parquet")
    (tmp_path / "statistics.parquet").touch()
    with pytest.raises(FormatError, match="a shard has no none: an earlier version"):
        OpenShard(tmp_path / "none")
    with pytest.raises(StorageError, match="cannot read the active bases of a shard"):
        OpenShard(tmp_path / "text")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other")
    with pytest.raises(StorageError, match="other is not a file of active bases; remove"):
        OpenShard(tmp_path / "other")


def test_an_altered_page_is_noticed(tmp_path):
    path = write_shard(activations([(0, 1, 0, at, 1.0) for at in range(3_000)]), tmp_path / "a")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="cannot read the active bases of a shard"):
        read_shard_bases(path)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ("zz", "its counts are altered"),
        ("00ff", "its counts are altered"),
        (zlib.compress(b"\2\0\0\0").hex(), "it counts 2 active bases and holds 1"),
    ],
)
def test_altered_counts_are_noticed(tmp_path, counts, why):
    table = pq.read_table(write_shard(activations([(0, 1, 0, 5, 1.0)]), tmp_path / "a"))
    altered = table.replace_schema_metadata({module._COUNTS_KEY: counts})
    pq.write_table(altered, tmp_path / "b")
    with pytest.raises(StorageError, match=why):
        OpenShard(tmp_path / "b")


def test_counts_that_do_not_fit_are_not_written(tmp_path):
    one = np.ones(1, np.uint64)
    bases = ShardBases(np.array([2]), one, one.astype(np.uint16), one.astype(np.bool_))
    with pytest.raises(FormatError, match="counts of 2 active bases do not fit 1 of them"):
        write_shard_bases(bases, tmp_path / "a")
    assert not list(tmp_path.iterdir())
