"""Taps of both towers: what a base sees, both strands alike, splices, and the grid of windows."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from annotations import cards
from annotations.active_bases import Activations, sort
from annotations.cards import find_cards
from annotations.errors import CoordinateError, WeightsError
from annotations.sequences import Record, reverse_complement, write_fasta
from annotations.shard_bases import SHARD_FILE
from annotations.types import Span
from tests.annotations.shard_cases import read_activations
from tests.workers.factories import DICTIONARY_ID, LAYER, TINY, make_tiny_models, make_tiny_tree
from workers.language_models.loading import load_language_model
from workers.language_models.paired_taps import (
    BlockReader,
    Tap,
    TwoSidedReader,
    UpdateReader,
    at_tap,
    read_tap,
    tap_reach,
)
from workers.language_models.paired_tree import PairedTree, PairedTreeReader
from workers.pipeline import run_shard
from workers.registry import open_dictionary
from workers.training.cli import TAP_TITLES
from workers.training.grids import grid_agreement

TAPS = ("pair", "joint")
FOUND = np.random.default_rng(3).integers(0, 4, (3, 90)).astype(np.uint8)
CODES = torch.from_numpy(FOUND)
TURNED = torch.from_numpy(np.stack([reverse_complement(row) for row in FOUND]))


@pytest.fixture(scope="module")
def tree():
    model = make_tiny_tree()
    draw = torch.Generator().manual_seed(1)
    for block in model.blocks:
        block.down.weight.normal_(std=0.3, generator=draw)
    return model


@pytest.fixture(scope="module", params=TAPS)
def reader(request, tree):
    return TwoSidedReader(tree, request.param)


def slow_activations(tree, codes, tap):
    """Base by base, from one tower read on either strand."""
    tower = PairedTreeReader(tree)
    left = tower.activations(codes, LAYER)
    turned = np.stack([reverse_complement(row) for row in codes.numpy()])
    right = tower.activations(torch.from_numpy(turned), LAYER).flip(1)
    rows = []
    for i in range(codes.shape[1]):
        if tap == "pair":
            rows.append(torch.cat([left[:, i], right[:, i]], -1))
            continue
        none = torch.zeros_like(left[:, 0])
        near = tree.norm(left[:, i - 1]) if i else none
        far = tree.norm(right[:, i + 1]) if i + 1 < codes.shape[1] else none
        met = tree.joint_in(torch.cat([near, far], -1))
        rows.append(F.gelu(met, approximate="tanh"))
    return torch.stack(rows, 1)


def test_activations_equal_their_slow_twin(reader, tree):
    found = reader.activations(CODES, LAYER)
    assert found.shape == (3, 90, reader.width)
    torch.testing.assert_close(found, slow_activations(tree, CODES, reader.tap))


def test_the_other_strand_is_the_reverse_complement_mirrored(reader, tree):
    species = torch.zeros(3, dtype=torch.long)
    reads = read_tap(tree, CODES.long(), species, LAYER, reader.tap)
    torch.testing.assert_close(reads.reverse, reader.activations(TURNED, LAYER).flip(1))
    torch.testing.assert_close(reads.forward, reader.activations(CODES, LAYER))


def test_a_base_sees_its_reach_on_both_sides_and_no_further(reader, tree):
    reach, at = tap_reach(tree, LAYER, reader.tap), 45
    row = reader.activations(CODES[:1], LAYER)[0, at]
    for edge, beyond in (
        (at - reach, slice(None, at - reach)),
        (at + reach, slice(at + reach + 1, None)),
    ):
        outside, inside = CODES[:1].clone(), CODES[:1].clone()
        outside[0, beyond] = 3 - outside[0, beyond]
        inside[0, edge] = 3 - inside[0, edge]
        assert (reader.activations(outside, LAYER)[0, at] - row).abs().max() <= 1e-6
        assert (reader.activations(inside, LAYER)[0, at] - row).abs().max() > 1e-5


def test_the_joint_tap_leaves_the_base_out_and_the_pair_does_not(tree):
    changed = CODES.clone()
    changed[:, 45] = 3 - changed[:, 45]
    for tap, moves in (("joint", False), ("pair", True)):
        reader = TwoSidedReader(tree, tap)
        moved = (reader.activations(changed, LAYER) - reader.activations(CODES, LAYER))[:, 45]
        assert (moved.abs().max() > 1e-5) == moves


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_splicing_what_is_there_changes_nothing(tree, layer):
    plain = PairedTreeReader(tree).log_probabilities(CODES)
    for tap in TAPS if layer == LAYER else ("pair",):
        reader = TwoSidedReader(tree, tap)
        same = reader.spliced_log_probabilities(CODES, layer, lambda h: h)
        torch.testing.assert_close(same, plain)
        torch.testing.assert_close(reader.log_probabilities(CODES), plain)


def test_a_splice_is_given_both_reads_and_its_result_counts(reader):
    given = []

    def silence(h):
        given.append(h)
        return torch.zeros_like(h)

    found = reader.spliced_log_probabilities(CODES, LAYER, silence)
    torch.testing.assert_close(given[0][:3], reader.activations(CODES, LAYER))
    torch.testing.assert_close(given[0][3:], reader.activations(TURNED, LAYER))
    # nothing is left that tells bases in the middle apart, nor one strand from the other
    torch.testing.assert_close(found[:, 20:30], found[:1, 20:21].expand(3, 10, 4))
    torch.testing.assert_close(found, found.flip(1, 2))


def test_a_splice_of_one_strand_counts_half(tree):
    """Each tower goes on as the mean of what both reads say of it."""
    reader = TwoSidedReader(tree, "pair")

    def forward_alone(h):
        return torch.cat([2 * h[: len(h) // 2], torch.zeros_like(h[len(h) // 2 :])])

    found = reader.spliced_log_probabilities(CODES, LAYER, forward_alone)
    torch.testing.assert_close(found, reader.log_probabilities(CODES))


def test_a_joint_tap_lies_above_all_blocks(tree):
    with pytest.raises(CoordinateError, match="the tap joint lies above all 2 blocks"):
        TwoSidedReader(tree, "joint").activations(CODES, 1)


def test_taps_are_the_same_everywhere():
    assert get_args(Tap) == cards.TAPS == tuple(TAP_TITLES)


def test_the_residual_tap_is_the_reader_itself(tree):
    reader = PairedTreeReader(tree)
    assert at_tap(reader, "residual") is reader


@pytest.mark.parametrize("layer", [1, 2])
def test_an_update_is_what_blocks_added_and_goes_back_to_where_it_was_taken(tree, layer):
    reader, plain = UpdateReader(tree), PairedTreeReader(tree)
    added = plain.activations(CODES, layer) - plain.activations(CODES, 0)
    torch.testing.assert_close(reader.activations(CODES, layer), added)
    reads = read_tap(tree, CODES.long(), torch.zeros(3, dtype=torch.long), layer, "update")
    torch.testing.assert_close(reads.forward, added)
    torch.testing.assert_close(reads.reverse, reader.activations(TURNED, layer).flip(1))
    expected = plain.log_probabilities(CODES)
    torch.testing.assert_close(reader.log_probabilities(CODES), expected)
    same = reader.spliced_log_probabilities(CODES, layer, lambda h: h)
    torch.testing.assert_close(same, expected)
    # nothing added is the embedding, handed to the blocks that follow
    found = reader.spliced_log_probabilities(CODES, layer, torch.zeros_like)
    by_hand = plain.spliced_log_probabilities(
        CODES, layer, lambda h: tree.embed(both_reads(), torch.zeros(6, dtype=torch.long))
    )
    torch.testing.assert_close(found, by_hand)
    with pytest.raises(CoordinateError, match="the tap update is what blocks added, got layer 0"):
        reader.activations(CODES, 0)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_block_is_what_it_is_given_and_what_it_adds(tree, layer):
    reader, plain = BlockReader(tree), PairedTreeReader(tree)
    before, after = (plain.activations(CODES, blocks) for blocks in (layer - 1, layer))
    distance, width = TINY.distances[layer - 1], TINY.width
    normed = tree.blocks[layer - 1].norm(before)
    found = reader.activations(CODES, layer)
    assert found.shape[-1] == reader.width == 3 * width
    torch.testing.assert_close(found[..., :width], normed)
    torch.testing.assert_close(found[:, distance:, width : 2 * width], normed[:, :-distance])
    assert not found[:, :distance, width : 2 * width].any()
    torch.testing.assert_close(found[..., 2 * width :], after - before, atol=1e-5, rtol=1e-4)
    reads = read_tap(tree, CODES.long(), torch.zeros(3, dtype=torch.long), layer, "block")
    torch.testing.assert_close(reads.forward, found)
    torch.testing.assert_close(reads.reverse, reader.activations(TURNED, layer).flip(1))


@pytest.mark.parametrize("layer", [1, 2])
def test_of_a_splice_of_a_block_what_it_adds_goes_on(tree, layer):
    reader, plain = BlockReader(tree), PairedTreeReader(tree)
    expected = plain.log_probabilities(CODES)
    torch.testing.assert_close(reader.log_probabilities(CODES), expected)

    def other_input(h):
        return torch.cat([torch.zeros_like(h[..., :32]), h[..., 32:]], -1)

    same = reader.spliced_log_probabilities(CODES, layer, other_input)
    torch.testing.assert_close(same, expected)
    # a block that adds nothing is a block left out
    found = reader.spliced_log_probabilities(CODES, layer, torch.zeros_like)
    left_out = plain.spliced_log_probabilities(
        CODES, layer, lambda h: tree.residual(both_reads(), torch.zeros(6).long(), layer - 1)
    )
    torch.testing.assert_close(found, left_out)


@pytest.mark.parametrize("layer", [0, 3])
def test_there_is_no_such_block(tree, layer):
    deeper = PairedTree(replace(TINY, attention_blocks=1, attention_heads=2))
    with pytest.raises(CoordinateError, match="one of the 2 blocks of the tree, got layer"):
        BlockReader(deeper).activations(CODES, layer)


def both_reads():
    return torch.cat([CODES, TURNED]).long()


@pytest.mark.parametrize("tap", ["update", "block"])
def test_taps_of_one_tower_are_served_with_left_context_alone(tmp_path, tap):
    root = make_tiny_models(tmp_path, tap=tap)
    encoder = open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root], whole=True)
    assert (encoder.dictionary.ahead, encoder.dictionary.window) == (0, 128 + 16)
    bases = np.random.default_rng(0).integers(0, 4, 128 * 6).astype(np.uint8)
    none, enough = grid_agreement(encoder, bases, contexts=[0, 16])
    assert enough.jaccard == pytest.approx(1.0, abs=1e-3)
    assert none.jaccard < 0.999


@pytest.fixture(scope="module", params=TAPS)
def encoder(request, tmp_path_factory):
    root = make_tiny_models(tmp_path_factory.mktemp("models"), tap=request.param)
    return open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root], whole=True)


def test_grids_agree_with_context_on_both_sides(encoder):
    bases = np.random.default_rng(0).integers(0, 4, 128 * 6).astype(np.uint8)
    none, enough = grid_agreement(encoder, bases, contexts=[0, 16])
    assert enough.jaccard == pytest.approx(1.0, abs=1e-3)
    assert enough.pearson == pytest.approx(1.0, abs=1e-5)
    assert none.jaccard < 0.99


def served(tmp_path, name, encoder, sequences, **options):
    """Sorted activations of a run over whole sequences."""
    out = tmp_path / name
    out.mkdir()
    fasta = out / "sequences.fa"
    write_fasta([Record(str(i), "", sequence) for i, sequence in enumerate(sequences)], fasta)
    spans = [Span(i, 0, len(sequence)) for i, sequence in enumerate(sequences)]
    run_shard(fasta, spans, encoder, out, **options)
    return sort(read_activations(out / SHARD_FILE))


def assert_same(found, expected):
    for a, b in zip(found[:4], expected[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(found.value, expected.value, rtol=2e-3)


def letters(codes):
    return np.frombuffer(b"ACGTN", np.uint8)[codes].tobytes()


# ends of contigs at, before and behind the ends of cells and of padded widths
LENGTHS = (700, 20, 127, 128, 129, 256, 300, 7)


def test_a_run_is_the_model_on_whole_contigs_whatever_the_grid(tmp_path, encoder):
    draw = np.random.default_rng(5)
    contigs = [draw.integers(0, 4, length).astype(np.uint8) for length in LENGTHS]
    contigs[0][200:260] = 4  # N over the border of two cells
    card = encoder.dictionary
    found = served(tmp_path, "run", encoder, [letters(codes) for codes in contigs])
    expected = []
    for contig, codes in enumerate(contigs):
        for sign in (1, -1):
            own = codes if sign > 0 else reverse_complement(codes)
            # beyond the end of a contig, in the sense of reading, the model is given N
            whole = np.concatenate([own, np.full(2 * card.context, 4, np.uint8)])[None]
            rows = encoder.activations_of(whole, np.arange(whole.size)[None] < len(own))
            position = rows.position if sign > 0 else len(own) - 1 - rows.position
            n = len(position)
            expected.append(
                Activations(
                    rows.feature,
                    np.full(n, sign, np.int8),
                    np.full(n, contig, np.uint32),
                    position,
                    rows.value,
                )
            )
    whole = sort(Activations(*(np.concatenate(part) for part in zip(*expected, strict=True))))
    assert len(whole.value) > 3000
    assert_same(found, whole)


def test_strands_are_mirrored_and_batches_do_not_matter(tmp_path, encoder):
    codes = np.random.default_rng(9).integers(0, 4, 700).astype(np.uint8)
    one = served(tmp_path, "one", encoder, [letters(codes)])
    turned = served(tmp_path, "turned", encoder, [letters(reverse_complement(codes))], batch=3)
    mirrored = Activations(
        turned.feature,
        (-turned.strand).astype(np.int8),
        turned.contig,
        len(codes) - 1 - turned.position,
        turned.value,
    )
    assert_same(sort(mirrored), one)
    assert {1, -1} == set(one.strand.tolist())


def test_shards_cut_anywhere_give_the_same(tmp_path, encoder):
    codes = np.random.default_rng(11).integers(0, 4, 600).astype(np.uint8)
    fasta = tmp_path / "sequences.fa"
    write_fasta([Record("0", "", letters(codes))], fasta)
    parts = []
    for first, past in ((0, 200), (200, 384), (384, 600)):
        out = tmp_path / str(first)
        out.mkdir()
        run_shard(fasta, [Span(0, first, past)], encoder, out)
        parts.append(read_activations(out / SHARD_FILE))
    joined = sort(Activations(*(np.concatenate(part) for part in zip(*parts, strict=True))))
    assert_same(joined, served(tmp_path, "whole", encoder, [letters(codes)]))


def test_a_model_of_one_tower_has_no_such_tap(tmp_path):
    root = make_tiny_models(tmp_path)
    card = replace(find_cards([root]).model("tiny-tree"), architecture="hyenadna")
    with pytest.raises(WeightsError, match="the tap 'pair' is one of a model with a tower for"):
        load_language_model(card, {}, tap="pair")


def test_the_card_says_what_is_read_on_either_side(encoder):
    card = encoder.dictionary
    assert (card.ahead, card.window) == (16, 128 + 2 * 16)
    one_sided = replace(card, tap="residual")
    assert (one_sided.ahead, one_sided.window) == (0, 128 + 16)
    assert TINY.reach(LAYER) + 1 <= card.context
