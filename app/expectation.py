"""What the model of a run expects of each base: bigWig files, and substitutions of variants.

    expectation.parquet, sequences.fa --track_file--> information, observed letters, their heights
    substitutions.parquet --ratios--> log2 p(alternative) / p(reference) of each pair

See `annotations.expectation` for what each is.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.bigwig import Values, write_values
from annotations.errors import StateError, StorageError
from annotations.expectation import (
    REACH,
    SAID_SIDES,
    STEP,
    composition,
    information,
    letter_heights,
    observed_bits,
    probabilities,
)
from annotations.expectation_file import (
    EXPECTATION_FILE,
    SUBSTITUTIONS_FILE,
    Expected,
    expected_in,
    read_expected,
    sides_in,
)
from annotations.hub import Track, track_name
from annotations.sequences import encode_bases, open_fasta
from annotations.types import Span
from app.catalog import Result

ExpectationTrack = Literal["information", "observed", "letters"]
"""What a track shows."""

COLOR: Final = (120, 70, 0)

NO_EXPECTATION: Final = (
    "this run has no expectation track; submit the sequences again with the option expectation "
    "(REST: expectation=true, command line: --expectation)"
)


class ExpectationFile(NamedTuple):
    """A bigWig file of the expectation of a run."""

    track: ExpectationTrack
    short_label: str
    what: str
    """For people, with a place for `annotations.expectation.SAID_SIDES`."""


EXPECTATION_FILES: Final[Mapping[str, ExpectationFile]] = {
    "expectation_letters.bw": ExpectationFile(
        "letters",
        "expected letters",
        "Letters by p times information, bits, {sides}",
    ),
    "expectation_information.bw": ExpectationFile(
        "information",
        "expected bits",
        "Bits of p(A, C, G, T) over composition, {sides}",
    ),
    "expectation_observed.bw": ExpectationFile(
        "observed",
        "bits of the letter",
        "log2 p(letter) / composition, {sides}",
    ),
}
"""Tracks of a run with the option expectation, by the names of their files."""


def has_expectation(result: Result) -> bool:
    """Whether a run was made with the option expectation."""
    return EXPECTATION_FILE in result.files


def expectation_path(result: Result) -> Path:
    """The file that says what is expected.

    Raises
    ------
    StateError
        If the run has none.
    """
    if not has_expectation(result):
        raise StateError(NO_EXPECTATION)
    return result.files[EXPECTATION_FILE]


def said_sides(result: Result) -> str:
    """Which bases count in what is expected of a base, in words; StateError as above."""
    return SAID_SIDES[sides_in(expectation_path(result))]


def track_file(result: Result, path: Path, *, track: ExpectationTrack) -> None:
    """Write a track as bigWig, in bounded memory; nothing is said of bases that are not known.

    Parameters
    ----------
    result : Result
        With its sequences.
    path : Path
        Made or replaced; its folder exists.
    track : {"information", "observed", "letters"}
        What it shows.

    Raises
    ------
    StateError
        If the run has no expectation.
    StorageError
        If its sequences are missing.
    """
    source = expectation_path(result)
    if result.sequences is None:
        raise StorageError("the sequences of this run are not stored here")
    with open_fasta(result.sequences) as bases:

        def values_of(part: Expected) -> Values:
            contig, first, past = int(part.contig[0]), int(part.position[0]), len(part.position)
            low = max(0, first - REACH)
            high = min(result.lengths[contig], first + past + REACH)
            codes = encode_bases(bases.fetch(str(contig), low, high))
            values = track_values(part.log2_p, codes, first - low, track=track)
            return Values(contig, first, values)

        parts = (
            values_of(part) for expected in read_expected(source) for part in neighbours(expected)
        )
        write_values(path, parts, result.names, result.lengths)


def track_values(
    log2_p: NDArray[np.float32], codes: NDArray[np.uint8], first: int, *, track: ExpectationTrack
) -> NDArray[np.float32]:
    """What a track shows of neighbouring bases.

    Parameters
    ----------
    log2_p : ndarray of float32, shape (bases, 4)
    codes : ndarray of uint8, shape (length,)
        Base codes of these bases and of those near them, as `annotations.expectation.composition`
        takes them.
    first : int
        Place of the first of them in `codes`.
    track : {"information", "observed", "letters"}

    Returns
    -------
    values : ndarray of float32, shape (bases,)
        Bits.
    """
    past = first + len(log2_p)
    p, q = probabilities(log2_p), composition(codes, first, past)
    if track == "information":
        bits = information(p, q)
    elif track == "observed":
        bits = observed_bits(p, q, codes[first:past])
    else:
        bits = letter_heights(p, q, codes[first:past])
    rounded: NDArray[np.float32] = (np.rint(bits / STEP) * STEP).astype(np.float32)
    return rounded


def letters_in(result: Result, span: Span) -> NDArray[np.float64]:
    """Heights of the four letters at the bases of a span: their probability times information.

    Parameters
    ----------
    result : Result
        With its sequences.
    span : Span
        Of at most some 100,000 bases: all of it is in memory.

    Returns
    -------
    bits : ndarray of float64, shape (bases, 4)
        Of A, C, G and T; NaN where nothing is said.

    Raises
    ------
    StateError, StorageError
        As `track_file`.
    """
    log2_p = expected_in(expectation_path(result), span)
    if result.sequences is None:
        raise StorageError("the sequences of this run are not stored here")
    low = max(0, span.start - REACH)
    high = min(result.lengths[span.contig], span.end + REACH)
    with open_fasta(result.sequences) as bases:
        codes = encode_bases(bases.fetch(str(span.contig), low, high))
    heights = np.full(log2_p.shape, np.nan)
    known = ~np.isnan(log2_p[:, 0])
    p = probabilities(log2_p[known])
    q = composition(codes, span.start - low, span.end - low)[known]
    heights[known] = p * information(p, q)[:, None]
    return heights


def neighbours(expected: Expected) -> Iterator[Expected]:
    """Cut rows where a base or a contig is skipped."""
    contig, position, log2_p = expected
    cuts = np.flatnonzero((np.diff(position) != 1) | (np.diff(contig.astype(np.int64)) != 0)) + 1
    for low, high in pairwise([0, *cuts.tolist(), len(position)]):
        yield Expected(contig[low:high], position[low:high], log2_p[low:high])


def ratios(result: Result) -> dict[int, float] | None:
    """log2 p(alternative) / p(reference) of the pairs of a run that compares alleles, by number.

    Pairs that are no substitution of one base are left out. None where the run has no expectation.
    """
    if SUBSTITUTIONS_FILE not in result.files:
        return None
    table = pq.read_table(result.files[SUBSTITUTIONS_FILE], columns=["pair", "log2_ratio"])
    return dict(zip(table["pair"].to_pylist(), table["log2_ratio"].to_pylist(), strict=True))


def tracks(result: Result) -> list[Track]:
    """The tracks as a hub has them, addresses relative; none where the run has no expectation."""
    if not has_expectation(result):
        return []
    sides = said_sides(result)
    return [
        Track(
            track_name(name.removesuffix(".bw")),
            "expectation",
            name,
            file.short_label,
            file.what.format(sides=sides),
            color=COLOR,
            letters=file.track == "letters",
            signed=file.track == "observed",
        )
        for name, file in EXPECTATION_FILES.items()
    ]
