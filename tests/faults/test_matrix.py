"""Every cell of the fault matrix: what follows, and that nothing is lost or done twice."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import happenings
from tests.faults.deployments import Deployment, deployed
from tests.faults.matrix import CELLS, FORMS, Cell
from tests.workers.factories import make_tiny_models
from tests.workers.test_pipeline import random_sequence

# pg8000 leaves the socket of a refused connection to the collector of garbage
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

SEQUENCE = random_sequence(3500, 17)
"""Four shards and a merge."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_models(tmp_path_factory.mktemp("fault-models"))


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[dict[str, Any]]:
    """Deployments that are up, by form; each is started when it is first asked for."""

    with contextlib.ExitStack() as stack:
        up: dict[str, Any] = {}

        class Forms(dict[str, Any]):
            def __missing__(self, kind: str) -> Any:
                folder = tmp_path_factory.mktemp(kind)
                self[kind] = stack.enter_context(deployed(kind, folder, models))
                return self[kind]

        up = Forms()
        yield up


@pytest.fixture(scope="module")
def undisturbed(forms: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of the tables of a run in which nothing went wrong."""
    here = next(iter(forms.values()))
    run_id = here.submit(SEQUENCE)
    assert here.finish(run_id) == "COMPLETE"
    digests = dict(here.digests(run_id))
    here.delete(run_id)
    return digests


def _parameters() -> list[Any]:
    marks = {True: (), False: (pytest.mark.slow,)}
    ordered = sorted(CELLS, key=lambda cell: FORMS.index(cell.form))
    return [pytest.param(cell, id=cell.name, marks=marks[cell.quick]) for cell in ordered]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cell", _parameters())
def test_cell(cell: Cell, forms: dict[str, Any], request: pytest.FixtureRequest) -> None:
    here: Deployment = forms[cell.form]
    undisturbed: dict[str, str] = request.getfixturevalue("undisturbed")
    happen = getattr(happenings, cell.fault.replace("-", "_"))
    try:
        here.ensure()
        run_id = happen(here, cell.moment, SEQUENCE)
        here.gates.clear()
        if run_id is None:
            assert cell.outcome in {"refused", "CANCELED"}
            assert here.ask("/v1/runs")["runs"] == []
        else:
            assert here.finish(run_id) == cell.outcome
            if cell.outcome == "COMPLETE":
                check_whole(here, run_id, undisturbed)
            here.ensure()
            here.delete(run_id)
        # a worker that lost its claim may still be deleting what it stored
        here.wait_until(lambda: not list(here.storage.list("computations")), 20, "no leftovers")
    finally:
        tidy(here)


def check_whole(here: Deployment, run_id: str, undisturbed: dict[str, str]) -> None:
    """The results are those of an undisturbed run, each shard is complete once."""
    shards = here.shards(run_id)
    assert {shard.state for shard in shards} == {"COMPLETE"}
    assert sum(shard.bases for shard in shards if shard.kind == "encode") == len(SEQUENCE)
    assert here.digests(run_id) == undisturbed
    here.wait_until(lambda: here.leftovers() == [], 20, "nothing stored that nothing points to")
    computation = here.computation(run_id)
    known = {file["key"] for file in [*computation.inputs.values(), *computation.results.values()]}
    assert set(here.keys(run_id)) == known


def tidy(here: Deployment) -> None:
    """Have the next cell find the deployment as this one did."""
    here.gates.clear()
    here.ensure()
    for run in here.ask("/v1/runs")["runs"]:
        here.delete(run["id"])


def test_the_matrix_has_cells_enough_and_each_fault_has_a_function() -> None:
    assert len({cell.name for cell in CELLS}) == len(CELLS) >= 30
    assert sum(cell.quick for cell in CELLS) == 8
    for cell in CELLS:
        assert callable(getattr(happenings, cell.fault.replace("-", "_")))
        assert re.fullmatch(r"[a-z-]+", cell.fault)
