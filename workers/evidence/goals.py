"""What was to be reached, and whether it was, from the records alone."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Numbers = Mapping[str, Any]

CORE_GOALS: Final = {"REB1": 0.45, "CBF1": 0.40, "RAP1": 0.30, "RSC3": 0.9, "ABF1": 0.15}
"""Bits below composition at the cores of bound sites."""
MORE_AUROC: Final = 0.05


class Goal(NamedTuple):
    """One line of the table of goals."""

    what: str
    goal: str
    found: str
    """What was measured; empty where nothing was."""
    reached: bool | None
    """None where it was not measured."""
    missing: str
    """By how much it was missed."""


def measured(numbers: Numbers, part: str) -> tuple[str, Any]:
    """Figures of the test chromosomes, or of the validation chromosome before those were read.

    Returns
    -------
    where : str
        For headings, such as ``, chrIX + chrXIV``; empty where there is none.
    figures : Any
        None where there is none.
    """
    for stage in ("test", "validation"):
        found = numbers.get(stage, {})
        if part in found:
            named = found[part].get("contigs") if isinstance(found[part], Mapping) else None
            return ", " + " + ".join(named or found["contigs"]), found[part]
    return "", None


def best_sum(choice: Numbers, tf: str) -> str:
    """The sum of matrix and model with the largest AUROC where sums were fitted; "" for none."""
    fits = choice.get("tfs", {}).get(tf, {}).get("fit_auroc", {}).get("instances", {})
    ours = {
        name: value
        for name, value in fits.items()
        if value is not None and not any(f", {role}" in name for role in _OTHERS)
    }
    return max(ours, key=lambda name: ours[name]) if ours else ""


_OTHERS = ("random", "neurons", "components")


def goals(numbers: Numbers) -> list[Goal]:
    """Every goal of the issue, in its order."""
    return [
        *_bits(numbers),
        *_cores(numbers),
        _over_random(numbers),
        _as_pwm(numbers),
        _abf1(numbers),
        _together(numbers),
        _minutes(numbers),
        _size(numbers),
    ]


def _bits(numbers: Numbers) -> list[Goal]:
    rows = [row for row in numbers.get("bits", {}).get("rows", []) if "order" not in row]
    found = []
    for kind, said, goal in (("noncoding", "non-coding", 1.83), ("coding", "CDS", 1.93)):
        value = rows[0]["sets"]["all"][kind]["bits"] if rows else None
        found.append(_below(f"bits per base, chrVIII, {said}", goal, value, "{:.3f}"))
    return found


def _cores(numbers: Numbers) -> list[Goal]:
    where, table = measured(numbers, "gate")
    found = []
    for tf, goal in CORE_GOALS.items():
        rows = [row for row in (table or {}).get("tfs", []) if row["tf"].upper() == tf]
        row = rows[0] if rows else None
        known = row is not None and row["bound_bits"] is not None
        value = row["composition_bits"] - row["bound_bits"] if row is not None and known else None
        sites = f" ({row['bound']} sites)" if row is not None else ""
        what = f"bits below composition at bound cores, {tf}{sites}{where}"
        found.append(_at_least(what, goal, value, "{:.2f}"))
    return found


def _loci(numbers: Numbers) -> tuple[str, dict[str, Any] | None]:
    where, found = measured(numbers, "binding")
    if found is None:
        return "", None
    return where, {tf: tasks["loci"]["scores"] for tf, tasks in found["tfs"].items()}


def _over_random(numbers: Numbers) -> Goal:
    where, scores = _loci(numbers)
    what = f"TFs whose top-100 precision is above the random-weight SAE's, interval above 0{where}"
    rows = [one["feature, trained"].get("over_random") for one in (scores or {}).values()]
    lows = [row["precision"]["low"] for row in rows if row is not None]
    return _count(what, 6, None if not lows else sum(low is not None and low > 0 for low in lows))


def _as_pwm(numbers: Numbers) -> Goal:
    where, scores = _loci(numbers)
    what = f"TFs whose top-100 precision is at least the PWM's, and not 0{where}"
    if not scores:
        return _count(what, 4, None)
    pairs = [
        (one["feature, trained"]["precision"]["value"], one["PWM"]["precision"]["value"])
        for one in scores.values()
        if one["PWM"]["precision"]["value"] is not None
    ]
    # none of a hundred against none of a hundred is no success
    return _count(what, 4, sum(ours > 0 and ours >= theirs for ours, theirs in pairs))


def _abf1(numbers: Numbers) -> Goal:
    where, found = measured(numbers, "binding")
    tfs = (found or {}).get("tfs", {})
    row = tfs.get("ABF1", {}).get("motif_share", {}).get("roles", {}).get("trained")
    value = None if row is None else row["value"]
    return _at_least(f"Abf1: motif share of a feature's top 100{where}", 0.30, value, "{:.2f}")


def _together(numbers: Numbers) -> Goal:
    where, found = measured(numbers, "binding")
    what = f"TFs with PWM plus our signal at least +.05 AUROC over the PWM{where}"
    if found is None:
        return _count(what, 4, None)
    choice = numbers.get("choice", {}).get("binding", {})
    gained = 0
    for tf, tasks in found["tfs"].items():
        scores = tasks["instances"]["scores"]
        row = scores.get(best_sum(choice, tf), {}).get("over_pwm")
        if row is not None and row["auroc"]["value"] is not None:
            gained += row["auroc"]["value"] >= MORE_AUROC
    return _count(what, 4, gained)


def _minutes(numbers: Numbers) -> Goal:
    found = numbers.get("package", {}).get("annotate") or {}
    return _below(
        "annotate, whole yeast genome, both strands, 2 cores (minutes)",
        30,
        found.get("minutes"),
        "{:.1f}",
        equal=True,
    )


def _size(numbers: Numbers) -> Goal:
    size = numbers.get("package", {}).get("bytes")
    value = None if size is None else size / 1e6
    return _below("bundled files (MB)", 16, value, "{:.1f}", equal=True)


def _below(what: str, goal: float, value: float | None, form: str, *, equal: bool = False) -> Goal:
    said = f"{'at most' if equal else 'below'} {goal:g}"
    if value is None:
        return Goal(what, said, "", None, "")
    reached = value <= goal if equal else value < goal
    return Goal(
        what, said, form.format(value), reached, "" if reached else form.format(value - goal)
    )


def _at_least(what: str, goal: float, value: float | None, form: str) -> Goal:
    said = f"at least {goal:g}"
    if value is None:
        return Goal(what, said, "", None, "")
    reached = value >= goal
    return Goal(
        what, said, form.format(value), reached, "" if reached else form.format(goal - value)
    )


def _count(what: str, goal: int, value: int | None) -> Goal:
    if value is None:
        return Goal(what, f"at least {goal}", "", None, "")
    missing = "" if value >= goal else str(goal - value)
    return Goal(what, f"at least {goal}", str(value), value >= goal, missing)
