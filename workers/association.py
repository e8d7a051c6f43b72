"""Which motifs a feature stands for: found on some contigs, confirmed once on the others.

    discovery contigs:  peaks, background  --find_matches-->  matches
    its rows' own motifs  --compare-->  similarity to the catalogue
    held-out contigs:   peaks, background, enriched pairs alone  --find_matches-->  confirm

Nothing of a held-out contig is used before the last step: not its peaks, not its background
windows, not its base composition.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.activations import ActivationSource, window_cells
from annotations.contig_codes import ContigCodes
from annotations.enrichment import (
    MatchResult,
    Power,
    background_windows,
    find_matches,
)
from annotations.evidence import confirm, with_evidence
from annotations.match_table import MATCHES_SCHEMA
from annotations.motif_catalogue import MotifCatalogue
from annotations.motif_clusters import cluster_motifs
from annotations.motif_scan import FLOOR_P, HITS_SCHEMA, PSEUDOCOUNT, background_of, scan_parts
from annotations.motif_similarity import compare, row_motifs
from annotations.motif_windows import WIDTH, Windows
from annotations.near_places import NearPlaces
from annotations.peaks import PEAKS_SCHEMA
from annotations.significance import ENRICHED_LOG2, SIGNIFICANT_Q
from annotations.tables import column
from annotations.window_activity import WindowActivity, stored

_PLACES = ["motif", "contig", "start", "end", "score"]
"""What the test looks at of each hit."""

NO_MOTIFS = Power(False, 0, 0, "no motifs were asked for")
NO_CONTIGS = Power(False, 0, 0, "no contigs were held out")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The sequences of a computation, and which of them discovery may see."""

    codes: ContigCodes
    """Base codes of each contig."""
    held_out: Collection[int]
    """Contigs that it may not."""
    seed: int
    """Of the random background windows."""

    @cached_property
    def discovery(self) -> list[int]:
        """Contigs that it may."""
        unseen = frozenset(self.held_out)
        return [index for index in range(len(self.codes)) if index not in unseen]

    @cached_property
    def backgrounds(self) -> tuple[Windows, Windows]:
        """Background windows of the contigs that it may see, and of those that it may not."""
        discovery, held_out = (
            background_windows(self.only(contigs), seed=self.seed)
            for contigs in (self.discovery, self.held_out)
        )
        return discovery, held_out

    @cached_property
    def background(self) -> NDArray[np.float64]:
        """Frequencies of A, C, G, T in the contigs that it may see."""
        return background_of(self.only(self.discovery))

    def only(self, contigs: Collection[int]) -> list[NDArray[np.uint8]]:
        """The sequences, those of other contigs emptied: the indices stay."""
        wanted = frozenset(contigs)
        return [codes if at in wanted else codes[:0] for at, codes in enumerate(self.codes)]


class Association(NamedTuple):
    """Matches of a computation, and how they were found."""

    matches: MatchResult
    """On the contigs of discovery, with all columns of `MATCHES_SCHEMA` filled that can be."""
    held_out: Power
    """Whether the confirmation was made, and if not, why."""
    held_out_pairs: int
    """Pairs that were tested on the held-out contigs."""


class BackgroundActivity(NamedTuple):
    """Activations in the background windows of a corpus."""

    discovery: WindowActivity
    held_out: WindowActivity


class MotifHits(NamedTuple):
    """Where motifs stand, and what was a hit."""

    table: pa.Table
    """`annotations.motif_scan.HITS_SCHEMA`, of all contigs: those at peaks and in background
    windows."""
    total: int
    """Hits in all, wherever they are."""
    occurring: int
    """Motifs that stand anywhere on the contigs of discovery."""


@contextmanager
def background_activity(
    corpus: Corpus, activations: ActivationSource, scratch: Path, *, n_features: int
) -> Iterator[BackgroundActivity]:
    """Read the activations once, for the background windows of both parts.

    Parameters
    ----------
    corpus : Corpus
    activations : ActivationSource
        As of `annotations.activations.merge_stretches`.
    scratch : Path
        Folder for files, which are there while the context lasts.
    n_features : int
        Features of the dictionary.

    Yields
    ------
    activity : BackgroundActivity
    """
    windows = Windows(
        *(np.concatenate([one, other]) for one, other in zip(*corpus.backgrounds, strict=True))
    )
    sizes = [len(each.start) for each in corpus.backgrounds]
    cells = window_cells(activations, windows, n_features)
    with stored(sizes, 2 * n_features, cells, scratch) as found:
        yield BackgroundActivity(*found)


def scan_corpus(
    corpus: Corpus,
    catalogue: MotifCatalogue,
    peaks: pa.Table,
    *,
    p: float,
    on_part: Callable[[float], None] = lambda part: None,
) -> MotifHits:
    """Scan all contigs, with motif thresholds that follow from the contigs of discovery.

    Parameters
    ----------
    corpus : Corpus
    catalogue : MotifCatalogue
    peaks : Table of `annotations.peaks.TOP_PEAKS_SCHEMA`
        What is asked of the hits is asked about these and the background windows: of a genome
        that has far more hits, the others are only counted.
    p : float
        As of `annotations.motif_scan.scan`.
    on_part : callable
        Told the part of the bases that is done, 0 to 1; may raise to stop.
    """
    near = _looked_at(corpus, peaks)
    occurs = np.zeros(len(catalogue.motifs), bool)
    total, kept = 0, [HITS_SCHEMA.empty_table()]
    parts = scan_parts(
        corpus.codes, catalogue.motifs, p=p, background=corpus.background, on_part=on_part
    )
    for hits in parts:
        total += hits.num_rows
        occurs[column(on_contigs(hits, corpus.discovery), "motif")] = True
        contig = column(hits, "contig")
        start, end = (corpus.codes.places(contig, column(hits, at)) for at in ("start", "end"))
        kept.append(hits.filter(pa.array(near.touched(start, end))))
    return MotifHits(pa.concat_tables(kept).combine_chunks(), total, int(occurs.sum()))


def _looked_at(corpus: Corpus, peaks: pa.Table) -> NearPlaces:
    """The windows of peaks and the background windows."""
    peak = np.unique(corpus.codes.places(column(peaks, "contig"), column(peaks, "position")))
    start = [peak - WIDTH // 2]
    start += [corpus.codes.places(each.contig, each.start) for each in corpus.backgrounds]
    return NearPlaces.of(np.concatenate(start), WIDTH)


def associate(
    peaks: pa.Table,
    hits: MotifHits | None,
    corpus: Corpus,
    activity: BackgroundActivity | None,
    *,
    catalogue: MotifCatalogue | None,
) -> Association:
    """Test every motif at every feature's peaks, and what is found on the held-out contigs.

    Parameters
    ----------
    peaks : Table of `annotations.peaks.TOP_PEAKS_SCHEMA`
        Top peaks of both parts.
    hits : MotifHits or None
        Of the motifs of `catalogue`; None where no motifs were asked for.
    corpus : Corpus
    activity : BackgroundActivity or None
        None where no motifs were asked for.
    catalogue : MotifCatalogue or None
        None where no motifs were asked for.

    Returns
    -------
    association : Association
        A part that has too little sequence or too few peaks is not tested, and says why.
    """
    nothing = MatchResult(MATCHES_SCHEMA.empty_table(), NO_MOTIFS, 0)
    if catalogue is None or hits is None or activity is None:
        return Association(nothing, NO_MOTIFS, 0)

    def tested(
        contigs: Collection[int],
        background: Windows,
        active: WindowActivity,
        pairs: pa.Table | None = None,
    ) -> MatchResult:
        return find_matches(
            on_contigs(peaks.select(PEAKS_SCHEMA.names), contigs),
            on_contigs(hits.table.select(_PLACES), contigs),
            corpus.codes,
            active,
            motifs=catalogue.motifs,
            background=background,
            pairs=pairs,
            occurring=hits.occurring,
        )

    found = tested(corpus.discovery, corpus.backgrounds[0], activity.discovery)
    matches = _with_clusters(found.table, catalogue)
    matches = _with_similarity(matches, on_contigs(peaks, corpus.discovery), corpus, catalogue)
    pairs = enriched_pairs(matches)
    if not corpus.held_out:
        power, n_pairs = NO_CONTIGS, 0
    elif not pairs.num_rows:
        power, n_pairs = Power(False, 0, 1, "no motif was enriched on the other contigs"), 0
    else:
        confirmation = tested(corpus.held_out, corpus.backgrounds[1], activity.held_out, pairs)
        matches = confirm(matches, confirmation.table)
        power, n_pairs = confirmation.power, confirmation.tested_pairs
    return Association(found._replace(table=with_evidence(matches)), power, n_pairs)


def enriched_pairs(matches: pa.Table) -> pa.Table:
    """Feature, strand and matrix id of the matches that are worth a second test.

    Those with q at most `SIGNIFICANT_Q` and twice the expected hits.
    """
    enriched = pc.and_(
        pc.less_equal(matches["q"], SIGNIFICANT_Q),
        pc.greater_equal(matches["log2_enrichment"], ENRICHED_LOG2),
    )
    return matches.filter(enriched).select(["feature", "strand", "matrix_id"])


def on_contigs(table: pa.Table, contigs: Collection[int]) -> pa.Table:
    """The rows of a table that lie on some contigs."""
    return table.filter(pa.array(np.isin(column(table, "contig"), list(contigs))))


def association_record(
    association: Association,
    catalogue: MotifCatalogue | None,
    corpus: Corpus,
    *,
    motif_p: float,
) -> dict[str, object]:
    """What provenance says of the motif test: whether it was made, on what, and why not."""
    found = association.matches
    return {
        "tested": found.power.tested,
        "power": "tested" if found.power.tested else "underpowered",
        "loci": found.power.loci,
        "needed": found.power.needed,
        "reason": found.power.reason,
        "tested_pairs": found.tested_pairs,
        "held_out": {
            "tested": association.held_out.tested,
            "reason": association.held_out.reason,
            "tested_pairs": association.held_out_pairs,
        },
        "significant_q": SIGNIFICANT_Q,
        "enriched_log2": ENRICHED_LOG2,
        "release": None if catalogue is None else catalogue.release,
        "taxon": None if catalogue is None else catalogue.taxon,
        "motifs": None if catalogue is None else len(catalogue.motifs),
        "user_file": None if catalogue is None else catalogue.user_file or None,
        "user_sha256": None if catalogue is None else catalogue.user_sha256 or None,
        "motif_p": motif_p,
        "motif_floor_p": FLOOR_P,
        "pseudocount": PSEUDOCOUNT,
        "background": (
            None if catalogue is None else [round(f, 6) for f in corpus.background.tolist()]
        ),
    }


def _with_clusters(matches: pa.Table, catalogue: MotifCatalogue) -> pa.Table:
    """The name of each matrix's cluster."""
    clusters = cluster_motifs(catalogue.motifs)
    names = {motif.matrix_id: clusters.name_of(at) for at, motif in enumerate(catalogue.motifs)}
    return _set(matches, "cluster", [names[i] for i in matches["matrix_id"].to_pylist()])


def _with_similarity(
    matches: pa.Table, peaks: pa.Table, corpus: Corpus, catalogue: MotifCatalogue
) -> pa.Table:
    """How like its matrix the row's own motif is, and the matrix it is most like."""
    rows = np.unique(row_of(matches))
    own = row_motifs(peaks, corpus.codes, rows, background=corpus.background)
    alike = compare(own, catalogue.motifs, matches).to_pylist()
    found = {(r["feature"], r["strand"], r["matrix_id"]): r for r in alike}
    best = {(r["feature"], r["strand"]): r["matrix_id"] for r in alike if r["best"]}
    keys = list(
        zip(
            *(matches[name].to_pylist() for name in ("feature", "strand", "matrix_id")), strict=True
        )
    )
    for name in ("similarity_p", "similarity_q"):
        values = [found[key][name] if key in found else None for key in keys]
        matches = _set(matches, name, values)
    return _set(matches, "similar_to", [best.get(key[:2]) for key in keys])


def row_of(table: pa.Table) -> NDArray[np.int64]:
    """One number per feature and strand: twice the feature, and 1 more on strand -1."""
    return 2 * column(table, "feature").astype(np.int64) + (column(table, "strand") < 0)


def _set(matches: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    field = MATCHES_SCHEMA.field(name)
    return matches.set_column(
        matches.schema.get_field_index(name), field, pa.array(values, field.type)
    )
