"""JASPAR's matrices from the SQLite files that pyjaspar ships.

    load_motifs("fungi")   ->  MotifCatalogue: CORE, latest version of each base id
    known_matrices()       ->  every matrix of every release here, without its counts

The files are opened read-only and read with bound parameters; pyjaspar's own look-ups are never
called, because they paste user text into SQL.

One release is pinned and always shown: between releases a matrix may be trimmed (JASPAR 2024 cut
low-information flanks) or renamed, even to another gene (MA0089.3).
"""

import sqlite3
from collections import defaultdict
from contextlib import closing
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from annotations.errors import OptionError, ToolError
from annotations.motif_catalogue import Motif, MotifCatalogue

Taxon = Literal["vertebrates", "plants", "insects", "fungi", "nematodes", "urochordates", "diatoms"]
"""JASPAR's taxonomic groups."""

RELEASES: Final = ("JASPAR2026", "JASPAR2024", "JASPAR2022")
TAXA: Final[tuple[str, ...]] = get_args(Taxon)


class KnownMatrix(NamedTuple):
    """What a release says of a matrix, in any of its versions."""

    release: str
    taxon: str
    matrix_id: str
    name: str
    core: bool
    """Whether it is of CORE; otherwise of UNVALIDATED."""
    latest: bool
    """Whether it is the latest version of its base id in that release."""
    uniprot: tuple[str, ...]
    species: str
    """Latin name, or names joined by a comma; empty if not told."""


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


@lru_cache(maxsize=1)
def known_matrices() -> tuple[KnownMatrix, ...]:
    """Every CORE and UNVALIDATED matrix, in every version, of every release in `RELEASES`.

    Raises
    ------
    ToolError
        If the installed pyjaspar does not carry one of the releases.
    """
    found = []
    for release in RELEASES:
        with closing(_open(release)) as database:
            found += _known(database, release)
    return tuple(found)


@lru_cache(maxsize=len(RELEASES) * len(TAXA))
def _load(taxon: str, release: str) -> MotifCatalogue:
    with closing(_open(release)) as database:
        annotations = _annotations(database)
        proteins = _proteins(database)
        latest: dict[str, tuple[int, int, str]] = {}
        for matrix, base, version, name in database.execute(
            "SELECT ID, BASE_ID, VERSION, NAME FROM MATRIX WHERE COLLECTION = ?", ("CORE",)
        ):
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


def _known(database: sqlite3.Connection, release: str) -> list[KnownMatrix]:
    annotations = _annotations(database)
    proteins = _proteins(database)
    species: dict[int, list[str]] = defaultdict(list)
    for matrix, name in database.execute(
        "SELECT S.ID, T.SPECIES FROM MATRIX_SPECIES S JOIN TAX T "
        "ON T.TAX_ID = CAST(S.TAX_ID AS INTEGER)"
    ):
        species[matrix].append(name)
    rows = database.execute(
        "SELECT ID, BASE_ID, VERSION, NAME, COLLECTION FROM MATRIX WHERE COLLECTION IN (?, ?)",
        ("CORE", "UNVALIDATED"),
    ).fetchall()
    newest: dict[str, int] = {}
    for _, base, version, _, _ in rows:
        newest[base] = max(version, newest.get(base, version))
    return [
        KnownMatrix(
            release=release,
            taxon=taxon,
            matrix_id=f"{base}.{version}",
            name=name.strip(),
            core=collection == "CORE",
            latest=version == newest[base],
            uniprot=tuple(proteins[matrix]),
            species=", ".join(species[matrix]),
        )
        for matrix, base, version, name, collection in rows
        for taxon in annotations[matrix, "tax_group"]
    ]


def _open(release: str) -> sqlite3.Connection:
    # find_spec does not import pyjaspar, which takes seconds and prints.
    package = find_spec("pyjaspar")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / "data" / f"{release}.sqlite"
        if path.is_file():
            return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    raise ToolError(
        f"the installed pyjaspar carries no {release}.sqlite; install pyjaspar 4.0 or later"
    )


def _annotations(database: sqlite3.Connection) -> dict[tuple[int, str], list[str]]:
    # The 2026 file has no secondary indexes: each table is read once, then joined here.
    annotations: dict[tuple[int, str], list[str]] = defaultdict(list)
    for matrix, tag, value in database.execute(
        "SELECT ID, TAG, VAL FROM MATRIX_ANNOTATION WHERE TAG IN (?, ?, ?) ORDER BY LOCAL_ID",
        ("tax_group", "family", "class"),
    ):
        if value and value.strip() not in annotations[matrix, tag]:
            annotations[matrix, tag].append(value.strip())
    return annotations


def _proteins(database: sqlite3.Connection) -> dict[int, list[str]]:
    proteins: dict[int, list[str]] = defaultdict(list)
    for matrix, accession in database.execute("SELECT ID, ACC FROM MATRIX_PROTEIN"):
        if accession and accession.strip():
            proteins[matrix].append(accession.strip())
    return proteins


def _counts(database: sqlite3.Connection, matrix: int) -> NDArray[np.float64]:
    cells = database.execute(
        'SELECT "row", col, val FROM MATRIX_DATA WHERE ID = ?', (matrix,)
    ).fetchall()
    counts = np.zeros((4, max(column for _, column, _ in cells)), dtype=np.float64)
    for base, column, value in cells:
        counts["ACGT".index(base), column - 1] = value
    counts.flags.writeable = False
    return counts


def _shown(text: str) -> str:
    """The user's text for a message, or its length: it may be a pasted sequence."""
    return repr(text) if len(text) <= 60 else f"of {len(text)} characters"
