"""From a model card and its weights to a language model."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from annotations.cards import ModelCard
from annotations.errors import WeightsError
from workers.language_models.huggingface import load_huggingface
from workers.language_models.hyenadna import HyenaDnaConfig, load_hyenadna
from workers.language_models.paired_taps import Tap, at_tap
from workers.language_models.paired_tree import (
    PairedTreeConfig,
    PairedTreeReader,
    load_paired_tree,
)
from workers.language_models.protocol import LanguageModel
from workers.language_models.stripedhyena2.configurations import StripedHyena2Config
from workers.language_models.stripedhyena2.weights import load_stripedhyena2

_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

ConfigT = TypeVar("ConfigT", PairedTreeConfig, HyenaDnaConfig, StripedHyena2Config)


def load_language_model(
    card: ModelCard,
    state: Mapping[str, Tensor],
    dtype: str = "float32",
    folder: Path | None = None,
    *,
    blocks: int | None = None,
    tap: str = "residual",
) -> LanguageModel:
    """Make the language model of a card.

    Parameters
    ----------
    card : ModelCard
        Names the architecture and its sizes.
    state : mapping of str to tensor
        The weights, in any float type, all on one device.
    dtype : str
        Number format of the computation, one of `annotations.cards.DTYPES`; the paired
        tree and HyenaDNA are computed in float32 alone.
    folder : Path, optional
        Folder of the card, for the tokenizer's file of a model of transformers.
    blocks : int, optional
        Blocks that will be run; the weights of later ones may be left out. A model without
        them has no logits.
    tap : str
        What `LanguageModel.activations` are to be, one of `annotations.cards.TAPS`.

    Returns
    -------
    model : LanguageModel
        On the device of the weights, in evaluation mode.

    Raises
    ------
    WeightsError
        If the architecture is not known, its sizes are not valid, the weights do not fit
        them, or it is not computed in this number format or has no such tap.
    """
    if tap != "residual":
        known = _tap_of(tap, card)
        return at_tap(_paired_tree(card, state, dtype, blocks), known)
    if card.architecture == "huggingface":
        return load_huggingface(card, state, folder, dtype)
    if card.architecture not in _LOADERS:
        raise WeightsError(
            f"model {card.id!r} has the architecture {card.architecture!r}; known are "
            f"{', '.join(_LOADERS)}, huggingface"
        )
    return _LOADERS[card.architecture](card, state, dtype, blocks)


def _paired_tree(
    card: ModelCard, state: Mapping[str, Tensor], dtype: str, blocks: int | None
) -> PairedTreeReader:
    _require_float32(card, dtype)
    values = {**card.config, "distances": tuple(card.config.get("distances", ()))}
    config = _configure(PairedTreeConfig, values, card)
    return PairedTreeReader(load_paired_tree(state, config))


def _hyenadna(
    card: ModelCard, state: Mapping[str, Tensor], dtype: str, blocks: int | None
) -> LanguageModel:
    _require_float32(card, dtype)
    return load_hyenadna(state, _configure(HyenaDnaConfig, card.config, card))


def _stripedhyena2(
    card: ModelCard, state: Mapping[str, Tensor], dtype: str, blocks: int | None
) -> LanguageModel:
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in card.config.items()
    }
    config = _configure(StripedHyena2Config, values, card)
    return load_stripedhyena2(state, config, dtype=_FORMATS[dtype], blocks=blocks)


_Loader = Callable[[ModelCard, Mapping[str, Tensor], str, int | None], LanguageModel]
_LOADERS: dict[str, _Loader] = {
    "paired_tree": _paired_tree,
    "hyenadna": _hyenadna,
    "stripedhyena2": _stripedhyena2,
}


def _tap_of(tap: str, card: ModelCard) -> Tap:
    if card.architecture != "paired_tree":
        raise WeightsError(
            f"the tap {tap!r} is one of a model with a tower for each strand (paired_tree), but "
            f"model {card.id!r} is a {card.architecture}; its dictionaries read the tap residual"
        )
    return cast(Tap, tap)


def _require_float32(card: ModelCard, dtype: str) -> None:
    if dtype != "float32":
        raise WeightsError(
            f"model {card.id!r} is a {card.architecture}, which is computed in float32 alone, but "
            f"its dictionary says {dtype}; correct the dictionary's card"
        )


def _configure(kind: type[ConfigT], values: Mapping[str, Any], card: ModelCard) -> ConfigT:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        allowed = ", ".join(field.name for field in fields(kind))
        raise WeightsError(
            f"the card of model {card.id!r} has a config that makes no {card.architecture}: "
            f"{error}; its keys are {allowed}"
        ) from error
