"""Which device the models run on: the only place that speaks to CUDA."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def gpu_memory(device: torch.device) -> tuple[int, int] | None:
    """Bytes of GPU memory that this process holds, and that there are; None on a CPU."""
    if device.type != "cuda":
        return None
    held = torch.cuda.memory_reserved(device)
    return held, int(torch.cuda.get_device_properties(device).total_memory)


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device; the host does not wait for the copy."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class HostCopies:
    """Copies of tensors to the host, made while the device computes what follows them.

    On CUDA they go through page-locked memory on a stream of their own; on the CPU
    nothing is copied.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copies: list[tuple[Tensor, ...]] = []

    def start(self, *tensors: Tensor) -> None:
        """Begin to copy some tensors that belong together."""
        if self._stream is None:
            self._copies.append(tensors)
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._copies.append(tuple(self._copy(tensor) for tensor in tensors))

    def finish(self) -> list[tuple[NDArray[Any], ...]]:
        """Wait for the copies and give them, in the order in which they were begun."""
        if self._stream is not None:
            self._stream.synchronize()
        return [tuple(tensor.numpy() for tensor in tensors) for tensors in self._copies]

    def _copy(self, tensor: Tensor) -> Tensor:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        if self._stream is not None:
            # The memory is not given to another tensor before the copy is done.
            tensor.record_stream(self._stream)
        return host


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The CPU allocator raises a bare RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
