"""docs/client.ipynb: a whole notebook with outputs, whose cells run against a server."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workers.embedded_server import embedded_server

ROOT = Path(__file__).parents[1]


@pytest.fixture
def runner() -> ModuleType:
    """`scripts/run_notebook.py`, which is in no package."""
    path = ROOT / "scripts" / "run_notebook.py"
    spec = importlib.util.spec_from_file_location("run_notebook", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def notebook() -> dict[str, Any]:
    path = ROOT / "docs" / "client.ipynb"
    assert path.stat().st_size < 300_000
    return json.loads(path.read_text(encoding="utf-8"))


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_it_is_a_notebook_of_a_real_run_from_the_first_cell_to_the_last(
    notebook: dict[str, Any],
) -> None:
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[\w-]{1,64}", name) for name in ids)
    cells = code(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
    assert set(kinds) == {"stream", "execute_result"}
    shown = json.dumps([cell["outputs"] for cell in cells])
    assert "REB1-like motif" in shown
    assert shown.count("image/svg+xml") == 2
    assert shown.count("text/html") >= 5
    assert "/s/" not in shown  # no link that was given away


def test_cells_show_what_they_print_and_their_last_value(runner: ModuleType) -> None:
    scope: dict[str, Any] = {}
    assert runner.outputs_of("x = 2\nprint(x)\nx + 1", scope, 3) == [
        {"output_type": "stream", "name": "stdout", "text": ["2\n"]},
        {
            "output_type": "execute_result",
            "execution_count": 3,
            "metadata": {},
            "data": {"text/plain": ["3"]},
        },
    ]
    assert runner.outputs_of("x = 5", scope, 4) == []
    with pytest.raises(ZeroDivisionError):
        runner.outputs_of("x / 0", scope, 5)


@pytest.mark.slow
def test_its_cells_run_against_a_server(
    runner: ModuleType, notebook: dict[str, Any], tmp_path: Path
) -> None:
    before = json.loads(json.dumps(notebook))
    with embedded_server(tmp_path / "data", tmp_path / "server.log") as client:
        runner.run_cells(notebook, client.url)
    for cell, was in zip(code(notebook), code(before), strict=True):
        told = [sorted(output.get("data", ())) for output in cell["outputs"]]
        assert told == [sorted(output.get("data", ())) for output in was["outputs"]]
    # the numbers that are printed do not depend on the machine; times and ids are not printed
    assert code(notebook)[2]["outputs"][0] == code(before)[2]["outputs"][0]
