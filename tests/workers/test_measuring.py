"""`saetrack models fidelity` and `grids`, on a tiny model on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from annotations.cards import find_cards, write_card
from annotations.errors import OptionError
from tests.workers.factories import DICTIONARY_ID, MODEL_ID, make_tiny_models
from workers.commands.models import models


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    draw = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("sequence") / "held_out.fa"
    records = {"short": 300, "long": 128 * 9 + 50}
    path.write_text(
        "".join(
            f">{name}\n{''.join(draw.choice(list('ACGT'), n))}\n" for name, n in records.items()
        )
    )
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    root = make_tiny_models(tmp_path / "models")
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(root))
    return root


def run(*arguments):
    result = CliRunner().invoke(models, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.output


def card_in(root):
    return find_cards([root]).dictionary(DICTIONARY_ID)


def test_fidelity_of_an_installed_dictionary(root, fasta):
    answer = json.loads(
        run(
            "fidelity", DICTIONARY_ID, "--fasta", fasta, "--device", "cpu", "--windows", 6, "--json"
        )
    )
    (row,) = answer["measures"]
    assert answer["windows"] == 6
    assert row["scale"] == 1
    assert 1 < row["l0"] < 10
    assert 0 < row["fvu"] < 2
    assert row["kl_dictionary"] > 0
    assert row["live_share"] + row["dead_share"] == pytest.approx(1)


def test_goodfires_dictionary_is_measured_at_both_scales(root, fasta):
    card = card_in(root)
    source = "Goodfire/Evo-2-Layer-26-Mixed"
    write_card(replace(card, source=source), root / MODEL_ID / DICTIONARY_ID)
    text = run("fidelity", DICTIONARY_ID, "--fasta", fasta, "--device", "cpu", "--windows", 2)
    (scales,) = (line.split() for line in text.splitlines() if line.split()[0] == "scale")
    assert scales == ["scale", "1.0000", "2.7421"]


def test_grids_are_printed_and_nothing_is_written(root, fasta):
    before = (root / MODEL_ID / DICTIONARY_ID / "dictionary.json").read_text()
    answer = json.loads(run("grids", DICTIONARY_ID, "--fasta", fasta, "--device", "cpu", "--json"))
    curve = {point["context"]: point["jaccard"] for point in answer["curve"]}
    assert list(curve) == [0, 2, 4, 8, 16, 32]
    assert curve[16] == pytest.approx(1, abs=1e-3)
    assert curve[0] < curve[16]
    assert answer["bases"] == 128 * 9 + 50
    assert not answer["written"]
    assert (root / MODEL_ID / DICTIONARY_ID / "dictionary.json").read_text() == before


def test_grids_write_the_curve_and_the_context_to_the_card(root, fasta):
    text = run(
        "grids", DICTIONARY_ID, "--fasta", fasta, "--device", "cpu", "--write", "--least", 0.999,
        "--context", 0, "--context", 16, "--context", 24, "--strides", 4,
    )  # fmt: skip
    card = card_in(root)
    assert "16" in next(line for line in text.splitlines() if line.endswith("chosen"))
    assert (card.context, card.figures["context_chosen"]) == (16, 16)
    assert [point["context"] for point in card.figures["grid_agreement"]] == [0, 16, 24]
    assert card.figures["grid_agreement_sequence"] == "held_out.fa"


def test_the_bundled_card_is_not_written_to(monkeypatch, fasta):
    monkeypatch.delenv("SAETRACK_MODELS_DIRS", raising=False)
    with pytest.raises(OptionError, match="its card stays as it is"):
        run("grids", "yeast-tree-l2", "--fasta", fasta, "--device", "cpu", "--write")
