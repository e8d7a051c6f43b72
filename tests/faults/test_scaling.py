"""Workers that come in the midst of a run, and work that waits for none."""

from pathlib import Path

import pytest

from tests.faults.deployments import deployed
from tests.workers.factories import MODEL_ID, make_tiny_models
from tests.workers.test_pipeline import random_sequence


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_that_comes_in_the_midst_of_a_run_helps(tmp_path: Path) -> None:
    models = make_tiny_models(tmp_path / "models")
    with deployed("scaled-out", tmp_path / "here", models) as here:
        here.gates.arm("encoding")
        run_id = here.submit(random_sequence(12_000, 3))
        # the first worker is held up at its first shard until another has done the rest
        pid = here.gates.reached("encoding")
        here.add_worker()
        here.wait_until(
            lambda: sum(shard.state == "COMPLETE" for shard in here.shards(run_id)) >= 5,
            60,
            "work of the second worker",
        )
        held = [shard for shard in here.shards(run_id) if shard.state == "RUNNING"]
        assert held
        here.gates.clear()
        assert here.finish(run_id) == "COMPLETE"
        shards = here.shards(run_id)
        assert {shard.attempts for shard in shards} == {1}
        first = min(shards, key=lambda shard: shard.started_at or 0)
        beside = [
            shard
            for shard in shards
            if shard.id != first.id and (shard.started_at or 0) < (first.finished_at or 0)
        ]
        assert len(beside) >= 5
        assert pid == here.worker_pid()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_of_a_model_without_a_worker_waits_for_one(tmp_path: Path) -> None:
    models = make_tiny_models(tmp_path / "models")
    with deployed("scaled-out", tmp_path / "here", models) as here:
        for worker in here.workers:
            assert worker.stop() == 0
        here.workers.clear()
        run_id = here.submit(random_sequence(1500, 3))
        view = here.ask(f"/v1/runs/{run_id}")
        assert view["estimate"]["workers"] == 0
        assert "waits until one is" in view["notice"]
        here.add_worker("--model", MODEL_ID)
        assert here.finish(run_id) == "COMPLETE"
