"""Compiled loops run where their machine code cannot be kept, too."""

import numba.core.caching
import numpy as np
import pytest

from annotations import base_kernels
from annotations.compiled import compiled


@pytest.mark.parametrize(("writable", "kind"), [(True, "FunctionCache"), (False, "NullCache")])
def test_a_loop_is_compiled_with_a_folder_for_it_or_without(monkeypatch, writable, kind):
    if not writable:
        monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    loop = compiled.__wrapped__(base_kernels.reach_level)
    row, level = np.zeros(2, np.int64), np.array([3, 5], np.uint32)
    kept = np.empty(2, np.bool_)
    loop(row, level, np.zeros(1, np.int64), np.array([4]), kept)
    assert kept.tolist() == [False, True]
    assert type(loop._cache).__name__ == kind
