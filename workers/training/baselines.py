"""Baselines as dictionaries: what a language model's layer tells without a sparse autoencoder.

A feature that finds a motif says something about the dictionary only if the raw
channels of the same tap, or their principal components, do not find it as well.
So both are written as dictionaries and go through the same pipeline:

    neurons      f = relu(+-(x - mean) / sd)             each channel, both signs
    components   f = relu(+-(x - mean) v / sqrt(lambda))  each eigenvector v of the covariance

each active above one gate, which is set so that as many features are active at a
base, on average, as of the dictionary they stand beside. The third baseline, a
dictionary on a model with random weights, is trained like any other (`saetrack train
random-model`); the fourth, GC content, needs no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotations.cards import DictionaryCard, find_cards
from annotations.errors import OptionError
from annotations.sequences import reverse_complement
from workers.language_models.paired_taps import Tap, read_and_written
from workers.language_models.paired_tree import N_CODE
from workers.registry import Encoder, open_dictionary
from workers.sae import SparseCoder
from workers.training.bundle import write_coder

Kind = Literal["neurons", "components"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TITLES: dict[Kind, str] = {"neurons": "raw neurons", "components": "principal components"}

INNER = 256
"""Bases of a window that are sampled; the rest is context."""

_SMALLEST_SHARE = 1e-9  # of the largest variance: below it a direction holds rounding alone


@dataclass(frozen=True)
class BaselineSettings:
    """How the statistics of a tap are taken; written to the cards."""

    windows: int = 400
    """Windows drawn, uniformly over all bases; each is read on both strands."""
    seed: int = 0
    """Of the draw."""


class TapSample:
    """Activations of one tap at random bases, and how many features of a dictionary fire there."""

    def __init__(self, activations: Tensor, l0: float) -> None:
        self.activations = activations
        """float32 [n, width]."""
        self.l0 = l0
        """Mean features of the dictionary active at a base."""


@torch.inference_mode()
def sample_tap(
    encoder: Encoder, contigs: Sequence[NDArray[np.uint8]], settings: BaselineSettings
) -> TapSample:
    """Read the tap of a dictionary at random windows of some sequences, both strands.

    Parameters
    ----------
    encoder : Encoder
        The opened dictionary; its card's context is given to every sampled base.
    contigs : sequence of uint8 array, shape (length,)
        Base codes, of sequence that is not held out.
    settings : BaselineSettings
        Windows and seed.

    Raises
    ------
    OptionError
        If no contig is as long as a window, or there is no known base.
    """
    card = encoder.dictionary
    length = card.context + INNER + card.ahead
    starts = np.array([max(0, len(codes) - length + 1) for codes in contigs])
    if not starts.sum():
        raise OptionError(f"baselines need a sequence of {length} bases or more, got none")
    rng = np.random.default_rng(settings.seed)
    parts, active = [], 0
    for pick in np.sort(rng.integers(starts.sum(), size=settings.windows)):
        contig = int(np.searchsorted(np.cumsum(starts), pick, side="right"))
        start = int(pick - starts[:contig].sum())
        bases = contigs[contig][start : start + length]
        both = np.stack([bases, reverse_complement(bases)])
        ids = torch.from_numpy(both).to(encoder.device)
        inner = slice(card.context, card.context + INNER)
        h = encoder.language_model.activations(ids, card.layer)[:, inner]
        tokens = h[ids[:, inner] < N_CODE]
        active += len(encoder.coder.encode_sparse(tokens).row)
        parts.append(tokens.float().cpu())
    tokens = torch.cat(parts)
    if not len(tokens):
        raise OptionError("baselines need sequence with known bases, got N alone")
    return TapSample(tokens, active / len(tokens))


def baseline_coder(sample: TapSample, kind: Kind) -> SparseCoder:
    """One baseline of a tap as a sparse coder with the sparsity of the sample's dictionary.

    Parameters
    ----------
    sample : TapSample
        Tokens the mean, variances and gate are taken from.
    kind : {"neurons", "components"}
        Which directions are features; 2 * i is direction i, 2 * i + 1 its negative.

    Returns
    -------
    coder : SparseCoder
        Activations are in standard deviations; directions without variance are left out.

    Raises
    ------
    OptionError
        If there are fewer tokens than channels, or fewer directions than features active.
    """
    x = sample.activations.double()
    if len(x) <= x.shape[1]:
        raise OptionError(f"{x.shape[1]} channels need more tokens than that, got {len(x)}")
    mean = x.mean(0)
    if kind == "neurons":
        directions, variance = torch.eye(x.shape[1], dtype=torch.float64), x.var(0)
    else:
        variance, vectors = torch.linalg.eigh(torch.cov(x.T))
        directions, variance = vectors.T.flip(0), variance.flip(0)
    kept = variance > _SMALLEST_SHARE * variance.max()
    directions, sd = directions[kept], variance[kept].sqrt()
    if not 0 < sample.l0 < len(sd):
        raise OptionError(
            f"{len(sd)} directions cannot have {sample.l0:.2f} of them active on average"
        )
    size = ((x - mean) @ directions.T / sd).abs().flatten()
    gate = size.kthvalue(len(size) - round(sample.l0 * len(x))).values
    signed = torch.stack([directions, -directions], 1).flatten(0, 1)
    scale = sd.repeat_interleave(2)[:, None]
    encoder = (signed / scale).T
    return SparseCoder(
        W_enc=encoder.float().contiguous(),
        b_enc=(-mean @ encoder).float(),
        threshold=torch.full((len(signed),), float(gate)),
        W_dec=(signed * scale).float(),
        b_dec=mean.float(),
    )


def write_baselines(
    models: Sequence[Path],
    dictionary: str,
    contigs: Sequence[NDArray[np.uint8]],
    out: Path,
    *,
    sequences: str,
    settings: BaselineSettings | None = None,
) -> list[DictionaryCard]:
    """Write the baselines of a dictionary, ``<dictionary id>-neurons`` and ``-components``.

    Parameters
    ----------
    models : sequence of Path
        Models folders in which the dictionary and its model are found.
    dictionary : str
        Id of the dictionary.
    contigs : sequence of uint8 array
        Base codes that means, variances and gates are taken from.
    out : Path
        Models folder to write into.
    sequences : str
        What the contigs are, in words, for the cards.
    settings : BaselineSettings, optional
        How they are sampled.

    Returns
    -------
    cards : list of DictionaryCard
        As written, in the order of `KINDS`.

    Raises
    ------
    StateError
        If a baseline is there already.
    OptionError
        If the dictionary is a transcoder: what a baseline reads it would write as well.
    SaetrackError
        As `workers.registry.open_dictionary`, `sample_tap` and `baseline_coder`.
    """
    settings = settings or BaselineSettings()
    cards = find_cards(models)
    card = cards.dictionary(dictionary)
    reads, writes = read_and_written(cast(Tap, card.tap), card.d_in)
    if reads != writes:
        raise OptionError(
            f"{card.id!r} is a transcoder, of which there are no neurons or components that read "
            "one thing and write another; name a dictionary of another tap"
        )
    model = cards.model(card.model_id)
    sample = sample_tap(open_dictionary(card, models), contigs, settings)
    written = []
    for kind in KINDS:
        coder = baseline_coder(sample, kind)
        written.append(
            write_coder(
                out / model.id / f"{card.id}-{kind}",
                model,
                coder,
                title=f"Baseline: {TITLES[kind]} where {card.id} reads",
                source=f"saetrack train baselines --dictionary {card.id}",
                layer=card.layer,
                tap=card.tap,
                k=None,
                stride=card.stride,
                context=card.context,
                training={
                    "baseline": kind,
                    "dictionary": card.id,
                    "dictionary_sha256": card.sha256,
                    "sequences": sequences,
                    "tokens": len(sample.activations),
                    "windows": settings.windows,
                    "seed": settings.seed,
                    "l0": sample.l0,
                    "gate": float(coder.threshold[0]),
                },
                models=models,
            )
        )
    return written
