"""What was tried before the bundled weights were chosen: the committed records of two sweeps.

    *-lm-sweep.jsonl       language models, a line for each report of `saetrack train lm`
    *-sae-frontier.jsonl   taps, widths and sparsities, lines of `saetrack train sweep`

Neither reads a test chromosome.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from annotations.errors import FormatError

LM_SWEEP: Final = "lm-sweep"
FRONTIER: Final = "sae-frontier"
MODEL, CONTROL = "model", "control"
_SETTINGS: Final = ("tap", "layer", "features", "k", "sampling", "steps", "seed")


def tried_stage(folder: Path) -> dict[str, Any]:
    """Both sweeps, condensed; None for one without a file.

    Parameters
    ----------
    folder : Path
        Of benchmark results; of several files of a sweep the newest by name counts.

    Raises
    ------
    FormatError
        If a line is not one of such a sweep.
    """
    return {"lm": _read(folder, LM_SWEEP, _models), "sae": _read(folder, FRONTIER, _dictionaries)}


def _read(folder: Path, kind: str, condense: Any) -> dict[str, Any] | None:
    files = sorted(folder.glob(f"*-{kind}.jsonl"))
    if not files:
        return None
    try:
        lines = [json.loads(line) for line in files[-1].read_text("utf-8").splitlines() if line]
        return {"file": files[-1].name, "rows": condense(lines)}
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{files[-1]} does not hold the lines of a {kind}: {error!r}; make it again"
        ) from error


def _models(lines: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
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
        row["command"] = line["command"]
    return list(rows.values())


def _dictionaries(lines: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each trial its settings, fidelity, means over TFs, and how far it is over its control."""
    return [
        {
            "settings": {name: line["settings"][name] for name in _SETTINGS},
            "subjects": {
                name: {
                    "l0": found["fidelity"]["l0"],
                    "recovered": found["fidelity"]["recovered"],
                    "fvu_whitened": found["fidelity"]["fvu_whitened"],
                    "mean": found["mean"],
                }
                for name, found in line["subjects"].items()
            },
            "over": line["over"][CONTROL]["mean"],
        }
        for line in lines
    ]
