"""The section of the page about what was tried, and what would be needed."""

from collections.abc import Mapping
from typing import Any, Final

from workers.evidence.page_parts import (
    lines_of,
    number,
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
        *picture("frontier", "Bits lost by active features"),
        *picture("taps", "How far each dictionary is over the same on random weights"),
        "",
        "### What would be needed",
        "",
        *needed(numbers),
    ]


def needed(numbers: Numbers) -> list[str]:
    """What was not tried, and what the trials say would be needed."""
    found = (numbers.get("tried") or {}).get("sae")
    parts = [
        "- Of bits: the runs above differ in blocks, genomes and bases seen, and end close to each "
        "other; the bundled one ended lowest. Twice the hidden units (7.5 MB, more than the 7 MB "
        "that a model may have) changed little at 1.2 million bases. An order of magnitude "
        "more training in larger batches (hours of a GPU; none was lent to this work), and an end "
        "of training on *S. cerevisiae* alone, were not tried.",
        "- Of cores: a model that expects the motif. Where section 1 says that a motif is not "
        "known, no dictionary can be expected to have it beyond its words; both halves of Abf1's "
        "site would have to meet in one unit.",
    ]
    if found is not None:
        sure = {
            said: [
                named(row["settings"])
                for row in found["rows"]
                if (row["over"][what]["low"] or 0) > 0
            ]
            for what, said in MEASURES.items()
        }
        said = "; ".join(f"{what}: {', '.join(rows) or 'none'}" for what, rows in sure.items())
        parts.append(
            "- Of features: dictionaries whose mean over twelve TFs is surely above random "
            f"weights, by measure: {said}. Several intervals are looked at, so one may lie above 0 "
            "by chance."
        )
    return parts


def named(settings: Mapping[str, Any], *, k: bool = True) -> str:
    """A trial in few words.

    Examples
    --------
    >>> one = {"tap": "joint", "layer": 4, "features": 4096, "k": 16, "steps": 600, "seed": 1}
    >>> one |= {"sampling": "uniform", "earlier_model": False}
    >>> named(one)
    'joint:4, 4,096, k 16, 600 steps'
    >>> named(one | {"sampling": "knowledge", "seed": 2, "earlier_model": True}, k=False)
    'joint:4, 4,096, 600 steps, seed 2, tokens by knowledge, earlier model'
    """
    words = [f"{settings['tap']}:{settings['layer']}", f"{settings['features']:,}"]
    words += [f"k {settings['k']}"] if k else []
    words += [f"{settings['steps']:,} steps"]
    words += [f"seed {settings['seed']}"] if settings["seed"] != 1 else []
    words += ["tokens by knowledge"] if settings["sampling"] == "knowledge" else []
    words += ["earlier model"] if settings["earlier_model"] else []
    return ", ".join(words)


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
                f"{number(mine['bits_lost'])} of {number(mine['bits_lost_by_mean'])}",
                f"{number(mine['fvu_whitened'])} / {number(other['fvu_whitened'])}",
                *cells,
            ]
        )
    return [
        "Each trained on the model and on random weights; features chosen on some training "
        "chromosomes and measured on another, in means over twelve TFs: the model / random "
        "weights, then their difference with its interval. Fidelity on chrVIII: bits per base "
        "that the reconstruction costs the model, of those that the mean of the tap costs, which "
        "differ by tap: all of a tower is more than what one block adds to it. A block is "
        "transcoded: its dictionary reads what the block is given and writes what it adds. Those "
        "of 600 steps are far from done, not equally so on the model and on random weights, as the "
        "variance unexplained says. The line of most steps on the present model is the bundled "
        "dictionary; steps and models are not told apart by these lines. "
        '"Earlier model" is the first bundled one, without attention. '
        f"`benchmarks/results/{found['file']}` has every TF.",
        "",
        *table(
            [
                "tap:blocks, features, k, steps",
                "L0",
                "bits lost, of those by the mean",
                "variance unexplained, whitened",
                *(
                    f"top 100, {said}" if "AUROC" not in said else said
                    for said in MEASURES.values()
                ),
            ],
            rows,
        ),
    ]
