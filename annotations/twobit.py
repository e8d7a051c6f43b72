"""2bit files: the sequences of a genome that no browser knows, two bits a base.

The layout is UCSC's (https://genome.ucsc.edu/FAQ/FAQformat.html#format7), version 0, little-endian:
header, index of names, then for each record its size, runs of N, runs of lower case, and the bases
(T 0, C 1, A 2, G 3; four to a byte, the first in the high bits).
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.errors import FormatError, LimitError
from annotations.pieces import PieceFile
from annotations.sequences import encode_bases
from annotations.tables import replacing

_MAGIC: Final = 0x1A412743
_LARGEST: Final = 2**32 - 1
_TWO_BITS: Final = np.array([2, 1, 3, 0, 0], np.uint8)
"""By base code: A, C, G, T, and N, which is stored as T under a run of N."""


def write_2bit(path: Path, names: Sequence[str], sequences: Sequence[NDArray[np.uint8]]) -> None:
    """Write sequences as 2bit, whole or not at all.

    Parameters
    ----------
    path : Path
        Made or replaced; its folder exists.
    names : sequence of str
        Of the records; at most 255 bytes each.
    sequences : sequence of ndarray of uint8
        Base codes (A 0, C 1, G 2, T 3, else N). IUPAC codes other than N have no place in a 2bit
        and are N there; no base is lower case.

    Raises
    ------
    FormatError
        If a name is empty, doubled or too long.
    LimitError
        If the file would pass 4 GB, which version 0 cannot address.
    """
    _write(path, names, [_Record(len(codes), [(0, codes)]) for codes in sequences])


def write_2bit_of_pieces(path: Path, names: Sequence[str], source: PieceFile) -> None:
    """Write pieces of long sequences as 2bit, N where there is no piece, whole or not at all.

    Time and memory go with the pieces. The file is as long as that of the whole sequences, and
    has holes where file systems have them.

    Parameters
    ----------
    path : Path
        Made or replaced; its folder exists.
    names : sequence of str
        Of the records, in the order of those of `source`.
    source : PieceFile

    Raises
    ------
    FormatError, LimitError
        As `write_2bit`.
    """
    records = []
    for contig in source.names:
        length = source.length(contig)
        ranges: list[list[int]] = []
        for piece in source.pieces(contig):
            # four bases share a byte
            low, high = piece.start // 4 * 4, min(length, -(-piece.end // 4) * 4)
            if ranges and low <= ranges[-1][1]:
                ranges[-1][1] = high
            else:
                ranges.append([low, high])
        parts = [(low, encode_bases(source.fetch(contig, low, high))) for low, high in ranges]
        records.append(_Record(length, parts))
    _write(path, names, records)


class _Record(NamedTuple):
    """A sequence of which some parts are known."""

    length: int
    parts: list[tuple[int, NDArray[np.uint8]]]
    """First base, a multiple of 4, and base codes of each part; no two touch."""

    def unknown(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and lengths of the runs of N, those between the parts among them."""
        if len(self.parts) == 1 and len(self.parts[0][1]) == self.length:
            return _unknown(self.parts[0][1])  # whole records may be many
        start, end, at = [], [], 0
        for first, codes in self.parts:
            runs, sizes = _unknown(codes)
            start += [np.array([at]), runs + first]
            end += [np.array([first]), runs + sizes + first]
            at = first + len(codes)
        starts = np.concatenate([*start, [at]])
        ends = np.concatenate([*end, [self.length]])
        starts, ends = starts[starts < ends], ends[starts < ends]
        if not len(starts):
            return starts.astype(np.int64), ends.astype(np.int64)
        # a run of N at the edge of a part goes on in the gap behind it
        new = np.concatenate([[True], starts[1:] > ends[:-1]])
        last = np.append(np.flatnonzero(new)[1:] - 1, len(starts) - 1)
        return starts[new], ends[last] - starts[new]


def _write(path: Path, names: Sequence[str], records: Sequence[_Record]) -> None:
    spelled = [name.encode() for name in names]
    if any(not 0 < len(name) < 256 for name in spelled) or len(set(spelled)) < len(spelled):
        raise FormatError("names of a 2bit must be 1 to 255 bytes long, and no two the same")
    runs = [record.unknown() for record in records]
    sizes = [
        16 + 8 * len(start) + -(-record.length // 4)
        for record, (start, _) in zip(records, runs, strict=True)
    ]
    first = 16 + sum(5 + len(name) for name in spelled)
    if first + sum(sizes) > _LARGEST:
        raise LimitError(
            f"a 2bit file holds at most {_LARGEST} bytes, these sequences need "
            f"{first + sum(sizes)}; split them"
        )
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<IIII", _MAGIC, 0, len(names), 0))
        at = first
        for name, size in zip(spelled, sizes, strict=True):
            file.write(struct.pack("<B", len(name)) + name + struct.pack("<I", at))
            at += size
        for record, (start, length) in zip(records, runs, strict=True):
            file.write(struct.pack("<II", record.length, len(start)))
            file.write(start.astype("<u4").tobytes() + length.astype("<u4").tobytes())
            file.write(struct.pack("<II", 0, 0))
            begin = file.tell()
            for at, codes in record.parts:
                file.seek(begin + at // 4)
                file.write(_packed(codes))
            file.seek(begin + -(-record.length // 4))
        file.truncate()


def _unknown(codes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and lengths of the runs of N."""
    if not (codes > 3).any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    edges = np.diff(np.concatenate([[False], codes > 3, [False]]).astype(np.int8))
    start = np.flatnonzero(edges == 1)
    return start, np.flatnonzero(edges == -1) - start


def _packed(codes: NDArray[np.uint8]) -> bytes:
    two_bits = np.zeros(-(-len(codes) // 4) * 4, np.uint8)
    two_bits[: len(codes)] = _TWO_BITS[np.minimum(codes, 4)]
    four = two_bits.reshape(-1, 4)
    return (four[:, 0] << 6 | four[:, 1] << 4 | four[:, 2] << 2 | four[:, 3]).tobytes()
