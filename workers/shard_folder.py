"""Shards of one run of the command line: computed once, and kept where that is asked for.

work/plan.json     digest of what is computed: another run's shards are never taken
work/shard0, ...   one folder for each, whole under its name
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from annotations.errors import StateError
from annotations.options import RunOptions
from annotations.types import Span
from workers.pipeline import WindowEncoder, run_shard

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
    if plan.is_file():
        if json.loads(plan.read_text()).get("digest") != digest:
            raise StateError(
                f"{work} holds the shards of another run (other sequences, dictionary or options); "
                "name another folder, or remove it"
            )
        return
    if any(work.iterdir()):
        raise StateError(f"{work} is not empty and holds no shards; name another folder")
    plan.write_text(json.dumps({"digest": digest} | parameters, indent=2, sort_keys=True) + "\n")


def encode(
    work: Path,
    fasta: Path,
    plan: Sequence[tuple[Span, ...]],
    encoder: WindowEncoder,
    options: RunOptions,
    *,
    batch: int,
    on_progress: Callable[[int], None] = lambda bases: None,
) -> Encoded:
    """Compute the shards of a plan that a folder does not hold yet.

    Parameters
    ----------
    work : Path
        Existing folder.
    fasta : Path
        Normalised sequences, named by their index.
    plan : sequence of tuple of Span
        Of `annotations.windows.plan_shards`.
    encoder : WindowEncoder
        The opened dictionary.
    options : RunOptions
        What the user chose.
    batch : int
        Windows encoded at once.
    on_progress : callable
        Told the bases done so far.

    Returns
    -------
    encoded : Encoded
    """
    shards: list[Path] = []
    before = computed = 0
    for number, spans in enumerate(plan):
        shard = work / f"shard{number}"
        shards.append(shard)
        bases = sum(span.length for span in spans)
        if not shard.is_dir():
            part = work / f"shard{number}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            run_shard(
                fasta,
                spans,
                encoder,
                part,
                strands=options.strands,
                batch=batch,
                peaks_per_feature=options.peaks_per_feature,
                held_out=options.held_out,
                on_progress=lambda done, before=before: on_progress(before + done),  # type: ignore[misc]
            )
            part.rename(shard)
            computed += bases
        before += bases
        on_progress(before)
    return Encoded(shards, computed)
