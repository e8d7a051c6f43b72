"""Random substitutions near variants: what they are, and what they are counted for."""

from io import BytesIO

import pytest

from annotations.allele_controls import MAX_CONTROLS, MAX_RECORDS, REACH, with_controls
from annotations.allele_effects import allele_effects
from annotations.alleles import ALLELES_FILE, RecordBases, alleles_json, cut_variants, read_alleles
from annotations.errors import LimitError, OptionError
from annotations.records import Record
from annotations.vcf import read_vcf
from tests.annotations.test_allele_effects import stored

SEQUENCE = b"ACGTTGCA" * 100
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"


def cut(*rows, sequence=SEQUENCE, flank=150):
    text = HEAD + "".join(f"x\t{at + 1}\t.\t{ref}\t{alt}\n" for at, ref, alt in rows)
    source = RecordBases([Record("x", "", sequence)])
    return cut_variants(read_vcf(BytesIO(text.encode())), source, flank=flank, one_sided=True)


ROWS = (400, "A", "C"), (401, "CG", "C")


def test_a_control_is_the_reference_with_one_base_replaced_nearby():
    plain = cut(*ROWS)
    found = with_controls(plain, 20)
    assert found.records[:4] == plain.records
    assert found.alleles.pairs == plain.alleles.pairs
    assert len(found.records) == 4 + 2 * 20
    assert len({record.name for record in found.records}) == len(found.records)
    edits = set()
    for round_ in found.alleles.controls:
        for pair, own in zip(round_, found.alleles.pairs, strict=True):
            assert pair.reference == own.reference
            reference = found.records[pair.reference].sequence
            control = found.records[pair.alternative].sequence
            (place,) = [at for at in range(len(reference)) if reference[at] != control[at]]
            assert (pair.change.start, pair.change.end) == (place, place + 1)
            assert own.change.start - REACH <= place < own.change.end + REACH
            assert not own.change.start <= place < own.change.end
            edits.add((pair.reference, place, control[place]))
    assert len(edits) == 40  # none is drawn twice


def test_equal_input_gives_equal_controls_and_the_file_keeps_them(tmp_path):
    found = with_controls(cut(*ROWS), 3)
    assert with_controls(cut(*ROWS), 3) == found
    path = tmp_path / ALLELES_FILE
    path.write_text(alleles_json(found.alleles))
    assert read_alleles(path) == found.alleles


def test_unknown_bases_are_no_controls():
    sequence = b"N" * 300 + b"ACGT" + b"N" * 300
    found = with_controls(cut((301, "C", "A"), sequence=sequence), 9)
    places = {round_[0].change.start for round_ in found.alleles.controls}
    assert places == {149, 151, 152}
    with pytest.raises(OptionError, match="9 possible substitutions"):
        with_controls(cut((301, "C", "A"), sequence=sequence), 10)


def test_limits():
    for controls in (-1, 0, MAX_CONTROLS + 1):
        with pytest.raises(OptionError, match="controls must be"):
            with_controls(cut(*ROWS), controls)
    rows = [
        (at, chr(SEQUENCE[at]), "ACGT"[("ACGT".index(chr(SEQUENCE[at])) + 1) % 4])
        for at in range(200)
    ]
    with pytest.raises(LimitError, match="takes 2,000"):
        with_controls(cut(*ROWS), 3, max_bases=2000)
    with pytest.raises(LimitError, match=f"takes {MAX_RECORDS:,}"):
        with_controls(cut(*rows), 60)


def test_a_row_is_told_how_many_controls_change_it_as_much(tmp_path):
    found = with_controls(cut(ROWS[0]), 3)
    (pair,) = found.alleles.pairs
    at = pair.change.start
    values = []
    for round_, value in zip(found.alleles.controls, (5.0, 2.0, 3.0), strict=True):
        (control,) = round_
        values.append((7, 1, control.alternative, control.change.start, value))
    values.append((7, 1, pair.alternative, at, 3.0))  # as large as two of three
    values.append((8, -1, pair.reference, at, 1.0))  # in the reference of the controls, too
    for round_ in found.alleles.controls[:2]:
        values.append((8, -1, round_[0].alternative, at, 1.0))
    table = allele_effects(stored(tmp_path, values), found.alleles).to_pylist()
    assert [(row["feature"], row["change"], row["controls_as_large"]) for row in table] == [
        (7, 3.0, 2),
        (8, -1.0, 1 if found.alleles.controls[2][0].change.start > at else 0),
    ]


def test_without_controls_nothing_is_told(tmp_path):
    found = cut(ROWS[0])
    at = found.alleles.pairs[0].change.start
    (row,) = allele_effects(stored(tmp_path, [(7, 1, 1, at, 3.0)]), found.alleles).to_pylist()
    assert row["controls_as_large"] is None
