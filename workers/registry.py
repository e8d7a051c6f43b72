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
from torch import Tensor

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
from workers.device import HostCopies, upload
from workers.language_models.loading import load_language_model
from workers.language_models.paired_tree import N_CODE
from workers.language_models.protocol import LanguageModel, TokenLanguageModel
from workers.language_models.tensor_file import TensorFile
from workers.sae import SparseCoder
from workers.sae_lens import load_sae_lens
from workers.tokens import encode_tokens, without_n

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
    def activations_of(
        self, codes: NDArray[np.uint8], wanted: NDArray[np.bool_] | None = None
    ) -> SparseWindows:
        """Active features at every base of some windows.

        Parameters
        ----------
        codes : ndarray of uint8, shape (batch, length)
            Base codes of windows as they are read: for the reverse strand, of the
            reverse complement.
        wanted : ndarray of bool, shape (batch, length), optional
            Only the features of these bases; all by default. The model reads the others too.

        Returns
        -------
        rows : SparseWindows
            No feature is active at a base that is not A, C, G or T (code 4). Where a token
            of the model holds several bases, each has the token's activations.

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
        read = codes < N_CODE if wanted is None else (codes < N_CODE) & wanted
        if not read.any():
            none = np.empty(0, np.int64)
            return SparseWindows(none, none, none.astype(np.uint32), none.astype(np.float32))
        ids = upload(codes, self.device)
        if isinstance(self.language_model, TokenLanguageModel):
            tokens = self.language_model.token_activations(ids, self.dictionary.layer)
            bases = encode_tokens(tokens, codes, self.coder, read)
            return SparseWindows(
                bases.window, bases.position, bases.feature.astype(np.uint32), bases.value
            )
        h = self.language_model.activations(ids, self.dictionary.layer)
        if self.coder.gate == "batch_topk":
            # All bases of a window compete, wanted or not.
            return self._encode(h, codes < N_CODE, read)
        return self._encode(h, read, read)

    @torch.inference_mode()
    def log_probabilities_of(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the model expects at every base of some windows.

        Parameters
        ----------
        codes : ndarray of uint8, shape (batch, length)
            Base codes of windows of one length, not padded.

        Returns
        -------
        log_probabilities : ndarray of float32, shape (batch, length, 4)
            Natural logarithms, as `LanguageModel.log_probabilities`; NaN where nothing is said.
        """
        found = self.language_model.log_probabilities(upload(codes, self.device))
        return found.float().cpu().numpy()

    @torch.inference_mode()
    def inputs_of(self, codes: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> Tensor:
        """What the dictionary is given of some windows, before its gate.

        Parameters
        ----------
        codes : ndarray of uint8, shape (batch, length)
            As in `activations_of`.
        wanted : ndarray of bool, shape (batch, length)
            The bases wanted; a token is wanted where its first base is.

        Returns
        -------
        h : float tensor, shape [bases or tokens, d_in]
            In the number format of the model.
        """
        ids = upload(codes, self.device)
        if isinstance(self.language_model, TokenLanguageModel):
            found = self.language_model.token_activations(ids, self.dictionary.layer)
            found = without_n(found, codes)
            return found.h[torch.from_numpy(wanted[found.window, found.start]).to(self.device)]
        h = self.language_model.activations(ids, self.dictionary.layer)
        return h[torch.from_numpy(wanted & (codes < N_CODE)).to(self.device)]

    def _encode(
        self, h: Tensor, given: NDArray[np.bool_], read: NDArray[np.bool_]
    ) -> SparseWindows:
        """Active features of the bases `read`, of those `given` to the dictionary."""
        window, position = np.nonzero(given)
        picked = None
        if len(window) < given.size:
            picked = upload(np.flatnonzero(given), self.device)
        copies = HostCopies(self.device)
        for found in self.coder.stream(h.flatten(0, 1), rows=picked, window=window):
            # Half the bytes: neither rows of a batch nor features reach 2^31.
            copies.start(found.row.int(), found.feature.int(), found.value)
        columns = zip(*copies.finish(), strict=True)
        row, feature, value = (np.concatenate(column) for column in columns)
        rows = SparseWindows(window[row], position[row], feature.view(np.uint32), value)
        if given is read:
            return rows
        kept = read[rows.window, rows.position]
        return SparseWindows(
            rows.window[kept], rows.position[kept], rows.feature[kept], rows.value[kept]
        )


def open_dictionary(
    card: DictionaryCard,
    roots: Sequence[Path],
    device: torch.device | None = None,
    *,
    whole: bool = False,
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
    whole : bool
        Whether the model's blocks after the tap are loaded too, for what it expects of bases.

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
    for name, sha256 in (model_card.files or {}).items():
        _verify(model_folder / name, sha256)
    _verify(folder / SAE_WEIGHTS, card.sha256)
    state = TensorFile(model_folder / model_card.weights, device)
    language_model = load_language_model(
        model_card,
        state,
        card.dtype,
        model_folder,
        blocks=None if whole else card.layer,
        tap=card.tap,
    )
    coder = as_served(load_sae_lens(folder), card).to(device)
    _check_fit(card, language_model, coder)
    encoder = Encoder(card, model_card, language_model, coder, device)
    if card.canary is None:
        encoder.activations_of(np.zeros((1, min(64, card.stride)), dtype=np.uint8))
    else:
        check_canary(encoder, card.canary)
    return encoder


def as_served(coder: SparseCoder, card: DictionaryCard) -> SparseCoder:
    """The coder with the gate of its card.

    Raises
    ------
    WeightsError
        If the card asks for a threshold that the weights have not.
    """
    if card.gate == "jumprelu":
        if coder.gate != "jumprelu":
            raise WeightsError(
                f"the weights of dictionary {card.id!r} have the gate {coder.gate!r} and no "
                "threshold, which its card asks for: calibrate one with `saetrack models "
                "calibrate`, or write the gate topk into the card"
            )
        return coder
    return coder.gated_by(card.gate, card.k)


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
    if coder.d_in != model.width or not 0 <= card.layer <= model.n_blocks:
        raise WeightsError(
            f"dictionary {card.id!r} reads {coder.d_in} channels after block {card.layer}, but "
            f"model {card.model_id!r} has {model.width} channels and {model.n_blocks} blocks"
        )
    length = card.window
    if model.max_length is not None and length > model.max_length:
        raise WeightsError(
            f"dictionary {card.id!r} is to read windows of {length} bases, but model "
            f"{card.model_id!r} reads {model.max_length} at most"
        )
