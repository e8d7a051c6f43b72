"""The sequences of a submission as files that browsers read: FASTA with its index, chrom.sizes.

    FASTA of a computation (records 0, 1, ...) --write_named_fasta--> FASTA with the user's names
    names, lengths                             --fasta_index-->       its .fai
                                               --chrom_sizes-->       chrom.sizes

A FASTA that `annotations.sequences.write_fasta` wrote has lines of one width, so that where a base
lies follows from names and lengths alone.
"""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import CoordinateError, StorageError
from annotations.pieces import PieceFile, has_pieces
from annotations.sequences import LINE_WIDTH, encode_bases, write_record
from annotations.tables import replacing
from annotations.types import Span


class Place(NamedTuple):
    """Where a record's bases lie in a FASTA file."""

    name: str
    length: int
    """Bases."""
    offset: int
    """Bytes before the first base."""


def places(names: Sequence[str], lengths: Sequence[int]) -> list[Place]:
    """Where each record's bases lie in a FASTA of `LINE_WIDTH` bases a line."""
    headers = [len(f">{name}\n".encode()) for name in names]
    bodies = [length + -(-length // LINE_WIDTH) for length in lengths]
    sizes = [header + body for header, body in zip(headers, bodies, strict=True)]
    before = accumulate(sizes, initial=0)
    return [
        Place(name, length, start + header)
        for name, length, start, header in zip(names, lengths, before, headers, strict=False)
    ]


def fasta_index(names: Sequence[str], lengths: Sequence[int]) -> str:
    r"""The .fai of a FASTA of `LINE_WIDTH` bases a line, as samtools writes it.

    Examples
    --------
    >>> fasta_index(["c1", "c2"], [81, 4])
    'c1\t81\t4\t80\t81\nc2\t4\t91\t4\t5\n'
    """
    lines = []
    for name, length, offset in places(names, lengths):
        width = min(LINE_WIDTH, length)
        lines.append(f"{name}\t{length}\t{offset}\t{width}\t{width + 1}\n")
    return "".join(lines)


def chrom_sizes(names: Sequence[str], lengths: Sequence[int]) -> str:
    """Name and bases of each contig, a line each."""
    return "".join(f"{name}\t{length}\n" for name, length in zip(names, lengths, strict=True))


def write_named_fasta(source: Path, path: Path, names: Sequence[str]) -> None:
    """Copy the FASTA of a computation with the names that the user gave its records.

    Parameters
    ----------
    source : Path
        Which `annotations.sequences.write_fasta` wrote; its records are named by their index.
    path : Path
        Made or replaced, whole or not at all.
    names : sequence of str
        One for each record.

    Raises
    ------
    StorageError
        If the file has another number of records.
    """
    left = iter(names)
    count = 0
    with replacing(path) as temporary, source.open("rb") as reader, temporary.open("wb") as writer:
        for line in reader:
            if line.startswith(b">"):
                count += 1
                writer.write(f">{next(left, '')}\n".encode())
            else:
                writer.write(line)
        if count != len(names):
            raise StorageError(f"{source.name} holds {count} records, and should hold {len(names)}")


def read_bases(path: Path, place: Place, start: int, end: int) -> bytes:
    """Bases ``[start, end)`` of a record, upper-case IUPAC.

    Parameters
    ----------
    path : Path
        A FASTA of `LINE_WIDTH` bases a line.
    place : Place
        Of the record, from `places`.
    start, end : int
        0-based and half-open.

    Raises
    ------
    CoordinateError
        If not ``0 <= start <= end <= length``.
    StorageError
        If the file is cut.
    """
    with path.open("rb") as file:
        return _bases(file, place, start, end)


def _bases(file: BinaryIO, place: Place, start: int, end: int) -> bytes:
    if not 0 <= start <= end <= place.length:
        raise CoordinateError(
            f"[{start}, {end}) is not inside {place.name!r} of {place.length} bases"
        )
    first = place.offset + start + start // LINE_WIDTH
    last = place.offset + end + end // LINE_WIDTH
    file.seek(first)
    found = file.read(last - first).replace(b"\n", b"")
    if len(found) != end - start:
        raise StorageError(f"{Path(file.name).name} is cut: it lacks bases of a record")
    return found


class StoredBases:
    """Random access to the stored sequences of a run, whole or in pieces.

    Nothing is indexed: where a base lies follows from lengths, or from the headers of the pieces.
    """

    def __init__(self, path: Path, lengths: Sequence[int]) -> None:
        """Find where the contigs lie.

        Parameters
        ----------
        path : Path
            FASTA of a computation.
        lengths : sequence of int
            Bases of its contigs.

        Raises
        ------
        StorageError, FormatError
            If the file is missing, or one of pieces that is cut.
        """
        self._path = path
        self._in_pieces = has_pieces(path)
        names = [str(at) for at in range(len(lengths))]
        self._places = [] if self._in_pieces else places(names, lengths)

    def fetch(self, contig: int, start: int, end: int) -> bytes:
        """Bases ``[start, end)`` of a contig, upper-case IUPAC; N where nothing is stored.

        Raises
        ------
        CoordinateError
            If not ``0 <= start <= end <= length``.
        StorageError
            If the file is cut.
        """
        if not self._in_pieces:
            return read_bases(self._path, self._places[contig], start, end)
        with PieceFile(self._path) as source:
            return source.fetch(str(contig), start, end)


def write_pieces_fasta(source: Path, path: Path, names: Sequence[str]) -> None:
    """Copy the pieces of a computation as FASTA, each under its locus: ``chrI:1001-2000``.

    Parameters
    ----------
    source : Path
        Which `annotations.pieces.write_pieces` wrote.
    path : Path
        Made or replaced, whole or not at all.
    names : sequence of str
        Of the contigs.
    """
    with (
        PieceFile(source) as pieces,
        replacing(path) as temporary,
        temporary.open("wb") as out,
    ):
        for span, locus in _loci(pieces, names):
            bases = pieces.fetch(str(span.contig), span.start, span.end)
            write_record(out, locus, bases)


def pieces_index(source: Path, names: Sequence[str]) -> str:
    """The .fai of what `write_pieces_fasta` writes."""
    with PieceFile(source) as pieces:
        found = _loci(pieces, names)
    return fasta_index([locus for _, locus in found], [span.length for span, _ in found])


def _loci(pieces: PieceFile, names: Sequence[str]) -> list[tuple[Span, str]]:
    """The pieces of a file, and what each is called."""
    return [
        (
            Span(int(name), piece.start, piece.end),
            f"{names[int(name)]}:{piece.start + 1}-{piece.end}",
        )
        for name in pieces.names
        for piece in pieces.pieces(name)
    ]


def read_codes(path: Path, names: Sequence[str], lengths: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Base codes of every record of a FASTA of `LINE_WIDTH` bases a line."""
    with path.open("rb") as file:
        return [
            encode_bases(_bases(file, place, 0, place.length)) for place in places(names, lengths)
        ]
