"""From a model card and its weights to a language model."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from torch import Tensor

from annotations.cards import ModelCard
from annotations.errors import WeightsError
from workers.language_models.hyenadna import HyenaDnaConfig, load_hyenadna
from workers.language_models.paired_tree import (
    PairedTreeConfig,
    PairedTreeReader,
    load_paired_tree,
)
from workers.language_models.protocol import LanguageModel

ConfigT = TypeVar("ConfigT", PairedTreeConfig, HyenaDnaConfig)


def load_language_model(card: ModelCard, state: Mapping[str, Tensor]) -> LanguageModel:
    """Make the language model of a card.

    Parameters
    ----------
    card : ModelCard
        Names the architecture and its sizes.
    state : mapping of str to tensor
        The weights, in any float type, all on one device; computed with in float32.

    Returns
    -------
    model : LanguageModel
        On the device of the weights, in evaluation mode.

    Raises
    ------
    WeightsError
        If the architecture is not known, its sizes are not valid, or the weights do not fit them.
    """
    if card.architecture not in _LOADERS:
        raise WeightsError(
            f"model {card.id!r} has the architecture {card.architecture!r}; known are "
            f"{', '.join(_LOADERS)}"
        )
    return _LOADERS[card.architecture](card, state)


def _paired_tree(card: ModelCard, state: Mapping[str, Tensor]) -> LanguageModel:
    values = {**card.config, "distances": tuple(card.config.get("distances", ()))}
    config = _configure(PairedTreeConfig, values, card)
    return PairedTreeReader(load_paired_tree(state, config))


def _hyenadna(card: ModelCard, state: Mapping[str, Tensor]) -> LanguageModel:
    return load_hyenadna(state, _configure(HyenaDnaConfig, card.config, card))


_LOADERS: dict[str, Callable[[ModelCard, Mapping[str, Tensor]], LanguageModel]] = {
    "paired_tree": _paired_tree,
    "hyenadna": _hyenadna,
}


def _configure(kind: type[ConfigT], values: Mapping[str, Any], card: ModelCard) -> ConfigT:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        allowed = ", ".join(field.name for field in fields(kind))
        raise WeightsError(
            f"the card of model {card.id!r} has a config that makes no {card.architecture}: "
            f"{error}; its keys are {allowed}"
        ) from error
