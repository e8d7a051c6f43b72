"""What a model expects, through the service: submitted, computed by a worker, served as tracks."""

from io import BytesIO

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
import pytest

from annotations.expectation import STEP
from annotations.sequences import encode_bases
from app.expectation import EXPECTATION_FILES
from app.factory import create_app
from tests.workers.factories import DICTIONARY_ID, MODEL_ID, make_tiny_models
from tests.workers.test_expectation_cli import direct
from tests.workers.test_pipeline import random_sequence
from tests.workers.test_tasks import Installation

SEQUENCE = random_sequence(2500)
FASTA = b">one\n" + SEQUENCE + b"\n"
VCF = (
    "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"
    f"one\t1000\trs1\t{SEQUENCE[999:1000].decode()}\t{'A' if SEQUENCE[999:1000] != b'A' else 'C'}\n"
    f"one\t1500\trs2\t{SEQUENCE[1499:1501].decode()}\t{SEQUENCE[1499:1500].decode()}\n"
).encode()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("expectation-service")
    here = Installation(folder, make_tiny_models(folder / "models"))
    here.client = create_app(here.settings).test_client()
    here.plain = submit(here, strands="forward").json["id"]
    here.kept = submit(here, strands="forward", expectation="true").json["id"]
    here.variants = submit(here, expectation="true", variants=(BytesIO(VCF), "x.vcf")).json["id"]
    here.bare = submit(here, variants=(BytesIO(VCF), "x.vcf")).json["id"]
    here.runner_used = here.runner()
    here.work(here.runner_used)
    return here


def submit(here, fasta=FASTA, **fields):
    data = {"file": (BytesIO(fasta), "x.fa"), "dictionary": DICTIONARY_ID, **fields}
    return here.client.post("/v1/runs", data=data, content_type="multipart/form-data")


def get(here, path):
    answer = here.client.get(path, buffered=True)
    assert answer.status_code == 200, (path, answer.get_data()[:300])
    return answer


def card_of(here):
    asked = here.computation(here.kept)[1].parameters["dictionary"]
    return here.runner().card(DICTIONARY_ID, asked)


@pytest.fixture(scope="module")
def model(here):
    return here.runner().encoder(card_of(here), whole=True)


def test_a_run_says_that_it_was_asked_for(here):
    for run, said in ((here.plain, False), (here.kept, True)):
        view = get(here, f"/v1/runs/{run}").json
        assert view["state"] == "COMPLETE", view["error"]
        assert view["bases_done"] == 2500
        assert view["options"]["expectation"] is said
    assert get(here, f"/v1/runs/{here.kept}/provenance").json["expectation"]["bases"] == 2500


def test_the_tracks_are_served_and_hold_every_base(here, tmp_path):
    for name in EXPECTATION_FILES:
        path = tmp_path / name
        path.write_bytes(get(here, f"/v1/runs/{here.kept}/{name}").data)
        with pyBigWig.open(str(path)) as track:
            assert track.chroms() == {"one": 2500}
            assert not np.isnan(track.values("one", 0, 2500)).any()


def test_the_table_is_served_and_linked(here):
    view = get(here, f"/v1/runs/{here.kept}").json
    assert view["links"]["expectation_parquet"] == f"/v1/runs/{here.kept}/expectation.parquet"
    table = pq.read_table(BytesIO(get(here, view["links"]["expectation_parquet"]).data))
    assert table.num_rows == 2500
    without = get(here, f"/v1/runs/{here.plain}").json["links"]
    assert not any("expectation" in name for name in without)


def test_a_shared_link_serves_the_same_bytes_and_ucsc_clients_are_answered(here):
    token = here.client.post(f"/v1/runs/{here.kept}/share-links", json={}).json["token"]
    name = "expectation_letters"
    own = get(here, f"/v1/runs/{here.kept}/{name}.bw").data
    assert get(here, f"/s/{token}/{name}.bw").data == own
    genome = get(here, f"/s/{token}/links.json").json["genome"]
    listed = get(here, f"/s/{token}/list/tracks?genome={genome}").json[genome]
    assert {word.removesuffix(".bw") for word in EXPECTATION_FILES} < set(listed)
    asked = f"genome={genome};track={name};chrom=one;start=10;end=20"
    items = get(here, f"/s/{token}/getData/track?{asked}").json[name]
    assert [item["start"] for item in items] == list(range(10, 20))
    get(here, f"/s/{token}/list/chromosomes?genome={genome};track={name}")


def test_hub_igv_and_page_draw_letters(here):
    hub = get(here, f"/v1/runs/{here.kept}/hub.txt").text
    assert all(f"bigDataUrl {name}" in hub for name in EXPECTATION_FILES)
    config = get(here, f"/v1/runs/{here.kept}/igv.json").json
    letters = [t for t in config["tracks"] if t["url"].endswith("expectation_letters.bw")]
    assert letters[0]["graphType"] == "dynseq"
    page = get(here, f"/runs/{here.kept}").text
    assert f"/v1/runs/{here.kept}/expectation_letters.bw" in page
    assert "what the model expects of each base" in page
    other = get(here, f"/runs/{here.plain}").text
    assert "expectation_letters.bw" not in other


def test_a_figure_has_what_is_expected_above_the_features(here):
    address = f"/v1/runs/{here.kept}/figure.svg?features=0&region="
    plain, letters, bits = (
        get(here, address + more).text
        for more in ("one:1001-1060", "one:1001-1060&expectation=true", "one&expectation=true")
    )
    assert ">expected<" not in plain
    for text in (letters, bits):
        assert ">expected<" in text
        assert "given all other bases" in text
    assert letters.count("scale(") > plain.count("scale(") + 60  # letters of every base


def test_a_run_without_it_says_which_option_is_missing(here):
    asked = "region=one&features=0&expectation=true"
    answer = here.client.get(f"/v1/runs/{here.plain}/figure.svg?{asked}")
    assert answer.status_code == 409
    assert "with the option expectation" in answer.json["detail"]
    for name in ("expectation.parquet", *EXPECTATION_FILES):
        answer = here.client.get(f"/v1/runs/{here.plain}/{name}")
        assert answer.status_code == 409
        assert "submit the sequences again with the option expectation" in answer.json["detail"]
    answer = here.client.get(f"/v1/runs/{here.bare}/alleles?sort=ratio")
    assert answer.status_code == 409
    assert "with the option expectation" in answer.json["detail"]
    assert "expectation" not in get(here, f"/v1/runs/{here.plain}/hub.txt").text


def test_variants_are_answered_with_their_ratio(here, model):
    listed = get(here, f"/v1/runs/{here.variants}/alleles").json
    assert listed["expectation"] is True
    first, second = listed["alleles"]
    flank = listed["flank"]
    record = SEQUENCE[999 - flank : 1000 + flank]
    logs = direct(model, record)[flank]
    ref, alt = (encode_bases(word.encode())[0] for word in first["name"].split()[1].split(">"))
    assert abs(first["log2_ratio"] - (logs[alt] - logs[ref])) <= 1.1 * STEP
    assert second["log2_ratio"] is None
    text = get(here, f"/v1/runs/{here.variants}/alleles?format=tsv").text
    assert "log2_ratio" in text.splitlines()[0]
    page = get(here, f"/runs/{here.variants}").text
    assert "p(alt)/p(ref)" in page
    bare = get(here, f"/v1/runs/{here.bare}/alleles").json
    assert bare["expectation"] is False
    assert [row["log2_ratio"] for row in bare["alleles"]] == [None, None]
    assert "p(alt)/p(ref)" not in get(here, f"/runs/{here.bare}").text


def test_the_option_makes_another_computation_and_leaves_digests_as_they_were(here):
    views = [get(here, f"/v1/runs/{run}").json for run in (here.plain, here.kept)]
    assert views[0]["computation"] != views[1]["computation"]
    assert "expectation" not in here.computation(here.plain)[1].parameters["options"]
    off = submit(here, strands="forward", expectation="false")
    assert (off.status_code, off.json["computation"]) == (200, views[0]["computation"])
    again = submit(here, strands="forward", expectation="true")
    assert (again.status_code, again.json["computation"]) == (200, views[1]["computation"])


@pytest.mark.parametrize("value", ["yes", "1", "TRUE", ""])
def test_an_unknown_value_is_refused(here, value):
    answer = submit(here, expectation=value)
    assert answer.status_code == 400
    assert f"expectation must be true or false, got {value!r}" in answer.json["detail"]


def test_a_model_without_a_head_is_refused(tmp_path):
    models = make_tiny_models(tmp_path / "models")
    card = models / MODEL_ID / "model.json"
    card.write_text(card.read_text().replace('"paired_tree"', '"huggingface"'))
    here = Installation(tmp_path, models)
    here.client = create_app(here.settings).test_client()
    answer = submit(here, expectation="true")
    assert answer.status_code == 400
    assert "tiny-tree has no expectation track" in answer.json["detail"]
    assert submit(here).status_code == 202


def test_a_worker_opens_the_whole_model_only_where_it_must(here):
    runner, card = here.runner(), card_of(here)
    part = runner.encoder(card)
    assert runner.encoder(card) is part
    whole = runner.encoder(card, whole=True)
    assert whole is not part
    assert runner.encoder(card) is whole
