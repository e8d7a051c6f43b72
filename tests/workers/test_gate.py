"""The motif gate: scores against a slow loop, the table against planted instances."""

import gzip
import json
import math
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from annotations.errors import FormatError, OptionError, WeightsError
from annotations.jaspar import Motif
from annotations.motif_scan import HITS_SCHEMA
from workers.language_models.paired_tree import PairedTree, PairedTreeConfig
from workers.training.gate import (
    GateRow,
    base_bits,
    core_columns,
    gate_table,
    load_checkpoint,
    motif_gate,
    one_per_locus,
    read_locations,
)
from workers.training.genomes import AnnotatedContig

TINY = PairedTreeConfig(width=8, distances=(2, 4), eight_width=2, joint_width=8, n_species=2)
SITE = "ACCCGTTACT"


def codes(text):
    return np.array(["ACGTN".index(letter) for letter in text], np.uint8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return PairedTree(TINY).eval()


def motif_of(counts):
    counts = np.asarray(counts, float)
    return Motif("MA9999.1", "TOY", counts, (), (), "fungi", ())


def sharp_motif():
    counts = np.full((4, len(SITE)), 1.0)
    counts[codes(SITE), np.arange(len(SITE))] = 97.0
    counts[:, 4] = 25.0  # one column that says nothing
    return motif_of(counts)


def without_sites(length, seed):
    """Random bases with C or G at every third place at most: CCCG is far from all of them."""
    rng = np.random.default_rng(seed)
    bases = rng.choice(np.array([0, 3], np.uint8), length)
    bases[::3] = rng.integers(0, 4, len(bases[::3]))
    return bases


def planted():
    """Bases with the site at some places on + and on -, and those places."""
    bases = without_sites(4000, 0)
    site = codes(SITE)
    places = {200: 1, 700: -1, 1200: 1, 1700: -1, 2200: 1}
    for start, strand in places.items():
        bases[start : start + len(site)] = site if strand > 0 else 3 - site[::-1]
    return bases, places


def slow_bits(model, bases, window):
    """Base by base: the window whose middle half owns it, N beyond the ends."""
    half, quarter = window // 2, window // 4
    bits = []
    for i in range(len(bases)):
        first = (i // half) * half - quarter
        inside = [bases[j] if 0 <= j < len(bases) else 4 for j in range(first, first + window)]
        ids = torch.tensor(np.array(inside, np.int64))[None]
        with torch.no_grad():
            logits = model(ids, torch.zeros(1, dtype=torch.long), symmetric=True)[0, i - first]
        if bases[i] == 4:
            bits.append(math.nan)
        else:
            log_p = torch.log_softmax(logits.double(), -1)
            bits.append(-float(log_p[int(bases[i])]) / math.log(2))
    return np.array(bits)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 53])
def test_bits_equal_a_slow_loop(model, length):
    bases = np.random.default_rng(length).integers(0, 5, length).astype(np.uint8)
    found = base_bits(model, bases, window=32, batch=2)
    assert found == pytest.approx(slow_bits(model, bases, 32), rel=1e-4, nan_ok=True)


def test_only_wanted_windows_are_read(model):
    bases = np.random.default_rng(0).integers(0, 4, 100).astype(np.uint8)
    wanted = np.zeros(100, bool)
    wanted[40] = True
    found = base_bits(model, bases, wanted=wanted, window=32)
    assert np.flatnonzero(~np.isnan(found)).tolist() == list(range(32, 48))
    assert found[32:48] == pytest.approx(base_bits(model, bases, window=32)[32:48], rel=1e-5)


def test_core_columns_by_hand():
    # information: 2, 1 (two bases alike), 0, and 2 - H(.6, .2, .2, 0) = .629
    counts = np.array([[8, 4, 1, 6], [0, 4, 1, 2], [0, 0, 1, 2], [0, 0, 1, 0]], float)
    assert core_columns(motif_of(counts)).tolist() == [0, 1, 3]


hits_drawn = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 30), st.integers(0, 5)), max_size=15
)


def hits_table(rows):
    return pa.Table.from_pylist(
        [
            {"motif": 0, "contig": c, "start": s, "end": s + 4, "strand": 1, "score": v, "p": 1e-4}
            for c, s, v in rows
        ],
        schema=HITS_SCHEMA,
    )


@settings(max_examples=50, deadline=None)
@given(hits_drawn)
def test_one_instance_for_each_locus(rows):
    found = one_per_locus(hits_table(rows), 4)
    kept = list(zip(found.contig.tolist(), found.start.tolist(), found.score.tolist(), strict=True))
    for i, (c, s, _) in enumerate(kept):
        assert all(c != d or abs(s - t) >= 4 for d, t, _ in kept[i + 1 :])
    for c, s, v in rows:  # whatever was left out touches something at least as good
        assert any(c == d and abs(s - t) < 4 and w >= v for d, t, w in kept)


def test_what_the_model_knows_is_read_at_the_core_of_instances():
    bases, places = planted()
    coding = np.zeros(len(bases), bool)
    coding[1200:1300] = True  # takes the instance at 1200 out
    bits = np.full(len(bases), 3.0, np.float32)
    bound_bits = {200: 0.5, 700: 1.0, 1700: 1.5, 2200: 2.5}
    site = codes(SITE)
    for start, value in bound_bits.items():
        bits[start : start + len(site)] = value
        silent = start + (4 if places[start] > 0 else len(site) - 1 - 4)
        bits[silent] = 99.0  # the column without information is not read
    # centres are at start + 4.5: 25 bases away is bound, 26 is not
    locations = {"c": {"toy": np.array([200 + 4 + 25, 700 + 5 - 25, 1700 + 5 + 25, 9999])}}
    contig = AnnotatedContig("c", bases, coding)
    row = motif_gate([bits], [contig], [~coding], "Toy", sharp_motif(), locations)
    assert (row.tf, row.matrix_id, row.core_columns) == ("Toy", "MA9999.1", 9)
    assert (row.bound, row.unbound) == (2, 2)
    assert row.bound_bits == pytest.approx((0.5 + 1.0) / 2)
    assert row.unbound_bits == pytest.approx((1.5 + 2.5) / 2)
    assert row.model_auroc == 1.0
    masked = bases[~coding]
    at = np.isin(masked, [0, 3]).mean() / 2
    cost = {0: -math.log2(at), 3: -math.log2(at), 1: -math.log2(0.5 - at), 2: -math.log2(0.5 - at)}
    core = [cost[b] for i, b in enumerate(codes(SITE).tolist()) if i != 4]
    assert row.composition_bits == pytest.approx(np.mean(core), abs=1e-4)
    assert row.known is None  # two instances say nothing


def test_no_instance_and_no_location_are_nan():
    bases = np.zeros(300, np.uint8)
    contig = AnnotatedContig("c", bases, np.zeros(300, bool))
    bits = np.ones(300, np.float32)
    row = motif_gate([bits], [contig], [~contig.coding], "TOY", sharp_motif(), {})
    assert (row.bound, row.unbound) == (0, 0)
    assert math.isnan(row.bound_bits)
    assert math.isnan(row.composition_bits)
    assert math.isnan(row.model_auroc)
    assert row.known is None


def test_a_motif_without_a_core_is_refused():
    contig = AnnotatedContig("c", np.zeros(30, np.uint8), np.zeros(30, bool))
    with pytest.raises(FormatError, match="MA9999"):
        motif_gate([], [contig], [~contig.coding], "TOY", motif_of(np.ones((4, 6))), {})


@pytest.mark.parametrize(
    ("bound", "unbound", "known"),
    [(1.85, 1.9, True), (1.86, 1.9, False), (1.5, 1.5, False), (1.5, 1.4, False)],
)
def test_the_gate_at_its_borders(bound, unbound, known):
    row = GateRow("T", "M", 5, 9, 9, 2.0, bound, unbound, 0.5, 0.5)
    assert row.known is known


@pytest.mark.parametrize(("bound", "unbound"), [(4, 9), (9, 4), (0, 9)])
def test_few_instances_say_nothing(bound, unbound):
    assert GateRow("T", "M", 5, bound, unbound, 2.0, 1.5, 1.9, 0.9, 0.5).known is None


@pytest.fixture
def genome(tmp_path, model):
    """Files of a small genome with five Reb1 sites, two of them bound."""
    text = list("".join("ACGT"[b] for b in without_sites(3000, 7)))
    for start, site in [(500, "GTTACCCGGA"), (900, "TCCGGGTAAC"), (1300, "GTTACCCGGA")]:
        text[start : start + 10] = site
    for start in (1700, 2100):
        text[start : start + 10] = "GTTACCCGGA"
    (tmp_path / "g.fa").write_text(">chr1\n" + "".join(text) + "\n>chr2\nACGT\n")
    gff = "chr1\ts\tCDS\t1691\t1720\t.\t+\t0\tID=a\n"
    (tmp_path / "g.gff3").write_text(gff)
    with gzip.open(tmp_path / "l.bed.gz", "wt") as file:
        file.write("chr1\t505\t506\tReb1\t9\t.\nchr1\t900\t901\tReb1\t9\t.\n")
        file.write("chr1\t1305\t1306\tCbf1\t9\t.\n")
    (tmp_path / "repeats.bed").write_text("chr1\t2095\t2101\n")
    settings_json = json.dumps({"training": {}, "model": asdict(TINY)})
    weights = {f"model.{name}": w.detach() for name, w in model.named_parameters()}
    save_file(weights, tmp_path / "c.safetensors", metadata={"settings": settings_json})
    return tmp_path


def table_of(genome, model, **more):
    options = {
        "fasta": genome / "g.fa",
        "annotation": genome / "g.gff3",
        "locations": genome / "l.bed.gz",
        "contigs": ["chr1"],
        "tfs": ["reb1"],
    }
    return gate_table(model, **(options | more))


def test_the_table_of_a_genome(genome, model):
    row = table_of(genome, genome / "c.safetensors")[0]
    assert row.matrix_id.startswith("MA0363.")
    assert (row.bound, row.unbound) == (2, 2)  # the site at 1700 is coding
    assert 0 < row.bound_bits < 10
    assert table_of(genome, model)[0] == row
    without_repeats = table_of(genome, model, exclude=genome / "repeats.bed")[0]
    assert (without_repeats.bound, without_repeats.unbound) == (2, 1)


def test_what_cannot_be_measured_is_refused(genome, model):
    with pytest.raises(OptionError, match="chr9"):
        table_of(genome, model, contigs=["chr1", "chr9"])
    with pytest.raises(FormatError, match="no location"):
        table_of(genome, model, contigs=["chr2"])
    (genome / "three.bed").write_text("chr1\t1\t2\n")
    with pytest.raises(FormatError, match="line 1"):
        table_of(genome, model, locations=genome / "three.bed")


def test_locations_by_contig_and_name(tmp_path):
    (tmp_path / "l.bed").write_text("a\t9\t10\tX\na\t4\t7\tx\nb\t1\t2\tY\n")
    found = read_locations(tmp_path / "l.bed")
    assert {c: {n: p.tolist() for n, p in named.items()} for c, named in found.items()} == {
        "a": {"x": [5, 9]},
        "b": {"y": [1]},
    }


def test_other_files_are_no_checkpoint(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="settings"):
        load_checkpoint(tmp_path / "x.safetensors")
