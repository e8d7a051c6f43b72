"""Read plain, gzip and bgzip files of users without trusting them.

    file --chunks--> decompressed bytes, never more than allowed --numbered_lines--> lines

A few hundred kilobytes of gzip can hold gigabytes (a gzip bomb), so the decompressed size is
bounded while it grows. The bound is absolute: real sequence with long runs of N compresses a
thousand to one, so a ratio would refuse honest files.
"""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from annotations.errors import FormatError, LimitError

CHUNK = 1 << 20
"""Bytes in the largest piece handed out."""

_READ = 1 << 16  # small, since what follows a gzip member in it is copied once per member

MAX_LINE = 1 << 20
"""Bytes in the longest line `numbered_lines` accepts."""

MAX_LINES = 10_000_000
"""Lines `numbered_lines` accepts; the human GTF of GENCODE has 3.4 million."""

_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's wbits for "gzip header and checksum, largest window"

_OTHER_CONTAINERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7-zip",
    b"\x43\x27\x41\x1a": "2bit",
    b"\x1a\x41\x27\x43": "2bit",
    b"%PDF": "PDF",
}


def chunks(source: BinaryIO | Path, *, max_bytes: int, what: str) -> Iterator[bytes]:
    """Decompressed content of a plain, gzip or bgzip file, piece by piece.

    Parameters
    ----------
    source : binary file or Path
        Read from its present position to its end. A path is opened and closed here.
    max_bytes : int
        Decompressed bytes allowed.
    what : str
        What the file is to the user, for messages ("sequence file").

    Yields
    ------
    chunk : bytes
        At least 1 and at most `CHUNK` bytes. A UTF-8 byte order mark is left out.

    Raises
    ------
    FormatError
        If the gzip data is cut, damaged or followed by something else, or the file is in another
        container.
    LimitError
        If there are more than `max_bytes`.
    """
    if isinstance(source, Path):
        with source.open("rb") as opened:
            yield from chunks(opened, max_bytes=max_bytes, what=what)
        return
    head = source.read(_READ)
    for magic, container in _OTHER_CONTAINERS.items():
        if head.startswith(magic):
            raise FormatError(
                f"the {what} is {container} data; plain text, gzip and bgzip are read: "
                "convert it first"
            )
    pieces = _gunzip(source, head, what) if head.startswith(_GZIP) else _plain(source, head)
    total = 0
    for piece in pieces:
        body = piece.removeprefix(b"\xef\xbb\xbf") if total == 0 else piece
        total += len(piece)
        if total > max_bytes:
            raise LimitError(
                f"the {what} holds more than {max_bytes:,} bytes once decompressed, which is the "
                "limit of this installation; split it"
            )
        if body:
            yield body


def lines(source: BinaryIO | Path, *, max_bytes: int, what: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of a plain, gzip or bgzip text file: `numbered_lines` of its `chunks`."""
    return numbered_lines(chunks(source, max_bytes=max_bytes, what=what), what=what)


def numbered_lines(text: Iterable[bytes], *, what: str) -> Iterator[tuple[int, str]]:
    """Lines of a text with their numbers, counted from 1.

    Line ends (LF or CRLF) are taken off; bytes that are not UTF-8 become U+FFFD.

    Raises
    ------
    FormatError
        If a line is longer than `MAX_LINE` or holds NUL (a binary file).
    LimitError
        If there are more than `MAX_LINES`.
    """
    rest = b""
    number = 0
    for chunk in text:
        *complete, rest = (rest + chunk).split(b"\n")
        if number + len(complete) > MAX_LINES:
            raise LimitError(
                f"the {what} has more than {MAX_LINES:,} lines, which is the limit; split it"
            )
        for line in complete:
            number += 1
            yield number, _decoded(line, number, what)
        if len(rest) > MAX_LINE:
            _decoded(rest, number + 1, what)
    if rest:
        yield number + 1, _decoded(rest, number + 1, what)


def _decoded(line: bytes, number: int, what: str) -> str:
    if b"\x00" in line:
        raise FormatError(f"the {what} is a binary file (NUL in line {number}); text is read")
    if len(line) > MAX_LINE:
        raise FormatError(
            f"line {number} of the {what} is longer than {MAX_LINE:,} bytes; "
            "check its line ends (LF or CRLF)"
        )
    return line.removesuffix(b"\r").decode("utf-8", errors="replace")


def _plain(source: BinaryIO, head: bytes) -> Iterator[bytes]:
    piece = head
    while piece:
        yield piece
        piece = source.read(CHUNK)


def _gunzip(source: BinaryIO, head: bytes, what: str) -> Iterator[bytes]:
    """Decompress all members of a gzip file; bgzip is gzip of many members."""
    is_bgzip = head[3:4] == b"\x04" and head[12:14] == b"BC"
    member_bytes = 0
    pending = head
    while pending:
        member = zlib.decompressobj(_GZIP_WINDOW)
        member_bytes = 0
        while not member.eof:
            try:
                piece = member.decompress(pending, CHUNK)
            except zlib.error as error:
                raise FormatError(
                    f"the gzip data of the {what} is damaged; compress or upload it again"
                ) from error
            if piece:
                member_bytes += len(piece)
                yield piece
            pending = member.unconsumed_tail
            if not (pending or piece or member.eof):
                pending = source.read(_READ)
                if not pending:
                    raise _cut(what)
        pending = member.unused_data or source.read(_READ)
        # Tapes and some writers pad with NUL after the last member, as gzip(1) accepts.
        while pending and not pending.strip(b"\x00"):
            pending = source.read(_READ)
        if len(pending) == 1:
            pending += source.read(_READ)
        if pending == _GZIP[:1]:
            raise _cut(what)
        if pending and not pending.startswith(_GZIP):
            raise FormatError(
                f"the {what} has data after the end of its gzip content; compress it again"
            )
    # A bgzip file ends in an empty block. Without it the file may have been cut between two
    # blocks, which no checksum shows.
    if is_bgzip and member_bytes > 0:
        raise _cut(what)


def _cut(what: str) -> FormatError:
    return FormatError(
        f"the gzip data of the {what} is cut: it ends before its last block; upload the whole file"
    )
