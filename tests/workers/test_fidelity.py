"""Fidelity of a dictionary, against dictionaries whose fidelity is known, for every model."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from annotations.cards import find_cards
from annotations.errors import OptionError
from tests.workers.factories import DICTIONARY_ID, LAYER, TINY, make_tiny_models
from tests.workers.language_models.test_stripedhyena2 import TINY as TINY_EVO2
from workers.calibration import WindowSample
from workers.language_models.hyenadna import HyenaDna, HyenaDnaConfig
from workers.language_models.paired_taps import BlockReader
from workers.language_models.protocol import SplicedLanguageModel, TokenActivations
from workers.language_models.stripedhyena2.weights import load_stripedhyena2, random_weights
from workers.registry import Encoder, open_dictionary
from workers.sae import SparseCoder, scaled
from workers.training.fidelity import (
    NO_HEAD,
    measure_fidelity,
    random_windows,
    with_context_on_both_sides,
)

RNG = np.random.default_rng(0)
BASES = RNG.integers(0, 4, 4000).astype(np.uint8)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Encoder:
    root = make_tiny_models(tmp_path_factory.mktemp("models"))
    return open_dictionary(find_cards([root]).dictionary(DICTIONARY_ID), [root], whole=True)


@pytest.fixture(scope="module")
def wanted(opened):
    """Bases that the tiny random model happens to predict well: there its layer carries bits."""
    log_p = opened.language_model.log_probabilities(torch.from_numpy(BASES[None]))[0]
    at = torch.arange(len(BASES))
    return (log_p[at, torch.from_numpy(BASES).long()] > np.log(0.26)).numpy()


def perfect_coder(width: int) -> SparseCoder:
    """Two latents a channel, one for each sign: reconstructs every activation exactly."""
    eye = torch.eye(width)
    return SparseCoder(
        W_enc=torch.cat([eye, -eye], 1),
        b_enc=torch.zeros(2 * width),
        threshold=torch.zeros(2 * width),
        W_dec=torch.cat([eye, -eye]),
        b_dec=torch.zeros(width),
    )


def silent_coder(says: torch.Tensor) -> SparseCoder:
    """Never active: its reconstruction is its bias."""
    width = len(says)
    return SparseCoder(
        W_enc=torch.zeros(width, 4),
        b_enc=torch.zeros(4),
        threshold=torch.ones(4),
        W_dec=torch.zeros(4, width),
        b_dec=says,
    )


def with_coder(encoder: Encoder, coder: SparseCoder, **changes) -> Encoder:
    card = replace(encoder.dictionary, **changes)
    return Encoder(card, encoder.model, encoder.language_model, coder, CPU)


def sample_of(wanted) -> WindowSample:
    return random_windows(BASES, wanted, window=96, windows=40)


def test_a_perfect_dictionary_loses_nothing(opened, wanted):
    encoder = with_coder(opened, perfect_coder(TINY.width))
    (found,) = measure_fidelity(encoder, sample_of(wanted), shrink=0.003)
    assert found.fvu == pytest.approx(0, abs=1e-9)
    assert found.fvu_whitened == pytest.approx(0, abs=1e-9)
    assert found.cosine == pytest.approx(1, abs=1e-5)
    assert found.bits_dictionary == pytest.approx(found.bits, abs=1e-6)
    assert found.recovered == pytest.approx(1, abs=1e-3)
    assert found.kl_recovered == pytest.approx(1, abs=1e-5)
    assert found.l0 == pytest.approx(TINY.width, rel=0.01)
    assert (found.reason, found.gate) == (None, "jumprelu, as served")


def test_a_dictionary_that_says_the_mean_recovers_nothing(opened, wanted):
    sample = sample_of(wanted)
    h = opened.language_model.activations(torch.from_numpy(sample.codes), LAYER)
    encoder = with_coder(opened, silent_coder(h[torch.from_numpy(sample.wanted)].mean(0)))
    (found,) = measure_fidelity(encoder, sample)
    assert (found.l0, found.live_share, found.dead_share) == (0, 0, 1)
    assert found.fvu == pytest.approx(1, abs=1e-6)
    assert found.bits_dictionary == pytest.approx(found.bits_mean, abs=1e-5)
    assert found.recovered == pytest.approx(0, abs=1e-3)
    assert found.kl_recovered == pytest.approx(0, abs=1e-3)
    assert found.bits < found.bits_mean
    assert found.fvu_whitened is None


def test_of_a_transcoder_what_it_writes_is_measured(opened, wanted):
    """A coder that is perfect on what the block adds, and silent on what the block is given."""
    reader = BlockReader(opened.language_model.model)
    given, width = 2 * TINY.width, 3 * TINY.width
    perfect = perfect_coder(width)
    last = torch.arange(width) >= given
    both = torch.cat([last, last])
    coder = replace(perfect, W_enc=perfect.W_enc * both, W_dec=perfect.W_dec * last)
    card = replace(opened.dictionary, tap="block", d_in=width)
    (found,) = measure_fidelity(
        Encoder(card, opened.model, reader, coder, CPU), sample_of(wanted), shrink=0.003
    )
    assert found.fvu == pytest.approx(0, abs=1e-9)
    assert found.fvu_whitened == pytest.approx(0, abs=1e-9)
    assert found.cosine == pytest.approx(1, abs=1e-5)
    assert found.recovered == pytest.approx(1, abs=1e-3)
    says = torch.zeros(width)
    (none,) = measure_fidelity(
        Encoder(card, opened.model, reader, silent_coder(says), CPU), sample_of(wanted)
    )
    added = reader.activations(torch.from_numpy(sample_of(wanted).codes), LAYER)
    added = added[torch.from_numpy(sample_of(wanted).wanted)][:, given:].double()
    variance = (added - added.mean(0)).square().sum()
    assert none.fvu == pytest.approx(float(added.square().sum() / variance), rel=1e-4)


def test_a_random_dictionary_lies_between_and_is_measured_as_one_window_at_a_time(opened, wanted):
    (found,) = measure_fidelity(opened, sample_of(wanted), batch=7)
    assert 0 < found.fvu < 1.5
    assert 2 < found.l0 < 6
    assert found.tokens == sample_of(wanted).wanted.sum() > 1000
    (alone,) = measure_fidelity(opened, sample_of(wanted), batch=1)
    assert alone.bits_dictionary == pytest.approx(found.bits_dictionary, abs=1e-6)
    assert (alone.l0, alone.dead_share) == (found.l0, found.dead_share)


def test_figures_against_a_slow_twin(opened, wanted):
    sample = sample_of(wanted)
    (found,) = measure_fidelity(opened, sample)
    model, coder = opened.language_model, opened.coder
    h = model.activations(torch.from_numpy(sample.codes), LAYER)
    x = h[torch.from_numpy(sample.wanted)]
    f = coder.encode(x)
    y = coder.decode(f)
    centred = x - x.mean(0)
    assert found.l0 == pytest.approx(float((f > 0).sum()) / len(x))
    assert found.live_share == pytest.approx(float((f > 0).any(0).float().mean()))
    assert found.fvu == pytest.approx(float((x - y).square().sum() / centred.square().sum()))
    log_p = model.log_probabilities(torch.from_numpy(sample.codes))[torch.from_numpy(sample.wanted)]
    target = torch.from_numpy(sample.codes[sample.wanted]).long()
    bits = -log_p[torch.arange(len(target)), target].mean() / math.log(2)
    assert found.bits == pytest.approx(float(bits), rel=1e-5)


def test_nothing_to_measure_is_refused(opened, wanted):
    with pytest.raises(ValueError, match="got 50 bases"):
        random_windows(BASES[:50], wanted[:50], window=96)
    with pytest.raises(OptionError, match="no base is wanted"):
        measure_fidelity(opened, WindowSample(BASES[None], np.zeros((1, 4000), bool)))


def test_bases_without_context_on_one_side_are_left_out_where_both_are_read(opened):
    sample = WindowSample(BASES[None, :144], np.arange(144)[None] >= 16)
    kept = with_context_on_both_sides(opened, sample).wanted
    assert kept.sum() == 144 - 2 * opened.dictionary.context
    assert not kept[0, -16:].any()


def hyenadna() -> HyenaDna:
    config = HyenaDnaConfig(d_model=16, n_layer=2, d_inner=32, max_seq_len=256)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HyenaDna(config)
        for layer in model.layers:
            layer.mixer.kernel.normal_(std=0.1)
    return model.requires_grad_(False).eval()


@pytest.mark.parametrize("architecture", ["hyenadna", "stripedhyena2"])
def test_models_that_read_left_to_right_are_measured_too(opened, architecture):
    if architecture == "hyenadna":
        model = hyenadna()
    else:
        model = load_stripedhyena2(random_weights(TINY_EVO2), TINY_EVO2)
    assert isinstance(model, SplicedLanguageModel)
    codes = RNG.integers(0, 5, (3, 120)).astype(np.uint8)
    sample = WindowSample(codes, codes < 4)
    card = replace(opened.dictionary, layer=1)
    encoder = Encoder(card, opened.model, model, perfect_coder(model.width), CPU)
    assert with_context_on_both_sides(encoder, sample) is sample
    (found,) = measure_fidelity(encoder, sample, batch=2)
    assert found.fvu == pytest.approx(0, abs=1e-9)
    assert found.bits_dictionary == pytest.approx(found.bits, abs=1e-5)
    assert found.kl_dictionary == pytest.approx(0, abs=1e-6)
    assert found.kl_mean > 1e-3
    # the first base of a window is expected of nothing
    known = torch.from_numpy(sample.wanted[:, 1:])
    log_p = model.log_probabilities(torch.from_numpy(codes))[:, 1:][known]
    target = torch.from_numpy(codes[:, 1:])[known].long()
    expected = -log_p[torch.arange(len(target)), target].mean() / math.log(2)
    assert found.bits == pytest.approx(float(expected), rel=1e-5)


def test_a_splice_that_changes_nothing_changes_nothing():
    codes = torch.from_numpy(RNG.integers(0, 4, (2, 60)).astype(np.uint8))
    evo2 = load_stripedhyena2(random_weights(TINY_EVO2), TINY_EVO2)
    for model in (hyenadna(), evo2):
        expected = model.log_probabilities(codes)[:, 1:]
        for layer in (0, 1, model.n_blocks):
            found = model.spliced_log_probabilities(codes, layer, lambda h: h)[:, 1:]
            assert torch.allclose(found, expected, atol=1e-5)
        moved = model.spliced_log_probabilities(codes, 1, lambda h: h * 0)[:, 1:]
        assert not torch.allclose(moved, expected, atol=1e-3)


class Headless:
    """A model of tokens of two bases, without a head."""

    width, n_blocks, max_length = 3, 1, None

    def token_activations(self, codes, layer):
        pairs = codes.shape[1] // 2
        window = np.repeat(np.arange(len(codes)), pairs)
        start = np.tile(np.arange(pairs) * 2, len(codes))
        draw = torch.Generator().manual_seed(0)
        h = torch.randn(len(window), 3, generator=draw)
        return TokenActivations(window, start, start + 2, h)


def test_a_model_without_a_head_says_why_nothing_is_recovered(opened):
    encoder = Encoder(opened.dictionary, opened.model, Headless(), perfect_coder(3), CPU)
    sample = WindowSample(BASES[None, :100], np.ones((1, 100), bool))
    (found,) = measure_fidelity(encoder, sample)
    assert found.tokens == 50
    assert found.fvu == pytest.approx(0, abs=1e-9)
    assert found.reason == NO_HEAD
    assert found.bits is found.recovered is found.kl_recovered is None


def test_a_scaled_coder_reads_the_scaled_activation_and_gives_it_back(opened):
    x = torch.randn(50, TINY.width, generator=torch.Generator().manual_seed(0))
    for subtract in (False, True):
        coder = replace(opened.coder, apply_b_dec_to_input=subtract)
        other = scaled(coder, 2.5)
        f = other.encode(x)
        assert torch.allclose(f, coder.encode(2.5 * x), atol=1e-5)
        assert torch.allclose(other.decode(f), coder.decode(f) / 2.5, atol=1e-5)


def test_two_scales_side_by_side_have_the_same_l0_where_the_gate_was_calibrated(opened, wanted):
    encoder = with_coder(opened, opened.coder, calibration={"theta": 1.0}, k=3)
    one, other = measure_fidelity(encoder, sample_of(wanted), scales=(1.0, 2.742))
    assert (one.scale, other.scale) == (1.0, 2.742)
    assert other.l0 == pytest.approx(3, abs=1e-3)
    assert "set to 3 latents" in other.gate
    assert one.bits == other.bits
    assert one.fvu != other.fvu
