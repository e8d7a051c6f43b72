"""JASPAR CORE motifs of one taxonomic group, and the names of their transcription factors.

    load_motifs("fungi")  ->  MotifCatalogue  --resolve_tf("Reb1")-->  TfResolution

The matrices come from the SQLite files that pyjaspar ships. They are opened read-only and read with
bound parameters; pyjaspar's own look-ups are never called, because they paste user text into SQL.

One release is pinned and always shown: between releases a matrix may be trimmed (JASPAR 2024 cut
low-information flanks) or renamed, and a name without its taxonomic group is ambiguous (GATA1 is
also an Arabidopsis factor).
"""

import difflib
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from annotations.errors import OptionError, ToolError, UnknownNameError
from annotations.tf_names import ALIASES, loose_name

Key = TypeVar("Key", str, tuple[str, ...])

Taxon = Literal["vertebrates", "plants", "insects", "fungi", "nematodes", "urochordates", "diatoms"]
"""JASPAR's taxonomic groups."""

MatchType = Literal["matrix_id", "uniprot", "name", "dimer", "alias", "family"]
"""What of a motif a query named, in the order in which they are tried."""

RELEASES: Final = ("JASPAR2026", "JASPAR2024", "JASPAR2022")
TAXA: Final[tuple[str, ...]] = get_args(Taxon)

_MATRIX_ID: Final = re.compile(r"(MA\d{4})(?:\.(\d+))?", re.IGNORECASE)
_DIMER_SEPARATORS: Final = ("::", ":", "+", "/", "-")
_LONGEST_NAME: Final = 60


class Motif(NamedTuple):
    """One matrix of JASPAR. Compare motifs by `matrix_id`: `counts` is an array."""

    matrix_id: str
    """Base id and version, such as MA0363.3."""
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
    """The motifs of one release and taxonomic group: CORE, latest version of each base id."""

    release: str
    taxon: str
    motifs: tuple[Motif, ...]
    """Sorted by matrix id; elsewhere a motif's index means its place here."""

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
            raise UnknownNameError(
                f"no matrix {matrix_id!r} in {self.release} CORE {self.taxon}"
            ) from None

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {motif.matrix_id: place for place, motif in enumerate(self.motifs)}

    @cached_property
    def _by_base(self) -> Mapping[str, tuple[int, ...]]:
        return _lookup((m.matrix_id.split(".")[0].casefold(), i) for i, m in self._numbered)

    @cached_property
    def _by_uniprot(self) -> Mapping[str, tuple[int, ...]]:
        return _lookup((acc.casefold(), i) for i, m in self._numbered for acc in m.uniprot)

    @cached_property
    def _by_name(self) -> Mapping[str, tuple[int, ...]]:
        return _lookup((m.name.casefold(), i) for i, m in self._numbered)

    @cached_property
    def _by_sides(self) -> Mapping[tuple[str, ...], tuple[int, ...]]:
        return _lookup((_sides(m.name, "::"), i) for i, m in self._numbered if "::" in m.name)

    @cached_property
    def _by_side(self) -> Mapping[str, tuple[int, ...]]:
        return _lookup(
            (side, i)
            for i, m in self._numbered
            if "::" in m.name
            for side in sorted(set(_sides(m.name, "::")))
        )

    @cached_property
    def _by_loose_name(self) -> Mapping[str, tuple[int, ...]]:
        return _lookup((loose_name(m.name), i) for i, m in self._numbered if "::" not in m.name)

    @cached_property
    def _by_family(self) -> Mapping[str, tuple[int, ...]]:
        return _lookup(
            (label.casefold(), i)
            for i, m in self._numbered
            for label in sorted({*m.family, *m.tf_class})
        )

    @cached_property
    def _numbered(self) -> tuple[tuple[int, Motif], ...]:
        return tuple(enumerate(self.motifs))


class TfResolution(NamedTuple):
    """What a query named, to be echoed to whoever asked."""

    query: str
    match_type: MatchType
    motifs: tuple[Motif, ...]
    """At least one, in catalogue order."""
    release: str
    taxon: str


def load_motifs(taxon: str, release: str = "JASPAR2026") -> MotifCatalogue:
    """The CORE motifs of a taxonomic group, in their latest versions.

    Parameters
    ----------
    taxon : str
        One of `TAXA`.
    release : str
        One of `RELEASES`.

    Returns
    -------
    catalogue : MotifCatalogue
        The same object for the same arguments; its arrays are read-only.

    Raises
    ------
    OptionError
        If `taxon` or `release` is not one of those allowed.
    ToolError
        If the installed pyjaspar does not carry the release.
    """
    if taxon not in TAXA:
        raise OptionError(
            f"no JASPAR taxonomic group {_shown(taxon)}; choose one of {', '.join(TAXA)}"
        )
    if release not in RELEASES:
        raise OptionError(f"no release {_shown(release)}; choose one of {', '.join(RELEASES)}")
    return _load(taxon, release)


@lru_cache(maxsize=len(RELEASES) * len(TAXA))
def _load(taxon: str, release: str) -> MotifCatalogue:
    uri = f"{_database_path(release).resolve().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        # The 2026 file has no secondary indexes: each table is read once, then joined here.
        matrices = database.execute(
            "SELECT ID, BASE_ID, VERSION, NAME FROM MATRIX WHERE COLLECTION = ?", ("CORE",)
        ).fetchall()
        annotations: dict[tuple[int, str], list[str]] = defaultdict(list)
        for matrix, tag, value in database.execute(
            "SELECT ID, TAG, VAL FROM MATRIX_ANNOTATION WHERE TAG IN (?, ?, ?) ORDER BY LOCAL_ID",
            ("tax_group", "family", "class"),
        ):
            if value and value.strip() not in annotations[matrix, tag]:
                annotations[matrix, tag].append(value.strip())
        proteins: dict[int, list[str]] = defaultdict(list)
        for matrix, accession in database.execute("SELECT ID, ACC FROM MATRIX_PROTEIN"):
            if accession and accession.strip():
                proteins[matrix].append(accession.strip())
        latest: dict[str, tuple[int, int, str]] = {}
        for matrix, base, version, name in matrices:
            if base not in latest or version > latest[base][0]:
                latest[base] = (version, matrix, name)
        motifs = tuple(
            Motif(
                matrix_id=f"{base}.{version}",
                name=name.strip(),
                counts=_counts(database, matrix),
                family=tuple(annotations[matrix, "family"]),
                tf_class=tuple(annotations[matrix, "class"]),
                tax_group=taxon,
                uniprot=tuple(proteins[matrix]),
            )
            for base, (version, matrix, name) in sorted(latest.items())
            if taxon in annotations[matrix, "tax_group"]
        )
    return MotifCatalogue(release=release, taxon=taxon, motifs=motifs)


def _database_path(release: str) -> Path:
    # find_spec does not import pyjaspar, which takes seconds and prints.
    package = find_spec("pyjaspar")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / "data" / f"{release}.sqlite"
        if path.is_file():
            return path
    raise ToolError(
        f"the installed pyjaspar carries no {release}.sqlite; install pyjaspar 4.0 or later"
    )


def _counts(database: sqlite3.Connection, matrix: int) -> NDArray[np.float64]:
    cells = database.execute(
        'SELECT "row", col, val FROM MATRIX_DATA WHERE ID = ?', (matrix,)
    ).fetchall()
    counts = np.zeros((4, max(column for _, column, _ in cells)), dtype=np.float64)
    for base, column, value in cells:
        counts["ACGT".index(base), column - 1] = value
    counts.flags.writeable = False
    return counts


def resolve_tf(catalogue: MotifCatalogue, text: str) -> TfResolution:
    """The motifs that a name stands for, in one catalogue.

    Tried in this order, the first that finds anything wins; case never matters:

    1. a matrix id, with its version or without ("MA0363.3", "ma0363");
    2. a UniProt accession;
    3. a name, whole (all matrices that share it);
    4. a dimer in any order ("TAL1::GATA1", "GATA1-TAL1"), or one side of dimers;
    5. the name without punctuation, a yeast protein's name ("Reb1p"), or a curated alias ("PU.1");
    6. a family or class, whole.

    Parameters
    ----------
    catalogue : MotifCatalogue
        Where to look; a name means different factors in different taxonomic groups.
    text : str
        What the user asked for.

    Returns
    -------
    resolution : TfResolution
        The motifs and how they were found.

    Raises
    ------
    UnknownNameError
        If nothing has this name, with near names; or if an alias stands for several factors, with
        those factors: none is picked.
    """
    query = text.strip()
    key = query.casefold()
    found: tuple[int, ...]
    match_type: MatchType
    if identifier := _MATRIX_ID.fullmatch(query):
        match_type, found = "matrix_id", _by_matrix_id(catalogue, identifier)
    elif found := catalogue._by_uniprot.get(key, ()):
        match_type = "uniprot"
    elif found := catalogue._by_name.get(key, ()):
        match_type = "name"
    elif found := _by_dimer(catalogue, key):
        match_type = "dimer"
    elif found := _by_alias(catalogue, query):
        match_type = "alias"
    elif found := catalogue._by_family.get(key, ()):
        match_type = "family"
    else:
        raise UnknownNameError(_unknown(catalogue, query))
    motifs = tuple(catalogue.motifs[i] for i in found)
    return TfResolution(query, match_type, motifs, catalogue.release, catalogue.taxon)


def _by_matrix_id(catalogue: MotifCatalogue, identifier: re.Match[str]) -> tuple[int, ...]:
    base, version = identifier.groups()
    found = catalogue._by_base.get(base.casefold(), ())
    if not found:
        raise UnknownNameError(
            f"no matrix {base.upper()} in {catalogue.release} CORE {catalogue.taxon}; "
            "it may belong to another taxonomic group or release"
        )
    held = catalogue.motifs[found[0]].matrix_id
    if version is not None and f"{base}.{int(version)}".upper() != held:
        raise UnknownNameError(
            f"{catalogue.release} holds this matrix as {held}, not as version {int(version)}; "
            f"ask for {held}, or use a release that holds the other version"
        )
    return found


def _by_dimer(catalogue: MotifCatalogue, key: str) -> tuple[int, ...]:
    if found := catalogue._by_side.get(key, ()):
        return found
    for separator in _DIMER_SEPARATORS:
        if separator in key and (found := catalogue._by_sides.get(_sides(key, separator), ())):
            return found
    return ()


def _by_alias(catalogue: MotifCatalogue, query: str) -> tuple[int, ...]:
    loose = loose_name(query)
    if found := catalogue._by_loose_name.get(loose, ()):
        return found
    known = {
        symbol: found
        for symbol in ALIASES.get(catalogue.taxon, {}).get(loose, ())
        if (found := _by_symbol(catalogue, symbol.casefold()))
    }
    if len(known) > 1:
        raise UnknownNameError(
            f"{_shown(query)} stands for several factors; ask for one of {', '.join(known)}"
        )
    if known:
        return next(iter(known.values()))
    # Yeast proteins are written with a trailing p: Reb1p is the product of REB1.
    if catalogue.taxon == "fungi" and loose.endswith("p"):
        return catalogue._by_name.get(loose.removesuffix("p"), ())
    return ()


def _by_symbol(catalogue: MotifCatalogue, symbol: str) -> tuple[int, ...]:
    return catalogue._by_name.get(symbol, ()) or _by_dimer(catalogue, symbol)


def _unknown(catalogue: MotifCatalogue, query: str) -> str:
    written = {
        **{label.casefold(): label for m in catalogue.motifs for label in (*m.family, *m.tf_class)},
        **{side.casefold(): side for m in catalogue.motifs for side in m.name.split("::")},
        **{m.name.casefold(): m.name for m in catalogue.motifs},
    }
    near = difflib.get_close_matches(query[:_LONGEST_NAME].casefold(), written, n=5, cutoff=0.6)
    advice = f"near names: {', '.join(written[name] for name in near)}" if near else "no near name"
    return (
        f"no transcription factor {_shown(query)} in {catalogue.release} CORE {catalogue.taxon}; "
        f"{advice}. A name, a matrix id, a UniProt accession or a family is understood"
    )


def _shown(text: str) -> str:
    """The user's text for a message, or its length: it may be a pasted sequence."""
    return repr(text) if len(text) <= _LONGEST_NAME else f"of {len(text)} characters"


def _sides(name: str, separator: str) -> tuple[str, ...]:
    return tuple(sorted(side.strip() for side in name.casefold().split(separator)))


def _lookup(pairs: Iterable[tuple[Key, int]]) -> Mapping[Key, tuple[int, ...]]:
    table: dict[Key, list[int]] = defaultdict(list)
    for key, place in pairs:
        if not table[key] or table[key][-1] != place:
            table[key].append(place)
    return {key: tuple(places) for key, places in table.items()}
