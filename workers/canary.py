"""The canary of a language model: a sequence, and activations that it must give.

That of a dictionary is in `workers.registry`; it tries the model below it as well.
This one is for a model that has no dictionary yet.
"""

from typing import Any

import numpy as np
import torch

from annotations.cards import ModelCard
from annotations.errors import WeightsError
from annotations.sequences import encode_bases
from workers.language_models.protocol import LanguageModel

CANARY_SEQUENCE = (
    "TTACCCGGATCACGTGATCGTTACCCGCATTTGAAAAATTTTTCATCGATGAGCTCATCACGTGACCATGGCGGGTAATTTAACC"
    "GGCGCGCATTAGTCATTTTCCACGTGAAACAATATAAAGTTACCCGTATATGAGTCAATGCCGATCGCGGCTAATCGATTACGAT"
)
"""Made up: motifs of several yeast TFs among arbitrary bases."""

CANARY_CHANNELS = 32
"""Channels a canary pins, evenly spaced."""

CANARY_TOLERANCE = {"float32": 0.01, "bfloat16": 0.1}
"""Deviation allowed, in root mean squares of the pinned channels, by number format."""


def write_model_canary(
    model: LanguageModel, device: torch.device, *, dtype: str, sequence: str = CANARY_SEQUENCE
) -> dict[str, Any]:
    """Make the canary of a model: some channels after its last block, at the last base.

    Parameters
    ----------
    model : LanguageModel
        The loaded model.
    device : torch.device
        Where it lies.
    dtype : str
        Number format it is computed in.
    sequence : str
        DNA of one window at most.

    Returns
    -------
    canary : dict
        For `ModelCard.canary`.

    Raises
    ------
    WeightsError
        If an activation is not finite or all are 0.
    """
    row = _read(model, sequence, device)
    channels = np.unique(np.linspace(0, len(row) - 1, CANARY_CHANNELS).astype(int)).tolist()
    values = [float(row[channel]) for channel in channels]
    if not np.isfinite(values).all() or not np.any(values):
        raise WeightsError(
            "the model's activations on its canary are not finite, or all 0; the weights or their "
            "number format are wrong"
        )
    return {
        "sequence": sequence,
        "dtype": dtype,
        "channels": channels,
        "values": [round(value, 6) for value in values],
        "tolerance": CANARY_TOLERANCE[dtype],
    }


def check_model_canary(card: ModelCard, model: LanguageModel, device: torch.device) -> None:
    """Read the canary of a model's card and compare.

    Raises
    ------
    WeightsError
        If the card has no canary, or an activation deviates by more than the tolerance.
    """
    if card.canary is None:
        raise WeightsError(f"the card of model {card.id!r} has no canary; convert it again")
    row = _read(model, card.canary["sequence"], device)
    expected = np.array(card.canary["values"])
    found = np.array([float(row[channel]) for channel in card.canary["channels"]])
    scale = float(np.sqrt(np.square(expected).mean()))
    worst = float(np.abs(found - expected).max()) / scale
    if not worst <= card.canary["tolerance"]:
        raise WeightsError(
            f"model {card.id!r} fails its canary: a channel deviates by {worst:.3g} of their root "
            f"mean square, allowed are {card.canary['tolerance']:g}; the weights, the card or the "
            "computation changed"
        )


def _read(model: LanguageModel, sequence: str, device: torch.device) -> torch.Tensor:
    codes = torch.from_numpy(encode_bases(sequence.encode("ascii"))[None]).to(device)
    return model.activations(codes, model.n_blocks)[0, -1].float().cpu()
