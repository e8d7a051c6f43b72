"""A run in parts, for batch systems: each task computes some shards, and one joins them.

    task i of n:  sequences --prepare--> plan --encode--> shards with number % n == i - 1
    at the end:   work folder --finish--> result folder

Tasks share a work folder and nothing else; `workers.shard_folder` and `workers.job` see to it
that they do each other no harm. The parts are those of `saetrack annotate`.
"""

import json
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from annotations.cards import find_cards
from annotations.errors import OptionError, StateError
from annotations.types import counted
from workers.annotate import Request, prepare
from workers.commands.places import settings_from_environment
from workers.job import SEQUENCES, Job, keep_job, open_job
from workers.result_folder import Progress, Summary, beside, check_out, finish
from workers.shard_folder import MADE_BY, claim_folder, encode, shard_path

PART = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", re.ASCII)
"""What names a part: its number, from 1, and how many there are."""

NAMED = 10
"""Shards named in a message."""


class Part(NamedTuple):
    """One task of several."""

    number: int
    """From 1."""
    of: int

    def has(self, shard: int) -> bool:
        """Whether a shard, numbered from 0, is this task's."""
        return shard % self.of == self.number - 1


class Left(NamedTuple):
    """How far a work folder is after a task."""

    work: Path
    part: Part
    shards: int
    """Of the run."""
    computed: int
    """By this task, just now."""
    missing: list[int]
    """Shards that are not there yet, from 0."""
    bases: int
    """Computed just now."""
    seconds: float
    """That this took."""


def parse_part(text: str) -> Part:
    """Read a part such as ``3/8``.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> parse_part("3/8")
    Part(number=3, of=8)
    """
    found = PART.fullmatch(text)
    if found is None:
        raise OptionError(
            f"--shard must be I/N, the number of the task, from 1, and of tasks, such as 3/8; "
            f"got {text[:40]!r}"
        )
    part = Part(int(found[1]), int(found[2]))
    if part.number > part.of:
        raise OptionError(f"--shard {text}: tasks are numbered from 1 to {part.of}")
    return part


def annotate_part(
    request: Request,
    part: Part,
    *,
    on_progress: Progress = lambda what, done, total: None,
) -> Left:
    """Compute the shards of one task.

    Parameters
    ----------
    request : Request
        As for `workers.annotate.annotate_file`, the same for all tasks; with a work folder.
    part : Part
        Which task this is. Shards that are there already are not computed again, whatever number
        of tasks there was then.
    on_progress : callable
        Told how the work goes on.

    Raises
    ------
    OptionError
        If there is no work folder.
    StateError
        If the work folder is of another run.
    SaetrackError
        If an input, an option or the installation is wrong.
    """
    if request.work is None:
        raise OptionError("--shard needs --work, the folder that all tasks share")
    with tempfile.TemporaryDirectory(prefix="saetrack-task-") as scratch:
        fasta = Path(scratch) / SEQUENCES
        prepared = prepare(request, fasta, on_progress=on_progress)
        claim_folder(request.work, prepared.parameters)
        keep_job(request.work, prepared.job, fasta)
        own = {n: spans for n, spans in enumerate(prepared.plan) if part.has(n)}
        there = sum(shard_path(request.work, number).is_dir() for number in own)
        total = sum(span.length for spans in own.values() for span in spans)
        started = time.monotonic()
        encoded = encode(
            request.work,
            fasta,
            own,
            prepared.encoder,
            prepared.job.options,
            batch=request.batch,
            made_by=prepared.made_by,
            on_progress=lambda done: on_progress("encoding", done, total),
        )
    return Left(
        work=request.work,
        part=part,
        shards=len(prepared.plan),
        computed=len(own) - there,
        missing=missing_shards(request.work, len(prepared.plan)),
        bases=encoded.computed,
        seconds=time.monotonic() - started,
    )


def merge_folder(
    work: Path,
    out: Path,
    *,
    force: bool = False,
    models: tuple[Path, ...] | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> Summary:
    """Join the shards of all tasks: the end of `workers.annotate.annotate_file`.

    Parameters
    ----------
    work : Path
        Folder of the tasks; it stays as it is.
    out : Path
        Folder for the results.
    force : bool
        Whether `out` may hold an earlier result.
    models : tuple of Path, optional
        Models folders to look into instead of those of the settings.
    on_progress : callable
        Told how the work goes on.

    Raises
    ------
    StateError
        If shards are missing, or the folder is of another version or dictionary.
    SaetrackError
        If something does not fit; `out` is then as it was.
    """
    check_out(out, force=force)
    started = time.monotonic()
    settings = settings_from_environment(models_dirs=models)
    job, fasta = open_job(work, find_cards(settings.model_roots))
    missing = missing_shards(work, job.shards)
    if missing:
        raise StateError(
            f"{work} lacks {shards_in_words(missing)} of {job.shards}; run the same `saetrack "
            f"annotate ... --work {work}` with {way_out(missing, job.shards)}"
        )
    shards = [shard_path(work, number) for number in range(job.shards)]
    made = [json.loads((shard / MADE_BY).read_text(encoding="utf-8")) for shard in shards]
    with beside(out) as scratch:
        return finish(
            job,
            shards,
            fasta,
            out,
            scratch,
            made_by=made_by_record(made, job),
            seconds={"read": round(time.monotonic() - started, 3)},
            on_progress=on_progress,
        )


def made_by_record(made: Sequence[dict[str, Any]], job: Job) -> dict[str, object]:
    """What provenance says of how the shards were made: one value, or a list of those there are."""
    record: dict[str, object] = {"command": "saetrack annotate --shard; saetrack merge"}
    for name in ("device", "threads", "batch"):
        values = sorted({each[name] for each in made})
        record[name] = values[0] if len(values) == 1 else values
    seconds = sum(float(each["seconds"]) for each in made)
    record["shard_seconds"] = round(seconds, 3)
    record["bases_per_second"] = round(job.bases / max(seconds, 1e-9), 1)
    return record


def missing_shards(work: Path, count: int) -> list[int]:
    """Numbers of the shards that a folder does not hold, from 0."""
    return [number for number in range(count) if not shard_path(work, number).is_dir()]


def shards_in_words(missing: Sequence[int]) -> str:
    """Some shards by number.

    Examples
    --------
    >>> shards_in_words([4]), shards_in_words(range(100, 112))[:38]
    ('1 shard (4)', '12 shards (100, 101, 102, 103, 104, 10')
    """
    listed = ", ".join(str(number) for number in missing[:NAMED])
    more = ", ..." if len(missing) > NAMED else ""
    return f"{counted(len(missing), 'shard')} ({listed}{more})"


def way_out(missing: Sequence[int], count: int) -> str:
    """The tasks that compute the missing shards: with as many tasks as shards, one computes one.

    Examples
    --------
    >>> way_out([0, 2], 8)
    '--shard 1/8, --shard 3/8, or --shard 1/1 for all that are missing'
    """
    listed = ", ".join(f"--shard {number + 1}/{count}" for number in missing[:NAMED])
    return f"{listed}, or --shard 1/1 for all that are missing"
