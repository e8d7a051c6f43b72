"""Matches and concepts that hold elsewhere; records of sweeps."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotations.atlas import load_atlas
from annotations.errors import FormatError, SaetrackError
from workers.evidence.dictionaries import find_compared
from workers.evidence.species import POMBE_RESULTS, held, of, species_stage
from workers.evidence.tried import tried_stage


def pairs(*rows):
    names = ("feature", "strand", "cluster")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


BUNDLED = "b" * 64
CARD = replace(find_compared().trained, model_sha256=BUNDLED, layer=3, tap="block")
HERE = pairs((1, 1, "A"), (1, 1, "A"), (1, -1, "B"), (2, 1, "A"), (3, 1, "C"))


def test_pairs_that_hold_are_counted_once_and_by_strand():
    there = pairs((1, 1, "A"), (1, 1, "B"), (2, 1, "A"), (9, 1, "C"))
    found = held(HERE, there, by="cluster", rows=20)
    assert (found["pairs"], found["held"]) == (4, 2)
    assert 0 < found["by_chance"] < 2
    assert found["chance_high"] <= 3


def test_all_hold_on_the_same_genome_and_none_on_an_empty_one():
    assert held(HERE, HERE, by="cluster", rows=20)["held"] == 4
    assert held(HERE, HERE.slice(0, 0), by="cluster", rows=20)["held"] == 0
    nothing = {"pairs": 0, "held": 0, "by_chance": 0.0, "chance_high": 0}
    assert held(HERE.slice(0, 0), HERE, by="cluster", rows=20) == nothing


@pytest.mark.parametrize("rows", [4, 40])
def test_by_chance_is_the_mean_over_rows_drawn_from_all(rows):
    """All rows have the one thing that there is: each drawn one is theirs in 3 of `rows`."""
    three = pairs((0, 1, "same"), (0, -1, "same"), (1, 1, "same"))
    found = held(three, three, by="cluster", rows=rows)
    assert found["held"] == 3
    assert found["by_chance"] == pytest.approx(3 * 3 / rows, abs=0.12)
    assert found["chance_high"] <= 3


def test_one_concept_of_a_table():
    table = pa.table({"concept": ["CDS", "exon", "CDS"], "feature": [1, 2, 3]})
    assert of(table, "CDS")["feature"].to_pylist() == [1, 3]


@pytest.fixture(scope="module")
def bundled():
    """The bundled dictionary and its atlas."""
    compared = find_compared()
    card = compared.trained
    return compared, load_atlas(compared.cards.atlas(card), card.sha256)


def result_of(root, bundled, *, concepts=None, **changes):
    """A result folder as annotate leaves it, with the matches and concepts of the atlas itself."""
    compared, atlas = bundled
    folder = root / POMBE_RESULTS / compared.trained.id
    folder.mkdir(parents=True)
    pq.write_table(atlas.matches, folder / "matches.parquet")
    table = atlas.concepts if concepts is None else concepts
    pq.write_table(table, folder / "concepts.parquet")
    made = {
        "dictionary": {"sha256": compared.trained.sha256},
        "contigs": [{"name": "I", "length": 1000, "refget": "SQ.other"}],
        "options": {"taxon": atlas.taxon},
        "counts": {"bases": 1000},
    }
    (folder / "provenance.json").write_text(json.dumps(made | changes))
    return root


def test_all_of_the_atlas_holds_on_a_genome_that_gives_the_same(tmp_path, bundled):
    compared, atlas = bundled
    found = species_stage(compared, result_of(tmp_path, bundled))
    assert (found["contigs"], found["bases"]) == (1, 1000)
    assert found["matches"]["held"] == found["matches"]["pairs"] > 1000
    assert found["matches"]["by_chance"] < found["matches"]["pairs"] / 10
    for name, row in found["concepts"].items():
        assert row["held"] == row["pairs"] > 0, name
        assert row["by_chance"] < row["pairs"] / 2, name
    assert set(found["concepts"]) <= set(atlas.concepts["concept"].to_pylist())


def test_without_a_result_it_is_said_how_it_is_made(tmp_path, bundled):
    compared, _ = bundled
    for results in (None, tmp_path):
        assert "--out RESULTS/pombe/yeast-tree-l2" in species_stage(compared, results)["missing"]


def test_a_result_that_does_not_fit_is_refused(tmp_path, bundled):
    compared, atlas = bundled
    own = [{"name": "x", "length": 1, "refget": atlas.about.discovery[0]["digest"]}]
    cases = (
        ({"dictionary": {"sha256": "0" * 64}}, "was not computed with the dictionary"),
        ({"contigs": own}, "has sequences of the atlas"),
        ({"options": {"taxon": "plants"}}, "was scanned for plants, the atlas for fungi"),
        ({"concepts": atlas.concepts.slice(0, 0)}, "has no gene concepts"),
    )
    for number, (changes, message) in enumerate(cases):
        results = result_of(tmp_path / str(number), bundled, **changes)
        with pytest.raises(SaetrackError, match=message) as error:
            species_stage(compared, results)
        assert "\n" not in str(error.value)


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
    assert tried_stage(tmp_path, CARD) == {"lm": None, "sae": None}
    write(tmp_path / "2026-11-20-lm-sweep.jsonl", lm_line("old", 100))
    newest = (lm_line("a", 400), lm_line("b", 400), lm_line("a", 800))
    write(tmp_path / "2026-11-21-lm-sweep.jsonl", *newest)
    found = tried_stage(tmp_path, CARD)["lm"]
    assert found["file"] == "2026-11-21-lm-sweep.jsonl"
    steps = [(row["model"], row["first"]["step"], row["last"]["step"]) for row in found["rows"]]
    assert steps == [("a", 400, 800), ("b", 400, 400)]


def test_a_trial_is_condensed_to_means_and_what_it_is_over_its_control(tmp_path):
    mean = {what: {"value": 0.1, "low": 0.0, "high": 0.2} for what in ("binding", "motif")}
    fidelity = {"l0": 16.1, "fvu_whitened": 0.2, "tokens": 5}
    fidelity |= {"bits": 1.84, "bits_dictionary": 1.85, "bits_mean": 1.93}
    fidelity |= {"recovered": 0.889, "kl_recovered": 0.8}
    subject = {
        "model": "m",
        "model_sha256": BUNDLED,
        "seconds": 3.0,
        "fidelity": fidelity,
        "tfs": {},
        "mean": mean,
    }
    settings = {"tap": "block", "layer": 3, "features": 4096, "k": 16, "sampling": "uniform"}
    line = {
        "settings": {**settings, "steps": 800, "seed": 1, "rate": 0.001},
        "subjects": {"model": subject, "control": subject},
        "over": {"control": {"tfs": {}, "mean": mean}},
    }
    write(tmp_path / "2026-11-21-sae-frontier.jsonl", line)
    (row,) = tried_stage(tmp_path, CARD)["sae"]["rows"]
    told = {**settings, "steps": 800, "seed": 1, "earlier_model": False, "bundled": True}
    assert row["settings"] == told
    expected = {"l0": 16.1, "fvu_whitened": 0.2, "bits_lost": 0.01, "bits_lost_by_mean": 0.09}
    expected |= {"recovered": 0.889, "kl_recovered": 0.8, "mean": mean}
    assert row["subjects"] == {"model": expected, "control": expected}
    assert (row["over"], row["over_bundled"]) == (mean, None)
    beside = {**line, "over": {**line["over"], "bundled": {"tfs": {}, "mean": mean}}}
    write(tmp_path / "2026-11-21-sae-frontier.jsonl", beside)
    (row,) = tried_stage(tmp_path, CARD)["sae"]["rows"]
    assert row["over_bundled"] == mean
    earlier = json.loads(json.dumps(line).replace(BUNDLED, "a" * 64))
    write(tmp_path / "2026-11-22-sae-frontier.jsonl", line, earlier)
    rows = tried_stage(tmp_path, CARD)["sae"]["rows"]
    assert [row["settings"]["earlier_model"] for row in rows] == [False, True]
    # the longest with the settings of the card is the bundled one
    longer = json.loads(json.dumps(line).replace('"steps": 800', '"steps": 900'))
    other = json.loads(json.dumps(line).replace('"k": 16', '"k": 8').replace("800", "5000"))
    write(tmp_path / "2026-11-22-sae-frontier.jsonl", line, longer, other, earlier)
    rows = tried_stage(tmp_path, CARD)["sae"]["rows"]
    assert [row["settings"]["bundled"] for row in rows] == [False, True, False, False]
    write(tmp_path / "2026-11-22-sae-frontier.jsonl", line, line)
    with pytest.raises(FormatError, match="two lines of the settings"):
        tried_stage(tmp_path, CARD)


@pytest.mark.parametrize("text", ["{}\n", "not json\n", '{"model": "a"}\n'])
def test_a_file_of_other_lines_is_refused_on_one_line(tmp_path, text):
    (tmp_path / "2026-11-21-lm-sweep.jsonl").write_text(text)
    with pytest.raises(FormatError, match="does not hold the lines of a sweep") as error:
        tried_stage(tmp_path, CARD)
    assert "\n" not in str(error.value)
