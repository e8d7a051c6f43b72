"""`make demo`: a real record through the server, as any client in another house would send it.

Starts `saetrack serve` on a free port of this machine, submits the bundled example over REST,
waits for the worker, prints what came out, saves the tracks and stops the server. It knows the
server by its URLs alone: nothing is computed here.
"""

import http.client
import json
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode, urlsplit

import click

from annotations.errors import SaetrackError, StateError, ToolError
from annotations.sequences import example_path, read_sequences, write_fasta

START_SECONDS = 120.0
"""Longest wait for the server and its worker to be ready."""

STOP_SECONDS = 60.0
"""Longest wait for the server to stop once it is asked to."""

POLL_SECONDS = 0.5
"""Time between two questions about the state of the run."""

DONE = frozenset({"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"})
"""States that a run does not leave."""


class Answer(NamedTuple):
    """What the server said."""

    status: int
    """HTTP status."""
    location: str
    """The Location header, "" if there is none."""
    body: bytes
    """The body as sent."""


class Client:
    """Requests to one server on this machine; refuses every answer that is no success."""

    def __init__(self, port: int) -> None:
        """Remember the port; nothing is sent yet."""
        self.port = port

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer.

        Raises
        ------
        ToolError
            If the server refuses; the message is the `detail` of its problem document.
        OSError
            If the server cannot be reached.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            answer = Answer(response.status, response.getheader("Location") or "", response.read())
        finally:
            connection.close()
        if answer.status >= 400:
            raise ToolError(f"{method} {path} got {answer.status}: {problem_text(answer.body)}")
        return answer

    def get(self, path: str, **query: object) -> Any:
        """JSON of `path` with the given query."""
        question = f"?{urlencode(query)}" if query else ""
        return json.loads(self.ask("GET", path + question).body)

    def save(self, path: str, target: Path, **query: object) -> Path:
        """Write the answer of `path` to a file."""
        question = f"?{urlencode(query)}" if query else ""
        target.write_bytes(self.ask("GET", path + question).body)
        return target

    def submit(self, sequences: Path, options: Mapping[str, str]) -> str:
        """Submit a file as a multipart form.

        Returns
        -------
        path : str
            Path of the new run, from the Location header.
        """
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in options.items()
        ]
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{sequences.name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        answer = self.ask(
            "POST",
            "/v1/runs",
            body="".join(parts).encode()
            + head.encode()
            + sequences.read_bytes()
            + f"\r\n--{boundary}--\r\n".encode(),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        return urlsplit(answer.location).path


def problem_text(body: bytes) -> str:
    """What a problem document says, or the start of a body that is none."""
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, AttributeError):
        return body[:200].decode(errors="replace")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def embedded_server(data: Path, log: Path) -> Iterator[Client]:
    """Run `saetrack serve` while the body runs; its output goes to `log`.

    Raises
    ------
    ToolError
        If the server stops or is not ready in `START_SECONDS`.
    """
    port = free_port()
    environment = {**os.environ, "SAETRACK_DATA_DIR": str(data), "SAETRACK_PORT": str(port)}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            client = Client(port)
            wait_until_ready(client, server, log)
            yield client
        finally:
            stop(server)


def wait_until_ready(client: Client, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when `/readyz` says yes."""
    deadline = time.monotonic() + START_SECONDS
    why = "it did not answer"
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ToolError(f"the server stopped with {server.returncode}: {last_line(log)}")
        try:
            client.ask("GET", "/readyz")
            return
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or why
        except ToolError as error:
            why = str(error)
        time.sleep(0.2)
    raise ToolError(f"the server was not ready after {START_SECONDS:.0f} s ({why}); see {log}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, and make it stop if it does not."""
    if server.poll() is not None:
        return
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def last_line(log: Path) -> str:
    """The last line of the log that says something."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


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


def all_features(client: Client, run: str) -> list[dict[str, Any]]:
    """Every row of the table of features, page by page."""
    rows: list[dict[str, Any]] = []
    query: dict[str, object] = {"sort": "q", "limit": 500}
    while True:
        page = client.get(f"{run}/features", **query)
        rows += page["features"]
        if page["next_page_token"] is None:
            return rows
        query["page_token"] = page["next_page_token"]


def telling(row: Mapping[str, Any]) -> tuple[object, ...]:
    """Sort key of a feature row: matches of this run, then labels of the atlas, then contrast."""
    return (
        math.inf if row["match_q"] is None else row["match_q"],
        math.inf if row["label_motif_q"] is None else row["label_motif_q"],
        row["label"] is None,
        -(row["max"] or 0.0) / (row["q50"] or math.inf),
    )


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
    if answer["atlas"] is not None:
        yield "  from the atlas of the dictionary:"
    cells = [
        [
            f"{row['rank']}",
            f"{row['feature']} {row['strand']}",
            row["motif_name"],
            "-" if row["q"] is None else f"{row['q']:.1e}",
            "-" if row["log2_enrichment"] is None else f"{row['log2_enrichment']:.2f}",
            str(row["here"]["peaks"]) if row["here"] else "0",
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
    rows = sorted(all_features(client, run), key=telling)
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
    demo()
