"""Whether a motif moves a feature: edits of the sequence, read by the model again.

    peaks with the motif   --disrupt-->  activation lost, less that of a matched edit
    silent windows         --insert--->  activation gained, less that of a shuffled motif

An association says that a motif stands where a feature fires; this says whether the feature fires
because of it. Both tests are paired: each site has one edit of the motif and one control, which
change equally many bases alike. If the motif does not matter the two are exchangeable, so their
difference is symmetric about 0, which is what the signed-rank test assumes. (The mean of several
controls would break this: changes of activation are skewed.)

Effects are positive in the expected direction. Unknown is None: a test with fewer than
`annotations.causal_sites.MIN_SITES` sites is refused with the reason.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.activation_parts import ActivationSource
from annotations.cards import DictionaryCard
from annotations.causal_sites import (
    MIN_SITES,
    CausalOptions,
    Disruption,
    Genome,
    Insertion,
    Read,
    Row,
    disruptions,
    insertions,
    silent_windows,
    site_hits,
)
from annotations.edits import MotifScorer
from annotations.errors import UnknownNameError
from annotations.excerpts import Excerpt
from annotations.motif_catalogue import Motif
from annotations.paired_tests import signed_rank, standardised_effect
from annotations.significance import benjamini_hochberg
from annotations.types import strand_symbol
from workers.device import is_out_of_memory
from workers.pipeline import N_CODE
from workers.registry import SparseWindows

BATCH: Final = 64
"""Reads encoded at once; always so many, so that equal reads give equal values."""

NOISE: Final = 1e-5
"""Share of the largest activation below which a difference is rounding."""

Floats = NDArray[np.float64]

CAUSAL_SCHEMA: Final = pa.schema(
    [
        ("feature", pa.uint32()),
        ("strand", pa.int8()),
        ("matrix_id", pa.string()),
        ("causal_effect", pa.float64()),
        ("causal_p", pa.float64()),
        ("causal_q", pa.float64()),
        ("n", pa.int32()),
        ("causal_reason", pa.string()),
        ("insert_effect", pa.float64()),
        ("insert_p", pa.float64()),
    ]
)
"""One row per pair, in the order asked for: of its disruption the effect, the one-sided p and the
sites; q by Benjamini and Hochberg over the pairs that were tested. Null and the reason where there
was no test.

`insert_p` is the smaller p of both orientations put in, times two, `insert_effect` that
orientation's effect; null where that was not asked for. A motif that must be there but does not
suffice stands in a longer word, and it is the word that the feature sees."""


class SiteEncoder(Protocol):
    """What a causal test needs of `workers.registry.Encoder`."""

    @property
    def dictionary(self) -> DictionaryCard:
        """Card of the dictionary; its `context` and `ahead` say how far a base looks."""

    def activations_of(
        self, codes: NDArray[np.uint8], wanted: NDArray[np.bool_] | None = None
    ) -> SparseWindows:
        """Active features at the wanted bases of windows of codes, shape [batch, length]."""


class Effect(NamedTuple):
    """What an edit does to a feature, paired with what its control does."""

    n: int
    """Sites measured."""
    change: float | None
    """Mean change of activation by the edit of the motif; the unit is said in `CausalResult`."""
    control_change: float | None
    """The same by the matched edit or the shuffled motif."""
    effect: float | None
    """Mean difference of the two, positive where the motif matters as expected."""
    standardised: float | None
    """That difference over its standard deviation (Cohen's d_z)."""
    p: float | None
    """Signed-rank test, one-sided in the expected direction, exact."""
    p_two_sided: float | None
    reason: str
    """Why there was no test; empty if there was."""

    @classmethod
    def refused(cls, reason: str, n: int = 0) -> "Effect":
        """No test."""
        return cls(n, None, None, None, None, None, None, reason)


class CausalResult(NamedTuple):
    """The causal evidence for one feature row and motif."""

    feature: int
    strand: int
    matrix_id: str
    motif_name: str
    offset: int | None
    """Commonest offset of the motif from the row's peaks; None if it stands at none."""
    disrupt: Effect
    """Changes are shares of the activation before: -1 is all of it."""
    distance: float | None
    control_distance: float | None
    """Mean distance of the changed bases from the peak: of the motif's, of the matched ones."""
    insert: Effect
    """Motif in the sense of the pass. Changes are in units of `typical`."""
    insert_opposite: Effect
    """Its reverse complement."""
    typical: float | None
    """Median activation of the row's highest peaks, as many as sites were asked for."""
    sites: list[dict[str, Any]]
    """The sites of `disrupt`: contig (index), position, activation before, disrupted, control."""

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """JSON values: strand as "+" or "-", contigs by their names."""
        sites = [{**site, "contig": names[site["contig"]]} for site in self.sites]
        return {
            **self._asdict(),
            "strand": strand_symbol(self.strand),
            "disrupt": self.disrupt._asdict(),
            "insert": self.insert._asdict(),
            "insert_opposite": self.insert_opposite._asdict(),
            "sites": sites,
        }


def placed(result: CausalResult, excerpt: Excerpt) -> CausalResult:
    """The result with its sites in coordinates of the contigs."""
    spans = excerpt.spans
    return result._replace(
        sites=[
            {
                **site,
                "contig": spans[site["contig"]].contig,
                "position": site["position"] + spans[site["contig"]].start,
            }
            for site in result.sites
        ],
    )


def causal_test(
    encoder: SiteEncoder,
    genome: Genome,
    activations: ActivationSource,
    *,
    feature: int,
    strand: int,
    motif: Motif,
    options: CausalOptions | None = None,
    insert: bool = True,
    batch: int = BATCH,
    check: Callable[[], None] = lambda: None,
) -> CausalResult:
    """Test whether a motif moves a feature row.

    Parameters
    ----------
    encoder : SiteEncoder
        The opened dictionary that made the activations.
    genome : Genome
        The sequences of the run, laid out with the same options.
    activations : ActivationSource
        `activations.parquet` of the run.
    feature : int
        Of the dictionary.
    strand : {1, -1}
        The pass.
    motif : Motif
    options : CausalOptions, optional
    insert : bool
        Whether to put the motif into silent windows as well.
    batch : int
        Reads encoded at once.
    check : callable
        Called between batches; may raise to stop the work.

    Returns
    -------
    result : CausalResult

    Raises
    ------
    UnknownNameError
        If the dictionary has no such feature.
    StorageError
        If the activations cannot be read.
    """
    _check_feature(encoder, feature)
    options = options or CausalOptions()
    row = Row.read(activations, feature, strand, genome)
    return _test(encoder, genome, row, motif, options, insert=insert, batch=batch, check=check)


def causal_table(
    encoder: SiteEncoder,
    genome: Genome,
    activations: ActivationSource,
    pairs: pa.Table,
    motifs: Sequence[Motif],
    *,
    options: CausalOptions | None = None,
    insert: bool = False,
    batch: int = BATCH,
    on_progress: Callable[[int], None] = lambda done: None,
) -> pa.Table:
    """Disrupt motifs at the peaks of feature rows, for many pairs.

    Parameters
    ----------
    encoder, genome, activations, options, insert, batch
        As in `causal_test`; putting motifs in takes twice the time of taking them away.
    pairs : Table
        Columns feature, strand (int8) and matrix_id. Rows are read once where pairs of one
        feature row follow each other.
    motifs : sequence of Motif
        Those of the pairs among them.
    on_progress : callable
        Told the pairs done so far; may raise to stop the work.

    Returns
    -------
    table : Table of CAUSAL_SCHEMA

    Raises
    ------
    UnknownNameError
        If a pair names a feature or motif that is not there.
    """
    options = options or CausalOptions()
    by_id = {motif.matrix_id: motif for motif in motifs}
    results: list[CausalResult] = []
    row: Row | None = None
    for done, pair in enumerate(pairs.select(["feature", "strand", "matrix_id"]).to_pylist()):
        feature, strand, matrix_id = pair.values()
        _check_feature(encoder, feature)
        if matrix_id not in by_id:
            raise UnknownNameError(f"no motif given has the matrix id {matrix_id!r}")
        if row is None or (row.feature, row.strand) != (feature, strand):
            row = Row.read(activations, feature, strand, genome)
        motif = by_id[matrix_id]
        results.append(_test(encoder, genome, row, motif, options, insert=insert, batch=batch))
        on_progress(done + 1)
    inserted = [_better(result.insert, result.insert_opposite) for result in results]
    tested = [result.disrupt.p is not None for result in results]
    p = np.array([result.disrupt.p for result in results if result.disrupt.p is not None])
    q = iter(benjamini_hochberg(p, len(p)).tolist())
    return pa.table(
        [
            [result.feature for result in results],
            [result.strand for result in results],
            [result.matrix_id for result in results],
            [result.disrupt.effect for result in results],
            [result.disrupt.p for result in results],
            [next(q) if has else None for has in tested],
            [result.disrupt.n for result in results],
            [result.disrupt.reason or None for result in results],
            [effect for effect, _ in inserted],
            [p for _, p in inserted],
        ],
        schema=CAUSAL_SCHEMA,
    )


def measure(
    encoder: SiteEncoder,
    reads: Sequence[Read],
    feature: int,
    *,
    batch: int = BATCH,
    check: Callable[[], None] = lambda: None,
) -> Floats:
    """The largest activation of a feature in the measured columns of each read.

    Parameters
    ----------
    encoder : SiteEncoder
    reads : sequence of Read
    feature : int
    batch : int
        Reads encoded at once; halved when memory runs out.
    check : callable
        Called before each batch; may raise to stop the work.

    Returns
    -------
    largest : ndarray of float64, shape (reads,)
        0 where the feature is not active.
    """
    largest = np.zeros(len(reads))
    width = max((len(read.codes) for read in reads), default=0)
    at = 0
    while at < len(reads):
        check()
        group = reads[at : at + batch]
        codes = np.full((batch, width), N_CODE, dtype=np.uint8)
        wanted = np.zeros((batch, width), dtype=bool)
        for index, read in enumerate(group):
            codes[index, : len(read.codes)] = read.codes
            wanted[index, read.first : read.last] = True
        try:
            rows = encoder.activations_of(codes, wanted)
        except (RuntimeError, MemoryError) as error:
            if batch == 1 or not is_out_of_memory(error):
                raise
            batch //= 2
            continue
        own = (rows.feature == feature) & wanted[rows.window, rows.position]
        np.maximum.at(largest, at + rows.window[own], rows.value[own].astype(np.float64))
        at += len(group)
    return largest


def _test(
    encoder: SiteEncoder,
    genome: Genome,
    row: Row,
    motif: Motif,
    options: CausalOptions,
    *,
    insert: bool,
    batch: int,
    check: Callable[[], None] = lambda: None,
) -> CausalResult:
    """Both tests of a row that has been read."""
    scorer = MotifScorer(motif, genome.background, p=options.motif_p)
    card = encoder.dictionary
    typical = float(np.median(row.value[: options.sites])) if len(row.value) else None
    unasked = Effect.refused("not asked for")
    result = CausalResult(
        feature=row.feature,
        strand=row.strand,
        matrix_id=motif.matrix_id,
        motif_name=motif.name,
        offset=None,
        disrupt=unasked,
        distance=None,
        control_distance=None,
        insert=unasked,
        insert_opposite=unasked,
        typical=typical,
        sites=[],
    )
    if typical is None or not scorer.can_hit:
        none = Effect.refused(
            "no sequence reaches the motif's threshold: the motif is too short or too vague"
            if typical is not None
            else "the feature has no peak on this strand of the sequences"
        )
        asked = none if insert else unasked
        return result._replace(disrupt=none, insert=asked, insert_opposite=asked)

    def measured(reads: Sequence[Read]) -> Floats:
        return measure(encoder, reads, row.feature, batch=batch, check=check)

    found = site_hits(row, scorer)
    sites = disruptions(row, found, scorer, genome, options, context=card.context, ahead=card.ahead)
    result = _disrupted(
        result._replace(offset=found.offset), sites, len(found.peak), len(row.value), measured
    )
    if not insert:
        return result
    silent = silent_windows(row, scorer, genome, options)
    effects = [
        _inserted(
            insertions(
                row,
                silent,
                orientation,
                scorer,
                genome,
                options,
                context=card.context,
                ahead=card.ahead,
            ),
            len(silent),
            typical,
            measured,
        )
        for orientation in (1, -1)
    ]
    return result._replace(insert=effects[0], insert_opposite=effects[1])


def _disrupted(
    result: CausalResult,
    sites: Sequence[Disruption],
    held: int,
    peaks: int,
    measured: Callable[[Sequence[Read]], Floats],
) -> CausalResult:
    """The disruption test of some sites; `held` of `peaks` peaks hold the motif."""
    if len(sites) < MIN_SITES:
        where = "" if result.offset is None else f" at about offset {result.offset:+d}"
        reason = (
            f"{held} of the {peaks} peaks looked at hold the motif{where}, and at {len(sites)} of "
            f"them it can be taken away beside a matched edit; a test needs {MIN_SITES}"
        )
        return result._replace(disrupt=Effect.refused(reason, len(sites)))
    reads = [read for site in sites for read in (site.original, site.disrupted, site.control)]
    values = measured(reads).reshape(-1, 3)
    alive = values[:, 0] > 0
    values, sites = (
        values[alive],
        [site for site, is_alive in zip(sites, alive, strict=True) if is_alive],
    )
    if len(sites) < MIN_SITES:
        reason = (
            f"the feature fires again at {len(sites)} of {len(alive)} sites read by themselves; "
            f"a test needs {MIN_SITES}"
        )
        return result._replace(disrupt=Effect.refused(reason, len(sites)))
    before, disrupted, control = values.T
    return result._replace(
        disrupt=_effect((disrupted - before) / before, (control - before) / before, sense=-1),
        distance=float(np.mean([site.distance for site in sites])),
        control_distance=float(np.mean([site.control_distance for site in sites])),
        sites=[
            {
                "contig": site.contig,
                "position": site.position,
                "before": _short(before[index]),
                "disrupted": _short(disrupted[index]),
                "control": _short(control[index]),
                "changes": site.changes,
            }
            for index, site in enumerate(sites)
        ],
    )


def _inserted(
    pairs: Sequence[Insertion],
    silent: int,
    typical: float,
    measured: Callable[[Sequence[Read]], Floats],
) -> Effect:
    """The insertion test of some windows, in one orientation."""
    if len(pairs) < MIN_SITES:
        return Effect.refused(
            f"there are {silent} silent windows of the peaks' GC content, and {len(pairs)} of them "
            f"take a shuffled motif that is no hit; a test needs {MIN_SITES}",
            len(pairs),
        )
    reads = [read for pair in pairs for read in (pair.original, pair.inserted, pair.control)]
    before, inserted, control = measured(reads).reshape(-1, 3).T / typical
    return _effect(inserted - before, control - before, sense=1)


def _effect(change: Floats, control: Floats, *, sense: int) -> Effect:
    """The paired difference of two changes; `sense` is the sign that is expected."""
    difference = sense * (change - control)
    difference[np.abs(difference) < NOISE] = 0.0
    test = signed_rank(difference)
    return Effect(
        n=len(change),
        change=float(change.mean()),
        control_change=float(control.mean()),
        effect=float(difference.mean()),
        standardised=standardised_effect(difference),
        p=test.p_greater,
        p_two_sided=test.p_two_sided,
        reason="",
    )


def _better(one: Effect, other: Effect) -> tuple[float | None, float | None]:
    """Effect of the orientation with the smaller p, and that p, doubled for the choice."""
    known = [(effect.p, effect.effect) for effect in (one, other) if effect.p is not None]
    if not known:
        return None, None
    p, effect = min(known, key=lambda pair: pair[0])
    return effect, min(1.0, len(known) * p)


def _check_feature(encoder: SiteEncoder, feature: int) -> None:
    size = encoder.dictionary.d_sae
    if not 0 <= feature < size:
        raise UnknownNameError(
            f"dictionary {encoder.dictionary.id!r} has features 0 to {size - 1}, got {feature}"
        )


def _short(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")
