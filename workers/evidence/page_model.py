"""Sections of the page about the language model and its dictionary."""

from collections.abc import Mapping
from typing import Any, Final

from workers.evidence.dictionaries import NAMES
from workers.evidence.goals import measured
from workers.evidence.page_parts import lines_of, number, percent, picture, short, small, table

Numbers = Mapping[str, Any]

SHOWN_FILES: Final = 3
"""Largest bundled files that are named."""


def bits(numbers: Numbers) -> list[str]:
    """Bits per base, the learning curve and the gate."""
    found = numbers.get("bits")
    parts = lines_of(None) if found is None else _bits_table(found)
    parts += picture("bits", "Bits per base of the model and of Markov models by order")
    parts += picture("curve", "Learning curve")
    parts += ["", "### Does the language model know motifs?", "", *_gate(numbers)]
    return parts + picture("gate", "Bits below composition at motif cores")


def _bits_table(found: Numbers) -> list[str]:
    first = found["first_bundled"]
    sets = list(found["rows"][0]["sets"])
    head = ["model"] + [f"{kind}, {name}" for name in sets for kind in ("coding", "non-coding")]
    rows = []
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in found["rows"]:
        cells = [
            number(row["sets"][name][kind]["bits"])
            for name in sets
            for kind in ("coding", "noncoding")
        ]
        if "order" in row:
            said = f"interpolated Markov, order {row['order']}, {row['counted']} bases counted"
            for name in sets:
                for kind in ("coding", "noncoding"):
                    value = row["sets"][name][kind]["bits"]
                    held = best.get((name, kind))
                    if value is not None and (held is None or value < held["bits"]):
                        best[name, kind] = {"bits": value, "said": said}
        else:
            said = f"**{row['model']}**"
        rows.append([said, *cells])
    old = [number(first["coding"]), number(first["noncoding"])] + ["-"] * (2 * len(sets) - 2)
    rows.insert(1, [f"{first['source'].split(' of ')[0]}", *old])
    bases = found["rows"][0]["sets"]
    counted = "; ".join(
        f"{name}: {bases[name]['coding']['bases']:,} coding, "
        f"{bases[name]['noncoding']['bases']:,} non-coding"
        for name in sets
    )
    mine = found["rows"][0]["sets"]
    compared = []
    for name in sets:
        for kind, said in (("noncoding", "non-coding"), ("coding", "coding")):
            held = best.get((name, kind))
            value = mine[name][kind]["bits"]
            if held is None or value is None:
                continue
            gap = held["bits"] - value
            word = "better" if gap > 0 else "worse"
            compared.append(
                f"- {said}, {name}: {abs(gap):.3f} bits {word} than the best Markov model "
                f"({held['said']}, {held['bits']:.3f})"
            )
    return [
        f"Mean bits per base on {', '.join(found['contigs'])}, every base given all the others; "
        "the "
        "Markov models see one side of a base and are the mean of both directions, counted on the "
        f"same {len(found['genomes'])} genomes (blend {found['strength']:g}, chosen on chrVIII, "
        "which "
        "flatters them a little).",
        "Coding is what training called so: CDS, RNA genes, Ty elements, telomeres. Annotated "
        "repeats are LTRs, Ty elements, telomeres (X and Y' elements in them), tRNA and rRNA "
        "genes; "
        "soft-masked bases are the lower case of the FASTA (NCBI's mask: low complexity above "
        "all).",
        "",
        f"Bases: {counted}. First bundled model: {first['source']}.",
        "",
        *table(head, rows),
        "",
        *compared,
    ]


def _gate(numbers: Numbers) -> list[str]:
    where, found = measured(numbers, "gate")
    if found is None:
        return lines_of(None)
    rows = []
    for row in found["tfs"]:
        said = {True: "yes", False: "no", None: "too few"}[row["known"]]
        rows.append(
            [
                f"{row['tf']} ({row['matrix_id']})",
                f"{row['bound']} / {row['unbound']}",
                short(row["composition_bits"]),
                short(row["bound_bits"]),
                short(row["unbound_bits"]),
                short(row["model_auroc"]),
                short(row["jaspar_auroc"]),
                said,
            ]
        )
    return [
        f"Mean bits at the core columns (more than 0.6 bit) of motif instances in non-coding "
        f"sequence without repeats{where}; bound: a ChIP-exo location within 25 bases. Known: "
        "bound "
        "instances at least .15 bit below a code of composition alone, and below the unbound ones.",
        "",
        *table(
            [
                "TF (matrix)",
                "bound / unbound",
                "composition",
                "bound",
                "unbound",
                "AUROC, model",
                "AUROC, JASPAR score",
                "known",
            ],
            rows,
        ),
    ]


def quality(numbers: Numbers) -> list[str]:
    """Fidelity, densities, and seeds."""
    found = numbers.get("quality")
    if found is None:
        return lines_of(None) + picture("density", "How often features fire")
    roles = found["roles"]
    fidelity = {role: row["fidelity"] for role, row in roles.items()}

    def line(said: str, cell: Any) -> list[str]:
        return [said, *(cell(role) for role in roles)]

    def bits_of(role: str) -> str:
        row = fidelity[role]
        return " / ".join(number(row[name]) for name in ("bits", "bits_dictionary", "bits_mean"))

    rows = [
        line("features", lambda role: f"{roles[role]['features']:,}"),
        line("active features per base, L0", lambda role: number(fidelity[role]["l0"], 1)),
        line(
            "variance unexplained, raw / whitened",
            lambda role: " / ".join(
                number(fidelity[role][name]) for name in ("fvu", "fvu_whitened")
            ),
        ),
        line("cross-entropy: model / dictionary / mean (bits per base)", bits_of),
        line("cross-entropy recovered", lambda role: percent(fidelity[role]["recovered"])),
        line("divergence recovered", lambda role: percent(fidelity[role]["kl_recovered"])),
        line(
            "features that fire",
            lambda role: f"{roles[role]['features'] - roles[role]['density']['silent']:,}",
        ),
        line("median density", lambda role: small(roles[role]["density"]["median"])),
    ]
    return [
        f"At non-coding bases of {found['contig']}, both strands "
        f"({fidelity['trained']['tokens']:,} activations; densities over all non-coding bases). "
        f"Whitening with shrinkage {found['shrink']:g}.",
        "",
        *table(["figure", *(NAMES[role] for role in roles)], rows),
        *picture("density", "How often features fire"),
        "",
        "### Seeds",
        "",
        *_seeds(numbers),
    ]


def _seeds(numbers: Numbers) -> list[str]:
    found = numbers.get("seeds")
    if found is None:
        return lines_of(None)
    if not found["rows"]:
        how = numbers.get("sources", {}).get("missing", {}).get("seeds", "")
        return [
            "No dictionary of another seed was given, so it is not known how much of this one "
            f"recurs.{' Made by: ' + how + '.' if how else ''}"
        ]
    rows = [
        [
            f"{row['id']} (seed {row['seed']})",
            f"{row['recurring']:,} of {row['live']:,} ({percent(row['recurring'] / row['live'])})"
            if row["live"]
            else "-",
            f"{row['matched_recurring']:,} of {row['matched']:,} "
            f"({percent(row['matched_recurring'] / row['matched'])})"
            if row["matched"]
            else "-",
            number(row["mean_r"], 2),
        ]
        for row in found["rows"]
    ]
    tfs = list(found["rows"][0]["tfs"])
    by_tf = []
    for tf in tfs:
        cells = []
        for row in found["rows"]:
            one = row["tfs"][tf]
            cells.append(
                "-"
                if one is None
                else f"r {short(one['r'])}; {short(one['precision'])} and "
                f"{short(one['partner_precision'])}"
            )
        by_tf.append([tf, *cells])
    return [
        f"A feature recurs where one of the other dictionary correlates with it at r >= "
        f"{found['threshold']:g} over ten-base bins of non-coding sequence "
        f"({', '.join(found['contigs'])}).",
        "",
        *table(
            [
                "dictionary",
                "features that recur",
                "of those with a confirmed specific motif",
                "mean r of the best",
            ],
            rows,
        ),
        "",
        "Of the feature chosen for each TF: r of its best partner, and the top-100 precision of "
        "both there.",
        "",
        *table(["TF", *(row["id"] for row in found["rows"])], by_tf),
    ]


def package(numbers: Numbers) -> list[str]:
    """How fast the dictionary is, and how large what is bundled."""
    found = numbers.get("package")
    if found is None:
        return lines_of(None)
    largest = sorted(found["files"].items(), key=lambda file: -file[1])[:SHOWN_FILES]
    size = (
        f"Bundled: {found['bytes'] / 1e6:.1f} MB in {len(found['files'])} files; the largest are "
        + ", ".join(f"`{name}` ({n / 1e6:.1f} MB)" for name, n in largest)
        + "."
    )
    run = found["annotate"]
    if run is None:
        return [size, "", "`saetrack annotate` over the whole genome: not measured."]
    stages = sorted(run["stages"].items(), key=lambda stage: -stage[1])
    note = f"; {run['note']}" if run.get("note") else ""
    return [
        size,
        "",
        f"`saetrack annotate` over {run['bases']:,} bases, both strands, with genes and motifs, "
        f"{run['threads']} threads, {run['date']}: **{run['minutes']:.1f} minutes**, "
        f"{run['encoded_per_second']:,.0f} bases per second while encoding "
        f"(`{run['command']}`, load {run['load_average_before']} before it{note}; "
        f"`benchmarks/results/{run['file']}`).",
        "",
        *table(
            ["stage", "seconds"],
            [[name, number(seconds, 0)] for name, seconds in stages if seconds >= 1],
        ),
    ]


def motifs(numbers: Numbers) -> list[str]:
    """Confirmed matches by TF and dictionary."""
    found = numbers.get("motifs")
    if found is None:
        return lines_of(None)
    roles = found["roles"]
    names = [NAMES[role] for role in roles]
    least = found["same_units"]
    summary = [
        ["units", *(f"{row['units']:,}" for row in roles.values())],
        ["units with a confirmed motif", *(f"{row['features']:,}" for row in roles.values())],
        [
            "the same, of specific motifs",
            *(f"{row['specific_features']:,}" for row in roles.values()),
        ],
        ["specific motif clusters", *(str(row["clusters"]) for row in roles.values())],
        [
            f"the same, of {least:,} units drawn at random (mean)",
            *(number(row["clusters_same_units"], 1) for row in roles.values()),
        ],
        [
            "units without a significant match",
            *(f"{row['without_explanation']:,}" for row in roles.values()),
        ],
    ]
    tfs = list(next(iter(roles.values()))["by_tf"]) if roles else []
    by_tf = [[tf, *(str(row["by_tf"][tf]) for row in roles.values())] for tf in tfs]
    missing = [
        f"- {NAMES[role]}: no result of the genome was given; {how}"
        for role, how in found["missing"].items()
    ]
    return [
        "From the atlas and, for the baselines, from results over the same genome by the same "
        "pipeline: a match is confirmed where the test on chrIX and chrXIV (made by "
        "`saetrack annotate --held-out`) holds too. Specific: no more than a tenth of all "
        "background "
        "windows hold the motif.",
        "",
        *table(["", *names], summary),
        "",
        "Units with a confirmed match to a matrix of the TF:",
        "",
        *table(["TF", *names], by_tf),
        *(["", *missing] if missing else []),
        "",
        "### On another species",
        "",
        *_species(numbers),
    ]


def _species(numbers: Numbers) -> list[str]:
    found = numbers.get("species")
    if found is None:
        return lines_of(None)
    if "missing" in found:
        return [f"No result of the genome of *S. pombe* was given; `{found['missing']}`."]

    def cells(said: str, row: Mapping[str, Any]) -> list[str]:
        share = row["held"] / row["pairs"] if row["pairs"] else None
        chance = f"{number(row['by_chance'], 1)} ({row['chance_high']:,})"
        return [said, f"{row['pairs']:,}", f"{row['held']:,} ({percent(share)})", chance]

    return [
        "Pairs of a feature row and a motif cluster that are confirmed and specific in the atlas, "
        "and pairs with a gene concept that are enriched there, that are enriched on the genome "
        f"of *S. pombe* too ({found['bases']:,} bases), of which the model and the dictionary have "
        "seen nothing. By chance: mean (and largest) number where each row is another one, drawn "
        f"from all rows, {found['draws']:,} times. A detector of a word fires on it anywhere, so a "
        "pair that holds is no accident of one genome; that it is bound there does not follow. "
        f"Made of the result of `{found['recipe']}`.",
        "",
        *table(
            ["what", "pairs in the atlas", "hold on *S. pombe*", "by chance"],
            [
                cells("motif clusters", found["matches"]),
                *(cells(f"`{name}`", row) for name, row in found["concepts"].items()),
            ],
        ),
    ]
