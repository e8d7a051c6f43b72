"""The index of activations in parts (`annotations.activation_parts`): what is where."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.active_bases import LARGEST_POSITION, locus_index
from annotations.errors import StorageError

INDEX_FILE = "activations/index.json"
"""Name of the index among the files of a result; parts lie beside it."""

ONE_FILE = "activations.parquet"
"""Name of the activations of a result that are in one file."""

FORMAT = 1

CELLS_KEY = b"saetrack.cells"
"""Metadata of a part: group and tile of each row group, int32, in base64."""


class Layout(NamedTuple):
    """Sizes of the parts."""

    one_file: int = 100_000_000
    """A result of at most so many active bases is one file: a region goes through it in 4 s."""
    tile_bases: int = 1 << 19
    """Bases that were read, in a tile."""
    tiles_per_stripe: int = 64
    cell_bases: int = 16_384
    """Active bases that a cell has about, on average."""
    parts_per_stripe: int = 32
    """Most blocks."""


LAYOUT = Layout()


class Part(NamedTuple):
    """One part file."""

    name: str
    """Beside the index."""
    stripe: int
    block: int
    bytes: int
    sha256: str
    footer_bytes: int
    """From the beginning of the footer to the end of the file."""
    footer_sha256: str
    active_bases: int


class PartsIndex(NamedTuple):
    """What is where."""

    n_features: int
    features_per_group: int
    groups_per_block: int
    tiles_per_stripe: int
    tiles: NDArray[np.uint64]
    """Where each tile begins, as of `locus_index`; ascending, the first is 0."""
    tile_active_bases: NDArray[np.int64]
    group_active_bases: NDArray[np.int64]
    parts: tuple[Part, ...]

    @property
    def active_bases(self) -> int:
        """Of the whole result."""
        return int(self.tile_active_bases.sum())

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "format": FORMAT,
            **self._asdict(),
            "tiles": [[int(at) >> 32, int(at) & LARGEST_POSITION] for at in self.tiles],
            "tile_active_bases": self.tile_active_bases.tolist(),
            "group_active_bases": self.group_active_bases.tolist(),
            "parts": [part._asdict() for part in self.parts],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PartsIndex":
        """What `to_json` gave."""
        starts = np.array(values["tiles"], np.int64).reshape(-1, 2)
        return cls(
            n_features=int(values["n_features"]),
            features_per_group=int(values["features_per_group"]),
            groups_per_block=int(values["groups_per_block"]),
            tiles_per_stripe=int(values["tiles_per_stripe"]),
            tiles=locus_index(starts[:, 0].astype(np.uint32), starts[:, 1]),
            tile_active_bases=np.array(values["tile_active_bases"], np.int64),
            group_active_bases=np.array(values["group_active_bases"], np.int64),
            parts=tuple(Part(**part) for part in values["parts"]),
        )


def folder_activations(folder: Path) -> Path:
    """Where the activations of a result folder are: the index of their parts, or their file."""
    index = folder / INDEX_FILE
    return index if index.is_file() else folder / ONE_FILE


def read_index(path: Path) -> PartsIndex:
    """An index: read once while the file stays what it is.

    Raises
    ------
    StorageError
        If it is missing, altered or of a later version.
    """
    try:
        found = path.stat()
        return _read_index(path, (found.st_ino, found.st_size, found.st_mtime_ns))
    except OSError as error:
        raise StorageError(f"cannot read the index of the activations: {error}") from error


@lru_cache(maxsize=4)
def _read_index(path: Path, version: tuple[int, int, int]) -> PartsIndex:
    """An index; of 3.1 Gb 1 MB."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise StorageError(
                f"the activations are stored in format {values['format']}, and this version reads "
                f"format {FORMAT}; update saetrack"
            )
        return PartsIndex.from_json(values)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{path.name} of the activations is altered; restore it from a backup, or compute the "
            "result again"
        ) from error
