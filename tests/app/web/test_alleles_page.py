"""The part of a run's page that compares alleles."""

import json
import re
from html import unescape
from io import BytesIO

import pytest

from tests.app.test_alleles_api import ROWS, VCF, complete, submit
from tests.app.web.test_pages import page, words


@pytest.fixture
def run(client, engine, storage, settings, tmp_path):
    """A complete run of two variants."""
    answer = submit(client, variants=VCF, flank="5")
    complete(engine, storage, settings, tmp_path / "results", ROWS)
    return answer.json["id"]


def config(text):
    """What igv.js is told."""
    return json.loads(unescape(re.search(r'data-config="([^"]*)"', text)[1]))


def test_the_page_lists_the_variants_with_what_changed_most(client, run):
    text = page(client, f"/runs/{run}")
    said = words(text)
    assert "Variants: what they change" in said
    assert "no test: there is no p-value" in said
    assert "Passed over in the file: 1 symbolic allele (<...>)." in said
    assert said.index("chrA:10 C>T") < said.index("chrA:10 C>CGG")
    assert "rs7" in said
    first = re.search(r'<a class="button small" href="([^"]+)" aria-label="Draw chrA:10 C', text)[1]
    assert unescape(first) == (
        f"/runs/{run}?features=2-%2C1%2B&locus=chrA_10_C_T_ref%3A1-11#browse"
    )


def test_the_browser_opens_at_the_largest_change_with_three_tracks_each(client, run):
    told = config(page(client, f"/runs/{run}"))
    assert told["alleles"] is True
    assert told["locus"] == "chrA_10_C_T_ref:1-11"
    assert [track["name"] for track in told["tracks"]] == [
        "feature 2-",
        "feature 2- alt",
        "feature 2- alt - ref",
        "feature 1+",
        "feature 1+ alt",
        "feature 1+ alt - ref",
    ]
    orders = [track["order"] for track in told["tracks"]]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)
    for track in told["tracks"]:
        assert track["graphType"] == "dynseq"
        assert client.get(track["url"]).status_code == 200
    assert [(track["min"], track.get("max")) for track in told["tracks"][:3]] == [
        (0, None),
        (0, None),
        (-8.0, 8.0),
    ]


def test_a_link_of_the_list_restores_its_view(client, run):
    told = config(page(client, f"/runs/{run}?features=1%2B&locus=chrA_10_C_CGG_ref:1-10"))
    assert told["locus"] == "chrA_10_C_CGG_ref:1-10"
    assert len(told["tracks"]) == 3


def test_every_address_of_the_part_answers(client, run):
    text = page(client, f"/runs/{run}")
    part = text[text.index('id="alleles"') : text.index('id="list"')]
    addresses = {unescape(found).split("#")[0] for found in re.findall(r'href="([^"]+)"', part)}
    assert len(addresses) >= 7
    for address in sorted(addresses):
        # there is no atlas here, and pages of features have their own tests
        if not address.startswith("/features/"):
            assert client.get(address).status_code == 200, address


def send(client, **fields):
    """What a browser sends of the form."""
    names = ("file", "genes", "motifs_file", "variants")
    empty = {name: (BytesIO(), "") for name in names}
    sequence = ">chrA\nACGTACGTACGTACGTACGT\n>chrB\nACGTTCGTACGTACGTACGT\n"
    data = {**empty, "dictionary": "toy-sae", "strands": "both", "sequence": sequence, **fields}
    return client.post("/runs", data=data, content_type="multipart/form-data")


def test_the_form_takes_a_vcf_or_two_names(client):
    for fields in ({"variants": (BytesIO(VCF), "x.vcf")}, {"alleles": "chrA,chrB"}):
        answer = send(client, **fields)
        assert answer.status_code == 303, words(answer.text)
        run = client.get(f"/v1{answer.headers['Location']}").json
        assert run["contigs"] == (4 if "variants" in fields else 2)
    answer = send(client, alleles="chrA,chrC")
    assert answer.status_code == 400
    assert "did you mean" in words(answer.text)
    assert 'value="chrA,chrC"' in answer.text


def test_a_run_without_alleles_has_no_such_part(client, finished):
    text = page(client, f"/runs/{finished}")
    assert 'id="alleles"' not in text
    assert config(text)["alleles"] is False
    assert "alleles" not in client.get(f"/v1/runs/{finished}").json["links"]


def test_a_run_links_its_alleles(client, run):
    assert client.get(f"/v1/runs/{run}").json["links"]["alleles"] == f"/v1/runs/{run}/alleles"
