"""Regions over REST, against the results written by hand in `tests.app.conftest`."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from annotations import region_activity
from app import region_answers
from app.config import Settings
from app.storage import LocalStorage
from tests.app.atlas_cases import install_atlas
from tests.app.conftest import complete, new_run


def test_what_is_active_in_a_region_is_ranked(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/region-features?region=chrA:5-10"
    answer = client.get(address).get_json()
    assert {name: answer[name] for name in ("region", "contig", "start", "end", "total")} == {
        "region": "chrA:5-10", "contig": "chrA", "start": 4, "end": 10, "total": 2,
    }  # fmt: skip
    first, second = answer["features"]
    assert first == {
        "feature": 1, "strand": "-", "max": 4.0, "position": 5, "sum": 4.0, "active_bases": 1,
        "share": 1 / 6, "density": 0.04, "run_max": 4.0, "label": None, "motif_name": "REB1",
        "motif_q": 0.001, "motif_source": "run",
    }  # fmt: skip
    assert (second["feature"], second["strand"], second["sum"]) == (1, "+", 3.0)
    assert second["motif_source"] is None

    def rows(query: str) -> list[str]:
        found = client.get(f"{address}&{query}").get_json()["features"]
        return [f"{row['feature']}{row['strand']}" for row in found]

    assert rows("sort=active_bases") == ["1+", "1-"]
    assert rows("sort=feature") == ["1+", "1-"]
    assert rows("strand=-") == ["1-"]
    assert rows("min_share=0.2") == ["1+"]
    assert rows("max_density=0.05") == ["1-"]
    assert rows("min_max=3") == ["1-"]
    assert rows("min_max=9") == []
    more = client.get(f"{address}&limit=1").get_json()["next_page_token"]
    assert rows(f"limit=1&page_token={more}") == ["1+"]


def test_tables_are_files_too(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/region-features?region=chrA&format="
    lines = client.get(f"{address}tsv").text.splitlines()
    assert lines[0].split("\t")[:4] == ["feature", "strand", "max", "position"]
    assert lines[1].split("\t")[:7] == ["1", "-", "4", "5", "4", "1", "0.05"]
    table = pq.read_table(io.BytesIO(client.get(f"{address}parquet").data))
    assert table["max"].to_pylist() == [4.0, 2.0]


def test_rows_are_compared(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/comparison?features=1,2%2B&region=chrA:1-10"
    answer = client.get(address).get_json()
    assert answer["names"] == ["1+", "1-", "2+"]
    assert [row["sum"] for row in answer["features"]] == [3.0, 4.0, 0.0]
    assert answer["peaks"] == [[{"position": 5, "value": 2.0}], [{"position": 5, "value": 4.0}], []]
    # over ten bases: (1, 2) at 4 and 5, and 4 at 5
    one, other = np.zeros(10), np.zeros(10)
    one[4:6], other[5] = (1, 2), 4
    r = np.corrcoef(one, other)[0, 1]
    assert answer["correlation"][0][1] == pytest.approx(r, abs=1e-6)
    assert answer["correlation"][2] == [None, None, None]
    run = client.get(f"{address}&over=run").get_json()
    # the 25 bases that were read
    n = 25
    expected = (8 / n - 3 / n * 4 / n) / np.sqrt((5 / n - 9 / n**2) * (16 / n - 16 / n**2))
    assert run["correlation"][0][1] == pytest.approx(expected, abs=1e-6)
    assert run["correlation"][2][2] == 1.0
    text = client.get(f"{address}&format=tsv").text.splitlines()
    assert [line.split("\t")[0] for line in text] == ["feature", "1", "1", "2"]


def test_every_base_is_told(client: FlaskClient, finished: str) -> None:
    address = f"/v1/runs/{finished}/activations?features=1-,1%2B&region=chrA:4-7"
    answer = client.get(address).get_json()
    assert (answer["start"], answer["end"]) == (3, 7)
    assert answer["features"] == [
        {"feature": 1, "strand": "-", "values": [0.0, 0.0, 4.0, 0.0]},
        {"feature": 1, "strand": "+", "values": [0.0, 1.0, 2.0, 0.0]},
    ]
    text = client.get(f"{address}&format=tsv").text
    assert text == "position\t1-\t1+\n3\t0\t0\n4\t0\t1\n5\t4\t2\n6\t0\t0\n"


def test_what_is_too_much_or_wrong_is_refused(
    client: FlaskClient, finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"/v1/runs/{finished}"
    for query, status in (
        ("activations?features=1%2B&region=chrA:21-30", 422),
        ("activations?features=1%2B&region=chrC", 404),
        ("activations?features=4&region=chrA", 404),
        ("activations?features=&region=chrA", 400),
        ("activations?region=chrA", 400),
        ("comparison?features=1&region=chrA&over=all", 400),
        ("region-features?region=chrA&colour=1", 400),
        ("region-features?region=chrA&sort=q", 400),
    ):
        assert client.get(f"{base}/{query}").status_code == status, query
    monkeypatch.setattr(region_answers, "MAX_VALUES", 39)
    monkeypatch.setattr(region_answers, "MAX_COMPARED", 2)
    refused = client.get(f"{base}/activations?features=1&region=chrA")
    assert refused.status_code == 413
    assert "2 x 20" in refused.get_json()["detail"]
    many = client.get(f"{base}/comparison?features=1,2&region=chrA")
    assert many.status_code == 400
    assert "at most 2 feature rows" in many.get_json()["detail"]


def test_a_comparison_over_the_run_is_bounded_before_it_is_read(
    client: FlaskClient, finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_activity, "MAX_HELD", 2)
    address = f"/v1/runs/{finished}/comparison?features=1&region=chrB:1-5"
    assert client.get(address).status_code == 200
    monkeypatch.setattr(region_answers, "of_rows", None)
    refused = client.get(f"{address}&over=run")
    assert refused.status_code == 413
    assert "over the region in place of the run" in refused.get_json()["detail"]


def test_a_strand_that_was_not_read_is_no_silent_one(
    engine: Engine, storage: LocalStorage, settings: Settings, client: FlaskClient, tmp_path: Path
) -> None:
    run = new_run(engine, storage, settings, strands="forward")
    early = client.get(f"/v1/runs/{run}/comparison?features=1&region=chrA")
    assert (early.status_code, early.get_json()["state"]) == (409, "QUEUED")
    complete(engine, storage, settings, tmp_path / "results")
    both = client.get(f"/v1/runs/{run}/comparison?features=1&region=chrA").get_json()
    assert both["names"] == ["1+"]
    refused = client.get(f"/v1/runs/{run}/comparison?features=1-&region=chrA")
    assert refused.status_code == 400
    assert "forward strand only; ask for 1+" in refused.get_json()["detail"]


def test_named_features_are_told_with_and_without_an_atlas(
    client: FlaskClient, finished: str, settings: Settings
) -> None:
    address = "/v1/features/toy-sae?features=2%2B,1,0-"
    unknown = client.get(address).get_json()
    assert unknown["known_from"] is None
    assert [row["label"] for row in unknown["features"]] == [None] * 4
    install_atlas(settings.models_dirs[0])
    known = client.get(f"{address}&run={finished}").get_json()
    assert [f"{row['feature']}{row['strand']}" for row in known["features"]] == [
        "2+", "1+", "1-", "0-",
    ]  # fmt: skip
    assert [row["label"] for row in known["features"]] == ["intron", "REB1-like motif", None, None]
    assert [row["run_max"] for row in known["features"]] == [8.0, 2.0, 4.0, None]
    assert known["features"][1]["logo"] == "/v1/features/toy-sae/1/logo.svg?strand=%2B"
    assert client.get(known["features"][1]["logo"]).status_code == 200
    lines = client.get(f"{address}&format=tsv").text.splitlines()
    assert [line.split("\t")[:3] for line in lines[1:3]] == [
        ["2", "+", "intron"],
        ["1", "+", "REB1-like motif"],
    ]
    assert client.get("/v1/features/none?features=1").status_code == 404
    assert client.get("/v1/features/toy-sae?features=9").status_code == 404
    assert client.get("/v1/features/toy-sae").status_code == 400
