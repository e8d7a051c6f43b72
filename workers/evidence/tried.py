"""What was tried before the bundled weights were chosen: the committed records of two sweeps.

    *-lm-sweep.jsonl       language models, a line for each report of `saetrack train lm`
    *-sae-frontier.jsonl   taps, widths and sparsities, lines of `saetrack train sweep`

Neither reads a test chromosome.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from annotations.cards import DictionaryCard
from annotations.errors import FormatError

LM_SWEEP: Final = "lm-sweep"
FRONTIER: Final = "sae-frontier"
MODEL, CONTROL, BUNDLED = "model", "control", "bundled"
"""Subjects of a line: a dictionary, the same on random weights, and the bundled one where it was
measured beside them."""
_SETTINGS: Final = ("tap", "layer", "features", "k", "sampling", "steps", "seed")

Lines = list[dict[str, Any]]


def tried_stage(folder: Path, card: DictionaryCard) -> dict[str, Any]:
    """Both sweeps, condensed; None for one without a file.

    Parameters
    ----------
    folder : Path
        Of benchmark results; of several files of a sweep the newest by name counts.
    card : DictionaryCard
        The bundled dictionary: the longest trial with its settings on its model is told as it, and
        dictionaries of another model's weights are told apart.

    Raises
    ------
    FormatError
        If a line is not one of such a sweep, or two are of the same settings.
    """
    return {
        "lm": _read(folder, LM_SWEEP, _models),
        "sae": _read(folder, FRONTIER, partial(_dictionaries, card=card)),
    }


def _read(folder: Path, kind: str, condense: Callable[[Lines], Lines]) -> dict[str, Any] | None:
    files = sorted(folder.glob(f"*-{kind}.jsonl"))
    if not files:
        return None
    try:
        lines = [json.loads(line) for line in files[-1].read_text("utf-8").splitlines() if line]
        rows = condense(lines)
        return {"file": files[-1].name, "rows": rows} if rows else None
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{files[-1]} does not hold the lines of a sweep: {error!r}; make it again"
        ) from error


def _models(lines: Lines) -> Lines:
    """Of each model its first report and its last, and the gate where it was measured then."""
    names = ("step", "bases", "bits_coding", "bits_noncoding")
    rows: dict[str, dict[str, Any]] = {}
    for line in lines:
        row = rows.setdefault(
            line["model"],
            {
                "model": line["model"],
                "genomes": line["genomes"],
                "first": {name: line[name] for name in names},
            },
        )
        row["last"] = {name: line[name] for name in names}
        row["gate"] = line.get("gate")
    return list(rows.values())


def _dictionaries(lines: Lines, *, card: DictionaryCard) -> Lines:
    """Of each trial its settings, fidelity, means over TFs, and how far it is over its control."""
    rows = [
        {
            "settings": {name: line["settings"][name] for name in _SETTINGS}
            | {
                "earlier_model": line["subjects"][MODEL]["model_sha256"] != card.model_sha256,
                "bundled": False,
            },
            "subjects": {
                name: {
                    "l0": found["fidelity"]["l0"],
                    "fvu_whitened": found["fidelity"]["fvu_whitened"],
                    "bits_lost": _bits_lost(found["fidelity"], "bits_dictionary"),
                    "bits_lost_by_mean": _bits_lost(found["fidelity"], "bits_mean"),
                    "recovered": found["fidelity"]["recovered"],
                    "kl_recovered": found["fidelity"]["kl_recovered"],
                    "mean": found["mean"],
                }
                for name, found in line["subjects"].items()
            },
            "over": line["over"][CONTROL]["mean"],
            "over_bundled": line["over"].get(BUNDLED, {}).get("mean"),
        }
        for line in lines
    ]
    settings = [row["settings"] for row in rows]
    twice = next((one for one in settings if settings.count(one) > 1), None)
    if twice is not None:
        raise ValueError(f"two lines of the settings {twice}")
    own = [one for one in settings if _is_of(card, one)]
    if own:
        max(own, key=itemgetter("steps"))["bundled"] = True
    return rows


def _is_of(card: DictionaryCard, settings: Mapping[str, Any]) -> bool:
    """Whether a trial has the settings of a dictionary, whatever its steps and seed."""
    shape = {"tap": card.tap, "layer": card.layer, "features": card.d_sae, "k": card.k}
    shape |= {"sampling": "uniform", "earlier_model": False}
    return all(settings[name] == value for name, value in shape.items())


def _bits_lost(fidelity: Mapping[str, float], spliced: str) -> float:
    """Bits per base that replacing the tap costs the model."""
    return round(fidelity[spliced] - fidelity["bits"], 5)
