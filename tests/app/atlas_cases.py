"""An atlas of four features: 1 and 2 match REB1 and fire together, 2 lies in introns, 3 is dead."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from annotations.atlas import ROW_MOTIFS_SCHEMA, Atlas, AtlasCard, write_atlas
from annotations.baselines import BASELINES_SCHEMA
from annotations.feature_examples import EXAMPLES_SCHEMA
from annotations.feature_groups import NEIGHBOURS_SCHEMA
from annotations.interval_concepts import CONCEPTS_SCHEMA
from annotations.match_table import MATCHES_SCHEMA
from annotations.naming import LABELS_SCHEMA

GENOME = "a yeast, two contigs"


def table(schema: pa.Schema, *rows: dict[str, Any]) -> pa.Table:
    """Rows of a schema: what is not given is null."""
    empty = dict.fromkeys(schema.names)
    return pa.Table.from_pylist([empty | row for row in rows], schema=schema)


def match(feature: int, q: float, matrix_id: str = "MA0363.3", **values: Any) -> dict[str, Any]:
    named = {"matrix_id": matrix_id, "motif_name": "REB1", "cluster": "REB1", "peaks": 40}
    figures = {"hits": 30, "expected": 2.0, "p": q, "q": q, "log2_enrichment": 3.0, "gc": 0.4}
    base = {"feature": feature, "strand": 1, "evidence": "enriched;centred", "offset": -2}
    return {**named, **figures, **base, **values}


def concept(feature: int, f1: float, q: float, **values: Any) -> dict[str, Any]:
    base = {"strand": 1, "concept": "intron", "orientation": "same", "peaks": 40, "positives": 9}
    figures = {"prevalence": 0.1, "auroc": 0.9, "auprc": 0.6, "log2_enrichment": 2.0}
    return {**base, **figures, "feature": feature, "f1": f1, "q": q, **values}


def make_atlas(taxon: str = "fungi") -> Atlas:
    """The atlas in memory."""
    about = AtlasCard(
        dictionary_id="toy-sae",
        dictionary_sha256="2" * 64,
        genome=GENOME,
        release="JASPAR2026",
        taxon=taxon,
        counts={"matches": 3},
        date="2026-01-01",
    )
    control = {"baseline": "toy-neurons", "kind": "matrix", "name": "MA0363.3", "auroc": 0.6}
    place = {"range": 1, "rank": 1, "contig": "chrI", "position": 9, "value": 4.0}
    row = {"feature": 1, "strand": 1}
    return Atlas(
        about,
        labels=table(
            LABELS_SCHEMA,
            {**row, "label": "REB1-like motif", "motif_name": "REB1", "group": 5},
            {"feature": 2, "strand": 1, "label": "intron", "concept": "intron", "group": 5},
            {"feature": 2, "strand": -1, "label": "intron", "concept": "intron"},
        ),
        matches=table(
            MATCHES_SCHEMA,
            match(1, 1e-9, held_out_q=1e-3, held_out_log2_enrichment=2.0),
            match(2, 1e-4, evidence="enriched"),
            match(2, 1e-5, "MA0362.1", motif_name="RDS2", cluster="RDS2"),
        ),
        concepts=table(
            CONCEPTS_SCHEMA,
            concept(1, 0.1, 0.5),
            concept(2, 0.7, 0.01),
            concept(2, 0.3, 0.02, concept="exon", orientation="either"),
            concept(2, 0.8, 0.01, strand=-1),
        ),
        examples=table(EXAMPLES_SCHEMA, {**row, "sequence": "ACGTN", **place}),
        neighbours=table(
            NEIGHBOURS_SCHEMA, {**row, "other_feature": 2, "other_strand": 1, "correlation": 0.8}
        ),
        row_motifs=table(
            ROW_MOTIFS_SCHEMA,
            {**row, "offset": -1, "A": 9, "C": 0, "G": 0, "T": 1},
            {**row, "offset": 0, "A": 0, "C": 10, "G": 0, "T": 0},
        ),
        baselines=table(
            BASELINES_SCHEMA,
            control,
            {**control, "kind": "concept", "name": "intron", "auroc": 0.7},
        ),
    )


def install_atlas(models: Path, taxon: str = "fungi") -> Path:
    """Write the atlas beside the dictionary of `tests.app.conftest.write_models`."""
    folder = models / "toy" / "toy-sae" / "atlas"
    write_atlas(make_atlas(taxon), folder)
    return folder
