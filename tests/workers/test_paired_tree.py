"""The paired-strand tree: how far it sees, both strands alike, and its reader."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import CoordinateError, WeightsError
from tests.workers.factories import TINY, make_tiny_tree
from workers.language_models.paired_tree import (
    N_CODE,
    AttentionBlock,
    PairedTree,
    PairedTreeConfig,
    PairedTreeReader,
    complement,
    kmer_index,
    load_paired_tree,
)

HYBRID = replace(TINY, attention_blocks=1, attention_heads=2, attention_span=5)


def every_weight_counts(model: PairedTree) -> PairedTree:
    """The second matrix of a new block is all but zero: draw it anew."""
    draw = torch.Generator().manual_seed(1)
    for block in model.blocks:
        block.down.weight.normal_(std=0.3, generator=draw)
        if isinstance(block, AttentionBlock):
            block.out.weight.normal_(std=0.3, generator=draw)
            block.distance_bias.normal_(generator=draw)
    return model


@pytest.fixture(scope="module")
def tree() -> PairedTree:
    return every_weight_counts(make_tiny_tree())


@pytest.fixture(scope="module")
def reader(tree) -> PairedTreeReader:
    return PairedTreeReader(tree)


@pytest.fixture(scope="module")
def hybrid() -> PairedTreeReader:
    torch.manual_seed(2)
    model = PairedTree(HYBRID).requires_grad_(False).eval()
    return PairedTreeReader(every_weight_counts(model))


def bases(seed: int, *shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, shape, generator=draw, dtype=torch.uint8)


def slow_kmer_index(ids: list[int], k: int) -> list[int]:
    out = []
    for end in range(1, len(ids) + 1):
        word = ids[end - k : end] if end >= k else []
        whole = len(word) == k and N_CODE not in word
        out.append(int("".join(map(str, word)), 4) if whole else 4**k)
    return out


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(1, 6))
def test_kmer_index_equals_its_slow_twin(ids, k):
    assert kmer_index(torch.tensor([ids]), k)[0].tolist() == slow_kmer_index(ids, k)


def test_complement_of_each_code():
    assert complement(torch.tensor([0, 1, 2, 3, 4])).tolist() == [3, 2, 1, 0, 4]


@pytest.mark.parametrize(("blocks", "reach"), [(0, 7), (1, 9), (2, 13)])
def test_reach_is_the_eight_mer_and_the_distances(blocks, reach):
    assert TINY.reach(blocks) == reach


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_base_sees_its_reach_and_no_further(reader, layer):
    reach, at = TINY.reach(layer), 30
    codes = bases(2, 1, 40)
    row = reader.activations(codes, layer)[0, at]
    beyond, within = codes.clone(), codes.clone()
    beyond[0, : at - reach] = 3 - beyond[0, : at - reach]
    within[0, at - reach] = 3 - within[0, at - reach]
    assert (reader.activations(beyond, layer)[0, at] - row).abs().max() <= 1e-6
    assert (reader.activations(within, layer)[0, at] - row).abs().max() > 1e-4


def test_activations_do_not_depend_on_where_the_window_begins(reader):
    codes, reach = bases(3, 1, 80), TINY.reach(2)
    whole = reader.activations(codes, 2)[0, 20 + reach :]
    part = reader.activations(codes[:, 20:], 2)[0, reach:]
    assert (whole - part).abs().max() <= 1e-6


def test_activations_do_not_depend_on_what_follows(reader):
    codes = bases(4, 1, 60)
    changed = codes.clone()
    changed[0, 31:] = N_CODE
    found, expected = reader.activations(changed, 2), reader.activations(codes, 2)
    assert (found[0, :31] - expected[0, :31]).abs().max() <= 1e-6


def test_an_n_is_forgotten_after_the_reach(reader):
    codes = bases(5, 1, 60)
    changed = codes.clone()
    changed[0, 20] = N_CODE
    moved = (reader.activations(changed, 2) - reader.activations(codes, 2)).abs().amax(-1)[0]
    end = 20 + TINY.reach(2) + 1
    assert moved[:20].max() <= 1e-6
    assert moved[20] > 1e-4
    assert moved[end:].max() <= 1e-6


def slow_attention(block: AttentionBlock, h: torch.Tensor) -> torch.Tensor:
    """The block base by base: a softmax over the last `span` bases."""
    projected = block.into(block.norm(h))
    batch, length, width = h.shape
    query, key, value = projected.view(batch, length, 3, block.heads, -1).unbind(2)
    found = torch.zeros_like(query)
    for i in range(length):
        back = list(range(max(0, i - block.span + 1), i + 1))
        score = (query[:, i, None] * key[:, back]).sum(-1) / key.shape[-1] ** 0.5
        score = score + block.distance_bias[:, [i - j for j in back]].T
        found[:, i] = (score.softmax(1)[..., None] * value[:, back]).sum(1)
    h = h + block.out(found.reshape(batch, length, width))
    hidden = torch.nn.functional.gelu(block.up(block.hidden_norm(h)), approximate="tanh")
    return h + block.down(hidden)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 10, 23])
def test_attention_equals_its_slow_twin(hybrid, length):
    block = hybrid.model.blocks[-1]
    h = torch.randn(2, length, 16, generator=torch.Generator().manual_seed(length))
    with torch.inference_mode():
        assert (block(h) - slow_attention(block, h)).abs().max() <= 1e-5


def test_a_hybrid_sees_its_reach_and_no_further(hybrid):
    assert (hybrid.n_blocks, HYBRID.n_blocks, HYBRID.reach(3)) == (3, 3, TINY.reach(2) + 4)
    assert replace(HYBRID, attention_blocks=2).reach(4) == TINY.reach(2) + 8
    reach, at = HYBRID.reach(3), 40
    codes = bases(2, 1, 60)
    row = hybrid.activations(codes, 3)[0, at]
    beyond, within = codes.clone(), codes.clone()
    beyond[0, : at - reach] = 3 - beyond[0, : at - reach]
    beyond[0, at + 1 :] = N_CODE
    within[0, at - reach] = 3 - within[0, at - reach]
    assert (hybrid.activations(beyond, 3)[0, at] - row).abs().max() <= 1e-5
    assert (hybrid.activations(within, 3)[0, at] - row).abs().max() > 1e-5


def test_hidden_units_are_as_many_for_each_channel_and_four_at_least_in_the_first_block():
    def units(hidden):
        model = PairedTree(replace(HYBRID, hidden=hidden))
        return [block.up.out_features // HYBRID.width for block in model.blocks]

    assert (units(2), units(3), units(5)) == ([4, 2, 2], [4, 3, 3], [5, 5, 5])
    with pytest.raises(ValueError, match="every size of a paired tree must be at least 1"):
        PairedTreeConfig(hidden=0)


def test_a_hybrid_does_not_depend_on_where_the_window_begins(hybrid):
    codes, reach = bases(3, 1, 80), HYBRID.reach(3)
    whole = hybrid.activations(codes, 3)[0, 7 + reach :]
    part = hybrid.activations(codes[:, 7:], 3)[0, reach:]
    assert (whole - part).abs().max() <= 1e-5


def test_a_hybrid_agrees_on_both_strands(hybrid):
    codes = bases(8, 2, 40)
    forward = hybrid.log_probabilities(codes)
    reverse = hybrid.log_probabilities(complement(codes).flip(1))
    assert (forward - reverse.flip(1).flip(-1)).abs().max() <= 1e-5


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of attention_heads"):
        PairedTreeConfig(attention_blocks=1, attention_heads=3)


def test_windows_of_a_batch_are_independent(reader):
    codes = bases(6, 3, 50)
    together = reader.activations(codes, 2)
    alone = torch.cat([reader.activations(row[None], 2) for row in codes])
    assert (together - alone).abs().max() <= 1e-6


def test_towers_are_the_two_reads_in_forward_coordinates(tree, reader):
    codes = bases(7, 2, 40)
    species = torch.zeros(2, dtype=torch.long)
    towers = tree.towers(codes.long(), species)
    reverse = complement(codes).flip(1)
    assert (towers.left - reader.activations(codes, 2)).abs().max() <= 1e-6
    assert (towers.right - reader.activations(reverse, 2).flip(1)).abs().max() <= 1e-6


def test_symmetric_predictions_of_both_strands_agree(reader):
    codes = bases(8, 2, 40)
    codes[0, 5] = N_CODE
    forward = reader.log_probabilities(codes)
    reverse = reader.log_probabilities(complement(codes).flip(1))
    # Position turned and complemented: A <-> T is the last axis reversed.
    assert (forward - reverse.flip(1).flip(-1)).abs().max() <= 1e-6
    assert (forward.exp().sum(-1) - 1).abs().max() <= 1e-6


def test_the_head_without_symmetry_does_not_agree(tree):
    codes = bases(8, 2, 40).long()
    species = torch.zeros(2, dtype=torch.long)
    forward = tree(codes, species)
    reverse = tree(complement(codes).flip(1), species)
    assert (forward - reverse.flip(1).flip(-1)).abs().max() > 1e-3


def test_a_base_is_no_input_of_its_own_prediction(reader):
    codes = bases(9, 1, 40)
    changed = codes.clone()
    changed[0, 20] = 3 - changed[0, 20]
    moved = reader.log_probabilities(codes) - reader.log_probabilities(changed)
    moved = moved.abs().amax(-1)[0]
    assert moved[20] <= 1e-6
    assert moved[19] > 1e-5
    assert moved[21] > 1e-5


def test_state_dict_survives_float16(tree):
    half = {name: tensor.half() for name, tensor in tree.state_dict().items()}
    back = load_paired_tree(half, TINY)
    assert all(weight.dtype == torch.float32 for weight in back.parameters())
    for name, tensor in back.state_dict().items():
        assert torch.equal(tensor.half(), half[name])
    codes = bases(10, 2, 50)
    found = PairedTreeReader(back).activations(codes, 2)
    expected = PairedTreeReader(tree).activations(codes, 2)
    assert (found - expected).norm() / expected.norm() < 2e-3


def test_weights_of_other_sizes_are_refused(tree):
    with pytest.raises(WeightsError, match="size mismatch"):
        load_paired_tree(tree.state_dict(), PairedTreeConfig(8, (2, 4), 4, 8, 2))
    less = {k: v for k, v in tree.state_dict().items() if k != "norm.bias"}
    with pytest.raises(WeightsError, match=r"norm\.bias"):
        load_paired_tree(less, TINY)


@pytest.mark.parametrize(
    "sizes", [{"width": 0}, {"distances": ()}, {"distances": (0,)}, {"n_species": 0}]
)
def test_sizes_that_make_no_model_are_refused(sizes):
    with pytest.raises(ValueError, match=r"at least 1|positive"):
        PairedTreeConfig(**sizes)


def test_reader_refuses_a_tap_it_has_not(reader):
    assert (reader.width, reader.n_blocks, reader.max_length) == (16, 2, None)
    with pytest.raises(CoordinateError, match="0 to 2 blocks"):
        reader.activations(bases(1, 1, 8), 3)
    with pytest.raises(CoordinateError, match="batch, length"):
        reader.activations(bases(1, 8), 1)
