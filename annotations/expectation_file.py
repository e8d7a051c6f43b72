"""The file of what a language model expects of the bases of a shard, or of a run.

    log2 p (bases, 4) --write_expected, merge_expected--> expectation.parquet
                      --substitutions--> log2 p(alternative) / p(reference) of single bases

Positions are 0-based on the forward strand, and letters are those of the forward strand. A base
that is not A, C, G or T, or of which the model says nothing, has no row.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.active_bases import locus_index
from annotations.alleles import Alleles
from annotations.errors import StorageError
from annotations.expectation import SAID_SIDES, Sides
from annotations.tables import check_columns, column, replacing
from annotations.types import Span

EXPECTATION_FILE: Final = "expectation.parquet"
"""Name of the file of a shard, and of a result."""

SUBSTITUTIONS_FILE: Final = "substitutions.parquet"
"""What a run that compares alleles has besides: a row for each pair that differs in one base."""

ROWS: Final = 131_072
"""Bases in a row group, however the shards were cut."""

LETTERS: Final = ("A", "C", "G", "T")

EXPECTATION_SCHEMA: Final = pa.schema(
    [
        pa.field("contig", pa.uint32(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        *(pa.field(f"log2_{letter}", pa.float32(), nullable=False) for letter in LETTERS),
    ]
)
"""One row for each base that something is expected of, sorted by contig and position."""

_SIDES_KEY: Final = b"saetrack.sides"

_ENCODINGS: Final = {
    "position": "DELTA_BINARY_PACKED",
    **{f"log2_{letter}": "BYTE_STREAM_SPLIT" for letter in LETTERS},
}


class Expected(NamedTuple):
    """What is expected of some bases, a row for each."""

    contig: NDArray[np.uint32]
    position: NDArray[np.int64]
    log2_p: NDArray[np.float32]
    """Shape (bases, 4), in the order A, C, G, T; the probabilities sum to 1 but for rounding."""


def expected_table(expected: Expected, schema: pa.Schema = EXPECTATION_SCHEMA) -> pa.Table:
    """The rows as a table of `EXPECTATION_SCHEMA`."""
    columns = [expected.contig, expected.position, *expected.log2_p.T]
    arrays = [
        pa.array(np.ascontiguousarray(values), field.type)
        for values, field in zip(columns, schema, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def write_expected(parts: Iterable[Expected], path: Path, *, sides: Sides) -> None:
    """Write what is expected of the bases of a shard, or of a run, whole or not at all.

    Parameters
    ----------
    parts : iterable of Expected
        In order; one is in memory at a time, and up to `ROWS` rows besides.
    path : Path
        Made or replaced. The bytes depend on the rows alone, not on how they are cut into parts.
    sides : {"all", "before"}
        Which bases counted; kept in the file.

    Raises
    ------
    StorageError
        If the rows are not in order of contig and position, each once.
    """
    last = -1
    waiting: list[pa.Table] = []
    held = 0
    schema = EXPECTATION_SCHEMA.with_metadata({_SIDES_KEY: sides.encode()})
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            use_dictionary=["contig"],
            column_encoding=_ENCODINGS,
        ) as writer,
    ):
        for part in parts:
            if not len(part.position):
                continue
            place = locus_index(part.contig, part.position)
            if int(place[0]) <= last or (place[1:] <= place[:-1]).any():
                raise StorageError(
                    f"{path.name}: shards give a base twice, or not in order; run it again"
                )
            last = int(place[-1])
            waiting.append(expected_table(part, schema))
            held += waiting[-1].num_rows
            if held >= ROWS:
                table = pa.concat_tables(waiting)
                whole = held // ROWS * ROWS
                writer.write_table(table.slice(0, whole).combine_chunks(), row_group_size=ROWS)
                waiting, held = [table.slice(whole)], held - whole
        if held:
            writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=ROWS)


def _unreadable(path: Path) -> StorageError:
    return StorageError(f"{path.name} cannot be read: it is missing, cut or altered")


def read_expected(path: Path) -> Iterator[Expected]:
    """What is expected of bases, in order, up to `ROWS` of them at a time.

    Raises
    ------
    StorageError
        If the file cannot be read.
    FormatError
        If it is none of `write_expected`.
    """
    try:
        with pq.ParquetFile(path) as file:
            check_columns(file.schema_arrow.empty_table(), EXPECTATION_SCHEMA, what=path.name)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                logs = [column(table, f"log2_{letter}") for letter in LETTERS]
                yield Expected(
                    column(table, "contig"), column(table, "position"), np.stack(logs, axis=1)
                )
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path) from error


def sides_in(path: Path) -> Sides:
    """Which bases counted in what a file holds.

    Raises
    ------
    StorageError
        As `read_expected`.
    """
    try:
        found = (pq.read_schema(path).metadata or {}).get(_SIDES_KEY, b"").decode()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _unreadable(path) from error
    for sides in SAID_SIDES:
        if found == sides:
            return sides
    raise StorageError(f"{path.name} does not say which bases counted: it is altered")


def merge_expected(parts: Sequence[Path], path: Path) -> None:
    """Join the files of shards, at least one, in order and in bounded memory.

    Raises
    ------
    StorageError
        As `read_expected` and `write_expected`.
    """
    rows = (each for part in parts for each in read_expected(part))
    write_expected(rows, path, sides=sides_in(parts[0]))


def expected_at(
    path: Path, contig: NDArray[np.uint32], position: NDArray[np.int64]
) -> NDArray[np.float32]:
    """What is expected of some bases.

    Parameters
    ----------
    path : Path
        Of `write_expected`.
    contig, position : ndarray, shape (bases,)
        In any order.

    Returns
    -------
    log2_p : ndarray of float32, shape (bases, 4)
        NaN where nothing is said.

    Raises
    ------
    StorageError
        As `read_expected`.
    """
    wanted = locus_index(contig, position)
    found = np.full((len(wanted), 4), np.nan, dtype=np.float32)
    for part in read_expected(path):
        known = locus_index(part.contig, part.position)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        here = known[at] == wanted
        found[here] = part.log2_p[at[here]]
    return found


def expected_in(path: Path, span: Span) -> NDArray[np.float32]:
    """What is expected of the bases of a span; reads the row groups alone that hold it.

    Parameters
    ----------
    path : Path
        Of `write_expected`.
    span : Span

    Returns
    -------
    log2_p : ndarray of float32, shape (bases, 4)
        NaN where nothing is said.

    Raises
    ------
    StorageError
        As `read_expected`.
    """
    here = (
        (pc.field("contig") == span.contig)
        & (pc.field("position") >= span.start)
        & (pc.field("position") < span.end)
    )
    try:
        table = pq.read_table(path, filters=here)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path) from error
    found = np.full((span.length, 4), np.nan, dtype=np.float32)
    rows = column(table, "position") - span.start
    found[rows] = np.stack([column(table, f"log2_{letter}") for letter in LETTERS], axis=1)
    return found


SUBSTITUTIONS_SCHEMA: Final = pa.schema(
    [
        pa.field("pair", pa.uint32(), nullable=False),
        pa.field("log2_reference", pa.float32(), nullable=False),
        pa.field("log2_alternative", pa.float32(), nullable=False),
        pa.field("log2_ratio", pa.float32(), nullable=False),
    ]
)
"""log2 p of both letters of a substitution, at its place in the reference record, and
log2 p(alternative) / p(reference), below 0 where the reference is expected more."""


def substitutions(path: Path, alleles: Alleles, codes: Sequence[NDArray[np.uint8]]) -> pa.Table:
    """How much one letter of each substitution is expected against the other.

    A pair counts if one base stands in place of one other, both known. What is expected of a base
    does not depend on the base itself, so that the reference record says it of both letters.

    Parameters
    ----------
    path : Path
        Of `write_expected`, over the records of the pairs.
    alleles : Alleles
        The pairs.
    codes : sequence of ndarray of uint8
        Base codes of each record.

    Returns
    -------
    table : Table of SUBSTITUTIONS_SCHEMA
        In order of the pairs; those of which the model says nothing are left out.
    """
    pairs, contig, position, letters = [], [], [], []
    for number, pair in enumerate(alleles.pairs):
        start, end, other, other_end = pair.change
        if end - start != 1 or other_end - other != 1:
            continue
        own = codes[pair.reference][start], codes[pair.alternative][other]
        if max(own) < len(LETTERS):
            pairs.append(number)
            contig.append(pair.reference)
            position.append(start)
            letters.append(own)
    logs = expected_at(path, np.array(contig, np.uint32), np.array(position, np.int64))
    rows = np.arange(len(pairs))[:, None]
    both = logs[rows, np.array(letters, np.int64).reshape(-1, 2)]
    known = np.isfinite(both).all(axis=1)
    columns = [
        np.array(pairs, np.uint32)[known],
        *both[known].T,
        (both[:, 1] - both[:, 0])[known],
    ]
    return pa.table([np.ascontiguousarray(values) for values in columns], SUBSTITUTIONS_SCHEMA)
