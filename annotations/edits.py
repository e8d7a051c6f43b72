"""Edits of DNA that take a motif away or put one in, and edits like them that do neither.

    window + hit  --disrupt-->  Edit of the motif's core   \
    window + Edit --matched_edit-->  Edit of like bases     >--  Edit.applied(window)  --> window
    consensus     --shuffled-->  equal bases, no motif     /

A window is an array of base codes in the sense of the pass: for strand "-" the reverse complement
of the forward sequence, so that a model reads every window from left to right. `orientation` is
that of a motif in this sense: +1 as the matrix has it, -1 its reverse complement.

All choices are made with the random generator that is given: equal seeds, equal edits.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import CoordinateError
from annotations.motif_catalogue import Motif
from annotations.motif_scan import MILLIBITS, MOTIF_P, log_odds, motif_thresholds
from annotations.sequences import reverse_complement

Codes = NDArray[np.uint8]
Ints = NDArray[np.int64]

CORE_SHARE: Final = 0.5
"""The core is the most informative columns that hold this share of a motif's information."""

TRIES: Final = 20
"""Matched edits and shuffled motifs that are tried before a window is given up."""

_UNKNOWN: Final = -(10**9)
"""Score of a base that is not A, C, G or T: no window with one reaches any threshold."""


class Hit(NamedTuple):
    """A place where a motif scores at least its threshold."""

    start: int
    """First base in the window."""
    orientation: int
    """+1 as the matrix, -1 its reverse complement."""


class Edit(NamedTuple):
    """Bases to be replaced in a window."""

    position: Ints
    """Places in the window, shape (n,), sorted."""
    base: Codes
    """What stands there afterwards, shape (n,); never what stood there before."""

    def applied(self, window: Codes) -> Codes:
        """A copy of the window with the bases replaced."""
        edited = window.copy()
        edited[self.position] = self.base
        return edited


class MotifScorer:
    """A motif ready to be looked for in short windows, with the thresholds of `motif_scan`."""

    def __init__(
        self, motif: Motif, background: NDArray[np.float64], *, p: float = MOTIF_P
    ) -> None:
        """Score a motif against a background.

        Parameters
        ----------
        motif : Motif
        background : ndarray of float64, shape (4,)
            Of the whole corpus, as `annotations.motif_scan.background_of` returns it: hits are
            then those of `annotations.motif_scan.scan`.
        p : float
            Motif threshold, as there.
        """
        self.motif = motif
        self.width = motif.width
        found = motif_thresholds([motif], background, p=p)
        self.can_hit = bool(np.isfinite(found.score[0]))
        """Whether any sequence reaches the threshold."""
        self._threshold = int(np.rint(MILLIBITS * found.score[0])) if self.can_hit else 0
        scores = log_odds(motif.counts, background)
        unknown = np.full((1, motif.width), _UNKNOWN, dtype=np.int64)
        self._scores = {
            1: np.concatenate([scores, unknown]),
            -1: np.concatenate([scores[::-1, ::-1], unknown]),
        }
        self.consensus: Codes = np.argmax(motif.counts, axis=0).astype(np.uint8)
        """The commonest base of each column; of equal ones the first of A, C, G, T."""

    def oriented(self, orientation: int) -> Codes:
        """The consensus as it is written into a window."""
        return self.consensus if orientation > 0 else reverse_complement(self.consensus)

    def holds(self, windows: Codes, orientation: int) -> NDArray[np.bool_]:
        """Where the motif starts in windows.

        Parameters
        ----------
        windows : ndarray of uint8, shape (n, length)
        orientation : {1, -1}

        Returns
        -------
        starts : ndarray of bool, shape (n, length - width + 1)
            No hit touches a code above 3.
        """
        places = max(0, windows.shape[1] - self.width + 1)
        total = np.zeros((len(windows), places), dtype=np.int64)
        matrix = self._scores[orientation]
        for step in range(self.width):
            total += matrix[:, step][windows[:, step : step + places]]
        starts: NDArray[np.bool_] = (total >= self._threshold) & self.can_hit
        return starts

    def hits(self, window: Codes) -> list[Hit]:
        """Hits in one window, + first, each orientation from left to right."""
        return [
            Hit(start, orientation)
            for orientation in (1, -1)
            for start in np.flatnonzero(self.holds(window[None], orientation)[0]).tolist()
        ]

    def has_hit(self, window: Codes) -> bool:
        """Whether the motif stands anywhere in a window, in either orientation."""
        return any(bool(self.holds(window[None], orientation).any()) for orientation in (1, -1))


def oriented_window(codes: Codes, position: int, strand: int, left: int, right: int) -> Codes:
    """The bases about one, in the sense of a pass.

    Parameters
    ----------
    codes : ndarray of uint8, shape (length,)
        A contig on the forward strand.
    position : int
        0-based base of the contig; it comes to stand at `left` in the window.
    strand : {1, -1}
        The pass.
    left, right : int
        Bases before and after it, in the sense of the pass.

    Returns
    -------
    window : ndarray of uint8, shape (left + 1 + right,)
        A new array; code 4 where the contig has ended.

    Raises
    ------
    CoordinateError
        If the position lies outside the contig.

    Examples
    --------
    >>> codes = np.array([0, 0, 1, 2, 3], dtype=np.uint8)  # AACGT
    >>> oriented_window(codes, 2, 1, 1, 2).tolist(), oriented_window(codes, 2, -1, 1, 2).tolist()
    ([0, 1, 2, 3], [1, 2, 3, 3])
    """
    if not 0 <= position < len(codes):
        raise CoordinateError(f"base {position} is outside its contig of {len(codes)} bases")
    before, after = (left, right) if strand > 0 else (right, left)
    window = np.full(before + 1 + after, 4, dtype=np.uint8)
    first, last = max(0, position - before), min(len(codes), position + after + 1)
    window[first - position + before : last - position + before] = codes[first:last]
    return window if strand > 0 else reverse_complement(window)


def core_order(motif: Motif) -> Ints:
    """Columns of a motif, the most informative first; of equal ones the leftmost first.

    Information is 2 bits less the column's entropy (Schneider and Stephens 1990), without a
    correction for small samples.

    Returns
    -------
    columns : ndarray of int64, shape (width,)
    """
    return np.argsort(-_information(motif), kind="stable").astype(np.int64)


def core_size(motif: Motif) -> int:
    """How many of the most informative columns hold `CORE_SHARE` of the information."""
    held = np.cumsum(np.sort(_information(motif))[::-1])
    return int(np.searchsorted(held, CORE_SHARE * held[-1]) + 1) if held[-1] > 0 else motif.width


def disrupt(window: Codes, hit: Hit, scorer: MotifScorer, *, last: int) -> Edit | None:
    """Take a motif away: the core's bases become the least likely ones of their columns.

    The core is widened by the next column until no hit of the motif is left in the window.

    Parameters
    ----------
    window : ndarray of uint8, shape (length,)
        No hit may be left anywhere in it.
    hit : Hit
        The one whose bases are replaced.
    scorer : MotifScorer
    last : int
        Last base that may be replaced: what comes after it the model has not read.

    Returns
    -------
    edit : Edit or None
        None if a hit is left with every column changed, such as a second copy of the motif.
    """
    width = scorer.width
    counts = scorer.motif.counts if hit.orientation > 0 else scorer.motif.counts[::-1, ::-1]
    order = core_order(scorer.motif)
    if hit.orientation < 0:
        order = width - 1 - order
    order = order[hit.start + order <= last]
    worst = np.argmin(counts, axis=0).astype(np.uint8)
    for size in range(min(core_size(scorer.motif), len(order)), len(order) + 1):
        columns = np.sort(order[:size])
        position = hit.start + columns
        changed = window[position] != worst[columns]
        edit = Edit(position[changed], worst[columns][changed])
        if len(edit.position) and not scorer.has_hit(edit.applied(window)):
            return edit
    return None


def matched_edit(
    window: Codes,
    edit: Edit,
    hit: Hit,
    scorer: MotifScorer,
    *,
    first: int,
    last: int,
    random: np.random.Generator,
) -> Edit | None:
    """An edit outside the motif that is like an edit of it, and leaves every hit as it is.

    Each replaced base has a counterpart: the same base or its complement elsewhere, replaced by
    the same base or, there, its complement. So as many bases change, the content of G and C
    changes by as much, and the distances to `last` are as near as the window allows.

    Parameters
    ----------
    window : ndarray of uint8, shape (length,)
        Before any edit.
    edit : Edit
        As from `disrupt`.
    hit : Hit
        What `edit` took away; no base of it is touched.
    scorer : MotifScorer
    first, last : int
        First and last base that may be replaced: those that the model reads at the peak.
    random : Generator
        Breaks ties, and varies the choice where a first one would make or break a hit.

    Returns
    -------
    control : Edit or None
        None if the window has too few such bases, or each of `TRIES` choices made or broke a hit.
    """
    places = np.arange(first, last + 1)
    places = places[(places < hit.start) | (places >= hit.start + scorer.width)]
    places = places[window[places] < 4]
    before = scorer.hits(window)
    # the rarest base first, so that others do not take its few places
    base_class = np.minimum(window, 3 - np.minimum(window, 3))
    rarity = [int((base_class[places] == base_class[at]).sum()) for at in edit.position]
    for attempt in range(TRIES):
        free = places
        chosen: list[tuple[int, int]] = []
        for index in np.argsort(rarity, kind="stable").tolist():
            at, base = int(edit.position[index]), int(edit.base[index])
            like = free[base_class[free] == base_class[at]]
            if not len(like):
                return None
            distance = np.abs(like - at) + random.random(len(like)) * (0.5 + attempt)
            place = int(like[np.argmin(distance)])
            chosen.append((place, base if window[place] == window[at] else 3 - base))
            free = free[free != place]
        chosen.sort()
        control = Edit(
            np.array([place for place, _ in chosen], dtype=np.int64),
            np.array([base for _, base in chosen], dtype=np.uint8),
        )
        if scorer.hits(control.applied(window)) == before:
            return control
    return None


def inserted(window: Codes, bases: Codes, start: int) -> Codes:
    """A copy of a window with bases written over its own; its length stays.

    Raises
    ------
    CoordinateError
        If the bases do not fit into the window there.
    """
    if not 0 <= start <= len(window) - len(bases):
        raise CoordinateError(
            f"{len(bases)} bases do not fit at {start} of a window of {len(window)}"
        )
    edited = window.copy()
    edited[start : start + len(bases)] = bases
    return edited


def shuffled_insert(
    window: Codes, scorer: MotifScorer, start: int, orientation: int, random: np.random.Generator
) -> Codes | None:
    """A window with the consensus written into it in another order of its bases, without a hit.

    Parameters
    ----------
    window : ndarray of uint8, shape (length,)
    scorer : MotifScorer
    start : int
        Where the bases are written.
    orientation : {1, -1}
        Whose bases: of the consensus or of its reverse complement.
    random : Generator
        Draws the order.

    Returns
    -------
    edited : ndarray of uint8 or None
        None if each of `TRIES` orders made a hit, as all orders of one base do.
    """
    bases = scorer.oriented(orientation)
    for _ in range(TRIES):
        edited = inserted(window, random.permutation(bases), start)
        if not scorer.has_hit(edited):
            return edited
    return None


def _information(motif: Motif) -> NDArray[np.float64]:
    """Bits of each column."""
    share = motif.counts / motif.counts.sum(axis=0)
    # x log2 x tends to 0 with x
    entropy = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=0)
    bits: NDArray[np.float64] = 2.0 - entropy
    return bits
