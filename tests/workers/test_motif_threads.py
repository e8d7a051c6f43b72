"""A motif scan leaves the threads of torch alone, which share a pool with numba's unless told."""

import subprocess
import sys
from pathlib import Path

import pytest

SCAN = """
import sys
import numpy as np
import torch
from annotations.jaspar import Motif
from annotations.motif_scan import scan

torch.set_num_threads(int(sys.argv[1]))
counts = np.eye(4)[:, [0, 1, 2, 3, 0, 1]] * 100
codes = np.random.default_rng(0).integers(0, 4, 20_000, dtype=np.uint8)
motif = Motif("m", "m", counts, (), (), "fungi", ())
assert len(scan([codes], [motif], background=np.full(4, 0.25), p=1e-3))
print(torch.get_num_threads())
"""


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_scan_leaves_the_threads_of_torch(threads):
    # in a process of its own: what numba's first user in a process chose stays
    done = subprocess.run(
        [sys.executable, "-c", SCAN, threads],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{threads}\n"), done.stderr
