"""`saetrack models`: from fetched files to an installed dictionary, by the command line alone."""

import json

import numpy as np
import pytest
import torch

from annotations.cards import find_cards
from tests.workers.factories import DICTIONARY_ID, MODEL_ID, make_tiny_models
from tests.workers.test_convert import hyena_folder
from tests.workers.test_sae import random_coder
from workers import cli
from workers.sae_lens import save_sae_lens

HYENA = "hyenadna-small-32k-seqlen-hf"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A data folder of its own, beside a models folder with a tiny model."""
    make_tiny_models(tmp_path / "models")
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(tmp_path / "models"))
    monkeypatch.setenv("SAETRACK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("SAETRACK_DEBUG", raising=False)
    return tmp_path


def ran(capsys, *words) -> str:
    assert cli.run(["models", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys, *words) -> str:
    assert cli.run(["models", *map(str, words)]) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_models_alone_is_the_list(capsys):
    assert ran(capsys) == ran(capsys, "list")
    found = json.loads(ran(capsys, "--json"))
    assert found == json.loads(ran(capsys, "list", "--json"))
    assert [row["id"] for row in found["dictionaries"]] == [DICTIONARY_ID]
    assert found["dictionaries"][0]["nt_per_token"] == 1


def test_known_weights_are_listed_and_shown(capsys):
    said = ran(capsys, "list", "--known")
    assert "evo2_7b_262k: to be fetched from arcinstitute/evo2_7b_262k" in said
    assert "evo2_1b_base: to be fetched from arcinstitute/evo2_1b_base, not runnable here" in said
    found = json.loads(ran(capsys, "list", "--known", "--json"))
    assert HYENA in {entry["name"] for entry in found["known"]}
    said = ran(capsys, "show", "sae-layer26-mixed-expansion_8-k_64")
    for part in ("Goodfire/Evo-2-Layer-26-Mixed", "model: evo2_7b_262k, block: 26", "prophage"):
        assert part in said


def test_a_card_is_shown(capsys):
    assert f"{DICTIONARY_ID}, installed in" in ran(capsys, "show", DICTIONARY_ID)
    found = json.loads(ran(capsys, "show", MODEL_ID, "--json"))
    assert found["installed"]["architecture"] == "paired_tree"
    assert found["official"] is None
    said = refused(capsys, "show", "evo3")
    assert "there is no model or dictionary 'evo3'" in said
    assert MODEL_ID in said
    assert "list --known" in said
    assert "known but not installed" in refused(capsys, "verify", "evo2_7b_262k")


def test_from_fetched_files_to_a_calibrated_dictionary_in_three_commands(capsys, place):
    """HyenaDNA's layout, a dictionary of sae-lens on it, and a threshold from a genome."""
    said = ran(capsys, "convert", hyena_folder(place))
    assert "HyenaDNA of 2 blocks and 64 channels" in said
    assert "sha256" in said
    assert "canary" in said
    coder = random_coder(d_in=64, d_sae=96, gate="topk", k=5)
    (place / "sae").mkdir()
    save_sae_lens(coder, place / "sae", metadata={"model_name": HYENA, "hook_name": "blocks.1"})
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 700))
    (place / "genome.fa").write_text(f">chr1\n{bases}\n")
    words = ["--model", HYENA, "--stride", 128, "--context", 64]
    said = ran(capsys, "convert", place / "sae", *words, "--id", "hyena-96")
    assert "sae-lens (topk), 96 features of 64 channels, gate topk, k 5" in said
    words = ["--id", "hyena-96-yeast", "--reference", place / "genome.fa"]
    said = ran(capsys, "calibrate", "hyena-96", *words)
    assert "keeps 5 latents of a base of genome.fa" in said
    cards = find_cards([place / "models"])
    assert cards.dictionaries["hyena-96-yeast"].calibration["k"] == 5
    assert "hyena-96-yeast is as its card says" in ran(capsys, "verify", "hyena-96-yeast")
    assert f"{HYENA} is as its card says" in ran(capsys, "verify", HYENA)


def test_a_model_without_a_dictionary_is_listed(capsys, place):
    ran(capsys, "add", hyena_folder(place), "--id", "own-hyena")
    assert "own-hyena: a model without a dictionary" in ran(capsys, "list")
    assert json.loads(ran(capsys, "--json"))["models_without_dictionary"] == ["own-hyena"]


def test_a_folder_with_cards_is_added(capsys, place):
    said = ran(capsys, "add", place / "models" / MODEL_ID, "--into", place / "other")
    assert f"installed {MODEL_ID} in" in said
    assert f"installed {DICTIONARY_ID} in" in said
    assert find_cards([place / "other"]).dictionaries.keys() == {DICTIONARY_ID}


def test_a_folder_of_transformers_is_added(capsys, place):
    pytest.importorskip("transformers")
    from tests.workers.stock_models import make_stock_folder

    folder = make_stock_folder(place, "kmer")
    said = ran(capsys, "add", folder, "--id", "six", "--licence", "CC0")
    assert "EsmModel, 2 blocks of 24 channels; tokens: kmer of 3" in said
    assert "3 bases to a token" in said
    assert find_cards([place / "models"]).model("six").licence == "CC0"


def test_verify_says_what_changed(capsys, place):
    weights = place / "models" / MODEL_ID / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    for name in (MODEL_ID, DICTIONARY_ID):
        assert "model.safetensors has the sha256" in refused(capsys, "verify", name)


def test_refusals_are_one_line(capsys, place):
    torch.save({"W": torch.ones(2, 3)}, place / "evo2_7b.pt")
    assert "missing blocks.0" in refused(capsys, "convert", place / "evo2_7b.pt")
    torch.save({}, place / "own.pt")
    assert "is no release of Evo 2" in refused(capsys, "convert", place / "own.pt")
    said = refused(capsys, "convert", place / "evo2_7b.pt", "--model", MODEL_ID)
    assert "tensors of a Goodfire dictionary" in said
    said = refused(capsys, "convert", place / "own.pt", "--model", "evo2_7b_262k", "--id", "own")
    assert "convert it first" in said
    (place / "empty").mkdir()
    assert "config.json is missing" in refused(capsys, "add", place / "empty")
    assert "config.json is missing" in refused(capsys, "convert", place / "empty")
    said = refused(capsys, "convert", place / "empty", place / "empty", "--model", MODEL_ID)
    assert "one file or one folder" in said
