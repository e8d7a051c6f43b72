"""Activations in parts give the answers of one file; what is altered is said."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import annotations.activation_parts as module
from annotations.activation_cells import tile_starts
from annotations.activation_merge import merge_activations, merge_parts
from annotations.activation_parts import (
    INDEX_FILE,
    ONE_FILE,
    Layout,
    folder_activations,
    open_parts,
    partial_reader,
    read_index,
)
from annotations.activations import (
    Activations,
    count_active_bases,
    from_stretches,
    merge_stretches,
    read_feature,
    read_rows,
    rewrite_stretches,
    select,
    sort,
    stretch_groups,
    window_maxima,
)
from annotations.active_bases import row_index
from annotations.errors import CoordinateError, LimitError, StorageError
from annotations.region_activity import in_region, of_rows
from annotations.types import Span
from tests.annotations.shard_cases import write_shard

N_FEATURES = 11
LENGTHS = (90, 7, 40, 60)
SMALL = Layout(one_file=0, tile_bases=16, tiles_per_stripe=3, cell_bases=8, parts_per_stripe=3)

layouts = st.builds(
    Layout,
    one_file=st.just(0),
    tile_bases=st.integers(11, 250),
    tiles_per_stripe=st.integers(2, 6),
    cell_bases=st.integers(1, 300),
    parts_per_stripe=st.integers(1, 4),
)


def dense(seed: int, share: float, spans: list[Span]) -> Activations:
    """Active bases of some spans: long stretches beside single bases, some features silent."""
    draw = np.random.default_rng(seed)
    found = []
    for contig, start, end in spans:
        on = draw.random((N_FEATURES, 2, end - start)) < share
        on[3] = False
        on[5, 0] = True  # one stretch over all
        feature, strand, at = np.nonzero(on)
        found.append((feature, 1 - 2 * strand, np.full(len(at), contig), at + start))
    feature, strand, contig, position = (np.concatenate(each) for each in zip(*found, strict=True))
    return Activations(
        feature=feature.astype(np.uint32),
        strand=strand.astype(np.int8),
        contig=contig.astype(np.uint32),
        position=position.astype(np.int64),
        value=draw.integers(1, 100, len(position)).astype(np.float32),
    )


def written(folder: Path, active: Activations, cuts: list[int]) -> list[Path]:
    """Files of shards, cut at bases of the contigs laid end to end."""
    place = np.cumsum([0, *LENGTHS])[active.contig] + active.position
    shard = np.searchsorted(sorted(cuts), place, side="right")
    paths = []
    for number in range(len(cuts) + 1):
        paths.append(folder / f"shard{number}.parquet")
        write_shard(select(active, shard == number), paths[-1])
    return paths


WHOLE = [Span(at, 0, length) for at, length in enumerate(LENGTHS)]
SPANS = [Span(0, 5, 33), Span(0, 40, 88), Span(2, 0, 9), Span(3, 30, 60)]


def equal(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=10, deadline=None)
@given(
    layout=layouts,
    share=st.sampled_from([0.02, 0.3, 0.9]),
    cuts=st.lists(st.integers(1, sum(LENGTHS) - 1), max_size=4, unique=True),
    spans=st.sampled_from([WHOLE, SPANS]),
    held=st.sampled_from([1, 40, 10**6]),
    ordered=st.sampled_from([1, 20, 10**6]),
    seed=st.integers(0, 5),
)
def test_any_parts_answer_as_one_file_does(
    tmp_path_factory, layout, share, cuts, spans, held, ordered, seed
):
    folder = tmp_path_factory.mktemp("parts")
    active = dense(seed, share, spans)
    paths = written(folder, active, cuts)
    merge_stretches(paths, folder / ONE_FILE)
    one = folder / ONE_FILE
    names = merge_activations(paths, folder, spans=spans, n_features=N_FEATURES, layout=layout)
    parts = folder / INDEX_FILE
    assert folder_activations(folder) == parts
    assert sorted(names) == sorted(
        path.relative_to(folder).as_posix() for path in parts.parent.iterdir()
    )
    assert count_active_bases(parts) == count_active_bases(one) == len(active.value)
    for feature in (0, 3, 5, N_FEATURES - 1, N_FEATURES):
        for strand, contig in ((None, None), (1, 2)):
            assert read_feature(parts, feature, strand, contig).equals(
                read_feature(one, feature, strand, contig)
            )
    assert read_rows(parts, [3, 10, 11, 20]).equals(read_rows(one, [3, 10, 11, 20]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HELD_BASES", held)
        patch.setattr(module, "SORTED_BASES", ordered)
        assert pa.concat_tables(stretch_groups(parts)).equals(pa.concat_tables(stretch_groups(one)))
    rewrite_stretches(parts, folder / "copy", lambda table: table)
    assert pq.read_table(folder / "copy").equals(pq.read_table(one))
    windows = np.array([0, 0, 2, 3]), np.array([0, 30, 5, 2]), np.array([31, 47, 9, 60])
    difference = window_maxima(parts, windows, N_FEATURES) != window_maxima(
        one, windows, N_FEATURES
    )
    assert difference.nnz == 0
    draw = np.random.default_rng(seed)
    for _ in range(5):
        contig = int(draw.integers(len(LENGTHS)))
        start, end = sorted(draw.choice(LENGTHS[contig] + 1, 2, replace=False).tolist())
        region = Span(contig, start, end)
        inside = (active.contig == contig) & (active.position >= start) & (active.position < end)
        expected = select(active, inside)
        assert equal(in_region(parts, region), sort(expected))
        rows = [0, 10, 15]
        kept = np.isin(row_index(expected.feature, expected.strand), rows)
        assert equal(of_rows(parts, rows, region), sort(select(expected, kept)))
    assert equal(of_rows(parts, [10]), of_rows(one, [10]))


@pytest.fixture(scope="module")
def active() -> Activations:
    return dense(1, 0.4, WHOLE)


def merged(folder: Path, active: Activations, cuts: list[int], **changes: Any) -> Path:
    folder.mkdir()
    paths = written(folder, active, cuts)
    merge_parts(paths, folder, spans=WHOLE, n_features=N_FEATURES, layout=SMALL, **changes)
    return folder / INDEX_FILE


def test_no_byte_depends_on_how_shards_were_cut(tmp_path, active) -> None:
    one = merged(tmp_path / "one", active, [])
    assert len(list(one.parent.iterdir())) > 5
    for held in (1, 40, 400):
        folder = tmp_path / f"many{held}"
        many = merged(folder, active, [20, 91, 95, 130, 131], bases_per_block=held)
        for path in one.parent.iterdir():
            assert (many.parent / path.name).read_bytes() == path.read_bytes(), path.name


def test_tiles_and_stripes_may_be_silent(tmp_path) -> None:
    # as over a long run of N: no shard has an active base there
    spans = [Span(0, 0, 1_000)]
    active = dense(2, 0.5, [Span(0, 0, 60), Span(0, 900, 940)])
    layout = SMALL._replace(tile_bases=20, tiles_per_stripe=4)
    write_shard(select(active, active.position < 60), tmp_path / "first")
    write_shard(select(active, active.position >= 900), tmp_path / "last")
    write_shard(select(active, active.position < 0), tmp_path / "silent")
    paths = [tmp_path / name for name in ("first", "silent", "last")]
    for held in (1, 10**6):
        folder = tmp_path / str(held)
        folder.mkdir()
        merge_parts(
            paths, folder, spans=spans, n_features=N_FEATURES, layout=layout, bases_per_block=held
        )
        parts = folder / INDEX_FILE
        assert count_active_bases(parts) == len(active.value)
        for feature in range(N_FEATURES):
            own = sort(select(active, active.feature == feature))
            assert equal(from_stretches(read_feature(parts, feature)), own)


def most_held(work: Any) -> int:
    """Bytes of arrays that some work holds at once."""
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_a_dense_group_is_merged_and_read_in_pieces(tmp_path, monkeypatch) -> None:
    # feature 2 has nearly all of them
    every, size = np.arange(120_000), 1_000_000
    bases = every[every % 8 > 0]
    feature, rare = np.repeat([2, 2, 9], len(bases)), bases[:100]
    strand = np.repeat([1, -1, 1], len(bases))
    feature, strand = np.append(feature, np.full(100, 31)), np.append(strand, np.ones(100))
    position = np.concatenate([bases, bases, bases, rare])
    active = Activations(
        feature.astype(np.uint32),
        strand.astype(np.int8),
        np.zeros(len(position), np.uint32),
        position,
        np.ones(len(position), np.float32),
    )
    write_shard(active, tmp_path / "shard")
    layout = SMALL._replace(tile_bases=4_000, tiles_per_stripe=64, cell_bases=50_000)

    def merge(most: int) -> Path:
        folder = tmp_path / str(most)
        folder.mkdir()
        merge_parts(
            [tmp_path / "shard"],
            folder,
            spans=[Span(0, 0, 120_000)],
            n_features=32,
            layout=layout,
            bases_per_block=most,
        )
        return folder / INDEX_FILE

    parts = merge(size)  # imports count for none of the others
    whole = most_held(lambda: merge(2 * size))
    assert most_held(lambda: merge(size // 50)) < 0.6 * whole
    tables = pa.concat_tables(stretch_groups(parts))
    whole = most_held(lambda: list(map(len, stretch_groups(parts))))
    monkeypatch.setattr(module, "SORTED_BASES", 5_000)
    for held in (size, 40_000):
        monkeypatch.setattr(module, "HELD_BASES", held)
        assert most_held(lambda: list(map(len, stretch_groups(parts)))) < whole / 2
        assert pa.concat_tables(stretch_groups(parts)).equals(tables)


def test_a_small_result_stays_one_file(tmp_path, active) -> None:
    paths = written(tmp_path, active, [])
    size = len(active.value)
    names = merge_activations(
        paths, tmp_path, spans=WHOLE, n_features=N_FEATURES, layout=Layout(one_file=size)
    )
    assert names == [ONE_FILE]
    assert folder_activations(tmp_path) == tmp_path / ONE_FILE


def test_tiles_hold_as_many_read_bases_each() -> None:
    starts = [(int(at) >> 32, int(at) & 0xFFFFFFFF) for at in tile_starts(SPANS, 40)]
    # 28 + 12 bases, then 36 + 4, then 5 + 30 that are left
    assert starts == [(0, 0), (0, 52), (2, 4)]
    sizes = [28 + 12, 36 + 4, 5 + 30]
    assert sum(sizes) == sum(span.length for span in SPANS)


def test_a_question_reads_its_own_cells_alone(tmp_path, active) -> None:
    index = merged(tmp_path / "result", active, [])
    asked: list[tuple[str, int]] = []
    beside = partial_reader(index.parent)

    def read(name: str, ranges: Any) -> Any:
        asked.extend((name, end - start) for start, end in ranges)
        return beside(name, ranges)

    module._FOOTERS._found.clear()
    parts = open_parts(index, read)
    stripes = {part.stripe for part in parts.index.parts}
    blocks = {part.block for part in parts.index.parts}
    assert len(stripes) > 2
    assert len(blocks) > 2
    list(parts.near(Span(1, 0, 6)))  # places 90 to 96: the last tile of a stripe
    assert {name[:3] for name, _ in asked} == {"001"}
    asked.clear()
    parts.features_between(0, 1)
    assert {name[4:6] for name, _ in asked} == {"00"}
    # footers that are known are not read again, and other groups never are
    asked.clear()
    parts.features_between(0, 1)
    sizes = {part.name: part.bytes - part.footer_bytes for part in parts.index.parts}
    assert all(size < sizes[name] for name, size in asked)
    assert len(asked) == len(stripes)


def test_a_pass_keeps_the_footers_of_one_block_alone(tmp_path, active) -> None:
    index = merged(tmp_path / "result", active, [])
    parts = open_parts(index)
    footers = {part.footer_sha256 for part in parts.index.parts}
    module._FOOTERS._found.clear()
    held = []
    for _ in parts.tables():
        held.append(len(footers & set(module._FOOTERS._found)))
    blocks = {part.block for part in parts.index.parts}
    most = max(sum(part.block == block for part in parts.index.parts) for block in blocks)
    assert len(blocks) > 2
    assert 0 < max(held) <= most
    assert not footers & set(module._FOOTERS._found)


def test_a_region_of_too_much_is_refused_before_it_is_read(tmp_path, active, monkeypatch) -> None:
    index = merged(tmp_path / "result", active, [])
    monkeypatch.setattr("annotations.region_activity.MAX_HELD", 50)
    parts = open_parts(index, lambda name, ranges: pytest.fail("nothing is to be read"))
    with pytest.raises(LimitError, match="at most 50 are"):
        in_region(parts, Span(0, 0, 90))


def altered(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_is_missing_cut_or_altered_is_said_in_one_line(tmp_path, active) -> None:
    index = merged(tmp_path / "result", active, [])
    [first, *_] = read_index(index).parts
    path = index.parent / first.name
    whole = path.read_bytes()

    def error() -> str:
        module._FOOTERS._found.clear()
        with pytest.raises(StorageError) as caught:
            read_feature(index, 0)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    # in the values of the first page: only its checksum tells
    altered(path, first.bytes - first.footer_bytes - 1)
    with pytest.raises(StorageError, match=r"part 000-00.parquet of the activations is altered"):
        list(open_parts(index).tables())
    path.write_bytes(whole)
    altered(path, first.bytes - 20)
    assert "its footer is not the one that the index names" in error()
    path.write_bytes(whole[:-40])
    assert "part 000-00.parquet of the activations is cut" in error()
    path.unlink()
    assert "part 000-00.parquet of the activations cannot be read (No such file" in error()
    path.write_bytes(whole)
    assert read_feature(index, 0).num_rows


def test_every_byte_of_a_part_is_checked(tmp_path, active) -> None:
    index = merged(tmp_path / "result", active, [])
    expected = pa.concat_tables(stretch_groups(index))
    part = read_index(index).parts[0]
    path = index.parent / part.name
    whole = path.read_bytes()
    unnoticed = []
    for at in range(4, part.bytes, 61):  # after the mark at the beginning
        altered(path, at)
        module._FOOTERS._found.clear()
        try:
            if not pa.concat_tables(stretch_groups(index)).equals(expected):
                unnoticed.append(at)
        except StorageError:
            pass
        path.write_bytes(whole)
    assert not unnoticed


def test_an_index_that_is_altered_or_of_a_later_version_is_refused(tmp_path, active) -> None:
    index = merged(tmp_path / "result", active, [])
    record = json.loads(index.read_text())
    index.write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(StorageError, match="stored in format 2, and this version reads format 1"):
        count_active_bases(index)
    for text in ("{", "[]", json.dumps({**record, "parts": [{"name": "a"}]})):
        index.write_text(text)
        with pytest.raises(StorageError, match=r"index.json of the activations is altered"):
            count_active_bases(index)
    index.unlink()
    with pytest.raises(StorageError, match="cannot read the index"):
        count_active_bases(index)


def test_a_dictionary_with_fewer_features_is_refused(tmp_path, active) -> None:
    paths = written(tmp_path, active, [])
    with pytest.raises(CoordinateError, match="hold feature 10, but the dictionary has 4"):
        merge_parts(paths, tmp_path, spans=WHOLE, n_features=4, layout=SMALL)


def test_parts_are_parquet_that_others_read(tmp_path, active) -> None:
    index = merged(tmp_path / "result", active, [])
    read = pa.concat_tables([pq.read_table(path) for path in index.parent.glob("*.parquet")])
    assert equal(sort(from_stretches(read)), sort(active._replace(value=active.value)))
