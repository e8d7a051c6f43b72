"""The igv.js that we ship, as pages of a server and pages on a disk load it."""

import re
from pathlib import Path
from typing import Final

from annotations.errors import StorageError

STATIC: Final = Path(__file__).parent / "static"
"""Folder of style sheets, scripts and what they need."""

IGV_STYLES: Final = (
    "'sha256-ITHmamcImsZ/Je1xrdtDLZVvRSpj1Zokb6uHXORB824='",
    "'sha256-NTwDUA6nIvRRpI2lIBtHJqkV0TlTj4HVmI6vI81fIfM='",
)
"""The two style elements that the vendored igv.js makes; the rest of its styles are adopted."""

_EXPORT: Final = re.compile(r"export\{(\w+) as default\};?\s*(//# sourceMappingURL=\S+\s*)?\Z")


def classic_igv() -> str:
    """igv.js as a script that is no module, and sets ``window.igv``.

    Browsers load no module from a disk (``file://``); what the module does is unchanged.

    Returns
    -------
    script : str
        About 1.5 MB.

    Raises
    ------
    StorageError
        If the installed igv.js is missing or is not a module of one default export.
    """
    path = STATIC / "igv.esm.min.js"
    try:
        module = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror}; install saetrack again"
        ) from error
    found = _EXPORT.search(module)
    if found is None:
        raise StorageError(f"{path} does not end as igv.js does; install saetrack again")
    body = module[: found.start()]
    return (
        "/*! igv.js 3.8.10, MIT: igv.LICENSE.txt. The module, wrapped as a classic script. */\n"
        f'(function () {{"use strict";\n{body}\nwindow.igv = {found[1]};\n}})();\n'
    )
