"""Lines of an annotation on the sequences of a submission, and the reader of BED and BED12.

Every reader turns numbered lines into `GeneModels`, refuses a malformed line with its number and
asks a `Placement` whether a line lies on a sequence of the submission.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from annotations.contig_aliases import ContigNames
from annotations.errors import CoordinateError, FormatError
from annotations.transcripts import GeneModels, Interval, Row, Transcript
from annotations.types import Contig

Line = tuple[int, str]
"""Number, from 1, and text."""

_STRANDS = {"+": 1, "-": -1, ".": 0, "?": 0}
_NAMES_KEPT = 1000
OTHER_CONTIG = "lines on contigs that the sequences do not have"
"""Reason for skipping, in `GeneModels.skipped`."""


class Placement:
    """Finds the sequence a line of an annotation lies on, strictly by name."""

    def __init__(
        self,
        contigs: Sequence[Contig],
        *,
        what: str = "annotation",
        names: ContigNames | None = None,
    ) -> None:
        """Lines on `contigs`; messages speak of `what`, such as "annotation" or "BED".

        `names` says what else the contigs are called.
        """
        self.what = what
        self._contigs = {
            contig.name: (index, contig.length) for index, contig in enumerate(contigs)
        }
        self._named = list(self._contigs)
        for index, others in enumerate(() if names is None else names.aliases):
            found = self._contigs[self._named[index]]
            self._contigs.update(dict.fromkeys(others, found))
        self.matched = 0
        """Lines on a sequence of the submission."""
        self.elsewhere = 0
        """Lines on other contigs."""
        self.other_names: dict[str, None] = {}
        """Names of up to `_NAMES_KEPT` other contigs, in order."""
        self._circular: set[str] = set()

    def find(self, name: str, start: int, end: int, number: int) -> int | None:
        """Index of the contig of an interval, or None (counted) if the submission has none.

        Raises
        ------
        CoordinateError
            With the line number, if the interval is reversed, empty or not on its contig.
        """
        if start < 0 or start >= end:
            raise CoordinateError(
                f"{self.what} line {number}: an interval must start at or after the first base "
                f"and before its end, got 0-based start {start} and end {end}"
            )
        found = self._contigs.get(name)
        if found is None:
            self.elsewhere += 1
            if len(self.other_names) < _NAMES_KEPT:
                self.other_names[name] = None
            return None
        self.matched += 1
        index, length = found
        if end > length:
            raise CoordinateError(
                f"{self.what} line {number}: end {end} is outside {name!r}, which has {length} "
                f"bases; is the {self.what} file of another assembly?"
            )
        return index

    def call_circular(self, name: str) -> None:
        """Note that the annotation calls a contig circular."""
        if name in self._contigs:
            self._circular.add(name)

    def crosses_origin(self, name: str, start: int, end: int) -> bool:
        """Whether an interval runs over the end of a contig that is known to be circular."""
        return name in self._circular and start < self._contigs[name][1] < end

    def require_match(self) -> None:
        """Refuse an annotation none of whose lines lies on the submission.

        Raises
        ------
        FormatError
            With the names of both sides.
        """
        if self.matched:
            return
        if not self.elsewhere:
            raise FormatError(f"the {self.what} file holds no intervals")
        expected = self._named
        names = f"it names {_some(self.other_names)}, the sequences are named {_some(expected)}"
        hint = "use the same names in both files"
        if {name.removeprefix("chr") for name in self.other_names} & {
            name.removeprefix("chr") for name in expected
        }:
            hint = "they differ by the prefix 'chr': add it to one file or remove it from the other"
        raise FormatError(f"no line of the {self.what} file lies on a sequence: {names}; {hint}")


def _some(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def whole_number(text: str, field: str, line: int, what: str = "annotation") -> int:
    """The number in a field; `FormatError` with the line if it is not plain digits."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise FormatError(f"{what} line {line}: {field} must be a whole number, got {text[:40]!r}")
    return int(text)


def strand_sign(text: str, line: int, what: str = "annotation") -> int:
    """+1, -1 or 0 (unknown); `FormatError` with the line if it is no strand."""
    if text not in _STRANDS:
        raise FormatError(f"{what} line {line}: strand must be '+', '-' or '.', got {text[:40]!r}")
    return _STRANDS[text]


# ---------------------------------------------------------------------------- BED


def read_bed(lines: Iterable[Line], placement: Placement) -> GeneModels:
    """Read BED.

    With 12 or more columns of which 10 to 12 are blocks, each line is a transcript (and a row of
    kind gene); else each line is an interval of kind region. Columns 4 (name) and 6 (strand) are
    used where they are.

    Raises
    ------
    FormatError, CoordinateError
        With the number of the first wrong line.
    """
    models, what = GeneModels(), placement.what
    columns = 0
    is_bed12 = False
    for number, text in lines:
        if not text.strip() or text.startswith(("#", "track", "browser")):
            continue
        fields = text.split("\t") if "\t" in text else text.split()
        if len(fields) < 3:
            raise FormatError(
                f"{what} line {number}: BED has at least 3 columns, got {len(fields)}"
            )
        if not columns:
            columns = len(fields)
            is_bed12 = columns >= 12 and _looks_like_blocks(fields)
        if len(fields) != columns:
            raise FormatError(
                f"{what} line {number}: {len(fields)} columns where the lines before have {columns}"
            )
        start, end = (
            whole_number(fields[1], "start", number, what),
            whole_number(fields[2], "end", number, what),
        )
        contig = placement.find(fields[0], start, end, number)
        if contig is None:
            models.skipped[OTHER_CONTIG] += 1
            continue
        name = fields[3] if columns > 3 and fields[3] != "." else ""
        strand = strand_sign(fields[5], number, what) if columns > 5 else 0
        if is_bed12:
            exons = _blocks(fields, start, end, number, what)
            cds = _thick(fields, exons, start, end, number, what)
            models.transcripts.append(Transcript(contig, strand, name, name, exons, cds))
            models.rows.append(Row(contig, start, end, strand, "gene", name, ""))
        else:
            models.rows.append(Row(contig, start, end, strand, "region", name, ""))
    return models


def _looks_like_blocks(fields: Sequence[str]) -> bool:
    return fields[9].isdigit() and all(re.fullmatch(r"[\d,]+", text) for text in fields[10:12])


def _blocks(
    fields: Sequence[str], start: int, end: int, number: int, what: str
) -> tuple[Interval, ...]:
    count = whole_number(fields[9], "blockCount", number, what)
    sizes = [
        whole_number(size, "blockSizes", number, what) for size in fields[10].strip(",").split(",")
    ]
    starts = [
        whole_number(low, "blockStarts", number, what) for low in fields[11].strip(",").split(",")
    ]
    if not len(sizes) == len(starts) == count:
        raise FormatError(
            f"{what} line {number}: blockCount is {count}, with {len(sizes)} blockSizes and "
            f"{len(starts)} blockStarts"
        )
    blocks = tuple(
        (start + low, start + low + size) for low, size in zip(starts, sizes, strict=True)
    )
    ordered = all(before[1] <= after[0] for before, after in pairwise(blocks))
    if not ordered or 0 in sizes or blocks[0][0] != start or blocks[-1][1] != end:
        raise FormatError(
            f"{what} line {number}: blocks must not be empty or overlap, and must run from "
            "chromStart to chromEnd"
        )
    return blocks


def _thick(
    fields: Sequence[str],
    exons: tuple[Interval, ...],
    start: int,
    end: int,
    number: int,
    what: str,
) -> tuple[Interval, ...]:
    first = whole_number(fields[6], "thickStart", number, what)
    last = whole_number(fields[7], "thickEnd", number, what)
    if first == last:
        return ()
    if not start <= first < last <= end:
        raise FormatError(
            f"{what} line {number}: thickStart and thickEnd must lie inside the interval"
        )
    return tuple(
        (max(low, first), min(high, last)) for low, high in exons if low < last and high > first
    )
