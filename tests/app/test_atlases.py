"""Atlases in memory: read once for each content, the least lately asked leave first."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from annotations.cards import find_cards
from annotations.errors import StorageError, UnknownNameError
from app import atlases
from app.atlases import AtlasCache, IndexedAtlas, IndexedTable, find_atlas
from tests.app.atlas_cases import make_atlas
from tests.app.conftest import write_models


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders in the order in which they were read."""
    read: list[Path] = []

    def load(folder: Path, sha256: str) -> Any:
        read.append(folder)
        return make_atlas()

    monkeypatch.setattr(atlases, "load_atlas", load)
    return read


def folder_of(place: Path, name: str, content: str = "{}") -> Path:
    folder = place / name
    folder.mkdir(exist_ok=True)
    (folder / "atlas.json").write_text(content)
    return folder


def test_an_atlas_is_read_once_for_each_content(loads: list[Path], tmp_path: Path) -> None:
    cache, folder = AtlasCache(), folder_of(tmp_path, "a")
    first = cache.open(folder, "2" * 64)
    assert cache.open(folder, "2" * 64) is first
    folder_of(tmp_path, "a", '{"date": "later"}')
    assert cache.open(folder, "2" * 64) is not first
    assert len(loads) == 2


def test_the_least_lately_asked_leaves_first(loads: list[Path], tmp_path: Path) -> None:
    size = IndexedAtlas(make_atlas()).nbytes
    cache = AtlasCache(max_bytes=2 * size)
    one, two, three = (folder_of(tmp_path, name) for name in ("1", "2", "3"))
    for folder in (one, two, one, three, one, three, two):
        cache.open(folder, "2" * 64)
    assert loads == [one, two, three, two]
    small = AtlasCache(max_bytes=1)
    assert small.open(one, "2" * 64) is small.open(one, "2" * 64)


def test_threads_that_ask_at_once_read_once(loads: list[Path], tmp_path: Path) -> None:
    cache, folder = AtlasCache(), folder_of(tmp_path, "a")
    found: list[IndexedAtlas] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        found.append(cache.open(folder, "2" * 64))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len({id(atlas) for atlas in found}) == 1


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"lacks atlas\.json"):
        AtlasCache().open(tmp_path, "2" * 64)


def rows(*pairs: tuple[int, int]) -> pa.Table:
    return pa.table(
        {
            "feature": pa.array([feature for feature, _ in pairs], pa.uint32()),
            "strand": pa.array([strand for _, strand in pairs], pa.int8()),
            "at": list(range(len(pairs))),
        }
    )


def test_rows_of_a_feature_are_found_in_their_order() -> None:
    table = IndexedTable(rows((2, -1), (0, 1), (2, 1), (2, -1)))
    assert table.of(5)["at"].to_pylist() == [0, 3]
    assert table.of(1).num_rows == 0
    assert table.of_feature(2)["at"].to_pylist() == [2, 0, 3]
    asked = np.array([5, 1, 0, 9])
    assert table.beside(asked, ["at"])[0].to_pylist() == [0, None, 1, None]
    empty = IndexedTable(rows())
    assert empty.beside(asked, ["at"])[0].to_pylist() == [None] * 4


def test_matches_are_found_by_matrix() -> None:
    atlas = IndexedAtlas(make_atlas())
    found = atlas.matches.table.take(pa.array(atlas.matches_of(["MA0363.3", "MA0362.1", "MA9.9"])))
    assert sorted(found["feature"].to_pylist()) == [1, 2, 2]
    assert atlas.matches_of([]).tolist() == []
    assert atlas.group_of(np.array([2, 4, 6])).to_pylist() == [5, 5, None]


def test_which_atlas_answers(tmp_path: Path) -> None:
    bundled, own = tmp_path / "bundled", tmp_path / "own"
    write_models(own)
    cards = find_cards([own])
    with pytest.raises(UnknownNameError, match="no dictionary of this installation has an atlas"):
        find_atlas(cards, None, bundled=bundled)
    with pytest.raises(UnknownNameError, match="'toy-sae' has no atlas; those with one: none"):
        find_atlas(cards, "toy", bundled=bundled)
    (own / "toy" / "toy-sae" / "atlas").mkdir()
    # random weights are taken where there is nothing else
    assert find_atlas(cards, None, bundled=bundled).card.id == "toy-sae"
    assert find_atlas(cards, "toy", bundled=bundled).folder.parent.name == "toy-sae"
    with pytest.raises(UnknownNameError, match="toy-sea"):
        find_atlas(cards, "toy-sea", bundled=bundled)


def test_of_several_atlases_the_bundled_one_answers(tmp_path: Path) -> None:
    bundled, own = tmp_path / "bundled", tmp_path / "own"
    write_models(bundled, random_weights=False)
    write_models(own, random_weights=False, name="other")
    for root, name in ((bundled, "toy"), (own, "other")):
        (root / name / f"{name}-sae" / "atlas").mkdir()
    cards = find_cards([bundled, own])
    assert find_atlas(cards, None, bundled=bundled).card.id == "toy-sae"
    assert find_atlas(cards, "other-sae", bundled=bundled).card.id == "other-sae"
    with pytest.raises(UnknownNameError, match="name one of them: other-sae, toy-sae"):
        find_atlas(cards, None, bundled=tmp_path / "elsewhere")
