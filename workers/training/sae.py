"""Train a sparse autoencoder on whitened activations of a language model.

The residual stream of a small gene language model is nearly flat: its first
six principal components (composition, position) hold about nine tenths of the
variance, and a sparse autoencoder spends itself on them. So activations are
whitened first,

    x' = (x - mean) W,   W = (C + shrink * tr(C) / D * I) ** (-1/2)

with C their covariance. W is linear and is folded into the encoder and the
decoder afterwards: what is saved reads and writes raw activations.

TopK keeps the k largest latents of each token (Gao et al. 2024,
arXiv:2406.04093), BatchTopK the k * n largest of a batch of n tokens
(Bussmann et al. 2024, arXiv:2412.06410). Both are served with one calibrated
gate, so that an activation never depends on its neighbours.

On the tap `block` what is trained is a transcoder: its encoder reads some channels, its decoder
writes others, and both are whitened by themselves. The rows of either for the other's channels
are 0, so that it is kept and served as any other dictionary.

Of a step only the product that says which latents are kept is dense: their values, the
reconstruction and all gradients are computed for the kept ones alone, which are few.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from annotations.errors import OptionError
from workers.language_models.paired_taps import Tap, read_and_written, read_tap
from workers.language_models.paired_tree import N_CODE, PairedTree
from workers.training.corpus import Corpus

Kind = Literal["batchtopk", "topk"]
Region = Literal["noncoding", "all"]
Sampling = Literal["uniform", "knowledge"]

KNOWN_SHARE = 3.0
"""Tokens that know this many times what a mean token does are kept for sure by `knowledge`."""


@dataclass(frozen=True)
class SaeTraining:
    """How a sparse autoencoder is trained; every field is written to its card."""

    layer: int = 2
    """Blocks of the language model done at the tap."""
    tap: Tap = "residual"
    """What is read there (`workers.language_models.paired_taps`)."""
    features: int = 4096
    """Latents."""
    k: int = 16
    """Latents active at a token, on average for `batchtopk`, exactly for `topk`."""
    kind: Kind = "batchtopk"
    """Rule that keeps latents while training."""
    region: Region = "noncoding"
    """Which bases are tokens."""
    sampling: Sampling = "uniform"
    """All of them alike, or each with a chance in proportion to what the model knows there: the
    divergence of what it expects from its mean over the window. What is whitened is drawn so,
    too; the gate is set on all alike."""
    steps: int = 1500
    """Optimiser steps."""
    tokens: int = 2048
    """Tokens in a step; steps matter more than tokens on a CPU."""
    rate: float = 1e-3
    """Learning rate of Adam, falling linearly over the last quarter."""
    shrink: float = 0.003
    """Share of the mean eigenvalue added to every eigenvalue before whitening."""
    dead_after: int = 40
    """Steps without firing after which a latent counts as dead."""
    aux_k: int = 32
    """Dead latents that help to explain the error at each token."""
    aux_weight: float = 1 / 32
    """Weight of the loss of the dead latents."""
    window: int = 192
    """Bases in a window of which the inner two thirds are tokens."""
    seed: int = 1
    """Seed of the initial weights and of every draw of tokens."""

    def __post_init__(self) -> None:
        """Refuse settings no run could follow."""
        for name, value, allowed in (
            ("tap", self.tap, get_args(Tap)),
            ("kind", self.kind, get_args(Kind)),
            ("region", self.region, get_args(Region)),
            ("sampling", self.sampling, get_args(Sampling)),
        ):
            if value not in allowed:
                raise OptionError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if not 1 <= self.k < self.features or min(self.steps, self.tokens) < 1:
            raise OptionError(
                "k must lie in [1, features) and steps and tokens must be at least 1, got "
                f"k {self.k}, features {self.features}, steps {self.steps}, tokens {self.tokens}"
            )


class Whitening(NamedTuple):
    """The linear map that makes activations of equal variance in all directions."""

    mean: Tensor
    """float32 [width]."""
    matrix: Tensor
    """float32 [width, width], symmetric; x' = (x - mean) @ matrix."""


class WhitenedCoder(NamedTuple):
    """A trained autoencoder in whitened space."""

    encoder: Tensor
    """float32 [width, features]; f = relu((x' - centre) @ encoder + bias)."""
    bias: Tensor
    """float32 [features]."""
    decoder: Tensor
    """float32 [features, width]; rows of norm 1."""
    centre: Tensor
    """float32 [width]; x' is about gated(f) @ decoder + centre."""


class TrainedSae(NamedTuple):
    """What `train_sae` returns."""

    coder: WhitenedCoder
    whitening: Whitening
    gate: float
    """Activation above which a latent counts as active: mean L0 = k on training tokens."""


def whitening_of(sample: Tensor, *, shrink: float) -> Whitening:
    """Whitening of activations [n, width] with shrunken eigenvalues (see the module).

    Raises
    ------
    OptionError
        If there are fewer rows than channels, which leave the covariance singular.
    """
    if len(sample) <= sample.shape[1]:
        raise OptionError(
            f"whitening {sample.shape[1]} channels needs more tokens than that, got {len(sample)}"
        )
    return whitening_by(sample.mean(0), torch.cov(sample.T.double()), shrink=shrink)


def whitening_at(tap: Tap, sample: Tensor, *, shrink: float) -> Whitening:
    """As `whitening_of`; channels that are read and those that are written apart."""
    reads, writes = read_and_written(tap, sample.shape[1])
    if reads == writes:
        return whitening_of(sample, shrink=shrink)
    parts = [whitening_of(sample[:, channels], shrink=shrink) for channels in (reads, writes)]
    matrix = torch.zeros(sample.shape[1], sample.shape[1], device=sample.device)
    for channels, part in zip((reads, writes), parts, strict=True):
        matrix[channels, channels] = part.matrix
    return Whitening(torch.cat([part.mean for part in parts]), matrix)


def whitening_by(mean: Tensor, covariance: Tensor, *, shrink: float) -> Whitening:
    """Whitening by a mean [width] and a covariance, float64 [width, width]."""
    values, vectors = torch.linalg.eigh(covariance)
    scale = (values.clamp(min=0) + shrink * values.mean()) ** -0.5
    return Whitening(mean, ((vectors * scale) @ vectors.T).float())


def token_centres(corpus: Corpus, region: Region) -> NDArray[np.int64]:
    """Bases whose activations may be tokens, as indices into the corpus."""
    known = corpus.bases < N_CODE
    return np.flatnonzero(known & ~corpus.coding if region == "noncoding" else known)


@torch.inference_mode()
def draw_tokens(
    model: PairedTree,
    corpus: Corpus,
    centres: NDArray[np.int64],
    config: SaeTraining,
    *,
    draw: int,
    windows: int,
) -> Tensor:
    """Activations of random windows, both strands, in random order.

    Parameters
    ----------
    model : PairedTree
        Read with species 0, as at inference.
    corpus : Corpus
        Where the windows come from.
    centres : int64 array
        As `token_centres` returns them.
    config : SaeTraining
        Layer, tap, region, window and seed.
    draw : int
        Number of this draw; with the seed it decides the windows.
    windows : int
        Windows to draw.

    Returns
    -------
    tokens : float32 tensor, shape [n, width]
        Only bases of the region in the inner two thirds of their window.
    """
    rng = np.random.default_rng([config.seed, draw])
    margin = config.window // 6
    start = rng.choice(centres, windows) - rng.integers(margin, config.window - margin, windows)
    start = np.clip(start, 0, len(corpus.bases) - config.window)
    index = start[:, None] + np.arange(config.window)
    device = next(model.parameters()).device
    ids = torch.from_numpy(corpus.bases[index].astype(np.int64)).to(device)
    species = torch.zeros(windows, dtype=torch.long, device=device)
    keep = corpus.bases[index] < N_CODE
    if config.region == "noncoding":
        keep &= ~corpus.coding[index]
    inner = slice(margin, config.window - margin)
    mask = torch.from_numpy(keep[:, inner]).to(device)
    if config.sampling == "knowledge":
        expected = F.softmax(model(ids, species, symmetric=True), -1)[:, inner]
        chance = torch.from_numpy(rng.random(mask.shape, np.float32)).to(device)
        mask &= chance < _known(expected, mask) / KNOWN_SHARE
    reads = read_tap(model, ids, species, config.layer, config.tap)
    tokens = torch.cat([reads.forward[:, inner][mask], reads.reverse[:, inner][mask]])
    order = torch.from_numpy(rng.permutation(len(tokens))).to(device)
    return tokens[order].clone()


def _known(expected: Tensor, counts: Tensor) -> Tensor:
    """What a model knows at bases over what it does at a mean one of those that count.

    Parameters
    ----------
    expected : float tensor, shape [windows, length, 4]
        Probabilities of the bases.
    counts : bool tensor, shape [windows, length]

    Returns
    -------
    known : float tensor, shape [windows, length]
        Divergence from the mean expectation of the window, over its mean.

    Raises
    ------
    OptionError
        If the model expects the same of every base.
    """
    weight = counts[..., None].float()
    usual = (expected * weight).sum(1) / weight.sum(1).clamp(min=1)
    ratio = expected / usual[:, None].clamp(min=1e-9)
    divergence = (expected * ratio.clamp(min=1e-9).log()).sum(-1)
    mean = divergence[counts].mean()
    if mean < 1e-6:
        raise OptionError(
            "tokens cannot be drawn by knowledge: the model expects the same of every base; "
            "use the sampling uniform"
        )
    return divergence / mean


def train_sae(
    model: PairedTree,
    corpus: Corpus,
    config: SaeTraining,
    *,
    report_every: int = 50,
    on_report: Callable[[dict[str, object]], None] = lambda line: None,
) -> TrainedSae:
    """Train a sparse autoencoder on one layer of a paired-strand tree.

    Parameters
    ----------
    model : PairedTree
        In evaluation mode; not changed.
    corpus : Corpus
        Bases the tokens are drawn from.
    config : SaeTraining
        How to train.
    report_every : int
        Steps between reports.
    on_report : callable
        Called with each report: step, FVU in whitened space, mean L0, silent latents.

    Returns
    -------
    TrainedSae
        In whitened space, with its whitening and its calibrated gate.

    Raises
    ------
    OptionError
        If the corpus has too few tokens of the region.
    """
    centres = token_centres(corpus, config.region)
    if not len(centres):
        raise OptionError(f"the corpus has no {config.region} base to take tokens from")
    device = next(model.parameters()).device
    first = draw_tokens(model, corpus, centres, config, draw=0, windows=400)
    whitening = whitening_at(config.tap, first, shrink=config.shrink)
    width = len(whitening.mean)
    reads, writes = read_and_written(config.tap, width)
    encoder, decoder = (part.to(device).requires_grad_() for part in _begin(config, width))
    bias = torch.zeros(config.features, device=device, requires_grad=True)
    centre = torch.zeros(decoder.shape[1], device=device, requires_grad=True)
    weights = [encoder, bias, decoder, centre]
    optimiser = torch.optim.Adam(weights, config.rate, betas=(0.9, 0.99), fused=True)
    silent = torch.zeros(config.features, device=device)
    tokens, draw, begin = torch.empty(0, width, device=device), 0, time.monotonic()
    for step in range(config.steps):
        while len(tokens) < config.tokens:
            draw += 1
            fresh = draw_tokens(model, corpus, centres, config, draw=draw, windows=64)
            tokens = torch.cat([tokens, (fresh - whitening.mean) @ whitening.matrix])
        x, tokens = tokens[: config.tokens], tokens[config.tokens :]
        rate = config.rate * min(1.0, 4 * (1 - step / config.steps) + 0.02)
        for group in optimiser.param_groups:
            group["lr"] = rate
        target = x[:, writes]
        # a transcoder reads other channels than its centre is one of
        centred = target - centre if reads == writes else x[:, reads]
        with torch.no_grad():
            kept = _largest(torch.relu(centred @ encoder.T + bias), config.k, config.kind)
        value = (centred[kept.row] * F.embedding(kept.feature, encoder)).sum(1)
        value = torch.relu(value + bias[kept.feature])
        begins = torch.searchsorted(kept.row, torch.arange(len(x), device=device))
        decoded = F.embedding_bag(
            kept.feature, decoder, begins, mode="sum", per_sample_weights=value
        )
        error = target - (decoded + centre)
        loss = error.square().sum(1).mean()
        silent += 1
        silent[kept.feature] = 0.0
        dead = silent > config.dead_after
        if dead.any():
            f = torch.relu(centred @ encoder[dead].T + bias[dead])
            loss = loss + config.aux_weight * _dead_loss(f, decoder[dead], error, config.aux_k)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            decoder /= decoder.norm(dim=1, keepdim=True)
        if (step + 1) % report_every == 0 or step + 1 == config.steps:
            variance = (target - target.mean(0)).square().sum()
            on_report(
                {
                    "step": step + 1,
                    "seconds": round(time.monotonic() - begin, 1),
                    "fvu_whitened": round(float(error.detach().square().sum() / variance), 4),
                    "l0": round(len(kept.row) / len(x), 2),
                    "silent": int(dead.sum()),
                }
            )
    coder = WhitenedCoder(
        _placed(encoder.detach(), reads, width).T.contiguous(),
        bias.detach(),
        _placed(decoder.detach(), writes, width),
        _placed(centre.detach(), writes, width),
    )
    gate = calibrate_gate(model, corpus, centres, config, whitening, coder, first_draw=draw + 1)
    return TrainedSae(coder, whitening, gate)


@torch.inference_mode()
def calibrate_gate(
    model: PairedTree,
    corpus: Corpus,
    centres: NDArray[np.int64],
    config: SaeTraining,
    whitening: Whitening,
    coder: WhitenedCoder,
    *,
    first_draw: int,
    draws: int = 8,
) -> float:
    """The activation above which `config.k` latents of a training token are active on average."""
    largest, tokens = [], 0
    config = replace(config, sampling="uniform")
    for draw in range(first_draw, first_draw + draws):
        x = draw_tokens(model, corpus, centres, config, draw=draw, windows=24)
        f = (x - whitening.mean) @ whitening.matrix - coder.centre
        f = torch.relu(f @ coder.encoder + coder.bias)
        # No token needs more than this to settle where the k-per-token mark lies.
        largest.append(f.flatten().topk(min(4 * config.k * len(x), f.numel())).values)
        tokens += len(x)
    values = torch.cat(largest).sort(descending=True).values
    return float(values[min(config.k * tokens, len(values) - 1)])


def _begin(config: SaeTraining, width: int) -> tuple[Tensor, Tensor]:
    """Encoder and decoder rows to begin with: the same, or of a transcoder each by itself."""
    generator = torch.Generator().manual_seed(config.seed)
    reads, writes = read_and_written(config.tap, width)
    decoder = _unit_rows(config.features, writes, generator)
    if reads == writes:
        return decoder.clone(), decoder
    return _unit_rows(config.features, reads, generator), decoder


def _unit_rows(n: int, channels: slice, generator: torch.Generator) -> Tensor:
    width = channels.stop - channels.start
    return F.normalize(torch.randn(n, width, generator=generator), dim=1)


def _placed(part: Tensor, channels: slice, width: int) -> Tensor:
    """Weights of some channels, the last axis, among all `width`; 0 for the others."""
    whole = part.new_zeros(*part.shape[:-1], width)
    whole[..., channels] = part
    return whole


class _Kept(NamedTuple):
    """Latents that a batch keeps, sorted by row."""

    row: Tensor
    feature: Tensor


def _largest(f: Tensor, k: int, kind: Kind) -> _Kept:
    """Which latents [n, features] are kept; those that are not above 0 never are."""
    if kind == "topk":
        mark = f.topk(k, dim=1).values[:, -1:]
        kept = (f >= mark) & (f > 0)
    else:
        # One value in seven settles the batch's mark to well under a latent per token, in a
        # seventh of the time; 7 and the number of latents have no common divisor.
        some = f.flatten()[::7]
        kept = f > some.kthvalue(len(some) - k * len(f) // 7).values
    return _Kept(*kept.nonzero().unbind(1))


def _dead_loss(f: Tensor, decoder: Tensor, error: Tensor, aux_k: int) -> Tensor:
    """Loss of what dead latents [n, dead] explain of an error, by their decoder [dead, width]."""
    top = f.topk(min(aux_k, f.shape[1]), dim=1)
    revived = torch.zeros_like(f).scatter(1, top.indices, top.values)
    return (revived @ decoder - error.detach()).square().sum(1).mean()
