"""The choice of a device, on machines with a GPU and without."""

import subprocess
import sys

import pytest
import torch

from annotations.errors import OptionError
from app.config import Settings
from workers.device import choose_device, describe_device, is_out_of_memory


@pytest.mark.parametrize(("found", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_the_gpu_where_there_is_one(monkeypatch, found, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(found))
    assert choose_device("auto").type == device
    assert choose_device("cpu").type == "cpu"


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="use auto or cpu"):
        choose_device("cuda")


def test_another_name_is_refused():
    with pytest.raises(OptionError, match=r"auto, cpu, cuda or cuda:N, .*got 'tpu'"):
        choose_device("tpu")


def test_a_gpu_is_chosen_by_its_number_if_it_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert choose_device("cuda") == torch.device("cuda")
    with pytest.raises(OptionError, match="the GPUs here are cuda:0, cuda:1"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    "name", ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:", "cuda:x", "mps"]
)
def test_settings_and_the_choice_take_the_same_names(monkeypatch, tmp_path, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def taken(use):
        try:
            use()
        except OptionError:
            return False
        return True

    known = name in {"auto", "cpu", "cuda", "cuda:0", "cuda:1"}
    assert taken(lambda: choose_device(name)) == known
    assert taken(lambda: Settings(data_dir=tmp_path, device=name)) == known


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
