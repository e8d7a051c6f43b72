"""Files and their rows: a lost answer to a COMMIT takes no file, and lost files are made again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from annotations.cards import find_cards
from annotations.errors import QuotaError
from annotations.options import RunOptions
from app.analyses import create_analysis
from app.config import Settings
from app.database import reading, transaction
from app.leftovers import find_leftovers
from app.models import Analysis, Computation, Run, Shard
from app.runs import cancel_run, get_run
from app.shards import fail, finish
from app.storage import LocalStorage, manifest_from_json
from app.submissions import CreatedRun, create_run
from tests.app.conftest import FASTA, new_run, take

LONG = b">a\n" + b"ACGT" * 600 + b"\n"
"""Three shards and a merge."""


def submit(
    engine: Engine, storage: LocalStorage, settings: Settings, fasta: bytes = FASTA
) -> CreatedRun:
    return create_run(
        engine,
        storage,
        find_cards(settings.models_dirs),
        sequences=BytesIO(fasta),
        options=RunOptions.from_json({"dictionary": "toy-sae", "taxon": "fungi"}),
        owner="local",
        settings=settings,
    )


def rows(engine: Engine, kind: Any) -> list[Any]:
    with reading(engine) as session:
        return list(session.scalars(select(kind)))


def lost() -> OperationalError:
    return OperationalError("COMMIT", {}, Exception("server closed the connection"))


@contextmanager
def lost_answer(kind: Any) -> Iterator[None]:
    """The answer to the first COMMIT of a new row of a table is lost."""
    pending: list[Session] = []

    def flushed(session: Session, _context: object) -> None:
        if any(isinstance(each, kind) for each in session.new):
            pending.append(session)

    def committed(session: Session) -> None:
        if session in pending:
            raise lost()

    event.listen(Session, "after_flush", flushed)
    event.listen(Session, "after_commit", committed)
    try:
        yield
    finally:
        event.remove(Session, "after_flush", flushed)
        event.remove(Session, "after_commit", committed)
    assert pending


@contextmanager
def no_commit(kind: Any, *, away: bool = False) -> Iterator[None]:
    """The COMMIT of a new row is refused; if `away`, the database says nothing from then on."""
    refused: list[bool] = []

    def before(session: Session) -> None:
        held = [*session.new, *session.identity_map.values()]
        if (away and refused) or any(isinstance(each, kind) for each in held):
            refused.append(True)
            raise lost()

    event.listen(Session, "before_commit", before)
    try:
        yield
    finally:
        event.remove(Session, "before_commit", before)
    assert refused


def test_a_lost_answer_to_a_submission_keeps_the_run_and_its_files(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    with lost_answer(Run):
        created = submit(engine, storage, settings)
    assert (created.created, created.complete) == (True, False)
    (run,), (computation,) = rows(engine, Run), rows(engine, Computation)
    assert (run.id, run.computation_id) == (created.run_id, computation.id)
    (file,) = manifest_from_json(computation.inputs).values()
    assert storage.local_path(file).read_bytes().startswith(b">0\n")
    assert find_leftovers(engine, storage, older_than=0) == []
    assert submit(engine, storage, settings).created is False


def test_a_lost_answer_to_a_question_keeps_it_and_its_files(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    with lost_answer(Analysis):
        asked = ask(engine, storage, settings, finished)
    (analysis,) = rows(engine, Analysis)
    assert analysis.id == asked
    for file in manifest_from_json(analysis.inputs).values():
        assert storage.exists(file.key)


def ask(engine: Engine, storage: LocalStorage, settings: Settings, run_id: str) -> str:
    return create_analysis(
        engine,
        storage,
        run_id=run_id,
        owner="local",
        kind="bed_concept",
        parameters={},
        settings=settings,
        tables={"foreground.parquet": pa.table({"x": [1]})},
    )


def test_what_was_not_committed_leaves_no_file(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:
    before = list(storage.list("computations"))
    with no_commit(Run), pytest.raises(OperationalError):
        submit(engine, storage, settings, LONG)
    with no_commit(Analysis), pytest.raises(OperationalError):
        ask(engine, storage, settings, finished)
    assert list(storage.list("computations")) == before
    assert list(storage.list("analyses")) == []
    assert len(rows(engine, Run)) == 1


def test_where_the_database_does_not_say_the_files_are_left_to_gc(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    with no_commit(Run, away=True), pytest.raises(OperationalError):
        submit(engine, storage, settings)
    assert rows(engine, Run) == []
    assert len(find_leftovers(engine, storage, older_than=0)) == 1


def failed(engine: Engine, storage: LocalStorage, settings: Settings, folder: Path) -> None:
    """A run of three shards: two are complete, with a file each, and the third failed."""
    submit(engine, storage, settings, LONG)
    for shard_id in (1, 2):
        claimed = take(engine, settings, shard_id)
        source = folder / f"{shard_id}"
        source.write_bytes(b"x")
        file = storage.put_file(f"{claimed.prefix}/peaks.parquet", source)
        with transaction(engine) as session:
            assert finish(session, claimed, {"peaks.parquet": file})
    claimed = take(engine, settings, 3)
    with transaction(engine) as session:
        fail(session, claimed, code="x", message="m", retryable=False, settings=settings)


def test_a_failed_computation_gets_lost_inputs_anew_and_does_lost_shards_again(
    engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    failed(engine, storage, settings, tmp_path)
    (computation,) = rows(engine, Computation)
    (sequences,) = manifest_from_json(computation.inputs).values()
    content = storage.local_path(sequences).read_bytes()
    second = rows(engine, Shard)[1]
    gone = [file.key for file in manifest_from_json(second.results).values()]
    storage.delete([sequences.key, *gone])
    again = submit(engine, storage, settings, LONG)
    assert (again.created, again.complete) == (True, False)
    (computation,) = rows(engine, Computation)
    (anew,) = manifest_from_json(computation.inputs).values()
    assert anew.key != sequences.key
    assert storage.local_path(anew).read_bytes() == content
    states = [(shard.state, bool(shard.results)) for shard in rows(engine, Shard)]
    assert states == [("COMPLETE", True), *[("QUEUED", False)] * 3]
    assert find_leftovers(engine, storage, older_than=0) == []


def test_a_lost_answer_to_a_restart_keeps_the_inputs_made_anew(
    engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    failed(engine, storage, settings, tmp_path)
    (computation,) = rows(engine, Computation)
    storage.delete_prefix(f"{computation.prefix}/input")
    with lost_answer(Run):
        again = submit(engine, storage, settings, LONG)
    assert again.created
    (computation,) = rows(engine, Computation)
    assert computation.state == "QUEUED"
    assert all(storage.exists(f.key) for f in manifest_from_json(computation.inputs).values())
    assert len(rows(engine, Run)) == 2


def test_what_is_whole_is_stored_once(
    engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    failed(engine, storage, settings, tmp_path)
    before = list(storage.list("computations"))
    assert submit(engine, storage, settings, LONG).created
    assert list(storage.list("computations")) == before
    assert [shard.state for shard in rows(engine, Shard)] == ["COMPLETE"] * 2 + ["QUEUED"] * 2


def test_what_is_started_again_or_joined_unfinished_counts(
    engine: Engine, storage: LocalStorage, settings: Settings
) -> None:

    few = replace(settings, max_queued_runs=1)
    first = new_run(engine, storage, few)
    with pytest.raises(QuotaError, match="1 of your runs"):
        new_run(engine, storage, few)  # would join
    with transaction(engine) as session:
        cancel_run(session, get_run(session, first, "local"))
    new_run(engine, storage, few, fasta=LONG)
    with pytest.raises(QuotaError, match="1 of your runs"):
        new_run(engine, storage, few)  # would start it again
    computation = rows(engine, Computation)[0]
    assert computation.state == "CANCELED"


def test_joining_what_is_complete_is_free(
    engine: Engine, storage: LocalStorage, settings: Settings, finished: str
) -> None:

    few = replace(settings, max_queued_runs=1)
    new_run(engine, storage, few, fasta=LONG)
    new_run(engine, storage, few)
