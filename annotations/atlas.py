"""What the features of a dictionary are known for: labels, matches, concepts, examples.

    result of a run over a reference genome --build_atlas--> atlas folder --load_atlas--> Atlas

    atlas.json           which dictionary, genome, motifs; counts; date; sha256 of the tables
    labels.parquet       the name of each feature row that anything is known of, the evidence
                         for it, its group                           (annotations.naming)
    matches.parquet      significant motif matches, the best of each (annotations.match_table)
    concepts.parquet     how well rows tell gene parts         (annotations.interval_concepts)
    examples.parquet     where rows fire, in four ranges        (annotations.feature_examples)
    neighbours.parquet   rows that fire together                  (annotations.feature_groups)
    row_motifs.parquet   base counts of a row's own motif, for its logo  (`ROW_MOTIFS_SCHEMA`)
    baselines.parquet    what GC, neurons, random weights do           (annotations.baselines)

A short sequence cannot carry a test of its own: it borrows these labels. They hold for one
dictionary only, so an atlas names the sha256 of its weights and is refused for any other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.baselines import BASELINES_SCHEMA
from annotations.cards import Cards, DictionaryCard, file_sha256
from annotations.errors import FormatError, LimitError, StorageError, WeightsError
from annotations.feature_examples import EXAMPLES_SCHEMA
from annotations.feature_groups import NEIGHBOURS_SCHEMA
from annotations.interval_concepts import CONCEPTS_SCHEMA
from annotations.match_table import MATCHES_SCHEMA
from annotations.naming import LABELS_SCHEMA
from annotations.provenance import read_provenance
from annotations.tables import column, replacing

FORMAT: Final = 2
"""Version of the folder's layout."""
MAX_BYTES: Final = 400_000_000
"""Largest atlas that is written or read, as files."""
MAX_TABLE_BYTES: Final = 4_000_000_000
"""Largest table that is read, once decompressed."""

ATLAS_CARD: Final = "atlas.json"
"""The file that pins all others."""

ROW_MOTIFS_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("offset", pa.int32(), nullable=False),
        *(pa.field(base, pa.int32(), nullable=False) for base in "ACGT"),
    ]
)
"""One row per column of a feature row's own motif, sorted by feature, strand (+ first) and offset.

Counts of A, C, G and T over the row's independent top peaks, `offset` bases from the peak in the
sense of the pass. Columns that say nothing at the motif's ends are left out, and so are rows whose
motif is too short or vague to be compared with a matrix (`annotations.motif_similarity`)."""

TABLES: Final[Mapping[str, pa.Schema]] = {
    "labels": LABELS_SCHEMA,
    "matches": MATCHES_SCHEMA,
    "concepts": CONCEPTS_SCHEMA,
    "examples": EXAMPLES_SCHEMA,
    "neighbours": NEIGHBOURS_SCHEMA,
    "row_motifs": ROW_MOTIFS_SCHEMA,
    "baselines": BASELINES_SCHEMA,
}
"""The tables of an atlas and their columns; each lies in a file of its name and ``.parquet``."""

LATER: Final[Mapping[str, tuple[str, ...]]] = {"examples": ("values",)}
"""Columns that earlier versions of this format did not write: null where they are missing."""


@dataclass(frozen=True, kw_only=True)
class AtlasCard:
    """Where an atlas comes from."""

    dictionary_id: str
    dictionary_sha256: str
    """Of the dictionary's weights."""
    genome: str
    """Which sequence was read, in words: assembly and contigs."""
    release: str
    """JASPAR release of the matches."""
    taxon: str
    """JASPAR tax group."""
    counts: dict[str, int]
    """Rows of the tables and what they were made from."""
    date: str
    """When it was written, ISO 8601, UTC."""
    discovery: list[dict[str, Any]] = field(default_factory=list)
    """Name, length and refget digest of the contigs that everything was found on."""
    held_out: list[dict[str, Any]] = field(default_factory=list)
    """The same of those on which it was confirmed; empty where there were none."""
    motif_test: dict[str, Any] = field(default_factory=dict)
    """How motifs were tested: thresholds, pseudocount, background, as in a run's provenance."""
    kept: dict[str, int] = field(default_factory=dict)
    """How many rows of each kind were kept at most (`annotations.atlas_build.Kept`)."""
    software: str = ""
    """Version of saetrack that wrote it."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of each table."""
    format: int = FORMAT
    """Version of the layout."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """An atlas in memory; each table has its schema in `TABLES`."""

    about: AtlasCard
    labels: pa.Table
    matches: pa.Table
    """Sorted by feature, strand, kinds of evidence and q."""
    concepts: pa.Table = field(default_factory=CONCEPTS_SCHEMA.empty_table)
    examples: pa.Table = field(default_factory=EXAMPLES_SCHEMA.empty_table)
    neighbours: pa.Table = field(default_factory=NEIGHBOURS_SCHEMA.empty_table)
    row_motifs: pa.Table = field(default_factory=ROW_MOTIFS_SCHEMA.empty_table)
    baselines: pa.Table = field(default_factory=BASELINES_SCHEMA.empty_table)

    @property
    def release(self) -> str:
        """JASPAR release of the matches."""
        return self.about.release

    @property
    def taxon(self) -> str:
        """JASPAR tax group of the matches."""
        return self.about.taxon

    @property
    def tables(self) -> dict[str, pa.Table]:
        """Its tables by name."""
        return {name: getattr(self, name) for name in TABLES}

    def card(self) -> dict[str, Any]:
        """Where it comes from, as JSON values."""
        return asdict(self.about)


def write_atlas(atlas: Atlas, folder: Path, *, max_bytes: int = MAX_BYTES) -> Atlas:
    """Write an atlas to a folder, made where missing; one that is there is replaced.

    Returns
    -------
    Atlas
        With the sha256 of the tables in its card.

    Raises
    ------
    FormatError
        If a table is not of its schema.
    LimitError
        If the tables are larger than `max_bytes` together; nothing is written then.
    """
    packed = {}
    for name, table in atlas.tables.items():
        check_schema(table, TABLES[name], name)
        packed[name] = pack(table)
    sizes = {name: len(data) for name, data in packed.items()}
    if sum(sizes.values()) > max_bytes:
        largest = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise LimitError(
            f"the atlas has {sum(sizes.values())} bytes ({largest}), at most {max_bytes} are "
            "allowed; keep less of each feature"
        )
    folder.mkdir(parents=True, exist_ok=True)
    sums = {}
    for name, data in packed.items():
        with replacing(_table_file(folder, name)) as path:
            path.write_bytes(data)
        sums[f"{name}.parquet"] = file_sha256(_table_file(folder, name))
    about = replace(atlas.about, files=sums)
    with replacing(folder / ATLAS_CARD) as card:
        card.write_text(json.dumps(asdict(about), indent=2, sort_keys=True) + "\n")
    return replace(atlas, about=about)


def load_atlas(folder: Path, dictionary_sha256: str) -> Atlas:
    """Read the atlas of a dictionary; what is given is as for `check_atlas`.

    Raises
    ------
    SaetrackError
        As `check_atlas`.
    FormatError
        If a table is not of its form.
    StorageError
        If a table cannot be read.
    LimitError
        If a table is larger than `MAX_TABLE_BYTES`.
    """
    about = check_atlas(folder, dictionary_sha256)
    tables = {
        name: read_table(_table_file(folder, name), TABLES[name], later=LATER.get(name, ()))
        for name in TABLES
    }
    return Atlas(about, **tables)


def check_atlas(folder: Path, dictionary_sha256: str) -> AtlasCard:
    """The card of an atlas that is whole and of a dictionary; its tables are hashed, not parsed.

    Parameters
    ----------
    folder : Path
        Which `write_atlas` wrote.
    dictionary_sha256 : str
        Of the weights it must have been made with.

    Raises
    ------
    WeightsError
        If it was made with another dictionary.
    FormatError
        If it has another format, or the card is not of its form.
    StorageError
        If a file is missing or altered.
    LimitError
        If it is larger than `MAX_BYTES`.
    """
    where = f"{folder.parent.name}/{folder.name}"
    about = read_atlas_card(folder / ATLAS_CARD)
    if about.dictionary_sha256 != dictionary_sha256:
        raise WeightsError(
            f"the atlas in {where} was made with dictionary {about.dictionary_id} "
            f"(sha256 {about.dictionary_sha256[:12]}...), not with the one in use "
            f"({dictionary_sha256[:12]}...): its labels mean nothing there; make it again"
        )
    paths = [_table_file(folder, name) for name in TABLES]
    for path in paths:
        if not path.is_file():
            raise StorageError(f"the atlas in {where} lacks {path.name}; make it again")
    size = sum(path.stat().st_size for path in paths)
    if size > MAX_BYTES:
        raise LimitError(f"the atlas in {where} has {size} bytes, at most {MAX_BYTES} are")
    for path in paths:
        if file_sha256(path) != about.files.get(path.name):
            raise StorageError(
                f"{path.name} of the atlas in {where} was cut or altered; make it again, or "
                "install it again"
            )
    return about


def usable_atlas(cards: Cards, dictionary: DictionaryCard) -> Path | None:
    """Folder of the atlas that a run takes its labels from, or None where there is none.

    It is looked at before anything is computed, as labels are the last of what a run makes.

    Raises
    ------
    WeightsError
        If it is of another dictionary, another format, or too large: no fault of the request.
    StorageError
        If a file is missing or altered.
    """
    folder = cards.atlas(dictionary)
    if folder is None:
        return None
    try:
        check_atlas(folder, dictionary.sha256)
    except (FormatError, LimitError) as error:
        raise WeightsError(str(error)) from error
    return folder


def _table_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"


def read_atlas_card(path: Path) -> AtlasCard:
    """The card of an atlas.

    Raises
    ------
    FormatError
        If it is of another format, or lacks a key or has an unknown one.
    StorageError
        If it is missing or no JSON object.
    """
    values = read_provenance(path)
    if values.get("format") != FORMAT:
        raise FormatError(
            f"the atlas in {path.parent.name} has format {values.get('format')!r}, this version "
            f"reads format {FORMAT}; make it again with `saetrack atlas build GENOME --dictionary "
            f"{values.get('dictionary_id', 'ID')}`, or import one"
        )
    needed = {f.name for f in fields(AtlasCard)}
    if set(values) != needed:
        raise FormatError(
            f"{path.name} must have the keys {', '.join(sorted(needed))}, got "
            f"{', '.join(sorted(values))}"
        )
    hints: dict[str, type] = dict.fromkeys(("counts", "files", "motif_test", "kept"), dict)
    hints |= {"discovery": list, "held_out": list}
    for name, value in values.items():
        kind = int if name == "format" else hints.get(name, str)
        if not isinstance(value, kind):
            raise FormatError(f"{path.name} has a {type(value).__name__} as {name}")
    return AtlasCard(**values)  # type: ignore[arg-type]  # checked above, one by one


def read_table(path: Path, schema: pa.Schema, *, later: Sequence[str] = ()) -> pa.Table:
    """A table of a result or atlas.

    Parameters
    ----------
    path : Path
        The file.
    schema : Schema
        Its columns.
    later : sequence of str
        Columns that may be missing; they are null then.

    Raises
    ------
    StorageError
        If the file is missing or no Parquet.
    LimitError
        If it is larger than `MAX_TABLE_BYTES` once decompressed.
    FormatError
        If it has other columns.
    """
    if not path.is_file():
        raise StorageError(f"{path.name} is missing from {path.parent.name}")
    try:
        metadata = pq.read_metadata(path)
        groups = range(metadata.num_row_groups)
        size = sum(metadata.row_group(group).total_byte_size for group in groups)
        if size > MAX_TABLE_BYTES:
            raise LimitError(
                f"{path.name} has {size} bytes decompressed, at most {MAX_TABLE_BYTES} are read"
            )
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise StorageError(f"{path.name} in {path.parent.name} is no Parquet file") from error
    for name in later:
        if name not in table.column_names:
            at, f = schema.get_field_index(name), schema.field(name)
            table = table.add_column(at, f, pa.nulls(table.num_rows, f.type))
    check_schema(table, schema, path.name)
    return table


def check_schema(table: pa.Table, schema: pa.Schema, name: str) -> None:
    """Refuse a table with other columns, or with columns of other types, than its schema's.

    Raises
    ------
    FormatError
        Naming both.
    """
    if table.schema.names != schema.names or table.schema.types != schema.types:
        raise FormatError(
            f"{name} must have the columns {', '.join(f'{f.name} {f.type}' for f in schema)}; got "
            f"{', '.join(f'{f.name} {f.type}' for f in table.schema)}"
        )


def pack(table: pa.Table) -> bytes:
    """A table as a Parquet file: the same bytes for the same rows."""
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    texts = [f.name for f in table.schema if pa.types.is_string(f.type) and f.name != "sequence"]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.combine_chunks(),
        sink,
        compression="zstd",
        compression_level=12,
        use_dictionary=texts,
        use_byte_stream_split=floats,
        store_schema=False,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def rounded(table: pa.Table) -> pa.Table:
    """Floats to 12 significant bits (relative error 1.2e-4): four times smaller when packed."""
    for at, f in enumerate(table.schema):
        if pa.types.is_floating(f.type):
            missing = table.column(f.name).is_null().combine_chunks().to_numpy(False)
            mantissa, exponent = np.frexp(column(table, f.name).astype(np.float64))
            values: NDArray[np.float64] = np.ldexp(np.round(mantissa * 4096) / 4096, exponent)
            missing |= np.isnan(values)
            table = table.set_column(at, f, pa.array(values, mask=missing).cast(f.type))
    return table
