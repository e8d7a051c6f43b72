"""Heights of letters against bits worked out by hand, and the SVG as XML."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.errors import FormatError
from annotations.logos import Placed, aligned_logos_svg, letter_heights, logo_svg

SVG = "{http://www.w3.org/2000/svg}"
# One base only; two halves; all equal; 1/2, 1/4, 1/8, 1/8 with an entropy of 1.75 bits; no count.
TOY = np.array([[9, 0, 2, 4, 0], [0, 5, 2, 2, 0], [0, 0, 2, 1, 0], [0, 5, 2, 1, 0]])


def test_heights_by_hand():
    expected = [
        [2, 0, 0, 0.125, 0],
        [0, 0.5, 0, 0.0625, 0],
        [0, 0, 0, 0.03125, 0],
        [0, 0.5, 0, 0.03125, 0],
    ]
    assert np.allclose(letter_heights(TOY), expected)


def test_counts_and_probabilities_give_one_logo():
    counts = np.array([[8.0, 1], [0, 3], [0, 3], [8, 1]])
    assert logo_svg(counts, title="x") == logo_svg(counts / counts.sum(axis=0), title="x")


def test_pseudocounts_are_spread_evenly():
    # (3 + 1/4) / 4 and three times (0 + 1/4) / 4.
    share = np.array([3.25, 0.25, 0.25, 0.25]) / 4
    bits = 2 + (share * np.log2(share)).sum()
    assert np.allclose(letter_heights([[3], [0], [0], [0]], 1.0)[:, 0], share * bits)


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=4, max_size=4), min_size=1, max_size=8))
def test_a_column_has_from_none_to_two_bits(columns):
    total = letter_heights(np.array(columns).T).sum(axis=0)
    assert (total >= 0).all()
    assert (total <= 2 + 1e-9).all()


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  our own text


def drawn(svg: str) -> list[tuple[str, float, float, float]]:
    """Letter colour, left edge, top and height in pixels of each letter, in order."""
    found = []
    for path in parsed(svg).iter(f"{SVG}path"):
        if place := path.get("transform"):
            numbers = [float(n) for n in re.findall(r"-?[\d.]+", place)]
            found.append((path.get("fill"), numbers[0], numbers[1], 100 * numbers[3]))
    return found


def test_letters_are_drawn_to_scale_the_tallest_on_top():
    letters = drawn(logo_svg(TOY, title="toy"))
    assert len(letters) == 1 + 2 + 4  # no letter for a height of 0
    colours = [colour for colour, *_ in letters]
    assert len(set(colours)) == 4
    # 2 bits of A fill the axis: 40 pixels each.
    assert letters[0][3] == pytest.approx(80)
    assert [round(height) for *_, height in letters[1:3]] == [20, 20]
    stack = letters[3:]
    heights = [height for *_, height in stack]
    assert heights == sorted(heights)
    for below, above in itertools.pairwise(stack):
        assert above[2] + above[3] == pytest.approx(below[2], abs=0.01)
    assert colours[0] == stack[-1][0]  # A
    bottom = letters[0][2] + letters[0][3]
    assert stack[0][2] + stack[0][3] == pytest.approx(bottom, abs=0.01)


def test_the_title_is_read_out_and_escaped():
    root = parsed(logo_svg(TOY, title='<b>&"\x01'))
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == '<b>&" '
    assert float(root.get("width")) > 5 * 20


def test_columns_are_numbered_from_the_first():
    texts = [t.text for t in parsed(logo_svg(TOY, title="x", first=-2)).iter(f"{SVG}text")]
    assert texts[-5:] == ["-2", "-1", "0", "1", "2"]
    wide = np.ones((4, 51))
    texts = [t.text for t in parsed(logo_svg(wide, title="x", first=-25)).iter(f"{SVG}text")]
    assert texts[4:] == [str(n) for n in range(-25, 26, 5)]


@pytest.mark.parametrize(
    "counts",
    [np.ones((3, 4)), np.ones(4), np.ones((4, 0)), np.ones((4, 201)), -np.ones((4, 2))],
)
def test_what_is_no_motif_is_refused(counts):
    with pytest.raises(FormatError, match="logo"):
        logo_svg(counts, title="x")
    with pytest.raises(FormatError, match="finite"):
        logo_svg(np.full((4, 1), np.nan), title="x")


def test_a_small_logo_is_its_letters_alone():
    counts = np.array([[10, 0], [0, 0], [0, 10], [0, 0]])
    text = logo_svg(counts, title="a & b", axis=False)
    assert "<text" not in text
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert (root.get("width"), root.get("height")) == ("40", "82")
    letters = [path for path in root if "transform" in path.attrib]
    assert len(letters) == 2
    # two bits are the whole height: from 0 to the line below
    assert all("0.00)scale(0.19 0.8000)" in path.get("transform") for path in letters)


def test_aligned_logos_have_their_columns_over_one_another():
    word = np.array([[10, 0, 0], [0, 10, 0], [0, 0, 10], [0, 0, 0]])
    logos = [Placed(word, -2, "upper"), Placed(word[:, 1:], -1, "lower <&>")]
    root = ET.fromstring(aligned_logos_svg(logos, title="both"))  # noqa: S314 - our own text
    at = {}
    for path in root.iter(f"{SVG}path"):
        if "transform" in path.attrib:
            x, y = path.get("transform").removeprefix("translate(").split(")")[0].split()
            at.setdefault(float(y), []).append((float(x), path.get("fill")))
    upper, lower = (at[y] for y in sorted(at))
    assert len(upper) == 3
    assert lower == upper[1:]
    said = [text.text for text in root.iter(f"{SVG}text")]
    assert {"upper", "lower <&>", "-2", "-1", "0"} <= set(said)
    with pytest.raises(FormatError, match="one or more"):
        aligned_logos_svg([], title="none")
    with pytest.raises(FormatError, match="at most"):
        aligned_logos_svg([Placed(word, 0, "a"), Placed(word, 900, "b")], title="far")
