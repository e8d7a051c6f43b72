"""Labels of peaks in pieces are those of all peaks at once."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from annotations.genes import GENES_SCHEMA
from annotations.jaspar import load_motifs
from annotations.motif_scan import HITS_SCHEMA
from annotations.peaks import TOP_PEAKS_SCHEMA
from workers import peak_labels
from workers.features import with_peaks
from workers.peak_labels import gene_places, label_peaks

LENGTHS = (3000, 2000)
CATALOGUE = replace(load_motifs("fungi"), motifs=tuple(load_motifs("fungi").motifs[:5]))
PARTS = [(0, 100, 900, "gene", "A"), (0, 100, 400, "exon", "A"), (0, 300, 700, "gene", "B")]

needs_bedtools = pytest.mark.skipif(shutil.which("bedtools") is None, reason="needs bedtools")


def drawn(count):
    """Peaks of three features and hits of motifs, at random places."""
    random = np.random.default_rng(2)
    feature, contig = np.sort(random.integers(0, 3, count)), random.integers(0, 2, count)
    peaks = pa.table(
        [
            feature,
            random.choice([-1, 1], count),
            contig,
            random.integers(0, np.array(LENGTHS)[contig]),
            random.random(count),
            np.arange(count),
        ],
        schema=TOP_PEAKS_SCHEMA,
    )
    start = np.sort(random.integers(0, 1900, 90))
    columns = [np.arange(90) % 5, np.zeros(90), start, start + 9, np.ones(90), random.random(90)]
    arrays = [np.asarray(values) for values in (*columns, np.full(90, 1e-4))]
    return peaks, pa.table(
        [pa.array(v).cast(f.type) for v, f in zip(arrays, HITS_SCHEMA, strict=True)],
        schema=HITS_SCHEMA,
    )


def genes():
    """The parts of two genes."""
    rows = [
        {
            **{field.name: None for field in GENES_SCHEMA},
            "contig": contig,
            "start": start,
            "end": end,
            "strand": 1,
            "kind": kind,
            "name": name,
            "transcript": "",
        }
        for contig, start, end, kind, name in PARTS
    ]
    return pa.Table.from_pylist(rows, schema=GENES_SCHEMA)


@needs_bedtools
@pytest.mark.parametrize("pieces", [(64, 16, 50), (1 << 20, 7, 1), (100, 100, 10**6)])
def test_pieces_do_not_show(tmp_path, monkeypatch, pieces):
    peaks, hits = drawn(230)

    def labelled():
        places = gene_places(peaks, genes(), LENGTHS, tmp_path)
        return label_peaks(peaks, hits, CATALOGUE, places, held_out=[1])

    whole = pa.concat_tables(labelled().tables())
    features = pa.table({"feature": pa.array([0, 0, 7], pa.uint32()), "strand": [1, -1, 1]})
    described = with_peaks(features, labelled())
    for name, value in zip(("GROUP_PEAKS", "TEXT_ROWS", "BASES_AT_ONCE"), pieces, strict=True):
        monkeypatch.setattr(peak_labels, name, value)
    found = labelled()
    tables = list(found.tables())
    assert [table.num_rows for table in tables[:-1]] == [pieces[0]] * (len(tables) - 1)
    assert pa.concat_tables(tables).equals(whole)
    assert with_peaks(features, found).equals(described)
    # by hand, base by base
    for row in whole.to_pylist():
        over = [p for p in PARTS if p[0] == row["contig"] and p[1] <= row["position"] < p[2]]
        assert row["gene_name"] == (";".join(sorted({p[4] for p in over})) or None)
        assert set(filter(None, row["genes"].split(";"))) == {p[3] for p in over}
        assert row["held_out"] == (row["contig"] == 1)
    assert set(whole["genes"].to_pylist()) == {"", "gene", "exon;gene"}
    assert 0 < whole["motif_id"].null_count < whole.num_rows


def test_no_peaks_give_one_empty_table_with_every_column():
    peaks, hits = drawn(3)
    none = label_peaks(peaks.slice(0, 0), hits, CATALOGUE, None)
    [table] = none.tables()
    [some] = label_peaks(peaks, hits, CATALOGUE, None).tables()
    assert table.num_rows == 0
    assert table.schema == some.schema
    assert some["genes"].null_count == some["gene_name"].null_count == 3
