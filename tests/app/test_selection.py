"""Rows that are chosen: against a slow twin, and by hand where groups are concerned."""

from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.errors import CoordinateError, OptionError
from annotations.interval_concepts import CONCEPTS_SCHEMA
from annotations.interval_ranking import RANKING_SCHEMA
from annotations.match_table import MATCHES_SCHEMA
from app.schemas import ConceptSort, MatchSort
from app.selection import (
    CONCEPT_SORTS,
    MATCH_SORTS,
    RANKING_SORTS,
    Choice,
    choose_concepts,
    choose_matches,
    choose_ranking,
    evidence_kinds,
    json_rows,
)


def match(feature: int, strand: int = 1, **values: Any) -> dict[str, Any]:
    """A row of matches: what is not given is null."""
    row = dict.fromkeys(MATCHES_SCHEMA.names)
    named = {"matrix_id": "MA1.1", "motif_name": "X", "peaks": 1, "evidence": "", "q": 0.01}
    return {**row, **named, "feature": feature, "strand": strand, **values}


def matches(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=MATCHES_SCHEMA)


def features(table: pa.Table) -> list[str]:
    signs = np.where(table["strand"].to_numpy() > 0, "+", "-")
    return [f"{f}{s}" for f, s in zip(table["feature"].to_pylist(), signs, strict=True)]


ROWS = matches(
    match(1, q=0.001, log2_enrichment=1.0, evidence="enriched", auroc=0.9),
    match(2, q=0.2, log2_enrichment=9.0, evidence="enriched;centred;predictive"),
    match(3, -1, q=None, log2_enrichment=None, evidence="similar", auroc=0.7),
    match(4, q=0.001, log2_enrichment=3.0, evidence="enriched;centred", auroc=0.8, p=0.5),
)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), ["4+", "1+", "2+", "3-"]),  # a null p comes after any p, a null q last
        (Choice(sort="effect"), ["2+", "4+", "1+", "3-"]),
        (Choice(sort="auroc"), ["1+", "4+", "3-", "2+"]),
        (Choice(sort="evidence"), ["2+", "4+", "1+", "3-"]),
        (Choice(sort="feature"), ["1+", "2+", "3-", "4+"]),
        (Choice(max_q=0.05), ["4+", "1+"]),
        (Choice(min_log2_enrichment=3.0), ["4+", "2+"]),
        (Choice(evidence=("centred",)), ["4+", "2+"]),
        (Choice(evidence=("centred", "predictive")), ["2+"]),
        (Choice(strand="-"), ["3-"]),
        (Choice(max_q=0.05, evidence=("causal",)), []),
    ],
)
def test_filters_and_orders(choice: Choice, expected: list[str]) -> None:
    page = choose_matches(ROWS, choice)
    assert features(page.table) == expected
    assert (page.total, page.next_page_token) == (len(expected), None)
    assert page.table.schema == MATCHES_SCHEMA


def test_only_rows_that_may_be_chosen_are() -> None:
    page = choose_matches(ROWS, Choice(), among=np.array([2, 0]))
    assert features(page.table) == ["1+", "3-"]


rows_of_any_kind = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([1, -1]),
        st.sampled_from(["A", "B", "C"]),
        st.none() | st.floats(0, 1),
        st.none() | st.floats(-5, 5),
        st.sampled_from(["", "enriched", "enriched;centred", "similar;predictive"]),
    ),
    max_size=12,
    unique_by=lambda row: row[:3],
)


@given(
    rows=rows_of_any_kind,
    max_q=st.none() | st.floats(0, 1),
    least=st.none() | st.floats(-5, 5),
    kind=st.none() | st.sampled_from(["enriched", "centred", "predictive"]),
    limit=st.integers(1, 5),
)
def test_pages_together_are_what_a_slow_twin_chooses(
    rows: list[Any], max_q: float | None, least: float | None, kind: str | None, limit: int
) -> None:
    table = matches(
        *(
            match(f, s, matrix_id=m, q=q, log2_enrichment=e, evidence=ev)
            for f, s, m, q, e, ev in rows
        )
    )
    kept = [
        (q is None, q or 0.0, f, -s, m)
        for f, s, m, q, e, ev in rows
        if (max_q is None or (q is not None and q <= max_q))
        and (least is None or (e is not None and e >= least))
        and (kind is None or kind in ev.split(";"))
    ]
    expected = [(f, -s, m) for _, _, f, s, m in sorted(kept)]
    found: list[tuple[int, int, str]] = []
    token: str | None = None
    while True:
        choice = Choice(
            max_q=max_q,
            min_log2_enrichment=least,
            evidence=() if kind is None else (kind,),
            limit=limit,
            page_token=token,
        )
        page = choose_matches(table, choice)
        assert page.total == len(expected)
        columns = [page.table[name].to_pylist() for name in ("feature", "strand", "matrix_id")]
        found += zip(*columns, strict=True)
        token = page.next_page_token
        if token is None:
            break
    assert found == expected


def test_one_row_stands_for_a_cluster_of_motifs() -> None:
    table = matches(
        match(1, q=0.02, matrix_id="MA1.1", motif_name="GATA1", cluster="GATA"),
        match(1, q=0.01, matrix_id="MA2.1", motif_name="GATA2", cluster="GATA"),
        match(1, q=0.03, matrix_id="MA3.1", motif_name="TAL1"),
        match(1, q=0.04, matrix_id="MA4.1", motif_name="SPI1"),
        match(1, -1, q=0.05, matrix_id="MA1.1", motif_name="GATA1", cluster="GATA"),
    )
    page = choose_matches(table, Choice(group_by="cluster"))
    assert features(page.table) == ["1+", "1+", "1+", "1-"]
    assert page.table["matrix_id"].to_pylist() == ["MA2.1", "MA3.1", "MA4.1", "MA1.1"]
    assert page.table["members"].to_pylist() == [2, 1, 1, 1]
    assert page.table["member_names"].to_pylist() == ["GATA2;GATA1", "TAL1", "SPI1", "GATA1"]
    second = choose_matches(table, Choice(group_by="cluster", limit=1, page_token="1"))  # noqa: S106
    assert second.table["member_names"].to_pylist() == ["TAL1"]
    assert (second.total, second.next_page_token) == (4, "2")


def groups(rows: np.ndarray[Any, Any]) -> pa.Array:
    """Features 1 and 2 fire together; 3 is alone."""
    return pa.array([7 if row // 2 in {1, 2} else None for row in rows], pa.int32())


def test_one_row_stands_for_features_that_fire_together() -> None:
    table = matches(
        match(1, q=0.02), match(2, q=0.01), match(2, q=0.02, matrix_id="MA2.1"),
        match(3, q=0.03), match(3, -1, q=0.04),
    )  # fmt: skip
    page = choose_matches(table, Choice(group_by="group"), group_of=groups)
    assert features(page.table) == ["2+", "3+", "3-"]
    assert page.table["members"].to_pylist() == [2, 1, 1]  # feature rows, not matches
    assert page.table["member_names"].to_pylist() == ["2+;1+", "3+", "3-"]
    with pytest.raises(OptionError, match="groups of features are known to an atlas only"):
        choose_matches(table, Choice(group_by="group"))


def test_filters_come_before_groups() -> None:
    table = matches(match(1, q=0.02), match(2, q=0.5))
    page = choose_matches(table, Choice(group_by="group", max_q=0.05), group_of=groups)
    assert page.table["members"].to_pylist() == [1]


def test_concepts_are_sorted_by_their_figures() -> None:
    columns = dict.fromkeys(CONCEPTS_SCHEMA.names)
    rows = [
        columns
        | {"feature": f, "strand": 1, "concept": "exon", "orientation": "same", "peaks": 1}
        | {"f1": f1, "auroc": auroc, "q": q, "log2_enrichment": 1.0}
        for f, f1, auroc, q in ((1, 0.5, 0.9, 0.5), (2, 0.7, 0.6, 0.01), (3, None, 0.95, None))
    ]
    table = pa.Table.from_pylist(rows, schema=CONCEPTS_SCHEMA)
    for sort, expected in (("f1", [2, 1, 3]), ("auroc", [3, 1, 2]), ("q", [2, 1, 3])):
        page = choose_concepts(table, Choice(sort=sort))
        assert page.table["feature"].to_pylist() == expected, sort
    assert choose_concepts(table, Choice(sort="f1", max_q=0.05)).total == 1
    for wrong in (Choice(sort="f1", evidence=("causal",)), Choice(sort="f1", group_by="cluster")):
        with pytest.raises(OptionError, match="of motif matches"):
            choose_concepts(table, wrong)


def test_a_ranking_is_sorted_by_auroc() -> None:
    rows = [
        dict.fromkeys(RANKING_SCHEMA.names, 1) | {"feature": f, "auroc": a, "q": q}
        for f, a, q in ((1, 0.6, 0.2), (2, 0.9, 0.01))
    ]
    table = pa.Table.from_pylist(rows, schema=RANKING_SCHEMA)
    assert choose_ranking(table, Choice(sort="auroc")).table["feature"].to_pylist() == [2, 1]
    assert choose_ranking(table, Choice(sort="auroc", max_q=0.05)).total == 1
    with pytest.raises(OptionError, match="do not go with intervals"):
        choose_ranking(table, Choice(sort="auroc", min_log2_enrichment=1.0))


@pytest.mark.parametrize("sort", sorted({*MATCH_SORTS, *CONCEPT_SORTS, *RANKING_SORTS}))
def test_every_order_works_on_its_table(sort: str) -> None:
    if sort in MATCH_SORTS:
        assert choose_matches(ROWS, Choice(sort=sort)).total == ROWS.num_rows
    if sort in CONCEPT_SORTS:
        assert choose_concepts(CONCEPTS_SCHEMA.empty_table(), Choice(sort=sort)).total == 0
    if sort in RANKING_SORTS:
        assert choose_ranking(RANKING_SCHEMA.empty_table(), Choice(sort=sort)).total == 0


def test_rest_offers_the_orders_there_are() -> None:
    assert set(get_args(MatchSort)) == set(MATCH_SORTS)
    assert set(get_args(ConceptSort)) == set(CONCEPT_SORTS)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"evidence": ("certain",)}, "evidence must be of enriched, centred"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"sort": "size"}, "sort must be one of q, effect"),
        ({"page_token": "-1"}, "next_page_token"),
        ({"page_token": "x"}, "next_page_token"),
    ],
)
def test_what_cannot_be_chosen_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        choose_matches(ROWS, Choice(**values))


def test_a_page_after_the_last_is_empty() -> None:
    page = choose_matches(ROWS, Choice(limit=2, page_token="40"))  # noqa: S106
    assert (page.table.num_rows, page.total, page.next_page_token) == (0, 4, None)


def test_kinds_of_evidence_are_separated_by_commas() -> None:
    assert evidence_kinds("enriched, causal") == ("enriched", "causal")
    assert evidence_kinds(None) == ()


def test_rows_are_json_values() -> None:
    table = pa.table(
        {
            "strand": pa.array([1, -1], pa.int8()),
            "motif_strand": pa.array([None, -1], pa.int8()),
            "contig": pa.array([1, 0], pa.uint32()),
            "value": [float("nan"), float("inf")],
        }
    )
    assert json_rows(table, ["a", "b"]) == [
        {"strand": "+", "motif_strand": None, "contig": "b", "value": None},
        {"strand": "-", "motif_strand": "-", "contig": "a", "value": None},
    ]
    with pytest.raises(CoordinateError):
        json_rows(table, ["a"])
    named = pa.table({"contig": ["chrI"], "strand": pa.array([1], pa.int8())})
    assert json_rows(named) == [{"contig": "chrI", "strand": "+"}]
