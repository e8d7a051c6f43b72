"""Records as the stages write them, with made-up numbers; for the page and its figures."""

from typing import Any

ROLES = ("trained", "random", "neurons", "components")


def figure(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def record(stage: str, numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": stage,
        "date": "2026-11-21T12:00:00Z",
        "command": f"saetrack train evidence --data DATA --models MODELS --stages {stage}",
        "machine": {
            "cpu": "toy",
            "cores": 2,
            "load_average": 0.1,
            "python": "3.11",
            "platform": "Linux x86_64",
            "packages": {"torch": "2.13.0"},
        },
        "seconds": 1.5,
        "cpu_seconds": 1.2,
        "weights": {
            "dictionaries": {"trained": {"id": "toy-l2", "sha256": "ab" * 32, "features": 8}},
            "seeds": [],
            "missing": {},
        },
        "numbers": numbers,
    }


def score(value, over_pwm=None, over_random=None, task="loci"):
    names = ("auroc", "auprc", *(["precision"] if task == "loci" else []))
    row = {name: figure(value, max(0, value - 0.1), value + 0.1) for name in names}
    if over_pwm is not None:
        row["over_pwm"] = {
            name: figure(over_pwm, over_pwm - 0.02, over_pwm + 0.02) for name in names
        }
    if over_random is not None:
        row["over_random"] = {
            name: figure(over_random, over_random - 0.02, over_random + 0.02) for name in names
        }
    return row


def report(bases, coding, noncoding):
    return {"step": 400, "bases": bases, "bits_coding": coding, "bits_noncoding": noncoding}


def trial(k):
    names = ("binding", "motif", "instances")
    found = {
        "l0": k - 0.5,
        "fvu_whitened": 0.2,
        "bits_lost": 0.01 - k / 10_000,
        "bits_lost_by_mean": 0.09,
        "recovered": 0.889,
        "kl_recovered": 0.8,
        "mean": {what: figure(0.1, 0.05, 0.15) for what in names},
    }
    settings = {"tap": "residual", "layer": 2, "features": 4096, "k": k}
    return {
        "settings": settings
        | {
            "sampling": "uniform",
            "steps": 800,
            "seed": 1,
            "earlier_model": False,
            "bundled": False,
        },
        "subjects": {"model": found, "control": found},
        "over": {what: figure(0.0, -0.02, 0.02) for what in names},
        "over_bundled": None,
    }


SUM = "PWM + feature, trained"
OTHER = "PWM + feature, random"


def scores(task):
    found = {
        "PWM": score(0.4, task=task),
        "expectation": score(0.3, -0.1, task=task),
        "feature, trained": score(0.5, 0.1, 0.2, task=task),
        "feature, random": score(0.3, -0.1, task=task),
    }
    for name in (SUM, OTHER):
        for way in ("z", "fitted"):
            found[f"{name}; {way}"] = score(0.5, 0.1, task=task)
    return found


def measured(contigs):
    tfs = {
        tf: {
            "loci": {"n": 1000, "positives": 10, "prevalence": 0.01, "scores": scores("loci")},
            "instances": {
                "n": 30,
                "positives": 10,
                "prevalence": 0.3333,
                "scores": scores("instances"),
            },
            "motif_share": {
                "prevalence": 0.02,
                "roles": {"trained": figure(0.35, 0.3, 0.4), "random": figure(0.1, 0.0, 0.2)},
            },
        }
        for tf in ("ABF1", "REB1")
    }
    gate = [
        {
            "tf": tf,
            "matrix_id": "MA0363.3",
            "core_columns": 6,
            "bound": 14,
            "unbound": 27,
            "composition_bits": 2.1,
            "bound_bits": 1.6,
            "unbound_bits": 2.0,
            "model_auroc": 0.7,
            "jaspar_auroc": 0.7,
            "known": known,
        }
        for tf, known in (("REB1", True), ("ABF1", False))
    ]
    structure = {
        "exon": {
            role: {
                "feature": 3,
                "auroc": 0.6,
                "auprc": 0.4 if role == "trained" else 0.5,
                "prevalence": 0.3,
                "positives": 100,
            }
            for role in ("trained", "random")
        }
    }
    return {
        "contigs": contigs,
        "gate": {"contigs": contigs, "tfs": gate},
        "binding": {
            "contigs": contigs,
            "noncoding_bases": 10_000,
            "blocks": 5,
            "resamples": 10,
            "tfs": tfs,
        },
        "structure": structure,
    }


def bits_row(coding, noncoding, **named):
    sets = {
        name: {
            "coding": {"bits": coding, "bases": 70},
            "noncoding": {"bits": noncoding, "bases": 30},
        }
        for name in ("all", "without annotated repeats")
    }
    return {**named, "sets": sets}


def toy_records() -> dict[str, dict[str, Any]]:
    features = {
        role: {task: {"feature": 7, "figure": 0.3} for task in ("binding", "motif", "instances")}
        for role in ("trained", "random")
    }
    choice = {
        "binding": {
            "contigs": ["chrI"],
            "fitted_on": ["chrI"],
            "background": [0.25] * 4,
            "top": 650,
            "tfs": {
                tf: {
                    "matrix": "MA0363.3",
                    "features": features,
                    "fit_auroc": {"instances": {f"{SUM}; z": 0.7, f"{OTHER}; z": 0.9}},
                }
                for tf in ("ABF1", "REB1")
            },
        },
        "structure": {"bases": 1000, "concepts": {}},
    }
    fidelity = {
        "tokens": 100,
        "l0": 16.0,
        "fvu": 0.1,
        "fvu_whitened": 0.2,
        "bits": 1.8,
        "bits_dictionary": 1.81,
        "bits_mean": 1.95,
        "recovered": 0.93,
        "kl_recovered": None,
    }
    density = {"bases": 100, "silent": 1, "edges": [-3, -2, -1], "counts": [3, 4], "median": 0.01}
    motif_row = {
        "units": 8,
        "features": 5,
        "specific_features": 4,
        "clusters": 3,
        "clusters_same_units": 1.5,
        "by_tf": {"ABF1": 0, "REB1": 2},
        "without_explanation": 2,
    }
    edit = {"n": 20, "change": -0.9, "control": -0.1, "effect": 0.8, "p": 1e-5, "reason": ""}
    untested = {
        "n": 2,
        "change": None,
        "control": None,
        "effect": None,
        "p": None,
        "reason": "too few",
    }
    numbers = {
        "sources": {
            "files": [
                {
                    "file": "a.fa.gz",
                    "bytes": 1234,
                    "sha256": "cd" * 32,
                    "url": "https://example.org/a",
                    "terms": "CC0",
                }
            ],
            "missing": {"seeds": "train two more"},
        },
        "bits": {
            "contigs": ["chrVIII"],
            "genomes": ["a.fa.gz"],
            "strength": 64.0,
            "first_bundled": {"coding": 1.946, "noncoding": 1.849, "source": "first, of a day"},
            "curve": {
                "file": "curve.jsonl",
                "lines": [
                    {"bases": 1e6, "bits_coding": 1.96, "bits_noncoding": 1.9},
                    {"bases": 2e6, "bits_coding": 1.95, "bits_noncoding": 1.85},
                ],
            },
            "rows": [
                bits_row(1.94, 1.82, model="toy"),
                bits_row(1.96, 1.95, model="Markov", order=0, counted="all"),
                bits_row(1.91, 1.9, model="Markov", order=1, counted="all"),
                bits_row(1.99, 1.88, model="Markov", order=1, counted="non-coding"),
            ],
        },
        "quality": {
            "contig": "chrVIII",
            "shrink": 0.003,
            "roles": {
                "trained": {"features": 8, "fidelity": fidelity, "density": density},
                "random": {"features": 8, "fidelity": fidelity, "density": density},
            },
        },
        "motifs": {
            "same_units": 4,
            "missing": {"neurons": "annotate"},
            "roles": {"trained": motif_row, "random": {**motif_row, "specific_features": 3}},
        },
        "choice": choice,
        "validation": measured(["chrVIII"]),
        "test": measured(["chrIX", "chrXIV"]),
        "pombe": {"contigs": ["III"], "structure": measured(["III"])["structure"]},
        "seeds": {"threshold": 0.7, "contigs": ["chrVIII"], "rows": []},
        "species": {
            "contigs": 4,
            "bases": 12_600_000,
            "draws": 200,
            "recipe": "saetrack annotate toy",
            "matches": {"pairs": 40, "held": 30, "by_chance": 2.5, "chance_high": 6},
            "concepts": {"CDS": {"pairs": 0, "held": 0, "by_chance": 0.0, "chance_high": 0}},
        },
        "tried": {
            "lm": {
                "file": "toy-lm-sweep.jsonl",
                "rows": [
                    {
                        "model": "tree",
                        "genomes": 6,
                        "first": report(1_228_800, 1.99, 1.9),
                        "last": report(24_576_000, 1.95, 1.85),
                        "gate": {"REB1": {"bound": 14, "below": 0.23}},
                    }
                ],
            },
            "sae": {"file": "toy-sae-frontier.jsonl", "rows": [trial(8), trial(16), trial(32)]},
        },
        "causal": {
            "contigs": ["chrVII"],
            "tests": [
                {
                    "feature": 3,
                    "strand": -1,
                    "matrix": "MA0363.3",
                    "tf": "REB1",
                    "cluster": "REB1 cluster",
                    "taken_away": edit,
                    "put_in": untested,
                }
            ],
        },
        "package": {
            "files": {"model.json": 10},
            "bytes": 15_000_000,
            "bases_per_second": 20_000.0,
            "annotate": {
                "file": "toy-annotate.json",
                "date": "2026-11-21T12:00:00Z",
                "command": "python benchmarks/annotate.py toy.fa",
                "bases": 12_000_000,
                "threads": 2,
                "load_average_before": 0.5,
                "note": "others ran beside it",
                "minutes": 33.0,
                "encoded_per_second": 23_788.4,
                "stages": {"reading": 0.4, "encoding": 1500.0, "merging: motifs": 400.4},
            },
        },
    }
    return {stage: record(stage, found) for stage, found in numbers.items()}
