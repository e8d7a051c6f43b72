"""HyenaDNA against its reference implementation (tests/data/oracles), and its own limits.

The oracle is a cut of the reference's run: random weights in the `-hf` layout,
the residual stream after each block at the first 96 bases. The model is causal,
so the bases that were cut away change nothing.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from annotations.errors import CoordinateError, LimitError, WeightsError
from workers.language_models.hyenadna import (
    BASE_TOKENS,
    HyenaDna,
    HyenaDnaConfig,
    load_hyenadna,
)

ORACLE = Path(__file__).parent.parent / "data" / "oracles" / "hyenadna_tiny_fp32.safetensors"


@pytest.fixture(scope="module")
def oracle() -> dict[str, torch.Tensor]:
    with safe_open(ORACLE, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping


@pytest.fixture(scope="module")
def config() -> HyenaDnaConfig:
    with safe_open(ORACLE, "pt") as file:
        return HyenaDnaConfig(**json.loads(file.metadata()["config"]))


@pytest.fixture
def state(oracle) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix("state_dict."): value
        for key, value in oracle.items()
        if key.startswith("state_dict.")
    }


@pytest.fixture
def model(state, config) -> HyenaDna:
    return load_hyenadna(state, config)


@pytest.fixture(scope="module")
def codes(oracle) -> torch.Tensor:
    return (oracle["input_ids"] - BASE_TOKENS.start).to(torch.uint8)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("block", [0, 1])
def test_every_block_equals_the_reference(model, oracle, codes, block):
    found = model.activations(codes, block + 1)
    assert found.dtype == torch.float32
    assert relative(found, oracle[f"out.layers.{block}"]) < 1e-5


def test_final_norm_equals_the_reference(model, oracle, codes):
    assert relative(model.ln_f(model.activations(codes, 2)), oracle["out.final"]) < 1e-5


def test_the_oracle_notices_a_wrong_filter(state, config, oracle, codes):
    key = "hyena.backbone.layers.0.mixer.filter_fn.modulation.deltas"
    found = load_hyenadna(state | {key: state[key] * 1.1}, config).activations(codes, 1)
    assert relative(found, oracle["out.layers.0"]) > 1e-4


def test_the_oracle_has_every_base_and_n(codes):
    assert codes.unique().tolist() == [0, 1, 2, 3, 4]


def test_layer_0_is_the_embedding(model, state, codes, oracle):
    table = state["hyena.backbone.embeddings.word_embeddings.weight"]
    assert torch.equal(model.activations(codes, 0), table[oracle["input_ids"]])


def test_later_blocks_are_not_run(model, codes, monkeypatch):
    expected = model.activations(codes, 1)

    def fail(h):
        raise AssertionError("block 1 was run")

    monkeypatch.setattr(model.layers[1], "forward", fail)
    assert torch.equal(model.activations(codes, 1), expected)


def test_loading_leaves_the_state_dict_alone(state, config):
    before = dict(state)
    load_hyenadna(state, config)
    assert state.keys() == before.keys()


def test_every_copy_of_the_frequencies_gives_the_same_model(state, config, codes, model):
    mlp = "hyena.backbone.layers.{}.mixer.filter_fn.implicit_filter.{}.freq"
    copies = {
        mlp.format(i, j): state[mlp.format(i, 1)] for i in range(config.n_layer) for j in (3, 5)
    }
    found = load_hyenadna(state | copies, config).activations(codes, 2)
    assert torch.equal(found, model.activations(codes, 2))


def test_activations_do_not_depend_on_what_follows(model, codes):
    changed = codes.clone()
    changed[:, 50:] = 3 - changed[:, 50:].clamp(max=3)
    found, expected = model.activations(changed, 2), model.activations(codes, 2)
    assert relative(found[:, :50], expected[:, :50]) < 1e-5
    assert relative(found[:, 50:], expected[:, 50:]) > 1e-2
    shorter = model.activations(codes[:, :50], 2)
    assert relative(shorter, expected[:, :50]) < 1e-5


def test_log_probabilities_shift_the_logits_by_one_base(model, codes):
    found = model.log_probabilities(codes)
    assert found.shape == (*codes.shape, 4)
    assert found[:, 0].isnan().all()
    logits = model.ln_f(model.activations(codes, 2)) @ model.lm_head.weight.T
    expected = logits[:, 9, 7:11] - logits[:, 9, 7:11].logsumexp(-1, keepdim=True)
    assert torch.allclose(found[:, 10], expected, atol=1e-5)


def test_a_stored_head_is_used_instead_of_the_embedding(state, config, codes):
    head = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    found = load_hyenadna(state | {"lm_head.weight": head}, config)
    assert torch.equal(found.lm_head.weight, head)


def test_a_window_longer_than_the_model_reads_is_refused(model):
    longest = torch.zeros(1, 1026, dtype=torch.uint8)
    assert model.activations(longest, 1).shape == (1, 1026, 64)
    with pytest.raises(LimitError, match="1027 bases is longer than the 1026"):
        model.activations(torch.zeros(1, 1027, dtype=torch.uint8), 1)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_the_model_has_not_is_refused(model, codes, layer):
    with pytest.raises(CoordinateError, match="0 to 2 blocks"):
        model.activations(codes, layer)


def test_codes_without_a_batch_are_refused(model, codes):
    with pytest.raises(CoordinateError, match="batch, length"):
        model.activations(codes[0], 1)


def test_weights_that_are_not_whole_are_refused(state, config):
    whole = "hyena.backbone.layers.1."
    for key in (f"{whole}mixer.in_proj.bias", f"{whole}mixer.filter_fn.pos_emb.z"):
        less = {name: value for name, value in state.items() if name != key}
        with pytest.raises(WeightsError, match=key.removeprefix(whole).replace(".", r"\.")):
            load_hyenadna(less, config)
    with pytest.raises(WeightsError, match="surplus"):
        load_hyenadna(state | {"surplus": torch.zeros(1)}, config)


def test_sizes_that_are_not_those_of_the_weights_are_refused(state, config):
    with pytest.raises(WeightsError, match="1026 filter positions"):
        load_hyenadna(state, HyenaDnaConfig(64, 2, 256, 2050))
    with pytest.raises(WeightsError, match="not those of a HyenaDNA"):
        load_hyenadna(state, HyenaDnaConfig(64, 2, 128, 1026))
