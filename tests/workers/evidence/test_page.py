"""The page is made of the records alone, whole or not, and says what was reached."""

import copy
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.workers.evidence.toys import OTHER, SUM, figure, toy_records
from workers.evidence.charts import Dot, dot_chart, line_chart
from workers.evidence.figures import FIGURES, figures
from workers.evidence.goals import best_sum, goals
from workers.evidence.page import make_page, write_page
from workers.evidence.records import RESULTS, read_records

ROOT = Path(__file__).parent.parent.parent.parent
PAGE = ROOT / "docs" / "bundled-model.md"


def goal(records, start):
    numbers = {stage: record["numbers"] for stage, record in records.items()}
    (found,) = (one for one in goals(numbers) if one.what.startswith(start))
    return found


def test_the_committed_page_and_figures_are_those_of_the_committed_records(tmp_path):
    write_page(RESULTS, tmp_path / PAGE.name)
    assert PAGE.read_text() == (tmp_path / PAGE.name).read_text()
    for name in FIGURES:
        made = (tmp_path / "evidence" / f"{name}.svg").read_text()
        assert (PAGE.parent / "evidence" / f"{name}.svg").read_text() == made


def test_without_a_record_everything_is_said_not_to_be_measured():
    page = make_page({})
    assert "Nothing was measured yet." in page
    assert page.count("not measured |") == 13
    assert "None" not in page
    assert "nan" not in page


@pytest.mark.parametrize("missing", sorted(toy_records()))
def test_any_stage_may_be_missing(missing):
    records = toy_records()
    del records[missing]
    page = make_page(records)
    assert "None" not in page
    assert set(figures(records)) == set(FIGURES)


def test_numbers_stand_on_the_page():
    page = make_page(toy_records())
    assert "| a.fa.gz" not in page  # file names are code
    assert "| `a.fa.gz` | 1,234 |" in page
    assert "### chrIX and chrXIV" in page
    assert "### chrVIII (validation)" in page
    assert "| **toy** | 1.940 | 1.820 |" in page
    assert "0.060 bits better than the best Markov model" in page
    assert "0.030 bits worse than the best Markov model" in page
    assert "3- | REB1 (MA0363.3; REB1 cluster) | -.90, -.10, 1e-05 (20) | too few |" in page
    assert "Made by: train two more." in page
    assert "| motif clusters | 40 | 30 (75.0 %) | 2.5 (6) |" in page
    assert "| `CDS` | 0 | 0 (-) | 0.0 (0) |" in page
    assert "| tree | 6 | 1.2 | 1.990 / 1.900 | 24.6 | 1.950 / 1.850 | REB1 .23 (14) |" in page
    trial = "| residual:2, 4,096, k 8, 800 steps | 7.5 / 7.5 | 0.0092 of 0.0900 | 88.9 % / 80.0 % |"
    assert f"{trial} 0.200 / 0.200 | .10 / .10; 0.000 [-0.020, 0.020] |" in page
    assert "binding sites: none; motif hits: none" in page
    assert "None" not in page


def test_speed_and_size_are_those_of_the_package():
    records = toy_records()
    page = make_page(records)
    assert "**33.0 minutes**, 23,788 bases per second while encoding" in page
    assert "| encoding | 1500 |\n| merging: motifs | 400 |\n" in page
    assert "load 0.5 before it; others ran beside it; " in page
    assert "| reading |" not in page
    assert "Bundled: 15.0 MB in 1 files; the largest are `model.json` (0.0 MB)." in page
    records["package"]["numbers"]["annotate"] = None
    assert "over the whole genome: not measured." in make_page(records)


def test_what_is_surely_above_random_weights_is_named():
    records = toy_records()
    row = records["tried"]["numbers"]["sae"]["rows"][1]
    row["over"]["motif"] = figure(0.03, 0.01, 0.05)
    row["over"]["instances"] = figure(None)
    page = make_page(records)
    assert (
        "binding sites: none; motif hits: residual:2, 4,096, k 16, 800 steps; bound copies" in page
    )
    assert "Surely below: binding sites: none; motif hits: none; bound" in page
    assert "Of 9 intervals of 95 % some miss 0 by chance." in page
    records["tried"]["numbers"]["sae"] = None
    assert "surely above random weights, by measure" not in make_page(records)


def test_the_bundled_settings_are_told_their_place_among_trials_of_equal_steps():
    records = toy_records()
    rows = records["tried"]["numbers"]["sae"]["rows"]
    shipped = copy.deepcopy(rows[1])
    shipped["settings"] |= {"steps": 5000, "bundled": True}
    rows.append(shipped)
    rows[0]["over"]["motif"] = figure(0.03, 0.01, 0.05)
    rows[1]["over"]["binding"] = figure(0.04, 0.01, 0.07)
    rows[1]["over"]["instances"] = figure(None)
    page = make_page(records)
    assert "| residual:2, 4,096, k 16, 5,000 steps, bundled | 15.5 / 15.5 |" in page
    assert "above random weights of the 3 dictionaries of 800 steps on the present model" in page
    first = "k 16, 800 steps, 0.040 [0.010, 0.070], which are the bundled settings."
    assert f"- binding sites: residual:2, 4,096, {first}" in page
    second = "k 8, 800 steps, 0.030 [0.010, 0.050]; the bundled settings are number 2 of 3"
    assert f"- motif hits: residual:2, 4,096, {second}, 0.000 [-0.020, 0.020]." in page
    # what was not measured has no place
    third = next(line for line in page.splitlines() if line.startswith("- bound copies"))
    assert "k 8, 800 steps, 0.000" in third
    assert "bundled" not in third
    # of other sparsity than all of them
    shipped["settings"]["k"] = 64
    assert "the bundled settings" not in make_page(records)
    del rows[1:]
    assert "Furthest above" not in make_page(records)
    rows[0]["settings"]["earlier_model"] = True
    assert "Furthest above" not in make_page(records)


@pytest.mark.parametrize(
    ("low", "worst", "verdict"),
    [(-0.02, 0.1, "not better"), (0.01, 0.1, "better"), (0.01, -0.05, "not better")],
)
def test_a_dictionary_beside_the_bundled_one_is_told_by_the_rule(low, worst, verdict):
    records = toy_records()
    row = records["tried"]["numbers"]["sae"]["rows"][0]
    assert "Trained as long as" not in make_page(records)
    row["over_bundled"] = {
        "binding": figure(0.02, low, 0.03),
        "motif": figure(0.0, -0.02, 0.02),
        "instances": figure(worst, worst - 0.02, worst + 0.02),
    }
    said = f"0.000 [-0.020, 0.020] by motif hits, {worst:.3f} [{worst - 0.02:.3f}, "
    said += f"{worst + 0.02:.3f}] by bound copies, AUROC: {verdict} by the rule."
    assert said in make_page(records)


def test_shorter_trials_and_those_of_another_model_are_in_no_figure():
    records = toy_records()
    rows = records["tried"]["numbers"]["sae"]["rows"]
    rows[0]["settings"]["features"] = 2048
    rows[2]["settings"] |= {"earlier_model": True, "features": 8192}
    for _ in range(2):
        rows.append(copy.deepcopy(rows[1]))
    rows[-2]["settings"]["tap"] = "block"
    rows[-1]["settings"] |= {"steps": 400, "features": 1024}
    made = figures(records)
    for name in ("frontier", "taps"):
        assert "residual:2, 2,048" in made[name]
        assert "8,192" not in made[name]
        assert "1,024" not in made[name]
    # a block loses bits of another kind
    assert "block:2" in made["taps"]
    assert "block:2" not in made["frontier"]


def test_seeds_say_how_many_features_and_matches_recur():
    records = toy_records()
    row = {"id": "toy-seed2", "seed": 2, "live": 8, "recurring": 2, "mean_r": 0.5}
    partner = {"feature": 1, "partner": 2, "r": 0.3, "precision": 0.1, "partner_precision": 0.2}
    row |= {"matched": 4, "matched_recurring": 3, "tfs": {"REB1": partner, "ABF1": None}}
    records["seeds"]["numbers"]["rows"] = [row]
    page = make_page(records)
    assert "| toy-seed2 (seed 2) | 2 of 8 (25.0 %) | 3 of 4 (75.0 %) | 0.50 |" in page
    assert "| REB1 | r .30; .10 and .20 |" in page
    assert "| ABF1 | - |" in page
    row |= {"live": 0, "recurring": 0, "matched": 0, "matched_recurring": 0, "mean_r": None}
    assert "| toy-seed2 (seed 2) | - | - | - |" in make_page(records)


def test_goals_say_reached_or_by_how_much_not():
    records = toy_records()
    assert goal(records, "bits per base, chrVIII, non-coding").reached is True
    coding = goal(records, "bits per base, chrVIII, CDS")
    assert (coding.reached, coding.missing) == (False, "0.010")
    # Reb1: 2.1 - 1.6 bits, Abf1 the same
    assert goal(records, "bits below composition at bound cores, REB1").found == "0.50"
    assert goal(records, "bits below composition at bound cores, CBF1").reached is None
    over = goal(records, "TFs whose top-100 precision is above")
    assert (over.found, over.missing) == ("2", "4")
    assert goal(records, "Abf1").reached is True
    assert goal(records, "annotate").missing == "3.0"
    assert goal(records, "bundled files").reached is True


def test_goals_use_the_test_chromosomes_where_they_were_read():
    records = toy_records()
    rows = records["test"]["numbers"]["binding"]["tfs"]["REB1"]["loci"]["scores"]
    rows["feature, trained"]["over_random"]["precision"] = figure(0.1, -0.01, 0.2)
    assert goal(records, "TFs whose top-100 precision is above").found == "1"
    del records["test"]
    found = goal(records, "TFs whose top-100 precision is above")
    assert found.found == "2"
    assert found.what.endswith(", chrVIII")


def test_none_of_a_hundred_is_not_as_good_as_none_of_a_hundred():
    records = toy_records()
    before = int(goal(records, "TFs whose top-100 precision is at least the PWM's").found)
    assert before >= 1
    for one in records["test"]["numbers"]["binding"]["tfs"].values():
        for name in ("feature, trained", "PWM"):
            one["loci"]["scores"][name]["precision"]["value"] = 0.0
    assert goal(records, "TFs whose top-100 precision is at least the PWM's").found == "0"


def test_the_best_sum_is_one_of_ours_whatever_the_controls_reach():
    choice = toy_records()["choice"]["numbers"]["binding"]
    assert choice["tfs"]["REB1"]["fit_auroc"]["instances"][f"{OTHER}; z"] == 0.9
    assert best_sum(choice, "REB1") == f"{SUM}; z"
    assert best_sum({}, "REB1") == ""


def test_failures_follow_from_the_numbers():
    records = toy_records()
    page = make_page(records)
    assert (
        "- TFs for which random weights do as well, interval of the difference holds 0: none."
        in page
    )
    assert "by AUPRC, chrIX + chrXIV: exon." in page
    changed = copy.deepcopy(records)
    rows = changed["test"]["numbers"]["binding"]["tfs"]["REB1"]["loci"]["scores"]
    rows["feature, trained"]["over_random"]["precision"] = figure(0.05, -0.01, 0.2)
    assert "interval of the difference holds 0: REB1 (+.05)." in make_page(changed)


def test_records_of_several_weights_are_told():
    records = toy_records()
    assert "different weights" not in make_page(records)
    records["bits"]["weights"]["dictionaries"]["trained"]["sha256"] = "ee" * 32
    assert "run with different weights" in make_page(records)


@pytest.mark.parametrize("records", [{}, toy_records()])
def test_figures_are_svg_that_parses_and_says_what_it_shows(records):
    for name, drawing in figures(records).items():
        root = ET.fromstring(drawing)  # noqa: S314 - our own
        assert root.tag.endswith("svg"), name
        assert root.find("{http://www.w3.org/2000/svg}desc").text
        assert ("not measured" in drawing) == (not records), name


def test_dots_lie_within_the_drawing_and_in_order():
    rows = {"a": {"x": Dot(0.2, 0.1, 0.3)}, "b": {"x": Dot(0.8, 0.7, 1.0), "y": Dot(None)}}
    root = ET.fromstring(dot_chart("t", "d", rows, x_label="share"))  # noqa: S314
    boxes = [
        (float(box.get("x")), float(box.get("y")))
        for box in root.iter("{http://www.w3.org/2000/svg}rect")
        if box.get("x") is not None
    ]
    # the mark beside the series' name, then both dots (a second series has no dot)
    marks = [box for box in boxes if box[1] > 50]
    assert len(marks) == 2
    assert marks[0][0] < marks[1][0] < float(root.get("width"))
    assert marks[0][1] < marks[1][1] < float(root.get("height"))


def test_a_chart_of_nothing_says_so():
    assert "not measured" in line_chart("t", "d", [], x_label="x", y_label="y")


def test_the_records_that_are_committed_are_records():
    for stage, record in read_records(RESULTS).items():
        assert record["stage"] == stage
        assert {"date", "command", "machine", "seconds", "weights", "numbers"} <= set(record)
        json.dumps(record, allow_nan=False)
