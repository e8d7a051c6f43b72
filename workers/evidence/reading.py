"""What a dictionary and its model say of some sequence, kept in a work folder.

    contig --pool--> largest activation of each feature in bins of ten bases, on either strand
           --expected--> log2 p(A, C, G, T) of each base given all the others

Both are bounded: an array of the active (feature, bin) pairs, and four numbers for each base. The
work folder holds them under names made of everything they depend on, so that a stage that is run
again does not read again.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.expectation import margins_of
from annotations.sequences import reverse_complement
from workers.pipeline import N_CODE
from workers.registry import Encoder, SparseWindows

Codes = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

BIN = 10
"""Bases of a bin; bins begin at multiples of it."""
CHUNK = 1000
"""Most bases of a run of bins that are read together."""
BATCH_BASES = 8_192
"""Bases read at once, about."""


class Pooled(NamedTuple):
    """Active features in bins of one contig; features lie end to end."""

    first: Ints
    """Where each feature begins in the arrays below, and the end; shape (features + 1,)."""
    bin: NDArray[np.uint32]
    """Sorted within a feature."""
    value: NDArray[np.float32]
    """Largest activation in the bin, on either strand."""
    active: Ints
    """Bases at which each feature is active, both strands; shape (features,)."""
    read: int
    """Bases that were read, both strands."""

    def of(self, feature: int, n_bins: int) -> NDArray[np.float64]:
        """One feature in every bin, 0 where it is silent; shape (n_bins,)."""
        own = slice(self.first[feature], self.first[feature + 1])
        dense = np.zeros(n_bins)
        dense[self.bin[own]] = self.value[own]
        return dense

    @property
    def feature(self) -> Ints:
        """Feature of each entry."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


class Shelf:
    """A work folder of arrays; without one nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def fetch(
        self, what: str, parts: Sequence[object], make: Callable[[], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """Arrays made earlier of the same parts, or made now."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
        if self.folder is None:
            return make()
        path = self.folder / f"{what}-{digest.hexdigest()[:24]}.npz"
        if path.is_file():
            with np.load(path) as kept:
                return dict(kept)
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = make()
        waiting = path.with_suffix(".part.npz")
        np.savez(waiting, allow_pickle=False, **arrays)
        waiting.replace(path)
        return arrays


def pool(encoder: Encoder, bases: Codes, bins: Bools, shelf: Shelf) -> Pooled:
    """Activations of all features in some bins of a contig.

    Parameters
    ----------
    encoder : Encoder
        The opened dictionary.
    bases : uint8 array, shape (length,)
        Base codes.
    bins : bool array, shape (length // BIN,)
        Those wanted; only they are read, with the dictionary's context. Beyond the ends of the
        contig N is read, which makes values within a context of them a little different.
    shelf : Shelf
    """
    card = encoder.dictionary

    def make() -> dict[str, NDArray[Any]]:
        return pooled_now(encoder, bases, bins)._asdict()

    parts = [card.sha256, card.model_sha256, card.gate, card.context, card.ahead, bases, bins, BIN]
    found = shelf.fetch(f"pooled-{card.id}", parts, make)
    return Pooled(
        found["first"].astype(np.int64),
        found["bin"].astype(np.uint32),
        found["value"].astype(np.float32),
        found["active"].astype(np.int64),
        int(found["read"]),
    )


def pooled_now(encoder: Encoder, bases: Codes, bins: Bools) -> Pooled:
    """As `pool`, without a work folder."""
    n_bins, n_features = len(bins), encoder.coder.n_features
    cells, values = [], []
    active = np.zeros(n_features, np.int64)
    for (position, _), found in read_runs(encoder, bases, bins):
        active += np.bincount(found.feature, minlength=n_features)
        cell = found.feature.astype(np.int64) * n_bins + position // BIN
        order = np.lexsort((-found.value, cell))
        kept = order[np.diff(cell[order], prepend=-1) != 0]
        cells.append(cell[kept])
        values.append(found.value[kept])
    read = 2 * BIN * int(bins.sum())
    cell = np.concatenate([np.zeros(0, np.int64), *cells])
    value = np.concatenate([np.zeros(0, np.float32), *values])
    order = np.argsort(cell, kind="stable")
    cell, value = cell[order], value[order]
    first = np.searchsorted(cell, np.arange(n_features + 1) * n_bins)
    return Pooled(first, (cell % max(1, n_bins)).astype(np.uint32), value, active, read)


def pooled_bases(
    encoder: "Encoder | FewFeatures", bases: Codes, bins: Bools, shelf: Shelf
) -> tuple[NDArray[np.uint32], Bools, Ints, NDArray[np.float32]]:
    """Every activation at the bases of some bins, both strands.

    Returns
    -------
    feature : uint32 array, shape (n,)
    reverse : bool array, shape (n,)
        Whether it was read on strand -.
    position : int64 array, shape (n,)
        On strand +.
    value : float32 array, shape (n,)
    """
    card = encoder.dictionary
    read = encoder.features if isinstance(encoder, FewFeatures) else "all features"

    def make() -> dict[str, NDArray[Any]]:
        parts = [
            (found.feature, reverse, position.astype(np.uint32), found.value)
            for (position, reverse), found in read_runs(encoder, bases, bins)
        ]
        empty = np.zeros(0, np.uint32), np.zeros(0, bool), np.zeros(0, np.uint32)
        columns = zip(*[*parts, (*empty, np.zeros(0, np.float32))], strict=True)
        names = ("feature", "reverse", "position", "value")
        return dict(zip(names, map(np.concatenate, columns), strict=True))

    parts = [card.sha256, card.model_sha256, card.gate, card.context, card.ahead, bases, bins, read]
    found = shelf.fetch(f"bases-{card.id}", parts, make)
    return found["feature"], found["reverse"], found["position"].astype(np.int64), found["value"]


def read_runs(
    encoder: "Encoder | FewFeatures", bases: Codes, bins: Bools
) -> Iterator[tuple[tuple[Ints, Bools], SparseWindows]]:
    """Activations at the bases of some bins, both strands, some runs of bins at a time.

    Yields
    ------
    place : tuple
        Position of each row of `found` on the forward strand, and whether it was read in reverse.
    found : SparseWindows
    """
    context, ahead = encoder.dictionary.context, encoder.dictionary.ahead
    runs = runs_of(bins)
    for group in _batches(np.diff(runs, axis=1)[:, 0], context + ahead):
        longest = int((runs[group, 1] - runs[group, 0]).max())
        codes = np.full((2 * len(group), context + longest + ahead), N_CODE, np.uint8)
        wanted = np.zeros(codes.shape, bool)
        for row, (start, end) in enumerate(runs[group]):
            past = context + end - start
            width = past + ahead
            codes[2 * row, :width] = within(bases, start - context, end + ahead)
            other = within(bases, start - ahead, end + context)
            codes[2 * row + 1, :width] = reverse_complement(other)
            wanted[2 * row : 2 * row + 2, context:past] = True
        found = encoder.activations_of(codes, wanted)
        start, end = runs[group][found.window // 2].T
        reverse = found.window % 2 == 1
        into = found.position - context
        yield (np.where(reverse, end - 1 - into, start + into), reverse), found


def _batches(lengths: Ints, margin: int) -> Iterator[list[int]]:
    """Runs of like length together, so that little of a batch is padding."""
    group: list[int] = []
    for run in np.argsort(lengths, kind="stable").tolist():
        # lengths ascend, so this one is the longest
        if group and (len(group) + 1) * (int(lengths[run]) + margin) > BATCH_BASES:
            yield group
            group = []
        group.append(run)
    if group:
        yield group


def runs_of(bins: Bools) -> Ints:
    """Runs of wanted bins, none longer than `CHUNK` bases, as starts and ends in bases.

    Examples
    --------
    >>> runs_of(np.array([True, True, False, True])).tolist()
    [[0, 20], [30, 40]]
    """
    edges = np.flatnonzero(np.diff(bins.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    step = CHUNK // BIN
    cut = [(low, min(low + step, end)) for start, end in edges for low in range(start, end, step)]
    return np.array(cut, np.int64).reshape(-1, 2) * BIN


def within(bases: Codes, start: int, end: int) -> Codes:
    """Codes of a range that may run past the ends of its contig, where it is N."""
    codes = np.full(end - start, N_CODE, np.uint8)
    low, high = max(start, 0), min(end, len(bases))
    codes[low - start : high - start] = bases[low:high]
    return codes


def expected(encoder: Encoder, bases: Codes, bins: Bools, shelf: Shelf) -> NDArray[np.float32]:
    """log2 p of A, C, G and T at every base of some bins, given all the others.

    Parameters
    ----------
    encoder : Encoder
        Opened with its whole model.
    bases : uint8 array, shape (length,)
    bins : bool array, shape (length // BIN,)
        Those wanted.
    shelf : Shelf

    Returns
    -------
    log2_p : float32 array, shape (length, 4)
        NaN in other bins and where nothing is said.
    """
    margins = margins_of(encoder.model, encoder.dictionary)

    def make() -> dict[str, NDArray[Any]]:
        return {"log2_p": _expected_now(encoder, bases, bins, margins)}

    parts = [encoder.model.sha256, margins, bases, bins, BIN]
    kept = shelf.fetch(f"expected-{encoder.model.id}", parts, make)["log2_p"]
    full = np.full((len(bases), 4), np.nan, np.float32)
    full[: len(bins) * BIN][np.repeat(bins, BIN)] = kept
    return full


def _expected_now(
    encoder: Encoder, bases: Codes, bins: Bools, margins: tuple[int, int]
) -> NDArray[np.float16]:
    """Of the bases of the bins, in order; shape (bases of them, 4)."""
    found = np.full((len(bins) * BIN, 4), np.nan, np.float16)
    before, behind = margins
    runs = runs_of(bins)
    for group in _batches(np.diff(runs, axis=1)[:, 0], before + behind):
        longest = int((runs[group, 1] - runs[group, 0]).max())
        codes = np.full((len(group), before + longest + behind), N_CODE, np.uint8)
        for row, (start, end) in enumerate(runs[group]):
            codes[row, : before + end - start + behind] = within(
                bases, start - before, end + behind
            )
        logs = encoder.log_probabilities_of(codes) / np.float32(np.log(2))
        for row, (start, end) in enumerate(runs[group]):
            found[start:end] = logs[row, before : before + end - start]
    return found[np.repeat(bins, BIN)]


class FewFeatures:
    """A dictionary of which some features are read alone: the same values, for less work."""

    def __init__(self, encoder: Encoder, features: Sequence[int]) -> None:
        self.encoder = encoder
        self.dictionary = encoder.dictionary
        self.features = np.unique(np.array(features, np.int64))
        coder = encoder.coder
        if coder.gate == "jumprelu":
            # each feature has its own gate, so the others need not be computed
            at = torch.from_numpy(self.features).to(encoder.device)
            part = replace(
                coder,
                W_enc=coder.W_enc[:, at].contiguous(),
                b_enc=coder.b_enc[at],
                threshold=coder.threshold[at],
                W_dec=coder.W_dec[at],
            )
            self._reader, self._own = copy(encoder), self.features.astype(np.uint32)
            self._reader.coder = part
        else:
            self._reader, self._own = encoder, np.arange(coder.n_features, dtype=np.uint32)

    def activations_of(self, codes: Codes, wanted: Bools | None = None) -> SparseWindows:
        """As `workers.registry.Encoder.activations_of`, of the chosen features."""
        found = self._reader.activations_of(codes, wanted)
        feature = self._own[found.feature]
        kept = np.isin(feature, self.features)
        return SparseWindows(
            found.window[kept], found.position[kept], feature[kept], found.value[kept]
        )
