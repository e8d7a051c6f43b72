"""Motifs that a user brings: MEME, JASPAR and TRANSFAC files, read without trusting them.

    file  --read_motifs-->  motifs  --catalogue_of-->            a catalogue of the user's alone
                                    --with_user_motifs-->        beside those of JASPAR
                                    --write_motifs-->            canonical JASPAR text

The readers are our own, because Bio.motifs tells no line of an error and takes some malformed files
for good ones; the tests hold them against it. MEME's XML is not read.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from annotations.compression import lines
from annotations.errors import FormatError, LimitError
from annotations.motif_catalogue import USER, Motif, MotifCatalogue

MAX_BYTES: Final = 16 * 2**20
"""Decompressed bytes of a file of motifs; all of JASPAR 2026 is 2.5 MB."""
MAX_MOTIFS: Final = 5000
MIN_WIDTH: Final = 4
MAX_WIDTH: Final = 60
MEME_SITES: Final = 20.0
"""Sites of a MEME motif that does not tell its nsites, as MEME's own tools assume."""

_LONGEST_ID: Final = 80
_ROUNDING: Final = 0.02
"""How far from 1 the probabilities of a MEME column may sum: they are printed rounded."""
_ID: Final = re.compile(r"[!-~]+")
_MEME_ROWS: Final = re.compile(r"letter-probability matrix:(.*)", re.IGNORECASE)
_MEME_FIELD: Final = re.compile(r"(alength|w|nsites)\s*=\s*(\S+)")
_JASPAR_ROW: Final = re.compile(r"(?:([ACGTU])\s*(?:[|:]\s*)?)?\[?([^\]]*)\]?", re.IGNORECASE)
_TRANSFAC_CODE: Final = re.compile(r"(?:[A-Z][A-Z0-9]|//)(?:\s|$)")

Line = tuple[int, str]


class _Raw(NamedTuple):
    """A motif as read: one row of four counts for each base it covers."""

    line: int
    """Where it begins, for messages."""
    matrix_id: str
    name: str
    columns: list[tuple[float, ...]]


def read_motifs(source: BinaryIO | Path, filename: str) -> tuple[Motif, ...]:
    """The motifs of a file in MEME, JASPAR or TRANSFAC format; its content tells which.

    Parameters
    ----------
    source : binary file or Path
        Plain, gzip or bgzip; at most `MAX_BYTES` once decompressed.
    filename : str
        What the user calls it, for messages.

    Returns
    -------
    motifs : tuple of Motif
        In the order of the file, counts over A, C, G, T; the probabilities of a MEME motif times
        its nsites. Families, classes and proteins are unknown, so empty.

    Raises
    ------
    FormatError
        If the file follows none of the formats, or a motif is malformed, not DNA, narrower than
        `MIN_WIDTH`, wider than `MAX_WIDTH`, or has the id of another; tells the line.
    LimitError
        If the file is too large or holds more than `MAX_MOTIFS` motifs.
    """
    what = f"motif file {filename}"
    text = [
        (number, line.strip())
        for number, line in lines(source, max_bytes=MAX_BYTES, what=what)
        if line.strip()
    ]
    motifs: dict[str, Motif] = {}
    for raw in _reader(text, what)(text, what):
        motif = _checked(raw, what)
        if motif.matrix_id.casefold() in motifs:
            raise _error(what, raw.line, f"a second motif with the id {motif.matrix_id}; rename it")
        motifs[motif.matrix_id.casefold()] = motif
        if len(motifs) > MAX_MOTIFS:
            raise LimitError(f"the {what} holds more than {MAX_MOTIFS:,} motifs; split it")
    if not motifs:
        raise FormatError(f"the {what} holds no motif")
    return tuple(motifs.values())


def write_motifs(motifs: Sequence[Motif]) -> str:
    """Motifs as JASPAR text, which `read_motifs` reads back to the same counts, ids and names.

    Parameters
    ----------
    motifs : sequence of Motif

    Returns
    -------
    text : str
        One canonical form: equal motifs give equal text, whatever format they came in.
    """
    return "".join(
        f">{motif.matrix_id}\t{motif.name}\n"
        + "".join(
            f"{base} [ {' '.join(_number(count) for count in row)} ]\n"
            for base, row in zip("ACGT", motif.counts.tolist(), strict=True)
        )
        for motif in motifs
    )


def catalogue_of(motifs: Sequence[Motif], name: str, sha256: str) -> MotifCatalogue:
    """A catalogue of a user's motifs alone.

    Parameters
    ----------
    motifs : sequence of Motif
        As from `read_motifs`.
    name : str
        Name of the file.
    sha256 : str
        Of its content, in hexadecimal.

    Returns
    -------
    catalogue : MotifCatalogue
        Release and taxon are `USER`.
    """
    return MotifCatalogue(USER, USER, tuple(motifs), user_file=name, user_sha256=sha256)


def with_user_motifs(
    catalogue: MotifCatalogue, motifs: Sequence[Motif], name: str, sha256: str
) -> MotifCatalogue:
    """A catalogue of JASPAR and a user's motifs after it, tested together.

    Parameters
    ----------
    catalogue : MotifCatalogue
        As from `annotations.jaspar.load_motifs`.
    motifs : sequence of Motif
        As from `read_motifs`.
    name, sha256 : str
        As in `catalogue_of`.

    Returns
    -------
    catalogue : MotifCatalogue
        Of the same release and taxon.

    Raises
    ------
    FormatError
        If a motif of the user has the id of one of JASPAR's.
    """
    for motif in motifs:
        if motif.matrix_id.casefold() in catalogue.by_id:
            raise FormatError(
                f"motif {motif.matrix_id} of {name} has the id of a matrix in {catalogue.title}; "
                "rename it, or ask for the motifs of the file alone"
            )
    return dataclasses.replace(
        catalogue, motifs=(*catalogue.motifs, *motifs), user_file=name, user_sha256=sha256
    )


def _reader(text: Sequence[Line], what: str) -> Callable[[Sequence[Line], str], Iterator[_Raw]]:
    if not text:
        raise FormatError(f"the {what} is empty")
    number, first = next((line for line in text if not line[1].startswith("#")), text[0])
    if first.startswith(">"):
        return _jaspar
    if _TRANSFAC_CODE.match(first):
        return _transfac
    if any(line.startswith("MEME version") for _, line in text):
        return _meme
    if first.startswith("<"):
        raise _error(what, number, "XML or HTML is not read; use MEME's text output (meme.txt)")
    raise _error(
        what,
        number,
        "the format is not recognised: a MEME file has a line 'MEME version 4', a JASPAR file "
        "begins with '>', a TRANSFAC file with a two-letter code such as 'AC'",
    )


def _meme(text: Sequence[Line], what: str) -> Iterator[_Raw]:
    """MEME, minimal or full: only the letter-probability matrices of each MOTIF are looked at."""
    matrix_id, name, start = "", "", 0
    rest = iter(text)
    for number, line in rest:
        if line.upper().startswith("ALPHABET") and (given := line.split("=", 1)[1:]):
            letters = given[0].split("#")[0].strip().upper()
            if letters != "ACGT":
                raise _error(what, number, f"the alphabet must be ACGT, got {letters[:30]}")
        elif line.split()[0] == "MOTIF":
            if start:
                raise _without_matrix(what, start, matrix_id)
            words = re.split(r"\bwidth\s*=", line)[0].split()[1:]
            if not words:
                raise _error(what, number, "a MOTIF needs an id after the word MOTIF")
            matrix_id, name, start = words[0], " ".join(words[1:]) or words[0], number
        elif found := _MEME_ROWS.match(line):
            if not start:
                raise _error(what, number, "a letter-probability matrix without a MOTIF before it")
            fields = dict(_MEME_FIELD.findall(found[1]))
            if fields.get("alength", "4") != "4":
                raise _error(what, number, f"alength must be 4 (DNA), got {fields['alength'][:10]}")
            sites = _value(fields.get("nsites", str(MEME_SITES)), what, number)
            if sites <= 0:
                raise _error(what, number, "nsites must be above 0; leave it out if it is unknown")
            width = _value(fields["w"], what, number) if "w" in fields else None
            columns = list(_meme_columns(rest, width, sites, what, number))
            yield _Raw(start, matrix_id, name, columns)
            start = 0
    if start:
        raise _without_matrix(what, start, matrix_id)


def _without_matrix(what: str, number: int, matrix_id: str) -> FormatError:
    return _error(what, number, f"MOTIF {matrix_id[:_LONGEST_ID]} has no probability matrix")


def _meme_columns(
    rest: Iterator[Line], width: float | None, sites: float, what: str, number: int
) -> Iterator[tuple[float, ...]]:
    if width is None or not MIN_WIDTH <= width <= MAX_WIDTH or width % 1:
        raise _error(
            what, number, f"w must be a whole number from {MIN_WIDTH} to {MAX_WIDTH} and be given"
        )
    last = number
    for _ in range(int(width)):
        last, line = next(rest, (last, ""))
        column = _values(line.split(), what, last)
        if len(column) != 4:
            raise _error(
                what, last, f"{int(width)} rows of 4 probabilities must follow, got {len(column)}"
            )
        total = sum(column)
        if abs(total - 1) > _ROUNDING:
            raise _error(what, last, f"the probabilities must sum to 1, got {total:g}")
        yield tuple(sites * value / total for value in column)


def _jaspar(text: Sequence[Line], what: str) -> Iterator[_Raw]:
    """JASPAR: a header and four rows, with brackets and letters or without."""
    rows: list[Line] = []
    header: Line | None = None
    for number, line in (*text, (0, ">")):
        if line.startswith(">"):
            if header is not None:
                yield _jaspar_motif(header, rows, what)
            header, rows = (number, line), []
        else:
            rows.append((number, line))


def _jaspar_motif(header: Line, rows: Sequence[Line], what: str) -> _Raw:
    number, line = header
    words = line[1:].split()
    if not words:
        raise _error(what, number, "a motif needs an id after '>'")
    if len(rows) != 4:
        raise _error(what, number, f"four rows (A, C, G, T) must follow, got {len(rows)}")
    counts: dict[str, tuple[float, ...]] = {}
    for expected, (place, row) in zip("ACGT", rows, strict=True):
        found = _JASPAR_ROW.fullmatch(row)
        if not found:
            raise _error(what, place, "a row must be numbers, as 'A [ 3 0 12 ]' or '3 0 12'")
        base = (found[1] or expected).upper().replace("U", "T")
        if base in counts:
            raise _error(what, place, f"a second row for {base}")
        counts[base] = _values(found[2].split(), what, place)
        if len(counts[base]) != len(next(iter(counts.values()))):
            raise _error(what, place, "the four rows must have equally many numbers")
    columns = list(zip(*(counts[base] for base in "ACGT"), strict=True))
    return _Raw(number, words[0], " ".join(words[1:]) or words[0], columns)


def _transfac(text: Sequence[Line], what: str) -> Iterator[_Raw]:
    """TRANSFAC: records that end in //, counts in numbered rows after P0."""
    fields: dict[str, str] = {}
    order: list[int] = []
    columns: list[tuple[float, ...]] = []
    start = 0
    for number, line in (*text, (0, "//")):
        code, _, value = line.partition(" ")
        start = start or number
        if code in {"P0", "PO"}:
            letters = [letter.upper().replace("U", "T") for letter in value.split()[:4]]
            if sorted(letters) != list("ACGT"):
                raise _error(what, number, "P0 must name the columns A, C, G and T")
            order = [letters.index(base) for base in "ACGT"]
        elif code.isdigit():
            if not order:
                raise _error(what, number, "a row of counts before the line P0")
            # A fifth word is the consensus letter.
            row = _values(value.split()[:4], what, number)
            if len(row) != 4:
                raise _error(what, number, f"a row must hold 4 counts, got {len(row)}")
            columns.append(tuple(row[place] for place in order))
        elif code == "//":
            if order:
                matrix_id = next((fields[c] for c in ("AC", "ID", "NA") if fields.get(c)), "")
                if not matrix_id:
                    raise _error(what, start, "a motif needs an id in a line AC, ID or NA")
                name = fields.get("NA") or fields.get("ID") or matrix_id
                yield _Raw(start, matrix_id.split()[0], name, columns)
            fields, order, columns, start = {}, [], [], 0
        elif not _TRANSFAC_CODE.match(line):
            raise _error(what, number, "a line must begin with a two-letter code or a number")
        else:
            fields.setdefault(code, value.strip())


def _checked(raw: _Raw, what: str) -> Motif:
    if len(raw.matrix_id) > _LONGEST_ID or not _ID.fullmatch(raw.matrix_id):
        raise _error(
            what, raw.line, f"a motif's id must be 1 to {_LONGEST_ID} visible ASCII characters"
        )
    if not MIN_WIDTH <= len(raw.columns) <= MAX_WIDTH:
        raise _error(
            what,
            raw.line,
            f"motif {raw.matrix_id} is {len(raw.columns)} bases wide, allowed are {MIN_WIDTH} to "
            f"{MAX_WIDTH}; trim its flanks",
        )
    counts = np.array(raw.columns, dtype=np.float64).T.copy()
    if not (counts.sum(axis=0) > 0).all():
        empty = int(np.flatnonzero(counts.sum(axis=0) <= 0)[0]) + 1
        raise _error(what, raw.line, f"column {empty} of motif {raw.matrix_id} has no counts")
    counts.flags.writeable = False
    name = "".join(c if c.isprintable() else " " for c in raw.name)
    name = " ".join(name.split())[:_LONGEST_ID]
    return Motif(raw.matrix_id, name or raw.matrix_id, counts, (), (), USER, ())


def _values(words: Sequence[str], what: str, number: int) -> tuple[float, ...]:
    return tuple(_value(word, what, number) for word in words)


def _value(word: str, what: str, number: int) -> float:
    try:
        value = float(word)
    except ValueError:
        raise _error(what, number, "a number was expected and something else is there") from None
    if not 0 <= value <= 1e9 or math.isnan(value):
        raise _error(what, number, f"a count must be from 0 to 1e9, got {value:g}")
    return value


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _error(what: str, number: int, problem: str) -> FormatError:
    return FormatError(f"line {number} of the {what}: {problem}")
