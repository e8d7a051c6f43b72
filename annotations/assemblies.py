"""Genomes that browsers know by name: their contigs.

`assemblies.tsv` holds the primary chromosomes of a few assemblies under UCSC's names.
`annotations.contig_aliases` tells whether other contigs are theirs.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

_TABLE: Final = Path(__file__).parent / "assemblies.tsv"


@cache
def assemblies() -> Mapping[str, Mapping[str, int]]:
    """Lengths of the primary chromosomes by name, by assembly."""
    found: dict[str, dict[str, int]] = {}
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            found.setdefault(row["assembly"], {})[row["contig"]] = int(row["length"])
    return MappingProxyType(found)
