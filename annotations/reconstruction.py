"""How well a dictionary reconstructs activations, how sparse it is, and how far two runs agree.

A figure that is not defined (no variance, nothing active) is NaN, never a
default such as 1.0 that would read as a result.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from annotations.errors import FormatError


def fvu(values: ArrayLike, reconstruction: ArrayLike) -> float:
    """Fraction of the variance that a reconstruction leaves unexplained.

    sum |x - y|^2 / sum |x - mean x|^2 over all rows (Gao et al. 2024,
    arXiv:2406.04093, there "normalised MSE"); a constant offset of the
    reconstruction counts as error.

    Parameters
    ----------
    values, reconstruction : float array, shape (rows, channels)

    Returns
    -------
    float
        0 for an exact reconstruction, 1 for the mean of the data, above 1 for worse;
        NaN where the values do not vary.

    Raises
    ------
    FormatError
        If the two do not have one two-dimensional shape.

    Examples
    --------
    >>> fvu([[0.0], [2.0]], [[1.0], [1.0]])
    1.0
    """
    x, y = _pair(values, reconstruction)
    return _ratio(float(((x - y) ** 2).sum()), _spread(x))


def explained_variance(values: ArrayLike, reconstruction: ArrayLike) -> float:
    """Share of the variance that a reconstruction explains, its constant offset forgiven.

    1 - sum |(x - y) - mean(x - y)|^2 / sum |x - mean x|^2, the
    "variance_weighted" form of scikit-learn's explained_variance_score.
    Equal to ``1 - fvu`` where the mean error is zero.

    Parameters
    ----------
    values, reconstruction : float array, shape (rows, channels)

    Returns
    -------
    float
        NaN where the values do not vary.

    Raises
    ------
    FormatError
        If the two do not have one two-dimensional shape.

    Examples
    --------
    >>> explained_variance([[0.0], [2.0]], [[5.0], [7.0]])
    1.0
    """
    x, y = _pair(values, reconstruction)
    return 1.0 - _ratio(_spread(x - y), _spread(x))


def cosine(values: ArrayLike, reconstruction: ArrayLike) -> float:
    """Mean cosine of the angle between each row and its reconstruction.

    Parameters
    ----------
    values, reconstruction : float array, shape (rows, channels)

    Returns
    -------
    float
        Rows where either side is all zero have no angle and are left out; NaN if none is left.

    Raises
    ------
    FormatError
        If the two do not have one two-dimensional shape.

    Examples
    --------
    >>> cosine([[1.0, 0.0], [0.0, 3.0]], [[2.0, 0.0], [1.0, 0.0]])
    0.5
    """
    x, y = _pair(values, reconstruction)
    norm = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    has_angle = norm > 0
    angles = (x * y).sum(1)[has_angle] / norm[has_angle]
    return float(angles.mean()) if len(angles) else float("nan")


def loss_recovered(clean: float, spliced: float, ablated: float) -> float:
    """Share of a model's loss that survives putting reconstructions in place of activations.

    (ablated - spliced) / (ablated - clean), as in Bricken et al. 2023 ("Towards
    Monosemanticity"): 1 when the loss is that of the untouched model, 0 when the
    reconstruction is worth no more than the ablation.

    Parameters
    ----------
    clean, spliced, ablated : float
        Loss of the untouched model, with reconstructions, and with the ablation
        (say which: mean or zero) in their place; any one unit.

    Returns
    -------
    float
        NaN where the ablation costs nothing.

    Examples
    --------
    >>> loss_recovered(1.5, 1.75, 2.0)
    0.5
    """
    return _ratio(ablated - spliced, ablated - clean)


def mean_l0(values: ArrayLike) -> float:
    """Mean number of features that are active (above 0) at a position.

    Parameters
    ----------
    values : float array, shape (positions, features)

    Returns
    -------
    float
        NaN without a position.

    Raises
    ------
    FormatError
        If `values` is not two-dimensional.

    Examples
    --------
    >>> mean_l0([[0.0, 2.0, 1.0], [0.0, 0.0, 3.0]])
    1.5
    """
    active = _table(values) > 0
    return _ratio(int(active.sum()), len(active))


def dead_share(firings: ArrayLike) -> float:
    """Share of features that never fired.

    Parameters
    ----------
    firings : int array, shape (features,)
        Number of positions at which each feature was active.

    Returns
    -------
    float
        NaN for a dictionary without features.

    Examples
    --------
    >>> dead_share([0, 3, 1, 0])
    0.5
    """
    counts = np.asarray(firings)
    return _ratio(int((counts == 0).sum()), counts.size)


def jaccard(left: ArrayLike, right: ArrayLike) -> float:
    """Shared over all active cells of two sparse activations.

    Parameters
    ----------
    left, right : int array, shape (n,) and (m,)
        One number for each active (feature, strand, position), such as
        ``feature * n_positions + position``; each at most once.

    Returns
    -------
    float
        NaN where nothing is active in either.

    Raises
    ------
    FormatError
        If a cell is given twice.

    Examples
    --------
    >>> jaccard([1, 2, 3], [2, 3, 4])
    0.5
    """
    a, b = _cells(left), _cells(right)
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return _ratio(shared, len(a) + len(b) - shared)


def pearson(
    left: ArrayLike,
    left_values: ArrayLike,
    right: ArrayLike,
    right_values: ArrayLike,
    *,
    cells: int,
) -> float:
    """Pearson correlation of two sparse activations over all cells, silent ones being 0.

    Parameters
    ----------
    left, right : int array, shape (n,) and (m,)
        Active cells, as in `jaccard`.
    left_values, right_values : float array, shape (n,) and (m,)
        Value at each active cell.
    cells : int
        Number of all cells, active or not: positions x features. To correlate over
        the cells active in either one only, give the size of their union.

    Returns
    -------
    float
        NaN where either side does not vary.

    Raises
    ------
    FormatError
        If a cell is given twice, values and cells differ in length, or there are more
        active cells than `cells`.

    Examples
    --------
    >>> round(pearson([0, 1], [1.0, 2.0], [1, 2], [2.0, 1.0], cells=4), 6)
    0.636364
    """
    a, b = _cells(left), _cells(right)
    x, y = np.asarray(left_values, np.float64), np.asarray(right_values, np.float64)
    shared, in_a, in_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    union = len(a) + len(b) - len(shared)
    if x.shape != a.shape or y.shape != b.shape or union > cells:
        raise FormatError(
            f"each active cell needs one value and there must be room for all of them, got "
            f"{len(a)} and {len(b)} cells ({union} in all), {x.size} and {y.size} values, "
            f"{cells} cells in total"
        )
    if not cells:
        return float("nan")
    mean_x, mean_y = x.sum() / cells, y.sum() / cells
    # Deviations rather than E[x^2] - E[x]^2, which cancels where a constant is large.
    var_x = ((x - mean_x) ** 2).sum() + (cells - len(x)) * mean_x**2
    var_y = ((y - mean_y) ** 2).sum() + (cells - len(y)) * mean_y**2
    dx, dy = x - mean_x, y - mean_y
    # Where only one side is active the other one's deviation is minus its mean.
    only_x, only_y = np.delete(dx, in_a).sum(), np.delete(dy, in_b).sum()
    covariance = (dx[in_a] * dy[in_b]).sum() - mean_y * only_x - mean_x * only_y
    covariance += (cells - union) * mean_x * mean_y
    return _ratio(float(covariance), float(np.sqrt(var_x) * np.sqrt(var_y)))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _table(values: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(values, np.float64)
    if table.ndim != 2:
        raise FormatError(f"values must have shape (rows, columns), got shape {table.shape}")
    return table


def _pair(
    values: ArrayLike, reconstruction: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = _table(values), _table(reconstruction)
    if x.shape != y.shape:
        raise FormatError(
            f"values and reconstruction must have one shape, got {x.shape} and {y.shape}"
        )
    return x, y


def _spread(x: NDArray[np.float64]) -> float:
    if not len(x):
        return 0.0
    # A constant column's rounded mean differs from it, which would pass for a variance.
    varying = x[:, np.ptp(x, axis=0) > 0]
    return float(((varying - varying.mean(0)) ** 2).sum())


def _cells(cells: ArrayLike) -> NDArray[np.int64]:
    found = np.asarray(cells, np.int64)
    if found.ndim != 1 or len(np.unique(found)) != len(found):
        raise FormatError(
            f"active cells must be a list without doubles, got shape {found.shape} with "
            f"{len(np.unique(found))} different cells"
        )
    return found
