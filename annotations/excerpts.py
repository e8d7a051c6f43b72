"""Spans of contigs laid out as sequences of their own, and back.

    place on a contig --inside--> (span, offset in it) --outside--> place on the contig

A run over regions of a genome gives its results in coordinates of the genome, and counts,
draws background and scans motifs on its spans alone: there each span is a contig, so that time
and memory go with the regions and not with the genome. Spans are sorted, so the order of rows by
contig and place is the same in both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.activations import ActivationSource, rewrite_stretches
from annotations.concept_tracks import ConceptTracks, Label
from annotations.errors import CoordinateError
from annotations.tables import column
from annotations.types import Span

Ints = NDArray[np.int64]
Source = TypeVar("Source", bound=ActivationSource)

_PLACES: Final = ("position", "start", "end")


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Some spans of some contigs; all of the contigs where the spans are these."""

    spans: tuple[Span, ...]
    """Sorted by contig and start; no two overlap or touch."""
    contig_lengths: tuple[int, ...]
    """Bases of each contig."""

    def __post_init__(self) -> None:
        """Check the order.

        Raises
        ------
        CoordinateError
            If there is none, or spans are empty, not sorted, overlap, touch or leave their contig.
        """
        for one, other in zip(self.spans, self.spans[1:], strict=False):
            if (other.contig, other.start) <= (one.contig, one.end):
                raise CoordinateError("spans must be sorted, and no two may overlap or touch")
        lengths = self.contig_lengths
        if not self.spans or not all(0 <= s < e <= lengths[c] for c, s, e in self.spans):
            raise CoordinateError("spans must lie inside their contigs and not be empty")

    @classmethod
    def whole(cls, lengths: Sequence[int]) -> "Excerpt":
        """All of some contigs: places are the same inside and outside."""
        spans = (Span(at, 0, length) for at, length in enumerate(lengths))
        return cls(tuple(spans), tuple(lengths))

    @property
    def lengths(self) -> list[int]:
        """Bases of each span."""
        return [span.length for span in self.spans]

    @cached_property
    def is_whole(self) -> bool:
        """Whether the spans are the contigs, so that places inside and outside are the same."""
        whole = [(at, 0, length) for at, length in enumerate(self.contig_lengths)]
        return list(self.spans) == whole

    @cached_property
    def _columns(self) -> tuple[Ints, Ints, Ints]:
        contig, start, end = np.array(self.spans, np.int64).reshape(-1, 3).T
        return contig.copy(), start.copy(), end.copy()

    def held_out(self, contigs: Collection[int]) -> tuple[int, ...]:
        """The spans that lie on some contigs."""
        return tuple(at for at, span in enumerate(self.spans) if span.contig in contigs)

    def find(self, contig: NDArray[np.integer], position: Ints) -> Ints:
        """Index of the span that holds each base; -1 where none does."""
        _, start, end = self._columns
        first = np.searchsorted(self._columns[0], np.arange(len(self.contig_lengths) + 1))
        found = np.full(len(position), -1, np.int64)
        for at in np.unique(contig).tolist():
            low, high = int(first[at]), int(first[at + 1])
            mine = contig == at
            place = np.searchsorted(start[low:high], position[mine], side="right") - 1 + low
            inside = place >= low
            inside[inside] = position[mine][inside] < end[place[inside]]
            found[mine] = np.where(inside, place, -1)
        return found

    def inside(self, table: pa.Table) -> pa.Table:
        """Rows with their contig and places counted in spans.

        Parameters
        ----------
        table : Table
            Columns `contig`, and `position`, or `start` and perhaps `end`.

        Raises
        ------
        CoordinateError
            If a row does not lie in one span.
        """
        if self.is_whole:
            return table
        first = "position" if "position" in table.column_names else "start"
        at = self.find(column(table, "contig"), column(table, first).astype(np.int64))
        if (at < 0).any() or (
            "end" in table.column_names and (column(table, "end") > self._columns[2][at]).any()
        ):
            raise CoordinateError("a row lies outside the spans of this run")
        return self._moved(table, at, at, -self._columns[1][at])

    def outside(self, table: pa.Table) -> pa.Table:
        """Rows of `inside` with their contig and places counted in contigs again."""
        if self.is_whole:
            return table
        at = column(table, "contig").astype(np.int64)
        return self._moved(table, at, self._columns[0][at], self._columns[1][at])

    @staticmethod
    def _moved(table: pa.Table, at: Ints, contig: Ints, shift: Ints) -> pa.Table:
        values = {"contig": contig} | {
            name: column(table, name) + shift for name in _PLACES if name in table.column_names
        }
        for name, moved in values.items():
            place = table.schema.get_field_index(name)
            field = table.schema.field(place)
            table = table.set_column(place, field, pa.array(moved).cast(field.type))
        return table

    def clipped(self, table: pa.Table) -> pa.Table:
        """The parts of intervals that lie in spans, counted in spans.

        Parameters
        ----------
        table : Table
            Columns `contig`, `start` and `end`; others go with each part.

        Returns
        -------
        parts : Table
            In the order given; of one interval by place.
        """
        if self.is_whole:
            return table
        of_contig, start, end = self._columns
        contig, low, high = (
            column(table, name).astype(np.int64) for name in ("contig", "start", "end")
        )
        bounds = np.searchsorted(of_contig, np.arange(len(self.contig_lengths) + 1))
        first, last = np.zeros_like(low), np.zeros_like(low)
        for at in np.unique(contig).tolist():
            mine, (left, right) = contig == at, bounds[at : at + 2]
            first[mine] = np.searchsorted(end[left:right], low[mine], side="right") + left
            last[mine] = np.searchsorted(start[left:right], high[mine], side="left") + left
        counts = np.maximum(last - first, 0)
        row = np.repeat(np.arange(table.num_rows), counts)
        span = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts - first, counts)
        parts = table.take(pa.array(row))
        values = {
            "contig": span,
            "start": np.maximum(low[row], start[span]) - start[span],
            "end": np.minimum(high[row], end[span]) - start[span],
        }
        for name, moved in values.items():
            place = parts.schema.get_field_index(name)
            field = parts.schema.field(place)
            parts = parts.set_column(place, field, pa.array(moved).cast(field.type))
        return parts

    def activations(self, path: Source, out: Path) -> Source | Path:
        """Activations counted in spans; themselves where these are the contigs.

        Parameters
        ----------
        path : ActivationSource
            Of the spans alone.
        out : Path
            One file, written if places differ.
        """
        if self.is_whole:
            return path
        rewrite_stretches(path, out, self.inside)
        return out

    def tracks(self, tracks: ConceptTracks) -> ConceptTracks:
        """Concepts of contigs as those of the spans.

        What follows from the ends of an interval (a start codon, an exon's first base) was found
        on the contigs, so that the end of a span makes none.
        """
        if self.is_whole:
            return tracks
        of_contig, start, end = self._columns
        low, high = tracks.offsets[of_contig] + start, tracks.offsets[of_contig] + end
        first = np.searchsorted(tracks.starts, low, side="right") - 1
        counts = np.searchsorted(tracks.starts, high, side="left") - first
        stretch = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - first, counts)
        span = np.repeat(np.arange(len(self.spans)), counts)
        before = np.concatenate([[0], np.cumsum(end - start)[:-1]])
        starts = np.maximum(tracks.starts[stretch], low[span]) - low[span] + before[span]
        present, classes = np.unique(tracks.classes[stretch], return_inverse=True)
        members = tracks.members[:, present]
        kept = np.asarray(members.any(axis=(0, 1)), bool)
        return ConceptTracks(
            labels=tuple(
                Label(*label)
                for label, stays in zip(tracks.labels, kept.tolist(), strict=True)
                if stays
            ),
            lengths=tuple(self.lengths),
            starts=starts,
            classes=classes.astype(np.uint16),
            members=members[:, :, kept],
            counted=tracks.counted[present],
        )
