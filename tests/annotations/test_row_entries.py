"""Active bases of one feature row after the other, and how much of a dense row is in memory."""

import tracemalloc

import numpy as np
import pytest

from annotations import row_entries as module
from annotations.activations import to_stretches, write_stretches
from annotations.active_bases import Activations
from annotations.concept_tracks import bed_tracks
from annotations.interval_concepts import evaluate_concepts
from annotations.row_entries import row_entries
from tests.annotations.test_concept_tracks import intervals_of

LENGTHS = [400, 300]


def written(folder, feature, strand, contig, position, value):
    path = folder / "activations.parquet"
    columns = (
        np.asarray(feature, np.uint32),
        np.asarray(strand, np.int8),
        np.asarray(contig, np.uint32),
        np.asarray(position, np.int64),
        np.asarray(value, np.float32),
    )
    write_stretches(to_stretches(Activations(*columns)), path)
    return path


@pytest.fixture
def drawn(tmp_path):
    """A file of three rows, from a base here and there to active nearly everywhere."""
    random = np.random.default_rng(0)
    active = random.random((3, sum(LENGTHS))) < np.array([0.05, 0.5, 0.97])[:, None]
    row, place = np.nonzero(active)
    contig = place >= LENGTHS[0]
    position = place - LENGTHS[0] * contig
    value = random.integers(1, 6, len(row)).astype(np.float16)
    path = written(tmp_path, row // 2, 1 - 2 * (row % 2), contig, position, value)
    return path, active, value


def test_places_and_codes_are_those_of_the_bases(drawn):
    path, active, value = drawn
    found = list(row_entries(path, LENGTHS, 2))
    assert [entries.row for entries in found] == [0, 1, 2]
    for entries, of_row in zip(found, active, strict=True):
        assert entries.place.tolist() == np.flatnonzero(of_row).tolist()
    assert np.concatenate([e.code for e in found]).tolist() == value.view(np.uint16).tolist()


@pytest.mark.parametrize("at_once", [1, 7, 64, 10_000])
@pytest.mark.parametrize("group_rows", [5, 65_536])
def test_parts_are_the_row_however_it_is_cut(drawn, monkeypatch, at_once, group_rows):
    monkeypatch.setattr(module, "BASES_AT_ONCE", at_once)
    monkeypatch.setattr("annotations.activations.GROUP_ROWS", group_rows)
    for entries in row_entries(drawn[0], LENGTHS, 2):
        parts = list(entries.parts())
        assert max(len(place) for place, _ in parts) <= at_once
        assert [len(place) for place, _ in parts] == [len(code) for _, code in parts]
        assert np.concatenate([place for place, _ in parts]).tolist() == entries.place.tolist()
        assert np.concatenate([code for _, code in parts]).tolist() == entries.code.tolist()


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_concepts_do_not_depend_on_the_parts(drawn, monkeypatch, at_once):
    places = ((0, 10, 60, 1), (0, 62, 90, 1), (0, 390, 400, -1), (1, 0, 5, 1), (1, 200, 290, -1))
    tracks = bed_tracks(intervals_of(*places), LENGTHS)
    whole = evaluate_concepts(drawn[0], tracks, 2, discovery=[0], held_out=[1])
    monkeypatch.setattr(module, "BASES_AT_ONCE", at_once)
    assert evaluate_concepts(drawn[0], tracks, 2, discovery=[0], held_out=[1]).equals(whole)
    assert (whole["interval_precision"].drop_null().to_numpy() < 1).any()
    assert (whole["held_out_interval_recall"].drop_null().to_numpy() > 0).any()


def test_a_dense_row_takes_few_bytes_for_each_base(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BASES_AT_ONCE", 50_000)
    monkeypatch.setattr("annotations.activations.GROUP_ROWS", 1_000)

    def most(length):
        """Bytes held at once over a row that is active at nine bases of ten."""
        position = np.flatnonzero(np.arange(length) % 10)
        one = np.ones(len(position))
        folder = tmp_path / str(length)
        folder.mkdir()
        value = 1 + position % 4 + 2 * (position % 1_000 < 250)
        path = written(folder, 0 * one, one, 0 * one, position, value)
        starts = np.arange(5, length, 1_000)
        intervals = intervals_of(*((0, at, at + 300, 1) for at in starts.tolist()))
        tracks = bed_tracks(intervals, [length])
        tracemalloc.start()
        found = evaluate_concepts(path, tracks, 1, discovery=[0])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.num_rows
        return peak

    most(100_000)  # imports count for none of the others
    # two for each value, twice while the row is joined; 1.8 for each stretch of nine
    assert most(1_200_000) - most(400_000) < 10 * 0.9 * 800_000
