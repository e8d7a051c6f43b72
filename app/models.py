"""The tables: runs, computations, shards, workers, analyses, share links, tokens.

A run is what a user submitted: owner, names, options. A computation is what is
computed once for equal content; runs point to it. A computation is cut into
encode shards and one merge shard. An analysis is a question to a complete run that
takes a worker. A share link shows the tracks of one run to whoever has it; a token says who is
asking. All times are seconds since 1970 UTC by the clock of the database, never by that of a
worker.
"""

from typing import Any, Literal, get_args

from sqlalchemy import JSON, BigInteger, CheckConstraint, Float, ForeignKey, Index, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

State = Literal[
    "QUEUED", "INITIALIZING", "RUNNING", "COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"
]
"""State of a run or computation; the words and their meaning are GA4GH's."""

STATES: tuple[State, ...] = get_args(State)

TERMINAL_STATES: frozenset[State] = frozenset(
    {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}
)
"""States that a computation does not leave by itself."""

ACTIVE_STATES: frozenset[State] = frozenset(STATES) - TERMINAL_STATES

ShardState = Literal["QUEUED", "RUNNING", "COMPLETE", "FAILED", "CANCELED"]
"""State of a shard."""

ShardKind = Literal["encode", "merge"]
"""What a shard does: activations of some spans, or the joining of all of them."""

AnalysisKind = Literal["causal_test", "bed_concept"]
"""What an analysis asks: whether a motif moves a feature, or which features mark intervals."""


def _among(column: str, allowed: tuple[str, ...]) -> str:
    """SQL that holds when a column has one of some words."""
    return f"{column} IN ({', '.join(repr(word) for word in allowed)})"


class Base(DeclarativeBase):
    """Base of the tables; constraints have names so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        dict[str, Any]: JSON,
        list[Any]: JSON,
        str: Text,
        float: Float(53),
    }


class Computation(Base):
    """What is computed once for equal content."""

    __tablename__ = "computations"
    __table_args__ = (
        CheckConstraint(_among("state", STATES), name="state"),
        # runs of one scope share; `scope` is the owner, or empty where owners share too
        Index("uq_computations_digest_scope", "digest", "scope", unique=True),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    """Random; also the name of its folder in the storage."""
    digest: Mapped[str]
    """SHA-256 of everything that says what is computed."""
    scope: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    dictionary_id: Mapped[str]
    queue: Mapped[str]
    """Name of the model's queue, as `app.broker.model_queue` makes it."""
    parameters: Mapped[dict[str, Any]]
    """What the digest is the hash of."""
    lengths: Mapped[list[Any]]
    """Bases of each contig, in order."""
    bases: Mapped[int] = mapped_column(BigInteger)
    """That are computed."""
    read_bases: Mapped[int] = mapped_column(BigInteger)
    """That are read to compute them: more than `bases` where regions of a genome are computed."""
    inputs: Mapped[dict[str, Any]]
    """Stored input files by name: key, bytes, sha256."""
    results: Mapped[dict[str, Any] | None]
    """Stored result files by name, once complete: key, bytes, sha256."""

    shards: Mapped[list["Shard"]] = relationship(
        back_populates="computation", passive_deletes=True, order_by="Shard.position"
    )
    runs: Mapped[list["Run"]] = relationship(back_populates="computation")

    @property
    def prefix(self) -> str:
        """Folder of its files in the storage."""
        return f"computations/{self.id}"


class Run(Base):
    """A user's submission."""

    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_owner_created_at", "owner", "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    """Random and unguessable."""
    owner: Mapped[str]
    title: Mapped[str | None]
    filename: Mapped[str | None]
    """Name of the uploaded file as the user's program gave it; shown, never used as a path."""
    created_at: Mapped[float]
    canceled_at: Mapped[float | None]
    computation_id: Mapped[str] = mapped_column(ForeignKey("computations.id"), index=True)
    contig_names: Mapped[list[Any]]
    """Names of the contigs as the user wrote them, in order."""
    options: Mapped[dict[str, Any]]
    annotation_skipped: Mapped[dict[str, Any] | None]
    """Entries of the gene annotation that were not used, by reason; None without annotation."""

    computation: Mapped[Computation] = relationship(back_populates="runs")


class Shard(Base):
    """A piece of work with a lease."""

    __tablename__ = "shards"
    __table_args__ = (
        CheckConstraint(
            _among("state", get_args(ShardState)),
            name="state",
        ),
        CheckConstraint(_among("kind", get_args(ShardKind)), name="kind"),
        Index("uq_shards_computation_id_position", "computation_id", "position", unique=True),
        Index("ix_shards_state", "state", "published_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    computation_id: Mapped[str] = mapped_column(ForeignKey("computations.id", ondelete="CASCADE"))
    kind: Mapped[str]
    position: Mapped[int]
    """Order within the computation; the merge comes last."""
    spans: Mapped[list[Any]]
    """Contig, start and end of each span it owns; empty for the merge."""
    bases: Mapped[int] = mapped_column(BigInteger)
    read_bases: Mapped[int] = mapped_column(BigInteger)
    """That are read for its spans, which is what takes the time; for the merge, its `bases`."""
    bases_done: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    attempts: Mapped[int]
    lease_owner: Mapped[str | None]
    """Worker that holds it."""
    lease_token: Mapped[str | None]
    """Random word of the one claim that counts: a worker may hold a shard twice."""
    lease_until: Mapped[float | None]
    published_at: Mapped[float | None]
    """When a message was last sent for it."""
    started_at: Mapped[float | None]
    """When it was last claimed."""
    finished_at: Mapped[float | None]
    """When it was complete."""
    results: Mapped[dict[str, Any] | None]
    """Stored result files by name, once complete: key, bytes, sha256."""
    error: Mapped[str | None]
    """Message of the last attempt that failed."""

    computation: Mapped[Computation] = relationship(back_populates="shards")


class Analysis(Base):
    """A question to a complete run, answered by a worker with a lease."""

    __tablename__ = "analyses"
    __table_args__ = (
        CheckConstraint(_among("state", STATES), name="state"),
        CheckConstraint(_among("kind", get_args(AnalysisKind)), name="kind"),
        Index("ix_analyses_run_id_created_at", "run_id", "created_at", "id"),
        Index("ix_analyses_state", "state", "published_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    """Random and unguessable; also the name of its folder in the storage."""
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    owner: Mapped[str]
    kind: Mapped[str]
    title: Mapped[str | None]
    parameters: Mapped[dict[str, Any]]
    """What was asked; all that the answer depends on besides the run and `inputs`."""
    inputs: Mapped[dict[str, Any]]
    """Stored input files by name: key, bytes, sha256."""
    state: Mapped[str]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    attempts: Mapped[int]
    lease_owner: Mapped[str | None]
    lease_token: Mapped[str | None]
    lease_until: Mapped[float | None]
    published_at: Mapped[float | None]
    """When a message was last sent for it."""
    result: Mapped[dict[str, Any] | None]
    """The answer, once complete."""
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]

    run: Mapped[Run] = relationship()

    @property
    def prefix(self) -> str:
        """Folder of its files in the storage."""
        return f"analyses/{self.id}"


class ShareLink(Base):
    """A word in an address that shows the tracks of one run; deleted when it is revoked."""

    __tablename__ = "share_links"
    __table_args__ = (Index("uq_share_links_token_sha256", "token_sha256", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    """Random; names the link, and opens nothing."""
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    owner: Mapped[str]
    token_sha256: Mapped[str]
    """Of the token, which is stored nowhere."""
    title: Mapped[str | None]
    created_at: Mapped[float]

    run: Mapped[Run] = relationship()


class Token(Base):
    """A word by which an owner asks; or, with a parent, a browser's session of one."""

    __tablename__ = "tokens"
    __table_args__ = (Index("uq_tokens_token_sha256", "token_sha256", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    """Random; names the token, and opens nothing."""
    owner: Mapped[str]
    name: Mapped[str | None]
    scopes: Mapped[list[Any]]
    token_sha256: Mapped[str]
    """Of the word, which is stored nowhere."""
    parent_id: Mapped[str | None] = mapped_column(
        ForeignKey("tokens.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    used_at: Mapped[float | None]
    """When it last changed something, to the hour: who only reads writes nothing."""


class Worker(Base):
    """A worker that has reported."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[Any]]
    """The model queues it reads."""
    seen_at: Mapped[float]
    models: Mapped[list[Any]]
    """Ids of the dictionaries it can run."""
    status: Mapped[dict[str, Any] | None]
    """What it last said of itself: `app.dispatch.WorkerStatus`."""


class SoleJob(Base):
    """A job that one process does for all, such as dispatching, and which one that is."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    until: Mapped[float]
    """Until when nobody else may take it."""
