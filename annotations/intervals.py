"""Overlaps of two sets of intervals on the contigs of a submission, through bedtools.

    two tables --sorted BED6 of row numbers--> bedtools intersect --one table--> pairs of rows

pybedtools starts the program and checks neither its exit status nor whether it wrote all of its
output, so that is done here: bedtools reports every row of the first set, with or without an
overlap, and a guard row after the last one. A result without all of them was cut and is refused.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from annotations.errors import CoordinateError, FormatError, ToolError

_RESULT_COLUMNS = [f"f{i}" for i in range(13)]  # BED6 of both sides and the bases in common
_LEFT_ID, _RIGHT_ID = "f3", "f9"


class Overlaps(NamedTuple):
    """Pairs of rows whose intervals share at least one base."""

    left: NDArray[np.int64]
    """Row of the first table, shape (pairs,); ascending."""
    right: NDArray[np.int64]
    """Row of the second table, shape (pairs,); ascending for each row of the first."""


def overlaps(
    left: pa.Table, right: pa.Table, *, lengths: Sequence[int], directory: Path
) -> Overlaps:
    """Find all pairs of rows of two tables that share at least one base, on either strand.

    Parameters
    ----------
    left, right : pyarrow.Table
        Columns `contig`, `start` and `end`, 0-based and half-open; or `contig` and `position` for
        single bases, as in tables of peaks. Other columns are not looked at.
    lengths : sequence of int
        Bases of each contig.
    directory : Path
        An existing folder; scratch files are made and removed in a new folder under it.

    Returns
    -------
    pairs : Overlaps
        Sorted by row of `left`, then of `right`.

    Raises
    ------
    CoordinateError
        If an interval is empty, reversed or not on its contig.
    FormatError
        If a table lacks the columns.
    ToolError
        If bedtools is missing, fails or is stopped before it is done.
    """
    columns = [_columns(table, lengths) for table in (left, right)]
    nothing = np.zeros(0, dtype=np.int64)
    if not left.num_rows or not right.num_rows:
        return Overlaps(nothing, nothing)
    with tempfile.TemporaryDirectory(dir=directory, prefix="overlaps-") as folder:
        scratch = Path(folder)
        files = []
        for name, (contig, start, end) in zip(("left", "right"), columns, strict=True):
            files.append(scratch / f"{name}.bed")
            _write_bed(files[-1], contig, start, end, guard=len(lengths))
        sizes = scratch / "sizes.tsv"
        sizes.write_text(
            "".join(f"{_contig_name(i)}\t{length}\n" for i, length in enumerate([*lengths, 1]))
        )
        result = scratch / "result.bed"
        _intersect(*files, sizes=sizes, result=result)
        pairs = _read_pairs(result, left.num_rows, right.num_rows)
    order = np.lexsort((pairs.right, pairs.left))
    return Overlaps(pairs.left[order], pairs.right[order])


def _columns(
    table: pa.Table, lengths: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    names = set(table.column_names)
    if not ({"contig", "start", "end"} <= names or {"contig", "position"} <= names):
        raise FormatError(
            "a table of intervals needs the columns contig, start and end, or contig and position; "
            f"got {', '.join(table.column_names)}"
        )
    contig = table["contig"].to_numpy().astype(np.int64)
    if "start" in names:
        start, end = (table[name].to_numpy().astype(np.int64) for name in ("start", "end"))
    else:
        start = table["position"].to_numpy().astype(np.int64)
        end = start + 1
    if contig.size and not 0 <= contig.min() <= contig.max() < len(lengths):
        raise CoordinateError(f"contigs are numbered 0 to {len(lengths) - 1}, got {contig.max()}")
    wrong = (start < 0) | (start >= end) | (end > np.asarray(lengths, dtype=np.int64)[contig])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise CoordinateError(
            f"row {row}: [{start[row]}, {end[row]}) is empty, reversed or outside contig "
            f"{contig[row]} of {lengths[contig[row]]} bases"
        )
    return contig, start, end


def _contig_name(index: int) -> str:
    """A name whose order by letters is the order by number, which bedtools needs."""
    return f"c{index:09d}"


def _write_bed(
    path: Path,
    contig: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    *,
    guard: int,
) -> None:
    """Write rows as sorted BED6 named by their numbers, then the guard on a contig after all.

    Only short fields: bedtools 2.30 cuts lines of BED6 at 4096 bytes without a word.
    """
    row = np.lexsort((end, start, contig))
    table = pa.table(
        {
            "contig": pa.array([_contig_name(i) for i in range(guard + 1)]).take(
                pa.array(np.append(contig[row], guard))
            ),
            "start": np.append(start[row], 0),
            "end": np.append(end[row], 1),
            "row": np.append(row, len(row)),
            "score": pa.repeat(".", len(row) + 1),
            "strand": pa.repeat(".", len(row) + 1),
        }
    )
    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    csv.write_csv(table, path, options)


def _intersect(left: Path, right: Path, *, sizes: Path, result: Path) -> None:
    on_path = shutil.which("bedtools")
    beside_python = shutil.which("bedtools", path=str(Path(sys.executable).parent))
    if not (on_path or beside_python):
        raise ToolError(
            "the program bedtools is not installed; run `make bedtools`, or on Debian "
            "`sudo apt-get install bedtools`"
        )
    # Imported here, once it is known to be there: pybedtools looks for the program when imported.
    import pybedtools

    if beside_python and not on_path:
        pybedtools.helpers.set_bedtools_path(str(Path(beside_python).parent))
    try:
        # A named output keeps pybedtools from its own temporary files, which it never removes.
        pybedtools.BedTool(str(left)).intersect(
            pybedtools.BedTool(str(right)),
            wao=True,
            sorted=True,
            g=str(sizes),
            output=str(result),
        )
    except (pybedtools.helpers.BEDToolsError, OSError, NotImplementedError) as error:
        raise ToolError(f"bedtools failed: {str(error).strip()[-300:]}") from error


def _read_pairs(result: Path, left_rows: int, right_rows: int) -> Overlaps:
    """The pairs of a result that is whole."""
    if not result.stat().st_size:
        raise _stopped(0, left_rows)
    try:
        table = csv.read_csv(
            result,
            read_options=csv.ReadOptions(column_names=_RESULT_COLUMNS),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(
                include_columns=[_LEFT_ID, _RIGHT_ID],
                column_types={_LEFT_ID: pa.int64(), _RIGHT_ID: pa.int64()},
                null_values=["."],
            ),
        )
    except pa.ArrowInvalid as error:  # its last line is incomplete
        raise ToolError("bedtools was stopped while it wrote its result; run it again") from error
    left = table[_LEFT_ID].to_numpy()
    right = table[_RIGHT_ID].fill_null(-1).to_numpy()
    seen = np.zeros(left_rows + 1, dtype=bool)
    seen[left] = True
    if not seen.all():  # the guard, written last, among them
        raise _stopped(int(seen.sum()), left_rows)
    real = (right >= 0) & (left < left_rows)
    return Overlaps(left[real], right[real])


def _stopped(found: int, wanted: int) -> ToolError:
    return ToolError(
        f"bedtools was stopped before it was done ({found} of {wanted} rows); it may have run out "
        "of memory"
    )
