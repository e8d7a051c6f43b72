"""Write docs/settings.md from app/config.py: every setting, its default and what it is for.

.venv/bin/python scripts/settings_page.py     # writes the page; a test holds it up to date
"""

import ast
import itertools
from dataclasses import fields
from pathlib import Path

from app.config import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"
HEAD = """# Settings

Written from `app/config.py` by `make settings`; do not edit by hand.

Each setting is an environment variable of the server and of its workers, which must be given the
same. A variable that begins with `SAETRACK_` and is none of these is refused, so that a misspelt
limit is no missing one. `SAETRACK_DEBUG=1` shows the trace of a command's error.

| variable | default | what it is |
|---|---|---|
"""


def page() -> str:
    """The page as text."""
    told = docstrings()
    rows = [
        f"| `{PREFIX}{item.name.upper()}` | {plain(item.default)} | {told[item.name]} |"
        for item in fields(Settings)
        if item.repr  # the others are for tests
    ]
    return HEAD + "\n".join(rows) + "\n"


def docstrings() -> dict[str, str]:
    """What stands behind each field of `Settings`."""
    tree = ast.parse((ROOT / "app" / "config.py").read_text(encoding="utf-8"))
    body = next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    return {
        field.target.id: " ".join(str(said.value.value).split()).replace("|", "\\|")
        for field, said in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
    }


def plain(value: object) -> str:
    """A default as one writes it in an environment variable; nothing where it is empty."""
    text = str(int(value)) if isinstance(value, bool) else str(value or "")
    if isinstance(value, int | float):
        text = str(int(value)) if float(value).is_integer() else str(value)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
