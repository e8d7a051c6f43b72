"""One threshold for a dictionary trained with BatchTopK, found on reference sequence.

BatchTopK keeps the k * n largest latents of n bases, so what is active at a base
depends on the bases beside it. Served is a threshold instead: theta is set so that
over n bases of reference sequence just k * n latents lie above it. On those bases
together it keeps what BatchTopK keeps, and it is the same at every base of any other
sequence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotations.cards import file_sha256
from annotations.errors import OptionError
from annotations.sequences import encode_bases, read_sequences, reverse_complement
from annotations.types import Span
from workers.language_models.paired_tree import N_CODE
from workers.pipeline import Window, windows_of
from workers.registry import Encoder
from workers.sae import SparseCoder


@dataclass(frozen=True)
class Calibration:
    """How a threshold was found; written to the dictionary's card."""

    theta: float
    """A latent is active strictly above this."""
    k: int
    """Latents wanted at a base (a token, where those are longer), on average."""
    mean_l0: float
    """Latents above theta at a base of the reference, on average."""
    rows: int
    """Bases (tokens) of the reference that were read, both strands counted."""
    windows: int
    """Windows they lie in."""
    reference: str
    """Name of the reference's file."""
    reference_sha256: str
    """Of that file."""


def calibrate(
    encoder: Encoder, reference: Path, *, k: int, windows: int = 64, batch: int = 1
) -> Calibration:
    """Find the threshold at which k latents are active at a base on average.

    Parameters
    ----------
    encoder : Encoder
        The opened dictionary, with any gate; its card says stride and context.
    reference : Path
        FASTA or GenBank of the genome the dictionary is to be used on.
    k : int
        Latents wanted at a base.
    windows : int
        Windows read, evenly spaced over the reference and its two strands.
    batch : int
        Windows read at once.

    Returns
    -------
    calibration : Calibration

    Raises
    ------
    OptionError
        If the reference has no known base.
    FormatError
        If the reference is not sequence.
    """
    codes, wanted = sample_windows(encoder, reference, windows)
    parts = (
        encoder.inputs_of(codes[first : first + batch], wanted[first : first + batch])
        for first in range(0, len(codes), batch)
    )
    found = threshold_of(encoder.coder, parts, k=k, most=k * int(wanted.sum()))
    return Calibration(
        theta=found.theta,
        k=k,
        mean_l0=found.mean_l0,
        rows=found.rows,
        windows=len(codes),
        reference=reference.name,
        reference_sha256=file_sha256(reference),
    )


class WindowSample(NamedTuple):
    """Windows of sequence as a model reads them, and the bases of them that count."""

    codes: NDArray[np.uint8]
    """Base codes, shape (windows, length); of the reverse complement for strand -."""
    wanted: NDArray[np.bool_]
    """Known bases that count, of the same shape."""


def sample_windows(encoder: Encoder, reference: Path, windows: int) -> WindowSample:
    """Windows of the served grid, evenly spaced over sequences and both strands.

    Parameters
    ----------
    encoder : Encoder
        Its card says stride and context.
    reference : Path
        FASTA or GenBank.
    windows : int
        Windows wanted; fewer where the sequence has not as many.

    Returns
    -------
    sample : WindowSample
        Wanted are the bases a window owns: each has its context.

    Raises
    ------
    OptionError
        If the reference has no known base.
    FormatError
        If the reference is not sequence.
    """
    sequences = [encode_bases(record.sequence) for record in read_sequences(reference).records]
    chosen = _spaced(sequences, encoder, windows)
    card = encoder.dictionary
    codes = np.full((len(chosen), card.window), N_CODE, dtype=np.uint8)
    wanted = np.zeros(codes.shape, dtype=bool)
    for row, window in enumerate(chosen):
        bases = sequences[window.contig][slice(*window.read)]
        owned = np.zeros(len(bases), dtype=bool)
        owned[window.cell[0] - window.read[0] : window.cell[1] - window.read[0]] = True
        if window.strand == "-":
            bases, owned = reverse_complement(bases), owned[::-1]
        codes[row, : len(bases)], wanted[row, : len(bases)] = bases, owned
    wanted &= codes < N_CODE
    if not wanted.any():
        raise OptionError(
            f"{reference.name} has no base A, C, G or T to read; give a genome's sequence"
        )
    return WindowSample(codes, wanted)


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it keeps of the rows it was found on."""

    theta: float
    """A latent is active strictly above this."""
    mean_l0: float
    """Latents above it in a row, on average."""
    rows: int
    """Rows it was found on."""


def threshold_of(
    coder: SparseCoder, parts: Iterable[Tensor], *, k: int, most: int | None = None
) -> Threshold:
    """The largest threshold above which ``k * n`` latents of n rows lie.

    Exact: the largest pre-activations are kept as the rows go by, nothing else.

    Parameters
    ----------
    coder : SparseCoder
        Its gate is not used.
    parts : iterable of float32 tensor, shape [rows, d_in]
        All rows, some at a time.
    k : int
        Latents of a row on average.
    most : int, optional
        Bound of ``k * n``, where n is known beforehand: bounds the memory.

    Returns
    -------
    threshold : Threshold
        0 where fewer than ``k * n`` latents are positive.

    Raises
    ------
    OptionError
        If there is no row.
    """
    kept = torch.empty(0, device=coder.W_enc.device)
    rows, floor = 0, 0.0
    with torch.inference_mode():
        for part in parts:
            rows += len(part)
            for pre in coder.preactivations(part):
                kept = torch.cat([kept, pre[pre > floor]])
                if most is not None and len(kept) > most:
                    kept = kept.topk(most, sorted=False).values
                    floor = float(kept.min())
        if not rows:
            raise OptionError("there is no base to calibrate on; give more sequence")
        if len(kept) < k * rows:
            return Threshold(0.0, len(kept) / rows, rows)
        smallest = kept.topk(k * rows).values[-1].cpu()
        theta = torch.nextafter(smallest, torch.tensor(0.0))
        return Threshold(float(theta), int((kept > theta).sum()) / rows, rows)


def calibrated(coder: SparseCoder, theta: float) -> SparseCoder:
    """The coder behind one threshold for all its latents."""
    return replace(coder, gate="jumprelu", k=None, threshold=torch.full_like(coder.b_enc, theta))


def _spaced(sequences: Sequence[NDArray[np.uint8]], encoder: Encoder, count: int) -> list[Window]:
    """Windows evenly spaced over both strands of all sequences, those with no base left out."""
    card = encoder.dictionary
    lengths = {index: len(codes) for index, codes in enumerate(sequences)}
    all_of_them = windows_of(
        [Span(index, 0, length) for index, length in lengths.items()],
        lengths,
        stride=card.stride,
        context=card.context,
        ahead=card.ahead,
        strands="both",
    )
    full = [
        window
        for window in all_of_them
        if (sequences[window.contig][slice(*window.cell)] < N_CODE).any()
    ]
    step = max(1.0, len(full) / max(1, count))
    return [full[int(i * step)] for i in range(min(count, len(full)))]
