"""The choice of a device, on machines with a GPU and without."""

import subprocess
import sys

import pytest
import torch

from annotations.errors import OptionError
from workers.device import choose_device, describe_device, is_out_of_memory


@pytest.mark.parametrize(("found", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_the_gpu_where_there_is_one(monkeypatch, found, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert choose_device("auto").type == device
    assert choose_device("cpu").type == "cpu"


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="use auto or cpu"):
        choose_device("cuda")


def test_another_name_is_refused():
    with pytest.raises(OptionError, match="auto, cpu, cuda, got 'tpu'"):
        choose_device("tpu")


def test_cpu_asks_nothing_of_cuda_and_no_import_does(monkeypatch):
    code = (
        "import torch; torch.cuda.is_available = None; torch.cuda._lazy_init = None\n"
        "import workers.registry\nfrom workers.device import choose_device\n"
        "assert choose_device('cpu').type == 'cpu'\nassert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_description_of_the_cpu():
    assert describe_device(torch.device("cpu")) == "cpu"


def test_out_of_memory_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(error.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
