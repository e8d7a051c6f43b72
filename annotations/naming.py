"""The names of features: which evidence names a feature, and how the name is made of it."""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from annotations.labels import INTERGENIC, KINDS

SIGNIFICANT_Q: Final = 0.05
"""A match or concept counts at or below this false discovery rate."""
LABEL_LOG2_ENRICHMENT: Final = 1.0
"""A motif names a feature from twice the expected hits on."""
LABEL_SHARE: Final = 0.8
"""A gene concept names a feature when this share of its top peaks lies in it."""
LABELS_SCHEMA: Final = pa.schema(
    [
        pa.field("feature", pa.uint32(), nullable=False),
        pa.field("strand", pa.int8(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("motif_id", pa.string()),
        pa.field("motif_name", pa.string()),
        pa.field("motif_q", pa.float64()),
        pa.field("motif_log2_enrichment", pa.float64()),
        pa.field("concept", pa.string()),
        pa.field("concept_share", pa.float64()),
        pa.field("concept_log2_enrichment", pa.float64()),
        pa.field("concept_q", pa.float64()),
    ]
)
"""One row per feature and strand with a significant motif or concept, sorted by both.

The motif columns hold the best match that may name a feature, the concept columns the gene part
that the top peaks prefer most; null where there is none that is significant."""


def label_of(
    *,
    motif_name: str | None,
    motif_q: float | None,
    motif_log2_enrichment: float | None,
    concept: str | None,
    concept_q: float | None,
    concept_share: float | None,
    concept_log2_enrichment: float | None,
) -> str | None:
    """The name of a feature row: the rule, in one place.

    1. Its best motif match, where q is at most `SIGNIFICANT_Q` and the hits are at least
       twice those expected (`LABEL_LOG2_ENRICHMENT`): "REB1-like motif". "-like" because a
       matrix cannot tell the members of a family apart.
    2. Else the gene concept, where it is enriched with q at most `SIGNIFICANT_Q` and at least
       `LABEL_SHARE` of the top peaks lie in it: "intron".
    3. Else nothing. A feature without a name is not one without a meaning.

    Returns
    -------
    label : str or None

    Examples
    --------
    >>> label_of(motif_name="REB1", motif_q=1e-9, motif_log2_enrichment=3.0, concept=None,
    ...          concept_q=None, concept_share=None, concept_log2_enrichment=None)
    'REB1-like motif'
    """
    if (
        motif_q is not None
        and motif_log2_enrichment is not None
        and motif_q <= SIGNIFICANT_Q
        and motif_log2_enrichment >= LABEL_LOG2_ENRICHMENT
    ):
        return f"{motif_name}-like motif"
    if (
        concept_q is not None
        and concept_share is not None
        and concept_log2_enrichment is not None
        and concept_q <= SIGNIFICANT_Q
        and concept_share >= LABEL_SHARE
        and concept_log2_enrichment > 0
    ):
        return concept
    return None


def best_labels(matches: pa.Table, concepts: pa.Table) -> pa.Table:
    """The best evidence of each feature row, and the label that follows from it.

    Parameters
    ----------
    matches : Table of `annotations.enrichment.MATCHES_SCHEMA`
    concepts : Table of CONCEPTS_SCHEMA

    Returns
    -------
    labels : Table of LABELS_SCHEMA
        The best match has the smallest q, then the largest effect; the best concept is one that
        may name the feature if there is any, then the one with the largest effect, then the
        more specific.
    """
    motif: dict[tuple[int, int], dict[str, Any]] = {}
    strong = pc.and_(
        pc.less_equal(matches["q"], SIGNIFICANT_Q),
        pc.greater_equal(matches["log2_enrichment"], LABEL_LOG2_ENRICHMENT),
    )
    order = [("q", "ascending"), ("log2_enrichment", "descending"), ("matrix_id", "ascending")]
    for found in matches.filter(strong).sort_by(order).to_pylist():
        motif.setdefault((found["feature"], -found["strand"]), found)
    concept: dict[tuple[int, int], dict[str, Any]] = {}
    significant = concepts.filter(
        pc.and_(
            pc.less_equal(concepts["q"], SIGNIFICANT_Q),
            pc.greater(concepts["log2_enrichment"], 0.0),
        )
    ).to_pylist()
    specific = {name: at for at, name in enumerate((*KINDS, INTERGENIC))}
    significant.sort(
        key=lambda c: (c["share"] < LABEL_SHARE, -c["log2_enrichment"], specific[c["concept"]])
    )
    for found in significant:
        concept.setdefault((found["feature"], -found["strand"]), found)
    rows = []
    for feature, strand in sorted({*motif, *concept}):
        match, part = motif.get((feature, strand), {}), concept.get((feature, strand), {})
        evidence = {
            "motif_name": match.get("motif_name"),
            "motif_q": match.get("q"),
            "motif_log2_enrichment": match.get("log2_enrichment"),
            "concept": part.get("concept"),
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
                **evidence,
            }
        )
    return pa.Table.from_pylist(rows, schema=LABELS_SCHEMA)
