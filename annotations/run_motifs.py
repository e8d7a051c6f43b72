"""The motifs of a run: those of a JASPAR group, those of a user's file, or both."""

import hashlib
import io
from pathlib import Path, PurePath
from typing import BinaryIO, Final, NamedTuple

from annotations import user_motifs
from annotations.errors import LimitError
from annotations.jaspar import load_motifs
from annotations.motif_catalogue import MotifCatalogue
from annotations.options import RunOptions
from annotations.user_motifs import MAX_BYTES

STORED: Final = "motifs"
"""Name of the file among the inputs of a computation; its ending is the user's."""

ENDINGS: Final = (".meme", ".jaspar", ".transfac", ".pfm", ".txt")
"""Endings that are kept; another becomes the last."""


class MotifFile(NamedTuple):
    """A user's file of motifs, as it came."""

    content: bytes
    name: str
    """As the user's program called it; empty if it did not."""

    @property
    def sha256(self) -> str:
        """Of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def stored_as(self) -> str:
        """A safe name to store it under."""
        ending = PurePath(self.name).suffix.lower()
        return STORED + (ending if ending in ENDINGS else ENDINGS[-1])


def read_motif_file(source: BinaryIO | Path, name: str | None = None) -> MotifFile:
    """Take a user's file of motifs, and refuse one that cannot be read.

    Parameters
    ----------
    source : binary file or Path
        MEME, JASPAR or TRANSFAC.
    name : str, optional
        As the user calls it; the name of `source` if that is a path.

    Raises
    ------
    FormatError
        If it holds no motif in one of the formats.
    LimitError
        If it has more than `annotations.user_motifs.MAX_BYTES` bytes.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_motif_file(file, name or source.name)
    content = source.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise LimitError(f"a file of motifs may have {MAX_BYTES} bytes; send fewer motifs")
    found = MotifFile(content, name or "")
    user_motifs.read_motifs(io.BytesIO(content), PurePath(found.name).name[:80] or found.stored_as)
    return found


def catalogue_of(options: RunOptions, motifs: Path | None = None) -> MotifCatalogue | None:
    """The motifs that a run looks for.

    Parameters
    ----------
    options : RunOptions
        Its taxon and release say which of JASPAR.
    motifs : Path, optional
        A user's file.

    Returns
    -------
    catalogue : MotifCatalogue or None
        None where neither is given.

    Raises
    ------
    FormatError
        If a motif of the user has the id of one of JASPAR's.
    """
    jaspar = None if options.taxon is None else load_motifs(options.taxon, options.release)
    if motifs is None:
        return jaspar
    file = read_motif_file(motifs)
    own = user_motifs.read_motifs(io.BytesIO(file.content), file.name)
    if jaspar is None:
        return user_motifs.catalogue_of(own, file.name, file.sha256)
    return user_motifs.with_user_motifs(jaspar, own, file.name, file.sha256)
