"""schemathesis reads the OpenAPI document and asks what it allows, and what it does not."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from app.config import Settings
from app.database import make_engine, transaction, upgrade
from app.runs import get_run
from app.share_links import create_link
from app.storage import LocalStorage
from tests.app.conftest import complete, new_run, write_models
from tests.app.test_uploads import listening_port

ROOT = Path(__file__).parents[2]

CHECKS_LEFT_OUT = {
    "ignored_auth": "a server of one machine's own users has no tokens; see test_tokens",
    "positive_data_acceptance": "ids of things that do not exist are valid and answered 404",
}
"""Checks that do not fit, and why."""


SLOW_SECONDS = 300
"""How long an answer may take on a machine that does much else."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data", models_dirs=(tmp_path / "models",), min_free_bytes=0
    )
    settings.make_folders()
    write_models(tmp_path / "models")
    engine = make_engine(settings)
    upgrade(engine)
    storage = LocalStorage(settings.storage_dir)
    run_id = new_run(engine, storage, settings)
    complete(engine, storage, settings, tmp_path / "results")
    with transaction(engine) as session:
        link = create_link(session, get_run(session, run_id, "local"), title=None)
    engine.dispose()
    # what exists, so that not all answers are 404
    known = {"run_id": run_id, "token": link.token, "dictionary": "toy-sae", "tf": "REB1"}
    lines = ["[parameters]", *(f'"{name}" = "{value}"' for name, value in known.items())]
    (tmp_path / "schemathesis.toml").write_text("\n".join(lines) + "\n")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SAETRACK_")},
        "SAETRACK_DATA_DIR": str(settings.data_dir),
        "SAETRACK_MODELS_DIRS": str(tmp_path / "models"),
        "SAETRACK_MIN_FREE_BYTES": "0",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "app.factory:create_app()", "--bind=127.0.0.1:0",
             "--worker-class=gthread", "--threads=4", "--no-control-socket",
             # on a busy machine the tool takes longer than two seconds between two requests, and a
             # connection that is closed as the next one is sent is an error of the network to it
             f"--keep-alive={SLOW_SECONDS}", f"--timeout={SLOW_SECONDS}",
             # a line of 5,000 characters is refused by gunicorn itself, in HTML
             "--limit-request-line=0"],
            env=environment, stderr=log, stdout=log, cwd=ROOT,
        )  # fmt: skip
        try:
            port = listening_port(server, tmp_path / "log")
            address = f"http://127.0.0.1:{port}"
            # the tool itself waits ten seconds for the document, whatever it is told
            document = f"{address}/openapi.json"
            with urllib.request.urlopen(document, timeout=SLOW_SECONDS) as answer:  # noqa: S310
                (tmp_path / "openapi.json").write_bytes(answer.read())
            said = ask(address, environment, tmp_path)
        finally:
            server.terminate()
            server.wait(20)
    # both headings, not the code the tool ends with: an error is its own, a failure is ours
    assert not re.search("= (ERRORS|FAILURES) =", said), said[-8000:]
    passed = re.search(r"(\d+) generated", said)
    assert passed, said[-2000:]
    assert int(passed[1]) > 500, json.dumps(passed.groups())
    assert "Traceback" not in (tmp_path / "log").read_text()


def ask(address: str, environment: dict[str, str], folder: Path) -> str:
    """What schemathesis says of the server at an address, whose document is in the folder."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", "openapi.json"),
        f"--url={address}",
        "--checks=all",
        f"--exclude-checks={','.join(CHECKS_LEFT_OUT)}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=15",
        "--seed=1",
        "--workers=2",
        # the first request after installing compiles: a slow answer is no wrong one
        f"--request-timeout={SLOW_SECONDS}",
        # what never reached the server, or got no answer, says nothing about its answers
        "--request-retries=3",
        # what would take away the run that the others ask about
        "--exclude-method=DELETE",
        "--warnings=off",
        "--suppress-health-check=all",
        "--no-color",
    ]
    asked = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    return asked.stdout + asked.stderr
