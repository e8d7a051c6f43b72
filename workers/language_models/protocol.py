"""What the rest of the project needs of a language model."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from annotations.errors import CoordinateError, LimitError


class TokenActivations(NamedTuple):
    """Residual stream at the tokens of a batch of windows, one row each."""

    window: NDArray[np.int64]
    """Row of the batch; sorted."""
    start: NDArray[np.int64]
    """First base, in the window; sorted within it."""
    end: NDArray[np.int64]
    """Base after the last."""
    h: Tensor
    """float32 tensor, shape [tokens, width]."""


class LanguageModel(Protocol):
    """A frozen model of DNA, read in the direction of its input."""

    @property
    def width(self) -> int:
        """Channels of the residual stream."""

    @property
    def n_blocks(self) -> int:
        """Blocks; a tap is a number of blocks done, 0 (embedding) to this."""

    @property
    def max_length(self) -> int | None:
        """Most bases in a window; None where there is no limit."""

    def activations(self, codes: Tensor, layer: int) -> Tensor:
        """Residual stream after `layer` blocks; later blocks are not run.

        Parameters
        ----------
        codes : uint8 tensor, shape [batch, length]
            Base codes A 0, C 1, G 2, T 3, anything else 4.
        layer : int
            Blocks done before the tap, 0 to `n_blocks`.

        Returns
        -------
        activations : float tensor, shape [batch, length, width]
            In the model's number format. Row i depends on bases up to and including i where
            the model is causal; where a token holds several bases, each has the token's, and
            the mean of several tokens'.

        Raises
        ------
        CoordinateError
            If `layer` is not in ``[0, n_blocks]`` or `codes` is not two-dimensional.
        LimitError
            If the window is longer than `max_length`.
        """

    def log_probabilities(self, codes: Tensor) -> Tensor:
        """What the model expects at every base.

        Parameters
        ----------
        codes : uint8 tensor, shape [batch, length]
            As in `activations`.

        Returns
        -------
        log_probabilities : float32 tensor, shape [batch, length, 4]
            Natural logarithms, in the order A, C, G, T; base i is no input of row i.
            NaN where the model says nothing of a base.
        """


@runtime_checkable
class TokenLanguageModel(Protocol):
    """A `LanguageModel` whose tokens are not bases; a dictionary reads its tokens."""

    def token_activations(self, codes: Tensor, layer: int) -> TokenActivations:
        """Residual stream after `layer` blocks at each token; later blocks are not run.

        Parameters
        ----------
        codes : uint8 tensor, shape [batch, length]
            As in `LanguageModel.activations`.
        layer : int
            Blocks done before the tap.

        Returns
        -------
        tokens : TokenActivations
        """


Splice = Callable[[Tensor], Tensor]
"""What takes the place of a residual stream; float [batch, length, width] in and out."""


@runtime_checkable
class SplicedLanguageModel(Protocol):
    """A `LanguageModel` that can go on from another residual stream to the bases expected."""

    @property
    def two_sided(self) -> bool:
        """Whether the bases that follow a base count in what is expected of it."""

    def spliced_log_probabilities(self, codes: Tensor, layer: int, splice: Splice) -> Tensor:
        """`LanguageModel.log_probabilities` with the residual stream at one tap replaced.

        Parameters
        ----------
        codes : uint8 tensor, shape [batch, length]
            As in `LanguageModel.activations`.
        layer : int
            Blocks done before the tap.
        splice : callable
            Given the residual stream there, which may hold other reads of the same windows
            (the reverse complement) as further rows; returns what later blocks read instead.

        Returns
        -------
        log_probabilities : float32 tensor, shape [batch, length, 4]
        """


def check_window(codes: Tensor, *, layer: int, n_blocks: int, max_length: int | None) -> None:
    """Refuse a tap or a window that a model does not have.

    Raises
    ------
    CoordinateError
        If `layer` is not in ``[0, n_blocks]`` or `codes` is not two-dimensional.
    LimitError
        If the window is longer than `max_length`.
    """
    if not 0 <= layer <= n_blocks:
        raise CoordinateError(f"layer must be 0 to {n_blocks} blocks of this model, got {layer}")
    if codes.ndim != 2:
        raise CoordinateError(f"codes must have shape [batch, length], got {tuple(codes.shape)}")
    if max_length is not None and codes.shape[1] > max_length:
        raise LimitError(
            f"a window of {codes.shape[1]} bases is longer than the {max_length} this model reads; "
            "use a shorter stride or less context"
        )
