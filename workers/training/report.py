"""What a dictionary's features know of transcription factors, on sequence nobody tuned to.

For each TF the feature whose top peaks carry most motif hits is chosen on
discovery contigs and then measured on other contigs: the share of its top
non-coding peaks with a motif hit, and with a ChIP-exo location. The same is
done for a dictionary on random weights, because an SAE learns the k-mers of
the sequence by itself: a claim about a language model is a comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.jaspar import Motif
from annotations.motif_scan import scan
from annotations.peaks import find_peaks, top_peaks
from annotations.types import Span
from workers.pipeline import WindowEncoder
from workers.training.reading import encode_span


class Region(NamedTuple):
    """One contig a report reads."""

    name: str
    """Of the contig."""
    bases: NDArray[np.uint8]
    """Base codes, shape (length,)."""
    noncoding: NDArray[np.bool_]
    """Bases at which a peak counts, shape (length,)."""
    locations: Mapping[str, NDArray[np.int64]]
    """Positions of ChIP-exo locations by TF."""


@dataclass(frozen=True)
class TfRow:
    """One TF's best feature."""

    tf: str
    """Name of the TF in JASPAR."""
    feature: int
    """Chosen on the discovery contigs."""
    strand: int
    """+1 or -1: the strand the feature is read on."""
    discovery_motif_share: float
    """Share of its top discovery peaks with a motif hit (chosen as the largest: optimistic)."""
    peaks: int
    """Top peaks on the evaluation contigs."""
    motif_share: float
    """Share of them within `MOTIF_DISTANCE` bases of a motif hit."""
    location_share: float
    """Share of them within `LOCATION_DISTANCE` bases of a ChIP-exo location."""
    called: int
    """Those of them at least as high as the lowest top peak of discovery: a frozen call."""
    called_motif_share: float
    """Share of the called peaks at a motif hit; NaN where none is called."""
    called_location_share: float
    """Share of the called peaks at a ChIP-exo location; NaN where none is called."""
    base_motif_share: float
    """The same share of all non-coding bases of the evaluation contigs."""
    base_location_share: float
    """The same share of all non-coding bases of the evaluation contigs."""
    jaspar_location_share: float
    """Share of as many best-scoring motif hits that lie at a ChIP-exo location."""


MOTIF_DISTANCE = 10
LOCATION_DISTANCE = 20
TOP = 100


def tf_report(
    encoder: WindowEncoder,
    tfs: Mapping[str, Sequence[Motif]],
    discovery: Sequence[Region],
    evaluations: Mapping[str, Sequence[Region]],
) -> dict[str, list[TfRow]]:
    """Choose each TF's feature on `discovery` and measure it on other contigs.

    Parameters
    ----------
    encoder : WindowEncoder
        The opened dictionary.
    tfs : mapping of str to sequence of Motif
        Motifs by TF name; a hit of any of them counts.
    discovery : sequence of Region
        Contigs to choose on.
    evaluations : mapping of str to sequence of Region
        Sets of other contigs to measure on, by a name for each set.

    Returns
    -------
    rows : dict of str to list of TfRow
        For each set, in the order of `tfs`.
    """
    chosen_from = _places(encoder, discovery)
    chosen = [_choose(tf, motifs, chosen_from, discovery) for tf, motifs in tfs.items()]
    rows = {}
    for name, regions in evaluations.items():
        measured = _places(encoder, regions)
        rows[name] = [_measure(choice, measured, regions) for choice in chosen]
    return rows


class _Choice(NamedTuple):
    """The feature of one TF, as discovery found it."""

    tf: str
    motifs: Sequence[Motif]
    feature: int
    strand: int
    motif_share: float
    call: float
    """The lowest of its top discovery peaks."""


def _choose(
    tf: str, motifs: Sequence[Motif], places: pa.Table, regions: Sequence[Region]
) -> _Choice:
    shares = _shares(places, [_near_hits(region, motifs) for region in regions])
    (feature, strand), share = max(shares.items(), key=lambda item: (item[1], item[0]))
    call = pc.min(_rows_of(places, feature, strand)["value"]).as_py()
    return _Choice(tf, motifs, feature, strand, share, call)


def _rows_of(places: pa.Table, feature: int, strand: int) -> pa.Table:
    return places.filter(
        pc.and_(pc.equal(places["feature"], feature), pc.equal(places["strand"], strand))
    )


def _places(encoder: WindowEncoder, regions: Sequence[Region]) -> pa.Table:
    """Top non-coding peaks of every feature over all regions; contig = index of the region."""
    tables = []
    for index, region in enumerate(regions):
        peaks = _region_peaks(encoder, region)
        keep = region.noncoding[peaks["position"].to_numpy()]
        peaks = peaks.filter(pa.array(keep))
        contig = pa.array(np.full(len(peaks), index, np.uint32))
        at = peaks.schema.get_field_index("contig")
        tables.append(peaks.set_column(at, peaks.schema.field("contig"), contig))
    return top_peaks(tables, per_feature=TOP)


def _region_peaks(encoder: WindowEncoder, region: Region) -> pa.Table:
    parts = []
    # A megabase holds some 30 million activations: peaks are taken a piece at a time.
    piece = 256 * encoder.dictionary.stride
    for start in range(0, len(region.bases), piece):
        end = min(start + piece, len(region.bases))
        found = encode_span(encoder, region.bases, start=start, end=end)
        parts.append(find_peaks(found, [Span(0, start, end)]))
    return pa.concat_tables(parts)


def _near_hits(region: Region, motifs: Sequence[Motif]) -> NDArray[np.bool_]:
    """Bases within `MOTIF_DISTANCE` of a motif hit, bool (length,)."""
    hits = scan([region.bases], tuple(motifs))
    return _dilate(
        len(region.bases),
        hits["start"].to_numpy() - MOTIF_DISTANCE,
        hits["end"].to_numpy() + MOTIF_DISTANCE,
    )


def _dilate(length: int, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    steps = np.zeros(length + 1, np.int64)
    np.add.at(steps, np.clip(starts, 0, length), 1)
    np.add.at(steps, np.clip(ends, 0, length), -1)
    return np.asarray(np.cumsum(steps[:-1]) > 0)


def _near_locations(region: Region, tf: str) -> NDArray[np.bool_]:
    at = region.locations.get(tf.upper(), np.empty(0, np.int64))
    return _dilate(len(region.bases), at - LOCATION_DISTANCE, at + LOCATION_DISTANCE + 1)


def _looked_up(peaks: pa.Table, masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    contig, position = peaks["contig"].to_numpy(), peaks["position"].to_numpy()
    out = np.zeros(len(peaks), bool)
    for index, mask in enumerate(masks):
        here = contig == index
        out[here] = mask[position[here]]
    return out


def _shares(peaks: pa.Table, masks: Sequence[NDArray[np.bool_]]) -> dict[tuple[int, int], float]:
    """Share of top peaks in the masks, by feature and strand; fewer than `TOP` peaks: left out."""
    key = peaks["feature"].to_numpy().astype(np.int64) * 2 + (peaks["strand"].to_numpy() < 0)
    rows, index, count = np.unique(key, return_inverse=True, return_counts=True)
    inside = np.bincount(index, weights=_looked_up(peaks, masks), minlength=len(rows))
    return {
        (int(row // 2), -1 if row % 2 else 1): float(share)
        for row, n, share in zip(rows, count, inside / count, strict=True)
        if n >= TOP
    }


def _measure(choice: _Choice, places: pa.Table, regions: Sequence[Region]) -> TfRow:
    mine = _rows_of(places, choice.feature, choice.strand)
    hits = [_near_hits(region, choice.motifs) for region in regions]
    bound = [_near_locations(region, choice.tf) for region in regions]
    noncoding = np.concatenate([region.noncoding for region in regions])
    at_hit, at_location = _looked_up(mine, hits), _looked_up(mine, bound)
    called = mine["value"].to_numpy() >= choice.call
    return TfRow(
        tf=choice.tf,
        feature=choice.feature,
        strand=choice.strand,
        discovery_motif_share=choice.motif_share,
        peaks=len(mine),
        motif_share=_mean(at_hit),
        location_share=_mean(at_location),
        called=int(called.sum()),
        called_motif_share=_mean(at_hit[called]),
        called_location_share=_mean(at_location[called]),
        base_motif_share=float(np.concatenate(hits)[noncoding].mean()),
        base_location_share=float(np.concatenate(bound)[noncoding].mean()),
        jaspar_location_share=_best_hits_at_locations(choice.motifs, regions, bound, len(mine)),
    )


def _mean(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _best_hits_at_locations(
    motifs: Sequence[Motif],
    regions: Sequence[Region],
    bound: Sequence[NDArray[np.bool_]],
    n: int,
) -> float:
    """Share of the `n` best-scoring non-coding motif hits that lie at a location."""
    scores, there = [], []
    for region, mask in zip(regions, bound, strict=True):
        hits = scan([region.bases], tuple(motifs))
        middle = (hits["start"].to_numpy() + hits["end"].to_numpy()) // 2
        keep = region.noncoding[middle]
        scores.append(hits["score"].to_numpy()[keep])
        there.append(mask[middle[keep]])
    order = np.argsort(-np.concatenate(scores), kind="stable")[:n]
    return float(np.concatenate(there)[order].mean()) if len(order) else float("nan")
