"""Which device the models run on: the only place that speaks to CUDA."""

from typing import Literal, get_args

import torch

from annotations.errors import OptionError

DeviceName = Literal["auto", "cpu", "cuda"]


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda"}
        ``auto`` is the GPU where there is one and the CPU elsewhere.

    Returns
    -------
    device : torch.device

    Raises
    ------
    OptionError
        If the name is none of the three, or ``cuda`` is asked for where there is no GPU.
    """
    if name not in get_args(DeviceName):
        raise OptionError(f"device must be one of {', '.join(get_args(DeviceName))}, got {name!r}")
    if name == "cpu":
        return torch.device("cpu")
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise OptionError("device is cuda, but torch sees no GPU here; use auto or cpu")
    return torch.device("cuda" if found else "cpu")


def describe_device(device: torch.device) -> str:
    """Name of the device for provenance, such as ``cpu`` or ``cuda (NVIDIA H100)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The CPU allocator raises a bare RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
