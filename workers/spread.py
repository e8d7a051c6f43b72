"""Work on a CPU spread over threads by whole pieces, each of which one thread computes.

torch spreads every operation over its threads and waits for the slowest of them after each. A
model has thousands of operations in a window: where another process holds one of the cores, all
of them wait for it. Pieces are computed by one thread from their first operation to their last,
so the others go on meanwhile; and a piece gives bitwise the same with any number of threads.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def spread(
    work: Callable[[Piece], Result], pieces: Sequence[Piece], device: torch.device
) -> Iterator[Result]:
    """What `work` makes of each piece, in their order.

    Parameters
    ----------
    work : callable
        Independent of the other pieces; itself not spread.
    pieces : sequence
        Pieces of work.
    device : torch.device
        Where it is computed. Only on a CPU are there threads: as many as
        `torch.get_num_threads`.

    Yields
    ------
    result
        Of one piece.

    Raises
    ------
    Exception
        What `work` raises.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1 or len(pieces) < 2:
        yield from map(work, pieces)
        return
    inference = torch.is_inference_mode_enabled()

    def one(piece: Piece) -> Result:
        with torch.inference_mode(inference):
            return work(piece)

    yield from _pool(threads, os.getpid()).map(one, pieces)


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads in each of which torch computes alone; another pool for a process that was forked."""
    started = Barrier(threads)

    def begin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # settles it: else the first operation asks for that of all threads
        started.wait()

    pool = ThreadPoolExecutor(threads, "saetrack-spread", initializer=begin)
    for done in [pool.submit(torch.get_num_threads) for _ in range(threads)]:
        done.result()
    # torch sets the number for a thread, and as that of threads yet to come: give it back
    torch.set_num_threads(threads)
    return pool
