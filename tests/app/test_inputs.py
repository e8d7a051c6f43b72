"""What a submission may bring besides sequences: contigs to hold out, motifs of its own."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from annotations.cards import find_cards
from annotations.errors import LimitError
from annotations.options import RunOptions
from annotations.run_motifs import MAX_BYTES, MotifFile, read_motif_file
from app.config import Settings
from app.storage import LocalStorage
from app.submissions import computation_parameters, parameters_digest
from tests.app.conftest import FASTA, complete, new_run, take

MOTIFS = b">M1 MINE\nA [ 9 0 0 9 1 ]\nC [ 0 9 0 0 1 ]\nG [ 0 0 9 0 1 ]\nT [ 1 1 1 1 7 ]\n"


def submit(client: FlaskClient, **fields: object) -> tuple[int, dict]:
    """Submit the two contigs chrA and chrB as a form."""
    answer = client.post("/v1/runs", data={"file": (io.BytesIO(FASTA), "a.fa"), **fields})
    return answer.status_code, answer.get_json()


@pytest.mark.parametrize(
    "fields",
    [
        {"held_out": "chrB"},
        {"options": json.dumps({"held_out": ["chrB"]})},
        {"options": json.dumps({"held_out": "chrB, chrB"})},
    ],
)
def test_contigs_are_held_out_by_name(
    fields: dict, client: FlaskClient, engine: Engine, settings: Settings
) -> None:
    status, view = submit(client, **fields)
    assert (status, view["options"]["held_out"]) == (202, ["chrB"])
    assert take(engine, settings, 1).options.held_out == (1,)


def test_contigs_are_held_out_by_a_parameter_of_a_raw_body(client: FlaskClient) -> None:
    answer = client.post("/v1/runs?held_out=chrA", data=FASTA, content_type="text/plain")
    assert answer.get_json()["options"]["held_out"] == ["chrA"]


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ("chrC", "'chrC', which is not a contig of the sequences; did you mean"),
        ("chrA,chrB", "every contig"),
    ],
)
def test_contigs_that_cannot_be_held_out_are_refused(
    held_out: str, message: str, client: FlaskClient
) -> None:
    status, problem = submit(client, held_out=held_out)
    assert status == 400
    assert message in problem["detail"]
    status, problem = submit(client, options=json.dumps({"held_out": [1]}))
    assert (status, "must name contigs" in problem["detail"]) == (400, True)


def test_what_is_held_out_is_part_of_what_is_computed(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    new_run(engine, storage, settings, held_out=[1])
    complete(engine, storage, settings, tmp_path / "results")
    assert submit(client, taxon="fungi", held_out="chrB")[0] == 200
    assert submit(client, taxon="fungi")[0] == 202


def test_motifs_are_stored_with_the_submission(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings
) -> None:
    status, _ = submit(client, motifs_file=(io.BytesIO(MOTIFS), "mine.meme"))
    assert status == 202
    claimed = take(engine, settings, 1)
    stored = storage.local_path(claimed.inputs["motifs.meme"])
    assert stored.read_bytes() == MOTIFS
    assert claimed.parameters["motifs"] == MotifFile(MOTIFS, "").sha256
    # other motifs, another computation; the same again, the same
    other = MOTIFS.replace(b"9 1", b"8 1")
    first = submit(client, motifs_file=(io.BytesIO(other), "mine.meme"))[1]["computation"]
    again = submit(client, motifs_file=(io.BytesIO(other), "x.txt"))[1]["computation"]
    assert first == again != submit(client)[1]["computation"]


@pytest.mark.parametrize("content", [b"", b"no motifs", b">M1\nA [ 1 2 ]\n"])
def test_a_file_without_motifs_is_refused(content: bytes, client: FlaskClient) -> None:
    status, problem = submit(client, motifs_file=(io.BytesIO(content), "mine.meme"))
    assert (status, problem["type"].endswith("format-error")) == (422, True)


def test_too_large_a_file_of_motifs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=str(MAX_BYTES)):
        read_motif_file(io.BytesIO(b"x" * (MAX_BYTES + 1)), "mine.meme")


def test_the_coders_configuration_is_part_of_the_digest(settings: Settings, tmp_path: Path) -> None:
    card = find_cards(settings.models_dirs).dictionary("toy-sae")
    options = RunOptions(dictionary=card.id)
    config = tmp_path / "cfg.json"

    def digest() -> str:
        found = computation_parameters([], None, card, None, options, coder=config)
        return parameters_digest(found)

    without = digest()
    config.write_text("{}")
    empty = digest()
    config.write_text('{"apply_b_dec_to_input": true}')
    assert len({without, empty, digest()}) == 3
    assert digest() != parameters_digest(
        computation_parameters([], None, card, None, replace(options, held_out=(3,)), coder=config)
    )
