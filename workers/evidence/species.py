"""Whether matches and gene concepts of the atlas hold on the genome of another species.

    atlas --confirmed on its own genome--> pairs of a feature row and a motif, or a gene concept
    result of annotate on the other genome --> pairs that are significant there
    share of the first among the second, beside the same pairs of rows drawn at random

A feature that is a detector of a short word fires on that word anywhere, so that a match holds on
another genome says that it is no accident of this one, and nothing of binding there.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.atlas import Atlas, load_atlas
from annotations.errors import FormatError
from annotations.evidence import EVIDENCE
from annotations.provenance import read_provenance
from annotations.significance import SIGNIFICANT_Q
from workers.evidence.dictionaries import Compared
from workers.evidence.motifs import check_made_with, specific_matches

Ints = NDArray[np.int64]

POMBE_RESULTS: Final = "pombe"
"""Folder in the results of the evidence, of results by dictionary on *S. pombe*."""
DRAWS: Final = 200


def species_stage(compared: Compared, results: Path | None) -> dict[str, Any]:
    """How many confirmed matches and gene concepts of the atlas hold on *S. pombe*.

    Parameters
    ----------
    compared : Compared
    results : Path, optional
        Folder with a result of `saetrack annotate` over *S. pombe* in
        ``pombe/<dictionary id>``, made with the settings of the bundled atlas.

    Returns
    -------
    numbers : dict
        `missing` says how the result is made where there is none; it is the `recipe`.

    Raises
    ------
    WeightsError
        If the result was computed with another dictionary.
    FormatError
        If it is of the atlas's own sequences, of another JASPAR group, or without genes.
    """
    card = compared.trained
    folder = compared.cards.atlas(card)
    result = None if results is None else results / POMBE_RESULTS / card.id
    recipe = (
        f"saetrack annotate pombe_ASM294v2.fa.gz --dictionary {card.id} --taxon fungi --genes "
        f"pombe_ASM294v2.transcripts.bed12.gz --top 0 --out RESULTS/{POMBE_RESULTS}/{card.id}"
    )
    if folder is None or result is None or not (result / "matches.parquet").is_file():
        return {"missing": recipe}
    check_made_with(result, card)
    atlas = load_atlas(folder, card.sha256)
    there = pq.read_table(result / "matches.parquet")
    concepts = pq.read_table(result / "concepts.parquet")
    if not concepts.num_rows:
        raise FormatError(f"{result} has no gene concepts; annotate the genome again with --genes")
    found = there.filter(pc.match_substring(there["evidence"], EVIDENCE[0]))
    known = _enriched(atlas.concepts)
    rows = 2 * card.d_sae
    return {
        **_made_on(result, atlas),
        "recipe": recipe,
        "draws": DRAWS,
        "matches": held(specific_matches(atlas.matches), found, by="cluster", rows=rows),
        "concepts": {
            name: held(of(known, name), of(_enriched(concepts), name), by="orientation", rows=rows)
            for name in sorted(set(known["concept"].to_pylist()))
        },
    }


def held(here: pa.Table, there: pa.Table, *, by: str, rows: int) -> dict[str, Any]:
    """Pairs of a feature row and something, and how many of them are pairs elsewhere too.

    Parameters
    ----------
    here, there : Table
        With the columns `feature`, `strand` and `by`.
    by : str
        What a row is paired with; equal pairs count once.
    rows : int
        Feature rows of the dictionary, both strands counted.

    Returns
    -------
    found : dict
        `pairs`; `held` of them; `by_chance`, the mean number that hold where each row of `here` is
        another one, drawn at random from all; `chance_high`, the largest of the draws.
    """
    row, what = _pairs(here, by)
    known = set(zip(*(part.tolist() for part in _pairs(there, by)), strict=True))
    distinct, place = np.unique(row, return_inverse=True)

    def count(taken: Ints) -> int:
        return sum(pair in known for pair in zip(taken[place].tolist(), what, strict=True))

    rng = np.random.default_rng(0)
    drawn = [count(rng.choice(rows, len(distinct), replace=False)) for _ in range(DRAWS)]
    return {
        "pairs": len(row),
        "held": count(distinct),
        "by_chance": round(float(np.mean(drawn)), 1),
        "chance_high": max(drawn),
    }


def of(table: pa.Table, concept: str) -> pa.Table:
    """The rows of one gene concept."""
    return table.filter(pc.equal(table["concept"], concept))


def _pairs(table: pa.Table, by: str) -> tuple[Ints, NDArray[np.str_]]:
    """Distinct pairs of a feature row, twice the feature and one more on strand -, and a name."""
    columns = (table["feature"].to_pylist(), table["strand"].to_pylist(), table[by].to_pylist())
    pairs = sorted(
        {
            (2 * feature + (strand < 0), str(what))
            for feature, strand, what in zip(*columns, strict=True)
        }
    )
    return np.array([row for row, _ in pairs], np.int64), np.array([what for _, what in pairs], str)


def _made_on(result: Path, atlas: Atlas) -> dict[str, int]:
    """How much sequence a result is of, which must not be that of the atlas."""
    found: Any = read_provenance(result / "provenance.json")
    own = {contig["digest"] for contig in (*atlas.about.discovery, *atlas.about.held_out)}
    if own & {contig["refget"] for contig in found["contigs"]}:
        raise FormatError(f"{result} has sequences of the atlas; annotate those of S. pombe")
    if found["options"]["taxon"] != atlas.taxon:
        raise FormatError(
            f"{result} was scanned for {found['options']['taxon']}, the atlas for {atlas.taxon}; "
            f"annotate the genome again with --taxon {atlas.taxon}"
        )
    return {"contigs": len(found["contigs"]), "bases": found["counts"]["bases"]}


def _enriched(concepts: pa.Table) -> pa.Table:
    """Gene concepts of which a row holds more than expected, q at most `SIGNIFICANT_Q`."""
    least = pc.less_equal(concepts["q"], SIGNIFICANT_Q)
    return concepts.filter(pc.and_(least, pc.greater(concepts["log2_enrichment"], 0.0)))
