"""An S3 server: put if absent, checked copies, patience, ages, room."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotations.activation_merge import merge_activations
from annotations.activation_parts import INDEX_FILE
from annotations.activations import read_feature, select, sort, stretch_groups
from annotations.errors import LostFileError, OptionError, StorageError, UnavailableError
from annotations.region_activity import in_region
from annotations.types import Span
from app.catalog import stored_activations
from app.object_storage import ObjectStorage
from app.storage import StoredFile, StoredPaths
from tests.annotations.test_activation_parts import N_FEATURES, SMALL, WHOLE, dense, written
from tests.servers import ObjectStore


@pytest.fixture
def store(object_store: ObjectStore, tmp_path: Path) -> Iterator[ObjectStorage]:
    object_store.refuse(False)
    store = ObjectStorage(object_store.url, tmp_path / "copies", copies_bytes=10**9, patience=0.5)
    yield store
    object_store.refuse(False)
    store.delete_prefix("computations")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


# sha256sum of the seven bytes
CONTENT = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"


def test_a_file_is_stored_and_read(store: ObjectStorage, source: Path) -> None:
    file = store.put_file("computations/a/b.txt", source)
    assert file == StoredFile("computations/a/b.txt", 7, CONTENT)
    assert store.exists("computations/a/b.txt")
    assert store.local_path(file).read_bytes() == b"content"
    assert store.local_path(file).name == "b.txt"
    assert list(store.list("computations")) == ["computations/a/b.txt"]
    assert store.problem() is None


def test_the_same_content_may_be_stored_again_another_may_not(
    store: ObjectStorage, source: Path
) -> None:
    first = store.put_file("computations/k", source)
    assert store.put_file("computations/k", source) == first
    source.write_bytes(b"CONTENT")
    with pytest.raises(StorageError, match="never change"):
        store.put_file("computations/k", source)
    assert store.local_path(first).read_bytes() == b"content"


def test_a_large_file_goes_in_parts(
    store: ObjectStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.object_storage.SINGLE_PUT_BYTES", 1000)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(20 << 20))
    file = store.put_file("computations/large", path)
    assert store.put_file("computations/large", path) == file
    assert store.local_path(file).read_bytes() == path.read_bytes()
    path.write_bytes(b"other" * 1000)
    with pytest.raises(StorageError, match="never change"):
        store.put_file("computations/large", path)


def test_altered_and_missing_files_are_noticed(store: ObjectStorage, source: Path) -> None:
    file = store.put_file("computations/k", source)
    with pytest.raises(StorageError, match="is altered"):
        store.local_path(file._replace(sha256="0" * 64))
    with pytest.raises(StorageError, match="is altered"):
        store.local_path(file._replace(bytes=8))
    store.delete(["computations/k"])
    with pytest.raises(StorageError, match="is missing"):
        store.local_path(file)
    assert not store.exists("computations/k")
    store.delete(["computations/k"])


def test_a_copy_that_was_cut_is_fetched_again(store: ObjectStorage, source: Path) -> None:
    file = store.put_file("computations/k", source)
    path = store.local_path(file)
    path.write_bytes(b"cut")
    assert store.local_path(file).read_bytes() == b"content"


def test_a_store_that_refuses_for_a_moment_is_waited_for(
    object_store: ObjectStore, tmp_path: Path, source: Path
) -> None:
    store = ObjectStorage(object_store.url, tmp_path / "other", copies_bytes=10**9, patience=30)
    import threading

    object_store.refuse(True)
    opener = threading.Timer(1.5, object_store.refuse, (False,))
    opener.start()
    started = time.monotonic()
    file = store.put_file("computations/k", source)
    assert time.monotonic() - started > 1
    opener.join()
    assert store.local_path(file).read_bytes() == b"content"
    store.delete_prefix("computations")


def test_a_store_that_goes_on_refusing_is_said_so(
    object_store: ObjectStore, store: ObjectStorage, source: Path
) -> None:
    object_store.refuse(True)
    with pytest.raises(UnavailableError, match="the object store did not take or give") as error:
        store.put_file("computations/k", source)
    assert str(object_store.port) not in str(error.value)
    assert store.problem() == "the object store does not answer"


def test_young_files_are_not_old(store: ObjectStorage, source: Path) -> None:
    store.put_file("computations/k", source)
    assert list(store.list("computations", older_than=3600)) == []
    assert list(store.list("computations", older_than=0)) == ["computations/k"]


def test_copies_that_nobody_uses_leave_when_there_are_too_many(
    object_store: ObjectStore, tmp_path: Path, source: Path
) -> None:
    store = ObjectStorage(object_store.url, tmp_path / "few", copies_bytes=20, patience=5)
    files = [store.put_file(f"computations/{name}", source) for name in "abc"]
    paths = [store.local_path(file) for file in files[:2]]
    long_ago = time.time() - 10 * 3600
    os.utime(paths[0], (long_ago, long_ago))
    store.local_path(files[2])
    assert [path.exists() for path in paths] == [False, True]
    assert store.local_path(files[0]).read_bytes() == b"content"
    store.delete_prefix("computations")


@pytest.mark.parametrize("url", ["", "s3://", "http://x", "s3:///folder"])
def test_what_names_no_bucket_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="SAETRACK_STORAGE_URL"):
        ObjectStorage(url, tmp_path, copies_bytes=1)


def test_ranges_are_read_without_a_copy(store: ObjectStorage, source: Path, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    source.write_bytes(content)
    file = store.put_file("computations/a/parts/0.bin", source)
    ranges = [(0, 5), (299_990, 300_000), (100, 200_000)]
    assert list(store.read_ranges(file, ranges)) == [content[a:b] for a, b in ranges]
    assert not list((tmp_path / "copies").rglob("*.bin"))
    with pytest.raises(StorageError, match="ends before byte 300,010"):
        store.read_ranges(file, [(299_000, 300_010)])
    store.delete(["computations/a/parts/0.bin"])
    with pytest.raises(LostFileError, match=r"0.bin is missing from the storage"):
        store.read_ranges(file, ranges)


def test_activations_in_parts_are_asked_in_the_store(store: ObjectStorage, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    folder.mkdir()
    active = dense(3, 0.3, WHOLE)
    paths = written(folder, active, [70])
    names = merge_activations(paths, folder, spans=WHOLE, n_features=N_FEATURES, layout=SMALL)
    manifest = {name: store.put_file(f"computations/r/{name}", folder / name) for name in names}
    source = stored_activations(StoredPaths(store, manifest))
    region = Span(0, 20, 45)
    inside = (active.contig == 0) & (active.position >= 20) & (active.position < 45)
    for found, expected in zip(
        in_region(source, region), sort(select(active, inside)), strict=True
    ):
        assert (found == expected).all()
    assert read_feature(source, 5).equals(read_feature(folder / INDEX_FILE, 5))
    # of the parts nothing was copied, and what a store alters is not believed
    copies = [path.name for path in (tmp_path / "copies").rglob("*") if path.is_file()]
    assert copies == ["index.json"]
    name = names[1]
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 4] ^= 1
    (folder / "altered").write_bytes(content)
    store.delete([manifest[name].key])
    store.put_file(manifest[name].key, folder / "altered")
    with pytest.raises(StorageError, match=r"of the activations is altered"):
        list(stretch_groups(source))
    store.delete([manifest[name].key])
    with pytest.raises(LostFileError, match="is missing from the storage"):
        list(stretch_groups(source))
