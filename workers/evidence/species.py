"""Whether matches and gene concepts of the atlas hold on the genome of another species.

    atlas --confirmed on its own genome--> pairs of a feature row and a motif, or a gene concept
    result of annotate on the other genome --> pairs that are significant there
    share of the first among the second, beside the same pairs with their rows exchanged

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

from annotations.atlas import load_atlas
from annotations.evidence import EVIDENCE
from annotations.significance import SIGNIFICANT_Q
from workers.evidence.dictionaries import Compared
from workers.evidence.motifs import check_made_with, specific_matches

Strings = NDArray[np.str_]

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
        `missing` says how the result is made where there is none.
    """
    card = compared.trained
    folder = compared.cards.atlas(card)
    result = None if results is None else results / POMBE_RESULTS / card.id
    if folder is None or result is None or not (result / "matches.parquet").is_file():
        return {
            "missing": f"`saetrack annotate pombe_ASM294v2.fa.gz --dictionary {card.id} --taxon "
            "fungi --genes pombe_ASM294v2.transcripts.bed12.gz --top 0 --out "
            f"RESULTS/{POMBE_RESULTS}/{card.id}`"
        }
    check_made_with(result, card)
    atlas = load_atlas(folder, card.sha256)
    there = pq.read_table(result / "matches.parquet")
    concepts = pq.read_table(result / "concepts.parquet")
    found = there.filter(pc.match_substring(there["evidence"], EVIDENCE[0]))
    known = _enriched(atlas.concepts)
    return {
        "matches": held(specific_matches(atlas.matches), found, by="cluster"),
        "concepts": {
            name: held(of(known, name), of(_enriched(concepts), name), by="orientation")
            for name in sorted(set(known["concept"].to_pylist()))
        },
    }


def held(here: pa.Table, there: pa.Table, *, by: str) -> dict[str, Any]:
    """Pairs of a feature row and something, and how many of them are pairs elsewhere too.

    Parameters
    ----------
    here, there : Table
        With the columns `feature`, `strand` and `by`.
    by : str
        What a row is paired with; equal pairs count once.

    Returns
    -------
    found : dict
        `pairs`; `held` of them; `by_chance`, the mean number that hold where the rows of `here`
        are exchanged at random; `chance_high`, the largest of the draws.
    """
    row, what = _pairs(here, by)
    known = set(zip(*(part.tolist() for part in _pairs(there, by)), strict=True))

    def count(rows: Strings) -> int:
        return sum(pair in known for pair in zip(rows.tolist(), what.tolist(), strict=True))

    rng = np.random.default_rng(0)
    drawn = [count(rng.permutation(row)) for _ in range(DRAWS)]
    return {
        "pairs": len(row),
        "held": count(row),
        "by_chance": round(float(np.mean(drawn)), 1),
        "chance_high": max(drawn),
    }


def of(table: pa.Table, concept: str) -> pa.Table:
    """The rows of one gene concept."""
    return table.filter(pc.equal(table["concept"], concept))


def _pairs(table: pa.Table, by: str) -> tuple[Strings, Strings]:
    """Distinct feature rows, as ``755+``, and what they are paired with."""
    columns = (table["feature"].to_pylist(), table["strand"].to_pylist(), table[by].to_pylist())
    pairs = sorted(
        {
            (f"{feature}{'+' if strand > 0 else '-'}", str(what))
            for feature, strand, what in zip(*columns, strict=True)
        }
    )
    return np.array([row for row, _ in pairs], str), np.array([what for _, what in pairs], str)


def _enriched(concepts: pa.Table) -> pa.Table:
    """Gene concepts of which a row holds more than expected, q at most `SIGNIFICANT_Q`."""
    least = pc.less_equal(concepts["q"], SIGNIFICANT_Q)
    return concepts.filter(pc.and_(least, pc.greater(concepts["log2_enrichment"], 0.0)))
