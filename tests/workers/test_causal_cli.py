"""`saetrack causal`: a folder, the sequences it was made of, and what it says to others."""

import json

import pytest

from tests.workers.factories import make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers import cli


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal-cli")
    make_tiny_models(folder / "models")
    records = [b">chrA\n" + random_sequence(6000), b">chrB\n" + random_sequence(3000, 1)]
    (folder / "in.fa").write_bytes(b"\n".join(records) + b"\n")
    (folder / "turned.fa").write_bytes(b"\n".join(reversed(records)) + b"\n")
    (folder / "other.fa").write_bytes(records[0] + b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAETRACK_MODELS_DIRS", str(folder / "models"))
        patch.setenv("SAETRACK_DATA_DIR", str(folder / "data"))
        given = f"annotate {folder / 'in.fa'} --taxon fungi --top 0 --out {folder / 'out'}"
        assert cli.run(given.split()) == 0
    return folder


@pytest.fixture(autouse=True)
def models(monkeypatch, place):
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
    monkeypatch.setenv("SAETRACK_DATA_DIR", str(place / "data"))
    monkeypatch.delenv("SAETRACK_DEBUG", raising=False)


def run(place, *more, fasta="in.fa", feature="7-"):
    words = ["causal", place / "out", "--fasta", place / fasta, "--feature", feature, *more]
    return cli.run([str(word) for word in words])


def test_people_get_a_table_and_programs_json(place, capsys):
    capsys.readouterr()
    assert run(place, "--tf", "REB1", "--sites", "20") == 0
    said = capsys.readouterr().out
    assert "feature 7- and REB1 MA0363.3" in said
    assert "motif taken away" in said
    assert run(place, "--tf", "REB1", "--json") == 0
    view = json.loads(capsys.readouterr().out)
    assert (view["feature"], view["strand"], view["matrix_id"]) == (7, "-", "MA0363.3")
    assert set(view) >= {"disrupt", "insert", "insert_opposite", "typical", "sites"}
    # sequences are told by their content, not by name or place
    assert run(place, "--motif", "MA0363", "--json", fasta="turned.fa") == 0
    assert json.loads(capsys.readouterr().out) == view


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"fasta": "other.fa"}, "does not hold the sequence of 'chrB'"),
        ({"fasta": "none.fa"}, "there is no file"),
        ({"feature": "7"}, "such as 374- or 374+"),
        ({"feature": "64+"}, "numbered 0 to 63"),
    ],
)
def test_what_does_not_fit_is_refused(place, capsys, more, words):
    capsys.readouterr()
    assert run(place, "--tf", "REB1", **more) == 2
    assert words in capsys.readouterr().err


def test_a_factor_must_be_named(place, capsys):
    capsys.readouterr()
    assert run(place) == 2
    assert "name the factor" in capsys.readouterr().err
    assert run(place, "--tf", "REB1", "--sites", "2") == 2
    assert "sites must be in [6, 500]" in capsys.readouterr().err
