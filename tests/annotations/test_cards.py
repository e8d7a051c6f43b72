"""Cards: read back as written, strict about every key, and found where the layout says."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.cards import (
    DICTIONARY_FILE,
    MODEL_FILE,
    DictionaryCard,
    ModelCard,
    file_sha256,
    find_cards,
    read_dictionary_card,
    read_model_card,
    write_card,
)
from annotations.errors import FormatError, OptionError, UnknownNameError

MODEL = ModelCard(
    id="tree",
    title="A tree",
    architecture="paired_tree",
    config={"width": 16, "distances": [2, 4]},
    weights="model.safetensors",
    sha256="a" * 64,
    n_parameters=10,
    context=13,
    licence="Apache-2.0",
    source="made for a test",
)
DICTIONARY = DictionaryCard(
    id="tree-64",
    title="A dictionary",
    model_id="tree",
    model_sha256="a" * 64,
    layer=2,
    d_in=16,
    d_sae=64,
    k=4,
    sha256="b" * 64,
    stride=128,
    context=16,
    licence="Apache-2.0",
    source="made for a test",
    canary={"sequence": "ACGT", "activations": [[3, "-", 2, 1.5]], "tolerance": 0.01},
    bases_per_second=1200,
)


def install(root: Path, model: ModelCard, *dictionaries: DictionaryCard) -> Path:
    (root / model.id).mkdir(parents=True)
    write_card(model, root / model.id)
    for card in dictionaries:
        (root / model.id / card.id).mkdir()
        write_card(card, root / model.id / card.id)
    return root


def other(card, **changes):
    return dataclasses.replace(card, **changes)


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_cards_are_found_and_read_back_as_written(tmp_path):
    cards = find_cards([install(tmp_path, MODEL, DICTIONARY)])
    assert cards.models == {"tree": MODEL}
    assert cards.dictionaries == {"tree-64": DICTIONARY}
    assert cards.folder(MODEL) == tmp_path / "tree"
    assert cards.folder(DICTIONARY) == tmp_path / "tree" / "tree-64"


def test_a_folder_without_a_card_is_passed_over(tmp_path):
    install(tmp_path, MODEL)
    (tmp_path / "notes").mkdir()
    assert list(find_cards([tmp_path]).models) == ["tree"]
    assert find_cards([]).models == {}


def test_atlas_is_its_folder_or_none(tmp_path):
    cards = find_cards([install(tmp_path, MODEL, DICTIONARY)])
    assert cards.atlas(DICTIONARY) is None
    (tmp_path / "tree/tree-64/atlas").mkdir()
    assert cards.atlas(DICTIONARY) == tmp_path / "tree/tree-64/atlas"


def test_a_model_with_one_dictionary_names_it(tmp_path):
    cards = find_cards([install(tmp_path, MODEL, DICTIONARY)])
    assert cards.dictionary("tree-64") == cards.dictionary("tree") == DICTIONARY


@pytest.mark.parametrize(
    ("extra", "message"), [(0, "has no dictionary"), (2, "has 2 dictionaries")]
)
def test_a_model_with_no_or_several_dictionaries_names_none(tmp_path, extra, message):
    own = [other(DICTIONARY, id=f"d{i}") for i in range(extra)]
    cards = find_cards([install(tmp_path, MODEL, *own)])
    with pytest.raises(UnknownNameError, match=message):
        cards.dictionary("tree")


def test_an_unknown_name_gets_near_names(tmp_path):
    cards = find_cards([install(tmp_path, MODEL, DICTIONARY)])
    with pytest.raises(UnknownNameError, match="did you mean tree-64"):
        cards.dictionary("tree-46")
    with pytest.raises(UnknownNameError, match="known are: tree"):
        cards.model("evo")


def test_equal_cards_in_two_roots_are_one_and_different_ones_refused(tmp_path):
    first = install(tmp_path / "a", MODEL, DICTIONARY)
    second = install(tmp_path / "b", MODEL, DICTIONARY)
    assert find_cards([first, second]).folder(DICTIONARY) == first / "tree/tree-64"
    edit(second / "tree" / MODEL_FILE, title="Another tree")
    with pytest.raises(FormatError, match="different cards of the id 'tree'"):
        find_cards([first, second])


def test_a_dictionary_may_lie_in_a_later_root_than_its_model(tmp_path):
    first = install(tmp_path / "a", MODEL)
    folder = tmp_path / "b/tree/tree-64"
    folder.mkdir(parents=True)
    write_card(DICTIONARY, folder)
    assert find_cards([first, tmp_path / "b"]).folder(DICTIONARY) == folder


def test_a_dictionary_id_is_unique_among_models(tmp_path):
    install(tmp_path, MODEL, DICTIONARY)
    install(tmp_path, other(MODEL, id="oak"), other(DICTIONARY, model_id="oak"))
    with pytest.raises(FormatError, match="ids must be unique"):
        find_cards([tmp_path])


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(OptionError, match="does not exist"):
        find_cards([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "oak"}, "lies in the folder 'tree'"),
        ({"architecture": "transformer"}, "one of paired_tree, hyenadna"),
        ({"sha256": "A" * 64}, "64 lower-case hexadecimal"),
        ({"weights": "../model.safetensors"}, "in the card's folder"),
        ({"weights": "model.pt"}, r"name a \.safetensors file"),
        ({"n_parameters": 0}, "at least 1"),
        ({"n_parameters": "10"}, "must be a whole number"),
        ({"n_parameters": True}, "must be a whole number"),
        ({"causal": 1}, "must be true or false"),
        ({"training": []}, "an object or null"),
        ({"tokenization": "words"}, "one of base, kmer, overlapping_kmer, bpe"),
        ({"nt_per_token": 6}, "1 for the tokenization 'base'"),
        ({"files": {"vocab.txt": "?"}}, "64 lower-case hexadecimal"),
        ({"files": {"../vocab.txt": "a" * 64}}, "in the card's folder"),
        ({"colour": "green"}, "unknown keys .colour."),
    ],
)
def test_a_model_card_that_is_wrong_is_refused(tmp_path, changes, message):
    install(tmp_path, MODEL)
    edit(tmp_path / "tree" / MODEL_FILE, **changes)
    with pytest.raises(FormatError, match=message):
        find_cards([tmp_path])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_id": "oak"}, "lies in the folder of 'tree'"),
        ({"model_sha256": "c" * 64}, "reads one set of weights"),
        ({"id": "../tree"}, "starts with a letter"),
        ({"gate": "relu"}, "gate must be one of jumprelu, topk, batch_topk"),
        ({"gate": "topk", "k": None}, "gate topk needs k"),
        ({"dtype": "float16"}, "dtype must be one of float32, bfloat16"),
        ({"tap": "logits"}, "tap must be one of residual, update, pair, joint, block, got"),
        ({"tokenization": "kmer"}, "above 1 for any other, got 1 for 'kmer'"),
        ({"tokenization": "kmer", "nt_per_token": 6}, "that of model 'tree' says 1"),
        ({"stride": 0}, "at least 1"),
        ({"k": 1.5}, "a whole number or null"),
        ({"canary": {"sequence": "ACGT"}}, "activations, sequence, tolerance"),
    ],
)
def test_a_dictionary_card_that_is_wrong_is_refused(tmp_path, changes, message):
    install(tmp_path, MODEL, DICTIONARY)
    edit(tmp_path / "tree/tree-64" / DICTIONARY_FILE, **changes)
    with pytest.raises(FormatError, match=message):
        find_cards([tmp_path])


def test_a_card_says_in_words_how_fine_a_track_is():
    assert DICTIONARY.resolution == "one value for each base"
    said = {
        kind: other(DICTIONARY, tokenization=kind, nt_per_token=size).resolution
        for kind, size in (("kmer", 6), ("overlapping_kmer", 6), ("bpe", 4.7))
    }
    assert said["kmer"] == "one value for each token of 6 bases, written at all of its bases"
    assert said["overlapping_kmer"].endswith("the mean over the tokens that hold it")
    assert "token of 4.7 bases on average," in said["bpe"]


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
def test_a_card_that_is_no_json_object_is_refused(tmp_path, text):
    path = tmp_path / MODEL_FILE
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match=r"JSON"):
        read_model_card(path)


def test_a_missing_key_is_named(tmp_path):
    path = write_card(MODEL, tmp_path)
    data = json.loads(path.read_text())
    del data["licence"], data["figures"]
    path.write_text(json.dumps(data))
    with pytest.raises(FormatError, match=r"lacks keys \(licence\)"):
        read_model_card(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.text(max_size=5), json_values, max_size=3),
    st.none() | st.floats(0, 1e9),
    st.text(max_size=20),
)
def test_any_card_survives_a_round_trip(tmp_path_factory, figures, speed, title):
    folder = tmp_path_factory.mktemp("card")
    card = other(DICTIONARY, figures=figures, bases_per_second=speed, title=title)
    assert read_dictionary_card(write_card(card, folder)) == card


def test_sha256_of_a_file_is_the_published_one(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(path) == expected
