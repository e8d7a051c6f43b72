"""Pages of much: many records, many features; and what they are without JavaScript."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from app.config import Settings
from app.storage import LocalStorage
from app.web.tracks import LISTED_CONTIGS
from tests.app.conftest import complete, new_run
from tests.app.web.test_pages import page

RECORDS = 3 * LISTED_CONTIGS


@pytest.fixture
def many(engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path) -> str:
    """A complete run of many records; the first two are those of the results."""
    fasta = b"".join(b">c%d\nACGTACGTACGTACGTACGT\n" % number for number in range(RECORDS))
    run = new_run(engine, storage, settings, fasta=fasta)
    complete(engine, storage, settings, tmp_path / "results")
    return run


def test_no_page_names_every_record(client: FlaskClient, many: str) -> None:
    text = page(client, f"/runs/{many}")
    assert f"{RECORDS:,} records" in text
    assert text.count('<option value="c') == LISTED_CONTIGS
    assert f"c{RECORDS - 1}" not in text
    # igv.js would list them all
    assert "&#34;showChromosomeWidget&#34;: false" in text
    # a record that no list names is still a place
    assert "c599:1-20" in page(client, f"/runs/{many}?locus=c599:1-20")


def test_without_scripts_a_link_draws_and_tables_are_there(
    client: FlaskClient, finished: str
) -> None:
    text = page(client, f"/runs/{finished}")
    assert "<noscript>" in text
    assert "The tables and tracks below do not." in text
    link = re.search(
        r'<a class="button small draw" data-feature="([^"]+)"[^>]* href="([^"]+)"', text
    )
    assert link is not None
    after = page(client, unescape(link[2]))
    told = re.search(r'data-config="([^"]*)"', after)
    assert told is not None
    names = [track["name"] for track in json.loads(unescape(told[1]))["tracks"]]
    assert f"feature {link[1]}" in names
