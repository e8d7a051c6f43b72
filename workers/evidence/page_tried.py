"""The section of the page about what was tried, and what would be needed."""

from collections.abc import Mapping
from typing import Any, Final

from workers.evidence.page_parts import (
    lines_of,
    number,
    percent,
    picture,
    short,
    table,
    with_interval,
)
from workers.evidence.tried import CONTROL, MODEL

Numbers = Mapping[str, Any]

MEASURES: Final = {
    "binding": "binding sites",
    "motif": "motif hits",
    "instances": "bound copies, AUROC",
}
"""What `saetrack train sweep` measures, in words."""


def tried(numbers: Numbers) -> list[str]:
    """Language models and dictionaries that were tried."""
    found = numbers.get("tried") or {}
    return [
        "### Language models",
        "",
        *_models(found.get("lm")),
        "",
        "### Taps, widths and sparsities",
        "",
        *_dictionaries(found.get("sae")),
        *picture("frontier", "Cross-entropy recovered by active features"),
        *picture("taps", "How far each dictionary is over the same on random weights"),
        "",
        "### What would be needed",
        "",
        *NEEDED,
    ]


NEEDED: Final = (
    "- Of bits: another order of magnitude of training. Trees and hybrids, six genomes and eleven "
    "come to the same bits within the noise of single runs, and none learns the training "
    "chromosomes by heart; the curve is no longer steep, so ten times the windows in larger "
    "batches (hours of a GPU; none was lent to this work) is the next step, not another hour.",
    "- Of motifs in features: a model that knows them. No dictionary of a tap, width or sparsity "
    "tried is surely above random weights by its mean over twelve TFs in every measure; what the "
    "model knows of Reb1, Cbf1 and Rsc3 shows in what it expects, and adds to the matrix there.",
    "- Of Abf1 and Rap1: both halves of a site within one unit. The model is no better than "
    "composition at their cores, so no dictionary of it can be.",
)


def named(settings: Mapping[str, Any]) -> str:
    """A trial in few words.

    Examples
    --------
    >>> one = {"tap": "residual", "layer": 2, "features": 4096, "k": 16, "sampling": "uniform"}
    >>> named(one), named(one | {"tap": "joint", "layer": 4, "sampling": "knowledge"})
    ('residual:2, 4,096, k 16', 'joint:4, 4,096, k 16, tokens by knowledge')
    """
    words = f"{settings['tap']}:{settings['layer']}, {settings['features']:,}, k {settings['k']}"
    return words + (", tokens by knowledge" if settings["sampling"] == "knowledge" else "")


def _models(found: Numbers | None) -> list[str]:
    if found is None:
        return lines_of(None)
    rows = []
    for row in found["rows"]:
        cells = [
            cell
            for report in (row["first"], row["last"])
            for cell in (
                number(report["bases"] / 1e6, 1),
                f"{number(report['bits_coding'])} / {number(report['bits_noncoding'])}",
            )
        ]
        known = "; ".join(
            f"{tf} {short(one['below'])} ({one['bound']})"
            for tf, one in (row["gate"] or {}).items()
        )
        rows.append([row["model"], str(row["genomes"]), *cells, known or "-"])
    return [
        f"Bits per base on chrVIII at the first and the last report of each run "
        f"(`benchmarks/results/{found['file']}` has all reports and commands); and bits below "
        "composition at the cores of bound sites there (number of sites).",
        "",
        *table(
            [
                "model",
                "genomes",
                "million bases seen",
                "coding / non-coding",
                "million bases, last",
                "coding / non-coding, last",
                "at bound cores",
            ],
            rows,
        ),
    ]


def _dictionaries(found: Numbers | None) -> list[str]:
    if found is None:
        return lines_of(None)
    rows = []
    for row in found["rows"]:
        mine, other = row["subjects"][MODEL], row["subjects"][CONTROL]
        cells = [
            f"{short(mine['mean'][what]['value'])} / {short(other['mean'][what]['value'])}; "
            f"{with_interval(row['over'][what])}"
            for what in MEASURES
        ]
        rows.append(
            [
                named(row["settings"]),
                f"{number(mine['l0'], 1)} / {number(other['l0'], 1)}",
                f"{percent(mine['recovered'])} / {percent(other['recovered'])}",
                *cells,
            ]
        )
    steps = sorted({row["settings"]["steps"] for row in found["rows"]})
    return [
        "Each trained on the model and on random weights, "
        f"{' or '.join(f'{n:,}' for n in steps)} steps, one seed; features chosen on some training "
        "chromosomes and measured on another, in means over twelve TFs; fidelity on chrVIII. Each "
        "cell: the model / random weights; then their difference with its interval. A block is "
        "transcoded: its dictionary reads what the block is given and writes what it adds. "
        f"`benchmarks/results/{found['file']}` has every TF.",
        "",
        *table(
            [
                "tap:blocks, features, k",
                "L0",
                "cross-entropy recovered",
                *(
                    f"top 100, {said}" if "AUROC" not in said else said
                    for said in MEASURES.values()
                ),
            ],
            rows,
        ),
    ]
