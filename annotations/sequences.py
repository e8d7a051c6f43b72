"""DNA as users send it: FASTA or GenBank, read whole or refused.

    file --read_sequences--> records (upper-case IUPAC) --write_fasta--> FASTA of a computation
                                                        --encode_bases--> codes of a model

A sequence is never cut or repaired: what is read is what the file holds, with lower case made
upper case, U made T and white space left out. Anything else is refused, naming the record and
never showing its sequence.
"""

import base64
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.compression import chunks
from annotations.errors import CoordinateError, FormatError, UnknownNameError
from annotations.records import WHAT, Limits, Record, RecordBuilder
from annotations.types import Contig

if TYPE_CHECKING:
    from annotations.pieces import PieceFile

__all__ = [
    "FastaFile",
    "Limits",
    "Record",
    "Submission",
    "contigs",
    "encode_bases",
    "example_path",
    "open_fasta",
    "read_sequences",
    "refget_digest",
    "reverse_complement",
    "stream_sequences",
    "write_fasta",
    "write_record",
]

LINE_WIDTH = 80
"""Bases per line of a FASTA file written here."""

_MAX_HEADER = 1 << 16  # bytes; a longer "header" is a file that is no FASTA
_BLANK = b" \t\r\n\v\f"
_CODES = bytes(b"ACGT".find(bytes([byte]).upper()) % 5 for byte in range(256))  # -1 % 5 == 4
_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)

_OTHER_FORMATS = {
    b"@": "FASTQ",
    b"ID   ": "EMBL",
    b"##gff": "GFF3",
    b"<": "HTML or XML",
    b"{": "JSON",
    b"#NEXUS": "NEXUS",
    b"CLUSTAL": "Clustal",
}


class Submission(NamedTuple):
    """What a sequence file holds."""

    records: list[Record]
    """In the order of the file; at least one."""
    genes: pa.Table | None
    """`annotations.genes.GENES_SCHEMA` of the features of a GenBank file; None for FASTA."""


class Stream(NamedTuple):
    """What a sequence file holds, while it is read."""

    records: Iterator[Record]
    """In the order of the file; at least one. GenBank is read whole before the first."""
    genes: pa.Table | None
    """As in `Submission`."""


def read_sequences(source: BinaryIO | Path, *, limits: Limits | None = None) -> Submission:
    """Read a FASTA or GenBank file: plain, gzip or bgzip.

    The format is told from the content, never from the name.

    Parameters
    ----------
    source : binary file or Path
        Read to its end.
    limits : Limits, optional
        What is accepted; the defaults of `Limits` if None.

    Raises
    ------
    FormatError
        If the file is empty, cut, damaged or in another format, or a record has no name, no
        sequence, the name of another record, or letters that are not IUPAC nucleotides.
    LimitError
        If the file is larger than `limits`.
    """
    records, genes = stream_sequences(source, limits=limits)
    return Submission(list(records), genes)


def stream_sequences(source: BinaryIO | Path, *, limits: Limits | None = None) -> Stream:
    """Read a FASTA or GenBank file as `read_sequences` does, a record of FASTA at a time.

    Parameters
    ----------
    source, limits
        As in `read_sequences`.

    Returns
    -------
    stream : Stream
        What is wrong with a record of FASTA is said when it is its turn.

    Raises
    ------
    FormatError, LimitError
        As `read_sequences`.
    """
    allowed = Limits() if limits is None else limits
    pieces = chunks(source, max_bytes=allowed.max_bytes, what=WHAT)
    first = b""
    for piece in pieces:
        first = (first + piece).lstrip(_BLANK)
        if len(first) >= len(b"LOCUS"):
            break
    if not first:
        raise FormatError(f"the {WHAT} is empty; send FASTA or GenBank")
    text = chain([first], pieces)
    if first.startswith(b">"):
        return Stream(_fasta_records(text, RecordBuilder(allowed)), None)
    if first.startswith(b"LOCUS"):
        # Biopython and pyfaidx are loaded where they are needed: models are run without them
        from annotations.genbank import read_genbank

        records, genes = read_genbank(text, allowed)
        return Stream(iter(records), genes)
    raise _not_a_sequence_file(first)


def _not_a_sequence_file(first: bytes) -> FormatError:
    for start, name in _OTHER_FORMATS.items():
        if first.startswith(start):
            return FormatError(f"the {WHAT} looks like {name}; FASTA and GenBank are read")
    if b"\x00" in first:
        return FormatError(f"the {WHAT} is a binary file; FASTA and GenBank are read")
    return FormatError(
        f"the {WHAT} has text before the first record: FASTA starts with '>name', GenBank with "
        "LOCUS; to send bare sequence put a line '>name' above it"
    )


def _fasta_records(text: Iterable[bytes], builder: RecordBuilder) -> Iterator[Record]:
    for is_header, piece in _fasta_pieces(text):
        if is_header:
            if piece[:1] in b" \t":  # also an empty header; the name has to touch the '>'
                name, description = "", ""
            else:
                name, _, description = _decoded(piece).partition(" ")
            builder.begin(name, description.strip())
            yield from builder.taken()
        else:
            builder.add(piece)
    builder.end()
    yield from builder.taken()


def _decoded(header: bytes) -> str:
    """Text of a header, with a space between its name and its description."""
    plain = b" ".join(header.rstrip(_BLANK).split(b"\t"))
    try:
        return plain.decode()
    except UnicodeDecodeError:
        return plain.decode("latin-1")


def _fasta_pieces(text: Iterable[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Headers (True, without the '>') and stretches of sequence lines (False), in order."""
    header: bytes | None = None
    at_line_start = True
    for chunk in text:
        position = 0
        while position < len(chunk):
            if header is not None:
                end = chunk.find(b"\n", position)
                header += chunk[position : end if end >= 0 else len(chunk)]
                if len(header) > _MAX_HEADER:
                    raise FormatError(
                        f"a header line is longer than {_MAX_HEADER:,} bytes; check the line "
                        "ends of the file (LF or CRLF)"
                    )
                if end < 0:
                    break
                yield True, header
                header, at_line_start, position = None, True, end + 1
            elif at_line_start and chunk.startswith(b">", position):
                header = b""
                position += 1
            else:
                end = chunk.find(b"\n>", position) + 1 or len(chunk)
                yield False, chunk[position:end]
                at_line_start = chunk.endswith(b"\n", position, end)
                position = end
    if header is not None:
        yield True, header


def refget_digest(sequence: bytes) -> str:
    """GA4GH refget identifier of a sequence: `SQ.` and 32 characters.

    The first 24 bytes of the SHA-512 of the upper-case letters, in URL-safe base64 (refget 2.0,
    sha512t24u).

    Examples
    --------
    >>> refget_digest(b"ACGT")
    'SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2'
    """
    return "SQ." + base64.urlsafe_b64encode(hashlib.sha512(sequence).digest()[:24]).decode()


def contigs(records: Sequence[Record]) -> list[Contig]:
    """Name, length and refget digest of each record, in order."""
    return [
        Contig(record.name, len(record.sequence), refget_digest(record.sequence))
        for record in records
    ]


def encode_bases(sequence: bytes) -> NDArray[np.uint8]:
    """Codes of a sequence: A 0, C 1, G 2, T 3, everything else 4; case does not matter.

    Returns
    -------
    codes : ndarray of uint8, shape (len(sequence),)
        A new, writable array.

    Examples
    --------
    >>> encode_bases(b"ACGTNr").tolist()
    [0, 1, 2, 3, 4, 4]
    """
    return np.frombuffer(bytearray(sequence.translate(_CODES)), dtype=np.uint8)


def reverse_complement(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes of the other strand, read in its own direction; 4 stays 4.

    Examples
    --------
    >>> reverse_complement(encode_bases(b"AACGN")).tolist()
    [4, 1, 2, 3, 3]
    """
    return _COMPLEMENT[codes[::-1]]


def write_fasta(
    records: Sequence[Record], path: Path, *, names: Sequence[str] | None = None
) -> None:
    """Write records as FASTA of `LINE_WIDTH` bases a line, headers without descriptions.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    names : sequence of str, optional
        Written instead of the records' own, one each. A computation uses "0", "1", ... so that
        it does not depend on what a user calls the records.

    Raises
    ------
    FormatError
        If there is not one name per record.
    """
    written = [record.name for record in records] if names is None else names
    if len(written) != len(records):
        raise FormatError(f"{len(records)} records need as many names, got {len(written)}")
    with path.open("wb") as out:
        for name, record in zip(written, records, strict=True):
            write_record(out, name, record.sequence)


def write_record(out: BinaryIO, name: str, sequence: bytes) -> None:
    """Write one record of FASTA in lines of `LINE_WIDTH` bases."""
    out.write(f">{name}\n".encode())
    for start in range(0, len(sequence), LINE_WIDTH):
        out.write(sequence[start : start + LINE_WIDTH] + b"\n")


class FastaFile:
    """Random access to a FASTA file that `write_fasta` wrote, through pyfaidx.

    The index beside the file (`.fai`) is neither read nor written: stores of results are
    read-only and shared by workers, and an index left there by another program may be stale.
    It is made anew, in a temporary file, when the object is made.
    """

    def __init__(self, path: Path) -> None:
        """Open and index a file.

        Raises
        ------
        FormatError
            If it is no FASTA file with lines of equal length.
        """
        import pyfaidx

        with tempfile.TemporaryDirectory(prefix="saetrack-fai-") as folder:
            try:
                self._faidx = pyfaidx.Faidx(
                    path, indexname=Path(folder) / "index.fai", as_raw=True, strict_bounds=True
                )
            except (pyfaidx.FastaIndexingError, ValueError) as error:
                raise FormatError(f"{path.name} cannot be indexed as FASTA") from error
        self.names: list[str] = list(self._faidx.index)
        """Names of the records, in order."""

    def length(self, name: str) -> int:
        """Bases in a record.

        Raises
        ------
        UnknownNameError
            If there is no such record.
        """
        if name not in self._faidx.index:
            raise UnknownNameError(f"no record is named {name!r}; there are {len(self.names)}")
        return int(self._faidx.index[name].rlen)

    def fetch(self, name: str, start: int, end: int) -> bytes:
        """Bases `start` to `end` of a record, 0-based and half-open.

        Raises
        ------
        UnknownNameError
            If there is no such record.
        CoordinateError
            If not ``0 <= start <= end <= length``.
        """
        length = self.length(name)
        if not 0 <= start <= end <= length:
            raise CoordinateError(
                f"[{start}, {end}) is not inside record {name!r} of {length} bases"
            )
        if start == end:
            return b""
        return str(self._faidx.fetch(name, start + 1, end)).encode("ascii")

    def close(self) -> None:
        """Close the file."""
        self._faidx.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_fasta(path: Path) -> "FastaFile | PieceFile":
    """Open the FASTA file of a computation for random access.

    Returns
    -------
    source : FastaFile or `annotations.pieces.PieceFile`
        The latter where the file holds pieces of contigs; it reads N outside them.
    """
    from annotations.pieces import PieceFile, has_pieces  # which writes lines as this module does

    return PieceFile(path) if has_pieces(path) else FastaFile(path)


def example_path() -> Path:
    """The bundled example: a piece of a yeast chromosome with its genes (see its README)."""
    return Path(__file__).parent / "example" / "chrI_40001_90000.gb"
