"""Tracks for genome browsers: the signal of a feature as bigWig, its peaks as BED.

    stretches of one feature --signal_runs--> runs over a whole contig --write_bigwig--> .bw
    peaks of one feature --write_peaks_bigwig--> .bw
    peaks --bed_fields--> sorted BED6 lines, with short labels behind them

Coordinates are 0-based and half-open on the forward strand, in BED and in bigWig. A
bigWig holds every base of a contig it describes: where the feature is silent the value
is an explicit 0, so that "no signal" and "not looked at" are not the same.
"""

import errno
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.active_bases import Activations, locus_index, select
from annotations.bbi import Stretches
from annotations.bigwig import write_runs
from annotations.errors import CoordinateError, FormatError, OptionError, StorageError
from annotations.labels import distinct
from annotations.peaks import PEAKS_SCHEMA
from annotations.stretches import ACTIVATIONS_SCHEMA, from_stretches
from annotations.tables import (
    TEXT_ROWS,
    check_columns,
    column,
    replacing,
    text_of,
    with_contig_names,
    write_lines,
)
from annotations.types import STRAND_SIGNS, Span

SignalStrand = Literal["+", "-", "either"]
"""Strand of a signal; "either" is the larger of the two at each base."""

LABEL_COLUMNS = ("label", "motif", "gene")
"""Optional columns of a table of peaks that follow the six of BED."""

LABEL_LENGTH = 60
"""Characters of a label in BED; bedtools 2.30 cuts long lines without a word."""


class Runs(NamedTuple):
    """Intervals of equal value that cover a contig from its first base to its last."""

    start: NDArray[np.int64]
    """First base of each run, ascending."""
    end: NDArray[np.int64]
    """Past the last base; equal to the start of the next run, or to the contig's length."""
    value: NDArray[np.float32]
    """Activation at every base of the run; 0 where silent."""


def signal_runs(activations: Activations, length: int) -> Runs:
    """The signal over a contig as runs of equal value, those of 0 included.

    Parameters
    ----------
    activations : Activations
        Of one contig, in any order. Where two rows are at one base, the larger counts.
    length : int
        Bases in the contig; at least 1.

    Returns
    -------
    runs : Runs
        They tile ``[0, length)``; neighbours differ in value.

    Raises
    ------
    CoordinateError
        If an activation lies outside the contig.
    FormatError
        If a value is not above 0 and finite.
    """
    position, value = activations.position, activations.value
    if len(position) and not (position.min() >= 0 and position.max() < length):
        raise CoordinateError(
            f"activations must lie in [0, {length}), the contig; got positions "
            f"{position.min()} to {position.max()}"
        )
    if not (np.isfinite(value).all() and (value > 0).all()):
        raise FormatError("activations of a track must be above 0 and finite")
    order = np.argsort(position, kind="stable")
    base, first = np.unique(position[order], return_index=True)
    largest = np.maximum.reduceat(value[order], first) if len(base) else value
    # a run ends where the next active base is not its neighbour, or has another value
    breaks = np.flatnonzero((np.diff(base) != 1) | (np.diff(largest) != 0))
    starts = base[np.concatenate([[0], breaks + 1])] if len(base) else base
    ends = base[np.concatenate([breaks, [len(base) - 1]])] + 1 if len(base) else base
    values = largest[np.concatenate([[0], breaks + 1])] if len(base) else largest
    silent_start = np.concatenate([[0], ends])
    silent_end = np.concatenate([starts, [length]])
    silent = silent_start < silent_end
    start = np.concatenate([starts, silent_start[silent]])
    end = np.concatenate([ends, silent_end[silent]])
    order = np.argsort(start)
    value = np.concatenate([values, np.zeros(int(silent.sum()), dtype=np.float32)])
    return Runs(start[order].astype(np.int64), end[order].astype(np.int64), value[order])


def _contig_runs(active: Activations, chosen: Sequence[int], lengths: Sequence[int]) -> Stretches:
    """The runs of `signal_runs` of all chosen contigs, by their places among these, in one pass.

    The contigs are laid end to end on one axis, and runs are cut where one contig ends.
    """
    sizes = np.array([lengths[contig] for contig in chosen], dtype=np.int64)
    rank = np.full(len(lengths), -1, dtype=np.int64)
    rank[list(chosen)] = np.arange(len(sizes))
    active = select(active, rank[active.contig] >= 0)
    on = rank[active.contig]
    outside = (active.position < 0) | (active.position >= sizes[on])
    if outside.any():
        at = int(np.flatnonzero(outside)[0])
        raise CoordinateError(
            f"activations must lie in [0, {sizes[on[at]]}), the contig; got position "
            f"{active.position[at]} on contig {active.contig[at]}"
        )
    borders = np.cumsum(sizes) - sizes
    laid = active._replace(position=borders[on] + active.position)
    runs = signal_runs(laid, int(sizes.sum()))
    place = np.searchsorted(runs.start, borders)
    inside = runs.start[np.minimum(place, len(runs.start) - 1)] != borders
    start = np.insert(runs.start, place[inside], borders[inside])
    end = np.append(start[1:], sizes.sum())
    value = runs.value[np.searchsorted(runs.start, start, side="right") - 1]
    contig = np.searchsorted(borders, start, side="right") - 1
    return Stretches(contig, start - borders[contig], end - borders[contig], value)


def _span_runs(active: Activations, chosen: Sequence[int], spans: Sequence[Span]) -> Stretches:
    """The runs of spans of the chosen contigs: as if each span were a contig, then moved back."""
    contig, start, end = np.array(spans, dtype=np.int64).reshape(-1, 3).T
    places = locus_index(contig.astype(np.uint32), start)
    first = np.searchsorted(places, locus_index(active.contig, active.position), side="right") - 1
    inside = (first >= 0) & (contig[first] == active.contig) & (active.position < end[first])
    if not inside.all():
        at = int(np.flatnonzero(~inside)[0])
        raise CoordinateError(
            f"activations must lie in a span, got position {active.position[at]} on contig "
            f"{active.contig[at]}"
        )
    moved = active._replace(contig=first.astype(np.uint32), position=active.position - start[first])
    runs = _contig_runs(moved, range(len(spans)), (end - start).tolist())
    shift = start[runs.contig]
    place = np.searchsorted(np.asarray(chosen), contig[runs.contig])
    return Stretches(place, runs.start + shift, runs.end + shift, runs.value)


def write_bigwig(
    path: Path,
    stretches: pa.Table,
    names: Sequence[str],
    lengths: Sequence[int],
    *,
    contigs: Sequence[int] | None = None,
    strand: SignalStrand = "either",
    spans: Sequence[Span] | None = None,
) -> None:
    """Write the signal of one feature as bigWig, whole or not at all.

    Parameters
    ----------
    path : Path
        Made or replaced; its folder exists.
    stretches : Table of ACTIVATIONS_SCHEMA
        Of one feature, as `annotations.activations.read_feature` returns them; no rows give
        a signal of 0.
    names : sequence of str
        Names of all contigs of the submission, in order.
    lengths : sequence of int
        Bases in each of them.
    contigs : sequence of int, optional
        Indices of the contigs to describe; all by default. The file holds these contigs, in
        the order of the submission, and no others.
    strand : {"+", "-", "either"}
        Which strand's activations; "either" is the larger of the two at each base.
    spans : sequence of Span, optional
        What was computed, sorted, none touching another, where that is not all of the contigs:
        the file says nothing of other bases.

    Raises
    ------
    CoordinateError
        If a stretch lies outside its contig or its span, or a contig does not exist.
    FormatError
        If the stretches are of several features, a value is not above 0 and finite, or names
        are missing, doubled or hold white space.
    OptionError
        If `strand` is none of the three or `contigs` is empty.
    StorageError
        If the file cannot be written.
    """
    if strand not in get_args(SignalStrand):
        raise OptionError(f"strand must be one of +, - and either, got {strand!r}")
    check_columns(stretches, ACTIVATIONS_SCHEMA, what="the stretches of a track")
    _check_contig_list(names, lengths)
    _check_one_feature(stretches)
    chosen = range(len(names)) if contigs is None else sorted(set(contigs))
    if not chosen or chosen[0] < 0 or chosen[-1] >= len(names):
        raise OptionError(
            f"contigs must be one or more indices from 0 to {len(names) - 1}, got {list(chosen)}"
        )
    _check_contigs(stretches, len(names))
    if strand != "either":
        sign = pa.scalar(STRAND_SIGNS[strand], pa.int8())
        stretches = stretches.filter(pc.equal(stretches.column("strand"), sign))
    active = from_stretches(stretches)
    _write_active(path, active, chosen, names, lengths, spans)


def write_peaks_bigwig(
    path: Path,
    peaks: pa.Table,
    names: Sequence[str],
    lengths: Sequence[int],
    *,
    spans: Sequence[Span] | None = None,
) -> None:
    """Write the peaks of one feature as bigWig, whole or not at all.

    Each peak's value stands at its one base, and 0 at every other: what is called, without what
    is active around it.

    Parameters
    ----------
    path : Path
        Made or replaced; its folder exists.
    peaks : Table of PEAKS_SCHEMA
        Of one feature, in any order; of two strands the larger counts where both have a peak.
    names : sequence of str
        Names of all contigs of the submission, in order.
    lengths : sequence of int
        Bases in each of them.
    spans : sequence of Span, optional
        As in `write_bigwig`.

    Raises
    ------
    CoordinateError
        If a peak lies outside its contig, or a contig does not exist.
    FormatError
        If the peaks are of several features, a value is not above 0 and finite, or names are
        missing, doubled or hold white space.
    StorageError
        If the file cannot be written.
    """
    check_columns(peaks, PEAKS_SCHEMA, what="the peaks of a track")
    _check_contig_list(names, lengths)
    _check_one_feature(peaks)
    _check_contigs(peaks, len(names))
    active = Activations(*(column(peaks, name) for name in Activations._fields))
    _write_active(path, active, range(len(names)), names, lengths, spans)


def _write_active(
    path: Path,
    active: Activations,
    chosen: Sequence[int],
    names: Sequence[str],
    lengths: Sequence[int],
    spans: Sequence[Span] | None = None,
) -> None:
    if spans is None:
        runs = _contig_runs(active, chosen, lengths)
    else:
        runs = _span_runs(active, chosen, [span for span in spans if span.contig in set(chosen)])
    try:
        write_runs(path, runs, [names[at] for at in chosen], [lengths[at] for at in chosen])
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageError(f"cannot write the track {path.name}: {error.strerror}") from error


def peaks_bed(peaks: pa.Table, names: Sequence[str]) -> str:
    """Peaks as the text of a BED file; see `write_peaks_bed`.

    Parameters
    ----------
    peaks : Table of PEAKS_SCHEMA
        Also `label`, `motif` and `gene` (strings) where there are any.
    names : sequence of str
        Names of the contigs of the submission, in order.

    Returns
    -------
    text : str
        Lines of BED, each with a line end; empty without peaks.

    Raises
    ------
    CoordinateError, FormatError
        As `write_peaks_bed`.
    """
    stream = StringIO()
    for fields in bed_fields(peaks, names):
        write_lines(fields, stream)
    return stream.getvalue()


def write_peaks_bed(peaks: pa.Table, names: Sequence[str], path: Path) -> None:
    """Write peaks as BED6 with labels behind, sorted as ``LC_ALL=C sort -k1,1 -k2,2n`` does.

    An interval is the one base of the peak; its name is the feature (``f123``), its score the
    value times 1000 over the feature's largest in this table, both strands together, rounded.
    The columns `label`, `motif` and `gene` follow where the table has them: a space in them
    becomes ``_``, no label becomes ``.``, and what goes beyond `LABEL_LENGTH` characters is
    cut to end in ``...`` (the whole label is in the TSV).

    Parameters
    ----------
    peaks : Table of PEAKS_SCHEMA
        In any order.
    names : sequence of str
        Names of the contigs of the submission, in order.
    path : Path
        Made or replaced, whole or not at all; its folder exists.

    Raises
    ------
    CoordinateError
        If a peak's contig has no name, or its position is negative.
    FormatError
        If a name is empty, doubled or holds white space, or the table lacks a column.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for fields in bed_fields(peaks, names):
            write_lines(fields, stream)


def bed_fields(peaks: pa.Table, names: Sequence[str]) -> Iterator[pa.Table]:
    """The fields of the BED lines of `write_peaks_bed`, in order, as strings; some at a time.

    Parameters
    ----------
    peaks : Table of PEAKS_SCHEMA
        Also `label`, `motif` and `gene` (strings) where there are any.
    names : sequence of str
        Names of the contigs of the submission, in order.

    Yields
    ------
    fields : Table of strings
        ``chrom``, ``start``, ``end``, ``name``, ``score``, ``strand``, then the labels.
    """
    check_columns(peaks, PEAKS_SCHEMA, what="a table of peaks")
    _check_names(names)
    _check_contigs(peaks, len(names))
    feature, position = column(peaks, "feature"), column(peaks, "position")
    if len(position) and position.min() < 0:
        raise CoordinateError(f"a peak cannot be at position {position.min()}")
    # bytes, because C order is the order of bytes
    by_name = np.argsort(np.array([name.encode() for name in names], dtype=np.bytes_))
    rank = np.empty(len(names), dtype=np.int64)
    rank[by_name] = np.arange(len(names))
    order = np.lexsort((-column(peaks, "strand"), feature, position, rank[column(peaks, "contig")]))
    peaks = peaks.append_column("score", peak_scores(peaks))
    for first in range(0, len(order), TEXT_ROWS):
        part = with_contig_names(peaks.take(pa.array(order[first : first + TEXT_ROWS])), names)
        fields = {
            "chrom": part.column("contig"),
            "start": text_of(part.column("position")),
            "end": text_of(pc.add(part.column("position"), 1)),
            "name": pc.binary_join_element_wise("f", text_of(part.column("feature")), ""),
            "score": text_of(part.column("score")),
            "strand": text_of(part.column("strand"), name="strand"),
        }
        for name in LABEL_COLUMNS:
            if name in part.column_names:
                fields[name] = _labels(part.column(name))
        yield pa.table(fields)


def peak_scores(peaks: pa.Table) -> pa.Array:
    """Scores of BED, 0 to 1000: values as shares of the largest value of the feature.

    Parameters
    ----------
    peaks : Table of PEAKS_SCHEMA
        In any order.

    Returns
    -------
    scores : Array of int64, shape (peaks,)

    Raises
    ------
    FormatError
        If a value is not above 0 and finite.
    """
    if not peaks.num_rows:
        return pa.array([], pa.int64())
    feature, value = column(peaks, "feature"), column(peaks, "value").astype(np.float64)
    if not (np.isfinite(value).all() and (value > 0).all()):
        raise FormatError("values of peaks must be above 0 and finite")
    features, of = distinct(feature)
    largest = np.zeros(len(features))
    np.maximum.at(largest, of, value)
    value *= 1000
    value /= largest[of]
    return pa.array(np.rint(value, out=value).astype(np.int64))


def _labels(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels without white space, short, ``.`` where there is none."""
    text = pc.replace_substring_regex(text_of(labels), r"\s+", "_")
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(text, 0, LABEL_LENGTH - 3), "...", "")
    text = pc.if_else(pc.greater(pc.utf8_length(text), LABEL_LENGTH), cut, text)
    return pc.if_else(pc.equal(text, ""), ".", text)


def _check_names(names: Sequence[str]) -> None:
    """Refuse names of contigs that a track cannot carry."""
    if not names:
        raise FormatError("a track needs at least one contig")
    if any(not name or name.split() != [name] for name in names):
        bad = next(name for name in names if not name or name.split() != [name])
        raise FormatError(
            f"a contig's name must not be empty or hold white space, got {bad!r}; "
            "cut the names at the first white space"
        )
    if len(set(names)) < len(names):
        raise FormatError("two contigs have the same name; a track cannot tell them apart")


def _check_contig_list(names: Sequence[str], lengths: Sequence[int]) -> None:
    """Refuse contigs that no track can describe."""
    _check_names(names)
    if len(names) != len(lengths) or min(lengths) < 1:
        raise CoordinateError(
            f"each of {len(names)} contigs must have a length of at least 1, got {len(lengths)} "
            f"lengths, the smallest {min(lengths, default=0)}"
        )


def _check_one_feature(table: pa.Table) -> None:
    """Refuse rows of several features."""
    features = pc.count_distinct(table.column("feature")).as_py()
    if features > 1:
        raise FormatError(f"a track shows one feature, got rows of {features}")


def _check_contigs(table: pa.Table, n_contigs: int) -> None:
    """Refuse rows on a contig that the submission does not have."""
    largest = pc.max(table.column("contig")).as_py()
    if largest is not None and largest >= n_contigs:
        raise CoordinateError(f"contig {largest} is not among the {n_contigs} of this submission")
