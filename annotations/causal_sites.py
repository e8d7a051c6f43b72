"""Where a causal test edits: sites of a motif at a feature row's peaks, and silent windows.

    activations of a row  --Row.read-->  peaks, active bases
    Row, motif  --disruptions-->  windows with two edits each: of the motif, and a matched one
    Row, motif  --insertions-->  silent windows with the motif put in, and with a shuffled one

Windows are in the sense of the pass, as in `annotations.edits`. What the model reads of each is a
`Read`: its bases and the columns whose activation counts. A read begins with the context of the
dictionary before the first such column, and ends with what it reads ahead of the last, so that no
base is seen through a window's edge, whatever the grid of the run was; before and after an edit the
model reads the same bases but the edited.
"""

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.activation_parts import ActivationSource
from annotations.activations import from_stretches, read_feature, sort
from annotations.edits import (
    Codes,
    Edit,
    Hit,
    Ints,
    MotifScorer,
    disrupt,
    inserted,
    matched_edit,
    oriented_window,
    shuffled_insert,
)
from annotations.errors import OptionError
from annotations.motif_scan import MOTIF_P, background_of
from annotations.motif_windows import (
    WIDTH,
    background_windows,
    one_per_locus,
    running_count,
)
from annotations.peaks import RADIUS, local_maxima
from annotations.repeats import copies

HALF: Final = WIDTH // 2
"""Bases on each side of a peak or of a silent window's middle that are looked at."""

MEASURED: Final = 5
"""The activation of a site is the largest within so many bases of the peak."""

NEAR: Final = 3
"""A hit is at the peak if its offset is within so many bases of the commonest one."""

GC_STEPS: Final = (0, -1, 1, -2, 2)
"""Differences in the number of G and C that a silent window may have, the best first."""


MAX_PEAKS: Final = 1000
"""Peaks of a row that are looked at, the highest."""

MIN_SITES: Final = 6
"""Sites a test takes; 6 that all agree have p = 1/64, fewer could never be below 0.02."""
MAX_SITES: Final = 500
"""Sites that may be asked for."""


@dataclass(frozen=True, kw_only=True)
class CausalOptions:
    """What a causal test may be told."""

    sites: int = 50
    """Most sites, and most silent windows."""
    seed: int = 0
    """Of matched edits, shuffled motifs and silent windows."""
    motif_p: float = MOTIF_P
    """Motif threshold; that of the run."""
    held_out: tuple[int, ...] = ()
    """Contigs that are not looked at."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work.

        Raises
        ------
        OptionError
            If `sites` or `seed` is out of range.
        """
        if not MIN_SITES <= self.sites <= MAX_SITES:
            raise OptionError(f"sites must be in [{MIN_SITES}, {MAX_SITES}], got {self.sites}")
        if not 0 <= self.seed < 2**31:
            raise OptionError(f"seed must be in [0, {2**31 - 1}], got {self.seed}")


class Read(NamedTuple):
    """What the model reads, and where its activation counts."""

    codes: Codes
    """Bases in the sense of the pass."""
    first: int
    last: int
    """Columns measured, half-open."""


class Disruption(NamedTuple):
    """A site before any edit, without its motif, and with a matched edit."""

    contig: int
    position: int
    """Of the peak, forward coordinates."""
    original: Read
    disrupted: Read
    control: Read
    changes: int
    """Bases that each edit changes."""
    distance: float
    control_distance: float
    """Mean distance of the changed bases from the peak, in bases."""


class Insertion(NamedTuple):
    """A silent window before any edit, with the motif, and with its bases shuffled."""

    contig: int
    position: int
    """Of its middle, forward coordinates."""
    original: Read
    inserted: Read
    control: Read


@dataclass(frozen=True, eq=False)
class Genome:
    """The sequences of a run, and what every test of them needs."""

    codes: Sequence[Codes]
    """Base codes of each contig; those not to be looked at are empty."""
    background: NDArray[np.float64]
    """Frequencies of the bases, for the motif threshold."""
    window_contig: Ints
    window_start: Ints
    window_gc: Ints
    """Windows of `WIDTH` bases, none overlapping another, none touching N, in random order."""

    @classmethod
    def of(cls, codes: Sequence[Codes], options: CausalOptions) -> "Genome":
        """Lay out the sequences of a run.

        Parameters
        ----------
        codes : sequence of ndarray of uint8
            Base codes of each contig of the run.
        options : CausalOptions
            Which contigs are not looked at, and the seed.
        """
        seen = [c[:0] if at in options.held_out else c for at, c in enumerate(codes)]
        windows = background_windows(seen, seed=options.seed)
        order = np.random.default_rng(options.seed).permutation(len(windows.start))
        contig, start = windows.contig[order].astype(np.int64), windows.start[order]
        gc = np.zeros(len(start), dtype=np.int64)
        for number, sequence in enumerate(seen):
            own = contig == number
            count = running_count((sequence == 1) | (sequence == 2))
            gc[own] = count[start[own] + WIDTH] - count[start[own]]
        return cls(seen, background_of(seen), contig, start, gc)


class Row(NamedTuple):
    """A feature row: its peaks, the highest first, and all its active bases."""

    feature: int
    strand: int
    contig: Ints
    position: Ints
    value: NDArray[np.float64]
    """Of the peaks, shape (n,)."""
    windows: Codes
    """Shape (n, WIDTH): bases about the peaks, in the sense of the pass, no N among them."""
    active_contig: Ints
    active_position: Ints
    """Of the active bases, sorted."""

    @classmethod
    def read(
        cls, activations: ActivationSource, feature: int, strand: int, genome: Genome
    ) -> "Row":
        """Find the peaks of a row in a file of activations.

        Peaks nearer than `HALF` to an end of their contig or to N are left out, and of peaks with
        overlapping windows, or with copies of one repeat (`annotations.repeats`), all but the
        highest; at most `MAX_PEAKS` are kept.

        Raises
        ------
        StorageError
            If the file is missing, cut or not one of `annotations.activations`.
        """
        table = read_feature(activations, feature, strand)
        seen = [at for at, codes in enumerate(genome.codes) if len(codes)]
        known = np.isin(table.column("contig").to_numpy(), seen)
        active = sort(from_stretches(table.filter(pa.array(known))))
        peak = np.flatnonzero(local_maxima(active))
        peak = peak[np.argsort(-active.value[peak], kind="stable")]
        alone = one_per_locus(
            active.contig[peak].astype(np.int64),
            active.position[peak],
            np.arange(len(peak)),
            distance=WIDTH,
        )
        kept, found = [], []
        for index in peak[alone].tolist():
            position, codes = int(active.position[index]), genome.codes[active.contig[index]]
            window = oriented_window(codes, position, strand, HALF, HALF)
            if (window > 3).any():
                continue
            kept.append(index)
            found.append(window)
            if len(kept) == 2 * MAX_PEAKS:  # half of them may be copies
                break
        windows = np.array(found, dtype=np.uint8).reshape(-1, WIDTH)
        single = np.flatnonzero(~_copies(windows))[:MAX_PEAKS]
        chosen, windows = np.array(kept, dtype=np.int64)[single], windows[single]
        return cls(
            feature=feature,
            strand=strand,
            contig=active.contig[chosen].astype(np.int64),
            position=active.position[chosen],
            value=active.value[chosen].astype(np.float64),
            windows=windows,
            active_contig=active.contig.astype(np.int64),
            active_position=active.position,
        )

    def silent(self, contig: int, start: int) -> bool:
        """Whether no base of the window that starts there is active."""
        low, high = np.searchsorted(self.active_contig, [contig, contig + 1])
        own = self.active_position[low:high]
        first, last = np.searchsorted(own, [start, start + WIDTH])
        return bool(first == last)

    def random(self, matrix_id: str, seed: int) -> np.random.Generator:
        """The generator of a test: it depends on the pair, not on what was tested before."""
        words = [seed, self.feature, int(self.strand < 0), zlib.crc32(matrix_id.encode())]
        return np.random.default_rng(words)


def _copies(windows: Codes) -> NDArray[np.bool_]:
    """Which windows are copies of an earlier one."""
    # laid end to end; no window reaches into the next
    middle = np.arange(len(windows)) * WIDTH + HALF
    return copies(np.zeros(len(windows), np.int64), middle, windows.ravel(), WIDTH)


class SiteHits(NamedTuple):
    """The hits of a motif that stand at the peaks of a row."""

    offset: int | None
    """Commonest offset of the motif's middle base from the peak; None if there is no hit."""
    peak: Ints
    """Peaks with a hit within `NEAR` of the offset, the highest first."""
    hit: list[Hit]
    """Of each such peak the hit nearest to the offset."""


def site_hits(row: Row, scorer: MotifScorer) -> SiteHits:
    """Find the peaks of a row that hold a motif at about its commonest offset.

    Offsets are those of `annotations.enrichment`: of the motif's middle base (the left one of an
    even width) less the peak, in the sense of the pass. Each peak has one vote per offset; of
    equally common offsets the one nearest to the peak is taken, then the negative one.
    """
    parts = []
    for orientation in (1, -1):
        peak, start = np.nonzero(scorer.holds(row.windows, orientation))
        offset = (2 * start + scorer.width - 1 - 2 * HALF) // 2
        parts.append(np.stack([peak, offset, start, np.full(len(peak), orientation)], axis=1))
    found = np.concatenate(parts)
    if not len(found):
        return SiteHits(None, np.empty(0, np.int64), [])
    votes = np.unique(found[:, :2], axis=0)[:, 1]
    offsets, counts = np.unique(votes, return_counts=True)
    mode = int(offsets[np.lexsort((offsets, np.abs(offsets), -counts))[0]])
    away = np.abs(found[:, 1] - mode)
    order = np.lexsort((-found[:, 3], found[:, 2], away, found[:, 0]))
    order = order[away[order] <= NEAR]
    first = order[np.flatnonzero(np.diff(found[order, 0], prepend=-1))]
    hits = [Hit(int(start), int(orientation)) for start, orientation in found[first, 2:]]
    return SiteHits(mode, found[first, 0], hits)


def disruptions(
    row: Row,
    found: SiteHits,
    scorer: MotifScorer,
    genome: Genome,
    options: CausalOptions,
    *,
    context: int,
    ahead: int = 0,
) -> list[Disruption]:
    """The highest peaks at which the motif can be taken away, with both edits.

    A peak is left out if a second copy of the motif would stay, if the hit ends after what the
    model has read at the peak, or if no matched edit is found.

    Parameters
    ----------
    row : Row
    found : SiteHits
        Of the same row and motif.
    scorer : MotifScorer
    genome : Genome
    options : CausalOptions
    context, ahead : int
        Bases before and behind a base that the model reads at least.

    Returns
    -------
    sites : list of Disruption
        At most `options.sites`, the highest first.
    """
    random = row.random(scorer.motif.matrix_id, options.seed)
    reach = min(context, HALF - MEASURED)
    last = min(ahead, HALF - MEASURED)
    left = context + MEASURED
    sites: list[Disruption] = []
    for peak, hit in zip(found.peak.tolist(), found.hit, strict=True):
        # what the model reads near the peak, and all of the hit
        begin = HALF - reach - MEASURED
        if hit.start < begin:
            continue
        end = max(HALF + last + MEASURED + 1, hit.start + scorer.width)
        window, own = row.windows[peak, begin:end], hit._replace(start=hit.start - begin)
        at = HALF - begin
        edit = disrupt(window, own, scorer, last=at + last)
        if edit is None:
            continue
        control = matched_edit(
            window, edit, own, scorer, first=at - reach, last=at + last, random=random
        )
        if control is None:
            continue
        contig, position = int(row.contig[peak]), int(row.position[peak])
        right = MEASURED + ahead
        read = oriented_window(genome.codes[contig], position, row.strand, left, right)

        original, disrupted, matched = [
            _read(bases, context, context + 2 * MEASURED + 1)
            for bases in (
                read,
                _moved(edit, left - at).applied(read),
                _moved(control, left - at).applied(read),
            )
        ]
        sites.append(
            Disruption(
                contig,
                position,
                original,
                disrupted,
                matched,
                changes=len(edit.position),
                distance=float(np.abs(edit.position - at).mean()),
                control_distance=float(np.abs(control.position - at).mean()),
            )
        )
        if len(sites) == options.sites:
            break
    return sites


def silent_windows(
    row: Row, scorer: MotifScorer, genome: Genome, options: CausalOptions
) -> list[tuple[int, int]]:
    """Contig and middle of windows without the motif in which a row is silent.

    Each has the GC content of one of the row's highest peaks, within 2 bases; no window twice.
    """
    wanted = ((row.windows == 1) | (row.windows == 2)).sum(axis=1)[: options.sites]
    free = {
        gc: iter(np.flatnonzero(genome.window_gc == gc).tolist())
        for gc in {int(gc) + step for gc in wanted for step in GC_STEPS}
    }

    def usable(index: int) -> bool:
        contig, start = int(genome.window_contig[index]), int(genome.window_start[index])
        if not row.silent(contig, start):
            return False
        window = genome.codes[contig][start : start + WIDTH]
        return not scorer.has_hit(window)

    chosen = []
    for gc in wanted.tolist():
        candidates: Iterator[int] = (i for step in GC_STEPS for i in free[gc + step] if usable(i))
        index = next(candidates, None)
        if index is not None:
            chosen.append(index)
    return [
        (int(genome.window_contig[index]), int(genome.window_start[index]) + HALF)
        for index in chosen
    ]


def insertions(
    row: Row,
    windows: Collection[tuple[int, int]],
    orientation: int,
    scorer: MotifScorer,
    genome: Genome,
    options: CausalOptions,
    *,
    context: int,
    ahead: int = 0,
) -> list[Insertion]:
    """Silent windows with the motif put into their middle, and with its bases shuffled.

    The activation is measured from the first base put in to `RADIUS` bases after the last.

    Parameters
    ----------
    row : Row
    windows : collection of (contig, middle)
        As `silent_windows` returns them.
    orientation : {1, -1}
        Of the motif, in the sense of the pass.
    scorer, genome, options, context, ahead
        As in `disruptions`.

    Returns
    -------
    pairs : list of Insertion
        Windows in which every shuffled motif is a hit are left out; all are if the motif is wider
        than what fits into a window with `RADIUS` bases after it.
    """
    random = row.random(f"{scorer.motif.matrix_id}{orientation:+d}", options.seed)
    before = scorer.width // 2
    after = scorer.width - before - 1 + RADIUS
    if after > HALF:
        return []
    pairs = []
    for contig, middle in windows:
        # the silent window and, about it, what the model reads besides
        left, right = context + HALF, HALF + ahead
        wide = oriented_window(genome.codes[contig], middle, row.strand, left, right)
        window, start = wide[context : context + WIDTH], HALF - before
        put_in = inserted(window, scorer.oriented(orientation), start)
        control = shuffled_insert(window, scorer, start, orientation, random)
        if control is None:
            continue
        # a context before the first base put in
        reads = [
            _read(
                np.concatenate([wide[:context], bases, wide[context + WIDTH :]])[
                    start : context + HALF + after + 1 + ahead
                ],
                context,
                context + scorer.width + RADIUS,
            )
            for bases in (window, put_in, control)
        ]
        pairs.append(Insertion(contig, middle, *reads))
    return pairs


def _moved(edit: Edit, by: int) -> Edit:
    """The edit in a window that begins so many bases earlier."""
    return edit._replace(position=edit.position + by)


def _read(codes: Codes, first: int, last: int) -> Read:
    """A read without the N before its contig begins."""
    known = np.flatnonzero(codes < 4)
    begin = min(int(known[0]) if len(known) else 0, first)
    return Read(codes[begin:], first - begin, last - begin)
