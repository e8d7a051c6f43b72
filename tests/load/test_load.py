"""Fifty users for two minutes: no server error, nothing lost, nothing done twice.

How fast the answers are is measured by `benchmarks/load.py`, and printed here.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.load.clients import Client, run_clients, summary
from tests.load.installations import check_installation, installed, make_works
from tests.workers.factories import make_tiny_models

CLIENTS = 50
SECONDS = float(os.environ.get("LOAD_SECONDS", "120"))
"""How long clients submit; the variable makes a quick try of it."""

WORKS = 8
"""Sequences of each client."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["embedded", "scaled-out"])
def test_fifty_clients(
    kind: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    models = make_tiny_models(tmp_path / "models")
    works = make_works(models, tmp_path / "expected", WORKS)
    with installed(kind, tmp_path / "here", models) as here:
        tokens = here.tokens(CLIENTS)
        started = time.monotonic()
        clients = [
            Client(f"client{n}", here.settings.port, token, works, started + SECONDS)
            for n, token in enumerate(tokens)
        ]
        run_clients(clients)
        found = summary(clients, time.monotonic() - started)
        runs = [run_id for client in clients for run_id in client.runs]
        wrong = [said for client in clients for said in client.wrong]
        wrong += check_installation(here, runs)
    print(json.dumps(found))
    record_property("load", json.dumps(found))
    assert wrong == []
    assert not [status for status in found["statuses"] if int(status) >= 500]
    assert len(runs) == len(set(runs)) >= CLIENTS
