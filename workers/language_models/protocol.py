"""What the rest of the project needs of a language model."""

from typing import Protocol

from torch import Tensor

from annotations.errors import CoordinateError, LimitError


class LanguageModel(Protocol):
    """A frozen model of DNA with one token per base, read in the direction of its input."""

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
        activations : float32 tensor, shape [batch, length, width]
            Row i depends on bases up to and including i.

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
