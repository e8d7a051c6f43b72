"""`saetrack figure` over a result folder."""

import io
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from annotations.sequences import contigs, read_sequences
from tests.app.conftest import FASTA, write_models, write_results
from workers import cli

GENES = "##gff-version 3\nchrA\tt\tgene\t3\t18\t.\t-\t.\tID=g1;Name=ABC1\n"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    write_models(tmp_path / "models")
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(tmp_path / "models"))
    monkeypatch.setenv("SAETRACK_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "in.fa").write_bytes(FASTA)
    (tmp_path / "in.gff3").write_text(GENES)
    return tmp_path


@pytest.fixture
def result(place):
    folder = place / "out"
    write_results(folder, tested=True)
    found = contigs(read_sequences(io.BytesIO(FASTA)).records)
    rows = [contig._asdict() for contig in found]
    pq.write_table(pa.Table.from_pylist(rows), folder / "contigs.parquet")
    record = json.loads((folder / "provenance.json").read_text())
    record["dictionary"] = {"id": "toy-sae", "sha256": "2" * 64, "d_sae": 4}
    record["options"] = {"dictionary": "toy-sae", "taxon": "fungi"}
    (folder / "provenance.json").write_text(json.dumps(record))
    return folder


def run(text: str) -> int:
    return cli.run(text.split())


def test_a_figure_as_both_formats(place, result, capsys):
    ending = f"--genes {place / 'in.gff3'} --sequences {place / 'in.fa'} --motifs REB1"
    out = place / "x.svg"
    assert run(f"figure {result} --region chrA:1-20 --features 1-,2 {ending} --out {out}") == 0
    assert "chrA:1-20, features 1-, 2" in capsys.readouterr().out
    text = out.read_text()
    assert ">ABC1<" in text
    assert ">REB1 MA0363.3<" in text
    again = place / "again.svg"
    assert run(f"figure {result} --region chrA:1-20 --features 1-,2 {ending} --out {again}") == 0
    assert again.read_bytes() == out.read_bytes()
    dots = place / "x.png"
    assert run(f"figure {result} --region chrA --width 254px --dpi 96 --out {dots}") == 0
    with Image.open(dots) as image:
        assert image.size[0] == 254


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("--region chrX --out x.svg", "there is no sequence 'chrX'"),
        ("--region chrA --out x.pdf", "a figure is .svg or .png"),
        ("--region chrA --out x.svg --dpi 300", "an SVG has no dots"),
        ("--region chrA --out none/x.svg", "there is no folder"),
        ("--region chrA --out x.svg --width 1mm", "width must be"),
        ("--region chrA --out x.svg --motifs REB1", "leave motifs out"),
        ("--region chrA --out x.svg --sequences {other}", "other sequences"),
    ],
)
def test_what_is_refused(ending, said, place, result, capsys, monkeypatch):
    monkeypatch.chdir(place)
    (place / "other.fa").write_text(">chrA\nACGT\n>chrB\nACGT\n")
    assert run(f"figure {result} {ending.format(other=place / 'other.fa')}") == 2
    assert said in capsys.readouterr().err
    assert not (place / "x.svg").exists()


def test_the_folder_has_its_own_sequences(place, result, tmp_path):
    ending = f"--region chrA:1-100 --motifs REB1 --genes {place / 'in.gff3'} --out"
    given = f"--sequences {place / 'in.fa'}"
    assert run(f"figure {result} {ending} {tmp_path / 'given.svg'} {given}") == 0
    own = shutil.copytree(result, tmp_path / "own")
    shutil.copy(place / "in.fa", own / "sequence.fa")
    assert run(f"figure {own} {ending} {tmp_path / 'own.svg'}") == 0
    assert (tmp_path / "own.svg").read_text() == (tmp_path / "given.svg").read_text()
