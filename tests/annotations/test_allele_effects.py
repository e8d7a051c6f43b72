"""Effects of alleles: toys counted by hand, a slow twin, and the tracks read by pyBigWig."""

from io import BytesIO

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.activations import Activations, read_feature, to_stretches, write_stretches
from annotations.allele_effects import (
    EFFECTS_SCHEMA,
    ROUNDING,
    allele_effects,
    summaries,
    values_of_pair,
    whole_features,
)
from annotations.allele_tracks import write_allele_track
from annotations.alleles import RecordBases, cut_variants, pair_records
from annotations.errors import CoordinateError
from annotations.records import Record
from annotations.vcf import read_vcf

CHROM = b"ACGTTGCAACCGTATGCCATA"
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"
ROWS = {
    "SNV": "chrI\t10\t.\tC\tT\n",
    "insertion": "chrI\t10\t.\tC\tCTT\n",
    "deletion": "chrI\t10\t.\tCCG\tC\n",
    "MNV": "chrI\t10\t.\tCC\tTA\n",
}


def cut(*kinds, one_sided=True, flank=3):
    text = HEAD + "".join(ROWS[kind] for kind in kinds)
    source = RecordBases([Record("chrI", "", CHROM)])
    vcf = read_vcf(BytesIO(text.encode()))
    return cut_variants(vcf, source, flank=flank, one_sided=one_sided)


def active(*rows):
    """Rows of (feature, strand, contig, position, value)."""
    feature, strand, contig, position, value = zip(*rows, strict=True)
    return Activations(
        np.array(feature, np.uint32),
        np.array(strand, np.int8),
        np.array(contig, np.uint32),
        np.array(position, np.int64),
        np.array(value, np.float32),
    )


def stored(folder, rows):
    path = folder / "activations.parquet"
    write_stretches(to_stretches(active(*rows)), path)
    return path


def effects(folder, alleles, *rows):
    return allele_effects(stored(folder, rows), alleles).to_pylist()


def test_a_substitution(tmp_path):
    # CAACCGT against CAATCGT: the change is base 3
    alleles = cut("SNV").alleles
    found = effects(
        tmp_path,
        alleles,
        (5, 1, 0, 2, 9.0),  # before the change on +: not counted
        (5, 1, 1, 2, 7.0),
        (5, 1, 0, 3, 4.0),
        (5, 1, 0, 4, 1.0),
        (5, 1, 1, 4, 3.0),
        (5, -1, 0, 4, 8.0),  # before the change on -
        (5, -1, 1, 1, 2.0),
        (6, 1, 0, 5, 1.0),
        (6, 1, 1, 5, 1.0),  # no change
    )
    plus, minus = found
    assert (plus["pair"], plus["rank"], plus["feature"], plus["strand"]) == (0, 1, 5, 1)
    assert (plus["reference_max"], plus["alternative_max"]) == (4.0, 3.0)
    assert (plus["reference_sum"], plus["alternative_sum"]) == (5.0, 3.0)
    assert (plus["max_difference"], plus["sum_difference"]) == (-1.0, -2.0)
    assert (plus["position"], plus["change"]) == (3, -4.0)
    assert (minus["rank"], minus["strand"]) == (2, -1)
    assert (minus["reference_max"], minus["alternative_max"], minus["position"]) == (0.0, 2.0, 1)


def test_where_the_model_looks_both_ways_every_base_counts(tmp_path):
    rows = (5, 1, 0, 2, 9.0), (5, 1, 1, 2, 7.0), (5, 1, 0, 3, 1.0)
    (row,) = effects(tmp_path, cut("SNV", one_sided=False).alleles, *rows)
    assert (row["reference_sum"], row["alternative_max"], row["change"]) == (10.0, 7.0, -2.0)


def test_an_insertion(tmp_path):
    # AACCGT against AACTTCGT: bases 3 and 4 of the alternative count to base 2
    alleles = cut("insertion").alleles
    rows = [
        (5, 1, 0, 2, 1.0),
        (5, 1, 1, 2, 1.0),
        (5, 1, 1, 3, 6.0),
        (5, 1, 1, 4, 4.0),
        (5, 1, 0, 3, 2.0),
        (5, 1, 1, 5, 2.0),
    ]
    (row,) = effects(tmp_path, alleles, *rows)
    assert (row["position"], row["change"]) == (2, 5.0)
    assert (row["reference_sum"], row["alternative_sum"]) == (3.0, 13.0)
    assert values_of_pair(active(*rows), alleles.pairs[0]).tolist() == [
        [0, 0, 1, 2, 0, 0],
        [0, 0, 6, 2, 0, 0],
    ]


def test_a_deletion(tmp_path):
    # AACCGTAT against AACTAT: bases 3 and 4 are gone
    rows = (5, 1, 0, 3, 3.0), (5, 1, 0, 4, 1.0), (5, 1, 0, 5, 2.0), (5, 1, 1, 3, 2.5)
    (row,) = effects(tmp_path, cut("deletion").alleles, *rows)
    assert (row["position"], row["change"]) == (3, -3.0)
    assert (row["reference_sum"], row["alternative_sum"]) == (6.0, 2.5)
    (row,) = effects(tmp_path, cut("deletion").alleles, *((f, -1, *rest) for f, _, *rest in rows))
    # on - the bases behind the deletion are those left of it
    assert (row["reference_sum"], row["alternative_sum"], row["change"]) == (4.0, 0.0, -3.0)


@pytest.mark.parametrize("kind", ["SNV", "insertion", "deletion", "MNV"])
def test_the_difference_is_zero_where_the_table_counts_nothing(tmp_path, kind):
    """A value left and right of the change on either strand, in one allele alone."""
    found = cut(kind)
    names = [record.name for record in found.records]
    lengths = [len(record.sequence) for record in found.records]
    for strand in (1, -1):
        for at in (0, lengths[1] - 1):
            path = stored(tmp_path, [(5, strand, 1, at, 2.0)])
            changed = allele_effects(path, found.alleles).to_pylist()
            track = tmp_path / "difference.bw"
            write_allele_track(
                track, read_feature(path, 5), found.alleles, names, lengths, track="difference"
            )
            with pyBigWig.open(str(track)) as opened:
                values = np.array(opened.values(names[0], 0, lengths[0]))
            assert values.any() == bool(changed) == ((strand > 0) == (at > 0))


def test_pairs_are_ranked_by_the_absolute_change_and_summed_up(tmp_path):
    alleles = cut("SNV", "MNV", "deletion").alleles
    rows = (3, 1, 0, 3, 1.0), (4, 1, 1, 4, 2.0), (3, -1, 0, 0, 1.0), (9, 1, 3, 4, 8.0)
    path = stored(tmp_path, rows)
    table = allele_effects(path, alleles)
    assert table.schema.equals(EFFECTS_SCHEMA)
    found = [
        (r["pair"], r["rank"], r["feature"], r["strand"], r["change"]) for r in table.to_pylist()
    ]
    assert found == [(0, 1, 4, 1, 2.0), (0, 2, 3, 1, -1.0), (0, 3, 3, -1, -1.0), (1, 1, 9, 1, 8.0)]
    first, second, third = summaries(table, alleles.pairs)
    assert (first["changed"], first["feature"], first["change"]) == (3, 4, 2.0)
    assert (second["changed"], second["position"]) == (1, 4)
    assert (third["changed"], third["feature"]) == (0, None)


def test_rounding_is_no_change(tmp_path):
    value = 8.0
    less = value - value * ROUNDING * 0.5
    rows = (5, 1, 0, 3, value), (5, 1, 1, 3, less)
    assert effects(tmp_path, cut("SNV").alleles, *rows) == []
    rows = (5, 1, 0, 3, value), (5, 1, 1, 3, value - value * ROUNDING * 4)
    assert len(effects(tmp_path, cut("SNV").alleles, *rows)) == 1


def test_nothing_active_is_an_empty_table(tmp_path):
    alleles = cut("SNV").alleles
    write_stretches(to_stretches(active((1, 1, 7, 0, 1.0))), tmp_path / "x.parquet")
    table = allele_effects(tmp_path / "x.parquet", alleles)
    assert (table.num_rows, table.schema) == (0, EFFECTS_SCHEMA)
    assert summaries(table, alleles.pairs)[0]["changed"] == 0


def test_an_activation_outside_its_allele_is_refused(tmp_path):
    with pytest.raises(CoordinateError, match="outside its allele"):
        effects(tmp_path, cut("SNV").alleles, (5, 1, 1, 7, 1.0))


def test_named_records_of_unequal_length(tmp_path):
    # the first two bases are inserted, and count to the first of the reference; c is no allele
    records = [Record("c", "", b"ACGT"), Record("a", "", b"CATGA"), Record("b", "", b"GTCATGA")]
    alleles = pair_records(records, "a,b", one_sided=True)
    assert alleles.pairs[0].map.blocks == ((0, 2, 5),)
    rows = [(5, 1, 0, 1, 9.0), (5, 1, 1, 3, 1.0), (5, 1, 2, 5, 4.0), (5, 1, 2, 0, 2.0)]
    (row,) = effects(tmp_path, alleles, *rows)
    assert (row["position"], row["change"]) == (3, 3.0)
    assert (row["reference_sum"], row["alternative_sum"]) == (1.0, 6.0)
    swapped = pair_records(records, "b,a", one_sided=True)
    (row,) = effects(tmp_path, swapped, *rows)
    assert (row["position"], row["change"], row["sum_difference"]) == (5, -3.0, -5.0)


def test_features_are_never_cut_in_two():
    rows = [(f, 1, 0, p, 1.0) for f in (1, 2, 4) for p in (0, 2, 4)]
    table = to_stretches(active(*rows))
    for size in range(1, 10):
        groups = [table.slice(at, size) for at in range(0, table.num_rows, size)]
        blocks = list(whole_features(groups))
        assert np.concatenate([block.feature for block in blocks]).tolist() == [f for f, *_ in rows]
        firsts = [set(block.feature.tolist()) for block in blocks]
        assert sum(map(len, firsts)) == len(set().union(*firsts)) == 3
    assert list(whole_features([])) == []


KIND = st.sampled_from(sorted(ROWS))
BASES = st.dictionaries(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([1, -1]),
        st.integers(0, 1),
        st.integers(0, 5),
    ),
    st.integers(1, 6).map(float),
    min_size=1,
)


@settings(deadline=None, max_examples=60)
@given(KIND, BASES, st.booleans())
def test_the_table_is_that_of_a_slow_twin(tmp_path_factory, kind, bases, one_sided):
    alleles = cut(kind, one_sided=one_sided).alleles
    (pair,) = alleles.pairs
    rows = [(*key, value) for key, value in bases.items()]
    path = stored(tmp_path_factory.mktemp("x"), rows)
    got = {
        (row["feature"], row["strand"]): row for row in allele_effects(path, alleles).to_pylist()
    }
    change = pair.change
    for feature in range(3):
        for strand in (1, -1):
            own = [{}, {}]
            for (f, s, contig, position), value in bases.items():
                if (f, s) == (feature, strand):
                    own[contig][position] = value
            counted = [0.0, 0.0]
            shown = [dict.fromkeys(range(pair.map.reference_length), 0.0) for _ in range(2)]
            for side in range(2):
                for position, value in own[side].items():
                    place = position
                    if side:
                        place = int(pair.map.to_reference(np.array([position]))[0])
                    # the base that an insertion counts to belongs to the change
                    first = change.start - (kind == "insertion")
                    behind = place >= first if strand > 0 else place < max(change.end, first + 1)
                    if one_sided and not behind:
                        continue
                    counted[side] += value
                    shown[side][place] = max(shown[side][place], value)
            change_of = {p: shown[1][p] - shown[0][p] for p in shown[0]}
            largest = max(map(abs, change_of.values()))
            if not largest:
                assert (feature, strand) not in got
                continue
            row = got[(feature, strand)]
            assert (row["reference_sum"], row["alternative_sum"]) == tuple(counted)
            assert abs(row["change"]) == largest == abs(change_of[row["position"]])
            assert row["reference_max"] == max(shown[0].values())
            assert row["alternative_max"] == max(shown[1].values())


def test_the_tracks_are_at_the_references_coordinates(tmp_path):
    found = cut("insertion", "SNV")
    names = [record.name for record in found.records]
    lengths = [len(record.sequence) for record in found.records]
    path = stored(
        tmp_path,
        [
            (5, 1, 0, 2, 1.0),
            (5, 1, 1, 3, 6.0),
            (5, -1, 0, 5, 8.0),
            (5, 1, 1, 7, 0.5),
            (5, 1, 2, 6, 2.0),
            (6, 1, 2, 6, 2.0),
        ],
    )
    stretches = read_feature(path, 5)
    # on - of a model that looks back only, base 5 cannot differ
    for strand, one_sided, wanted, moved in (
        ("+", True, [0, 0, 5, 0, 0, 0.5], [0, 0, 6, 0, 0, 0.5]),
        ("either", False, [0, 0, 5, 0, 0, -7.5], [0, 0, 6, 0, 0, 0.5]),
        ("either", True, [0, 0, 5, 0, 0, 0], [0, 0, 6, 0, 0, 0.5]),
        ("-", False, [0, 0, 0, 0, 0, -8], [0] * 6),
        ("-", True, [0] * 6, [0] * 6),
    ):
        for track in ("difference", "alternative"):
            path = tmp_path / f"{track}.bw"
            inputs = (stretches, found.alleles._replace(one_sided=one_sided), names, lengths)
            write_allele_track(path, *inputs, track=track, strand=strand)
        with pyBigWig.open(str(tmp_path / "difference.bw")) as track:
            assert track.chroms() == dict(zip(names, lengths, strict=True))
            assert track.intervals(names[1]) is None
            assert track.values(names[0], 0, 6) == wanted
            assert track.values(names[2], 0, 7) == [0] * 6 + [0 if strand == "-" else -2]
            assert track.header()["nBasesCovered"] == 13
        with pyBigWig.open(str(tmp_path / "alternative.bw")) as track:
            assert track.values(names[0], 0, 6) == moved
