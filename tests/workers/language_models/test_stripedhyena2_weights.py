"""Every Evo 2 as data, and state dicts in their official layout."""

import math
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from annotations.errors import WeightsError
from tests.workers.language_models.cases import TINY
from workers.language_models.stripedhyena2.configurations import (
    EVO2,
    StripedHyena2Config,
    check_computable,
)
from workers.language_models.stripedhyena2.weights import (
    is_passed_over,
    load_stripedhyena2,
    random_weights,
    state_shapes,
)
from workers.language_models.tensor_file import TensorFile

NEED_FP8 = ("evo2_1b_base", "evo2_20b", "evo2_40b_base", "evo2_40b")

# Parameters and keys as counted in the reference implementation.
COUNTS = {
    "evo2_1b_base": (1_107_989_760, 269),
    "evo2_7b_base": (6_481_059_584, 344),
    "evo2_7b_262k": (6_481_059_584, 344),
    "evo2_7b_microviridae": (6_481_059_584, 344),
    "evo2_7b": (6_581_722_880, 344),
    "evo2_20b": (19_738_780_160, None),
    "evo2_40b_base": (40_331_142_144, None),
    "evo2_40b": (41_117_574_144, None),
}

OFFICIAL_EXTRAS = (
    "unembed.weight",
    "blocks.0.projections._extra_state",
    "blocks.3.mixer.dense._extra_state",
    "blocks.2.mixer.mixer.filter.t",
)


@pytest.mark.parametrize("name", EVO2)
def test_every_evo2_has_the_parameters_of_its_release(name):
    shapes = state_shapes(EVO2[name])
    parameters, keys = COUNTS[name]
    # The rotary frequencies are a buffer, not a parameter.
    assert parameters == sum(
        math.prod(shape) for key, shape in shapes.items() if not key.endswith("inv_freq")
    )
    assert keys is None or len(shapes) == keys


def test_every_evo2_is_here():
    assert set(EVO2) == set(COUNTS)


def test_the_layout_of_the_7b():
    config = EVO2["evo2_7b_262k"]
    assert config.hcs_layer_idxs == (0, 4, 7, 11, 14, 18, 21, 25, 28)
    assert config.hcm_layer_idxs == (1, 5, 8, 12, 15, 19, 22, 26, 29)
    assert config.hcl_layer_idxs == (2, 6, 9, 13, 16, 20, 23, 27, 30)
    assert config.attn_layer_idxs == (3, 10, 17, 24, 31)
    assert (config.num_attention_heads, config.head_size) == (32, 128)
    assert (config.rotary_emb_base, config.rotary_emb_scaling_factor) == (1e4, 32)


def test_the_layout_of_the_40b():
    config = EVO2["evo2_40b"]
    assert config.hcs_layer_idxs == (0, 4, 7, 11, 14, 18, 21, 25, 28, 32, 36, 39, 43, 46)
    assert config.hcl_layer_idxs == (2, 6, 9, 13, 16, 20, 23, 27, 30, 34, 38, 41, 45, 48)
    assert (config.rotary_emb_base, config.rotary_emb_scaling_factor) == (1e6, 128)
    assert EVO2["evo2_40b_base"].rotary_emb_scaling_factor == 1


def test_the_shapes_of_every_kind_of_block():
    shapes = state_shapes(EVO2["evo2_7b"])
    assert shapes["embedding_layer.weight"] == (512, 4096)
    assert shapes["norm.scale"] == (4096,)
    assert shapes["blocks.0.filter.h"] == (256, 1, 7)
    assert shapes["blocks.0.filter.short_filter_weight"] == (12288, 1, 3)
    assert shapes["blocks.0.projections.weight"] == (12288, 4096)
    assert shapes["blocks.0.out_filter_dense.bias"] == (4096,)
    assert shapes["blocks.0.mlp.l3.weight"] == (4096, 11264)
    assert shapes["blocks.1.filter.h"] == (256, 1, 128)
    assert shapes["blocks.1.filter.D"] == (4096,)
    assert shapes["blocks.2.filter.log_poles"] == (4096, 16, 1)
    assert shapes["blocks.2.filter.residues"] == (4096, 16)
    assert shapes["blocks.3.inner_mha_cls.Wqkv.weight"] == (12288, 4096)
    assert shapes["blocks.3.inner_mha_cls.out_proj.bias"] == (4096,)
    assert shapes["blocks.3.inner_mha_cls.rotary_emb.inv_freq"] == (64,)
    assert "blocks.0.filter.D" not in shapes
    assert "unembed.weight" not in shapes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NEED_FP8)
def test_a_model_that_needs_fp8_is_refused_before_its_weights_are_read(name, dtype):
    with pytest.raises(WeightsError, match=r"FP8 input projections and is wrong.*use a 7B Evo 2"):
        load_stripedhyena2({}, EVO2[name], dtype=dtype)


@pytest.mark.parametrize("name", sorted(set(EVO2) - set(NEED_FP8)))
def test_a_7b_is_computable(name):
    check_computable(EVO2[name])


def test_a_number_format_that_is_not_computed_is_refused():
    with pytest.raises(WeightsError, match=r"float32 or bfloat16, got torch\.float16"):
        load_stripedhyena2(random_weights(TINY), TINY, dtype=torch.float16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hcs_layer_idxs": (0,)}, "each of the 5 blocks once"),
        ({"attn_layer_idxs": (2, 3)}, "each of the 5 blocks once"),
        ({"hcm_filter_groups": 5}, "hcm_filter_groups must divide hidden_size 32, got 5"),
        ({"hcs_filter_groups": 0}, "hcs_filter_groups must divide"),
        ({"num_attention_heads": 32}, "twice num_attention_heads must divide"),
        ({"inner_mlp_size": 0}, "at least 1"),
        ({"rotary_emb_scaling_factor": 0.5}, "rotary_emb_scaling_factor must be at least 1"),
    ],
)
def test_sizes_that_make_no_model_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        StripedHyena2Config(**(asdict(TINY) | change))


def test_what_official_checkpoints_hold_besides_is_passed_over():
    state = random_weights(TINY)
    extras = {key: torch.zeros(3) for key in OFFICIAL_EXTRAS}
    codes = torch.tensor([[0, 1, 2, 3]], dtype=torch.uint8)
    found = load_stripedhyena2(state | extras, TINY).activations(codes, 5)
    assert torch.equal(found, load_stripedhyena2(state, TINY).activations(codes, 5))
    assert all(is_passed_over(key, TINY) for key in OFFICIAL_EXTRAS)
    assert not any(is_passed_over(key, TINY) for key in state)
    assert not is_passed_over("unembed.weight", replace(TINY, tie_embeddings=False))


def test_missing_and_unknown_keys_are_named():
    state = random_weights(TINY)
    del state["blocks.1.filter.D"]
    state["blocks.1.filter.d"] = torch.zeros(32)
    with pytest.raises(
        WeightsError, match=r"missing: blocks\.1\.filter\.D; unknown: blocks\.1\.filter\.d;"
    ):
        load_stripedhyena2(state, TINY)


def test_a_long_list_of_keys_is_cut():
    with pytest.raises(WeightsError, match=rf"and {len(state_shapes(TINY)) - 8} more; unknown: no"):
        load_stripedhyena2({}, TINY)


def test_tensors_of_another_shape_are_refused():
    with pytest.raises(
        WeightsError,
        match=r"blocks\.0\.mlp\.l1\.weight has the shape \[48, 32\], but .* has \[64, 32\]",
    ):
        load_stripedhyena2(random_weights(TINY), replace(TINY, inner_mlp_size=64))


def test_another_rotary_base_is_refused_and_rounded_frequencies_are_not():
    state = random_weights(TINY)
    key = "blocks.3.inner_mha_cls.rotary_emb.inv_freq"
    rounded = load_stripedhyena2(state | {key: state[key].bfloat16()}, TINY)
    found = rounded.state_dict()[key]
    assert found.dtype == torch.float32
    assert torch.equal(found, state[key].bfloat16().float())
    with pytest.raises(WeightsError, match="frequencies of rotary_emb_base 1e\\+06"):
        load_stripedhyena2(state, replace(TINY, rotary_emb_base=1e6))


def test_filters_and_frequencies_stay_float32_in_bfloat16():
    model = load_stripedhyena2(random_weights(TINY), TINY, dtype=torch.bfloat16)
    kept = {key for key, value in model.state_dict().items() if value.dtype == torch.float32}
    assert kept == {
        "blocks.2.filter.log_poles",
        "blocks.2.filter.residues",
        "blocks.3.inner_mha_cls.rotary_emb.inv_freq",
    }


def test_a_model_is_frozen_and_loading_leaves_the_state_dict_alone():
    state = random_weights(TINY)
    before = {key: value.clone() for key, value in state.items()}
    model = load_stripedhyena2(state, TINY)
    assert not any(weight.requires_grad for weight in model.parameters())
    assert state.keys() == before.keys()
    assert all(torch.equal(state[key], before[key]) for key in state)


def test_random_weights_depend_on_the_seed_alone():
    one, same, other = (random_weights(TINY, seed=seed) for seed in (1, 1, 2))
    assert {key: tuple(value.shape) for key, value in one.items()} == state_shapes(TINY)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["norm.scale"], other["norm.scale"])
    half = random_weights(TINY, seed=1, dtype=torch.bfloat16)
    assert half["norm.scale"].dtype == torch.bfloat16
    assert half["blocks.2.filter.log_poles"].dtype == torch.float32


class Watched(Mapping[str, Tensor]):
    """Makes each tensor when asked, and notes how many bytes of them are alive at once."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        self.asked = 0
        self.alive: dict[int, int] = {}
        self.most = 0

    def __getitem__(self, key: str) -> Tensor:
        made = self.state[key].clone()
        self.asked += 1
        self.alive[self.asked] = made.nbytes
        weakref.finalize(made, self.alive.pop, self.asked)
        self.most = max(self.most, sum(self.alive.values()))
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def test_loading_holds_no_tensor_twice():
    state = random_weights(TINY)
    assert load_stripedhyena2(state, TINY).norm.scale.data_ptr() == state["norm.scale"].data_ptr()
    watched = Watched(state)
    load_stripedhyena2(watched, TINY, dtype=torch.bfloat16)
    kept = sum(v.nbytes for k, v in state.items() if k.endswith(("poles", "residues", "inv_freq")))
    largest = max(value.nbytes for value in state.values())
    # In another format nothing of the source is kept but what stays float32.
    assert watched.most <= kept + 2 * largest


def test_weights_come_from_a_file_one_at_a_time(tmp_path):
    state = random_weights(TINY)
    save_file(state, tmp_path / "model.safetensors")
    file = TensorFile(tmp_path / "model.safetensors")
    assert file.keys() == state.keys()
    codes = torch.tensor([[0, 1, 2, 3, 4, 0, 0]], dtype=torch.uint8)
    found = load_stripedhyena2(file, TINY).activations(codes, 5)
    assert torch.equal(found, load_stripedhyena2(state, TINY).activations(codes, 5))


def test_blocks_past_the_tap_are_neither_read_nor_run():
    read = []

    class Watched(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    state = Watched(random_weights(TINY))
    cut, whole = load_stripedhyena2(state, TINY, blocks=3), load_stripedhyena2(dict(state), TINY)
    assert {name.split(".")[1] for name in read if name.startswith("blocks.")} == {"0", "1", "2"}
    codes = torch.randint(0, 5, (2, 90), generator=torch.Generator().manual_seed(0)).byte()
    assert torch.equal(cut.activations(codes, 3), whole.activations(codes, 3))
    assert cut.n_blocks == 5
    for use in (lambda: cut.activations(codes, 4), lambda: cut.log_probabilities(codes)):
        with pytest.raises(WeightsError, match=r"blocks 3 to . of this model were not loaded"):
            use()
