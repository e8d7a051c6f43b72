"""Runs over regions against runs over all of the same sequences: inside the regions, the same."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from annotations.active_bases import owned_mask
from annotations.cards import find_cards
from annotations.errors import OptionError, StorageError
from annotations.genome_regions import Region, merged, pieces
from annotations.options import RunOptions
from annotations.pieces import write_pieces
from annotations.provenance import read_provenance
from annotations.sequences import Record, contigs, write_fasta
from annotations.stretches import from_stretches
from annotations.tables import column
from annotations.transcripts import GENES_SCHEMA
from annotations.types import Contig, Span
from annotations.windows import plan_shards, plan_spans
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers.merge import RESULT_FILES, merge
from workers.pipeline import run_shard, windows_of
from workers.registry import open_dictionary
from workers.run_sequences import read_codes

LENGTHS = [3000, 900, 40, 2000]
REGIONS = [
    Region(0, 1000, 1100, "a"),
    Region(0, 1090, 1400, "overlaps a"),
    Region(0, 0, 30, "the start"),
    Region(0, 2990, 3000, "the end"),
    Region(1, 383, 385, "across a cell's border"),
    Region(2, 0, 40, "a whole contig"),
]
SPANS = merged(REGIONS, LENGTHS, flank=3).spans
GENES = pa.table(
    [
        [0, 0, 0, 0, 1],
        [900, 950, 1350, 2000, 100],
        [1500, 1050, 1390, 2200, 800],
        [1, 1, 1, -1, 1],
        ["gene", "exon", "CDS", "exon", "exon"],
        ["G1", "G1", "G1", "G2", "G3"],
        ["T1", "T1", "T1", "T2", "T3"],
    ],
    schema=GENES_SCHEMA,
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    roots = [make_tiny_models(tmp_path_factory.mktemp("models"))]
    return open_dictionary(find_cards(roots).dictionary(DICTIONARY_ID), roots, torch.device("cpu"))


def records():
    return [Record(str(i), "", random_sequence(n, i)) for i, n in enumerate(LENGTHS)]


def whole_file(folder):
    path = folder / "whole.fa"
    write_fasta(records(), path)
    return path


def piece_file(folder, card, spans=SPANS):
    path = folder / "pieces.fa"
    given = records()
    write_pieces(
        path,
        pieces(spans, LENGTHS, stride=card.stride, context=card.context),
        contigs(given),
        lambda span: given[span.contig].sequence[span.start : span.end],
    )
    return path


def run(fasta, plan, encoder, out, *, spans=None, held_out=(), genes=GENES, per_feature=1000):
    out.mkdir()
    options = RunOptions(
        dictionary=DICTIONARY_ID,
        taxon="fungi",
        held_out=held_out,
        peaks_per_feature=per_feature,
    )
    shards = []
    for number, part in enumerate(plan):
        shard = out / f"shard{number}"
        shard.mkdir()
        run_shard(fasta, part, encoder, shard, batch=3)
        shards.append(shard)
    result = out / "result"
    result.mkdir()
    merge(shards, fasta, encoder.dictionary, options, result, genes=genes, spans=spans)
    return result


@pytest.fixture(scope="module")
def whole(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    plan = plan_shards(LENGTHS, stride=encoder.dictionary.stride, target=1000)
    return run(whole_file(folder), plan, encoder, folder / "out")


@pytest.fixture(scope="module")
def regions(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("regions")
    plan = plan_spans(SPANS, stride=encoder.dictionary.stride, target=300)
    assert len(plan) > 2
    fasta = piece_file(folder, encoder.dictionary)
    return run(fasta, plan, encoder, folder / "out", spans=SPANS)


def inside(table, position="position"):
    return table.filter(
        pa.array(owned_mask(column(table, "contig"), column(table, position), SPANS))
    )


def bases_of(path):
    active = from_stretches(pq.read_table(path))
    return pa.table({name: getattr(active, name) for name in active._fields})


def test_activations_are_those_of_the_whole_run(whole, regions):
    expected = inside(bases_of(whole / "activations.parquet"))
    assert expected.num_rows > 500
    assert bases_of(regions / "activations.parquet").equals(expected)


def test_peaks_are_those_of_the_whole_run(whole, regions):
    columns = ["feature", "strand", "contig", "position", "value", "genes", "gene_name"]
    order = [(name, "ascending") for name in columns[:4]]
    found, expected = (
        pq.read_table(folder / "peaks.parquet").select(columns).sort_by(order)
        for folder in (regions, whole)
    )
    assert found.equals(inside(expected))
    assert found.num_rows > 100
    assert "exon;gene" in set(found["genes"].to_pylist()) | {
        ";".join(sorted(text.split(";"))) for text in found["genes"].to_pylist() if text
    }


def test_statistics_count_the_spans(regions):
    features = pq.read_table(regions / "features.parquet")
    active = bases_of(regions / "activations.parquet")
    assert sum(features["active_bases"].to_pylist()) == active.num_rows
    record = read_provenance(regions / "provenance.json")
    bases = sum(span.length for span in SPANS)
    assert record["counts"]["bases"] == record["regions"]["bases"] == bases
    assert record["regions"]["spans"] == [list(span) for span in SPANS]
    assert [one["length"] for one in record["contigs"]] == LENGTHS[:3]
    assert [one["refget"] for one in record["contigs"]] == [
        c.digest for c in contigs(records())[:3]
    ]


def test_pieces_hold_all_that_is_read(encoder, regions, tmp_path):
    """The same spans of the whole file give the same bytes, whatever the shards are."""
    plan = plan_spans(SPANS, stride=encoder.dictionary.stride, target=100_000)
    again = run(whole_file(tmp_path), plan, encoder, tmp_path / "out", spans=SPANS)
    for name in RESULT_FILES[:-1]:
        assert (again / name).read_bytes() == (regions / name).read_bytes(), name


def test_spans_that_are_all_of_the_contigs_are_the_whole_run(encoder, whole, tmp_path):
    spans = [Span(at, 0, length) for at, length in enumerate(LENGTHS)]
    fasta = piece_file(tmp_path, encoder.dictionary, spans)
    plan = plan_spans(spans, stride=encoder.dictionary.stride, target=1000)
    assert plan == plan_shards(LENGTHS, stride=encoder.dictionary.stride, target=1000)
    again = run(fasta, plan, encoder, tmp_path / "out", spans=spans)
    for name in RESULT_FILES[:-1]:
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_contigs_are_held_out_of_regions(encoder, tmp_path):
    spans = [span for span in SPANS if span.contig < 2]
    plan = plan_spans(spans, stride=encoder.dictionary.stride, target=300)
    fasta = piece_file(tmp_path, encoder.dictionary)
    result = run(fasta, plan, encoder, tmp_path / "out", spans=spans, held_out=(1,))
    peaks = pq.read_table(result / "peaks.parquet")
    assert set(zip(peaks["contig"].to_pylist(), peaks["held_out"].to_pylist(), strict=True)) == {
        (0, False),
        (1, True),
    }
    with pytest.raises(OptionError, match="held_out must leave"):
        run(fasta, plan, encoder, tmp_path / "no", spans=spans, held_out=(0, 1, 2))


def test_pieces_without_spans_are_refused(encoder, tmp_path):
    with pytest.raises(StorageError, match="spans of the run are missing"):
        read_codes(piece_file(tmp_path, encoder.dictionary))


def test_work_goes_with_the_regions_and_not_with_the_contig(encoder, tmp_path):
    """A contig of 2 Gb of which 20 kb are read takes some MB."""
    card = encoder.dictionary
    length = 2_000_000_000
    asked = [Region(0, at * 10_000_000 + 5, at * 10_000_000 + 105, "") for at in range(200)]
    spans = merged(asked, [length]).spans
    given = pieces(spans, [length], stride=card.stride, context=card.context)
    bases = random_sequence(2000, 5)
    path = tmp_path / "pieces.fa"
    contig = Contig("0", length, "SQ.x")
    tracemalloc.start()
    write_pieces(path, given, [contig], lambda span: bases[: span.length])
    assert path.stat().st_size < 200_000
    plan = plan_spans(spans, stride=card.stride, target=100_000)
    windows = windows_of(spans, {0: length}, stride=card.stride, context=16, strands="both")
    result = run(path, plan, encoder, tmp_path / "out", spans=spans, genes=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(windows) <= 2 * 3 * 200
    assert pq.read_table(result / "peaks.parquet")["position"].to_numpy().max() > 1_900_000_000
    assert peak < 100_000_000
    assert np.isin(pq.read_table(result / "peaks.parquet")["contig"].to_numpy(), [0]).all()
