"""Whether installed weights are what their cards say: sha256, loading, canary."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from annotations.cards import (
    DICTIONARY_FILE,
    MODEL_FILE,
    DictionaryCard,
    ModelCard,
    file_sha256,
    read_dictionary_card,
    read_model_card,
)
from annotations.errors import WeightsError
from workers.canary import check_model_canary
from workers.install import Installed, new_folder
from workers.language_models.loading import load_language_model
from workers.language_models.tensor_file import TensorFile
from workers.registry import open_dictionary

NO_CANARY = "no canary on the card: loaded, and nothing compared"


def verify_model(card: ModelCard, folder: Path, device: torch.device) -> list[str]:
    """Check a model: sha256 of its files, loading, and its canary where it has one.

    Parameters
    ----------
    card : ModelCard
    folder : Path
        Of the card.
    device : torch.device
        Where to load it.

    Returns
    -------
    notes : list of str
        What was checked, one line each.

    Raises
    ------
    WeightsError
        If anything is not as the card says.
    """
    notes = []
    for name, expected in {card.weights: card.sha256, **(card.files or {})}.items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"{path} is missing; put it there or correct the card")
        found = file_sha256(path)
        if found != expected:
            raise WeightsError(
                f"{path} has the sha256 {found[:12]}…, but its card says {expected[:12]}…; the "
                "file was altered or cut: fetch it again"
            )
        notes.append(f"{name}: sha256 {found}")
    dtype = str((card.canary or {}).get("dtype", "float32"))
    model = load_language_model(card, TensorFile(folder / card.weights, device), dtype, folder)
    if card.canary is None:
        return [*notes, NO_CANARY]
    check_model_canary(card, model, device)
    return [*notes, f"canary met, in {dtype}"]


def verify_dictionary(
    card: DictionaryCard, roots: Sequence[Path], device: torch.device
) -> list[str]:
    """Check a dictionary and the model it reads; see `workers.registry.open_dictionary`.

    Returns
    -------
    notes : list of str
        What was checked, one line each.

    Raises
    ------
    WeightsError
        If anything is not as the cards say.
    """
    open_dictionary(card, roots, device)
    return [
        f"weights: sha256 {card.sha256}, of the model {card.model_sha256}",
        f"canary met: {len(card.canary['activations'])} activations" if card.canary else NO_CANARY,
    ]


def add_card_folder(folder: Path, into: Path, device: torch.device) -> list[Installed]:
    """Copy a model's folder that has cards already, with its dictionaries, and verify it.

    Parameters
    ----------
    folder : Path
        Holds `model.json`.
    into : Path
        Models folder.
    device : torch.device
        Where the canaries run.

    Returns
    -------
    installed : list of Installed
        The model, then its dictionaries.

    Raises
    ------
    StateError
        If the model is there already.
    WeightsError
        If it is not what its cards say; nothing is left then.
    """
    model = read_model_card(folder / MODEL_FILE)
    with new_folder(into / model.id) as target:
        shutil.copytree(folder, target, dirs_exist_ok=True)
        done = [Installed(model, target, tuple(verify_model(model, target, device)))]
        for path in sorted(target.glob(f"*/{DICTIONARY_FILE}")):
            card = read_dictionary_card(path)
            notes = verify_dictionary(card, [into], device)
            done.append(Installed(card, path.parent, tuple(notes)))
    return done
