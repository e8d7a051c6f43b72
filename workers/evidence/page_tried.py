"""The section of the page about what was tried, and what would be needed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
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
        *picture("frontier", "Bits lost by active features"),
        *picture("taps", "How far each dictionary is over the same on random weights"),
        *places_of_the_bundled(found.get("sae")),
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


def places_of_the_bundled(found: Numbers | None) -> list[str]:
    """Which settings are furthest above random weights, and where the bundled ones stand.

    Compared are dictionaries of the present model after equally many steps: of the steps that most
    of them have. The bundled dictionary is the first of those of most steps.
    """
    present = of_present_model(found)
    steps = usual_steps(present)
    equal = [row for row in present if _of(row, "steps") == steps]
    n = len(equal)
    if n < 2:
        return []
    shipped = _as_if(max(present, key=lambda row: _of(row, "steps")), steps)
    lines = []
    for what, said in MEASURES.items():
        ordered = sorted(equal, key=lambda row: row["over"][what]["value"] or 0.0, reverse=True)
        first = ordered[0]
        line = f"- {said}: {named(first['settings'])}, {with_interval(first['over'][what])}"
        at = next((i for i, row in enumerate(ordered) if row["settings"] == shipped), None)
        if at == 0:
            line += ", which are the bundled settings"
        elif at is not None:
            own = with_interval(ordered[at]["over"][what])
            line += f"; the bundled settings are {at + 1} of {n}, {own}"
        lines.append(f"{line}.")
    return [
        "",
        f"Furthest above random weights of the {n} dictionaries of {steps:,} steps on the present "
        "model, by measure:",
        "",
        *lines,
        *_beside_the_bundled(present),
    ]


def _beside_the_bundled(rows: Sequence[Numbers]) -> list[str]:
    """Dictionaries that were trained as long as the bundled one, and the rule of the choice."""
    beside = [row for row in rows if row.get("over_bundled") is not None]
    if not beside:
        return []
    said = (
        f"{named(row['settings'])}: "
        + ", ".join(
            f"{with_interval(row['over_bundled'][what])} by {said}"
            for what, said in MEASURES.items()
        )
        for row in beside
    )
    return [
        "",
        "What stood out was trained as long as the bundled dictionary. The rule, set before it was "
        "measured: it takes the place of the bundled one if it is surely above it in binding sites "
        "or motif hits, and surely below it in nothing; else the tap that sees less stays, whose "
        "windows need less context. Less the bundled one, the same draws of blocks for both, "
        f"{'; '.join(said)}.",
    ]


def of_present_model(found: Numbers | None) -> list[Numbers]:
    """Trials of the model that is bundled."""
    return [row for row in (found or {}).get("rows", []) if not _of(row, "earlier_model")]


def usual_steps(rows: Sequence[Numbers]) -> int:
    """The steps that most trials have; 0 where there is none."""
    return max(
        Counter(_of(row, "steps") for row in rows).items(), key=itemgetter(1), default=(0, 0)
    )[0]


def _of(row: Mapping[str, Any], name: str) -> Any:
    return row["settings"][name]


def _as_if(row: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Settings of a trial but for its steps."""
    return {**row["settings"], "steps": steps}


def named(settings: Mapping[str, Any], *, k: bool = True, steps: bool = True) -> str:
    """A trial in few words.

    Examples
    --------
    >>> one = {"tap": "joint", "layer": 4, "features": 4096, "k": 16, "steps": 600, "seed": 1}
    >>> one |= {"sampling": "uniform", "earlier_model": False}
    >>> named(one), named(one, steps=False)
    ('joint:4, 4,096, k 16, 600 steps', 'joint:4, 4,096, k 16')
    >>> named(one | {"sampling": "knowledge", "seed": 2, "earlier_model": True}, k=False)
    'joint:4, 4,096, 600 steps, seed 2, tokens by knowledge, earlier model'
    """
    words = [f"{settings['tap']}:{settings['layer']}", f"{settings['features']:,}"]
    words += [f"k {settings['k']}"] if k else []
    words += [f"{settings['steps']:,} steps"] if steps else []
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
                f"{number(mine['bits_lost'])} of {number(mine['bits_lost_by_mean'])} "
                f"({percent(mine['recovered'])})",
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
        "of 600 and 1,500 steps are not done, and less so on the model than on random weights, as "
        "the variance unexplained says. The first line is the bundled dictionary. "
        '"Earlier model" is the first bundled one, without attention. '
        f"`benchmarks/results/{found['file']}` has every TF.",
        "",
        *table(
            [
                "tap:blocks, features, k, steps",
                "L0",
                "bits lost, of those by the mean (cross-entropy recovered)",
                "variance unexplained, whitened",
                *(
                    f"top 100, {said}" if "AUROC" not in said else said
                    for said in MEASURES.values()
                ),
            ],
            rows,
        ),
    ]
