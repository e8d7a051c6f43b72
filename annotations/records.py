"""What one sequence of a submission may be: its name, its letters, how many there may be."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from annotations.errors import FormatError, LimitError

WHAT = "sequence file"
"""What messages call the file."""

MAX_NAME = 1000
"""Characters in the longest record name."""

_INVALID = 0
_BLANK = b" \t\r\n\v\f"
_PROTEIN_LETTERS = frozenset(b"EFILPQZJO*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _letter_table() -> bytes:
    """Translation of a byte to its upper-case IUPAC letter, and of all others to `_INVALID`."""
    table = bytearray([_INVALID]) * 256
    for letter in b"ACGTRYSWKMBDHVN":
        table[letter] = letter
        table[letter + 32] = letter  # lower case
    table[ord("U")] = table[ord("u")] = ord("T")
    return bytes(table)


_LETTERS = _letter_table()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one submission may hold."""

    max_bases: int = 200_000_000
    """Bases of all records together."""
    max_records: int = 100_000
    """Records."""
    max_bytes: int = 500_000_000
    """Bytes of the file once decompressed; stops a gzip bomb made of anything but bases."""


class Record(NamedTuple):
    """One sequence of a submission."""

    name: str
    """FASTA: the header up to the first white space. GenBank: VERSION, else the LOCUS name."""
    description: str
    """The rest of the header, or DEFINITION."""
    sequence: bytes
    """Upper-case IUPAC letters, T for U."""


class RecordBuilder:
    """Collects the records of one file and refuses what no submission may hold.

    Bases are added piece by piece and counted as they come, so a file that is too large is
    refused before it fills the memory.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._names: set[str] = set()
        self._bases = 0
        self._name: str | None = None
        self._description = ""
        self._sequence = bytearray()
        self.records: list[Record] = []
        """Finished records, in order."""

    def begin(self, name: str, description: str) -> None:
        """Finish the record before and start the next one.

        Raises
        ------
        FormatError
            If the record before has no sequence, or `name` is empty, too long, holds control
            characters or was used before.
        LimitError
            If there are too many records.
        """
        self.end()
        if not name:
            raise FormatError(
                f"record {len(self._names) + 1} has no name; write one directly after the '>'"
            )
        if len(name) > MAX_NAME or _CONTROL.search(name + description):
            raise FormatError(
                f"the name of record {len(self._names) + 1} is longer than {MAX_NAME} characters "
                "or its header holds control characters (a carriage return in the middle of a "
                "line is one)"
            )
        if name.split() != [name]:
            raise FormatError(
                f"the name of record {len(self._names) + 1} holds white space that is neither "
                "space nor tab (a no-break space is one), which tracks cannot carry; rename it"
            )
        if name in self._names:
            raise FormatError(
                f"the name {name!r} is used by two records; names (up to the first space) must "
                "be unique"
            )
        if len(self._names) >= self._limits.max_records:
            raise LimitError(
                f"the {WHAT} has more than {self._limits.max_records:,} records, which is the "
                "limit of this installation; split it"
            )
        self._names.add(name)
        self._name, self._description, self._sequence = name, description, bytearray()

    def add(self, text: bytes) -> None:
        """Add sequence to the present record; white space is left out.

        Raises
        ------
        FormatError
            If a letter is not a IUPAC nucleotide.
        LimitError
            If there are too many bases.
        """
        letters = text.translate(_LETTERS, _BLANK)
        if _INVALID in letters:
            raise self._refused(text)
        self._bases += len(letters)
        if self._bases > self._limits.max_bases:
            raise LimitError(
                f"the {WHAT} has more than {self._limits.max_bases:,} bases, reached in record "
                f"{self._name!r}; that is the limit of this installation: split the file"
            )
        self._sequence += letters

    def end(self) -> None:
        """Finish the present record, if there is one.

        Raises
        ------
        FormatError
            If it has no sequence.
        """
        if self._name is None:
            return
        if not self._sequence:
            raise FormatError(f"record {self._name!r} has no sequence; remove it or complete it")
        self.records.append(Record(self._name, self._description, bytes(self._sequence)))
        self._name = None

    def taken(self) -> list[Record]:
        """The finished records, which are the caller's now: they are not kept here."""
        records, self.records = self.records, []
        return records

    def _refused(self, text: bytes) -> FormatError:
        """Say what the letters of `text` that are no nucleotides look like."""
        bad = {byte for byte in set(text.translate(None, _BLANK)) if _LETTERS[byte] == _INVALID}
        record = f"record {self._name!r}"
        allowed = "allowed are ACGTU and the IUPAC codes RYSWKMBDHVN"
        if 0 in bad:
            return FormatError(f"{record} holds binary data (NUL); text is read")
        if _PROTEIN_LETTERS.intersection(bytes(bad).upper()):
            return FormatError(f"{record} looks like protein, not DNA; {allowed}")
        if bad & set(b"-.~"):
            return FormatError(f"{record} holds alignment gaps; send the sequence without them")
        shown = ", ".join(repr(chr(byte)) if 32 < byte < 127 else hex(byte) for byte in sorted(bad))
        return FormatError(
            f"{record} holds characters that are no nucleotides: {shown}; {allowed} "
            "(N for an unknown base)"
        )
