"""Checkpoints: nothing in them is run, and nothing of them is held twice."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import load_file

from annotations.cards import file_sha256
from annotations.errors import StorageError, WeightsError
from workers import checkpoints
from workers.checkpoints import (
    join_parts,
    open_checkpoint,
    strip_prefixes,
    write_safetensors,
)


class Evil:
    """What a pickle can do: name a function to call."""

    def __reduce__(self):
        return os.system, ("touch /tmp/saetrack-was-here",)


def test_a_checkpoint_is_opened_with_its_extra_states(tmp_path):
    path = tmp_path / "m.pt"
    torch.save({"W": torch.arange(6.0).view(2, 3), "x._extra_state": io.BytesIO(b"fp8")}, path)
    found = open_checkpoint(path)
    assert found["W"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert isinstance(found["x._extra_state"], io.BytesIO)


def test_a_state_dict_inside_is_taken_out(tmp_path):
    torch.save({"epoch": 3, "state_dict": {"W": torch.ones(2)}}, tmp_path / "m.pt")
    assert list(open_checkpoint(tmp_path / "m.pt")) == ["W"]


def test_a_checkpoint_that_asks_for_code_is_not_opened(tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"W": torch.ones(2), "evil": Evil()}, path)
    with pytest.raises(WeightsError, match="asks for more than tensors"):
        open_checkpoint(path)
    assert not Path("/tmp/saetrack-was-here").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04cut"])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        open_checkpoint(path)
    with pytest.raises(WeightsError, match="no checkpoint"):
        open_checkpoint(tmp_path / "none.pt")


def test_a_cut_checkpoint_is_refused_and_its_parts_joined_are_whole(tmp_path):
    torch.save({"W": torch.arange(1000.0)}, tmp_path / "m.pt")
    whole = (tmp_path / "m.pt").read_bytes()
    parts = [tmp_path / f"m.pt.part{i}" for i in range(2)]
    parts[0].write_bytes(whole[:1500])
    parts[1].write_bytes(whole[1500:])
    with pytest.raises(WeightsError, match="not a whole torch checkpoint"):
        open_checkpoint(parts[0])
    joined = join_parts(parts, tmp_path / "joined.pt")
    assert joined.read_bytes() == whole
    with pytest.raises(WeightsError, match="missing or empty"):
        join_parts([parts[0], tmp_path / "m.pt.part7"], tmp_path / "again.pt")


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "m.pt")
    with pytest.raises(WeightsError, match="named tensors, got a list"):
        open_checkpoint(tmp_path / "m.pt")


def test_prefixes_of_wrappers_are_stripped_in_any_order():
    both = {"module._orig_mod.W": 1, "module._orig_mod.b": 2}
    assert strip_prefixes(both, ["_orig_mod.", "module."]) == {"W": 1, "b": 2}
    assert strip_prefixes({"module.W": 1, "b": 2}, ["module."]) == {"module.W": 1, "b": 2}
    assert strip_prefixes({}, ["module."]) == {}


dtypes = st.sampled_from(["float32", "float16", "float64", "int64", "int32", "uint8", "bool"])


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=4),
        dtypes.flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
        ),
        max_size=4,
    ).filter(lambda names: "__metadata__" not in names),
    st.integers(1, 40),
)
def test_safetensors_reads_what_is_written(tmp_path_factory, arrays, block):
    path = tmp_path_factory.mktemp("st") / "w.safetensors"
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "BLOCK_BYTES", block)
        sha256 = write_safetensors(tensors, path, metadata={"made": "here"})
    back = load_file(path)
    assert sha256 == file_sha256(path)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert torch.equal(torch.nan_to_num(back[name]), torch.nan_to_num(tensor))


def test_transposed_and_bfloat16_tensors_are_written_as_they_read(tmp_path):
    w = torch.randn(30, 7).bfloat16()
    write_safetensors({"a": w.T, "b": w[::2]}, tmp_path / "w.safetensors")
    back = load_file(tmp_path / "w.safetensors")
    assert torch.equal(back["a"], w.T)
    assert torch.equal(back["b"], w[::2])


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError, match="complex"):
        write_safetensors({"c": torch.ones(2, dtype=torch.complex64)}, path)

    def fail(name):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_safetensors({"a": torch.ones(2)}, path, on_tensor=fail)
    assert list(tmp_path.iterdir()) == []
    full = SimpleNamespace(free=3)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda folder: full)
    with pytest.raises(StorageError, match="make room"):
        write_safetensors({"a": torch.ones(2)}, path)


MEMORY = """
import sys, torch
from pathlib import Path
from workers import checkpoints
checkpoints.BLOCK_BYTES = 1 << 20
folder = Path(sys.argv[1])
anonymous = lambda: int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0])
content = checkpoints.open_checkpoint(folder / "m.pt")
before, most = anonymous(), 0
def watch(name):
    global most
    most = max(most, anonymous() - before)
checkpoints.write_safetensors(content, folder / "m.safetensors", on_tensor=watch)
watch("")
print(most)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_checkpoint_is_never_in_memory_whole(tmp_path):
    torch.save({f"w{i}": torch.ones(2, 1 << 20) for i in range(8)}, tmp_path / "m.pt")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (tmp_path / "m.safetensors").stat().st_size > 64 << 20
    assert int(done.stdout) < 12 << 10  # kB: of 64 MB, never 12
