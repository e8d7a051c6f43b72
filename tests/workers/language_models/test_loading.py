"""From a card to a StripedHyena 2, and through the registry to its features."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from annotations.cards import (
    SAE_WEIGHTS,
    DictionaryCard,
    ModelCard,
    file_sha256,
    find_cards,
    write_card,
)
from annotations.errors import WeightsError
from tests.workers.language_models.cases import TINY
from workers.language_models.loading import load_language_model
from workers.language_models.stripedhyena2.configurations import EVO2
from workers.language_models.stripedhyena2.model import StripedHyena2
from workers.language_models.stripedhyena2.weights import load_stripedhyena2, random_weights
from workers.registry import open_dictionary
from workers.sae import SparseCoder
from workers.sae_lens import save_sae_lens

FEATURES = 16


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        id="tiny-evo2",
        title="Tiny StripedHyena 2 with random weights, for tests",
        architecture="stripedhyena2",
        config=json.loads(json.dumps(asdict(TINY))),
        weights="model.safetensors",
        sha256="0" * 64,
        n_parameters=1,
        context=64,
        max_length=TINY.max_seqlen,
        licence="Apache-2.0",
        source="random weights, seed 0",
        random_weights=True,
    )


def test_the_config_of_a_card_makes_the_model_it_was_made_from(card):
    model = load_language_model(card, random_weights(TINY), "bfloat16")
    assert isinstance(model, StripedHyena2)
    assert model.config == TINY
    assert model.dtype == torch.bfloat16
    assert (model.width, model.n_blocks, model.max_length) == (32, 5, 700)


def test_a_card_must_say_whether_fp8_is_required(card):
    config = {key: value for key, value in card.config.items() if key != "fp8_required"}
    with pytest.raises(WeightsError, match=r"fp8_required.*its keys are hidden_size"):
        load_language_model(replace(card, config=config), random_weights(TINY))


def test_a_card_of_a_model_that_needs_fp8_is_refused(card):
    config = asdict(EVO2["evo2_1b_base"])
    for dtype in ("bfloat16", "float32"):
        with pytest.raises(WeightsError, match=r"25 blocks and 1920 channels .* FP8"):
            load_language_model(replace(card, config=config), {}, dtype)


def test_blocks_of_no_kind_in_a_card_are_refused(card):
    config = card.config | {"hcl_layer_idxs": []}
    with pytest.raises(WeightsError, match=r"makes no stripedhyena2: .* each of the 5 blocks once"):
        load_language_model(replace(card, config=config), random_weights(TINY))


@pytest.mark.parametrize("architecture", ["paired_tree", "hyenadna"])
def test_models_computed_in_float32_alone_refuse_bfloat16(card, architecture):
    with pytest.raises(WeightsError, match="float32 alone, but its dictionary says bfloat16"):
        load_language_model(replace(card, architecture=architecture), {}, "bfloat16")


def install(root: Path, card: ModelCard, dtype: str) -> DictionaryCard:
    """Write the tiny model and a Goodfire-shaped dictionary that reads block 4."""
    home = root / card.id
    folder = home / "tiny-evo2-16"
    folder.mkdir(parents=True)
    weights = random_weights(TINY, dtype=torch.bfloat16)
    save_file(weights, home / card.weights)
    tied = torch.randn(TINY.hidden_size, FEATURES, generator=torch.Generator().manual_seed(1))
    coder = SparseCoder(
        W_enc=tied,
        b_enc=torch.zeros(FEATURES),
        threshold=torch.full((FEATURES,), 8.0),
        W_dec=tied.T.contiguous(),
        b_dec=torch.zeros(TINY.hidden_size),
    )
    save_sae_lens(coder, folder)
    model = replace(card, sha256=file_sha256(home / card.weights))
    write_card(model, home)
    dictionary = DictionaryCard(
        id="tiny-evo2-16",
        title="Tiny tied dictionary with random weights, for tests",
        model_id=card.id,
        model_sha256=model.sha256,
        layer=4,
        d_in=TINY.hidden_size,
        d_sae=FEATURES,
        k=None,
        sha256=file_sha256(folder / SAE_WEIGHTS),
        stride=128,
        context=64,
        dtype=dtype,
        licence="Apache-2.0",
        source="random weights, seed 1",
        random_weights=True,
    )
    write_card(dictionary, folder)
    return dictionary


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_dictionary_of_a_stripedhyena2_opens_and_reads_in_its_number_format(
    tmp_path, card, dtype
):
    dictionary = install(tmp_path, card, dtype)
    encoder = open_dictionary(find_cards([tmp_path]).dictionary(dictionary.id), [tmp_path])
    codes = np.random.default_rng(0).integers(0, 5, (2, 192), dtype=np.uint8)
    rows = encoder.activations_of(codes)
    assert encoder.language_model.dtype == getattr(torch, dtype)
    model = load_stripedhyena2(
        random_weights(TINY, dtype=torch.bfloat16), TINY, dtype=getattr(torch, dtype)
    )
    f = encoder.coder.encode(model.activations(torch.from_numpy(codes), 4).flatten(0, 1))
    f = f * torch.from_numpy(codes.ravel() < 4)[:, None]
    dense = torch.zeros_like(f)
    dense[rows.window * 192 + rows.position, rows.feature.astype(np.int64)] = torch.from_numpy(
        rows.value
    )
    assert 0 < len(rows.value) < codes.size * FEATURES
    assert torch.allclose(dense, f, atol=1e-4)
