"""What a worker gets to know of a shard it has claimed: all it needs to do the work."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotations.options import RunOptions
from annotations.types import Span
from app.models import (
    Computation,
    Shard,
    ShardKind,
)
from app.storage import Manifest, manifest_from_json


class ClaimedShard(NamedTuple):
    """A shard that a worker holds, with all it needs to know to do the work."""

    id: int
    computation_id: str
    kind: ShardKind
    position: int
    spans: tuple[Span, ...]
    """Bases to own; empty for a merge."""
    bases: int
    """Bases of the spans; for a merge, of the whole computation."""
    attempt: int
    """1 for the first."""
    owner: str
    token: str
    """Proof of this one claim."""
    prefix: str
    """Folder in the storage for the results of this claim alone; delete it if `finish` says no."""
    dictionary_id: str
    options: RunOptions
    parameters: dict[str, Any]
    """What the computation's digest is the hash of."""
    lengths: tuple[int, ...]
    """Bases of each contig."""
    inputs: Manifest
    """`sequences.fa`, its index `sequences.fa.fai`, and `genes.parquet` if there are genes."""
    shard_results: tuple[Manifest, ...]
    """For a merge: result files of every encode shard, in order."""

    @property
    def read_spans(self) -> tuple[Span, ...] | None:
        """What the computation reads of its contigs; None where that is all of them."""
        return spans_of(self.parameters)


def spans_of(parameters: Mapping[str, Any]) -> tuple[Span, ...] | None:
    """The spans of a run over regions of a genome, from the parameters of its computation."""
    regions = parameters.get("regions")
    return None if regions is None else tuple(Span(*span) for span in regions["spans"])


def describe_claim(session: Session, shard: Shard, computation: Computation) -> ClaimedShard:
    """What a worker needs to know of a shard it has just claimed."""
    is_merge = shard.kind == "merge"
    folder = "result" if is_merge else "shards"
    done: Sequence[dict[str, Any] | None] = []
    if is_merge:
        done = session.scalars(
            select(Shard.results)
            .where(Shard.computation_id == computation.id, Shard.kind == "encode")
            .order_by(Shard.position)
        ).all()
    return ClaimedShard(
        id=shard.id,
        computation_id=computation.id,
        kind=cast(ShardKind, shard.kind),
        position=shard.position,
        spans=tuple(Span(*span) for span in shard.spans),
        bases=shard.bases,
        attempt=shard.attempts,
        owner=str(shard.lease_owner),
        token=str(shard.lease_token),
        prefix=f"{computation.prefix}/{folder}/{shard.position}-{shard.lease_token}",
        dictionary_id=computation.dictionary_id,
        options=RunOptions.from_json(computation.parameters["options"]),
        parameters=computation.parameters,
        lengths=tuple(computation.lengths),
        inputs=manifest_from_json(computation.inputs),
        shard_results=tuple(manifest_from_json(files or {}) for files in done),
    )
