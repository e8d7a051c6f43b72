"""Write the golden figure of tests/app/test_figures.py; refuses where there is one.

    rm tests/data/figures/toy.svg && python scripts/make_figure_golden.py

Look at it before it is committed: the test then holds every figure to it.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "data" / "figures" / "toy.svg"


def main() -> int:
    """Write the file."""
    sys.path.insert(0, str(ROOT))
    from app.figures import figure_svg
    from tests.app.figure_cases import toy_region

    if OUT.exists():
        print(f"{OUT} is there; look at what changes, delete it and come again", file=sys.stderr)
        return 1
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(figure_svg(toy_region()), encoding="utf-8")
    print(f"{OUT} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
