"""The folder that `saetrack annotate` leaves: whole, self-contained, and the same each time."""

import base64
import html
import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pyBigWig
import pytest

from annotations.activation_parts import INDEX_FILE
from annotations.errors import OptionError, StorageError, UnknownNameError
from annotations.expectation_file import EXPECTATION_FILE, SUBSTITUTIONS_FILE
from app import folder_page, static_folder
from app.expectation import EXPECTATION_FILES
from app.folder_page import choose_embedded
from app.web import vendored
from tests.annotations.test_hub import stanzas
from tests.workers.factories import make_tiny_models
from tests.workers.test_pipeline import random_sequence
from workers import cli
from workers.annotate import Request, annotate_file
from workers.answers import open_result
from workers.compared import SUBSTITUTIONS_TSV

LENGTHS = {"chrA": 3000, "chr.B|2": 400}
GENES = (
    "chrA\t100\t900\tABC1\t0\t+\t200\t800\t0\t2\t300,300,\t0,500,\n"
    "chrA\t1500\t1900\tXYZ2\t0\t-\t1500\t1900\t0\t1\t400,\t0,\n"
)
TITLE = "<i>my & 'own'.fa"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    make_tiny_models(folder / "models")
    records = enumerate(LENGTHS.items())
    text = b"".join(b">%s\n%s\n" % (n.encode(), random_sequence(m, i)) for i, (n, m) in records)
    (folder / TITLE).write_bytes(text)
    (folder / "genes.bed").write_text(GENES)
    return folder


def annotate(place, out, **options):
    """Annotate the sequences of these tests."""
    asked = {"genes": place / "genes.bed", "top": 3, "signal": ("7", "9-"), **options}
    return annotate_file(
        Request(sequences=place / TITLE, out=out, models=(place / "models",), **asked)
    )


@pytest.fixture(scope="module")
def folder(place):
    return annotate(place, place / "out").out


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.found, self.ids, self.inline = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.found += [given[name] for name in ("href", "src") if name in given]
        self.ids |= {given["id"]} if "id" in given else set()
        self.inline += [f"{tag} {name}" for name in given if name == "style" or name[:2] == "on"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


@pytest.mark.parametrize("page", ["index.html", "about.html"])
def test_every_link_of_a_page_is_relative_and_leads_somewhere(folder, page):
    links = Links((folder / page).read_text(encoding="utf-8"))
    for link in links.found:
        parts = urlsplit(link)
        assert (parts.scheme, parts.netloc) == ("", ""), link
        assert not parts.path.startswith("/")
        assert (folder / unquote(parts.path)).exists(), link
        assert "=" in parts.fragment or parts.fragment in {"", *links.ids}, link
    assert "provenance.json" in links.found


def test_the_page_tells_each_row_and_runs_nothing_that_stands_in_it(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    links = Links(text)
    assert links.inline == []
    assert "script-src 'self' file:;" in html.unescape(text)
    assert "unsafe" not in text
    assert TITLE not in text
    assert "&lt;i&gt;my &amp; &#39;own&#39;.fa" in text
    words = [path.name for path in (folder / "features").iterdir()]
    assert len(words) == 5
    assert {"7", "9_minus"} < set(words)
    for word in words:
        for name in ("signal.bw", "peaks.bb"):
            assert f"features/{word}/{name}" in links.found
    # as many links into the browser as rows that are active
    assert len([link for link in links.found if link.startswith("#locus=")]) == 5


def test_all_files_are_there_and_listed(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    listed = {name for files in folder_page._FILES.values() for name, _ in files}
    listed -= {"allele_effects.tsv", "allele_effects.parquet"}  # of runs that compare alleles
    listed -= {INDEX_FILE}  # of large runs
    # of runs with the option expectation
    listed -= {EXPECTATION_FILE, SUBSTITUTIONS_FILE, SUBSTITUTIONS_TSV, *EXPECTATION_FILES}
    assert listed < names
    own = {name for name in names if "/" not in name} - listed
    assert own == {"index.html"}
    assert {name for name in names if name.startswith("page/")} == {
        "page/data.js",
        "page/folder.js",
        "page/icon.svg",
        "page/igv.LICENSE.txt",
        "page/igv.min.js",
        "page/saetrack.css",
    }


def test_the_hub_names_files_of_the_kind_that_they_are(folder):
    hub, genome, *tracks = stanzas((folder / "hub.txt").read_text(encoding="utf-8"))
    assert hub["useOneFile"] == "on"
    assert genome["twoBitPath"] == "sequence.2bit"
    for key in ("twoBitPath", "chromSizes", "htmlPath"):
        assert (folder / genome[key]).is_file()
    parents = {track["track"] for track in tracks if "compositeTrack" in track}
    files = [track for track in tracks if "bigDataUrl" in track]
    assert len(files) == 2 * 5 + 2
    for track in files:
        content = (folder / track["bigDataUrl"]).read_bytes()
        # what is not shown from the start stands alone
        assert "visibility" in track or track["parent"].split()[0] in parents
        kind = track["type"].split()
        magic = {"bigWig": 0x888FFC26, "bigBed": 0x8789F2EB}[kind[0]]
        assert struct.unpack_from("<I", content)[0] == magic
        if kind[0] == "bigBed":
            assert struct.unpack_from("<H", content, 34)[0] == int(kind[1])


def test_descriptions_name_files_of_the_folder(folder):
    config = json.loads((folder / "igv.json").read_text(encoding="utf-8"))
    assert config["loadDefaultGenomes"] is False
    named = [config["reference"]["fastaURL"], config["reference"]["indexURL"]]
    named += [track["url"] for track in config["tracks"]]
    session = ElementTree.parse(folder / "session.xml").getroot()  # noqa: S314 - our own text
    named += [session.attrib["genome"]]
    named += [resource.attrib["path"] for resource in session.iter("Resource")]
    jbrowse = (folder / "jbrowse.json").read_text(encoding="utf-8")
    named += re.findall(r'"uri": "([^"]+)"', jbrowse)
    assert len(named) > 30
    for name in named:
        assert (folder / name).is_file(), name


def test_sequences_keep_their_names(folder):
    index = [line.split("\t") for line in (folder / "sequence.fa.fai").read_text().splitlines()]
    assert {name: int(length) for name, length, *_ in index} == LENGTHS
    text = (folder / "sequence.fa").read_bytes()
    _, length, offset, width, line = index[1]
    start = int(offset) + 100 // int(width) * int(line) + 100 % int(width)
    assert text[start : start + 20] == random_sequence(int(length), 1)[100:120]


def test_genes_are_bed12_as_the_service_gives_them(folder):
    lines = [line.split("\t") for line in (folder / "genes.bed").read_text().splitlines()]
    assert [line[3] for line in lines] == ["ABC1", "XYZ2"]
    assert lines[0][6:] == ["200", "800", "0,0,120", "2", "300,300,", "0,500,"]


def test_a_rows_tracks_are_of_its_strand(folder):
    peaks = pq.read_table(folder / "peaks.parquet").to_pylist()
    for word, signs in (("9_minus", {-1}), ("7", {1, -1})):
        own = [p for p in peaks if f"{p['feature']}" == word.split("_")[0] and p["strand"] in signs]
        best = max(own, key=lambda peak: peak["value"])
        name = list(LENGTHS)[best["contig"]]
        with pyBigWig.open(str(folder / "features" / word / "signal.bw")) as track:
            most = track.stats(name, 0, LENGTHS[name], type="max", exact=True)[0]
            assert most == pytest.approx(best["value"], rel=1e-3)
            value = track.values(name, best["position"], best["position"] + 1)[0]
            assert value == pytest.approx(best["value"], rel=1e-3)
        with pyBigWig.open(str(folder / "features" / word / "peaks.bb")) as track:
            rows = sum(len(track.entries(n, 0, m) or []) for n, m in LENGTHS.items())
        assert rows == len(own)
        assert f"locus={name.replace('|', '%7C')}%3A" in (folder / "index.html").read_text()


def test_data_holds_what_the_page_draws(folder):
    text = (folder / "page" / "data.js").read_text(encoding="ascii")
    body = text.removeprefix("window.saetrackFiles = ").removesuffix(";\n")
    data = json.loads(body.replace(",\n}", "\n}"))
    assert len(data) == 3 + 2 * 5
    for name, content in data.items():
        assert base64.b64decode(content) == (folder / name).read_bytes()


def test_only_what_is_small_is_embedded(tmp_path, monkeypatch):
    for name, size in {"2bit": 40, "a": 30, "b": 30, "c": 10}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    asked = (tmp_path, ["2bit"], [["a"], ["b"], ["c"]])
    monkeypatch.setattr(folder_page, "EMBEDDED_BYTES", 100)
    assert choose_embedded(*asked) == ["2bit", "a", "b"]
    monkeypatch.setattr(folder_page, "EMBEDDED_BYTES", 99)
    assert choose_embedded(*asked) == ["2bit", "a"]
    monkeypatch.setattr(folder_page, "EMBEDDED_BYTES", 69)
    assert choose_embedded(*asked) == []


def test_of_many_peaks_the_highest_are_drawn(place, tmp_path, monkeypatch):
    monkeypatch.setattr(static_folder, "MAX_PEAKS", 500)
    out = annotate(place, tmp_path / "out").out
    peaks = pq.read_table(out / "peaks.parquet").to_pylist()
    rows = len({(peak["feature"], peak["strand"]) for peak in peaks})
    most = 500 // rows
    assert most < max(peak["rank"] for peak in peaks)
    with pyBigWig.open(str(out / "peaks.bb")) as track:
        found = sum(len(track.entries(n, 0, m) or []) for n, m in LENGTHS.items())
    assert found == sum(peak["rank"] <= most for peak in peaks) <= 500
    assert f"The highest {most} peaks of each feature row" in (out / "hub.txt").read_text()


def test_the_same_input_gives_the_same_tracks(place, folder, tmp_path):
    out = annotate(place, tmp_path / "again").out
    same = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    # what page/ holds besides data.js is copied from the installation
    same = [p for p in same if p.name != "provenance.json" and p.parent.name != "page"]
    same.append(Path("page/data.js"))
    for path in same:
        assert (out / path).read_bytes() == (folder / path).read_bytes(), path


def test_without_rows_and_genes_there_is_a_page_of_all_peaks(place, tmp_path, monkeypatch):
    out = annotate(place, tmp_path / "out").out
    (out / "features" / "notes.txt").write_text("mine")
    monkeypatch.setattr(folder_page, "EMBEDDED_BYTES", 10)
    annotate(place, out, genes=None, top=0, signal=(), force=True)
    # what only the earlier result had is gone, a user's file is not
    assert [path.name for path in (out / "features").iterdir()] == ["notes.txt"]
    assert not (out / "genes.bb").exists()
    assert not (out / "page" / "data.js").exists()
    text = (out / "index.html").read_text(encoding="utf-8")
    assert "No feature's signal is in this folder" in text
    (track,) = json.loads((out / "igv.json").read_text())["tracks"]
    assert track["url"] == "peaks.bb"
    assert all((out / link).exists() for link in Links(text).found if link[0] != "#")


def test_forward_alone_and_a_silent_feature(place, tmp_path):
    text = place / "short.fa"
    text.write_bytes(b">s\n" + random_sequence(40, 3) + b"\n")
    request = Request(
        sequences=text, out=tmp_path / "out", models=(place / "models",), strands="forward", top=2
    )
    summary = annotate_file(request)
    active = set(summary.features.column("feature").to_pylist())
    silent = next(feature for feature in range(64) if feature not in active)
    again = annotate_file(
        Request(
            **{**vars(request), "out": tmp_path / "again", "signal": (str(silent), f"{silent}+")}
        )
    )
    page = (again.out / "index.html").read_text(encoding="utf-8")
    assert page.count('<span class="chip">silent</span>') == 2
    assert "forward strand" in page


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"signal": ("64",)}, UnknownNameError, "numbered 0 to 63"),
        ({"signal": ("x-",)}, UnknownNameError, "numbered 0 to 63"),
        ({"signal": ("9-",), "strands": "forward"}, OptionError, "--strands forward"),
    ],
)
def test_rows_that_cannot_be_are_refused_before_the_work(place, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        annotate(place, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_in_words(place, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", refuse)
        with pytest.raises(StorageError, match=r"--out .*out: nothing can be written in .*denied"):
            annotate(place, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr("os.access", lambda *args: False)
    with pytest.raises(OptionError, match="cannot be written to"):
        annotate(place, tmp_path / "mine")


def test_a_full_disk_is_said_and_leaves_nothing_behind(place, tmp_path, monkeypatch, capsys):
    def full(*args, **options):
        raise OSError(28, "No space left on device", "peaks.bb")

    monkeypatch.setattr("app.static_folder.write_page", full)
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
    out = tmp_path / "out"
    assert cli.run(["annotate", str(place / TITLE), "--out", str(out)]) == 1
    assert list(tmp_path.iterdir()) == []
    assert f"--out {out}: the disk is full" in capsys.readouterr().err


def test_the_folder_answers_questions(folder, monkeypatch, place):
    monkeypatch.setenv("SAETRACK_MODELS_DIRS", str(place / "models"))
    assert open_result(folder).names == list(LENGTHS)


def test_igv_is_wrapped_whole(tmp_path, monkeypatch):
    script = vendored.classic_igv()
    module = (vendored.STATIC / "igv.esm.min.js").read_text(encoding="utf-8")
    assert module[:200_000] in script
    assert module[-3000 : module.rindex("export{")] in script
    assert not re.search(r"export\{\w+ as default\}|sourceMappingURL=igv", script)
    monkeypatch.setattr(vendored, "STATIC", tmp_path)
    with pytest.raises(StorageError, match="install saetrack again"):
        vendored.classic_igv()
    (tmp_path / "igv.esm.min.js").write_text("export default 3;")
    with pytest.raises(StorageError, match="does not end"):
        vendored.classic_igv()
