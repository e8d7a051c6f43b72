"""Figures: places of every part by hand, the same bytes each time, the same shapes in a PNG."""

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from annotations.errors import CoordinateError, LimitError, OptionError, UnknownNameError
from annotations.jaspar import load_motifs
from annotations.motif_scan import scan
from annotations.types import Span
from app.drawing import Drawing, Letter, Line, Polygon, Rect, Text, fitted, svg, text_width, wrapped
from app.figure_data import motif_sites, parse_region
from app.figure_frame import PALETTES, Frame
from app.figure_genes import MAX_GENES, MAX_LANES, Gene, draw_genes, pack
from app.figure_runs import binned
from app.figure_schemas import px_of
from app.figures import (
    Region,
    Signal,
    Style,
    draw_region,
    evidence_colour,
    figure_png,
    figure_svg,
    ticks,
)
from app.raster import letter_outline, png
from tests.app.figure_cases import runs, toy_region

GOLDEN = Path(__file__).parents[1] / "data" / "figures" / "toy.svg"
SVG = "{http://www.w3.org/2000/svg}"


def drawn(shapes: tuple[object, ...], kind: type) -> list[object]:
    return [shape for shape in shapes if isinstance(shape, kind)]


def test_each_kind_of_shape_is_written_as_svg() -> None:
    shapes = (
        Rect(1, 2, 3, 4, "#000000", "a <b>"),
        Polygon(((0, 5), (0, 1), (2, 1), (2, 5)), "#111111"),
        Line(0, 0, 3, 1 / 3, "#222222"),
        Text(1, 2, "R&D", 8, "#333333", "middle", bold=True),
        Letter(1, 2, 10, 50, "T", "#444444"),
    )
    text = svg(Drawing(20, 10, "#ffffff", shapes, "Title", "What", '{"a": 1}'))
    lines = text.splitlines()
    assert lines[2:] == [
        '<rect width="20" height="10" fill="#ffffff"/>',
        '<rect x="1" y="2" width="3" height="4" fill="#000000"><title>a &lt;b&gt;</title></rect>',
        '<path d="M0 5V1H2V5Z" fill="#111111"/>',
        '<path d="M0 0L3 0.33" stroke="#222222" stroke-width="0.75"/>',
        '<text x="1" y="2" font-size="8" fill="#333333" text-anchor="middle" font-weight="bold">'
        "R&amp;D</text>",
        '<path d="M0 0H100V17H61V100H39V17H0Z" fill="#444444" transform="translate(1 2)'
        'scale(0.1 0.5)"/>',
        "</svg>",
    ]
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert root.find(f"{SVG}title").text == "Title"
    assert root.find(f"{SVG}desc").text == "What"
    assert root.find(f"{SVG}metadata").text == '{"a": 1}'


def test_a_signal_stands_where_its_bases_are() -> None:
    style = Style(width=496.0, row_height=46.0)
    drawing = draw_region(toy_region(), style)
    # the gutter is 23% of the width; what is left has 1,000 bases
    left, right = 8 + 0.23 * 496, 496 - 10
    per_base = (right - left) / 1000
    first = next(
        shape for shape in drawing.shapes if isinstance(shape, Polygon) and shape.fill == "#0072b2"
    )
    xs = sorted({x for x, _ in first.points})
    assert xs[0] == pytest.approx(left + 5 * per_base)
    assert xs[-1] == pytest.approx(left + 8 * per_base)
    heights = {round(max(y for _, y in first.points) - y, 6) for _, y in first.points}
    # 46 px less 6 below and 2 above are the largest value, 4; 2 is half of it
    assert heights == {0.0, 19.0, 38.0}
    marks = [
        shape
        for shape in drawing.shapes
        if isinstance(shape, Polygon) and len(shape.points) == 3 and not shape.title
    ]
    assert [mark.points[0][0] for mark in marks] == pytest.approx(
        [left + 7.5 * per_base, left + 550.5 * per_base]
    )
    assert [mark.fill for mark in marks] == [evidence_colour("causal"), evidence_colour("unknown")]


def test_what_is_not_there_is_said() -> None:
    texts = [text.text for text in drawn(draw_region(toy_region()).shapes, Text)]
    assert "silent here" in texts
    noted = Signal(name="3-", label="", runs=runs(), note="not computed: forward strand only")
    bare = Region(contig="c", start=0, end=10, signals=[noted], genes=[])
    texts = [text.text for text in drawn(draw_region(bare).shapes, Text)]
    assert "not computed: forward strand only" in texts
    assert "none here" in texts
    no_genes = Region(contig="c", start=0, end=10, signals=[noted])
    assert "genes" not in [text.text for text in drawn(draw_region(no_genes).shapes, Text)]


def test_bases_are_drawn_as_high_as_they_are_active() -> None:
    drawing = draw_region(toy_region(zoomed=True), Style(row_height=46.0))
    letters = drawn(drawing.shapes, Letter)
    # bases 1005, 1006 and 1007 of ACGTNACG...
    assert [(each.letter, round(each.height, 3)) for each in letters] == [
        ("A", 19.0), ("C", 19.0), ("G", 38.0)
    ]  # fmt: skip
    row = [text for text in drawn(drawing.shapes, Text) if len(text.text) == 1 and text.y > 150]
    assert "".join(text.text for text in row if text.text in "ACGTN") == "ACGTNACGTTTTTTTTTTTT"


def test_what_is_expected_is_drawn_as_stacks_of_letters() -> None:
    stacks = np.zeros((20, 4))
    stacks[3] = [0.25, 1.5, 0.001, 0.5]  # the third of these is too low to be seen
    stacks[7] = np.nan
    expected = Signal(name="expected", label="", runs=runs((1003, 1004, 2.251)), stacks=stacks)
    region = replace(toy_region(zoomed=True), signals=[expected], motifs=(), genes=None)
    drawing = draw_region(region, Style(row_height=2.251 * 40 + 8, scale="shared"))
    letters = drawn(drawing.shapes, Letter)
    assert [(each.letter, round(each.height, 3)) for each in letters] == [
        ("A", 10.0), ("T", 20.0), ("C", 60.0)
    ]  # fmt: skip
    # the lowest stands lowest, each on the one before
    bottom = [round(each.y + each.height, 3) for each in letters]
    assert bottom[1:] == [round(each.y, 3) for each in letters[:2]]
    assert {round(each.x, 3) for each in letters} == {round(letters[0].x, 3)}
    assert "expected: at most 2.25." in drawing.description
    assert "Feature" not in drawing.description
    wide = replace(region, end=2000, bases=None)
    assert not drawn(draw_region(wide).shapes, Letter)
    assert drawn(draw_region(wide).shapes, Polygon)


def test_bits_are_not_on_the_scale_of_activations() -> None:
    feature = Signal(name="1", label="", runs=runs((0, 10, 1.0)))
    expected = Signal(name="expected", label="", runs=runs((0, 10, 8.0)), stacks=np.zeros((200, 4)))
    region = Region(contig="c", start=0, end=200, signals=[expected, feature])
    for each in drawn(draw_region(region, Style(row_height=46.0, scale="shared")).shapes, Polygon):
        heights = [y for _, y in each.points]
        assert max(heights) - min(heights) == pytest.approx(38.0)


def test_one_scale_for_all() -> None:
    both = Region(
        contig="c",
        start=0,
        end=100,
        signals=[
            Signal(name="1", label="", runs=runs((0, 10, 8.0))),
            Signal(name="2", label="", runs=runs((0, 10, 2.0))),
        ],
    )
    for scale, heights in (("own", [38.0, 38.0]), ("shared", [38.0, 9.5])):
        drawing = draw_region(both, Style(row_height=46.0, scale=scale))
        found = [
            max(y for _, y in each.points) - min(y for _, y in each.points)
            for each in drawn(drawing.shapes, Polygon)
        ]
        assert found == pytest.approx(heights)


def test_the_golden_figure() -> None:
    """Written by scripts/make_figure_golden.py; a change of it is a change of every figure."""
    assert figure_svg(toy_region()) == GOLDEN.read_text(encoding="utf-8")


def test_the_same_bytes_each_time_and_any_theme() -> None:
    for theme in ("light", "dark"):
        style = Style(theme=theme, width=300)
        assert figure_svg(toy_region(), style) == figure_svg(toy_region(), style)
        assert figure_png(toy_region(), style, dpi=96) == figure_png(toy_region(), style, dpi=96)
    assert PALETTES["dark"].ground in figure_svg(toy_region(), Style(theme="dark"))


def test_nothing_of_a_name_is_markup() -> None:
    nasty = Region(
        contig="<c>&\x01",
        start=0,
        end=10,
        signals=[Signal(name="1", label="</text><script>", runs=runs())],
        genes=[Gene('"><script>', 1, ((0, 9),))],
        metadata="</metadata><script>",
    )
    root = ET.fromstring(figure_svg(nasty))  # noqa: S314 - our own text
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "desc", "metadata", "rect", "path", "text"
    }  # fmt: skip


def test_a_png_has_the_shapes_of_the_drawing() -> None:
    shapes = (
        Rect(10, 10, 20, 10, "#ff0000"),
        Letter(50, 10, 20, 20, "A", "#0000ff"),
        Text(10, 45, "ACGT", 10, "#000000"),
    )
    drawing = Drawing(80, 50, "#ffffff", shapes, "Títle", "What", "{}")
    image = Image.open(io.BytesIO(png(drawing, 192)))
    assert image.size == (160, 100)
    assert image.info["dpi"] == pytest.approx((192, 192), abs=0.1)
    assert image.text == {"Title": "Títle", "Description": "What", "Comment": "{}"}
    pixels = np.asarray(image.convert("RGB")).astype(int)
    red = (pixels == (255, 0, 0)).all(axis=2)
    assert np.array_equal(np.argwhere(red).min(axis=0), (20, 20))
    assert np.array_equal(np.argwhere(red).max(axis=0), (39, 59))
    # the hole of the A shows the ground: at a third of its height, in its middle
    assert tuple(pixels[20 + 18, 120]) == (255, 255, 255)
    assert tuple(pixels[20 + 26, 120]) == (0, 0, 255)
    assert (pixels[75:92, 20:80] < 80).any()


def test_outlines_are_closed_and_fill_their_box() -> None:
    for letter in "ACGT":
        points = np.array(letter_outline(letter))
        assert points.min() == pytest.approx(0, abs=1)
        assert points.max() == pytest.approx(100, abs=1)


def test_a_picture_too_large_is_refused() -> None:
    with pytest.raises(LimitError, match="lower dpi"):
        figure_png(toy_region(), Style(width=2000, row_height=200), dpi=600)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5), st.integers(1, 9)), max_size=30),
    st.integers(1, 30),
)
def test_bins_keep_the_largest_of_each(parts: list[tuple[int, int, int]], bins: int) -> None:
    at, given_runs = 0, []
    for gap, size, value in parts:
        given_runs.append((at + gap, at + gap + size, float(value)))
        at += gap + size
    start, end = 3, max(at, 40)
    dense = np.zeros(end + 1, np.float32)
    for low, high, value in given_runs:
        dense[low:high] = value
    found = binned(runs(*given_runs), start, end, bins)
    inside = sum(high > start and low < end for low, high, _ in given_runs)
    assert len(found.value) <= max(bins, inside if inside <= bins else 0)
    made = np.zeros(end + 1, np.float32)
    for low, high, value in zip(*found, strict=True):
        assert value == dense[low:high].max()
        made[low:high] = value
    assert (made[start:end] >= dense[start:end]).all()
    if inside <= bins:
        assert np.array_equal(made[start:end], dense[start:end])


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1000, 4) == [500, 1000]
    assert ticks(0, 1, 5) == [1]
    for start, end, most in ((0, 7, 3), (123_456, 9_876_543, 8), (5, 6, 1)):
        found = ticks(start, end, most)
        assert all(start < tick <= end for tick in found)
        assert len(found) <= most + 1


def test_genes_and_their_names_do_not_overlap() -> None:
    frame = Frame(0, 1000, 100.0, 600.0, PALETTES["light"])
    close = [Gene(f"GENE{at}", 1, ((at * 20, at * 20 + 10),)) for at in range(6)]
    lanes, left_out = pack(close, frame)
    assert left_out == 0
    for lane in lanes:
        middles = [100 + 500 * (gene.start + gene.end) / 2000 for gene in lane]
        widths = [text_width(gene.name, 8) for gene in lane]
        assert all(
            after - before >= (left + right) / 2
            for before, after, left, right in zip(
                middles, middles[1:], widths, widths[1:], strict=False
            )
        )
    many = [Gene("X", 1, ((0, 900),)) for _ in range(MAX_LANES + 3)]
    assert pack(many, frame)[1] == 3
    shapes, _ = draw_genes([Gene("X", 1, ((0, 9),))] * (MAX_GENES + 1), frame, 0, 90)
    assert "401 transcripts; a smaller region shows them" in [shape.text for shape in shapes]


def test_a_gene_points_where_it_goes() -> None:
    frame = Frame(0, 1000, 100.0, 600.0, PALETTES["light"])
    for strand, tip in ((1, 200.0), (-1, 150.0)):
        shapes, _ = draw_genes([Gene("G", strand, ((100, 200),))], frame, 0, 90)
        (arrow,) = [shape for shape in shapes if isinstance(shape, Polygon)]
        middle = 3.5
        assert [x for x, y in arrow.points if y == middle] == [tip]
    shapes, _ = draw_genes([Gene("G", 0, ((100, 200),))], frame, 0, 90)
    assert not [shape for shape in shapes if isinstance(shape, Polygon)]


def test_texts_fit_their_room() -> None:
    assert text_width("iiii", 10) < text_width("WWWW", 10)
    for text in ("a" * 50, "short", "two words that wrap over lines"):
        assert text_width(fitted(text, 8, 40), 8) <= 40
        for line in wrapped(text, 8, 40, 2):
            assert text_width(line, 8) <= 40
    assert wrapped("", 8, 40, 2) == []
    assert len(wrapped("a b c d e f g h i j k l m n o p", 8, 20, 2)) == 2


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("c1:1-10", Span(0, 0, 10)),
        ("c1:1-1,000,000", Span(0, 0, 100)),
        ("HLA:1:5-6", Span(1, 4, 6)),
        ("HLA:1", Span(1, 0, 50)),
        (" c1 ", Span(0, 0, 100)),
    ],
)
def test_regions_are_read_as_browsers_write_them(text: str, span: Span) -> None:
    assert parse_region(text, ["c1", "HLA:1"], [100, 50]) == span


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("c2:1-10", UnknownNameError, "there are: c1"),
        ("", UnknownNameError, "no sequence"),
        ("c1:5", CoordinateError, "name:start-end"),
        ("c1:0-5", CoordinateError, "1-based"),
        ("c1:101-120", CoordinateError, "not inside"),
        ("c1:9-5", CoordinateError, "ends before"),
        ("c1:-5-9", CoordinateError, "name:start-end"),
    ],
)
def test_what_is_no_region_is_refused(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        parse_region(text, ["c1"], [100])


def test_widths_are_of_paper_or_of_screens() -> None:
    assert px_of("85mm") == pytest.approx(321.26)
    for text in ("", "0", "9999px", "-5", "12in", "1e3"):
        with pytest.raises(OptionError, match="width must be"):
            px_of(text)


@pytest.mark.slow
def test_sites_are_those_of_the_scan_of_genomes() -> None:
    codes = np.random.default_rng(1).integers(0, 5, 20_000).astype(np.uint8)
    background = np.array([0.3, 0.2, 0.2, 0.3])
    motifs = load_motifs("fungi", "JASPAR2026").motifs[:12]
    hits = scan([codes], motifs, background=background)
    for at, motif in enumerate(motifs):
        own = hits.filter(np.equal(hits["motif"].to_numpy(), at))
        wanted = sorted(
            zip(own["start"].to_pylist(), own["end"].to_pylist(), own["strand"].to_pylist(),
                strict=True),
        )  # fmt: skip
        assert sorted(map(tuple, motif_sites(codes, motif, background))) == wanted


def test_sites_by_hand() -> None:
    motif = next(m for m in load_motifs("fungi", "JASPAR2026").motifs if m.name == "REB1")
    consensus = motif.counts.argmax(axis=0).astype(np.uint8)
    gap = np.full(5, 4, np.uint8)
    codes = np.concatenate([gap, consensus, gap, 3 - consensus[::-1], gap])
    background = np.full(4, 0.25)
    width = len(consensus)
    found = motif_sites(codes, motif, background, start=100)
    assert (105, 105 + width, 1) in found
    assert (110 + width, 110 + 2 * width, -1) in found
    assert motif_sites(codes[: width - 1], motif, background) == []


def test_the_description_tells_everything() -> None:
    root = ET.fromstring(figure_svg(toy_region()))  # noqa: S314 - our own text
    said = root.find(f"{SVG}desc").text
    assert "chrA:1,001-2,000, 1,000 bases, positions from 1." in said
    assert "Feature 12-, REB1-like motif: at most 4, 2 peaks." in said
    assert "Feature 7: silent here." in said
    assert "Genes: ABC1, XYZ<2>." in said
    assert not re.search(r"\d{4}-\d\d-\d\d", figure_svg(toy_region()))  # no date
