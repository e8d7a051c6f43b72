"""What a user may choose about a run.

The choices are pure data: the web process stores them, a worker obeys them, and
together with the content of the sequences and the hash of the dictionary they
say what is computed. Every field but the names of contigs, which are no option,
belongs in the digest of a computation.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from annotations.errors import OptionError, UnknownNameError
from annotations.jaspar import RELEASES, TAXA
from annotations.motif_scan import FLOOR_P, MOTIF_P

Strands = Literal["both", "forward"]
"""The strands that are read: both, or the one the sequence is given on."""

RESULT_SCHEMA = 2
"""Version of the result files; goes up when a column or a meaning changes."""

SHARD_FORMAT = 2
"""Version of the files that shards hand to the merge; shards of another are computed anew."""

MAX_PEAKS_PER_FEATURE = 1000
"""Most top peaks that a run keeps for each feature and strand."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The choices of one run; refuses a value that is not allowed when it is made."""

    dictionary: str
    """Id of the dictionary to run, or of a model that has exactly one."""

    strands: Strands = "both"
    """Whether the reverse-complement pass is made as well."""

    taxon: str | None = None
    """JASPAR taxonomic group whose motifs are looked for; None looks for none."""

    release: str = RELEASES[0]
    """JASPAR release the motifs come from."""

    motif_p: float = MOTIF_P
    """Motif threshold: the chance that a random site scores as high, per motif."""

    peaks_per_feature: int = 100
    """Top peaks kept for each feature and strand."""

    seed: int = 0
    """Seed of the random background windows of the motif test."""

    held_out: tuple[int, ...] = ()
    """Contigs, by their index, that discovery does not see: what is found on the others is
    tested once on these. Sorted, each once; made of names by `held_out_contigs`."""

    expectation: bool = False
    """Whether what the model expects of each base is kept as well, which takes a pass of the whole
    model."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises
        ------
        OptionError
            If a field has the wrong type or a value that is not allowed.
        """
        if not isinstance(self.dictionary, str) or not self.dictionary:
            raise OptionError(
                f"dictionary must be the id of a dictionary, got {self.dictionary!r}; "
                "`saetrack models` lists them"
            )
        _one_of("strands", self.strands, get_args(Strands))
        if self.taxon is not None:
            _one_of("taxon", self.taxon, TAXA)
        _one_of("release", self.release, RELEASES)
        _number("motif_p", self.motif_p, least=1e-8, most=FLOOR_P)
        _whole("peaks_per_feature", self.peaks_per_feature, least=1, most=MAX_PEAKS_PER_FEATURE)
        _whole("seed", self.seed, least=0, most=2**31 - 1)
        if not isinstance(self.expectation, bool):
            raise OptionError(f"expectation must be true or false, got {self.expectation!r}")
        if not isinstance(self.held_out, list | tuple):
            raise OptionError(f"held_out must be a list of contigs, got {self.held_out!r}")
        for contig in self.held_out:
            _whole("each of held_out", contig, least=0, most=2**32 - 1)
        # JSON has lists; a frozen object holds a tuple, and the digest must not know the order
        object.__setattr__(self, "held_out", tuple(sorted(set(self.held_out))))

    def to_json(self) -> dict[str, object]:
        """Every field by its name, as JSON values."""
        values = {**asdict(self), "held_out": list(self.held_out)}
        if not self.expectation:
            # digests of runs without it, and of those made before there was one, stay as they are
            del values["expectation"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "RunOptions":
        """Options from a JSON object.

        Parameters
        ----------
        values : mapping
            Fields by name; those left out have their default. `dictionary` is required.

        Returns
        -------
        options : RunOptions
            The checked options.

        Raises
        ------
        OptionError
            If a key is unknown, `dictionary` is missing, or a value is not allowed.
        """
        allowed = tuple(field.name for field in fields(cls))
        unknown = sorted(set(values) - set(allowed))
        if unknown:
            raise OptionError(
                f"there is no option {', '.join(map(repr, unknown))}{_near(unknown[0], allowed)}; "
                f"the options are {', '.join(allowed)}"
            )
        if "dictionary" not in values:
            raise OptionError("the option 'dictionary' is missing; `saetrack models` lists them")
        # the fields check their own types: what JSON gives is not yet what they say
        return cls(**values)  # type: ignore[arg-type]


def held_out_contigs(names: Sequence[str], contigs: Sequence[str]) -> tuple[int, ...]:
    """Indices of the contigs that a user holds out by name.

    Parameters
    ----------
    names : sequence of str
        As the user named them; the names of the sequences, letter by letter.
    contigs : sequence of str
        Names of the contigs of the submission, in order.

    Returns
    -------
    indices : tuple of int
        Sorted, each once.

    Raises
    ------
    UnknownNameError
        If there is no such contig; the message holds near names.
    OptionError
        If no contig is left to find anything on.

    Examples
    --------
    >>> held_out_contigs(["chrIX"], ["chrI", "chrIX"])
    (1,)
    """
    places = {name: index for index, name in enumerate(contigs)}
    for name in names:
        if name not in places:
            near = difflib.get_close_matches(name, contigs, n=3)
            hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
            shown = ", ".join([*contigs[:20], *(["..."] if len(contigs) > 20 else [])])
            raise UnknownNameError(
                f"held_out names {name[:100]!r}, which is not a contig of the sequences; {hint}"
                f"the contigs are {shown}"
            )
    if names and set(names) == set(contigs):
        raise OptionError(
            "held_out names every contig of the sequences; leave at least one for discovery"
        )
    return tuple(sorted({places[name] for name in names}))


def names_of(text: str) -> list[str]:
    """Names in a comma-separated list, without the blanks about them.

    Examples
    --------
    >>> names_of("chrIX, chrXIV")
    ['chrIX', 'chrXIV']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def _near(text: str, allowed: tuple[str, ...]) -> str:
    """A question that names what was likely meant, or nothing."""
    near = difflib.get_close_matches(text, allowed, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not among the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        hint = _near(value, allowed) if isinstance(value, str) else ""
        raise OptionError(f"{name} must be one of {', '.join(allowed)}, got {value!r}{hint}")


def _number(name: str, value: object, *, least: float, most: float) -> None:
    """Refuse what is not a finite number in a range, ends included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OptionError(f"{name} must be a number in [{least:g}, {most:g}], got {value!r}")
    if not least <= value <= most:
        raise OptionError(f"{name} must be in [{least:g}, {most:g}], got {value:g}")


def _whole(name: str, value: object, *, least: int, most: int) -> None:
    """Refuse what is not a whole number in a range, ends included."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise OptionError(f"{name} must be a whole number in [{least}, {most}], got {value!r}")
