"""What counts as evidence, case by case, and how held-out results join discovery."""

import pyarrow as pa
import pytest

from annotations.errors import FormatError
from annotations.evidence import confirm, with_evidence
from annotations.match_table import HELD_OUT, MATCHES_SCHEMA

NOTHING = dict.fromkeys(MATCHES_SCHEMA.names)


def table(*rows: dict) -> pa.Table:
    named = {"feature": 1, "strand": 1, "matrix_id": "M.1", "motif_name": "M", "peaks": 50}
    return pa.Table.from_pylist([NOTHING | named | row for row in rows], schema=MATCHES_SCHEMA)


ENRICHED = {"q": 0.05, "log2_enrichment": 1.0}
CONFIRMED = {"held_out_q": 0.05, "held_out_log2_enrichment": 1.0, "held_out_auroc_p": 0.05}


@pytest.mark.parametrize(
    ("row", "evidence"),
    [
        ({}, ""),
        (ENRICHED, "enriched"),
        (ENRICHED | {"q": 0.051}, ""),
        (ENRICHED | {"log2_enrichment": 0.99}, ""),
        (ENRICHED | {"centrality_p": 0.05}, "enriched;centred"),
        ({"centrality_p": 0.0}, ""),
        ({"similarity_q": 0.01}, ""),
        (ENRICHED | {"similarity_q": 0.01}, "enriched;similar"),
        (CONFIRMED, "predictive"),
        (CONFIRMED | {"held_out_q": 0.06}, ""),
        (CONFIRMED | {"held_out_log2_enrichment": 0.9}, ""),
        (CONFIRMED | {"held_out_auroc_p": 0.06}, ""),
        (CONFIRMED | {"held_out_auroc_p": None, "held_out_auroc": 0.9}, ""),
        ({"causal_p": 0.01, "causal_effect": 0.5}, "causal"),
        ({"causal_p": 0.01, "causal_effect": -0.5}, ""),
        ({"causal_p": 0.01}, ""),
        (
            ENRICHED
            | CONFIRMED
            | {"centrality_p": 0.01, "similarity_q": 0, "causal_p": 0, "causal_effect": 1},
            "enriched;centred;similar;predictive;causal",
        ),
    ],
)
def test_each_rule(row, evidence):
    found = with_evidence(table(row, {"evidence": "enriched"}))
    assert found["evidence"].to_pylist() == [evidence, ""]
    assert found.schema == MATCHES_SCHEMA


def test_held_out_results_join_their_pairs():
    discovery = table(
        {"feature": 2, "q": 0.01},
        {"feature": 1, "strand": -1, "q": 0.02},
        {"feature": 1, "strand": 1, "matrix_id": "M.2", "q": 0.03},
    )
    measured = dict(zip(HELD_OUT, (12, 3, 0.5, 2.0, 1e-3, 2e-3, 0.6, 0.01, 0.1, 0.02), strict=True))
    held_out = table({"feature": 1, "strand": -1} | measured, {"feature": 2, "peaks": 7})
    found = confirm(discovery, held_out)
    assert found.schema == MATCHES_SCHEMA
    assert found["feature"].to_pylist() == [2, 1, 1]
    assert found["q"].to_pylist() == [0.01, 0.02, 0.03]
    rows = found.to_pylist()
    assert [row["held_out_peaks"] for row in rows] == [7, 12, None]
    assert {name: rows[1][f"held_out_{name}"] for name in HELD_OUT} == measured
    assert rows[0]["held_out_q"] is rows[2]["held_out_q"] is None
    # A second confirmation replaces the first.
    assert confirm(found, held_out.slice(0, 0))["held_out_peaks"].null_count == 3


def test_other_tables_are_refused():
    for wrong in (pa.table({"feature": [1]}), table({}).drop_columns(["evidence"])):
        with pytest.raises(FormatError, match="columns of MATCHES_SCHEMA"):
            with_evidence(wrong)
        with pytest.raises(FormatError, match="columns of MATCHES_SCHEMA"):
            confirm(table({}), wrong)
