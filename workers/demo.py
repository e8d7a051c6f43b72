"""`make demo`: a real record through the server, as any client would send it.

Starts `saetrack serve` on a free port of this machine, submits the bundled example over REST,
waits for the worker, prints what came out, saves the tracks and stops the server. Nothing is
computed here.
"""

import http.client
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast
from urllib.parse import quote

import click

from annotations.errors import SaetrackError, StateError
from annotations.sequences import example_path, read_sequences, write_fasta
from workers.rest_client import Client, embedded_server

POLL_SECONDS = 0.5
"""Time between two questions about the state of the run."""

DONE = frozenset({"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"})
"""States that a run does not leave."""


def wait_for(client: Client, run: str, *, seconds: float) -> dict[str, Any]:
    """Show progress until the run is complete, and return its last view.

    Raises
    ------
    StateError
        If the run fails or takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    with click.progressbar(
        length=1000, label="computing", item_show_func=lambda text: text, file=sys.stderr
    ) as bar:
        while True:
            view = client.get(run)
            bar.update(max(0, round(1000 * view["progress"]) - bar.pos), view["state"])
            if view["state"] in DONE:
                break
            if time.monotonic() > deadline:
                raise StateError(
                    f"the run is still {view['state']} after {seconds:.0f} s; "
                    "a slower machine may need a larger --seconds"
                )
            time.sleep(POLL_SECONDS)
    if view["state"] != "COMPLETE":
        raise StateError(
            f"the run ended as {view['state']}: {(view['error'] or {}).get('message')}"
        )
    return cast(dict[str, Any], view)


def active_features(client: Client, run: str) -> list[dict[str, Any]]:
    """The rows of the table of features that were active, page by page, the most telling first."""
    rows: list[dict[str, Any]] = []
    query: dict[str, object] = {"sort": "telling", "limit": 500}
    while True:
        page = client.get(f"{run}/features", **query)
        rows += [row for row in page["features"] if row["active_bases"]]
        if page["next_page_token"] is None:
            return rows
        query["page_token"] = page["next_page_token"]


def feature_cells(client: Client, run: str, row: Mapping[str, Any]) -> list[str]:
    """A feature row as the cells of the printed table."""
    peaks = client.get(f"{run}/features/{row['feature']}")["peaks"]
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


def save_tracks(
    client: Client, run: str, rows: Sequence[Mapping[str, Any]], example: Path, out: Path
) -> list[Path]:
    """Write the tables of the run, and sequence, peaks and signal for a genome browser."""
    for stale in [*out.glob("feature_*_plus.*"), *out.glob("feature_*_minus.*")]:
        stale.unlink()
    files = [
        client.save(f"{run}/{name}", out / name)
        for name in ("features.tsv", "peaks.tsv", "matches.tsv", "peaks.bed")
    ]
    files.append(client.save(f"{run}/provenance", out / "provenance.json"))
    for row in rows:
        one = f"{run}/features/{row['feature']}"
        stem = f"feature_{row['feature']}_{'plus' if row['strand'] == '+' else 'minus'}"
        files.append(client.save(f"{one}/signal.bw", out / f"{stem}.bw", strand=row["strand"]))
        files.append(client.save(f"{one}/peaks.bed", out / f"{stem}.bed", strand=row["strand"]))
    fasta = out / "sequence.fa"
    write_fasta(read_sequences(example).records, fasta)
    return [fasta, *files]


def show_and_save(
    client: Client, *, out: Path, taxon: str, tf: str, top: int, seconds: float
) -> None:
    """Submit the example, wait, print what came out and save it."""
    example = example_path()
    run = client.submit(example, {"taxon": taxon, "title": "make demo"})
    click.echo(f"submitted {example.name}: POST /v1/runs -> {run}")
    view = wait_for(client, run, seconds=seconds)
    click.echo(f"{view['bases']:,} bases with {view['dictionary']}: {view['state']}")
    rows = active_features(client, run)
    click.echo(f"\n{len(rows):,} feature rows were active; the most telling:")
    shown = rows[:top]
    for line in table_lines(FEATURE_HEADER, [feature_cells(client, run, row) for row in shown]):
        click.echo(line)
    answer = client.get(f"{run}/tfs/{quote(tf, safe='')}/features")
    click.echo()
    for line in tf_lines(answer, tf, rows=top):
        click.echo(line)
    files = save_tracks(client, run, shown, example, out)
    contig = client.get(f"{run}/contigs")["contigs"][0]["name"]
    click.echo(f"\n{len(files)} files are in {out}:")
    click.echo("  tables  features.tsv, peaks.tsv, matches.tsv, provenance.json")
    click.echo("  tracks  peaks.bed (all), feature_*.bw and feature_*.bed (the features above)")
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
                click.echo(f"it listens on http://127.0.0.1:{client.port}")
                show_and_save(client, out=out, taxon=taxon, tf=tf, top=top, seconds=seconds)
            click.echo(
                f"\nthe server has stopped; all of it took {time.monotonic() - started:.0f} s"
            )
    except (SaetrackError, OSError, http.client.HTTPException) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise click.ClickException(f"{message} (server messages: {out / 'server.log'})") from error


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)  # else the server would be left behind
    demo()
