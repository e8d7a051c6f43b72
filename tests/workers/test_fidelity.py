"""Fidelity of a dictionary, against dictionaries whose fidelity is known."""

import numpy as np
import pytest
import torch

from tests.workers.factories import LAYER, TINY, make_tiny_coder, make_tiny_tree
from workers.sae import SparseCoder
from workers.training.fidelity import measure_fidelity

RNG = np.random.default_rng(0)
BASES = RNG.integers(0, 4, 4000).astype(np.uint8)


def _well_predicted():
    """Bases that the tiny random model happens to predict well: there its layer carries bits."""
    model = make_tiny_tree()
    ids = torch.from_numpy(BASES[None].astype(np.int64))
    logits = model(ids, torch.zeros(1, dtype=torch.long), symmetric=True)[0]
    at = torch.arange(len(BASES))
    return (logits.log_softmax(-1)[at, ids[0]] > np.log(0.26)).numpy()


WANTED = _well_predicted()


def measure(coder):
    return measure_fidelity(
        make_tiny_tree(), coder, LAYER, BASES, WANTED, window=96, windows=40, shrink=0.003
    )


def perfect_coder():
    """Two latents a channel, one for each sign: reconstructs every activation exactly."""
    eye = torch.eye(TINY.width)
    return SparseCoder(
        W_enc=torch.cat([eye, -eye], 1),
        b_enc=torch.zeros(2 * TINY.width),
        threshold=torch.zeros(2 * TINY.width),
        W_dec=torch.cat([eye, -eye]),
        b_dec=torch.zeros(TINY.width),
    )


def test_a_perfect_dictionary_loses_nothing():
    found = measure(perfect_coder())
    assert found.fvu == pytest.approx(0, abs=1e-9)
    assert found.fvu_whitened == pytest.approx(0, abs=1e-9)
    assert found.cosine == pytest.approx(1, abs=1e-5)
    assert found.bits_dictionary == pytest.approx(found.bits, abs=1e-6)
    assert found.recovered == pytest.approx(1, abs=1e-3)
    assert found.l0 == pytest.approx(TINY.width, rel=0.01)


def test_a_dictionary_that_says_the_mean_recovers_nothing():
    model = make_tiny_tree()
    perfect = measure(perfect_coder())
    silent = SparseCoder(
        W_enc=torch.zeros(TINY.width, 4),
        b_enc=torch.zeros(4),
        threshold=torch.ones(4),
        W_dec=torch.zeros(4, TINY.width),
        b_dec=_mean_activation(model),
    )
    found = measure(silent)
    assert found.l0 == 0
    assert found.live_share == 0
    assert found.fvu == pytest.approx(1, abs=0.02)
    assert found.bits_dictionary == pytest.approx(perfect.bits_mean, abs=5e-3)


def test_a_random_dictionary_lies_between():
    found = measure(make_tiny_coder(make_tiny_tree()))
    assert 0 < found.fvu < 1.5
    assert 2 < found.l0 < 6
    assert found.tokens > 1000


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="got 50 bases"):
        measure_fidelity(
            make_tiny_tree(), perfect_coder(), LAYER, BASES[:50], WANTED[:50], window=96
        )


def _mean_activation(model):
    ids = torch.from_numpy(BASES[None].astype(np.int64))
    towers = model.towers(ids, torch.zeros(1, dtype=torch.long), LAYER)
    return torch.cat([towers.left[0], towers.right[0]]).mean(0)
