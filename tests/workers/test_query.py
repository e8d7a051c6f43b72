"""`saetrack query`: atlases and results, lists for people and for programs."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotations.sequences import contigs, read_sequences
from tests.app.atlas_cases import install_atlas
from tests.app.conftest import FASTA, write_models, write_results
from workers import cli
from workers.commands.answering import EVIDENCE_LETTERS, _print_match_rows, letters


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An installation with one dictionary and its atlas."""
    write_models(tmp_path / "models")
    install_atlas(tmp_path / "models")
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(tmp_path / "models"))
    monkeypatch.setenv("SAETRACK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("SAETRACK_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def result(place):
    """A result folder over two contigs."""
    folder = place / "out"
    write_results(folder, tested=True)
    found = contigs(read_sequences(io.BytesIO(FASTA)).records)
    rows = [contig._asdict() for contig in found]
    pq.write_table(pa.Table.from_pylist(rows), folder / "contigs.parquet")
    record = json.loads((folder / "provenance.json").read_text())
    record["dictionary"] = {"id": "toy-sae", "sha256": "2" * 64, "d_sae": 4}
    record["options"] = {"dictionary": "toy-sae", "taxon": "fungi"}
    (folder / "provenance.json").write_text(json.dumps(record))
    (place / "in.fa").write_bytes(FASTA)
    return folder


def ask(capsys, *arguments, code=0):
    """What the command prints."""
    assert cli.run(["query", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    if code:
        return captured.err
    assert captured.err == ""
    return captured.out


def test_a_list_says_how_to_get_tracks_that_the_folder_lacks(result, capsys):
    hint = f"tracks: saetrack signal {result} --feature "
    printed = ask(capsys, result, "--tf", "REB1")
    rows = json.loads(ask(capsys, result, "--tf", "REB1", "--format", "json"))["features"]
    first = f"{rows[0]['feature']}{rows[0]['strand']}"
    assert printed.splitlines()[-1] == hint + first
    for row in rows:
        own = (
            result / "features" / f"{row['feature']}_{'plus' if row['strand'] == '+' else 'minus'}"
        )
        own.mkdir(parents=True)
        (own / "signal.bw").touch()
    assert hint not in ask(capsys, result, "--tf", "REB1")
    assert hint not in ask(capsys, "--tf", "REB1")


def test_the_atlas_answers_at_once(capsys):
    printed = ask(capsys, "--tf", "Reb1p")
    lines = printed.splitlines()
    assert lines[0] == "Reb1p (alias in JASPAR2026 fungi): REB1 MA0363.3"
    assert "known from the atlas of the dictionary (a yeast, two contigs)" in printed
    cells = next(line for line in lines if line.startswith("1+")).split()
    assert cells == ["1+", "REB1", "MA0363.3", "REB1", "3.00", "1.0e-09", "-2", "2.00", "1.0e-03",
                     "-", "enriched,centred"]  # fmt: skip
    assert "* measured on held-out contigs" in printed
    assert next(line for line in lines if line.startswith("toy-neurons")).split()[1:3] == [
        "MA0363.3",
        "0.600",
    ]
    assert max(map(len, lines)) <= 100


def test_json_is_what_the_service_says(capsys):
    answer = json.loads(ask(capsys, "--tf", "REB1", "--format", "json", "--dictionary", "toy"))
    assert [row["feature"] for row in answer["features"]] == [1, 2]
    assert (answer["dictionary"], answer["source"]) == ("toy-sae", "atlas")


@pytest.mark.parametrize(
    ("options", "features"),
    [
        (["--max-q", "1e-6"], ["1"]),
        (["--evidence", "centred"], ["1"]),
        (["--min-log2-enrichment", "3.5"], []),
        (["--sort", "feature", "--limit", "1"], ["1"]),
        (["--limit", "1", "--page-token", "1"], ["2"]),
        (["--group-by", "group"], ["1"]),
        (["--strand", "-"], []),
    ],
)
def test_rows_are_chosen(options, features, capsys):
    lines = ask(capsys, "--tf", "REB1", "--format", "tsv", *options).splitlines()
    place = lines[0].split("\t").index("feature")
    assert [line.split("\t")[place] for line in lines[1:]] == features


def test_a_page_after_the_last_is_not_called_no_match(capsys):
    printed = ask(capsys, "--tf", "REB1", "--page-token", "9")
    assert "no more: there are 2" in printed
    assert "none at q" not in printed


def test_a_result_answers_with_its_own_test(result, capsys):
    printed = ask(capsys, result, "--tf", "REB1")
    assert "tested on the sequences of this run" in printed
    assert "known from the atlas of the dictionary" in printed
    answer = json.loads(ask(capsys, result, "--tf", "REB1", "--format", "json"))
    assert [(row["feature"], row["run_max"]) for row in answer["features"]] == [(1, 4.0)]
    nothing = ask(capsys, result, "--tf", "REB1", "--max-q", "1e-9")
    assert "none at q <= 1e-09; the nearest:" in nothing


def test_what_a_feature_is_known_for(capsys):
    printed = ask(capsys, "--feature", "1")
    assert "1+: REB1-like motif" in printed
    assert "1-: no label" in printed
    assert "fires together with 2 feature rows: 1+ 2+" in printed
    assert "strongest        4  chrI:10            ACGTN" in printed
    assert "neighbours (correlation over windows): 2+ (0.80)" in printed
    assert "1-:" not in ask(capsys, "--feature", "1+")
    view = json.loads(ask(capsys, "--feature", "1-", "--format", "json"))
    assert [row["strand"] for row in view["rows"]] == ["-"]
    table = ask(capsys, "--feature", "2", "--format", "tsv").splitlines()
    assert len(table) == 3


def test_which_features_predict_a_concept(result, capsys):
    assert ask(capsys, "--concept", "intron").count("\n2") == 2
    nothing = ask(capsys, "--concept", "intron", "--max-q", "1e-9")
    assert "none at q <= 1e-09; the nearest, which is no answer:" in nothing
    all_rows = ["--concept", "intron", "--orientation", "same", "--max-q", "1"]
    lines = ask(capsys, *all_rows).splitlines()
    assert lines[0].startswith("intron, same strand; toy-sae: known from the atlas")
    assert "whatever their q" in lines[0]
    assert [line.split()[0] for line in lines[3:6]] == ["2-", "2+", "1+"]
    assert "measured on the sequences and annotation of this run" in ask(
        capsys, result, "--concept", "intron"
    )


def test_which_features_mark_intervals(place, result, capsys):
    (place / "peaks.bed").write_text("chrA\t4\t6\n")
    (place / "rest.bed").write_text("chrA\t10\t12\nchrA\t14\t16\n")
    bed = ["--bed", place / "peaks.bed"]
    printed = ask(capsys, result, *bed, "--background", place / "rest.bed")
    assert printed.startswith("1 interval against 2; 3 feature rows of toy-sae")
    assert "too few for a test" in printed
    answer = json.loads(
        ask(capsys, result, *bed, "--background", place / "rest.bed", "--format", "json")
    )
    assert [(r["feature"], r["strand"], r["auroc"]) for r in answer["features"]] == [
        (1, "+", 1.0),
        (1, "-", 1.0),
        (2, "+", 0.5),
    ]
    assert "1 interval against" in ask(capsys, result, *bed, "--fasta", place / "in.fa")
    said = ask(capsys, result, *bed, code=2)
    assert "--bed needs --background, or --fasta" in said
    (place / "in.fa").write_bytes(FASTA.replace(b"ACGT", b"ACGA"))
    said = ask(capsys, result, *bed, "--fasta", place / "in.fa", code=2)
    assert "other sequences" in said
    assert "needs DIR" in ask(capsys, *bed, code=2)


def test_a_table_is_written_to_a_file(place, capsys):
    out = place / "x.parquet"
    assert cli.run(["query", "--tf", "REB1", "--format", "parquet", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"{out}: 2 rows\n")
    assert pq.read_table(out)["feature"].to_pylist() == [1, 2]
    assert cli.run(["query", "--tf", "REB1", "--format", "json", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["total"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of --tf, --feature, --concept, --bed; got 0"),
        (["--tf", "REB1", "--concept", "exon"], "got 2 of them"),
        (["--tf", "REB1", "--format", "parquet"], "name a file with --out"),
        (["--tf", "REB1", "--out", "x.tsv"], "--out needs --format"),
        (["--tf", "REB1", "--format", "tsv", "--out", "/no/where/x.tsv"], "there is no folder"),
        (["--tf", " "], "name a factor"),
        (["--tf", "Spi1"], "`saetrack annotate --taxon vertebrates` makes a result"),
        (["--feature", "1-", "--strand", "+"], "named on strand -"),
        (["--tf", "REBB1"], "REB1"),
        (["--tf", "REB1", "--orientation", "same"], "--orientation does not go with this"),
        (["--tf", "REB1", "--taxon", "plants"], "JASPAR2026 fungi"),
        (["--tf", "REB1", "--sort", "size"], "sort must be one of q, effect"),
        (["--concept", "exon", "--evidence", "causal"], "--evidence does not go with this"),
        (["--concept", "exons"], "did you mean exon"),
        (["--feature", "4"], "numbered 0 to 3"),
        (["--feature", "1", "--sort", "q"], "--sort does not go with this"),
        (["--feature", "1", "--limit", "3"], "--limit does not go with this"),
        (["--feature", "1", "--dictionary", "toy-sea"], "did you mean toy-sae"),
        (["nowhere", "--tf", "REB1"], "there is no folder nowhere"),
        (["nowhere", "--tf", "REB1", "--dictionary", "toy-sae"], "not both"),
    ],
)
def test_wrong_questions_get_one_line(arguments, said, capsys):
    printed = ask(capsys, *arguments, code=2)
    assert printed.startswith("error: ")
    assert said in printed
    assert printed.count("\n") == 1


def test_every_kind_of_evidence_has_a_letter():
    assert letters(";".join(EVIDENCE_LETTERS)) == "ECSPK"


def test_letters_stand_where_words_do_not_fit(capsys):
    row = dict.fromkeys(("cluster", "offset", "auroc", "held_out_q", "members"))
    row |= {"feature": 1, "strand": "+", "motif_name": "X", "matrix_id": "M1"}
    row |= {"log2_enrichment": 1.0, "q": 0.01, "evidence": "enriched;centred"}
    del row["members"]
    _print_match_rows([row])
    printed = capsys.readouterr().out
    assert "enriched,centred" in printed
    assert "E enriched" not in printed
    _print_match_rows([row, row | {"feature": 10**60}])
    printed = capsys.readouterr().out
    assert printed.splitlines()[2].endswith("EC")
    assert "E enriched, C centred" in printed
