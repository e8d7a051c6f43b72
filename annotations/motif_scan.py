"""Where motifs stand in sequences, on both strands, with exact p-value thresholds.

    counts (4, w)  --log_odds-->  millibits (4, w)  --motif_thresholds-->  threshold, attained p
    codes (length,)  --scan-->  HITS_SCHEMA table

A score is a sum of log-odds in whole thousandths of a bit, so that the probability of each score
follows exactly from a sum over integers, for motifs of any width, and a hit is decided without
rounding. Coordinates are 0-based and half-open on the forward strand, whatever the hit's strand.

A motif of w bases cannot have p below 4**-w: JASPAR 2024 and later hold many that cannot reach the
customary 1e-4. Those get the looser `floor`, and each hit carries the p its motif attains. A motif
that cannot reach the floor either is never reported.

The engine is memelite's FIMO, asked for a superset that the exact threshold then filters: by itself
it rounds scores to 0.1 bit, scores N as 0 and knows only the uniform background.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.contig_codes import ContigCodes
from annotations.errors import OptionError
from annotations.jaspar import Motif
from annotations.numba_threads import numba_threads

MOTIF_P: Final = 1e-4
"""Chance that a random window of the background scores as high, per strand."""
FLOOR_P: Final = 1e-3
"""The same for motifs too short or too vague to reach `MOTIF_P`."""
PSEUDOCOUNT: Final = 1.0
"""Added to each column of counts, spread evenly over the four bases."""
MILLIBITS: Final = 1000

HITS_SCHEMA: Final = pa.schema(
    [
        ("motif", pa.uint32()),
        ("contig", pa.uint32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("strand", pa.int8()),
        ("score", pa.float32()),
        ("p", pa.float64()),
    ]
)
"""One row per hit: index of the motif, place, log2-odds score, p attained by its threshold.

Sorted by contig, start, motif, then + before -. A palindrome hits on both strands: two rows."""

_CHUNK: Final = 2**21
_CANDIDATES: Final = 2_000_000
_LOOSE_STEPS: Final = (1.2e-5, 1.2e-4, 3e-4, 1.2e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
"""Most motifs need slightly more than the p aimed at, which is mostly a power of ten."""
_BIN: Final = 100
"""memelite's table has bins of 0.1 bit."""
_UNIFORM: Final = (0.25, 0.25, 0.25, 0.25)


class MotifThresholds(NamedTuple):
    """What a window must score to be a hit, per motif."""

    score: NDArray[np.float64]
    """Log2 odds, shape (n,); a hit scores at least this. Infinite if the floor is out of reach."""
    p: NDArray[np.float64]
    """Probability of such a score on one strand of the background, shape (n,); or NaN."""


def background_of(sequences: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Frequencies of A, C, G, T in both strands of some sequences.

    Parameters
    ----------
    sequences : sequence of ndarray of uint8
        Base codes; anything above 3 is not counted.

    Returns
    -------
    background : ndarray of float64, shape (4,)
        Sums to 1, with A equal to T and C to G; no base below 1 %, so that every score is finite.
        Uniform if there is no base at all.
    """
    counts = np.zeros(4, dtype=np.float64)
    for codes in sequences:
        for begin in range(0, len(codes), _CHUNK):  # a number of 8 bytes for each base counted
            counts += np.bincount(codes[begin : begin + _CHUNK], minlength=5)[:4]
    return background_of_counts(counts)


def background_of_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same from how often A, C, G, T stand in one strand, shape (4,)."""
    both = counts + counts[::-1]
    if not both.any():
        return np.array(_UNIFORM)
    at = min(max(both[0] / both.sum(), 0.01), 0.49)
    return np.array([at, 0.5 - at, 0.5 - at, at])


def log_odds(counts: NDArray[np.float64], background: NDArray[np.float64]) -> NDArray[np.int64]:
    """Scores of a motif's columns, log2((counts + 1/4) / (total + 1) / background).

    Parameters
    ----------
    counts : ndarray of float64, shape (4, width)
    background : ndarray of float64, shape (4,)
        As `background_of` returns it.

    Returns
    -------
    matrix : ndarray of int64, shape (4, width)
        In thousandths of a bit.
    """
    share = (counts + PSEUDOCOUNT / 4) / (counts.sum(axis=0) + PSEUDOCOUNT)
    matrix: NDArray[np.int64] = np.rint(MILLIBITS * np.log2(share / background[:, None])).astype(
        np.int64
    )
    return matrix


def information_content(motif: Motif) -> float:
    """Bits by which a motif's columns differ from equal bases, with the pseudocount of `log_odds`.

    Parameters
    ----------
    motif : Motif

    Returns
    -------
    bits : float
        Sum over columns of 2 + sum(share * log2(share)); no small-sample correction.
    """
    share = (motif.counts + PSEUDOCOUNT / 4) / (motif.counts.sum(axis=0) + PSEUDOCOUNT)
    return float(2 * motif.width + (share * np.log2(share)).sum())


def motif_thresholds(
    motifs: Sequence[Motif],
    background: NDArray[np.float64],
    *,
    p: float = MOTIF_P,
    floor: float = FLOOR_P,
) -> MotifThresholds:
    """The lowest score of each motif whose probability is at most `p`, else at most `floor`.

    Exact: probabilities are summed over all sequences, best score first, in whole millibits.

    Parameters
    ----------
    motifs : sequence of Motif
    background : ndarray of float64, shape (4,)
        A equal to T and C to G, so that both strands share the thresholds.
    p : float
        Aimed at, per strand and window.
    floor : float
        For motifs whose best score is more probable than `p`; at least `p`.

    Returns
    -------
    thresholds : MotifThresholds

    Raises
    ------
    OptionError
        If a probability or the background is out of range.
    """
    _check(background, p, floor)
    limits = [_limit(motif, background, p, floor) for motif in motifs]
    score = [np.inf if limit is None else limit.score / MILLIBITS for limit in limits]
    attained = [np.nan if limit is None else limit.p for limit in limits]
    return MotifThresholds(np.array(score, dtype=float), np.array(attained, dtype=float))


def scan(
    sequences: Sequence[NDArray[np.uint8]],
    motifs: Sequence[Motif],
    *,
    p: float = MOTIF_P,
    floor: float = FLOOR_P,
    background: NDArray[np.float64] | None = None,
    on_part: Callable[[float], None] = lambda part: None,
) -> pa.Table:
    """All places where a motif scores at least its threshold, on either strand.

    Parameters
    ----------
    sequences : sequence of ndarray of uint8
        Base codes of each contig, in order; a window that touches a code above 3 is never a hit.
    motifs : sequence of Motif
    p, floor : float
        As in `motif_thresholds`.
    background : ndarray of float64, shape (4,), optional
        By default that of `sequences`.
    on_part : callable
        Told the part of the bases that is done, 0 to 1; may raise to stop.

    Returns
    -------
    hits : pyarrow.Table of HITS_SCHEMA

    Raises
    ------
    OptionError
        If a probability or the background is out of range.

    Notes
    -----
    Peak memory is about 0.3 GB beyond the bases and the hits, however long the sequences are.
    """
    parts = scan_parts(sequences, motifs, p=p, floor=floor, background=background, on_part=on_part)
    return pa.concat_tables([HITS_SCHEMA.empty_table(), *parts]).combine_chunks()


def scan_parts(
    sequences: Sequence[NDArray[np.uint8]],
    motifs: Sequence[Motif],
    *,
    p: float = MOTIF_P,
    floor: float = FLOOR_P,
    background: NDArray[np.float64] | None = None,
    on_part: Callable[[float], None] = lambda part: None,
) -> Iterator[pa.Table]:
    """The hits of `scan`, in its order, some million bases at a time.

    Parameters
    ----------
    sequences, motifs, p, floor, background, on_part
        As in `scan`.

    Yields
    ------
    hits : pyarrow.Table of HITS_SCHEMA
        Those that start in one part of the bases.

    Raises
    ------
    OptionError
        If a probability or the background is out of range.
    """
    if background is None:
        background = background_of(sequences)
    _check(background, p, floor)
    limits = {
        place: limit
        for place, motif in enumerate(motifs)
        if (limit := _limit(motif, background, p, floor)) is not None
    }
    codes = ContigCodes.of(sequences)
    size = len(codes.joined)
    widest = max((limit.matrix.shape[1] for limit in limits.values()), default=1)
    for begin in range(0, size, _CHUNK):
        stop = min(begin + _CHUNK, size)
        chunk = codes.joined[begin : stop + widest - 1]
        if (chunk < 4).any():
            found = [
                _Found.empty(),
                *(
                    hits._replace(start=hits.start + begin)
                    for hits in _scan_chunk(chunk, limits, owned=stop - begin)
                ),
            ]
            yield _hits_table(found, limits, codes.offsets)
        on_part(stop / size)


class _Limit(NamedTuple):
    """One motif ready to be scanned; scores in millibits."""

    matrix: NDArray[np.int64]
    score: int
    p: float
    loose: float
    """A threshold for memelite that certainly lets every hit through."""


class _Found(NamedTuple):
    """Hits as columns, positions relative to some origin."""

    motif: NDArray[np.uint32]
    start: NDArray[np.int64]
    forward: NDArray[np.bool_]
    score: NDArray[np.int32]

    @classmethod
    def empty(cls) -> "_Found":
        return cls(np.empty(0, "u4"), np.empty(0, "i8"), np.empty(0, "?"), np.empty(0, "i4"))


def _check(background: NDArray[np.float64], p: float, floor: float) -> None:
    if not 0 < p <= floor < 0.1:
        raise OptionError(
            f"motif p-values must satisfy 0 < p <= floor < 0.1, got p={p:g}, floor={floor:g}"
        )
    symmetric = background.shape == (4,) and np.allclose(background, background[::-1])
    if not (symmetric and (background > 0).all() and np.isclose(background.sum(), 1)):
        raise OptionError(
            "a background must be 4 positive frequencies that sum to 1, equal for A and T and for "
            f"C and G, got {background.tolist()}"
        )


def _limit(motif: Motif, background: NDArray[np.float64], p: float, floor: float) -> _Limit | None:
    matrix = log_odds(motif.counts, background)
    return _cached_limit(matrix.tobytes(), tuple(background.tolist()), p, floor)


@lru_cache(maxsize=8192)
def _cached_limit(
    content: bytes, background: tuple[float, ...], p: float, floor: float
) -> _Limit | None:
    matrix = np.frombuffer(content, dtype=np.int64).reshape(4, -1)
    best = int(matrix.max(axis=0).sum())
    for aim in (p, floor):
        tail = _tail(matrix, background, until=aim)
        reached = np.flatnonzero((tail <= aim) & (np.diff(tail, prepend=0.0) > 0))
        if reached.size:
            score = best - int(reached[-1])
            return _Limit(matrix, score, float(tail[reached[-1]]), _loose(matrix, score))
    return None


def _tail(
    matrix: NDArray[np.int64], background: Sequence[float], *, until: float
) -> NDArray[np.float64]:
    """Probability that a sequence scores within d of the best score, for d = 0, 1, ...

    Stops at some d where it exceeds `until`. The sum runs over deficits, so that the many low
    scores, of which only the total would matter, are never looked at.
    """
    deficits = matrix.max(axis=0) - matrix
    worst = int(deficits.max(axis=0).sum())
    span = min(2000, worst)
    while True:
        density = np.zeros(span + 1)
        density[0] = 1.0
        for column in deficits.T:
            spread = np.zeros(span + 1)
            for deficit, frequency in zip(column.tolist(), background, strict=True):
                if deficit <= span:
                    spread[deficit:] += frequency * density[: span + 1 - deficit]
            density = spread
        tail: NDArray[np.float64] = np.cumsum(density)
        if tail[-1] > until or span == worst:
            return tail
        span = min(2 * span, worst)


def _loose(matrix: NDArray[np.int64], score: int) -> float:
    """A p-value at which memelite reports every window that scores at least `score`.

    memelite rounds each column to bins of 0.1 bit and reports windows whose unrounded score is at
    least the first bin whose uniform probability is below the p-value. Rounding up here makes
    our probability of a bin the larger one, so its first bin is not above the one below `score`.
    """
    bins = np.floor_divide(matrix + _BIN // 2, _BIN)
    lowest = score // _BIN - 1
    slack = int(bins.max(axis=0).sum()) - lowest
    if slack < 0:
        return _LOOSE_STEPS[0]
    tail = _tail(bins, _UNIFORM, until=1.0)
    return float(tail[min(slack, len(tail) - 1)]) * 1.001


def _scan_chunk(
    codes: NDArray[np.uint8], limits: dict[int, _Limit], *, owned: int
) -> Iterator[_Found]:
    """Hits that start in the first `owned` bases of a chunk."""
    # pandas and numba, which memelite needs, take seconds to import and only a scan needs them.
    from memelite import fimo

    one_hot = (codes == np.arange(4, dtype=np.uint8)[:, None]).astype(np.int8)[None]
    unknown = np.concatenate([[0], np.cumsum(codes > 3)])
    for loose, places in _batches(limits, len(codes)):
        # memelite takes log2(probability / 0.25): what it is given makes that our log-odds.
        given = {str(i): 0.25 * np.exp2(limits[i].matrix / MILLIBITS) for i in places}
        with numba_threads():
            frames = fimo(given, one_hot, eps=0.0, threshold=loose)
        counts = [len(frame) for frame in frames]
        if not any(counts):
            continue
        start, strand, score = (
            np.concatenate([frame[name].to_numpy() for frame in frames if len(frame)])
            for name in ("start", "strand", "score")
        )
        start, score = start.astype(np.int64), np.rint(MILLIBITS * score).astype(np.int32)
        lowest = np.repeat([limits[place].score for place in places], counts)
        kept = np.flatnonzero((score >= lowest) & (start < owned))
        width = np.repeat([limits[place].matrix.shape[1] for place in places], counts)[kept]
        kept = kept[unknown[start[kept] + width] == unknown[start[kept]]]
        motif = np.repeat(np.array(places, dtype=np.uint32), counts)
        yield _Found(motif[kept], start[kept], strand[kept] == "+", score[kept])


def _batches(limits: dict[int, _Limit], length: int) -> Iterator[tuple[float, list[int]]]:
    """Motifs of like looseness, so few per call that memelite's candidates fit in memory."""
    low = 0.0
    for loose in _LOOSE_STEPS:
        places = [i for i, limit in limits.items() if low < limit.loose <= loose]
        size = max(1, int(_CANDIDATES / (2 * length * loose)))
        for first in range(0, len(places), size):
            yield loose, places[first : first + size]
        low = loose


def _hits_table(
    found: Sequence[_Found], limits: dict[int, _Limit], offsets: NDArray[np.int64]
) -> pa.Table:
    motif, place, forward, score = (np.concatenate(column) for column in zip(*found, strict=True))
    known = 1 + max(limits, default=0)
    # One key sorts several times faster than three; no two hits share it.
    order = np.argsort((place * known + motif) * 2 + ~forward)
    motif, place, forward, score = motif[order], place[order], forward[order], score[order]
    widths, attained = np.zeros(known, dtype=np.int64), np.zeros(known)
    for i, limit in limits.items():
        widths[i], attained[i] = limit.matrix.shape[1], limit.p
    contig = np.searchsorted(offsets, place, side="right") - 1
    start = place - offsets[contig]
    return pa.table(
        {
            "motif": motif,
            "contig": contig.astype(np.uint32),
            "start": start,
            "end": start + widths[motif],
            "strand": np.where(forward, 1, -1).astype(np.int8),
            "score": (score / MILLIBITS).astype(np.float32),
            "p": attained[motif],
        },
        schema=HITS_SCHEMA,
    )
