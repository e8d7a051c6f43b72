"""Tokens by hand, and the way back from tokens to bases against a loop."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import WeightsError
from annotations.sequences import encode_bases
from workers.language_models.protocol import TokenActivations
from workers.tokens import TokenPlan, cover, make_tokenizer, read_vocabulary, spread, without_n

SPECIAL = ["<cls>", "<pad>", "<unk>"]


def kmers(k: int) -> list[str]:
    return ["".join(word) for word in product("ACGT", repeat=k)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.txt").write_text("\n".join([*SPECIAL, *"ACGTN"]))
    (tmp_path / "three.txt").write_text("\n".join([*SPECIAL, *kmers(3), *"ACGTN"]))
    (tmp_path / "overlap.txt").write_text("\n".join([*SPECIAL, *kmers(3)]))
    return tmp_path


def cut(folder, sequence: str, **plan) -> list[tuple[str, int, int]]:
    """Words, starts and ends of a sequence's tokens."""
    plan = TokenPlan(**plan)
    words = {i: word for word, i in read_vocabulary(folder / plan.file).items()}
    found = make_tokenizer(plan, folder)(encode_bases(sequence.encode()))
    assert {column.dtype.name for column in found} == {"int64"}
    return [(words[i], s, e) for i, s, e in zip(*(c.tolist() for c in found), strict=True)]


def test_bases(folder):
    found = cut(folder, "ACNGNN", kind="base", file="base.txt")
    assert found == [("A", 0, 1), ("C", 1, 2), ("N", 2, 3), ("G", 3, 4)]


def test_kmers_follow_each_other_and_what_is_left_over_is_read_base_by_base(folder):
    plan = {"kind": "kmer", "k": 3, "file": "three.txt"}
    assert cut(folder, "ACGTACAG", **plan) == [
        ("ACG", 0, 3),
        ("TAC", 3, 6),
        ("A", 6, 7),
        ("G", 7, 8),
    ]
    assert cut(folder, "AANTTTNNC", **plan) == [
        ("A", 0, 1),
        ("A", 1, 2),
        ("N", 2, 3),
        ("TTT", 3, 6),
        ("N", 6, 7),
        ("N", 7, 8),
        ("C", 8, 9),
    ]


def test_a_gap_is_one_token(folder):
    found = cut(folder, "ACG" + 50 * "N" + "TTT", kind="kmer", k=3, file="three.txt")
    assert found == [("ACG", 0, 3), ("N", 3, 53), ("TTT", 53, 56)]
    found = cut(
        folder,
        "ACG" + 50 * "N" + "TTT",
        kind="overlapping_kmer",
        k=3,
        file="overlap.txt",
        unknown=2,
    )
    assert [word for word, *_ in found] == ["ACG", *5 * ["<unk>"], "TTT"]


def test_overlapping_kmers_begin_at_each_base(folder):
    plan = {"kind": "overlapping_kmer", "k": 3, "file": "overlap.txt", "unknown": 2}
    assert cut(folder, "ACGTA", **plan) == [("ACG", 0, 3), ("CGT", 1, 4), ("GTA", 2, 5)]
    assert cut(folder, "AC", **plan) == []
    # an N is in three k-mers, as in the model's own tokenizer
    words = [word for word, *_ in cut(folder, "ACGNACG", **plan)]
    assert words == ["ACG", "<unk>", "<unk>", "<unk>", "ACG"]


def test_a_learnt_vocabulary(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "A": 1, "C": 2, "G": 3, "T": 4, "N": 5, "AC": 6, "GT": 7, "ACGT": 8}
    model = tokenizers.models.BPE(vocab=words, merges=[("A", "C"), ("G", "T"), ("AC", "GT")])
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    found = cut(tmp_path, "ACGTACAGTNNN", kind="bpe", file="tokenizer.json")
    assert found == [("ACGT", 0, 4), ("AC", 4, 6), ("A", 6, 7), ("GT", 7, 9)]


def test_a_vocabulary_is_read_from_each_kind_of_file(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"A": 3}))
    (tmp_path / "u.json").write_text(json.dumps({"model": {"vocab": [["A", 0.1], ["C", 0.2]]}}))
    added = {"model": {"vocab": {"A": 0}}, "added_tokens": [{"content": "<s>", "id": 9}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(added))
    assert read_vocabulary(tmp_path / "vocab.json") == {"A": 3}
    assert read_vocabulary(tmp_path / "u.json") == {"A": 0, "C": 1}
    assert read_vocabulary(tmp_path / "tokenizer.json") == {"A": 0, "<s>": 9}
    for name in ("none.txt", "bad.json"):
        (tmp_path / "bad.json").write_text("[1]")
        with pytest.raises(WeightsError, match="no vocabulary"):
            read_vocabulary(tmp_path / name)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"kind": "kmer", "k": 4, "file": "three.txt"}, "lacks 256 of the 256 4-mers"),
        ({"kind": "base", "file": "overlap.txt", "unknown": 2}, "no tokens A, C, G and T"),
        ({"kind": "overlapping_kmer", "k": 3, "file": "overlap.txt"}, "nor an unknown token"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(folder, plan, message):
    with pytest.raises(WeightsError, match=message):
        make_tokenizer(TokenPlan(**plan), folder)


@pytest.mark.parametrize("plan", [{"kind": "kmer"}, {"kind": "base", "k": 2}, {"kind": "words"}])
def test_a_plan_that_cannot_be_is_refused(plan):
    with pytest.raises(ValueError, match=r"k is above 1|kind must be"):
        TokenPlan(**plan, file="vocab.txt")


def tokens_at(*places: tuple[int, int, int]) -> TokenActivations:
    window, start, end = np.array(places, dtype=np.int64).reshape(-1, 3).T
    return TokenActivations(window, start, end, torch.zeros(len(places), 2))


def test_spread_by_hand():
    tokens = tokens_at((0, 0, 3), (0, 3, 6), (1, 0, 3), (1, 1, 4))
    read = np.ones((2, 6), dtype=bool)
    read[0, 1] = False
    found = spread(
        tokens,
        np.array([0, 2, 2, 3]),
        np.array([7, 7, 9, 7]),
        np.array([2.0, 4.0, 6.0, 1.0], np.float32),
        read,
    )
    rows = list(zip(*(column.tolist() for column in found), strict=True))
    assert rows == [
        (0, 0, 7, 2.0),
        (0, 2, 7, 2.0),
        (1, 0, 7, 4.0),
        (1, 0, 9, 6.0),
        (1, 1, 7, 2.5),  # the mean of both tokens that hold it
        (1, 1, 9, 3.0),  # silent in the second
        (1, 2, 7, 2.5),
        (1, 2, 9, 3.0),
        (1, 3, 7, 1.0),
    ]
    none = spread(tokens, *(np.empty(0, t) for t in ("int64", "int64", "float32")), read)
    assert [len(column) for column in none] == [0, 0, 0, 0]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_spread_equals_a_loop(data):
    length = data.draw(st.integers(1, 12))
    place = st.tuples(st.integers(0, 2), st.integers(0, length), st.integers(0, length))
    places = sorted((w, min(s, e), max(s, e)) for w, s, e in data.draw(st.lists(place, max_size=8)))
    tokens = tokens_at(*places)
    active = data.draw(
        st.dictionaries(
            st.tuples(st.integers(0, max(0, len(places) - 1)), st.integers(0, 3)),
            st.floats(0.5, 8, width=16),
            max_size=12 if places else 0,
        )
    )
    read = np.array(data.draw(st.lists(st.booleans(), min_size=3 * length, max_size=3 * length)))
    read = read.reshape(3, length)
    keys = sorted(active)
    found = spread(
        tokens,
        np.array([token for token, _ in keys], np.int64),
        np.array([feature for _, feature in keys], np.int64),
        np.array([active[key] for key in keys], np.float32),
        read,
    )
    expected = []
    for window in range(3):
        for base in range(length):
            held = [i for i, (w, s, e) in enumerate(places) if w == window and s <= base < e]
            assert cover(tokens, (3, length))[window, base] == len(held)
            for feature in range(4):
                values = [active.get((token, feature), 0.0) for token in held]
                if read[window, base] and sum(values):
                    expected.append((window, base, feature, np.mean(values)))
    rows = list(zip(*(column.tolist() for column in found), strict=True))
    assert [row[:3] for row in rows] == [row[:3] for row in expected]
    assert [row[3] for row in rows] == pytest.approx([row[3] for row in expected])


def test_tokens_with_an_n_or_no_base_are_never_active():
    tokens = tokens_at((0, 0, 2), (0, 2, 4), (0, 4, 4), (1, 0, 2))
    codes = np.array([[0, 1, 2, 4], [0, 0, 0, 0]], np.uint8)
    kept = without_n(tokens, codes)
    assert (kept.window.tolist(), kept.start.tolist()) == ([0, 1], [0, 0])
    assert len(kept.h) == 2
