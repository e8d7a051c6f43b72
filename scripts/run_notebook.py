"""Run docs/client.ipynb against a server of this machine and keep what its cells show.

    .venv/bin/python scripts/run_notebook.py [--server http://127.0.0.1:8765]

Without --server the embedded server is started, with the bundled model, and stopped afterwards:
about two minutes on 2 cores. No Jupyter is needed: each cell is executed in order, what it prints
and the value of its last line become its outputs.
"""

import argparse
import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "client.ipynb"

WRITTEN = "http://127.0.0.1:8765"
"""Address that stands in the notebook."""


def outputs_of(source: str, scope: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Execute a cell; what it shows, as nbformat 4 has it.

    Parameters
    ----------
    source : str
        Python.
    scope : dict
        Names that cells share; changed.
    number : int
        Of the cell, from 1.
    """
    body = ast.parse(source)
    last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(body, f"<cell {number}>", "exec"), scope)  # noqa: S102 - our own notebook
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), scope)  # noqa: S307
    shown: list[dict[str, Any]] = []
    if printed.getvalue():
        shown.append({"output_type": "stream", "name": "stdout", "text": lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": lines(repr(value))}
        for method, kind in (("_repr_html_", "text/html"), ("_repr_svg_", "image/svg+xml")):
            if hasattr(value, method):
                data[kind] = lines(getattr(value, method)())
        shown.append(
            {
                "output_type": "execute_result",
                "execution_count": number,
                "metadata": {},
                "data": data,
            }
        )
    return shown


def run_cells(notebook: dict[str, Any], server: str) -> None:
    """Execute the code cells of a notebook in order, in a folder of their own.

    Parameters
    ----------
    notebook : dict
        nbformat 4; its outputs are replaced.
    server : str
        Address that is asked in the place of the written one.
    """
    with tempfile.TemporaryDirectory() as home, working_in(Path(home) / "docs"):
        (Path(home) / "annotations").symlink_to(ROOT / "annotations")
        scope: dict[str, Any] = {"__name__": "__main__"}
        number = 0
        for cell in notebook["cells"]:
            if cell["cell_type"] != "code":
                continue
            number += 1
            source = "".join(cell["source"]).replace(WRITTEN, server)
            shown = outputs_of(source, scope, number)
            told = json.dumps(shown).replace(server, WRITTEN).replace(home, "/tmp")  # noqa: S108
            cell["outputs"], cell["execution_count"] = json.loads(told), number


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a new folder, where modules are looked for too."""
    folder.mkdir()
    before = Path.cwd()
    known = set(sys.modules)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            if getattr(sys.modules[name], "__file__", None) == str(folder / f"{name}.py"):
                del sys.modules[name]


def lines(text: str) -> list[str]:
    """A text as notebooks keep it."""
    return text.splitlines(keepends=True)


def main() -> None:
    """Run the notebook and write it back."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", help="a server that runs; by default one is started")
    server = parser.parse_args().server
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    if server is not None:
        run_cells(notebook, server)
    else:
        from workers.embedded_server import embedded_server

        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder)
            with embedded_server(data / "data", data / "server.log") as client:
                run_cells(notebook, client.url)
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    NOTEBOOK.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
