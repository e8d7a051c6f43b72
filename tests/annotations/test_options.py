"""Options of a run: what is allowed, and what is said when it is not."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import OptionError, UnknownNameError
from annotations.jaspar import RELEASES, TAXA
from annotations.options import RunOptions, held_out_contigs, names_of


def test_defaults_read_both_strands_and_look_for_no_motif():
    options = RunOptions(dictionary="yeast-sae")
    assert (options.strands, options.taxon, options.release) == ("both", None, "JASPAR2026")


@settings(max_examples=30, deadline=None)
@given(
    strands=st.sampled_from(["both", "forward"]),
    taxon=st.sampled_from([None, *TAXA]),
    release=st.sampled_from(RELEASES),
    motif_p=st.floats(1e-8, 1e-3),
    peaks=st.integers(1, 1000),
    seed=st.integers(0, 2**31 - 1),
    held_out=st.lists(st.integers(0, 9), max_size=4),
)
def test_json_brings_the_same_options_back(strands, taxon, release, motif_p, peaks, seed, held_out):
    options = RunOptions(
        dictionary="d",
        strands=strands,
        taxon=taxon,
        release=release,
        motif_p=motif_p,
        peaks_per_feature=peaks,
        seed=seed,
        held_out=held_out,
    )
    assert options.held_out == tuple(sorted(set(held_out)))
    json.dumps(options.to_json())
    assert RunOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dictionary", "", "id of a dictionary"),
        ("dictionary", None, "id of a dictionary"),
        ("strands", "reverse", "one of both, forward, got 'reverse'"),
        ("strands", 1, "one of both, forward, got 1"),
        ("taxon", "fungus", "did you mean 'fungi'"),
        ("release", "JASPAR2025", "JASPAR2026"),
        ("motif_p", 0.5, r"in \[1e-08, 0.001\], got 0.5"),
        ("motif_p", float("nan"), "must be a number"),
        ("motif_p", True, "must be a number"),
        ("motif_p", "1e-4", "must be a number"),
        ("peaks_per_feature", 0, r"in \[1, 1000\], got 0"),
        ("peaks_per_feature", 2.0, "whole number"),
        ("seed", -1, "whole number"),
        ("held_out", "chrI", "list of contigs, got 'chrI'"),
        ("held_out", ["chrI"], "each of held_out must be a whole number"),
        ("held_out", [-1], "each of held_out must be a whole number"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(field, value, message):
    with pytest.raises(OptionError, match=message):
        replace(RunOptions(dictionary="d"), **{field: value})


def test_an_unknown_option_is_refused_with_the_near_one():
    with pytest.raises(OptionError, match=r"no option 'strand' \(did you mean 'strands'\?\)"):
        RunOptions.from_json({"dictionary": "d", "strand": "both"})


def test_a_missing_dictionary_is_said():
    with pytest.raises(OptionError, match="'dictionary' is missing"):
        RunOptions.from_json({"strands": "both"})


def test_contigs_are_held_out_by_their_names():
    contigs = ["chrI", "chrIX", "chrXIV", "chrM"]
    assert held_out_contigs(names_of(" chrXIV,chrIX, chrXIV,"), contigs) == (1, 2)
    assert held_out_contigs([], contigs) == ()


def test_a_contig_that_is_not_there_is_refused_with_near_names():
    with pytest.raises(UnknownNameError, match=r"'chrXI', which is not .* mean 'chrXIV' or 'chrI'"):
        held_out_contigs(["chrXI"], ["chrI", "chrXIV", "chrM"])


def test_something_must_be_left_to_discover_on():
    with pytest.raises(OptionError, match="every contig"):
        held_out_contigs(["a", "b"], ["a", "b"])
