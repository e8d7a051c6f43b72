"""An atlas by the command line: a registered genome in, an atlas out, handed on as one file."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from annotations.atlas import load_atlas
from annotations.cards import find_cards
from annotations.feature_examples import FLANK
from tests.workers.factories import DICTIONARY_ID, MODEL_ID, make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers import cli

LENGTHS = {"chrA": 14_000, "chrB": 9_500, "chrM": 500}
GFF = """##gff-version 3
chrA\t.\tgene\t1001\t9000\t.\t+\t.\tID=g1;Name=ONE
chrA\t.\tmRNA\t1001\t9000\t.\t+\t.\tID=t1;Parent=g1
chrA\t.\texon\t1001\t4000\t.\t+\t.\tParent=t1
chrA\t.\texon\t5001\t9000\t.\t+\t.\tParent=t1
chrA\t.\tCDS\t1101\t4000\t.\t+\t0\tParent=t1
chrB\t.\tgene\t2001\t9000\t.\t-\t.\tID=g2;Name=TWO
chrB\t.\tmRNA\t2001\t9000\t.\t-\t.\tID=t2;Parent=g2
chrB\t.\texon\t2001\t9000\t.\t-\t.\tParent=t2
"""
BUILD = f"atlas build toy --dictionary {DICTIONARY_ID} --taxon fungi --held-out chrB --exclude chrM"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    make_tiny_models(folder / "models")
    text = "".join(
        f">{name}\n{random_sequence(length, seed).decode()}\n"
        for seed, (name, length) in enumerate(LENGTHS.items())
    )
    (folder / "in.fa").write_text(text)
    (folder / "in.gff3").write_text(GFF)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAETRACK_MODELS_DIRS", str(folder / "models"))
        patch.setenv("SAETRACK_DATA_DIR", str(folder / "data"))
        add = f"genomes add toy {folder / 'in.fa'} --genes {folder / 'in.gff3'}"
        assert cli.run(add.split()) == 0
        log = folder / "reads.tsv"
        assert cli.run(f"{BUILD} --work {folder / 'work'} --log {log}".split()) == 0
    return folder


@pytest.fixture(autouse=True)
def settings(monkeypatch, place):
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
    monkeypatch.setenv("SAETRACK_DATA_DIR", str(place / "data"))
    monkeypatch.delenv("SAETRACK_DEBUG", raising=False)


@pytest.fixture
def built(place):
    cards = find_cards([place / "models"])
    card = cards.dictionary(DICTIONARY_ID)
    return load_atlas(cards.atlas(card), card.sha256)


def said(capsys):
    """The only line on standard error."""
    (line,) = filter(None, capsys.readouterr().err.splitlines())
    return line


def test_the_atlas_says_what_it_was_made_of(built, place):
    about = built.about
    assert [contig["name"] for contig in about.discovery] == ["chrA"]
    assert [contig["name"] for contig in about.held_out] == ["chrB"]
    assert about.genome == "toy without chrM"
    assert about.motif_test["pseudocount"] == 1.0
    assert about.motif_test["held_out"]["tested"] is False
    assert about.kept["matches"] == 10
    (line,) = (place / "reads.tsv").read_text().splitlines()
    assert line.split("\t")[1:] == [DICTIONARY_ID, about.dictionary_sha256, "chrB"]


def test_nothing_of_the_held_out_contig_is_shown(built):
    assert set(built.examples["contig"].to_pylist()) == {"chrA"}
    # held-out figures of concepts are there, and theirs alone
    assert built.concepts["held_out_auroc"].null_count < built.concepts.num_rows


def test_examples_lie_where_they_say(built, place):
    sequence = random_sequence(LENGTHS["chrA"], 0)
    swap = bytes.maketrans(b"ACGT", b"TGCA")
    rows = built.examples.to_pylist()
    assert {row["range"] for row in rows} == {1, 2, 3, 4}
    assert {row["gene"] for row in rows} == {"ONE", None}
    for row in rows[:200]:
        assert (row["gene"] == "ONE") == (1000 <= row["position"] < 9000)
        at = row["position"]
        if FLANK <= at < len(sequence) - FLANK:
            around = sequence[at - FLANK : at + FLANK + 1]
            read = around if row["strand"] > 0 else around.translate(swap)[::-1]
            assert row["sequence"].encode() == read


def test_rows_that_fire_together_are_neighbours_and_groups(built):
    rows = built.neighbours.to_pylist()
    assert rows
    assert all(0.3 <= row["correlation"] <= 1 for row in rows)
    groups = built.labels.filter(built.labels["group"].is_valid()).to_pylist()
    sizes = {}
    for row in groups:
        sizes[row["group"]] = sizes.get(row["group"], 0) + 1
    assert all(size >= 2 for size in sizes.values())
    assert len(sizes) == built.about.counts["groups"]


def test_gc_stands_beside_the_concepts(built):
    assert set(built.baselines["baseline"].to_pylist()) == {"GC"}
    assert "exon" in built.baselines["name"].to_pylist()


def test_an_atlas_that_is_there_is_kept(place, capsys):
    assert cli.run(f"{BUILD} --work {place / 'work'}".split()) == 2
    assert "--force" in said(capsys)


def test_a_finished_run_is_not_made_again(place, monkeypatch, tmp_path):
    def made_again(*args, **kwargs):
        raise AssertionError("the run was made again")

    monkeypatch.setattr("workers.atlas.annotate_file", made_again)
    out = tmp_path / "again"
    assert cli.run(f"{BUILD} --work {place / 'work'} --out {out}".split()) == 0
    first = place / "models" / MODEL_ID / DICTIONARY_ID / "atlas"
    for path in first.glob("*.parquet"):
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_stopped_run_goes_on_from_its_shards(place, tmp_path, monkeypatch):
    import workers.shard_folder as folder

    computed = []
    run_shard = folder.run_shard

    def counted(fasta, spans, *args, **kwargs):
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(spans)
        return run_shard(fasta, spans, *args, **kwargs)

    monkeypatch.setattr("workers.annotate.SHARD_BASES", 4_000)
    monkeypatch.setattr(folder, "run_shard", counted)
    command = f"{BUILD} --work {tmp_path / 'work'} --out {tmp_path / 'atlas'}".split()
    assert cli.run(command) == 130
    shards = tmp_path / "work" / "shards"
    assert {path.name for path in shards.glob("shard?")} == {"shard0", "shard1"}
    computed[:] = []
    monkeypatch.setattr(
        folder, "run_shard", lambda *a, **k: computed.append(1) or run_shard(*a, **k)
    )
    assert cli.run(command) == 0
    assert len(computed) == len(list(shards.glob("shard?"))) - 2 > 1
    assert not list(shards.glob("*.part"))
    first = place / "models" / MODEL_ID / DICTIONARY_ID / "atlas"
    assert (tmp_path / "atlas" / "examples.parquet").read_bytes() == (
        first / "examples.parquet"
    ).read_bytes()


def test_shards_of_another_run_are_refused(place, tmp_path, capsys):
    other = BUILD.replace("--held-out chrB", "").split()
    work = ["--work", str(place / "work"), "--out", str(tmp_path / "atlas")]
    assert cli.run([*other, *work]) == 2
    assert "other options" in said(capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("toy", "toi"), "did you mean toy"),
        (("--held-out chrB", "--held-out chrC"), "held_out names 'chrC'"),
        (("--exclude chrM", "--exclude chrN"), "'chrN'"),
        ((DICTIONARY_ID, "nothing"), "there is no dictionary"),
        (("--taxon fungi", ""), "--taxon"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, capsys, change, message):
    command = f"{BUILD} --work {tmp_path / 'w'} --out {tmp_path / 'o'}".replace(*change)
    assert cli.run(command.split()) == 2
    assert message in said(capsys)


def test_a_finished_run_elsewhere_can_be_used(place, tmp_path):
    result = place / "work" / "result"
    build = f"atlas build toy --dictionary {DICTIONARY_ID} --exclude chrM --baseline {result}"
    command = f"{build} --result {result} --out {tmp_path / 'atlas'} --causal 2 --max-bytes 200000"
    assert cli.run([*command.split(), "--log", str(tmp_path / "reads.tsv")]) == 0
    assert (tmp_path / "reads.tsv").read_text().split("\t")[3:] == ["chrB\n"]
    names = pq.read_table(tmp_path / "atlas" / "baselines.parquet")["baseline"].to_pylist()
    assert set(names) >= {"GC", DICTIONARY_ID}
    files = (tmp_path / "atlas").glob("*.parquet")
    assert sum(path.stat().st_size for path in files) <= 200_000


def test_a_run_over_other_sequences_is_refused_before_anything_is_computed(
    place, tmp_path, capsys, monkeypatch
):
    def computed(*args, **kwargs):
        raise AssertionError("a causal test was made")

    monkeypatch.setattr("workers.atlas.causal_table", computed)
    command = f"atlas build toy --dictionary {DICTIONARY_ID} --result {place / 'work' / 'result'}"
    assert cli.run(f"{command} --causal 3 --out {tmp_path / 'atlas'}".split()) != 0
    assert "of other sequences than the genome" in said(capsys)


def test_an_atlas_travels_as_one_file(place, tmp_path, capsys, monkeypatch):
    file = tmp_path / "toy.atlas.tar"
    assert cli.run(["atlas", "export", DICTIONARY_ID, str(file)]) == 0
    assert cli.run(["atlas", "import", str(file)]) == 2
    assert "--force" in said(capsys)
    assert cli.run(["atlas", "import", str(file), "--force"]) == 0
    # a laboratory without the weights
    monkeypatch.setenv("SAETRACK_DATA_DIR", str(tmp_path / "far"))
    monkeypatch.delenv("SAETRACK_MODELS_DIRS")
    assert cli.run(["atlas", "import", str(file)]) == 0
    assert "asked, not run" in capsys.readouterr().out
    assert cli.run(["atlas", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["atlases"]
    found = {row["dictionary"]: row for row in listed}
    assert found[DICTIONARY_ID]["weights"] is False
    assert found[DICTIONARY_ID]["held_out"] == ["chrB"]
    again = tmp_path / "again.tar"
    assert cli.run(["atlas", "export", DICTIONARY_ID, str(again)]) == 0
    assert again.read_bytes() == file.read_bytes()


def test_genomes_are_listed(capsys):
    assert cli.run(["genomes", "list", "--json"]) == 0
    (genome,) = json.loads(capsys.readouterr().out)["genomes"]
    assert (genome["name"], genome["genes"], genome["bases"]) == ("toy", True, 24_000)
    assert cli.run(["genomes", "list"]) == 0
    assert "toy" in capsys.readouterr().out


def test_genomes_of_another_data_folder_are_its_own(place, tmp_path, capsys):
    (tmp_path / "g.fa").write_text(">one\nACGT\n")
    there = ["--data-dir", str(tmp_path / "there")]
    assert cli.run(["genomes", "list", *there]) == 0
    assert f"registered in the data folder {tmp_path / 'there'}" in capsys.readouterr().out
    assert cli.run(["genomes", "add", "own", str(tmp_path / "g.fa"), *there]) == 0
    assert f"data folder: {tmp_path / 'there'}" in capsys.readouterr().out
    assert cli.run(["genomes", "list", *there]) == 0
    printed = capsys.readouterr().out
    assert f"data folder: {tmp_path / 'there'}" in printed
    assert "own" in printed
    assert "toy" not in printed


def test_a_registered_genome_is_annotated_by_its_name(place, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.run(["annotate", "toy", "--taxon", "none", "--top", "0", "--out", str(out)]) == 0
    said = "reading all of toy: 3 contigs, 0.0 Mb; --gene, --region or --regions read parts\n"
    assert capsys.readouterr().err == said
    record = json.loads((out / "provenance.json").read_text())
    assert record["made_by"]["sequences"]["genome"] == "toy"
    assert len(record["contigs"]) == 3
    assert (out / "genes.bed").is_file()


def test_an_altered_atlas_is_refused_before_anything_is_computed(
    place, tmp_path, capsys, monkeypatch
):
    def opened(*args, **kwargs):
        raise AssertionError("the model was opened")

    models = tmp_path / "models"
    shutil.copytree(place / "models", models)
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(models))
    monkeypatch.setattr("workers.annotate.open_dictionary", opened)
    with next(models.glob("**/atlas/labels.parquet")).open("ab") as file:
        file.write(b"more")
    # a user's own motifs need no taxonomic group of the atlas
    (tmp_path / "own.jaspar").write_text(
        ">M1 ONE\nA [9 0 0 9]\nC [0 9 0 0]\nG [0 0 9 0]\nT [0 0 0 0]\n"
    )
    for motifs in ([], ["--motifs-file", str(tmp_path / "own.jaspar")]):
        command = ["annotate", "toy", *motifs, "--top", "0", "--out", str(tmp_path / "out")]
        assert cli.run(command) != 0
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"labels.parquet of the atlas in {DICTIONARY_ID}/atlas was cut or altered" in said
