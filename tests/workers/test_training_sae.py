"""Training of sparse autoencoders: whitening, sparsity rules, gate, reproducibility."""

import numpy as np
import pytest
import torch

from workers.language_models.paired_tree import PairedTree, PairedTreeConfig
from workers.training.corpus import Contig, join_contigs
from workers.training.sae import (
    SaeTraining,
    _keep_largest,
    draw_tokens,
    token_centres,
    train_sae,
    whitening_of,
)

TINY = PairedTreeConfig(width=16, distances=(2, 4), eight_width=4, joint_width=8, n_species=2)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PairedTree(TINY).eval()


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    bases = rng.integers(0, 4, 6000).astype(np.uint8)
    coding = np.zeros(6000, bool)
    coding[2000:3500] = True
    return join_contigs([Contig(bases, coding, 0)], window=96)


def test_whitened_activations_have_equal_variance_in_all_directions():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 6, generator=generator) * torch.tensor([9.0, 5, 3, 1, 0.5, 0.2]) + 4
    whitening = whitening_of(x, shrink=0.0)
    white = (x - whitening.mean) @ whitening.matrix
    torch.testing.assert_close(torch.cov(white.T), torch.eye(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(white.mean(0), torch.zeros(6), atol=1e-4, rtol=0)


def test_shrinkage_keeps_a_silent_channel_finite():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    x[:, 2] = 7.0
    whitening = whitening_of(x, shrink=0.003)
    assert torch.isfinite(whitening.matrix).all()


def test_whitening_refuses_fewer_tokens_than_channels():
    with pytest.raises(ValueError, match="whitening 16 channels needs more tokens"):
        whitening_of(torch.zeros(16, 16), shrink=0.003)


def test_topk_keeps_exactly_the_k_largest():
    f = torch.tensor([[5.0, 1, 3, 0.5], [0.1, 0.2, 0.3, 0.4]])
    kept = _keep_largest(f, 2, "topk")
    assert kept.tolist() == [[5.0, 0, 3, 0], [0, 0, pytest.approx(0.3), pytest.approx(0.4)]]


def test_batchtopk_keeps_k_a_token_on_average_and_the_largest_of_the_batch():
    f = torch.rand(1024, 256, generator=torch.Generator().manual_seed(2))
    kept = _keep_largest(f, 8, "batchtopk")
    assert (kept > 0).sum().item() == pytest.approx(8 * 1024, rel=0.05)
    assert kept[kept > 0].min() > f[kept == 0].max()


def test_tokens_are_of_the_region_and_repeat_with_the_draw(model, corpus):
    config = SaeTraining(window=96, features=32, k=4)
    centres = token_centres(corpus, "noncoding")
    assert not corpus.coding[centres].any()
    one, again, other = (
        draw_tokens(model, corpus, centres, config, draw=draw, windows=4) for draw in (3, 3, 4)
    )
    assert torch.equal(one, again)
    assert one.shape != other.shape or not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["batchtopk", "topk"])
def test_training_explains_variance_and_calibrates_the_gate(model, corpus, kind):
    lines = []
    config = SaeTraining(window=96, features=64, k=6, kind=kind, steps=150, tokens=256, layer=1)
    trained = train_sae(model, corpus, config, report_every=30, on_report=lines.append)
    assert lines[-1]["fvu_whitened"] < min(1.0, lines[0]["fvu_whitened"])
    norms = trained.coder.decoder.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(64), atol=1e-4, rtol=0)
    centres = token_centres(corpus, config.region)
    x = draw_tokens(model, corpus, centres, config, draw=999, windows=60)
    x = (x - trained.whitening.mean) @ trained.whitening.matrix
    f = torch.relu((x - trained.coder.centre) @ trained.coder.encoder + trained.coder.bias)
    assert (f > trained.gate).sum(1).float().mean().item() == pytest.approx(config.k, rel=0.15)


def test_training_repeats_itself(model, corpus):
    config = SaeTraining(window=96, features=32, k=4, steps=10, tokens=128, layer=1)
    one, two = (train_sae(model, corpus, config) for _ in range(2))
    assert torch.equal(one.coder.encoder, two.coder.encoder)
    assert one.gate == two.gate


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "relu"}, "kind must be one of batchtopk, topk, got 'relu'"),
        ({"region": "exons"}, "region must be one of noncoding, all"),
        ({"k": 5000}, r"k must lie in \[1, features\)"),
    ],
)
def test_bad_settings_say_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        SaeTraining(**wrong)


def test_a_corpus_without_the_region_is_refused(model):
    bases = np.zeros(500, np.uint8)
    corpus = join_contigs([Contig(bases, np.ones(500, bool), 0)], window=96)
    with pytest.raises(ValueError, match="no noncoding base"):
        train_sae(model, corpus, SaeTraining(window=96, features=32, k=4, steps=1))
