"""What every test leaves as it found it."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def threads_at_first() -> int | None:
    """Threads of torch before the first test; None where no collected test imports torch."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


@pytest.fixture(autouse=True)
def _threads_of_torch(threads_at_first: int | None) -> Iterator[None]:
    """Give torch its threads back: commands set their number for the whole process.

    The test that runs next would find that number, and its module's fixtures might not.
    """
    yield
    if threads_at_first is not None:
        sys.modules["torch"].set_num_threads(threads_at_first)
