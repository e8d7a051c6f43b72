"""Tracks over HTTP: what the owner gets, what a share link shows, ranges, conditions, CORS."""

import hashlib
import io
import json
import logging
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyBigWig
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from annotations.contig_aliases import AliasTable, Known
from annotations.genome_folder import add_genome
from app import track_files
from app.api import run_cache, ucsc
from app.catalog import Result
from app.config import Settings
from app.database import reading
from app.runs import delete_run
from app.storage import LocalStorage
from app.track_files import FILES
from tests.app.conftest import FASTA, complete, new_run

GENES = b"chrA\t2\t18\tG1\t0\t+\t3\t17\t0\t2\t3,4,\t0,12,\n"
"""One transcript of two exons, its intron from base 5 to base 14."""


@pytest.fixture
def run(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> str:
    """A complete run with a gene annotation."""
    form = {
        "file": (io.BytesIO(FASTA), "yeast.fa"),
        "genes": (io.BytesIO(GENES), "genes.bed"),
        "taxon": "fungi",
        "title": "Two contigs",
    }
    run_id = str(client.post("/v1/runs", data=form).get_json()["id"])
    complete(engine, storage, settings, tmp_path / "results")
    return run_id


@pytest.mark.parametrize("shared", [False, True])
def test_a_run_that_is_deleted_while_its_track_is_made_is_gone(
    shared: bool,
    run: str,
    client: FlaskClient,
    engine: Engine,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = track_files.peaks_bigbed

    def late(result: Result, path: Path, **options: Any) -> None:
        delete_run(engine, storage, run, "local")
        real(result, path, **options)

    base = f"/v1/runs/{run}"
    if shared:
        base = share(client, run)["links"]["hub"].rpartition("/")[0]
    monkeypatch.setattr("app.track_files.peaks_bigbed", late)
    answer = client.get(f"{base}/peaks.bb")
    assert answer.status_code == 404, answer.text
    assert "has been deleted meanwhile" in answer.get_json(force=True)["detail"]


def share(client: FlaskClient, run_id: str) -> dict[str, Any]:
    answer = client.post(f"/v1/runs/{run_id}/share-links?title=lab")
    assert answer.status_code == 201, answer.text
    return dict(answer.get_json())


def bigbed(answer: TestResponse, folder: Path) -> dict[str, list[list[str]]]:
    """Rows of a bigBed by contig, with start and end, as libBigWig reads them."""
    assert answer.status_code == 200, answer.text
    path = folder / "track.bb"
    path.write_bytes(answer.data)
    with pyBigWig.open(str(path)) as file:
        assert file.isBigBed()
        return {
            name: [[str(a), str(b), *rest.split("\t")] for a, b, rest in found]
            for name, length in file.chroms().items()
            if (found := file.entries(name, 0, length))
        }


def stanzas(hub: str) -> list[dict[str, str]]:
    return [
        dict(line.split(" ", 1) for line in stanza.splitlines())
        for stanza in hub.strip().split("\n\n")
    ]


def test_every_file_a_hub_names_is_there_at_both_addresses(
    client: FlaskClient, run: str, tmp_path: Path
) -> None:
    token = share(client, run)["token"]
    for base in (f"/v1/runs/{run}/", f"/s/{token}/"):
        hub = client.get(f"{base}hub.txt")
        assert hub.status_code == 200
        wanted = [
            value
            for stanza in stanzas(hub.text)
            for key, value in stanza.items()
            if key in {"bigDataUrl", "twoBitPath", "chromSizes", "html", "descriptionUrl"}
        ]
        # 3 active rows, each with signal and peaks; all peaks; genes
        assert sum(name.endswith((".bw", ".bb")) for name in wanted) == 8
        assert all("/v1/" not in name and "://" not in name for name in wanted)
        for name in {*wanted, *FILES}:
            assert client.get(base + name).status_code == 200, base + name


def test_the_bytes_are_the_same_at_both_addresses(client: FlaskClient, run: str) -> None:
    token = share(client, run)["token"]
    for name in ("peaks.bb", "features/1_minus/signal.bw", "sequence.2bit", "jbrowse.json"):
        mine, theirs = client.get(f"/v1/runs/{run}/{name}"), client.get(f"/s/{token}/{name}")
        assert mine.data == theirs.data
        assert mine.headers["ETag"] == theirs.headers["ETag"]
        assert theirs.headers["ETag"] == f'"{hashlib.sha256(theirs.data).hexdigest()}"'
        # whoever has the link learns nothing of the run but its tracks
        assert run not in str(theirs.headers) + theirs.get_data().decode("latin-1")


def test_peaks_have_label_motif_evidence_and_color(
    client: FlaskClient, run: str, tmp_path: Path
) -> None:
    rows = bigbed(client.get(f"/v1/runs/{run}/peaks.bb"), tmp_path)
    assert rows["chrA"] == [
        ["5", "6", "F1+", "500", "+", "5", "6", "120,120,120", "1", "2", "1", *".....", "REB1",
         "."],
        ["5", "6", "F1-", "1000", "-", "5", "6", "86,180,233", "1", "4", "1", ".", "REB1", "0.001",
         "enriched", "run", ".", "ACT1 gene"],
    ]  # fmt: skip
    assert rows["chrB"][0][7:9] == ["204,121,167", "2"]
    only = bigbed(client.get(f"/v1/runs/{run}/peaks.bb?features=1-,2"), tmp_path)
    assert [row[2] for found in only.values() for row in found] == ["F1-", "F2+"]
    assert "chrB" not in bigbed(client.get(f"/v1/runs/{run}/features/1-/peaks.bb"), tmp_path)


def values(answer: TestResponse, folder: Path) -> dict[str, list[float]]:
    """Every base of a bigWig, as libBigWig reads it."""
    assert answer.status_code == 200, answer.text
    path = folder / "track.bw"
    path.write_bytes(answer.data)
    with pyBigWig.open(str(path)) as file:
        return {name: file.values(name, 0, length) for name, length in file.chroms().items()}


def test_a_bigwig_of_peaks_is_silent_but_at_the_peaks(
    client: FlaskClient, run: str, tmp_path: Path
) -> None:
    token = share(client, run)["token"]
    for base in (f"/v1/runs/{run}", f"/s/{token}"):
        address = f"{base}/features/1"
        # base 4 is active on +, and no peak
        plus = values(client.get(f"{address}_plus/peaks.bw"), tmp_path)
        assert plus == {"chrA": [0] * 5 + [2] + [0] * 14, "chrB": [0] * 10}
        both = values(client.get(f"{address}/peaks.bw"), tmp_path)
        assert both == {"chrA": [0] * 5 + [4] + [0] * 14, "chrB": [0] * 10}
        signal = values(client.get(f"{address}_plus/signal.bw"), tmp_path)
        assert signal["chrA"] == [0] * 4 + [1, 2] + [0] * 14
    silent = values(client.get(f"/v1/runs/{run}/features/0/peaks.bw"), tmp_path)
    assert silent == {"chrA": [0] * 20, "chrB": [0] * 10}
    hub = stanzas(client.get(f"/v1/runs/{run}/hub.txt?features=1-&peaks=heights").text)
    drawn = {stanza["track"]: stanza["type"] for stanza in hub if "bigDataUrl" in stanza}
    assert drawn["f1_minus_heights"] == "bigWig 0 4"
    assert "f1_minus_peaks" not in drawn
    both_kinds = client.get(f"/v1/runs/{run}/hub.txt?features=1-&peaks=both").text
    assert {"f1_minus_heights", "f1_minus_peaks"} <= set(re.findall(r"track (\w+)", both_kinds))
    assert client.get(f"/v1/runs/{run}/hub.txt?peaks=x").status_code == 400


def test_genes_are_bed12_in_both_forms(client: FlaskClient, run: str, tmp_path: Path) -> None:
    (row,) = bigbed(client.get(f"/v1/runs/{run}/genes.bb"), tmp_path)["chrA"]
    assert row[:11] == ["2", "18", "G1", "0", "+", "3", "17", "0,0,120", "2", "3,4,", "0,12,"]
    line = client.get(f"/v1/runs/{run}/genes.bed").text
    assert line == "chrA\t" + "\t".join(row[:11]) + "\n"


def test_a_run_without_genes_says_so(client: FlaskClient, finished: str) -> None:
    answer = client.get(f"/v1/runs/{finished}/genes.bb")
    assert (answer.status_code, answer.mimetype) == (409, "application/problem+json")
    assert "genes" not in client.get(f"/v1/runs/{finished}/hub.txt").text


def test_the_sequence_is_that_of_the_submission(client: FlaskClient, run: str) -> None:
    base = f"/v1/runs/{run}/"
    fasta = client.get(f"{base}sequence.fa").data
    assert fasta == b">chrA\nACGTACGTACGTACGTACGT\n>chrB\nNNNNNACGTT\n"
    for line in client.get(f"{base}sequence.fa.fai").text.splitlines():
        name, length, offset, _, _ = line.split("\t")
        found = fasta[int(offset) : int(offset) + int(length)]
        assert found in (b"ACGTACGTACGTACGTACGT", b"NNNNNACGTT"), name
    assert client.get(f"{base}chrom.sizes").text == "chrA\t20\nchrB\t10\n"
    two_bit = client.get(f"{base}sequence.2bit").data
    assert two_bit[:4] == bytes.fromhex("4327411a")


def test_features_are_chosen_by_name_or_by_factor(client: FlaskClient, run: str) -> None:
    def names(query: str) -> list[str]:
        hub = client.get(f"/v1/runs/{run}/hub.txt{query}")
        assert hub.status_code == 200, hub.text
        found = [stanza.get("track", "") for stanza in stanzas(hub.text)]
        return [name for name in found if re.fullmatch(r"f\d+\w*", name) and "peaks" not in name]

    assert names("") == ["f1_minus", "f2_plus", "f1_plus"]
    assert names("?features=2-,1%2B") == ["f2_minus", "f1_plus"]
    assert names("?features=2-,1+") == ["f2_minus", "f1_plus"]
    assert names("?features=0") == ["f0"]
    assert names("?tf=REB1") == ["f1_minus"]
    for query, status in (
        ("?features=9-", 404),
        ("?features=,", 400),
        ("?features=1-&tf=REB1", 400),
        ("?tf=CBF1", 400),
        ("?tf=NOSUCH", 404),
        ("?feature=1", 400),
    ):
        assert client.get(f"/v1/runs/{run}/hub.txt{query}").status_code == status, query


def test_a_hub_attaches_only_to_a_genome_of_the_same_contigs(
    client: FlaskClient, run: str, settings: Settings, tmp_path: Path
) -> None:
    refused = client.get(f"/v1/runs/{run}/hub.txt?genome=sacCer3")
    assert refused.status_code == 400
    detail = refused.get_json()["detail"]
    assert "chrA is not there" in detail
    assert "Leave genome out" in detail
    unknown = client.get(f"/v1/runs/{run}/hub.txt?genome=hg99")
    assert unknown.status_code == 404
    assert "sacCer3" in unknown.get_json()["detail"]
    fasta = tmp_path / "mine.fa"
    fasta.write_bytes(FASTA + b">chrC\nACGT\n")
    add_genome(settings.genomes_dir, "myYeast", fasta)
    hub = client.get(f"/v1/runs/{run}/hub.txt?genome=myYeast")
    assert stanzas(hub.text)[1] == {"genome": "myYeast"}
    assert "tracks" in client.get(f"/v1/runs/{run}/igv.json?genome=myYeast").get_json()
    assert client.get(f"/v1/runs/{run}/jbrowse.json?genome=myYeast").status_code == 400
    links = client.get(f"/v1/runs/{run}/links.json?genome=myYeast").get_json()
    assert links["jbrowse_config"] is None
    assert links["hub"].endswith("/hub.txt?genome=myYeast")
    wanted = re.findall(r"bigDataUrl (\S+)", hub.text)
    assert len(wanted) == 8
    for name in wanted:
        assert name.endswith("?genome=myYeast")
        assert client.get(f"/v1/runs/{run}/{name}").status_code == 200, name


YEAST = (("chrM", "MT", "NC_001224.1"), ("chrI", "I", "NC_001133.9"))


def fake_genome(monkeypatch: pytest.MonkeyPatch, ours: tuple[str, str]) -> None:
    """Have sacCer3 be of the lengths of `FASTA`, and a stated table know our names."""
    lengths = MappingProxyType({"chrI": 20, "chrM": 10, "chrX": 7})
    rows = tuple((ucsc, own) for (ucsc, *_), own in zip(reversed(YEAST), ours, strict=True))
    known = Known(AliasTable("sacCer3 (shipped)", rows), MappingProxyType({}))
    monkeypatch.setattr("app.api.reach.assemblies", lambda: {"sacCer3": lengths})
    monkeypatch.setattr("app.api.reach.shipped", lambda: {"sacCer3": known})


def test_files_of_an_attached_hub_are_called_as_the_genome_calls_them(
    client: FlaskClient, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_genome(monkeypatch, ("chrA", "chrB"))
    token = share(client, run)["token"]
    for base in (f"/v1/runs/{run}/", f"/s/{token}/"):
        hub = client.get(f"{base}hub.txt?genome=sacCer3&features=1-,2%2B&peaks=both")
        assert stanzas(hub.text)[1] == {"genome": "sacCer3"}
        for name in re.findall(r"bigDataUrl (\S+)", hub.text):
            answer = client.get(base + name)
            path = tmp_path / "track"
            path.write_bytes(answer.data)
            with pyBigWig.open(str(path)) as file:
                assert file.chroms() == {"chrI": 20, "chrM": 10}, name
    named = values(client.get(f"{base}features/1_minus/signal.bw?genome=sacCer3"), tmp_path)
    own = values(client.get(f"{base}features/1_minus/signal.bw"), tmp_path)
    assert (named["chrI"], named["chrM"]) == (own["chrA"], own["chrB"])
    assert bigbed(client.get(f"{base}peaks.bb?genome=sacCer3"), tmp_path)["chrM"][0][2] == "F2+"
    assert client.get(f"{base}genes.bed?genome=sacCer3").text.startswith("chrI\t2\t18\tG1")
    bed = client.get(f"/v1/runs/{run}/peaks.bed?genome=sacCer3").text
    assert {line.split("\t")[0] for line in bed.splitlines()} == {"chrI", "chrM"}
    bed = client.get(f"/v1/runs/{run}/features/1-/peaks.bed?genome=sacCer3").text
    assert bed.startswith("chrI\t5\t6\tf1")
    igv = client.get(f"{base}igv.json?genome=sacCer3").get_json()
    assert igv["genome"] == "sacCer3"
    assert igv["locus"].startswith("chrI:")
    assert all(track["url"].endswith("?genome=sacCer3") for track in igv["tracks"])
    # what has the run's own names keeps them
    assert client.get(f"{base}sequence.fa?genome=sacCer3").status_code == 400


def test_the_names_of_browsers_come_before_those_of_a_registered_genome(
    client: FlaskClient, run: str, settings: Settings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fasta, table = tmp_path / "mine.fa", tmp_path / "aliases.tsv"
    fasta.write_bytes(FASTA.replace(b"chrA first", b"one").replace(b"chrB", b"two"))
    table.write_text("one\tchrA\ntwo\tchrB\n")
    for name in ("sacCer3", "mine"):
        add_genome(settings.genomes_dir, name, fasta, aliases=table)
    fake_genome(monkeypatch, ("chrA", "chrB"))
    for name, called in (("sacCer3", {"chrI", "chrM"}), ("mine", {"one", "two"})):
        signal = client.get(f"/v1/runs/{run}/features/1/signal.bw?genome={name}")
        assert set(values(signal, tmp_path)) == called


def test_names_are_never_guessed(
    client: FlaskClient, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_genome(monkeypatch, ("A", "B"))
    for path in ("hub.txt", "peaks.bb", "features/1/signal.bw", "peaks.bed", "links.json"):
        answer = client.get(f"/v1/runs/{run}/{path}?genome=sacCer3")
        assert answer.status_code == 400, path
        assert "chrA is not there; chrB is not there" in answer.get_json()["detail"]
    fake_genome(monkeypatch, ("chrB", "chrA"))
    detail = client.get(f"/v1/runs/{run}/hub.txt?genome=sacCer3").get_json()["detail"]
    assert "chrA (there chrM) has 20 bases, 10 there" in detail


def test_descriptions_name_files_that_are_there(client: FlaskClient, run: str) -> None:
    made = share(client, run)
    base = f"http://localhost/s/{made['token']}/"
    assert made["url"] == made["links"]["hub"] == f"{base}hub.txt"
    igv = client.get(f"{base}igv.json").get_json()
    session = client.get(f"{base}session.xml").text
    jbrowse = client.get(f"{base}jbrowse.json").text
    addresses = [track["url"] for track in igv["tracks"]]
    addresses += [igv["reference"]["fastaURL"], igv["reference"]["indexURL"]]
    addresses += re.findall(r'path="([^"]+)"', session)
    addresses += [base + uri for uri in re.findall(r'"uri": "([^"]+)"', jbrowse)]
    assert len(addresses) > 10
    for address in addresses:
        assert address.startswith(base)
        assert client.get(address).status_code == 200, address
    links = client.get(f"{base}links.json").get_json()
    assert links["ucsc"] is None
    assert any("UCSC" in note for note in links["notes"])
    for key in ("hub", "igv_js", "igv_session", "jbrowse_config", "about", "provenance"):
        assert client.get(links[key]).status_code == 200, key


def test_ucsc_is_linked_from_a_host_it_can_reach(client: FlaskClient, run: str, app: Flask) -> None:
    settings = app.extensions["saetrack"].settings
    object.__setattr__(settings, "trust_network", True)
    answer = client.get(f"/v1/runs/{run}/links.json", headers={"Host": "tracks.example.org"})
    assert answer.get_json()["ucsc"].startswith("https://genome.ucsc.edu/cgi-bin/hgGateway?")
    for host in ("192.168.0.7", "lab", "tracks.local", "[fd00::1]"):
        answer = client.get(f"/v1/runs/{run}/links.json", headers={"Host": host})
        assert answer.get_json()["ucsc"] is None, host


def test_ucsc_is_not_linked_for_a_genome_or_an_address_it_cannot_have(
    client: FlaskClient, run: str, app: Flask, settings: Settings, tmp_path: Path
) -> None:
    fasta = tmp_path / "mine.fa"
    fasta.write_bytes(FASTA)
    add_genome(settings.genomes_dir, "myYeast", fasta)
    object.__setattr__(app.extensions["saetrack"].settings, "public_url", "https://a.example.org")

    def links(query: str) -> dict[str, Any]:
        return dict(client.get(f"/v1/runs/{run}/links.json{query}").get_json())

    assert links("")["ucsc"] is not None
    mine = links("?genome=myYeast")
    assert mine["ucsc"] is None
    assert any("UCSC knows no genome myYeast" in note for note in mine["notes"])
    assert client.get("/service-info").get_json()["documentationUrl"].startswith("https://a.")


def test_links_begin_with_the_public_address_and_name_a_contact(
    client: FlaskClient, run: str, app: Flask
) -> None:
    before = client.get(f"/v1/runs/{run}/links.json").get_json()
    assert any("SAETRACK_CONTACT" in note for note in before["notes"])
    assert any("SAETRACK_PUBLIC_URL" in note for note in before["notes"])
    settings = app.extensions["saetrack"].settings
    object.__setattr__(settings, "public_url", "https://tracks.example.org/dna")
    object.__setattr__(settings, "contact", "me@example.org")
    made = share(client, run)
    base = f"https://tracks.example.org/dna/s/{made['token']}/"
    assert made["url"] == f"{base}hub.txt"
    links = client.get(f"/s/{made['token']}/links.json").get_json()
    assert links["notes"] == []
    hub_url = f"{base}hub.txt".replace(":", "%3A").replace("/", "%2F")
    assert links["ucsc"].endswith(f"&hubUrl={hub_url}")
    assert links["igv_desktop"].endswith(hub_url)
    assert stanzas(client.get(f"/s/{made['token']}/hub.txt").text)[0]["email"] == "me@example.org"
    igv = client.get(f"/s/{made['token']}/igv.json").get_json()
    assert all(track["url"].startswith(base) for track in igv["tracks"])


def test_a_token_is_told_once_and_stored_hashed(
    client: FlaskClient, run: str, engine: Engine
) -> None:
    made = share(client, run)
    assert re.fullmatch(r"sht_[A-Za-z0-9_-]{43}", made["token"])
    listed = client.get(f"/v1/runs/{run}/share-links")
    assert listed.get_json()["share_links"] == [
        {"id": made["id"], "title": "lab", "created_at": made["created_at"]}
    ]
    with reading(engine) as session:
        (stored,) = session.execute(text("SELECT * FROM share_links")).mappings().all()
    assert stored["token_sha256"] == hashlib.sha256(made["token"].encode()).hexdigest()
    assert made["token"] not in str(dict(stored))
    assert share(client, run)["token"] != made["token"]


def test_a_revoked_an_unknown_and_a_deleted_runs_token_are_404(
    client: FlaskClient, run: str
) -> None:
    made, other = share(client, run), share(client, run)
    address = f"/s/{made['token']}/peaks.bb"
    etag = client.get(address).headers["ETag"]
    assert client.delete(f"/v1/runs/{run}/share-links/{made['id']}").status_code == 204
    for path in (
        address,
        "/s/sht_x/peaks.bb",
        f"/s/{'x' * 3000}/hub.txt",
        f"/s/{made['id']}/hub.txt",
    ):
        answer = client.get(path, headers={"If-None-Match": etag})
        assert answer.status_code == 404
        assert path.split("/")[2] not in answer.text
    assert client.delete(f"/v1/runs/{run}/share-links/{made['id']}").status_code == 404
    assert client.get(f"/s/{other['token']}/peaks.bb").status_code == 200
    client.delete(f"/v1/runs/{run}")
    assert client.get(f"/s/{other['token']}/peaks.bb").status_code == 404


def test_a_link_shows_nothing_but_tracks(client: FlaskClient, run: str) -> None:
    token = share(client, run)["token"]
    for name in ("", "features", "matches", "peaks.tsv", "../runs", "share-links", "features.tsv"):
        assert client.get(f"/s/{token}/{name}").status_code == 404, name
    for method in (client.post, client.put, client.delete):
        assert method(f"/s/{token}/hub.txt").status_code == 405
    assert client.get(f"/v1/runs/{token}").status_code == 404


def test_only_shared_tracks_may_be_read_by_other_pages(client: FlaskClient, run: str) -> None:
    token = share(client, run)["token"]
    origin = {"Origin": "https://elsewhere.example"}
    for path in ("hub.txt", "features/1/signal.bw", "list/chromosomes?genome=x"):
        assert client.get(f"/s/{token}/{path}", headers=origin).headers[
            "Access-Control-Allow-Origin"
        ] == "*"  # fmt: skip
    asked = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
        "Access-Control-Request-Private-Network": "true",
    }
    preflight = client.options(f"/s/{token}/peaks.bb", headers=origin | asked)
    assert preflight.status_code == 200
    assert "Range" in preflight.headers["Access-Control-Allow-Headers"]
    assert preflight.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
    assert preflight.headers["Access-Control-Allow-Private-Network"] == "true"
    exposed = client.get(f"/s/{token}/peaks.bb").headers["Access-Control-Expose-Headers"]
    assert {"Content-Range", "ETag"} <= set(exposed.split(", "))
    # what only the owner may see stays closed to pages of other sites
    for path in ("hub.txt", "peaks.bb", "share-links"):
        answer = client.get(f"/v1/runs/{run}/{path}", headers=origin)
        assert "Access-Control-Allow-Origin" not in answer.headers
    made = client.post(f"/v1/runs/{run}/share-links", headers=origin)
    assert made.status_code == 403


@pytest.mark.parametrize("name", ["features/1/signal.bw", "hub.txt"])
def test_ranges_and_conditions(name: str, client: FlaskClient, run: str) -> None:
    address = f"/s/{share(client, run)['token']}/{name}"
    whole = client.get(address)
    size, etag = len(whole.data), whole.headers["ETag"]
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert "Content-Encoding" not in whole.headers
    head = client.head(address)
    assert (head.status_code, head.data) == (200, b"")
    assert (int(head.headers["Content-Length"]), head.headers["ETag"]) == (size, etag)
    assert head.headers["Last-Modified"] == whole.headers["Last-Modified"]

    def get(**headers: str) -> TestResponse:
        return client.get(address, headers={k.replace("_", "-"): v for k, v in headers.items()})

    for wanted, start, stop in (
        ("bytes=0-0", 0, 1),
        ("bytes=4-7", 4, 8),
        (f"bytes={size - 3}-", size - 3, size),
        ("bytes=-5", size - 5, size),
        (f"bytes=2-{size + 999}", 2, size),
    ):
        part = get(Range=wanted)
        assert (part.status_code, part.data) == (206, whole.data[start:stop]), wanted
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert int(part.headers["Content-Length"]) == stop - start
        assert part.headers["ETag"] == etag
    # what is not understood, or is several ranges, is the whole
    for wanted in ("bytes=1-2,5-6", "lines=1-2", "bytes=x"):
        assert (get(Range=wanted).status_code, get(Range=wanted).data) == (200, whole.data)
    past = get(Range=f"bytes={size}-")
    assert (past.status_code, past.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert get(Range="bytes=1-2", If_Range=etag).status_code == 206
    assert get(Range="bytes=1-2", If_Range='"other"').data == whole.data
    modified = whole.headers["Last-Modified"]
    assert get(Range="bytes=1-2", If_Range=modified).status_code == 206
    assert get(Range="bytes=1-2", If_Range="Mon, 01 Jan 2001 00:00:00 GMT").data == whole.data
    assert get(If_None_Match=etag).status_code == 304
    assert get(If_Modified_Since=modified).status_code == 304
    assert client.head(address, headers={"Range": "bytes=0-0"}).data == b""


def test_a_remade_file_has_the_same_etag(client: FlaskClient, run: str, settings: Settings) -> None:
    address = f"/v1/runs/{run}/peaks.bb"
    first = client.get(address).headers["ETag"]
    for path in run_cache(settings, run).iterdir():
        path.unlink()
    assert client.get(address).headers["ETag"] == first


def test_nothing_redirects(client: FlaskClient, run: str) -> None:
    token = share(client, run)["token"]
    for path in (f"/s/{token}/hub.txt/", f"/s/{token}//hub.txt", f"/s//{token}/hub.txt"):
        assert client.get(path).status_code in {200, 404}, path


def test_tokens_are_kept_out_of_the_servers_log(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("gunicorn.error", "gunicorn.access"):
        with caplog.at_level(logging.INFO, logger=name):
            logging.getLogger(name).info(
                "%(m)s %(U)s", {"m": "GET", "U": "/s/sht_secret-_1/hub.txt"}
            )
    assert [record.getMessage() for record in caplog.records] == ["GET /s/sht_.../hub.txt"] * 2


def genome_of(client: FlaskClient, token: str) -> str:
    return stanzas(client.get(f"/s/{token}/hub.txt").text)[1]["genome"]


def test_items_for_ucsc_clients_are_bounded(
    client: FlaskClient, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = share(client, run)["token"]
    address = f"/s/{token}/getData/track?genome={genome_of(client, token)};track=f1_plus"
    assert client.get(f"{address};maxItemsOutput=100001").status_code == 400
    monkeypatch.setattr(ucsc, "MAX_ITEMS", 2)
    cut = client.get(f"{address};maxItemsOutput=-1").get_json()
    assert (cut["itemsReturned"], cut["maxItemsLimit"]) == (2, True)


def test_ucsc_clients_are_answered(client: FlaskClient, run: str) -> None:
    token = share(client, run)["token"]
    genome = genome_of(client, token)

    def ask(path: str) -> dict[str, Any]:
        answer = client.get(f"/s/{token}/{path}")
        assert answer.status_code == 200, answer.text
        assert answer.get_json()["downloadTimeStamp"] > 1e9
        return dict(answer.get_json())

    tracks = ask(f"list/tracks?genome={genome}")[genome]
    assert {"peaks", "genes", "f1_minus", "f1_minus_peaks"} <= set(tracks)
    assert tracks["f1_minus"]["type"] == "bigWig"
    assert tracks["genes"]["type"] == "bigBed 12 +"
    found = ask(f"list/chromosomes?genome={genome};track=peaks")
    assert (found["chromCount"], found["chromosomes"]) == (2, {"chrA": 20, "chrB": 10})
    for mark in ";&":
        place = mark.join((f"genome={genome}", "track=f1_plus", "chrom=chrA", "start=3", "end=6"))
        found = ask(f"getData/track?{place}")
        assert (found["chrom"], found["start"], found["end"]) == ("chrA", 3, 6)
        assert found["f1_plus"] == [
            {"start": 0, "end": 4, "value": 0.0},
            {"start": 4, "end": 5, "value": 1.0},
            {"start": 5, "end": 6, "value": 2.0},
        ]
    found = ask(f"getData/track?genome={genome};track=f1_minus_peaks")
    (row,) = found["f1_minus_peaks"]["chrA"]
    assert (row["chromStart"], row["name"], row["tf"], row["activation"]) == (5, "F1-", "REB1", 4.0)
    found = ask(f"getData/track?genome={genome};track=genes;chrom=chrA")
    assert (found["itemsReturned"], found["genes"][0]["blockCount"]) == (1, 2)
    assert "maxItemsLimit" not in found
    found = ask(f"getData/track?genome={genome};track=f1_plus;maxItemsOutput=2")
    assert (found["itemsReturned"], found["maxItemsLimit"]) == (2, True)
    found = ask(f"getData/sequence?genome={genome};chrom=chrB;start=4;end=8")
    assert found["dna"] == "NACG"
    assert ask(f"getData/sequence?genome={genome}&chrom=chrA")["dna"] == "ACGT" * 5


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("list/tracks?genome=hg38", 404),
        ("list/tracks", 400),
        ("getData/track?genome=G;track=nosuch", 404),
        ("getData/track?genome=G;track=f9", 404),
        ("getData/track?genome=G;track=peaks;chrom=chrZ", 404),
        ("getData/track?genome=G;track=peaks;chrom=chrA;start=3", 400),
        ("getData/track?genome=G;track=peaks;start=3;end=5", 400),
        ("getData/track?genome=G;track=peaks;chrom=chrA;start=5;end=5", 400),
        ("getData/track?genome=G;track=peaks;chrom=chrA;start=5;end=21", 400),
        ("getData/track?genome=G;track=peaks;what=1", 400),
        ("getData/track?genome=G;genome=G;track=peaks", 400),
        ("getData/sequence?genome=G;chrom=chrA;start=-1;end=3", 400),
    ],
)
def test_ucsc_clients_are_told_what_is_wrong(
    path: str, status: int, client: FlaskClient, run: str
) -> None:
    token = share(client, run)["token"]
    answer = client.get(f"/s/{token}/" + path.replace("=G", f"={genome_of(client, token)}"))
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


def test_a_strand_is_said_in_one_place(client: FlaskClient, run: str) -> None:
    base = f"/v1/runs/{run}/features"
    minus = client.get(f"{base}/1_minus/signal.bw").data
    for same in ("1-/signal.bw", "1/signal.bw?strand=-", "1-/signal.bw?strand=-"):
        assert client.get(f"{base}/{same}").data == minus, same
    assert client.get(f"{base}/1/signal.bw").data != minus
    for path, status in (
        ("1_minus/signal.bw?strand=%2B", 400),
        ("1_minus/peaks.bb?strand=%2B", 400),
        ("4/signal.bw", 404),
        ("4/peaks.bw", 404),
        ("1_minus/peaks.bw?strand=%2B", 400),
        ("4_minus/peaks.bb", 404),
        ("x/peaks.bb", 404),
    ):
        assert client.get(f"{base}/{path}").status_code == status, path
    # nothing is left in the cache of what does not exist
    assert client.get(f"{base}/4/signal.bw").status_code == 404


def test_a_run_that_is_not_complete_has_no_tracks(client: FlaskClient) -> None:
    run_id = client.post("/v1/runs", data=FASTA, content_type="text/plain").get_json()["id"]
    for path in ("hub.txt", "peaks.bb", "sequence.2bit", "features/1/signal.bw"):
        answer = client.get(f"/v1/runs/{run_id}/{path}")
        assert (answer.status_code, answer.get_json()["state"]) == (409, "QUEUED"), path
    assert client.post(f"/v1/runs/{run_id}/share-links").status_code == 409
    assert client.get(f"/v1/runs/{run_id}/share-links").get_json() == {"share_links": []}


def test_another_owners_run_cannot_be_shared(
    client: FlaskClient, engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    run_id = new_run(engine, storage, settings, owner="someone else")
    complete(engine, storage, settings, tmp_path / "results")
    for method, path in (
        (client.post, "share-links"),
        (client.get, "share-links"),
        (client.delete, "share-links/x"),
        (client.get, "peaks.bb"),
        (client.get, "hub.txt"),
    ):
        assert method(f"/v1/runs/{run_id}/{path}").status_code == 404, path


def test_the_document_has_examples(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    asked = document["paths"]["/s/{token}/hub.txt"]["get"]["parameters"]
    examples = {parameter["name"]: parameter.get("example") for parameter in asked}
    assert examples == {
        "token": "sht_Zk3...",
        "features": "374-,153+",
        "tf": "REB1",
        "peaks": None,
        "genome": "sacCer3",
    }
    assert "share-links" in json.dumps(document["tags"])
