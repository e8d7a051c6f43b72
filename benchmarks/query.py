"""How long a question about a transcription factor takes on the server.

    python benchmarks/query.py --out benchmarks/results/2026-11-21-query.json

Makes an atlas of 32,768 features whose matches are drawn at random (each row has a few of all
motifs, in the numbers of a real atlas), starts the web process as `saetrack serve` does, and asks
it over HTTP, one question after the other and from several clients at once. The figures in the
atlas mean nothing; its size and shape are what is measured. A first question reads the atlas and
the motifs, and is told apart.
"""

import argparse
import http.client
import json
import os
import platform
import random
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.atlas import TABLES, Atlas, AtlasCard, write_atlas
from annotations.cards import DictionaryCard, ModelCard, write_card
from annotations.errors import AmbiguousNameError
from annotations.evidence import EVIDENCE, SEPARATOR
from annotations.jaspar import MotifCatalogue, load_motifs, resolve_tf
from annotations.provenance import environment
from app.config import Settings
from app.database import make_engine, upgrade
from workers.embedded_server import free_port
from workers.serve import child_environment, web_command

SHA256 = "0" * 64
DICTIONARY = "synthetic"
TAXON, RELEASE = "vertebrates", "JASPAR2026"
CLUSTERS = 200
GROUPED = 0.5
"""Share of feature rows that have a group."""
EXAMPLES, NEIGHBOURS, CONCEPTS = 4, 5, 2
"""Of each feature row."""


def main() -> None:
    """Run the benchmark and write its record."""
    args = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        models, data = Path(scratch) / "models", Path(scratch) / "data"
        size = write_models(models, features=args.features, matches=args.matches)
        settings = Settings(
            data_dir=data, models_dirs=(models,), port=free_port(), min_free_bytes=0
        )
        settings.make_folders()
        engine = make_engine(settings)
        upgrade(engine)
        engine.dispose()
        questions = make_questions(args.features, args.questions)
        load = load_average()
        with web_process(settings) as server:
            first = {name: ask(settings.port, asked[:1])[0] for name, asked in questions.items()}
            alone, cpu = {}, {}
            for name, asked in questions.items():
                before = cpu_seconds(server.pid)
                alone[name] = ask(settings.port, asked)
                cpu[name] = (cpu_seconds(server.pid) - before) / len(asked)
            together = ask_together(settings.port, questions["factor"], clients=args.clients)
            memory = resident_bytes(server.pid)
    record = {
        "benchmark": "query",
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join(["python", sys.argv[0], *(Path(a).name for a in sys.argv[1:])]),
        "revision": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain", "-uno")),
        "machine": {"cpu": platform.processor() or platform.machine(), **environment()},
        "load_average_before": load,
        "atlas": {"features": args.features, "matches": args.matches, "file_bytes": size},
        "questions": args.questions,
        "first_ms": {name: round(seconds * 1e3, 1) for name, seconds in first.items()},
        "one_client_ms": {name: percentiles(seconds) for name, seconds in alone.items()},
        "server_cpu_ms": {name: round(seconds * 1e3, 1) for name, seconds in cpu.items()},
        "clients": args.clients,
        "several_clients_ms": {"factor": percentiles(together)},
        "server_memory_bytes": memory,
    }
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--features", type=int, default=32_768)
    parser.add_argument("--matches", type=int, default=300_000)
    parser.add_argument("--questions", type=int, default=200, help="Of each kind.")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def write_models(root: Path, *, features: int, matches: int) -> int:
    """Write cards without weights, and the atlas; returns the bytes of its files."""
    home = root / "model" / DICTIONARY
    home.mkdir(parents=True)
    made = {"licence": "CC0-1.0", "source": "benchmarks/query.py", "random_weights": True}
    model = ModelCard(
        id="model", title="None", architecture="paired_tree", config={}, sha256=SHA256,
        weights="model.safetensors", n_parameters=1, context=0, **made,
    )  # fmt: skip
    dictionary = DictionaryCard(
        id=DICTIONARY, title="Synthetic", model_id="model", model_sha256=SHA256, layer=1,
        d_in=1, d_sae=features, k=1, sha256=SHA256, stride=1, context=0, **made,
    )  # fmt: skip
    write_card(model, root / "model")
    write_card(dictionary, home)
    write_atlas(make_atlas(features, matches), home / "atlas")
    return sum(path.stat().st_size for path in (home / "atlas").iterdir())


def make_atlas(features: int, matches: int) -> Atlas:
    """An atlas whose rows are drawn at random; motifs as unequally often as Zipf's law says."""
    rng = np.random.default_rng(0)
    motifs = load_motifs(TAXON, RELEASE).motifs
    share = 1 / np.arange(1, len(motifs) + 1)
    which = rng.permutation(len(motifs))[rng.choice(len(motifs), matches, p=share / share.sum())]
    rows = np.arange(2 * features)
    of = np.sort(rng.integers(0, 2 * features, matches))
    kinds = [SEPARATOR.join(EVIDENCE[:count]) for count in range(len(EVIDENCE))]
    found = {
        "matrix_id": np.array([motif.matrix_id for motif in motifs])[which],
        "motif_name": np.array([motif.name for motif in motifs])[which],
        "cluster": np.array([f"cluster {at % CLUSTERS}" for at in range(len(motifs))])[which],
        "q": 0.05 * rng.random(matches) ** 4,
        "evidence": np.array(kinds)[rng.integers(1, len(kinds), matches)],
    }
    group = rng.integers(0, features // 4, len(rows))
    other = rng.integers(0, len(rows), NEIGHBOURS * len(rows))
    sequence = np.array(["ACGTN" * 10 + "A"])
    about = AtlasCard(
        dictionary_id=DICTIONARY, dictionary_sha256=SHA256, genome="none: drawn at random",
        release=RELEASE, taxon=TAXON, counts={"matches": matches}, date="2026-01-01",
    )  # fmt: skip
    labels = drawn("labels", rows, rng, {})
    alone = pa.array(group, pa.uint32(), mask=rng.random(len(rows)) > GROUPED)
    labels = labels.set_column(labels.schema.get_field_index("group"), "group", alone)
    return Atlas(
        about,
        labels=labels,
        matches=drawn("matches", of, rng, found),
        concepts=drawn(
            "concepts", np.repeat(rows, CONCEPTS), rng,
            {
                "concept": np.tile(["exon", "intron"], len(rows)),
                "orientation": np.tile(["same", "either"], len(rows)),
            },
        ),
        examples=drawn(
            "examples", np.repeat(rows, EXAMPLES), rng,
            {"sequence": sequence[np.zeros(EXAMPLES * len(rows), int)]},
        ),
        neighbours=drawn(
            "neighbours", np.repeat(rows, NEIGHBOURS), rng,
            {"other_feature": other // 2, "other_strand": 1 - 2 * (other % 2)},
        ),
    )  # fmt: skip


def drawn(
    name: str, rows: NDArray[np.int64], rng: np.random.Generator, given: dict[str, Any]
) -> pa.Table:
    """A table of an atlas: what is not given is drawn at random."""
    known = {"feature": rows // 2, "strand": 1 - 2 * (rows % 2), **given}
    words = np.array(["this", "that", "other"])
    columns = []
    for field in TABLES[name]:
        if field.name in known:
            values = known[field.name]
        elif pa.types.is_string(field.type):
            values = words[rng.integers(0, len(words), len(rows))]
        elif pa.types.is_floating(field.type):
            values = rng.random(len(rows))
        else:
            values = rng.integers(0, 100, len(rows))
        columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=TABLES[name])


def make_questions(features: int, count: int) -> dict[str, list[str]]:
    """Addresses of each kind, drawn at random."""
    rng = random.Random(0)  # noqa: S311 - draws questions, keeps no secret
    catalogue = load_motifs(TAXON, RELEASE)
    motifs = catalogue.motifs
    names = [rng.choice(motifs) for _ in range(count)]
    families = [
        family
        for family in sorted({family for motif in motifs for family in motif.family})
        if is_family(catalogue, family)
    ]
    tf = "/v1/tfs/{}/features"
    return {
        "factor": [tf.format(quote(motif.matrix_id, safe="")) for motif in names],
        "family": [
            tf.format(quote(rng.choice(families), safe="")) + "?group_by=cluster"
            for _ in range(count)
        ],
        "feature": [f"/v1/features/{DICTIONARY}/{rng.randrange(features)}" for _ in range(count)],
        "concept": ["/v1/concepts/exon/features?sort=auprc" for _ in range(count)],
    }


def is_family(catalogue: MotifCatalogue, text: str) -> bool:
    """Whether a name is understood as a family; some are those of several."""
    try:
        return resolve_tf(catalogue, text).match_type == "family"
    except AmbiguousNameError:
        return False


def ask(port: int, addresses: Sequence[str]) -> list[float]:
    """Seconds of each answer, read to its end; each on a connection of its own."""
    seconds = []
    for address in addresses:
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", address)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        seconds.append(time.perf_counter() - start)
        if answer.status != 200:
            raise SystemExit(f"{address} got {answer.status}: {body[:300].decode()}")
    return seconds


def ask_together(port: int, addresses: Sequence[str], *, clients: int) -> list[float]:
    """Seconds of each answer where several clients ask at once."""
    found: list[list[float]] = [[] for _ in range(clients)]

    def client(place: int) -> None:
        found[place] = ask(port, addresses[place::clients])

    threads = [threading.Thread(target=client, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [seconds for each in found for seconds in each]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile and largest, in milliseconds."""
    at = np.percentile(np.array(seconds) * 1e3, [50, 95, 99, 100]).round(1).tolist()
    return dict(zip(("p50", "p95", "p99", "max"), at, strict=True))


@contextmanager
def web_process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The web process of `saetrack serve`, without its worker."""
    command, environment = web_command(settings), child_environment(settings)
    process = subprocess.Popen(command, env=environment)  # noqa: S603 - our own command
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                ask(settings.port, ["/healthz"])
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit("the web process did not answer") from None
                time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def family_of(pid: int) -> list[str]:
    """A process and its children."""
    return [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_bytes(pid: int) -> int:
    """Memory of a process and its children, as Linux tells it."""
    pages = [Path(f"/proc/{each}/statm").read_text().split()[1] for each in family_of(pid)]
    return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children; it does not depend on what else is running."""
    # the name of a program, in brackets, may hold blanks
    stats = [Path(f"/proc/{each}/stat").read_text().rsplit(")")[-1] for each in family_of(pid)]
    ticks = sum(int(field) for stat in stats for field in stat.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def load_average() -> float:
    """Processes that wanted to run in the last minute; times on the clock depend on them."""
    return float(Path("/proc/loadavg").read_text().split()[0])


def output(*command: str) -> str:
    """What a command prints."""
    run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return run.stdout.strip()


if __name__ == "__main__":
    main()
