"""The table of matches: its columns, and how measured arrays become one."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.errors import FormatError

_IDENTITY: Final = [
    pa.field("feature", pa.uint32()),
    pa.field("strand", pa.int8()),
    pa.field("matrix_id", pa.string()),
    pa.field("motif_name", pa.string()),
]
_ENRICHMENT: Final = [
    pa.field("peaks", pa.int32()),
    pa.field("hits", pa.int32()),
    pa.field("expected", pa.float64()),
    pa.field("log2_enrichment", pa.float64()),
    pa.field("odds_ratio", pa.float64()),
    pa.field("p", pa.float64()),
    pa.field("q", pa.float64()),
]
_POSITION: Final = [
    pa.field("offset", pa.int32()),
    pa.field("offset_share", pa.float64()),
    pa.field("centrality_p", pa.float64()),
]
_PREDICTION: Final = [
    pa.field("auroc", pa.float64()),
    pa.field("auroc_p", pa.float64()),
    pa.field("auprc", pa.float64()),
    pa.field("prevalence", pa.float64()),
]
_SIMILARITY: Final = [
    pa.field("similarity_p", pa.float64()),
    pa.field("similarity_q", pa.float64()),
    pa.field("similar_to", pa.string()),
]
_CONFOUNDERS: Final = [
    pa.field("gc", pa.float64()),
    pa.field("cpg", pa.float64()),
    pa.field("repeat_share", pa.float64()),
    pa.field("information_content", pa.float64()),
    pa.field("background_rate", pa.float64()),
]

HELD_OUT: Final = (
    "peaks",
    "hits",
    "expected",
    "log2_enrichment",
    "p",
    "q",
    "auroc",
    "auroc_p",
    "auprc",
    "prevalence",
)
"""Columns that are measured again on held-out contigs, there as ``held_out_<name>``."""

_MEASURED_TWICE: Final = {f.name: f.type for f in (*_ENRICHMENT, *_PREDICTION)}

MATCHES_SCHEMA: Final = pa.schema(
    [
        *_IDENTITY,
        *_ENRICHMENT,
        *_POSITION,
        *_PREDICTION,
        *_SIMILARITY,
        *(pa.field(f"held_out_{name}", _MEASURED_TWICE[name]) for name in HELD_OUT),
        pa.field("causal_effect", pa.float64()),
        pa.field("causal_p", pa.float64()),
        *_CONFOUNDERS,
        pa.field("cluster", pa.string()),
        pa.field("evidence", pa.string()),
    ]
)
"""One row per feature row and motif; null where a thing was not measured.

**Enrichment.** `peaks` independent loci, of which `hits` hold the motif and `expected` would if
nothing but GC content mattered. `log2_enrichment` is log2((hits + 1/2) / (expected + 1/2)), the
odds ratio has 1/2 added to each count; `p` is the test of `annotations.enrichment`, `q` the false
discovery rate over all tested pairs.

**Position.** `offset` is the commonest offset of the motif's middle base from the peak, in the
sense of the pass, and `offset_share` the share of the loci with the motif that have it within
`annotations.motif_position.NEAR` bases of there. `centrality_p` asks whether the motif keeps any
distance to the peak at all: corrected over the places and widths looked at.

**Prediction.** Over the background windows, none chosen for the feature: does the row's largest
activation in a window tell whether the window holds the motif? `prevalence` is the share that do,
the AUPRC of a guess; `auroc_p` a one-sided Mann-Whitney test.

**Similarity** of the row's own motif, made of its aligned peaks, to this matrix; `similar_to` is
the most similar matrix of the catalogue. **Held out**: measured on contigs that discovery did not
see. **Causal**: change of activation when the motif is broken or put in.

**Confounders.** Of the row's windows: mean `gc`, `cpg` (CpG observed over expected), and
`repeat_share`, the share of its loci that were left out as copies of another. Of the motif:
`information_content` in bits, and `background_rate`, the share of background windows that hold it.

`cluster` is the motif's, of those too alike to be told apart. `evidence` names what holds, see
`annotations.evidence`. Sorted by q (nulls last), p, feature, strand (+ first), matrix id."""


def check_matches(table: pa.Table) -> None:
    """Refuse a table whose columns are not those of `MATCHES_SCHEMA`, in their order.

    Raises
    ------
    FormatError
        If a column is missing, too many, out of order or of another type.
    """
    if table.schema.names != MATCHES_SCHEMA.names or table.schema.types != MATCHES_SCHEMA.types:
        raise FormatError(
            "a table of matches must have the columns of MATCHES_SCHEMA, got "
            f"{', '.join(f'{f.name} {f.type}' for f in table.schema)}; make it with find_matches"
        )


def matches_table(columns: Mapping[str, NDArray[Any]], order: NDArray[np.int64]) -> pa.Table:
    """A table of `MATCHES_SCHEMA`; what has no column is null, and so is NaN.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (n,)
        Named as in the schema; numbers that may be missing are float64 with NaN.
    order : ndarray of int64, shape (n,)
        Which row comes first.

    Returns
    -------
    table : pyarrow.Table
        `evidence` is empty.
    """
    arrays = []
    for field in MATCHES_SCHEMA:
        if field.name in columns:
            values = columns[field.name][order]
            missing = np.isnan(values) if values.dtype.kind == "f" else None
            if missing is not None and pa.types.is_integer(field.type):
                values = np.where(missing, 0, values).astype(field.type.to_pandas_dtype())
            arrays.append(pa.array(values, field.type, mask=missing))
        elif field.name == "evidence":
            arrays.append(pa.repeat("", len(order)))
        else:
            arrays.append(pa.nulls(len(order), field.type))
    return pa.Table.from_arrays(arrays, schema=MATCHES_SCHEMA)
