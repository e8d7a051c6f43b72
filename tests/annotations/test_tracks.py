"""Tracks hold the signal base by base, as other readers see it, and never leave a contig."""

import errno
import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.activations import ACTIVATIONS_SCHEMA, as_stored, to_stretches
from annotations.errors import CoordinateError, FormatError, OptionError, StorageError
from annotations.peaks import PEAKS_SCHEMA
from annotations.tracks import (
    LABEL_LENGTH,
    peaks_bed,
    write_bigwig,
    write_peaks_bed,
    write_peaks_bigwig,
)
from tests.annotations.activation_cases import LENGTH, activations, row_lists, rows

few = settings(max_examples=25, deadline=None)
NAMES, LENGTHS = ["chrB", "chrA", "empty"], [LENGTH, LENGTH, 7]


def dense(found, strand, contig):
    """Slow twin of a track: one value per base."""
    signal = np.zeros(LENGTHS[contig], dtype=np.float32)
    for _, sign, on, position, value in found:
        if on == contig and strand in ("either", "+" if sign > 0 else "-"):
            signal[position] = max(signal[position], value)
    return signal


@few
@given(row_lists(), st.sampled_from(["+", "-", "either"]))
def test_a_bigwig_holds_every_base(tmp_path_factory, drawn, strand):
    path = tmp_path_factory.mktemp("tracks") / "signal.bw"
    found = as_stored(activations([(0, *row[1:]) for row in drawn if row[0] == 0]))
    write_bigwig(path, to_stretches(found), NAMES, LENGTHS, strand=strand)
    with pyBigWig.open(str(path)) as file:
        assert file.chroms() == dict(zip(NAMES, LENGTHS, strict=True))
        for contig, name in enumerate(NAMES):
            expected = dense(rows(found), strand, contig)
            values = np.array(file.values(name, 0, LENGTHS[contig]), dtype=np.float32)
            assert np.array_equal(values, expected)
            runs = file.intervals(name)
            assert [run[0] for run in runs[1:]] == [run[1] for run in runs[:-1]]
            assert (runs[0][0], runs[-1][1]) == (0, LENGTHS[contig])
            assert all(a[2] != b[2] for a, b in pairwise(runs))


def test_only_the_chosen_contigs_are_in_the_file(tmp_path):
    found = to_stretches(activations([(0, 1, 0, 5, 1.0), (0, 1, 1, 5, 2.0)]))
    write_bigwig(tmp_path / "x.bw", found, NAMES, LENGTHS, contigs=[2, 1])
    with pyBigWig.open(str(tmp_path / "x.bw")) as file:
        assert file.chroms() == {"chrA": LENGTH, "empty": 7}
        assert file.intervals("chrA") == ((0, 5, 0.0), (5, 6, 2.0), (6, LENGTH, 0.0))
        assert file.intervals("empty") == ((0, 7, 0.0),)


def test_a_bigwig_of_many_contigs_that_are_not_in_order_of_name(tmp_path):
    names = [f"contig_{i}" for i in range(3000)]
    lengths = list(range(1, 3001))
    found = to_stretches(activations([(0, 1, i, i - 1, i) for i in range(2000, 3000, 7)]))
    write_bigwig(tmp_path / "x.bw", found, names, lengths)
    with pyBigWig.open(str(tmp_path / "x.bw")) as file:
        assert file.chroms() == dict(zip(names, lengths, strict=True))
        assert file.header()["nBasesCovered"] == sum(lengths)
        assert file.values("contig_2007", 2005, 2008) == [0.0, 2007.0, 0.0]
        assert file.intervals("contig_2999") == ((0, 3000, 0.0),)


nan_values = pa.array([[np.float16("nan")]], pa.list_(pa.float16()))


def with_values(table, values):
    field = ACTIVATIONS_SCHEMA.field("values")
    return table.set_column(4, field, values.cast(field.type))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rows": [(0, 1, 2, 7, 1.0)]}, CoordinateError, r"must lie in \[0, 7\).* position 7"),
        ({"rows": [(0, 1, 3, 1, 1.0)]}, CoordinateError, "contig 3 is not among the 3"),
        ({"rows": [(0, 1, 0, 1, 1.0), (4, 1, 0, 1, 1.0)]}, FormatError, "one feature, got .* 2"),
        ({"names": ["a", "a", "b"]}, FormatError, "same name"),
        ({"names": ["a", "b c", "d"]}, FormatError, "white space, got 'b c'"),
        ({"names": []}, FormatError, "at least one contig"),
        ({"lengths": [9, 9]}, CoordinateError, "got 2 lengths"),
        ({"contigs": []}, OptionError, "one or more indices"),
        ({"contigs": [3]}, OptionError, r"from 0 to 2, got \[3\]"),
        ({"strand": "both"}, OptionError, "one of .* got 'both'"),
        ({"nan": True}, FormatError, "above 0 and finite"),
    ],
)
def test_a_track_that_would_be_wrong_is_refused_and_leaves_no_file(
    tmp_path, change, error, message
):
    table = to_stretches(activations(change.get("rows", [(0, 1, 0, 5, 1.0)])))
    if "nan" in change:
        table = with_values(table, nan_values)
    options = {key: change[key] for key in ("contigs", "strand") if key in change}
    with pytest.raises(error, match=message):
        write_bigwig(
            tmp_path / "x.bw",
            table,
            change.get("names", NAMES),
            change.get("lengths", LENGTHS),
            **options,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_track_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write the track x\.bw"):
        write_bigwig(tmp_path / "none" / "x.bw", to_stretches(activations([])), ["a"], [5])


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("annotations.bigwig.write_zooms", full)
    with pytest.raises(OSError, match="No space left"):
        write_bigwig(tmp_path / "x.bw", to_stretches(activations([])), ["a", "b"], [5, 5])
    assert list(tmp_path.iterdir()) == []


def peaks_table(found, **labels):
    table = pa.Table.from_arrays([pa.array(v) for v in activations(found)], schema=PEAKS_SCHEMA)
    for name, values in labels.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    return table


@few
@given(row_lists())
def test_a_bigwig_of_peaks_holds_them_and_nothing_else(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("tracks") / "peaks.bw"
    found = [(0, *row[1:]) for row in drawn if row[0] == 0]
    write_peaks_bigwig(path, peaks_table(found), NAMES, LENGTHS)
    with pyBigWig.open(str(path)) as file:
        assert file.chroms() == dict(zip(NAMES, LENGTHS, strict=True))
        for contig, name in enumerate(NAMES):
            values = np.array(file.values(name, 0, LENGTHS[contig]), dtype=np.float32)
            assert np.array_equal(values, dense(found, "either", contig))


def test_a_bigwig_of_wrong_peaks_is_refused(tmp_path):
    two = peaks_table([(0, 1, 0, 5, 1.0), (4, 1, 0, 5, 1.0)])
    with pytest.raises(FormatError, match="one feature, got rows of 2"):
        write_peaks_bigwig(tmp_path / "x.bw", two, NAMES, LENGTHS)
    with pytest.raises(CoordinateError, match=r"must lie in \[0, 7\)"):
        write_peaks_bigwig(tmp_path / "x.bw", peaks_table([(0, 1, 2, 7, 1.0)]), NAMES, LENGTHS)
    assert list(tmp_path.iterdir()) == []


def test_bed_of_a_case_done_by_hand():
    table = peaks_table(
        [(12, 1, 0, 30, 4.0), (12, -1, 0, 30, 1.0), (3, 1, 1, 100, 0.5), (12, 1, 0, 9, 2.6)],
        gene=[None, "YAL001C", "x" * 100, ""],
        label=["Reb1 site", "tab\there", None, "donor"],
    )
    long = "x" * (LABEL_LENGTH - 3) + "..."
    assert peaks_bed(table, ["chrB", "chrA"]) == (
        f"chrA\t100\t101\tf3\t1000\t+\t.\t{long}\n"
        "chrB\t9\t10\tf12\t650\t+\tdonor\t.\n"
        "chrB\t30\t31\tf12\t1000\t+\tReb1_site\t.\n"
        "chrB\t30\t31\tf12\t250\t-\ttab_here\tYAL001C\n"
    )


def test_bed_without_peaks_is_empty():
    assert peaks_bed(PEAKS_SCHEMA.empty_table(), ["chr1"]) == ""


def test_bed_is_sorted_as_sort_does_in_the_c_locale(tmp_path):
    names = ["chr10", "chr2", "Chr1", "chr_1", "chr1"]
    rng = np.random.default_rng(1)
    found = {
        (int(f), 1, int(c), int(p), 1.0) for f, c, p in rng.integers(0, [9, 5, 3000], (200, 3))
    }
    path = tmp_path / "peaks.bed"
    write_peaks_bed(peaks_table(sorted(found)), names, path)
    ordered = subprocess.run(
        ["sort", "-s", "-k1,1", "-k2,2n", str(path)],
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert path.read_text() == ordered.stdout
    assert len(ordered.stdout.splitlines()) == len(found)


@pytest.mark.skipif(shutil.which("bedtools") is None, reason="bedtools is not installed")
def test_bedtools_reads_the_bed(tmp_path):
    path = tmp_path / "peaks.bed"
    write_peaks_bed(peaks_table([(1, 1, 0, 5, 1.0), (1, -1, 0, 50, 2.0)]), ["chr1"], path)
    (tmp_path / "a.bed").write_text("chr1\t40\t60\n")
    found = subprocess.run(
        ["bedtools", "intersect", "-a", str(path), "-b", str(tmp_path / "a.bed")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "chr1\t50\t51\tf1\t1000\t-\n"


@pytest.mark.parametrize(
    ("row", "names", "error", "message"),
    [
        ((0, 1, 1, 5, 1.0), ["a"], CoordinateError, "contig 1 is not among the 1"),
        ((0, 1, 0, -5, 1.0), ["a"], CoordinateError, "position -5"),
        ((0, 1, 0, 5, 1.0), ["a b"], FormatError, "white space"),
        ((0, 1, 0, 5, float("nan")), ["a"], FormatError, "above 0 and finite"),
    ],
)
def test_peaks_that_no_bed_can_hold_are_refused(row, names, error, message):
    with pytest.raises(error, match=message):
        peaks_bed(peaks_table([row]), names)
