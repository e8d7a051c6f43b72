"""Baselines as dictionaries: directions by hand, sparsity matched, served like any dictionary."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from annotations.cards import find_cards
from annotations.errors import OptionError, StateError
from tests.workers.factories import DICTIONARY_ID, LAYER, MODEL_ID, TINY, make_tiny_models
from workers.registry import open_dictionary
from workers.sae_lens import load_sae_lens
from workers.training.baselines import (
    INNER,
    KINDS,
    BaselineSettings,
    TapSample,
    baseline_coder,
    sample_tap,
    write_baselines,
)
from workers.training.cli import train


@pytest.fixture(scope="module")
def sample():
    """Correlated channels of very different size, about one direction in four active."""
    generator = torch.Generator().manual_seed(0)
    independent = torch.randn(4000, 6, generator=generator)
    mixing = torch.randn(6, 6, generator=generator) * torch.tensor([9.0, 3, 1, 1, 0.3, 0.1])
    return TapSample(independent @ mixing + 5, 1.5)


def test_neurons_are_standardised_channels_of_both_signs(sample):
    coder = baseline_coder(sample, "neurons")
    x = sample.activations
    z = (x - x.mean(0)) / x.std(0)
    signed = torch.stack([z, -z], 2).flatten(1)
    gate = float(coder.threshold[0])
    expected = torch.where(signed > gate, signed, 0.0)
    torch.testing.assert_close(coder.encode(x), expected, atol=1e-4, rtol=1e-4)
    assert (coder.threshold == gate).all()


def test_components_are_uncorrelated_largest_first_and_of_unit_variance(sample):
    coder = baseline_coder(sample, "components")
    x = sample.activations.double()
    scores = (x @ coder.W_enc.double() + coder.b_enc.double())[:, ::2]
    torch.testing.assert_close(torch.cov(scores.T), torch.eye(6).double(), atol=1e-3, rtol=0)
    assert scores.mean(0).abs().max() < 1e-3
    size = coder.W_dec[::2].norm(dim=1)  # one standard deviation in raw space
    assert (size.diff() < 0).all()
    assert float(size.square().sum()) == pytest.approx(float(x.var(0).sum()), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_features_are_active_as_of_the_dictionary(sample, kind):
    active = (baseline_coder(sample, kind).encode(sample.activations) > 0).float()
    assert float(active.sum(1).mean()) == pytest.approx(sample.l0, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_gate_the_decoder_gives_the_activations_back(sample, kind):
    coder = baseline_coder(sample, kind)
    x = sample.activations
    pre = torch.relu(x @ coder.W_enc + coder.b_enc)
    torch.testing.assert_close(coder.decode(pre), x, atol=1e-3, rtol=1e-3)


def test_a_direction_without_variance_is_left_out():
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
    x[:, 2] = 3.0
    for kind in KINDS:
        assert baseline_coder(TapSample(x, 1.0), kind).n_features == 6
    with pytest.raises(OptionError, match="3 directions"):
        baseline_coder(TapSample(x, 3.5), "neurons")
    with pytest.raises(OptionError, match="more tokens"):
        baseline_coder(TapSample(x[:4], 1.0), "neurons")


@pytest.fixture(scope="module")
def genome():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 4, size).astype(np.uint8) for size in (5000, 100, 3000)]


def test_the_sample_is_what_serving_reads(genome, tmp_path):
    root = make_tiny_models(tmp_path)
    card = find_cards([root]).dictionary(DICTIONARY_ID)
    encoder = open_dictionary(card, [root])
    codes = [genome[0].copy()]
    codes[0][1000:1400] = 4
    found = sample_tap(encoder, codes, BaselineSettings(windows=20))
    assert found.activations.shape[1] == TINY.width
    assert found.activations.shape[0] < 20 * 2 * INNER  # N is no token
    again = encoder.coder.encode_sparse(found.activations)
    assert found.l0 == len(again.row) / len(found.activations)
    with pytest.raises(OptionError, match="bases or more"):
        sample_tap(encoder, [genome[1]], BaselineSettings())


def test_written_baselines_open_and_are_as_sparse_as_the_dictionary(genome, tmp_path):
    root = make_tiny_models(tmp_path / "models")
    cards = write_baselines(
        [root], DICTIONARY_ID, genome, root, sequences="toy", settings=BaselineSettings(windows=60)
    )
    assert [card.id for card in cards] == [f"{DICTIONARY_ID}-{kind}" for kind in KINDS]
    installed = find_cards([root])
    rng = np.random.default_rng(9)
    fresh = rng.integers(0, 4, (8, 400)).astype(np.uint8)
    for card, kind in zip(cards, KINDS, strict=True):
        assert installed.dictionaries[card.id] == card
        assert card.title.startswith("Baseline: ")
        assert card.training["baseline"] == kind
        assert (card.layer, card.model_id, card.k) == (LAYER, MODEL_ID, None)
        encoder = open_dictionary(card, [root])  # passes its canary
        rate = len(encoder.activations_of(fresh).value) / fresh.size
        assert rate == pytest.approx(card.training["l0"], rel=0.2)
        assert load_sae_lens(installed.folder(card)).n_features <= 2 * TINY.width
    with pytest.raises(StateError, match="already"):
        write_baselines([root], DICTIONARY_ID, genome, root, sequences="toy")


def test_the_command_writes_into_another_folder_than_the_models(genome, tmp_path):
    root = make_tiny_models(tmp_path / "models")
    own = tmp_path / "own"
    own.mkdir()
    text = "".join(f">c{i}\n{''.join('ACGT'[c] for c in one)}\n" for i, one in enumerate(genome))
    (tmp_path / "g.fa").write_text(text)
    arguments = ["baselines", "--models", root, "--models", own, "--dictionary", DICTIONARY_ID]
    arguments += ["--fasta", tmp_path / "g.fa", "--exclude", "c2", "--windows", 30]
    result = CliRunner().invoke(train, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    cards = find_cards([root, own])
    for kind in KINDS:
        card = cards.dictionary(f"{DICTIONARY_ID}-{kind}")
        assert cards.folder(card).parent.parent == own
        assert card.training["sequences"] == "g.fa without c2"
        open_dictionary(card, [root, own])
