"""bigBed files read back by libBigWig (pyBigWig) and, where that cannot look, byte by byte."""

import struct
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyBigWig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations import bbi, bigbed
from annotations.bigbed import write_bigbed
from annotations.errors import CoordinateError, FormatError

SQL = 'table peaks\n"peaks"\n(\nstring chrom; "c"\nuint chromStart; "s"\nuint chromEnd; "e"\n)\n'
NAMES = ["chr2", "chr10", "chr1", "empty"]
LENGTHS = [900, 5000, 300, 10]

Row = tuple[int, int, int, str]


def table(rows: list[Row]) -> pa.Table:
    contig, start, end, name = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "contig": pa.array(contig, pa.uint32()),
            "start": pa.array(start, pa.int64()),
            "end": pa.array(end, pa.int64()),
            "name": pa.array(name, pa.string()),
            "score": pa.array([7] * len(rows), pa.int64()),
        }
    )


def write(path: Path, rows: list[Row], index: str | None = None) -> None:
    write_bigbed(path, table(rows), NAMES, LENGTHS, autosql=SQL, standard_fields=5, index=index)


def read(path: Path) -> list[Row]:
    """Every row, by libBigWig."""
    with pyBigWig.open(str(path)) as file:
        assert file.isBigBed()
        assert file.chroms() == dict(zip(NAMES, LENGTHS, strict=True))
        return [
            (contig, start, end, rest.split("\t")[0])
            for contig, name in enumerate(NAMES)
            for start, end, rest in file.entries(name, 0, LENGTHS[contig]) or []
        ]


intervals = st.integers(0, 2).flatmap(
    lambda contig: st.tuples(
        st.just(contig),
        st.integers(0, LENGTHS[contig] - 1),
        st.integers(1, 60),
        st.sampled_from(["F1", "F12", "F7", "ZZ"]),
    ).map(lambda row: (row[0], row[1], min(row[1] + row[2], LENGTHS[row[0]]), row[3]))
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(intervals, min_size=1, max_size=40))
def test_every_row_is_read_back(tmp_path: Path, rows: list[Row]) -> None:
    write(tmp_path / "a.bb", rows)
    assert sorted(read(tmp_path / "a.bb")) == sorted(rows)


def test_trees_of_several_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bbi, "ITEMS_PER_BLOCK", 2)
    monkeypatch.setattr(bbi, "NODE_ITEMS", 3)
    rows = [(1, 7 * i, 7 * i + 3, f"F{i:03}") for i in range(200)]
    write(tmp_path / "a.bb", rows, index="name")
    monkeypatch.setattr(bigbed, "_BLOCKS_AT_ONCE", 7)
    write(tmp_path / "b.bb", rows, index="name")
    assert (tmp_path / "b.bb").read_bytes() == (tmp_path / "a.bb").read_bytes()
    assert read(tmp_path / "a.bb") == rows
    with pyBigWig.open(str(tmp_path / "a.bb")) as file:
        # one row out of the middle, found through the tree
        assert file.entries("chr10", 702, 703) == [(700, 703, "F100\t7")]
    raw = (tmp_path / "a.bb").read_bytes()
    for name in ("F000", "F100", "F199"):
        assert name in names_in_block(raw, look_up(raw, name))
    assert look_up(raw, "F2") is None


def test_header_fields(tmp_path: Path) -> None:
    write(tmp_path / "a.bb", [(0, 10, 20, "F1"), (0, 15, 40, "F2"), (2, 0, 1, "F1")])
    raw = (tmp_path / "a.bb").read_bytes()
    fields, standard = struct.unpack_from("<HH", raw, 32)
    assert (fields, standard) == (5, 5)
    with pyBigWig.open(str(tmp_path / "a.bb")) as file:
        header = file.header()
        assert file.SQL().decode() == SQL
    # 10-15 once, 15-20 twice, 20-40 once, and one base of chr1
    assert header["nBasesCovered"] == 31
    assert (header["minVal"], header["maxVal"], header["sumData"]) == (1, 2, 36)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(intervals, min_size=1, max_size=40))
def test_zoom_levels_count_depth(tmp_path: Path, rows: list[Row]) -> None:
    write(tmp_path / "a.bb", rows)
    raw = (tmp_path / "a.bb").read_bytes()
    depth: dict[int, Any] = defaultdict(lambda: np.zeros(5000))
    ids = {contig: place for place, contig in enumerate(sorted(range(4), key=NAMES.__getitem__))}
    for contig, start, end, _ in rows:
        depth[ids[contig]][start:end] += 1
    (zooms,) = struct.unpack_from("<H", raw, 6)
    assert zooms >= 1
    for zoom in range(zooms):
        reduction, _, data, tree = struct.unpack_from("<IIQQ", raw, 64 + 24 * zoom)
        records = zoom_records(raw, data, tree)
        seen = 0
        for contig, start, end, bases, least, most, total, squares in records:
            assert start // reduction == (end - 1) // reduction
            part = depth[contig][start:end]
            assert part[0] > 0
            assert part[-1] > 0
            covered = part[part > 0]
            assert (bases, least, most) == (len(covered), covered.min(), covered.max())
            assert (total, squares) == (covered.sum(), (covered**2).sum())
            seen += bases
        assert seen == sum(int((d > 0).sum()) for d in depth.values())


def test_no_rows(tmp_path: Path) -> None:
    write(tmp_path / "a.bb", [], index="name")
    assert read(tmp_path / "a.bb") == []


@pytest.mark.parametrize(
    "row", [(0, 5, 5, "F1"), (0, -1, 5, "F1"), (2, 299, 301, "F1"), (9, 0, 1, "F1")]
)
def test_places_are_checked(tmp_path: Path, row: Row) -> None:
    with pytest.raises(CoordinateError):
        write(tmp_path / "a.bb", [row])
    assert not list(tmp_path.iterdir())


def test_fields_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="standard_fields must be 3 to 5, got 6"):
        write_bigbed(tmp_path / "a.bb", table([]), NAMES, LENGTHS, autosql=SQL, standard_fields=6)
    with pytest.raises(FormatError, match="no field label"):
        write(tmp_path / "a.bb", [], index="label")


def look_up(raw: bytes, name: str) -> tuple[int, int] | None:
    """The block that the index by name points to, found the way the kent library does."""
    (extension,) = struct.unpack_from("<Q", raw, 56)
    _, count, entries = struct.unpack_from("<HHQ", raw, extension)
    assert count == 1
    _, _, at, _, field, _ = struct.unpack_from("<HHQIHH", raw, entries)
    assert field == 3
    _, _, width, size, items, _ = struct.unpack_from("<IIIIQQ", raw, at)
    assert (size, items) == (16, 200)
    node = at + 32
    while True:
        leaf, _, count = struct.unpack_from("<BBH", raw, node)
        step = width + (16 if leaf else 8)
        places = [node + 4 + step * i for i in range(count)]
        keys = [raw[p : p + width].rstrip(b"\0").decode() for p in places]
        if leaf:
            if name not in keys:
                return None
            return struct.unpack_from("<QQ", raw, places[keys.index(name)] + width)
        below = max((i for i in range(count) if keys[i] <= name), default=0)
        (node,) = struct.unpack_from("<Q", raw, places[below] + width)


def names_in_block(raw: bytes, place: tuple[int, int] | None) -> list[str]:
    assert place is not None
    offset, size = place
    block, names = zlib.decompress(raw[offset : offset + size]), []
    while block:
        line, _, rest = block[12:].partition(b"\0")
        names.append(line.decode().split("\t")[0])
        block = rest
    return names


def zoom_records(raw: bytes, data: int, tree: int) -> list[tuple[Any, ...]]:
    (count,) = struct.unpack_from("<I", raw, data)
    _, _, blocks = struct.unpack_from("<IIQ", raw, tree)
    leaf, _, items = struct.unpack_from("<BBH", raw, tree + 48)
    assert (leaf, items) == (1, blocks)
    records: list[tuple[Any, ...]] = []
    for item in range(items):
        offset, size = struct.unpack_from("<QQ", raw, tree + 52 + 32 * item + 16)
        block = zlib.decompress(raw[offset : offset + size])
        records += struct.iter_unpack("<IIIIffff", block)
    assert len(records) == count
    return records
