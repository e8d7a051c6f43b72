"""Models folders written: weights, card and canary, or nothing.

    <into>/<model id>/model.json, model.safetensors
    <into>/<model id>/<dictionary id>/dictionary.json, cfg.json, sae_weights.safetensors

What is there is never replaced: dictionaries, atlases and results are bound to the
sha256 of the weights below them.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from annotations.cards import (
    SAE_WEIGHTS,
    DictionaryCard,
    ModelCard,
    file_sha256,
    find_cards,
    write_card,
)
from annotations.errors import StateError, UnknownNameError, WeightsError
from workers.canary import CANARY_SEQUENCE, write_model_canary
from workers.checkpoints import Progress, check_room, write_safetensors
from workers.known_models import known_release
from workers.language_models.loading import load_language_model
from workers.language_models.tensor_file import TensorFile
from workers.registry import open_dictionary, write_canary
from workers.sae import SparseCoder
from workers.sae_lens import save_sae_lens

MODEL_WEIGHTS = "model.safetensors"

UNHASHED = "0" * 64
"""Stands for a sha256 until the file is written."""

WINDOW = 8192
"""Bases of a window, where the model reads more and nothing else is asked for."""


class Installed(NamedTuple):
    """What was written."""

    card: ModelCard | DictionaryCard
    """As on disk, with its canary."""
    folder: Path
    """Where it lies."""
    notes: tuple[str, ...]
    """What was found and done, one line each, for people."""


def install_model(
    into: Path,
    card: ModelCard,
    weights: Path | Mapping[str, Tensor],
    *,
    files: Sequence[Path] = (),
    dtype: str = "float32",
    device: torch.device | None = None,
    canary: bool = True,
    on_progress: Progress = lambda what: None,
) -> Installed:
    """Write a model's folder, load it and make its canary.

    Parameters
    ----------
    into : Path
        Models folder; made where it does not exist.
    card : ModelCard
        Its `sha256`, `files` and `canary` are filled in here.
    weights : Path or mapping of str to tensor
        A safetensors file, copied as it is, or tensors, streamed into one.
    files : sequence of Path
        Other files the model needs, copied beside the weights.
    dtype : str
        Number format of the canary.
    device : torch.device, optional
        Where the canary runs; the CPU unless told.
    canary : bool
        Whether to load the model and make its canary.
    on_progress : callable
        Told what is done next.

    Returns
    -------
    installed : Installed

    Raises
    ------
    StateError
        If the folder exists.
    WeightsError
        If the weights do not make the model of the card; the folder is removed again.
    """
    device = device or torch.device("cpu")
    with new_folder(into / card.id) as folder:
        path = folder / card.weights
        if isinstance(weights, Path):
            on_progress(f"copying {weights.name}")
            check_room(folder, weights.stat().st_size, what=weights.name)
            shutil.copyfile(weights, path)
            sha256 = file_sha256(path)
        else:
            sha256 = write_safetensors(weights, path, on_tensor=on_progress)
        for file in files:
            shutil.copyfile(file, folder / file.name)
        hashes = {file.name: file_sha256(folder / file.name) for file in files}
        card = replace(card, sha256=sha256, files=hashes or None)
        notes = [f"{path}: sha256 {sha256}"]
        if canary:
            on_progress("running the canary")
            model = load_language_model(card, TensorFile(path, device), dtype, folder)
            card = replace(card, canary=write_model_canary(model, device, dtype=dtype))
            notes.append(
                f"canary: {len(card.canary['values'] if card.canary else [])} channels after "
                f"block {model.n_blocks - 1}, in {dtype}"
            )
        write_card(card, folder)
    return Installed(card, folder, tuple(notes))


def install_dictionary(
    into: Path,
    roots: Sequence[Path],
    coder: SparseCoder,
    card: DictionaryCard,
    *,
    device: torch.device | None = None,
    canary: bool = True,
    on_progress: Progress = lambda what: None,
) -> Installed:
    """Write a dictionary's folder, open it and make its canary.

    Parameters
    ----------
    into : Path
        Models folder that gets ``<model id>/<dictionary id>``.
    roots : sequence of Path
        Models folders in which its model is found.
    coder : SparseCoder
        Its gate is "jumprelu" or "topk".
    card : DictionaryCard
        Its `sha256` and `canary` are filled in here.
    device : torch.device, optional
        Where the canary runs; the CPU unless told.
    canary : bool
        Whether to open it and make its canary.
    on_progress : callable
        Told what is done next.

    Returns
    -------
    installed : Installed

    Raises
    ------
    StateError
        If the folder exists.
    WeightsError
        If the dictionary does not fit its model; the folder is removed again.
    """
    with new_folder(into / card.model_id / card.id) as folder:
        on_progress("writing the dictionary")
        metadata = {"model_name": card.model_id, "hook_name": f"blocks.{card.layer - 1}"}
        save_sae_lens(coder, folder, metadata=metadata)
        card = replace(card, sha256=file_sha256(folder / SAE_WEIGHTS))
        write_card(card, folder)
        notes = [f"{folder / SAE_WEIGHTS}: sha256 {card.sha256}"]
        if canary:
            on_progress("running the canary")
            encoder = open_dictionary(card, with_root(roots, into), device)
            made = write_canary(card, encoder, CANARY_SEQUENCE)
            card = replace(card, canary=made)
            write_card(card, folder)
            notes.append(f"canary: {len(made['activations'])} activations pinned")
    return Installed(card, folder, tuple(notes))


def with_root(roots: Sequence[Path], into: Path) -> list[Path]:
    """The models folders, and the one that is written to where it exists, once each."""
    return list(dict.fromkeys([*roots, *([into] if into.is_dir() else [])]))


def find_model(roots: Sequence[Path], model_id: str) -> tuple[ModelCard, Path]:
    """Card and folder of a model; UnknownNameError if no models folder has it."""
    cards = find_cards(roots)
    if model_id not in cards.models and known_release(model_id):
        raise UnknownNameError(
            f"model {model_id!r} is known but not installed here; convert it first: `saetrack "
            f"models show {model_id}` says what to fetch and what to type"
        )
    card = cards.model(model_id)
    return card, cards.folder(card)


def width_of(card: ModelCard) -> int:
    """Channels of a model's residual stream, as its card says.

    Raises
    ------
    WeightsError
        If the card's config does not say.
    """
    sizes: Mapping[str, Any] = card.config.get("transformers", card.config)
    for name in ("hidden_size", "d_model", "width", "n_embd"):
        if isinstance(sizes.get(name), int):
            return int(sizes[name])
    raise WeightsError(f"the card of model {card.id!r} does not say its number of channels")


def blocks_of(card: ModelCard) -> int:
    """Blocks of a model, as its card says.

    Raises
    ------
    WeightsError
        If the card's config does not say.
    """
    sizes: Mapping[str, Any] = card.config.get("transformers", card.config)
    if "distances" in sizes:
        return len(sizes["distances"]) + int(sizes.get("attention_blocks", 0))
    for name in ("num_layers", "n_layer", "num_hidden_layers"):
        if isinstance(sizes.get(name), int):
            return int(sizes[name])
    raise WeightsError(f"the card of model {card.id!r} does not say its number of blocks")


def window_of(card: ModelCard) -> tuple[int, int]:
    """Stride and context a model is read with unless told: halves of a window.

    Whole tokens, where a token is a k-mer: a token then never lies across the edge of a
    window's own bases, but at the end of a contig.
    """
    step = int(card.nt_per_token) if card.tokenization == "kmer" else 1
    longest = min(card.max_length or WINDOW, WINDOW)
    context = min(card.context, longest // 2) // step * step
    return max(step, (longest - context) // step * step), context


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder that did not exist, and is removed again where its making fails.

    Raises
    ------
    StateError
        If it exists.
    """
    if folder.exists():
        raise StateError(
            f"{folder} exists; weights are never replaced: choose another id, or remove it"
        )
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
