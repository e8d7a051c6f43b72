"""Motifs, and the catalogues in which they are looked up by id, name, protein or family.

A catalogue is what a test of motifs ran over: the matrices of one JASPAR release and taxonomic
group, those of a user's file, or both. It says which, so that every result can.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from annotations.errors import UnknownNameError
from annotations.tf_names import loose_name

Key = TypeVar("Key", str, tuple[str, ...])

DIMER_SEPARATORS: Final = ("::", ":", "+", "/", "-")
"""What people write between the sides of a dimer, in the order to be tried; JASPAR the first."""

USER: Final = "user"
"""Release and taxon of a catalogue that holds nothing but a user's motifs."""


class Motif(NamedTuple):
    """One matrix. Compare motifs by `matrix_id`: `counts` is an array."""

    matrix_id: str
    """Base id and version, such as MA0363.3; in a user's file whatever id it gives."""
    name: str
    """As JASPAR writes it; the sides of a dimer are joined by `::`."""
    counts: NDArray[np.float64]
    """Shape (4, width), rows A, C, G, T; read-only. Not always whole numbers."""
    family: tuple[str, ...]
    tf_class: tuple[str, ...]
    tax_group: str
    uniprot: tuple[str, ...]

    @property
    def width(self) -> int:
        """Bases the motif covers."""
        return int(self.counts.shape[1])


@dataclass(frozen=True, eq=False)
class MotifCatalogue:
    """The motifs of one release and taxonomic group, of a user's file, or of both."""

    release: str
    """A JASPAR release, or `USER`."""
    taxon: str
    """A taxonomic group of JASPAR, or `USER`."""
    motifs: tuple[Motif, ...]
    """JASPAR's sorted by matrix id, then a user's in the order of the file; elsewhere a motif's
    index means its place here."""
    user_file: str = ""
    """Name of the user's file of motifs; empty without one."""
    user_sha256: str = ""
    """SHA-256 of that file, in hexadecimal."""

    @property
    def title(self) -> str:
        """What the catalogue holds, for messages and records."""
        jaspar = "" if self.release == USER else f"{self.release} CORE {self.taxon}"
        user = f"the motifs of {self.user_file}" if self.user_file else ""
        return " with ".join(part for part in (jaspar, user) if part)

    def index(self, matrix_id: str) -> int:
        """Place in `motifs` of a matrix id, which needs its version.

        Raises
        ------
        UnknownNameError
            If the catalogue has no such matrix.
        """
        try:
            return self._places[matrix_id]
        except KeyError:
            raise UnknownNameError(f"no matrix {matrix_id!r} in {self.title}") from None

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {motif.matrix_id: place for place, motif in enumerate(self.motifs)}

    @cached_property
    def by_id(self) -> Mapping[str, tuple[int, ...]]:
        """Matrix id in lower case, with its version -> place."""
        return _lookup((m.matrix_id.casefold(), i) for i, m in self._numbered)

    @cached_property
    def by_base(self) -> Mapping[str, tuple[int, ...]]:
        """Matrix id in lower case, without its version -> place."""
        return _lookup((base_id(m.matrix_id), i) for i, m in self._numbered)

    @cached_property
    def by_uniprot(self) -> Mapping[str, tuple[int, ...]]:
        """UniProt accession in lower case -> places."""
        return _lookup((acc.casefold(), i) for i, m in self._numbered for acc in m.uniprot)

    @cached_property
    def by_name(self) -> Mapping[str, tuple[int, ...]]:
        """Whole name in lower case -> places."""
        return _lookup((m.name.casefold(), i) for i, m in self._numbered)

    @cached_property
    def by_sides(self) -> Mapping[tuple[str, ...], tuple[int, ...]]:
        """Sides of a dimer, as `sides` gives them -> places."""
        return _lookup((sides(m.name), i) for i, m in self._numbered if "::" in m.name)

    @cached_property
    def by_side(self) -> Mapping[str, tuple[int, ...]]:
        """One side of a dimer in lower case -> places."""
        return _lookup(
            (side, i)
            for i, m in self._numbered
            if "::" in m.name
            for side in sorted(set(sides(m.name)))
        )

    @cached_property
    def by_loose_name(self) -> Mapping[str, tuple[int, ...]]:
        """Name of a motif that is no dimer, without punctuation -> places."""
        return _lookup((loose_name(m.name), i) for i, m in self._numbered if "::" not in m.name)

    @cached_property
    def by_family(self) -> Mapping[str, tuple[int, ...]]:
        """Family or class in lower case -> places."""
        return _lookup(
            (label.casefold(), i)
            for i, m in self._numbered
            for label in sorted({*m.family, *m.tf_class})
        )

    def by_symbol(self, symbol: str) -> tuple[int, ...]:
        """Places of a symbol: as a name, else as one side of dimers or, with `::`, as a dimer."""
        key = symbol.casefold()
        if found := self.by_name.get(key, ()):
            return found
        return self.by_sides.get(sides(key), ()) if "::" in key else self.by_side.get(key, ())

    @cached_property
    def families(self) -> Mapping[str, str]:
        """Family or class in lower case -> as JASPAR writes it."""
        return {label.casefold(): label for m in self.motifs for label in (*m.tf_class, *m.family)}

    @cached_property
    def _numbered(self) -> tuple[tuple[int, Motif], ...]:
        return tuple(enumerate(self.motifs))


def base_id(matrix_id: str) -> str:
    """A matrix id in lower case and without its version.

    Examples
    --------
    >>> base_id("MA0363.3")
    'ma0363'
    """
    return matrix_id.split(".")[0].casefold()


def sides(name: str, separator: str = "::") -> tuple[str, ...]:
    """The factors of a dimer in lower case and alphabetical order; one for a monomer.

    Examples
    --------
    >>> sides("TAL1::GATA1"), sides("FOXO1-ELK1", "-"), sides("TAL1::")
    (('gata1', 'tal1'), ('elk1', 'foxo1'), ('tal1',))
    """
    parts = (side.strip() for side in name.casefold().split(separator))
    return tuple(sorted(part for part in parts if part))


def _lookup(pairs: Iterable[tuple[Key, int]]) -> Mapping[Key, tuple[int, ...]]:
    table: dict[Key, list[int]] = defaultdict(list)
    for key, place in pairs:
        if not table[key] or table[key][-1] != place:
            table[key].append(place)
    return {key: tuple(places) for key, places in table.items()}
