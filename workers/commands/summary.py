"""What the commands print: a progress bar on standard error, summaries on standard output."""

import json
import sys
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from annotations.run_motifs import STORED
from annotations.types import Contig, counted

if TYPE_CHECKING:  # it brings torch, which takes seconds to load
    from workers.batch import Left
    from workers.result_folder import Summary

TOP_ROWS = 10
"""Features in a printed summary."""

TABLE_LEGEND = (
    "motif at peaks: commonest motif hit at the peaks; genes: commonest gene part; match: best "
    "tested motif"
)
"""What the columns of the summary's table are."""

BAR_WIDTH = 30

PAGE = "index.html"
"""The file of a result folder that shows it."""


class Bar:
    """One line on standard error that says how far the work is; silent where nobody watches."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line."""
        if self._shown and self._last:
            click.echo("\r" + " " * len(self._last) + "\r", nl=False, err=True)

    def show(self, what: str, done: int = 0, total: int = 0) -> None:
        """Draw the line.

        Parameters
        ----------
        what : str
            What is being done.
        done, total : int
            How much of it; no bar where the total is not known (0).
        """
        if not self._shown:
            return
        line = what
        if total:
            full = BAR_WIDTH * done // total
            line = f"{what} [{'#' * full}{'.' * (BAR_WIDTH - full)}] {done:,}/{total:,} bases"
        click.echo("\r" + line.ljust(len(self._last)), nl=False, err=True)
        self._last = line


def print_summary(summary: "Summary", *, as_json: bool) -> None:
    """Print what `saetrack annotate` found."""
    if as_json:
        click.echo(json.dumps(summary_json(summary), indent=2, allow_nan=False))
        return
    merged, card = summary.merged, summary.dictionary
    warning = " (RANDOM WEIGHTS: for tests; means nothing)" if card.random_weights else ""
    strands = "both strands" if summary.options.strands == "both" else "forward strand"
    click.echo(f"{_read(summary)}, {strands}; {card.id}{warning}")
    if card.tokenization != "base":
        click.echo(f"resolution: {card.resolution}")
    click.echo(f"{merged.features:,} active feature rows, {merged.peaks:,} top peaks kept")
    if summary.nothing is not None:
        click.echo(summary.nothing)
    motifs = motifs_in_words(summary)
    if merged.power.tested:
        click.echo(f"motif test ({motifs}): {merged.matches:,} matches at q <= 0.05")
    elif motifs is None:
        click.echo("motif test: none was asked for (--taxon TAXON or --motifs-file FILE)")
    else:
        click.echo(f"motif test ({motifs}): underpowered, {merged.power.reason}")
        if merged.features:
            click.echo("labels below come from the dictionary's atlas, where it has one")
    rows = [_row(row) for row in summary.features.slice(0, TOP_ROWS).to_pylist()]
    if rows:
        click.echo()
        print_table(["feature", "max", "peaks", "label", "motif at peaks", "genes", "match"], rows)
        click.echo(TABLE_LEGEND)
    click.echo()
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in summary.seconds.items())
    click.echo(f"{parts}; peak memory {summary.peak_memory_bytes / 1e6:,.0f} MB")
    click.echo(f"files in {summary.out}: {', '.join(_short(summary.files))}")
    if PAGE in summary.files and merged.features:
        click.echo(f"look at it: open {summary.out / PAGE} in a web browser")
    if motifs is not None and summary.nothing is None:
        click.echo(f"next: saetrack query {summary.out} --tf NAME")


def print_left(left: "Left", *, as_json: bool) -> None:
    """Print how far a run in parts is."""
    done = left.shards - len(left.missing)
    if as_json:
        record = {
            "work": str(left.work),
            "shard": f"{left.part.number}/{left.part.of}",
            "computed": left.computed,
            "bases": left.bases,
            "seconds": round(left.seconds, 3),
            "shards": left.shards,
            "missing": left.missing,
        }
        click.echo(json.dumps(record, indent=2))
        return
    took = f" in {left.seconds:.1f} s" if left.computed else ""
    click.echo(
        f"task {left.part.number} of {left.part.of}: {counted(left.computed, 'shard')} computed, "
        f"{left.bases:,} bases{took}; {done:,} of {left.shards:,} are in {left.work}"
    )
    if left.missing:
        from workers.batch import shards_in_words

        click.echo(f"missing: {shards_in_words(left.missing)}")
    else:
        click.echo(f"next: saetrack merge {left.work} --out DIR")


def motifs_in_words(summary: "Summary") -> str | None:
    """Which motifs were looked for; None for none."""
    options = summary.options
    named = [] if options.taxon is None else [f"{options.release} {options.taxon}"]
    named += [name for name in summary.files if name.split(".")[0] == STORED]
    return " and ".join(named) or None


def summary_json(summary: "Summary") -> dict[str, Any]:
    """The summary as JSON values."""
    return {
        "out": str(summary.out),
        "dictionary": summary.dictionary.id,
        "random_weights": summary.dictionary.random_weights,
        "options": summary.options.to_json(),
        "contigs": [{"name": c.name, "length": c.length} for c in summary.contigs],
        "regions": summary.regions,
        "active_feature_rows": summary.merged.features,
        "peaks": summary.merged.peaks,
        "nothing": summary.nothing,
        "matches": summary.merged.matches,
        "power": summary.merged.power._asdict(),
        "top_features": [
            row | {"strand": "+" if row["strand"] > 0 else "-"}
            for row in summary.features.slice(0, TOP_ROWS).to_pylist()
        ],
        "files": summary.files,
        "seconds": summary.seconds,
        "peak_memory_bytes": summary.peak_memory_bytes,
    }


def table_width(header: list[str], rows: list[list[str]]) -> int:
    """Characters of the longest line that `print_table` would print."""
    widths = _widths(header, rows)
    return sum(widths) + 2 * (len(widths) - 1)


def _widths(header: list[str], rows: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(header, *rows, strict=True)]


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print rows of text in columns."""
    widths = _widths(header, rows)
    for row in [header, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def share(name: str | None, part: float | None) -> str:
    """A name and its share in per cent, or a dash."""
    return "-" if name is None else f"{name} {100 * (part or 0):.0f}%"


def _read(summary: "Summary") -> str:
    """What was read, in words."""
    regions = summary.regions
    if regions is None:
        bases = sum(contig.length for contig in summary.contigs)
        return f"{_records(summary.contigs)}, {bases:,} bases"
    said = f"{counted(regions['merged'], 'region')} of {regions['genome']}"
    if regions["submitted"] != regions["merged"]:
        said += f" ({regions['submitted']:,} before those that overlap were joined)"
    several = [f"{name} in {n} places" for name, n in regions["several_places"].items()]
    flank = [f"{regions['flank']:,} bases added on each side"] if regions["flank"] else []
    return ", ".join([said, *several, *flank, f"{regions['bases']:,} bases"])


def _records(contigs: list[Contig]) -> str:
    """How many records there are, in words."""
    return contigs[0].name if len(contigs) == 1 else f"{len(contigs)} records"


def _row(row: dict[str, Any]) -> list[str]:
    """A feature as the cells of the summary's table."""
    match = "-"
    if row["match_motif_name"] is not None:
        match = f"{row['match_motif_name']} q={row['match_q']:.2g}"
    return [
        f"{row['feature']}{'+' if row['strand'] > 0 else '-'}",
        f"{row['max']:.3g}",
        f"{row['peaks']:,}",
        (row["label"] or "-")[:40],
        share(row["peak_motif_name"], row["peak_motif_share"]),
        share(row["peak_gene_kind"], row["peak_gene_kind_share"]),
        match,
    ]


def _short(files: list[str]) -> list[str]:
    """File names, folders with the number of their files."""
    plain = [name for name in files if "/" not in name]
    folders = Counter(name.split("/")[0] for name in files if "/" in name)
    return [*plain, *(f"{name}/ ({number})" for name, number in folders.items())]
