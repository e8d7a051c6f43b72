"""What all parts of a figure share: its colours, and where a base is drawn."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Theme = Literal["light", "dark"]


class Palette(NamedTuple):
    """Colours of a theme."""

    ground: str
    ink: str
    soft: str
    rule: str
    gene: str
    noncoding: str


PALETTES: Final[Mapping[Theme, Palette]] = {
    "light": Palette("#ffffff", "#111111", "#555555", "#c8c8c8", "#3d4654", "#a4acb8"),
    "dark": Palette("#14191f", "#f0f3f6", "#b0bac4", "#46505a", "#c3ccd6", "#77828e"),
}


class Frame(NamedTuple):
    """Where bases are drawn."""

    start: int
    end: int
    left: float
    right: float
    palette: Palette

    def x(self, base: float) -> float:
        """Left edge of a base."""
        inside = min(max(base, self.start), self.end)
        return self.left + (inside - self.start) / (self.end - self.start) * (
            self.right - self.left
        )
