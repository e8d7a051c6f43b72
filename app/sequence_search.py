"""Sequence search: a short sequence becomes an ordinary small run, and its bases get values.

    pasted text --check_sequence--> FASTA of one record --app.submissions--> a run
    Result, feature row --lines_of--> the sequence in blocks, with the value of each base
                        --stretches_of--> where the row is active

No model is touched here: the worker computes the run like any other.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.active_bases import Activations
from annotations.errors import FormatError, LimitError, OptionError
from annotations.region_activity import of_rows, values_by_base
from annotations.sequence_files import StoredBases
from annotations.sequences import example_path, read_sequences
from annotations.types import Span
from app.catalog import Result

MAX_BASES: Final = 10_000
"""Longest sequence that is searched."""

MAX_CHARACTERS: Final = 20_000
"""Longest text of a form: the bases with line ends, numbers and a header."""

TITLE: Final = "Sequence search"
"""Title of the runs that are made."""

EXAMPLE_BASES: Final = 1_500
"""Bases of the example."""

BLOCK: Final = 10
"""Bases that stand together."""

_LETTERS: Final = re.compile(r"[A-Za-z]*", re.ASCII)


class Base(NamedTuple):
    """Some bases of one value."""

    letters: str
    value: float
    said: str
    """Place and value; empty where silent."""


class Block(NamedTuple):
    """Some bases that stand together."""

    start: int
    """1-based place of the first."""
    bases: list[Base]


class Stretch(NamedTuple):
    """Consecutive bases where a feature row is active."""

    start: int
    """0-based."""
    end: int
    largest: float
    position: int
    """Of the largest value, 0-based."""
    letters: str


def check_sequence(text: str) -> bytes:
    """A pasted sequence as FASTA.

    Parameters
    ----------
    text : str
        Bare bases, with white space and numbers as one copies them out of a paper; or FASTA of
        one record.

    Returns
    -------
    fasta : bytes
        One record; its letters are checked when it is submitted.

    Raises
    ------
    OptionError
        If there is nothing in it.
    FormatError
        If it has several records, or signs that are no letters.
    LimitError
        If it is longer than `MAX_BASES`.
    """
    text = text.strip()
    if not text:
        raise OptionError(
            f"there is no sequence; paste one of at most {MAX_BASES:,} bases, bare or as FASTA"
        )
    name = "query"
    if text.startswith(">"):
        header, _, text = text.partition("\n")
        name = (header[1:].split() or [name])[0]
    if ">" in text:
        raise FormatError("give one sequence; several records are what a run is for: submit them")
    bases = re.sub(r"[\s0-9]+", "", text)
    if not bases:
        raise OptionError(f"the record {name[:40]!r} has no bases")
    if len(bases) > MAX_BASES:
        raise LimitError(
            f"a search takes at most {MAX_BASES:,} bases, got {len(bases):,}; submit longer "
            "sequences as a run"
        )
    if not _LETTERS.fullmatch(bases):
        raise FormatError("the sequence has signs that are no letters, white space or numbers")
    return f">{name}\n{bases}\n".encode()


@cache
def example_text() -> str:
    """The beginning of the bundled example, as FASTA that a form shows."""
    record = read_sequences(example_path()).records[0]
    bases = record.sequence[:EXAMPLE_BASES].decode("ascii")
    lines = [bases[at : at + 60] for at in range(0, len(bases), 60)]
    return "\n".join([f">{record.name}", *lines])


def lines_of(result: Result, region: Span, row: int) -> list[Block]:
    """The bases of a region with the value of a feature row at each.

    Parameters
    ----------
    result : Result
        Of a run.
    region : Span
        At most `MAX_BASES` bases.
    row : int
        The feature row, ``2 * feature + (strand < 0)``.

    Returns
    -------
    blocks : list of Block
        Of `BLOCK` bases, the last one shorter; neighbours without a value are one `Base`. Letters
        are those of the forward strand, whichever the row is of.
    """
    letters = letters_of(result, region)
    active = of_rows(result.activations, [row], region)
    (values,) = values_by_base(active, region, [row])
    return [
        Block(
            region.start + at + 1,
            list(_bases(letters[at : at + BLOCK], values[at : at + BLOCK], region.start + at)),
        )
        for at in range(0, region.length, BLOCK)
    ]


def stretches_of(result: Result, region: Span, row: int) -> list[Stretch]:
    """Where a feature row is active in a region, from left to right."""
    active = of_rows(result.activations, [row], region)
    letters = letters_of(result, region)
    return list(_stretches(active, letters, region.start))


def letters_of(result: Result, region: Span) -> str:
    """The bases of a region; N where the run's sequences are gone."""
    if result.sequences is None:
        return "N" * region.length
    found = StoredBases(result.sequences, result.lengths).fetch(*region)
    return found.decode("ascii").upper()


def _bases(letters: str, values: NDArray[np.float32], start: int) -> Iterator[Base]:
    silent = ""
    for at, letter in enumerate(letters):
        value = float(values[at])
        if value > 0:
            if silent:
                yield Base(silent, 0.0, "")
                silent = ""
            yield Base(letter, value, f"{start + at + 1:,}: {value:.3g}")
        else:
            silent += letter
    if silent:
        yield Base(silent, 0.0, "")


def _stretches(active: Activations, letters: str, start: int) -> Iterator[Stretch]:
    position, value = active.position, active.value
    if not len(position):
        return
    breaks = np.flatnonzero(np.diff(position) != 1) + 1
    for own in np.split(np.arange(len(position)), breaks):
        low, high = int(position[own[0]]), int(position[own[-1]]) + 1
        top = own[int(value[own].argmax())]
        yield Stretch(
            low, high, float(value[top]), int(position[top]), letters[low - start : high - start]
        )
