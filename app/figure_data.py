"""What a figure of a region shows, from the files of a result.

    Result, region, feature rows --region_data--> app.figures.Region
    bases, a motif               --motif_sites--> places where it stands
"""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import metadata
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.activations import read_feature
from annotations.errors import CoordinateError, OptionError, UnknownNameError
from annotations.gene_track import gene_models
from annotations.jaspar import Motif, resolve_tf
from annotations.motif_scan import MILLIBITS, background_of, log_odds, motif_thresholds
from annotations.peak_track import strongest
from annotations.run_motifs import catalogue_of
from annotations.sequence_files import places, read_bases
from annotations.sequences import encode_bases, reverse_complement
from annotations.tracks import SignalStrand, signal_runs
from annotations.types import STRAND_SIGNS
from app import catalog, figures
from app.catalog import Result
from app.figure_genes import MAX_GENES, Gene
from app.figures import MAX_LETTERS, Peak, Region, Runs, Signal, Site
from app.track_files import FeatureRow

MAX_ROWS: Final = 20
"""Most feature rows of a figure."""
MAX_MOTIFS: Final = 6
"""Most motifs of a figure."""
MAX_SCANNED: Final = 200_000
"""Longest region in which motifs are looked for."""


class Span(NamedTuple):
    """A stretch of a contig, 0-based and half-open."""

    contig: int
    start: int
    end: int


def parse_region(text: str, names: Sequence[str], lengths: Sequence[int]) -> Span:
    """A region as people and browsers write it.

    Parameters
    ----------
    text : str
        ``chrI:201,000-203,000``, 1-based with both ends in it, or the name of a contig alone. An
        end past the contig's is taken for its end, as browsers do.
    names, lengths : sequences
        Of all contigs, in order.

    Returns
    -------
    span : Span

    Raises
    ------
    UnknownNameError
        If there is no such contig; tells near names.
    CoordinateError
        If the region is not inside it.

    Examples
    --------
    >>> parse_region("c1:11-1,020", ["c1"], [1000]), parse_region("c1", ["c1"], [1000])
    (Span(contig=0, start=10, end=1000), Span(contig=0, start=0, end=1000))
    """
    text = text.strip()
    if text in names:
        at = list(names).index(text)
        return Span(at, 0, lengths[at])
    name, _, range_text = text.rpartition(":")
    first, dash, last = range_text.replace(",", "").partition("-")
    if name not in names:
        asked = name or text
        near = get_close_matches(asked, names, n=3) if len(names) <= 10_000 else []
        hint = f"; near names: {', '.join(near)}" if near else ""
        raise UnknownNameError(
            f"there is no sequence {asked[:60]!r} here{hint}; a region is a name or "
            "name:start-end, such as chrI:201000-203000"
        )
    at = list(names).index(name)
    numbers = [part.strip() for part in (first, last)]
    if not dash or not all(part.isascii() and part.isdigit() for part in numbers):
        raise CoordinateError(
            f"a region is a name or name:start-end, such as {name[:60]}:1-2000; got {text[:80]!r}"
        )
    start, end = int(numbers[0]) - 1, min(int(numbers[1]), lengths[at])
    if not 0 <= start < end:
        raise CoordinateError(
            f"the region {text[:80]!r} is not inside {name[:60]} of {lengths[at]:,} bases, or "
            "ends before it starts; positions are 1-based"
        )
    return Span(at, start, end)


def region_data(
    result: Result, span: Span, rows: Sequence[FeatureRow], *, motifs: str | None = None
) -> Region:
    """What a figure shows.

    Parameters
    ----------
    result : Result
        The files.
    span : Span
        As from `parse_region`.
    rows : sequence of FeatureRow
        In the order of their panels; at most `MAX_ROWS`.
    motifs : str, optional
        Transcription factors or matrices separated by commas, whose places are drawn.

    Returns
    -------
    region : Region

    Raises
    ------
    OptionError
        If there are too many rows or motifs, or the region is too long to look for motifs in.
    UnknownNameError
        If a motif is unknown.
    """
    if len(rows) > MAX_ROWS:
        raise OptionError(f"a figure has at most {MAX_ROWS} feature rows, got {len(rows)}")
    contig, start, end = span
    name = result.names[contig]
    short = end - start <= MAX_LETTERS
    return Region(
        contig=name,
        start=start,
        end=end,
        signals=[_signal(result, span, row) for row in rows],
        genes=None if result.genes is None else _genes(result, span),
        motifs=[] if not motifs else _motif_lines(result, span, motifs),
        bases=_bases(result, span) if short and result.sequences is not None else None,
        metadata=json.dumps(_about(result, span, rows), sort_keys=True, ensure_ascii=False),
    )


def motif_sites(
    codes: NDArray[np.uint8], motif: Motif, background: NDArray[np.float64], *, start: int = 0
) -> list[Site]:
    """Places where a motif scores at least its threshold, on either strand.

    The same places as `annotations.motif_scan.scan` finds; that one is made for genomes and
    compiles itself first.

    Parameters
    ----------
    codes : ndarray of uint8
        Base codes; a place that touches a code above 3 is none.
    motif : Motif
    background : ndarray of float64, shape (4,)
        Of the sequences that the motif was tested on.
    start : int
        Position of the first code.

    Returns
    -------
    sites : list of Site
        Sorted by start, + before -.
    """
    limit = motif_thresholds([motif], background).score[0]
    width = motif.width
    if not np.isfinite(limit) or len(codes) < width:
        return []
    matrix = np.vstack([log_odds(motif.counts, background), np.zeros(width, dtype=np.int64)])
    windows = np.lib.stride_tricks.sliding_window_view(codes, width)
    known = (windows < 4).all(axis=1)
    found = []
    # the reverse complement of the bases, or of the matrix: the same
    turned = np.vstack([matrix[3::-1, ::-1], matrix[4:]])
    for strand, each in ((1, matrix), (-1, turned)):
        score = each[windows, np.arange(width)].sum(axis=1)
        for at in np.flatnonzero(known & (score >= round(limit * MILLIBITS))).tolist():
            found.append(Site(start + at, start + at + width, strand))
    return sorted(found, key=lambda site: (site.start, -site.strand))


def background_of_result(result: Result) -> NDArray[np.float64]:
    """Frequencies of A, C, G, T in both strands of a result's sequences, shape (4,)."""
    if result.sequences is None:
        raise OptionError("the sequences of this run are not stored here, so that no motif is seen")
    counts = np.zeros(256, dtype=np.int64)
    with result.sequences.open("rb") as file:
        # the names of its records are numbers: every letter is a base
        while block := file.read(1 << 22):
            counts += np.bincount(np.frombuffer(block, np.uint8), minlength=256)
    bases = [np.full(1, code, np.uint8) for code in range(4)]
    return _background(counts[[ord(base) for base in "ACGT"]], bases)
