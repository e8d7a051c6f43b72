"""What speaks for a match: which kinds of evidence hold, by rules in one place.

    enriched     q <= 0.05 and at least twice the expected hits
    centred      enriched, and the motif keeps a distance to the peak: centrality_p <= 0.05, which
                 is corrected over all places and widths looked at
    similar      enriched, and the row's own motif looks like this matrix: similarity_q <= 0.05
                 over the matrices it was compared with
    predictive   enriched on contigs that discovery did not see, and there the activation of
                 windows that nobody chose tells which hold the motif: auroc_p <= 0.05
    causal       breaking or adding the motif changes the activation: causal_p <= 0.05 and the
                 effect in the expected direction, more motif more activation

A kind that was not measured does not hold. No margin is asked of an AUROC: a feature that fires at
one motif in ten cannot reach 0.56 and may still never fire elsewhere. Whether it is above 1/2 by
more than chance is what its test says, ties among the silent windows counted.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotations.match_table import HELD_OUT, MATCHES_SCHEMA, check_matches
from annotations.significance import ENRICHED_LOG2, SIGNIFICANT_Q

EVIDENCE: Final = ("enriched", "centred", "similar", "predictive", "causal")
"""Kinds of evidence, in the order in which a match lists them."""
SEPARATOR: Final = ";"

_KEY: Final = ["feature", "strand", "matrix_id"]


def with_evidence(matches: pa.Table) -> pa.Table:
    """The matches with their evidence worked out anew from the other columns.

    Parameters
    ----------
    matches : Table of `annotations.match_table.MATCHES_SCHEMA`

    Returns
    -------
    matches : Table of MATCHES_SCHEMA
        In the order they had; `evidence` holds names of `EVIDENCE` joined by ``;``, or nothing.

    Raises
    ------
    FormatError
        If the table has other columns.
    """
    check_matches(matches)
    enriched = pc.and_(_at_most(matches, "q"), _doubled(matches, "log2_enrichment"))
    holds = {
        "enriched": enriched,
        "centred": pc.and_(enriched, _at_most(matches, "centrality_p")),
        "similar": pc.and_(enriched, _at_most(matches, "similarity_q")),
        "predictive": pc.and_(
            pc.and_(_at_most(matches, "held_out_q"), _doubled(matches, "held_out_log2_enrichment")),
            _at_most(matches, "held_out_auroc_p"),
        ),
        "causal": pc.and_(
            _at_most(matches, "causal_p"),
            pc.fill_null(pc.greater(matches["causal_effect"], 0.0), False),
        ),
    }
    # pyarrow's join with null_handling="skip" drops a row whose values are all null
    code = np.zeros(matches.num_rows, dtype=np.int64)
    for bit, kind in enumerate(EVIDENCE):
        code += holds[kind].to_numpy().astype(np.int64) << bit
    texts = [
        SEPARATOR.join(kind for bit, kind in enumerate(EVIDENCE) if number >> bit & 1)
        for number in range(1 << len(EVIDENCE))
    ]
    joined = pa.array(texts, pa.string()).take(pa.array(code))
    place = MATCHES_SCHEMA.get_field_index("evidence")
    return matches.set_column(place, MATCHES_SCHEMA.field(place), joined)


def confirm(discovery: pa.Table, held_out: pa.Table) -> pa.Table:
    """The matches with what the same pairs gave on held-out contigs.

    Parameters
    ----------
    discovery : Table of `annotations.match_table.MATCHES_SCHEMA`
        What discovery found.
    held_out : Table of MATCHES_SCHEMA
        Of `annotations.enrichment.find_matches` on the held-out contigs with ``pairs``: the pairs
        of `discovery` that were to be confirmed.

    Returns
    -------
    matches : Table of MATCHES_SCHEMA
        Those of `discovery` in their order; ``held_out_*`` are null for pairs that `held_out`
        lacks. The evidence is as it was: see `with_evidence`.

    Raises
    ------
    FormatError
        If a table has other columns.
    """
    check_matches(discovery)
    check_matches(held_out)
    renamed = held_out.select([*_KEY, *HELD_OUT]).rename_columns(
        [*_KEY, *(f"held_out_{name}" for name in HELD_OUT)]
    )
    bare = discovery.drop_columns([f"held_out_{name}" for name in HELD_OUT])
    numbered = bare.append_column("order", pa.array(range(bare.num_rows), pa.int64()))
    joined = numbered.join(renamed, keys=_KEY, join_type="left outer").sort_by("order")
    return joined.select(MATCHES_SCHEMA.names).cast(MATCHES_SCHEMA).combine_chunks()


def _at_most(matches: pa.Table, name: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.less_equal(matches[name], SIGNIFICANT_Q), False)


def _doubled(matches: pa.Table, name: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.greater_equal(matches[name], ENRICHED_LOG2), False)
