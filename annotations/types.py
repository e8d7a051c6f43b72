"""Words of the domain that several modules share."""

from typing import Literal, NamedTuple

Strand = Literal["+", "-"]
"""The strand a feature was read on; in arrays and Parquet files +1 and -1 (int8)."""

STRAND_SIGNS: dict[Strand, int] = {"+": 1, "-": -1}


class Span(NamedTuple):
    """A stretch of one contig, 0-based and half-open."""

    contig: int
    """Index of the contig in its submission."""
    start: int
    end: int

    @property
    def length(self) -> int:
        """Bases in the span."""
        return self.end - self.start


class Contig(NamedTuple):
    """One sequence of a submission, without its bases."""

    name: str
    """As the user wrote it, up to the first white space of the FASTA header."""
    length: int
    """Bases."""
    digest: str
    """GA4GH refget digest (`SQ.` + 32 characters) of the upper-case sequence."""


def strand_symbol(sign: int) -> Strand:
    """`+` for +1 and `-` for -1."""
    return "+" if sign > 0 else "-"


def counted(n: int, word: str) -> str:
    """A number and what is counted, in the plural where it is not one.

    Examples
    --------
    >>> counted(1, "contig"), counted(20_000, "contig")
    ('1 contig', '20,000 contigs')
    """
    return f"{n:,} {word}{'' if n == 1 else 's'}"
