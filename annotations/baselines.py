"""What a dictionary must beat: the best row of each baseline for each motif and concept.

    result folder of a baseline dictionary --best_rows--> table      GC content --gc_rows--> table

A baseline is a dictionary without an SAE or without a trained model, run through the same
pipeline (`saetrack train baselines`, `saetrack train random-model`), or the GC content about a
base, which needs no run. Its best row is chosen on the discovery contigs, like a feature's, and
its held-out figures stand beside.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.concept_splits import split_bases
from annotations.concept_tracks import ConceptTracks
from annotations.errors import FormatError, StorageError
from annotations.evaluation import Counts
from annotations.provenance import read_provenance

GC: Final = "GC"
"""The baseline that is no dictionary."""
GC_FLANK: Final = 50
"""Bases on either side of a base over which its GC content is taken."""

BASELINES_SCHEMA: Final = pa.schema(
    [
        pa.field("baseline", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("orientation", pa.string()),
        pa.field("feature", pa.uint32()),
        pa.field("strand", pa.int8()),
        pa.field("auroc", pa.float64()),
        pa.field("auprc", pa.float64()),
        pa.field("prevalence", pa.float64()),
        pa.field("held_out_auroc", pa.float64()),
        pa.field("held_out_auprc", pa.float64()),
        pa.field("held_out_prevalence", pa.float64()),
    ]
)
"""One row per baseline and thing it was measured on, sorted by baseline, kind, name, orientation.

`baseline` is a dictionary's id or `GC`; `kind` is "matrix" (name: matrix id) or "concept" (with an
orientation); the row is the one with the largest AUPRC on the discovery contigs. Feature and
strand are null for GC, figures where they were not measured."""

_FIGURES = BASELINES_SCHEMA.names[6:]


def best_rows(result: Path) -> pa.Table:
    """The best feature row of a result for each motif and concept.

    Parameters
    ----------
    result : Path
        Folder of a run: provenance.json and, where they are, matches.parquet and
        concepts.parquet.

    Returns
    -------
    rows : Table of BASELINES_SCHEMA
        A motif or concept without a measured AUPRC has none.

    Raises
    ------
    FormatError
        If provenance names no dictionary.
    StorageError
        If provenance is missing, or both tables are.
    """
    dictionary = read_provenance(result / "provenance.json").get("dictionary")
    if not isinstance(dictionary, dict) or not isinstance(dictionary.get("id"), str):
        raise FormatError(f"provenance.json in {result.name} names no dictionary")
    rows: list[dict[str, Any]] = []
    tables = (
        ("matrix", result / "matches.parquet", "matrix_id"),
        ("concept", result / "concepts.parquet", "concept"),
    )
    present = [entry for entry in tables if entry[1].is_file()]
    if not present:
        raise StorageError(f"{result.name} holds neither matches.parquet nor concepts.parquet")
    for kind, path, name in present:
        keys = [name, "feature", "strand", *(["orientation"] if kind == "concept" else [])]
        rows += [
            {"baseline": dictionary["id"], "kind": kind, "name": found.pop(name), **found}
            for found in _best(pq.read_table(path, columns=[*keys, *_FIGURES]), name)
        ]
    return _table(rows)


def gc_rows(
    sequences: Sequence[NDArray[np.uint8]],
    tracks: ConceptTracks,
    *,
    discovery: Sequence[int],
    held_out: Sequence[int] = (),
) -> pa.Table:
    """How well GC content alone tells each concept, whichever of more and less GC does better.

    GC has no strand: a label is that of a pass over strand +.

    Parameters
    ----------
    sequences : sequence of ndarray of uint8
        Base codes of each contig.
    tracks : ConceptTracks
        The concepts of the same sequences.
    discovery, held_out : sequence of int
        Contigs, as for `annotations.interval_concepts.evaluate_concepts`.

    Returns
    -------
    rows : Table of BASELINES_SCHEMA
        One per label, feature and strand null.

    Raises
    ------
    OptionError
        As `annotations.concept_splits.split_bases`.
    """
    splits = split_bases(tracks, discovery, held_out)
    width = splits.ignored + 1
    cells = np.zeros((2 * GC_FLANK + 2, width))
    for contig, codes in enumerate(sequences):
        group = splits.group[tracks.offsets[contig] : tracks.offsets[contig + 1]]
        counts = np.bincount(_gc_about(codes) * width + group, minlength=cells.size)
        cells += counts.reshape(cells.shape)
    cells = cells[:, : splits.ignored]
    # scores descend: the largest GC content first
    by_split = cells[::-1].T.reshape(2, -1, len(cells))
    members = tracks.members[0].astype(np.float64).T
    more = [Counts(members @ part, part.sum(axis=0)) for part in by_split]
    less = [Counts(one.positives[:, ::-1], one.total[::-1]) for one in more]
    # shape (2 splits, 2 signs, 3, labels)
    figures = np.array(
        [[_figures(up), _figures(down)] for up, down in zip(more, less, strict=True)]
    )
    better = np.nan_to_num(figures[0, :, 1]).argmax(axis=0)
    rows: list[dict[str, Any]] = [
        {
            "baseline": GC,
            "kind": "concept",
            "name": label.concept,
            "orientation": label.orientation,
            **dict(zip(_FIGURES, figures[:, better[at], :, at].ravel().tolist(), strict=True)),
        }
        for at, label in enumerate(tracks.labels)
    ]
    return _table(rows)


def _figures(counts: Counts) -> NDArray[np.float64]:
    return np.stack([counts.auroc, counts.auprc, counts.prevalence])


def _gc_about(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """G and C among the bases at most `GC_FLANK` away from each base."""
    running = np.concatenate([[0], np.cumsum((codes == 1) | (codes == 2), dtype=np.int64)])
    at = np.arange(len(codes))
    return np.asarray(
        running[np.minimum(at + GC_FLANK + 1, len(codes))] - running[np.maximum(at - GC_FLANK, 0)]
    )


def _best(table: pa.Table, name: str) -> list[dict[str, Any]]:
    """The row of each name (and orientation) with the largest AUPRC, then AUROC."""
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for row in table.to_pylist():
        key = (row[name], row.get("orientation"))
        if row["auprc"] is not None and (key not in found or _rank(row) > _rank(found[key])):
            found[key] = row
    return list(found.values())


def _rank(row: dict[str, Any]) -> tuple[float, float, int, int]:
    return row["auprc"], row["auroc"] or 0.0, -row["feature"], row["strand"]


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    for row in rows:
        row |= {name: None for name in _FIGURES if row[name] is None or np.isnan(row[name])}
    rows.sort(key=lambda row: [row["baseline"], row["kind"], row["name"], row.get("orientation")])
    return pa.Table.from_pylist(rows, schema=BASELINES_SCHEMA)
