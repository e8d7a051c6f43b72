"""Sections of the page about binding, gene structure, edits, and what failed."""

from collections.abc import Mapping
from typing import Any

from workers.evidence.dictionaries import NAMES, ROLES
from workers.evidence.goals import CORE_GOALS, MORE_AUROC, best_sum, measured
from workers.evidence.page_parts import (
    lines_of,
    picture,
    short,
    small,
    table,
    with_interval,
)

Numbers = Mapping[str, Any]

SCORES = {
    **{f"feature, {role}": NAMES[role] for role in ROLES},
    "PWM": "JASPAR matrix",
    "expectation": "expectation",
    "expected motif": "expected motif",
}
"""Single signals and what the page calls them."""


def binding(numbers: Numbers) -> list[str]:
    """Loci and instances on every set of chromosomes that was measured."""
    choice = numbers.get("choice", {}).get("binding")
    shown = [
        (stage, numbers[stage]["binding"]) for stage in ("test", "validation") if stage in numbers
    ]
    pictures = [
        *picture("binding", "Precision of the best 100 loci by TF and score"),
        *picture("instances", "Bound against unbound copies of a motif"),
    ]
    if choice is None or not shown:
        return lines_of(None) + pictures
    parts = [
        "A locus is a bin of ten bases in non-coding sequence without annotated repeats and "
        "regions "
        "left out of peak calling; it is positive where a ChIP-exo location of the TF lies within "
        "20 bases of its middle. Of the best 100, a bin with a better one within two bins is not "
        "counted again; ties and what is missing to 100 count as drawn at random.",
        f"Chosen on {', '.join(choice['contigs'])}: the matrix of each TF, and of each dictionary "
        "the "
        f"feature (larger of both strands) with most locations in its best {choice['top']} loci. "
        "Expectation: mean log2 of what the model expects of the letters at the core of the best "
        "placement, over the local composition; expected motif: log-odds of the matrix over what "
        "the "
        "model expects there, whatever stands there. Sums are of z-scores, or weighted by a "
        "logistic "
        f"regression, with scale and weights from {', '.join(choice['fitted_on'])}. The model "
        "trained on those chromosomes, so its expectation is sharper there than elsewhere.",
        *pictures,
    ]
    for stage, found in shown:
        named = " and ".join(found["contigs"])
        parts += ["", f"### {named}{'' if stage == 'test' else ' (validation)'}", ""]
        parts += [
            f"{found['noncoding_bases']:,} non-coding bases; {found['resamples']:,} draws of "
            f"{found['blocks']} blocks.",
            "",
            "Precision of the best 100 loci:",
            "",
            *_loci_table(found, choice, "precision"),
            "",
            "The trained SAE's feature less each, precision of the best 100:",
            "",
            *_differences(found),
            "",
            "AUROC over all loci:",
            "",
            *_loci_table(found, choice, "auroc"),
            "",
            "AUPRC over all loci (prevalence in the second column):",
            "",
            *_loci_table(found, choice, "auprc"),
            "",
            "Matrix and signal together, precision of the best 100 (z-scores / fitted):",
            "",
            *_sums(found, "loci", "precision"),
            "",
            "Share of motif hits (within 10 bases) in the best 100 loci of the feature chosen for "
            "that:",
            "",
            *_motif_shares(found, choice),
            "",
            "Bound against unbound instances of the same motif, AUROC; the feature is chosen for "
            "this:",
            "",
            *_instances(found, choice),
            "",
            "Matrix and signal together, AUROC (z-scores / fitted):",
            "",
            *_sums(found, "instances", "auroc"),
        ]
    return parts


def _loci_table(found: Numbers, choice: Numbers, figure: str) -> list[str]:
    names = [name for name in SCORES if name in _first(found)["loci"]["scores"]]
    rows = []
    for tf, tasks in found["tfs"].items():
        loci = tasks["loci"]
        values = {name: loci["scores"][name][figure]["value"] for name in names}
        best = max((value for value in values.values() if value is not None), default=None)
        chosen = choice["tfs"][tf]
        cells = []
        for name in names:
            role = name.removeprefix("feature, ")
            unit = chosen["features"].get(role, {}).get("binding", {}).get("feature")
            said = with_interval(loci["scores"][name][figure], bold=values[name] == best)
            cells.append(said if unit is None or figure != "precision" else f"{said} ({unit})")
        rows.append(
            [
                f"{tf} ({chosen['matrix']})",
                f"{loci['positives']} ({_percent(loci['prevalence'])})",
                *cells,
            ]
        )
    return table(["TF (matrix)", "positive loci", *(SCORES[name] for name in names)], rows)


def _differences(found: Numbers) -> list[str]:
    rows = []
    for tf, tasks in found["tfs"].items():
        row = tasks["loci"]["scores"]["feature, trained"]
        cells = [
            with_interval(row[against]["precision"]) if against in row else "-"
            for against in ("over_random", "over_pwm")
        ]
        rows.append([tf, *cells])
    return table(["TF", NAMES["random"], "JASPAR matrix"], rows)


def _sums(found: Numbers, task: str, figure: str) -> list[str]:
    names = [name for name in _first(found)[task]["scores"] if name.endswith("; z")]
    bare = [name.removesuffix("; z") for name in names]
    rows = []
    for tf, tasks in found["tfs"].items():
        scores = tasks[task]["scores"]
        rows.append([tf, short(scores["PWM"][figure]["value"])])
        for name in bare:
            pair = [scores[f"{name}; {way}"] for way in ("z", "fitted")]
            said = " / ".join(short(one[figure]["value"]) for one in pair)
            surely = [
                way
                for way, one in zip(("z", "fitted"), pair, strict=True)
                if (one["over_pwm"][figure]["low"] or 0) > 0
            ]
            rows[-1].append(said + (f" ({' and '.join(surely)} surely above)" if surely else ""))
    head = ["TF", "PWM", *(_said(name) for name in bare)]
    return table(head, rows)


def _said(name: str) -> str:
    for role in ROLES:
        name = name.replace(f"feature, {role}", NAMES[role])
    return name


def _motif_shares(found: Numbers, choice: Numbers) -> list[str]:
    roles = [role for role in ROLES if role in _first(found)["motif_share"]["roles"]]
    rows = []
    for tf, tasks in found["tfs"].items():
        share = tasks["motif_share"]
        cells = []
        for role in roles:
            unit = choice["tfs"][tf]["features"][role]["motif"]["feature"]
            cells.append(f"{with_interval(share['roles'][role])} ({unit})")
        rows.append([tf, _percent(share["prevalence"]), *cells])
    return table(["TF", "all loci", *(NAMES[role] for role in roles)], rows)


def _instances(found: Numbers, choice: Numbers) -> list[str]:
    names = [name for name in SCORES if name in _first(found)["instances"]["scores"]]
    rows = []
    for tf, tasks in found["tfs"].items():
        task = tasks["instances"]
        best = best_sum(choice, tf)
        cells = [with_interval(task["scores"][name]["auroc"]) for name in names]
        gain = task["scores"].get(best, {}).get("over_pwm", {}).get("auroc")
        rows.append(
            [
                tf,
                f"{task['positives']} / {task['n'] - task['positives']}",
                *cells,
                f"{_said(best)}: {with_interval(gain)}" if gain is not None else "-",
            ]
        )
    head = ["TF", "bound / unbound", *(SCORES[name] for name in names)]
    return table([*head, "best sum where it was fitted, less the matrix"], rows)


def structure(numbers: Numbers) -> list[str]:
    """Parts of genes on held-out chromosomes and on S. pombe."""
    choice = numbers.get("choice", {}).get("structure")
    parts = picture("structure", "AUROC of the best feature for each part of genes")
    if choice is None:
        return lines_of(None) + parts
    intro = [
        "Per base, in the sense of the pass: a base counts once for each strand that is read. The "
        f"feature of each dictionary is chosen by AUPRC in {choice['bases']:,} bases of training "
        "chromosomes, about every intron and at random. Exons include the coding sequence; codon "
        "bases are counted from the start codon.",
    ]
    tables: list[str] = []
    for stage in ("test", "validation", "pombe"):
        if stage not in numbers:
            continue
        found = numbers[stage]["structure"]
        roles = [role for role in ROLES if any(role in row for row in found.values())]
        rows = []
        for name, by_role in found.items():
            known = [row for row in by_role.values() if row]
            prevalence = small(known[0]["prevalence"]) if known else "-"
            cells = []
            for role in roles:
                row = by_role.get(role)
                cells.append(
                    f"{short(row['auroc'])} / {small(row['auprc'])} ({row['feature']})"
                    if row
                    else "-"
                )
            rows.append([name, prevalence, *cells])
        where = " and ".join(numbers[stage]["contigs"])
        named = f"*S. pombe*, chromosome {where}" if stage == "pombe" else where
        tables += [
            "",
            f"{named}, AUROC / AUPRC (feature):",
            "",
            *table(["part", "prevalence", *(NAMES[role] for role in roles)], rows),
        ]
    return intro + parts + tables


def causal(numbers: Numbers) -> list[str]:
    """Edits of the sequence at the surest matches."""
    found = numbers.get("causal")
    if found is None:
        return lines_of(None)
    rows = []
    for test in found["tests"]:
        away, put = test["taken_away"], test["put_in"]
        rows.append(
            [
                f"{test['feature']}{'+' if test['strand'] > 0 else '-'}",
                f"{test['tf']} ({test['matrix']}; {test['cluster']})",
                *(_edit(effect) for effect in (away, put)),
            ]
        )
    return [
        "The surest confirmed matches of the atlas, one for each motif cluster and feature, of "
        "motifs "
        "that at most a tenth of background windows hold. Taken away: the motif's core becomes its "
        "worst bases at up to 50 peaks; the control changes as many bases alike beside it; changes "
        "are shares of the activation. Put in: the consensus, or its columns in another order, in "
        "silent windows, the better of two orientations (p doubled); changes are in units of the "
        f"typical peak. Signed-rank tests, on {', '.join(found['contigs'])}.",
        "",
        *table(
            [
                "row",
                "motif",
                "taken away: change, control, p (sites)",
                "put in: change, control, p (sites)",
            ],
            rows,
        ),
    ]


def _edit(effect: Numbers) -> str:
    if effect["p"] is None:
        return effect["reason"] or "-"
    change, control = (short(effect[name], sign=True) for name in ("change", "control"))
    return f"{change}, {control}, {small(effect['p'])} ({effect['n']})"


def failures(numbers: Numbers) -> list[str]:
    """What was not found, and what the controls do as well, from the numbers."""
    said = [
        *_failed_binding(numbers),
        *_failed_cores(numbers),
        *_failed_motifs(numbers),
        *_failed_structure(numbers),
        *_failed_causal(numbers),
    ]
    return [f"- {line}" for line in said] or lines_of(None)


def _failed_binding(numbers: Numbers) -> list[str]:
    where, found = measured(numbers, "binding")
    if found is None:
        return []
    none, alike, below, no_gain = [], [], [], []
    choice = numbers.get("choice", {}).get("binding", {})
    for tf, tasks in found["tfs"].items():
        scores = tasks["loci"]["scores"]
        mine = scores["feature, trained"]["precision"]
        prevalence = tasks["loci"]["prevalence"] or 0
        if (mine["low"] or 0) <= prevalence:
            none.append(tf)
        over = scores["feature, trained"].get("over_random")
        if over is not None and (over["precision"]["low"] or 0) <= 0:
            alike.append(f"{tf} ({short(over['precision']['value'], sign=True)})")
        if (mine["value"] or 0) < (scores["PWM"]["precision"]["value"] or 0):
            below.append(tf)
        sums = tasks["instances"]["scores"].get(best_sum(choice, tf), {}).get("over_pwm")
        if sums is not None and (sums["auroc"]["value"] or 0) < MORE_AUROC:
            no_gain.append(tf)
    heard = where.removeprefix(", ")
    return [
        text
        for text, names in (
            (f"TFs with no feature whose best 100 loci are surely above chance ({heard})", none),
            ("TFs for which random weights do as well, interval of the difference holds 0", alike),
            ("TFs that the matrix alone finds better (precision of the best 100)", below),
            ("TFs whose bound copies the model does not tell better than the matrix does", no_gain),
        )
        for text in [f"{text}: {', '.join(names) or 'none'}."]
    ]


def _failed_cores(numbers: Numbers) -> list[str]:
    _, found = measured(numbers, "gate")
    if found is None:
        return []
    unknown = [row["tf"] for row in found["tfs"] if row["known"] is False]
    few = [row["tf"] for row in found["tfs"] if row["known"] is None]
    asked = [tf for tf in unknown if tf.upper() in CORE_GOALS]
    return [
        f"The language model does not know the motif of: {', '.join(unknown) or 'none'}"
        f"{' (of those with a goal: ' + ', '.join(asked) + ')' if asked else ''}; too few "
        "instances "
        f"to say: {', '.join(few) or 'none'}."
    ]


def _failed_motifs(numbers: Numbers) -> list[str]:
    found = numbers.get("motifs")
    if found is None or "trained" not in found["roles"]:
        return []
    mine = found["roles"]["trained"]
    lines = [
        f"{mine['without_explanation']:,} of {mine['units']:,} features have no significant match "
        "to "
        f"a motif; {mine['features'] - mine['specific_features']:,} have confirmed matches to "
        "unspecific motifs alone (more than a tenth of all windows hold them).",
    ]
    random = found["roles"].get("random")
    if random is not None:
        as_many = [tf for tf, n in random["by_tf"].items() if n >= mine["by_tf"][tf] and n]
        lines.append(
            f"Features with a confirmed specific motif: {mine['specific_features']:,} of the "
            "trained "
            f"SAE, {random['specific_features']:,} of the one on random weights, which has at "
            "least "
            f"as many for {', '.join(as_many) or 'no TF'}."
        )
    return lines


def _failed_structure(numbers: Numbers) -> list[str]:
    where, found = measured(numbers, "structure")
    if found is None:
        return []
    alike = []
    for name, by_role in found.items():
        mine, random = by_role.get("trained"), by_role.get("random")
        if mine and random and (random["auprc"] or 0) >= (mine["auprc"] or 0):
            alike.append(name)
    return [
        "Parts of genes that a feature of random weights tells as well or better, by "
        f"AUPRC{where}: "
        f"{', '.join(alike) or 'none'}."
    ]


def _failed_causal(numbers: Numbers) -> list[str]:
    found = numbers.get("causal")
    if found is None:
        return []
    lost = [
        f"{test['tf']} ({test['feature']})"
        for test in found["tests"]
        if test["put_in"]["p"] is None or test["put_in"]["p"] > 0.05
    ]
    return [
        "Matches whose motif alone, put into silent sequence, does not raise the feature (p > .05 "
        "or "
        f"no test): {', '.join(lost) or 'none'}."
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2g} %"


def _first(found: Numbers) -> Any:
    return next(iter(found["tfs"].values()))
