"""Sparse coders: a dictionary's weights and its gate.

    pre = (x [- b_dec]) W_enc + b_enc
    f   = pre where pre > threshold and pre > 0, else 0          gate "jumprelu"
    f   = relu(pre) of the k largest of each row                 gate "topk"
    f   = relu(pre) of the k * n largest of all n rows given     gate "batch_topk"
    x'  = f W_dec + b_dec

The first two are served: a row's activations depend on that row alone. The last
is the rule of the Evo 2 notebook and of BatchTopK in training (Bussmann et al.
2024, arXiv:2412.06410), for parity with published figures: what is active in a
row depends on the rows it is given with.

The folders they are kept in are in `workers.sae_lens`, what others publish in
`workers.sae_formats`.

A matrix product may round differently for another number of rows. Rows are
therefore always multiplied in chunks of one fixed shape, the last one padded,
so that equal rows give bitwise equal activations in any batch or partition.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from annotations.errors import WeightsError
from workers.spread import spread

Gate = Literal["jumprelu", "topk", "batch_topk"]

CHUNK_ROWS = {"cpu": 256, "cuda": 16_384}
"""Rows of every matrix product at most, by type of device; on a CPU the result of a small
dictionary stays in its cache."""

CHUNKS_AT_ONCE = 2
"""Chunks that one thread encodes before it asks for more."""

CHUNK_BYTES = {"cpu": 2**26, "cuda": 2**29}
"""Size of a product's result at most: all that is ever held of dense activations."""

TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
"""The tensors of a coder beside its threshold."""


def chunk_rows(device: str, n_features: int) -> int:
    """Rows of a matrix product: a power of two within `CHUNK_ROWS` and `CHUNK_BYTES`.

    Parameters
    ----------
    device : str
        Type of the device, "cpu" or "cuda".
    n_features : int
        Features of the dictionary.

    Examples
    --------
    >>> chunk_rows("cpu", 4096), chunk_rows("cuda", 4096), chunk_rows("cuda", 131_072)
    (256, 16384, 1024)
    """
    room = min(CHUNK_ROWS[device], CHUNK_BYTES[device] // (4 * n_features))
    return 1 << max(0, room.bit_length() - 1)


class SparseRows(NamedTuple):
    """Active features, one row each, sorted by row and then by feature."""

    row: Tensor
    """Row of the input, int64 [n]."""
    feature: Tensor
    """Index of the feature, int64 [n]."""
    value: Tensor
    """Activation, float32 [n], above 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseCoder:
    """Weights and gate of a dictionary; float32, all on one device."""

    W_enc: Tensor
    """Encoder, [d_in, d_sae]."""
    b_enc: Tensor
    """Encoder bias, [d_sae]."""
    threshold: Tensor
    """The gate: a feature is active where it is strictly above this (and 0), [d_sae]."""
    W_dec: Tensor
    """Decoder, [d_sae, d_in]."""
    b_dec: Tensor
    """Decoder bias, [d_in]."""
    apply_b_dec_to_input: bool = False
    """Whether `b_dec` is taken from the input before it is encoded."""
    gate: Gate = "jumprelu"
    """The rule that says which latents are active."""
    k: int | None = None
    """Latents kept in each row (on average, by "batch_topk") by the two gates that ignore
    `threshold`."""

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises
        ------
        WeightsError
            If shapes do not fit together or the top-k gate has no k.
        """
        if self.W_enc.ndim != 2:
            raise WeightsError(f"W_enc must have shape [d_in, d_sae], got {list(self.W_enc.shape)}")
        d_in, d_sae = self.W_enc.shape
        for name, shape in (
            ("b_enc", [d_sae]),
            ("threshold", [d_sae]),
            ("W_dec", [d_sae, d_in]),
            ("b_dec", [d_in]),
        ):
            found = list(getattr(self, name).shape)
            if found != shape:
                raise WeightsError(
                    f"{name} must have shape {shape} beside a W_enc of {[d_in, d_sae]}, got {found}"
                )
        if self.gate != "jumprelu" and (self.k is None or not 1 <= self.k <= d_sae):
            raise WeightsError(
                f"a {self.gate} gate keeps 1 to {d_sae} latents of a row, got k {self.k}"
            )

    @property
    def d_in(self) -> int:
        """Channels of an activation."""
        return int(self.W_enc.shape[0])

    @property
    def n_features(self) -> int:
        """Features of the dictionary."""
        return int(self.W_enc.shape[1])

    def to(self, device: torch.device) -> "SparseCoder":
        """The same coder on another device."""
        names = (*TENSORS, "threshold")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def gated_by(self, gate: str, k: int | None) -> "SparseCoder":
        """The same weights behind another gate.

        Parameters
        ----------
        gate : {"topk", "batch_topk"}
            The rule.
        k : int
            Latents of a row.

        Raises
        ------
        WeightsError
            If the gate is none of these or `k` is not possible.
        """
        if gate not in ("topk", "batch_topk"):
            raise WeightsError(f"weights can be gated by topk or batch_topk, got {gate!r}")
        return replace(self, gate=cast(Gate, gate), k=k)

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Tensor:
        """Gated activations of every feature, dense: for few rows and for tests.

        Parameters
        ----------
        x : float tensor, shape [n, d_in]
            By the gate "batch_topk", all the rows of a window: they compete.

        Returns
        -------
        f : float32 tensor, shape [n, d_sae]
            0 where a feature is not active.

        Raises
        ------
        WeightsError
            If `x` has another number of channels.
        """
        if self.gate == "batch_topk":
            return self.batch_topk(x, self.k or 0)
        out = torch.zeros(len(x), self.n_features, device=self.W_enc.device)
        for start, pre in self._preactivations(x):
            part = out[start : start + len(pre)]
            if self.gate == "topk":
                top = pre.topk(self.k or 0, dim=1)
                part.scatter_(1, top.indices, top.values.relu())
            else:
                torch.where(pre > self._floor(), pre, part, out=part)
        return out

    @torch.inference_mode()
    def stream(
        self,
        x: Tensor,
        *,
        rows: Tensor | None = None,
        window: NDArray[np.int64] | None = None,
    ) -> Iterator[SparseRows]:
        """Active features, some rows at a time; dense activations never leave a chunk.

        An activation depends on its own row alone, unless the gate is "batch_topk": it is
        bitwise the same in any batch, order or partition of the rows on the same device.

        Parameters
        ----------
        x : float tensor, shape [n, d_in]
            Cast to float32 a chunk at a time.
        rows : int64 tensor, shape [m], optional
            Rows of `x` to encode; all in their order by default.
        window : int64 array, shape (m,), optional
            Window of each row; sorted. Matters to the gate "batch_topk" alone, by which the
            rows of a window compete; one window by default.

        Yields
        ------
        found : SparseRows
            `row` counts from 0 over all rows encoded.

        Raises
        ------
        WeightsError
            If `x` has another number of channels.
        """
        if self.gate != "batch_topk":
            yield from self._stream_rows(x, rows)
            return
        count = len(x) if rows is None else len(rows)
        inner = [] if window is None else (np.flatnonzero(np.diff(window)) + 1).tolist()
        for start, end in pairwise([0, *inner, count]):
            part = x[start:end] if rows is None else x[rows[start:end]]
            found = self._compete(part, self.k or 0)
            yield SparseRows(found.row + start, found.feature, found.value)

    def encode_sparse(self, x: Tensor) -> SparseRows:
        """Active features of all rows, as of one window; see `stream`."""
        return self._joined(self.stream(x))

    def encode_windows(self, x: Tensor, window: NDArray[np.int64]) -> SparseRows:
        """Active features of the rows of several windows; see `stream`."""
        return self._joined(self.stream(x, window=window))

    def preactivations(self, x: Tensor) -> Iterator[Tensor]:
        """Pre-activations of every feature, chunk by chunk of the rows.

        Parameters
        ----------
        x : float32 tensor, shape [n, d_in]

        Yields
        ------
        pre : float32 tensor, shape [rows, d_sae]
            Before any gate; overwritten by the next chunk.

        Raises
        ------
        WeightsError
            If `x` has another number of channels.
        """
        for _, pre in self._preactivations(x):
            yield pre

    @torch.inference_mode()
    def batch_topk(self, x: Tensor, k: int) -> Tensor:
        """The ``k * n`` largest activations of a whole batch of n rows.

        What the gate "batch_topk" does, whatever the coder's own gate is.

        Returns
        -------
        f : float32 tensor, shape [n, d_sae]
        """
        found = self._compete(x, k)
        out = torch.zeros(len(x), self.n_features, device=self.W_enc.device)
        out[found.row, found.feature] = found.value
        return out

    @torch.inference_mode()
    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction, float32 [n, d_in], of activations [n, d_sae]."""
        return f @ self.W_dec + self.b_dec

    @torch.inference_mode()
    def decode_sparse(self, found: SparseRows, n: int) -> Tensor:
        """Reconstruction of n rows from what is active in them.

        Parameters
        ----------
        found : SparseRows
            Sorted by row, as `stream` and `encode_sparse` give it.
        n : int
            Rows, those without an active feature counted.

        Returns
        -------
        y : float32 tensor, shape [n, d_in]
        """
        first = torch.searchsorted(found.row, torch.arange(n, device=found.row.device))
        return self.b_dec + F.embedding_bag(
            found.feature, self.W_dec, first, mode="sum", per_sample_weights=found.value
        )

    def _floor(self) -> Tensor:
        return self.threshold.clamp(min=0)

    def _joined(self, parts: Iterable[SparseRows]) -> SparseRows:
        empty = torch.empty(0, dtype=torch.int64, device=self.W_enc.device)
        columns = zip(*parts, SparseRows(empty, empty, empty.float()), strict=True)
        return SparseRows(*(torch.cat(column) for column in columns))

    def _stream_rows(self, x: Tensor, rows: Tensor | None) -> Iterator[SparseRows]:
        """`stream` where rows do not compete: some chunks after each other by one thread."""
        device = self.W_enc.device
        count = len(x) if rows is None else len(rows)
        step = CHUNKS_AT_ONCE * chunk_rows(device.type, self.n_features)

        def encode(first: int) -> list[SparseRows]:
            part = slice(first, first + step)
            given = (x[part], None) if rows is None else (x, rows[part])
            found = [(start, self._active(pre)) for start, pre in self._preactivations(*given)]
            return [
                SparseRows(active.row + first + start, active.feature, active.value)
                for start, active in found
            ]

        self._check(x)
        for pieces in spread(encode, range(0, count, step), device):
            yield from pieces

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.d_in:
            raise WeightsError(
                f"this dictionary reads activations of shape [n, {self.d_in}], got {list(x.shape)}"
            )

    def _compete(self, x: Tensor, k: int) -> SparseRows:
        """The ``k * n`` largest positive latents of n rows; the others are dropped on the way."""
        wanted = min(k * len(x), len(x) * self.n_features)
        value = torch.empty(0, device=self.W_enc.device)
        place = torch.empty(0, dtype=torch.int64, device=self.W_enc.device)
        floor = 0.0
        for start, pre in self._preactivations(x):
            above = (pre > floor).flatten().nonzero()[:, 0]
            value = torch.cat([value, pre.flatten()[above]])
            place = torch.cat([place, above + start * self.n_features])
            if len(value) > wanted:
                value, kept = value.topk(wanted, sorted=False)
                place, floor = place[kept], float(value.min()) if wanted else math.inf
        place, order = place.sort()
        row = torch.div(place, self.n_features, rounding_mode="floor")
        return SparseRows(row, place - row * self.n_features, value[order])

    def _preactivations(
        self, x: Tensor, picked: Tensor | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """First row and pre-activations of each chunk, in a buffer the next chunk overwrites."""
        self._check(x)
        rows = chunk_rows(self.W_enc.device.type, self.n_features)
        chunk = torch.zeros(rows, self.d_in, device=self.W_enc.device)
        pre = torch.empty(rows, self.n_features, device=self.W_enc.device)
        for start in range(0, len(x) if picked is None else len(picked), rows):
            chosen = slice(start, start + rows)
            part = x[chosen] if picked is None else x[picked[chosen]]
            # Rows past the end keep what they held; no row depends on another.
            chunk[: len(part)] = part - self.b_dec if self.apply_b_dec_to_input else part
            torch.addmm(self.b_enc, chunk, self.W_enc, out=pre)
            yield start, pre[: len(part)]

    def _active(self, pre: Tensor) -> SparseRows:
        if self.gate == "topk":
            top = pre.topk(self.k or 0, dim=1)
            feature, order = top.indices.sort(dim=1)
            value = top.values.gather(1, order)
            kept = value > 0
            return SparseRows(kept.nonzero()[:, 0], feature[kept], value[kept])
        if pre.device.type == "cpu":
            # numpy compares twice and counts six times as fast as torch on one CPU core
            above = pre.numpy() > self._floor().numpy()
            flat = torch.from_numpy(np.flatnonzero(above))
        else:
            flat = (pre > self._floor()).flatten().nonzero()[:, 0]
        row = torch.div(flat, self.n_features, rounding_mode="floor")
        return SparseRows(row, flat - row * self.n_features, pre.flatten()[flat])


def scaled(coder: SparseCoder, scale: float) -> SparseCoder:
    """The coder that reads `scale` times the activations, and gives its reconstruction back.

    ``encode(x)`` of the result is ``coder.encode(scale * x)``, ``decode(f)`` is
    ``coder.decode(f) / scale``.
    """
    return replace(
        coder, W_enc=coder.W_enc * scale, W_dec=coder.W_dec / scale, b_dec=coder.b_dec / scale
    )


def fold_whitening(mean: Tensor, matrix: Tensor, coder: SparseCoder) -> SparseCoder:
    """Turn a coder of whitened activations into one of raw activations.

    Parameters
    ----------
    mean : float tensor, shape [d_in]
        Mean of the raw activations.
    matrix : float tensor, shape [d_in, d_in]
        Invertible; the coder was trained on ``(x - mean) @ matrix``.
    coder : SparseCoder
        In whitened space.

    Returns
    -------
    folded : SparseCoder
        Encodes raw x to what `coder` encodes whitened x to, and decodes to raw
        space; takes no `b_dec` from its input. Decoder rows lose their unit norm.
    """
    enc, dec, w = coder.W_enc.double(), coder.W_dec.double(), matrix.double()
    centre = coder.b_dec.double()
    offset = mean.double() @ w + (centre if coder.apply_b_dec_to_input else 0.0)
    inverse = torch.linalg.inv(w)
    return replace(
        coder,
        W_enc=(w @ enc).float(),
        b_enc=(coder.b_enc.double() - offset @ enc).float(),
        W_dec=(dec @ inverse).float(),
        b_dec=(mean.double() + centre @ inverse).float(),
        apply_b_dec_to_input=False,
    )
