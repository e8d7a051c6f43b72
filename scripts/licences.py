"""List the licence of every installed package; fail on one that nobody has looked at.

Run by `make licences`. A package whose own metadata does not name a permissive licence clearly
needs an entry in `REVIEWED`, made by a person who read its licence file.
"""

import importlib.metadata
import re
import sys

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|PSF|ISC|HPND|Python Software Foundation)\b", re.IGNORECASE
)
COPYLEFT = re.compile(r"\b[AL]?GPL|\bMPL|Mozilla|\bEPL|\bCDDL|\bEUPL", re.IGNORECASE)

REVIEWED: dict[str, str] = {
    "biopython": "Biopython License Agreement, permissive (HPND style), some files BSD-3-Clause",
    "certifi": "MPL-2.0, unchanged; brought by moto (tests) and sae-lens",
    "hypothesis": "MPL-2.0, unchanged; only runs tests",
    "pathspec": "MPL-2.0, unchanged; brought by mypy",
    "tqdm": "MPL-2.0 AND MIT, unchanged; brought by memelite",
}
"""Package -> licence, where the metadata is silent or names something that is not permissive."""


def licence(distribution: importlib.metadata.Distribution) -> str:
    """Return what the metadata of `distribution` says of its licence on one line, "" if nothing."""
    metadata = distribution.metadata.json
    expression = metadata.get("license_expression")
    if expression:
        return str(expression)
    classifiers = [
        value.rpartition("::")[2].strip()
        for value in metadata.get("classifier", [])
        if value.startswith("License ::") and value != "License :: OSI Approved"
    ]
    return ", ".join(classifiers) or str(metadata.get("license", "")).strip().split("\n")[0]


def main() -> int:
    """Print one line per installed package; return 1 when some licence needs a look."""
    unknown = 0
    for distribution in sorted(importlib.metadata.distributions(), key=lambda d: d.name.lower()):
        found = licence(distribution)
        reviewed = REVIEWED.get(distribution.name)
        clear = bool(PERMISSIVE.search(found)) and not COPYLEFT.search(found)
        note = "" if clear else (f"reviewed: {reviewed}" if reviewed else "NEEDS A LOOK")
        unknown += not clear and reviewed is None
        print(
            f"{distribution.name:<24} {distribution.version:<14} {found[:60]:<60} {note}".rstrip()
        )
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
