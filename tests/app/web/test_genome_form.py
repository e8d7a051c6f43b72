"""The first page where genomes are registered: a choice, and runs over parts of one."""

import io

import pytest
from flask.testing import FlaskClient

from annotations.genome_folder import add_genome
from app.config import Settings
from tests.app.web.test_pages import HTML, form, page, words

GENOME = b">chrA\n" + b"ACGTTGCA" * 25 + b"\n>chrB\n" + b"GATTACAG" * 10 + b"\n"


@pytest.fixture
def genome(settings: Settings, tmp_path: object) -> None:
    folder = settings.data_dir
    (folder / "g.fa").write_bytes(GENOME)
    (folder / "g.bed").write_bytes(b"chrA\t20\t40\tONE\t0\t+\n")
    add_genome(settings.genomes_dir, "toy", folder / "g.fa", genes=folder / "g.bed")


def test_without_a_genome_there_is_no_choice(client: FlaskClient) -> None:
    assert "registered genome" not in words(page(client, "/"))


@pytest.mark.usefixtures("genome")
def test_the_choice_names_the_genomes(client: FlaskClient) -> None:
    text = page(client, "/")
    assert "toy (280 bases, with genes)" in words(text)
    for name in ("genome", "region", "gene", "flank", "regions"):
        assert f'id="{name}"' in text
        assert f'for="{name}"' in text


@pytest.mark.usefixtures("genome")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gene": "ONE", "flank": "5"}, "30 bases in 1 region of toy"),
        ({"region": "chrA:1-50, chrB:1-20"}, "70 bases in 2 regions of toy"),
        (
            {"regions": (io.BytesIO(b"chrA\t1\t9\nchrA\t5\t12\n"), "my.bed")},
            "11 bases in 1 region of toy (2 before those that overlap were joined), from my.bed",
        ),
        ({}, "280 bases in 2 records"),
    ],
)
def test_parts_of_a_genome_are_submitted(
    fields: dict[str, object], said: str, client: FlaskClient
) -> None:
    # a browser sends the fields that were left empty as well
    sent = form(genome="toy", sequence="", file=(io.BytesIO(b""), ""), **fields)
    answer = client.post("/runs", data=sent)
    assert answer.status_code == 303, answer.text
    assert said in words(page(client, answer.headers["Location"]))


@pytest.mark.usefixtures("genome")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gene": "TWO"}, "no gene 'TWO'"),
        ({"gene": "ONE", "sequence": ">a\nACGT\n"}, "not both"),
        ({"genome": "", "gene": "ONE", "sequence": ">a\nACGT\n"}, "say which with genome"),
        ({"region": "chrA:1-5", "flank": "x"}, "Flank"),
    ],
)
def test_a_wrong_choice_is_shown_again(
    fields: dict[str, object], said: str, client: FlaskClient
) -> None:
    answer = client.post("/runs", data=form(**{"genome": "toy", **fields}), headers=HTML)
    assert answer.status_code == 400
    text = words(answer.text)
    assert "Nothing was submitted." in text
    assert said in text
    for name in ("gene", "region", "flank"):
        if name in fields:
            assert f'value="{fields[name]}"' in answer.text
