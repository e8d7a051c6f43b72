"""Atlases as one file: they travel, and files that mean harm are refused."""

import io
import json
import shutil
import tarfile
from dataclasses import replace

import pytest

from annotations import atlas_file
from annotations.atlas import ATLAS_CARD, TABLES, load_atlas, write_atlas
from annotations.atlas_file import MEMBERS, export_atlas, import_atlas
from annotations.cards import DictionaryCard, ModelCard, find_cards, write_card
from annotations.errors import (
    FormatError,
    LimitError,
    StateError,
    StorageError,
    UnknownNameError,
    WeightsError,
)
from tests.annotations.test_atlas import SHA, small

MODEL_SHA = "b" * 64


def make_models(root, *, sha=SHA, model_sha=MODEL_SHA, weights=True):
    """A models folder with cards, and empty files for weights."""
    folder = root / "model" / "tiny"
    folder.mkdir(parents=True)
    model = ModelCard(
        id="model",
        title="m",
        architecture="paired_tree",
        config={},
        weights="model.safetensors",
        sha256=model_sha,
        n_parameters=1,
        context=1,
        licence="Apache-2.0",
        source="made up",
    )
    dictionary = DictionaryCard(
        id="tiny",
        title="t",
        model_id="model",
        model_sha256=model_sha,
        layer=1,
        d_in=4,
        d_sae=8,
        k=2,
        sha256=sha,
        stride=8,
        context=1,
        licence="Apache-2.0",
        source="made up",
    )
    write_card(model, root / "model")
    write_card(dictionary, folder)
    if weights:
        (root / "model" / "model.safetensors").write_bytes(b"")
        (folder / "sae_weights.safetensors").write_bytes(b"")
    return root


@pytest.fixture
def cards(tmp_path):
    root = make_models(tmp_path / "models")
    write_atlas(small(), root / "model" / "tiny" / "atlas")
    return find_cards([root])


@pytest.fixture
def file(cards, tmp_path):
    path = tmp_path / "tiny.tar"
    export_atlas(cards, cards.dictionary("tiny"), path)
    return path


@pytest.fixture
def far(tmp_path):
    """A models folder of another installation, without anything in it."""
    (tmp_path / "far").mkdir()
    return tmp_path / "far"


def rewritten(file, change):
    """The file with its list of (member, content) changed."""
    with tarfile.open(file) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]
    with tarfile.open(file, "w") as archive:
        for member, content in change(members):
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def test_equal_atlases_are_equal_files_of_the_listed_members(cards, file, tmp_path):
    export_atlas(cards, cards.dictionary("tiny"), tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == file.read_bytes()
    with tarfile.open(file) as archive:
        assert tuple(archive.getnames()) == MEMBERS
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in archive} == {(0, 0, 0, "", 0o644)}


def test_a_laboratory_without_the_weights_can_browse(file, far):
    found = import_atlas(file, find_cards([far]), far)
    assert not found.has_weights
    cards = find_cards([far])
    card = cards.dictionary("tiny")
    assert cards.atlas(card) == found.folder
    assert not cards.has_weights(card)
    atlas = load_atlas(found.folder, card.sha256)
    assert atlas.labels.equals(small().labels)


def test_an_atlas_lands_beside_its_dictionary(file, far):
    make_models(far)
    found = import_atlas(file, find_cards([far]), far / "elsewhere")
    assert found.has_weights
    assert found.folder == far / "model" / "tiny" / "atlas"
    assert not (far / "elsewhere").exists()


def test_an_atlas_that_is_there_is_replaced_only_when_asked(file, far):
    make_models(far)
    import_atlas(file, find_cards([far]), far)
    stale = far / "model" / "tiny" / "atlas" / "stale"
    stale.write_text("")
    with pytest.raises(StateError, match="--force"):
        import_atlas(file, find_cards([far]), far)
    import_atlas(file, find_cards([far]), far, force=True)
    for force in (False, True):
        with pytest.raises(StateError, match=r"came with saetrack.*models folder of your own"):
            import_atlas(file, find_cards([far]), far, bundled=far, force=force)
    assert not stale.exists()
    assert sorted(path.name for path in stale.parent.parent.iterdir()) == [
        "atlas",
        "dictionary.json",
        "sae_weights.safetensors",
    ]


def test_other_weights_of_the_same_name_are_refused(file, far):
    make_models(far, sha="c" * 64)
    with pytest.raises(WeightsError, match="labels mean nothing"):
        import_atlas(file, find_cards([far]), far)


def test_another_model_of_the_same_name_is_refused(file, far):
    make_models(far, model_sha="d" * 64)
    shutil.rmtree(far / "model" / "tiny")
    with pytest.raises(WeightsError, match="model 'model'"):
        import_atlas(file, find_cards([far]), far)


def escaping(members):
    """Members whose names lead out of the folder."""
    _, content = members[0]
    for name in ("../atlas.json", "/tmp/atlas.json", "a/../../x", "atlas.json/.."):
        other = tarfile.TarInfo(name)
        yield [*members, (other, content)]
        yield [(other, content), *members[1:]]


def test_names_that_lead_elsewhere_are_refused(file, far, tmp_path):
    original = file.read_bytes()
    with tarfile.open(file) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]
    for changed in escaping(members):
        file.write_bytes(original)
        rewritten(file, lambda _, changed=changed: changed)
        with pytest.raises(FormatError, match="something else"):
            import_atlas(file, find_cards([far]), far)
    assert list(far.iterdir()) == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(file, far, kind):
    with tarfile.open(file, "a") as archive:
        member = tarfile.TarInfo(f"{next(iter(TABLES))}.parquet")
        member.type = kind
        member.linkname = "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(FormatError, match="something else"):
        import_atlas(file, find_cards([far]), far)


def test_a_member_twice_is_refused(file, far):
    rewritten(file, lambda members: [*members, members[0]])
    with pytest.raises(FormatError, match="twice"):
        import_atlas(file, find_cards([far]), far)


def test_a_member_too_many_bytes_long_is_refused(file, far, monkeypatch):
    monkeypatch.setattr(atlas_file, "MAX_CARD_BYTES", 100)
    with pytest.raises(LimitError, match="at most 100"):
        import_atlas(file, find_cards([far]), far)
    monkeypatch.setattr(atlas_file, "MAX_CARD_BYTES", 10_000)
    monkeypatch.setattr(atlas_file, "MAX_BYTES", -29_900)
    with pytest.raises(LimitError, match=r"\.parquet in"):
        import_atlas(file, find_cards([far]), far)


@pytest.mark.parametrize("left", [0, 100, 5_000])
def test_a_cut_file_is_refused(file, far, left):
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(FormatError, match="cut"):
        import_atlas(file, find_cards([far]), far)
    assert list(far.iterdir()) == []


def test_a_compressed_file_is_not_unpacked(file, far):
    import gzip

    file.write_bytes(gzip.compress(file.read_bytes()))
    with pytest.raises(FormatError, match="no tar file"):
        import_atlas(file, find_cards([far]), far)


def altered(name, change):
    def changed(members):
        return [
            (member, change(content) if member.name == name else content)
            for member, content in members
        ]

    return changed


def json_change(**values):
    return lambda content: json.dumps(json.loads(content) | values).encode()


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("labels.parquet", lambda content: content[:-1], StorageError),
        (ATLAS_CARD, json_change(format=1), FormatError),
        (ATLAS_CARD, json_change(dictionary_sha256="e" * 64), WeightsError),
        ("dictionary.json", json_change(sha256="e" * 64), WeightsError),
        ("dictionary.json", json_change(id="../../x"), FormatError),
        ("dictionary.json", json_change(model_sha256="e" * 64), WeightsError),
        ("model.json", json_change(id="other"), WeightsError),
        ("model.json", lambda content: b"[]", FormatError),
    ],
)
def test_content_that_does_not_fit_is_refused(file, far, name, change, error):
    rewritten(file, altered(name, change))
    with pytest.raises(error):
        import_atlas(file, find_cards([far]), far)
    assert list(far.iterdir()) == []


def test_there_must_be_an_atlas_and_a_file(cards, tmp_path, far):
    shutil.rmtree(cards.atlas(cards.dictionary("tiny")))
    with pytest.raises(UnknownNameError, match="has no atlas"):
        export_atlas(cards, cards.dictionary("tiny"), tmp_path / "x.tar")
    with pytest.raises(UnknownNameError, match="no file"):
        import_atlas(tmp_path / "missing", find_cards([far]), far)


def test_a_broken_atlas_is_not_exported(cards, tmp_path):
    write_atlas(
        replace(small(), about=replace(small().about, dictionary_sha256="f" * 64)),
        cards.atlas(cards.dictionary("tiny")),
    )
    with pytest.raises(WeightsError):
        export_atlas(cards, cards.dictionary("tiny"), tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()
