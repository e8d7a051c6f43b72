"""Overlaps through bedtools equal a numpy twin, and a result that was cut is never believed."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import CoordinateError, FormatError, ToolError
from annotations.intervals import overlaps

LENGTHS = [40, 1, 90, 30, 30, 30, 30, 30, 30, 30, 60]  # 11 contigs: "10" sorts before "2" as text


def table(rows: list[tuple[int, int, int]]) -> pa.Table:
    contig, start, end = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "contig": pa.array(contig, pa.uint32()),
            "start": pa.array(start, pa.int64()),
            "end": pa.array(end, pa.int64()),
        }
    )


def twin(left: pa.Table, right: pa.Table) -> list[tuple[int, int]]:
    """Every row against every row."""
    a, b = ({name: t[name].to_numpy() for name in t.column_names} for t in (left, right))
    shared = (
        (a["contig"][:, None] == b["contig"])
        & (a["start"][:, None] < b["end"])
        & (b["start"] < a["end"][:, None])
    )
    return [(int(i), int(j)) for i, j in np.argwhere(shared)]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = []
    for contig in draw(st.lists(st.integers(0, len(LENGTHS) - 1), max_size=30)):
        start = draw(st.integers(0, LENGTHS[contig] - 1))
        rows.append((contig, start, draw(st.integers(start + 1, LENGTHS[contig]))))
    return table(rows)


def test_overlaps_by_hand(tmp_path: Path) -> None:
    left = table([(2, 50, 60), (0, 0, 10), (2, 10, 20)])
    right = table([(2, 55, 56), (0, 10, 12), (2, 0, 90), (0, 9, 10)])  # row 1 only touches
    pairs = overlaps(left, right, lengths=LENGTHS, directory=tmp_path)
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == [
        (0, 0),
        (0, 2),
        (1, 3),
        (2, 2),
    ]
    assert pairs.left.dtype == pairs.right.dtype == np.int64
    assert list(tmp_path.iterdir()) == []


def test_peaks_are_single_bases(tmp_path: Path) -> None:
    peaks = pa.table({"contig": [0, 0], "position": [9, 10], "value": [1.0, 2.0]})
    pairs = overlaps(peaks, table([(0, 5, 10)]), lengths=LENGTHS, directory=tmp_path)
    assert (pairs.left.tolist(), pairs.right.tolist()) == ([0], [0])


@given(tables(), tables())
@settings(max_examples=25, deadline=None)
def test_overlaps_equal_the_twin(
    tmp_path_factory: pytest.TempPathFactory, left: pa.Table, right: pa.Table
) -> None:
    directory = tmp_path_factory.getbasetemp()
    pairs = overlaps(left, right, lengths=LENGTHS, directory=directory)
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == twin(left, right)


def test_many_rows_equal_the_twin(tmp_path: Path) -> None:
    """More output than one buffer of bedtools."""
    random = np.random.default_rng(1)
    lengths = [1_000_000, 300_000]

    def drawn(rows: int, width: int) -> pa.Table:
        contig = random.integers(0, 2, rows)
        start = random.integers(0, 299_000, rows)
        return table(list(zip(contig, start, start + random.integers(1, width, rows), strict=True)))

    left, right = drawn(3000, 20), drawn(1000, 900)
    pairs = overlaps(left, right, lengths=lengths, directory=tmp_path)
    expected = twin(left, right)
    assert len(expected) > 1000
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, 5, 5), r"row 1: \[5, 5\) is empty"),
        ((0, 6, 5), "reversed"),
        ((0, -1, 5), "outside contig 0"),
        ((0, 5, 41), r"row 1: \[5, 41\).*contig 0 of 40 bases"),
        ((11, 0, 1), "contigs are numbered 0 to 10, got 11"),
    ],
)
def test_intervals_off_their_contig_are_refused(
    row: tuple[int, int, int], message: str, tmp_path: Path
) -> None:
    good = table([(0, 0, 1)])
    with pytest.raises(CoordinateError, match=message):
        overlaps(good, table([(0, 0, 1), row]), lengths=LENGTHS, directory=tmp_path)


def test_a_table_without_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="got contig, start"):
        overlaps(
            pa.table({"contig": [0], "start": [0]}), table([]), lengths=LENGTHS, directory=tmp_path
        )


# ------------------------------------------------------------------- a program that fails

LEFT = table([(2, i, i + 5) for i in range(50)])
RIGHT = table([(2, 0, 90), (2, 20, 30)])


@pytest.fixture
def fake_bedtools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bedtools that passes on what `$after` lets through, then runs `$then`."""
    import pybedtools  # before the fake is on the PATH: importing calls the program  # noqa: F401

    real = shutil.which("bedtools")
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "bedtools"
    script.write_text(f'#!/bin/bash\n{real} "$@" | eval "$after"\neval "$then"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return script


@pytest.mark.parametrize(
    ("after", "then", "message"),
    [
        ("head -n 10", "kill -9 $$", r"stopped before it was done \(10 of 50 rows\)"),
        # All rows of the left table are there, only pairs of the last one are missing.
        ("head -n -1", "true", r"stopped before it was done \(50 of 50 rows\)"),
        ("head -c 300", "kill -9 $$", "stopped"),
        ("cat > /dev/null", "kill -9 $$", r"\(0 of 50 rows\)"),
        ("cat > /dev/null", "echo Error: no memory >&2; exit 1", "bedtools failed: .*no memory"),
    ],
)
@pytest.mark.usefixtures("fake_bedtools")
def test_a_cut_result_is_an_error(
    after: str, then: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("after", "cat")
    monkeypatch.setenv("then", "true")
    whole = overlaps(LEFT, RIGHT, lengths=LENGTHS, directory=tmp_path)
    assert len(whole.left) == len(twin(LEFT, RIGHT))
    monkeypatch.setenv("after", after)
    monkeypatch.setenv("then", then)
    with pytest.raises(ToolError, match=f"(?s){message}"):
        overlaps(LEFT, RIGHT, lengths=LENGTHS, directory=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_a_missing_program_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ToolError, match="run `make bedtools`"):
        overlaps(LEFT, RIGHT, lengths=LENGTHS, directory=tmp_path)


def test_a_program_beside_python_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make bedtools` leaves it in .venv/bin, which need not be on the PATH."""
    import pybedtools

    (tmp_path / "bedtools").symlink_to(str(shutil.which("bedtools")))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    try:
        pairs = overlaps(LEFT, RIGHT, lengths=LENGTHS, directory=tmp_path)
    finally:
        monkeypatch.undo()
        pybedtools.helpers.set_bedtools_path("")
    assert len(pairs.left) == len(twin(LEFT, RIGHT))
