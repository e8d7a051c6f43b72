"""Which dictionaries the evidence compares: the bundled one and what it must beat."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from annotations.cards import Cards, DictionaryCard, find_cards
from annotations.errors import OptionError
from app.config import BUNDLED_MODELS
from workers.registry import Encoder, open_dictionary

TRAINED, RANDOM, NEURONS, COMPONENTS = "trained", "random", "neurons", "components"
ROLES = (TRAINED, RANDOM, NEURONS, COMPONENTS)

NAMES = {
    TRAINED: "trained SAE",
    RANDOM: "SAE on random weights",
    NEURONS: "raw neurons",
    COMPONENTS: "principal components",
}
"""What a role is called on the page."""

RECIPES = {
    RANDOM: (
        "`saetrack train random-model --models MODELS --like {model} --id {model}-random`, then "
        "`saetrack train sae` with the settings of {dictionary} on it"
    ),
    NEURONS: "`saetrack train baselines --models MODELS --dictionary {dictionary}`",
    COMPONENTS: "`saetrack train baselines --models MODELS --dictionary {dictionary}`",
    "seeds": "`saetrack train sae` with the settings of {dictionary} and `--seed 2` or `--seed 3`",
}
"""How a dictionary that is missing is made."""


class Compared(NamedTuple):
    """The dictionaries at hand."""

    roots: tuple[Path, ...]
    cards: Cards
    by_role: dict[str, DictionaryCard]
    """Those of `ROLES` that are there; the trained one always is."""
    seeds: tuple[DictionaryCard, ...]
    """Others of the same model and shape, trained from other seeds."""

    @property
    def trained(self) -> DictionaryCard:
        """The bundled dictionary."""
        return self.by_role[TRAINED]

    def open(self, role: str, *, whole: bool = False) -> Encoder:
        """The dictionary of a role, ready to encode."""
        return open_dictionary(self.by_role[role], self.roots, whole=whole)

    def described(self) -> dict[str, Any]:
        """Ids and sha256 by role, and how those that are missing are made."""
        names = {"dictionary": self.trained.id, "model": self.trained.model_id}
        missing = [role for role in ROLES if role not in self.by_role]
        if not self.seeds:
            missing.append("seeds")
        return {
            "dictionaries": {
                role: {"id": card.id, "sha256": card.sha256, "features": card.d_sae}
                for role, card in self.by_role.items()
            },
            "seeds": [{"id": card.id, "sha256": card.sha256} for card in self.seeds],
            "missing": {role: RECIPES[role].format(**names) for role in missing},
        }


def find_compared(models: Sequence[Path] = (), dictionary: str | None = None) -> Compared:
    """Find the bundled dictionary, and those made to compare it with.

    Parameters
    ----------
    models : sequence of Path
        Models folders with baselines, besides the bundled models.
    dictionary : str, optional
        Id of the bundled dictionary, where several came with saetrack.

    Raises
    ------
    OptionError
        If several dictionaries are bundled and none is named, or there is none.
    """
    bundled = find_cards([BUNDLED_MODELS]).dictionaries
    if dictionary is None:
        if len(bundled) != 1:
            raise OptionError(
                f"{len(bundled)} dictionaries came with saetrack ({', '.join(bundled) or 'none'}); "
                "name one with --dictionary"
            )
        (dictionary,) = bundled
    roots = (BUNDLED_MODELS, *models)
    cards = find_cards(roots)
    return compared(roots, cards, cards.dictionary(dictionary))


def compared(roots: Sequence[Path], cards: Cards, trained: DictionaryCard) -> Compared:
    """Sort the cards of an installation by what they are to one dictionary."""
    by_role = {TRAINED: trained}
    seeds = []
    for card in cards.dictionaries.values():
        if card.id == trained.id:
            continue
        made = card.training or {}
        shape = (card.layer, card.d_sae, card.tap) == (trained.layer, trained.d_sae, trained.tap)
        if made.get("baseline") in (NEURONS, COMPONENTS):
            if made.get("dictionary_sha256") == trained.sha256:
                by_role.setdefault(made["baseline"], card)
        elif card.random_weights and shape and card.d_in == trained.d_in:
            by_role.setdefault(RANDOM, card)
        elif (
            shape
            and card.model_sha256 == trained.model_sha256
            and card.k == trained.k
            and made.get("seed") != (trained.training or {}).get("seed")
        ):
            seeds.append(card)
    ordered = {role: by_role[role] for role in ROLES if role in by_role}
    return Compared(tuple(roots), cards, ordered, tuple(seeds))
