"""The section of the page about what was tried, and what would be needed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from workers.evidence.page_parts import (
    lines_of,
    number,
    percent,
    picture,
    short,
    table,
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
        *picture("frontier", "Divergence lost by active features"),
        *picture("taps", "How far each dictionary is over the same on random weights"),
        *_places_of_the_bundled(found.get("sae")),
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
        "other; the bundled one ended lowest. Twice the hidden units above the first block "
        "(a model of 7.5 MB) changed little at 1.2 million bases. An order of magnitude more "
        "training in larger batches (hours of a GPU; none was lent to this work), and an end "
        "of training on *S. cerevisiae* alone, were not tried.",
        "- Of cores: a model that expects the motif. Where section 1 says that a motif is not "
        "known, no dictionary can be expected to have it beyond its words; both halves of Abf1's "
        "site would have to meet in one unit.",
    ]
    if found is not None:
        parts.append(
            "- Of features: dictionaries whose mean over twelve TFs is surely above random "
            f"weights, by measure: {_surely(found, 1)}. Surely below: {_surely(found, -1)}. Of "
            f"{len(found['rows']) * len(MEASURES)} intervals of 95 % some miss 0 by chance."
        )
    return parts


def _surely(found: Numbers, sign: int) -> str:
    """Trials on one side of random weights with their whole interval, by measure."""
    parts = []
    for what, said in MEASURES.items():
        end = "low" if sign > 0 else "high"
        rows = [row for row in found["rows"] if sign * (row["over"][what][end] or 0) > 0]
        parts.append(f"{said}: {' / '.join(named(row['settings']) for row in rows) or 'none'}")
    return "; ".join(parts)


def _places_of_the_bundled(found: Numbers | None) -> list[str]:
    """Which settings are furthest above random weights, and where the bundled ones stand.

    Compared are dictionaries of the present model after equally many steps: of the steps that most
    of them have.
    """
    present = of_present_model(found)
    steps = usual_steps(present)
    equal = [row for row in present if _of(row, "steps") == steps]
    if len(equal) < 2:
        return []
    shipped = next((row for row in present if _of(row, "bundled")), None)
    lines = []
    for what, said in MEASURES.items():
        known = [row for row in equal if row["over"][what]["value"] is not None]
        known.sort(key=lambda row: row["over"][what]["value"], reverse=True)
        if not known:
            continue
        first = known[0]
        line = f"- {said}: {named(first['settings'])}, {_fine(first['over'][what])}"
        at = next((i for i, row in enumerate(known) if shipped and _alike(row, shipped)), None)
        if at == 0:
            line += ", which are the bundled settings"
        elif at is not None:
            own = _fine(known[at]["over"][what])
            line += f"; the bundled settings are number {at + 1} of {len(known)}, {own}"
        lines.append(f"{line}.")
    return [
        "",
        f"Furthest above random weights of the {len(equal)} dictionaries of {steps:,} steps on the "
        "present model, by measure:",
        "",
        *lines,
        *_beside_the_bundled(present),
    ]


def _beside_the_bundled(rows: Sequence[Numbers]) -> list[str]:
    """Dictionaries that were measured beside the bundled one, and the rule of the choice."""
    beside = [row for row in rows if row["over_bundled"] is not None]
    if not beside:
        return []
    lines = []
    for row in beside:
        over = row["over_bundled"]
        figures = [f"{_fine(over[what])} by {said}" for what, said in MEASURES.items()]
        verdict = "better by the rule" if _is_better(over) else "not better by the rule"
        lines.append(f"- {named(row['settings'])}: {', '.join(figures)}: {verdict}.")
    return [
        "",
        "Trained as long as the bundled dictionary and measured beside it, as differences to it, "
        "the same draws of blocks for both. The rule, set before this was measured (there is no "
        "earlier record of it): another dictionary is bundled if it is surely above it in binding "
        "sites or motif hits and surely below it in nothing; else the tap that sees less stays, "
        "whose windows need less context.",
        "",
        *lines,
    ]


def _is_better(over: Mapping[str, Mapping[str, float | None]]) -> bool:
    """The rule by which a dictionary would take the place of the bundled one."""
    above = any((over[what]["low"] or 0) > 0 for what in ("binding", "motif"))
    return above and not any((over[what]["high"] or 0) < 0 for what in MEASURES)


def _fine(figure: Mapping[str, float | None]) -> str:
    """A difference with its interval, to three decimals."""
    if figure["value"] is None:
        return "-"
    return f"{number(figure['value'])} [{number(figure['low'])}, {number(figure['high'])}]"


def of_present_model(found: Numbers | None) -> list[Numbers]:
    """Trials of the model that is bundled."""
    return [row for row in (found or {}).get("rows", []) if not _of(row, "earlier_model")]


def usual_steps(rows: Sequence[Numbers]) -> int:
    """The steps that most trials have, of equally many the first; 0 where there is none."""
    counted = Counter(_of(row, "steps") for row in rows).most_common(1)
    return int(counted[0][0]) if counted else 0


def _of(row: Mapping[str, Any], name: str) -> Any:
    return row["settings"][name]


def _alike(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two trials differ in steps alone."""
    own = {"steps": 0, "bundled": False}
    return {**row["settings"], **own} == {**other["settings"], **own}


def named(settings: Mapping[str, Any], *, k: bool = True, steps: bool = True) -> str:
    """A trial in few words.

    Examples
    --------
    >>> one = {"tap": "joint", "layer": 4, "features": 4096, "k": 16, "steps": 600, "seed": 1}
    >>> one |= {"sampling": "uniform", "earlier_model": False, "bundled": False}
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
    words += ["bundled"] if settings["bundled"] else []
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
            f"{_fine(row['over'][what])}"
            for what in MEASURES
        ]
        rows.append(
            [
                named(row["settings"]),
                f"{number(mine['l0'], 1)} / {number(other['l0'], 1)}",
                f"{number(mine['bits_lost'], 4)} of {number(mine['bits_lost_by_mean'], 4)}",
                f"{percent(mine['recovered'])} / {percent(mine['kl_recovered'])}",
                f"{number(mine['fvu_whitened'])} / {number(other['fvu_whitened'])}",
                *cells,
            ]
        )
    return [
        "Each trained once on the model and once on random weights; features chosen on one "
        "training chromosome and measured on another, in means over twelve TFs: the model / "
        "random weights, then their difference with its interval. The intervals are of places "
        "in the genome alone, not of seeds. Fidelity on chrVIII, in windows as long as the tap "
        "needs: bits per base that the reconstruction costs the model, of those that the mean "
        "of the tap costs, which differ by tap: all of a tower is more than what one block adds"
        " to it. Cross-entropy recovered is above 100 % where the model tells the bases better "
        "from the reconstruction; the divergence is that from the model's own prediction. A "
        "block is transcoded: its dictionary reads what the block is given and writes what it "
        "adds. More steps lower the variance unexplained and change the order of close lines; "
        'residuals of random weights are easier to reconstruct. "Earlier model" is the first '
        "bundled one, without attention. "
        f"`benchmarks/results/{found['file']}` has every TF.",
        "",
        *table(
            [
                "tap:blocks, features, k, steps",
                "L0",
                "bits lost, of those by the mean",
                "cross-entropy / divergence recovered",
                "variance unexplained, whitened",
                *(
                    f"top 100, {said}" if "AUROC" not in said else said
                    for said in MEASURES.values()
                ),
            ],
            rows,
        ),
    ]
