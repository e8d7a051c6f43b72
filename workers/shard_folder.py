"""Shards of one run of the command line: computed once, and kept where that is asked for.

work/plan.json     digest of what is computed: another run's shards are never taken
work/shard0, ...   one folder for each, whole under its name, with made.json: by what

Several processes may work on one folder, also on the same shard: each computes in a folder of its
own and renames that. What a process leaves behind that is killed begins with a dot.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from annotations.errors import StateError
from annotations.options import RunOptions
from annotations.types import Span
from workers.expectation import ExpectingEncoder, write_expectation
from workers.pipeline import run_shard

MADE_BY = "made.json"
"""File of a shard that says what made it."""

_PLAN = "plan.json"


class Encoded(NamedTuple):
    """What was computed."""

    shards: list[Path]
    """Folders of `workers.pipeline.run_shard`, in order."""
    computed: int
    """Bases of those that were not there already."""


def plan_digest(parameters: dict[str, Any]) -> str:
    """SHA-256 of JSON values in one canonical spelling."""
    text = json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def claim_folder(work: Path, parameters: dict[str, Any]) -> None:
    """Make a folder the home of some shards, or check that it is.

    Parameters
    ----------
    work : Path
        Made where missing.
    parameters : dict
        JSON values that decide what the shards hold.

    Raises
    ------
    StateError
        If it holds shards of something else.
    """
    digest = plan_digest(parameters)
    work.mkdir(parents=True, exist_ok=True)
    plan = work / _PLAN
    # looked at before the plan: what another process puts there comes after its plan
    foreign = [path for path in work.iterdir() if not path.name.startswith(f".{_PLAN}")]
    if not (plan.is_file() or foreign):
        _write_once(plan, json.dumps({"digest": digest} | parameters, indent=2, sort_keys=True))
    if plan.is_file():
        if json.loads(plan.read_text()).get("digest") != digest:
            raise StateError(
                f"{work} holds the shards of another run (other sequences, dictionary or options); "
                "name another folder, or remove it"
            )
        return
    raise StateError(f"{work} is not empty and holds no shards; name another folder")


def _write_once(path: Path, text: str) -> None:
    """Write a file that appears whole, unless another process was quicker."""
    part = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    part.write_text(text + "\n", encoding="utf-8")
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    finally:
        part.unlink()


def rename_whole(part: Path, target: Path) -> None:
    """Give a folder its name, unless another process was quicker."""
    try:
        os.rename(part, target)  # noqa: PTH104 - onto a folder that holds files it is refused
    except OSError:
        if not target.is_dir():
            raise


def shard_path(work: Path, number: int) -> Path:
    """Folder of a shard."""
    return work / f"shard{number}"


def encode(
    work: Path,
    fasta: Path,
    plan: Mapping[int, tuple[Span, ...]],
    encoder: ExpectingEncoder,
    options: RunOptions,
    *,
    batch: int,
    made_by: Mapping[str, object],
    on_progress: Callable[[int], None] = lambda bases: None,
) -> Encoded:
    """Compute the shards of a plan that a folder does not hold yet.

    Parameters
    ----------
    work : Path
        Existing folder.
    fasta : Path
        Normalised sequences, named by their index.
    plan : mapping of int to tuple of Span
        Shards of `annotations.windows.plan_shards` by their number: all of them, or some.
    encoder : ExpectingEncoder
        The opened dictionary; with its whole model where the options ask for an expectation.
    options : RunOptions
        What the user chose.
    batch : int
        Windows encoded at once.
    made_by : mapping
        What computes them, as JSON values; kept beside each.
    on_progress : callable
        Told the bases done so far.

    Returns
    -------
    encoded : Encoded
    """
    shards: list[Path] = []
    before = computed = 0
    passes = 2 if options.expectation else 1
    for number, spans in plan.items():
        shard = shard_path(work, number)
        shards.append(shard)
        bases = sum(span.length for span in spans)
        if not shard.is_dir():
            started = time.monotonic()
            part = work / f".{shard.name}-{secrets.token_hex(4)}"
            part.mkdir()
            try:
                run_shard(
                    fasta,
                    spans,
                    encoder,
                    part,
                    strands=options.strands,
                    batch=batch,
                    on_progress=lambda done, at=before: on_progress(at + done // passes),  # type: ignore[misc]
                )
                if options.expectation:
                    at = before + bases // passes
                    write_expectation(
                        fasta,
                        spans,
                        encoder,
                        part,
                        batch=batch,
                        on_progress=lambda done, at=at: on_progress(at + done // passes),  # type: ignore[misc]
                    )
                took = round(time.monotonic() - started, 3)
                made = json.dumps({**made_by, "seconds": took}, sort_keys=True)
                (part / MADE_BY).write_text(made + "\n", encoding="utf-8")
                rename_whole(part, shard)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            computed += bases
        before += bases
        on_progress(before)
    return Encoded(shards, computed)
