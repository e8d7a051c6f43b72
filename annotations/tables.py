"""Tables to files: whole or not at all, and as text that people and spreadsheets read.

A file appears under its name only when it is complete: it is written beside it
under a temporary name and renamed.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.errors import CoordinateError, FormatError

TEXT_ROWS = 65_536
"""Rows of a table turned into text at once; bounds the memory of a writer."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends without an error.

    Parameters
    ----------
    path : Path
        The file to make or to replace; its folder exists.

    Yields
    ------
    temporary : Path
        Where to write. Removed if the block raises.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_columns(table: pa.Table, schema: pa.Schema, *, what: str) -> None:
    """Refuse a table that lacks a column of a schema, or has one of another type or with nulls.

    Parameters
    ----------
    table : Table
        May have further columns.
    schema : Schema
        The columns it must have.
    what : str
        What the table should be, for the message.

    Raises
    ------
    FormatError
        If a column is missing, has another type, or holds nulls.
    """
    for field in schema:
        found = table.schema.get_field_index(field.name)
        if found < 0 or table.schema.field(found).type != field.type:
            got = "no such column" if found < 0 else f"type {table.schema.field(found).type}"
            raise FormatError(
                f"{what} must have a column {field.name} of type {field.type}, got {got}; "
                f"columns: {', '.join(table.column_names)}"
            )
        if table.column(found).null_count:
            raise FormatError(f"{what} must have no nulls in column {field.name}")


def column(table: pa.Table, name: str) -> NDArray[Any]:
    """A column without nulls as an array; no copy where the table has one chunk.

    Parameters
    ----------
    table : Table
        With a numeric column `name`.
    name : str
        The column.

    Returns
    -------
    values : ndarray, shape (rows,)
        In the dtype of the column.
    """
    chunked = table.column(name)
    if chunked.num_chunks == 1:
        return np.asarray(chunked.chunk(0).to_numpy(zero_copy_only=False))
    return np.asarray(chunked.to_numpy())


def with_contig_names(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The table with the index of each contig replaced by its name.

    Parameters
    ----------
    table : Table
        With a column `contig`, uint32, indices into `names`.
    names : sequence of str
        Names of the contigs of the submission, in order.

    Returns
    -------
    table : Table
        The same columns in the same order; `contig` is a string.

    Raises
    ------
    CoordinateError
        If a contig has no name.
    """
    contigs = table.column("contig")
    largest = pc.max(contigs).as_py()
    if largest is not None and largest >= len(names):
        raise CoordinateError(
            f"contig {largest} is not among the {len(names)} contigs of this submission; "
            "give the names of the sequences the table was computed on"
        )
    return table.set_column(
        table.schema.get_field_index("contig"),
        pa.field("contig", pa.string()),
        pa.chunked_array([pa.array(names, pa.string()).take(contigs.combine_chunks())]),
    )


def write_row_groups(tables: Iterable[pa.Table], path: Path) -> None:
    """Write tables that follow each other as one Parquet file, each as a row group.

    Parameters
    ----------
    tables : iterable of Table
        At least one, of one schema. With as many rows each as `pyarrow.parquet.write_table` puts
        into a row group, the last with the rest, no byte differs from the file it would make of
        the whole.
    path : Path
        Made or replaced.
    """
    with ExitStack() as opened:
        writer = None
        for table in tables:
            if writer is None:
                writer = opened.enter_context(pq.ParquetWriter(path, table.schema))
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            del table  # before the next is made


def write_tsv(table: pa.Table, target: Path | TextIO) -> None:
    r"""Write a table as tab-separated text with a header line.

    Nulls are empty fields (so are empty strings), `strand`, like `motif_strand`, is ``+``, ``-``
    or ``.`` (0), floats have six significant digits, booleans are ``true`` and ``false``. A tab or
    a line end inside a string is replaced by one space each, so that every line has every field.

    Parameters
    ----------
    table : Table
        Columns of numbers, booleans, strings, dates or times; no lists or structs.
    target : Path or text stream
        A path is written under a temporary name and renamed; a stream is left open.

    Raises
    ------
    FormatError
        If a column is a list or a struct.

    Examples
    --------
    >>> from io import StringIO
    >>> stream = StringIO()
    >>> write_tsv(pa.table({"feature": [7], "strand": pa.array([-1], pa.int8())}), stream)
    >>> stream.getvalue()
    'feature\tstrand\n7\t-\n'
    """
    if isinstance(target, Path):
        with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
            write_tsv(table, stream)
        return
    for field in table.schema:
        if pa.types.is_nested(field.type):
            raise FormatError(f"column {field.name} is {field.type}; a text table has no lists")
    target.write("\t".join(table.column_names) + "\n")
    for start in range(0, table.num_rows, TEXT_ROWS):
        part = table.slice(start, TEXT_ROWS)
        texts = [text_of(part.column(i), name=name) for i, name in enumerate(table.column_names)]
        write_lines(pa.table(texts, names=table.column_names), target)


def write_lines(fields: pa.Table, stream: TextIO) -> None:
    """Write the fields of a table of strings as tab-separated lines, without a header.

    Parameters
    ----------
    fields : Table
        Strings without tabs or line ends, as `text_of` returns them.
    stream : text stream
        Where to write.
    """
    if not fields.num_columns:
        return
    for start in range(0, fields.num_rows, TEXT_ROWS):
        columns = [chunked.combine_chunks() for chunked in fields.slice(start, TEXT_ROWS).columns]
        columns[-1] = pc.binary_join_element_wise(columns[-1], "\n", "")
        lines = pc.binary_join_element_wise(*columns, "\t") if len(columns) > 1 else columns[0]
        stream.write(pc.binary_join(_as_one_list(lines), "")[0].as_py())


def _as_one_list(strings: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(strings)], pa.int32()), strings)


def text_of(values: pa.ChunkedArray, *, name: str = "") -> pa.ChunkedArray:
    r"""A column as strings, the way `write_tsv` writes it.

    Parameters
    ----------
    values : ChunkedArray
        Numbers, booleans, strings, dates or times.
    name : str
        Name of the column; one that ends in ``strand`` makes signs of an int8 column.

    Returns
    -------
    text : ChunkedArray of string
        No nulls, no tabs, no line ends.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if name.endswith("strand") and pa.types.is_int8(values.type):
        forward, reverse = pc.greater(values, 0), pc.less(values, 0)
        text = pc.if_else(forward, "+", pc.if_else(reverse, "-", "."))
    elif pa.types.is_floating(values.type):
        text = _float_text(values)
    elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        text = pc.replace_substring_regex(values.cast(pa.string()), r"[\t\n\r\v\f]", " ")
    else:
        text = values.cast(pa.string())
    return pc.fill_null(text, "")


def _float_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Floats with six significant digits; nulls stay null."""
    # stored values are float16 and thresholds are few: most numbers come many times
    codes = values.combine_chunks().dictionary_encode()
    numbers = np.asarray(codes.dictionary.cast(pa.float64()).to_numpy(zero_copy_only=False))
    text = np.char.mod("%.6g", numbers) if len(numbers) else np.empty(0, dtype=str)
    return pa.chunked_array([pa.array(text, pa.string()).take(codes.indices)])
