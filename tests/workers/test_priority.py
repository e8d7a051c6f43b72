"""A worker gives way to the web process, whichever way the kernel shares its CPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from pathlib import Path
from workers.priority import give_way
print(give_way(int(sys.argv[1]), Path(sys.argv[2])), os.nice(0))
"""


def run(niceness: int, file: Path, *, leads: bool) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, str(niceness), str(file)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, start_new_session=leads
    )
    return done.stdout.split()


def test_a_leader_of_a_session_lowers_the_whole_session(tmp_path):
    file = tmp_path / "autogroup"
    file.write_text("/autogroup-7 nice 0\n")
    assert run(3, file, leads=True) == ["True", str(min(19, os.nice(0) + 3))]
    assert file.read_text() == "3"


@pytest.mark.parametrize(
    ("niceness", "leads", "there"), [(3, False, True), (3, True, False), (0, True, True)]
)
def test_a_session_of_others_is_left_alone(tmp_path, niceness, leads, there):
    file = tmp_path / "autogroup"
    if there:
        file.write_text("/autogroup-7 nice 0\n")
    assert run(niceness, file, leads=leads) == ["False", str(min(19, os.nice(0) + niceness))]
    assert not there or file.read_text() == "/autogroup-7 nice 0\n"


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="no autogrouping here")
def test_the_kernel_takes_it():
    assert run(4, Path("/proc/self/autogroup"), leads=True)[0] == "True"
