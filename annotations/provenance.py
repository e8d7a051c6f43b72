"""Who made a result, from what, with which parameters, and at what cost.

Times and memory live here and nowhere else: the tables of a result are the same
bytes whenever the same inputs are computed again.
"""

import json
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from annotations.errors import StorageError

PACKAGES = (
    "saetrack",
    "celery",
    "memelite",
    "numpy",
    "pyarrow",
    "pybedtools",
    "pyBigWig",
    "pyfaidx",
    "pyjaspar",
    "safetensors",
    "scipy",
    "torch",
)
"""Distributions whose version can change a number in a result."""


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Installed version of each distribution; None for one that is not installed."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far, in bytes."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def utc_now() -> str:
    """The present time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def environment() -> dict[str, object]:
    """Versions of the interpreter, of the packages and of the machine's kind."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
    }


def write_provenance(path: Path, values: Mapping[str, object]) -> None:
    """Write a provenance record as indented JSON with sorted keys.

    Parameters
    ----------
    path : Path
        File to write.
    values : mapping
        JSON values by name; a missing measurement is None, never a default.
    """
    text = json.dumps(values, indent=2, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_provenance(path: Path) -> dict[str, object]:
    """The record `write_provenance` wrote.

    Raises
    ------
    StorageError
        If the file is missing or is not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read {path.name}: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{path.name} is not JSON: the result is cut or altered") from error
    if not isinstance(values, dict):
        raise StorageError(f"{path.name} must hold a JSON object, got {type(values).__name__}")
    return values
