"""Tracks of two alleles of a sequence, both at coordinates of the reference records.

    stretches of one feature --write_allele_track--> .bw
        "alternative": signal of the alternative alleles; "difference": alternative less reference

The files hold a value for every base of the reference records of the pairs: where nothing differs
the difference is an explicit 0. They know the names of the other records, and nothing of their
bases. The rule for inserted and deleted bases is that of `annotations.allele_maps`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.active_bases import Activations, select
from annotations.allele_effects import values_of_pair
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
    parts = [_runs(_shown(active, pair, track), pair.reference) for pair in pairs]
    columns = zip(*parts, strict=True)
    write_runs(path, Stretches(*(np.concatenate(part) for part in columns)), names, lengths)


def _shown(active: Activations, pair: AllelePair, track: AlleleTrack) -> NDArray[np.float32]:
    values = values_of_pair(active, pair)
    shown: NDArray[np.float32] = values[1] if track == "alternative" else values[1] - values[0]
    return shown


def _runs(values: NDArray[np.float32], contig: int) -> Stretches:
    """Runs of equal value that tile a record."""
    first = np.flatnonzero(np.diff(values, prepend=np.float32(np.inf)))
    past = np.append(first[1:], len(values))
    return Stretches(np.full(len(first), contig), first, past, values[first])
