"""FASTA that holds pieces of contigs: what a run over regions of a genome stores and reads.

    >0:1000-3048 length=248956422 refget=SQ...     contig 0 of the run, bases 1000 to 3048

Each record is one piece, in lines of `annotations.sequences.LINE_WIDTH` bases. The contig's whole
length and digest are in the header, so that the file says all there is to know about itself. What
lies in no piece reads as N.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

from annotations.errors import CoordinateError, FormatError, StorageError, UnknownNameError
from annotations.sequences import LINE_WIDTH, write_record
from annotations.tables import replacing
from annotations.types import Contig, Span

_HEADER = re.compile(rb">(\d+):(\d+)-(\d+) length=(\d+) refget=(\S+)\n")
_LONGEST_HEADER: Final = 200


class Piece(NamedTuple):
    """A piece in a file."""

    start: int
    end: int
    offset: int
    """Bytes before its first base."""


def has_pieces(path: Path) -> bool:
    """Whether a FASTA file is one of pieces.

    Raises
    ------
    StorageError
        If there is no such file.
    """
    try:
        with path.open("rb") as file:
            return _HEADER.match(file.read(_LONGEST_HEADER)) is not None
    except OSError as error:
        raise StorageError(f"cannot read {path.name}: {error.strerror}") from error


def write_pieces(
    path: Path,
    pieces: Sequence[Span],
    contigs: Sequence[Contig],
    read: Callable[[Span], bytes],
) -> None:
    """Write pieces of contigs, whole or not at all.

    Parameters
    ----------
    path : Path
        Made or replaced.
    pieces : sequence of Span
        Sorted; no two overlap; at least one of each contig.
    contigs : sequence of Contig
        What the indices of `pieces` mean.
    read : callable
        Gives the bases of a piece, upper-case IUPAC.

    Raises
    ------
    CoordinateError
        If a piece is empty or outside its contig, or `read` gives another number of bases.
    """
    with replacing(path) as temporary, temporary.open("wb") as out:
        for piece in pieces:
            contig, start, end = piece
            length, digest = contigs[contig].length, contigs[contig].digest
            bases = read(piece) if 0 <= start < end <= length else b""
            if not bases or len(bases) != end - start:
                raise CoordinateError(
                    f"a piece must lie inside its contig of {length} bases and not be empty, got "
                    f"{start}-{end} with {len(bases)} bases"
                )
            write_record(out, f"{contig}:{start}-{end} length={length} refget={digest}", bases)


class PieceFile:
    """Random access to a file of `write_pieces`, as if it held the whole contigs.

    Only the headers are read when it is opened.
    """

    def __init__(self, path: Path) -> None:
        """Open a file and find its pieces.

        Raises
        ------
        StorageError
            If it is missing or cut.
        FormatError
            If it is not one of `write_pieces`.
        """
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise StorageError(f"cannot read {path.name}: {error.strerror}") from error
        self._pieces: dict[str, list[Piece]] = {}
        self._starts: dict[str, list[int]] = {}
        self._lengths: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        """Refget digest of each whole contig, by name."""
        try:
            self._find(path)
        except BaseException:
            self._file.close()
            raise
        self.names: list[str] = list(self._pieces)
        """Indices of the contigs as text, in order."""

    def _find(self, path: Path) -> None:
        size, at = path.stat().st_size, 0
        while at < size:
            self._file.seek(at)
            header = _HEADER.match(self._file.read(_LONGEST_HEADER))
            if header is None:
                raise FormatError(f"{path.name} is no FASTA of pieces, or is damaged")
            name = header[1].decode()
            start, end, length = (int(header[group]) for group in (2, 3, 4))
            held = self._pieces.setdefault(name, [])
            if held and start < held[-1].end:
                raise FormatError(f"{path.name} is damaged: its pieces are not in order")
            held.append(Piece(start, end, at + header.end()))
            self._starts.setdefault(name, []).append(start)
            self._lengths[name], self.digests[name] = length, header[5].decode()
            at += header.end() + (end - start) + -(-(end - start) // LINE_WIDTH)
        if at != size:
            raise StorageError(f"{path.name} is cut: it lacks bases of its last piece")

    def length(self, name: str) -> int:
        """Bases in a whole contig.

        Raises
        ------
        UnknownNameError
            If there is no such contig.
        """
        if name not in self._lengths:
            raise UnknownNameError(f"no record is named {name!r}; there are {len(self.names)}")
        return self._lengths[name]

    def pieces(self, name: str) -> list[Piece]:
        """The pieces of a contig, in order; those of `length` where it is unknown."""
        self.length(name)
        return self._pieces[name]

    def fetch(self, name: str, start: int, end: int) -> bytes:
        """Bases `start` to `end` of a contig, 0-based and half-open; N outside the pieces.

        Raises
        ------
        UnknownNameError
            If there is no such contig.
        CoordinateError
            If not ``0 <= start <= end <= length``.
        StorageError
            If the file is cut.
        """
        length = self.length(name)
        if not 0 <= start <= end <= length:
            raise CoordinateError(
                f"[{start}, {end}) is not inside record {name!r} of {length} bases"
            )
        found = bytearray(b"N") * (end - start)
        held = self._pieces[name]
        # the last piece that begins at or before the first base, and those behind it
        for at in range(max(0, bisect_right(self._starts[name], start) - 1), len(held)):
            if held[at].start >= end:
                break
            low, high = max(start, held[at].start), min(end, held[at].end)
            if low < high:
                found[low - start : high - start] = self._read(held[at], low, high)
        return bytes(found)

    def _read(self, piece: Piece, start: int, end: int) -> bytes:
        first, last = start - piece.start, end - piece.start
        self._file.seek(piece.offset + first + first // LINE_WIDTH)
        text = self._file.read(last - first + last // LINE_WIDTH - first // LINE_WIDTH)
        bases = text.replace(b"\n", b"")
        if len(bases) != end - start:
            raise StorageError("a FASTA of pieces is cut: it lacks bases")
        return bases

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
