"""Which device the models run on: the only place that speaks to CUDA."""

import torch

from annotations.errors import OptionError
from app.config import check_device


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name.

    Parameters
    ----------
    name : str
        As `app.config.DEVICES` describes: ``auto`` is the GPU where there is one and the CPU
        elsewhere, ``cuda:1`` the second GPU.

    Returns
    -------
    device : torch.device

    Raises
    ------
    OptionError
        If the name is none of these, or names a GPU that is not here.
    """
    check_device(name)
    if name == "cpu":
        return torch.device("cpu")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if found else "cpu")
    if not found:
        raise OptionError(f"device is {name}, but torch sees no GPU here; use auto or cpu")
    if (torch.device(name).index or 0) >= found:
        here = ", ".join(f"cuda:{index}" for index in range(found))
        raise OptionError(f"device is {name}, but the GPUs here are {here}")
    return torch.device(name)


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
