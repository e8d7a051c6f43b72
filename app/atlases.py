"""The atlases of an installation: which there are, and their tables in memory, indexed.

    Cards --find_atlas--> AtlasFolder --open_atlas--> IndexedAtlas     (kept: a bounded cache)

A table of 300,000 matches takes a second to read and to check; a question to it takes
milliseconds. So atlases that were asked stay in memory, the least lately asked leaving first.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.atlas import ATLAS_CARD, Atlas, load_atlas, read_atlas_card
from annotations.cards import Cards, DictionaryCard
from annotations.errors import StorageError, UnknownNameError
from app.selection import feature_rows

MAX_BYTES: Final = 600_000_000
"""Bytes of tables that `AtlasCache` keeps; one atlas is kept whatever its size."""

BRIEF: Final = ("dictionary_id", "genome", "release", "taxon", "counts", "date", "format")
"""What an answer says of the atlas that it comes from; its address has the rest."""


class IndexedTable:
    """A table whose rows of any feature row are found at once."""

    def __init__(self, table: pa.Table) -> None:
        """Sort by feature row, unless it is sorted so; equal rows keep their order."""
        rows = feature_rows(table)
        if (rows[1:] < rows[:-1]).any():
            order = np.argsort(rows, kind="stable")
            table, rows = table.take(pa.array(order)), rows[order]
        self.table: pa.Table = table.combine_chunks()
        self._rows = rows

    def of(self, row: int) -> pa.Table:
        """Rows of one feature row, ``2 * feature + (strand < 0)``, in their order."""
        start, end = np.searchsorted(self._rows, [row, row + 1])
        return self.table.slice(int(start), int(end - start))

    def of_feature(self, feature: int) -> pa.Table:
        """Rows of a feature on both strands."""
        start, end = np.searchsorted(self._rows, [2 * feature, 2 * feature + 2])
        return self.table.slice(int(start), int(end - start))

    def beside(self, rows: NDArray[np.int64], columns: Sequence[str]) -> list[pa.Array]:
        """Columns of the first row of each of some feature rows; null where there is none.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Feature rows, in any order.
        columns : sequence of str
            Names of columns.

        Returns
        -------
        values : list of Array, each of shape (n,)
        """
        at = np.searchsorted(self._rows, rows)
        inside = np.minimum(at, max(0, len(self._rows) - 1))
        found = (at < len(self._rows)) & (
            self._rows[inside] == rows if len(self._rows) else np.zeros(len(rows), dtype=bool)
        )
        places = pa.array(inside, mask=~found)
        return [self.table[name].combine_chunks().take(places) for name in columns]


class IndexedAtlas:
    """An atlas whose rows of any matrix, concept or feature are found at once."""

    def __init__(self, atlas: Atlas) -> None:
        """Index the tables of an atlas."""
        self.atlas = atlas
        self.labels = IndexedTable(atlas.labels)
        self.matches = IndexedTable(atlas.matches)
        self.concepts = IndexedTable(atlas.concepts)
        self.examples = IndexedTable(atlas.examples)
        self.neighbours = IndexedTable(atlas.neighbours)
        self.row_motifs = IndexedTable(atlas.row_motifs)
        self.baselines: pa.Table = atlas.baselines
        self._by_matrix = _places(self.matches.table["matrix_id"])
        self._by_concept = _places(self.concepts.table["concept"])

    @property
    def nbytes(self) -> int:
        """Bytes of its tables."""
        indexed: tuple[IndexedTable, ...] = (
            self.labels,
            self.matches,
            self.concepts,
            self.examples,
            self.neighbours,
            self.row_motifs,
        )
        return sum(int(each.table.nbytes) for each in indexed) + int(self.baselines.nbytes)

    def brief(self) -> dict[str, Any]:
        """Where it comes from, in a few words."""
        return {name: getattr(self.atlas.about, name) for name in BRIEF}

    def matches_of(self, matrix_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of the matches of some matrices, given with their versions."""
        return _rows(self._by_matrix, matrix_ids)

    def concept_rows(self, name: str) -> NDArray[np.int64]:
        """Rows of the concepts that are of one name."""
        return _rows(self._by_concept, [name])

    def group_of(self, rows: NDArray[np.int64]) -> pa.Array:
        """Group of each of some feature rows; null for those that are alone."""
        return self.labels.beside(rows, ["group"])[0]


class AtlasFolder(NamedTuple):
    """An atlas on disk and the dictionary that it is of."""

    card: DictionaryCard
    folder: Path


class AtlasCache:
    """Atlases in memory, bounded, for many threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Keep tables of at most `max_bytes`, and always the last one asked."""
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[Path, str, str], IndexedAtlas] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def open(self, folder: Path, dictionary_sha256: str) -> IndexedAtlas:
        """The atlas of a folder, read and checked once for each content.

        Parameters
        ----------
        folder : Path
            Of the atlas.
        dictionary_sha256 : str
            Of the weights it must have been made with.

        Raises
        ------
        WeightsError, FormatError, StorageError
            As `annotations.atlas.load_atlas`.
        """
        key = (folder, dictionary_sha256, _card_sha256(folder))
        found = self._get(key)
        if found is not None:
            return found
        # one load at a time: two threads that ask for the same atlas do not read it twice
        with self._loading:
            found = self._get(key)
            if found is None:
                found = IndexedAtlas(load_atlas(folder, dictionary_sha256))
                self._put(key, found)
            return found

    def _get(self, key: tuple[Path, str, str]) -> IndexedAtlas | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _put(self, key: tuple[Path, str, str], atlas: IndexedAtlas) -> None:
        with self._lock:
            # an atlas that was replaced on disk is not asked again
            for old in [old for old in self._kept if old[0] == key[0]]:
                del self._kept[old]
            self._kept[key] = atlas
            while len(self._kept) > 1 and self._bytes() > self._max_bytes:
                self._kept.popitem(last=False)

    def _bytes(self) -> int:
        return sum(atlas.nbytes for atlas in self._kept.values())


_CACHE: Final = AtlasCache()


def open_atlas(folder: Path, dictionary_sha256: str) -> IndexedAtlas:
    """The atlas of a folder, from the cache of this process; see `AtlasCache.open`."""
    return _CACHE.open(folder, dictionary_sha256)


def atlas_folders(cards: Cards) -> dict[str, AtlasFolder]:
    """The atlases of an installation by the ids of their dictionaries, sorted."""
    found = {}
    for card in cards.dictionaries.values():
        folder = cards.atlas(card)
        if folder is not None:
            found[card.id] = AtlasFolder(card, folder)
    return found


def find_atlas(cards: Cards, dictionary: str | None, *, bundled: Path) -> AtlasFolder:
    """The atlas of a dictionary, or of the dictionary to take when none is named.

    That is the only trained one that has an atlas; of several, the only one that is bundled.

    Parameters
    ----------
    cards : Cards
        Of the installation.
    dictionary : str, optional
        Id of a dictionary, or of a model that has only one.
    bundled : Path
        Folder of the bundled models.

    Raises
    ------
    UnknownNameError
        If there is no such dictionary, it has no atlas, or none is named and the choice is not
        clear.
    """
    atlases = atlas_folders(cards)
    listed = ", ".join(atlases) or "none"
    if dictionary is not None:
        card = cards.dictionary(dictionary)
        if card.id not in atlases:
            raise UnknownNameError(
                f"dictionary {card.id!r} has no atlas; those with one: {listed}. `saetrack atlas "
                "build` makes one from its run over a reference genome, `saetrack atlas import` "
                "takes another's"
            )
        return atlases[card.id]
    trained = [found for found in atlases.values() if not found.card.random_weights]
    own = [found for found in trained if found.folder.is_relative_to(bundled)]
    for choices in (trained, own, list(atlases.values())):
        if len(choices) == 1:
            return choices[0]
    if not atlases:
        raise UnknownNameError("no dictionary of this installation has an atlas")
    raise UnknownNameError(f"several dictionaries have an atlas; name one of them: {listed}")


def about(found: AtlasFolder) -> dict[str, Any]:
    """Where an atlas comes from, as JSON values; its tables are not read."""
    return asdict(read_atlas_card(found.folder / ATLAS_CARD))


def _card_sha256(folder: Path) -> str:
    """The sha256 of the card, which holds those of the tables."""
    path = folder / ATLAS_CARD
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise StorageError(
            f"the atlas in {folder.name} lacks {ATLAS_CARD}; make it again"
        ) from None


def _places(values: pa.ChunkedArray) -> dict[str, NDArray[np.int64]]:
    """Rows of each different string."""
    codes = values.combine_chunks().dictionary_encode()
    code = np.asarray(codes.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    order = np.argsort(code, kind="stable")
    names = codes.dictionary.to_pylist()
    bounds = np.searchsorted(code[order], np.arange(len(names) + 1))
    return {
        name: order[start:end]
        for name, start, end in zip(names, bounds[:-1], bounds[1:], strict=True)
    }


def _rows(places: Mapping[str, NDArray[np.int64]], names: Iterable[str]) -> NDArray[np.int64]:
    found = [places[name] for name in dict.fromkeys(names) if name in places]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])
