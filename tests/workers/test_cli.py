"""The command line: a whole run on a tiny model, and what it says to bad input."""

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pyBigWig
import pytest

from annotations.errors import StorageError
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers import cli
from workers.answers import open_result
from workers.result_folder import earlier_files, move_into

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 1500
GFF = (
    "##gff-version 3\n"
    "chrA\tt\tgene\t101\t900\t.\t+\t.\tID=g1;Name=ABC1\n"
    "chrA\tt\tmRNA\t101\t900\t.\t+\t.\tID=t1;Parent=g1\n"
    "chrA\tt\texon\t101\t400\t.\t+\t.\tParent=t1\n"
    "chrA\tt\texon\t601\t900\t.\t+\t.\tParent=t1\n"
    "chrZ\tt\tgene\t1\t9\t.\t+\t.\tID=g2\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    make_tiny_models(folder / "models")
    text = b">chrA a record\n" + random_sequence(LENGTH) + b"\n>chrB\n" + random_sequence(300, 1)
    (folder / "in.fa").write_bytes(text + b"\n")
    (folder / "in.gff3").write_text(GFF)
    return folder


@pytest.fixture(autouse=True)
def models(monkeypatch, place):
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
    monkeypatch.setenv("SAETRACK_DATA_DIR", str(place / "data"))
    monkeypatch.delenv("SAETRACK_DEBUG", raising=False)


@pytest.fixture(scope="module")
def result(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
        code = cli.run(
            f"annotate {place / 'in.fa'} --genes {place / 'in.gff3'} --taxon fungi --top 2 "
            f"--signal 7 --out {place / 'out'}".split()
        )
    assert code == 0
    return place / "out"


def said(capsys):
    """The only line on standard error."""
    (line,) = filter(None, capsys.readouterr().err.splitlines())
    return line


def test_the_features_of_a_result_are_those_of_its_dictionary(result, capsys):
    assert open_result(result).n_features == 64
    out = ["--out", str(result.parent / "x.bw")]
    assert cli.run(["signal", str(result), "--feature", "63", *out]) == 0
    assert cli.run(["signal", str(result), "--feature", "64", *out]) == 2
    assert "numbered 0 to 63" in said(capsys)


def test_the_folder_holds_every_file(result):
    names = {path.name for path in result.iterdir()}
    assert names == {
        "about.html",
        "activations.parquet",
        "chrom.sizes",
        "concepts.parquet",
        "concepts.tsv",
        "contigs.parquet",
        "contigs.tsv",
        "features",
        "features.parquet",
        "features.tsv",
        "genes.bb",
        "genes.bed",
        "hub.txt",
        "igv.json",
        "index.html",
        "jbrowse.json",
        "matches.parquet",
        "matches.tsv",
        "page",
        "peaks.bb",
        "peaks.bed",
        "peaks.parquet",
        "peaks.tsv",
        "provenance.json",
        "sequence.2bit",
        "sequence.fa",
        "sequence.fa.fai",
        "session.xml",
    }
    assert (result / "features" / "7" / "signal.bw").is_file()
    assert len(list((result / "features").iterdir())) == 3
    assert not [path for path in result.parent.iterdir() if path.name.startswith(".out")]


def test_the_summary_says_what_to_open(place, capsys):
    out = place / "seen"
    asked = ["annotate", str(place / "in.fa"), "--out", str(out), "--top", "1", "--force"]
    assert cli.run(asked) == 0
    said = capsys.readouterr().out
    assert f"look at it: open {out}/index.html in a web browser" in said
    assert "features/ (2), page/ (6)" in said


@pytest.mark.parametrize(
    ("bases", "why", "shown"),
    [
        ("N" * 400, "every base is N", False),
        ("ACGTACGTAC", "nothing longer than 25 bases was read", True),
    ],
)
def test_where_nothing_is_found_the_reason_is_said(tmp_path, capsys, bases, why, shown):
    (tmp_path / "x.fa").write_text(f">x\n{bases}\n")
    asked = f"annotate {tmp_path / 'x.fa'} --taxon fungi --out {tmp_path / 'out'}".split()
    assert cli.run(asked) == 0
    said = capsys.readouterr().out
    assert why in said
    assert ("look at it" in said) is shown  # there are activations, but no peaks
    assert ("labels below" in said) is shown
    assert "next:" not in said
    assert cli.run([*asked, "--force", "--json"]) == 0
    assert why in json.loads(capsys.readouterr().out)["nothing"]


def test_a_summary_explains_its_columns_and_gives_no_reason_without_need(place, capsys):
    asked = f"annotate {place / 'in.fa'} --taxon fungi --top 0 --out {place / 'legend'}".split()
    assert cli.run(asked) == 0
    said = capsys.readouterr().out
    assert "genes: commonest gene part; match: best tested motif" in said
    assert "look at it: " in said


def test_a_signal_goes_where_the_other_tracks_are(result, capsys):
    target = result / "features" / "9_plus" / "signal.bw"
    assert not target.exists()
    assert cli.run(["signal", str(result), "--feature", "9+"]) == 0
    assert capsys.readouterr().out.startswith(f"{target}: feature 9, strand +")
    other = result.parent / "9.bw"
    assert cli.run(["signal", str(result), "--feature", "9+", "--out", str(other)]) == 0
    assert other.read_bytes() == target.read_bytes()
    target.unlink()
    target.parent.rmdir()


def test_tracks_lie_inside_their_contigs_under_the_users_names(result):
    lengths = {"chrA": LENGTH, "chrB": 300}
    for path in (result / "features").glob("*/signal.bw"):
        with pyBigWig.open(str(path)) as track:
            assert track.chroms() == lengths
            for name, length in lengths.items():
                assert track.intervals(name)[-1][1] == length
    lines = [line.split("\t") for line in (result / "peaks.bed").read_text().splitlines()]
    assert len(lines) > 1000
    for contig, start, end, *_ in lines:
        assert 0 <= int(start) == int(end) - 1 < lengths[contig]


def test_peaks_carry_the_gene_part_they_lie_in(result):
    peaks = pq.read_table(result / "peaks.parquet").to_pylist()
    inside = [p for p in peaks if p["contig"] == 0 and 100 <= p["position"] < 400]
    intron = [p for p in peaks if p["contig"] == 0 and 410 <= p["position"] < 590]
    outside = [p for p in peaks if p["contig"] == 1]
    assert {p["gene_name"] for p in inside + intron} == {"ABC1"}
    assert all("exon" in p["genes"].split(";") for p in inside)
    assert all("intron" in p["genes"].split(";") for p in intron)
    assert {(p["genes"], p["gene_name"]) for p in outside} == {("", None)}


def test_a_motif_at_a_peak_is_the_motif_at_that_place(result):
    peaks = pq.read_table(result / "peaks.parquet").to_pylist()
    near = [p for p in peaks if p["motif_id"] is not None]
    assert near
    assert all(abs(p["motif_offset"]) <= 20 and p["motif_threshold_p"] <= 1e-3 for p in near)


def test_a_short_sequence_is_called_underpowered(result):
    record = json.loads((result / "provenance.json").read_text())
    assert record["motif_test"]["power"] == "underpowered"
    assert "a test needs 2000" in record["motif_test"]["reason"]
    assert record["counts"]["bases"] == LENGTH + 300
    assert record["made_by"]["sequences"]["file"] == "in.fa"
    skipped = record["made_by"]["annotation_skipped"]
    assert skipped == {"lines on contigs that the sequences do not have": 1}
    assert pq.read_table(result / "matches.parquet").num_rows == 0


def test_the_same_input_gives_the_same_bytes(result, place):
    out = place / "again"
    arguments = ["--genes", str(place / "in.gff3"), "--taxon", "fungi", "--top", "0"]
    assert cli.run(["annotate", str(place / "in.fa"), *arguments, "--out", str(out)]) == 0
    for name in ("activations", "features", "peaks", "matches"):
        path = f"{name}.parquet"
        assert (out / path).read_bytes() == (result / path).read_bytes(), name


def test_json_is_the_only_thing_on_standard_output(place, tmp_path, capsys):
    arguments = ["annotate", str(place / "in.fa"), "--out", str(tmp_path / "o"), "--json"]
    assert cli.run([*arguments, "--strands", "forward", "--top", "1"]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert captured.err == ""
    assert summary["options"]["strands"] == "forward"
    assert {row["strand"] for row in summary["top_features"]} == {"+"}
    assert summary["power"]["reason"] == "no motifs were asked for"


def test_query_says_how_it_understood_the_name_and_why_there_is_no_test(result, capsys):
    assert cli.run(["query", str(result), "--tf", "reb1p", "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [m["name"] for m in answer["motifs"]] == ["REB1"]
    assert (answer["total"], answer["features"], answer["nearest"]) == (0, [], [])
    assert not answer["motif_test"]["tested"]
    assert cli.run(["query", str(result), "--tf", "Reb1"]) == 0
    assert "underpowered" in capsys.readouterr().out


def test_signal_writes_one_strand(result, tmp_path):
    out = tmp_path / "f3.bw"
    arguments = ["signal", str(result), "--feature", "3", "--strand", "-", "--out", str(out)]
    assert cli.run(arguments) == 0
    peaks = pq.read_table(result / "peaks.parquet").to_pylist()
    best = next(p for p in peaks if (p["feature"], p["strand"], p["rank"]) == (3, -1, 1))
    with pyBigWig.open(str(out)) as track:
        name = ["chrA", "chrB"][best["contig"]]
        value = track.values(name, best["position"], best["position"] + 1)[0]
    assert value == pytest.approx(best["value"], rel=1e-3)


def test_models_lists_what_is_there(capsys):
    assert cli.run(["models", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["dictionaries"]
    assert (row["id"], row["random_weights"], row["features"]) == (DICTIONARY_ID, True, 64)


BAD_SEQUENCES = {
    "empty": (b"", "empty"),
    "no bases": (b">a\n>b\nACGT\n", "a"),
    "protein": (b">p\nMKVLAAGIVGLCAKAYEQ\n", "p"),
    "doubled": (b">a\nACGT\n>a\nACGT\n", "a"),
    "cut gzip": (gzip.compress(b">a\n" + b"ACGT" * 5000)[:-20], "gzip"),
    "text": (b"hello world\n", ""),
    "fastq": (b"@r\nACGT\n+\nIIII\n", "FASTQ"),
    "binary": (bytes(range(256)) * 4, ""),
}


@pytest.mark.parametrize("kind", BAD_SEQUENCES)
def test_bad_sequences_get_one_line_and_exit_2(kind, tmp_path, capsys):
    text, word = BAD_SEQUENCES[kind]
    (tmp_path / "x.fa").write_bytes(text)
    code = cli.run(["annotate", str(tmp_path / "x.fa"), "--out", str(tmp_path / "out")])
    line = said(capsys)
    assert code == 2, line
    assert line.startswith("error: ")
    assert word in line
    assert not (tmp_path / "out").exists()


BAD_ARGUMENTS = {
    "no file": (["annotate", "nothing.fa", "--out", "o"], "there is no file nothing.fa"),
    "no genes": (["annotate", "in.fa", "--genes", "no.gff", "--out", "o"], "there is no file"),
    "taxon": (["annotate", "in.fa", "--taxon", "fungus", "--out", "o"], "did you mean 'fungi'"),
    "model": (["annotate", "in.fa", "--dictionary", "tiny-tre", "--out", "o"], "tiny-tree"),
    "release": (["annotate", "in.fa", "--release", "2024", "--out", "o"], "JASPAR2024"),
    "strand": (["annotate", "in.fa", "--strands", "-", "--out", "o"], "--strands"),
    "signal": (["annotate", "in.fa", "--signal", "64", "--out", "o"], "numbered 0 to 63"),
    "device": (["annotate", "in.fa", "--device", "tpu", "--out", "o"], "auto, cpu, cuda"),
    "full folder": (["annotate", "in.fa", "--out", "models"], "is not empty"),
    "out is a file": (["annotate", "in.fa", "--out", "in.gff3"], "is a file"),
    "no parent": (["annotate", "in.fa", "--out", "a/b/c"], "there is no folder"),
    "no out": (["annotate", "in.fa"], "--out"),
    "no result": (["query", "models", "--tf", "Reb1"], "holds no result"),
    "no folder": (["query", "nowhere", "--tf", "Reb1"], "there is no folder"),
    "no TF": (["query", "out", "--tf", "Reb11"], "near names: REB1"),
    "no feature": (["signal", "out", "--feature", "64", "--out", "x.bw"], "0 to 63"),
    "command": (["anotate"], "anotate"),
    "option": (["models", "--jsn"], "--json"),
}


@pytest.mark.parametrize("kind", BAD_ARGUMENTS)
def test_bad_arguments_get_one_line_and_exit_2(kind, place, result, monkeypatch, capsys):
    arguments, words = BAD_ARGUMENTS[kind]
    monkeypatch.chdir(place)
    assert cli.run(arguments) == 2
    line = said(capsys)
    assert line.startswith("error: ")
    assert words in line


def test_an_unknown_setting_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("SAETRACK_PROT", "1")
    assert cli.run(["models"]) == 2
    assert "SAETRACK_PORT" in said(capsys)


def test_an_annotation_of_another_genome_is_refused(place, tmp_path, capsys):
    (tmp_path / "x.gff3").write_text(GFF.replace("chrA", "IX"))
    code = cli.run(
        f"annotate {place / 'in.fa'} --genes {tmp_path / 'x.gff3'} --out {tmp_path / 'o'}".split()
    )
    assert code == 2
    assert "chrA" in said(capsys)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (StorageError("the disk is gone"), 1, "error: the disk is gone"),
        (OSError(28, "No space left on device", "x"), 1, "error: No space left on device (x)"),
        (ZeroDivisionError("a bug"), 1, "internal error, ZeroDivisionError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_failure_is_one_line(monkeypatch, capsys, error, code, words):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("annotations.cards.find_cards", fail)
    assert cli.run(["models"]) == code
    assert words in said(capsys)


def test_debug_shows_the_trace(monkeypatch, capsys):
    monkeypatch.setenv("SAETRACK_DEBUG", "1")
    monkeypatch.setenv("SAETRACK_PROT", "1")
    assert cli.run(["models"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_force_replaces_the_files_and_keeps_the_others(place, tmp_path):
    out = tmp_path / "o"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "features" / "7").mkdir(parents=True)
    (out / "features" / "7" / "signal.bw").write_text("of another sequence")
    (out / "signal").mkdir()
    (out / "signal" / "f7.either.bw").write_text("of an earlier version")
    assert cli.run(["annotate", str(place / "in.fa"), "--out", str(out), "--top", "0"]) == 2
    assert sorted(path.name for path in out.iterdir()) == ["features", "notes.txt", "signal"]
    again = ["annotate", str(place / "in.fa"), "--out", str(out), "--top", "0", "--force"]
    assert cli.run(again) == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "features.tsv").is_file()
    assert not (out / "signal").exists()
    assert not (out / "features" / "7").exists()


def test_force_removes_what_only_the_earlier_run_wrote(tmp_path):
    earlier, fresh = tmp_path / "o", tmp_path / "fresh"
    for folder in (earlier, fresh):
        folder.mkdir()
    (fresh / "features.tsv").write_text("new")
    for name in ("genes.bed", "motifs.meme", "motifs.txt"):
        (earlier / name).write_text(name)
    # without a provenance nothing there is known to be of a result
    assert earlier_files(earlier) == []
    sha256 = hashlib.sha256(b"motifs.meme").hexdigest()
    (earlier / "provenance.json").write_text(json.dumps({"motif_test": {"user_sha256": sha256}}))
    assert move_into(fresh, earlier) == ["features.tsv"]
    assert sorted(path.name for path in earlier.iterdir()) == [
        "features.tsv",
        "motifs.txt",  # the user's own
        "provenance.json",
    ]


def test_a_signal_is_named_by_a_feature_with_its_sign(result, tmp_path, capsys):
    out = str(tmp_path / "f3.bw")
    capsys.readouterr()
    assert cli.run(["signal", str(result), "--feature", "3-", "--out", out]) == 0
    assert "feature 3, strand -, 2 contigs" in capsys.readouterr().out
    for strand in ("+", "either"):
        asked = ["signal", str(result), "--feature", "3-", "--strand", strand, "--out", out]
        assert cli.run(asked) == 2


def test_help_is_fast_because_torch_is_not_loaded():
    code = (
        "import sys; from workers.cli import run; run(['--help']); run(['--version']); "
        "run(['annotate', '--help']); run(['train', '--help']); print('torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = found.stdout.splitlines()
    assert lines[-1] == "False"
    for name in cli.COMMANDS:
        assert any(line.startswith(f"  {name} ") for line in lines)
    assert any(line.startswith("saetrack ") for line in lines)


def test_questions_and_lists_do_not_load_torch():
    code = (
        "import sys; from workers.cli import run; run(['query', '--tf', 'REB1', '--limit', '1']); "
        "run(['genomes', 'list']); run(['atlas', 'list']); print('torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "no dictionary of this installation has an atlas" in found.stderr
    assert found.stdout.splitlines()[-1] == "False"


def test_own_motifs_stay_with_the_result(place, capsys):
    own = place / "own.meme"
    rows = "".join(
        f"{'0.97 0.01 0.01 0.01' if b == 'A' else '0.01 0.01 0.01 0.97'}\n" for b in "ATATTA"
    )
    own.write_text(
        "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF M1 MYTF\n"
        f"letter-probability matrix: alength= 4 w= 6 nsites= 20 E= 0\n{rows}"
    )
    out = place / "with-own"
    asked = ["annotate", str(place / "in.fa"), "--out", str(out), "--top", "0"]
    assert cli.run([*asked, "--motifs-file", str(own)]) == 0
    assert "motif test (motifs.meme): " in capsys.readouterr().out
    assert cli.run(["query", str(out), "--tf", "mytf"]) == 0
    assert "MYTF M1" in capsys.readouterr().out
    assert cli.run([*asked, "--force"]) == 0  # the file stays, and is not of this result
    capsys.readouterr()
    assert cli.run(["query", str(out), "--tf", "mytf"]) == 2
