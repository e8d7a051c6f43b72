"""numba's threads, for one user at a time and apart from those of other libraries."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()


@contextmanager
def numba_threads() -> Iterator[None]:
    """Hold numba's pool of threads while a parallel function of it runs.

    numba's own pool ("workqueue") aborts the process if two threads enter it at once, so one
    waits for the other. numba would rather take OpenMP's pool, where there is one; but to set the
    threads of that pool sets those of torch too, in the thread that scans: a worker told to use
    one thread would use all cores from its first scan on. A layer chosen by
    ``NUMBA_THREADING_LAYER`` is left.
    """
    # numba takes a second to import, and most of what imports this file never scans.
    import numba

    with _LOCK:
        if numba.config.THREADING_LAYER == "default":  # type: ignore[attr-defined,unused-ignore]
            numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined,unused-ignore]
        yield
