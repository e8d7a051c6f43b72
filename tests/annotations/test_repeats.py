"""Copies of a repeat are found, and a shared motif is not one."""

import numpy as np
import pytest

from annotations.repeats import HALF_WORDS, WORD, copies

WIDTH = 101


def genome(seed: int = 0, length: int = 20_000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, length).astype(np.uint8)


def mutated(element: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    changed = random.random(len(element)) < share
    return np.where(changed, (element + random.integers(1, 4, len(element))) % 4, element)


def slow_twin(row: np.ndarray, peak: np.ndarray, codes: np.ndarray) -> list[bool]:
    """Word by word, as strings, locus after locus."""
    kept: dict[int, list[tuple[set[str], set[tuple[str, int]], set[tuple[str, int]]]]] = {}
    centres: set[tuple[int, str]] = set()
    found = []
    same = []
    for r, p in zip(row.tolist(), peak.tolist(), strict=True):
        centre = (r, "".join("ACGT"[base] for base in codes[p - 20 : p + 21]))
        same.append(centre in centres)
        centres.add(centre)
    for r, p, is_same in zip(row.tolist(), peak.tolist(), same, strict=True):
        if is_same:
            found.append(True)
            continue
        text = "".join("ACGT"[base] for base in codes[p - 50 : p + 51])
        turned = text.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        n = WIDTH - WORD + 1
        listed = [min(text[i : i + WORD], turned[n - 1 - i : n - 1 - i + WORD]) for i in range(n)]
        half = n - WIDTH // 2 - 1
        first = {word: n - 1 - i for i, word in enumerate(listed[::-1])}
        own = set(listed)
        before = {(word, at) for word, at in first.items() if at < half}
        after = {(word, at) for word, at in first.items() if at >= n - half}
        better = kept.setdefault(r, [])
        copy = any(
            2 * len(own & other[0]) > max(len(own), len(other[0]))
            or max(len(before & other[1]), len(after & other[2])) >= HALF_WORDS
            for other in better
        )
        found.append(copy)
        if not copy:
            better.append((own, before, after))
    return found


def test_copies_equal_their_slow_twin():
    random = np.random.default_rng(5)
    codes = genome()
    element = genome(1, 140)
    places = 500 + 150 * np.arange(100)
    for at, place in enumerate(places[::3]):
        copy = mutated(element, 0.05 * (at % 4), random)
        copy = copy if at % 2 else 3 - copy[::-1]
        codes[place - 70 : place + 70] = copy
    peak = random.permutation(np.concatenate([places, places + random.integers(-9, 9, 100)]))
    row = np.sort(random.integers(0, 4, len(peak)))
    found = copies(row, peak, codes, WIDTH)
    assert found.tolist() == slow_twin(row, peak, codes)
    assert 20 < found.sum() < 150


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shift", [0, 20])
@pytest.mark.parametrize("diverged", [0.0, 0.03])
def test_shifted_turned_and_diverged_copies_count_once(turned, shift, diverged):
    codes, random = genome(), np.random.default_rng(2)
    element = genome(3, 200)
    peak = np.array([1000, 5000])
    codes[900:1100] = element
    other = mutated(element, diverged, random)
    codes[4900 + shift : 5100 + shift] = 3 - other[::-1] if turned else other
    assert copies(np.zeros(2, int), peak, codes, WIDTH).tolist() == [False, True]
    assert not copies(np.array([0, 1]), peak, codes, WIDTH).any()  # of different rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at_rich", [False, True])
def test_a_shared_motif_is_no_copy(seed, at_rich):
    random = np.random.default_rng(seed)
    codes = random.choice(4, 20_000, p=[0.45, 0.05, 0.05, 0.45] if at_rich else [0.25] * 4)
    codes = codes.astype(np.uint8)
    peak = 200 + 150 * np.arange(100)
    motif = random.integers(0, 4, 20).astype(np.uint8)
    for place in peak:
        codes[place - 10 : place + 10] = motif
    assert not copies(np.zeros(100, int), peak, codes, WIDTH).any()


def test_copies_are_the_same_on_both_strands():
    codes, element = genome(4), genome(5, 140)
    peak = 500 + 150 * np.arange(60)
    for at, place in enumerate(peak[::2]):
        codes[place - 70 : place + 70] = mutated(
            element, 0.04 * (at % 5), np.random.default_rng(at)
        )
    row = np.zeros(len(peak), int)
    found = copies(row, peak, codes, WIDTH)
    assert 5 < found.sum() < 30
    turned = copies(row, len(codes) - 1 - peak, 3 - codes[::-1], WIDTH)
    assert turned.tolist() == found.tolist()


def test_the_ends_of_a_repeat_are_copies_on_either_side_of_the_peak():
    """60 bases of one repeat end at the peak, nearly alike; what lies beyond is unlike."""
    random = np.random.default_rng(8)
    repeat = random.integers(0, 4, 60)
    for side in (-1, 1):
        codes = random.integers(0, 4, 4000).astype(np.uint8)
        peaks = np.array([500, 1500, 2500, 3500])
        for peak in peaks[:3]:
            own = np.where(random.random(60) < 0.02, random.integers(0, 4, 60), repeat)
            first = peak - 59 if side < 0 else peak
            codes[first : first + 60] = own
        found = copies(np.zeros(4, int), peaks, codes, 101)
        assert found.tolist() == [False, True, True, False]


def test_a_motif_of_twenty_bases_or_a_plain_stretch_is_no_copy():
    random = np.random.default_rng(9)
    peaks = np.array([500, 1500, 2500])
    motif = random.integers(0, 4, 20)
    for shared in (motif, np.zeros(50, int), np.tile([0, 3], 25)):
        codes = random.integers(0, 4, 3000).astype(np.uint8)
        for peak in peaks:
            codes[peak - 5 - len(shared) : peak - 5] = shared
        assert not copies(np.zeros(3, int), peaks, codes, 101).any()
