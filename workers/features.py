"""The table of features: what each did, what stands at its peaks, and what it is known for."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.labels import INTERGENIC, KINDS, modal
from annotations.naming import LABELS_SCHEMA
from annotations.tables import column
from workers.peak_labels import LabelledPeaks

ATLAS_COLUMNS = {
    "label": "label",
    "motif_id": "label_motif_id",
    "motif_name": "label_motif_name",
    "motif_cluster": "label_motif_cluster",
    "motif_evidence": "label_motif_evidence",
    "motif_q": "label_motif_q",
    "motif_log2_enrichment": "label_motif_log2_enrichment",
    "concept": "label_concept",
    "concept_orientation": "label_concept_orientation",
    "concept_share": "label_concept_share",
    "concept_log2_enrichment": "label_concept_log2_enrichment",
    "concept_q": "label_concept_q",
    "concept_f1": "label_concept_f1",
    "group": "label_group",
}
"""Columns of an atlas, and their names in the table of features."""


def with_peaks(features: pa.Table, peaks: LabelledPeaks) -> pa.Table:
    """Put what stands at this run's top peaks beside the statistics of each feature row.

    Parameters
    ----------
    features : Table of `annotations.peaks.FEATURES_SCHEMA`
        One row per feature and strand that was scanned, the silent ones too.
    peaks : LabelledPeaks
        The top peaks and what stands there.

    Returns
    -------
    table : Table
        The rows of `features` in their order, with the columns ``peak_*``; null where nothing is
        known.
    """
    for name, values in _peak_columns(row_keys(features), peaks).items():
        features = features.append_column(name, values)
    return features


def feature_table(
    features: pa.Table,
    matches: pa.Table,
    labels: pa.Table | None,
    *,
    significant_q: float,
) -> pa.Table:
    """Put what is known of each feature row beside its statistics.

    Three groups of columns, never mixed: ``peak_*`` describe this run's top peaks,
    ``match_*`` are this run's tests, ``label*`` come from the dictionary's atlas.

    Parameters
    ----------
    features : Table
        Of `with_peaks`.
    matches : Table of `annotations.enrichment.MATCHES_SCHEMA`
        Tests of this run, best first.
    labels : Table or None
        Labels of the atlas.
    significant_q : float
        A match counts at or below this q.

    Returns
    -------
    table : Table
        The rows of `features` in their order, with further columns; null where nothing is
        known.
    """
    rows = row_keys(features)
    table = features
    claimed = matches.filter(pc.less_equal(matches.column("q"), significant_q))
    for source, target in (
        ("matrix_id", "match_motif_id"),
        ("motif_name", "match_motif_name"),
        ("cluster", "match_cluster"),
        ("evidence", "match_evidence"),
        ("q", "match_q"),
        ("log2_enrichment", "match_log2_enrichment"),
    ):
        table = table.append_column(target, _looked_up(rows, claimed, source))
    for source, target in ATLAS_COLUMNS.items():
        if labels is None:
            kind = LABELS_SCHEMA.field(source).type
            table = table.append_column(target, pa.nulls(len(rows), kind))
        else:
            table = table.append_column(target, _looked_up(rows, labels, source))
    return table


def row_keys(table: pa.Table) -> NDArray[np.int64]:
    """One number per feature and strand: twice the feature, and 1 more on strand -1."""
    keys = column(table, "feature").astype(np.int64)
    keys *= 2
    keys += column(table, "strand") < 0
    return keys


def _looked_up(rows: NDArray[np.int64], table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of another table for each feature row: its first row there, null for none."""
    keys, first = np.unique(row_keys(table), return_index=True)
    if not len(keys):
        return pa.nulls(len(rows), table.schema.field(name).type)
    at = np.minimum(np.searchsorted(keys, rows), len(keys) - 1)
    return table.column(name).take(pa.array(first[at], mask=keys[at] != rows))


def _peak_columns(rows: NDArray[np.int64], peaks: LabelledPeaks) -> dict[str, pa.Array]:
    """The commonest motif and gene part at the top peaks of each feature row, and their shares."""
    of = row_keys(peaks.peaks)
    n_rows = int(max(of.max(initial=-1), rows.max(initial=-1))) + 1
    has_peaks = np.bincount(of, minlength=n_rows)[rows] > 0
    columns: dict[str, pa.Array] = {}
    motifs = peaks.catalogue.motifs if peaks.catalogue is not None else ()
    motif, motif_share = (each[rows] for each in modal(of, peaks.motif, n_rows))
    known = has_peaks & (motif >= 0)
    index = pa.array(motif, mask=~known)
    columns["peak_motif_id"] = pa.array([m.matrix_id for m in motifs], pa.string()).take(index)
    columns["peak_motif_name"] = pa.array([m.name for m in motifs], pa.string()).take(index)
    columns["peak_motif_share"] = pa.array(motif_share, mask=~known)
    if peaks.kind is None:
        columns["peak_gene_kind"] = pa.nulls(len(rows), pa.string())
        columns["peak_gene_kind_share"] = pa.nulls(len(rows), pa.float64())
        return columns
    kind, kind_share = (each[rows] for each in modal(of, peaks.kind, n_rows))
    known = has_peaks & (kind >= 0)
    index = pa.array(kind, mask=~known)
    columns["peak_gene_kind"] = pa.array([*KINDS, INTERGENIC], pa.string()).take(index)
    columns["peak_gene_kind_share"] = pa.array(kind_share, mask=~known)
    return columns
