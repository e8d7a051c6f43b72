"""Take the pictures of docs/screenshots from a server that runs, with Debian's Chromium.

    saetrack serve --data-dir /tmp/shots &
    PYTHONPATH=. .venv/bin/python scripts/screenshots.py RUN --locus NAME:START-END ...

RUN is a complete run with genes. The other runs are one of variants, one of regions of a
registered genome, a sequence search, and one that is computed meanwhile (--progress);
their pages are left out where none is named. A page is
cut at 1,600 pixels, since its rest repeats, and reduced to 128 colours. README.md of the folder
is written anew: what each picture shows.
"""

import argparse
import tempfile
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tests.app.web.chromium import Chromium

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"

MOST_HEIGHT = 1600
"""Pixels of a page that are kept."""

COLORS = 128
"""Colours of a picture: text stays sharp, and a file small."""

MAX_BYTES = 150_000
"""Most bytes of a picture; a larger one is taken with fewer colours."""

SIZES = {"wide": (1280, 900), "narrow": (390, 844)}

README = "run-wide-light.png"
"""The picture that the README of the project shows, as docs/run.png."""


class Shot(NamedTuple):
    """A page, and how it is looked at."""

    name: str
    address: str
    says: str
    looks: tuple[str, ...] = ("wide-light",)


def pages(arguments: argparse.Namespace) -> list[Shot]:
    """The pages, with the addresses of the runs that were named."""
    run, dictionary = f"/runs/{arguments.run}", arguments.dictionary
    drawn = urllib.parse.urlencode({"features": arguments.features, "locus": arguments.locus})
    kept = {"dictionary": dictionary, "features": arguments.features, "run": arguments.run}
    listed = urllib.parse.urlencode({**kept, "name": "REB1 features"})
    first = arguments.features.split(",")[0]
    compared = urllib.parse.urlencode({"features": arguments.features, "region": arguments.locus})
    every = ("wide-light", "wide-dark", "narrow-light", "narrow-dark")
    shots = [
        Shot("submit", "/", "The first page: submit sequences", (*every[:1], every[3])),
        Shot("runs", "/runs", "All runs"),
        Shot("run", f"{run}?{drawn}&sort=effect", "A run: igv.js, features, files", every),
        Shot("tfs", "/tfs", "Transcription factors that features match"),
        Shot("tf", f"/tfs/{arguments.tf}", "Features that match a factor", (*every[:1], every[2])),
        Shot("tf-unclear", "/tfs/bHLH", "A name that may mean several things"),
        Shot("features", "/features", "Features of the dictionaries"),
        Shot("feature", f"/features/{dictionary}/{first[:-1]}", "A feature, in the atlas"),
        Shot(
            "feature-in-run",
            f"/features/{dictionary}/{first[:-1]}?run={arguments.run}",
            "A feature, in a run",
            (every[1], every[2]),
        ),
        Shot("compare", f"{run}/compare?{compared}", "Features over a region", every[:2]),
        Shot("list", f"/lists?{listed}", "A list of features, kept in its address"),
        Shot("search", "/search?example=1", "Sequence search"),
        Shot("links", f"{run}/links", "Links to the tracks that were given away"),
        Shot("methods", "/methods", "What every number means"),
        Shot("api", "/docs", "The interface, by example", (every[0], every[2])),
        Shot("api-group", "/docs/runs", "Reference of a group of routes"),
        Shot("not-found", "/runs/none", "An error"),
    ]
    if arguments.progress:
        shots.append(Shot("progress", f"/runs/{arguments.progress}", "A run that is computed now"))
    if arguments.alleles:
        says = "A run of variants: letters as high as the activation, either allele, difference"
        shots.append(Shot("variants", f"/runs/{arguments.alleles}", says))
    if arguments.region:
        shots.append(Shot("regions", f"/runs/{arguments.region}", "A run of genes of a genome"))
    if arguments.found:
        address = f"/search?run={arguments.found}"
        shots.append(Shot("found", address, "What fires where in a sequence", every[1:3]))
    return shots


def take(tab: Chromium, address: str, look: str) -> Image.Image:
    """A picture of a page."""
    width, height = SIZES[look.split("-")[0]]
    tab.look(width=width, height=height, dark=look.endswith("dark"), mobile=width < 600)
    tab.goto(address)
    tab.wait_for(
        "!document.getElementById('igv') || document.getElementById('igv').dataset.ready === 'yes'"
    )
    tab.evaluate(
        "Promise.all([...document.images].map(image => { image.loading = 'eager';"
        " return image.decode().catch(() => null); }))"
        ".then(() => new Promise(done => setTimeout(done, 1500)))"
    )
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        tab.screenshot(Path(file.name))
        picture = Image.open(file.name).convert("RGB")
        return picture.crop((0, 0, picture.width, min(picture.height, MOST_HEIGHT)))


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture with as few colours as its size allows."""
    for colors in (COLORS, COLORS // 2, COLORS // 4):
        reduced = picture.quantize(colors, dither=Image.Dither.NONE)
        reduced.save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            return


def main() -> int:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    for name in ("alleles", "region", "found", "progress"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--server", default="http://127.0.0.1:8765")
    parser.add_argument("--dictionary", default="yeast-tree-l2")
    parser.add_argument("--features", default="3289-,2647+")
    parser.add_argument("--locus", required=True, help="what the browser shows, NAME:START-END")
    parser.add_argument("--tf", default="REB1")
    parser.add_argument("--only", nargs="*", default=[], help="names of pages")
    arguments = parser.parse_args()
    shots = pages(arguments)
    lines = [
        "# The pages\n",
        "Taken by `scripts/screenshots.py` in Debian's Chromium from a server with the bundled",
        "model and a piece of yeast chromosome I; tall pages are cut.\n",
    ]
    with tempfile.TemporaryDirectory() as folder:
        tab = Chromium(Path(folder))
        try:
            for shot in shots:
                for look in shot.looks:
                    path = FOLDER / f"{shot.name}-{look}.png"
                    lines.append(f"- [{path.name}]({path.name}): {shot.says}")
                    if not arguments.only or shot.name in arguments.only:
                        save(take(tab, arguments.server + shot.address, look), path)
        finally:
            tab.close()
    lines += [
        f"- [{path.name}]({path.name}): {says}"
        for path, says in ((FOLDER / "folder.png", "The page of a folder that `annotate` wrote"),)
        if path.is_file()
    ]
    (FOLDER / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (FOLDER.parent / "run.png").write_bytes((FOLDER / README).read_bytes())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
