"""`saetrack train` from FASTA to a dictionary that annotates, on a genome of a few kilobases."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from annotations.cards import find_cards
from workers.registry import open_dictionary
from workers.training.cli import train

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)


def dna(length):
    return "".join(RNG.choice(list("ACGT"), length))


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """A spec file, its genome with a validation contig, and an annotation."""
    folder = tmp_path_factory.mktemp("genome")
    (folder / "g.fa").write_text(f">chrA\n{dna(6000)}\n>chrV\n{dna(3000)}\n")
    lines = [f"{name}\ttest\tCDS\t501\t800\t.\t+\t0\tID=cds{name}\n" for name in ("chrA", "chrV")]
    (folder / "g.gff3").write_text("##gff-version 3\n" + "".join(lines))
    (folder / "sites.bed").write_text("chrV\t1000\t1001\tReb1\nchrV\t1500\t1501\tReb1\n")
    (folder / "spec.toml").write_text(
        '[[genome]]\nfasta = "g.fa"\nspecies = 0\nannotation = "g.gff3"\nexclude = ["chrV"]\n'
    )
    return folder


def run(*arguments):
    result = CliRunner().invoke(train, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def models(genome, tmp_path_factory):
    """A models folder that two training commands wrote."""
    root = tmp_path_factory.mktemp("models")
    run(
        "lm", genome / "spec.toml", "--out", root, "--id", "toy", "--validation", "chrV",
        "--steps", 3, "--batch", 2, "--window", 96, "--report-every", 2,
    )  # fmt: skip
    run(
        "sae", genome / "spec.toml", "--models", root, "--model", "toy", "--id", "toy-l1",
        "--layer", 1, "--features", 256, "--k", 8, "--steps", 5, "--tokens", 256,
        "--stride", 256,
    )  # fmt: skip
    return root


def test_the_model_card_says_how_it_was_made_and_what_it_scored(models):
    card = find_cards([models]).model("toy")
    assert card.training["steps"] == 3
    assert card.figures["validation"] == ["chrV"]
    assert 1.9 < card.figures["bits_per_base_noncoding"] < 4
    assert not card.random_weights


def test_the_dictionary_opens_and_passes_its_canary(models):
    card = find_cards([models]).dictionary("toy-l1")
    assert (card.d_sae, card.layer, card.context) == (256, 1, 16)
    encoder = open_dictionary(card, [models])
    assert encoder.dictionary.canary["activations"]


def test_a_control_of_the_same_sizes_has_random_weights(models):
    run("random-model", "--models", models, "--like", "toy", "--id", "toy-random")
    card = find_cards([models]).model("toy-random")
    assert card.random_weights
    assert card.config == find_cards([models]).model("toy").config


def test_figures_and_gate_are_written_to_the_cards(models, genome):
    common = ("--fasta", genome / "g.fa", "--annotation", genome / "g.gff3", "--contig", "chrV")
    run("figures", "--models", models, "--dictionary", "toy-l1", "--threads", 1, *common)
    run(
        "gate", "--models", models, "--model", "toy", *common, "--tfs", "REB1",
        "--locations", genome / "sites.bed",
    )  # fmt: skip
    cards = find_cards([models])
    figures = cards.dictionary("toy-l1").figures
    assert 0 < figures["fidelity_noncoding"]["l0"] < 256
    (enough,) = (row for row in figures["grid_agreement"] if row["context"] == 16)
    assert enough["jaccard"] == pytest.approx(1, abs=0.01)
    (row,) = cards.model("toy").figures["gate"]["tfs"]
    assert row["tf"] == "REB1"


def test_markov_prints_bits(genome):
    line = run("markov", genome / "spec.toml", "--contig", "chrV", "--order", 2)
    assert 1.9 < json.loads(line)["noncoding"] < 2.1


def test_validating_on_what_was_learnt_is_refused(genome, tmp_path):
    result = CliRunner().invoke(
        train,
        ["lm", str(genome / "spec.toml"), "--out", str(tmp_path), "--id", "x",
         "--validation", "chrA"],
    )  # fmt: skip
    assert "chrA would be trained on and validated on" in str(result.exception)


def test_a_model_is_never_replaced(models, genome):
    result = CliRunner().invoke(
        train, ["random-model", "--models", str(models), "--like", "toy", "--id", "toy"]
    )
    assert "holds a model already" in str(result.exception)
