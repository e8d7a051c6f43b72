"""Training of sparse autoencoders: whitening, sparsity rules, gate, reproducibility."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workers.language_models.paired_tree import PairedTree, PairedTreeConfig
from workers.training.bundle import folded
from workers.training.corpus import Contig, join_contigs
from workers.training.sae import (
    SaeTraining,
    _known,
    _largest,
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
    f = torch.tensor([[5.0, 1, 3, 0.5], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 2.0, 0.0]])
    kept = _largest(f, 2, "topk")
    assert kept.row.tolist() == [0, 0, 1, 1, 2]
    assert kept.feature.tolist() == [0, 2, 2, 3, 2]


def test_batchtopk_keeps_k_a_token_on_average_and_the_largest_of_the_batch():
    f = torch.rand(1024, 256, generator=torch.Generator().manual_seed(2))
    kept = _largest(f, 8, "batchtopk")
    assert len(kept.row) == pytest.approx(8 * 1024, rel=0.05)
    inside = torch.zeros_like(f, dtype=torch.bool)
    inside[kept.row, kept.feature] = True
    assert f[inside].min() > f[~inside].max()
    assert (kept.row.diff() >= 0).all()


def slow_train_sae(model, corpus, config):
    """As `train_sae`, every product dense."""
    centres = token_centres(corpus, config.region)
    first = draw_tokens(model, corpus, centres, config, draw=0, windows=400)
    transcodes = config.tap == "block"
    if transcodes:
        whitenings = [whitening_of(part, shrink=config.shrink) for part in split(first)]
    else:
        whitenings = [whitening_of(first, shrink=config.shrink)]
    generator = torch.Generator().manual_seed(config.seed)
    width = len(whitenings[-1].mean)
    decoder = F.normalize(torch.randn(config.features, width, generator=generator), dim=1)
    encoder = decoder.T.clone()
    if transcodes:
        rows = torch.randn(config.features, 2 * TINY.width, generator=generator)
        encoder = F.normalize(rows, dim=1).T.clone()
    decoder.requires_grad_()
    encoder.requires_grad_()
    bias = torch.zeros(config.features, requires_grad=True)
    centre = torch.zeros(width, requires_grad=True)
    optimiser = torch.optim.Adam([encoder, bias, decoder, centre], betas=(0.9, 0.99))
    silent = torch.zeros(config.features)
    tokens, draw = torch.empty(0, first.shape[1]), 0
    for step in range(config.steps):
        while len(tokens) < config.tokens:
            draw += 1
            fresh = draw_tokens(model, corpus, centres, config, draw=draw, windows=64)
            parts = split(fresh) if transcodes else [fresh]
            white = [(x - w.mean) @ w.matrix for x, w in zip(parts, whitenings, strict=True)]
            tokens = torch.cat([tokens, torch.cat(white, 1)])
        x, tokens = tokens[: config.tokens], tokens[config.tokens :]
        given, x = split(x) if transcodes else (x - centre, x)
        for group in optimiser.param_groups:
            group["lr"] = config.rate * min(1.0, 4 * (1 - step / config.steps) + 0.02)
        f = torch.relu(given @ encoder + bias)
        kept = _largest(f.detach(), config.k, config.kind)
        z = torch.zeros_like(f)
        z[kept.row, kept.feature] = f[kept.row, kept.feature]
        error = x - (z @ decoder + centre)
        loss = error.square().sum(1).mean()
        silent = torch.where((z > 0).any(0), 0.0, silent + 1)
        dead = silent > config.dead_after
        if dead.any():
            top = (f * dead).topk(min(config.aux_k, int(dead.sum())), dim=1)
            revived = torch.zeros_like(f).scatter(1, top.indices, top.values) @ decoder
            loss = loss + config.aux_weight * (revived - error.detach()).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            decoder /= decoder.norm(dim=1, keepdim=True)
    return encoder.detach(), decoder.detach()


def split(x):
    """What a block of the tiny tree is given, and what it adds."""
    return x[:, : 2 * TINY.width], x[:, 2 * TINY.width :]


@pytest.mark.parametrize(
    ("kind", "tap"), [("batchtopk", "pair"), ("topk", "residual"), ("batchtopk", "block")]
)
def test_training_equals_its_slow_dense_twin(model, corpus, kind, tap):
    config = SaeTraining(
        window=96, features=96, k=3, kind=kind, steps=12, tokens=128, layer=1, tap=tap, dead_after=3
    )
    trained = train_sae(model, corpus, config)
    encoder, decoder = slow_train_sae(model, corpus, config)
    found = trained.coder
    if tap == "block":
        (own, no_encoder), (no_decoder, last) = split(found.encoder.T), split(found.decoder)
        assert not no_encoder.any()
        assert not no_decoder.any()
        found = found._replace(encoder=own.T, decoder=last)
    torch.testing.assert_close(found.decoder, decoder, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(found.encoder, encoder, atol=2e-4, rtol=1e-3)


def test_tokens_are_of_the_region_and_repeat_with_the_draw(model, corpus):
    config = SaeTraining(window=96, features=32, k=4)
    centres = token_centres(corpus, "noncoding")
    assert not corpus.coding[centres].any()
    one, again, other = (
        draw_tokens(model, corpus, centres, config, draw=draw, windows=4) for draw in (3, 3, 4)
    )
    assert torch.equal(one, again)
    assert one.shape != other.shape or not torch.equal(one, other)


def test_tokens_of_knowledge_are_drawn_where_the_model_expects_most(corpus):
    torch.manual_seed(0)
    model = PairedTree(TINY).eval()
    with torch.no_grad():  # the tiny tree hardly expects anything by itself
        model.out.weight.mul_(6)
    config = SaeTraining(window=96, features=32, k=4, sampling="knowledge")
    centres = token_centres(corpus, "noncoding")
    all_alike = replace(config, sampling="uniform")
    some = draw_tokens(model, corpus, centres, config, draw=3, windows=200)
    every = draw_tokens(model, corpus, centres, all_alike, draw=3, windows=200)
    assert 0.15 < len(some) / len(every) < 0.34
    assert torch.equal(some, draw_tokens(model, corpus, centres, config, draw=3, windows=200))
    # by hand: probabilities, their mean over the window, their divergence
    expected = torch.tensor(
        [[[0.7, 0.1, 0.1, 0.1], [0.25] * 4, [0.4, 0.2, 0.2, 0.2], [0.97, 0.01, 0.01, 0.01]]]
    )
    counts = torch.tensor([[True, True, True, False]])
    usual = expected[0, :3].double().mean(0)
    by_hand = [
        sum(p * math.log(p / q) for p, q in zip(row.tolist(), usual.tolist(), strict=True))
        for row in expected[0]
    ]
    mean = sum(by_hand[:3]) / 3
    assert _known(expected, counts)[0].tolist() == pytest.approx(
        [x / mean for x in by_hand], rel=1e-4
    )


def test_a_model_that_knows_nothing_has_no_tokens_of_knowledge(model, corpus):
    nothing = PairedTree(TINY).eval()
    with torch.no_grad():
        nothing.out.weight.zero_()
    config = SaeTraining(window=96, features=32, k=4, steps=1, tokens=64, sampling="knowledge")
    with pytest.raises(ValueError, match="the model expects the same of every base"):
        train_sae(nothing, corpus, config)


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


def test_a_folded_transcoder_writes_what_the_block_adds(model, corpus):
    """Raw in, raw out: the same as whitened, coded and unwhitened by hand."""
    config = SaeTraining(window=96, features=64, k=8, steps=150, tokens=256, layer=1, tap="block")
    trained = train_sae(model, corpus, config)
    coder = folded(trained)
    centres = token_centres(corpus, config.region)
    x = draw_tokens(model, corpus, centres, config, draw=999, windows=60)
    given, added = split(x)
    nothing_added = torch.cat([given, torch.full_like(added, 9.0)], 1)
    assert torch.equal(coder.encode(x), coder.encode(nothing_added))
    says = coder.decode(coder.encode(x))
    white = (x - trained.whitening.mean) @ trained.whitening.matrix
    f = torch.relu(white @ trained.coder.encoder + trained.coder.bias)
    f = f * (f > trained.gate)
    by_hand = (f @ trained.coder.decoder + trained.coder.centre)[:, 32:]
    unwhitened = by_hand @ torch.linalg.inv(trained.whitening.matrix[32:, 32:])
    torch.testing.assert_close(
        says[:, 32:], unwhitened + trained.whitening.mean[32:], atol=1e-4, rtol=1e-3
    )
    error = (says[:, 32:] - added).square().sum() / (added - added.mean(0)).square().sum()
    assert error < 0.9


def test_training_repeats_itself(model, corpus):
    config = SaeTraining(window=96, features=32, k=4, steps=10, tokens=128, layer=1)
    one, two = (train_sae(model, corpus, config) for _ in range(2))
    assert torch.equal(one.coder.encoder, two.coder.encoder)
    assert one.gate == two.gate


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"tap": "logits"},
            "tap must be one of residual, update, pair, joint, block, got 'logits'",
        ),
        ({"sampling": "all"}, "sampling must be one of uniform, knowledge, got 'all'"),
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
