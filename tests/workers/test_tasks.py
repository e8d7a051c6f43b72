"""The task: a shard is worked on by one, kept while it is, and always gets an answer."""

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from annotations.activation_parts import Layout
from annotations.activations import stretch_groups
from annotations.cards import find_cards
from annotations.errors import FormatError, StorageError, ToolError, WeightsError
from annotations.options import RunOptions
from app.catalog import stored_activations
from app.config import Settings
from app.database import make_engine, reading, transaction, upgrade
from app.dispatch import due
from app.models import Run, Shard
from app.runs import cancel_run, run_state
from app.shards import claim
from app.storage import LocalStorage, StoredPaths, manifest_from_json
from app.submissions import create_run
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers import tasks
from workers.pipeline import Canceled
from workers.tasks import Lease, ShardRunner, verdict


class Installation:
    """A database, a storage and tiny models in a temporary folder."""

    def __init__(self, folder, models, **changes):
        self.settings = Settings(
            data_dir=folder / "data", models_dirs=(models,), shard_bases=1000, **changes
        )
        self.settings.make_folders()
        self.engine = make_engine(self.settings)
        upgrade(self.engine)
        self.storage = LocalStorage(self.settings.storage_dir)
        self.folder = folder
        self.roots = [models]

    def submit(self, length=2500, seed=0, **options):
        path = self.folder / f"{length}-{seed}.fa"
        path.write_bytes(b">one\n" + random_sequence(length, seed) + b"\n")
        return create_run(
            self.engine,
            self.storage,
            find_cards(self.roots),
            sequences=path,
            options=RunOptions(dictionary=DICTIONARY_ID, **options),
            owner="me",
            settings=self.settings,
        ).run_id

    def runner(self, **changes):
        given = {
            "settings": self.settings,
            "engine": self.engine,
            "storage": self.storage,
            "roots": self.roots,
            "name": "worker-1",
        }
        return ShardRunner(**(given | changes))

    def shard_ids(self, kind="encode"):
        with reading(self.engine) as session:
            return list(session.scalars(select(Shard.id).where(Shard.kind == kind)))

    def shard(self, shard_id):
        with reading(self.engine) as session:
            return session.get(Shard, shard_id)

    def computation(self, run_id):
        with reading(self.engine) as session:
            run = session.get(Run, run_id)
            return run_state(run), run.computation

    def work(self, runner):
        """Run whatever is due until nothing is."""
        while True:
            with transaction(self.engine) as session:
                ready = due(session, self.settings)
            if not ready:
                return
            for item in ready:
                runner.run(item.shard_id)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return make_tiny_models(tmp_path_factory.mktemp("task-models"))


@pytest.fixture
def here(tmp_path, models):
    return Installation(tmp_path, models)


def test_a_run_is_computed_and_its_scratch_is_gone(here):
    run_id = here.submit()
    here.work(here.runner())
    state, computation = here.computation(run_id)
    assert (state, computation.error_message) == ("COMPLETE", None)
    assert set(computation.results) == {
        "activations.parquet",
        "concepts.parquet",
        "features.parquet",
        "matches.parquet",
        "peaks.parquet",
        "provenance.json",
    }
    features = pq.read_table(
        here.settings.storage_dir / computation.results["features.parquet"]["key"]
    )
    assert features.num_rows == 128
    assert list((here.settings.cache_dir / "work").iterdir()) == []
    assert list(here.storage.list(f"{computation.prefix}/shards")) == []


def test_a_large_result_is_stored_in_parts(here, tmp_path, monkeypatch):
    layout = Layout(one_file=0, tile_bases=1000, tiles_per_stripe=2, cell_bases=50)
    with monkeypatch.context() as patch:
        patch.setattr("workers.merge.LAYOUT", layout)
        run_id = here.submit()
        here.work(here.runner())
    state, computation = here.computation(run_id)
    assert (state, computation.error_message) == ("COMPLETE", None)
    manifest = manifest_from_json(computation.results)
    assert "activations.parquet" not in manifest
    assert len([name for name in manifest if name.startswith("activations/")]) > 4
    parts = stored_activations(StoredPaths(here.storage, manifest))
    (tmp_path / "other").mkdir()
    other = Installation(tmp_path / "other", here.roots[0])
    other.submit()
    other.work(other.runner())
    [path] = other.storage.path("computations").rglob("activations.parquet")
    assert pa.concat_tables(stretch_groups(parts)).equals(pq.read_table(path))


def test_of_two_messages_for_a_shard_one_does_the_work(here):
    here.submit()
    (first, *_) = here.shard_ids()
    assert here.runner().run(first)
    assert not here.runner(name="worker-2").run(first)
    assert here.shard(first).attempts == 1


def test_an_unknown_shard_is_no_error(here):
    assert not here.runner().run(12345)


def test_a_merge_waits_for_every_shard(here):
    here.submit()
    (merge,) = here.shard_ids("merge")
    assert not here.runner().run(merge)


def test_the_dictionary_is_opened_once(here, monkeypatch):
    here.submit()
    opened = []
    real = tasks.open_dictionary
    monkeypatch.setattr(
        tasks, "open_dictionary", lambda *a, **named: (opened.append(a), real(*a, **named))[1]
    )
    here.work(here.runner())
    assert len(here.shard_ids()) == 3
    assert len(opened) == 1


def test_a_canceled_run_stops_the_work_and_leaves_no_file(here, monkeypatch):
    run_id = here.submit()
    runner = here.runner()
    first = here.shard_ids()[0]

    def cancel_then_check(fasta, spans, encoder, out, *, on_progress, **options):
        (out / "activations.parquet").write_bytes(b"partial")
        with transaction(here.engine) as session:
            cancel_run(session, session.get(Run, run_id))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            on_progress(1)
            time.sleep(0.02)
        raise AssertionError("the work went on after it was canceled")

    monkeypatch.setattr(tasks, "run_shard", cancel_then_check)
    monkeypatch.setattr(tasks, "RENEW_SECONDS", 0.05)
    assert not runner.run(first)
    state, computation = here.computation(run_id)
    assert state == "CANCELED"
    assert list(here.storage.list(f"{computation.prefix}/shards")) == []
    assert list((here.settings.cache_dir / "work").iterdir()) == []


def test_an_error_of_the_data_fails_the_run_with_its_words(here, monkeypatch):
    run_id = here.submit()

    def refuse(*args, **options):
        raise FormatError("record 'one' is not what it should be")

    monkeypatch.setattr(tasks, "run_shard", refuse)
    here.work(here.runner())
    state, computation = here.computation(run_id)
    assert state == "EXECUTOR_ERROR"
    assert computation.error_code == "format-error"
    assert computation.error_message == "record 'one' is not what it should be"
    assert here.shard(here.shard_ids()[0]).attempts == 1


def test_a_bug_is_tried_again_and_its_text_is_not_shown(here, monkeypatch):
    run_id = here.submit(800)

    def crash(*args, **options):
        raise KeyError("ACGTACGT")

    monkeypatch.setattr(tasks, "run_shard", crash)
    here.work(here.runner())
    state, computation = here.computation(run_id)
    assert state == "SYSTEM_ERROR"
    assert computation.error_message.startswith("internal error (KeyError)")
    assert "ACGT" not in computation.error_message
    assert here.shard(here.shard_ids()[0]).attempts == here.settings.max_attempts


def test_other_weights_than_the_run_was_made_for_are_refused(here, tmp_path):
    run_id = here.submit(800)
    other = make_tiny_models(tmp_path / "other", seed=5)
    here.work(here.runner(roots=[other]))
    state, computation = here.computation(run_id)
    assert state == "SYSTEM_ERROR"
    assert "has other weights here" in computation.error_message


def test_a_broken_card_is_the_installations_fault_and_shows_no_path(here, tmp_path):
    run_id = here.submit(800)
    other = make_tiny_models(tmp_path / "broken")
    next(other.glob("*/model.json")).write_text("{")
    here.work(here.runner(roots=[other]))
    state, computation = here.computation(run_id)
    assert (state, computation.error_code) == ("SYSTEM_ERROR", "weights-error")
    assert "cannot be opened" in computation.error_message
    assert str(tmp_path) not in computation.error_message


def test_messages_show_no_path_of_the_installation(here, monkeypatch):
    run_id = here.submit(800)

    def refuse(*args, **options):
        raise WeightsError(f"{here.roots[0] / 'tree' / 'x.safetensors'} is missing")

    monkeypatch.setattr(tasks, "run_shard", refuse)
    here.work(here.runner())
    assert here.computation(run_id)[1].error_message == "tree/x.safetensors is missing"


def test_an_atlas_that_came_after_the_submission_is_not_used(here, tmp_path):
    run_id = here.submit(800)
    other = make_tiny_models(tmp_path / "with-atlas")
    folder = next(other.glob("*/*/dictionary.json")).parent / "atlas"
    folder.mkdir()
    (folder / "atlas.json").write_text("{}")
    here.work(here.runner(roots=[other]))
    state, computation = here.computation(run_id)
    assert state == "SYSTEM_ERROR"
    assert "the atlas of dictionary" in computation.error_message


def test_an_error_after_the_result_was_handed_in_deletes_nothing(here, monkeypatch):
    run_id = here.submit(800)
    real = tasks.finish

    def finish_then_fail(session, claimed, manifest):
        held = real(session, claimed, manifest)
        if claimed.kind == "merge":
            session.commit()
            raise OSError(5, "Input/output error")
        return held

    monkeypatch.setattr(tasks, "finish", finish_then_fail)
    here.work(here.runner())
    state, computation = here.computation(run_id)
    assert state == "COMPLETE"
    for file in computation.results.values():
        assert here.storage.exists(file["key"])


def test_files_of_shards_that_cannot_be_deleted_do_no_harm(here, monkeypatch):
    run_id = here.submit(800)
    real = here.storage.delete_prefix

    def refuse(prefix):
        if prefix.endswith("/shards"):
            raise OSError(39, "Directory not empty")
        real(prefix)

    monkeypatch.setattr(here.storage, "delete_prefix", refuse)
    here.work(here.runner())
    state, computation = here.computation(run_id)
    assert state == "COMPLETE"
    for file in computation.results.values():
        assert here.storage.exists(file["key"])


def test_a_process_that_is_to_stop_gives_its_shard_back(here):
    here.submit(800)
    (first,) = here.shard_ids()
    asked = iter([False, False])
    runner = here.runner(stopping=lambda: next(asked, True))
    assert not runner.run(first)
    shard = here.shard(first)
    assert (shard.state, shard.attempts, shard.published_at) == ("QUEUED", 0, None)
    assert here.runner(name="worker-2").run(first)
    assert here.shard(first).attempts == 1


def test_a_lease_outlasts_its_length_while_work_goes_on(tmp_path, models):
    here = Installation(tmp_path, models, lease_seconds=0.3)
    here.submit(800)
    (first,) = here.shard_ids()
    with transaction(here.engine) as session:
        claimed = claim(session, first, "worker-1", here.settings)
    with Lease(here.engine, claimed, here.settings) as lease:
        for _ in range(10):
            time.sleep(0.1)
            lease.check(1)
        with transaction(here.engine) as session:
            assert claim(session, first, "worker-2", here.settings) is None
    time.sleep(0.4)
    with transaction(here.engine) as session:
        assert claim(session, first, "worker-2", here.settings) is not None


def test_work_that_hangs_loses_its_lease(tmp_path, models, monkeypatch):
    monkeypatch.setattr(tasks, "STALL_SECONDS", 0.1)
    here = Installation(tmp_path, models, lease_seconds=0.3)
    here.submit(800)
    (first,) = here.shard_ids()
    with transaction(here.engine) as session:
        claimed = claim(session, first, "worker-1", here.settings)
    with Lease(here.engine, claimed, here.settings):
        time.sleep(0.7)
        with transaction(here.engine) as session:
            assert claim(session, first, "worker-2", here.settings) is not None


def test_a_lost_lease_stops_the_work(tmp_path, models):
    here = Installation(tmp_path, models, lease_seconds=0.05)
    here.submit(800)
    (first,) = here.shard_ids()
    with transaction(here.engine) as session:
        claimed = claim(session, first, "worker-1", here.settings)
    time.sleep(0.1)
    with transaction(here.engine) as session:
        assert claim(session, first, "worker-2", here.settings) is not None

    def work():
        with Lease(here.engine, claimed, here.settings, every=0.02) as lease:
            for _ in range(100):
                time.sleep(0.02)
                lease.check()

    with pytest.raises(Canceled):
        work()


@pytest.mark.parametrize(
    ("error", "code", "retryable", "state"),
    [
        (FormatError("x"), "format-error", False, "EXECUTOR_ERROR"),
        (MemoryError(), "out-of-memory", False, "EXECUTOR_ERROR"),
        (WeightsError("x"), "weights-error", False, "SYSTEM_ERROR"),
        (StorageError("x"), "storage-error", True, "SYSTEM_ERROR"),
        (ToolError("x"), "tool-error", True, "SYSTEM_ERROR"),
        (OSError(28, "No space left on device"), "storage-error", True, "SYSTEM_ERROR"),
        (ValueError("x"), "internal-error", True, "SYSTEM_ERROR"),
    ],
)
def test_verdicts(error, code, retryable, state):
    found = verdict(error)
    assert (found.code, found.retryable, found.state) == (code, retryable, state)
