"""The Python client: against a server that misbehaves as told, and against the real application."""

import hashlib
import io
import json
import re
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.formparser import parse_form_data

from app import client as module
from app.api import EXTENSION
from app.api.uploads import FORM_OVERHEAD
from app.client import Client, ClientError, ConnectionLost, Run
from app.config import Settings
from app.database import reading, transaction
from app.factory import create_app
from app.runs import get_run
from app.storage import LocalStorage
from app.tokens import create_token
from tests.app.atlas_cases import install_atlas
from tests.app.conftest import FASTA, complete
from tests.app.fake_server import Asked, FakeServer, Reply, fake_server
from tests.app.live import listening

ROOT = Path(__file__).parents[2]
SECRET = "st_" + "0" * 40


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client slept, which it then does not."""
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


def as_json(value: object, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(value).encode(), headers)


def problem(status: int, **members: object) -> Reply:
    body = {"type": "urn:x", "title": "No", "status": status, "detail": "why not", **members}
    return as_json(body, status)


def form_of(asked: Asked) -> tuple[dict[str, str], dict[str, tuple[str, bytes]]]:
    """Fields and files of a form, taken apart by werkzeug as the real server does it."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": asked.headers["Content-Type"],
        "CONTENT_LENGTH": asked.headers["Content-Length"],
        "wsgi.input": io.BytesIO(asked.body),
    }
    _, form, files = parse_form_data(environ)
    sent = {name: (str(file.filename), file.read()) for name, file in files.items()}
    for file in files.values():
        file.close()
    return form.to_dict(), sent


# -- what it needs, and what it is told --------------------------------------------------------


@pytest.mark.parametrize("how", ["in its package", "beside a notebook"])
def test_importing_it_imports_the_standard_library_alone(how: str, tmp_path: Path) -> None:
    name, place = "app.client", ROOT
    if how == "beside a notebook":
        name, place = "saetrack_client", tmp_path
        (tmp_path / "saetrack_client.py").write_bytes((ROOT / "app" / "client.py").read_bytes())
    code = (
        f"import sys; sys.path.insert(0, {str(place)!r}); before = set(sys.modules); import {name};"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        f"print(sorted(new - set(sys.stdlib_module_names) - {{{name.split('.')[0]!r}}}))"
    )
    # -S: no site-packages at all, so it could not even
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8765", "ftp://x", "http://", "http://u:p@x", "http://x/?a=1", ""]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url must be"):
        Client(url)


def test_a_token_goes_along_and_is_never_shown(fake: FakeServer) -> None:
    client = Client(f"{fake.url}/", token=SECRET)
    fake.replies = [as_json({"models": []})]
    assert client.models() == {"models": []}
    assert fake.asked[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in repr(client)
    fake.asked.clear()
    Client(fake.url).models()
    assert "Authorization" not in fake.asked[0].headers


def test_a_server_below_a_path_is_asked_there(fake: FakeServer) -> None:
    fake.replies = [as_json({})]
    Client(f"{fake.url}/saetrack/").get("/v1/atlases", q="a b", x=None, flag=True)
    assert fake.asked[0].path == "/saetrack/v1/atlases?q=a+b&flag=true"


def test_a_redirect_is_told_and_not_followed(fake: FakeServer) -> None:
    with fake_server() as elsewhere:
        elsewhere.replies = [as_json({"models": ["theirs"]})]
        fake.replies = [Reply(302, b"", {"Location": f"{elsewhere.url}/v1/models"})]
        with pytest.raises(ClientError, match=r"sends this on to .*not followed") as caught:
            Client(fake.url, token=SECRET).models()
        assert caught.value.status == 302
        assert elsewhere.asked == []


def test_a_missing_file_is_a_sentence_before_anything_is_sent(
    fake: FakeServer, tmp_path: Path
) -> None:
    for wrong in (tmp_path / "no.fa", tmp_path):
        with pytest.raises(ClientError, match=r"give the path of"):
            Client(fake.url).submit(wrong)
    with pytest.raises(FileNotFoundError, match=r"^there is no file no\.fa in /"):
        Client(fake.url).add_genome("toy", "no.fa")
    assert fake.asked == []


# -- refusals ----------------------------------------------------------------------------------


def test_a_refusal_is_the_servers_own_sentence(fake: FakeServer) -> None:
    places = [{"location": "taxon", "message": "is unknown"}]
    fake.replies = [problem(404, detail="there is no run 'x'", errors=places)]
    with pytest.raises(ClientError) as caught:
        Client(fake.url).run("x/../y")
    assert str(caught.value) == caught.value.detail == "there is no run 'x'"
    assert (caught.value.status, caught.value.type) == (404, "urn:x")
    assert caught.value.errors == places
    assert len(fake.asked) == 1
    assert fake.asked[0].path == "/v1/runs/x%2F..%2Fy"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(500, b"<html>oops\n</html>"), "answered 500: <html>oops </html>"),
        (Reply(500), "answered 500: Internal Server Error"),
        (as_json([1], 400), r"answered 400: \[1\]"),
        (Reply(200, b"<html>", {"Content-Type": "text/html"}), "text/html and not JSON"),
        (as_json([1]), "not of saetrack's interface"),
    ],
)
def test_what_is_no_answer_of_saetrack_is_said(fake: FakeServer, reply: Reply, said: str) -> None:
    fake.replies = [reply]
    with pytest.raises(ClientError, match=said):
        Client(fake.url).models()


def test_a_busy_server_is_asked_again_when_it_says(fake: FakeServer, naps: list[float]) -> None:
    busy = problem(503)._replace(headers={"Retry-After": "7"})
    fake.replies = [busy, problem(429), as_json({"models": []})]
    assert Client(fake.url).models() == {"models": []}
    assert naps == [7.0, 1.0]


def test_asking_again_has_an_end(fake: FakeServer, naps: list[float]) -> None:
    fake.replies = [problem(503)]
    with pytest.raises(ClientError, match="why not"):
        Client(fake.url, retries=3).models()
    assert (len(fake.asked), naps) == (4, [0.5, 1.0, 2.0])
    fake.replies = [problem(503)._replace(headers={"Retry-After": "3600"})]
    fake.asked.clear()
    with pytest.raises(ClientError) as caught:
        Client(fake.url).models()
    assert (len(fake.asked), caught.value.retry_after) == (1, 3600.0)


def test_other_refusals_are_not_asked_again(fake: FakeServer, naps: list[float]) -> None:
    fake.replies = [problem(500)]
    with pytest.raises(ClientError):
        Client(fake.url).models()
    assert (len(fake.asked), naps) == (1, [])


def test_a_submission_is_sent_once(fake: FakeServer, naps: list[float]) -> None:
    fake.replies = [problem(503)]
    with pytest.raises(ClientError):
        Client(fake.url).submit(FASTA)
    assert (len(fake.asked), naps) == (1, [])


def test_no_server_is_said_after_a_few_tries(naps: list[float]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ConnectionLost, match=rf"no answer from {address}: .*refused"):
        Client(address, retries=2).models()
    assert naps == [0.5, 1.0]


def test_a_silent_server_is_not_waited_for(naps: list[float]) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(ConnectionLost, match="timed out"):
            Client(address, timeout=0.1, retries=0).models()


def test_an_answer_that_is_cut_is_none(fake: FakeServer, naps: list[float]) -> None:
    whole = as_json({"models": []})
    cut = whole._replace(body=whole.body[:5], length=len(whole.body))
    fake.replies = [cut, whole]
    assert Client(fake.url).models() == {"models": []}
    assert len(fake.asked) == 2


# -- submissions -------------------------------------------------------------------------------


def test_a_submission_is_a_form_with_its_files_byte_for_byte(
    fake: FakeServer, tmp_path: Path
) -> None:
    content = b">a\r\nACGT\r\n--\r\n\x00\xff"
    (tmp_path / 'my "own".fa').write_bytes(content)
    (tmp_path / "genes.bed").write_bytes(b"a\t0\t2\n")
    fake.replies = [as_json({"id": "abc", "state": "QUEUED"}, 202)]
    run = Client(fake.url).submit(
        tmp_path / 'my "own".fa',
        genes=str(tmp_path / "genes.bed"),
        taxon="fungi",
        title="a & b",
        held_out=["chrI", "chrII"],
        flank=100,
        release=None,
    )
    assert (run.id, run.view["state"]) == ("abc", "QUEUED")
    fields, files = form_of(fake.asked[0])
    assert fields == {
        "taxon": "fungi", "title": "a & b", "held_out": "chrI,chrII", "flank": "100"
    }  # fmt: skip
    assert files["file"] == ('my "own".fa', content)
    assert b'filename="my %22own%22.fa"' in fake.asked[0].body
    assert files["genes"] == ("genes.bed", b"a\t0\t2\n")
    assert "motifs_file" not in files


def test_sequences_may_be_bytes_or_none_and_no_text(fake: FakeServer, tmp_path: Path) -> None:
    fake.replies = [as_json({"id": "abc", "state": "QUEUED"})]
    Client(fake.url).submit(FASTA)
    assert form_of(fake.asked[0])[1]["file"][1] == FASTA
    Client(fake.url).submit(genome="sacCer3", gene="ACT1")
    assert form_of(fake.asked[1]) == ({"genome": "sacCer3", "gene": "ACT1"}, {})
    (tmp_path / "r.bed").write_bytes(b"chrI\t0\t9\n")
    Client(fake.url).submit(genome="sacCer3", regions=str(tmp_path / "r.bed"), flank=500)
    fields, files = form_of(fake.asked.pop())
    assert fields == {"genome": "sacCer3", "flank": "500"}
    assert files == {"regions": ("r.bed", b"chrI\t0\t9\n")}
    with pytest.raises(ValueError, match="as bytes"):
        Client(fake.url).submit(">a\nACGT\n")
    with pytest.raises(FileNotFoundError):
        Client(fake.url).submit("nowhere.fa")
    assert len(fake.asked) == 2


def test_genomes_are_listed_and_registered(fake: FakeServer, tmp_path: Path) -> None:
    for name, text in (("g.fa", b">a\nAC\n"), ("g.gff3", b"#"), ("names.tsv", b"a\t1\n")):
        (tmp_path / name).write_bytes(text)
    fake.replies = [as_json({"genomes": [{"name": "mine"}]}), as_json({"name": "mine"}, 201)]
    client = Client(fake.url)
    assert client.genomes() == [{"name": "mine"}]
    made = client.add_genome(
        "mine", tmp_path / "g.fa", genes=tmp_path / "g.gff3", aliases=tmp_path / "names.tsv"
    )
    assert made == {"name": "mine"}
    assert fake.asked[1].path == "/v1/genomes"
    fields, files = form_of(fake.asked[1])
    assert fields == {"name": "mine"}
    assert {name: file[1] for name, file in files.items()} == {
        "file": b">a\nAC\n", "genes": b"#", "aliases": b"a\t1\n"
    }  # fmt: skip


def test_a_large_file_is_never_in_memory(fake: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "large.fa"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    fake.replies = [as_json({"id": "abc", "state": "QUEUED"})._replace(unread=True)]
    received = 0

    def swallow() -> None:
        nonlocal received
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1 << 16)
            found = re.search(rb"Content-Length: (\d+)", head)
            assert found is not None
            received = len(head.split(b"\r\n\r\n", 1)[1])
            buffer = bytearray(1 << 20)
            while received < int(found[1]):
                received += connection.recv_into(buffer)
            body = b'{"id": "abc", "state": "QUEUED"}'
            connection.sendall(b"HTTP/1.1 202 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=swallow)
        thread.start()
        tracemalloc.start()
        run = Client(f"http://127.0.0.1:{listener.getsockname()[1]}").submit(path)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        thread.join()
    assert run.id == "abc"
    assert received > 64 << 20
    assert most < 8 << 20


def test_a_refusal_before_the_end_of_the_body_is_heard(fake: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "large.fa"
    with path.open("wb") as file:
        file.truncate(32 << 20)
    fake.replies = [problem(413, detail="an upload may have 5 bytes")._replace(unread=True)]
    # a kernel may throw away what was received with the connection: then at least that is said
    with pytest.raises(ClientError, match=r"may have 5 bytes|no answer from"):
        Client(fake.url, timeout=5).submit(path)


def test_a_file_that_shrinks_is_not_sent_as_a_whole(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(FASTA)
    fake.replies = [problem(400)]
    real = module._pieces
    monkeypatch.setattr(
        module, "_pieces", lambda parts, sizes: (path.write_bytes(b">"), real(parts, sizes))[1]
    )
    with pytest.raises(ClientError, match="became shorter"):
        Client(fake.url).submit(path)


# -- waiting -----------------------------------------------------------------------------------


def view(state: str, progress: float = 0.5, **members: object) -> Reply:
    return as_json({"id": "x", "state": state, "progress": progress, "error": None, **members})


def new(fake: FakeServer, state: str = "QUEUED") -> Run:
    return Run(Client(fake.url), {"id": "x", "state": state, "links": {}})


def test_waiting_ends_with_the_run(fake: FakeServer, naps: list[float]) -> None:
    fake.replies = [view("QUEUED", 0.0), view("RUNNING"), view("COMPLETE", 1.0)]
    seen: list[float] = []
    run = new(fake).wait(60, lambda said: seen.append(said["progress"]))
    assert (run.state, seen) == ("COMPLETE", [0.0, 0.5, 1.0])
    assert len(naps) == 2
    asked = len(fake.asked)
    assert run.state == "COMPLETE"  # known, so not asked
    assert len(fake.asked) == asked


def test_a_run_that_fails_says_why(fake: FakeServer) -> None:
    error = {"code": "out-of-memory", "message": "needs 9 GB"}
    fake.replies = [view("EXECUTOR_ERROR", error=error)]
    with pytest.raises(ClientError, match="ended as EXECUTOR_ERROR: needs 9 GB") as caught:
        new(fake).wait()
    assert caught.value.type == "out-of-memory"
    fake.replies = [view("CANCELED")]
    with pytest.raises(ClientError, match=r"ended as CANCELED$"):
        new(fake).wait()


def test_waiting_has_an_end(fake: FakeServer) -> None:
    fake.replies = [view("RUNNING")]
    with pytest.raises(TimeoutError, match=r"still RUNNING after 0 s.*wait again"):
        new(fake).wait(0)


# -- tables ------------------------------------------------------------------------------------


def rows(numbers: list[int], *, total: int, following: str | None = None) -> Reply:
    data = io.BytesIO()
    table = pa.table(
        {"feature": numbers, "strand": pa.array([1, -1] * 9, pa.int8())[: len(numbers)]}
    )
    pq.write_table(table.replace_schema_metadata({"saetrack": '{"note": "n"}'}), data)
    headers = {"X-Total-Count": str(total)}
    if following is not None:
        headers["Link"] = (
            f'</x?format=json>; rel="describedby", </x?page_token={following}>; rel="next"'
        )
    return Reply(200, data.getvalue(), headers)


def test_pages_are_put_together(fake: FakeServer) -> None:
    fake.replies = [rows([1, 2], total=3, following="a%2Bb"), rows([3], total=3)]
    table = Client(fake.url).table("/x", strand="+")
    assert table["feature"].tolist() == [1, 2, 3]
    assert table["strand"].tolist() == ["+", "-", "+"]
    assert table.attrs == {"note": "n"}
    assert fake.asked[0].path == "/x?strand=%2B&format=parquet"
    assert fake.asked[1].path == "/x?strand=%2B&format=parquet&page_token=a%2Bb"


def test_a_table_is_never_cut_in_silence(fake: FakeServer, naps: list[float]) -> None:
    fake.replies = [rows([1, 2], total=3)]
    with pytest.raises(ClientError, match="2 of 3 rows"):
        Client(fake.url).table("/x")
    assert len(Client(fake.url).table("/x", limit=2)) == 2
    fake.replies = [rows([1], total=3, following="a")]
    with pytest.raises(ClientError, match="the same page again"):
        Client(fake.url).table("/x")
    whole = rows([1, 2], total=2)
    fake.replies = [whole._replace(body=whole.body[:50], length=len(whole.body)), whole]
    assert len(Client(fake.url).table("/x")) == 2


def test_tables_without_pandas_are_refused_with_the_way_out(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas pyarrow"):
        Client(fake.url).table("/x")


# -- files -------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 40
SHA = hashlib.sha256(CONTENT).hexdigest()


def file_reply(content: bytes = CONTENT, sha: str = SHA, **changes: Any) -> Reply:
    return Reply(200, content, {"ETag": f'"{sha}"'})._replace(**changes)


def test_a_file_appears_whole(fake: FakeServer, tmp_path: Path) -> None:
    fake.replies = [file_reply()]
    target = Client(fake.url).save("/f", tmp_path / "new" / "f.bw", strand="+")
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["f.bw"]
    assert fake.asked[0].path == "/f?strand=%2B"
    assert "Range" not in fake.asked[0].headers


def test_a_file_that_broke_off_is_gone_on_with(
    fake: FakeServer, tmp_path: Path, naps: list[float]
) -> None:
    cut = file_reply(CONTENT[:4000], length=len(CONTENT))
    rest = {"ETag": f'"{SHA}"', "Content-Range": f"bytes 4000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    fake.replies = [cut, Reply(206, CONTENT[4000:], rest)]
    target = Client(fake.url).save("/f", tmp_path / "f.bw")
    assert target.read_bytes() == CONTENT
    assert fake.asked[1].headers["Range"] == "bytes=4000-"
    assert fake.asked[1].headers["If-Range"] == f'"{SHA}"'
    assert [path.name for path in tmp_path.iterdir()] == ["f.bw"]


def test_a_later_call_goes_on_too(fake: FakeServer, tmp_path: Path) -> None:
    fake.replies = [file_reply(CONTENT[:4000], length=len(CONTENT))]
    with pytest.raises(ConnectionLost, match=r"broke off after 4000 of 10240 bytes"):
        Client(fake.url, retries=0).save("/f", tmp_path / "f.bw")
    assert not (tmp_path / "f.bw").exists()
    rest = {"ETag": f'"{SHA}"', "Content-Range": f"bytes 4000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    fake.replies = [Reply(206, CONTENT[4000:], rest)]
    assert Client(fake.url).save("/f", tmp_path / "f.bw").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_begun_anew(fake: FakeServer, tmp_path: Path) -> None:
    (tmp_path / f".f.bw.{'0' * 64}.part").write_bytes(b"of another file")
    fake.replies = [file_reply()]
    assert Client(fake.url).save("/f", tmp_path / "f.bw").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["f.bw"]


def test_a_part_that_is_whole_or_too_long(
    fake: FakeServer, tmp_path: Path, naps: list[float]
) -> None:
    (tmp_path / f".f.bw.{SHA}.part").write_bytes(CONTENT)
    assert Client(fake.url).save("/f", tmp_path / "f.bw").read_bytes() == CONTENT
    assert fake.asked == []
    (tmp_path / "f.bw").unlink()
    (tmp_path / f".f.bw.{SHA}.part").write_bytes(CONTENT + b"more")
    fake.replies = [problem(416), file_reply()]
    assert Client(fake.url).save("/f", tmp_path / "f.bw").read_bytes() == CONTENT


def test_a_wrong_part_is_thrown_away(fake: FakeServer, tmp_path: Path, naps: list[float]) -> None:
    (tmp_path / f".f.bw.{SHA}.part").write_bytes(b"wrong")
    rest = {"ETag": f'"{SHA}"', "Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}
    fake.replies = [Reply(206, CONTENT[5:], rest), file_reply()]
    assert Client(fake.url).save("/f", tmp_path / "f.bw").read_bytes() == CONTENT
    assert "Range" not in fake.asked[1].headers


def test_another_content_than_stated_is_never_a_file(
    fake: FakeServer, tmp_path: Path, naps: list[float]
) -> None:
    fake.replies = [file_reply(CONTENT[:-1] + b"x")]
    with pytest.raises(ClientError, match="another content than the server states"):
        Client(fake.url, retries=1).save("/f", tmp_path / "f.bw")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_fetched_again(fake: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "f.bw").write_bytes(CONTENT)
    fake.replies = [Reply(304)]
    Client(fake.url).save("/f", tmp_path / "f.bw")
    assert fake.asked[0].headers["If-None-Match"] == f'"{SHA}"'
    assert (tmp_path / "f.bw").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a\\b"])
def test_files_stay_in_the_folder(fake: FakeServer, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="below the run's address"):
        new(fake, "COMPLETE").download(tmp_path, [name])
    assert fake.asked == []


# -- the real application ----------------------------------------------------------------------


@pytest.fixture
def live(app: Flask) -> Iterator[Client]:
    """The application of the test installation, listening."""
    with listening(app) as address:
        yield Client(address, retries=0)


def test_a_run_from_start_to_end(
    live: Client, engine: Engine, storage: LocalStorage, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "mine.fa").write_bytes(FASTA)
    run = live.submit(tmp_path / "mine.fa", taxon="fungi", title="T")
    assert (run.state, run.view["title"], run.view["filename"]) == ("QUEUED", "T", "mine.fa")
    with pytest.raises(ClientError, match="not complete yet") as caught:
        run.features()
    assert caught.value.status == 409
    complete(engine, storage, settings, tmp_path / "results")
    assert run.wait(10).state == "COMPLETE"
    assert [each.id for each in live.runs()] == [run.id]
    assert live.run(run.id).view == run.view

    features = run.features()
    told = features[["feature", "strand", "label"]].astype(object)
    assert sorted(told.where(told.notna(), "").values.tolist()) == [
        [1, "+", ""], [1, "-", ""], [2, "+", "intron"]
    ]  # fmt: skip
    active = run.features(active=True)
    assert set(active["feature"]) == {1, 2}
    peaks = run.peaks()
    assert peaks[["contig", "position", "strand"]].values.tolist() == [
        ["chrA", 5, "+"], ["chrA", 5, "-"], ["chrB", 9, "+"]
    ]  # fmt: skip
    assert peaks["motif_strand"].isna().tolist() == [False, True, True]
    assert peaks["motif_strand"][0] == "-"
    matches = run.matches(max_q=0.01)
    assert matches[["feature", "strand", "motif_name"]].values.tolist() == [[1, "-", "REB1"]]
    assert matches.attrs["motif_test"]["tested"] is True
    assert run.concepts()["concept"].tolist() == ["intron", "intron"]
    found = run.tf_features("REB1")
    assert found["feature"].tolist() == [1]
    assert found.attrs["source"] == "run"
    assert run.feature(1)["active"] is True

    saved = run.download(tmp_path / "out")
    names = {path.name for path in saved}
    assert {"features.tsv", "peaks.parquet", "peaks.bed", "peaks.bb", "provenance.json"} <= names
    for path in saved:
        assert path.stat().st_size > 0
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["contigs"]
    before = {path: path.stat().st_mtime_ns for path in saved}
    run.download(tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in saved} == before
    (track,) = run.download(tmp_path / "out", ["features/1-/signal.bw"])
    assert run.save_signal("1-", tmp_path / "one.bw").read_bytes() == track.read_bytes()
    values = run.signal(["1+", "1-"], "chrA:5-7")
    assert values.columns.tolist() == ["position", "1+", "1-"]
    assert values.values.tolist() == [[4, 1, 0], [5, 2, 4], [6, 0, 0]]
    assert run.region_features("chrA:5-7")["max"].tolist() == [4, 2]
    assert "<svg" in run.figure(tmp_path / "f.svg", "chrA", features=["1+"]).read_text()
    assert run.figure(tmp_path / "f.PNG", "chrA").read_bytes()[:4] == b"\x89PNG"
    assert run.save_peaks("1-", tmp_path / "one.bed").read_text().startswith("chrA\t5\t6\t")

    link = run.share("for a friend")
    hub = live.save(link["url"].removeprefix(live.url), tmp_path / "hub.txt").read_text()
    assert "useOneFile on" in hub
    run.unshare(link["id"])
    with pytest.raises(ClientError) as caught:
        live.save(link["url"].removeprefix(live.url), tmp_path / "hub.txt")
    assert caught.value.status == 404

    run.delete()
    with pytest.raises(ClientError, match="no run"):
        run.refresh()


def test_a_broken_download_is_gone_on_with_by_the_real_server(
    live: Client, finished: str, tmp_path: Path
) -> None:
    run = live.run(finished)
    (whole,) = run.download(tmp_path / "a", ["sequence.2bit"])
    digest = hashlib.sha256(whole.read_bytes()).hexdigest()
    other = tmp_path / "b"
    other.mkdir()
    (other / f".sequence.2bit.{digest}.part").write_bytes(whole.read_bytes()[:20])
    asked: list[int] = []
    real = module._store

    def spy(response: module.Response, target: Path) -> None:
        asked.append(response.status)
        real(response, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_store", spy)
        (again,) = run.download(other, ["sequence.2bit"])
    assert asked == [206]
    assert again.read_bytes() == whole.read_bytes()


def test_a_run_is_cancelled(live: Client, engine: Engine, app: Flask) -> None:
    run = live.submit(FASTA, held_out="chrB")
    assert run.cancel().view["state"] == "CANCELED"
    with pytest.raises(ClientError, match="ended as CANCELED"):
        run.wait(1)
    with reading(app.extensions[EXTENSION].engine) as session:
        assert get_run(session, run.id, "local").canceled_at is not None


def test_what_the_atlas_knows(live: Client, settings: Settings) -> None:
    install_atlas(settings.models_dirs[0])
    assert live.models()["dictionaries"][0]["id"] == "toy-sae"
    assert live.tf("REB1")["resolution"]["match_type"] == "name"
    found = live.tf_features("REB1", dictionary="toy-sae")
    assert found["feature"].tolist() == [1, 2]
    assert found.attrs["match_type"] == "name"
    assert live.concept_features("intron")["feature"].tolist()[0] == 2
    assert live.feature("toy-sae", 1)["known"] is True
    with pytest.raises(ClientError, match="no such parameter"):
        live.tf_features("REB1", nonsense=1)


def test_a_form_that_is_too_large_is_told_the_limit(live: Client, settings: Settings) -> None:
    limit = f"an upload may have {settings.max_upload_bytes} bytes"
    with pytest.raises(ClientError, match=limit) as caught:
        live.submit(b">a\n" + b"A" * (settings.max_upload_bytes + FORM_OVERHEAD))
    said = caught.value
    assert (said.status, said.type) == (413, "urn:saetrack:problem:limit-exceeded")


def test_a_region_of_a_registered_genome(live: Client, tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_bytes(FASTA)
    assert live.add_genome("mine", tmp_path / "g.fa")["bases"] == 30
    assert [genome["name"] for genome in live.genomes()] == ["mine"]
    run = live.submit(genome="mine", region="chrA:1-12", flank=2)
    assert run.view["regions"]["genome"] == "mine"
    (tmp_path / "r.bed").write_bytes(b"chrA\t0\t12\n")
    again = live.submit(genome="mine", regions=tmp_path / "r.bed", flank=2)
    assert again.view["computation"] == run.view["computation"]
    with pytest.raises(ClientError, match="aliases") as caught:
        live.add_genome("other", tmp_path / "g.fa", aliases="nothing")
    assert caught.value.status == 400


def test_where_tokens_are_asked_for(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    with transaction(engine) as session:
        word = create_token(session, owner="ada", scopes=("read", "write"), days=1).word
    app = create_app(replace(settings, auth="tokens"))
    with listening(app) as address:
        with pytest.raises(ClientError, match="token") as caught:
            Client(address).models()
        assert caught.value.status == 401
        ada = Client(address, token=word)
        run = ada.submit(FASTA)
        assert [each.id for each in ada.runs()] == [run.id]
        assert ada.models()["dictionaries"]
    app.extensions[EXTENSION].engine.dispose()


def test_an_option_that_the_server_does_not_know_is_its_to_refuse(live: Client) -> None:
    with pytest.raises(ClientError, match="nonsense") as caught:
        live.submit(FASTA, nonsense="x")
    assert caught.value.status == 400


def test_the_server_hands_the_client_out(client: FlaskClient) -> None:
    answer = client.get("/saetrack_client.py")
    assert answer.mimetype == "text/x-python"
    assert answer.data == (ROOT / "app" / "client.py").read_bytes()
