"""Opens the dictionary of a card: verified, loaded, warmed and tried on its canary.

Weights are safetensors whose sha256 is pinned by their cards; nothing is
unpickled and nothing is fetched.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.cards import (
    SAE_WEIGHTS,
    DictionaryCard,
    ModelCard,
    file_sha256,
    find_cards,
)
from annotations.errors import CoordinateError, WeightsError
from annotations.sequences import encode_bases, reverse_complement
from annotations.types import STRAND_SIGNS, Strand
from workers.language_models.loading import load_language_model
from workers.language_models.paired_tree import N_CODE
from workers.language_models.protocol import LanguageModel
from workers.sae import SparseCoder, load_sae_lens, read_safetensors

CANARY_ACTIVATIONS = 32
"""Activations a canary pins: the largest of its sequence."""

CANARY_TOLERANCE = 0.01
"""Relative deviation a canary allows; devices differ by about 1e-5, other weights by about 1."""


class SparseWindows(NamedTuple):
    """Active features of a batch of windows, one row each, sorted by window, position, feature."""

    window: NDArray[np.int64]
    """Row of the batch."""
    position: NDArray[np.int64]
    """Column of the batch: base in the window, in the direction it was read."""
    feature: NDArray[np.uint32]
    """Index of the feature."""
    value: NDArray[np.float32]
    """Activation, above 0."""


class Encoder:
    """A language model up to the tap and the dictionary that reads it there."""

    def __init__(
        self,
        dictionary: DictionaryCard,
        model: ModelCard,
        language_model: LanguageModel,
        coder: SparseCoder,
        device: torch.device,
    ) -> None:
        self.dictionary = dictionary
        self.model = model
        self.language_model = language_model
        self.coder = coder
        self.device = device

    @torch.inference_mode()
    def activations_of(self, codes: NDArray[np.uint8]) -> SparseWindows:
        """Active features at every base of some windows.

        Parameters
        ----------
        codes : ndarray of uint8, shape (batch, length)
            Base codes of windows as they are read: for the reverse strand, of the
            reverse complement.

        Returns
        -------
        rows : SparseWindows
            No feature is active at a base that is not A, C, G or T (code 4).

        Raises
        ------
        CoordinateError
            If `codes` is not two-dimensional uint8.
        LimitError
            If the windows are longer than the model reads.
        """
        if codes.ndim != 2 or codes.dtype != np.uint8:
            raise CoordinateError(
                f"codes must be uint8 of shape (batch, length), got {codes.dtype} of {codes.shape}"
            )
        window, position = np.nonzero(codes < N_CODE)
        if not len(window):
            none = np.empty(0, np.int64)
            return SparseWindows(none, none, none.astype(np.uint32), none.astype(np.float32))
        ids = torch.from_numpy(np.ascontiguousarray(codes)).to(self.device)
        h = self.language_model.activations(ids, self.dictionary.layer)
        # Where no base is N this is a view: no copy of the batch.
        known = h.flatten(0, 1) if len(window) == codes.size else h[ids < N_CODE]
        found = self.coder.encode_sparse(known)
        row = found.row.cpu().numpy()
        return SparseWindows(
            window[row],
            position[row],
            found.feature.cpu().numpy().astype(np.uint32),
            found.value.cpu().numpy(),
        )


def open_dictionary(
    card: DictionaryCard, roots: Sequence[Path], device: torch.device | None = None
) -> Encoder:
    """Open a dictionary and its language model, ready to encode.

    Parameters
    ----------
    card : DictionaryCard
        As `annotations.cards.find_cards` found it.
    roots : sequence of Path
        Models folders, as for `annotations.cards.find_cards`.
    device : torch.device, optional
        Where to compute; the CPU unless told.

    Returns
    -------
    encoder : Encoder
        Warm: it has encoded its canary or a short sequence.

    Raises
    ------
    WeightsError
        If a file is missing, its sha256 is not the card's, the weights do not fit
        their card, or the canary does not give its activations.
    FormatError
        If a card in the models folders is not valid.
    OptionError
        If a models folder does not exist.
    """
    device = device or torch.device("cpu")
    folder, model_card, model_folder = _locate(card, roots)
    if model_card.sha256 != card.model_sha256:
        raise WeightsError(
            f"dictionary {card.id!r} reads model weights {card.model_sha256[:12]}…, but model "
            f"{model_card.id!r} has {model_card.sha256[:12]}…; install the two that belong together"
        )
    _verify(model_folder / model_card.weights, model_card.sha256)
    _verify(folder / SAE_WEIGHTS, card.sha256)
    state = read_safetensors(model_folder / model_card.weights, device)
    language_model = load_language_model(model_card, state)
    coder = load_sae_lens(folder).to(device)
    _check_fit(card, language_model, coder)
    encoder = Encoder(card, model_card, language_model, coder, device)
    if card.canary is None:
        encoder.activations_of(np.zeros((1, min(64, card.stride)), dtype=np.uint8))
    else:
        check_canary(encoder, card.canary)
    return encoder


def write_canary(card: DictionaryCard, encoder: Encoder, sequence: str) -> dict[str, Any]:
    """Make the canary of a dictionary: a sequence and the largest activations it gives.

    Parameters
    ----------
    card : DictionaryCard
        The card that is to hold the canary.
    encoder : Encoder
        The opened dictionary.
    sequence : str
        DNA of one window at most; a few hundred bases serve well.

    Returns
    -------
    canary : dict
        For `DictionaryCard.canary`: the sequence; ``activations``, each a list of
        feature, strand ("+" or "-"), position in forward coordinates and value; and
        the relative ``tolerance``.

    Raises
    ------
    WeightsError
        If the card is not of the encoder's dictionary, or no feature is active.
    """
    if card.sha256 != encoder.dictionary.sha256:
        raise WeightsError(
            f"the card {card.id!r} is of other weights ({card.sha256[:12]}…) than the dictionary "
            f"that was opened ({encoder.dictionary.sha256[:12]}…)"
        )
    values = _read_both_strands(encoder, sequence)
    if not values:
        raise WeightsError(
            f"no feature of dictionary {card.id!r} is active on the canary's {len(sequence)} "
            "bases; use a longer sequence or check the gate"
        )
    largest = sorted(values.items(), key=lambda item: (-item[1], item[0]))[:CANARY_ACTIVATIONS]
    return {
        "sequence": sequence,
        "activations": [[*place, round(value, 6)] for place, value in largest],
        "tolerance": CANARY_TOLERANCE,
    }


def check_canary(encoder: Encoder, canary: dict[str, Any]) -> None:
    """Read a canary and compare.

    Parameters
    ----------
    encoder : Encoder
        The opened dictionary.
    canary : dict
        As `write_canary` returns it.

    Raises
    ------
    WeightsError
        If an activation is missing or deviates by more than the tolerance.
    """
    values = _read_both_strands(encoder, canary["sequence"])
    for feature, strand, position, expected in canary["activations"]:
        value = values.get((feature, strand, position), 0.0)
        if abs(value - expected) > canary["tolerance"] * expected:
            raise WeightsError(
                f"dictionary {encoder.dictionary.id!r} fails its canary: feature {feature} at "
                f"position {position} ({strand}) is {value:.6g}, expected {expected:.6g} within "
                f"{canary['tolerance']:.3g}; the weights, the card or the computation changed"
            )


def _read_both_strands(encoder: Encoder, sequence: str) -> dict[tuple[int, Strand, int], float]:
    codes = encode_bases(sequence.encode("ascii"))
    values: dict[tuple[int, Strand, int], float] = {}
    for strand in STRAND_SIGNS:
        read = codes if strand == "+" else reverse_complement(codes)
        found = encoder.activations_of(read[None])
        place = found.position if strand == "+" else len(codes) - 1 - found.position
        for feature, position, value in zip(
            found.feature.tolist(), place.tolist(), found.value.tolist(), strict=True
        ):
            values[feature, strand, position] = value
    return values


def _locate(card: DictionaryCard, roots: Sequence[Path]) -> tuple[Path, ModelCard, Path]:
    """Folder of the dictionary, card of its model, folder of its model."""
    cards = find_cards(roots)
    try:
        model = cards.model(card.model_id)
        return cards.folder(card), model, cards.folder(model)
    except LookupError as error:
        searched = ", ".join(str(root) for root in roots) or "none"
        raise WeightsError(
            f"dictionary {card.id!r} or its model {card.model_id!r} is in none of the models "
            f"folders ({searched}); install both there or name their folder"
        ) from error


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise WeightsError(f"the weights {path} are missing; put them there or correct the card")
    found = file_sha256(path)
    if found != expected:
        raise WeightsError(
            f"{path} has the sha256 {found[:12]}…, but its card says {expected[:12]}…; the file "
            "was altered or cut: fetch it again"
        )


def _check_fit(card: DictionaryCard, model: LanguageModel, coder: SparseCoder) -> None:
    if (coder.d_in, coder.n_features) != (card.d_in, card.d_sae):
        raise WeightsError(
            f"dictionary {card.id!r} has {coder.d_in} channels and {coder.n_features} features, "
            f"but its card says {card.d_in} and {card.d_sae}"
        )
    if coder.gate != card.gate:
        raise WeightsError(
            f"dictionary {card.id!r} has the gate {coder.gate!r}, but only {card.gate!r} is "
            "served: calibrate a threshold and save it as jumprelu"
        )
    if coder.d_in != model.width or not 0 <= card.layer <= model.n_blocks:
        raise WeightsError(
            f"dictionary {card.id!r} reads {coder.d_in} channels after block {card.layer}, but "
            f"model {card.model_id!r} has {model.width} channels and {model.n_blocks} blocks"
        )
    length = card.stride + card.context
    if model.max_length is not None and length > model.max_length:
        raise WeightsError(
            f"dictionary {card.id!r} is to read windows of {length} bases, but model "
            f"{card.model_id!r} reads {model.max_length} at most"
        )
