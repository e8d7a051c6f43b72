"""Parts of a genome that a run reads: named by a BED file, by loci or by genes.

    BED | "chrI:1,000-2,000" | gene names --read_regions, parse_loci, find_genes--> regions
    regions --merged(flank)--> spans: what is computed, sorted, no two touch
    spans   --pieces--> what has to be stored so that a model can read the spans

Coordinates are 0-based and half-open, in locus text 1-based and inclusive. Contigs are found by
`annotations.contig_aliases.ContigNames`: by their own names, then by a stated table.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotations.compression import lines
from annotations.contig_aliases import ContigNames
from annotations.errors import (
    CoordinateError,
    FormatError,
    LimitError,
    OptionError,
    SaetrackError,
    UnknownNameError,
)
from annotations.peaks import RADIUS
from annotations.tables import column
from annotations.transcripts import MIN_INTRON
from annotations.types import Span

MAX_REGIONS: Final = 100_000
"""Regions of one run."""

MAX_FLANK: Final = 1_000_000
"""Bases added to each side of a region at most."""

MAX_BYTES: Final = 100_000_000
"""Largest BED file of regions, decompressed."""

MAX_NAMES: Final = 1_000
"""Genes or loci of one run that are named in text."""

_RANGE = re.compile(r"(\d[\d,]*)(?:(?:-|\.\.)(\d[\d,]*))?")
_NUMBER = re.compile(r"\d+|\d{1,3}(?:,\d{3})+")
_SEPARATOR = re.compile(r"[\n\r;]+|,(?!\d{3}(?![\d:]))|(?<!\d),")
"""What separates loci: a line, a semicolon, or a comma that is not inside a number."""
_NEAR_AMONG: Final = 50_000
_BED_COLUMNS: Final = 3


class Region(NamedTuple):
    """A part of a genome that was asked for."""

    contig: int
    """Index of the contig in the genome."""
    start: int
    end: int
    name: str
    """What it was called: column 4 of a BED file, a gene, the text of a locus; may be empty."""


class GeneLoci(NamedTuple):
    """Where some genes lie."""

    regions: list[Region]
    """By gene in the order asked for, then by place; several for a gene in several places."""
    several: dict[str, int]
    """Number of places of each gene that has more than one."""


class Merged(NamedTuple):
    """Regions with their flanks, as they are computed."""

    spans: list[Span]
    """Sorted by contig and start; no two overlap or touch."""
    regions: int
    """Regions that were given, before those that overlap became one."""

    @property
    def bases(self) -> int:
        """Bases of the spans."""
        return sum(span.length for span in self.spans)

    @property
    def contigs(self) -> list[int]:
        """Contigs that the spans touch, ascending."""
        return sorted({span.contig for span in self.spans})


def parse_loci(text: str, names: ContigNames, lengths: Sequence[int]) -> list[Region]:
    """Regions that a text names: ``chrI:1,000-2,000``, ``chrI:1500``, or ``chrI`` for all of it.

    Parameters
    ----------
    text : str
        1-based and inclusive; several loci with a line end, a semicolon or a comma between them.
        A comma before three digits is part of a number.
    names : ContigNames
        Of the genome.
    lengths : sequence of int
        Bases of its contigs.

    Raises
    ------
    UnknownNameError
        If there is no such contig; the message holds near names.
    FormatError, OptionError
        If a text is no locus, or there is none, or there are too many.
    CoordinateError
        If a locus is reversed or goes past its contig.

    Examples
    --------
    >>> parse_loci("chrI:1,001-2,000", ContigNames(["chrI"]), [5000])
    [Region(contig=0, start=1000, end=2000, name='chrI:1,001-2,000')]
    """
    found = [_locus(part, names, lengths) for part in _parts(text, _SEPARATOR)]
    _check_count(len(found), "locus (chrI:1,000-2,000)")
    return found


def read_regions(
    source: BinaryIO | Path, names: ContigNames, lengths: Sequence[int]
) -> list[Region]:
    """Regions of a BED file, plain, gzip or bgzip: three columns and more, narrowPeak too.

    Parameters
    ----------
    source : binary file or Path
        Read to its end. Comments and lines that start with ``track`` or ``browser`` are no
        regions.
    names : ContigNames
        Of the genome.
    lengths : sequence of int
        Bases of its contigs.

    Raises
    ------
    UnknownNameError, FormatError, CoordinateError
        With the line number, if a line is malformed, on no contig of the genome, empty,
        reversed or past the end; or if the file holds no region.
    LimitError
        If it is larger than `MAX_BYTES` or has more than `MAX_REGIONS`.
    """
    found: list[Region] = []
    for number, line in lines(source, max_bytes=MAX_BYTES, what="BED file of regions"):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("#") or fields[0] in {"track", "browser"}:
            continue
        try:
            found.append(_bed_region(fields, names, lengths))
        except SaetrackError as error:
            raise type(error)(f"line {number} of the BED file of regions: {error}") from error
        if len(found) > MAX_REGIONS:
            raise LimitError(
                f"the BED file of regions has more than {MAX_REGIONS:,} regions, which is the "
                "limit; merge them or split the file"
            )
    _check_count(len(found), "region", most=MAX_REGIONS)
    return found


def find_genes(genes: pa.Table, text: str) -> GeneLoci:
    """Where the genes that a text names lie, from the first to the last base of each.

    Parameters
    ----------
    genes : Table of `annotations.transcripts.GENES_SCHEMA`
        Of the genome; `contig` is the index in the genome.
    text : str
        Names of genes or ids of transcripts, with commas, semicolons or line ends between them.
        A name is looked for as it is written, then without regard to case.

    Returns
    -------
    loci : GeneLoci
        A gene that lies in several places gives all of them.

    Raises
    ------
    UnknownNameError
        If a gene is not in the annotation; the message holds near names.
    OptionError
        If no gene is named, or too many.
    """
    wanted = list(dict.fromkeys(_parts(text, re.compile(r"[\n\r;,]+"))))
    _check_count(len(wanted), "gene")
    regions: list[Region] = []
    several: dict[str, int] = {}
    found = _rows_of_genes(genes, wanted)
    for name in wanted:
        if name not in found:
            raise UnknownNameError(_no_gene(genes, name))
        places = _places(found[name], name)
        if len(places) > 1:
            several[name] = len(places)
        regions += places
    return GeneLoci(regions, several)


def merged(regions: Sequence[Region], lengths: Sequence[int], *, flank: int = 0) -> Merged:
    """The union of regions, each widened on both sides as far as its contig goes.

    Parameters
    ----------
    regions : sequence of Region
        In any order.
    lengths : sequence of int
        Bases of the genome's contigs.
    flank : int
        Bases added to each side.

    Raises
    ------
    OptionError
        If `flank` is negative or more than `MAX_FLANK`.

    Examples
    --------
    >>> merged([Region(0, 5, 9, ""), Region(0, 12, 15, "")], [20], flank=2).spans
    [Span(contig=0, start=3, end=17)]
    """
    if not 0 <= flank <= MAX_FLANK:
        raise OptionError(f"flank must be 0 to {MAX_FLANK:,} bases, got {flank:,}")
    widened = (
        Span(region.contig, max(0, region.start - flank), region.end + flank) for region in regions
    )
    spans = _union(Span(c, s, min(e, lengths[c])) for c, s, e in widened)
    return Merged(spans, len(regions))


def pieces(
    spans: Sequence[Span], lengths: Sequence[int], *, stride: int, context: int
) -> list[Span]:
    """What a model reads to give the activations and peaks of spans, on both strands.

    The cells of the window grid (`annotations.windows.grid`) that hold a base of a span or one
    within `annotations.peaks.RADIUS` of it, and the context before them in the sense of either
    pass.

    Parameters
    ----------
    spans : sequence of Span
        As in `Merged`.
    lengths : sequence of int
        Bases of the contigs.
    stride, context : int
        Bases of a cell, and of the context.

    Returns
    -------
    pieces : list of Span
        Sorted; no two overlap or touch.

    Examples
    --------
    >>> pieces([Span(0, 130, 140)], [1000], stride=100, context=20)
    [Span(contig=0, start=80, end=220)]
    """
    read = []
    for contig, start, end in spans:
        first = max(0, start - RADIUS) // stride * stride
        last = -(-min(end + RADIUS, lengths[contig]) // stride) * stride
        read.append(Span(contig, max(0, first - context), min(last + context, lengths[contig])))
    return _union(read)


def on_run(spans: Sequence[Span], contigs: Sequence[int]) -> list[Span]:
    """Spans with the contigs numbered as in a run that has only some of the genome's.

    Parameters
    ----------
    spans : sequence of Span
        On contigs of the genome.
    contigs : sequence of int
        Those of the run, as from `Merged.contigs`.
    """
    place = {contig: index for index, contig in enumerate(contigs)}
    return [span._replace(contig=place[span.contig]) for span in spans]


def _union(spans: Iterable[Span]) -> list[Span]:
    union: list[Span] = []
    for span in sorted(spans):
        if union and union[-1].contig == span.contig and span.start <= union[-1].end:
            union[-1] = union[-1]._replace(end=max(span.end, union[-1].end))
        else:
            union.append(span)
    return union


def _parts(text: str, separator: re.Pattern[str]) -> list[str]:
    return [part.strip() for part in separator.split(text) if part.strip()]


def _check_count(count: int, what: str, *, most: int = MAX_NAMES) -> None:
    if not count:
        raise OptionError(f"there is no {what}; name at least one")
    if count > most:
        raise OptionError(
            f"{count:,} of {what} are named, at most {most:,} may be; send a BED file of regions"
        )


def _locus(text: str, names: ContigNames, lengths: Sequence[int]) -> Region:
    place = names.get(text)
    if place is not None:
        return Region(place, 0, lengths[place], text)
    name, colon, tail = text.rpartition(":")
    asked = _RANGE.fullmatch(tail.replace(" ", ""))
    if not colon or asked is None:
        if colon and names.get(name) is not None:
            raise FormatError(f"{text[:100]!r} is no locus; write chrI:1,000-2,000")
        raise UnknownNameError(names.unknown(text[:100]))
    place = names.find(name.strip())
    first, last = (_number(part, text) for part in (asked[1], asked[2] or asked[1]))
    _check(names, place, first - 1, last, lengths, shown=f"{first:,}-{last:,} (from 1)")
    return Region(place, first - 1, last, text)


def _number(text: str, locus: str) -> int:
    if not _NUMBER.fullmatch(text) or len(text) > 20:
        raise FormatError(f"{text[:30]!r} in {locus[:100]!r} is no number; write 1000 or 1,000")
    return int(text.replace(",", ""))


def _bed_region(fields: Sequence[str], names: ContigNames, lengths: Sequence[int]) -> Region:
    if len(fields) < _BED_COLUMNS:
        raise FormatError(
            f"it has {len(fields)} of the three columns contig, start and end, which are separated "
            "by tabs"
        )
    place = names.find(fields[0])
    start, end = (_bed_number(text) for text in fields[1:3])
    _check(names, place, start, end, lengths, shown=f"{start}-{end} (from 0)")
    return Region(place, start, end, fields[3].strip() if len(fields) > _BED_COLUMNS else "")


def _bed_number(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and len(text) < 16):
        raise FormatError(f"start and end must be whole numbers, got {text[:40]!r}")
    return int(text)


def _check(
    names: ContigNames, contig: int, start: int, end: int, lengths: Sequence[int], *, shown: str
) -> None:
    name, length = names.contigs[contig], lengths[contig]
    if start < 0 or start >= end:
        raise CoordinateError(f"{name} {shown} is empty or reversed; start comes before end")
    if end > length:
        raise CoordinateError(
            f"{name} {shown} goes past the end of {name}, which has {length:,} bases; is it of "
            "another assembly?"
        )


def _rows_of_genes(genes: pa.Table, names: Sequence[str]) -> dict[str, pa.Table]:
    """The rows of genes or transcripts; by the exact name if there is one, else by any case.

    Each column is gone through once for all names.
    """
    found: dict[str, pa.Table] = {}
    for exact in (True, False):
        for of in ("name", "transcript"):
            asked = {name: name if exact else name.lower() for name in names if name not in found}
            if not asked:
                return found
            column_of = genes[of] if exact else pc.utf8_lower(genes[of])
            near = pc.is_in(column_of, value_set=pa.array(list(asked.values()), pa.string()))
            rows = genes.filter(near)
            keys = rows[of] if exact else pc.utf8_lower(rows[of])
            places: dict[str, list[int]] = {}
            for at, key in enumerate(keys.to_pylist()):
                places.setdefault(key, []).append(at)
            found |= {
                name: rows.take(pa.array(places[key]))
                for name, key in asked.items()
                if key in places
            }
    return found


def _no_gene(genes: pa.Table, name: str) -> str:
    """That there is no such gene, and which names are near."""
    known = pc.unique(genes["name"].combine_chunks()).to_pylist()
    by_case = {each.lower(): each for each in known[:_NEAR_AMONG]}
    near = [by_case[each] for each in difflib.get_close_matches(name.lower(), by_case, n=3)]
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return (
        f"there is no gene {name[:100]!r} in the genome's annotation; {hint}it has "
        f"{len(known):,} names"
    )


def _places(rows: pa.Table, name: str) -> list[Region]:
    """Where rows lie; those on one contig with less than an intron between them are one place."""
    spans = zip(*(column(rows, each).tolist() for each in ("contig", "start", "end")), strict=True)
    places: list[Region] = []
    for contig, start, end in sorted(spans):
        last = places[-1] if places else None
        if last is not None and last.contig == contig and start < last.end + MIN_INTRON:
            places[-1] = last._replace(end=max(end, last.end))
        else:
            places.append(Region(contig, start, end, name))
    return places


def near_spans(genes: pa.Table, spans: Sequence[Span]) -> pa.Table:
    """The rows of all genes that have a row on a span; the others say nothing about it.

    Parameters
    ----------
    genes : Table of `annotations.transcripts.GENES_SCHEMA`
    spans : sequence of Span
        Sorted; no two overlap.

    Returns
    -------
    genes : Table
        In the order given.
    """
    contig, start, end = (column(genes, name) for name in ("contig", "start", "end"))
    touched = np.zeros(genes.num_rows, bool)
    for at in {span.contig for span in spans}:
        mine = [span for span in spans if span.contig == at]
        starts, ends = np.array([[span.start, span.end] for span in mine], np.int64).T
        here = contig == at
        after = np.searchsorted(ends, start[here], side="right")  # first span that ends behind it
        inside = np.append(starts, np.iinfo(np.int64).max)[after] < end[here]
        touched[here] = inside
    names = pc.unique(genes.filter(pa.array(touched))["name"])
    return genes.filter(pc.is_in(genes["name"], value_set=names))
