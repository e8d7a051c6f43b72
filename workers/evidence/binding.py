"""Real binding: what is chosen on training chromosomes, and what it is worth elsewhere.

training chromosomes --choose_binding--> matrix, features, scales and weights of each TF
other chromosomes    --measure_binding--> precision of the best 100, AUROC, AUPRC, intervals
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.jaspar import Motif, load_motifs, resolve_tf
from annotations.motif_scan import background_of
from workers.evidence.choosing import CHOICE_TOP, Targets, choose_features, site_matrix
from workers.evidence.data import YeastContig
from workers.evidence.dictionaries import TRAINED, Compared
from workers.evidence.reading import Pooled, Shelf, expected, pool
from workers.evidence.sites import (
    Loci,
    Sites,
    gained,
    instances,
    loci_of,
    motif_signals,
    n_blocks,
    near_hits,
    near_locations,
    site_expectation,
)
from workers.evidence.statistics import (
    Scale,
    areas,
    draws,
    fit_logistic,
    interval,
    local_maxima,
    precision_of_top,
)
from workers.training.gate import Locations

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TOP = 100
"""Best loci that are measured."""
FITTED_ON = ("chrVII", "chrXV")
"""Training chromosomes on which scales and weights of sums are fitted, and no feature is chosen:
there a feature that is the best of thousands would look better than it is."""
PWM, EXPECTATION, EXPECTED_MOTIF = "PWM", "expectation", "expected motif"


def feature_signal(role: str) -> str:
    """Name of the signal of a dictionary's chosen feature."""
    return f"feature, {role}"


def sums_of(roles: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The sums of signals that are measured, by name."""
    mine = feature_signal(TRAINED)
    return {
        **{f"PWM + {feature_signal(role)}": (PWM, feature_signal(role)) for role in roles},
        f"PWM + {EXPECTATION}": (PWM, EXPECTATION),
        f"PWM + {EXPECTATION} + {mine}": (PWM, EXPECTATION, mine),
    }


class Ground(NamedTuple):
    """Some chromosomes, and what of them every score needs."""

    loci: list[Loci]
    background: Floats
    locations: Locations

    @classmethod
    def of(
        cls, contigs: Sequence[YeastContig], background: Floats, locations: Locations
    ) -> "Ground":
        """Lay out the loci of some chromosomes."""
        return cls(loci_of(contigs), background, locations)


def noncoding_background(contigs: Sequence[YeastContig]) -> Floats:
    """Frequencies of the bases in the usable bins of some chromosomes."""
    return background_of(
        [
            np.where(np.repeat(one.usable, 10), one.contig.bases[: 10 * len(one.usable)], 4)
            for one in loci_of(contigs)
        ]
    )


def motifs_of(tfs: Sequence[str], taxon: str = "fungi") -> dict[str, tuple[Motif, ...]]:
    """Matrices of each TF."""
    catalogue = load_motifs(taxon)
    return {tf: tuple(resolve_tf(catalogue, tf).motifs) for tf in tfs}


def choose_binding(
    compared: Compared,
    contigs: Sequence[YeastContig],
    locations: Locations,
    tfs: Sequence[str],
    shelf: Shelf,
    on_step: Any = lambda text: None,
) -> dict[str, Any]:
    """Everything that is chosen or fitted, on training chromosomes alone.

    Returns
    -------
    choice : dict
        As JSON: background, contigs, and of each TF its matrix, its features by role, scale of
        each signal and weights of each sum, for loci and for instances.
    """
    fitted = [contig for contig in contigs if contig.name in FITTED_ON] or list(contigs)
    others = [contig for contig in contigs if contig.name not in FITTED_ON] or list(contigs)
    background = noncoding_background(others)
    ground = Ground.of(others, background, locations)
    motifs = motifs_of(tfs)
    chosen_matrix = {tf: _matrix(ground, tf, motifs[tf]) for tf in tfs}
    targets = {
        tf: Targets(
            tuple(near_locations(one, locations, tf) for one in ground.loci),
            tuple(near_hits(one, motifs[tf], background) for one in ground.loci),
            instances(ground.loci, chosen_matrix[tf], background, locations, tf),
        )
        for tf in tfs
    }
    on_step("matrices")
    features: dict[str, dict[str, Any]] = {}
    for role in compared.by_role:
        features[role] = choose_features(compared.open(role), ground.loci, targets, shelf)
        on_step(f"features of {role}")
    small = Ground.of(fitted, background, locations)
    choice: dict[str, Any] = {
        "contigs": [contig.name for contig in others],
        "fitted_on": [contig.name for contig in fitted],
        "background": [round(float(x), 6) for x in background],
        "top": CHOICE_TOP,
        "tfs": {
            tf: {
                "matrix": chosen_matrix[tf].matrix_id,
                "loci": int(sum(flags.sum() for flags in targets[tf].bound)),
                "instances": [
                    int(targets[tf].sites.bound.sum()),
                    int((~targets[tf].sites.bound).sum()),
                ],
                "features": {role: features[role][tf] for role in features},
            }
            for tf in tfs
        },
    }
    for tf, task, signals, positive, _ in _signals(compared, small, choice, shelf):
        stacked = np.column_stack(list(signals.values()))
        scale = Scale.of(stacked)
        names = list(signals)
        z = scale.z(stacked)
        weights = {
            name: np.round(fit_logistic(z[:, [names.index(part) for part in parts]], positive), 5)
            for name, parts in sums_of(list(compared.by_role)).items()
        }
        choice["tfs"][tf].setdefault("scale", {})[task] = {
            name: [round(float(scale.mean[at]), 6), round(float(scale.sd[at]), 6)]
            for at, name in enumerate(names)
        }
        choice["tfs"][tf].setdefault("weights", {})[task] = {
            name: found.tolist() for name, found in weights.items()
        }
        choice["tfs"][tf].setdefault("fit_auroc", {})[task] = {
            name: _auroc(score, positive)
            for name, score in _summed(signals, choice["tfs"][tf], task).items()
        }
        on_step(f"sums of {tf}, {task}")
    return choice


def measure_binding(
    compared: Compared,
    contigs: Sequence[YeastContig],
    locations: Locations,
    choice: Mapping[str, Any],
    shelf: Shelf,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """What was chosen, measured on other chromosomes.

    Returns
    -------
    figures : dict
        As JSON: of each TF and task the loci, positives, prevalence, and of each score its figures
        with intervals, and how far it is above the PWM and above the same score of random weights.
    """
    ground = Ground.of(contigs, np.array(choice["background"]), locations)
    weights = draws(n_blocks(ground.loci), seed=seed)
    figures: dict[str, Any] = {
        "contigs": [contig.name for contig in contigs],
        "noncoding_bases": int(sum(one.usable.sum() for one in ground.loci)) * 10,
        "blocks": weights.shape[1],
        "resamples": len(weights) - 1,
        "tfs": {tf: {} for tf in choice["tfs"]},
    }
    for tf, task, signals, positive, where in _signals(compared, ground, choice, shelf):
        place, block = where
        scores = {**signals, **_summed(signals, choice["tfs"][tf], task)}
        entry: dict[str, Any] = {
            "n": len(positive),
            "positives": int(positive.sum()),
            "prevalence": round(float(positive.mean()), 6) if len(positive) else None,
            "scores": {},
        }
        drawn = {
            name: _drawn(score, positive, place if task == "loci" else None, block, weights)
            for name, score in scores.items()
        }
        for name, samples in drawn.items():
            row = {figure: interval(sample) for figure, sample in samples.items()}
            for against, other in (
                ("over_pwm", PWM),
                ("over_random", name.replace("trained", "random")),
            ):
                if other != name and other in drawn:
                    row[against] = {
                        figure: interval(samples[figure] - drawn[other][figure])
                        for figure in samples
                    }
            entry["scores"][name] = row
        figures["tfs"][tf][task] = entry
    _add_motif_shares(figures, compared, ground, choice, shelf)
    return figures


def _drawn(
    score: Floats, positive: Bools, place: Ints | None, block: Ints, weights: Ints
) -> dict[str, Floats]:
    """Figures of one score in each draw; precision of the best where places are given."""
    area = areas(score, positive, block, weights)
    samples = {"auroc": area.auroc, "auprc": area.auprc}
    if place is not None:
        # silent bins are no loci of a feature
        kept = np.flatnonzero(score) if score.min() == 0 else np.arange(len(score))
        kept = kept[local_maxima(np.zeros(len(kept), np.int64), place[kept], score[kept])]
        n = np.bincount(block, minlength=weights.shape[1]) @ weights.T
        hit = np.bincount(block[positive], minlength=weights.shape[1]) @ weights.T
        samples["precision"] = precision_of_top(
            score[kept],
            positive[kept],
            block[kept],
            weights,
            top=TOP,
            prevalence=hit / np.maximum(n, 1),
        )
    return samples


_Signals = Iterator[tuple[str, str, dict[str, Floats], Bools, tuple[Ints, Ints]]]


def _signals(
    compared: Compared, ground: Ground, choice: Mapping[str, Any], shelf: Shelf
) -> _Signals:
    """Of each TF and task the signals by name, the labels, and places and blocks."""
    reader = compared.open(TRAINED, whole=True)
    log2_p = [expected(reader, one.contig.bases, one.read, shelf) for one in ground.loci]
    gains = {
        index: gained(one.contig.bases, log2_p[index]) for index, one in enumerate(ground.loci)
    }
    pooled = {role: _pooled(compared, role, ground, shelf) for role in compared.by_role}
    every = motifs_of(list(choice["tfs"])).values()
    by_id = {motif.matrix_id: motif for group in every for motif in group}
    place = np.concatenate([one.place for one in ground.loci])
    block = np.concatenate([one.block for one in ground.loci])
    for tf, chosen in choice["tfs"].items():
        motif = by_id[chosen["matrix"]]
        parts = [
            motif_signals(one, motif, ground.background, logs)
            for one, logs in zip(ground.loci, log2_p, strict=True)
        ]
        signals = {
            PWM: np.concatenate([part.pwm for part in parts]),
            EXPECTATION: np.concatenate([part.expectation for part in parts]),
            EXPECTED_MOTIF: np.concatenate([part.expected_motif for part in parts]),
        }
        for role, contigs in pooled.items():
            feature = chosen["features"][role]["binding"]["feature"]
            signals[feature_signal(role)] = _feature(contigs, ground.loci, feature)
        positive = np.concatenate(
            [near_locations(one, ground.locations, tf) for one in ground.loci]
        )
        yield tf, "loci", signals, positive, (place, block)
        sites = instances(ground.loci, motif, ground.background, ground.locations, tf)
        at_sites = {PWM: sites.score, EXPECTATION: site_expectation(sites, motif, gains)}
        for role, contigs in pooled.items():
            feature = chosen["features"][role]["instances"]["feature"]
            at_sites[feature_signal(role)] = _at_sites(sites, contigs, feature)
        yield tf, "instances", at_sites, sites.bound, (sites.bin, sites.block)


def _pooled(compared: Compared, role: str, ground: Ground, shelf: Shelf) -> list[Pooled]:
    """What a dictionary says of each contig."""
    encoder = compared.open(role)
    return [pool(encoder, one.contig.bases, one.read, shelf) for one in ground.loci]


def _feature(pooled: Sequence[Pooled], loci: Sequence[Loci], feature: int | None) -> Floats:
    """One feature at the usable bins of all contigs; 0 where there is none."""
    if feature is None:
        return np.zeros(sum(int(one.usable.sum()) for one in loci))
    return np.concatenate(
        [
            one.of(feature, len(where.usable))[where.usable]
            for one, where in zip(pooled, loci, strict=True)
        ]
    )


def _at_sites(sites: Sites, pooled: Sequence[Pooled], feature: int | None) -> Floats:
    if feature is None:
        return np.zeros(len(sites.bin))
    found = site_matrix(sites, dict(enumerate(pooled)))[:, [feature]]
    return np.asarray(found.toarray()[:, 0], np.float64)


def _summed(
    signals: Mapping[str, Floats], chosen: Mapping[str, Any], task: str
) -> dict[str, Floats]:
    """Sums of signals, in both ways, with the scales and weights of the choice."""
    sums = {}
    for name, weights in chosen["weights"][task].items():
        columns = []
        for part in name.split(" + "):
            mean, sd = chosen["scale"][task][part]
            columns.append((signals[part] - mean) / sd)
        z = np.column_stack(columns)
        sums[f"{name}; z"] = z.sum(1)
        sums[f"{name}; fitted"] = z @ np.array(weights)
    return sums


def _matrix(ground: Ground, tf: str, motifs: Sequence[Motif]) -> Motif:
    """The matrix of a TF with the largest AUPRC over the loci."""
    positive = np.concatenate([near_locations(one, ground.locations, tf) for one in ground.loci])
    block = np.zeros(len(positive), np.int64)
    one = np.ones((1, 1), np.int64)

    def figure(motif: Motif) -> float:
        score = np.concatenate(
            [motif_signals(each, motif, ground.background, None).pwm for each in ground.loci]
        )
        return float(np.nan_to_num(areas(score, positive, block, one).auprc[0]))

    return motifs[0] if len(motifs) == 1 else max(motifs, key=figure)


def _auroc(score: Floats, positive: Bools) -> float | None:
    block = np.zeros(len(score), np.int64)
    return interval(areas(score, positive, block, np.ones((1, 1), np.int64)).auroc)["value"]  # type: ignore[no-any-return]


def _add_motif_shares(
    figures: dict[str, Any],
    compared: Compared,
    ground: Ground,
    choice: Mapping[str, Any],
    shelf: Shelf,
) -> None:
    """Share of motif hits among the best loci of the feature chosen for that, by role."""
    weights = draws(n_blocks(ground.loci))
    motifs = motifs_of(list(choice["tfs"]))
    place = np.concatenate([one.place for one in ground.loci])
    block = np.concatenate([one.block for one in ground.loci])
    shares: dict[str, dict[str, Any]] = {tf: {} for tf in choice["tfs"]}
    hits = {
        tf: np.concatenate([near_hits(one, motifs[tf], ground.background) for one in ground.loci])
        for tf in choice["tfs"]
    }
    for role in compared.by_role:
        pooled = _pooled(compared, role, ground, shelf)
        for tf, chosen in choice["tfs"].items():
            feature = chosen["features"][role]["motif"]["feature"]
            score = _feature(pooled, ground.loci, feature)
            sample = _drawn(score, hits[tf], place, block, weights)["precision"]
            shares[tf][role] = interval(sample)
    for tf, by_role in shares.items():
        figures["tfs"][tf]["motif_share"] = {
            "prevalence": round(float(hits[tf].mean()), 6),
            "roles": by_role,
        }
