"""Small parts of Markdown that the sections of the page share."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

NOT_MEASURED: Final = "not measured"


def lines_of(text: str | None) -> list[str]:
    """A paragraph; that nothing was measured for None."""
    return ["Not measured yet." if text is None else text]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table.

    Examples
    --------
    >>> table(["a", "b"], [["1", "x|y"]])
    ['| a | b |', '|---|---|', '| 1 | x\\\\|y |']
    """
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    ]


def number(value: float | None, digits: int = 3) -> str:
    """A number with some decimals; a dash for None.

    Examples
    --------
    >>> number(0.12345), number(None), number(-0.00001)
    ('0.123', '-', '0.000')
    """
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def small(value: float | None) -> str:
    """A number that may be tiny, to two significant digits."""
    return "-" if value is None else f"{value:.2g}"


def with_interval(figure: Mapping[str, Any] | None, *, bold: bool = False) -> str:
    """A value with its interval.

    Examples
    --------
    >>> with_interval({"value": 0.5, "low": 0.4, "high": 0.61})
    '.50 [.40, .61]'
    """
    if figure is None or figure["value"] is None:
        return "-"
    value = short(figure["value"])
    shown = f"**{value}**" if bold else value
    if figure["low"] is None:
        return shown
    return f"{shown} [{short(figure['low'])}, {short(figure['high'])}]"


def short(value: float | None, sign: bool = False) -> str:
    """Two decimals without the zero before them.

    Examples
    --------
    >>> short(0.054), short(-0.2, sign=True), short(1.0), short(None)
    ('.05', '-.20', '1.00', '-')
    """
    if value is None:
        return "-"
    text = f"{value:+.2f}" if sign else f"{value:.2f}"
    if float(text) == 0:
        text = text.replace("-", "+" if sign else "")
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def percent(share: float | None) -> str:
    """A share in percent.

    Examples
    --------
    >>> percent(0.954), percent(None)
    ('95.4 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def picture(name: str, alt: str) -> list[str]:
    """A figure of the page."""
    return ["", f"![{alt}](evidence/{name}.svg)"]
