"""What is expected of the bases of all shards together: the last step of a merge that asks for it.

    shards/expectation.parquet --merge_expectation--> expectation.parquet, substitutions.parquet

Apart from `workers.expectation`, since a merge loads no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotations.alleles import Alleles
from annotations.expectation import COMPOSITION_WINDOW, PSEUDOCOUNT, STEP
from annotations.expectation_file import (
    EXPECTATION_FILE,
    SUBSTITUTIONS_FILE,
    merge_expected,
    sides_in,
    substitutions,
)


class MergedExpectation(NamedTuple):
    """What a merge made of the expectation of its shards."""

    files: list[str]
    """Names of the files it wrote."""
    record: dict[str, object]
    """What provenance says of them."""


def merge_expectation(
    shards: Sequence[Path],
    out: Path,
    alleles: Alleles | None,
    codes: Sequence[NDArray[np.uint8]],
) -> MergedExpectation:
    """Join what is expected of the bases of all shards, in bounded memory.

    Parameters
    ----------
    shards : sequence of Path
        Folders with files of `workers.expectation.write_expectation`, in order.
    out : Path
        Existing folder for the files.
    alleles : Alleles, optional
        Which records are alleles of each other; their substitutions get a table of their own.
    codes : sequence of ndarray of uint8
        Base codes of each record; of use with `alleles` alone.

    Raises
    ------
    StorageError
        If a shard's file is missing, altered or not in order.
    """
    path = out / EXPECTATION_FILE
    merge_expected([shard / EXPECTATION_FILE for shard in shards], path)
    files = [EXPECTATION_FILE]
    if alleles is not None:
        pq.write_table(substitutions(path, alleles, codes), out / SUBSTITUTIONS_FILE)
        files.append(SUBSTITUTIONS_FILE)
    record: dict[str, object] = {
        "bases": pq.read_metadata(path).num_rows,
        "sides": sides_in(path),
        "step_bits": STEP,
        "composition_window": COMPOSITION_WINDOW,
        "pseudocount": PSEUDOCOUNT,
    }
    return MergedExpectation(files, record)
