"""The names of features: which evidence names a feature, and how the name is made of it."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from annotations.concept_tracks import GENE_CONCEPTS, ORIENTATIONS
from annotations.significance import ENRICHED_LOG2, SIGNIFICANT_Q

LABEL_SHARE: Final = 0.8
"""A gene concept names a feature when this share of its top peaks lies in it."""

SENSES: Final[Mapping[str, str]] = {"same": ", sense", "opposite": ", antisense", "either": ""}
"""What a label says of a concept's orientation: on the strand that the feature reads, on the
other one, on any."""

LABELS_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("motif_id", pa.string()),
        pa.field("motif_name", pa.string()),
        pa.field("motif_cluster", pa.string()),
        pa.field("motif_evidence", pa.string()),
        pa.field("motif_q", pa.float64()),
        pa.field("motif_log2_enrichment", pa.float64()),
        pa.field("concept", pa.string()),
        pa.field("concept_orientation", pa.string()),
        pa.field("concept_share", pa.float64()),
        pa.field("concept_log2_enrichment", pa.float64()),
        pa.field("concept_q", pa.float64()),
        pa.field("concept_f1", pa.float64()),
        pa.field("group", pa.uint32()),
    ]
)
"""One row per feature row with an enriched motif, a significant concept or a group; sorted by
feature and strand (+ first).

The motif columns hold the match that may name the feature, the concept columns the label of a
base that its top peaks prefer most; null where there is none that is significant. `group` is
that of `annotations.feature_groups`, null for a row that is alone."""


def label_of(
    *,
    motif_name: str | None,
    motif_cluster: str | None,
    motif_q: float | None,
    motif_log2_enrichment: float | None,
    concept: str | None,
    concept_orientation: str | None,
    concept_q: float | None,
    concept_share: float | None,
    concept_log2_enrichment: float | None,
) -> str | None:
    """The name of a feature row: the rule, in one place.

    1. Its best motif match, where q is at most `SIGNIFICANT_Q` and the hits are at least twice
       those expected: "CBF1-like motif (TYE7 cluster)". "-like" because a matrix cannot tell the
       members of a family apart; the cluster says which matrices are too alike to be told from
       this one, and is left out where it has the motif's own name.
    2. Else the gene concept, where it is enriched with q at most `SIGNIFICANT_Q` and at least
       `LABEL_SHARE` of the top peaks lie in it: "intron", "stop_codon, sense".
    3. Else nothing. A feature without a name is not one without a meaning.

    Returns
    -------
    label : str or None

    Examples
    --------
    >>> label_of(motif_name="REB1", motif_cluster="REB1 cluster", motif_q=1e-9,
    ...          motif_log2_enrichment=3.0, concept=None, concept_orientation=None,
    ...          concept_q=None, concept_share=None, concept_log2_enrichment=None)
    'REB1-like motif'
    """
    if (
        motif_q is not None
        and motif_log2_enrichment is not None
        and motif_q <= SIGNIFICANT_Q
        and motif_log2_enrichment >= ENRICHED_LOG2
    ):
        own = motif_cluster is None or motif_cluster == f"{motif_name} cluster"
        return f"{motif_name}-like motif" + ("" if own else f" ({motif_cluster})")
    if (
        concept_q is not None
        and concept_share is not None
        and concept_log2_enrichment is not None
        and concept_q <= SIGNIFICANT_Q
        and concept_share >= LABEL_SHARE
        and concept_log2_enrichment > 0
    ):
        return f"{concept}{SENSES[concept_orientation or 'either']}"
    return None


def best_labels(
    matches: pa.Table,
    concepts: pa.Table,
    groups: Mapping[tuple[int, int], int] | None = None,
) -> pa.Table:
    """The best evidence of each feature row, and the label that follows from it.

    Parameters
    ----------
    matches : Table of `annotations.match_table.MATCHES_SCHEMA`
    concepts : Table of `annotations.interval_concepts.CONCEPTS_SCHEMA`
    groups : mapping of (feature, strand) to int, optional
        Group of each row that is not alone.

    Returns
    -------
    labels : Table of LABELS_SCHEMA
        The best match has the most kinds of evidence, then the smallest q, then the largest
        effect. The best concept is one that may name the feature if there is any, then the one
        with the largest effect, then the more specific, then the one with an orientation.
    """
    groups = groups or {}
    motif: dict[tuple[int, int], dict[str, Any]] = {}
    strong = pc.and_(
        pc.less_equal(matches["q"], SIGNIFICANT_Q),
        pc.greater_equal(matches["log2_enrichment"], ENRICHED_LOG2),
    )
    for found in sorted(matches.filter(strong).to_pylist(), key=_match_order):
        motif.setdefault((found["feature"], -found["strand"]), found)
    concept: dict[tuple[int, int], dict[str, Any]] = {}
    significant = pc.and_(
        pc.less_equal(concepts["q"], SIGNIFICANT_Q), pc.greater(concepts["log2_enrichment"], 0.0)
    )
    for found in sorted(concepts.filter(significant).to_pylist(), key=_concept_order):
        concept.setdefault((found["feature"], -found["strand"]), found)
    grouped = {(feature, -strand): group for (feature, strand), group in groups.items()}
    rows = []
    for feature, strand in sorted({*motif, *concept, *grouped}):
        match, part = motif.get((feature, strand), {}), concept.get((feature, strand), {})
        evidence = {
            "motif_name": match.get("motif_name"),
            "motif_cluster": match.get("cluster"),
            "motif_q": match.get("q"),
            "motif_log2_enrichment": match.get("log2_enrichment"),
            "concept": part.get("concept"),
            "concept_orientation": part.get("orientation"),
            "concept_q": part.get("q"),
            "concept_share": part.get("share"),
            "concept_log2_enrichment": part.get("log2_enrichment"),
        }
        rows.append(
            {
                "feature": feature,
                "strand": -strand,
                "label": label_of(**evidence),
                "motif_id": match.get("matrix_id"),
                "motif_evidence": match.get("evidence"),
                "concept_f1": part.get("f1"),
                "group": grouped.get((feature, strand)),
                **evidence,
            }
        )
    return pa.Table.from_pylist(rows, schema=LABELS_SCHEMA)


def _match_order(match: dict[str, Any]) -> tuple[int, float, float, str]:
    """The best match of a feature row comes first."""
    kinds = len(match["evidence"].split(";")) if match["evidence"] else 0
    return -kinds, match["q"], -match["log2_enrichment"], match["matrix_id"]


def _concept_order(found: dict[str, Any]) -> tuple[bool, float, int, int]:
    """The concept that says most of a feature row comes first."""
    known = GENE_CONCEPTS.index(found["concept"]) if found["concept"] in GENE_CONCEPTS else -1
    return (
        found["share"] < LABEL_SHARE,
        -found["log2_enrichment"],
        known,
        ORIENTATIONS.index(found["orientation"]),
    )
