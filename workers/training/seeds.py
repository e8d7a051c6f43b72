"""Which features recur when a dictionary is trained again from another seed.

Two features are the same direction of the tap where the cosine of their decoder rows is near 1;
cosines are taken in whitened space, for in the raw one a few directions hold nearly all of the
length of every row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from workers.training.sae import TrainedSae
from workers.training.sweep import MEASURES, Choice

RECURS = 0.7
"""Cosine from which a feature counts as found again."""


class Partners(NamedTuple):
    """The nearest feature of another dictionary to each feature of one."""

    cosine: NDArray[np.float64]
    """Shape (features,)."""
    feature: NDArray[np.int64]
    """Index in the other dictionary, shape (features,)."""


def partners(one: TrainedSae, other: TrainedSae) -> Partners:
    """Best match of every decoder row among those of another dictionary of the same tap."""
    whitening = one.whitening.matrix.double()
    rows = F.normalize(one.coder.decoder.double(), dim=1)
    raw = other.coder.decoder.double() @ torch.linalg.inv(other.whitening.matrix.double())
    best = _largest_products(rows, F.normalize(raw @ whitening, dim=1))
    return Partners(*(part.cpu().numpy() for part in best))


def recurrence(
    trained: Mapping[int, TrainedSae], chosen: Mapping[int, Mapping[str, Mapping[str, Choice]]]
) -> list[dict[str, Any]]:
    """What two dictionaries share, for each pair of seeds.

    Parameters
    ----------
    trained : mapping of int to TrainedSae
        By seed.
    chosen : mapping
        Of each seed, the features of each TF as `workers.training.sweep.choose` gives them.

    Returns
    -------
    rows : list of dict
        As JSON, one for each ordered pair: quantiles of the best cosine, the share of features
        found again, and of each TF and measure the cosine of its feature's partner and whether
        that partner is what the other seed chose for the same TF.
    """
    rows: list[dict[str, Any]] = []
    seeds = sorted(trained)
    for one in seeds:
        for other in seeds:
            if one == other:
                continue
            found = partners(trained[one], trained[other])
            rows.append(
                {
                    "seed": one,
                    "other": other,
                    "cosine_quartiles": _quartiles(found.cosine),
                    "recurring_share": round(float((found.cosine >= RECURS).mean()), 4),
                    "tfs": {
                        tf: {
                            what: _shared(found, own[what], chosen[other][tf][what])
                            for what in MEASURES
                        }
                        for tf, own in chosen[one].items()
                    },
                }
            )
    return rows


def _shared(found: Partners, own: Choice, theirs: Choice) -> dict[str, Any] | None:
    if own.feature is None:
        return None
    partner = int(found.feature[own.feature])
    return {
        "feature": own.feature,
        "partner": partner,
        "cosine": round(float(found.cosine[own.feature]), 4),
        "same_choice": partner == theirs.feature,
    }


def _largest_products(rows: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Largest product of each row with one of the others, and which that is."""
    parts = [(rows[at : at + 512] @ others.T).max(1) for at in range(0, len(rows), 512)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _quartiles(values: NDArray[np.float64]) -> Sequence[float]:
    return [round(float(x), 4) for x in np.quantile(values, [0.25, 0.5, 0.75])]
