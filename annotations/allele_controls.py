"""Random substitutions near variants, as controls: how far does any change move a feature?

    records and pairs of variants --with_controls--> the same, and rounds of controls

A control of a variant is its reference record with one base replaced by another, at most `REACH`
bases from the changed ones and not one of them. Places and bases are drawn evenly, without
repetition, from a seed that depends on the number of the variant alone.
"""

from typing import Final

import numpy as np

from annotations.allele_maps import AlleleMap, Change
from annotations.alleles import MAX_BASES, AllelePair, Cut
from annotations.errors import LimitError, OptionError
from annotations.records import Record

REACH: Final = 100
"""Bases from a variant to the farthest of its controls."""

MAX_CONTROLS: Final = 99
"""Most controls of a variant."""

MAX_RECORDS: Final = 10_000
"""Most records of a run with controls."""

_SEED: Final = 20_260


def with_controls(cut: Cut, controls: int, *, max_bases: int = MAX_BASES) -> Cut:
    """Add records of random substitutions near each variant.

    Parameters
    ----------
    cut : Cut
        As `annotations.alleles.cut_variants` returns it.
    controls : int
        Of each variant.
    max_bases : int
        Most bases of all records together.

    Returns
    -------
    cut : Cut
        The records of controls follow the others.

    Raises
    ------
    OptionError
        If `controls` is not in [1, `MAX_CONTROLS`], or a variant has too few known bases nearby.
    LimitError
        If there would be more than `MAX_RECORDS`, or more than `max_bases`.
    """
    if not 1 <= controls <= MAX_CONTROLS:
        raise OptionError(f"controls must be a whole number in [1, {MAX_CONTROLS}], got {controls}")
    pairs, records = cut.alleles.pairs, list(cut.records)
    total = len(records) + controls * len(pairs)
    if total > MAX_RECORDS:
        raise LimitError(
            f"{len(pairs)} variants with {controls} controls each are {total:,} records, and a run "
            f"takes {MAX_RECORDS:,}; ask for fewer of either"
        )
    bases = sum(len(record.sequence) for record in records)
    bases += controls * sum(len(records[pair.reference].sequence) for pair in pairs)
    if bases > max_bases:
        raise LimitError(
            f"{len(pairs)} variants with {controls} controls each have {bases:,} bases, and a run "
            f"takes {max_bases:,}; ask for fewer of either, or a smaller flank"
        )
    rounds: list[list[AllelePair]] = [[] for _ in range(controls)]
    for number, pair in enumerate(pairs):
        reference = cut.records[pair.reference]
        edits = _edits(reference.sequence, pair, controls, np.random.default_rng((_SEED, number)))
        for at, (place, base) in enumerate(edits):
            sequence = bytearray(reference.sequence)
            sequence[place : place + 1] = base
            name = f"{reference.name.removesuffix('_ref')}_c{at + 1}"
            rounds[at].append(_control(pair, place, len(records), len(sequence)))
            records.append(Record(name, f"control of {pair.name}", bytes(sequence)))
    alleles = cut.alleles._replace(controls=tuple(map(tuple, rounds)))
    return Cut(records, alleles)


def _edits(
    sequence: bytes, pair: AllelePair, controls: int, draw: np.random.Generator
) -> list[tuple[int, bytes]]:
    """Places and new bases of the controls of a variant."""
    low, high = max(0, pair.change.start - REACH), min(len(sequence), pair.change.end + REACH)
    near = [at for at in range(low, high) if not pair.change.start <= at < pair.change.end]
    possible = [
        (at, bytes([base]))
        for at in near
        if sequence[at] in b"ACGT"
        for base in b"ACGT"
        if base != sequence[at]
    ]
    if len(possible) < controls:
        raise OptionError(
            f"the variant {pair.name} has {len(possible)} possible substitutions nearby, and "
            f"{controls} controls are asked for; ask for fewer"
        )
    chosen = draw.choice(len(possible), controls, replace=False)
    return [possible[index] for index in chosen.tolist()]


def _control(pair: AllelePair, place: int, record: int, length: int) -> AllelePair:
    return pair._replace(
        name=f"control of {pair.name}",
        alternative=record,
        change=Change(place, place + 1, place, place + 1),
        map=AlleleMap(((0, 0, length),), length, length),
    )
