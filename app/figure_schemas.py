"""Shapes of requests for figures."""

import re
from typing import Final, Literal

from pydantic import Field, field_validator

from annotations.errors import OptionError
from app.drawing import PX_PER_MM
from app.figures import MAX_WIDTH, MIN_WIDTH, Style
from app.schemas import Strict

_WIDTH: Final = re.compile(r"(\d{1,4}(?:\.\d{1,2})?)(mm|px|)", re.ASCII)

DEFAULT_WIDTH: Final = "180mm"
"""A page of most journals; a column is 85 to 90 mm."""


class FigureQuery(Strict):
    """What a figure shows, and how it looks."""

    region: str = Field(
        max_length=300,
        description="A sequence, or name:start-end; 1-based, with both ends in it.",
        json_schema_extra={"example": "chrI:201000-203000"},
    )
    features: str | None = Field(
        None,
        max_length=1000,
        description="Feature rows separated by commas, at most 20, in the order of their panels; "
        "by default the four most telling. `374` is the larger of both strands.",
        json_schema_extra={"example": "374-,153+"},
    )
    motifs: str | None = Field(
        None,
        max_length=200,
        description="Transcription factors or matrices separated by commas, at most 6, whose "
        "places are drawn; the region may have 200,000 bases then.",
        json_schema_extra={"example": "REB1"},
    )
    expectation: bool = Field(
        False,
        description="Whether what the language model expects of each base stands above the "
        "features: letters as high as p times information up to 150 bases, bits up to 200,000. "
        "The run needs the option expectation.",
    )
    width: str = Field(
        DEFAULT_WIDTH,
        max_length=10,
        description="In mm or px of 1/96 inch, such as `85mm` or `680px`; 200 to 2,000 px. Texts "
        "are of 6 and 7 points in any width.",
        json_schema_extra={"example": "85mm"},
    )
    row_height: float = Field(44, ge=24, le=200, description="Of each feature row in px.")
    theme: Literal["light", "dark"] = Field("light", description="Ground of the figure.")
    scale: Literal["own", "shared"] = Field(
        "own", description="Whether each row reaches to its own largest value, or all to one."
    )

    @field_validator("width")
    @classmethod
    def _is_a_width(cls, text: str) -> str:
        try:
            px_of(text)
        except OptionError as error:
            raise ValueError(str(error)) from None
        return text

    def style(self) -> Style:
        """How the figure looks."""
        return Style(
            width=px_of(self.width),
            row_height=self.row_height,
            theme=self.theme,
            scale=self.scale,
        )


class FigurePngQuery(FigureQuery):
    """The same, and how fine the dots are."""

    dpi: int = Field(300, ge=72, le=600, description="Dots per inch; at most 12 million in all.")


def px_of(text: str) -> float:
    """A width as people write it, in px.

    Parameters
    ----------
    text : str
        Such as ``85mm``, ``680px`` or ``680``.

    Raises
    ------
    OptionError
        If it is none, or out of range.

    Examples
    --------
    >>> px_of("680"), px_of("127mm")
    (680.0, 480.0)
    """
    found = _WIDTH.fullmatch(text.strip())
    value = float(found[1]) * (PX_PER_MM if found[2] == "mm" else 1) if found else 0.0
    if not MIN_WIDTH <= value <= MAX_WIDTH:
        raise OptionError(
            f"width must be {MIN_WIDTH:.0f} to {MAX_WIDTH:.0f} px, such as 680px or 180mm (53 to "
            f"529 mm), got {text[:20]!r}"
        )
    return round(value, 2)
