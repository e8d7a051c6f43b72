"""Genomes that browsers know by name: whether a run's sequences are theirs.

    names and lengths of a run --check_assembly--> nothing, or every contig that differs

`assemblies.tsv` holds the primary chromosomes of a few assemblies under UCSC's names. Names are
compared as they are written: `1` is never taken for `chr1`.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from annotations.errors import OptionError

_TABLE: Final = Path(__file__).parent / "assemblies.tsv"
_SHOWN: Final = 8
"""Differing contigs that a message names; it counts all of them."""


@cache
def assemblies() -> Mapping[str, Mapping[str, int]]:
    """Lengths of the primary chromosomes by name, by assembly."""
    found: dict[str, dict[str, int]] = {}
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            found.setdefault(row["assembly"], {})[row["contig"]] = int(row["length"])
    return MappingProxyType(found)


def check_assembly(
    assembly: str, chromosomes: Mapping[str, int], names: Sequence[str], lengths: Sequence[int]
) -> None:
    """Refuse sequences that are not those of an assembly.

    Parameters
    ----------
    assembly : str
        What it is called, for the message.
    chromosomes : mapping of str to int
        Bases of each of its contigs, by name.
    names, lengths : sequences
        Of the contigs of a run; they may be some of the assembly's.

    Raises
    ------
    OptionError
        If a contig is not among those of the assembly, or has another length there. The message
        names the contigs that differ.

    Examples
    --------
    >>> check_assembly("toy", {"chr1": 9, "chr2": 5}, ["chr2"], [5])
    """
    differing = [
        f"{name} has {length} bases"
        + (f", {chromosomes[name]} there" if name in chromosomes else ", and is not there")
        for name, length in zip(names, lengths, strict=True)
        if chromosomes.get(name) != length
    ]
    if not differing:
        return
    shown = "; ".join(differing[:_SHOWN])
    more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    raise OptionError(
        f"the sequences of this run are not those of {assembly}: {len(differing)} of {len(names)} "
        f"contigs differ: {shown}{more}. Leave genome out: the tracks then come with their own "
        "sequence"
    )
