"""How faithful a dictionary is to the language model it reads.

Cross-entropy recovered (Gao et al. 2024, arXiv:2406.04093) compares the model
with its layer replaced by the dictionary's reconstruction to the model as it
is and to the model with that layer replaced by its mean:

    recovered = (H(mean) - H(dictionary)) / (H(mean) - H(model))
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from annotations.errors import OptionError
from workers.language_models.paired_tree import N_CODE, PairedTree, Towers, complement
from workers.sae import SparseCoder
from workers.training.sae import whitening_of


@dataclass(frozen=True)
class Fidelity:
    """Measures of one dictionary on one set of tokens; None where undefined."""

    tokens: int
    """Activations measured, both strands counted."""
    l0: float
    """Latents active at a token, on average."""
    fvu: float
    """Fraction of the variance of raw activations that is not explained."""
    fvu_whitened: float
    """The same in whitened space, where the dictionary was trained."""
    cosine: float
    """Mean cosine of an activation and its reconstruction, both centred."""
    live_share: float
    """Share of latents active at one token or more."""
    bits: float
    """Cross-entropy of the model as it is, in bits per base."""
    bits_dictionary: float
    """Cross-entropy with the layer replaced by its reconstruction."""
    bits_mean: float
    """Cross-entropy with the layer replaced by its mean."""
    recovered: float | None
    """Cross-entropy recovered (see the module); None where the layer carries nothing."""


@torch.inference_mode()
def measure_fidelity(
    model: PairedTree,
    coder: SparseCoder,
    layer: int,
    bases: NDArray[np.uint8],
    wanted: NDArray[np.bool_],
    *,
    window: int = 192,
    windows: int = 1000,
    shrink: float = 0.003,
    seed: int = 0,
) -> Fidelity:
    """Measure a dictionary on random windows of one sequence.

    Parameters
    ----------
    model : PairedTree
        The model the dictionary reads.
    coder : SparseCoder
        The dictionary, as served.
    layer : int
        Blocks done before the tap.
    bases : uint8 array, shape (length,)
        Base codes, of a sequence that neither was trained on.
    wanted : bool array, shape (length,)
        Bases that are measured (non-coding ones, say); only the inner two thirds
        of a window are, so that each has its whole left context.
    window, windows : int
        Bases in a window and windows drawn.
    shrink : float
        As in `workers.training.sae.SaeTraining`; the whitening is that of the
        measured tokens.
    seed : int
        Of the draw of windows.

    Returns
    -------
    Fidelity

    Raises
    ------
    OptionError
        If no base is wanted or the sequence is shorter than a window.
    """
    ids, keep = _windows(bases, wanted, window=window, windows=windows, seed=seed)
    raw = torch.cat([_inner_tokens(model, part, mask, layer) for part, mask in _parts(ids, keep)])
    if not len(raw):
        raise OptionError("no base is wanted, so there is nothing to measure")
    mean = raw.mean(0)
    whitening = whitening_of(raw, shrink=shrink)
    active = torch.zeros(coder.n_features, dtype=torch.bool)
    l0, residual, variance = 0.0, np.zeros(2), np.zeros(2)
    cosine = 0.0
    for x in torch.split(raw, 1024):
        z = coder.encode(x)
        y = coder.decode(z)
        active |= (z > 0).any(0)
        l0 += float((z > 0).sum())
        for i, turn in enumerate((torch.eye(x.shape[1]), whitening.matrix)):
            residual[i] += float(((x - y) @ turn).double().square().sum())
            variance[i] += float(((x - mean) @ turn).double().square().sum())
        cosine += float(F.cosine_similarity(x - mean, y - mean).sum())
    bits = [
        _bits(model, layer, ids, keep, replace)
        for replace in (
            lambda h: h,
            lambda h: coder.decode(coder.encode(h)),
            lambda h: mean.expand_as(h),
        )
    ]
    gap = bits[2] - bits[0]
    return Fidelity(
        tokens=len(raw),
        l0=l0 / len(raw),
        fvu=residual[0] / variance[0],
        fvu_whitened=residual[1] / variance[1],
        cosine=cosine / len(raw),
        live_share=float(active.float().mean()),
        bits=bits[0],
        bits_dictionary=bits[1],
        bits_mean=bits[2],
        recovered=(bits[2] - bits[1]) / gap if gap > 0 else None,
    )


def _windows(
    bases: NDArray[np.uint8], wanted: NDArray[np.bool_], *, window: int, windows: int, seed: int
) -> tuple[Tensor, Tensor]:
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
    return torch.from_numpy(bases[index].astype(np.int64)), torch.from_numpy(keep)


def _parts(ids: Tensor, keep: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(ids, 64), torch.split(keep, 64), strict=True))


def _inner_tokens(model: PairedTree, ids: Tensor, keep: Tensor, layer: int) -> Tensor:
    species = torch.zeros(len(ids), dtype=torch.long)
    towers = model.towers(ids, species, layer)
    return torch.cat([towers.left[keep], towers.right[keep]])


def _bits(
    model: PairedTree,
    layer: int,
    ids: Tensor,
    keep: Tensor,
    replace: Callable[[Tensor], Tensor],
) -> float:
    nats, count = 0.0, 0
    for part, mask in _parts(ids, keep):
        both = torch.cat([part, complement(part).flip(1)])
        species = torch.zeros(len(both), dtype=torch.long)
        h = model.residual(both, species, layer)
        h = replace(h.reshape(-1, h.shape[-1])).reshape(h.shape)
        left, right = model.advance(h, layer, len(model.blocks)).chunk(2)
        logits = model.head(Towers(left, right.flip(1)), symmetric=True)
        loss = F.cross_entropy(logits.transpose(1, 2), part.clamp(max=3), reduction="none")
        nats += float(loss[mask].double().sum())
        count += int(mask.sum())
    return nats / count / math.log(2)
