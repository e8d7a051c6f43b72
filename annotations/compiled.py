"""Loops over arrays that numba compiles on first use."""

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function compiled for the types it is called with.

    The machine code is kept beside the source, in the user's cache or in ``NUMBA_CACHE_DIR``; where
    none of them can be written, every process compiles anew, for some seconds.

    Parameters
    ----------
    function : callable
        Of a module; of numbers and arrays only, in what numba knows of Python.

    Returns
    -------
    compiled : callable
        Holds no interpreter lock while it runs.
    """
    # numba takes a second to import; the web process, which imports the callers, never needs it.
    import numba

    try:
        found: Callable[..., Any] = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # nowhere to keep it
        found = numba.njit(nogil=True)(function)
    return found
