"""bigWig files read back by libBigWig (pyBigWig), their zoom levels against every base."""

import struct
import tracemalloc
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations import bbi
from annotations.bbi import Stretches
from annotations.bigwig import Values, write_runs, write_values
from annotations.errors import CoordinateError, FormatError
from tests.annotations.test_bigbed import zoom_records

NAMES = ["chr2", "chr10", "chr1", "empty"]
LENGTHS = [900, 5000, 300, 10]
IDS = {"chr1": 0, "chr10": 1, "chr2": 2, "empty": 3}

Run = tuple[int, int, int, float]


def stretches(runs: list[Run]) -> Stretches:
    contig, start, end, value = zip(*runs, strict=True) if runs else ((), (), (), ())
    places = (np.array(column, np.int64) for column in (contig, start, end))
    return Stretches(*places, np.array(value, np.float32))


@st.composite
def run_lists(draw: st.DrawFn) -> list[Run]:
    """Sorted runs with gaps between some of them, and negative values."""
    found: list[Run] = []
    for contig in sorted(draw(st.sets(st.integers(0, 2), min_size=1))):
        borders = sorted(draw(st.sets(st.integers(0, LENGTHS[contig]), min_size=2, max_size=30)))
        for start, end in pairwise(borders):
            if draw(st.integers(0, 3)):
                value = draw(st.sampled_from([0.0, 0.5, -3.25, 8.0, 1e6]))
                found.append((contig, start, end, value))
    return found


def dense(runs: list[Run]) -> dict[str, np.ndarray]:
    """Every base of every contig; NaN where there is no value."""
    signal = {name: np.full(n, np.nan) for name, n in zip(NAMES, LENGTHS, strict=True)}
    for contig, start, end, value in runs:
        signal[NAMES[contig]][start:end] = value
    return signal


few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(runs=run_lists())
def test_every_run_is_read_back(tmp_path: Path, runs: list[Run]) -> None:
    path = tmp_path / "a.bw"
    write_runs(path, stretches(runs), NAMES, LENGTHS)
    signal = dense(runs)
    every = np.concatenate(list(signal.values()))
    every = every[~np.isnan(every)]
    with pyBigWig.open(str(path)) as file:
        assert file.isBigWig()
        assert file.chroms() == dict(zip(NAMES, LENGTHS, strict=True))
        found = [
            (contig, *run)
            for contig, name in enumerate(NAMES)
            for run in file.intervals(name) or ()
        ]
        assert found == runs
        header = file.header()
    assert header["nBasesCovered"] == len(every)
    # pyBigWig tells whole numbers
    assert header["sumData"] == int(every.sum())
    if len(every):
        assert (header["minVal"], header["maxVal"]) == (int(every.min()), int(every.max()))


@few
@given(runs=run_lists())
def test_zoom_levels_sum_up_what_is_there(tmp_path: Path, runs: list[Run]) -> None:
    path = tmp_path / "a.bw"
    write_runs(path, stretches(runs), NAMES, LENGTHS)
    raw, signal = path.read_bytes(), dense(runs)
    (zooms,) = struct.unpack_from("<H", raw, 6)
    assert zooms >= 1 or not runs
    for zoom in range(zooms):
        _, _, data, tree = struct.unpack_from("<IIQQ", raw, 64 + 24 * zoom)
        seen = 0
        for contig, start, end, bases, *said in zoom_records(raw, data, tree):
            name = next(name for name, each in IDS.items() if each == contig)
            own = signal[name][start:end]
            own = own[~np.isnan(own)]
            assert bases == len(own)
            wanted = [own.min(), own.max(), own.sum(), (own**2).sum()]
            assert np.allclose(said, wanted, rtol=1e-6)
            seen += bases
        assert seen == sum(end - start for _, start, end, _ in runs)


def test_a_mean_over_bins_is_exact_with_zoom_levels(tmp_path: Path) -> None:
    """The writer of libBigWig says 0.98 for the last bin of a constant 1."""
    runs = [(0, at, at + 1, 1.0) for at in range(100_000)]
    write_runs(tmp_path / "a.bw", stretches(runs), ["c"], [100_000])
    with pyBigWig.open(str(tmp_path / "a.bw")) as file:
        assert file.header()["nLevels"] > 2
        assert file.stats("c", nBins=10) == [1.0] * 10


def test_trees_of_several_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bbi, "ITEMS_PER_BLOCK", 2)
    monkeypatch.setattr(bbi, "NODE_ITEMS", 3)
    runs = [(1, 7 * i, 7 * i + 3, float(i)) for i in range(200)]
    write_runs(tmp_path / "a.bw", stretches(runs), NAMES, LENGTHS)
    with pyBigWig.open(str(tmp_path / "a.bw")) as file:
        assert [(1, *run) for run in file.intervals("chr10")] == runs
        assert file.intervals("chr10", 702, 703) == ((700, 703, 100.0),)


def test_a_block_holds_runs_of_one_contig_and_no_more_than_its_header_says(tmp_path: Path) -> None:
    runs = [(at % 3, 0, 9, 1.0) for at in (0, 1, 2)] + [(3, 0, 10, 2.0)]
    write_runs(tmp_path / "a.bw", stretches(runs), NAMES, LENGTHS)
    raw = (tmp_path / "a.bw").read_bytes()
    at_data, at_index = struct.unpack_from("<QQ", raw, 16)
    (room,) = struct.unpack_from("<I", raw, 52)
    (blocks,) = struct.unpack_from("<Q", raw, at_data)
    assert blocks == 4
    place, contigs = at_data + 8, []
    for _ in range(blocks):
        reader = zlib.decompressobj()
        block = reader.decompress(raw[place:at_index])
        assert len(block) <= room
        contigs.append(struct.unpack_from("<I", block)[0])
        place = at_index - len(reader.unused_data)
    assert (contigs, place) == ([0, 1, 2, 3], at_index)


def test_a_hundred_thousand_contigs(tmp_path: Path) -> None:
    count = 100_000
    names = [f"contig_{at}" for at in range(count)]
    at = np.arange(count)
    runs = Stretches(at, np.zeros(count, np.int64), at + 1, (at % 7).astype(np.float32))
    write_runs(tmp_path / "a.bw", runs, names, list(range(1, count + 1)))
    with pyBigWig.open(str(tmp_path / "a.bw")) as file:
        assert len(file.chroms()) == count
        for contig in (0, 9, 99_999, 50_001):
            assert file.intervals(names[contig]) == ((0, contig + 1, contig % 7),)


@pytest.mark.parametrize(
    ("runs", "error"),
    [
        ([(0, 5, 5, 1.0)], CoordinateError),
        ([(0, -1, 5, 1.0)], CoordinateError),
        ([(0, 5, 901, 1.0)], CoordinateError),
        ([(0, 5, 8, 1.0), (0, 7, 9, 1.0)], CoordinateError),
        ([(1, 5, 8, 1.0), (0, 5, 8, 1.0)], CoordinateError),
        ([(0, 5, 8, float("nan"))], FormatError),
        ([(0, 5, 8, float("inf"))], FormatError),
    ],
)
def test_what_no_reader_takes_is_refused(
    tmp_path: Path, runs: list[Run], error: type[Exception]
) -> None:
    with pytest.raises(error):
        write_runs(tmp_path / "a.bw", stretches(runs), NAMES, LENGTHS)
    assert not list(tmp_path.iterdir())


Parts = list[tuple[int, int, list[float]]]


@st.composite
def value_parts(draw: st.DrawFn) -> Parts:
    """Values of stretches of bases, in any order, with gaps between some of them."""
    found: Parts = []
    for contig in draw(st.permutations([0, 1, 2])):
        borders = sorted(draw(st.sets(st.integers(0, LENGTHS[contig]), max_size=6)))
        seed = draw(st.integers(0, 999))
        for start, end in pairwise(borders):
            if draw(st.integers(0, 3)):
                values = np.random.default_rng(seed).normal(size=end - start)
                found.append((contig, start, values.tolist()))
    return found


def part_values(parts: Parts) -> list[Values]:
    return [Values(contig, start, np.array(own, np.float32)) for contig, start, own in parts]


@few
@given(parts=value_parts())
def test_every_value_is_read_back_and_summed_up(tmp_path: Path, parts: Parts) -> None:
    path = tmp_path / "x.bw"
    write_values(path, part_values(parts), NAMES, LENGTHS)
    signal = {name: np.full(n, np.nan, np.float32) for name, n in zip(NAMES, LENGTHS, strict=True)}
    for contig, start, own in parts:
        signal[NAMES[contig]][start : start + len(own)] = own
    known = np.concatenate([each[~np.isnan(each)] for each in signal.values()]).astype(float)
    with pyBigWig.open(str(path)) as track:
        assert track.chroms() == dict(zip(NAMES, LENGTHS, strict=True))
        header = track.header()
        assert header["nBasesCovered"] == len(known)
        assert header["sumData"] == int(known.sum())
        for name, each in signal.items():
            np.testing.assert_array_equal(track.values(name, 0, len(each), numpy=True), each)
    raw = path.read_bytes()
    count = struct.unpack_from("<H", raw, 6)[0]
    assert bool(count) == bool(len(known))
    for level in range(count):
        _, _, data, tree = struct.unpack_from("<IIQQ", raw, 64 + 24 * level)
        records = zoom_records(raw, data, tree)
        assert sum(record[3] for record in records) == len(known)
        for contig, start, end, bases, least, most, total, squares in records:
            held = signal[next(name for name, at in IDS.items() if at == contig)][start:end]
            held = held[~np.isnan(held)].astype(float)
            assert (bases, least, most) == (len(held), held.min(), held.max())
            np.testing.assert_allclose([total, squares], [held.sum(), (held**2).sum()], atol=1e-3)


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        ([(0, 5, [1.0, float("nan")])], FormatError, "must be finite"),
        ([(2, 299, [1.0, 1.0])], CoordinateError, "300 bases, got 299 to 301"),
        ([(2, -1, [1.0])], CoordinateError, "got -1 to 0"),
        ([(1, 5, [1.0, 2.0]), (0, 5, [1.0]), (1, 6, [1.0])], CoordinateError, "two values"),
    ],
)
def test_values_that_no_reader_takes_are_refused(
    tmp_path: Path, parts: Parts, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        write_values(tmp_path / "x.bw", part_values(parts), NAMES, LENGTHS)
    assert not list(tmp_path.iterdir())


def test_a_file_of_values_takes_memory_of_one_part(tmp_path: Path) -> None:
    length, size = 2_000_000, 50_000

    def parts():  # type: ignore[no-untyped-def]
        for start in range(0, length, size):
            yield Values(0, start, np.arange(start, start + size, dtype=np.float32))

    tracemalloc.start()
    write_values(tmp_path / "x.bw", parts(), ["a"], [length])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # all bases as runs would take 28 bytes each, and 64 more for the narrowest bins
    assert peak < 12 * length
