"""The shards of a run: what each owns, how much is read for it, and their rows."""

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from annotations.cards import DictionaryCard
from annotations.genome_regions import pieces
from annotations.types import Span
from annotations.windows import plan_shards, plan_spans
from app.models import Computation, Shard
from app.run_content import Content


def plan_of(content: Content, *, stride: int, target: int) -> list[tuple[Span, ...]]:
    """The shards of a run."""
    if content.spans is None:
        lengths = [contig.length for contig in content.contigs]
        return plan_shards(lengths, stride=stride, target=target)
    return plan_spans(content.spans, stride=stride, target=target)


def read_for(content: Content, card: DictionaryCard, spans: Sequence[Span]) -> int:
    """Bases that are read for the spans of a shard: of regions, whole windows and their context."""
    if content.spans is not None:
        lengths = [contig.length for contig in content.contigs]
        spans = pieces(spans, lengths, stride=card.stride, context=card.context)
    return sum(span.length for span in spans)


def insert_work(
    session: Session,
    computation: Computation,
    plan: Sequence[tuple[Span, ...]],
    read: Callable[[Sequence[Span]], int],
) -> None:
    """Add a computation with its shards, for which so much is read; the merge comes last."""
    session.add(computation)
    session.flush()
    session.add_all(
        Shard(
            computation_id=computation.id,
            kind="encode" if spans else "merge",
            position=position,
            spans=[list(span) for span in spans],
            bases=sum(span.length for span in spans) if spans else computation.bases,
            read_bases=read(spans) if spans else computation.bases,
            bases_done=0,
            state="QUEUED",
            attempts=0,
        )
        for position, spans in enumerate([*plan, ()])
    )
