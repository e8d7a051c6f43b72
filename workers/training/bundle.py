"""From trained weights to the folders a server reads: safetensors with a card."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file

from annotations.cards import (
    SAE_WEIGHTS,
    DictionaryCard,
    ModelCard,
    file_sha256,
    write_card,
)
from annotations.errors import StateError
from workers.canary import CANARY_SEQUENCE
from workers.language_models.paired_taps import Tap, read_and_written
from workers.language_models.paired_tree import PairedTree, PairedTreeConfig, load_paired_tree
from workers.registry import open_dictionary, write_canary
from workers.sae import SparseCoder, fold_whitening
from workers.sae_lens import save_sae_lens
from workers.training.sae import SaeTraining, TrainedSae

MODEL_WEIGHTS = "model.safetensors"
LICENCE = "Apache-2.0"


def write_model(
    root: Path,
    model: PairedTree,
    *,
    model_id: str,
    title: str,
    source: str,
    random_weights: bool,
    training: Mapping[str, Any] | None,
    figures: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Write a paired-strand tree, its weights in float16, under ``root / model_id``.

    Returns
    -------
    card : ModelCard
        As written beside the weights.

    Raises
    ------
    StateError
        If the folder holds a model already: weights with dictionaries are never replaced.
    """
    folder = root / model_id
    if (folder / MODEL_WEIGHTS).exists():
        raise StateError(f"{folder} holds a model already; choose another id or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / MODEL_WEIGHTS)
    card = ModelCard(
        id=model_id,
        title=title,
        architecture="paired_tree",
        config=asdict(model.config) | {"distances": list(model.config.distances)},
        weights=MODEL_WEIGHTS,
        sha256=file_sha256(folder / MODEL_WEIGHTS),
        n_parameters=sum(weight.numel() for weight in model.parameters()),
        context=model.config.reach(model.config.n_blocks),
        licence=LICENCE,
        source=source,
        random_weights=random_weights,
        training=dict(training) if training else None,
        figures=dict(figures) if figures else None,
    )
    write_card(card, folder)
    return card


def read_model(card: ModelCard, folder: Path) -> PairedTree:
    """The paired-strand tree of a card, its weights as they are served, in evaluation mode."""
    values = {**card.config, "distances": tuple(card.config["distances"])}
    model = load_paired_tree(load_file(folder / card.weights), PairedTreeConfig(**values))
    return model.eval()


def write_dictionary(
    folder: Path,
    model_card: ModelCard,
    trained: TrainedSae,
    settings: SaeTraining,
    *,
    title: str,
    source: str,
    stride: int,
    context: int,
) -> DictionaryCard:
    """Write a trained SAE as a sae-lens folder with a card and a canary.

    Parameters
    ----------
    folder : Path
        ``<models>/<model id>/<dictionary id>``; made where it does not exist.
    model_card : ModelCard
        Of the model it was trained on.
    trained : TrainedSae
        In whitened space; the whitening is folded into the weights.
    settings : SaeTraining
        Written to the card.
    title, source : str
        For the card.
    stride, context : int
        Bases a window owns and bases of left context, for serving.

    Returns
    -------
    card : DictionaryCard
        As written, with its canary.

    Raises
    ------
    StateError
        If the folder holds a dictionary already.
    """
    return write_coder(
        folder,
        model_card,
        folded(trained),
        title=title,
        source=source,
        layer=settings.layer,
        tap=settings.tap,
        k=settings.k,
        stride=stride,
        context=context,
        training=asdict(settings),
    )


def write_coder(
    folder: Path,
    model_card: ModelCard,
    coder: SparseCoder,
    *,
    title: str,
    source: str,
    layer: int,
    tap: str = "residual",
    k: int | None,
    stride: int,
    context: int,
    training: Mapping[str, Any],
    models: Sequence[Path] = (),
) -> DictionaryCard:
    """Write any sparse coder of one layer as a sae-lens folder with a card and a canary.

    Parameters
    ----------
    folder : Path
        ``<models>/<model id>/<dictionary id>``; made where it does not exist.
    model_card : ModelCard
        Of the model it reads.
    coder : SparseCoder
        As it is to be served.
    title, source : str
        For the card.
    layer : int
        Blocks done at the tap.
    tap : str
        What is read there, one of `annotations.cards.TAPS`.
    k : int, optional
        Features active at a base on average, as trained.
    stride, context : int
        Bases a window owns and bases of left context, for serving.
    training : mapping
        How it was made: JSON values.
    models : sequence of Path
        Further models folders, where the model does not lie in the one written into.

    Returns
    -------
    card : DictionaryCard
        As written, with its canary.

    Raises
    ------
    StateError
        If the folder holds a dictionary already.
    """
    if (folder / SAE_WEIGHTS).exists():
        raise StateError(f"{folder} holds a dictionary already; choose another id or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    save_sae_lens(coder, folder, metadata=_read_there(tap, layer, coder.d_in))
    card = DictionaryCard(
        id=folder.name,
        title=title,
        model_id=model_card.id,
        model_sha256=model_card.sha256,
        layer=layer,
        tap=tap,
        d_in=coder.d_in,
        d_sae=coder.n_features,
        k=k,
        sha256=file_sha256(folder / SAE_WEIGHTS),
        stride=stride,
        context=context,
        licence=LICENCE,
        source=source,
        random_weights=model_card.random_weights,
        training=dict(training),
    )
    write_card(card, folder)
    encoder = open_dictionary(card, [*models, folder.parent.parent])
    card = replace(card, canary=write_canary(card, encoder, CANARY_SEQUENCE))
    write_card(card, folder)
    return card


def _read_there(tap: str, layer: int, width: int) -> dict[str, Any]:
    """What other programs must be told of a dictionary that is no autoencoder."""
    reads, writes = read_and_written(cast(Tap, tap), width)
    if reads == writes:
        return {}
    channels = {"reads": [reads.start, reads.stop], "writes": [writes.start, writes.stop]}
    return {"tap": tap, "layer": layer, **channels}


def folded(trained: TrainedSae) -> SparseCoder:
    """The served form of a trained SAE: raw activations in, one gate for every latent."""
    coder, whitening = trained.coder, trained.whitening
    # x' - centre goes in; the centre moves into the bias of the encoder and of the decoder.
    whitened = SparseCoder(
        W_enc=coder.encoder,
        b_enc=coder.bias - coder.centre @ coder.encoder,
        W_dec=coder.decoder,
        b_dec=coder.centre,
        threshold=torch.full_like(coder.bias, trained.gate),
    )
    return fold_whitening(whitening.mean, whitening.matrix, whitened)
