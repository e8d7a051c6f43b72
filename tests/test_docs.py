"""The documents are true: commands exist, dependencies have a reason, no gap is left."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from scripts import settings_page
from workers.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docker/README.md",
    "benchmarks/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
)


def make_targets() -> set[str]:
    """Targets that `make help` lists."""
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"^\s*make ([a-z-]+)", shown.stdout, flags=re.MULTILINE))


def requirement_names(requirements: list[str]) -> set[str]:
    """Names of packages, as pyproject.toml spells them, without versions."""
    return {re.split(r"[<>=!~ \[;]", requirement)[0] for requirement in requirements}


def locked(name: str) -> dict[str, str]:
    """Package (lower case, dashes) -> version of one lock file."""
    lines = (ROOT / "requirements" / f"{name}.lock").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and line[0] not in "#-"]
    return {package.lower().replace("_", "-"): version for package, version in pairs}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_command_is_a_target(document):
    text = (ROOT / document).read_text()
    # `make serve` in running text, or a line of an indented block
    named = set(re.findall(r"(?:`|^ {4}|&& )make ([a-z][a-z-]*)", text, flags=re.MULTILINE))
    assert named <= make_targets()
    if document in {"README.md", "CONTRIBUTING.md"}:
        assert "test" in named


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_saetrack_command_exists(document):
    text = (ROOT / document).read_text()
    named = set(re.findall(r"(?:bin/|`)saetrack ([a-z]+)", text))
    assert named <= set(COMMANDS)
    if document == "README.md":
        assert {"annotate", "query", "models"} <= named


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_files_that_are_linked_or_named_exist(document):
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    named = re.findall(
        r"`((?:annotations|app|workers|tests|scripts|docker|benchmarks)/[\w./]+)`", text
    )
    here = (ROOT / document).parent
    missing = [path for path in links if not (here / path).exists()]
    missing += [path for path in named if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md", "LICENSE"])
def test_nothing_is_left_to_fill_in(document):
    assert "TODO" not in (ROOT / document).read_text()


def test_every_dependency_has_one_line_with_a_reason_and_a_licence():
    rows = re.findall(
        r"^\| ([\w-]+) \| (.+) \| (.+) \|$", (ROOT / "README.md").read_text(), flags=re.MULTILINE
    )
    table = [row for row in rows if row[0] not in {"package", "---"}]
    asked = requirement_names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        asked |= requirement_names(extra)
    assert sorted(name for name, _, _ in table) == sorted(asked)
    assert all(len(reason.split()) >= 2 for _, reason, _ in table)


def test_every_dependency_is_locked_to_one_version():
    every = locked("torch") | locked("base") | locked("dev") | locked("sae-lens")
    asked = requirement_names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        asked |= requirement_names(extra)
    assert {name.lower() for name in asked} <= set(every)
    assert all(re.fullmatch(r"[\w.]+", version) for version in every.values())
    # code that reads weights must not see another numpy or safetensors in the other environment
    shared = locked("base").keys() & locked("sae-lens").keys()
    assert {name: locked("base")[name] for name in shared} == {
        name: locked("sae-lens")[name] for name in shared
    }


def test_the_changelog_opens_with_the_version():
    headings = re.findall(
        r"^## (\d+\.\d+\.\d+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE
    )
    version, date = headings[0]
    assert version == PROJECT["version"]
    assert date == "not released" or re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)


def test_the_licence_is_the_whole_of_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_page_of_settings_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text()
    assert settings_page.page() == written, "run `make settings`"
