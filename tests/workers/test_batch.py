"""A run in parts: the results of one process to the byte, whatever the tasks do to each other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from annotations.errors import OptionError, StateError
from tests.workers.factories import DICTIONARY_ID, MODEL_ID, make_tiny_models
from tests.workers.test_cli import GFF
from tests.workers.test_pipeline import random_sequence
from workers import cli
from workers.batch import parse_part, shards_in_words
from workers.job import REQUEST_FOLDER
from workers.shard_folder import MADE_BY, claim_folder

ROOT = Path(__file__).resolve().parents[2]

SHARD_BASES = 1_000

MOTIF = (
    "MEME version 4\n\nALPHABET= ACGT\n\n"
    "MOTIF own GAAC\nletter-probability matrix: alength= 4 w= 4\n"
    "0 0 1 0\n1 0 0 0\n1 0 0 0\n0 1 0 0\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    make_tiny_models(folder / "models")
    text = b">chrA a record\n" + random_sequence(3500) + b"\n>chrB\n" + random_sequence(2200, 1)
    (folder / "in.fa").write_bytes(text + b"\n")
    (folder / "in.gff3").write_text(GFF)
    (folder / "own.meme").write_text(MOTIF)
    return folder


@pytest.fixture(autouse=True)
def models(monkeypatch, place):
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
    monkeypatch.setenv("SAETRACK_DATA_DIR", str(place / "data"))
    monkeypatch.delenv("SAETRACK_DEBUG", raising=False)
    monkeypatch.setattr("workers.annotate.SHARD_BASES", SHARD_BASES)


def command(place, *more):
    words = f"annotate {place / 'in.fa'} --genes {place / 'in.gff3'} --taxon fungi --top 2"
    words += f" --motifs-file {place / 'own.meme'} --signal 7 --held-out chrB"
    return [*words.split(), *map(str, more)]


@pytest.fixture(scope="module")
def whole(place):
    """The result of one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
        patch.setattr("workers.annotate.SHARD_BASES", SHARD_BASES)
        assert cli.run(command(place, "--out", place / "whole")) == 0
    return place / "whole"


@pytest.fixture(scope="module")
def parts(place):
    """A work folder that three tasks filled, the last first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
        patch.setattr("workers.annotate.SHARD_BASES", SHARD_BASES)
        for task in ("3/3", "1/3", "2/3"):
            assert cli.run(command(place, "--work", place / "W", "--shard", task)) == 0
    return place / "W"


def said(capsys):
    """The only line on standard error."""
    (line,) = filter(None, capsys.readouterr().err.splitlines())
    return line


def content(folder):
    """Every file of a result but the record of how it was made, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    found.pop("provenance.json")
    return found


def assert_equal(found, wanted):
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_the_results_are_those_of_one_process_to_the_byte(place, whole, parts, tmp_path):
    before = sorted(path.relative_to(parts) for path in parts.rglob("*"))
    assert cli.run(["merge", str(parts), "--out", str(tmp_path / "out")]) == 0
    wanted = content(whole)
    tables = [name for name in wanted if name.endswith((".parquet", ".tsv"))]
    assert len(tables) >= 11
    assert_equal(content(tmp_path / "out"), wanted)
    assert sorted(path.relative_to(parts) for path in parts.rglob("*")) == before


def test_provenance_says_what_made_the_shards(whole, parts, tmp_path):
    assert cli.run(["merge", str(parts), "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    one = json.loads((whole / "provenance.json").read_text())
    assert record["files"] == one["files"]
    assert record["options"] == one["options"]
    made, alone = record["made_by"], one["made_by"]
    assert made["command"] == "saetrack annotate --shard; saetrack merge"
    assert made["sequences"] == alone["sequences"]
    assert made["annotation_skipped"] == alone["annotation_skipped"]
    assert (made["device"], made["threads"], made["batch"]) == (
        alone["device"], alone["threads"], alone["batch"],
    )  # fmt: skip
    assert made["shard_seconds"] > 0


def test_shards_of_several_kinds_of_task_are_listed(parts, tmp_path):
    work = shutil.copytree(parts, tmp_path / "W")
    made = json.loads((work / "shard1" / MADE_BY).read_text())
    (work / "shard1" / MADE_BY).write_text(json.dumps(made | {"batch": 99}))
    assert cli.run(["merge", str(work), "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["made_by"]["batch"] == [8, 99]


def test_each_task_says_what_is_left(place, tmp_path, capsys):
    work = tmp_path / "W"
    task = command(place, "--work", work, "--shard")
    assert cli.run([*task, "2/3"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("task 2 of 3: 2 shards computed, ")
    assert first.endswith(f"2 of 7 are in {work}")
    assert second == "missing: 5 shards (0, 2, 3, 5, 6)"
    assert cli.run([*task, "2/3"]) == 0
    assert "0 shards computed, 0 bases; 2 of 7" in capsys.readouterr().out
    # as many tasks as shards: each computes one; another number of tasks is no other run
    assert cli.run([*task, "1/7", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["computed"], record["missing"], record["shard"]) == (1, [2, 3, 5, 6], "1/7")
    assert cli.run(["merge", str(work), "--out", str(tmp_path / "out")]) == 2
    line = said(capsys)
    assert "lacks 4 shards (2, 3, 5, 6) of 7" in line
    assert (
        f"annotate ... --work {work}` with --shard 3/7, --shard 4/7, --shard 6/7, --shard 7/7"
        in line
    )
    assert not (tmp_path / "out").exists()
    assert cli.run([*task, "1/1"]) == 0
    assert f"next: saetrack merge {work} --out DIR" in capsys.readouterr().out


def test_tasks_at_the_same_time_harm_each_other_in_nothing(place, whole, tmp_path):
    """Three processes begin at once on a folder that is not there, two with equal shards."""
    code = (
        "import sys, workers.annotate as a; from workers import cli; "
        f"a.SHARD_BASES = {SHARD_BASES}; sys.exit(cli.run(sys.argv[1:]))"
    )
    tasks = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                *command(place, "--work", tmp_path / "W", "--shard", task),
            ],
            cwd=ROOT,
            env=os.environ,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        for task in ("1/2", "2/2", "1/2")
    ]
    for task in tasks:
        _, errors = task.communicate(timeout=240)
        assert task.returncode == 0, errors.decode()
    names = {path.name for path in (tmp_path / "W").iterdir()}
    assert names == {"plan.json", REQUEST_FOLDER, *(f"shard{n}" for n in range(7))}
    assert cli.run(["merge", str(tmp_path / "W"), "--out", str(tmp_path / "out")]) == 0
    assert_equal(content(tmp_path / "out"), content(whole))


def test_a_task_that_was_killed_leaves_nothing_that_counts(place, whole, tmp_path, monkeypatch):
    import workers.shard_folder as folder

    work = tmp_path / "W"
    monkeypatch.setattr(folder.shutil, "rmtree", lambda *a, **k: None)

    def killed(fasta, spans, encoder, part, **_):
        (part / "activations.parquet").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, "run_shard", killed)
        assert cli.run(command(place, "--work", work, "--shard", "1/1")) == 130
    monkeypatch.undo()
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
    monkeypatch.setattr("workers.annotate.SHARD_BASES", SHARD_BASES)
    assert [path.name[:8] for path in work.iterdir() if path.name.startswith(".shard")]
    assert not (work / "shard0").exists()
    assert cli.run(command(place, "--work", work, "--shard", "1/1")) == 0
    assert cli.run(["merge", str(work), "--out", str(tmp_path / "out")]) == 0
    assert_equal(content(tmp_path / "out"), content(whole))


def test_a_run_that_keeps_its_shards_goes_on_from_there(place, whole, tmp_path):
    out = ["--work", tmp_path / "W", "--out", tmp_path / "out"]
    assert cli.run(command(place, *out)) == 0
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "W").glob("shard?")}
    assert len(times) == 7
    assert cli.run(command(place, *out, "--force")) == 0
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "W").glob("shard?")} == times
    assert_equal(content(tmp_path / "out"), content(whole))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/3", "must be I/N, .* from 1"),
        ("4/3", "from 1 to 3"),
        ("a/b", "must be I/N"),
        ("1", "must be I/N"),
        ("1/0", "must be I/N"),
        ("-1/3", "must be I/N"),
        ("1/3/5", "must be I/N"),
        ("٣/٣", "must be I/N"),
        ("1/99999999", "must be I/N"),
    ],
)
def test_what_is_no_part_is_refused(text, message):
    with pytest.raises(OptionError, match=message):
        parse_part(text)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "1/3"], "--shard needs --work"),
        (["--shard", "0/3", "--work", "W"], "must be I/N"),
        (["--shard", "1/3", "--work", "W", "--out", "o"], "leave --out to `saetrack merge`"),
        ([], "name the folder for the results: --out DIR"),
        (["--work", "W"], "name the folder for the results: --out DIR"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    place, tmp_path, monkeypatch, capsys, more, message
):
    monkeypatch.chdir(tmp_path)
    assert cli.run(command(place, *more)) == 2
    assert message in said(capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_another_run_is_refused(place, parts, tmp_path, capsys):
    work = ["--work", str(parts), "--shard", "1/3"]
    other = [word.replace("in.fa", "other.fa") for word in command(place)]
    (place / "other.fa").write_bytes(b">chrA\n" + random_sequence(1500, 9) + b"\n>chrB\nACGT\n")
    assert cli.run([*other, *work]) == 2
    assert "holds the shards of another run" in said(capsys)
    assert cli.run([*command(place), *work, "--top", "5"]) == 2
    assert "was begun with another top; give the same" in said(capsys)
    assert cli.run([*command(place), *work, "--taxon", "plants"]) == 2
    assert "was begun with another options" in said(capsys)
    (tmp_path / "mine.txt").write_text("x")
    assert cli.run(command(place, "--work", tmp_path, "--shard", "1/3")) == 2
    assert "is not empty and holds no shards" in said(capsys)


def test_what_holds_no_run_in_parts_is_not_merged(tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert cli.run(["merge", str(tmp_path / "none"), *out]) == 2
    assert "holds no shards of `saetrack annotate --work" in said(capsys)
    claim_folder(tmp_path / "W", {"some": "run"})
    assert cli.run(["merge", str(tmp_path / "W"), *out]) == 2
    assert "run that first" in said(capsys)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("x")
    assert cli.run(["merge", str(tmp_path / "W"), "--out", str(tmp_path / "taken")]) == 2
    assert "not empty" in said(capsys)


def test_shards_of_another_version_or_dictionary_are_not_merged(
    place, parts, tmp_path, monkeypatch, capsys
):
    work = shutil.copytree(parts, tmp_path / "W")
    merge = ["merge", str(work), "--out", str(tmp_path / "out")]
    path = work / REQUEST_FOLDER / "request.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"saetrack": "0.0.1"}))
    assert cli.run(merge) == 2
    assert "was begun by saetrack 0.0.1, and this is" in said(capsys)
    path.write_text(json.dumps(record | {"result_schema": 1}))
    assert cli.run(merge) == 2
    assert "begun by result_schema 1" in said(capsys)
    path.write_text("{")
    assert cli.run(merge) == 1
    assert "is altered: it is no JSON" in said(capsys)
    path.write_text(json.dumps({key: record[key] for key in record if key != "contigs"}))
    assert cli.run(merge) == 1
    assert "cannot be read; begin again" in said(capsys)
    path.write_text(json.dumps(record | {"atlas": "0" * 64}))
    assert cli.run(merge) == 2
    assert "atlas of tiny-tree-64 is not the one" in said(capsys)
    path.write_text(json.dumps(record))
    make_tiny_models(tmp_path / "models", seed=1)
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(tmp_path / "models"))
    assert cli.run(merge) == 2
    assert f"weights of {DICTIONARY_ID} whose sha256 is" in said(capsys)
    shutil.rmtree(tmp_path / "models" / MODEL_ID / DICTIONARY_ID)
    assert cli.run(merge) == 2
    assert DICTIONARY_ID in said(capsys)
    assert not (tmp_path / "out").exists()


def test_a_plan_is_claimed_by_one_of_many(tmp_path):
    """Threads race for a new folder: those of one plan all get it, of two plans one kind does."""
    from concurrent.futures import ThreadPoolExecutor

    def claim(folder, plan):
        try:
            claim_folder(folder, {"plan": plan})
        except StateError:
            return False
        return True

    for attempt in range(40):
        folder = tmp_path / str(attempt)
        with ThreadPoolExecutor(8) as pool:
            equal = list(pool.map(lambda _, f=folder: claim(f, 1), range(8)))
        assert equal == [True] * 8
        assert [path.name for path in folder.iterdir()] == ["plan.json"]
        folder = tmp_path / f"two{attempt}"
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda n, f=folder: claim(f, n % 2), range(8)))
        assert got in ([True, False] * 4, [False, True] * 4)


def test_many_shards_are_named_in_short():
    assert shards_in_words([3]) == "1 shard (3)"
    assert shards_in_words(range(12)) == "12 shards (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)"
