"""Tracks of two alleles of a sequence, both at coordinates of the reference records.

    stretches of one feature --write_allele_track--> .bw
        "alternative": signal of the alternative alleles; "difference": alternative less reference

The files hold a value for every base of the reference records of the pairs: where nothing differs
the difference is an explicit 0, and so it is where nothing can differ (`Alleles.one_sided`). They
know the names of the other records, and nothing of their
bases. The rule for inserted and deleted bases is that of `annotations.allele_maps`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.active_bases import Activations, select
from annotations.allele_effects import changing_bases, values_of_pair
from annotations.alleles import AllelePair, Alleles
from annotations.bbi import Stretches
from annotations.bigwig import write_runs
from annotations.stretches import from_stretches
from annotations.tracks import SignalStrand
from annotations.types import STRAND_SIGNS

AlleleTrack = Literal["alternative", "difference"]
"""What a track shows."""


def write_allele_track(
    path: Path,
    stretches: pa.Table,
    alleles: Alleles,
    names: Sequence[str],
    lengths: Sequence[int],
    *,
    track: AlleleTrack,
    strand: SignalStrand = "either",
) -> None:
    """Write a track of the alternative alleles as bigWig, whole or not at all.

    Parameters
    ----------
    path : Path
        Made or replaced; its folder exists.
    stretches : Table of ACTIVATIONS_SCHEMA
        Of one feature, on all records.
    alleles : Alleles
        The pairs.
    names : sequence of str
        Names of all records, in order.
    lengths : sequence of int
        Bases in each of them.
    track : {"alternative", "difference"}
        What it shows.
    strand : {"+", "-", "either"}
        "either" is the larger of the two at each base of each allele.

    Raises
    ------
    CoordinateError
        If a stretch lies outside its record.
    """
    active = from_stretches(stretches)
    if strand != "either":
        active = select(active, active.strand == STRAND_SIGNS[strand])
    pairs = sorted(alleles.pairs, key=lambda pair: pair.reference)
    if track == "alternative":
        shown = [values_of_pair(active, pair)[1] for pair in pairs]
    else:
        shown = [_difference(active, pair, one_sided=alleles.one_sided) for pair in pairs]
    parts = [_runs(own, pair.reference) for own, pair in zip(shown, pairs, strict=True)]
    columns = zip(*parts, strict=True)
    write_runs(path, Stretches(*(np.concatenate(part) for part in columns)), names, lengths)


def _difference(active: Activations, pair: AllelePair, *, one_sided: bool) -> NDArray[np.float32]:
    """Alternative less reference at each base of the reference; the larger strand of each."""
    first, past = changing_bases(pair, 0)
    larger = np.zeros((2, pair.map.reference_length), dtype=np.float32)
    for sign in STRAND_SIGNS.values():
        values = values_of_pair(select(active, active.strand == sign), pair)
        if one_sided:
            same = slice(None, first) if sign > 0 else slice(past, None)
            values[1, same] = values[0, same]
        larger = np.maximum(larger, values)
    difference: NDArray[np.float32] = larger[1] - larger[0]
    return difference


def _runs(values: NDArray[np.float32], contig: int) -> Stretches:
    """Runs of equal value that tile a record."""
    first = np.flatnonzero(np.diff(values, prepend=np.float32(np.inf)))
    past = np.append(first[1:], len(values))
    return Stretches(np.full(len(first), contig), first, past, values[first])
