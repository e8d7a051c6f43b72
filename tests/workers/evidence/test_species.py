"""Matches and concepts that hold elsewhere; records of sweeps."""

import json

import pyarrow as pa
import pytest

from annotations.errors import FormatError
from workers.evidence.species import held, of
from workers.evidence.tried import tried_stage


def pairs(*rows):
    names = ("feature", "strand", "cluster")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


HERE = pairs((1, 1, "A"), (1, 1, "A"), (1, -1, "B"), (2, 1, "A"), (3, 1, "C"))


def test_pairs_that_hold_are_counted_once_and_by_strand():
    there = pairs((1, 1, "A"), (1, 1, "B"), (2, 1, "A"), (9, 1, "C"))
    found = held(HERE, there, by="cluster")
    assert (found["pairs"], found["held"]) == (4, 2)
    assert 0 < found["by_chance"] < 2
    assert found["chance_high"] <= 3


def test_all_hold_on_the_same_genome_and_none_on_an_empty_one():
    assert held(HERE, HERE, by="cluster")["held"] == 4
    assert held(HERE, HERE.slice(0, 0), by="cluster")["held"] == 0
    nothing = {"pairs": 0, "held": 0, "by_chance": 0.0, "chance_high": 0}
    assert held(HERE.slice(0, 0), HERE, by="cluster") == nothing


def test_by_chance_is_the_mean_over_exchanged_rows():
    """Two rows, two motifs: exchanged half of the time, and then nothing holds."""
    two = pairs((1, 1, "A"), (2, 1, "B"))
    found = held(two, two, by="cluster")
    assert found["by_chance"] == pytest.approx(1, abs=0.25)
    assert found["chance_high"] == 2


def test_one_concept_of_a_table():
    table = pa.table({"concept": ["CDS", "exon", "CDS"], "feature": [1, 2, 3]})
    assert of(table, "CDS")["feature"].to_pylist() == [1, 3]


def lm_line(model, step):
    return {
        "model": model,
        "genomes": 6,
        "command": "saetrack train lm",
        "step": step,
        "bases": step * 3072,
        "bits_coding": 2 - step / 1e4,
        "bits_noncoding": 1.9,
    }


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_of_a_sweep_the_newest_file_counts_and_of_a_model_its_first_and_last_report(tmp_path):
    assert tried_stage(tmp_path) == {"lm": None, "sae": None}
    write(tmp_path / "2026-11-20-lm-sweep.jsonl", lm_line("old", 100))
    newest = (lm_line("a", 400), lm_line("b", 400), lm_line("a", 800))
    write(tmp_path / "2026-11-21-lm-sweep.jsonl", *newest)
    found = tried_stage(tmp_path)["lm"]
    assert found["file"] == "2026-11-21-lm-sweep.jsonl"
    steps = [(row["model"], row["first"]["step"], row["last"]["step"]) for row in found["rows"]]
    assert steps == [("a", 400, 800), ("b", 400, 400)]


def test_a_trial_is_condensed_to_means_and_what_it_is_over_its_control(tmp_path):
    mean = {what: {"value": 0.1, "low": 0.0, "high": 0.2} for what in ("binding", "motif")}
    fidelity = {"l0": 16.1, "recovered": 0.95, "fvu_whitened": 0.2, "tokens": 5}
    subject = {"model": "m", "seconds": 3.0, "fidelity": fidelity, "tfs": {}, "mean": mean}
    settings = {"tap": "block", "layer": 3, "features": 4096, "k": 16, "sampling": "uniform"}
    line = {
        "settings": {**settings, "steps": 800, "seed": 1, "rate": 0.001},
        "subjects": {"model": subject, "control": subject},
        "over": {"control": {"tfs": {}, "mean": mean}},
    }
    write(tmp_path / "2026-11-21-sae-frontier.jsonl", line)
    (row,) = tried_stage(tmp_path)["sae"]["rows"]
    assert row["settings"] == {**settings, "steps": 800, "seed": 1}
    expected = {"l0": 16.1, "recovered": 0.95, "fvu_whitened": 0.2, "mean": mean}
    assert row["subjects"] == {"model": expected, "control": expected}
    assert row["over"] == mean


@pytest.mark.parametrize("text", ["{}\n", "not json\n", '{"model": "a"}\n'])
def test_a_file_of_other_lines_is_refused_on_one_line(tmp_path, text):
    (tmp_path / "2026-11-21-lm-sweep.jsonl").write_text(text)
    with pytest.raises(FormatError, match="does not hold the lines of a lm-sweep") as error:
        tried_stage(tmp_path)
    assert "\n" not in str(error.value)
