"""How well each feature tells where an exon begins, a gene stands or a ChIP peak lies.

    activations.parquet + ConceptTracks --evaluate_concepts--> one row per feature row and label

Per base: AUROC, AUPRC and the prevalence it must beat, exact, from a histogram of the stored
float16 values; bases where a feature is silent count as 0. The call threshold is the one with
the largest F1 on the discovery contigs; precision, recall and F1 at it are measured there and,
unchanged, on the held-out contigs. Per interval: recall is the share of intervals with a called
base, precision the share of called runs (consecutive called bases) that touch an interval.

The figures treat bases as they come, neighbours are not independent: they say how well, not how
surely. The test is that of the top peaks, one base per locus: the binomial tail of the peaks with
the label at the label's share of discovery bases, BH over all pairs tested.

A feature row is one feature on one strand, and a label a concept and an orientation (see
`annotations.concept_tracks`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.activation_parts import ActivationSource
from annotations.active_bases import row_index
from annotations.concept_splits import Splits, split_bases
from annotations.concept_tracks import ConceptTracks
from annotations.concepts import PeakTest, peak_test
from annotations.errors import CoordinateError
from annotations.evaluation import Counts, ratio
from annotations.naming import LABEL_SHARE
from annotations.row_entries import BASES_AT_ONCE, RowEntries, row_entries
from annotations.significance import SIGNIFICANT_Q
from annotations.tables import column

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ROWS_PER_LABEL: Final = 25
"""Feature rows kept for each label: those with the largest AUPRC, and those with the largest
AUROC, on the discovery contigs."""
LABELS_PER_ROW: Final = 3
"""Labels kept for each feature row: of those its top peaks prefer significantly, the ones that
may name it first (`annotations.naming.LABEL_SHARE`), then those with the largest effect."""

_FIGURES = (
    ("positives", pa.int64()),
    ("prevalence", pa.float64()),
    ("auroc", pa.float64()),
    ("auprc", pa.float64()),
    ("precision", pa.float64()),
    ("recall", pa.float64()),
    ("f1", pa.float64()),
    ("intervals", pa.int64()),
    ("interval_precision", pa.float64()),
    ("interval_recall", pa.float64()),
    ("interval_f1", pa.float64()),
)

CONCEPTS_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("concept", pa.string(), nullable=False),
        pa.field("orientation", pa.string(), nullable=False),
        pa.field("threshold", pa.float64()),
        *(pa.field(name, kind) for name, kind in _FIGURES),
        *(pa.field(f"held_out_{name}", kind) for name, kind in _FIGURES),
        pa.field("peaks", pa.int64(), nullable=False),
        pa.field("share", pa.float64()),
        pa.field("log2_enrichment", pa.float64()),
        pa.field("p", pa.float64()),
        pa.field("q", pa.float64()),
    ]
)
"""One row per feature row and label that is kept; null where a figure is not defined.

`threshold` is the call: a base is called where its activation is at least that. `peaks` are the
top peaks on discovery contigs, `share` those of them with the label; these and their test are
null for a row with fewer than `MIN_LOCI_PER_FEATURE` peaks."""


def evaluate_concepts(
    activations: ActivationSource,
    tracks: ConceptTracks,
    n_features: int,
    *,
    discovery: Sequence[int],
    held_out: Sequence[int] = (),
    peaks: pa.Table | None = None,
    rows_per_label: int = ROWS_PER_LABEL,
    labels_per_row: int = LABELS_PER_ROW,
    scratch: Path | None = None,
    on_row: Callable[[int], None] = lambda row: None,
) -> pa.Table:
    """Measure every feature row on every label, and keep what is worth keeping.

    Reads the file once, a row group at a time; holds the values of one feature row, two bytes for
    every base of the sequences, which may lie in a file, and five numbers for each pair of row and
    label.

    Parameters
    ----------
    activations : ActivationSource
        A file of `annotations.activations.merge_stretches`.
    tracks : ConceptTracks
        The concepts of the same sequences.
    n_features : int
        Features of the dictionary.
    discovery, held_out : sequence of int
        Contigs to choose thresholds on, and to measure them on; not the same ones. Others are
        left out.
    peaks : Table, optional
        Top peaks: columns feature, strand, contig, position. Without them nothing is tested, and
        only the best rows of each label are kept.
    rows_per_label, labels_per_row : int
        How many to keep; see `ROWS_PER_LABEL` and `LABELS_PER_ROW`.
    scratch : Path, optional
        Folder for a file with the group of every base; the caller removes it. In memory if None.
    on_row : callable
        Told each feature row as it is done; may raise to stop the work.

    Returns
    -------
    concepts : Table of CONCEPTS_SCHEMA
        Sorted by feature, strand (+ first), concept and orientation in the order of
        `tracks.labels`.

    Raises
    ------
    OptionError
        If there is no discovery contig, a contig is in both, or one is not in `tracks`.
    StorageError
        If the file is not one of activations, of a larger dictionary or of other sequences.
    """
    path = None if scratch is None else scratch / "groups"
    splits = split_bases(tracks, discovery, held_out, path=path)
    tested = _tested_peaks(peaks, tracks, n_features, splits)
    del peaks
    telling = _telling(tested, labels_per_row)
    measure = _Measure(tracks, splits)
    leaders = [_Leaders(len(tracks.labels), rows_per_label) for _ in ("auprc", "auroc")]
    found: list[_Pair] = []
    for entries in row_entries(activations, tracks.lengths, n_features):
        row = entries.row
        base = measure.bases(entries)
        chances = (measure.prevalence[0, row % 2], 0.5)
        wanted = telling[row].copy()
        for leader, values, chance in zip(
            leaders, (base.auprc[0], base.auroc[0]), chances, strict=True
        ):
            wanted |= leader.offer(row, np.where(values > chance, values, -np.inf))
        found += measure.pairs(entries, base, np.flatnonzero(wanted))
        on_row(row)
    kept = [
        pair
        for pair in found
        if telling[pair.row, pair.label]
        or any((leader.row[pair.label] == pair.row).any() for leader in leaders)
    ]
    return _table(tracks, kept, tested)


class _BaseFigures(NamedTuple):
    """Per-base figures of one feature row; arrays of shape (2 splits, labels), NaN: undefined."""

    auroc: Floats
    auprc: Floats
    precision: Floats
    recall: Floats
    f1: Floats
    threshold: NDArray[np.uint16]
    """Bits of the call threshold, shape (labels,); 0 where there is none."""


class _Pair(NamedTuple):
    """A feature row and a label, measured."""

    row: int
    label: int
    threshold: int
    """Bits of the call threshold; 0 where there is none."""
    figures: Floats
    """Shape (2 splits, figures), in the order of `_FIGURES`."""


class _IntervalCalls:
    """Runs of consecutive called bases against intervals, counted as the bases come."""

    def __init__(self, intervals: tuple[Ints, Ints], offsets: Ints) -> None:
        self._starts, self._ends = intervals
        self._offsets = offsets
        self._runs = self._right_runs = self._found = 0
        # of the last called base the place and contig; of the last right one the run and interval
        self._last, self._last_right = (-2, -1), (-1, -1)

    def add(self, called: Ints) -> None:
        """Count called bases, ascending, all beyond those before."""
        if not len(called):
            return
        contig = np.searchsorted(self._offsets, called, side="right")
        first = (np.diff(called, prepend=self._last[0]) != 1) | (
            np.diff(contig, prepend=self._last[1]) != 0
        )
        which = np.searchsorted(self._starts, called, side="right") - 1
        inside = which >= 0
        inside[inside] = called[inside] < self._ends[which[inside]]
        run = self._runs + np.cumsum(first)
        self._runs, self._last = int(run[-1]), (int(called[-1]), int(contig[-1]))
        run, which = run[inside], which[inside]
        if len(run):
            self._right_runs += _changes(run, self._last_right[0])
            self._found += _changes(which, self._last_right[1])
            self._last_right = int(run[-1]), int(which[-1])

    def figures(self) -> tuple[float, float, float]:
        """Precision, recall and F1."""
        precision = float(ratio(self._right_runs, self._runs))
        recall = float(ratio(self._found, len(self._starts)))
        if not self._right_runs:
            both_known = np.isfinite(precision) and np.isfinite(recall)
            return precision, recall, 0.0 if both_known else float("nan")
        return precision, recall, 2 * precision * recall / (precision + recall)


def _changes(ascending: Ints, before: int) -> int:
    """How many numbers differ from the one before them, the first from `before`."""
    return int((np.diff(ascending, prepend=before) != 0).sum())


class _Measure:
    """Measures feature rows on the labels of some tracks."""

    def __init__(self, tracks: ConceptTracks, splits: Splits) -> None:
        self.tracks, self.splits = tracks, splits
        self.members = tracks.members.astype(np.float64).transpose(0, 2, 1)
        """Shape (2 passes, labels, classes)."""
        self.positives = np.einsum("plc,sc->spl", self.members, splits.sizes)
        """Bases with each label, shape (2 splits, 2 passes, labels)."""
        self.prevalence = ratio(self.positives, splits.sizes.sum(axis=1)[:, None, None])
        self._rank = np.zeros(2**16, np.int64)
        self._intervals: dict[tuple[int, int, int], tuple[Ints, Ints]] = {}

    def bases(self, entries: RowEntries) -> _BaseFigures:
        """Figures of a row on every label."""
        reverse = entries.row % 2
        codes, counts = self._counts(entries)
        positives = self.positives[:, reverse]
        # The last score is 0, which calls every base: no threshold.
        curve = np.nan_to_num(counts[0].f1()[:, :-1])
        best = curve.argmax(axis=1)
        label = np.arange(len(best))
        useful = curve[label, best] > 0
        right = np.stack([one.right[label, best] for one in counts])
        calls = np.stack([np.where(useful, one.called[best], np.nan) for one in counts])
        return _BaseFigures(
            auroc=np.stack([one.auroc for one in counts]),
            auprc=np.stack([one.auprc for one in counts]),
            precision=ratio(right, calls),
            recall=ratio(right, np.where(useful, positives, 0)),
            f1=ratio(2 * right, calls + positives),
            threshold=np.where(useful, codes[best], np.uint16(0)),
        )

    def pairs(self, entries: RowEntries, base: _BaseFigures, labels: Ints) -> list[_Pair]:
        """The row with some labels, per interval too."""
        if not len(labels):
            return []
        reverse = entries.row % 2
        figures = np.full((2, len(labels), len(_FIGURES)), np.nan)
        called = self._interval_calls(entries, base.threshold, labels)
        for split in (0, 1):
            if not self.splits.contigs[split]:
                continue
            figures[split, :, 0] = self.positives[split, reverse, labels]
            figures[split, :, 1] = self.prevalence[split, reverse, labels]
            for at, name in enumerate(("auroc", "auprc", "precision", "recall", "f1"), 2):
                figures[split, :, at] = getattr(base, name)[split, labels]
            for at, label in enumerate(labels.tolist()):
                figures[split, at, 7] = len(self._known(label, reverse, split)[0])
                if base.threshold[label]:
                    figures[split, at, 8:] = called[split, label].figures()
        return [
            _Pair(entries.row, label, int(base.threshold[label]), figures[:, at])
            for at, label in enumerate(labels.tolist())
        ]

    def _counts(self, entries: RowEntries) -> tuple[NDArray[np.uint16], list[Counts]]:
        """Values of a row, descending, and how often each occurs in each split; 0 comes last."""
        occurs = np.zeros(2**16, bool)
        for low in range(0, len(entries.code), BASES_AT_ONCE):
            occurs[entries.code[low : low + BASES_AT_ONCE]] = True
        codes = np.flatnonzero(occurs)[::-1].astype(np.uint16)
        self._rank[codes] = np.arange(len(codes))
        size = self.splits.ignored * len(codes)
        cells = np.zeros(size)
        for place, code in entries.parts():
            cell = self.splits.group[place] * np.int64(len(codes))
            cell += self._rank[code]
            cells += np.bincount(cell, minlength=size)[:size]
        counts = []
        for split, part in enumerate(cells.reshape(2, -1, len(codes))):
            total = part.sum(axis=0)
            held = self.members[entries.row % 2] @ part
            silent = self.positives[split, entries.row % 2] - held.sum(axis=1)
            all_silent = self.splits.sizes[split].sum() - total.sum()
            counts.append(Counts(np.column_stack([held, silent]), np.append(total, all_silent)))
        return codes, counts

    def _interval_calls(
        self, entries: RowEntries, threshold: NDArray[np.uint16], labels: Ints
    ) -> dict[tuple[int, int], _IntervalCalls]:
        """The calls of each split and label that has a threshold."""
        calls = {
            (split, label): _IntervalCalls(
                self._known(label, entries.row % 2, split), self.tracks.offsets
            )
            for split in (0, 1)
            if self.splits.contigs[split]
            for label in labels.tolist()
            if threshold[label]
        }
        for place, code in entries.parts() if calls else ():
            split_of = self.splits.group[place] // len(self.tracks.counted)
            own = [(place[split_of == split], code[split_of == split]) for split in (0, 1)]
            for (split, label), counted in calls.items():
                counted.add(own[split][0][own[split][1] >= threshold[label]])
        return calls

    def _known(self, label: int, reverse: int, split: int) -> tuple[Ints, Ints]:
        key = (label, reverse, split)
        if key not in self._intervals:
            self._intervals[key] = self.tracks.intervals(label, reverse, self.splits.contigs[split])
        return self._intervals[key]


class _Leaders:
    """The feature rows with the largest values of each label, of those offered so far."""

    def __init__(self, n_labels: int, size: int) -> None:
        self.row = np.full((n_labels, size), -1)
        """Shape (labels, size); -1 where there is none yet."""
        self._value = np.full((n_labels, size), -np.inf)

    def offer(self, row: int, values: Floats) -> NDArray[np.bool_]:
        """Take a row in where it beats one that is held; which labels that is, shape (labels,).

        Of equal values the one offered first stays.
        """
        if not self.row.size or not (values > self._value.min(axis=1)).any():
            return np.zeros(len(values), bool)
        # Of the lowest values held, the row that came last gives way.
        lowest = np.lexsort((-self.row, self._value))[:, 0]
        label = np.arange(len(values))
        better = values > self._value[label, lowest]
        self.row[label[better], lowest[better]] = row
        self._value[label[better], lowest[better]] = values[better]
        return better


def _telling(tested: PeakTest, labels_per_row: int) -> NDArray[np.bool_]:
    """The labels that the top peaks of a row prefer most, shape (rows, labels)."""
    chosen = np.zeros(tested.q.shape, bool)
    row, label = np.nonzero((tested.q <= SIGNIFICANT_Q) & (tested.log2_enrichment > 0))
    unlike = tested.share[row, label] < LABEL_SHARE
    order = np.lexsort((-tested.log2_enrichment[row, label], unlike, row))
    row, label = row[order], label[order]
    first = np.arange(len(row)) - np.searchsorted(row, row) < labels_per_row
    chosen[row[first], label[first]] = True
    return chosen


def _tested_peaks(
    peaks: pa.Table | None, tracks: ConceptTracks, n_features: int, splits: Splits
) -> PeakTest:
    """The test of the top peaks on discovery contigs; of no peaks without a table."""
    row = group = np.empty(0, np.int64)
    if peaks is not None:
        row = row_index(column(peaks, "feature"), column(peaks, "strand"))
        contig, position = column(peaks, "contig"), column(peaks, "position")
        if len(row) and (
            int(row.max()) >= 2 * n_features or int(contig.max()) >= len(tracks.lengths)
        ):
            raise CoordinateError("the peaks are of another dictionary or of other sequences")
        group = splits.group[tracks.offsets[contig] + position].astype(np.int64)
        counted = group < len(tracks.counted)  # discovery alone
        row, group = row[counted], group[counted]
    return peak_test(row, group, tracks.members, splits.sizes[0], n_rows=2 * n_features)


def _table(tracks: ConceptTracks, kept: Sequence[_Pair], tested: PeakTest) -> pa.Table:
    row = np.array([pair.row for pair in kept], np.int64)
    label = np.array([pair.label for pair in kept], np.int64)
    threshold = np.array([pair.threshold for pair in kept], np.uint16).view(np.float16)
    figures = np.array([pair.figures for pair in kept]).reshape(-1, 2, len(_FIGURES))
    columns: dict[str, Any] = {
        "feature": (row // 2).astype(np.uint32),
        "strand": (1 - 2 * (row % 2)).astype(np.int8),
        "concept": [tracks.labels[at].concept for at in label],
        "orientation": [tracks.labels[at].orientation for at in label],
        "threshold": np.where(threshold > 0, threshold, np.nan).astype(np.float64),
        "peaks": tested.peaks[row],
    }
    for name in ("share", "log2_enrichment", "p", "q"):
        columns[name] = getattr(tested, name)[row, label]
    for at, (name, _) in enumerate(_FIGURES):
        columns[name] = figures[:, 0, at]
        columns[f"held_out_{name}"] = figures[:, 1, at]
    return pa.table([_nullable(columns[f.name], f) for f in CONCEPTS_SCHEMA], CONCEPTS_SCHEMA)


def _nullable(values: Any, field: pa.Field) -> pa.Array:
    """A column with null for NaN."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return pa.array(values, mask=np.isnan(values)).cast(field.type)
    return pa.array(values, field.type)
