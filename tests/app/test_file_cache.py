"""The cache of made files: made once, kept within a bound, never removed while it is read."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from annotations.errors import BusyError
from app.file_cache import FileCache, HeldFile, stored_sha256

ROOT = Path(__file__).resolve().parents[2]


def writer(data: bytes, calls: list[str] | None = None) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        if calls is not None:
            calls.append(path.name)
        path.write_bytes(data)

    return make


def read(held: HeldFile) -> bytes:
    with held.file:
        return held.file.read()


def age(path: Path, seconds: float) -> None:
    """Have a file look as if it was last asked for some time ago."""
    said = path.stat()
    os.utime(path, ns=(said.st_atime_ns - int(seconds * 1e9), said.st_mtime_ns))


def test_a_file_is_made_once_and_told_with_its_digest(tmp_path: Path) -> None:
    cache, calls = FileCache(tmp_path, most_bytes=10**6), []
    for _ in range(3):
        held = cache.open("run", "a.bw", writer(b"tracks", calls))
        assert held.sha256 == hashlib.sha256(b"tracks").hexdigest()
        assert read(held) == b"tracks"
    assert calls == ["a.bw"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"a.bw", "a.bw.sha256"}


def test_what_fails_leaves_nothing_and_may_be_asked_for_again(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise OSError("no")

    cache = FileCache(tmp_path, most_bytes=10**6)
    with pytest.raises(OSError, match="no"):
        cache.open("run", "a.bw", fail)
    assert list((tmp_path / "run").iterdir()) == []
    assert read(cache.open("run", "a.bw", writer(b"x"))) == b"x"


def test_many_threads_and_two_caches_make_a_file_once(tmp_path: Path) -> None:
    calls: list[str] = []

    def slow(path: Path) -> None:
        time.sleep(0.2)
        writer(b"tracks", calls)(path)

    caches = [FileCache(tmp_path, most_bytes=10**6) for _ in range(2)]
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda at=at: found.append(read(caches[at % 2].open("r", "a", slow)))
        )
        for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, calls) == ([b"tracks"] * 8, ["a"])


def test_what_was_not_asked_for_the_longest_leaves_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, most_bytes=250)
    for seconds, name in ((300, "a"), (200, "b")):
        cache.open("run", name, writer(b"x" * 100)).file.close()
        age(tmp_path / "run" / name, seconds)
    modified = (tmp_path / "run" / "a").stat().st_mtime
    cache.open("run", "a", writer(b"")).file.close()  # asked for again
    cache.open("other", "c", writer(b"x" * 100)).file.close()
    left = {path.name for path in tmp_path.glob("*/*")}
    assert left == {"a", "a.sha256", "c", "c.sha256"}
    assert (tmp_path / "run" / "a").stat().st_mtime == modified


def test_a_file_that_is_read_stays(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, most_bytes=150)
    held = cache.open("run", "a", writer(b"a" * 100))
    age(held.path, 1000)
    cache.open("run", "b", writer(b"b" * 100)).file.close()
    assert held.path.is_file()
    assert read(held) == b"a" * 100
    cache.open("run", "c", writer(b"c" * 100)).file.close()
    # the first is closed now; the last made always stays
    assert {path.name for path in (tmp_path / "run").glob("?")} == {"c"}


def test_a_file_larger_than_the_bound_is_still_given(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, most_bytes=0)
    assert read(cache.open("run", "a", writer(b"a" * 100))) == b"a" * 100
    assert read(cache.open("run", "b", writer(b"b"))) == b"b"
    assert {path.name for path in (tmp_path / "run").glob("?")} == {"b"}


def test_one_waits_for_a_maker_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FileCache(tmp_path, most_bytes=10**6)
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".a.lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr("app.file_cache.WAIT_SECONDS", 0.2)
        with pytest.raises(BusyError, match="still being made") as said:
            cache.open("run", "a", writer(b"x"))
        assert said.value.seconds == 10
        monkeypatch.setattr("app.file_cache.MAX_WAITING", 0)
        with pytest.raises(BusyError, match="many wait"):
            FileCache(tmp_path, most_bytes=1).open("run", "a", writer(b"x"))
    assert read(cache.open("run", "a", writer(b"x"))) == b"x"


MAKER = """
import sys, time
from pathlib import Path
from app.file_cache import FileCache

def make(path):
    path.with_name(f".{path.name}.half.tmp").write_bytes(b"half")
    print("making", flush=True)
    time.sleep(60)

FileCache(Path(sys.argv[1]), most_bytes=10**6).open("run", "a", make)
"""


def test_a_killed_maker_leaves_no_lock(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"making\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "run" / ".a.lock").is_file()
    start = time.monotonic()
    cache = FileCache(tmp_path, most_bytes=10**6)
    assert read(cache.open("run", "a", writer(b"whole"))) == b"whole"
    assert time.monotonic() - start < 5
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"a", "a.sha256"}


def test_a_digest_is_computed_where_it_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a.sha256").write_text("cut")
    assert stored_sha256(tmp_path / "a") == hashlib.sha256(b"x").hexdigest()
    assert (tmp_path / "a.sha256").read_text() == hashlib.sha256(b"x").hexdigest()
