"""Every error this project raises on purpose.

SaetrackError
 |- FormatError       a file or field does not follow its format        (also ValueError)
 |- CoordinateError   a position is outside its sequence, or reversed   (also ValueError)
 |- OptionError       an option has a value that is not allowed         (also ValueError)
 |- LimitError        an input is larger than this installation takes   (also ValueError)
 |- QuotaError        too much of one owner's waits already             (also RuntimeError)
 |- BusyError         another does this now, or too many do              (also RuntimeError)
 |- UnknownNameError  no motif, model, feature or run has this name     (also LookupError)
 |   '- AmbiguousNameError  several have it; the error carries them
 |- StateError        the thing is not in a state that allows this      (also RuntimeError)
 |- WeightsError      weights do not fit their card or their format     (also ValueError)
 |- StorageError      a stored file is missing, cut or altered          (also OSError)
 |   |- UnavailableError  the storage of files does not answer
 |   '- LostFileError     a stored file was deleted by others than us
 '- ToolError         an outside program is missing or failed           (also RuntimeError)

A message says what is wrong, what was given, what is allowed and the way out.
It is shown to users as it stands, so it never holds sequence.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class SaetrackError(Exception):
    """Base of the errors a caller can cause or cure; anything else is a bug."""

    code: ClassVar[str] = "error"
    """Stable name of the kind of error, in kebab case; the `type` of a problem document."""


class FormatError(SaetrackError, ValueError):
    """A file or field does not follow its format."""

    code = "format-error"


class CoordinateError(SaetrackError, ValueError):
    """A position lies outside its sequence, or an interval is reversed."""

    code = "coordinate-error"


class OptionError(SaetrackError, ValueError):
    """An option has a value that is not allowed."""

    code = "option-error"


class LimitError(SaetrackError, ValueError):
    """An input is larger than this installation takes."""

    code = "limit-exceeded"


class QuotaError(SaetrackError, RuntimeError):
    """Too much of one owner's waits already."""

    code = "quota-exceeded"

    def __init__(self, message: str, *, seconds: int) -> None:
        """Say what there is too much of, and in how many seconds to try again."""
        super().__init__(message)
        self.seconds = seconds


class BusyError(SaetrackError, RuntimeError):
    """Another does this now, or too many do."""

    code = "busy"

    def __init__(self, message: str, *, seconds: int) -> None:
        """Say what is done, and in how many seconds to try again."""
        super().__init__(message)
        self.seconds = seconds


class UnknownNameError(SaetrackError, LookupError):
    """No motif, model, feature or run has this name."""

    code = "unknown-name"


class Candidate(NamedTuple):
    """One of the things that an ambiguous name may mean."""

    name: str
    """To be asked for instead."""
    meaning: str
    """What it is, for people; empty if nothing is known."""
    matrix_ids: tuple[str, ...]
    """Its matrices."""


class AmbiguousNameError(UnknownNameError):
    """A name stands for several things, and none is picked."""

    code = "ambiguous-name"

    def __init__(self, message: str, candidates: Sequence[Candidate]) -> None:
        """Say what is ambiguous, and what may be meant."""
        super().__init__(message)
        self.candidates = tuple(candidates)


class StateError(SaetrackError, RuntimeError):
    """The thing asked about is not in a state that allows this."""

    code = "state-conflict"


class WeightsError(SaetrackError, ValueError):
    """Weights do not fit their card or their format."""

    code = "weights-error"


class StorageError(SaetrackError, OSError):
    """A stored file is missing, cut or altered."""

    code = "storage-error"


class UnavailableError(StorageError):
    """The storage of files does not answer."""

    code = "storage-unavailable"


class LostFileError(StorageError):
    """A stored file was deleted by others than us; an equal submission computes it again."""

    code = "file-lost"


class ToolError(SaetrackError, RuntimeError):
    """An outside program is missing or failed."""

    code = "tool-error"
