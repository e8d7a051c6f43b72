"""Draw features of an `annotate` result over the genes of one region, as SVG.

    python scripts/draw_locus.py RESULT chrIX:20001-24000 --genes GFF3 \
        --feature 12+ --feature 77- --out docs/locus.svg
"""

import html
import re
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotations.activations import from_stretches, read_feature
from annotations.errors import FormatError, UnknownNameError
from annotations.genes import read_genes
from annotations.types import Contig, strand_symbol

WIDTH, LEFT, TRACK = 1000, 230, 46
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


@click.command(help=__doc__)
@click.argument("result", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("region")
@click.option("--genes", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--feature", "features", multiple=True, required=True, help="Such as 12+ or 77-.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def draw(result: Path, region: str, genes: Path, features: tuple[str, ...], out: Path) -> None:
    """Write the picture."""
    listed = pq.read_table(result / "contigs.parquet").to_pylist()
    contigs = [Contig(row["name"], row["length"], row["refget"]) for row in listed]
    name, start, end = _region(region)
    at = [contig.name for contig in contigs].index(name)
    table = read_genes(genes, contigs, filename=genes.name)
    parts = [f'<rect width="{WIDTH}" height="{{height}}" fill="white"/>']
    parts += _ruler(name, start, end)
    parts += _genes(table, at, start, end)
    labels = pq.read_table(result / "features.parquet")
    y = 96
    for colour, text in zip(COLOURS, features, strict=False):
        feature, strand = int(text[:-1]), 1 if text[-1] == "+" else -1
        found = from_stretches(
            read_feature(result / "activations.parquet", feature, strand=strand, contig=at)
        )
        parts += _signal(found.position, found.value, start, end, y, colour)
        parts += _caption(labels, feature, strand, y, colour)
        y += TRACK
    height = y + 10
    body = "\n".join(parts).replace("{height}", str(height))
    out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">\n{body}\n</svg>\n'
    )


def _region(text: str) -> tuple[str, int, int]:
    found = re.fullmatch(r"(\S+):([\d,]+)-([\d,]+)", text)
    if not found:
        raise FormatError(f"a region is written name:start-end, 1-based; got {text!r}")
    start, end = (int(number.replace(",", "")) for number in found.groups()[1:])
    return found.group(1), start - 1, end


def _x(position: float, start: int, end: int) -> float:
    return round(LEFT + (position - start) / (end - start) * (WIDTH - LEFT - 10), 2)


def _ruler(name: str, start: int, end: int) -> list[str]:
    step = 10 ** int(np.log10(end - start))
    step = step // 2 if (end - start) / step < 4 else step
    out = [f'<text x="8" y="20" font-weight="bold">{html.escape(name)}</text>']
    for tick in range(-(-start // step) * step, end, step):
        x = _x(tick, start, end)
        out.append(f'<line x1="{x}" x2="{x}" y1="24" y2="30" stroke="#555"/>')
        out.append(f'<text x="{x}" y="20" text-anchor="middle" fill="#555">{tick:,}</text>')
    return out


def _genes(table: pa.Table, contig: int, start: int, end: int) -> list[str]:
    here = table.filter(
        pc.and_(
            pc.equal(table["contig"], contig),
            pc.and_(pc.less(table["start"], end), pc.greater(table["end"], start)),
        )
    )
    out = ['<text x="8" y="60">genes</text>']
    heights = {"gene": (55, 2, "#999"), "exon": (51, 10, "#bbb"), "CDS": (48, 16, "#444")}
    # Thin parts first, so that the coding ones lie on top.
    drawn = sorted(here.to_pylist(), key=lambda row: heights.get(row["kind"], (0, 0))[1])
    for row in drawn:
        first, last = max(row["start"], start), min(row["end"], end)
        x, width = _x(first, start, end), _x(last, start, end) - _x(first, start, end)
        if row["kind"] in heights:
            y, height, colour = heights[row["kind"]]
            out.append(
                f'<rect x="{x}" y="{y}" width="{width:.2f}" height="{height}" fill="{colour}"/>'
            )
        if row["kind"] == "gene":
            arrow = "&#8594;" if row["strand"] > 0 else "&#8592;"
            name = html.escape(row["name"] or "")
            out.append(
                f'<text x="{x + width / 2:.2f}" y="80" text-anchor="middle">{name} {arrow}</text>'
            )
    return out


def _signal(
    position: np.ndarray, value: np.ndarray, start: int, end: int, y: int, colour: str
) -> list[str]:
    here = (position >= start) & (position < end)
    top = float(value[here].max()) if here.any() else 1.0
    base = y + TRACK - 10
    out = [f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{base}" y2="{base}" stroke="#ddd"/>']
    width = max(1.2, _x(start + 1, start, end) - LEFT)
    for at, height in zip(position[here], value[here] / top * (TRACK - 14), strict=True):
        out.append(
            f'<rect x="{_x(at, start, end)}" y="{base - height:.2f}" width="{width:.2f}" '
            f'height="{height:.2f}" fill="{colour}"/>'
        )
    return out


def _caption(table: pa.Table, feature: int, strand: int, y: int, colour: str) -> list[str]:
    rows = table.filter(
        pc.and_(pc.equal(table["feature"], feature), pc.equal(table["strand"], strand))
    ).to_pylist()
    if not rows:
        raise UnknownNameError(f"feature {feature} was not read on strand {strand_symbol(strand)}")
    row = rows[0]
    text = row.get("label") or row.get("motif_name") or "no label"
    return [
        f'<text x="8" y="{y + 18}" fill="{colour}" font-weight="bold">'
        f"feature {feature} ({strand_symbol(strand)})</text>",
        f'<text x="8" y="{y + 32}" fill="#555">{html.escape(str(text))}</text>',
    ]


if __name__ == "__main__":
    draw()
