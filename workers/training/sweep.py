"""Which tap, layer and sparsity: short trainings compared, on a model and on random weights.

    settings --train_sae, on a model and on its control--> dictionaries
        --fidelity on a validation contig; evidence on others--> one line of JSON

Evidence is real binding (`workers.evidence`): for each TF three features are chosen on discovery
contigs, whose best loci hold most binding sites, most motif hits, and which tells bound copies of
its motif from unbound ones; each is then measured on evaluation contigs. An autoencoder finds
k-mers without any model, so what counts is how far a model is above its control, with the interval
of a bootstrap over blocks that resamples both alike. No test chromosome is needed for a choice, and
none may be given.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.cards import DictionaryCard, ModelCard
from annotations.motif_catalogue import Motif
from workers.evidence.choosing import Targets, precisions, site_matrix, top_loci
from workers.evidence.reading import Pooled, Shelf, pool
from workers.evidence.sites import Loci, instances, n_blocks, near_hits, near_locations
from workers.evidence.statistics import (
    areas,
    draws,
    interval,
    local_maxima,
    precision_of_top,
)
from workers.language_models.paired_taps import at_tap, check_tap, tap_reach
from workers.language_models.paired_tree import PairedTree, PairedTreeReader
from workers.registry import Encoder
from workers.training.binding import column_auroc
from workers.training.bundle import LICENCE, folded
from workers.training.corpus import Corpus
from workers.training.fidelity import measure_fidelity, random_windows
from workers.training.gate import Locations
from workers.training.sae import SaeTraining, TrainedSae, train_sae

Floats = NDArray[np.float64]

TOP = 100
"""Best loci by which a feature is chosen, and as many by which it is measured."""
STRIDE = 1024
"""Bases that a window of a dictionary owns in which it is tried."""
FIDELITY_WINDOWS = 250
"""Windows in which fidelity is measured, which reads them five times over."""
MEASURES = ("binding", "motif", "instances")
"""Share of binding sites among the best loci; share of motif hits; AUROC of bound instances."""


class Subject(NamedTuple):
    """A model that dictionaries are trained on."""

    card: ModelCard
    model: PairedTree


class Side(NamedTuple):
    """Some contigs, and where each TF is bound and has its motif on them."""

    loci: list[Loci]
    targets: dict[str, Targets]

    @classmethod
    def of(
        cls,
        loci: list[Loci],
        motifs: Mapping[str, Sequence[Motif]],
        background: Floats,
        locations: Locations,
    ) -> "Side":
        """Find the targets; instances are those of a TF's first matrix."""
        targets = {
            tf: Targets(
                tuple(near_locations(one, locations, tf) for one in loci),
                tuple(near_hits(one, matrices, background) for one in loci),
                instances(loci, matrices[0], background, locations, tf),
            )
            for tf, matrices in motifs.items()
        }
        return cls(loci, targets)


class Choice(NamedTuple):
    """A feature chosen on discovery contigs."""

    feature: int | None
    """None where no feature has loci enough, or there is no instance of a kind."""
    figure: float | None
    """Where it was chosen: the best of thousands."""


def window_for(model: PairedTree, config: SaeTraining) -> SaeTraining:
    """Settings whose windows are long enough for their inner two thirds to have all their context.

    The window stays where it is long enough already.

    Raises
    ------
    CoordinateError
        If the model has no such tap.
    """
    check_tap(model, config.layer, config.tap)
    margin = tap_reach(model, config.layer, config.tap)
    return replace(config, window=max(config.window, 6 * -(-margin // 8) * 8))


def context_of(model: PairedTree, config: SaeTraining) -> int:
    """Context that a dictionary is served with: what its tap depends on, in whole eights."""
    return -(-tap_reach(model, config.layer, config.tap) // 8) * 8


def opened(subject: Subject, trained: TrainedSae, config: SaeTraining) -> Encoder:
    """A trained dictionary as it would be served, without being written."""
    coder = folded(trained)
    card = DictionaryCard(
        id="tried",
        title="",
        model_id=subject.card.id,
        model_sha256=subject.card.sha256,
        layer=config.layer,
        tap=config.tap,
        d_in=coder.d_in,
        d_sae=coder.n_features,
        k=config.k,
        sha256="0" * 64,
        stride=STRIDE,
        context=context_of(subject.model, config),
        licence=LICENCE,
        source="",
    )
    reader = at_tap(PairedTreeReader(subject.model), config.tap)
    return Encoder(card, subject.card, reader, coder.to(torch.device("cpu")), torch.device("cpu"))


def read_side(encoder: Encoder, side: Side) -> list[Pooled]:
    """Activations at the loci of some contigs."""
    return [pool(encoder, one.contig.bases, one.read, Shelf(None)) for one in side.loci]


def choose(pooled: Sequence[Pooled], side: Side) -> dict[str, dict[str, Choice]]:
    """The features of each TF by what they are then measured by; see `MEASURES`."""
    best = top_loci(list(zip(side.loci, pooled, strict=True)), top=TOP)
    chosen = {}
    for tf, target in side.targets.items():
        places = [
            np.concatenate([one.place[at] for one, at in zip(side.loci, flags, strict=True)])
            for flags in (target.bound, target.hit)
        ]
        figures = [precisions(best, at, top=TOP) for at in places]
        bound = target.sites.bound
        if bound.any() and not bound.all():
            matrix = site_matrix(target.sites, dict(enumerate(pooled)))
            figures.append(column_auroc(matrix, bound))
        else:
            figures.append(np.full(len(figures[0]), np.nan))
        chosen[tf] = {name: _best(one) for name, one in zip(MEASURES, figures, strict=True)}
    return chosen


def measure(
    pooled: Sequence[Pooled], side: Side, chosen: Mapping[str, Mapping[str, Choice]]
) -> dict[str, dict[str, Floats]]:
    """Figures of the chosen features in each draw of blocks; the first draw is the sample itself.

    A TF without a chosen feature is measured as a feature that is silent everywhere.
    """
    weights = draws(n_blocks(side.loci))
    place = np.concatenate([one.place for one in side.loci])
    block = np.concatenate([one.block for one in side.loci])
    n = np.maximum(np.bincount(block, minlength=weights.shape[1]) @ weights.T, 1)
    found: dict[str, dict[str, Floats]] = {}
    for tf, target in side.targets.items():
        found[tf] = {}
        for name, flags in (("binding", target.bound), ("motif", target.hit)):
            positive = np.concatenate(flags)
            score = _at_loci(pooled, side.loci, chosen[tf][name].feature)
            kept = np.flatnonzero(score)
            kept = kept[local_maxima(np.zeros(len(kept), np.int64), place[kept], score[kept])]
            hits = np.bincount(block[positive], minlength=weights.shape[1]) @ weights.T
            found[tf][name] = precision_of_top(
                score[kept], positive[kept], block[kept], weights, top=TOP, prevalence=hits / n
            )
        feature, sites = chosen[tf]["instances"].feature, target.sites
        at_sites = np.zeros(len(sites.bin))
        if feature is not None:
            matrix = site_matrix(sites, dict(enumerate(pooled)))
            at_sites = np.asarray(matrix[:, [feature]].toarray()[:, 0], np.float64)
        found[tf]["instances"] = areas(at_sites, sites.bound, sites.block, weights).auroc
    return found


def try_settings(
    subjects: Mapping[str, Subject],
    corpus: Corpus,
    config: SaeTraining,
    discovery: Side,
    evaluation: Side,
    *,
    validation: tuple[NDArray[np.uint8], NDArray[np.bool_]],
) -> dict[str, Any]:
    """Train one dictionary on each subject and measure it.

    Parameters
    ----------
    subjects : mapping of str to Subject
        The model first, then its control.
    corpus : Corpus
        Where tokens are drawn from.
    config : SaeTraining
        The same for all.
    discovery, evaluation : Side
        Where features are chosen, and where they are measured.
    validation : tuple of arrays
        Base codes of a contig that nothing was trained on, and its bases that count.

    Returns
    -------
    line : dict
        As JSON: settings, and for each subject fidelity and figures by TF; `over` says how far the
        first is above the others, with intervals.
    """
    line: dict[str, Any] = {"settings": asdict(config), "subjects": {}, "over": {}}
    samples: dict[str, dict[str, dict[str, Floats]]] = {}
    for name, subject in subjects.items():
        begin = time.monotonic()
        own = window_for(subject.model, config)
        trained = train_sae(subject.model, corpus, own)
        seconds = time.monotonic() - begin
        encoder = opened(subject, trained, own)
        sample = random_windows(*validation, window=own.window, windows=FIDELITY_WINDOWS)
        (fidelity,) = measure_fidelity(encoder, sample, batch=64, shrink=config.shrink)
        chosen = choose(read_side(encoder, discovery), discovery)
        samples[name] = measure(read_side(encoder, evaluation), evaluation, chosen)
        line["subjects"][name] = {
            "model": subject.card.id,
            "model_sha256": subject.card.sha256,
            "seconds": round(seconds, 1),
            "fidelity": _rounded(asdict(fidelity)),
            "tfs": {
                tf: {
                    what: chosen[tf][what]._asdict() | interval(samples[name][tf][what])
                    for what in MEASURES
                }
                for tf in chosen
            },
            "mean": {
                what: interval(_mean_of([one[what] for one in samples[name].values()]))
                for what in MEASURES
            },
        }
    first, *others = samples
    for name in others:
        gain = {
            tf: {what: samples[first][tf][what] - samples[name][tf][what] for what in MEASURES}
            for tf in samples[first]
        }
        line["over"][name] = {
            "tfs": {tf: {what: interval(x) for what, x in row.items()} for tf, row in gain.items()},
            "mean": {
                what: interval(_mean_of([row[what] for row in gain.values()])) for what in MEASURES
            },
        }
    return line


def run_sweep(
    settings: Iterable[SaeTraining],
    attempt: Callable[[SaeTraining], dict[str, Any]],
    out: Path,
    *,
    on_line: Callable[[dict[str, Any]], None] = lambda line: None,
) -> int:
    """Try settings one after the other; those that `out` holds already are passed over.

    Parameters
    ----------
    settings : iterable of SaeTraining
    attempt : callable
        As `try_settings` with all else given.
    out : Path
        JSON lines, appended to as each is done: a sweep that was stopped goes on.
    on_line : callable
        Called with each new line.

    Returns
    -------
    tried : int
        Settings that were new.
    """
    done = []
    if out.exists():
        done = [json.loads(line)["settings"] for line in out.read_text("utf-8").splitlines()]
    tried = 0
    for config in settings:
        if asdict(config) in done:
            continue
        line = attempt(config)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        on_line(line)
        tried += 1
    return tried


def _at_loci(pooled: Sequence[Pooled], loci: Sequence[Loci], feature: int | None) -> Floats:
    """One feature at the usable bins of all contigs; 0 everywhere where there is none."""
    if feature is None:
        return np.zeros(sum(int(one.usable.sum()) for one in loci))
    return np.concatenate(
        [
            one.of(feature, len(where.usable))[where.usable]
            for one, where in zip(pooled, loci, strict=True)
        ]
    )


def _mean_of(samples: Sequence[Floats]) -> Floats:
    """Mean over TFs in each draw, those without a figure in the sample itself left out."""
    known = [sample for sample in samples if not np.isnan(sample[0])]
    return np.nanmean(known, axis=0) if known else np.full(2, np.nan)


def _best(figures: Floats) -> Choice:
    if np.isnan(figures).all():
        return Choice(None, None)
    best = int(np.nanargmax(figures))
    return Choice(best, round(float(figures[best]), 4))


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(x, 5) if isinstance(x, float) else x for name, x in row.items()}
