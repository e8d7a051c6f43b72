"""What the features of a dictionary are known for: labels, gene concepts and motif matches.

    result of a run over a reference genome --build_atlas--> atlas folder --load_atlas--> Atlas

    atlas.json        which dictionary, genome, motifs; counts; date; sha256 of the tables
    labels.parquet    one row for each feature and strand that anything is known of
    matches.parquet   the best significant motif matches of each feature row

A short sequence cannot carry a test of its own: it borrows these labels. They
hold for one dictionary only, so an atlas names the sha256 of its weights and is
refused for any other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.cards import file_sha256
from annotations.concepts import CONCEPTS_SCHEMA, concept_enrichment
from annotations.enrichment import MATCHES_SCHEMA
from annotations.errors import FormatError, LimitError, StorageError, WeightsError
from annotations.naming import LABELS_SCHEMA, SIGNIFICANT_Q, best_labels
from annotations.provenance import read_provenance
from annotations.tables import column, replacing

FORMAT: Final = 1
"""Version of the folder's layout."""
MATCHES_PER_ROW: Final = 10
"""Matches kept for each feature and strand."""
MAX_BYTES: Final = 4_000_000
"""Largest atlas written; it travels with the weights."""

_LABELS, _MATCHES, _CARD = "labels.parquet", "matches.parquet", "atlas.json"


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
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of each table."""
    format: int = FORMAT
    """Version of the layout."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """An atlas in memory."""

    about: AtlasCard
    labels: pa.Table
    """`annotations.naming.LABELS_SCHEMA`."""
    matches: pa.Table
    """`annotations.enrichment.MATCHES_SCHEMA`, sorted by feature, strand and q."""

    @property
    def release(self) -> str:
        """JASPAR release of the matches."""
        return self.about.release

    @property
    def taxon(self) -> str:
        """JASPAR tax group of the matches."""
        return self.about.taxon

    def card(self) -> dict[str, Any]:
        """Where it comes from, as JSON values."""
        return asdict(self.about)

    def labels_for(self, features: Sequence[int]) -> pa.Table:
        """Rows of `labels` of some features; a feature that nothing is known of has none."""
        wanted = pa.array(np.asarray(features, np.uint32))
        return self.labels.filter(pc.is_in(self.labels["feature"], wanted))

    def matches_for(self, matrix_ids: Sequence[str]) -> pa.Table:
        """Rows of `matches` of some matrices, given with their versions, best q first."""
        wanted = pa.array(list(matrix_ids), pa.string())
        found = self.matches.filter(pc.is_in(self.matches["matrix_id"], wanted))
        keys = [("q", "ascending"), ("log2_enrichment", "descending"), ("feature", "ascending")]
        return found.sort_by([*keys, ("strand", "descending")])


def best_matches(matches: pa.Table, *, per_row: int = MATCHES_PER_ROW) -> pa.Table:
    """The best significant matches of each feature row.

    Parameters
    ----------
    matches : Table of `annotations.enrichment.MATCHES_SCHEMA`
    per_row : int
        Matches kept for each feature and strand.

    Returns
    -------
    matches : Table
        The same columns, sorted by feature, strand (+ first), q and effect.
    """
    kept = matches.filter(pc.less_equal(matches["q"], SIGNIFICANT_Q)).sort_by(
        [
            ("feature", "ascending"),
            ("strand", "descending"),
            ("q", "ascending"),
            ("log2_enrichment", "descending"),
            ("matrix_id", "ascending"),
        ]
    )
    row = 2 * column(kept, "feature").astype(np.int64) + (column(kept, "strand") < 0)
    first = np.searchsorted(row, row)
    return kept.filter(pa.array(np.arange(len(row)) - first < per_row))


def build_atlas(
    result: Path,
    out: Path,
    *,
    genome: str,
    shares: Mapping[str, float] | None = None,
    matches_per_row: int = MATCHES_PER_ROW,
) -> Atlas:
    """Make the atlas of a dictionary from its run over a reference genome.

    Parameters
    ----------
    result : Path
        Folder that `workers.merge.merge` wrote: peaks, matches and provenance are read.
    out : Path
        Folder to write; made where missing.
    genome : str
        Which sequence the run read, in words.
    shares : mapping of str to float, optional
        `annotations.concepts.kind_shares` of the run's annotation; without it no concepts are
        tested.
    matches_per_row : int
        Matches kept for each feature and strand.

    Returns
    -------
    Atlas
        As written.

    Raises
    ------
    StorageError, FormatError
        If the result is incomplete, not in the expected form, or made without motifs.
    LimitError
        If the atlas is larger than `MAX_BYTES`.
    """
    provenance = read_provenance(result / "provenance.json")
    dictionary, test = provenance.get("dictionary"), provenance.get("motif_test")
    if not isinstance(dictionary, dict) or not isinstance(test, dict):
        raise FormatError(
            f"{result / 'provenance.json'} names no dictionary or no motif test; an atlas is made "
            "from the folder of a complete run"
        )
    release, taxon = test.get("release"), test.get("taxon")
    if not isinstance(release, str) or not isinstance(taxon, str):
        raise FormatError("an atlas needs a run that looked for motifs, this one looked for none")
    matches = rounded(_read(result / _MATCHES, MATCHES_SCHEMA))
    peaks = pq.read_table(result / "peaks.parquet", columns=["feature", "strand", "genes"])
    concepts = CONCEPTS_SCHEMA.empty_table()
    if shares is not None:
        concepts = rounded(concept_enrichment(peaks, shares))
    kept, labels = best_matches(matches, per_row=matches_per_row), best_labels(matches, concepts)
    about = AtlasCard(
        dictionary_id=dictionary["id"],
        dictionary_sha256=dictionary["sha256"],
        genome=genome,
        release=release,
        taxon=taxon,
        counts={
            "peaks": peaks.num_rows,
            "tested_pairs": int(test.get("tested_pairs", 0)),
            "matches": kept.num_rows,
            "feature_rows": labels.num_rows,
            "labels": labels.num_rows - labels["label"].null_count,
        },
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )
    return write_atlas(Atlas(about, labels, kept), out)


def write_atlas(atlas: Atlas, folder: Path) -> Atlas:
    """Write an atlas to a folder, made where missing.

    Returns
    -------
    Atlas
        With the sha256 of the tables in its card.

    Raises
    ------
    FormatError
        If a table is not of its schema.
    LimitError
        If the tables are larger than `MAX_BYTES` together; nothing is written then.
    """
    _check_schema(atlas.labels, LABELS_SCHEMA, _LABELS)
    _check_schema(atlas.matches, MATCHES_SCHEMA, _MATCHES)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / _LABELS) as labels, replacing(folder / _MATCHES) as matches:
        _write(atlas.labels, labels)
        _write(atlas.matches, matches)
        size = labels.stat().st_size + matches.stat().st_size
        if size > MAX_BYTES:
            raise LimitError(
                f"the atlas has {size} bytes, at most {MAX_BYTES} are allowed; keep fewer matches "
                "for each feature"
            )
        sums = {_LABELS: file_sha256(labels), _MATCHES: file_sha256(matches)}
    about = AtlasCard(**{**asdict(atlas.about), "files": sums})
    with replacing(folder / _CARD) as card:
        card.write_text(json.dumps(asdict(about), indent=2, sort_keys=True) + "\n")
    return Atlas(about, atlas.labels, atlas.matches)


def load_atlas(folder: Path, dictionary_sha256: str) -> Atlas:
    """Read the atlas of a dictionary.

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
        If the card or a table is not of its form.
    StorageError
        If a file is missing or altered.
    """
    about = _read_card(folder / _CARD)
    if about.dictionary_sha256 != dictionary_sha256:
        raise WeightsError(
            f"the atlas in {folder.name} was made with dictionary {about.dictionary_id} "
            f"(sha256 {about.dictionary_sha256[:12]}...), not with the one in use "
            f"({dictionary_sha256[:12]}...): its labels mean nothing there; make it again"
        )
    for name in (_LABELS, _MATCHES):
        path = folder / name
        if not path.is_file():
            raise StorageError(f"the atlas in {folder.name} lacks {name}; make it again")
        if file_sha256(path) != about.files.get(name):
            raise StorageError(f"{name} of the atlas in {folder.name} was cut or altered")
    return Atlas(
        about, _read(folder / _LABELS, LABELS_SCHEMA), _read(folder / _MATCHES, MATCHES_SCHEMA)
    )


def _read_card(path: Path) -> AtlasCard:
    values = read_provenance(path)
    needed = {f.name for f in fields(AtlasCard)}
    if set(values) != needed or values["format"] != FORMAT:
        raise FormatError(
            f"{path.name} must have the keys {', '.join(sorted(needed))} and format {FORMAT}, got "
            f"{', '.join(sorted(values))} and format {values.get('format')}"
        )
    return AtlasCard(**values)  # type: ignore[arg-type]  # JSON; the tables are checked by sha256


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    if not path.is_file():
        raise StorageError(f"{path.name} is missing from {path.parent.name}")
    table = pq.read_table(path)
    _check_schema(table, schema, path.name)
    return table


def _check_schema(table: pa.Table, schema: pa.Schema, name: str) -> None:
    if table.schema.names != schema.names or table.schema.types != schema.types:
        raise FormatError(
            f"{name} must have the columns {', '.join(f'{f.name} {f.type}' for f in schema)}; got "
            f"{', '.join(f'{f.name} {f.type}' for f in table.schema)}"
        )


def _write(table: pa.Table, path: Path) -> None:
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    texts = [f.name for f in table.schema if pa.types.is_string(f.type)]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=12,
        use_dictionary=texts,
        use_byte_stream_split=floats,
        store_schema=False,
    )


def rounded(table: pa.Table) -> pa.Table:
    """Floats to 12 significant bits (relative error 1.2e-4): four times smaller when packed."""
    for at, f in enumerate(table.schema):
        if pa.types.is_float64(f.type):
            mantissa, exponent = np.frexp(column(table, f.name).astype(np.float64))
            values: NDArray[np.float64] = np.ldexp(np.round(mantissa * 4096) / 4096, exponent)
            table = table.set_column(at, f, pa.array(values, mask=np.isnan(values)))
    return table
