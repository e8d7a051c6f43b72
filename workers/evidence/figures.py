"""The figures of the page, from the records alone."""

from collections.abc import Mapping
from typing import Any, Final

from workers.evidence.charts import Dot, Series, dot_chart, line_chart
from workers.evidence.dictionaries import NAMES, ROLES
from workers.evidence.goals import best_sum, measured
from workers.evidence.page_tried import MEASURES, named, of_present_model, usual_steps
from workers.evidence.tried import MODEL

Records = Mapping[str, Mapping[str, Any]]

FIGURES: Final = (
    *("bits", "curve", "gate", "density", "binding", "instances", "structure"),
    *("frontier", "taps"),
)
"""Names of the figures, each a file ``<name>.svg``."""


def figures(records: Records) -> dict[str, str]:
    """Every figure as SVG, by name; what was not measured says so."""
    numbers = {stage: record["numbers"] for stage, record in records.items()}
    return {
        "bits": _bits(numbers),
        "curve": _curve(numbers),
        "gate": _gate(numbers),
        "density": _density(numbers),
        "binding": _binding(numbers),
        "instances": _instances(numbers),
        "structure": _structure(numbers),
        "frontier": _frontier(numbers),
        "taps": _taps(numbers),
    }


def _bits(numbers: Mapping[str, Any]) -> str:
    rows = numbers.get("bits", {}).get("rows", [])
    series, levels = [], {}
    for kind, said in (("noncoding", "non-coding"), ("coding", "coding")):
        for counted in ("all", "non-coding"):
            own = [row for row in rows if row.get("counted") == counted]
            series.append(
                Series(
                    f"{said}, counted {counted}",
                    tuple(float(row["order"]) for row in own),
                    tuple(row["sets"]["all"][kind]["bits"] for row in own),
                )
            )
        for row in rows:
            if "order" not in row and row["sets"]["all"][kind]["bits"] is not None:
                levels[f"model, {said}"] = row["sets"]["all"][kind]["bits"]
    return line_chart(
        "Bits per base: the model and Markov models",
        "Cross-entropy of interpolated Markov models by order, and of the model as level lines.",
        series,
        x_label="order of the Markov model",
        y_label="bits",
        levels=levels,
    )


def _curve(numbers: Mapping[str, Any]) -> str:
    curve = numbers.get("bits", {}).get("curve") or {}
    lines = curve.get("lines", [])
    seen = tuple(line["bases"] / 1e6 for line in lines)
    series = [
        Series(said, seen, tuple(line[name] for line in lines))
        for name, said in (("bits_coding", "coding"), ("bits_noncoding", "non-coding"))
    ]
    return line_chart(
        "Learning curve on the validation chromosome",
        "Bits per base against million bases seen in training, coding and non-coding.",
        series,
        x_label="million bases seen",
        y_label="bits",
    )


def _gate(numbers: Mapping[str, Any]) -> str:
    where, found = measured(numbers, "gate")
    rows = {}
    for row in (found or {}).get("tfs", []):
        dots = {}
        for name, key in (("bound", "bound_bits"), ("unbound", "unbound_bits")):
            value = row[key]
            dots[name] = Dot(None if value is None else row["composition_bits"] - value)
        rows[f"{row['tf']} ({row['bound']} / {row['unbound']})"] = dots
    return dot_chart(
        f"Bits below composition at motif cores{where}",
        "How much better than composition the model expects the core of bound and unbound motif "
        "instances; TF, number of bound and unbound instances.",
        rows,
        x_label="bits per core base below a code of composition alone",
        zero=0.0,
    )


def _density(numbers: Mapping[str, Any]) -> str:
    series = []
    for role, row in numbers.get("quality", {}).get("roles", {}).items():
        edges, counts = row["density"]["edges"], row["density"]["counts"]
        series.append(Series(NAMES[role], tuple(edges), (*counts, 0)))
    return line_chart(
        "How often features fire",
        "Histogram of features by log10 of the share of bases at which they are active.",
        series,
        x_label="log10 of the share of bases",
        y_label="features",
        steps=True,
    )


def _binding(numbers: Mapping[str, Any]) -> str:
    where, found = measured(numbers, "binding")
    rows = {}
    for tf, tasks in (found or {}).get("tfs", {}).items():
        scores = tasks["loci"]["scores"]
        shown = {"JASPAR matrix": "PWM", "expected motif": "expected motif"}
        named = {NAMES[role]: f"feature, {role}" for role in ROLES} | shown
        rows[tf] = {
            said: _dot(scores[name]["precision"]) for said, name in named.items() if name in scores
        }
    return dot_chart(
        f"Precision of the best 100 loci{where}",
        "Share of the best 100 non-coding loci with a ChIP-exo location, by TF and score, with 95 "
        "% "
        "intervals of a block bootstrap.",
        rows,
        x_label="share with a ChIP-exo location within 20 bases",
    )


def _instances(numbers: Mapping[str, Any]) -> str:
    where, found = measured(numbers, "binding")
    choice = numbers.get("choice", {}).get("binding", {})
    rows = {}
    for tf, tasks in (found or {}).get("tfs", {}).items():
        scores = tasks["instances"]["scores"]
        best = best_sum(choice, tf)
        named = {"JASPAR score": "PWM", "expectation": "expectation", "matrix and model": best}
        rows[f"{tf} ({tasks['instances']['positives']})"] = {
            said: _dot(scores[name]["auroc"]) for said, name in named.items() if name in scores
        }
    return dot_chart(
        f"Bound against unbound copies of a motif{where}",
        "AUROC of telling bound from unbound instances of the same motif, by TF (number bound) and "
        "score, with 95 % intervals of a block bootstrap.",
        rows,
        x_label="AUROC",
        zero=0.5,
    )


def _structure(numbers: Mapping[str, Any]) -> str:
    where, found = measured(numbers, "structure")
    pombe = numbers.get("pombe", {}).get("structure", {})
    rows = {}
    for name, roles in (found or {}).items():
        rows[name] = {
            NAMES[role]: Dot(row["auroc"]) for role, row in roles.items() if row is not None
        }
        if name in pombe:
            rows[f"{name}, S. pombe"] = {
                NAMES[role]: Dot(row["auroc"]) for role, row in pombe[name].items() if row
            }
    return dot_chart(
        f"Gene structure{where}",
        "AUROC per base of the best feature of each dictionary for each part of genes, in the "
        "sense "
        "of the pass, on held-out chromosomes and on S. pombe.",
        rows,
        x_label="AUROC per base",
        zero=0.5,
    )


def _frontier(numbers: Mapping[str, Any]) -> str:
    rows, steps = _trials(numbers)
    lines: dict[str, list[tuple[float, float | None]]] = {}
    for row in rows:
        mine, settings = row["subjects"][MODEL], row["settings"]
        what = named(settings, k=False, steps=settings["steps"] != steps)
        if settings["tap"] != "block" and mine["kl_recovered"] is not None:
            lines.setdefault(what, []).append((mine["l0"], 1 - mine["kl_recovered"]))
    series = [
        Series(what, tuple(x for x, _ in points), tuple(y for _, y in points))
        for what, points in ((what, sorted(points)) for what, points in lines.items())
    ]
    return line_chart(
        "Divergence lost by active features",
        "Share of the divergence from the present model's own prediction that a reconstruction "
        "does not recover, against the mean number of active features, of each residual and width "
        f"tried; {steps:,} steps where none are named.",
        series,
        x_label=f"active features per base, L0 ({steps:,} steps where none are named)",
        y_label="lost",
    )


def _taps(numbers: Mapping[str, Any]) -> str:
    rows, steps = _trials(numbers)
    return dot_chart(
        "Over the same dictionary on random weights",
        "Difference of a dictionary of the present model and of one of random weights, means over "
        f"twelve TFs with 95 % intervals of a block bootstrap; {steps:,} steps where none are "
        "named.",
        {
            named(row["settings"], steps=row["settings"]["steps"] != steps): {
                said: _dot(row["over"][what]) for what, said in MEASURES.items()
            }
            for row in rows
        },
        x_label=f"difference to random weights ({steps:,} steps where none are named)",
        zero=0.0,
    )


def _trials(numbers: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], int]:
    """Trials of the present model, the shorter ones left out, and the steps that most have."""
    rows = of_present_model((numbers.get("tried") or {}).get("sae"))
    steps = usual_steps(rows)
    return [row for row in rows if row["settings"]["steps"] >= steps], steps


def _dot(figure: Mapping[str, Any]) -> Dot:
    return Dot(figure["value"], figure["low"], figure["high"])
