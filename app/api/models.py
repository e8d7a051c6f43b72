"""Which models and dictionaries there are."""

from dataclasses import asdict
from typing import Any

from annotations.jaspar import RELEASES, TAXA
from app.api import services
from app.openapi import blueprint, responses
from app.schemas import ModelList, NoQuery

api = blueprint("models", "Models, dictionaries, motif collections.")


@api.get("/v1/models", responses=responses({200: ModelList}))
def list_models(query: NoQuery) -> dict[str, Any]:
    """Models and dictionaries of this installation, with their measured figures."""
    cards = services().cards()
    return {
        "models": [asdict(card) for card in cards.models.values()],
        "dictionaries": [asdict(card) for card in cards.dictionaries.values()],
        "taxa": list(TAXA),
        "releases": list(RELEASES),
    }
