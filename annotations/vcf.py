"""Variants of a VCF file: bounded, plain or gzip, one variant for each alternative allele.

    VCF --read_vcf--> VcfFile (variants as written, what was passed over and why)

Only the columns CHROM, POS, ID, REF and ALT are looked at: genotypes, filters and qualities say
nothing of what a sequence would be. What a base-by-base comparison cannot use (symbolic
alleles such as ``<DEL>``, breakends, the ``*`` of a spanning deletion, rows without an alternative,
letters such as R that stand for several bases)
is passed over and counted, so that the answer can say so.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from annotations.compression import lines
from annotations.errors import FormatError, LimitError

WHAT: Final = "VCF file"
"""What messages call the file."""

MAX_VARIANTS: Final = 2000
"""Most variants of a run: each has two records, and tracks hold 5,000 contigs at most."""

MAX_ALLELE: Final = 10_000
"""Bases in the longest allele."""

MAX_BYTES: Final = 1_000_000_000
"""Bytes of a VCF file once decompressed."""

AMBIGUOUS: Final = "letters that stand for several bases"
"""Why an allele with another IUPAC letter than A, C, G, T and N is passed over."""

_COLUMNS: Final = ("#CHROM", "POS", "ID", "REF", "ALT")
_BASES: Final = re.compile(r"[ACGTNacgtn]+")
_SEVERAL: Final = re.compile(r"[ACGTNRYSWKMBDHV]+", re.IGNORECASE)
"""IUPAC letters: those that are not in `_BASES` stand for several bases."""
_BREAKEND: Final = re.compile(r"[\[\]]|^\.[A-Za-z]|[A-Za-z]\.$")
_MAX_POSITION: Final = 2**40


class Variant(NamedTuple):
    """One alternative allele, as the file says it."""

    contig: str
    position: int
    """0-based place of the first base of `reference`."""
    reference: str
    """Upper-case letters of A, C, G, T and N."""
    alternative: str
    id: str | None
    """Name of the variant, such as an rs number."""

    @property
    def text(self) -> str:
        """For people: ``chrI:12345 A>G``, 1-based; long alleles by their lengths."""
        return f"{self.contig}:{self.position + 1} {said(self.reference)}>{said(self.alternative)}"


class VcfFile(NamedTuple):
    """What a VCF file holds."""

    variants: list[Variant]
    """In the order of the file, each once; at least one."""
    skipped: dict[str, int]
    """Alleles that were passed over, by why."""


def said(allele: str) -> str:
    """An allele for people: its letters, or how many there are.

    Examples
    --------
    >>> said("ACG"), said("A" * 30)
    ('ACG', '(30 bases)')
    """
    return allele if len(allele) <= 12 else f"({len(allele):,} bases)"


def read_vcf(source: BinaryIO | Path, *, limit: int = MAX_VARIANTS) -> VcfFile:
    """Read the variants of a VCF file.

    Parameters
    ----------
    source : binary file or Path
        VCF 4, plain, gzip or bgzip; read to its end.
    limit : int
        Most variants.

    Raises
    ------
    FormatError
        If it is no VCF 4, a line lacks columns, a position or an allele cannot be read, or no
        allele is left.
    LimitError
        If there are more than `limit` variants, or an allele is longer than `MAX_ALLELE`.
    """
    found: dict[tuple[str, int, str, str], Variant] = {}
    skipped: Counter[str] = Counter()
    for number, fields in _rows(lines(source, max_bytes=MAX_BYTES, what=WHAT)):
        for variant in _alleles(number, fields, skipped):
            if variant[:4] in found:
                skipped["given twice"] += 1
                continue
            if len(found) == limit:
                raise LimitError(
                    f"the {WHAT} has more than {limit:,} variants, which is the limit of a run "
                    f"(reached in line {number}); choose the ones of interest, or split it"
                )
            found[variant[:4]] = variant
    if not found:
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        raise FormatError(
            f"the {WHAT} has no variant with an alternative allele of bases"
            f"{f' (passed over: {why})' if why else ''}; substitutions, insertions and deletions "
            "written out in letters are read"
        )
    return VcfFile(list(found.values()), dict(sorted(skipped.items())))


def _rows(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line of data with its number, after a check of the head."""
    named = False
    for number, line in numbered:
        if number == 1 and not line.startswith("##fileformat=VCFv4"):
            shown = "".join(letter for letter in line[:30] if letter.isprintable())
            raise FormatError(
                f"this is no VCF 4: the first line must begin with ##fileformat=VCFv4, got "
                f"{shown!r}; BCF is converted by `bcftools view`"
            )
        if not line.strip() or line.startswith("##"):
            continue
        if line.startswith("#"):
            if tuple(line.split("\t")[:5]) != _COLUMNS:
                raise FormatError(
                    f"line {number} of the {WHAT} must begin with {' '.join(_COLUMNS)}, "
                    "separated by tabs"
                )
            named = True
            continue
        if not named:
            raise FormatError(
                f"line {number} of the {WHAT} stands before the line of columns "
                f"({' '.join(_COLUMNS)} ...), which is missing"
            )
        fields = line.split("\t")
        if len(fields) < len(_COLUMNS):
            raise FormatError(
                f"line {number} of the {WHAT} has {len(fields)} columns separated by tabs; at "
                f"least {len(_COLUMNS)} are needed"
            )
        yield number, fields


def _alleles(number: int, fields: list[str], skipped: Counter[str]) -> Iterator[Variant]:
    """The variants of one line; what is passed over is counted."""
    contig, place, name, reference, alternatives = fields[:5]
    if not contig or contig.split() != [contig]:
        raise FormatError(f"line {number} of the {WHAT} names no contig")
    digits = place.isascii() and place.isdigit() and len(place) < 16
    if not digits or not 1 <= int(place) < _MAX_POSITION:
        raise FormatError(
            f"line {number} of the {WHAT} has the position {place[:20]!r}; positions are whole "
            "numbers from 1"
        )
    several = not _BASES.fullmatch(reference)
    if several and not _SEVERAL.fullmatch(reference):
        raise FormatError(
            f"REF of {contig[:100]}:{place} (line {number}) must be letters of A, C, G, T and N, "
            f"got {reference[:20]!r}"
        )
    for alternative in alternatives.split(","):
        reason = AMBIGUOUS if several else _unusable(reference, alternative)
        if reason is not None:
            skipped[reason] += 1
            continue
        if not _BASES.fullmatch(alternative):
            raise FormatError(
                f"ALT of {contig[:100]}:{place} (line {number}) must be letters of A, C, G, T and "
                f"N, <...>, * or a breakend, got {alternative[:20]!r}"
            )
        if max(len(reference), len(alternative)) > MAX_ALLELE:
            raise LimitError(
                f"the variant at {contig[:100]}:{place} (line {number}) has an allele longer than "
                f"{MAX_ALLELE:,} bases; send the two sequences as FASTA records instead"
            )
        own_name = None if name in {"", "."} else name.split(";")[0][:100]
        yield Variant(contig, int(place) - 1, reference.upper(), alternative.upper(), own_name)


def _unusable(reference: str, alternative: str) -> str | None:
    """Why an alternative allele cannot be compared base by base; None where it can."""
    if alternative == ".":
        return "without an alternative"
    if alternative == "*":
        return "spanning deletion (*)"
    if alternative.startswith("<") and alternative.endswith(">"):
        return "symbolic allele (<...>)"
    if _BREAKEND.search(alternative):
        return "breakend"
    if alternative.upper() == reference.upper():
        return "the same as the reference"
    if _SEVERAL.fullmatch(alternative) and not _BASES.fullmatch(alternative):
        return AMBIGUOUS
    return None
