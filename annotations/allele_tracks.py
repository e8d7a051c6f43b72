"""Tracks of two alleles of a sequence, both at coordinates of the reference records.

    stretches of one feature --write_alternative--> .bw   signal of the alternatives, moved
                             --write_difference--> .bw    alternative minus reference

The files describe the reference records of the pairs alone, each from its first base to its last:
where nothing differs the difference is an explicit 0. The rule for inserted and deleted bases is
that of `annotations.allele_maps`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from annotations.active_bases import Activations, select
from annotations.allele_effects import difference_runs, lifted
from annotations.alleles import Alleles
from annotations.bbi import Stretches
from annotations.bigwig import write_runs
from annotations.stretches import from_stretches, to_stretches
from annotations.tracks import SignalStrand, write_bigwig
from annotations.types import STRAND_SIGNS


def write_alternative(
    path: Path,
    stretches: pa.Table,
    alleles: Alleles,
    names: Sequence[str],
    lengths: Sequence[int],
    *,
    strand: SignalStrand = "either",
) -> None:
    """Write the signal of the alternative alleles at coordinates of the reference alleles.

    Parameters
    ----------
    path : Path
        Made or replaced, whole or not at all; its folder exists.
    stretches : Table of ACTIVATIONS_SCHEMA
        Of one feature, on all records.
    alleles : Alleles
        The pairs.
    names : sequence of str
        Names of all records, in order.
    lengths : sequence of int
        Bases in each of them.
    strand : {"+", "-", "either"}
        "either" is the larger of the two at each base.

    Raises
    ------
    CoordinateError, FormatError, LimitError, StorageError
        As `annotations.tracks.write_bigwig`.
    """
    moved = to_stretches(lifted(from_stretches(stretches), alleles))
    references = sorted({pair.reference for pair in alleles.pairs})
    write_bigwig(path, moved, names, lengths, contigs=references, strand=strand)


def write_difference(
    path: Path,
    stretches: pa.Table,
    alleles: Alleles,
    names: Sequence[str],
    lengths: Sequence[int],
    *,
    strand: SignalStrand = "either",
) -> None:
    """Write alternative minus reference at every base of the reference alleles.

    Parameters
    ----------
    path, stretches, alleles, names, lengths
        As `write_alternative` takes them.
    strand : {"+", "-", "either"}
        "either" compares the larger of the two strands of each allele.

    Raises
    ------
    CoordinateError
        If a stretch lies outside its record.
    """
    active = _on_strand(from_stretches(stretches), strand)
    pairs = sorted(alleles.pairs, key=lambda pair: pair.reference)
    runs = [difference_runs(active, pair) for pair in pairs]
    contig = np.repeat(np.arange(len(runs)), [len(found.start) for found in runs])
    start, end, value = (np.concatenate(columns) for columns in zip(*runs, strict=True))
    write_runs(
        path,
        Stretches(contig, start, end, value),
        [names[pair.reference] for pair in pairs],
        [lengths[pair.reference] for pair in pairs],
    )


def _on_strand(active: Activations, strand: SignalStrand) -> Activations:
    if strand == "either":
        return active
    return select(active, active.strand == STRAND_SIGNS[strand])
