"""Questions to one result: what its files say, and what was not read."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotations.errors import OptionError, UnknownNameError
from app.catalog import (
    NO_TEST,
    feature,
    features,
    matches,
    one_strand,
    parse_feature,
    parse_feature_row,
    signal_file,
)
from app.selection import Choice
from tests.app.test_answers import make_result


def test_a_feature_with_rows_but_no_active_base_is_silent(tmp_path: Path) -> None:
    result = make_result(tmp_path, tested=True)
    assert feature(result, 1)["active"] is True
    table = result.table("features")
    place = table.schema.get_field_index("active_bases")
    silent = table.set_column(place, "active_bases", pa.array([0, 0, 1], pa.int64()))
    pq.write_table(silent, result.files["features.parquet"])
    view = feature(result, 1)
    assert (view["active"], len(view["strands"])) == (False, 2)


def test_a_strand_that_was_not_read_has_no_signal(tmp_path: Path) -> None:
    result = make_result(tmp_path, tested=True)
    forward = replace(result, options=replace(result.options, strands="forward"))
    with pytest.raises(OptionError, match="forward strand only"):
        signal_file(forward, tmp_path / "x.bw", feature=1, strand="-")
    signal_file(forward, tmp_path / "x.bw", feature=1, strand="+")


def test_an_order_by_q_without_a_test_is_that_of_the_atlas(tmp_path: Path) -> None:
    tested = make_result(tmp_path / "a", tested=True)
    page, note = features(tested, Choice(sort="q"))
    assert (page.table["match_q"].to_pylist()[0], note) == (0.001, None)
    result = make_result(tmp_path / "b", tested=False)
    table = result.table("features")
    place = table.schema.get_field_index("label_motif_q")
    known = table.set_column(place, "label_motif_q", pa.array([None, 0.01, 0.001]))
    pq.write_table(known, result.files["features.parquet"])
    page, note = features(result, Choice(sort="q"))
    assert note == NO_TEST.format(name="q", column="label_motif_q")
    assert page.table["label_motif_q"].to_pylist() == [0.001, 0.01, None]
    assert features(result, Choice(sort="max"))[1] is None


def test_a_run_knows_no_groups(tmp_path: Path) -> None:
    result = make_result(tmp_path, tested=True)
    assert matches(result, Choice(group_by="cluster")).total == 2
    with pytest.raises(OptionError, match="a run knows no groups"):
        matches(result, Choice(group_by="group"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("3", (3, None)),
        ("3-", (3, "-")),
        ("3+", (3, "+")),
        ("3 ", (3, "+")),
        ("3_minus", (3, "-")),
        ("3_plus", (3, "+")),
    ],
)
def test_a_feature_is_named_with_its_strand_or_without(
    text: str, named: tuple[int, str | None]
) -> None:
    assert parse_feature_row(text, 4) == named


@pytest.mark.parametrize("text", ["4-", "-", "3--", "3-+", "-3", "_minus"])
def test_what_is_no_feature_row_is_refused(text: str) -> None:
    with pytest.raises(UnknownNameError, match="numbered 0 to 3"):
        parse_feature_row(text, 4)


def test_a_name_and_a_parameter_must_ask_for_one_strand() -> None:
    assert one_strand("-", None) == one_strand(None, "-") == one_strand("-", "-") == "-"
    assert one_strand(None, None) is None
    with pytest.raises(OptionError, match=r"named on strand -, and the strand asked for is \+"):
        one_strand("-", "+")


@pytest.mark.parametrize("text", ["4", "-1", "1e0", "", "\u0661", "9" * 30])
def test_what_is_no_feature_is_refused(text: str) -> None:
    assert parse_feature("3", 4) == 3
    with pytest.raises(UnknownNameError, match="numbered 0 to 3"):
        parse_feature(text, 4)
