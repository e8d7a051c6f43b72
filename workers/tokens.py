"""Tokens of models that do not read DNA base by base, and back from tokens to bases.

    codes --tokenizer--> tokens (id, start, end) --model, dictionary--> active (token, feature)
          --spread--> active (base, feature)

    base              A C G T          one token a base
    kmer              ACG TAC A        k-mers one after the other; what is left over base by base
    overlapping_kmer  ACG CGT GTA      the k-mer that begins at each base
    bpe               ACGTA CA         words of a learnt vocabulary (the tokenizers library)

A feature is active at a token; every base of that token gets the token's value.
Where several tokens hold a base, it gets their mean, silent ones counted as 0, as
DNABERT's own authors bring k-mer scores to bases (Ji et al. 2021,
doi:10.1093/bioinformatics/btab083).

A token that holds an N is read by the model and never active. N at the end of a
window is padding and is cut off; of a longer run of N inside only the edges are
kept, so that a gap in an assembly does not fill a model's window.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.cards import TOKENIZATIONS
from annotations.errors import WeightsError
from workers.language_models.paired_tree import BASES, N_CODE
from workers.language_models.protocol import TokenActivations
from workers.sae import SparseCoder


class WindowTokens(NamedTuple):
    """Tokens of one window, in order; the model's own marks at its ends are not among them."""

    id: NDArray[np.int64]
    """Index in the model's vocabulary."""
    start: NDArray[np.int64]
    """First base, in the window."""
    end: NDArray[np.int64]
    """Base after the last."""


class SparseBases(NamedTuple):
    """Active features of bases, one row each, sorted by window, position, feature."""

    window: NDArray[np.int64]
    """Row of the batch."""
    position: NDArray[np.int64]
    """Base in the window."""
    feature: NDArray[np.int64]
    """Index of the feature."""
    value: NDArray[np.float32]
    """Activation, above 0."""


class Tokenizer(Protocol):
    """Cuts one window into tokens."""

    def __call__(self, codes: NDArray[np.uint8]) -> WindowTokens:
        """Tokens of base codes, uint8 of shape [length]; a token may hold no base."""


@dataclass(frozen=True, kw_only=True)
class TokenPlan:
    """How a model reads DNA, as the `tokens` of a model card's config say."""

    kind: str
    """One of `annotations.cards.TOKENIZATIONS`."""
    k: int = 1
    """Bases of a k-mer."""
    file: str
    """The vocabulary beside the card: `vocab.txt`, `vocab.json` or `tokenizer.json`."""
    prefix: tuple[int, ...] = ()
    """Marks before the first token."""
    suffix: tuple[int, ...] = ()
    """Marks after the last token."""
    pad: int = 0
    """What fills a batch up; it is masked."""
    unknown: int | None = None
    """Token of what the vocabulary has not."""

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be."""
        if self.kind not in TOKENIZATIONS:
            raise ValueError(f"kind must be one of {', '.join(TOKENIZATIONS)}, got {self.kind!r}")
        if (self.k > 1) != ("kmer" in self.kind) or self.k < 1:
            raise ValueError(f"k is above 1 for k-mers and 1 for others, got {self.k}")


def make_tokenizer(plan: TokenPlan, folder: Path) -> Tokenizer:
    """The tokenizer of a plan.

    Parameters
    ----------
    plan : TokenPlan
    folder : Path
        Where its file lies.

    Returns
    -------
    tokenizer : callable

    Raises
    ------
    WeightsError
        If the file is missing or is no vocabulary of this kind.
    """
    path = folder / plan.file
    if plan.kind == "bpe":
        return _bpe(path)
    vocabulary = read_vocabulary(path)
    unknown = vocabulary.get("N", plan.unknown)
    singles = [vocabulary.get(base) for base in BASES[:N_CODE]]
    if plan.kind == "overlapping_kmer":
        return _overlapping(plan.k, _kmer_table(vocabulary, plan.k, path), _known(unknown, path))
    if None in singles:
        raise WeightsError(f"{path.name} has no tokens A, C, G and T; give the model's vocabulary")
    single = np.array([*singles, _known(unknown, path)], dtype=np.int64)
    if plan.kind == "base":
        return lambda codes: _by_base(_trimmed(codes), single)
    return _consecutive(plan.k, _kmer_table(vocabulary, plan.k, path), single)


def read_vocabulary(path: Path) -> dict[str, int]:
    """Tokens and their indices.

    Parameters
    ----------
    path : Path
        `vocab.txt` (a token a line), `vocab.json` or `tokenizer.json`.

    Returns
    -------
    vocabulary : dict of str to int

    Raises
    ------
    WeightsError
        If the file is missing or none of these.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".txt":
            return {token.strip(): i for i, token in enumerate(text.splitlines())}
        content = json.loads(text)
        if "model" not in content:
            return {str(token): int(i) for token, i in content.items()}
        words = content["model"]["vocab"]
        if isinstance(words, list):  # unigram: [token, score]
            words = {word: i for i, (word, _) in enumerate(words)}
        added = {word["content"]: word["id"] for word in content.get("added_tokens", [])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is missing or is no vocabulary ({error}); give vocab.txt, vocab.json or "
            "tokenizer.json of the model"
        ) from error
    return {**{str(word): int(i) for word, i in words.items()}, **added}


def encode_tokens(
    tokens: TokenActivations,
    codes: NDArray[np.uint8],
    coder: SparseCoder,
    read: NDArray[np.bool_],
) -> SparseBases:
    """Active features of tokens, brought to their bases.

    Parameters
    ----------
    tokens : TokenActivations
        Of a batch of windows.
    codes : uint8 array, shape (batch, length)
        Base codes of the windows.
    coder : SparseCoder
        The dictionary.
    read : bool array, shape (batch, length)
        The bases wanted.

    Returns
    -------
    bases : SparseBases
    """
    tokens = without_n(tokens, codes)
    found = coder.encode_windows(tokens.h, tokens.window)
    return spread(
        tokens,
        found.row.cpu().numpy(),
        found.feature.cpu().numpy(),
        found.value.cpu().numpy(),
        read,
    )


def spread(
    tokens: TokenActivations,
    token: NDArray[np.int64],
    feature: NDArray[np.int64],
    value: NDArray[np.float32],
    read: NDArray[np.bool_],
) -> SparseBases:
    """Bring active features from tokens to the bases they hold.

    Parameters
    ----------
    tokens : TokenActivations
        Where each token lies.
    token, feature, value : arrays, shape (n,)
        Active features: row of `tokens`, index of the feature, activation.
    read : bool array, shape (batch, length)
        The bases wanted.

    Returns
    -------
    bases : SparseBases
        At each wanted base the mean over the tokens that hold it.
    """
    length = read.shape[1]
    sizes = (tokens.end - tokens.start)[token]
    first = (tokens.window * length + tokens.start)[token]
    place = np.repeat(first, sizes) + _within(sizes)
    kept = read.ravel()[place]
    place = place[kept]
    feature, value = np.repeat(feature, sizes)[kept], np.repeat(value, sizes)[kept]
    order = np.lexsort((feature, place))
    place, feature = place[order], feature[order]
    new = np.ones(len(place), dtype=bool)
    new[1:] = (place[1:] != place[:-1]) | (feature[1:] != feature[:-1])
    starts = np.flatnonzero(new)
    sums = np.add.reduceat(value[order].astype(np.float64), starts) if len(starts) else value
    place, feature = place[starts], feature[starts]
    mean = sums / cover(tokens, read.shape).ravel()[place]
    return SparseBases(place // length, place % length, feature, mean.astype(np.float32))


def without_n(tokens: TokenActivations, codes: NDArray[np.uint8]) -> TokenActivations:
    """The tokens that hold a base or more and no N.

    Parameters
    ----------
    tokens : TokenActivations
    codes : uint8 array, shape (batch, length)
        Base codes of the windows.

    Returns
    -------
    tokens : TokenActivations
        Those that may be active.
    """
    unknown = np.zeros((codes.shape[0], codes.shape[1] + 1), dtype=np.int64)
    unknown[:, 1:] = (codes >= N_CODE).cumsum(axis=1)
    held = unknown[tokens.window, tokens.end] - unknown[tokens.window, tokens.start]
    kept = np.flatnonzero((held == 0) & (tokens.end > tokens.start))
    if len(kept) == len(held):
        return tokens
    columns = (tokens.window[kept], tokens.start[kept], tokens.end[kept])
    return TokenActivations(*columns, tokens.h[torch.from_numpy(kept).to(tokens.h.device)])


def cover(tokens: TokenActivations, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """How many tokens hold each base of a batch; int64 of the batch's shape."""
    batch, length = shape
    edges = np.zeros((batch, length + 1), dtype=np.int64)
    np.add.at(edges, (tokens.window, tokens.start), 1)
    np.add.at(edges, (tokens.window, tokens.end), -1)
    return edges.cumsum(axis=1)[:, :-1]


def _within(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... for each size: ``[2, 3]`` gives ``[0, 1, 0, 1, 2]``."""
    ends = sizes.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)


def _trimmed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    known = np.flatnonzero(codes < N_CODE)
    return codes[: known[-1] + 1 if len(known) else 0]


def _known(unknown: int | None, path: Path) -> int:
    if unknown is None:
        raise WeightsError(
            f"{path.name} has neither a token N nor an unknown token; name one as `unknown` in "
            "the model card's tokens"
        )
    return unknown


def _kmer_table(vocabulary: Mapping[str, int], k: int, path: Path) -> NDArray[np.int64]:
    """Token of each k-mer by its base-4 number; -1 where the vocabulary has it not."""
    table = np.full(4**k, -1, dtype=np.int64)
    digit = {base: code for code, base in enumerate(BASES[:N_CODE])}
    for word, index in vocabulary.items():
        if len(word) == k and set(word) <= digit.keys():
            number = 0
            for base in word:
                number = number * 4 + digit[base]
            table[number] = index
    if (table < 0).any():
        raise WeightsError(
            f"{path.name} lacks {int((table < 0).sum())} of the {4**k} {k}-mers; name another k"
        )
    return table


def _by_base(codes: NDArray[np.uint8], single: NDArray[np.int64]) -> WindowTokens:
    start = np.arange(len(codes))
    return WindowTokens(single[codes], start, start + 1)


def _numbers(codes: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
    """Base-4 number of the k-mer that begins at each base; -1 where it holds an N."""
    if len(codes) < k:
        return np.empty(0, dtype=np.int64)
    rows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.int64), k)
    numbers = rows @ (4 ** np.arange(k - 1, -1, -1))
    return np.where((rows == N_CODE).any(axis=1), -1, numbers)


def _all_unknown(codes: NDArray[np.uint8], k: int) -> NDArray[np.bool_]:
    if len(codes) < k:
        return np.empty(0, dtype=bool)
    rows = np.lib.stride_tricks.sliding_window_view(codes == N_CODE, k)
    return np.asarray(rows.all(axis=1))


def _overlapping(k: int, table: NDArray[np.int64], unknown: int) -> Tokenizer:
    def tokenize(codes: NDArray[np.uint8]) -> WindowTokens:
        numbers = _numbers(_trimmed(codes), k)
        start = np.arange(len(numbers))
        tokens = WindowTokens(np.where(numbers < 0, unknown, table[numbers]), start, start + k)
        # of k-mers of nothing but N, the first of a run stands for all
        empty = _all_unknown(_trimmed(codes), k)
        kept = np.ones(len(numbers), dtype=bool)
        kept[1:] = ~(empty[1:] & empty[:-1])
        return WindowTokens(*(column[kept] for column in tokens))

    return tokenize


def _consecutive(k: int, table: NDArray[np.int64], single: NDArray[np.int64]) -> Tokenizer:
    """The longest token from the left; k-mers and bases are the only ones."""

    def tokenize(codes: NDArray[np.uint8]) -> WindowTokens:
        codes = _trimmed(codes)
        numbers = _numbers(codes, k)
        found: list[tuple[int, int, int]] = []
        start = 0
        for unknown, run in groupby(codes == N_CODE):
            end = start + sum(1 for _ in run)
            if unknown and end - start > k:
                found.append((int(single[N_CODE]), start, end))
                start = end
            while start < end:
                whole = not unknown and end - start >= k
                token = table[numbers[start]] if whole else single[codes[start]]
                found.append((int(token), start, start + (k if whole else 1)))
                start = found[-1][2]
        columns = np.array(found, dtype=np.int64).reshape(-1, 3).T
        return WindowTokens(columns[0], columns[1], columns[2])

    return tokenize


def _bpe(path: Path) -> Tokenizer:
    encode = _bpe_encoder(path)

    def tokenize(codes: NDArray[np.uint8]) -> WindowTokens:
        text = "".join(BASES[code] for code in _trimmed(codes))
        ids, spans = encode(text)
        columns = np.array(spans, dtype=np.int64).reshape(-1, 2).T
        return WindowTokens(np.array(ids, dtype=np.int64), columns[0], columns[1])

    return tokenize


def _bpe_encoder(path: Path) -> Callable[[str], tuple[list[int], list[tuple[int, int]]]]:
    try:
        from tokenizers import Tokenizer as Words
    except ImportError as error:
        raise WeightsError(
            "this model's tokenizer needs the package tokenizers; install saetrack's "
            "requirements again"
        ) from error
    if not path.is_file():
        raise WeightsError(f"the tokenizer {path} is missing; put it there")
    try:
        words = Words.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:
        raise WeightsError(f"{path} is no tokenizer.json: {error}") from error

    def encode(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoding = words.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    return encode
