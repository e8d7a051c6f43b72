"""Rows of a peak track, by hand."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyBigWig
import pytest

from annotations.errors import FormatError
from annotations.evidence import EVIDENCE
from annotations.peak_track import (
    AUTOSQL,
    COLOR_WORDS,
    COLORS,
    STANDARD_FIELDS,
    peak_rows,
    strongest,
    write_peaks_bigbed,
)
from annotations.peaks import TOP_PEAKS_SCHEMA

SCHEMA = TOP_PEAKS_SCHEMA.append(pa.field("motif_name", pa.string())).append(
    pa.field("gene_name", pa.string())
)
KNOWN: dict[str, Any] = {
    "match_motif_name": pa.string(),
    "match_q": pa.float64(),
    "match_evidence": pa.string(),
    "label_motif_name": pa.string(),
    "label_motif_q": pa.float64(),
    "label_motif_evidence": pa.string(),
    "label": pa.string(),
}


def peak(feature: int, strand: int, position: int, **values: Any) -> dict[str, Any]:
    base = {"feature": feature, "strand": strand, "contig": 0, "position": position}
    rest = {"value": 2.0, "rank": 1, "motif_name": None, "gene_name": None}
    return {**base, **rest, **values}


def peaks(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def features(*rows: dict[str, Any]) -> pa.Table:
    kinds = {"feature": pa.uint32(), "strand": pa.int8(), **KNOWN}
    rows = tuple(dict.fromkeys(KNOWN) | row for row in rows)
    return pa.Table.from_pylist(list(rows), schema=pa.schema(kinds.items()))


def test_the_runs_own_test_comes_before_the_atlas() -> None:
    atlas = {"label_motif_name": "ABF1", "label_motif_q": 1e-9, "label_motif_evidence": "causal"}
    own = {"match_motif_name": "REB1", "match_q": 0.01, "match_evidence": "enriched"}
    known = features(
        {"feature": 7, "strand": -1, **atlas},
        {"feature": 3, "strand": 1, **atlas, **own},
        {"feature": 3, "strand": -1, "label": "exon"},
    )
    rows = peak_rows(
        peaks(peak(3, 1, 5), peak(7, -1, 8), peak(3, -1, 2), peak(9, 1, 1)), known
    ).to_pylist()
    said = [(row["tf"], row["q"], row["evidence"], row["source"], row["reserved"]) for row in rows]
    color = {kind: ",".join(map(str, rgb)) for kind, rgb in COLORS.items()}
    assert said == [
        ("REB1", "0.01", "enriched", "run", color["enriched"]),
        ("ABF1", "1e-09", "causal", "atlas", color["causal"]),
        (".", ".", ".", ".", color["labelled"]),
        (".", ".", ".", ".", color["unknown"]),
    ]
    assert [row["name"] for row in rows] == ["F3+", "F7-", "F3-", "F9+"]
    assert [(row["start"], row["end"], row["thickStart"]) for row in rows[:1]] == [(5, 6, 5)]


def test_the_strongest_evidence_decides_the_color() -> None:
    assert [strongest(";".join(EVIDENCE[: n + 1]), None) for n in range(5)] == list(EVIDENCE)
    assert strongest("similar;enriched", "x") == "similar"
    assert set(COLORS) == set(COLOR_WORDS)
    assert len(set(COLORS.values())) == len(COLORS)


def test_colors_differ_in_lightness_too() -> None:
    # what is left of a color for an eye that knows none; the two blues and the two oranges are
    # kinds of one claim, and the words stand beside
    light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in COLORS.values())
    assert light[-1] - light[0] > 60


def test_the_file_says_what_its_fields_are(tmp_path: Path) -> None:
    path = tmp_path / "peaks.bb"
    found = peaks(peak(3, 1, 5, gene_name="A gene"), peak(3, 1, 9, value=4.0, rank=2))
    write_peaks_bigbed(found, features(), ["c"], [10], path)
    with pyBigWig.open(str(path)) as file:
        assert file.SQL().decode() == AUTOSQL
        first, second = file.entries("c", 0, 10)
    declared = len(re.findall(r"^\S+\s+\w+;", AUTOSQL, re.MULTILINE))
    for start, end, rest in (first, second):
        assert end == start + 1
        assert len(rest.split("\t")) + 3 == declared
    assert first[2].split("\t")[1] == "500"
    assert path.read_bytes()[32:36] == bytes([declared, 0, STANDARD_FIELDS, 0])


def test_no_peaks_are_a_track_too(tmp_path: Path) -> None:
    write_peaks_bigbed(peaks(), features(), ["c"], [10], tmp_path / "peaks.bb")
    with pyBigWig.open(str(tmp_path / "peaks.bb")) as file:
        assert not file.entries("c", 0, 10)


def test_a_table_without_ranks_is_refused() -> None:
    with pytest.raises(FormatError, match="rank"):
        peak_rows(peaks().drop_columns(["rank"]), features())
