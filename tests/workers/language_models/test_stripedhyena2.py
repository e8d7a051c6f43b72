"""StripedHyena 2 against Vortex (tests/data/oracles), and what every causal model must do.

The oracle was run on a CPU with random weights in the official layout; it covers
the four kinds of block in float32 and bfloat16. In bfloat16 roundings differ
where sums are taken in another order, and add up from block to block.
"""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from annotations.errors import CoordinateError, LimitError
from tests.workers.language_models.cases import TINY, read_oracle, relative, state_of
from workers.language_models.stripedhyena2 import blocks
from workers.language_models.stripedhyena2.blocks import MemoryLimits, make_block
from workers.language_models.stripedhyena2.model import BASE_TOKENS, StripedHyena2
from workers.language_models.stripedhyena2.weights import load_stripedhyena2, random_weights

ORACLE, CONFIG = read_oracle("stripedhyena2_tiny.safetensors")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LENGTHS = st.integers(1, 300)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def dtype(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def reference(dtype) -> StripedHyena2:
    return load(dtype)


@pytest.fixture(scope="module")
def tiny() -> StripedHyena2:
    return shared_tiny()


@cache
def shared_tiny() -> StripedHyena2:
    return load_stripedhyena2(random_weights(TINY), TINY)


def load(dtype: str, **changes: Tensor) -> StripedHyena2:
    state = state_of(ORACLE) | changes
    if dtype == "bfloat16":
        key = "blocks.3.inner_mha_cls.rotary_emb.inv_freq"
        state[key] = ORACLE["bfloat16.inv_freq"]
    return load_stripedhyena2(state, CONFIG, dtype=DTYPES[dtype])


def oracle_codes() -> Tensor:
    tokens = torch.tensor(BASE_TOKENS)
    return (ORACLE["input_ids"].long()[..., None] == tokens).long().argmax(-1).to(torch.uint8)


def draw_codes(seed: int, batch: int, length: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 5, (batch, length), generator=draw, dtype=torch.uint8)


@pytest.mark.parametrize("block", range(5))
def test_every_block_equals_the_reference(reference, dtype, block):
    found = reference.activations(oracle_codes(), block + 1)
    assert found.dtype == DTYPES[dtype]
    bound = 1e-5 if dtype == "float32" else 1e-2
    assert relative(found, ORACLE[f"{dtype}.blocks.{block}"]) < bound


@pytest.mark.parametrize("block", range(5))
def test_every_block_alone_equals_the_reference(reference, dtype, block):
    with torch.inference_mode():
        before = (
            ORACLE[f"{dtype}.blocks.{block - 1}"]
            if block
            else reference.residual(ORACLE["input_ids"].long(), 0)
        )
        found = reference.advance(before, block, block + 1)
    assert found.dtype == DTYPES[dtype]
    bound = 1e-6 if dtype == "float32" else 1e-3
    assert relative(found, ORACLE[f"{dtype}.blocks.{block}"]) < bound


def test_logits_equal_the_reference(reference, dtype):
    expected = ORACLE[f"{dtype}.logits"]
    with torch.inference_mode():
        h = reference.residual(ORACLE["input_ids"].long(), 5)
        found = reference.logits(h)[:, -expected.shape[1] :]
    assert found.shape == (1, 16, 512)
    assert relative(found, expected) < (1e-5 if dtype == "float32" else 1e-2)


def test_attention_without_interpolation_equals_the_reference():
    oracle, config = read_oracle("stripedhyena2_attention.safetensors")
    assert config.rotary_emb_scaling_factor == 1
    block = make_block(config, 3, MemoryLimits(2**28, 2**28))
    block.load_state_dict(state_of(oracle))
    assert relative(block(oracle["before"]), oracle["after"]) < 1e-6


def test_the_oracle_holds_what_the_tests_need():
    assert oracle_codes().unique().tolist() == [0, 1, 2, 3]
    assert torch.equal(torch.tensor(BASE_TOKENS)[oracle_codes().long()], ORACLE["input_ids"])
    # More bases than the medium filter has taps, so that its oldest tap is read.
    assert oracle_codes().shape[1] > CONFIG.hcm_filter_length


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("blocks.0.filter.h", lambda h: h.flip(-1)),
        ("blocks.1.filter.h", lambda h: h.flip(-1)),
        ("blocks.1.filter.D", torch.zeros_like),
        ("blocks.2.filter.log_poles", lambda p: 1.1 * p),
        ("blocks.2.filter.D", torch.zeros_like),
        ("blocks.4.projections.weight", lambda w: w.roll(1, 0)),
        ("blocks.3.inner_mha_cls.Wqkv.weight", lambda w: w.roll(16, 0)),
        ("blocks.4.filter.short_filter_weight", lambda w: w.flip(-1)),
    ],
)
def test_the_oracle_notices_a_wrong_tensor(key, change):
    block = int(key.split(".")[1])
    changed = load("float32", **{key: change(state_of(ORACLE)[key])})
    found = changed.activations(oracle_codes(), block + 1)
    assert relative(found, ORACLE[f"float32.blocks.{block}"]) > 1e-4


def test_the_oracle_notices_positions_that_are_not_interpolated():
    config = replace(CONFIG, rotary_emb_scaling_factor=1)
    found = load_stripedhyena2(state_of(ORACLE), config).activations(oracle_codes(), 4)
    assert relative(found, ORACLE["float32.blocks.3"]) > 1e-3


def test_layer_0_is_the_embedding_of_bytes(tiny):
    table = random_weights(TINY)["embedding_layer.weight"]
    found = tiny.activations(torch.tensor([[0, 1, 2, 3, 4]], dtype=torch.uint8), 0)
    assert torch.equal(found[0], table[list(b"ACGTN")])


def test_later_blocks_and_logits_are_not_computed(tiny, monkeypatch):
    codes = draw_codes(0, 1, 20)
    expected = tiny.activations(codes, 2)

    def fail(*args):
        raise AssertionError("more was computed than was asked for")

    for part in (*tiny.blocks[2:], tiny.norm):
        monkeypatch.setattr(part, "forward", fail)
    assert torch.equal(tiny.activations(codes, 2), expected)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), length=st.integers(2, 300), share=st.floats(0, 1))
def test_activations_do_not_depend_on_later_bases(seed, length, share):
    model = shared_tiny()
    at = 1 + int(share * (length - 2))
    codes = draw_codes(seed, 1, length)
    changed = codes.clone()
    changed[:, at:] = (changed[:, at:] + 1) % 5
    expected, found = model.activations(codes, 5), model.activations(changed, 5)
    assert relative(found[:, :at], expected[:, :at]) < 1e-5
    assert relative(found[:, at:], expected[:, at:]) > 1e-2
    # Nor on how many there are: a window padded on the right is the same window.
    assert relative(model.activations(codes[:, :at], 5), expected[:, :at]) < 1e-5


def test_activations_depend_on_all_earlier_bases(tiny):
    codes = draw_codes(1, 1, 300)
    changed = codes.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 4
    difference = tiny.activations(changed, 5) - tiny.activations(codes, 5)
    assert float(difference[:, -1].abs().max()) > 1e-3


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 99), batch=st.integers(2, 4), length=LENGTHS)
def test_a_window_does_not_depend_on_its_batch(seed, batch, length):
    model = shared_tiny()
    codes = draw_codes(seed, batch, length)
    together = model.activations(codes, 5)
    for row in range(batch):
        assert relative(together[row], model.activations(codes[row : row + 1], 5)[0]) < 1e-5


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 3),
    length=LENGTHS,
    workspace=st.integers(1, 2**20),
    spectra=st.sampled_from([0, 2**30]),
)
def test_memory_limits_do_not_change_activations(seed, batch, length, workspace, spectra):
    codes = draw_codes(seed, batch, length)
    cut = load_stripedhyena2(
        random_weights(TINY), TINY, limits=MemoryLimits(workspace=workspace, spectra=spectra)
    )
    expected = shared_tiny().activations(codes, 5)
    assert relative(cut.activations(codes, 5), expected) < 1e-5
    assert relative(cut.activations(codes, 5), expected) < 1e-5


@pytest.mark.parametrize(
    ("workspace", "spectra", "made"), [(2**28, 2**20, [1, 0, 1]), (2**28, 0, [1, 1, 1])]
)
def test_spectra_are_kept_while_windows_keep_their_length(monkeypatch, workspace, spectra, made):
    assert spectra_made(monkeypatch, MemoryLimits(workspace, spectra)) == made


def test_spectra_of_all_parts_of_a_block_are_kept(monkeypatch):
    first, again, longer = spectra_made(monkeypatch, MemoryLimits(48 * 50 * 16, 2**20))
    assert (first, again) == (2, 0)
    assert longer > 2


def spectra_made(monkeypatch, limits: MemoryLimits) -> list[int]:
    """Filters made in each of three passes: two of 50 bases and one of 60."""
    model = load_stripedhyena2(random_weights(TINY), TINY, limits=limits)
    made: list[int] = []
    plain = blocks.modal_filter

    def count(log_poles, residues, length):
        made[-1] += 1
        return plain(log_poles, residues, length)

    monkeypatch.setattr(blocks, "modal_filter", count)
    for length in (50, 50, 60):
        made.append(0)
        model.activations(draw_codes(0, 1, length), 3)
    held = model.blocks[2].filter._held
    assert {key[0] for key in held} == ({60} if limits.spectra else set())
    return made


def test_log_probabilities_are_those_of_the_next_base(tiny):
    codes = draw_codes(2, 2, 40)
    found = tiny.log_probabilities(codes)
    assert found.shape == (2, 40, 4)
    assert found.dtype == torch.float32
    assert found[:, 0].isnan().all()
    assert torch.allclose(found[:, 1:].exp().sum(-1), torch.ones(2, 39))
    with torch.inference_mode():
        logits = tiny.logits(tiny.residual(tiny.tokens(codes), 5))
    assert logits.shape == (2, 40, 512)
    expected = torch.log_softmax(logits[:, 8, list(b"ACGT")], -1)
    assert torch.allclose(found[:, 9], expected, atol=1e-5)


def test_an_untied_unembedding_is_used():
    untied = replace(TINY, tie_embeddings=False)
    state = random_weights(untied)
    model = load_stripedhyena2(state, untied)
    h = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    expected = model.norm(h) @ state["unembed.weight"].T
    assert torch.allclose(model.logits(h), expected, atol=1e-5)


def test_bfloat16_is_near_float32(tiny):
    codes = draw_codes(3, 2, 200)
    half = load_stripedhyena2(random_weights(TINY), TINY, dtype=torch.bfloat16)
    found = half.activations(codes, 5)
    assert found.dtype == torch.bfloat16
    assert relative(found, tiny.activations(codes, 5)) < 5e-2
    assert half.log_probabilities(codes).dtype == torch.float32


def test_windows_and_taps_the_model_has_not_are_refused(tiny):
    codes = draw_codes(0, 1, 701)
    assert tiny.activations(codes[:, :700], 1).shape == (1, 700, 32)
    with pytest.raises(LimitError, match="701 bases is longer than the 700"):
        tiny.activations(codes, 1)
    with pytest.raises(LimitError, match="701 bases is longer than the 700"):
        tiny.log_probabilities(codes)
    with pytest.raises(CoordinateError, match="0 to 5 blocks"):
        tiny.activations(codes[:, :9], 6)
    with pytest.raises(CoordinateError, match="batch, length"):
        tiny.activations(codes[0, :9], 1)
