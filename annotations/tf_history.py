"""What JASPAR's releases and taxonomic groups call a factor, beyond the one that is asked.

For names that one release dropped or changed, for accessions that only older matrices carry, and to
say where a name is known that is not known here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from annotations.jaspar_files import RELEASES, TAXA, KnownMatrix, known_matrices
from annotations.motif_catalogue import DIMER_SEPARATORS, MotifCatalogue, base_id, sides
from annotations.tf_names import ALIASES, loose_name


class History(NamedTuple):
    """What all releases say of one taxonomic group; sets of base ids."""

    names: Mapping[str, frozenset[str]]
    sides: Mapping[str, frozenset[str]]
    dimers: Mapping[tuple[str, ...], frozenset[str]]
    accessions: Mapping[str, tuple[KnownMatrix, ...]]


@lru_cache(maxsize=len(TAXA) + 1)
def history(taxon: str) -> History:
    """Names and accessions in all releases of one taxonomic group; empty for a user's motifs."""
    names: dict[str, set[str]] = defaultdict(set)
    single: dict[str, set[str]] = defaultdict(set)
    dimers: dict[tuple[str, ...], set[str]] = defaultdict(set)
    accessions: dict[str, list[KnownMatrix]] = defaultdict(list)
    for matrix in known_matrices():
        if matrix.taxon != taxon:
            continue
        for accession in matrix.uniprot:
            accessions[accession.upper()].append(matrix)
        # What an old version was called is not a name of the latest: only whole releases count.
        if matrix.core and matrix.latest:
            base = base_id(matrix.matrix_id)
            names[matrix.name.casefold()].add(base)
            if "::" in matrix.name:
                dimers[sides(matrix.name)].add(base)
                for side in sides(matrix.name):
                    single[side].add(base)
    return History(
        {key: frozenset(bases) for key, bases in names.items()},
        {key: frozenset(bases) for key, bases in single.items()},
        {key: frozenset(bases) for key, bases in dimers.items()},
        {key: tuple(known) for key, known in accessions.items()},
    )


@lru_cache(maxsize=1)
def known_by_id() -> Mapping[str, Mapping[str, KnownMatrix]]:
    """Matrix id with version -> release -> what it says."""
    found: dict[str, dict[str, KnownMatrix]] = defaultdict(dict)
    for matrix in known_matrices():
        found[matrix.matrix_id][matrix.release] = matrix
    return found


def elsewhere(catalogue: MotifCatalogue, query: str) -> str:
    """Where else a name is known, as a sentence; empty if nowhere."""
    everywhere = _everywhere()
    places: dict[str, set[str]] = defaultdict(set)
    for key in _keys(query):
        for taxon, releases in everywhere.get(key, {}).items():
            places[taxon] |= releases - (
                {catalogue.release} if taxon == catalogue.taxon else frozenset()
            )
    if not any(places.values()):
        return ""
    return f"it is known in {where(places)}; "


def taxa_of(query: str) -> list[str]:
    """Taxonomic groups that know a name in their latest release, sorted."""
    everywhere = _everywhere()
    return sorted(
        {
            taxon
            for key in _keys(query.strip())
            for taxon, releases in everywhere.get(key, {}).items()
            if RELEASES[0] in releases
        }
    )


def _keys(query: str) -> set[str]:
    """Forms of a name to look it up by."""
    key = query.casefold()
    dimers = ("::".join(sides(key, s)) for s in DIMER_SEPARATORS if s in key)
    return {key, loose_name(key), *dimers}


def where(places: Mapping[str, Iterable[str]]) -> str:
    """Taxonomic groups and their releases for a message, newest release first."""
    return " and ".join(
        f"{taxon} ({', '.join(r for r in RELEASES if r in set(releases))})"
        for taxon, releases in sorted(places.items())
        if releases
    )


@lru_cache(maxsize=1)
def _everywhere() -> Mapping[str, Mapping[str, frozenset[str]]]:
    """Name, side, loose name or accession -> taxonomic group -> releases."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for matrix in known_matrices():
        if not (matrix.core and matrix.latest):
            continue
        keys = {*sides(matrix.name), matrix.name.casefold(), "::".join(sides(matrix.name))}
        keys |= {loose_name(key) for key in keys} | {acc.casefold() for acc in matrix.uniprot}
        for key in keys:
            found[key][matrix.taxon].add(matrix.release)
    for taxon, aliases in ALIASES.items():
        for alias, symbols in aliases.items():
            for symbol in symbols:
                releases = found.get(symbol.casefold(), {}).get(taxon, set())
                found[alias][taxon] |= releases
    return {
        key: {taxon: frozenset(releases) for taxon, releases in places.items() if releases}
        for key, places in found.items()
    }
