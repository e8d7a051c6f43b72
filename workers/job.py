"""What `saetrack annotate` makes a result folder of, besides the shards: in memory, or kept.

A job is kept in the folder of its shards, for `saetrack merge` to find once the last is there:

    work/request/request.json     what was asked for, by which version, of which dictionary
    work/request/sequences.fa     normalised sequences, or pieces of a genome
    work/request/genes.parquet, alleles.json, motifs/NAME      where there are some
"""

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from annotations.alleles import ALLELES_FILE, Alleles, alleles_json, read_alleles
from annotations.cards import Cards, DictionaryCard
from annotations.errors import StateError, StorageError
from annotations.options import RESULT_SCHEMA, SHARD_FORMAT, RunOptions
from annotations.types import Contig, Span
from app.feature_rows import FeatureRow, parse_row
from app.submissions import atlas_digest
from workers.shard_folder import rename_whole

REQUEST_FOLDER = "request"
"""Folder of a job beside its shards."""

SEQUENCES = "sequences.fa"

_RECORD = "request.json"
_GENES = "genes.parquet"
_MOTIFS = "motifs"


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a result is made of besides its shards and the bases themselves."""

    card: DictionaryCard
    atlas: Path | None
    """Folder of the dictionary's atlas, where features get its labels."""
    options: RunOptions
    contigs: list[Contig]
    spans: tuple[Span, ...] | None
    """What is computed, where that is not all of every contig."""
    genes: pa.Table | None
    alleles: Alleles | None
    motifs: Path | None
    """The user's own motifs."""
    title: str
    named: list[FeatureRow]
    """Feature rows whose tracks are written."""
    top: int
    """Feature rows whose tracks are written besides."""
    browsers: bool
    """Whether the folder gets what browsers open."""
    inputs: Mapping[str, object]
    """What provenance says of the files that were read."""
    regions: Mapping[str, Any] | None
    """Of a run over regions, `annotations.genome_parts.GenomePart.record`."""
    shards: int
    """How many there are."""

    @property
    def bases(self) -> int:
        """Bases that are computed."""
        return sum(piece.length for piece in (self.spans or self.contigs))


class KeptJob(NamedTuple):
    """A job that was kept."""

    job: Job
    fasta: Path
    """Its sequences."""


def job_record(job: Job) -> dict[str, Any]:
    """What was asked for, as JSON values; equal for tasks of one run."""
    return {
        "saetrack": metadata.version("saetrack"),
        "result_schema": RESULT_SCHEMA,
        "shard_format": SHARD_FORMAT,
        "dictionary": {"id": job.card.id, "sha256": job.card.sha256},
        "atlas": atlas_digest(job.atlas),
        "options": job.options.to_json(),
        "contigs": [list(contig) for contig in job.contigs],
        "spans": None if job.spans is None else [list(span) for span in job.spans],
        "motifs": None if job.motifs is None else job.motifs.name,
        "title": job.title,
        "signal": [row.text for row in job.named],
        "top": job.top,
        "browsers": job.browsers,
        "inputs": dict(job.inputs),
        "regions": None if job.regions is None else dict(job.regions),
        "shards": job.shards,
    }


def keep_job(work: Path, job: Job, fasta: Path) -> None:
    """Keep a job in the folder of its shards, or make sure that it is the one kept there.

    Several processes may do so at the same time: the folder appears whole, and once.

    Parameters
    ----------
    work : Path
        Folder that `workers.shard_folder.claim_folder` claimed.
    job : Job
    fasta : Path
        Its sequences; they are copied.

    Raises
    ------
    StateError
        If another job is kept there.
    """
    # through JSON and back: tuples are lists then, as in the file
    record = json.loads(json.dumps(job_record(job), allow_nan=False))
    home = work / REQUEST_FOLDER
    if not home.is_dir():
        part = work / f".{REQUEST_FOLDER}-{secrets.token_hex(4)}"
        part.mkdir()
        try:
            _write(part, job, fasta, record)
            rename_whole(part, home)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    kept = _read_record(work)
    differing = [name for name in record if kept.get(name) != record[name]]
    if differing:
        raise StateError(
            f"{work} was begun with another {' and '.join(differing)}; give the same files and "
            "options to all tasks, or name another folder with --work"
        )


def open_job(work: Path, cards: Cards) -> KeptJob:
    """The job that is kept in a folder of shards.

    Parameters
    ----------
    work : Path
        The folder of `saetrack annotate --shard`.
    cards : Cards
        Of this installation.

    Raises
    ------
    StateError
        If there is none, or it was begun by another version, or with another dictionary or atlas.
    UnknownNameError
        If its dictionary is not installed.
    StorageError
        If its files are altered.
    """
    # jobs of before the number was kept are of the first
    record = {"shard_format": 1, **_read_record(work)}
    here = {
        "saetrack": metadata.version("saetrack"),
        "result_schema": RESULT_SCHEMA,
        "shard_format": SHARD_FORMAT,
    }
    for name, version in here.items():
        if record.get(name) != version:
            raise StateError(
                f"{work} was begun by {name} {record.get(name)}, and this is {version}: the result "
                "would be of two versions; merge with the version that made the shards"
            )
    asked = record.get("dictionary")
    if not (isinstance(asked, dict) and "atlas" in record):
        raise StorageError(f"{work}: what was asked for cannot be read; begin again")
    card = cards.dictionary(str(asked.get("id")))
    if card.sha256 != asked.get("sha256"):
        raise StateError(
            f"the shards in {work} were made with weights of {card.id} whose sha256 is "
            f"{str(asked.get('sha256'))[:12]}..., and the installed ones have "
            f"{card.sha256[:12]}...; install those, or make the shards again"
        )
    atlas = None if record["atlas"] is None else cards.atlas(card)
    if atlas_digest(atlas) != record["atlas"]:
        raise StateError(
            f"the atlas of {card.id} is not the one that {work} was begun with; install that one, "
            "or make the shards again"
        )
    try:
        home = work / REQUEST_FOLDER
        spans = record["spans"]
        alleles, genes = home / ALLELES_FILE, home / _GENES
        job = Job(
            card=card,
            atlas=atlas,
            options=RunOptions.from_json(record["options"]),
            contigs=[Contig(*values) for values in record["contigs"]],
            spans=None if spans is None else tuple(Span(*values) for values in spans),
            genes=pq.read_table(genes) if genes.is_file() else None,
            alleles=read_alleles(alleles) if alleles.is_file() else None,
            motifs=None if record["motifs"] is None else home / _MOTIFS / record["motifs"],
            title=record["title"],
            named=[parse_row(text, card.d_sae) for text in record["signal"]],
            top=record["top"],
            browsers=record["browsers"],
            inputs=record["inputs"],
            regions=record["regions"],
            shards=record["shards"],
        )
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
        raise StorageError(f"{work}: what was asked for cannot be read; begin again") from error
    return KeptJob(job, home / SEQUENCES)


def _write(folder: Path, job: Job, fasta: Path, record: Mapping[str, Any]) -> None:
    """Write the files of a job."""
    shutil.copyfile(fasta, folder / SEQUENCES)
    if job.genes is not None:
        pq.write_table(job.genes, folder / _GENES)
    if job.alleles is not None:
        (folder / ALLELES_FILE).write_text(alleles_json(job.alleles), encoding="utf-8")
    if job.motifs is not None:
        (folder / _MOTIFS).mkdir()
        shutil.copyfile(job.motifs, folder / _MOTIFS / job.motifs.name)
    text = json.dumps(record, indent=2, sort_keys=True, allow_nan=False)
    (folder / _RECORD).write_text(text + "\n", encoding="utf-8")


def _read_record(work: Path) -> dict[str, Any]:
    """What was asked for, as it is kept."""
    path = work / REQUEST_FOLDER / _RECORD
    if not path.is_file():
        raise StateError(
            f"{work} holds no shards of `saetrack annotate --work {work} --shard I/N`; run that "
            "first"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StorageError(f"{path} is altered: it is no JSON") from error
    if not isinstance(record, dict):
        raise StorageError(f"{path} is altered: it is no JSON object")
    return record
