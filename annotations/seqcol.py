"""Digests of a set of sequences, as GA4GH defines them (refget sequence collections 1.0).

names, refget digests --collection_digest--> 32 characters: the same names and sequences in the
                                             same order, whoever computes it
"""

import base64
import hashlib
import json
from collections.abc import Sequence

from annotations.types import Contig


def collection_digest(contigs: Sequence[Contig]) -> str:
    """The seqcol 1.0 digest of some contigs, over their names and sequences alone.

    sha512t24u of the canonical JSON (RFC 8785) of an object that holds the sha512t24u of the
    canonical JSON of each array. Lengths follow from the sequences and are not part of it.

    Examples
    --------
    >>> collection_digest([Contig("c1", 4, "SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2")])
    'jmC_rCiqzNS-dAZ-LJBjYNlQjagmtGyo'
    """
    arrays = {
        "names": [contig.name for contig in contigs],
        "sequences": [contig.digest for contig in contigs],
    }
    return _digest({name: _digest(values) for name, values in arrays.items()})


def _digest(values: object) -> str:
    """sha512t24u of canonical JSON; of strings alone, sorted keys make it canonical."""
    text = json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha512(text.encode()).digest()[:24]).decode()
