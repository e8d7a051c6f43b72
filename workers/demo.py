"""`make demo`: a real record through the server, as any client would send it.

Starts `saetrack serve` on a free port of this machine, submits the bundled example over REST,
waits for the worker, prints what came out, saves the tracks and stops the server. Nothing is
computed here.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast
from urllib.parse import quote

import click

from annotations.errors import SaetrackError
from annotations.sequences import example_path, read_sequences, write_fasta
from app.client import DONE, Client, ClientError, Run
from workers.embedded_server import embedded_server

LOCUS_FLANK, LETTERS_FLANK = 1000, 30
"""Bases on each side of a peak in the pictures."""

EXPECTED = ("expectation_letters.bw", "expectation_information.bw")
"""What the language model expects of each base, for a genome browser."""

STEP = 10
"""Per cent of progress between two lines in a log."""

SILENCE = 15.0
"""Most seconds without a line in a log."""


def wait_for(run: Run, *, seconds: float) -> Run:
    """Show progress until the run is complete: a bar on a terminal, lines in a log.

    Raises
    ------
    ClientError
        If the run fails.
    TimeoutError
        If it takes longer than `seconds`.
    """
    if not sys.stderr.isatty():
        return run.wait(seconds, progress_lines())
    with click.progressbar(
        length=1000, label="computing", item_show_func=lambda text: text, file=sys.stderr
    ) as bar:

        def show(view: Mapping[str, Any]) -> None:
            bar.update(max(0, round(1000 * view["progress"]) - bar.pos), view["state"])

        return run.wait(seconds, show)


def progress_lines() -> Callable[[Mapping[str, Any]], None]:
    """What prints a line on standard error now and then of the views of a run that it is given.

    The first, the last, each `STEP` per cent, and after `SILENCE` seconds without one.
    """
    started = time.monotonic()
    said, when, ended = -STEP, started, False

    def show(view: Mapping[str, Any]) -> None:
        nonlocal said, when, ended
        now, percent = time.monotonic(), int(100 * view["progress"])
        over = view["state"] in DONE and not ended
        if percent - said < STEP and now - when < SILENCE and not over:
            return
        said, when, ended = percent, now, over
        click.echo(f"computing: {percent} %, {view['state']}, {now - started:.0f} s", err=True)

    return show


def active_features(run: Run) -> list[dict[str, Any]]:
    """The rows of the table of features that were active, the most telling first."""
    frame = run.features(sort="telling", active=True)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return cast(list[dict[str, Any]], rows)


def feature_cells(run: Run, row: Mapping[str, Any]) -> list[str]:
    """A feature row as the cells of the printed table."""
    peaks = run.feature(row["feature"])["peaks"]
    top = next((peak for peak in peaks if peak["strand"] == row["strand"]), None)
    where = "-" if top is None else f"{top['contig']}:{top['position'] + 1:,}"
    motif = row["match_motif_name"] or row["peak_motif_name"]
    return [
        f"{row['feature']} {row['strand']}",
        f"{row['density']:.2e}",
        f"{row['max']:.3g}",
        f"{row['peaks']}",
        row["label"] or "-",
        f"{motif} {share(row['peak_motif_share'])}" if motif else "-",
        f"{row['peak_gene_kind']} {share(row['peak_gene_kind_share'])}"
        if row["peak_gene_kind"]
        else "-",
        where,
        (top and top["gene_name"]) or "-",
    ]


FEATURE_HEADER = (
    "feature",
    "density",
    "max",
    "peaks",
    "label (atlas)",
    "motif at peaks",
    "gene part at peaks",
    "top peak",
    "gene",
)


def share(part: float | None) -> str:
    """A share in per cent, or nothing."""
    return "" if part is None else f"{100 * part:.0f}%"


def tf_lines(answer: Mapping[str, Any], tf: str, *, rows: int) -> Iterator[str]:
    """The answer to a question about a transcription factor, as lines."""
    test = answer["motif_test"]
    names = ", ".join(f"{motif['name']} {motif['matrix_id']}" for motif in answer["motifs"])
    yield f"Which features match {tf}? ({answer['match_type']}: {names})"
    if not test["tested"]:
        yield f"  this sequence carries no test of its own: {test['power']}, {test['reason']}"
    if not answer["features"]:
        yield f"  none at q <= {answer['max_q']:g}"
        return
    if answer["source"] == "atlas":
        yield "  from the atlas of the dictionary:"
    cells = [
        [
            f"{row['rank']}",
            f"{row['feature']} {row['strand']}",
            row["motif_name"],
            "-" if row["q"] is None else f"{row['q']:.1e}",
            "-" if row["log2_enrichment"] is None else f"{row['log2_enrichment']:.2f}",
            str(row["run_peaks"] or 0),
        ]
        for row in answer["features"][:rows]
    ]
    header = ("rank", "feature", "motif", "q", "log2 enrichment", "peaks in this record")
    yield from table_lines(header, cells)


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of text in columns, two spaces in."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in [header, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield ("  " + "  ".join(cells)).rstrip()


def highest_peak(run: Run, answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Where the best matching feature row that fires on the motif in this record does so most."""
    names = {motif["name"] for motif in answer["motifs"]}
    for row in answer["features"]:
        for peak in run.feature(row["feature"])["peaks"]:
            if peak["strand"] == row["strand"] and peak["motif_name"] in names:
                return {**peak, "row": f"{row['feature']}{row['strand']}", "label": row["label"]}
    return None


def draw_peak(run: Run, peak: Mapping[str, Any], tf: str, out: Path) -> list[Path]:
    """Save pictures of the surroundings of a peak, and of its bases as letters."""
    made = []
    for name, flank in (("locus", LOCUS_FLANK), ("letters", LETTERS_FLANK)):
        first, last = max(1, peak["position"] + 1 - flank), peak["position"] + 1 + flank
        region = f"{peak['contig']}:{first}-{last}"
        style = {"features": peak["row"], "motifs": tf, "expectation": True}
        made.append(run.figure(out / f"{name}.svg", region, **style))
    return made


def save_tracks(
    run: Run, rows: Sequence[Mapping[str, Any]], example: Path, out: Path
) -> list[Path]:
    """Write the tables of the run, and sequence, peaks and signal for a genome browser."""
    pictures = [*out.glob("locus.svg"), *out.glob("letters.svg")]
    for stale in [*out.glob("feature_*_plus.*"), *out.glob("feature_*_minus.*"), *pictures]:
        stale.unlink()
    names = ("features.tsv", "peaks.tsv", "matches.tsv", "peaks.bed", "provenance.json", *EXPECTED)
    files = run.download(out, names)
    for row in rows:
        one = f"{row['feature']}{row['strand']}"
        stem = f"feature_{row['feature']}_{'plus' if row['strand'] == '+' else 'minus'}"
        files.append(run.save_signal(one, out / f"{stem}.bw"))
        files.append(run.save_peaks(one, out / f"{stem}.bed"))
    fasta = out / "sequence.fa"
    write_fasta(read_sequences(example).records, fasta)
    return [fasta, *files]


def show_and_save(
    client: Client, *, out: Path, taxon: str, tf: str, top: int, seconds: float
) -> None:
    """Submit the example, wait, print what came out and save it."""
    example = example_path()
    run = client.submit(example, taxon=taxon, expectation=True, title="make demo")
    click.echo(f"submitted {example.name}: POST /v1/runs -> /v1/runs/{run.id}")
    view = wait_for(run, seconds=seconds).view
    click.echo(f"{view['bases']:,} bases with {view['dictionary']}: {view['state']}")
    rows = active_features(run)
    click.echo(f"\n{len(rows):,} feature rows were active; the most telling:")
    shown = rows[:top]
    for line in table_lines(FEATURE_HEADER, [feature_cells(run, row) for row in shown]):
        click.echo(line)
    answer = client.get(f"/v1/runs/{run.id}/tfs/{quote(tf, safe='')}/features")
    click.echo()
    for line in tf_lines(answer, tf, rows=top):
        click.echo(line)
    files = save_tracks(run, shown, example, out)
    peak = highest_peak(run, answer)
    if peak is not None:
        files += draw_peak(run, peak, tf, out)
        known = f" ({peak['label']})" if peak["label"] else ""
        click.echo(
            f"\n{peak['row']}{known} fires on a {tf} motif at {peak['contig']}:"
            f"{peak['position'] + 1:,}, value {peak['value']:.3g}; what the model expects of the "
            "bases there stands above it in locus.svg and letters.svg"
        )
    contig = run.contigs()[0]["name"]
    click.echo(f"\n{len(files)} files are in {out}:")
    click.echo("  tables  features.tsv, peaks.tsv, matches.tsv, provenance.json")
    click.echo("  tracks  peaks.bed (all), feature_*.bw and feature_*.bed (the features above),")
    click.echo("          expectation_*.bw (what the language model expects of each base)")
    click.echo("To look at them in IGV:")
    click.echo(f"  Genomes > Load Genome from File: {out / 'sequence.fa'}")
    click.echo(
        f"  File > Load from File:           {out / 'feature_*.bw'}, the .bed files beside them"
    )
    click.echo(f"  then go to {contig} and to a top peak of the table above")


def leave(number: int, frame: FrameType | None) -> None:
    """Handle a signal: end as if asked to, so that the server is stopped on the way out."""
    sys.exit(128 + number)


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder of the tables and tracks; files of an earlier demo are replaced.",
)
@click.option("--taxon", default="fungi", show_default=True, help="JASPAR group of the motifs.")
@click.option("--tf", default="REB1", show_default=True, help="Transcription factor to ask about.")
@click.option(
    "--top", type=click.IntRange(1, 100), default=8, show_default=True, help="Features to show."
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    default=900,
    show_default=True,
    help="Longest wait for the run.",
)
def demo(out: Path, taxon: str, tf: str, top: int, seconds: float) -> None:
    """Send a real DNA record through a server on this machine and show what comes out.

    The record is the bundled GenBank example. The server runs for this one run, in a folder
    that is removed afterwards; its messages are in server.log beside the results.
    """
    started = time.monotonic()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="saetrack-demo-") as data:
            click.echo("starting the server: saetrack serve")
            with embedded_server(Path(data), out / "server.log") as client:
                click.echo(f"it listens on {client.url}")
                show_and_save(client, out=out, taxon=taxon, tf=tf, top=top, seconds=seconds)
            click.echo(
                f"\nthe server has stopped; all of it took {time.monotonic() - started:.0f} s"
            )
    except (SaetrackError, ClientError, OSError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise click.ClickException(f"{message} (server messages: {out / 'server.log'})") from error


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)  # else the server would be left behind
    demo()
