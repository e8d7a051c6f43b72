"""The order in which features are shown: what is known of them first, then what stands out."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.tables import column


def telling_order(features: pa.Table) -> NDArray[np.int64]:
    """Order of feature rows, the most telling first.

    Those with a match of this run by q, then those with a motif in the atlas by its q, then
    those with any label, then the rest by how far the largest activation stands above the
    median one; rows that were never active come last. Ties go by feature, strand + first.

    Parameters
    ----------
    features : Table
        Columns feature, strand, active_bases, max, q50, match_q, label_motif_q, label.

    Returns
    -------
    order : ndarray of int64
        For ``features.take``.
    """
    contrast = _numbers(features, "max", np.nan) / _numbers(features, "q50", np.nan)
    return np.lexsort(
        (
            column(features, "strand") < 0,
            column(features, "feature"),
            np.nan_to_num(-contrast, nan=np.inf),
            features.column("label").is_null().to_numpy(),
            _numbers(features, "label_motif_q", np.inf),
            _numbers(features, "match_q", np.inf),
            column(features, "active_bases") == 0,
        )
    )


def _numbers(table: pa.Table, name: str, missing: float) -> NDArray[np.float64]:
    """A column of numbers with a value for null."""
    values = table.column(name).cast(pa.float64()).fill_null(missing)
    return np.asarray(values.to_numpy(), dtype=np.float64)


def active_features(features: pa.Table) -> pa.Table:
    """The rows with at least one active base, the most telling first."""
    ranked = features.take(pa.array(telling_order(features)))
    return ranked.filter(pa.array(column(ranked, "active_bases") > 0))
