"""How faithful a dictionary is to the language model it reads, for any pair of the two.

    fvu                unexplained share of the variance of the tap's activations
    recovered          (H(mean) - H(dictionary)) / (H(mean) - H(model))
    kl_recovered       1 - KL(model, dictionary) / KL(model, mean)

H is the cross-entropy of the bases (Gao et al. 2024, arXiv:2406.04093), KL the divergence of
what is expected of a base from what the model as it is expects (Karvonen et al. 2025,
arXiv:2503.09532), with the tap replaced by the dictionary's reconstruction or by its mean.
Both are over A, C, G and T, given that the base is one of the four. A model without a head
has neither: they are null, with the reason. Of a transcoder only what it writes is measured.
What the mean of a tap costs differs by tap, so shares recovered compare within a tap alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from annotations.errors import OptionError
from annotations.sequences import reverse_complement
from workers.calibration import WindowSample, calibrated, threshold_of
from workers.language_models.paired_taps import Tap, read_and_written
from workers.language_models.paired_tree import N_CODE
from workers.language_models.protocol import (
    Splice,
    SplicedLanguageModel,
    TokenLanguageModel,
)
from workers.registry import Encoder
from workers.sae import SparseCoder, scaled
from workers.tokens import without_n
from workers.training.sae import whitening_by

NO_HEAD = "the model is loaded without a head: it says nothing of the bases"
NOTHING_LOST = "replacing the tap by its mean costs the model nothing on these bases"


@dataclass(frozen=True)
class Fidelity:
    """Measures of one dictionary on one set of tokens; None where undefined."""

    tokens: int
    """Activations measured, both strands counted."""
    scale: float
    """What the dictionary is given is the activation times this."""
    gate: str
    """The gate, and whether it was set on these tokens."""
    l0: float
    """Latents active at a token, on average."""
    fvu: float | None
    """Fraction of the variance that is not explained, of what the dictionary writes."""
    fvu_whitened: float | None
    """The same in whitened space; None where not asked for."""
    cosine: float | None
    """Mean cosine of an activation and its reconstruction, both centred."""
    live_share: float
    """Share of latents active at one token or more."""
    dead_share: float
    """Share of latents active at none."""
    bits: float | None
    """Cross-entropy of the model as it is, in bits per base."""
    bits_dictionary: float | None
    """Cross-entropy with the tap replaced by its reconstruction."""
    bits_mean: float | None
    """Cross-entropy with the tap replaced by its mean."""
    recovered: float | None
    """Cross-entropy recovered (see the module)."""
    kl_dictionary: float | None
    """Divergence with the tap replaced by its reconstruction, in bits per base."""
    kl_mean: float | None
    """Divergence with the tap replaced by its mean, in bits per base."""
    kl_recovered: float | None
    """Divergence recovered (see the module)."""
    reason: str | None
    """Why what is recovered is None."""


@dataclass(frozen=True)
class _Tap:
    """Activations of some windows: those the dictionary is given, and which of them count."""

    x: Tensor
    window: NDArray[np.int64]
    counts: Tensor


@dataclass(frozen=True)
class _Moments:
    n: int
    mean: Tensor
    variance: float
    covariance: Tensor | None


@dataclass(frozen=True)
class _Expected:
    """What a model expects of the bases that count: their bits and log probabilities."""

    bits: float
    log_p: Tensor


@torch.inference_mode()
def measure_fidelity(
    encoder: Encoder,
    sample: WindowSample,
    *,
    scales: Sequence[float] = (1.0,),
    batch: int = 1,
    shrink: float | None = None,
) -> list[Fidelity]:
    """Measure a dictionary on windows of sequence that neither was trained on.

    Parameters
    ----------
    encoder : Encoder
        The opened dictionary, with all blocks of its model.
    sample : WindowSample
        What is read, and the bases measured (a token where its first base is).
    scales : sequence of float
        Factors of the dictionary's input to compare. A threshold that was calibrated is set
        anew for a factor that is not 1, so that k latents are active on these tokens.
    batch : int
        Windows read at once.
    shrink : float, optional
        Also measure in whitened space, with this shrinkage (`workers.training.sae`).

    Returns
    -------
    measures : list of Fidelity
        One for each scale.

    Raises
    ------
    OptionError
        If no base is wanted.
    """
    if not sample.wanted.any():
        raise OptionError("no base is wanted, so there is nothing to measure")
    moments = _moments(encoder, sample, batch, covariance=shrink is not None)
    whitening = None
    if moments.covariance is not None and shrink is not None:
        written = _written(encoder)
        covariance = moments.covariance[written, written]
        whitening = whitening_by(moments.mean[written], covariance, shrink=shrink).matrix
    as_it_is = _expected(encoder, sample, batch, lambda h: h)
    as_mean = _expected(encoder, sample, batch, lambda h: moments.mean.to(h.dtype).expand_as(h))
    found = []
    for scale in scales:
        coder, gate = _at_scale(encoder, sample, batch, scale)

        def splice(h: Tensor, coder: SparseCoder = coder) -> Tensor:
            window = np.repeat(np.arange(len(h)), h.shape[1])
            return _reconstruct(coder, h.flatten(0, 1), window)[0].view_as(h)

        found.append(
            Fidelity(
                tokens=moments.n,
                scale=scale,
                gate=gate,
                **_reconstruction(encoder, coder, sample, batch, moments, whitening),
                **_recovered(as_it_is, _expected(encoder, sample, batch, splice), as_mean),
            )
        )
    return found


def random_windows(
    bases: NDArray[np.uint8],
    wanted: NDArray[np.bool_],
    *,
    window: int = 192,
    windows: int = 1000,
    seed: int = 0,
) -> WindowSample:
    """Random windows of one sequence around wanted bases, each on both strands.

    Parameters
    ----------
    bases : uint8 array, shape (length,)
        Base codes.
    wanted : bool array, shape (length,)
        Bases that count (non-coding ones, say); only the inner two thirds of a window do, so
        that each has its context on both sides.
    window, windows : int
        Bases in a window and windows drawn.
    seed : int
        Of the draw.

    Raises
    ------
    OptionError
        If no base is wanted or the sequence is shorter than a window.
    """
    margin = window // 6
    if len(bases) < window or not wanted.any():
        raise OptionError(
            f"fidelity needs a sequence of {window} bases or more with wanted bases in it, got "
            f"{len(bases)} bases of which {int(wanted.sum())} are wanted"
        )
    rng = np.random.default_rng(seed)
    centre = rng.choice(np.flatnonzero(wanted & (bases < N_CODE)), windows)
    start = np.clip(centre - rng.integers(margin, window - margin, windows), 0, len(bases) - window)
    index = start[:, None] + np.arange(window)
    keep = wanted[index] & (bases[index] < N_CODE)
    keep[:, :margin] = keep[:, window - margin :] = False
    reverse = np.stack([reverse_complement(row) for row in bases[index]])
    return WindowSample(
        np.concatenate([bases[index], reverse]), np.concatenate([keep, keep[:, ::-1]])
    )


def with_context_on_both_sides(encoder: Encoder, sample: WindowSample) -> WindowSample:
    """Leave out bases near the right end of their window, where a model reads both sides.

    Raises
    ------
    OptionError
        If no base is left.
    """
    model = encoder.language_model
    if not (isinstance(model, SplicedLanguageModel) and model.two_sided):
        return sample
    wanted = sample.wanted.copy()
    wanted[:, wanted.shape[1] - encoder.dictionary.context :] = False
    if not wanted.any():
        raise OptionError(
            "no base of a window has its context on both sides; give longer sequences"
        )
    return WindowSample(sample.codes, wanted)


def _written(encoder: Encoder) -> slice:
    """Channels of the tap that the dictionary reconstructs."""
    return read_and_written(cast(Tap, encoder.dictionary.tap), encoder.coder.d_in)[1]


def _parts(sample: WindowSample, batch: int) -> Iterator[WindowSample]:
    for first in range(0, len(sample.codes), batch):
        rows = slice(first, first + batch)
        yield WindowSample(sample.codes[rows], sample.wanted[rows])


def _tap(encoder: Encoder, part: WindowSample) -> _Tap:
    model, layer = encoder.language_model, encoder.dictionary.layer
    ids = torch.from_numpy(part.codes).to(encoder.device)
    if isinstance(model, TokenLanguageModel):
        tokens = without_n(model.token_activations(ids, layer), part.codes)
        counts = part.wanted[tokens.window, tokens.start]
        return _Tap(tokens.h, tokens.window, torch.from_numpy(counts).to(encoder.device))
    known = part.codes < N_CODE
    h = model.activations(ids, layer)[torch.from_numpy(known).to(encoder.device)]
    return _Tap(h, np.nonzero(known)[0], torch.from_numpy(part.wanted[known]).to(encoder.device))


def _moments(encoder: Encoder, sample: WindowSample, batch: int, *, covariance: bool) -> _Moments:
    width, device = encoder.coder.d_in, encoder.device
    written, n, squares = _written(encoder), 0, 0.0
    total = torch.zeros(width, dtype=torch.float64, device=device)
    products = torch.zeros(width, width, dtype=torch.float64, device=device) if covariance else None
    for part in _parts(sample, batch):
        tap = _tap(encoder, part)
        x = tap.x[tap.counts].double()
        n += len(x)
        total += x.sum(0)
        squares += float(x[:, written].square().sum())
        if products is not None:
            products += x.T @ x
    if not n:
        raise OptionError("no base is wanted, so there is nothing to measure")
    mean = total / n
    if products is not None:
        products = (products - n * torch.outer(mean, mean)) / max(1, n - 1)
    variance = squares - n * float(mean[written].square().sum())
    return _Moments(n, mean.float(), variance, products)


def _at_scale(
    encoder: Encoder, sample: WindowSample, batch: int, scale: float
) -> tuple[SparseCoder, str]:
    """The coder that reads `scale` times its tap, and what its gate is."""
    coder, card = encoder.coder, encoder.dictionary
    if scale == 1:
        return coder, f"{coder.gate}, as served"
    coder = scaled(coder, scale)
    if coder.gate != "jumprelu" or card.calibration is None or card.k is None:
        return coder, f"{coder.gate}, as served"
    taps = (_tap(encoder, part) for part in _parts(sample, batch))
    found = threshold_of(
        coder,
        (tap.x[tap.counts] for tap in taps),
        k=card.k,
        most=card.k * int(sample.wanted.sum()),
    )
    return calibrated(coder, found.theta), f"jumprelu, set to {card.k} latents on these tokens"


def _reconstruct(
    coder: SparseCoder, x: Tensor, window: NDArray[np.int64]
) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction of rows, in their format; rows and features that are active."""
    found = coder.encode_windows(x, window)
    return coder.decode_sparse(found, len(x)).to(x.dtype), found.row, found.feature


def _reconstruction(
    encoder: Encoder,
    coder: SparseCoder,
    sample: WindowSample,
    batch: int,
    moments: _Moments,
    whitening: Tensor | None,
) -> dict[str, Any]:
    live = torch.zeros(coder.n_features, dtype=torch.bool, device=encoder.device)
    written, active, cosine = _written(encoder), 0, 0.0
    mean = moments.mean[written]
    # unexplained, unexplained and total in whitened space
    sums = [0.0, 0.0, 0.0]
    for part in _parts(sample, batch):
        tap = _tap(encoder, part)
        whole, row, feature = _reconstruct(coder, tap.x.float(), tap.window)
        counted = tap.counts[row]
        active += int(counted.sum())
        live[feature[counted]] = True
        x, y = tap.x[tap.counts][:, written].float(), whole[tap.counts][:, written]
        sums[0] += float((x - y).double().square().sum())
        if whitening is not None:
            sums[1] += float(((x - y) @ whitening).double().square().sum())
            sums[2] += float(((x - mean) @ whitening).double().square().sum())
        cosine += float(F.cosine_similarity(x - mean, y - mean).sum())
    varies = moments.variance > 0
    share = float(live.float().mean())
    return {
        "l0": active / moments.n,
        "fvu": sums[0] / moments.variance if varies else None,
        "fvu_whitened": sums[1] / sums[2] if sums[2] else None,
        "cosine": cosine / moments.n if varies else None,
        "live_share": share,
        "dead_share": 1 - share,
    }


def _expected(
    encoder: Encoder, sample: WindowSample, batch: int, splice: Splice
) -> _Expected | None:
    """What the model expects with its tap replaced at known bases; None without a head."""
    model, layer = encoder.language_model, encoder.dictionary.layer
    if not isinstance(model, SplicedLanguageModel):
        return None
    nats, kept = 0.0, []
    for part in _parts(sample, batch):
        ids = torch.from_numpy(part.codes).to(encoder.device)
        known = ids < N_CODE

        def at_known(h: Tensor, known: Tensor = known) -> Tensor:
            # the second half of twice as many rows are the reverse complements
            rows = known if len(h) == len(known) else torch.cat([known, known.flip(1)])
            return torch.where(rows[..., None], splice(h), h)

        log_p = model.spliced_log_probabilities(ids, layer, at_known)
        counts = torch.from_numpy(part.wanted).to(encoder.device) & ~log_p[..., 0].isnan()
        log_p, target = log_p[counts], ids[counts].long()
        nats -= float(log_p.gather(1, target[:, None]).double().sum())
        kept.append(log_p.cpu())
    together = torch.cat(kept)
    return _Expected(nats / max(1, len(together)) / math.log(2), together)


def _recovered(
    as_it_is: _Expected | None, dictionary: _Expected | None, mean: _Expected | None
) -> dict[str, Any]:
    if as_it_is is None or dictionary is None or mean is None:
        measures = ("bits", "bits_dictionary", "bits_mean", "recovered")
        divergences = ("kl_dictionary", "kl_mean", "kl_recovered")
        return dict.fromkeys((*measures, *divergences), None) | {"reason": NO_HEAD}
    gap = mean.bits - as_it_is.bits
    lost = [_divergence(as_it_is.log_p, other.log_p) for other in (dictionary, mean)]
    return {
        "bits": as_it_is.bits,
        "bits_dictionary": dictionary.bits,
        "bits_mean": mean.bits,
        "recovered": (mean.bits - dictionary.bits) / gap if gap > 0 else None,
        "kl_dictionary": lost[0],
        "kl_mean": lost[1],
        "kl_recovered": 1 - lost[0] / lost[1] if lost[1] > 0 else None,
        "reason": None if gap > 0 else NOTHING_LOST,
    }


def _divergence(log_p: Tensor, log_q: Tensor) -> float:
    """Mean Kullback-Leibler divergence of q from p over rows, in bits."""
    p = log_p.double()
    return float((p.exp() * (p - log_q.double())).sum(1).mean()) / math.log(2)
