"""Complete runs whose stored files others deleted: said when read, computed when asked for."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from annotations.cards import find_cards
from annotations.errors import QuotaError
from annotations.options import RunOptions
from app.api import EXTENSION
from app.config import Settings
from app.database import reading, transaction
from app.factory import create_app
from app.kept_files import find_losses
from app.leftovers import find_leftovers
from app.models import Computation, Run, Shard
from app.shards import finish
from app.storage import Storage, manifest_from_json, open_storage
from app.submissions import CreatedRun, create_run
from tests.app.conftest import FASTA, new_run, take, write_results
from tests.servers import ObjectStore


@pytest.fixture(params=["local", "s3"])
def here(
    request: pytest.FixtureRequest, settings: Settings, engine: Engine
) -> Iterator[tuple[Settings, Storage]]:
    """Settings of a kind of storage, and the storage."""
    if request.param == "s3":
        store: ObjectStore = request.getfixturevalue("object_store")
        settings = replace(settings, storage_url=store.url)
    storage = open_storage(settings, patience=5)
    yield settings, storage
    storage.delete_prefix("computations")


def submit(engine: Engine, storage: Storage, settings: Settings) -> CreatedRun:
    return create_run(
        engine,
        storage,
        find_cards(settings.models_dirs),
        sequences=BytesIO(FASTA),
        options=RunOptions.from_json({"dictionary": "toy-sae", "taxon": "fungi"}),
        owner="local",
        settings=settings,
    )


def compute(engine: Engine, storage: Storage, settings: Settings, folder: Path) -> None:
    """Do the work of every shard; the files of shards leave as a merge has them leave."""
    folder.mkdir(exist_ok=True)
    with reading(engine) as session:
        shards = session.scalars(select(Shard).order_by(Shard.position)).all()
    for shard in shards:
        if shard.state == "COMPLETE":
            continue
        claimed = take(engine, settings, shard.id)
        if claimed.kind == "merge":
            made = write_results(folder, tested=True)
        else:
            made = [folder / "peaks.parquet"]
            made[0].write_bytes(b"of a shard")
        files = {
            path.name: storage.put_file(f"{claimed.prefix}/{path.name}", path) for path in made
        }
        with transaction(engine) as session:
            assert finish(session, claimed, files)
        if claimed.kind == "merge":
            storage.delete_prefix(f"computations/{claimed.computation_id}/shards")


def only(engine: Engine, kind: Any) -> Any:
    with reading(engine) as session:
        return session.scalars(select(kind)).one()


def delete_behind_our_back(storage: Storage, *keys: str) -> None:
    """As an operator or a lifecycle rule does, with the copies of this machine."""
    storage.delete(keys)
    for key in keys:
        assert not storage.exists(key)


def test_lost_results_are_said_when_they_are_read_and_computed_again(
    here: tuple[Settings, Storage], engine: Engine, tmp_path: Path
) -> None:
    settings, storage = here
    first = submit(engine, storage, settings)
    compute(engine, storage, settings, tmp_path / "made")
    before = only(engine, Computation)
    files = manifest_from_json(before.results)
    app = create_app(settings)
    client = app.test_client()
    address = f"/v1/runs/{first.run_id}/features"
    assert client.get(address).status_code == 200
    delete_behind_our_back(storage, files["features.parquet"].key)
    answer = client.get(address)
    body = answer.get_json()
    assert (answer.status_code, body["type"]) == (409, "urn:saetrack:problem:file-lost")
    assert "features.parquet is missing from the storage" in body["detail"]
    assert "submit the same sequences with the same options again" in body["detail"]
    assert "\n" not in body["detail"]

    again = submit(engine, storage, settings)
    assert (again.created, again.complete) == (True, False)
    with reading(engine) as session:
        states = {run.id: run.computation.state for run in session.scalars(select(Run))}
        assert states == {first.run_id: "QUEUED", again.run_id: "QUEUED"}
        assert {shard.state for shard in session.scalars(select(Shard))} == {"QUEUED"}
    answer = client.get(address)
    assert (answer.status_code, answer.get_json()["state"]) == (409, "QUEUED")
    compute(engine, storage, settings, tmp_path / "made")
    assert client.get(address).status_code == 200
    after = only(engine, Computation)
    assert after.id == before.id
    assert {name: file.sha256 for name, file in manifest_from_json(after.results).items()} == {
        name: file.sha256 for name, file in files.items()
    }
    # what was left of the first results is no run's any more
    old = {file.key for name, file in files.items() if name != "features.parquet"}
    assert set(find_leftovers(engine, storage, older_than=0)) == old
    app.extensions[EXTENSION].engine.dispose()


def test_lost_inputs_are_stored_again_and_nothing_is_computed(
    here: tuple[Settings, Storage], engine: Engine, tmp_path: Path
) -> None:
    settings, storage = here
    first = submit(engine, storage, settings)
    compute(engine, storage, settings, tmp_path / "made")
    (sequences,) = manifest_from_json(only(engine, Computation).inputs).values()
    content = storage.local_path(sequences).read_bytes()
    delete_behind_our_back(storage, sequences.key)
    app = create_app(settings)
    client = app.test_client()
    address = f"/v1/runs/{first.run_id}/features"
    assert client.get(address).get_json()["detail"].startswith(sequences.key)
    again = submit(engine, storage, settings)
    assert (again.created, again.complete) == (False, True)
    (anew,) = manifest_from_json(only(engine, Computation).inputs).values()
    assert storage.local_path(anew).read_bytes() == content
    assert client.get(address).status_code == 200
    assert find_leftovers(engine, storage, older_than=0) == []
    app.extensions[EXTENSION].engine.dispose()


def test_what_is_whole_is_joined(
    here: tuple[Settings, Storage], engine: Engine, tmp_path: Path
) -> None:
    settings, storage = here
    submit(engine, storage, settings)
    compute(engine, storage, settings, tmp_path / "made")
    before = sorted(storage.list("computations"))
    again = submit(engine, storage, settings)
    assert (again.created, again.complete) == (False, True)
    assert sorted(storage.list("computations")) == before


def test_what_is_computed_again_counts_as_work_of_its_owner(
    here: tuple[Settings, Storage], engine: Engine, tmp_path: Path
) -> None:
    settings, storage = here
    few = replace(settings, max_queued_runs=1)
    submit(engine, storage, settings)
    compute(engine, storage, settings, tmp_path / "made")
    results = manifest_from_json(only(engine, Computation).results)
    delete_behind_our_back(storage, *(file.key for file in results.values()))
    new_run(engine, storage, few, fasta=b">other\nACGTTT\n")  # type: ignore[arg-type]
    with pytest.raises(QuotaError, match="1 of your runs"):
        submit(engine, storage, few)
    with reading(engine) as session:
        kept = session.scalars(select(Computation).where(Computation.results.is_not(None))).all()
    assert [each.state for each in kept if each.results] == ["COMPLETE"]


def test_a_computation_made_whole_meanwhile_is_not_done_a_third_time(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(settings)
    submit(engine, storage, settings)
    compute(engine, storage, settings, tmp_path / "made")
    before = only(engine, Computation)
    results = manifest_from_json(before.results)
    delete_behind_our_back(storage, results["peaks.parquet"].key)
    stale = find_losses(engine, storage, before.digest, before.scope)
    assert stale is not None
    assert stale.results
    assert len(stale.shards) == 2
    submit(engine, storage, settings)
    compute(engine, storage, settings, tmp_path / "made")
    with transaction(engine) as session:
        # the clock of a fast test may not have moved
        session.execute(update(Computation).values(finished_at=Computation.finished_at + 1))
    monkeypatch.setattr("app.submissions.find_losses", lambda *_: stale)
    late = submit(engine, storage, settings)
    assert (late.created, late.complete) == (False, True)
    assert only(engine, Computation).state == "COMPLETE"
