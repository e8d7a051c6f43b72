"""From sequence to sparse activations, peaks and statistics: one shard at a time.

    spans --windows--> codes [batch, length] --encoder--> active (base, feature, value)
        --> active_bases.parquet (peaks are marked), statistics.parquet

A shard owns its spans. It reads further on both sides: windows need context
(`annotations.windows`), and whether a base near the edge is a peak
depends on `annotations.peaks.RADIUS` bases beyond it. The window grid is
anchored at base 0 of each contig, so a base is always seen in the same window,
whichever shard it falls in. A window is padded with N on the right, to a width that its own
length decides. Where a tap sees only what precedes a base, padding changes nothing; where it
sees both sides, as many N as its context stand beyond the end of every contig, so that how
far the padding goes changes nothing either.

`merge` in `workers.merge` joins the shards of a computation.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.active_bases import Activations
from annotations.cards import DictionaryCard
from annotations.errors import CoordinateError
from annotations.options import Strands
from annotations.packed import Places, describe, pack
from annotations.peaks import RADIUS
from annotations.sequences import encode_bases, open_fasta, reverse_complement
from annotations.shard_bases import SHARD_FILE, write_shard_bases
from annotations.types import Span, Strand
from annotations.windows import read_spans
from workers.device import is_out_of_memory
from workers.registry import SparseWindows

N_CODE = 4
"""Code of a base that is not A, C, G or T, and of padding."""


class Canceled(Exception):  # noqa: N818 - an event, not an error
    """Raised by a progress callback to stop the work; nothing in the pipeline catches it."""


class WindowEncoder(Protocol):
    """What the pipeline needs of `workers.registry.Encoder`."""

    @property
    def dictionary(self) -> DictionaryCard:
        """Card of the dictionary; its `stride` and `context` make the window grid."""

    def activations_of(
        self, codes: NDArray[np.uint8], wanted: NDArray[np.bool_] | None = None
    ) -> SparseWindows:
        """Active features of windows of codes at the bases wanted, both shape [batch, length]."""


class Window(NamedTuple):
    """One read of the model."""

    contig: int
    read: tuple[int, int]
    """Bases the model reads, forward coordinates, half-open."""
    cell: tuple[int, int]
    """Bases of the grid cell: those whose activations this read gives."""
    strand: Strand


class ShardResult(NamedTuple):
    """What a shard wrote."""

    active_bases: Path
    statistics: Path
    bases: int
    """Bases the shard owns, counted once for both strands."""
    active: int
    """Active (base, feature, strand) triples among them."""


def run_shard(
    fasta: Path,
    spans: Sequence[Span],
    encoder: WindowEncoder,
    out: Path,
    *,
    strands: Strands = "both",
    batch: int = 8,
    on_progress: Callable[[int], None] = lambda done: None,
) -> ShardResult:
    """Find the activations, peaks and statistics of some spans of sequence.

    The peaks at the start of a record, as it is read, are not marked
    (`annotations.peaks.with_context`).

    Parameters
    ----------
    fasta : Path
        Normalised sequences: records are named by their index, ``0``, ``1``, ...; or pieces of
        contigs (`annotations.pieces`) that hold all that is read for the spans.
    spans : sequence of Span
        Bases the shard owns.
    encoder : WindowEncoder
        The opened dictionary.
    out : Path
        Existing folder for the two files.
    strands : {"both", "forward"}
        Whether the reverse-complement pass is made as well.
    batch : int
        Windows encoded at once. Halved when memory runs out; the window never changes.
    on_progress : callable
        Told the bases done so far, after each batch; may raise `Canceled`.

    Returns
    -------
    result : ShardResult
        The files, and what they hold.

    Raises
    ------
    CoordinateError
        If a span is empty or lies outside its contig.
    """
    if batch < 1:
        raise CoordinateError(f"a batch must hold at least 1 window, got {batch}")
    card = encoder.dictionary
    places = Places(widened(spans, RADIUS), apart=RADIUS)
    parts: list[NDArray[np.uint64]] = []
    with open_fasta(fasta) as source:
        lengths = {span.contig: source.length(str(span.contig)) for span in spans}
        windows = windows_of(
            spans,
            lengths,
            stride=card.stride,
            context=card.context,
            ahead=card.ahead,
            strands=strands,
        )
        total = sum(window.cell[1] - window.cell[0] for window in windows)
        known = sum(_known_bases(source.fetch(str(c), s, e)) for c, s, e in spans)
        owned_bases = sum(span.length for span in spans)
        done = 0

        def codes_of(window: Window) -> NDArray[np.uint8]:
            return encode_bases(source.fetch(str(window.contig), *window.read))

        for group, rows in encode_windows(
            windows, codes_of, encoder, width=card.window, batch=batch
        ):
            parts.append(_packed(group, rows, places))
            done += sum(window.cell[1] - window.cell[0] for window in group)
            on_progress(owned_bases * done // total)
    scanned = {1: known, -1: known} if strands == "both" else {1: known}
    described = describe(
        parts, places, spans, lengths=lengths, n_features=card.d_sae, scanned=scanned
    )
    result = ShardResult(
        active_bases=out / SHARD_FILE,
        statistics=out / "statistics.parquet",
        bases=owned_bases,
        active=len(described.bases.locus),
    )
    write_shard_bases(described.bases, result.active_bases)
    pq.write_table(described.statistics.to_table(), result.statistics)
    return result


def widened(spans: Sequence[Span], margin: int) -> list[Span]:
    """The union of spans, each widened on both sides; sorted, and no two touch.

    Parameters
    ----------
    spans : sequence of Span
        In any order.
    margin : int
        Bases added to each side; not before base 0, but maybe past the end of the contig.

    Returns
    -------
    spans : list of Span
        Disjoint.

    Examples
    --------
    >>> [tuple(span) for span in widened([Span(0, 40, 50), Span(0, 5, 10)], 10)]
    [(0, 0, 20), (0, 30, 60)]
    """
    union: list[Span] = []
    for contig, start, end in sorted(spans):
        first, last = max(0, start - margin), end + margin
        if union and union[-1].contig == contig and first <= union[-1].end:
            union[-1] = Span(contig, union[-1].start, max(last, union[-1].end))
        else:
            union.append(Span(contig, first, last))
    return union


def windows_of(
    spans: Sequence[Span],
    lengths: Mapping[int, int],
    *,
    stride: int,
    context: int,
    strands: Strands,
    ahead: int = 0,
) -> list[Window]:
    """The reads that cover spans and their halo, each cell of the grid once per strand.

    Parameters
    ----------
    spans : sequence of Span
        Bases the shard owns.
    lengths : mapping
        Bases in each contig, by index.
    stride, context : int
        Bases a window owns, and bases of left context it reads besides.
    strands : {"both", "forward"}
        The passes to make.
    ahead : int
        Bases it reads behind those it owns.

    Returns
    -------
    windows : list of Window
        Sorted by contig, strand (forward first) and cell.

    Raises
    ------
    CoordinateError
        If a span is empty or lies outside its contig.
    """
    by_contig: dict[int, list[Span]] = {}
    for span in spans:
        if not 0 <= span.start < span.end <= lengths[span.contig]:
            raise CoordinateError(
                f"a span must lie inside its contig of {lengths[span.contig]} bases and not be "
                f"empty, got {span.start}-{span.end} of contig {span.contig}"
            )
        by_contig.setdefault(span.contig, []).append(span)
    passes: tuple[Strand, ...] = ("+", "-") if strands == "both" else ("+",)
    windows = []
    for contig, parts in sorted(by_contig.items()):
        length = lengths[contig]
        # numbers of cells alone: a contig may be long and the spans few
        touched = [
            np.arange(
                max(0, span.start - RADIUS) // stride,
                -(-min(span.end + RADIUS, length) // stride),
                dtype=np.int64,
            )
            for span in parts
        ]
        starts = np.unique(np.concatenate(touched)) * stride
        cells = np.stack([starts, np.minimum(starts + stride, length)], axis=1)
        for strand in passes:
            reads = read_spans(cells, lengths[contig], context, strand, ahead=ahead)
            windows += [
                Window(contig, (read[0], read[1]), (cell[0], cell[1]), strand)
                for cell, read in zip(cells.tolist(), reads.tolist(), strict=True)
            ]
    return windows


def encode_windows(
    windows: Sequence[Window],
    codes_of: Callable[[Window], NDArray[np.uint8]],
    encoder: WindowEncoder,
    *,
    width: int,
    batch: int,
) -> Iterator[tuple[Sequence[Window], SparseWindows]]:
    """Encode windows in batches of few shapes, halving the batch when memory runs out.

    Parameters
    ----------
    windows : sequence of Window
        The reads, in order.
    codes_of : callable
        Base codes, uint8, of a window's read on the forward strand.
    encoder : WindowEncoder
        The opened dictionary.
    width : int
        Bases of a whole window; shorter ones are padded, on the right, with N, to as few eighths
        of it as hold them, and as many N beyond the end of a contig as the dictionary reads ahead.
    batch : int
        Whole windows at once, or as many bases of shorter ones; the last batch is padded with
        windows of N, which are never active.

    Yields
    ------
    group : sequence of Window
        The windows of a batch.
    rows : SparseWindows
        Their active features at the bases of their cells; `window` indexes `group`.
    """
    for padded, members in _by_width(windows, width, encoder.dictionary).items():
        # as many bases as a batch of whole windows; the width is the window's own, so that it is
        # encoded in the same shape whatever else is in the shard
        rows, at = batch * width // padded, 0
        while at < len(members):
            group = members[at : at + rows]
            try:
                active = _encode(group, codes_of, encoder, rows, padded)
            except (RuntimeError, MemoryError) as error:
                if rows == 1 or not is_out_of_memory(error):
                    raise
                batch, rows = max(1, batch // 2), rows // 2
                continue
            at += len(group)
            yield group, active


WIDTHS = 8
"""Widths that windows are padded to: multiples of an eighth of a whole window."""


def _by_width(
    windows: Sequence[Window], width: int, card: DictionaryCard
) -> dict[int, list[Window]]:
    """Windows by the width they are padded to, which depends on nothing but their own place."""
    nt_per_token = math.ceil(card.nt_per_token)
    step = -(-width // (WIDTHS * nt_per_token)) * nt_per_token
    found: dict[int, list[Window]] = {}
    for window in windows:
        # to the end of the cell in the sense of reading, and what is read ahead of it, N or not
        if window.strand == "+":
            length = window.cell[1] - window.read[0] + card.ahead
        else:
            length = window.read[1] - window.cell[0] + card.ahead
        found.setdefault(min(width, -(-length // step) * step), []).append(window)
    return found


def _encode(
    group: Sequence[Window],
    codes_of: Callable[[Window], NDArray[np.uint8]],
    encoder: WindowEncoder,
    rows: int,
    width: int,
) -> SparseWindows:
    """Active features of a batch of windows, padded with N to `rows` windows of `width` bases."""
    codes = np.full((rows, width), N_CODE, dtype=np.uint8)
    for row, window in enumerate(group):
        bases = codes_of(window)
        codes[row, : len(bases)] = bases if window.strand == "+" else reverse_complement(bases)
    # the dictionary is spared the left context: another window gives what is active there
    wanted = np.zeros(codes.shape, dtype=bool)
    wanted[: len(group)] = bases_of(group, width).in_cell
    return encoder.activations_of(codes, wanted)


def place(group: Sequence[Window], rows: SparseWindows) -> Activations:
    """Move the active bases of a batch to forward coordinates, those of the cells alone.

    Parameters
    ----------
    group : sequence of Window
        The windows of the batch.
    rows : SparseWindows
        Their active features, by window and base in the window as it was read.

    Returns
    -------
    activations : Activations
        One row per active base of a window's cell, in forward coordinates.
    """
    bases = bases_of(group, int(rows.position.max(initial=0)) + 1)
    kept = bases.in_cell[rows.window, rows.position]
    window, position = rows.window[kept], rows.position[kept]
    return Activations(
        feature=rows.feature[kept].astype(np.uint32, copy=False),
        strand=np.where(bases.reverse[window], -1, 1).astype(np.int8),
        contig=bases.contig[window],
        position=bases.position[window, position],
        value=rows.value[kept].astype(np.float32, copy=False),
    )


class BatchBases(NamedTuple):
    """Where the bases of a batch of windows lie, in forward coordinates."""

    contig: NDArray[np.uint32]
    """Contig of each window, shape (windows,)."""
    reverse: NDArray[np.bool_]
    """Whether a window is read on strand -, shape (windows,)."""
    position: NDArray[np.int64]
    """Position of each base as it is read, shape (windows, width); beyond a read, anything."""
    in_cell: NDArray[np.bool_]
    """Whether each base lies in its window's cell, shape (windows, width)."""


def bases_of(group: Sequence[Window], width: int) -> BatchBases:
    """Find the bases of some windows of `width` bases, padding included."""
    starts, ends = np.array([window.read for window in group], dtype=np.int64).T[:, :, None]
    first, last = np.array([window.cell for window in group], dtype=np.int64).T[:, :, None]
    reverse = np.array([window.strand == "-" for window in group])
    step = np.arange(width)
    position = np.where(reverse[:, None], ends - 1 - step, starts + step)
    return BatchBases(
        contig=np.array([window.contig for window in group], dtype=np.uint32),
        reverse=reverse,
        position=position,
        in_cell=(position >= first) & (position < last),
    )


def _packed(group: Sequence[Window], rows: SparseWindows, places: Places) -> NDArray[np.uint64]:
    """The activations of a batch at the bases of a shard, packed; each base asked about once."""
    width = max(window.read[1] - window.read[0] for window in group)
    bases = bases_of(group, width)
    number = places.number(bases.contig[:, None], bases.position)
    number[~bases.in_cell] = -1
    at = number.ravel()[rows.window * width + rows.position]
    kept = at >= 0
    if kept.all():
        window, feature, value = rows.window, rows.feature, rows.value
    else:
        at, window, feature, value = (
            values[kept] for values in (at, rows.window, rows.feature, rows.value)
        )
    return pack(feature, at, bases.reverse[window], value, n_places=len(places))


def _known_bases(sequence: bytes) -> int:
    """Bases that are A, C, G or T; only these can be active."""
    return int((encode_bases(sequence) != N_CODE).sum())
