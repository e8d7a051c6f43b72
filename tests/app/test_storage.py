"""Files by key: whole or not at all, never changed, never outside."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import LostFileError, OptionError, StorageError
from app.storage import LocalStorage, StoredFile, manifest_from_json, manifest_to_json, verify


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


# sha256sum of the seven bytes
CONTENT = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"


def test_a_file_is_stored_and_read(storage: LocalStorage, source: Path) -> None:
    file = storage.put_file("a/b/c.txt", source)
    assert file == StoredFile("a/b/c.txt", 7, CONTENT)
    assert storage.exists("a/b/c.txt")
    assert storage.local_path(file).read_bytes() == b"content"
    verify(storage.local_path(file), file)
    assert list(storage.list("a")) == ["a/b/c.txt"]
    assert manifest_from_json(manifest_to_json({"c": file})) == {"c": file}


def test_the_same_content_may_be_stored_again_another_may_not(
    storage: LocalStorage, source: Path
) -> None:
    first = storage.put_file("k", source)
    assert storage.put_file("k", source) == first
    source.write_bytes(b"CONTENT")
    with pytest.raises(StorageError, match="never change"):
        storage.put_file("k", source)
    assert storage.local_path(first).read_bytes() == b"content"


def test_a_full_disk_leaves_nothing(
    storage: LocalStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("app.storage.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.put_file("a/k", source)
    assert list(storage.path("a").iterdir()) == []


def test_cut_altered_and_missing_files_are_noticed(storage: LocalStorage, source: Path) -> None:
    file = storage.put_file("k", source)
    path = storage.path("k")
    path.write_bytes(b"CONTENT")
    with pytest.raises(StorageError, match="altered"):
        storage.local_path(file)
    path.write_bytes(b"cut")
    with pytest.raises(StorageError, match="has 3 bytes and should have 7"):
        storage.local_path(file)
    path.unlink()
    with pytest.raises(StorageError, match="missing"):
        storage.local_path(file)


def test_a_folder_is_deleted_with_all_in_it(storage: LocalStorage, source: Path) -> None:
    for key in ("a/1", "a/b/2", "ab/3"):
        storage.put_file(key, source)
    storage.delete_prefix("a")
    storage.delete_prefix("a")
    assert [storage.exists(key) for key in ("a/1", "a/b/2", "ab/3")] == [False, False, True]


def test_what_others_delete_or_write_at_the_same_time_leaves_nothing_behind(
    storage: LocalStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        storage.put_file(f"a/{number}", source)
    real = os.unlink
    meddled: list[object] = []

    def meddle(path: object, **options: object) -> None:
        if not meddled:
            meddled.append(path)
            (storage.path("a") / "late").write_bytes(b"new")
            real(path, **options)  # type: ignore[arg-type, call-overload]
        real(path, **options)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr("os.unlink", meddle)
    storage.delete_prefix("a")
    assert meddled
    assert not storage.path("a").exists()


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".hidden", "a/.b", "a\\b", "a\0b",
     "a\n", "é", "a b", "x" * 501, "~", "a/./b"],
)  # fmt: skip
def test_odd_keys_are_refused(storage: LocalStorage, key: str) -> None:
    with pytest.raises(StorageError):
        storage.path(key)


def test_a_link_does_not_lead_out(storage: LocalStorage, tmp_path: Path) -> None:
    storage.path("in").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="leads out"):
        storage.path("in/models")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_no_key_leads_out(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    root = tmp_path_factory.getbasetemp() / "root"
    storage = LocalStorage(root)
    try:
        path = storage.path(key)
    except StorageError:
        return
    assert path.is_relative_to(root)
    assert path != root


def test_a_relative_root_is_refused() -> None:
    with pytest.raises(OptionError, match="absolute"):
        LocalStorage(Path("relative"))


def test_ranges_of_a_file_are_read(storage: LocalStorage, source: Path) -> None:
    file = storage.put_file("parts/0.bin", source)
    assert list(storage.read_ranges(file, [(0, 3), (5, 7)])) == [b"con", b"nt"]
    with pytest.raises(StorageError, match=r"part 0.bin of the activations is cut"):
        storage.read_ranges(file, [(5, 8)])
    storage.delete(["parts/0.bin"])
    with pytest.raises(LostFileError, match=r"parts/0.bin is missing from the storage"):
        storage.read_ranges(file, [(0, 3)])
