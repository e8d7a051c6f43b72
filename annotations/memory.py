"""Memory that is free, given back to the system."""

import ctypes

import pyarrow as pa


def return_memory() -> None:
    """Give back what Arrow's pool and the C library keep for later use.

    A step that needs much leaves its free memory with the process; the next one's would come on
    top of it. Without glibc only Arrow's pool is emptied.
    """
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
