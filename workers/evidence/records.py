"""The record of a stage: its numbers, and what made them."""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotations.errors import FormatError, StateError
from annotations.provenance import environment

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results" / "evidence"
"""Where records are kept; they are committed."""


def machine() -> dict[str, Any]:
    """What the machine is, and how busy it was."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        **environment(),
    }


def write_record(
    folder: Path,
    stage: str,
    numbers: Mapping[str, Any],
    *,
    command: str,
    weights: Mapping[str, Any],
    seconds: float,
    cpu_seconds: float,
) -> Path:
    """Write the record of a stage as ``<stage>.json``.

    Raises
    ------
    ValueError
        If a number is NaN or infinite: what is unknown is None.
    """
    record = {
        "stage": stage,
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "command": command,
        "machine": machine(),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "weights": dict(weights),
        "numbers": dict(numbers),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stage}.json"
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Records of a folder by stage; those that are missing are missing.

    Raises
    ------
    FormatError
        If a file is no record.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FormatError(f"{path} is not JSON: {error}; run its stage again") from error
        if not isinstance(record, dict) or record.get("stage") != path.stem:
            raise FormatError(f"{path} is not the record of a stage; run {path.stem} again")
        found[path.stem] = record
    return found


def record_of(folder: Path, stage: str, sha256: str) -> dict[str, Any]:
    """The numbers of a stage that another one builds on.

    Raises
    ------
    StateError
        If the stage was not run, or with other weights.
    """
    record = read_records(folder).get(stage)
    if record is None:
        raise StateError(f"the stage {stage} was not run yet; name it in STAGES before this one")
    made_with = record["weights"]["dictionaries"]["trained"]["sha256"]
    if made_with != sha256:
        raise StateError(
            f"the stage {stage} was run with the weights {made_with[:12]}, the bundled ones are "
            f"{sha256[:12]}; run it again"
        )
    numbers: dict[str, Any] = record["numbers"]
    return numbers
